"""3D Slicer's former point lists (.fcsv), which are read and no longer written: Slicer itself calls them deprecated.

    # Markups fiducial file version = 4.13
    # CoordinateSystem = LPS                 or RAS; 0 (RAS) and 1 (LPS) in earlier versions
    # columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
    1,-1,-2,3,0,0,0,1,1,1,0,L1,,,2,0         the cell after the named columns, in newer files: 2 = the point is set

https://slicer.readthedocs.io/en/latest/developer_guide/modules/markups.html
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.plain_text import finite_or_none, read_text
from SpineLandmarksLib.formats.shared import System, filled, ras_point, stated_set
from SpineLandmarksLib.formats.slicer_markups import SYSTEMS, stated_landmark
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Point

_SET = "2"


def read_fcsv(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """Read a point list into the order of `schema`; names that are missing are `not_visible`."""
    return filled(parse_fcsv(path, schema), schema)


def parse_fcsv(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: System | None = None
) -> LandmarkSet:
    """What a point list says. frame: of its positions, whatever its header says.

    A point without our description was put there by a person and is `corrected`.
    Raises FormatError: no coordinate system or columns in the header, unknown or duplicate labels, bad positions.
    """
    name = os.fspath(path)
    lines = read_text(path, "a point list").splitlines()
    system, columns = _read_header(lines, name)
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip() and not line.startswith("#")]
    landmarks = [_read_line(line, columns, frame or system, f"{name}, line {number}") for number, line in numbered]
    return stated_set([mark for mark in landmarks if mark is not None], schema, path, input=name)


def _read_header(lines: Sequence[str], name: str) -> tuple[System, list[str]]:
    pairs = [line.lstrip("# ").partition("=") for line in lines if line.startswith("#")]
    header = {key.strip(): value.strip() for key, _, value in pairs}
    system = SYSTEMS.get(header.get("CoordinateSystem", ""))
    if system is None:
        raise FormatError(
            f"{name}: expected a line '# CoordinateSystem = ' with RAS, LPS, 0 or 1; "
            f"got {header.get('CoordinateSystem', 'none')!r}. Load it in Slicer and save it as .mrk.json"
        )
    columns = [column.strip() for column in header.get("columns", "").split(",")]
    if not {"x", "y", "z", "label"} <= set(columns):
        raise FormatError(f"{name}: expected a line '# columns = ' with x, y, z and label; got {columns}")
    return system, columns


def _read_line(line: str, columns: Sequence[str], system: System, where: str) -> Landmark | None:
    try:
        cells = next(csv.reader([line], strict=True))
    except csv.Error as error:
        raise FormatError(f"{where}: expected comma-separated values; {error}") from error
    if len(cells) < len(columns):
        raise FormatError(f"{where}: expected {len(columns)} values; got {len(cells)}")
    row = dict(zip(columns, cells, strict=False))
    is_set = len(cells) == len(columns) or cells[len(columns)].strip() == _SET
    position = _position_ras(row, system, where) if is_set else None
    return stated_landmark(where, row["label"], row.get("desc", ""), position)


def _position_ras(row: dict[str, str], system: System, where: str) -> Point | None:
    position = tuple(value for axis in "xyz" if (value := finite_or_none(row[axis])) is not None)
    if len(position) != 3:
        raise FormatError(f"{where}: expected finite numbers in x, y, z; got {row['x']!r}, {row['y']!r}, {row['z']!r}")
    return ras_point(position, system)
