"""Drawing with partial volume: a grid in millimetres, soft-edged shapes, smooth noise, and the canvas they meet on.

Smooth curves and blur are in numpy alone, so that the demo needs no scipy. A cubic piece between neighbouring knots is
fixed by its values and slopes at both (Hermite); a spline and a monotone curve differ in the slopes alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Window = tuple[slice, slice]


def spline(at: Array, knots: Array, values: Array) -> tuple[Array, Array]:
    """Value and derivative, (M, D) each, of the cubic spline through values (N, D) at knots (N,), ascending, N >= 4.

    The second derivative is continuous everywhere, and the third at the second and the last but one knot ("not a
    knot"): de Boor, A Practical Guide to Splines, chapter IV.
    """
    h = np.diff(knots)
    rise = np.diff(values, axis=0) / h[:, None]
    matrix, right = np.zeros((len(knots), len(knots))), np.zeros(values.shape)
    for n in range(1, len(knots) - 1):
        matrix[n, n - 1 : n + 2] = h[n], 2 * (h[n - 1] + h[n]), h[n - 1]
        right[n] = 3 * (h[n] * rise[n - 1] + h[n - 1] * rise[n])
    for row, n in ((0, 0), (-1, len(knots) - 3)):
        one, two = 1 / h[n] ** 2, 1 / h[n + 1] ** 2
        matrix[row, n : n + 3] = one, one - two, -two
        right[row] = 2 * (one * rise[n] - two * rise[n + 1])
    return _hermite(at, knots, values, np.asarray(np.linalg.solve(matrix, right), dtype=np.float64))


def monotone(at: Array, knots: Array, values: Array) -> Array:
    """(M,) of the curve through values (N,) at knots (N,), ascending, N >= 3, that never overshoots its knots.

    At a peak or a valley its slope is 0, elsewhere the weighted harmonic mean of the rises on both sides: Fritsch and
    Butland, SIAM Journal on Scientific and Statistical Computing 5, 1984.
    """
    h = np.diff(knots)
    rise = np.diff(values) / h
    before, after = rise[:-1], rise[1:]
    nearer_before, nearer_after = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    bends = before * after > 0
    inner = np.zeros(len(values) - 2)
    np.divide(
        (nearer_before + nearer_after) * before * after,
        nearer_before * after + nearer_after * before,
        out=inner,
        where=bends,
    )
    slopes = np.array([_end_slope(h[:2], rise[:2]), *inner, _end_slope(h[:-3:-1], rise[:-3:-1])])
    return _hermite(at, knots, values[:, None], slopes[:, None])[0][:, 0]


def _end_slope(h: Array, rise: Array) -> float:
    """Slope at an end from its two nearest pieces: a parabola's, held back where it would overshoot."""
    slope = float(((2 * h[0] + h[1]) * rise[0] - h[0] * rise[1]) / (h[0] + h[1]))
    if slope * rise[0] <= 0:
        return 0.0
    turns = rise[0] * rise[1] <= 0
    return float(3 * rise[0]) if turns and abs(slope) > abs(3 * rise[0]) else slope


def _hermite(at: Array, knots: Array, values: Array, slopes: Array) -> tuple[Array, Array]:
    """Value and derivative (M, D) of the piecewise cubic with these values and slopes (N, D); its ends go on beyond."""
    piece = np.clip(np.searchsorted(knots, at, side="right") - 1, 0, len(knots) - 2)
    width = np.diff(knots)[piece, None]
    t = (at - knots[piece])[:, None] / width
    rise = values[piece + 1] - values[piece]
    leaving, arriving = slopes[piece] * width, slopes[piece + 1] * width
    bend, twist = 3 * rise - 2 * leaving - arriving, leaving + arriving - 2 * rise
    value: Array = values[piece] + t * (leaving + t * (bend + t * twist))
    derivative: Array = (leaving + t * (2 * bend + 3 * t * twist)) / width
    return value, derivative


def blur(image: Array, sigma_px: float) -> Array:
    """Gaussian blur of (H, W), cut off at 4 sigma; beyond its edges the image is mirrored."""
    radius = int(4 * sigma_px + 0.5)
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    weights /= weights.sum()
    for _ in range(2):  # down the rows, turn, down what were the columns, turn back
        padded = np.pad(image, ((radius, radius), (0, 0)), mode="symmetric")
        image = sum(weight * padded[row : row + len(image)] for row, weight in enumerate(weights)).T
    return image


class Tissue(IntEnum):
    """What a pixel of the label map holds."""

    AIR, SKIN, FAT, MUSCLE, MARROW, CORTEX, NUCLEUS, ANNULUS, CSF, CORD, NERVE = range(11)
    EPIDURAL_FAT, LIGAMENT, VESSEL, BOWEL, GAS, LIVER, BLADDER, ORGAN, VEIN, MESENTERY = range(11, 21)


@dataclass(frozen=True)
class Grid:
    """Pixel centres of one slice in plane mm: `x_mm` (W,), `y_mm` (H,), and the lateral position of the slice."""

    x_mm: Array
    y_mm: Array
    pixel_mm: float

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y_mm), len(self.x_mm)

    def window(self, centre_xy: tuple[float, float], reach_mm: float) -> Window:
        """The part of the slice within `reach_mm` of a point; empty when it lies outside."""
        columns = np.searchsorted(self.x_mm, [centre_xy[0] - reach_mm, centre_xy[0] + reach_mm])
        rows = np.searchsorted(self.y_mm, [centre_xy[1] - reach_mm, centre_xy[1] + reach_mm])
        return slice(*rows), slice(*columns)

    def mesh(self, window: Window) -> tuple[Array, Array]:
        """x (1, w) and y (h, 1) of a window, ready to broadcast."""
        return self.x_mm[None, window[1]], self.y_mm[window[0], None]

    @property
    def whole(self) -> Window:
        return slice(0, len(self.y_mm)), slice(0, len(self.x_mm))


class SmoothNoise:
    """Noise about 0 with unit spread and one feature size, defined in space, so that neighbouring slices agree.

    A random lattice under cubic B-splines; a slice of it is two small matrix products.
    """

    def __init__(
        self, rng: np.random.Generator, grid: Grid, feature_mm: float | tuple[float, float], lateral_mm: float = 8.0
    ):
        fx, fy = (feature_mm, feature_mm) if isinstance(feature_mm, float) else feature_mm
        self._rows = _spline_weights(grid.y_mm, fy)
        self._columns = _spline_weights(grid.x_mm, fx)
        self._lateral_mm = lateral_mm
        self._latest: tuple[float, Array] | None = None
        self._lattice = rng.standard_normal((16, self._rows.shape[1], self._columns.shape[1])) * 2.1

    def plane(self, lateral_mm: float = 0.0) -> Array:
        """(H, W), read only, at one lateral position; kept, since many shapes of a slice ask for the same."""
        if self._latest is not None and self._latest[0] == lateral_mm:
            return self._latest[1]
        at = lateral_mm / self._lateral_mm + 7.5
        low = int(np.clip(np.floor(at), 0, 14))
        t = np.clip(at - low, 0, 1)
        # Weights whose squares sum to one keep the spread the same between the lattice's planes.
        lattice = (self._lattice[low] * (1 - t) + self._lattice[low + 1] * t) / np.hypot(1 - t, t)
        plane: Array = self._rows @ lattice @ self._columns.T
        self._latest = lateral_mm, plane
        return plane


def _spline_weights(positions_mm: Array, feature_mm: float) -> Array:
    t = (positions_mm - positions_mm[0]) / feature_mm + 1.5
    distance = np.abs(t[:, None] - np.arange(int(t[-1]) + 3))
    rest = np.maximum(2 - distance, 0)
    near, far = 2 / 3 - distance * distance * (1 - distance / 2), rest * rest * rest / 6
    return np.asarray(np.where(distance < 1, near, far))


class Canvas:
    """An image that shapes are blended onto, with the tissue and the level that own each pixel."""

    def __init__(self, grid: Grid, values: Mapping[Tissue, float]):
        self.grid = grid
        self.values = values
        self.image = np.full(grid.shape, values[Tissue.AIR], dtype=np.float64)
        self.labels = np.zeros(grid.shape, dtype=np.uint8)
        self.levels = np.zeros(grid.shape, dtype=np.uint8)

    def paint(
        self,
        tissue: Tissue,
        coverage: Array | float,
        window: Window | None = None,
        *,
        level: int = 0,
        value: Array | float | None = None,
    ) -> None:
        """Blend a tissue over a window with coverage 0..1 (broadcast to it); half and more also takes the labels.

        value: replaces the tissue's own intensity, e.g. for textures and mixtures.
        """
        where = self.grid.whole if window is None else window
        image = self.image[where]
        coverage = np.broadcast_to(np.asarray(coverage), image.shape)
        image += coverage * ((self.values[tissue] if value is None else value) - image)
        taken = coverage >= 0.5
        self.labels[where][taken] = tissue
        self.levels[where][taken] = level

    def mix(self, a: Tissue, b: Tissue, share_of_b: ArrayLike) -> Array:
        """Intensity of a mixture of two tissues."""
        return np.asarray(self.values[a] + (self.values[b] - self.values[a]) * np.asarray(share_of_b, dtype=np.float64))

    def edge(self, distance_mm: Array, softness_mm: float = 0.0) -> Array:
        """Coverage from a signed distance (inside positive): one pixel of partial volume, or a softer border."""
        width = max(self.grid.pixel_mm, softness_mm)
        return np.asarray(np.clip(distance_mm / width + 0.5, 0, 1))


def ellipse(u: Array, v: Array, radius_u: float, radius_v: float) -> Array:
    """Signed distance (roughly mm, inside positive) to an ellipse about the origin."""
    return np.asarray((1 - np.sqrt((u / radius_u) ** 2 + (v / radius_v) ** 2)) * min(radius_u, radius_v))


def rounded_box(u: Array, v: Array, half_u: float, half_v: Array | float, corner: float) -> Array:
    """Signed distance (mm, inside positive) to a box with round corners about the origin."""
    qu, qv = np.abs(u) - half_u + corner, np.abs(v) - half_v + corner
    outside = np.hypot(np.maximum(qu, 0), np.maximum(qv, 0))
    return np.asarray(corner - outside - np.minimum(np.maximum(qu, qv), 0))


def smoothstep(low: float, high: float, x: ArrayLike) -> Array:
    """0 below `low`, 1 above `high`, smooth between."""
    t = np.clip((np.asarray(x, dtype=np.float64) - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t))
