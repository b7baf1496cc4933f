"""What the landmark formats share: rounding, a slice's fields, and one rule for unknown, double or missing names."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.formats.strict_json import Fields, short_repr
from SpineLandmarksLib.geometry import ras_from_lps
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, Landmark, LandmarkSet, Point, require_known, require_unique

MM_DIGITS = 3
PIXEL_DIGITS = 3
CONFIDENCE_DIGITS = 4
SPACING_DIGITS = 6  # a factor: an error in it grows over 500 pixels

System = Literal["RAS", "LPS"]
#: What people and programs put between two levels.
_DASH = re.compile(r"\s*[-/\u2010-\u2015\u2212]\s*")
#: What a thoracic level begins with in German and Polish, and in French, Spanish and Italian.
_THORACIC = re.compile(r"^(?:TH|D)(?=\d)")


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


def slice_fields(landmarks: LandmarkSet) -> dict[str, Any]:
    """What is known of the slice, as fields of our own in another's object."""
    fields = {"slice_index": landmarks.slice_index, "spacing_mm": rounded_list(landmarks.spacing_mm, SPACING_DIGITS)}
    return {key: value for key, value in fields.items() if value is not None}


def read_slice_fields(fields: Fields) -> dict[str, Any]:
    """The fields of `LandmarkSet` that `slice_fields` has written. Raises FormatError for a spacing that is none."""
    spacing = fields.numbers("spacing_mm", 2) if fields.has("spacing_mm") else None
    if spacing is not None and min(spacing) <= 0:
        raise FormatError(f"{fields.where}: expected a positive spacing in 'spacing_mm'; got {short_repr(spacing)}")
    return {
        "slice_index": fields.whole_number("slice_index") if fields.has("slice_index") else None,
        "spacing_mm": spacing,
    }


def stated_set(
    landmarks: Sequence[Landmark], schema: Sequence[str], path: str | os.PathLike[str], **provenance: Any
) -> LandmarkSet:
    """The landmarks that a file speaks of, in the order of `schema`, by the names that it has there.

    Corners of endplates that it speaks of beside the centres of a lumbar schema come as `corners`. `provenance` are
    fields of LandmarkSet. Raises FormatError for unknown and duplicate names.
    """
    is_lumbar = not schema or set(schema) & set(LUMBAR11)
    beside = [name for name in CORNERS22 if name not in schema] if is_lumbar else []
    named = [replace(mark, name=name_in((*schema, *beside), mark.name)) for mark in landmarks]
    try:
        require_known([mark.name for mark in named if mark.name not in beside], schema)
        require_unique([mark.name for mark in named])
    except LandmarkError as error:
        raise FormatError(f"{os.fspath(path)}: {error}") from error
    of_schema, corners = (
        tuple(sorted((mark for mark in named if mark.name in names), key=lambda mark: names.index(mark.name)))
        for names in (schema, beside)
    )
    return LandmarkSet(of_schema, corners=corners, **provenance)


def name_in(schema: Sequence[str], label: str) -> str:
    """The name of `schema` that a label means, whatever its case and kind of dash; the label where there is none.

    >>> name_in(["L1", "L1-L2"], "l1/L2"), name_in(["L1", "L1-L2"], "L1 \u2013 L2"), name_in(["L1"], "F-1")
    ('L1-L2', 'L1-L2', 'F-1')
    """
    if label in schema:
        return label
    plain = _THORACIC.sub("T", _DASH.sub("-", label.strip()).upper())
    return next((name for name in schema if name.upper() == plain), label)


def filled(landmarks: LandmarkSet, schema: Sequence[str]) -> LandmarkSet:
    """One landmark for each name of `schema`; one that is lacking becomes `not_visible`, so it is masked."""
    known = {landmark.name: landmark for landmark in landmarks}
    return replace(landmarks, landmarks=tuple(known.get(name, Landmark(name, "not_visible")) for name in schema))


def complete_set(
    landmarks: Sequence[Landmark], schema: Sequence[str], path: str | os.PathLike[str], **provenance: Any
) -> LandmarkSet:
    """`stated_set`, `filled`."""
    return filled(stated_set(landmarks, schema, path, **provenance), schema)


def ras_point(position: tuple[float, ...] | None, system: System) -> Point | None:
    """A position in RAS mm from one in `system`."""
    if position is None:
        return None
    r, a, s = position if system == "RAS" else ras_from_lps(position).tolist()
    return r, a, s


def checked_landmark(where: str, name: str, **fields: Any) -> Landmark:
    """A Landmark; what breaks its rules becomes a FormatError that says where."""
    try:
        return Landmark(name, **fields)
    except LandmarkError as error:
        raise FormatError(f"{where}: {error}") from error
