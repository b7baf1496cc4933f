"""Drawing the bodies and discs of one slice from the geometry that holds the truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.phantom.anatomy import Disc, Spine, Vertebra
from SpineLandmarksLib.phantom.arch import ArchPainter, CanalPainter
from SpineLandmarksLib.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue, Window, ellipse, rounded_box, smoothstep
from SpineLandmarksLib.phantom.course import Course

Array = NDArray[np.float64]

#: Level map: 1 + index of a vertebra, FIRST_DISC + index of a disc.
FIRST_DISC = 100


@dataclass(frozen=True)
class Lesion:
    """A roundish change inside a body, in (u, v) mm: haemangioma, Modic change or Schmorl's node."""

    index: int
    tissue: Tissue
    u: float
    v: float
    radius_u: float
    radius_v: float


class SpinePainter:
    """Everything random about how one spine looks, drawn once, so that all slices of a stack agree.

    fascia: x (mm) at each row that no bone of the arches passes.
    """

    def __init__(self, rng: np.random.Generator, spine: Spine, grid: Grid, course: Course, fascia: Array):
        self.spine, self.course = spine, course
        self.rim_mm, self.chemical_shift = rng.uniform(0.35, 0.9), rng.uniform(-0.45, 0.45)
        self.grain = SmoothNoise(rng, grid, rng.uniform(1.6, 3.0))
        self.patches = SmoothNoise(rng, grid, rng.uniform(7.0, 14.0))
        self.grain_amount = rng.uniform(0.03, 0.09)
        self.uneven_u, self.uneven_v = (SmoothNoise(rng, grid, rng.uniform(5.0, 9.0)) for _ in range(2))
        self.uneven_mm = rng.uniform(0.15, 0.45)
        self.lesions = [lesion for n in range(len(spine.vertebrae)) for lesion in _random_lesions(rng, spine, n)]
        self.canal = CanalPainter(rng, spine, grid, course)
        self.arch = ArchPainter(rng, spine, grid, self.rim_mm, fascia)

    def paint(self, canvas: Canvas, lateral_mm: float) -> None:
        """Draw the spine at one lateral position, back to front: canal, arches, discs, bodies, ligaments."""
        self.canal.paint(canvas, lateral_mm)
        self.arch.paint(canvas, lateral_mm)
        for index, disc in enumerate(self.spine.discs):
            self._paint_disc(canvas, FIRST_DISC + index, disc, lateral_mm)
        for index, vertebra in enumerate(self.spine.vertebrae):
            self._paint_body(canvas, index, vertebra, lateral_mm)
        self.canal.paint_ligaments(canvas, lateral_mm)

    def _paint_body(self, canvas: Canvas, index: int, vertebra: Vertebra, lateral_mm: float) -> None:
        beside = lateral_mm - vertebra.lateral
        chord = _chord(beside, vertebra.half_width)
        window = canvas.grid.window(vertebra.centre_xy, vertebra.half_depth + vertebra.half_height + 6)
        u, v = self._uneven(window, vertebra.local(*canvas.grid.mesh(window)), lateral_mm)
        if chord <= 0.05 or not u.size:
            return
        walls, plates = _body_walls(vertebra, u, v, chord)
        ends = np.minimum(*plates)
        inside = _rounded(walls, ends, 2.0)
        canvas.paint(Tissue.CORTEX, 0.9 * canvas.edge(inside), window, level=index + 1)
        # Fat and water are recorded a little apart, which makes one endplate look thicker than the other.
        rim, shift = self.rim_mm, self.chemical_shift
        ends = np.minimum(plates[0] - rim * (1 + shift), plates[1] - rim * (1 - shift))
        marrow = canvas.edge(_rounded(walls - 0.7 * rim, ends, 2.0), 0.8)
        grain = self.grain.plane(lateral_mm)[window] + self.patches.plane(lateral_mm)[window]
        value = canvas.values[Tissue.MARROW] * (1 + self.grain_amount * grain)
        canvas.paint(Tissue.MARROW, marrow, window, level=index + 1, value=value)
        for lesion in self.lesions:
            if lesion.index == index and abs(beside) < 12:
                spot = canvas.edge(ellipse(u - lesion.u, v - lesion.v, lesion.radius_u, lesion.radius_v), 3.5)
                value = canvas.mix(Tissue.MARROW, lesion.tissue, 0.6)
                canvas.paint(Tissue.MARROW, spot * marrow, window, level=index + 1, value=value)
        if not vertebra.is_sacral and abs(beside) < 5:
            # The basivertebral vein leaves through the middle of the back wall.
            from_back = u - vertebra.half_depth
            notch = rounded_box(from_back + 3.0, v, 2.6, 0.4 + 0.18 * (from_back + 6), 0.2)
            vein = 0.6 * canvas.edge(notch, 1.5) * canvas.edge(inside + 0.5)
            canvas.paint(Tissue.VEIN, vein, window, level=index + 1)

    def _uneven(self, window: Window, uv: tuple[Array, Array], lateral_mm: float) -> tuple[Array, Array]:
        """Bone is not turned on a lathe: shift (u, v) by a fraction of a millimetre that averages out."""
        du, dv = self.uneven_u.plane(lateral_mm)[window], self.uneven_v.plane(lateral_mm)[window]
        return uv[0] + self.uneven_mm * du, uv[1] + self.uneven_mm * dv

    def _paint_disc(self, canvas: Canvas, level: int, disc: Disc, lateral_mm: float) -> None:
        width = 12.0 if disc.above.is_sacral else (disc.above.half_width + disc.below.half_width) / 2
        chord = _chord(lateral_mm - disc.lateral, width)
        window = canvas.grid.window(disc.middle_xy, disc.half_depth + 12)
        x, y = canvas.grid.mesh(window)
        u_above, v_above = disc.above.local(x, y)
        if chord <= 0.05 or not u_above.size:
            return
        u_below, v_below = disc.below.local(x, y)
        u, v = disc.local(x, y)
        between = np.minimum(v_above - disc.above.bottom(u_above), -v_below - disc.below.top(u_below))
        recede = disc.half_depth * (1 - chord)
        tall = np.maximum(1 - (v / 6.0) ** 2, 0)
        sides = np.minimum(
            disc.half_depth + u + disc.bulge_front * tall - 1.4 * recede,
            disc.half_depth - u + disc.bulge_back * tall - 0.6 * recede,
        )
        # The rims hold the disc a little past the endplates; the bodies drawn on top take back what is theirs.
        inside = canvas.edge(np.minimum(between + 0.6, sides), 0.9)
        canvas.paint(Tissue.ANNULUS, inside, window, level=level)
        a = disc.half_depth
        core = smoothstep(0.2, 2.8, between - 1.8 * (u / a) ** 2)
        core = core * smoothstep(0.0, 0.4 * a, 0.85 * a - np.abs(u - 0.05 * a))
        value = canvas.mix(Tissue.NUCLEUS, Tissue.ANNULUS, disc.degeneration)
        value = value + (canvas.values[Tissue.ANNULUS] - value) * disc.cleft * np.exp(-((v / 0.9) ** 2))
        value = value * (1 + 0.08 * self.patches.plane(lateral_mm)[window])
        canvas.paint(Tissue.NUCLEUS, core * inside, window, level=level, value=value)


def _body_walls(vertebra: Vertebra, u: Array, v: Array, chord: float) -> tuple[Array, tuple[Array, Array]]:
    """Distance (mm, inside positive) to the nearer of front and back wall, and to the upper and lower endplate."""
    wall = vertebra.wall(v)
    towards_rim = np.minimum(v * v / vertebra.half_height**2, 1)
    spur = vertebra.osteophyte * towards_rim * towards_rim * towards_rim
    recede = vertebra.half_depth * (1 - chord)
    walls = np.minimum(u + wall + spur - 1.4 * recede, wall - u - 0.6 * recede)
    return walls, (v + vertebra.top(u), vertebra.bottom(u) - v)


def _rounded(a: Array, b: Array, corner_mm: float) -> Array:
    """Inside both of two borders, with the corner between them rounded off."""
    round_off = corner_mm - np.hypot(np.maximum(corner_mm - a, 0), np.maximum(corner_mm - b, 0))
    return np.asarray(np.minimum(np.minimum(a, b), round_off))


def _chord(beside_mm: float, half_width_mm: float) -> float:
    """Share of the mid-sagittal depth left at a lateral position of a flattened elliptic cylinder."""
    return float(max(0.0, 1 - abs(beside_mm / half_width_mm) ** 3) ** (1 / 2.2))


def _random_lesions(rng: np.random.Generator, spine: Spine, index: int) -> list[Lesion]:
    vertebra = spine.vertebrae[index]
    if vertebra.is_sacral and vertebra.name != "S1":
        return []
    a, b = vertebra.half_depth, vertebra.half_height
    found = []
    if rng.random() < 0.04:
        radius = rng.uniform(3, 8)
        spot = (rng.uniform(-0.5, 0.5) * a, rng.uniform(-0.4, 0.4) * b)
        found.append(Lesion(index, Tissue.FAT, *spot, radius, radius * rng.uniform(0.7, 1.3)))
    for side in (-1, 1):
        if rng.random() < 0.06:
            tissue = Tissue.FAT if rng.random() < 0.6 else Tissue.CSF
            wide, tall = a * rng.uniform(0.4, 1), rng.uniform(3, 7)
            found.append(Lesion(index, tissue, rng.uniform(-0.5, 0.5) * a, side * b, wide, tall))
        if rng.random() < 0.08:
            wide, tall = rng.uniform(3, 5), rng.uniform(3, 5)
            found.append(Lesion(index, Tissue.ANNULUS, rng.uniform(-0.4, 0.4) * a, side * b, wide, tall))
    return found
