"""In which order does a person put right most level errors a minute? Played on annotated studies.

    python -m research.simulation.level_errors DATASET... --bundle BUNDLE --output DIR [--learned DATASET=OTHER]

BUNDLE has learned from none of them; `--learned spider_mid=spider` leaves out the patients that it did see. Each study
is read once; one person then works through those that are not locked. By assumption, a study costs

    10 s to look at it and to sign it (two actions), 3 s more where the whole chain is moved by a level (two more),
    and 6 s for each landmark that is then still further than 4 mm from where it belongs

A level error is a point that lies nearer to another landmark's truth than to its own. Orders: `doubt`, the expected
number of landmarks on a wrong level, most first, as `store/doubt.py` has it; `gain`, that of `retraining/queue.py`; and
`random`. What is told is how many level errors are put right by the time at which a share of all minutes is used up,
and by how many more than at random, with the 95 % interval of drawing patients anew.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from research.markdown import markdown, write_section
from SpineLandmarksLib.annotated_slices import load_annotations, load_image
from SpineLandmarksLib.cli.main import run
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.metrics import chain_shifts, shifted
from SpineLandmarksLib.evaluation.predictions import Floats, Predictions
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.retraining.queue import assess, order
from SpineLandmarksLib.splits import without_locked
from SpineLandmarksLib.store.doubt import UNKNOWN

Ints = NDArray[np.intp]
STUDY_S, SHIFT_S, LANDMARK_S, NEAR_ENOUGH_MM = 10.0, 3.0, 6.0, 4.0
SHARES = (0.1, 0.25, 0.5)
REPLICATES, RANDOM_ORDERS = 2000, 20


@dataclass(frozen=True)
class Pool:
    """Studies of one source. doubt, seconds, errors: (N,). gain: (N,) rows in the order of gain."""

    name: str
    patients: NDArray[np.str_]
    doubt: Floats
    seconds: Floats
    errors: Floats
    gain: Ints

    @property
    def orders(self) -> dict[str, Ints]:
        """Rows, first the one that comes first."""
        return {"doubt": np.argsort(-self.doubt, kind="stable"), "gain": self.gain}


def seconds_of(predictions: Predictions) -> Floats:
    """(N,) that a person needs for each study, by the assumption above."""
    shifts = chain_shifts(predictions)
    spent: Floats = np.full(len(predictions), STUDY_S) + SHIFT_S * (shifts != 0)
    columns = np.arange(len(predictions.names))
    for row, shift in enumerate(shifts):
        named = columns - shift  # the prediction that stands at a name once the chain was moved
        there = (named >= 0) & (named < len(columns))
        distance = np.full(len(columns), np.inf)
        distance[there] = predictions.distance_mm[row, named[there], columns[there]]
        far = predictions.valid[row] & ~(distance <= NEAR_ENOUGH_MM)
        spent[row] += LANDMARK_S * int(far.sum())
    return spent


def pool_of(name: str, rows: Sequence[Annotation], localizer: Localizer) -> Pool:
    """Read every study once."""
    readings = read_annotated(localizer, rows, lambda done, count: print(f"\r{name} {done}/{count}", end=""))
    print()
    found = compare(localizer, rows, readings)
    keys = [row.image.stem for row in rows]
    waiting = [
        assess(key, load_image(row.image), reading, localizer)
        for key, row, reading in zip(keys, rows, readings, strict=True)
    ]
    gain = np.array([keys.index(place.key) for place in order(waiting, [])])
    doubt = np.where(found.found, 1 - found.confidence, UNKNOWN).sum(axis=1)
    errors = shifted(found).sum(axis=1).astype(np.float64)
    return Pool(name, found.groups, doubt, seconds_of(found), errors, gain)


def put_right(order: Ints, seconds: Floats, errors: Floats, budget_s: Floats | float) -> Floats:
    """Level errors that are put right within so many seconds, the share of the last study counted."""
    at = np.concatenate([[0.0], np.cumsum(seconds[order])])
    return np.asarray(np.interp(budget_s, at, np.concatenate([[0.0], np.cumsum(errors[order])])))


def rows_of(pool: Pool, seed: int = 0) -> list[list[str]]:
    """Of the table: one for each order and share of the minutes."""
    resampler = GroupBootstrap(pool.patients, REPLICATES, seed)
    drawn = np.concatenate([np.ones((1, len(pool.errors))), resampler.draws[:, resampler.group_of_row]])  # first: all
    budgets = [drawn @ pool.seconds * share for share in SHARES]
    draw = np.random.default_rng(seed)

    def curve(order: Ints, weight: Floats, number: int) -> Floats:
        budget = np.array([each[number] for each in budgets])
        return put_right(order, weight * pool.seconds, weight * pool.errors, budget)

    by_chance = np.array(
        [
            np.mean([curve(draw.permutation(len(weight)), weight, number) for _ in range(RANDOM_ORDERS)], axis=0)
            for number, weight in enumerate(drawn)
        ]
    )
    by_chance[0] = np.mean([curve(draw.permutation(len(drawn[0])), drawn[0], 0) for _ in range(REPLICATES)], axis=0)
    table = []
    for place, share in enumerate(SHARES):
        minutes = budgets[place][0] / 60
        table.append(_row(pool, share, minutes, "random", by_chance[0, place], None))
        for name, chosen in pool.orders.items():
            more = np.array([curve(chosen, weight, number)[place] for number, weight in enumerate(drawn)])
            difference = more - by_chance[:, place]
            spread = np.percentile(difference[1:], (2.5, 97.5))
            table.append(_row(pool, share, minutes, name, more[0], (difference[0], *spread)))
    return table


HEAD = ("source", "minutes", "order", "level errors put right", "a minute", "more than at random (95 % interval)")


def _row(
    pool: Pool, share: float, minutes: float, name: str, value: float, more: tuple[float, float, float] | None
) -> list[str]:
    said = "" if more is None else f"{more[0]:+.1f} ({more[1]:+.1f} to {more[2]:+.1f})"
    whole = f"{value:.1f} of {pool.errors.sum():.0f}"
    return [pool.name, f"{minutes:.0f} ({100 * share:.0f} %)", name, whole, f"{value / minutes:.2f}", said]


def report(pools: Sequence[Pool], bundle: str) -> str:
    """Table, and what the pools are."""
    words = ", ".join(
        f"`{pool.name}` ({len(pool.errors)} studies, {int((pool.errors > 0).sum())} with level errors, "
        f"{pool.seconds.sum() / 60:.0f} minutes)"
        for pool in pools
    )
    table = markdown(HEAD, [row for pool in pools for row in rows_of(pool)])
    return f"{bundle} on what it has not seen: {words}.\n\n{table}\n"


def write_pool(pool: Pool, folder: Path) -> None:
    """One line a study, as the figures were computed from."""
    place = np.empty(len(pool.gain), dtype=np.intp)
    place[pool.gain] = np.arange(len(pool.gain))
    with (folder / f"{pool.name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("patient", "doubt", "seconds", "level_errors", "place_by_gain"))
        writer.writerows(zip(pool.patients, pool.doubt, pool.seconds, pool.errors, place, strict=True))


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.simulation.level_errors")
    p.add_argument("datasets", nargs="+", type=Path, metavar="DATASET")
    p.add_argument("--bundle", required=True, metavar="NAME_OR_DIR")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--learned", action="append", default=[], metavar="DATASET=OTHER", help="same patients, seen before")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write it into its section")
    p.set_defaults(run=play)
    return run(p.parse_args(arguments))


def play(options: argparse.Namespace) -> int:
    localizer = Localizer.open(options.bundle)
    seen = dict(each.split("=", 1) for each in options.learned)
    options.output.mkdir(parents=True, exist_ok=True)
    pools = []
    for folder in options.datasets:
        rows, _ = without_locked(load_annotations([folder], localizer.bundle.landmarks), folder)
        other = seen.get(folder.name)
        known = {row.group for row in read_landmarks_json(Path(other))} if other else set()
        pools.append(pool_of(folder.name, [row for row in rows if row.group not in known], localizer))
        write_pool(pools[-1], options.output)
    text = report(pools, localizer.bundle.label)
    (options.output / "table.md").write_text(text, encoding="utf-8")
    if options.document:
        write_section(options.document, "level-errors", text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
