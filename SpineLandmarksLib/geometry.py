"""Every change of frame, in one place.

Frames are named, matrices are homogeneous and read as chains: ``ras_from_ijk @ ijk_from_slice``.

- ras:   patient, mm; +x Right, +y Anterior, +z Superior. The frame of everything the project hands out.
- lps:   patient, mm; +x Left, +y Posterior, +z Superior. DICOM and ITK; met only here and at a format's edge.
- ijk:   voxels of a stack; i = column, j = row, k = slice; an integer is a voxel centre.
- slice: native pixels (x = column, y = row) of one slice; an integer is a pixel centre.
- pixel: pixels of the prepared network input; an integer is a pixel centre.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SpineLandmarksLib.errors import GeometryError

Matrix = NDArray[np.float64]

RAS_FROM_LPS: Matrix = np.diag([-1.0, -1.0, 1.0, 1.0])


def ras_from_lps(points_lps_mm: ArrayLike) -> NDArray[np.float64]:
    """Points (..., 3) or a 4x4 ``lps_from_x`` matrix, flipped to RAS. Its own inverse.

    >>> ras_from_lps([1.0, 2.0, 3.0]).tolist()
    [-1.0, -2.0, 3.0]
    """
    values: NDArray[np.float64] = np.asarray(points_lps_mm, dtype=np.float64)
    if values.shape == (4, 4):
        return RAS_FROM_LPS @ values
    return np.asarray(values * np.array([-1.0, -1.0, 1.0]))


lps_from_ras = ras_from_lps


def apply(matrix: ArrayLike, points: ArrayLike) -> NDArray[np.float64]:
    """Move points (..., D) by a homogeneous (D+1, D+1) matrix.

    >>> apply([[2, 0, 1], [0, 2, 0], [0, 0, 1]], [3.0, 4.0]).tolist()
    [7.0, 8.0]
    """
    m = np.asarray(matrix, dtype=np.float64)
    p = np.asarray(points, dtype=np.float64)
    if p.shape[-1] + 1 != m.shape[0]:
        raise GeometryError(f"Expected points with {m.shape[0] - 1} coordinates for a {m.shape} matrix; got {p.shape}")
    return p @ m[:-1, :-1].T + m[:-1, -1]


def check_affine(ras_from_ijk: ArrayLike, tolerance: float = 1e-2) -> Matrix:
    """Return the 4x4 matrix as float64; raise GeometryError when it is not finite, flat or not orthogonal."""
    m = np.asarray(ras_from_ijk, dtype=np.float64)
    if m.shape != (4, 4) or not np.isfinite(m).all():
        raise GeometryError(f"Expected a finite 4x4 voxel-to-patient matrix; got shape {m.shape}: {m.tolist()}")
    spacing = np.linalg.norm(m[:3, :3], axis=0)
    if not (spacing > 0).all():
        raise GeometryError(f"Expected positive voxel spacing; got {spacing.round(6).tolist()} mm")
    axes = m[:3, :3] / spacing
    skew = np.abs(axes.T @ axes - np.eye(3)).max()
    if skew > tolerance:
        raise GeometryError(f"Expected orthogonal image axes; got axes that are off by {skew:.3f} (cosine)")
    return m


def spacing_mm(ras_from_ijk: ArrayLike) -> tuple[float, float, float]:
    """Distance between neighbouring voxel centres along i, j, k, in mm."""
    i, j, k = np.linalg.norm(np.asarray(ras_from_ijk, dtype=np.float64)[:3, :3], axis=0)
    return float(i), float(j), float(k)


def ijk_from_slice(index: float) -> Matrix:
    """The (4, 3) matrix that lifts homogeneous slice pixels (x, y, 1) to homogeneous voxels (x, y, index, 1)."""
    return np.array([[1.0, 0, 0], [0, 1.0, 0], [0, 0, index], [0, 0, 1.0]])


def ras_from_slice(ras_from_ijk: ArrayLike, index: float, points_xy: ArrayLike) -> NDArray[np.float64]:
    """Lift slice pixels (..., 2) of slice `index` to RAS mm (..., 3)."""
    p = np.asarray(points_xy, dtype=np.float64)
    homogeneous = np.concatenate([p, np.ones((*p.shape[:-1], 1))], axis=-1)
    matrix = np.asarray(ras_from_ijk, dtype=np.float64) @ ijk_from_slice(index)
    return (homogeneous @ matrix.T)[..., :3]


def scale_about_corner(scale_xy: ArrayLike) -> Matrix:
    """3x3 matrix of a resize that keeps the image's outer corner in place, as every resize of pixels does.

    A pixel centre x lies x + 0.5 from the corner, so x' + 0.5 = s (x + 0.5), hence x' = s x + (s - 1) / 2.

    >>> apply(scale_about_corner([2.0, 2.0]), [0.0, 1.0]).tolist()
    [0.5, 2.5]
    """
    sx, sy = np.broadcast_to(np.asarray(scale_xy, dtype=np.float64), (2,))
    if not (np.isfinite([sx, sy]).all() and sx > 0 and sy > 0):
        raise GeometryError(f"Expected a positive scale; got ({sx}, {sy})")
    return np.array([[sx, 0, (sx - 1) / 2], [0, sy, (sy - 1) / 2], [0, 0, 1.0]])


def is_inside(point: Sequence[float], size: Sequence[int]) -> bool:
    """Whether a pixel or voxel coordinate lies in an image, which reaches half a pixel beyond the outer pixel centres.

    >>> is_inside((-0.5, 8.0), (10, 8)), is_inside((9.5, 7.5), (10, 8))
    (False, True)
    """
    return all(-0.5 <= value <= count - 0.5 for value, count in zip(point, size, strict=True))


def translate(xy: ArrayLike) -> Matrix:
    """3x3 matrix that moves points by (x, y)."""
    matrix = np.eye(3)
    matrix[:2, 2] = np.asarray(xy, dtype=np.float64)
    return matrix
