"""Drawing the belly and pelvis of one slice: fat, bowel, liver, lung, bladder and the rest, as unclear as they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.training.phantom.anatomy import Spine
from SpineLandmarksLib.training.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue, ellipse, smoothstep
from SpineLandmarksLib.training.phantom.course import Course

Array = NDArray[np.float64]

#: Tissue, (x, y) mm from the third sacral body, radii mm, and how often it is seen.
_PELVIS = (
    (Tissue.ORGAN, -62.0, -12.0, 26.0, 18.0, 0.6),
    (Tissue.BLADDER, -88.0, 22.0, 28.0, 20.0, 0.75),
    (Tissue.ORGAN, -45.0, 25.0, 14.0, 20.0, 0.5),
    (Tissue.GAS, -30.0, 10.0, 12.0, 17.0, 0.55),
    (Tissue.BOWEL, -28.0, 32.0, 11.0, 22.0, 0.6),
    (Tissue.MARROW, -118.0, 50.0, 10.0, 18.0, 0.8),
)


class OrganPainter:
    """Shapes bent by smooth noise; breathing blurs the belly more than the pelvis."""

    def __init__(self, rng: np.random.Generator, spine: Spine, grid: Grid, course: Course, wall: Array):
        self.spine, self.course, self.grid, self.wall = spine, course, grid, wall
        self.bend_x, self.bend_y = (SmoothNoise(rng, grid, rng.uniform(18.0, 32.0), 16.0) for _ in range(2))
        self.bend_mm = rng.uniform(2.0, 6.0)
        self.bowel = SmoothNoise(rng, grid, (rng.uniform(8.0, 16.0), rng.uniform(11.0, 24.0)), 12.0)
        self.folds = SmoothNoise(rng, grid, (rng.uniform(2.0, 4.5), rng.uniform(6.0, 18.0)), 8.0)
        self.haze = SmoothNoise(rng, grid, (20.0, 30.0), 12.0)
        self.gas = SmoothNoise(rng, grid, rng.uniform(11.0, 18.0), 12.0)
        self.bowel_share, self.gas_from = rng.uniform(-0.5, 0.6), rng.uniform(1.2, 2.4)
        self.clarity, self.softness_mm = rng.uniform(0.5, 1.0), rng.uniform(2.5, 7.0)
        self.liver_front, self.liver_up_mm = rng.uniform(0.55, 0.85), rng.uniform(-15, 45)
        self.liver_mm = (rng.uniform(35, 60), rng.uniform(45, 80))
        self.liver_shown = rng.uniform(0.5, 0.95) if rng.random() < 0.75 else 0.0
        self.lung_down_mm = rng.uniform(-35, 10)
        self.pelvis = [self._organ(rng, *row[:-1]) for row in _PELVIS if rng.random() < row[-1]]

    def _organ(
        self, rng: np.random.Generator, tissue: Tissue, x: float, y: float, radius_x: float, radius_y: float
    ) -> tuple[Tissue, Array, float, float, float]:
        centre = self.spine.vertebrae[self.spine.index("S3")].centre_xy + np.array([x, y]) + rng.normal(0, 6, 2)
        size = rng.uniform(0.6, 1.2)
        return tissue, centre, radius_x * size, radius_y * size * rng.uniform(0.8, 1.2), rng.normal(0, 0.3)

    def paint(self, canvas: Canvas, lateral_mm: float, within: Array) -> None:
        """within: mm inside belly wall and fascia."""
        x, y = self.grid.mesh(self.grid.whole)
        x = x + self.bend_mm * self.bend_x.plane(lateral_mm)
        y = y + self.bend_mm * self.bend_y.plane(lateral_mm)
        cavity = canvas.edge(within - 9.0, 2.5) * canvas.edge(-self.course.depth)
        self._paint_bowel(canvas, lateral_mm, cavity)
        self._paint_upper(canvas, x, y, lateral_mm, cavity * canvas.edge(self.course.front - 7.0, 5.0))
        self._paint_pelvis(canvas, x, y, lateral_mm, cavity * canvas.edge(self.course.front - 6.0, 3.0))

    def _paint_bowel(self, canvas: Canvas, lateral_mm: float, cavity: Array) -> None:
        folds, haze = self.folds.plane(lateral_mm), self.haze.plane(lateral_mm)
        fat = canvas.mix(Tissue.MESENTERY, Tissue.ORGAN, np.clip(0.3 + 0.28 * folds + 0.25 * haze, 0, 1))
        canvas.paint(Tissue.MESENTERY, cavity, value=fat)
        loops = smoothstep(-1.0, 1.0, (self.bowel.plane(lateral_mm) + self.bowel_share) * 10.0 / self.softness_mm)
        clear = cavity * canvas.edge(self.course.front - 8.0, 8.0)
        value = canvas.values[Tissue.BOWEL] * (1 + 0.25 * folds + 0.2 * haze)
        canvas.paint(Tissue.BOWEL, self.clarity * clear * loops, value=value)
        gas = smoothstep(-1.0, 1.0, (self.gas.plane(lateral_mm) - self.gas_from) * 16.0 / self.softness_mm)
        canvas.paint(Tissue.GAS, clear * gas * loops)

    def _paint_upper(self, canvas: Canvas, x: Array, y: Array, lateral_mm: float, cavity: Array) -> None:
        """Liver under the dome of the diaphragm, lung above it."""
        top = self.spine.vertebrae[self.spine.index("T12")].centre_xy[1]
        belly = float(-self.wall.mean())
        shape = ellipse(x + self.liver_front * belly, y - top + self.liver_up_mm, *self.liver_mm)
        liver = self.liver_shown * canvas.edge(shape, self.softness_mm)
        value = canvas.values[Tissue.LIVER] * (1 + 0.1 * self.folds.plane(lateral_mm))
        canvas.paint(Tissue.LIVER, cavity * liver, value=value)
        dome = top - 62.0 + self.lung_down_mm + 0.004 * (x + 0.55 * belly) ** 2
        canvas.paint(Tissue.GAS, cavity * canvas.edge(dome - y, 2 * self.softness_mm))

    def _paint_pelvis(self, canvas: Canvas, x: Array, y: Array, lateral_mm: float, cavity: Array) -> None:
        sacral = smoothstep(self.spine.index("S1") - 0.3, self.spine.index("S1") + 1.0, self.course.level)
        canvas.paint(Tissue.MESENTERY, cavity * sacral * 0.5)
        shrink = np.sqrt(max(0.0, 1 - (lateral_mm / 45.0) ** 2))
        for tissue, (cx, cy), radius_x, radius_y, tilt in self.pelvis:
            c, s = np.cos(tilt), np.sin(tilt)
            u, v = (x - cx) * c - (y - cy) * s, (x - cx) * s + (y - cy) * c
            shape = ellipse(u, v, radius_x * shrink + 1, radius_y * shrink + 1)
            if tissue is not Tissue.ORGAN:
                wall = canvas.values[Tissue.MUSCLE]
                canvas.paint(Tissue.ORGAN, cavity * canvas.edge(shape + 2.5, 2.0), value=wall)
            grain = 1 + 0.1 * self.folds.plane(lateral_mm) * (tissue in (Tissue.ORGAN, Tissue.BOWEL))
            canvas.paint(tissue, cavity * canvas.edge(shape, 2.0), value=canvas.values[tissue] * grain)
