"""Voxels and pictures whose place is known, as several test modules write and read them."""

import numpy as np

from SpineLandmarksLib.geometry import apply

SHAPE = (36, 44, 5)  # i (foot-head), j (back-front), k (left-right)
AFFINE = np.array([[0, 0.1, 3.98, 7], [0.1, 0.79, 0, 8], [0.69, -0.1, 0, 9], [0, 0, 0, 1.0]])


def some_voxels():
    return np.random.default_rng(5).integers(0, 900, SHAPE).astype(np.int16)


def orthogonal(affine):
    """The nearest matrix with the same spacing and right angles."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    u, _, v = np.linalg.svd(affine[:3, :3] / spacing)
    result = affine.copy()
    result[:3, :3] = u @ v * spacing
    return result


def assert_same_places(stack, voxels, ras_from_ijk):
    """A few voxels of the file lie at the same RAS in the stack."""
    for index in ((1, 2, 3), (30, 40, 0), (17, 0, 4)):
        value = voxels[index]
        places = [apply(stack.ras_from_ijk, kji[::-1]) for kji in np.argwhere(stack.voxels == value)]
        assert min(np.linalg.norm(place - apply(ras_from_ijk, index)) for place in places) < 1e-3


def a_picture():
    return np.random.default_rng(7).integers(0, 255, (40, 50), dtype=np.uint8)
