"""Drawing the spinal canal of one slice: epidural fat, thecal sac, cord, nerve roots and the long ligaments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.training.phantom.anatomy import Spine
from SpineLandmarksLib.training.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue, smoothstep
from SpineLandmarksLib.training.phantom.course import Course

Array = NDArray[np.float64]
CANAL_HALF_WIDTH_MM = 11.0
CORD_HALF_WIDTH_MM = 5.5
CORD_HALF_DEPTH_MM = 4.1


class CanalPainter:
    """Draws along the `Course`, so that the canal follows the back walls of bodies and discs."""

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
