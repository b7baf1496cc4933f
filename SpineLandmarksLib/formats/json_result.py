"""The result of `predict` as JSON: a stable contract, scripts depend on its fields.

{"input", "series_uid", "slice_index", "spacing_mm": [x, y], "bundle", "runtime_s", "warnings": [...],
 "landmarks": [{"name", "status", "position_ras_mm": [x, y, z], "pixel_xy": [x, y], "confidence", "radius95_mm",
                "needs_review"}],
 "needs_review", "notes": [...], "numberings": [{"shift": 0, "probability"}, {"shift": -1, ...}, ...],
 "corners": [{as a landmark}, ...]}

A shift of +1 moves all names one level toward the head, -1 toward the feet; the likeliest comes first.
Unknown values are null. Positions are RAS mm; pixels are native pixels of the chosen slice. New fields may be added at
the end of an object; a reader ignores those it does not know.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    MM_DIGITS,
    PIXEL_DIGITS,
    SPACING_DIGITS,
    System,
    checked_landmark,
    filled,
    ras_point,
    read_slice_fields,
    rounded_list,
    rounded_or_none,
    stated_set,
)
from SpineLandmarksLib.formats.strict_json import Fields, load_json, short_repr
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet


def write_json(landmarks: LandmarkSet, path: str | os.PathLike[str]) -> None:
    """Write the result of `predict` as JSON.

    Args:
        landmarks: positions in RAS mm, pixels native.
        path: of the file, which is replaced whole.

    Raises:
        OutputError: the file cannot be written; nothing is changed.
        LandmarkError: a number is not finite.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_json(LandmarkSet((Landmark("L3", "out_of_view"),), input="study"), f"{folder}/case.json")
    ...     load_json(f"{folder}/case.json")["landmarks"][0]["status"]
    'out_of_view'
    """
    write_json_atomically(path, as_json(landmarks))


def as_json(landmarks: LandmarkSet) -> dict[str, Any]:
    """The contract's fields in its order, rounded: mm and pixels to 3 decimals, confidence to 4."""
    return {
        "input": landmarks.input,
        "series_uid": landmarks.series_uid,
        "slice_index": landmarks.slice_index,
        "spacing_mm": rounded_list(landmarks.spacing_mm, SPACING_DIGITS),
        "bundle": landmarks.bundle,
        "runtime_s": rounded_or_none(landmarks.runtime_s, 3),
        "warnings": list(landmarks.warnings),
        "landmarks": [landmark_as_json(landmark) for landmark in landmarks],
        "needs_review": landmarks.needs_review,
        "notes": list(landmarks.notes),
        "numberings": [
            {"shift": shift, "probability": rounded_or_none(probability, CONFIDENCE_DIGITS)}
            for shift, probability in landmarks.numberings
        ],
        "corners": [landmark_as_json(landmark) for landmark in landmarks.corners],
    }


def landmark_as_json(landmark: Landmark) -> dict[str, Any]:
    return {
        "name": landmark.name,
        "status": landmark.status,
        "position_ras_mm": rounded_list(landmark.position_ras_mm, MM_DIGITS),
        "pixel_xy": rounded_list(landmark.pixel_xy, PIXEL_DIGITS),
        "confidence": rounded_or_none(landmark.confidence, CONFIDENCE_DIGITS),
        "radius95_mm": rounded_or_none(landmark.radius95_mm, MM_DIGITS),
        "needs_review": landmark.needs_review,
    }


def read_json(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """Read the result of `predict`.

    Args:
        path: of the file.
        schema: names in the order that is wanted.

    Returns:
        Positions in RAS mm, pixels native; names that the file lacks are `not_visible`.

    Raises:
        FormatError: not JSON, a field missing or of a wrong kind, unknown or duplicate names, impossible values.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     write_json(LandmarkSet((Landmark("L3", pixel_xy=(10.0, 20.0)),), input="study"), f"{folder}/case.json")
    ...     found = read_json(f"{folder}/case.json")
    >>> found["L3"].pixel_xy, found["L4"].status
    ((10.0, 20.0), 'not_visible')
    """
    return filled(parse_json_result(path, schema), schema)


def parse_json_result(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: System | None = None
) -> LandmarkSet:
    """What a result says. frame: of its positions, which should be RAS. Raises as `read_json`."""
    return from_fields(Fields.of(load_json(path), os.fspath(path)), schema, frame or "RAS")


def from_fields(fields: Fields, schema: Sequence[str] | None = None, frame: System = "RAS") -> LandmarkSet:
    """The contract's object inside another file; without a schema its landmarks are all.

    Raises FormatError.
    """
    landmarks = [read_landmark(item, frame) for item in fields.objects("landmarks")]
    corners = [read_landmark(item, frame) for item in fields.objects("corners")] if fields.has("corners") else []
    return stated_set(
        [*landmarks, *corners],
        [landmark.name for landmark in landmarks] if schema is None else schema,
        fields.where,
        input=fields.text("input"),
        series_uid=fields.text("series_uid") if fields.has("series_uid") else None,
        **read_slice_fields(fields),
        bundle=fields.text("bundle") if fields.has("bundle") else None,
        runtime_s=fields.number("runtime_s") if fields.has("runtime_s") else None,
        warnings=_read_texts(fields, "warnings"),
        needs_review=fields.flag("needs_review") if fields.has("needs_review") else None,
        notes=_read_texts(fields, "notes"),
        numberings=_read_numberings(fields),
    )


def read_landmark(item: Fields, frame: System = "RAS") -> Landmark:
    return checked_landmark(
        item.where,
        item.text("name"),
        status=item.text("status"),
        position_ras_mm=ras_point(item.numbers("position_ras_mm", 3), frame) if item.has("position_ras_mm") else None,
        pixel_xy=item.numbers("pixel_xy", 2) if item.has("pixel_xy") else None,
        confidence=item.number("confidence") if item.has("confidence") else None,
        radius95_mm=item.number("radius95_mm") if item.has("radius95_mm") else None,
        needs_review=item.flag("needs_review") if item.has("needs_review") else None,
    )


def _read_numberings(fields: Fields) -> tuple[tuple[int, float], ...]:
    if not fields.has("numberings"):
        return ()
    return tuple((item.whole_number("shift"), item.number("probability")) for item in fields.objects("numberings"))


def _read_texts(fields: Fields, name: str) -> tuple[str, ...]:
    texts = fields.list(name) if fields.has(name) else []
    wrong = [text for text in texts if not isinstance(text, str)]
    if wrong:
        raise FormatError(f"{fields.where}: expected texts in '{name}'; got {short_repr(wrong[0])}")
    return tuple(texts)
