"""A page for a study: its picture with the points, the measurements, the doubts, the numberings, and which model.

As HTML, and as a PDF that is a picture of one page of A4. Both say that they are for research.
"""

from __future__ import annotations

import io
import os
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from SpineLandmarksLib import __version__
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.formats.overlay import overlay_page
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.measurement import Measurement
from SpineLandmarksLib.quadrilaterals import BODIES, SACRUM

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage
    from PIL.ImageDraw import ImageDraw as PillowDraw

NOTICE = "For research use only. Not a medical device; every value needs the eye of somebody who can read a spine."
#: A4 at so many pixels an inch, and what is left free at its edges.
DPI, MARGIN_PX = 150, 60
PAGE_PX = (1240, 1754)
#: Columns of the two tables by level: their heads, and the names of measurements with the level in place of {}.
DISC_COLUMNS = (
    ("lordosis °", "Segmental lordosis {}"),
    ("front mm", "Disc height {} anterior"),
    ("middle mm", "Disc height {} middle"),
    ("back mm", "Disc height {} posterior"),
    ("Farfan", "Disc height {} (Farfan)"),
    ("index", "Disc height index {}"),
    ("slip mm", "Slip {}"),
    ("slip %", "Slip {} of the endplate"),
)
BODY_COLUMNS = (
    ("front mm", "Height {} anterior"),
    ("middle mm", "Height {} middle"),
    ("back mm", "Height {} posterior"),
    ("wedge °", "Wedge angle {}"),
    ("loss %", "Height loss {}"),
)
WHOLE = ("Lumbar lordosis L1-S1", "Sacral slope", "Lumbosacral angle", "Lumbar length L1-S1")


@dataclass(frozen=True)
class _Table:
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class _Content:
    """title, origin: lines at the top. tables, and the lines below them."""

    title: str
    origin: tuple[str, ...]
    tables: tuple[_Table, ...]
    doubts: tuple[str, ...]


def key_figures(landmarks: LandmarkSet) -> tuple[str, ...]:
    """The measurements of the whole lumbar spine in words, for a caption; none without corners."""
    return tuple(f"{one.name}: {one.words}" for one in measure(landmarks) if one.name in WHOLE and one.points)


def write_report_html(image: ArrayLike, landmarks: LandmarkSet, path: str | os.PathLike[str]) -> None:
    """One HTML file with everything in it. image: (H, W) of the chosen slice. Raises OutputError, InputError."""
    content, png = _content(landmarks), io.BytesIO()
    overlay_page(image, landmarks).save(png, format="PNG")
    picture = b64encode(png.getvalue()).decode()
    parts = [
        f"<h1>{escape(content.title)}</h1>",
        *(f"<p>{escape(line)}</p>" for line in content.origin),
        f'<img alt="The slice with its points" src="data:image/png;base64,{picture}">',
        *(_as_html(table) for table in content.tables),
        *(f"<p>{escape(line)}</p>" for line in content.doubts),
        f"<p><b>{escape(NOTICE)}</b></p>",
    ]
    write_text_atomically(path, f"{_HEAD}{chr(10).join(parts)}</html>\n")


def write_report_pdf(image: ArrayLike, landmarks: LandmarkSet, path: str | os.PathLike[str]) -> None:
    """One page of A4 as a picture in a PDF. Raises as `write_report_html`."""
    page = _page(_content(landmarks), overlay_page(image, landmarks))
    with write_atomically(path) as file:
        page.save(file, format="PDF", resolution=DPI, title="SpineLandmarks report")


_HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>SpineLandmarks report</title>
<style>body{font:13px sans-serif;max-width:52rem;margin:1rem auto}h1{font-size:1.2rem}
img{max-width:100%;max-height:32rem}
table{border-collapse:collapse;margin:.5rem 0}td,th{border:1px solid #bbb;padding:.1rem .4rem;text-align:right}
td:first-child,th:first-child{text-align:left}p{margin:.2rem 0}</style>
"""


def _as_html(table: _Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    return f"<table><tr>{head}</tr>{rows}</table>"


def _content(landmarks: LandmarkSet) -> _Content:
    found = {one.name: one for one in measure(landmarks)}
    model = f"Model {landmarks.bundle or 'unknown'}, SpineLandmarks {__version__}, slice {landmarks.slice_index}"
    series = f"Series {landmarks.series_uid}" if landmarks.series_uid else "No series identifier"
    return _Content(
        title=f"Lumbar spine, {os.path.basename(landmarks.input) or 'study'}",
        origin=(model, series, _numberings(landmarks)),
        tables=tuple(_tables(found)),
        doubts=(*(f"Warning: {text}" for text in landmarks.warnings), *_reasons(found.values())),
    )


def _tables(found: dict[str, Measurement]) -> Iterable[_Table]:
    whole = [found[name] for name in WHOLE if name in found]
    if not whole:
        known = [one for one in found.values() if one.value is not None]
        yield _Table(("By centres", "value"), tuple((one.name, one.words) for one in known))
        return
    usual = [f"{one.usual.low:g} to {one.usual.high:g}: {one.usual.source}" if one.usual else "" for one in whole]
    rows = (
        (one.name, one.words if one.value is not None else "-", seen) for one, seen in zip(whole, usual, strict=True)
    )
    yield _Table(("Whole lumbar spine", "value (95 % interval)", "usual"), tuple(rows))
    discs = [f"{above}-{below}" for above, below in pairwise((*BODIES, SACRUM))]
    for levels, name, columns in ((discs, "Segment", DISC_COLUMNS), (BODIES, "Body", BODY_COLUMNS)):
        head = (name, *(title for title, _ in columns))
        rows_of = tuple((level, *(_short(found[key.format(level)]) for _, key in columns)) for level in levels)
        yield _Table(head, rows_of)
    graded = [(one.name, one.grade) for one in found.values() if _is_graded(one)]
    if graded:
        yield _Table(("Grade by its limits, no diagnosis", ""), tuple(graded))


def _is_graded(one: Measurement) -> bool:
    return bool(one.grade) and "no forward" not in one.grade and "limits: 0" not in one.grade


def _short(one: Measurement) -> str:
    if one.value is None:
        return "-"
    digits = 2 if one.unit == "1" else 1
    half = "" if one.interval95 is None else f" ±{(one.interval95[1] - one.interval95[0]) / 2:.{digits}f}"
    return f"{one.value + 0.0:.{digits}f}{half}"


def _numberings(landmarks: LandmarkSet) -> str:
    if not landmarks.numberings:
        return "Numbering: not judged"
    words = {0: "as named", 1: "one level higher", -1: "one level lower"}
    return "Numbering: " + ", ".join(f"{words[s]} {100 * p:.0f} %" for s, p in landmarks.numberings if s in words)


def _reasons(measurements: Iterable[Measurement]) -> tuple[str, ...]:
    """Why there are dashes: each reason once, the commonest first, six at most."""
    told = [one.reason for one in measurements if one.reason]
    once = sorted(set(told), key=lambda reason: -told.count(reason))
    more = (f"and {len(once) - 6} further reasons",) if len(once) > 6 else ()
    return tuple(f"- {reason} ({told.count(reason)} measurements)" for reason in once[:6]) + more


def _page(content: _Content, picture: PillowImage) -> PillowImage:
    from PIL import Image, ImageDraw

    page = Image.new("RGB", PAGE_PX, "white")
    draw = ImageDraw.Draw(page)
    y = _lines(draw, MARGIN_PX, [content.title], 26)
    y = _lines(draw, y, content.origin, 16)
    below = _height(content)
    room = max(PAGE_PX[1] - y - below - 3 * MARGIN_PX, 200)
    shown = picture.copy()
    shown.thumbnail((PAGE_PX[0] - 2 * MARGIN_PX, room))
    page.paste(shown, ((PAGE_PX[0] - shown.width) // 2, int(y)))
    y += shown.height + 12
    for table in content.tables:
        y = _draw_table(draw, y, table)
    y = _lines(draw, y, content.doubts, 14)
    _lines(draw, min(y + 6, PAGE_PX[1] - MARGIN_PX), [NOTICE], 15)
    return page


def _height(content: _Content) -> int:
    return sum(20 * (len(table.rows) + 1) + 12 for table in content.tables) + 18 * len(content.doubts)


def _lines(draw: PillowDraw, y: float, lines: Sequence[str], size_px: int) -> float:
    from PIL import ImageFont

    font, widest = ImageFont.load_default(size=size_px), PAGE_PX[0] - 2 * MARGIN_PX
    for text in lines:
        text = _cut(text, font, widest)
        draw.text((MARGIN_PX, y), text, fill="black", font=font)
        y += size_px + 4
    return y + 6


def _draw_table(draw: PillowDraw, y: float, table: _Table) -> float:
    from PIL import ImageFont

    font = ImageFont.load_default(size=15)
    columns = list(zip(table.head, *table.rows, strict=True))
    widths = [max(font.getlength(cell) for cell in column) + 24 for column in columns]
    for number, row in enumerate((table.head, *table.rows)):
        x = float(MARGIN_PX)
        for cell, width in zip(row, widths, strict=True):
            cell = _cut(cell, font, PAGE_PX[0] - MARGIN_PX - x)
            draw.text((x, y), cell, fill="black", font=font)
            x += width
        y += 20
        if number == 0:
            draw.line([MARGIN_PX, y - 2, PAGE_PX[0] - MARGIN_PX, y - 2], fill="grey")
    return y + 12


def _cut(text: str, font: Any, room_px: float) -> str:
    """A text that fits, with an ellipsis where some of it is left out."""
    if font.getlength(text) <= room_px:
        return text
    return next(
        (f"{text[:end]}..." for end in range(len(text), 0, -1) if font.getlength(f"{text[:end]}...") <= room_px), ""
    )
