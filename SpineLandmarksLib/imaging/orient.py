"""Turning any 3-D image into upright sagittal slices by axis swaps and flips alone.

Which voxel axis runs left-right, back-front and foot-head is read off the direction cosines: of the six ways to pair
axes and directions, the one with the largest sum of |cosine|. That holds for every axis order and any obliqueness.

An image can be cut sagittally when its sagittal plane is well sampled. The rule: the axis that runs left-right is the
coarsest one (a sagittal series, however thick), or the pixels of the sagittal plane are at most MAX_PIXEL_RATIO times
longer one way than the other (a 3-D acquisition in any orientation). A thick axial or coronal series fails it.
"""

from __future__ import annotations

from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import Matrix, check_affine, spacing_mm
from SpineLandmarksLib.imaging.volume import MIN_SIDE

MAX_PIXEL_RATIO = 2.0
#: The plane whose normal runs along R, A, S.
PLANES = ("sagittal", "coronal", "axial")


def cosines(ras_from_ijk: Matrix) -> NDArray[np.float64]:
    """(3, 3) direction cosines; row = R, A, S; column = i, j, k."""
    return np.asarray(ras_from_ijk[:3, :3] / np.linalg.norm(ras_from_ijk[:3, :3], axis=0))


def axes_of(ras_from_ijk: Matrix) -> tuple[int, int, int]:
    """The voxel axes (0 = i, 1 = j, 2 = k) that run left-right, back-front and foot-head.

    >>> axes_of(np.array([[0, 0, 1, 0], [0, -1, 0, 0], [-1, 0, 0, 0], [0, 0, 0, 1.0]]))
    (2, 1, 0)
    """
    size = np.abs(cosines(ras_from_ijk))
    lateral, back_front, foot_head = max(permutations(range(3)), key=lambda axes: float(size[range(3), axes].sum()))
    return lateral, back_front, foot_head


def plane_of(normal: NDArray[np.float64]) -> str:
    """The name of the plane whose normal (3,) this is, in RAS or LPS."""
    return PLANES[int(np.argmax(np.abs(normal)))]


def sagittal_problem(shape: tuple[int, ...], ras_from_ijk: Matrix) -> str | None:
    """Why an image of this shape (I, J, K) cannot be cut sagittally, as "axial (normal 0.02, 0.01, 1.00)", or None."""
    lateral, *plane = axes_of(ras_from_ijk)
    spacing = np.array(spacing_mm(ras_from_ijk))
    coarse, fine = spacing[plane].max(), spacing[plane].min()
    thin = [axis for axis in plane if shape[axis] < MIN_SIDE]
    if thin and shape[lateral] >= MIN_SIDE:
        axis = min(thin, key=lambda a: shape[a])
    elif spacing[lateral] < coarse and coarse > MAX_PIXEL_RATIO * fine:
        axis = max(plane, key=lambda a: spacing[a])
    else:
        return None
    normal = cosines(ras_from_ijk)[:, axis].round(2) + 0.0  # + 0.0 turns -0.00 into 0.00
    return f"{plane_of(normal)} (normal {', '.join(f'{value:.2f}' for value in normal)})"


def upright(voxels_ijk: NDArray[np.float32], ras_from_ijk: Matrix) -> tuple[NDArray[np.float32], Matrix]:
    """Voxels (I, J, K) with their matrix, as (K, H, W) slices with head up and anterior left, and the new matrix.

    The lateral axis keeps its order, so that a slice index is the index in the file. Nothing is resampled.
    Raises GeometryError when the matrix is unusable or the image cannot be cut sagittally.
    """
    matrix = check_affine(ras_from_ijk)
    problem = sagittal_problem(voxels_ijk.shape, matrix)
    if problem:
        sizes = " x ".join(f"{mm:.2f}" for mm in spacing_mm(matrix))
        raise GeometryError(f"Expected a sagittal series; got {problem}, voxels of {sizes} mm")
    lateral, back_front, foot_head = axes_of(matrix)
    flips = [slice(None, None, -1 if matrix[row, axis] > 0 else 1) for axis, row in ((foot_head, 2), (back_front, 1))]
    turned = voxels_ijk.transpose(lateral, foot_head, back_front)[:, flips[0], flips[1]]
    return np.ascontiguousarray(turned, dtype=np.float32), upright_matrix(voxels_ijk.shape, matrix)


def upright_matrix(shape: tuple[int, ...], ras_from_ijk: Matrix) -> Matrix:
    """The matrix (4, 4) of the stack that `upright` makes of an image of this shape (I, J, K): i runs to the back (-A),
    j to the feet (-S).
    """
    lateral, back_front, foot_head = axes_of(ras_from_ijk)
    turn = np.zeros((4, 4))  # ijk of the file from ijk of the stack
    turn[3, 3] = 1.0
    turn[lateral, 2] = 1.0
    for new, old, row in ((0, back_front, 1), (1, foot_head, 2)):
        flip = ras_from_ijk[row, old] > 0
        turn[old, new] = -1.0 if flip else 1.0
        turn[old, 3] = shape[old] - 1 if flip else 0.0
    return np.asarray(ras_from_ijk, dtype=np.float64) @ turn
