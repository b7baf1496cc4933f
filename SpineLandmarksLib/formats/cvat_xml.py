"""CVAT's own XML ("CVAT for images 1.1"): a point shape for each landmark, whose label is its name.

<annotations><version>1.1</version>
  <image id="0" name="a.png" width="320" height="400">
    <points label="L1" source="manual" occluded="0" points="12.50,30.50" z_order="0">
      <attribute name="status">confirmed</attribute>
      <attribute name="confidence">0.97</attribute>
    </points></image></annotations>

CVAT counts from the corner of the image, so that the centre of pixel 0 is 0.5. The attributes are ours; without them a
point that is `manual` was put there by a person (`corrected`), and one that is `auto` is `predicted`. Points inside a
<skeleton> are read too; one that is `outside` says nothing.

https://docs.cvat.ai/docs/dataset_management/formats/format-cvat/
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from pathlib import Path

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, base_name, known_pixels, known_size
from SpineLandmarksLib.formats.plain_text import finite_or_none
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    PIXEL_DIGITS,
    checked_landmark,
    name_in,
    rounded,
    stated_set,
)
from SpineLandmarksLib.landmarks import LUMBAR11, UNREVIEWED, Landmark

TITLE = "CVAT"
_HALF = 0.5


def write_cvat_xml(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write one file for any number of images. Raises FormatError without pixels or sizes; OutputError."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    for number, one in enumerate(cases):
        width, height = known_size(one, TITLE)
        about = {"id": str(number), "name": one.name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", about)
        known = known_pixels(one, TITLE)
        for mark in one.landmarks:
            if mark.name in known:
                _write_point(image, mark, *known[mark.name])
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    write_text_atomically(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')


def _write_point(image: ElementTree.Element, mark: Landmark, x: float, y: float) -> None:
    place = ",".join(f"{rounded(value + _HALF, PIXEL_DIGITS):.{PIXEL_DIGITS}f}" for value in (x, y))
    source = "auto" if mark.status in UNREVIEWED else "manual"
    about = {"label": mark.name, "source": source, "occluded": "0", "points": place, "z_order": "0"}
    point = ElementTree.SubElement(image, "points", about)
    ElementTree.SubElement(point, "attribute", {"name": "status"}).text = mark.status
    if mark.confidence is not None:
        confidence = f"{rounded(mark.confidence, CONFIDENCE_DIGITS):.{CONFIDENCE_DIGITS}f}"
        ElementTree.SubElement(point, "attribute", {"name": "confidence"}).text = confidence


def read_cvat_xml(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the points of every image that has some, in pixels; shapes of other labels are passed over.

    Raises FormatError: no XML of CVAT, a video, a document type, several points of a name, no number.
    """
    name = os.fspath(path)
    root = _parsed(path)
    if root.tag != "annotations" or root.find("track") is not None:
        raise FormatError(
            f"{name}: expected CVAT for images 1.1; got <{root.tag}>{' of a video' * (root.tag[0] == 'a')}"
        )
    found = [_points(item, f"{name}, image {number}", schema) for number, item in enumerate(root.iter("image"))]
    known = [one for one in found if len(one.landmarks)]
    if not known:
        raise FormatError(f"{name}: expected points labelled {', '.join(schema)}; found none on {len(found)} images")
    return known


def _parsed(path: str | os.PathLike[str]) -> ElementTree.Element:
    name = os.fspath(path)
    try:
        content = Path(path).read_bytes()
        if b"<!DOCTYPE" in content or b"<!ENTITY" in content:  # entities can ask for files, or grow without end
            raise FormatError(f"{name}: expected XML without a document type; got one")
        return ElementTree.fromstring(content)
    except OSError as error:
        raise FormatError(f"Could not read {name}: {error.strerror or error}") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise FormatError(f"{name}: expected XML; {error}") from error


def _points(item: ElementTree.Element, where: str, schema: Sequence[str]) -> PointsOnImage:
    marks = [
        _landmark(point, where)
        for point in item.iter("points")
        if name_in(schema, point.get("label", "")) in schema and point.get("outside", "0") != "1"
    ]
    width, height = (_number(item.get(side, ""), f"{where}, {side}") for side in ("width", "height"))
    file = item.get("name", "")
    grid = ImageGrid(base_name(file), (int(width), int(height)))
    return PointsOnImage(stated_set(marks, schema, where, input=file), grid)


def _landmark(point: ElementTree.Element, where: str) -> Landmark:
    label = point.get("label", "")
    where = f"{where}, {label}"
    cells = point.get("points", "").split(",")
    if len(cells) != 2:
        raise FormatError(f"{where}: expected one point x,y; got {point.get('points')!r}")
    x, y = (_number(cell, where) - _HALF for cell in cells)
    said = {item.get("name"): (item.text or "").strip() for item in point.iter("attribute")}
    status = said.get("status") or ("predicted" if point.get("source") in ("auto", "semi-auto") else "corrected")
    confidence = _number(said["confidence"], where) if said.get("confidence") else None
    return checked_landmark(where, label, status=status, pixel_xy=(x, y), confidence=confidence)


def _number(text: str, where: str) -> float:
    value = finite_or_none(text)
    if value is None:
        raise FormatError(f"{where}: expected a finite number; got {text!r}")
    return value
