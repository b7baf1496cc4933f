"""Frames: chains of matrices, corners that stay, and what is refused."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import (
    apply,
    check_affine,
    ijk_from_slice,
    lps_from_ras,
    ras_from_lps,
    ras_from_slice,
    scale_about_corner,
    spacing_mm,
    translate,
)


@pytest.fixture
def an_oblique_affine() -> np.ndarray:
    """PIR-ordered (i runs to posterior, j to inferior, k to the right), turned by 20, 10 and 5 degrees."""
    pir = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]], dtype=float)
    turned = Rotation.from_euler("xyz", [20, 10, 5], degrees=True).as_matrix() @ pir
    affine = np.eye(4)
    affine[:3, :3] = turned * [0.7, 0.9, 4.4]
    affine[:3, 3] = [-31.0, 85.0, 140.0]
    return affine


def test_lps_and_ras_are_each_other_for_points_and_matrices(an_oblique_affine):
    points = np.array([[1.0, 2.0, 3.0], [-4.0, 5.0, -6.0]])
    assert np.array_equal(ras_from_lps(points), [[-1, -2, 3], [4, -5, -6]])
    assert np.array_equal(lps_from_ras(ras_from_lps(points)), points)
    lps_from_ijk = lps_from_ras(an_oblique_affine)
    ijk = [3.0, 4.0, 5.0]
    assert np.allclose(ras_from_lps(apply(lps_from_ijk, ijk)), apply(an_oblique_affine, ijk))


def test_four_points_in_a_batch_of_four_are_points_and_no_matrix():
    # only (4, 4) is a matrix; (4, 3) and (4, 4, 3) are points
    points = np.ones((4, 4, 3))
    assert np.array_equal(ras_from_lps(points)[..., 0], -np.ones((4, 4)))


def test_a_point_between_slices_lies_between_the_slices_in_the_patient(an_oblique_affine):
    points_xy = np.array([[[10.0, 20.0], [30.5, 41.25]], [[0.0, 0.0], [-3.0, 7.0]]])
    low, high = (ras_from_slice(an_oblique_affine, k, points_xy) for k in (2, 3))
    assert np.allclose(ras_from_slice(an_oblique_affine, 2.25, points_xy), 0.75 * low + 0.25 * high)
    assert np.allclose(np.linalg.norm(high - low, axis=-1), 4.4)


def test_a_slice_point_is_the_voxel_of_the_same_column_and_row(an_oblique_affine):
    points_xy = np.array([[10.0, 20.0], [30.5, 41.25]])
    ijk = np.column_stack([points_xy, [6.0, 6.0]])
    assert np.allclose(ras_from_slice(an_oblique_affine, 6, points_xy), apply(an_oblique_affine, ijk))
    assert np.array_equal(ijk_from_slice(6) @ [10.0, 20.0, 1.0], [10, 20, 6, 1])


def test_spacing_is_read_along_the_voxel_axes(an_oblique_affine):
    assert spacing_mm(an_oblique_affine) == pytest.approx((0.7, 0.9, 4.4))


@pytest.mark.parametrize("old", [5, 8])
@pytest.mark.parametrize("new", [3, 8, 16])
def test_a_resize_keeps_both_outer_corners(old, new):
    matrix = scale_about_corner([new / old, 1.0])
    assert np.allclose(apply(matrix, [[-0.5, 0.0], [old - 0.5, 0.0]])[:, 0], [-0.5, new - 0.5])


def test_matrices_chain_right_to_left():
    chain = translate([10, 20]) @ scale_about_corner([2, 2])
    assert apply(chain, [1.0, 1.0]).tolist() == [12.5, 22.5]


@pytest.mark.parametrize("scale", [0, -1, np.nan, np.inf])
def test_an_impossible_scale_is_refused(scale):
    with pytest.raises(GeometryError, match="positive scale"):
        scale_about_corner([1.0, scale])


def test_points_of_the_wrong_length_are_refused():
    with pytest.raises(GeometryError, match="2 coordinates"):
        apply(np.eye(3), [1.0, 2.0, 3.0])


def test_a_flat_a_skewed_and_a_broken_affine_are_refused(an_oblique_affine):
    assert np.array_equal(check_affine(an_oblique_affine), an_oblique_affine)
    flat, skewed, broken = (an_oblique_affine.copy() for _ in range(3))
    flat[:3, 2] = 0
    skewed[:3, 0] += 0.1 * skewed[:3, 1]
    broken[0, 0] = np.nan
    for matrix, rule in (
        (flat, "positive voxel spacing"),
        (skewed, "orthogonal"),
        (broken, "finite"),
        (np.eye(3), "4x4"),
    ):
        with pytest.raises(GeometryError, match=rule):
            check_affine(matrix)
