"""The coordinates of the RSNA 2024 lumbar spine challenge (`train_label_coordinates.csv`), which are read only.

    study_id,series_id,instance_number,condition,level,x,y
    4003253,702807833,8,Spinal Canal Stenosis,L1/L2,322.831858,227.964602

x and y are pixels of a DICOM file as it is stored, `instance_number` that file's number. Only `Spinal Canal Stenosis`
is marked on sagittal slices in the middle; its points lie in the canal beside the disc, not at the disc's centre: they
say which level is which, and where about. The other conditions are marked beside the midline or on axial slices.

https://www.kaggle.com/competitions/rsna-2024-lumbar-spine-degenerative-classification/data
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.plain_text import finite_or_none, read_text
from SpineLandmarksLib.formats.shared import stated_set
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

COLUMNS = ("study_id", "series_id", "instance_number", "condition", "level", "x", "y")
_CENTRAL = "Spinal Canal Stenosis"
_CANAL = "The points of RSNA 2024 lie in the canal at the level of the disc, not at its centre: move each before use"
_SLICES = "The levels were marked on the DICOM files with the numbers {}"


def read_rsna_csv(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the levels of every series, in pixels, each with a warning of what its points are.

    Raises FormatError: other columns, no such condition, a level twice in a series, numbers that are none.
    """
    series: dict[tuple[str, str], list[tuple[str, Landmark]]] = {}
    for where, row in _rows(path):
        if row["condition"].strip() == _CENTRAL:
            key = row["study_id"].strip(), row["series_id"].strip()
            mark = Landmark(row["level"].strip(), pixel_xy=(_number(row, "x", where), _number(row, "y", where)))
            series.setdefault(key, []).append((row["instance_number"].strip(), mark))
    if not series:
        raise FormatError(f"{os.fspath(path)}: expected rows of the condition {_CENTRAL!r}; found none")
    return [_points(*key, marks, schema, os.fspath(path)) for key, marks in series.items()]


def _points(
    study: str, number: str, marks: Sequence[tuple[str, Landmark]], schema: Sequence[str], path: str
) -> PointsOnImage:
    files = sorted({instance for instance, _ in marks}, key=lambda text: (len(text), text))
    said = stated_set(
        [mark for _, mark in marks],
        schema,
        f"{path}, study {study}, series {number}",
        input=f"{study}/{number}",
        warnings=(_CANAL,),
        needs_review=True,
        notes=(_SLICES.format(", ".join(files)),),
    )
    return PointsOnImage(said, ImageGrid(f"{study}_{number}"))


def _rows(path: str | os.PathLike[str]) -> list[tuple[str, dict[str, str]]]:
    name, text = os.fspath(path), read_text(path, "a comma-separated table")
    try:
        table = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
    except csv.Error as error:
        raise FormatError(f"{name}: expected a comma-separated table; {error}") from error
    for number, row in enumerate(table, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise FormatError(f"{name}, row {number}: expected the columns {', '.join(COLUMNS)}; got {list(row)}")
    return [(f"{name}, row {number}", row) for number, row in enumerate(table, start=2)]


def _number(row: dict[str, str], column: str, where: str) -> float:
    value = finite_or_none(row[column])
    if value is None:
        raise FormatError(f"{where}: expected a finite number in '{column}'; got {row[column]!r}")
    return value
