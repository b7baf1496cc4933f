"""What the landmark formats share: rounding, and one rule for names that are unknown, double or missing."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, require_known

MM_DIGITS = 3
PIXEL_DIGITS = 3
CONFIDENCE_DIGITS = 4
SPACING_DIGITS = 6  # a factor: an error in it grows over 500 pixels


def rounded(value: float, digits: int) -> float:
    """`value` with so many decimals, never -0.0. Raises LandmarkError for NaN and infinity.

    >>> rounded(-0.0001, 3)
    0.0
    """
    if not math.isfinite(value):
        raise LandmarkError(f"Expected finite numbers to write; got {value}")
    return round(float(value), digits) + 0.0


def rounded_list(values: Iterable[float] | None, digits: int) -> list[float] | None:
    return None if values is None else [rounded(value, digits) for value in values]


def rounded_or_none(value: float | None, digits: int) -> float | None:
    return None if value is None else rounded(value, digits)


def complete_set(
    landmarks: Sequence[Landmark], schema: Sequence[str], path: str | os.PathLike[str], **provenance: Any
) -> LandmarkSet:
    """The landmarks in the order of `schema`; a name that the file lacks becomes `not_visible`, so it is masked.

    `provenance` are fields of LandmarkSet. Raises FormatError for unknown and duplicate names.
    """
    try:
        require_known([landmark.name for landmark in landmarks], schema)
    except LandmarkError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error
    by_name = {landmark.name: landmark for landmark in landmarks}
    ordered = tuple(by_name.get(name, Landmark(name, "not_visible")) for name in schema)
    return LandmarkSet(ordered, **provenance)


def checked_landmark(where: str, name: str, **fields: Any) -> Landmark:
    """A Landmark; what breaks its rules becomes a FormatError that says where."""
    try:
        return Landmark(name, **fields)
    except LandmarkError as error:
        raise FormatError(f"{where}: {error}") from error
