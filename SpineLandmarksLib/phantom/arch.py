"""The spinal canal and the bone behind it on one slice.

Canal: epidural fat, thecal sac, cord, nerve roots and the long ligaments. Arch: spinous processes, laminae, pedicles,
facets, sacral crest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.phantom.anatomy import Spine, Vertebra
from SpineLandmarksLib.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue, Window, ellipse, rounded_box, smoothstep
from SpineLandmarksLib.phantom.course import Course

Array = NDArray[np.float64]

CANAL_HALF_WIDTH_MM = 11.0
CORD_HALF_WIDTH_MM = 5.5
CORD_HALF_DEPTH_MM = 4.1


@dataclass(frozen=True)
class Process:
    """A spinous process: start below the body's centre and size in mm, drop in radians, and how clear it is."""

    start_v: float
    length: float
    height: float
    drop: float
    shown: float


class ArchPainter:
    """The arch: draws behind the canal as far as the fascia allows; x (mm) of the fascia at each row."""

    def __init__(self, rng: np.random.Generator, spine: Spine, grid: Grid, rim_mm: float, fascia: Array):
        self.spine, self.rim_mm = spine, rim_mm
        self.room = fascia[:, None] - grid.x_mm[None, :] - 1.5
        self.processes = [_random_process(rng, v) for v in spine.vertebrae]
        self.flavum_mm = rng.uniform(1.2, 3.5)
        self.grain = SmoothNoise(rng, grid, 3.0)
        self.grain_amount = rng.uniform(0.05, 0.13)
        self.uneven_u, self.uneven_v = (SmoothNoise(rng, grid, 9.0) for _ in range(2))

    def paint(self, canvas: Canvas, lateral_mm: float) -> None:
        for vertebra, process in zip(self.spine.vertebrae, self.processes, strict=True):
            window = canvas.grid.window(vertebra.centre_xy, 75.0)
            u, v = vertebra.local(*canvas.grid.mesh(window))
            if vertebra.name.startswith("Co") or not u.size:
                continue
            u = u + 0.7 * self.uneven_u.plane(lateral_mm)[window]
            v = v + 0.8 * self.uneven_v.plane(lateral_mm)[window]
            beside = abs(lateral_mm - vertebra.lateral)
            if vertebra.is_sacral:
                crest = u - vertebra.half_depth - vertebra.canal - 4.5
                self._paint_bone(canvas, rounded_box(crest, v - 1, 3.0, vertebra.half_height * 0.9, 2.9), window, 0.7)
                continue
            self._paint_process(canvas, vertebra, process, window, (u, v), beside)
            if beside > CANAL_HALF_WIDTH_MM - 3:
                self._paint_facets(canvas, vertebra, window, (u, v), beside)

    def _paint_process(
        self,
        canvas: Canvas,
        vertebra: Vertebra,
        process: Process,
        window: Window,
        uv: tuple[Array, Array],
        beside: float,
    ) -> None:
        behind = uv[0] - vertebra.half_depth - vertebra.canal - 1.0
        if beside < CANAL_HALF_WIDTH_MM - 3:
            # The ligamentum flavum spans from lamina to lamina, oblique, behind the sac.
            gap = uv[1] - vertebra.half_height - 3
            flavum = rounded_box(behind - 1.6 + 0.12 * gap, gap, self.flavum_mm / 2, 9.0, 0.6)
            canvas.paint(Tissue.LIGAMENT, 0.85 * canvas.edge(flavum, 1.2), window)
        c, s = np.cos(process.drop), np.sin(process.drop)
        a, b = behind, uv[1] - process.start_v
        a, b = a * c + b * s - process.length / 2, b * c - a * s
        # Narrow at the lamina, club-shaped at the tip.
        half = process.height / 2 * (0.85 + 0.25 * np.clip(a / process.length, -0.5, 0.5))
        shape = rounded_box(a, b, process.length / 2, half, min(4.5, process.height / 2.6))
        self._paint_bone(canvas, shape, window, process.shown * (1 - float(smoothstep(3.0, 6.5, beside))))

    def _paint_facets(
        self, canvas: Canvas, vertebra: Vertebra, window: Window, uv: tuple[Array, Array], beside: float
    ) -> None:
        """Pedicle, pars and facets with the fat and nerve root of the foramen below the pedicle."""
        shown = float(smoothstep(8, 10.5, beside) * (1 - smoothstep(18, 24, beside)))
        if shown == 0.0:
            return
        u, v = uv[0] - vertebra.half_depth, uv[1]
        b = vertebra.half_height
        foramen = rounded_box(u - 4.5, v - b - 1, 5.5, b * 0.75, 4.0)
        canvas.paint(Tissue.EPIDURAL_FAT, shown * canvas.edge(foramen, 1.5), window)
        canvas.paint(Tissue.NERVE, shown * canvas.edge(ellipse(u - 3.5, v - b * 0.75, 2.8, 2.8), 1.2), window)
        self._paint_bone(canvas, rounded_box(u - 3, v + b * 0.35, 7.5, b * 0.38, 3.0), window, shown)
        self._paint_bone(canvas, rounded_box(u - 12 - 0.25 * (v - 4), v - 5, 4.0, b + 6, 4.0), window, shown)
        along = u - 8.5 - 0.3 * (v + b)
        self._paint_bone(canvas, rounded_box(along, v + b + 2, 3.0, 8.0, 3.0), window, shown)
        joint = canvas.edge(0.7 - np.abs(along - 1.0)) * canvas.edge(6 - np.abs(v + b + 3))
        canvas.paint(Tissue.CSF, 0.45 * shown * joint, window)

    def _paint_bone(self, canvas: Canvas, shape: Array, window: Window, shown: float) -> None:
        shape = np.minimum(shape, self.room[window])
        canvas.paint(Tissue.CORTEX, 0.65 * shown * canvas.edge(shape, 1.4), window)
        value = canvas.values[Tissue.MARROW] * (1 + self.grain_amount * self.grain.plane(0.0)[window])
        canvas.paint(Tissue.MARROW, shown * canvas.edge(shape - 1.1 * self.rim_mm - 0.3, 1.2), window, value=value)


def _random_process(rng: np.random.Generator, vertebra: Vertebra) -> Process:
    shown = rng.uniform(0.6, 1.0)
    if vertebra.name.startswith("T"):
        steep = 0.5 if vertebra.name in ("T11", "T12") else 0.95
        drop = rng.normal(steep, 0.1)
        return Process(rng.uniform(2, 6), rng.uniform(24, 32), rng.uniform(8, 12), drop, shown)
    last = vertebra.canal < 16 and vertebra.tilt > 0.1
    height = vertebra.half_height * 2 * rng.normal(0.52 if last else 0.7, 0.07)
    length = rng.uniform(16, 24) if last else rng.uniform(23, 31)
    return Process(vertebra.half_height * rng.uniform(0.5, 0.85), length, height, rng.normal(0.2, 0.1), shown)


class CanalPainter:
    """The canal: drawn along the `Course`, so that the canal follows the back walls of bodies and discs."""

    def __init__(self, rng: np.random.Generator, spine: Spine, grid: Grid, course: Course):
        self.spine, self.course = spine, course
        self.sacrum = spine.index("S1")
        self.phase = rng.uniform(0, 2 * np.pi, 3)
        self.root_contrast = rng.uniform(0.3, 0.8)
        self.sac_ends = self.sacrum + 1 + rng.uniform(-0.5, 0.5)
        self.fat_front_mm, self.fat_back_mm = rng.uniform(0.5, 5.0), rng.uniform(0.3, 2.2)
        self.uneven = SmoothNoise(rng, grid, (8.0, 14.0))

    def paint(self, canvas: Canvas, lateral_mm: float) -> None:
        course, depth = self.course, self.course.depth
        beside = self._beside(lateral_mm)
        uneven = 0.25 * self.uneven.plane(lateral_mm)
        canal = course.of_level([v.canal for v in self.spine.vertebrae]) + uneven
        wide = (np.abs(beside) < CANAL_HALF_WIDTH_MM + 5) * (course.level < self.sacrum + 5)
        canvas.paint(Tissue.EPIDURAL_FAT, canvas.edge(np.minimum(depth, canal + 1.5 - depth)) * wide)
        ending = 1 - smoothstep(self.sac_ends - 1.2, self.sac_ends + 0.1, course.level)
        reach = np.sqrt(np.maximum(1 - (beside / CANAL_HALF_WIDTH_MM) ** 2, 0)) * ending
        fat_front = 1.0 + self.fat_front_mm * smoothstep(self.sacrum - 1.4, self.sacrum + 0.3, course.level)
        # Fat lies behind the sac where the laminae leave room, that is beside the lumbar discs.
        disc_like = 0.5 - 0.5 * np.cos(2 * np.pi * course.level)
        fat_back = 0.5 + self.fat_back_mm * disc_like * smoothstep(5, 8, course.level)
        middle = (fat_front + canal - fat_back) / 2
        half = (canal - fat_front - fat_back) / 2 * reach
        present = ending > 0.02
        canvas.paint(Tissue.LIGAMENT, 0.6 * canvas.edge(half + 0.7 - np.abs(depth - middle)) * present)
        sac = canvas.edge(half - np.abs(depth - middle), 0.9) * present
        canvas.paint(Tissue.CSF, sac)
        self._paint_nerves(canvas, beside, middle, half, sac)

    def _paint_nerves(self, canvas: Canvas, beside: Array, middle: Array, half: Array, sac: Array) -> None:
        depth, level, along = self.course.depth, self.course.level, self.course.along_mm
        conus = self.spine.conus
        below = smoothstep(conus - 0.6, conus + 0.3, level) * (1 - smoothstep(conus + 3.5, conus + 6.0, level))
        stripes = np.zeros_like(depth)
        for fineness, length, phase in zip((2.1, 3.3, 4.5), (31.0, 22.0, 17.0), self.phase, strict=True):
            stripes += np.cos((depth - middle) * fineness + 1.2 * np.sin(along / length + phase))
        # Lying down, the roots sink to the back of the sac and thin out on their way.
        back = (depth - middle) / np.maximum(half, 1.0) + 0.25 * np.sin(along / 40 + self.phase[0])
        sunk = 0.15 + 0.85 * smoothstep(-0.5, 0.7, back)
        canvas.paint(Tissue.NERVE, sac * below * np.clip(0.35 + 0.35 * stripes, 0, 1) * sunk * self.root_contrast)
        size = CORD_HALF_DEPTH_MM * (1 - smoothstep(conus - 1.1, conus + 0.25, level))
        width = np.sqrt(np.maximum(1 - (beside / CORD_HALF_WIDTH_MM) ** 2, 0))
        cord = size * width - np.abs(depth - middle - 0.8 * smoothstep(conus - 2, conus, level))
        canvas.paint(Tissue.CORD, canvas.edge(cord, 1.0) * (size > 0.3) * (width > 0))

    def paint_ligaments(self, canvas: Canvas, lateral_mm: float) -> None:
        """The posterior and anterior longitudinal ligaments: thin and dark, over discs but not over bone."""
        course, beside = self.course, self._beside(lateral_mm)
        discs_only = ((canvas.levels == 0) | (canvas.levels > 99)) * (course.level < self.sacrum + 0.3)
        posterior = canvas.edge(0.7 - np.abs(course.depth - 0.2)) * (np.abs(beside) < 9)
        canvas.paint(Tissue.LIGAMENT, np.minimum(0.8 * posterior * discs_only, 0.49))
        anterior = canvas.edge(0.9 - np.abs(course.front - 0.3), 1.4) * (np.abs(beside) < 14)
        canvas.paint(Tissue.LIGAMENT, np.minimum(0.7 * anterior * discs_only, 0.49))

    def _beside(self, lateral_mm: float) -> Array:
        return lateral_mm - self.course.of_level([v.lateral for v in self.spine.vertebrae])
