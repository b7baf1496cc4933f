"""How well people read: each reading of a gold case against its truth, and over time.

For one case: the median distance of the landmarks that both have, landmarks that lie nearer to another name's true
place than to their own (a level error, and the whole chain's shift), the seconds spent, and which share of the model's
points the reader has changed. Who changes less where the model is wrong leans on it: *anchoring* is the share, of the
landmarks that the model put further than ANCHOR_MM from the truth, which the reader left within SAME_MM of there.

For a reader: the median over cases and rates over landmarks, each with a 95 % interval from resampling cases
(percentile bootstrap), because landmarks of one case go together.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineLandmarksLib.annotation.consensus import Places, level_shift
from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.evaluation.bootstrap import Estimate, GroupBootstrap
from SpineLandmarksLib.evaluation.plots import BLUE, VERMILION
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.store.blind import GOLD, BlindReading, ReadingPart, all_readings
from SpineLandmarksLib.store.readings import places_of
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, picture_problem

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ANCHOR_MM, SAME_MM = 4.0, 0.5
REPLICATES = 2000


@dataclass(frozen=True)
class GoldReading:
    """One gold case, as one person has read it.

    common: landmarks that both have; missed: that one of the two has. shift: of the whole chain, in levels.
    changed: share of the model's points that were moved by more than SAME_MM or taken away, None without a model.
    misled, leaned: landmarks that the model put wrongly, and those of them that were left there.
    """

    reader: str
    study: str
    time: str
    median_mm: float | None
    level_errors: int
    common: int
    missed: int
    shift: int
    seconds: float
    changed: float | None
    misled: int
    leaned: int


@dataclass(frozen=True)
class ReaderQuality:
    """Of one person: estimates over their gold cases, with 95 % intervals."""

    reader: str
    cases: int
    median_mm: Estimate
    level_errors: Estimate
    seconds: Estimate
    changed: Estimate
    anchoring: Estimate


def gold_readings(store: Store) -> tuple[list[GoldReading], list[str]]:
    """Every gold case that somebody has signed, by time, and what was left out, and why."""
    with store.snapshot() as connection:
        gold = [one for one in all_readings(connection) if one.kind == GOLD]
    found, problems = [], []
    for reading in gold:
        study = store.study(reading.study)
        problem = picture_problem(study, store.folder)
        if problem is not None:
            problems.append(f"{problem}. Readings of this gold case do not count")
            continue
        history = store.history(study.key)
        found += [_against_truth(history, reading, study, part) for part in reading.readers if part.revision]
    return sorted(found, key=lambda one: (one.reader, one.time)), problems


def _against_truth(
    history: Sequence[Revision], reading: BlindReading, study: StudyRecord, part: ReadingPart
) -> GoldReading:
    by_id = {one.id: one for one in history}
    revision = by_id[part.revision or ""]
    truth, said = (places_of(by_id[i].landmarks, study) for i in (reading.result or "", revision.id))
    before = [one for one in history[: history.index(revision)] if one.is_prediction]
    model = places_of(before[-1].landmarks, study) if before else {}
    common = [name for name in truth if name in said]
    apart = [_apart(truth, said, name) for name in common]
    seconds = sum(one.seconds_spent for one in history if one.author == part.person and not one.is_prediction)
    misled = [name for name in model if name in truth and _apart(model, truth, name) > ANCHOR_MM]
    return GoldReading(
        part.person,
        study.key,
        part.time or "",
        float(np.median(apart)) if apart else None,
        sum(_nearest(truth, said, name) != name for name in common),
        len(common),
        len(set(truth) ^ set(said)),
        level_shift(truth, said),
        seconds,
        float(np.mean([not _is_same(model, said, name) for name in model])) if model else None,
        len(misled),
        sum(_is_same(model, said, name) for name in misled),
    )


def _apart(a: Places, b: Places, name: str) -> float:
    return float(np.hypot(*np.subtract(a[name], b[name])))


def _nearest(truth: Places, said: Places, name: str) -> str:
    return min(truth, key=lambda other: float(np.hypot(*np.subtract(truth[other], said[name]))))


def _is_same(model: Places, said: Places, name: str) -> bool:
    return name in said and _apart(model, said, name) <= SAME_MM


def reader_quality(cases: Sequence[GoldReading], seed: int = 0) -> list[ReaderQuality]:
    """By name."""
    return [_quality([c for c in cases if c.reader == name], seed) for name in sorted({c.reader for c in cases})]


def _quality(cases: Sequence[GoldReading], seed: int) -> ReaderQuality:
    def median(values: Sequence[float | None]) -> Estimate:
        known = np.array([value for value in values if value is not None], dtype=np.float64)
        return GroupBootstrap(np.arange(len(known)).astype(str), REPLICATES, seed).quantile(known, 0.5)

    def rate(part: Sequence[int], of: Sequence[int]) -> Estimate:
        return GroupBootstrap(np.arange(len(of)).astype(str), REPLICATES, seed).proportion(part, of)

    return ReaderQuality(
        cases[0].reader,
        len(cases),
        median([one.median_mm for one in cases]),
        rate([one.level_errors for one in cases], [one.common for one in cases]),
        median([one.seconds for one in cases]),
        median([one.changed for one in cases]),
        rate([one.leaned for one in cases], [one.misled for one in cases]),
    )


def quality_text(readers: Sequence[ReaderQuality]) -> str:
    """The table for a terminal."""
    if not readers:
        return "No gold case was read yet. Choose some: spine-landmarks dataset gold DATASET STUDY"
    heads = ("median, mm", "level errors, %", "seconds a study", "changed, %", "left as the model erred, %")
    lines = [f"{'':16}{'cases':>6}  " + "".join(f"{head:24}" for head in heads).rstrip()]
    for one in readers:
        shown = [
            _shown(one.median_mm),
            _shown(one.level_errors, 100),
            _shown(one.seconds),
            _shown(one.changed, 100),
            _shown(one.anchoring, 100),
        ]
        cells = "".join(f"{text:24}" for text in shown)
        lines.append(f"{one.reader:16}{one.cases:>6}  {cells}".rstrip())
    return "\n".join(lines)


def _shown(one: Estimate, times: float = 1.0) -> str:
    """The value and its interval, which one case does not have."""
    if one.value is None:
        return "-"
    known = one.low is not None and one.high is not None
    interval = f" ({times * one.low:.1f} to {times * one.high:.1f})" if known else ""  # type: ignore[operator]
    return f"{times * one.value:.1f}{interval}"


def write_quality(cases: Sequence[GoldReading], output: Path) -> list[Path]:
    """`gold.csv`, one row a case and reader, and `gold.svg`, the distances over time."""
    output.mkdir(parents=True, exist_ok=True)
    out = io.StringIO()
    writer = csv.DictWriter(out, list(GoldReading.__dataclass_fields__), lineterminator="\n")
    writer.writeheader()
    writer.writerows({k: "" if v is None else v for k, v in asdict(one).items()} for one in cases)
    write_text_atomically(output / "gold.csv", out.getvalue())
    with write_atomically(output / "gold.svg") as file:
        quality_figure(cases).savefig(file, format="svg", metadata={"Date": None})
    return [output / "gold.csv", output / "gold.svg"]


def quality_figure(cases: Sequence[GoldReading]) -> Figure:
    """A panel a reader: the median distance of each case in the order of reading; a cross has level errors."""
    from matplotlib.figure import Figure

    names = sorted({one.reader for one in cases}) or [""]
    figure = Figure(figsize=(7, 1.2 + 1.6 * len(names)), layout="constrained")
    panels = figure.subplots(len(names), 1, sharey=True, squeeze=False)[:, 0]
    for panel, name in zip(panels, names, strict=True):
        mine = [one for one in cases if one.reader == name]
        for is_wrong, mark, colour in ((False, "o", BLUE), (True, "x", VERMILION)):
            some = [(n, c.median_mm) for n, c in enumerate(mine, 1) if bool(c.level_errors) == is_wrong]
            panel.plot([n for n, _ in some], [mm for _, mm in some], mark, color=colour)
        panel.set(title=name, ylabel="median, mm")
    panels[0].set_ylim(bottom=0)  # of all, once each has its points: the axis grows no more after that
    panels[-1].set_xlabel("gold case, in the order of reading (cross: with level errors)")
    return figure
