"""Draw the pictures of docs/landmarks.md: the average spine of the phantoms, and one phantom as an MRI.

    python docs/images/draw_landmarks.py docs/images        writes landmarks.svg and landmarks-phantom.png
    python docs/images/draw_landmarks.py --close-ups Resources/Landmarks      a small PNG of each; needs PySide6

In the drawing lengths are mm of the sagittal plane, x to the back, y to the feet, as in `phantom/anatomy.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.anatomy import Disc, Spine, Vertebra, random_spine
from SpineLandmarksLib.phantom.phantom import make_phantom

Points = NDArray[np.float64]

LEFT, TOP, WIDTH, HEIGHT = -96.0, -148.0, 297.0, 310.0
LABELS_X = -62.0
#: Of a close-up: pixels (width, height), and the width in mm.
CLOSE_UP, CLOSE_UP_MM = (120, 96), 88.0
INK, BONE, DISC, BODY_POINT, DISC_POINT, PALE = "#3a3f45", "#f4ead6", "#bcd7e6", "#c0392b", "#1f6fa8", "#8a9199"
STYLE = f"""
text {{ font-family: "DejaVu Sans", Helvetica, Arial, sans-serif; fill: {INK}; }}
.bone {{ fill: {BONE}; stroke: {INK}; stroke-width: 0.7; stroke-linejoin: round; }}
.arch {{ fill: #faf5ea; stroke: {PALE}; stroke-width: 0.5; stroke-linejoin: round; }}
.disc {{ fill: {DISC}; stroke: {INK}; stroke-width: 0.5; stroke-linejoin: round; }}
.fused {{ fill: {BONE}; stroke: {PALE}; stroke-width: 0.4; }}
.canal {{ fill: #eef3f5; stroke: {PALE}; stroke-width: 0.4; }}
.lead {{ stroke: {PALE}; stroke-width: 0.35; }}
.help {{ stroke: {INK}; stroke-width: 0.4; stroke-dasharray: 1.6 1.2; fill: none; }}
.name {{ font-size: 6.4px; font-weight: bold; }}
.note {{ font-size: 5px; }}
.pale {{ font-size: 5px; fill: {PALE}; }}
"""


class Average:
    """Stands in for a random generator and draws the middle of everything: a random spine becomes the average one."""

    def normal(self, mean: float, _: float, size: int | None = None) -> Any:
        return mean if size is None else np.full(size, mean)

    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2

    def beta(self, a: float, b: float) -> float:
        return a / (a + b)

    def random(self) -> float:
        return 1.0  # nothing rare happens


def main(folder: Path) -> None:
    drawing = picture(random_spine(Average()))  # type: ignore[arg-type]
    (folder / "landmarks.svg").write_text(drawing, encoding="utf-8")
    phantom = make_phantom(12, slices=3, matrix=(400, 400), pixel_mm=0.8, roughness=0.2)
    marks = LandmarkSet(tuple(phantom.landmarks[name] for name in LUMBAR11), spacing_mm=(0.8, 0.8))
    path = folder / "landmarks-phantom.png"
    draw_overlay(phantom.voxels[1], marks, path)
    with Image.open(path) as page:  # without the caption, which is about a result
        shown = page.crop((0, 0, page.width, page.width)).convert("L").resize((640, 640), Image.Resampling.LANCZOS)
    shown.save(path, optimize=True)


def close_ups(folder: Path) -> None:
    """What the panel in Slicer shows beside the words: two to three levels around each point."""
    from PySide6.QtCore import QByteArray
    from PySide6.QtGui import QGuiApplication, QImage, QPainter
    from PySide6.QtSvg import QSvgRenderer

    application = QGuiApplication.instance() or QGuiApplication(["draw", "-platform", "offscreen"])
    spine = random_spine(Average())  # type: ignore[arg-type]
    for name in LUMBAR11:
        image = QImage(2 * CLOSE_UP[0], 2 * CLOSE_UP[1], QImage.Format.Format_RGB32)  # for screens of twice the density
        painter = QPainter(image)
        QSvgRenderer(QByteArray(close_up(spine, name).encode())).render(painter)
        painter.end()
        image.save(str(folder / f"{name}.png"))
        with Image.open(folder / f"{name}.png") as page:
            colours = page.convert("RGB").quantize(32)
        colours.save(folder / f"{name}.png", optimize=True)
    del application


def close_up(spine: Spine, name: str) -> str:
    (x, y, _), (width, height) = spine.truth()[name], CLOSE_UP
    w, h = CLOSE_UP_MM, CLOSE_UP_MM * height / width
    colour = DISC_POINT if "-" in name else BODY_POINT
    shown = bones(spine)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{x - 0.4 * w:.1f} {y - h / 2:.1f} {w:g} {h:.1f}">',
        f"<style>{STYLE}</style>",
        f'<rect x="{x - w:.1f}" y="{y - h:.1f}" width="{2 * w:g}" height="{2 * h:.1f}" fill="white"/>',
        *anatomy(spine, shown),
        *(text(v.middle_xy[0] - 8, v.middle_xy[1] - 6, v.name, "name", "middle") for v in shown),
        dot(x, y, colour),
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="none" stroke="{colour}" stroke-width="0.9"/>',
        "</svg>",
    ]
    return "\n".join(parts)


def bones(spine: Spine) -> list[Vertebra]:
    return [v for v in spine.vertebrae if v.name in ("T11", "T12", "S1", "S2", "S3") or v.name[0] == "L"]


def anatomy(spine: Spine, shown: Sequence[Vertebra]) -> Iterable[str]:
    yield closed(canal(shown), "canal")
    yield from (closed(process(v) if v.name[0] in "TL" else crest(v), "arch") for v in shown)
    discs = (d for d in spine.discs if d.above in shown and d.below in shown)
    yield from (closed(disc_outline(d), "fused" if d.above.is_sacral else "disc") for d in discs)
    yield from (closed(body_outline(v), "bone") for v in shown)


def picture(spine: Spine) -> str:
    shown = bones(spine)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{LEFT:g} {TOP:g} {WIDTH:g} {HEIGHT:g}" role="img" '
        'aria-label="The eleven landmarks on a lumbar spine cut in the middle, front on the left">',
        f"<style>{STYLE}</style>",
        f'<rect x="{LEFT:g}" y="{TOP:g}" width="{WIDTH:g}" height="{HEIGHT:g}" fill="white"/>',
        *anatomy(spine, shown),
        *(text(*v.middle_xy, v.name, "pale", "middle", turn=v.tilt) for v in shown if v.name[0] in "TS"),
        *labels(spine),
        text(LEFT + 6, TOP + 9, "front", "pale", "start"),
        text(92.0, TOP + 9, "back", "pale", "end"),
        *insets(spine),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def body_outline(v: Vertebra) -> Points:
    """Endplates and walls, corners rounded."""
    across, along = np.linspace(-1, 1, 9) * v.wall(v.half_height), np.linspace(-1, 1, 7)[1:-1] * v.half_height
    upper = v.plane(across * v.wall(-v.half_height) / v.wall(v.half_height), -v.top(across))
    lower = v.plane(across[::-1], v.bottom(across[::-1]))
    back, front = v.plane(v.wall(along), along), v.plane(-v.wall(along[::-1]), along[::-1])
    return rounded(np.concatenate([upper, back, lower, front]))


def disc_outline(d: Disc) -> Points:
    """From endplate to endplate, a little bulging at both ends; what is left of one in the sacrum does not bulge."""
    bulge = -1.0 if d.above.is_sacral else 1.6
    u_above = np.linspace(-1, 1, 9) * (d.above.wall(d.above.half_height) - 0.6)
    u_below = np.linspace(1, -1, 9) * (d.below.wall(-d.below.half_height) - 0.6)
    upper, lower = d.above.plane(u_above, d.above.bottom(u_above)), d.below.plane(u_below, -d.below.top(u_below))
    out = np.array([np.cos(d.tilt), -np.sin(d.tilt)]) * bulge
    back, front = (upper[-1] + lower[0]) / 2 + out, (lower[-1] + upper[0]) / 2 - out
    return rounded(np.concatenate([upper, [back], lower, [front]]))


def canal(vertebrae: Sequence[Vertebra]) -> Points:
    """From behind the first body down into the sacrum, smooth from body to body."""
    front = np.array([v.plane(v.half_depth + 0.6, t * v.half_height) for v in vertebrae for t in (-0.5, 0.5)])
    back = np.array([v.plane(v.half_depth + v.canal - 1, t * v.half_height) for v in vertebrae for t in (-0.5, 0.5)])
    ends = [vertebrae[0].plane(u, -2 * vertebrae[0].half_height) for u in (20.0, 10.0)]
    return rounded(np.concatenate([front, back[::-1], ends]), 3)


def process(v: Vertebra) -> Points:
    """A spinous process: narrow at the lamina, club-shaped at its tip, dropping towards the feet."""
    last = v.name == "L5"
    length, height, drop = (19.0, 15.0, 0.15) if last else (27.0, 19.0, 0.22) if v.name[0] == "L" else (27.0, 11.0, 0.5)
    along = np.array([0, 0.25, 0.6, 0.95, 1.0, 0.97, 0.6, 0.25, 0]) * length
    half = np.array([-0.36, -0.36, -0.4, -0.46, 0.0, 0.5, 0.5, 0.42, 0.4]) * height
    start = 0.35 * v.half_height
    u = v.half_depth + v.canal + along * np.cos(drop) - half * np.sin(drop)
    return rounded(v.plane(u, start + along * np.sin(drop) + half * np.cos(drop)))


def crest(v: Vertebra) -> Points:
    """The bone behind the sacral canal."""
    u, h = v.half_depth + v.canal, v.half_height
    corners = [(u, -h), (u + 7, -0.7 * h), (u + 8.5, 0.2 * h), (u + 6, 0.9 * h), (u, h)]
    return rounded(np.array([v.plane(a, b) for a, b in corners]))


def labels(spine: Spine) -> Iterable[str]:
    truth = spine.truth()
    for name in LUMBAR11:
        x, y, _ = truth[name]
        colour = DISC_POINT if "-" in name else BODY_POINT
        yield f'<path class="lead" d="M {LABELS_X + 1.5:.1f} {y:.1f} H {x - 2.4:.1f}"/>'
        yield text(LABELS_X, y, name, "name", "end", colour)
        yield dot(x, y, colour)


def insets(spine: Spine) -> Iterable[str]:
    """What a centre is, enlarged; words below each drawing."""
    x = 148.0
    body = replace(spine.vertebrae[spine.index("L3")], tilt=0.0, osteophyte=0.0)
    above, below = (spine.vertebrae[spine.index(name)] for name in ("L4", "L5"))
    yield from body_inset(replace(body, centre_xy=(x, -92.0)))
    yield from words(x, -66.0, "Body: where the diagonals cross.", "Bony spurs do not count.")
    yield from disc_inset("wedged", x, -20.0, above, below, 0.17, 0.0)
    yield from words(x, 10.0, "Disc: half-way between the", "middles of its two endplates.")
    yield from disc_inset("slipped", x, 60.0, above, below, 0.1, 11.0)
    yield from words(x, 90.0, "The same where a body has slipped.")


def words(x: float, y: float, *lines: str) -> Iterable[str]:
    for number, each in enumerate(lines):
        yield text(x, y + 6.2 * number, each, "note", "middle")


def body_inset(v: Vertebra) -> Iterable[str]:
    a, b = v.wall(v.half_height), v.half_height
    for side in (-1, 1):
        spur = [(0.9 * a, b - 7), (a, b - 5), (a + 4, b - 1), (a + 6, b + 1.5), (a + 1, b + 0.8), (0.6 * a, b - 1.4)]
        yield closed(rounded(np.array([v.plane(side * u, w) for u, w in spur])), "arch")
    yield closed(body_outline(v), "bone")
    yield line(v.plane(-a, -b), v.plane(a, b))
    yield line(v.plane(a, -b), v.plane(-a, b))
    yield dot(*v.middle_xy, BODY_POINT)


def disc_inset(
    name: str, x: float, y: float, above: Vertebra, below: Vertebra, wedge: float, slip: float
) -> Iterable[str]:
    """A disc with the halves of its neighbours, which are tilted by `wedge` radians; the upper one has slipped by
    `slip` mm."""
    half_gap = 6.0 + above.half_height
    upper = replace(above, centre_xy=(x - slip / 2, y - half_gap), tilt=-wedge)
    lower = replace(below, centre_xy=(x + slip / 2, y + half_gap), tilt=wedge)
    disc = Disc(name, upper, lower, 0.0, 0.0, 0.0, 0.0)
    yield f'<clipPath id="{name}"><rect x="{x - 40:g}" y="{y - 22:g}" width="80" height="44"/></clipPath>'
    yield f'<g clip-path="url(#{name})">'
    yield closed(disc_outline(disc), "disc")
    yield from (closed(body_outline(body), "bone") for body in (upper, lower))
    yield "</g>"
    ends = upper.plane(0.0, upper.bottom(0.0)), lower.plane(0.0, -lower.top(0.0))
    yield line(*ends)
    yield from (f'<circle cx="{px:.1f}" cy="{py:.1f}" r="0.9" fill="{INK}"/>' for px, py in ends)
    yield dot(*disc.middle_xy, DISC_POINT)


def closed(points: Points, kind: str) -> str:
    return f'<path class="{kind}" d="M {" L ".join(f"{x:.1f} {y:.1f}" for x, y in points)} Z"/>'


def line(a: Points, b: Points) -> str:
    return f'<path class="help" d="M {a[0]:.1f} {a[1]:.1f} L {b[0]:.1f} {b[1]:.1f}"/>'


def dot(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.9" fill="{colour}" stroke="white" stroke-width="0.5"/>'


def text(x: float, y: float, words: str, kind: str, anchor: str, colour: str = "", turn: float = 0.0) -> str:
    style = f' style="fill: {colour}"' if colour else ""
    style += f' transform="rotate({-np.degrees(turn):.0f} {x:.1f} {y:.1f})"' if turn else ""
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" dy="0.35em" text-anchor="{anchor}"{style}>{words}</text>'


def rounded(points: Points, times: int = 2) -> Points:
    """Chaikin's corner cutting of a closed polygon."""
    for _ in range(times):
        after = np.roll(points, -1, axis=0)
        points = np.stack([0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after], 1).reshape(-1, 2)
    return points


if __name__ == "__main__":
    close_ups(Path(sys.argv[2])) if sys.argv[1] == "--close-ups" else main(Path(sys.argv[1]))
