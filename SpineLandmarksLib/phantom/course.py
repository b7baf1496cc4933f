"""Coordinates that follow the spine: how far behind the bodies a pixel lies, and beside which level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.phantom.anatomy import Spine
from SpineLandmarksLib.phantom.canvas import Grid, spline

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Course:
    """Fields (H, W) about the smooth line of the posterior walls.

    depth: mm behind that line (negative: in front). level: index of the vertebra beside the pixel, half-way at discs.
    front: mm in front of the anterior walls (positive: in front).
    """

    depth: Array
    level: Array
    front: Array
    along_mm: Array

    @staticmethod
    def of(spine: Spine, grid: Grid, step_mm: float = 3.0) -> Course:
        """Nearest points on the line, found on a coarse grid and refined per pixel along the tangent.

        The fields are smooth, so linear interpolation of the coarse grid loses nothing that can be seen.
        """
        line = _posterior_line(spine)
        x, y = _coarse(grid.x_mm, step_mm), _coarse(grid.y_mm, step_mm)
        points = np.stack(np.meshgrid(x, y), axis=-1)  # (h, w, 2)
        nearest = np.stack([nearest_on(line.points_xy, row) for row in points])  # (h, w)
        offset = points - line.points_xy[nearest]
        tangent = line.tangents_xy[nearest]
        ahead = (offset * tangent).sum(-1)
        # Behind a line that runs down is +x: the tangent turned by a quarter to the left of its way down.
        depth = offset[..., 0] * tangent[..., 1] - offset[..., 1] * tangent[..., 0]
        level = line.levels[nearest] + ahead * line.levels_per_mm[nearest]
        to_rows, to_columns = _linear(grid.y_mm, y), _linear(grid.x_mm, x)
        depth, level, along = (to_rows @ f @ to_columns.T for f in (depth, level, line.along_mm[nearest] + ahead))
        thick = np.interp(level, range(len(spine.vertebrae)), [2 * v.half_depth for v in spine.vertebrae])
        return Course(depth, level, -depth - thick, along)

    def of_level(self, values: list[float]) -> Array:
        """Per-vertebra values, interpolated to every pixel (H, W)."""
        return np.asarray(np.interp(self.level, range(len(values)), values))


@dataclass(frozen=True)
class _Line:
    points_xy: Array
    tangents_xy: Array
    levels: Array
    levels_per_mm: Array
    along_mm: Array


def _posterior_line(spine: Spine) -> _Line:
    knots, levels = [], []
    for n, v in enumerate(spine.vertebrae):
        knots.append(v.plane(v.half_depth, 0.0))
        levels.append(float(n))
        if n < len(spine.discs):
            below = spine.vertebrae[n + 1]
            upper = v.plane(v.wall(v.half_height), v.half_height)
            knots.append((upper + below.plane(below.wall(-below.half_height), -below.half_height)) / 2)
            levels.append(n + 0.5)
    first, second, last, before = knots[0], knots[2], knots[-1], knots[-3]
    knots = [first - 4 * (second - first), *knots, last + 4 * (last - before)]
    levels = [-4.0, *levels, levels[-1] + 4.0]
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots, axis=0), axis=1))])
    at = np.arange(0.0, along[-1], 0.75)
    points, tangents = spline(at, along, np.array(knots))
    level = np.interp(at, along, levels)
    return _Line(points, tangents / np.linalg.norm(tangents, axis=1, keepdims=True), level, np.gradient(level, at), at)


def nearest_on(line: Array, points: Array) -> NDArray[np.intp]:
    """Index (M,) of the point of line (N, 2) nearest to each of points (M, 2); their own square is left out."""
    squared: Array = (line**2).sum(1) - 2 * points @ line.T
    return np.asarray(squared.argmin(1))


def _coarse(positions_mm: Array, step_mm: float) -> Array:
    count = int(np.ceil((positions_mm[-1] - positions_mm[0]) / step_mm)) + 1
    return np.linspace(positions_mm[0], positions_mm[-1], max(count, 2))


def _linear(fine: Array, coarse: Array) -> Array:
    """Weights (len(fine), len(coarse)) of linear interpolation between evenly spaced positions."""
    t = (fine - coarse[0]) / (coarse[1] - coarse[0])
    return np.asarray(np.maximum(1 - np.abs(t[:, None] - np.arange(len(coarse))), 0))
