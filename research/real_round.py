"""One real round of the loop, by the commands that users have: a model meets a source that it has not seen.

    python -m research.real_round SOURCES lsd_t1 --judges tianchi150,spider_mid --bundle lumbar11-open --output DIR

SOURCES has data sets with hold-outs, as `python -m research.data` makes them. DIR becomes a data set of `--studies`
patients of one source, corrected and signed off, and of its locked ones; the bundle is put in use, the hold-outs of the
others judge too, and `retrain` runs at its recipe's own length. Told is what the rule said of each source.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from research.arguments import names
from research.data import write_source
from research.markdown import markdown, write_section
from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.cli.main import main as spine_landmarks
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json
from SpineLandmarksLib.retraining.registry import card_of
from SpineLandmarksLib.splits import holdout, locked_patients

HEAD = ("source", "patients", "SDR@4, %", "level shifts, %", "MRE, mm", "the rule says")


def main(arguments: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.real_round", description=__doc__.partition("\n")[0])
    p.add_argument("sources", type=Path, metavar="SOURCES")
    p.add_argument("source", metavar="NAME", help="of the one that is corrected")
    p.add_argument("--judges", type=names, default=(), metavar="NAME,...", help="others whose hold-outs judge too")
    p.add_argument("--bundle", required=True, metavar="NAME_OR_DIR", help="one that has learned from none of them")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--studies", type=positive, default=60, metavar="N", help="corrected patients (default 60)")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--document", type=Path, metavar="FILE.md")
    options = p.parse_args(arguments)
    if not options.output.exists():
        make(options)
    status = spine_landmarks(["retrain", str(options.output), "--by", "Lea"])
    if status == 0:
        text = table(card_of(options.output, "retrained-001"), options.source)
        print(text)
        if options.document:
            write_section(options.document, f"round-{options.source}", text)
    return status


def make(options: argparse.Namespace) -> None:
    """The data set, with model and judges."""
    folder = options.sources / options.source
    rows, locked = read_landmarks_json(folder), locked_patients(folder)
    write_source(chosen(rows, locked, options.studies, options.seed), options.output, sorted(locked), options.seed)
    here, by = str(options.output), ["--by", "Lea"]
    for command in (
        ["dataset", "init", here, "--author", "Ann"],
        ["models", "promote", here, options.bundle, "--why", "the round begins with it", *by],
        ["models", "judges", here, *(str(options.sources / name) for name in options.judges), *by],
    ):
        if spine_landmarks(command):
            raise SystemExit(2)


def chosen(rows: Sequence[Annotation], locked: frozenset[str], count: int, seed: int) -> list[Annotation]:
    """Those of `count` patients drawn from the free ones, and all of the locked."""
    free = sorted({row.group for row in rows} - locked)
    _, drawn = holdout(free, count, seed)
    kept = {free[row] for row in drawn} | locked
    return [row for row in rows if row.group in kept]


def table(card: dict[str, Any], source: str) -> str:
    """What the rule said of each source, the corrected one first, and of all."""
    own, *others = card["by_source"].items()
    lines = [_row(name, judged) for name, judged in ((f"{source}, corrected", own[1]), *others)]
    steps = f"{len(card['revisions'])} studies, {card['steps']} steps, {card['seconds'] / 60:.0f} minutes with judging"
    said = "put in use" if card["verdict"]["promoted"] else "kept as a candidate"
    return f"{card['base_label']}: {steps}. The model was **{said}**.\n\n{markdown(HEAD, lines)}\n"


def _row(name: str, judged: dict[str, Any]) -> list[str]:
    def change(what: str) -> str:
        d = judged[what]
        low, middle, high = (f"{100 * points:+.1f}" for points in (d["low"], d["new"] - d["old"], d["high"]))
        return f"{100 * d['old']:.1f} -> {100 * d['new']:.1f} ({middle}, {low} to {high})"

    mre = " -> ".join("–" if mm is None else f"{mm:.2f}" for mm in judged["mre_mm"])
    told = "no worse" if judged["promoted"] else judged["why"].partition(":")[0]
    return [name, str(judged["patients"]), change("sdr4"), change("level_shift"), mre, told]


if __name__ == "__main__":
    sys.exit(main())
