"""Upright slices out of any axis order, and the refusal of what cannot be cut sagittally."""

from itertools import permutations, product

import numpy as np
import pytest

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import apply, spacing_mm
from SpineLandmarksLib.imaging.orient import axes_of, upright

SHAPE = (6, 40, 48)  # slices, rows, columns of the stack that all orders must give back
SPACING = np.array([0.6, 0.7, 4.0])  # i, j, k


def turned_about(axis: str, degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    rows = {"x": [[1, 0, 0], [0, c, -s], [0, s, c]], "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}
    return np.array(rows[axis])


@pytest.fixture
def an_oblique_stack():
    """Voxels (K, H, W), all different, and a matrix turned by 20 and 15 degrees; k runs to the right."""
    voxels = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    canonical = np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = turned_about("z", 20) @ turned_about("x", 15) @ canonical * SPACING
    matrix[:3, 3] = 11.0, -22.0, 33.0
    return voxels, matrix


def stored_as(voxels_khw, ras_from_ijk, order, flips):
    """The same image in another axis order: array (I, J, K) with its own matrix."""
    array = voxels_khw.transpose(2, 1, 0).transpose(order)
    ijk_from_stored = np.zeros((4, 4))
    ijk_from_stored[3, 3] = 1
    for stored, original in enumerate(order):
        flip = flips[stored]
        ijk_from_stored[original, stored] = -1 if flip else 1
        ijk_from_stored[original, 3] = array.shape[stored] - 1 if flip else 0
    array = array[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    return array, ras_from_ijk @ ijk_from_stored


@pytest.mark.parametrize("flips", list(product([False, True], repeat=3)))
@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_all_48_axis_orders_give_the_same_stack_up_to_slice_order(an_oblique_stack, order, flips):
    voxels, matrix = an_oblique_stack
    found, found_matrix = upright(*stored_as(voxels, matrix, order, flips))
    if flips[order.index(2)]:  # the lateral axis is not turned round: slice k of the file stays slice k
        found, found_matrix = (
            found[::-1],
            found_matrix @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, SHAPE[0] - 1], [0, 0, 0, 1.0]]),
        )
    np.testing.assert_array_equal(found, voxels)
    np.testing.assert_allclose(found_matrix, matrix, atol=1e-12)


def test_every_voxel_keeps_its_place_in_the_patient(an_oblique_stack):
    voxels, matrix = an_oblique_stack
    array, stored_matrix = stored_as(voxels, matrix, (1, 2, 0), (True, False, True))
    found, found_matrix = upright(array, stored_matrix)
    for index in ((3, 1, 30), (0, 0, 0), (39, 5, 47)):
        k, j, i = np.argwhere(found == array[index])[0]
        np.testing.assert_allclose(apply(found_matrix, [i, j, k]), apply(stored_matrix, index), atol=1e-9)
    assert spacing_mm(found_matrix) == pytest.approx((0.6, 0.7, 4.0))


def test_rows_run_to_the_feet_and_columns_to_the_back(an_oblique_stack):
    voxels, matrix = an_oblique_stack
    _, found = upright(*stored_as(voxels, matrix, (2, 0, 1), (False, True, True)))
    assert found[2, 1] < 0  # +j goes inferior
    assert found[1, 0] < 0  # +i goes posterior


def test_axes_are_read_from_cosines_not_from_axis_codes():
    # Both i and j point mostly to A, so one axis at a time would name A twice; the best pairing is i-R, j-A, k-S.
    i, j = np.array([0.6, 0.7, 0.387]), np.array([-0.5, 0.7, -0.51])
    axes = np.linalg.qr(np.column_stack([i, j, np.cross(i, j)]))[0]
    assert np.abs(axes).argmax(axis=0).tolist() == [1, 1, 2]
    matrix = np.eye(4)
    matrix[:3, :3] = axes
    assert axes_of(matrix) == (0, 1, 2)


def test_an_isotropic_volume_in_axial_order_is_cut_sagittally():
    voxels, matrix = upright(np.zeros((40, 50, 60), np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]))
    assert voxels.shape == (40, 60, 50)
    np.testing.assert_allclose(apply(matrix, [0, 0, 0]), [0, 0, 59])  # -A is +j of the file; the top is its last slice


@pytest.mark.parametrize(
    ("plane", "spacing", "shape"),
    [
        ("axial", (0.5, 0.5, 3.5), (64, 64, 40)),
        ("coronal", (0.5, 3.5, 0.5), (64, 40, 64)),
        ("axial", (1.0, 1.0, 1.0), (64, 64, 1)),
        ("coronal", (1.0, 1.0, 1.0), (64, 12, 64)),
    ],
)
def test_a_thick_or_thin_stack_in_another_plane_is_refused_by_name(plane, spacing, shape):
    with pytest.raises(GeometryError, match=f"Expected a sagittal series; got {plane} \\(normal"):
        upright(np.zeros(shape, np.float32), np.diag([*spacing, 1.0]))


def test_a_thick_sagittal_series_is_accepted():
    voxels, _ = upright(np.zeros((15, 64, 64), np.float32), np.diag([4.5, 0.5, 0.5, 1.0]))
    assert voxels.shape == (15, 64, 64)


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_an_impossible_spacing_is_refused(bad):
    with pytest.raises(GeometryError, match="Expected"):
        upright(np.zeros((40, 40, 40), np.float32), np.diag([bad, 1.0, 1.0, 1.0]))


def test_sheared_axes_are_refused():
    matrix = np.eye(4)
    matrix[0, 1] = 0.2
    with pytest.raises(GeometryError, match="orthogonal"):
        upright(np.zeros((40, 40, 40), np.float32), matrix)
