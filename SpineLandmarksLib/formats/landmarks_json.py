"""The data-set layout: a folder with `landmarks.json` and the images it names.

[{"study" or "patient": 10, "image": "images/a.png", "size": [W, H], "spacing_mm": [x, y],
  "landmarks_px": {"T12-L1": [x, y], ...}}, ...]

Pixels are (x = column, y = row), an integer is a pixel centre. A name that is missing or null is unknown and is masked
in training. `spacing_mm` may be one number, may be called `spacing_mm_estimated`, and may be missing, as may `size`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from SpineLandmarksLib.errors import DatasetError, FormatError, LandmarkError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.shared import PIXEL_DIGITS, SPACING_DIGITS, rounded_list
from SpineLandmarksLib.formats.strict_json import Fields, load_objects, short_repr
from SpineLandmarksLib.geometry import is_inside
from SpineLandmarksLib.landmarks import LUMBAR11, PixelXY, require_known

FILE_NAME = "landmarks.json"
_SPACINGS = ("spacing_mm", "spacing_mm_estimated")
_GROUPS = ("patient", "study")


@dataclass(frozen=True)
class Annotation:
    """The known points of one image.

    image: absolute path. group: patient or study; images of one group never part between training and test.
    points_xy: native pixels by name, only the known ones.
    spacing_mm: (between columns, between rows), None when unknown.
    size_wh: width and height in pixels, None when the image is of a kind whose header was not read.
    """

    image: Path
    group: str
    points_xy: dict[str, PixelXY] = field(default_factory=dict)
    spacing_mm: tuple[float, float] | None = None
    spacing_is_estimated: bool = False
    size_wh: tuple[int, int] | None = None


def read_landmarks_json(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> list[Annotation]:
    """Read `landmarks.json` (or the folder that holds it). Image headers are read to check the sizes, pixels are not.

    Raises FormatError: unknown or duplicate names, a point outside its image or not finite, an image outside the
    folder, a size that is not the image's; DatasetError: an image is missing or cannot be opened.
    """
    file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
    return [_read_annotation(item, file.resolve().parent, schema) for item in load_objects(file)]


def _read_annotation(item: Fields, folder: Path, schema: Sequence[str]) -> Annotation:
    image = _image(item, folder)
    size = _size(item, image)
    spacing = next((key for key in _SPACINGS if item.has(key)), None)
    return Annotation(
        image=image,
        group=_group(item),
        points_xy=_points(item, size, schema),
        spacing_mm=None if spacing is None else _spacing(item, spacing),
        spacing_is_estimated=spacing == "spacing_mm_estimated",
        size_wh=size,
    )


def _group(item: Fields) -> str:
    for key in _GROUPS:
        if isinstance(item.values.get(key), (str, int)):
            return str(item.values[key])
    raise FormatError(f"{item.where}: expected a text or whole number in 'patient' or 'study'; got neither")


def _image(item: Fields, folder: Path) -> Path:
    name = item.text("image")
    try:
        image = (folder / name).resolve()
        is_there = image.is_file()
    except (OSError, ValueError) as error:  # no name that a file can have
        raise FormatError(f"{item.where}: expected the name of an image; got {short_repr(name)}") from error
    if "\\" in name or Path(name).is_absolute() or not image.is_relative_to(folder):
        raise FormatError(f"{item.where}: expected an image inside {folder}, with forward slashes; got {name!r}")
    if not is_there:
        raise DatasetError(f"{item.where}: expected the image {name!r} in {folder}; there is none")
    return image


def _size(item: Fields, image: Path) -> tuple[int, int] | None:
    """Width and height as the image has them. A stated size that differs means that the points belong elsewhere."""
    stated = item.numbers("size", 2) if item.has("size") else None
    found = _size_in_header(image)
    if stated is not None and found is not None and stated != found:
        raise FormatError(f"{item.where}: expected the size of {image.name}, {found}; got {short_repr(stated)}")
    if found is None and stated is not None:
        return int(stated[0]), int(stated[1])
    return found


def _size_in_header(image: Path) -> tuple[int, int] | None:
    if image.suffix.lower() not in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"):
        return None
    from PIL import Image

    try:
        with Image.open(image) as opened:
            return opened.size
    except (OSError, Image.DecompressionBombError) as error:
        raise DatasetError(f"Expected an image in {image}; {error}") from error


def _points(item: Fields, size: tuple[int, int] | None, schema: Sequence[str]) -> dict[str, PixelXY]:
    named = Fields.of(item.values.get("landmarks_px"), f"{item.where}, landmarks_px")
    try:
        require_known(list(named.values), schema)
    except LandmarkError as error:
        raise FormatError(f"{named.where}: {error}") from error
    return {name: _point(named, name, size) for name in schema if named.has(name)}


def _point(named: Fields, name: str, size: tuple[int, int] | None) -> PixelXY:
    x, y = named.numbers(name, 2)
    if size is not None and not is_inside((x, y), size):
        raise FormatError(f"{named.where}: expected {name} inside the image of {size[0]} x {size[1]}; got ({x}, {y})")
    return x, y


def _spacing(item: Fields, key: str) -> tuple[float, float]:
    value = item.values[key]
    x, y = item.numbers(key, 2) if isinstance(value, list) else (item.number(key),) * 2
    if min(x, y) <= 0:
        raise FormatError(f"{item.where}: expected a positive spacing in '{key}'; got {short_repr(value)}")
    return x, y


def write_landmarks_json(annotations: Sequence[Annotation], folder: str | os.PathLike[str]) -> Path:
    """Write `landmarks.json` into `folder`, which holds the images already; return its path.

    Raises FormatError for an image outside the folder, LandmarkError for numbers not finite, OutputError.
    """
    root = Path(folder).resolve()
    path = root / FILE_NAME
    rows = [_as_json(annotation, root) for annotation in annotations]
    write_json_atomically(path, rows)
    return path


def _as_json(annotation: Annotation, root: Path) -> dict[str, object]:
    if not annotation.image.resolve().is_relative_to(root):
        raise FormatError(f"Expected images inside {root}; got {annotation.image}")
    row: dict[str, object] = {
        "patient": annotation.group,
        "image": annotation.image.resolve().relative_to(root).as_posix(),
        "landmarks_px": {name: rounded_list(point, PIXEL_DIGITS) for name, point in annotation.points_xy.items()},
    }
    if annotation.size_wh is not None:
        row["size"] = list(annotation.size_wh)
    if annotation.spacing_mm is not None:
        key = _SPACINGS[annotation.spacing_is_estimated]
        row[key] = rounded_list(annotation.spacing_mm, SPACING_DIGITS)
    return row
