"""Overlay: a picture to check the points by.

Above, the slice with the points, their names beside them in the colour of their confidence, and a ruler. Below, a
caption: what the picture shows, what the colours mean, what was not drawn, and the first warning.
"""

from __future__ import annotations

import itertools
import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.geometry import apply, scale_about_corner
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, names_per_level
from SpineLandmarksLib.quadrilaterals import COBB_ARMS, plates

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageDraw import ImageDraw as PillowDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

Colour = tuple[int, int, int]
Line = list[tuple[str, Colour]]

LONGER_SIDE_PX = 1000
WINDOW_PERCENTILES = (0.5, 99.5)
#: (least confidence, colour, words): told apart by colour-blind readers too.
SCALE: tuple[tuple[float, Colour, str], ...] = (
    (0.9, (86, 200, 255), "0.9 or more"),
    (0.5, (255, 214, 64), "0.5 to 0.9"),
    (0.0, (255, 112, 67), "below 0.5"),
)
ENDPLATE: Colour = (180, 255, 160)
UNKNOWN: Colour = (225, 225, 225)
TEXT: Colour = (235, 235, 235)
BACKGROUND: Colour = (24, 26, 30)
NOTICE = "RESEARCH USE ONLY"
FONT_PX, MARGIN_PX = 17, 12
#: A third of the time of Pillow's own level, 6, for a file that is a fifth larger.
_COMPRESSION = 2
_RING_PX, _CROSS_PX = 7, 3
_LABEL_DISTANCE_PX = 110  # behind the canal, so that the canal can be judged too
_MIN_WIDTH_PX = 560


@dataclass(frozen=True)
class _Mark:
    landmark: Landmark
    x: float
    y: float


def draw_overlay(
    image: ArrayLike, landmarks: LandmarkSet, path: str | os.PathLike[str], figures: Sequence[str] = ()
) -> None:
    """Draw the points on the slice and write a PNG.

    image: (H, W) intensities of the chosen slice, any range. landmarks: their `pixel_xy` are native pixels of `image`,
    and their `spacing_mm` (between columns, between rows) makes the picture's millimetres square; None means square
    pixels. The longer side becomes about 1000 px. Points without pixels are listed below the picture. Corners of
    endplates are drawn as the endplates, those of L1 and S1 prolonged as for Cobb's angle. figures: measurements in
    words, for the caption.
    Raises InputError when `image` is no slice, OutputError when the file cannot be written (nothing is changed).
    """
    page = overlay_page(image, landmarks, figures)
    with write_atomically(path) as file:
        page.save(file, format="PNG", compress_level=_COMPRESSION)


def overlay_page(image: ArrayLike, landmarks: LandmarkSet, figures: Sequence[str] = ()) -> PillowImage:
    """The picture that `draw_overlay` writes, RGB. Raises InputError as it does."""
    pixels = np.asarray(image, dtype=np.float64)
    if pixels.ndim != 2 or min(pixels.shape) < 1:
        raise InputError(f"Expected a slice (H, W) to draw; got an array of shape {pixels.shape}")
    scale_xy = _scale(pixels.shape, landmarks.spacing_mm)
    picture = _upscaled(_windowed(pixels), scale_xy)
    marks = _marks(landmarks.landmarks, scale_xy)
    picture = _with_room_for_labels(picture, marks)
    _draw_endplates(picture, _marks(landmarks.corners, scale_xy) or marks)
    _draw_points(picture, marks, names_per_level(landmarks.names))
    if landmarks.spacing_mm is not None:
        _draw_ruler(picture, scale_xy[0] / landmarks.spacing_mm[0])
    return _with_caption(picture, landmarks, figures)


def stamp(page: PillowImage, text: str) -> None:
    """Draw a line of words above the picture of a page."""
    from PIL import ImageDraw

    lines = "\n".join(line for ((line, _),) in _wrapped(text, TEXT, page.width))
    place = (MARGIN_PX, MARGIN_PX)
    ImageDraw.Draw(page).text(place, lines, fill=SCALE[1][1], font=_font(), stroke_width=3, stroke_fill=0)


def _scale(shape: tuple[int, ...], spacing_mm: tuple[float, float] | None) -> tuple[float, float]:
    """Picture pixels per native pixel in x and y: the longer side is LONGER_SIDE_PX and millimetres are square."""
    sx, sy = spacing_mm or (1.0, 1.0)
    picture_px_per_mm = LONGER_SIDE_PX / max(shape[1] * sx, shape[0] * sy)
    # A side of less than a pixel cannot be drawn; rounding to whole pixels is made part of the scale, so points fit.
    width, height = (max(1, round(n * s * picture_px_per_mm)) for n, s in ((shape[1], sx), (shape[0], sy)))
    return width / shape[1], height / shape[0]


def _windowed(pixels: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Grey values 0..255 between two percentiles; a value that is not finite is black, a constant slice is grey."""
    finite = np.isfinite(pixels)
    if not finite.any():
        return np.zeros(pixels.shape, dtype=np.uint8)
    low, high = np.percentile(pixels[finite], WINDOW_PERCENTILES)
    if high <= low:  # nearly all pixels are the same
        low, high = pixels[finite].min(), pixels[finite].max()
    if high <= low:
        return np.full(pixels.shape, 128, dtype=np.uint8)
    grey = np.clip((np.where(finite, pixels, low) - low) / (high - low), 0.0, 1.0)
    return np.asarray(np.rint(255.0 * grey), dtype=np.uint8)


def _upscaled(grey: NDArray[np.uint8], scale_xy: tuple[float, float]) -> PillowImage:
    from PIL import Image

    size = (round(grey.shape[1] * scale_xy[0]), round(grey.shape[0] * scale_xy[1]))
    return Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC).convert("RGB")


def _marks(landmarks: Sequence[Landmark], scale_xy: tuple[float, float]) -> list[_Mark]:
    known = [(landmark, landmark.pixel_xy) for landmark in landmarks if landmark.pixel_xy is not None]
    moved = [(landmark, apply(scale_about_corner(scale_xy), xy)) for landmark, xy in known]
    return [_Mark(landmark, float(xy[0]), float(xy[1])) for landmark, xy in moved]


def _colour(landmark: Landmark) -> Colour:
    if landmark.confidence is None:
        return UNKNOWN
    return next(colour for least, colour, _ in SCALE if landmark.confidence >= least)


def _draw_endplates(picture: PillowImage, marks: list[_Mark]) -> None:
    """A line between the front and back corner of each endplate; nothing for landmarks that are no corners."""
    from PIL import ImageDraw

    draw, at = ImageDraw.Draw(picture), {mark.landmark.name: np.array([mark.x, mark.y]) for mark in marks}
    for front, back in plates(at, COBB_ARMS).values():
        draw.line([*front, *back], fill=ENDPLATE, width=2)


def _draw_points(picture: PillowImage, marks: list[_Mark], per_level: int = 2) -> None:
    """Names and rings, and a line through landmarks that follow each other down the spine."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    if 0 < per_level <= 2:
        draw.line([(mark.x, mark.y) for mark in marks], fill=(150, 150, 150), width=1)
    for mark in marks:
        _draw_ring(draw, mark)
    _draw_labels(draw, marks, picture.width, picture.height)


def _draw_ring(draw: PillowDraw, mark: _Mark) -> None:
    """A ring with a cross whose centre is the point; thin, so that the anatomy below stays in sight."""
    x, y, colour = mark.x, mark.y, _colour(mark.landmark)
    draw.ellipse([x - _RING_PX, y - _RING_PX, x + _RING_PX, y + _RING_PX], outline=colour, width=2)
    draw.line([x - _CROSS_PX, y, x + _CROSS_PX, y], fill=colour)
    draw.line([x, y - _CROSS_PX, x, y + _CROSS_PX], fill=colour)


def _draw_labels(draw: PillowDraw, marks: list[_Mark], width: int, height: int) -> None:
    """All names in one column beside the points, where none can cover a point, each with a line to its own."""
    if not marks:
        return
    font, widest = _font(), _widest_label(marks)
    left, right = _label_columns(marks, widest)
    on_the_right = right + widest + MARGIN_PX <= width
    start = right if on_the_right else left
    edge, side = (start - 4, 1) if on_the_right else (start + widest + 4, -1)
    rows = _spread([mark.y for mark in marks], FONT_PX + 4, height - FONT_PX / 2)
    for mark, y in zip(marks, rows, strict=True):
        text, colour = _label(mark.landmark), _colour(mark.landmark)
        draw.line([mark.x + side * (_RING_PX + 2), mark.y, edge, y], fill=(120, 120, 120))
        draw.text((start, y), text, fill=colour, font=font, anchor="lm", stroke_width=2, stroke_fill=0)


def _label_columns(marks: list[_Mark], widest: float) -> tuple[float, float]:
    """Where a column of labels starts that is left of all points, and one that is right of all."""
    xs = [mark.x for mark in marks]
    return min(xs) - _LABEL_DISTANCE_PX - widest, max(xs) + _LABEL_DISTANCE_PX


def _widest_label(marks: list[_Mark]) -> float:
    font = _font()
    return max(font.getlength(_label(mark.landmark)) for mark in marks)


def _with_room_for_labels(picture: PillowImage, marks: list[_Mark]) -> PillowImage:
    """A narrow picture gets a black margin on its right when neither of its sides has room for the labels."""
    from PIL import ImageOps

    if not marks:
        return picture
    widest = _widest_label(marks)
    left, right = _label_columns(marks, widest)
    lacking = right + widest + MARGIN_PX - picture.width
    if lacking <= 0 or left >= 0:
        return picture
    return ImageOps.expand(picture, border=(0, 0, int(lacking) + 1, 0), fill=0)


def _label(landmark: Landmark) -> str:
    return landmark.name if landmark.confidence is None else f"{landmark.name}  {landmark.confidence:.2f}"


def _spread(rows: list[float], least_px: float, lowest: float) -> list[float]:
    """The rows, moved down where a label would cover the one above it, and up again where it would leave the picture.

    >>> _spread([10.0, 12.0, 50.0], 20, 100.0), _spread([90.0, 92.0, 95.0], 20, 100.0)
    ([10.0, 30.0, 50.0], [60.0, 80.0, 100.0])
    """
    result = list(rows)
    order = sorted(range(len(rows)), key=rows.__getitem__)
    for above, below in itertools.pairwise(order):
        result[below] = max(result[below], result[above] + least_px)
    for row in reversed(order):
        result[row] = min(result[row], lowest)
        lowest = result[row] - least_px
    return result


def _draw_ruler(picture: PillowImage, px_per_mm: float) -> None:
    """A bar of 50 mm: a wrong spacing shows at once, a lumbar body is about 27 mm high."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    length, x, y = 50.0 * px_per_mm, MARGIN_PX, picture.height - MARGIN_PX
    draw.line([x, y, x + length, y], fill=TEXT, width=3)
    draw.text((x, y - 4), "50 mm", fill=TEXT, font=_font(FONT_PX - 2), anchor="ld", stroke_width=2, stroke_fill=0)


def _with_caption(picture: PillowImage, landmarks: LandmarkSet, figures: Sequence[str] = ()) -> PillowImage:
    """A new image: `picture` above a strip with input, slice, bundle, colours, absent landmarks and warnings."""
    from PIL import Image, ImageDraw

    width, line_px = max(picture.width, _MIN_WIDTH_PX), FONT_PX + 6
    lines = _caption(landmarks, width, figures)
    page = Image.new("RGB", (width, picture.height + len(lines) * line_px + 2 * MARGIN_PX), BACKGROUND)
    page.paste(picture, ((width - picture.width) // 2, 0))
    draw, font = ImageDraw.Draw(page), _font()
    for number, line in enumerate(lines):
        x = float(MARGIN_PX)
        y = picture.height + MARGIN_PX + number * line_px + line_px // 2
        for text, colour in line:
            draw.text((x, y), text, fill=colour, font=font, anchor="lm")
            x += draw.textlength(text, font=font) + MARGIN_PX
    return page


def _caption(landmarks: LandmarkSet, width: int, figures: Sequence[str] = ()) -> list[Line]:
    index = "unknown" if landmarks.slice_index is None else str(landmarks.slice_index)
    name = Path(landmarks.input).name or "input unknown"
    lines = _wrapped(f"{name}, slice {index}, {landmarks.bundle or 'no bundle'}", TEXT, width)
    if any(landmark.confidence is not None for landmark in landmarks):
        lines.append([("Confidence", TEXT), *((words, colour) for _, colour, words in SCALE)])
    absent = [f"{item.name} ({item.status.replace('_', ' ')})" for item in landmarks if item.pixel_xy is None]
    if absent:
        lines += _wrapped(f"Not drawn: {', '.join(absent)}", UNKNOWN, width)
    for figure in figures:
        lines += _wrapped(figure, ENDPLATE, width)
    return [*lines, *_warnings(landmarks, width), [(NOTICE, SCALE[2][1])]]


def _warnings(landmarks: LandmarkSet, width: int) -> list[Line]:
    if not landmarks.warnings:
        return [[("No warnings", TEXT)]]
    count = len(landmarks.warnings)
    text = f"{count} warning{'s' * (count > 1)}: {landmarks.warnings[0]}"
    return _wrapped(text, SCALE[1][1], width)


def _wrapped(text: str, colour: Colour, width: int) -> list[Line]:
    font, limit = _font(), width - 2 * MARGIN_PX
    characters = limit // 4  # no letter is narrower; then shorter, until the widest line fits
    lines = textwrap.wrap(text, width=characters)
    while characters > 1 and any(font.getlength(line) > limit for line in lines):
        characters -= 1
        lines = textwrap.wrap(text, width=characters)
    return [[(line, colour)] for line in lines]


def _font(size_px: int = FONT_PX) -> FreeTypeFont | ImageFont:
    from PIL import ImageFont

    return ImageFont.load_default(size=size_px)
