"""Landmarks as a table: one row a landmark, RAS mm, comma-separated UTF-8 that spreadsheets open; then corners, if any.

Columns: label, r_mm, a_mm, s_mm, pixel_x, pixel_y, slice, spacing_x_mm, spacing_y_mm, confidence, radius95_mm, status,
needs_review, warnings; the last two, which tell that a result may be wrong, are written and not read.
On request positions are in LPS, which the header says: l_mm, p_mm, s_mm; both are read.
An empty cell is an unknown value. A table saved by a spreadsheet with semicolons or tabs and decimal commas is read as
well, and the one that 3D Slicer exports: label, then r, a, s or l, p, s, then defined, selected, visible, locked,
description.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.plain_text import finite_or_none, read_text
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    MM_DIGITS,
    PIXEL_DIGITS,
    SPACING_DIGITS,
    System,
    checked_landmark,
    filled,
    ras_point,
    rounded,
    stated_set,
)
from SpineLandmarksLib.formats.slicer_markups import stated_landmark
from SpineLandmarksLib.geometry import lps_from_ras
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

COLUMNS = (
    "label",
    "r_mm",
    "a_mm",
    "s_mm",
    "pixel_x",
    "pixel_y",
    "slice",
    "spacing_x_mm",
    "spacing_y_mm",
    "confidence",
    "radius95_mm",
    "status",
    "needs_review",
    "warnings",
)
_READ = COLUMNS[: COLUMNS.index("needs_review")]
_AXES: dict[System, tuple[str, str, str]] = {"RAS": ("r_mm", "a_mm", "s_mm"), "LPS": ("l_mm", "p_mm", "s_mm")}
#: The first line by which a spreadsheet is told what stands between the cells.
_SEP = re.compile(r"sep=([;,\t|])", re.IGNORECASE)
_FORMULA_STARTS = ("=", "+", "-", "@")


def write_csv(landmarks: LandmarkSet, path: str | os.PathLike[str], system: System = "RAS") -> None:
    """Write the landmarks as a table, one row each.

    Args:
        landmarks: positions in RAS mm.
        path: of the file, which is replaced whole.
        system: of the positions in the file, "RAS" or "LPS"; the header says which.

    Raises:
        OutputError: the file cannot be written; nothing is changed.
        LandmarkError: a number is not finite.

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_csv(LandmarkSet((Landmark("L3", position_ras_mm=(1.5, -20.0, 310.0)),)), f"{folder}/case.csv")
    ...     print(Path(f"{folder}/case.csv").read_text().splitlines()[1])
    L3,1.500,-20.000,310.000,,,,,,,,predicted,,
    """
    write_text_atomically(path, _table(landmarks, system, ","))


def as_csv(landmarks: LandmarkSet, system: System = "RAS", **more: str) -> str:
    """The content of such a file. more: further columns, the same in each row, by which tables can be put together."""
    return _table(landmarks, system, ",", more)


def as_text(landmarks: LandmarkSet, system: System = "RAS") -> str:
    """The table with tabs between the cells, as a spreadsheet takes it from the clipboard."""
    return _table(landmarks, system, "\t")


def _table(
    landmarks: LandmarkSet, system: System, delimiter: str, more: Mapping[str, str] = MappingProxyType({})
) -> str:
    table = io.StringIO()
    writer = csv.writer(table, delimiter=delimiter, lineterminator="\n")
    writer.writerow((COLUMNS[0], *_AXES[system], *COLUMNS[4:], *more))
    same = [_without_formula(" ".join(text.split())) for text in more.values()]
    writer.writerows([*_cells(landmark, landmarks, system), *same] for landmark in landmarks.points)
    return table.getvalue()


def _cells(landmark: Landmark, source: LandmarkSet, system: System) -> list[str]:
    position = landmark.position_ras_mm
    if position is not None and system == "LPS":
        position = lps_from_ras(position).tolist()
    return [
        _without_formula(landmark.name),
        *_numbers(position or (None,) * 3, MM_DIGITS),
        *_numbers(landmark.pixel_xy or (None,) * 2, PIXEL_DIGITS),
        "" if source.slice_index is None else str(source.slice_index),
        *_numbers(source.spacing_mm or (None,) * 2, SPACING_DIGITS),
        *_numbers([landmark.confidence], CONFIDENCE_DIGITS),
        *_numbers([landmark.radius95_mm], MM_DIGITS),
        landmark.status,
        {None: "", True: "true", False: "false"}[source.asks_for_review(landmark)],
        _without_formula(" ".join("; ".join(source.warnings).split())),
    ]


def _numbers(values: Sequence[float | None], digits: int) -> list[str]:
    return ["" if value is None else f"{rounded(value, digits):.{digits}f}" for value in values]


def _without_formula(text: str) -> str:
    """A spreadsheet runs a cell that starts like a formula; an apostrophe in front makes it text.

    Without NUL, which Python 3.10 writes into no table.
    """
    text = text.replace("\0", "")
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


@dataclass(frozen=True)
class _Row:
    cells: dict[str, str]
    where: str
    decimal_comma: bool

    def text(self, column: str) -> str:
        return self.cells.get(column, "").strip()

    @property
    def speaks(self) -> bool:
        """Whether it says anything of its landmark."""
        return any(map(self.text, ("status", "pixel_x", "pixel_y", *_AXES["RAS"], *_AXES["LPS"])))

    def number(self, column: str) -> float | None:
        text = self.text(column)
        if not text:
            return None
        value = finite_or_none(text.replace(",", ".") if self.decimal_comma else text)
        if value is None:
            raise FormatError(f"{self.where}: expected a number or nothing in '{column}'; got {text!r}")
        return value

    def point(self, *columns: str) -> tuple[float, ...] | None:
        values = [self.number(column) for column in columns]
        known = tuple(value for value in values if value is not None)
        if known and len(known) < len(columns):
            raise FormatError(f"{self.where}: expected all or none of {', '.join(columns)}; got {values}")
        return known or None


def read_csv(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """Read a table of landmarks; rows may stand in any order, and other columns are ignored.

    Args:
        path: of the file; RAS or LPS, commas, or semicolons with decimal commas.
        schema: names in the order that is wanted.

    Returns:
        Positions in RAS mm; names that the file lacks are `not_visible`.

    Raises:
        FormatError: no such columns, unknown or duplicate names, a bad number (the message names the row).

    >>> from pathlib import Path
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_csv(LandmarkSet((Landmark("L3", position_ras_mm=(1.5, -20.0, 310.0)),)), f"{folder}/case.csv", "LPS")
    ...     read_csv(f"{folder}/case.csv")["L3"].position_ras_mm
    (1.5, -20.0, 310.0)
    """
    return filled(parse_csv(path, schema), schema)


def parse_csv(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: System | None = None
) -> LandmarkSet:
    """What a table says; a row with neither point nor status says nothing. frame: of its positions, whatever its
    header says. Raises as `read_csv`.
    """
    rows = [row for row in _read_rows(path) if row.speaks]
    return stated_set(
        [mark for mark in (_read_landmark(row, frame) for row in rows) if mark is not None],
        schema,
        path,
        input=os.fspath(path),
        slice_index=_same_in_all([_slice(row) for row in rows], rows, "slice"),
        spacing_mm=_same_in_all([_spacing(row) for row in rows], rows, "spacing"),
    )


def _read_landmark(row: _Row, frame: System | None) -> Landmark | None:
    label = row.text("label")
    if label.startswith("'") and label[1:].startswith(_FORMULA_STARTS):
        label = label[1:]
    stated: System = "LPS" if "l_mm" in row.cells else "RAS"
    position, pixel = ras_point(row.point(*_AXES[stated]), frame or stated), row.point("pixel_x", "pixel_y")
    if "defined" in row.cells and "status" not in row.cells:  # Slicer's own; what is not defined has a position too
        is_set = row.text("defined").lower() not in ("0", "false")
        return stated_landmark(row.where, label, row.text("description"), position if is_set else None)
    return checked_landmark(
        row.where,
        label,
        status=row.text("status") or ("not_visible" if position is pixel is None else "predicted"),
        position_ras_mm=position,
        pixel_xy=pixel,
        confidence=row.number("confidence"),
        radius95_mm=row.number("radius95_mm"),
    )


def _slice(row: _Row) -> int | None:
    value = row.number("slice")
    if value is not None and value != int(value):
        raise FormatError(f"{row.where}: expected a whole number in 'slice'; got {row.text('slice')!r}")
    return None if value is None else int(value)


def _spacing(row: _Row) -> tuple[float, ...] | None:
    spacing = row.point("spacing_x_mm", "spacing_y_mm")
    if spacing is not None and min(spacing) <= 0:
        raise FormatError(f"{row.where}: expected a positive spacing; got {spacing}")
    return spacing


def _same_in_all(values: Sequence[object], rows: Sequence[_Row], what: str) -> object:
    """The one value of a column that speaks of the whole slice; rows that leave it empty do not count."""
    known = [(value, row) for value, row in zip(values, rows, strict=True) if value is not None]
    for value, row in known:
        if value != known[0][0]:
            raise FormatError(f"{row.where}: expected the same {what} in all rows; got {value} after {known[0][0]}")
    return known[0][0] if known else None


def _read_rows(path: str | os.PathLike[str]) -> list[_Row]:
    name, text = os.fspath(path), read_text(path, "a table")
    first, _, rest = text.partition("\n")
    said = _SEP.fullmatch(first.strip("\r "))
    lines, start = (rest, 3) if said else (text, 2)
    delimiter = said[1] if said else next((one for one in ";\t" if one in first), ",")
    try:
        table = list(csv.reader(io.StringIO(lines, newline=""), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise FormatError(f"{name}: expected a comma-separated table; {error}") from error
    header = [_column(cell) for cell in table[0]] if table else []
    _check_header(header, name)
    return [
        _row(header, cells, f"{name}, row {number}", delimiter != ",")
        for number, cells in enumerate(table[1:], start=start)
        if any(cell.strip() for cell in cells)
    ]


def _column(cell: str) -> str:
    """The name of a column as we write it."""
    name = cell.strip().lower()
    return f"{name}_mm" if name in ("r", "a", "s", "l", "p") else name


def _check_header(header: Sequence[str], name: str) -> None:
    found = ", ".join(header)[:200] or "nothing"
    if {"r_mm", "a_mm"} & set(header) and {"l_mm", "p_mm"} & set(header):
        raise FormatError(f"{name}: expected positions in RAS or in LPS; got columns of both: {found}")
    twice = [column for column in (*_READ, *_AXES["LPS"]) if header.count(column) > 1]
    has_points = any(set(axes) <= set(header) for axes in (*_AXES.values(), ("pixel_x", "pixel_y")))
    if twice or "label" not in header or not has_points:
        raise FormatError(f"{name}: expected the columns {', '.join(_READ)}, each once; got {found}")


def _row(header: Sequence[str], cells: Sequence[str], where: str, decimal_comma: bool) -> _Row:
    if len(cells) != len(header):
        raise FormatError(f"{where}: expected {len(header)} cells as in the first row; got {len(cells)}")
    return _Row(dict(zip(header, cells, strict=True)), where, decimal_comma)
