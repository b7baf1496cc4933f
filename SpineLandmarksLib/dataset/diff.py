"""The difference between two annotators of a data set, as a table and a plot."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from SpineLandmarksLib.dataset.agreement import Array, Comparison, plot, rows
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.slices import pixel_of, slice_of
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.study import Study


def compare_annotators(store: Store, one: str, other: str, names: Sequence[str] = LUMBAR11) -> Comparison:
    """The latest revision by each of two annotators, of every study that both annotated on the same slice.

    Raises DatasetError when there is none.
    """
    pairs = []
    for study in store.studies():
        latest = {revision.author: revision for revision in store.history(study.key)}
        if one in latest and other in latest:
            a, b = latest[one], latest[other]
            if slice_of(a.landmarks, study) == slice_of(b.landmarks, study):
                pairs.append((study, a, b))
    if not pairs:
        authors = sorted({r.author for study in store.studies() for r in store.history(study.key)})
        raise DatasetError(
            f"Expected a study that both {one} and {other} annotated, on the same slice; found none. "
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
    )


def _places(study: Study, revision: Revision, names: Sequence[str]) -> Array:
    marks = {mark.name: pixel_of(mark, study) for mark in revision.landmarks if not mark.is_absent}
    pixels = np.array([marks.get(name) or (np.nan, np.nan) for name in names], dtype=np.float64)
    return np.asarray(pixels * (study.spacing_mm or (1.0, 1.0)))


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
