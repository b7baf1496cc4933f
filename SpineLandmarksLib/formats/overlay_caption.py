"""The strip below the overlay: what the picture shows, the colours of the points, and what was not drawn."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.landmarks import LandmarkSet

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Colour = tuple[int, int, int]
Line = list[tuple[str, Colour]]
#: (least confidence, colour, words): told apart by colour-blind readers too.
SCALE: tuple[tuple[float, Colour, str], ...] = (
    (0.9, (86, 200, 255), "0.9 or more"),
    (0.5, (255, 214, 64), "0.5 to 0.9"),
    (0.0, (255, 112, 67), "below 0.5"),
)
UNKNOWN: Colour = (225, 225, 225)
TEXT: Colour = (235, 235, 235)
BACKGROUND: Colour = (24, 26, 30)
NOTICE = "RESEARCH USE ONLY"
FONT_PX, MARGIN_PX = 17, 12
_LEAST_WIDTH_PX = 560


def with_caption(picture: PillowImage, landmarks: LandmarkSet) -> PillowImage:
    """A new image: `picture` above a strip with input, slice, bundle, colours, absent landmarks and warnings."""
    from PIL import Image, ImageDraw, ImageFont

    width, line_px = max(picture.width, _LEAST_WIDTH_PX), FONT_PX + 6
    lines = _caption(landmarks, width)
    page = Image.new("RGB", (width, picture.height + len(lines) * line_px + 2 * MARGIN_PX), BACKGROUND)
    page.paste(picture, ((width - picture.width) // 2, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=FONT_PX)
    for number, line in enumerate(lines):
        x = float(MARGIN_PX)
        y = picture.height + MARGIN_PX + number * line_px + line_px // 2
        for text, colour in line:
            draw.text((x, y), text, fill=colour, font=font, anchor="lm")
            x += draw.textlength(text, font=font) + MARGIN_PX
    return page


def _caption(landmarks: LandmarkSet, width: int) -> list[Line]:
    index = "unknown" if landmarks.slice_index is None else str(landmarks.slice_index)
    name = Path(landmarks.input).name or "input unknown"
    lines = _wrapped(f"{name}, slice {index}, {landmarks.bundle or 'no bundle'}", TEXT, width)
    if any(landmark.confidence is not None for landmark in landmarks):
        lines.append([("Confidence", TEXT), *((words, colour) for _, colour, words in SCALE)])
    absent = [f"{item.name} ({item.status.replace('_', ' ')})" for item in landmarks if item.pixel_xy is None]
    if absent:
        lines += _wrapped(f"Not drawn: {', '.join(absent)}", UNKNOWN, width)
    return [*lines, *_warnings(landmarks, width), [(NOTICE, SCALE[2][1])]]


def _warnings(landmarks: LandmarkSet, width: int) -> list[Line]:
    if not landmarks.warnings:
        return [[("No warnings", TEXT)]]
    count = len(landmarks.warnings)
    text = f"{count} warning{'s' * (count > 1)}: {landmarks.warnings[0]}"
    return _wrapped(text, SCALE[1][1], width)


def _wrapped(text: str, colour: Colour, width: int) -> list[Line]:
    from PIL import ImageFont

    font, limit = ImageFont.load_default(size=FONT_PX), width - 2 * MARGIN_PX
    characters = limit // 4  # no letter is narrower; then shorter, until the widest line fits
    lines = textwrap.wrap(text, width=characters)
    while characters > 1 and any(font.getlength(line) > limit for line in lines):
        characters -= 1
        lines = textwrap.wrap(text, width=characters)
    return [[(line, colour)] for line in lines]
