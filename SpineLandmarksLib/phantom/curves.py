"""Smooth curves through given points, and Gaussian blur, in numpy alone, so that the demo needs no scipy.

A cubic piece between neighbouring knots is fixed by its values and slopes at both (Hermite); a spline and a monotone
curve differ in the slopes alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
