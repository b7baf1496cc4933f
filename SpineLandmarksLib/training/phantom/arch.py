"""Drawing the bone behind the canal of one slice: spinous processes, laminae, pedicles, facets, sacral crest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.training.phantom.anatomy import Spine, Vertebra
from SpineLandmarksLib.training.phantom.canal import CANAL_HALF_WIDTH_MM
from SpineLandmarksLib.training.phantom.canvas import (
    Canvas,
    Grid,
    SmoothNoise,
    Tissue,
    Window,
    ellipse,
    rounded_box,
    smoothstep,
)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Process:
    """A spinous process: start below the body's centre and size in mm, drop in radians, and how clear it is."""

    start_v: float
    length: float
    height: float
    drop: float
    shown: float


class ArchPainter:
    """Draws behind the canal as far as the fascia allows; x (mm) of the fascia at each row."""

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
