"""The trunk around the spine on one slice: skin, fat, muscles and vessels, and the organs of belly and pelvis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.phantom.anatomy import Spine
from SpineLandmarksLib.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue, ellipse, monotone, smoothstep
from SpineLandmarksLib.phantom.course import Course

Array = NDArray[np.float64]

#: Where the outline is pinned: how deep the fascia lies behind the bodies (mm), and how much fat gathers there (share).
BACK = {
    "T7": (44.0, 0.5),
    "T10": (46.0, 0.5),
    "T12": (49.0, 0.6),
    "L2": (52.0, 0.75),
    "L4": (50.0, 1.1),
    "S1": (38.0, 1.5),
    "S3": (17.0, 1.4),
    "S5": (14.0, 1.7),
    "Co2": (24.0, 2.4),
}
#: Depth of the belly, and thickness of the fat before it, as shares of those in the middle.
FRONT = {
    "T7": (0.92, 0.5),
    "T10": (0.97, 0.5),
    "T12": (0.98, 0.6),
    "L2": (1.0, 0.9),
    "L4": (1.0, 1.1),
    "S1": (0.98, 1.2),
    "S3": (0.93, 1.1),
    "Co2": (0.8, 0.8),
}
#: Tissue, (x, y) mm from the third sacral body, radii mm, and how often it is seen.
PELVIS = (
    (Tissue.ORGAN, -62.0, -12.0, 26.0, 18.0, 0.6),
    (Tissue.BLADDER, -88.0, 22.0, 28.0, 20.0, 0.75),
    (Tissue.ORGAN, -45.0, 25.0, 14.0, 20.0, 0.5),
    (Tissue.GAS, -30.0, 10.0, 12.0, 17.0, 0.55),
    (Tissue.BOWEL, -28.0, 32.0, 11.0, 22.0, 0.6),
    (Tissue.MARROW, -118.0, 50.0, 10.0, 18.0, 0.8),
)


class BodyPainter:
    """Everything random about one trunk, drawn once, so that all slices of a stack agree.

    back, fascia, wall, front: x (mm) at each row of the skin and fascia behind, belly wall and skin in front.
    """

    def __init__(self, rng: np.random.Generator, spine: Spine, grid: Grid, course: Course):
        self.spine, self.course, self.grid = spine, course, grid
        self._outline_back(rng)
        self._outline_front(rng)
        self.septa = SmoothNoise(rng, grid, (14.0, 5.0))
        self.lobules = SmoothNoise(rng, grid, 5.0)
        self.streaks = SmoothNoise(rng, grid, (rng.uniform(1.3, 2.0), rng.uniform(8.0, 18.0)), 5.0)
        self.patches = SmoothNoise(rng, grid, 12.0, 6.0)
        self.septa_depth = rng.uniform(0.03, 0.15)
        self.muscle_fat, self.midline_fat = rng.uniform(-0.1, 0.25), rng.uniform(0.1, 0.5)
        self.vessel_gap, self.vessel_mm = rng.uniform(1.0, 5.0), rng.uniform(13.0, 21.0)
        self.vessel_lateral, self.vessel_ends = rng.uniform(2.0, 16.0), spine.index("S1") - rng.uniform(1.0, 1.6)
        self.iliac_seen, self.iliac_mm = rng.uniform() < 0.5, rng.uniform(3.5, 6.5)
        self.organs = OrganPainter(rng, spine, grid, course, self.wall)

    def _outline_back(self, rng: np.random.Generator) -> None:
        fat, slim = rng.gamma(2.5, 4.0) + 3, rng.normal(1, 0.08)
        rows, fascia, skin = [], [], []
        for name, (depth, share) in BACK.items():
            x, y = self._pin(name)
            rows.append(y)
            fascia.append(x + depth * slim)
            skin.append(fascia[-1] + 2 + fat * share * rng.normal(1, 0.1))
        self.fascia = _through(rows, fascia, self.grid.y_mm)
        self.back = _through(rows, skin, self.grid.y_mm)

    def _outline_front(self, rng: np.random.Generator) -> None:
        belly, apron = rng.uniform(80, 150), rng.gamma(2.0, 9.0) + 4
        rows, wall, skin = [], [], []
        for name, (share, fat_share) in FRONT.items():
            x, y = self._pin(name)
            rows.append(y)
            wall.append(-27 - belly * share + 0.25 * x + rng.normal(0, 3))
            skin.append(wall[-1] - 3 - apron * fat_share)
        self.wall = _through(rows, wall, self.grid.y_mm)
        navel_mm = self._pin("L4")[1] + rng.normal(0, 12)
        fold = rng.uniform(0, 0.5) * apron * np.exp(-(((self.grid.y_mm - navel_mm) / rng.uniform(5, 10)) ** 2))
        self.front = _through(rows, skin, self.grid.y_mm) + fold

    def _pin(self, name: str) -> tuple[float, float]:
        """Middle of the back wall of a vertebra; "L4" is the last but one lumbar body, whatever its name."""
        sacrum = self.spine.index("S1")
        vertebra = self.spine.vertebrae[sacrum - 2 if name == "L4" else self.spine.index(name)]
        x, y = vertebra.plane(vertebra.half_depth, 0.0).tolist()
        return x, y

    def paint(self, canvas: Canvas, lateral_mm: float) -> None:
        """Draw the trunk at one lateral position, from the skin inwards."""
        x, _ = self.grid.mesh(self.grid.whole)
        beside = lateral_mm - self.course.of_level([v.lateral for v in self.spine.vertebrae])
        inside = np.minimum(self.back[:, None] - x, x - self.front[:, None])
        canvas.paint(Tissue.SKIN, canvas.edge(inside))
        septa = self.septa_depth * np.exp(-((self.septa.plane(lateral_mm) / 0.15) ** 2))
        fat = canvas.values[Tissue.FAT] * (1 - septa + 0.03 * self.lobules.plane(lateral_mm))
        canvas.paint(Tissue.FAT, canvas.edge(inside - 1.8), value=fat)
        within = np.minimum(x - self.wall[:, None], self.fascia[:, None] - x)
        streaks = self.streaks.plane(lateral_mm)
        wall = canvas.mix(Tissue.MUSCLE, Tissue.FAT, np.clip(0.12 + 0.08 * streaks, 0, 1))
        canvas.paint(Tissue.MUSCLE, canvas.edge(within, 1.5), value=wall)
        self.organs.paint(canvas, lateral_mm, within)
        self._paint_before_spine(canvas, lateral_mm, beside, streaks)
        self._paint_back(canvas, x, lateral_mm, beside, streaks)

    def _paint_before_spine(self, canvas: Canvas, lateral_mm: float, beside: Array, streaks: Array) -> None:
        patches = self.patches.plane(lateral_mm)
        front, level, depth = self.course.front + 1.2 * patches, self.course.level, self.course.depth
        sacrum = self.spine.index("S1")
        beneath = canvas.edge(-depth) * smoothstep(-4.0, 4.0, 7.0 + 2.5 * patches - front)
        canvas.paint(Tissue.MESENTERY, 0.85 * beneath)
        # Psoas: from the last thoracic body down, ever thicker, beside and in front of the bodies.
        grown = 7.5 * np.clip(level - sacrum + 5.5, 0, 6) - 32.0
        psoas = canvas.edge(np.minimum(-depth - 3.0, grown - front), 1.5) * smoothstep(13.0, 20.0, np.abs(beside))
        value = canvas.mix(Tissue.MUSCLE, Tissue.FAT, np.clip(0.1 + 0.1 * streaks, 0, 1))
        canvas.paint(Tissue.MUSCLE, psoas * (level > sacrum - 5.5), value=value)
        for side, tissue in ((-1.0, Tissue.VESSEL), (1.0, Tissue.VEIN)):
            self._paint_vessel(canvas, tissue, lateral_mm - side * (self.vessel_lateral + (4 if side > 0 else 0)))
        if self.iliac_seen and abs(lateral_mm) < 16:
            crossing = self.iliac_mm * (1 - np.hypot((front - 8.0) / self.iliac_mm, (level - sacrum + 0.8) / 0.3))
            canvas.paint(Tissue.VESSEL, 0.8 * canvas.edge(crossing, 2.0))

    def _paint_vessel(self, canvas: Canvas, tissue: Tissue, beside_mm: float) -> None:
        """Aorta or vena cava: a tube before the bodies that ends, tapering, where it divides above the sacrum."""
        chord = np.sqrt(max(0.0, 1 - (2 * beside_mm / self.vessel_mm) ** 2))
        if chord < 0.25:
            return
        front, level = self.course.front + 0.6 * self.patches.plane(), self.course.level
        centre = self.vessel_gap + self.vessel_mm / 2 + 1.5 * np.sin(level * 1.1 + self.vessel_mm)
        radius = chord * self.vessel_mm / 2 * np.sqrt(np.clip((self.vessel_ends - level) / 0.5, 0, 1))
        vein = canvas.mix(Tissue.VESSEL, Tissue.LIVER, 0.5)
        value = canvas.values[Tissue.VESSEL] if tissue is Tissue.VESSEL else vein
        canvas.paint(Tissue.VESSEL, canvas.edge(radius - np.abs(front - centre) - 0.5, 2.0), value=value)

    def _paint_back(self, canvas: Canvas, x: Array, lateral_mm: float, beside: Array, streaks: Array) -> None:
        low = self.spine.index("S1") + 4.5
        deep = np.minimum(np.minimum(self.fascia[:, None] - x, self.course.depth), 25.0 * (low - self.course.level))
        canvas.paint(Tissue.LIGAMENT, 0.85 * canvas.edge(deep + 0.8))
        patches = self.patches.plane(lateral_mm)
        midline = 1 - smoothstep(2.5, 8.0, np.abs(beside))
        fat_low = 0.35 * smoothstep(low - 8.0, low - 3.5, self.course.level)
        muscle_fat = np.clip(self.muscle_fat + fat_low + 0.12 * streaks + 0.1 * patches, 0, 1)
        between = np.clip(self.midline_fat + 0.5 * fat_low + 0.14 * streaks + 0.14 * patches, 0, 1)
        share = muscle_fat + (between - muscle_fat) * midline
        canvas.paint(Tissue.MUSCLE, canvas.edge(deep - 0.8), value=canvas.mix(Tissue.MUSCLE, Tissue.FAT, share))


def _through(rows_mm: list[float], values_mm: list[float], y: Array) -> Array:
    """A smooth curve through pins, level beyond the first and last."""
    order = np.argsort(rows_mm)
    rows, values = np.array(rows_mm)[order], np.array(values_mm)[order]
    curve = monotone(np.clip(y, rows[0], rows[-1]), rows, values)
    # A running mean takes the corners off.
    half = max(2, int(12 / (y[1] - y[0])))
    padded = np.pad(curve, half, mode="edge")
    return np.asarray(np.convolve(padded, np.ones(2 * half + 1) / (2 * half + 1), mode="valid"))


class OrganPainter:
    """Organs of belly and pelvis: shapes bent by smooth noise; breathing blurs the belly more than the pelvis."""

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
        self.pelvis = [self._organ(rng, *row[:-1]) for row in PELVIS if rng.random() < row[-1]]

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
