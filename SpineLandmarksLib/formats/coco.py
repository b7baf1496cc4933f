"""COCO key points: one category whose key points are the landmarks, one annotation an image.

{"images": [{"id", "file_name", "width", "height"}],
 "categories": [{"id": 1, "name", "keypoints": ["T12-L1", ...], "skeleton": [[1, 2], ...]}],
 "annotations": [{"id", "image_id", "category_id", "keypoints": [x, y, v, ...], "num_keypoints", "bbox", "area"}]}

v = 2: there; v = 0: nothing said, with x = y = 0. A key point counts as ours do: an integer is a pixel centre; a box
counts from the corner of the image. Of our own, an image may have `slice_index` and `spacing_mm`.

https://cocodataset.org/#format-data
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.image_grid import (
    ImageGrid,
    PointsOnImage,
    base_name,
    box_around,
    known_pixels,
    known_size,
)
from SpineLandmarksLib.formats.shared import PIXEL_DIGITS, name_in, read_slice_fields, rounded, slice_fields, stated_set
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

TITLE = "COCO"
_THERE, _NOTHING = 2, 0


def write_coco(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write one file for any number of images. Raises FormatError without pixels or sizes; OutputError."""
    names = list(dict.fromkeys(name for one in cases for name in one.landmarks.names))
    order = [*(name for name in LUMBAR11 if name in names), *(name for name in names if name not in LUMBAR11)]
    content = {
        "info": {"description": "Landmarks of the lumbar spine"},
        "images": [_image(number, one) for number, one in enumerate(cases, start=1)],
        "categories": [_category(order)],
        "annotations": [_annotation(number, one, order) for number, one in enumerate(cases, start=1)],
    }
    write_json_atomically(path, content)


def _image(number: int, one: PointsOnImage) -> dict[str, Any]:
    width, height = known_size(one, TITLE)
    image = {"id": number, "file_name": one.name, "width": width, "height": height}
    return image | slice_fields(one.landmarks)


def _category(names: Sequence[str]) -> dict[str, Any]:
    links = [list(pair) for pair in pairwise(range(1, len(names) + 1))]
    return {"id": 1, "name": "lumbar_spine", "supercategory": "spine", "keypoints": list(names), "skeleton": links}


def _annotation(number: int, one: PointsOnImage, order: Sequence[str]) -> dict[str, Any]:
    known = known_pixels(one, TITLE)
    if not known:
        raise FormatError(f"{TITLE}: expected at least one point on {one.name}; got none")
    keypoints: list[float] = []
    for name in order:
        xy = known.get(name)
        keypoints += (0, 0, _NOTHING) if xy is None else (*(rounded(v, PIXEL_DIGITS) for v in xy), _THERE)
    box = [rounded(value, PIXEL_DIGITS) for value in box_around(list(known.values()), known_size(one, TITLE))]
    return {
        "id": number,
        "image_id": number,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": keypoints,
        "num_keypoints": len(known),
        "bbox": box,
        "area": rounded(box[2] * box[3], PIXEL_DIGITS),
    }


def read_coco(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the annotations of every image, in pixels; those of categories without our names are passed over.

    Raises FormatError: a field missing or of a wrong kind, unknown images or names, several annotations of an image.
    """
    file = Fields.of(load_json(path), os.fspath(path))
    images = {item.whole_number("id"): item for item in file.objects("images")}
    names = {item.whole_number("id"): _keypoint_names(item, schema) for item in file.objects("categories")}
    found: dict[int, PointsOnImage] = {}
    for item in file.objects("annotations"):
        number, category = item.whole_number("image_id"), item.whole_number("category_id")
        if not item.has("keypoints") or not names.get(category):
            continue
        if number in found or number not in images:
            raise FormatError(f"{item.where}: expected one annotation for each image in 'images'; got image {number}")
        found[number] = _points(images[number], item, names[category], schema)
    if not found:
        raise FormatError(f"{file.where}: expected key points named as {', '.join(schema)}; found none")
    return list(found.values())


def _keypoint_names(category: Fields, schema: Sequence[str]) -> list[str]:
    """Empty for a category that has none of ours."""
    names = [str(name) for name in category.list("keypoints")] if category.has("keypoints") else []
    return names if any(name_in(schema, name) in schema for name in names) else []


def _points(image: Fields, item: Fields, names: Sequence[str], schema: Sequence[str]) -> PointsOnImage:
    values = item.numbers("keypoints", 3 * len(names))
    marks = [
        Landmark(name, pixel_xy=(values[3 * n], values[3 * n + 1]))
        for n, name in enumerate(names)
        if values[3 * n + 2] != _NOTHING
    ]
    size = image.whole_number("width"), image.whole_number("height")
    name = image.text("file_name")
    said = stated_set(marks, schema, item.where, input=name, **read_slice_fields(image))
    return PointsOnImage(said, ImageGrid(base_name(name), size))
