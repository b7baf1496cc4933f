"""Whether drawn outlines lie on the picture, told by the picture's edges alone, without any model.

A publisher who turns, mirrors or shears pictures and outlines apart leaves outlines beside what they outline. Walls and
endplates of a vertebral body are edges: outlines are moved over the picture, and where they meet the strongest edges
is where they belong.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Pixels = NDArray[np.float64]
#: Looked at on each side, in pixels.
REACH = 12
#: The part of an edge between two corners that counts: corners are round.
ALONG = np.linspace(0.15, 0.85, 15)[:, None]


def best_shift(image: Pixels, outlines: Iterable[Pixels]) -> tuple[int, int]:
    """The shift (x, y) of all outlines together, in pixels, at which they meet the strongest edges.

    Args:
        image: (H, W) grey values.
        outlines: (4, 2) corners x, y of a quadrilateral, upper front, upper back, lower front, lower back; or (2, 2) of
            an upper side alone.
    """
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 1.5)
    across, down = ndimage.sobel(smooth, axis=1) / 8, ndimage.sobel(smooth, axis=0) / 8
    sides = [side for outline in outlines for side in _sides(outline)]
    points = np.concatenate([start + (end - start) * ALONG for start, end in sides])
    normal = np.repeat([_normal(*side) for side in sides], len(ALONG), axis=0)
    shifts = [(x, y) for y in range(-REACH, REACH + 1) for x in range(-REACH, REACH + 1)]

    def strength(shift: tuple[int, int]) -> float:
        at = (points + shift)[:, ::-1].T
        slope = [ndimage.map_coordinates(part, at, order=1, mode="nearest") for part in (across, down)]
        return float(np.mean(np.log1p(np.abs(slope[0] * normal[:, 0] + slope[1] * normal[:, 1]))))

    return max(shifts, key=strength)


def _sides(outline: Pixels) -> list[tuple[Pixels, Pixels]]:
    corners = range(len(outline))
    return [(outline[a], outline[b]) for a, b in ((0, 1), (2, 3), (0, 2), (1, 3)) if a in corners and b in corners]


def _normal(start: Pixels, end: Pixels) -> Pixels:
    x, y = (end - start) / np.linalg.norm(end - start)
    return np.array((-y, x))
