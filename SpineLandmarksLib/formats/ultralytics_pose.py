"""Key points as Ultralytics trains on them (YOLO pose): a text file beside each image.

    class cx cy w h  x y v  x y v ...        one line an object, shares of the image's width and height

The points come in the order of the landmarks, which the file does not name; v = 2 is there, 0 is not. Shares count from
the image's corner, so that the centre of pixel 0 of 100 is 0.005. In the data set's YAML: `kpt_shape: [11, 3]`,
`names: {0: lumbar_spine}`, and `flip_idx: [0, 1, ..., 10]`.

https://docs.ultralytics.com/datasets/pose/
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.image_grid import (
    ImageGrid,
    PointsOnImage,
    box_around,
    known_pixels,
    known_size,
    only_one,
)
from SpineLandmarksLib.formats.plain_text import read_text
from SpineLandmarksLib.formats.shared import rounded, stated_set
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

TITLE = "Ultralytics pose"
_DIGITS = 8  # a hundredth of a thousandth of a pixel
_BOX = 5


def write_ultralytics_pose(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write the line of one image. Raises FormatError without pixels, size, or with other names; OutputError."""
    one = only_one(cases, TITLE)
    known, (width, height) = known_pixels(one, TITLE), known_size(one, TITLE)
    unknown = [name for name in known if name not in LUMBAR11]
    if unknown or not known:
        raise FormatError(f"{TITLE}: expected points of {', '.join(LUMBAR11)}; got {', '.join(unknown) or 'none'}")
    left, top, wide, high = box_around(list(known.values()), (width, height))
    shares = [(left + wide / 2) / width, (top + high / 2) / height, wide / width, high / height]
    cells = ["0", *(f"{rounded(share, _DIGITS):.{_DIGITS}f}" for share in shares)]
    for name in LUMBAR11:
        xy = known.get(name)
        x, y = (0.0, 0.0) if xy is None else ((xy[0] + 0.5) / width, (xy[1] + 0.5) / height)
        cells += [f"{rounded(share, _DIGITS):.{_DIGITS}f}" for share in (x, y)] + ["0" if xy is None else "2"]
    write_text_atomically(path, " ".join(cells) + "\n")


def read_ultralytics_pose(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the line of an image, in its pixels. Raises FormatError: no image, several objects, other numbers."""
    name = os.fspath(path)
    if image is None or image.size_wh is None:
        raise FormatError(
            f"{name}: expected the image whose width and height these are shares of. Give it with --image"
        )
    values, count = _numbers(path), len(schema)
    if len(values) not in (_BOX + 2 * count, _BOX + 3 * count):
        raise FormatError(f"{name}: expected a box and {count} key points of 2 or 3 numbers; got {len(values)} numbers")
    step = (len(values) - _BOX) // count
    marks = []
    for n, label in enumerate(schema):
        x, y, *v = values[_BOX + step * n : _BOX + step * (n + 1)]
        if (v and v[0] > 0) or (not v and (x or y)):
            marks.append(Landmark(label, pixel_xy=(x * image.size_wh[0] - 0.5, y * image.size_wh[1] - 0.5)))
    return [PointsOnImage(stated_set(marks, schema, path, input=image.name), image)]


def _numbers(path: str | os.PathLike[str]) -> list[float]:
    name = os.fspath(path)
    lines = [line for line in read_text(path, "numbers").splitlines() if line.strip()]
    try:
        values = [float(cell) for line in lines for cell in line.split()]
    except ValueError as error:
        raise FormatError(f"{name}: expected numbers between spaces; {error}") from error
    if len(lines) != 1 or not all(map(math.isfinite, values)):
        raise FormatError(f"{name}: expected one line of finite numbers, one object an image; got {len(lines)} lines")
    if any(not -1 <= share <= 2 for share in values[1:_BOX]):
        raise FormatError(f"{name}: expected a box in shares of the image; got {values[1:_BOX]}")
    return values
