"""How far two annotators are apart: distances per landmark, limits of agreement (Bland and Altman, 1986; 1999).

For each axis of the slice the differences d = A - B have a mean (bias) and a standard deviation s; 95 % of the
differences are expected within bias +- 1.96 s. Standard errors: s / sqrt(n) of the bias and about s sqrt(3 / n) of
either limit (1999, section 2.2), which hold for independent points; points of one spine are not: they are too small.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.plots import BLUE, VERMILION
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, pixel_of, slice_of

Array = NDArray[np.float64]
AXES = ("anterior-posterior", "head-foot")


@dataclass(frozen=True)
class Agreement:
    """n pairs of one axis: bias and s in mm, limits bias -+ 1.96 s, and the half-widths of their 95 % intervals."""

    n: int
    bias: float
    sd: float
    low: float
    high: float
    bias_half_width: float
    limit_half_width: float


@dataclass(frozen=True)
class Comparison:
    """Two annotators on the studies that both annotated.

    studies: names. a_mm, b_mm: (N, L, 2) places on the slice, column and row in mm; nan where not annotated.
    unit: "mm", "estimated mm", or "pixels" where no spacing is known for any study. dependent: studies left out.
    """

    annotators: tuple[str, str]
    names: tuple[str, ...]
    studies: tuple[str, ...]
    a_mm: Array
    b_mm: Array
    unit: str
    dependent: tuple[str, ...] = ()

    @property
    def distance(self) -> Array:
        """(N, L), nan where one of the two has no point."""
        return np.asarray(np.hypot(*np.moveaxis(self.a_mm - self.b_mm, -1, 0)))

    @property
    def only_one(self) -> int:
        """Landmarks that one annotator sees and the other does not."""
        return int((np.isnan(self.a_mm) != np.isnan(self.b_mm)).all(-1).sum())


def compare_annotators(store: Store, one: str, other: str, names: Sequence[str] = LUMBAR11) -> Comparison:
    """The latest revision by each of two annotators, of every study that both annotated on the same slice.

    One who went on from the other's points gives no second opinion: such a study is left out, unless one of the two is
    a model. Raises DatasetError when there is none.
    """
    pairs, dependent = [], []
    for study in store.studies():
        history = {revision.id: revision for revision in store.history(study.key)}
        latest = {revision.author: revision for revision in history.values()}
        if one in latest and other in latest:
            a, b = latest[one], latest[other]
            if _goes_on_from(a, b.author, history) or _goes_on_from(b, a.author, history):
                dependent.append(study.key)
            elif slice_of(a.landmarks, study) == slice_of(b.landmarks, study):
                pairs.append((study, a, b))
    if not pairs:
        authors = sorted({r.author for study in store.studies() for r in store.history(study.key)})
        raise DatasetError(
            f"Expected a study that both {one} and {other} annotated, on the same slice, each without the other's "
            f"points; found none{f', but {len(dependent)} in which one went on from the other' if dependent else ''}. "
            f"Those who annotated: {', '.join(authors) or 'nobody'}"
        )
    known = [study for study, _, _ in pairs if study.spacing_mm is not None]
    pairs = pairs if not known else [pair for pair in pairs if pair[0].spacing_mm is not None]
    unit = "pixels" if not known else "estimated mm" if any(s.spacing_is_estimated for s in known) else "mm"
    return Comparison(
        (one, other),
        tuple(names),
        tuple(study.key for study, _, _ in pairs),
        np.stack([_places(study, a, names) for study, a, _ in pairs]),
        np.stack([_places(study, b, names) for study, _, b in pairs]),
        unit,
        tuple(dependent),
    )


def _goes_on_from(revision: Revision, author: str, history: Mapping[str, Revision]) -> bool:
    """Whether it was made from points of this person, directly or further back."""
    before: Revision | None = revision
    while before is not None and (before.author != author or before.is_prediction):
        before = history.get(before.parent or "")
    return before is not None


def _places(study: StudyRecord, revision: Revision, names: Sequence[str]) -> Array:
    marks = {mark.name: pixel_of(mark, study) for mark in revision.landmarks if not mark.is_absent}
    pixels = np.array([marks.get(name) or (np.nan, np.nan) for name in names], dtype=np.float64)
    return np.asarray(pixels * (study.spacing_mm or (1.0, 1.0)))


def agreement(a: Array, b: Array) -> Agreement | None:
    """Bias and limits of agreement of paired values (n,), nan pairs left out; None for fewer than two pairs."""
    difference = (a - b)[np.isfinite(a - b)]
    n = len(difference)
    if n < 2:
        return None
    bias, sd = float(difference.mean()), float(difference.std(ddof=1))
    return Agreement(n, bias, sd, bias - 1.96 * sd, bias + 1.96 * sd, 1.96 * sd / n**0.5, 1.96 * sd * (3 / n) ** 0.5)


def rows(compared: Comparison) -> list[dict[str, object]]:
    """One row a landmark and one for all: distances, and bias and limits for each axis. None where unknown."""
    found: list[dict[str, object]] = []
    every = [*([column] for column in range(len(compared.names))), list(range(len(compared.names)))]
    for columns, name in zip(every, (*compared.names, "all"), strict=True):
        distance = compared.distance[:, columns]
        distance = distance[np.isfinite(distance)]
        row: dict[str, object] = {"landmark": name, "n": len(distance)}
        for title, q in (("median", 0.5), ("p95", 0.95)):
            row[title] = float(np.quantile(distance, q)) if len(distance) else None
        row["mean"] = float(distance.mean()) if len(distance) else None
        for axis, title in enumerate(AXES):
            limits = agreement(compared.a_mm[:, columns, axis].ravel(), compared.b_mm[:, columns, axis].ravel())
            for field in ("bias", "low", "high"):
                row[f"{title} {field}"] = None if limits is None else getattr(limits, field)
        found.append(row)
    return found


def table_text(compared: Comparison) -> str:
    """The table for a terminal."""
    header = f"{'':8}{'n':>5}{'mean':>8}{'median':>8}{'p95':>8}   {'AP bias [limits]':24}   {'HF bias [limits]':24}"
    lines = [
        f"{compared.annotators[0]} - {compared.annotators[1]}, {len(compared.studies)} studies, {compared.unit}; "
        f"seen by one only: {compared.only_one}"
        + (f"; left out, one made from the other: {len(compared.dependent)}" if compared.dependent else ""),
        header,
    ]
    for row in rows(compared):
        numbers = "".join(f"{_shown(row[key]):>8}" for key in ("mean", "median", "p95"))
        shown = [[_shown(row[f"{axis} {part}"]) for part in ("bias", "low", "high")] for axis in AXES]
        limits = ["{} [{}, {}]".format(*parts) for parts in shown]
        lines.append(f"{row['landmark']:8}{row['n']:>5}{numbers}   {limits[0]:24}   {limits[1]:24}".rstrip())
    return "\n".join(lines)


def _shown(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else "-"


def plot(compared: Comparison) -> bytes:
    """Difference against mean for each axis, with bias and limits, as SVG. The mean is that within each spine."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axis, (panel, title) in enumerate(zip(panels, AXES, strict=True)):
        a, b = compared.a_mm[..., axis], compared.b_mm[..., axis]
        panel.plot(((a + b) / 2).ravel(), (a - b).ravel(), ".", markersize=4, alpha=0.6, color=BLUE)
        limits = agreement(a.ravel(), b.ravel())
        lines = () if limits is None else ((limits.bias, "-"), (limits.low, "--"), (limits.high, "--"))
        for value, style in lines:
            panel.axhline(value, linestyle=style, linewidth=1, color=VERMILION)
            panel.text(
                1, value, f"{value:.2f}", transform=panel.get_yaxis_transform(), fontsize=8, ha="right", va="bottom"
            )
        panel.set(title=title, xlabel=f"mean of both, {compared.unit}")
    panels[0].set_ylabel(f"{compared.annotators[0]} - {compared.annotators[1]}, {compared.unit}")
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def write_difference(compared: Comparison, output: Path) -> list[Path]:
    """`differences.csv` and `bland-altman.svg`."""
    output.mkdir(parents=True, exist_ok=True)
    table = rows(compared)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(table[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: f"{v:.3f}" if isinstance(v, float) else v for key, v in row.items()} for row in table)
    write_text_atomically(output / "differences.csv", text.getvalue())
    with write_atomically(output / "bland-altman.svg") as file:
        file.write(plot(compared))
    return [output / "differences.csv", output / "bland-altman.svg"]
