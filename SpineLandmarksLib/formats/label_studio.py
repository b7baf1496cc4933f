"""Label Studio's JSON: tasks whose regions are key points in percent of the image.

[{"data": {"image": "a.png"},
  "predictions": [{"model_version", "result": [REGION, ...]}] or "annotations": [{"result": [REGION, ...]}]}]
REGION: {"id", "from_name": "landmark", "to_name": "image", "type": "keypointlabels",
         "original_width", "original_height", "image_rotation": 0,
         "value": {"x", "y", "width", "keypointlabels": ["L1"]}, "score", "meta": {"text": ["confirmed"]}}

Percent count from the image's corner, so that the centre of pixel 0 of 100 is 0.5. What no person has looked at is a
prediction, the rest an annotation; the status stands in the region's `meta`, and without it an annotation's point is
`corrected` and a prediction's `predicted`. Of our own, `data` may have `slice_index` and `spacing_mm`.

https://labelstud.io/guide/tasks, https://labelstud.io/guide/export
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, base_name, known_pixels, known_size
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    checked_landmark,
    name_in,
    read_slice_fields,
    rounded,
    slice_fields,
    stated_set,
)
from SpineLandmarksLib.formats.strict_json import Fields, load_objects
from SpineLandmarksLib.landmarks import LUMBAR11, STATUSES, UNREVIEWED, Landmark

TITLE = "Label Studio"
_DIGITS = 8
_KIND = "keypointlabels"


def write_label_studio(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write one file of tasks for any number of images. Raises FormatError without pixels or sizes; OutputError."""
    write_json_atomically(path, [_task(one) for one in cases])


def _task(one: PointsOnImage) -> dict[str, Any]:
    known, size = known_pixels(one, TITLE), known_size(one, TITLE)
    marks = [mark for mark in one.landmarks if mark.name in known]
    result = [_region(mark, known[mark.name], size) for mark in marks]
    data = {"image": one.name} | slice_fields(one.landmarks)
    if any(mark.status not in UNREVIEWED for mark in marks):
        return {"data": data, "annotations": [{"result": result}]}
    version = {"model_version": one.landmarks.bundle} if one.landmarks.bundle else {}
    return {"data": data, "predictions": [version | {"result": result}]}


def _region(mark: Landmark, xy: tuple[float, float], size: tuple[int, int]) -> dict[str, Any]:
    x, y = (rounded(100 * (value + 0.5) / side, _DIGITS) for value, side in zip(xy, size, strict=True))
    region: dict[str, Any] = {
        "id": mark.name,
        "from_name": "landmark",
        "to_name": "image",
        "type": _KIND,
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": 0.5, _KIND: [mark.name]},
        "meta": {"text": [mark.status]},
    }
    if mark.confidence is not None:
        region["score"] = rounded(mark.confidence, CONFIDENCE_DIGITS)
    return region


def read_label_studio(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read each annotation of each task, in pixels, or its predictions where nobody has annotated it.

    Raises FormatError: no such tasks, a rotated image, several points of a name, values that are none.
    """
    found = [one for task in load_objects(path) for one in _read_task(task, schema)]
    if not found:
        raise FormatError(f"{os.fspath(path)}: expected key points labelled {', '.join(schema)}; found none")
    return found


def _read_task(task: Fields, schema: Sequence[str]) -> Iterator[PointsOnImage]:
    for kind, status in (("annotations", "corrected"), ("predictions", "predicted")):
        groups = list(task.objects(kind)) if task.has(kind) else []
        known = [_read_group(group, task, schema, status) for group in groups if not group.values.get("was_cancelled")]
        known = [one for one in known if len(one.landmarks)]
        yield from known
        if known:
            return


def _read_group(group: Fields, task: Fields, schema: Sequence[str], status: str) -> PointsOnImage:
    data = Fields.of(task.values.get("data"), f"{task.where}, data")
    regions = [region for region in group.objects("result") if region.values.get("type") == _KIND]
    known = [region for region in regions if name_in(schema, _label(region)) in schema]
    sizes = {(region.whole_number("original_width"), region.whole_number("original_height")) for region in known}
    if len(sizes) > 1:
        raise FormatError(f"{group.where}: expected one width and height for all points; got {sorted(sizes)}")
    name = data.text("image")
    version = group.text("model_version") if group.has("model_version") else None
    marks = [_landmark(region, status) for region in known]
    said = stated_set(marks, schema, group.where, input=name, bundle=version or None, **read_slice_fields(data))
    return PointsOnImage(said, ImageGrid(base_name(name), next(iter(sizes), None)))


def _label(region: Fields) -> str:
    labels = Fields.of(region.values.get("value"), f"{region.where}, value").values.get(_KIND)
    return str(labels[0]) if isinstance(labels, list) and len(labels) == 1 else ""


def _landmark(region: Fields, status: str) -> Landmark:
    if region.has("image_rotation") and region.number("image_rotation"):
        raise FormatError(
            f"{region.where}: expected an image that is not rotated; got {region.values['image_rotation']}"
        )
    value = Fields.of(region.values["value"], f"{region.where}, value")
    x, y = (
        value.number(axis) / 100 * region.whole_number(f"original_{side}") - 0.5
        for axis, side in (("x", "width"), ("y", "height"))
    )
    texts = Fields.of(region.values.get("meta") or {}, f"{region.where}, meta").values.get("text")
    said = next((text for text in texts if text in STATUSES), status) if isinstance(texts, list) else status
    score = region.number("score") if region.has("score") else None
    return checked_landmark(region.where, _label(region), status=said, pixel_xy=(x, y), confidence=score)
