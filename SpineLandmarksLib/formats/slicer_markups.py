"""3D Slicer markups (.mrk.json, schema v1.0.3): one point list whose control points carry the landmark names.

Slicer writes LPS by default and so do we; both LPS and RAS are read. An absent landmark keeps its row with
`positionStatus` "undefined": the order of the rows is the order of the landmarks, and their number is fixed. A file
holds no pixels: what is read back has patient positions only. A confirmed point is locked.

Of what Slicer reads beyond its schema: "0" and 0 for RAS, "1" and 1 for LPS, points without a position, and the status
"missing".
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    MM_DIGITS,
    PIXEL_DIGITS,
    System,
    checked_landmark,
    filled,
    ras_point,
    rounded,
    stated_set,
)
from SpineLandmarksLib.formats.strict_json import Fields, load_json, short_repr
from SpineLandmarksLib.geometry import lps_from_ras
from SpineLandmarksLib.landmarks import ABSENT, LUMBAR11, STATUSES, Landmark, LandmarkSet, Point

SCHEMA_URL = (
    "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/"
    "markups-schema-v1.0.3.json#"
)
POSITION_DIGITS = 6  # as fine as Slicer compares; a file that goes to and fro does not drift
#: How a file names its frame; numbers are those of Slicer's own enumeration.
SYSTEMS: dict[str, System] = {"RAS": "RAS", "LPS": "LPS", "0": "RAS", "1": "LPS"}
#: A point that is still at the mouse has a position as well.
_PLACED = ("defined", "preview")
UNITS = ("mm", ["mm", "UCUM", "millimeter"])
#: Small balls in mm, not in percent of the window, so that a zoomed view shows the anatomy beside them.
DISPLAY = {
    "visibility": True,
    "opacity": 1.0,
    "color": [0.4, 1.0, 1.0],
    "selectedColor": [1.0, 0.85, 0.2],
    "activeColor": [0.4, 1.0, 0.0],
    "propertiesLabelVisibility": False,
    "pointLabelsVisibility": True,
    "textScale": 2.5,
    "glyphType": "Sphere3D",
    "glyphSize": 3.0,
    "useGlyphScale": False,
    "sliceProjection": True,
    "sliceProjectionUseFiducialColor": True,
    "sliceProjectionOpacity": 0.4,
}
_LPS_AXES = [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]
_PIXEL, _REVIEW = "pixel ", "; needs review"
_DESCRIPTION = re.compile(
    rf"(?P<status>{'|'.join(STATUSES)})(; confidence (?P<confidence>[\d.e-]+))?(; radius95 (?P<radius>[\d.e-]+) mm)?"
)


def write_markups(landmarks: LandmarkSet, path: str | os.PathLike[str]) -> None:
    """Write one Fiducial node of 3D Slicer, named after the input.

    A point that has pixels but no millimetres (an image without spacing) is written as "undefined", with the pixels in
    its description: a made-up position would open in the wrong place.

    Args:
        landmarks: positions in RAS mm; the file has them in LPS.
        path: of the file, which is replaced whole; Slicer knows it by the ending .mrk.json.

    Raises:
        OutputError: the file cannot be written; nothing is changed.
        LandmarkError: a number is not finite.

    Source:
        `SCHEMA_URL`, the schema of Slicer's markups

    >>> from tempfile import TemporaryDirectory
    >>> landmarks = LandmarkSet((Landmark("L3", position_ras_mm=(1.5, -20.0, 310.0)),))
    >>> with TemporaryDirectory() as folder:
    ...     write_markups(landmarks, f"{folder}/case.mrk.json")
    ...     load_json(f"{folder}/case.mrk.json")["markups"][0]["controlPoints"][0]["position"]
    [-1.5, 20.0, 310.0]
    """
    markup = {
        "type": "Fiducial",
        "name": f"Landmarks {Path(landmarks.input).name}".strip(),
        "coordinateSystem": "LPS",
        "coordinateUnits": "mm",
        "locked": False,
        "fixedNumberOfControlPoints": True,
        "labelFormat": "%N-%d",
        "lastUsedControlPointNumber": len(landmarks.points),
        "description": "; ".join(landmarks.warnings),
        "controlPoints": [_control_point(row, item, landmarks) for row, item in enumerate(landmarks.points, start=1)],
        "measurements": [],
        "display": DISPLAY,
    }
    write_json_atomically(path, {"@schema": SCHEMA_URL, "markups": [markup]})


def _control_point(index: int, landmark: Landmark, source: LandmarkSet) -> dict[str, Any]:
    point: dict[str, Any] = {
        "id": str(index),
        "label": landmark.name,
        "description": control_point_text(landmark) + _REVIEW * bool(source.asks_for_review(landmark)),
        "associatedNodeID": "",
        "orientation": _LPS_AXES,
        "selected": True,
        "locked": landmark.status == "confirmed",
        "visibility": True,
        "positionStatus": "undefined",
    }
    if landmark.position_ras_mm is not None:
        position_lps = lps_from_ras(landmark.position_ras_mm)
        point["position"] = [rounded(value, POSITION_DIGITS) for value in position_lps]
        point["positionStatus"] = "defined"
    return point


def control_point_text(landmark: Landmark) -> str:
    parts: list[str] = [landmark.status]
    if landmark.confidence is not None:
        parts.append(f"confidence {rounded(landmark.confidence, CONFIDENCE_DIGITS)}")
    if landmark.radius95_mm is not None:
        parts.append(f"radius95 {rounded(landmark.radius95_mm, MM_DIGITS)} mm")
    if landmark.position_ras_mm is None and landmark.pixel_xy is not None:
        x, y = (rounded(value, PIXEL_DIGITS) for value in landmark.pixel_xy)
        parts.append(f"{_PIXEL}({x}, {y}), no millimetres known")
    return "; ".join(parts)


def read_markups(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """Read a point list of 3D Slicer; a point without our description was put there by a person and is `corrected`.

    Args:
        path: of the file, in LPS or RAS.
        schema: names in the order that is wanted.

    Returns:
        Positions in RAS mm, no pixels; names that the file lacks are `not_visible`.

    Raises:
        FormatError: no point list or several, other units, unknown or duplicate labels, bad positions.

    >>> from tempfile import TemporaryDirectory
    >>> landmarks = LandmarkSet((Landmark("L3", position_ras_mm=(1.5, -20.0, 310.0)),))
    >>> with TemporaryDirectory() as folder:
    ...     write_markups(landmarks, f"{folder}/case.mrk.json")
    ...     read_markups(f"{folder}/case.mrk.json")["L3"].position_ras_mm
    (1.5, -20.0, 310.0)
    """
    return filled(parse_markups(path, schema), schema)


def parse_markups(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: System | None = None
) -> LandmarkSet:
    """What a point list says. frame: of its positions, whatever it says itself. Raises as `read_markups`."""
    file = Fields.of(load_json(path), os.fspath(path))
    markups = [markup for markup in file.objects("markups") if markup.text("type") == "Fiducial"]
    if len(markups) != 1:
        raise FormatError(f"{file.where}: expected one markup of type Fiducial; got {len(markups)}")
    system = _coordinate_system(markups[0])
    points = [_read_point(item, frame or system) for item in markups[0].objects("controlPoints")]
    return stated_set([point for point in points if point is not None], schema, path, input=os.fspath(path))


def _coordinate_system(markup: Fields) -> System:
    stated = markup.values.get("coordinateSystem", "LPS")
    system = SYSTEMS.get(str(stated)) if type(stated) in (str, int) else None
    if system is None:
        raise FormatError(f"{markup.where}: expected LPS or RAS in 'coordinateSystem'; got {short_repr(stated)}")
    units = markup.values.get("coordinateUnits", "mm")
    if units not in UNITS:
        raise FormatError(f"{markup.where}: expected mm in 'coordinateUnits'; got {short_repr(units)}")
    return system


def _read_point(item: Fields, system: System) -> Landmark | None:
    defined = item.has("position") and item.values.get("positionStatus", "defined") in _PLACED
    position = ras_point(item.numbers("position", 3), system) if defined else None
    return stated_landmark(item.where, item.text("label"), str(item.values.get("description", "")), position)


def stated_landmark(where: str, label: str, description: str, position_ras_mm: Point | None) -> Landmark | None:
    """The landmark of a control point; None for one that nobody has placed, or that has no place in millimetres."""
    is_ours = _DESCRIPTION.match(description) is not None
    if position_ras_mm is None and (not is_ours or _PIXEL in description):
        return None
    return described_landmark(where, label, description, position_ras_mm)


def described_landmark(where: str, label: str, description: str, position_ras_mm: tuple[float, ...] | None) -> Landmark:
    """A control point of Slicer as a landmark: its status and doubt are what its description says of them."""
    found = _DESCRIPTION.match(description)
    said: dict[str, Any] = found.groupdict() if found else {}
    defined = position_ras_mm is not None
    status = said.get("status") or ("corrected" if defined else "not_visible")
    if defined == (status in ABSENT):  # the person who set or unset the point in Slicer knows better
        status = "corrected" if defined else "not_visible"
    return checked_landmark(
        where,
        label.strip(),
        status=status,
        position_ras_mm=position_ras_mm,
        confidence=_number(said.get("confidence")),
        radius95_mm=_number(said.get("radius")),
    )


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text)
    except ValueError:  # a description that a person has edited
        return None
