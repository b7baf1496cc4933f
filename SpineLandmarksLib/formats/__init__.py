"""Landmark formats by the ending of their files: how each is written, and how each is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.csv_table import parse_csv, write_csv
from SpineLandmarksLib.formats.dicom_sr_reading import parse_sr
from SpineLandmarksLib.formats.fcsv import parse_fcsv
from SpineLandmarksLib.formats.json_result import parse_json_result, write_json
from SpineLandmarksLib.formats.shared import System
from SpineLandmarksLib.formats.slicer_markups import parse_markups, write_markups
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

Writer: TypeAlias = Callable[[LandmarkSet, str | os.PathLike[str]], None]
Reader: TypeAlias = Callable[[str | os.PathLike[str], Sequence[str], System | None], LandmarkSet]

#: By the name that `--format` takes, which is also the file's ending.
FORMATS: dict[str, Writer] = {"json": write_json, "csv": write_csv, "mrk.json": write_markups}
#: By ending, in small letters; of two that fit, the first. What a file does not speak of is not in what they return.
READERS: dict[str, Reader] = {
    ".mrk.json": parse_markups,
    ".json": parse_json_result,
    ".csv": parse_csv,
    ".fcsv": parse_fcsv,
    ".sr.dcm": parse_sr,
    ".dcm": parse_sr,
}
#: How many millimetres each is.
Unit = Literal["mm", "cm", "m"]
UNITS: dict[Unit, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}


@dataclass(frozen=True)
class Reading:
    """How a person says that a file's positions are to be read. frame: None for the one that the file states."""

    frame: System | None = None
    unit: Unit = "mm"


AS_STATED = Reading()


def ending_of(name: str) -> str | None:
    """The ending by which a landmark file is read, as it is written there; None for another file.

    >>> ending_of("Case.MRK.json"), ending_of("notes.txt")
    ('.MRK.json', None)
    """
    known = next((ending for ending in READERS if name.lower().endswith(ending)), None)
    return None if known is None else name[-len(known) :]


def read_landmarks(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, reading: Reading = AS_STATED
) -> LandmarkSet:
    """What a file of any known kind says, in the order of `schema`; names that it does not speak of are left out.

    RAS mm. Raises FormatError: an unknown ending, a file that breaks its format, unknown names.
    """
    name = os.fspath(path)
    ending = ending_of(name)
    if ending is None:
        raise FormatError(f"{name}: expected a file that ends in {', '.join(READERS)}; got another")
    said = READERS[ending.lower()](path, schema, reading.frame)
    factor = UNITS[reading.unit]
    landmarks, corners = (tuple(_scaled(mark, factor) for mark in marks) for marks in (said.landmarks, said.corners))
    return said if factor == 1 else replace(said, landmarks=landmarks, corners=corners)


def _scaled(mark: Landmark, factor: float) -> Landmark:
    if mark.position_ras_mm is None:
        return mark
    r, a, s = mark.position_ras_mm
    return replace(mark, position_ras_mm=(r * factor, a * factor, s * factor))
