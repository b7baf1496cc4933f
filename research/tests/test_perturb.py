"""Perturbations: points move with pixels, values change without moving any, and strong is more than weak."""

import dataclasses

import numpy as np
import pytest

from research.experiments.perturb import PERTURBATIONS, Perturbation, coarsen, collapse, crop, rotate
from SpineLandmarksLib.training.unusable import PerturbedSlice, flip

BY_NAME = {each.name: each for each in PERTURBATIONS}
MOVES_PIXELS = (
    "rotation",
    "quarter turn",
    "front for back",
    "crop at the top",
    "crop at the bottom",
    "crop at both sides",
    "larger pixels",
    "thick rows",
)
MOVES_A_PART = ("collapsed L1",)
CHANGES_VALUES = (
    "inverted contrast",
    "gamma",
    "random contrast curve",
    "Gaussian noise",
    "Rician noise",
    "bias field",
    "blur",
    "ghosts",
    "metal",
)
CHANGES_SPACING = ("wrong spacing", "unknown spacing")


def strengths_of(names):
    """Every (perturbation, strength) of these names."""
    chosen = [(BY_NAME[name], strength) for name in names for strength in BY_NAME[name].strengths]
    return [pytest.param(each, strength, id=f"{each.name} {strength:g}") for each, strength in chosen]


def dots(points_xy, shape, sigma=4.0):
    y, x = np.indices(shape)
    return sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * sigma**2)) for px, py in points_xy).astype(np.float32)


def centroid(image, near_xy, reach_xy):
    """Centre of the light in a window of whole pixels about a point."""
    (left, top), (right, bottom) = np.rint(near_xy - reach_xy).astype(int), np.rint(near_xy + reach_xy).astype(int) + 1
    light = image[top:bottom, left:right].astype(np.float64)
    y, x = np.indices(light.shape)
    return np.array([(x * light).sum(), (y * light).sum()]) / light.sum() + [left, top]


@pytest.fixture
def a_slice() -> PerturbedSlice:
    """Four dots at places between the pixels of an image whose pixels are not square, and one unknown point."""
    points = np.array([[70.3, 60.7], [110.4, 120.2], [90.8, 175.6], [80.2, 230.5]])
    image = dots(points, (300, 180)) * 200
    return PerturbedSlice(image, np.vstack([points, [np.nan, np.nan]]), (0.9, 0.6), (0.9, 0.6))


@pytest.fixture
def a_textured_slice(a_slice: PerturbedSlice) -> PerturbedSlice:
    """The same points over a picture that is not black anywhere."""
    grain = np.random.default_rng(3).uniform(20, 160, a_slice.image.shape).astype(np.float32)
    return dataclasses.replace(a_slice, image=grain + a_slice.image)


def test_every_perturbation_is_of_one_kind() -> None:
    assert sorted(BY_NAME) == sorted((*MOVES_PIXELS, *MOVES_A_PART, *CHANGES_VALUES, *CHANGES_SPACING))


def test_what_is_above_a_collapsed_body_sinks_and_what_is_below_stays(a_slice: PerturbedSlice) -> None:
    out = collapse(a_slice, 0.5, np.random.default_rng(0))
    half = 0.375 * (a_slice.points_xy[2, 1] - a_slice.points_xy[0, 1])
    moved = out.points_xy - a_slice.points_xy
    np.testing.assert_allclose(moved[:4, 0], 0)
    np.testing.assert_allclose(moved[:4, 1], [half, half / 2, 0, 0])
    for k in (0, 2, 3):
        assert centroid(out.image, out.points_xy[k], np.array([15.0, 15.0])) == pytest.approx(out.points_xy[k], abs=0.2)


@pytest.mark.parametrize(("perturbation", "strength"), strengths_of(MOVES_PIXELS))
def test_dots_stay_under_their_points(a_slice: PerturbedSlice, perturbation: Perturbation, strength: float) -> None:
    for seed in range(3):
        out = perturbation.at(strength, a_slice, seed)
        reach = 15 * 0.6 / np.array(out.spacing_mm)  # 15 pixels of 0.6 mm: nearly four sigma of the dots along y
        height, width = out.image.shape
        well_inside = ((out.points_xy > reach) & (out.points_xy < [width - 1, height - 1] - reach)).all(-1)
        assert well_inside.sum() >= 2
        for point in out.points_xy[well_inside]:
            assert centroid(out.image, point, reach) == pytest.approx(point, abs=0.1)
        assert np.isnan(out.points_xy[4]).all()


@pytest.mark.parametrize(("perturbation", "strength"), strengths_of(CHANGES_VALUES))
def test_values_change_where_no_pixel_moves(
    a_textured_slice: PerturbedSlice, perturbation: Perturbation, strength: float
) -> None:
    out = perturbation.at(strength, a_textured_slice, 0)
    assert out.image.shape == a_textured_slice.image.shape
    assert out.image.dtype == np.float32
    assert np.isfinite(out.image).all()
    assert not np.allclose(out.image, a_textured_slice.image, atol=0.5)
    np.testing.assert_array_equal(out.points_xy, a_textured_slice.points_xy)
    assert (out.spacing_mm, out.stated_spacing_mm) == ((0.9, 0.6), (0.9, 0.6))


@pytest.mark.parametrize("name", [n for n in CHANGES_VALUES if len(BY_NAME[n].strengths) > 1])
def test_a_larger_strength_changes_more_values_or_changes_them_more(
    a_textured_slice: PerturbedSlice, name: str
) -> None:
    for seed in range(3):
        outputs = [BY_NAME[name].at(s, a_textured_slice, seed).image for s in BY_NAME[name].strengths]
        changes = [float(np.abs(image - a_textured_slice.image).mean()) for image in outputs]
        assert changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize("name", [p.name for p in PERTURBATIONS])
def test_strengths_go_from_weak_to_strong(name: str) -> None:
    assert list(BY_NAME[name].strengths) == sorted(set(BY_NAME[name].strengths))


def test_a_rotation_keeps_distances_in_mm_and_turns_by_its_angle(a_slice: PerturbedSlice) -> None:
    out = rotate(a_slice, 30.0, np.random.default_rng(0))
    before, after = ((v.points_xy[1] - v.points_xy[0]) * v.spacing_mm for v in (a_slice, out))
    assert np.linalg.norm(after) == pytest.approx(np.linalg.norm(before))
    turn = np.degrees(np.arctan2(after[1], after[0]) - np.arctan2(before[1], before[0]))
    assert abs(turn) == pytest.approx(30.0)


def test_a_rotation_goes_to_either_side(a_slice: PerturbedSlice) -> None:
    """The first point lies above the middle, so that it moves to one side or the other."""
    moves = {np.sign(BY_NAME["rotation"].at(5.0, a_slice, seed).points_xy[0, 0] - 70.3) for seed in range(8)}
    assert moves == {-1.0, 1.0}


def test_half_a_turn_puts_the_first_pixel_last(a_slice: PerturbedSlice) -> None:
    out = BY_NAME["quarter turn"].at(180.0, a_slice, 0)
    assert out.image[0, 0] == a_slice.image[-1, -1]
    assert out.points_xy[0] == pytest.approx([179 - 70.3, 299 - 60.7])


def test_a_quarter_turn_turns_the_spacing_too(a_slice: PerturbedSlice) -> None:
    out = BY_NAME["quarter turn"].at(90.0, a_slice, 0)
    assert (out.image.shape, out.spacing_mm, out.stated_spacing_mm) == ((180, 300), (0.6, 0.9), (0.6, 0.9))


def test_a_flip_mirrors_columns_only(a_slice: PerturbedSlice) -> None:
    assert flip(a_slice, 1.0, np.random.default_rng(0)).points_xy[0] == pytest.approx([179 - 70.3, 60.7])


def test_a_crop_tells_which_points_it_has_cut_off(a_slice: PerturbedSlice) -> None:
    """30 % of 300 rows are 90: the point at row 60.7 is gone, the one at 120.2 lies at 30.2."""
    out = crop(a_slice, top=0.3)
    assert out.image.shape == (210, 180)
    assert out.points_xy[1] == pytest.approx([110.4, 30.2])
    assert out.inside.tolist() == [False, True, True, True, False]
    assert a_slice.inside.tolist() == [True, True, True, True, False]


def test_coarser_pixels_are_told_and_cover_the_same_field(a_slice: PerturbedSlice) -> None:
    out = coarsen(a_slice, 4.0, 4.0)
    assert out.image.shape == (75, 45)
    assert out.spacing_mm == out.stated_spacing_mm == pytest.approx((3.6, 2.4))


def test_thick_rows_leave_columns_alone(a_slice: PerturbedSlice) -> None:
    out = BY_NAME["thick rows"].at(6.0, a_slice, 0)
    assert out.image.shape == (50, 180)
    assert out.spacing_mm == pytest.approx((0.9, 3.6))


def test_a_wrong_spacing_is_told_while_the_truth_stays(a_slice: PerturbedSlice) -> None:
    told = {BY_NAME["wrong spacing"].at(0.25, a_slice, seed).stated_spacing_mm for seed in range(8)}
    assert sorted(told) == [pytest.approx((0.72, 0.48)), pytest.approx((1.125, 0.75))]
    assert BY_NAME["wrong spacing"].at(0.25, a_slice, 0).spacing_mm == (0.9, 0.6)


def test_an_unknown_spacing_is_not_told(a_slice: PerturbedSlice) -> None:
    out = BY_NAME["unknown spacing"].at(1.0, a_slice, 0)
    assert (out.stated_spacing_mm, out.spacing_mm) == (None, (0.9, 0.6))


def test_inverting_twice_is_nothing(a_textured_slice: PerturbedSlice) -> None:
    once = BY_NAME["inverted contrast"].at(1.0, a_textured_slice, 0)
    np.testing.assert_allclose(BY_NAME["inverted contrast"].at(1.0, once, 0).image, a_textured_slice.image, atol=1e-3)


def test_metal_is_a_hole_of_its_radius_in_mm_at_a_known_point(a_textured_slice: PerturbedSlice) -> None:
    for seed in range(6):
        out = BY_NAME["metal"].at(8.0, a_textured_slice, seed)
        hole = out.image <= a_textured_slice.image.min()
        assert hole.sum() * 0.9 * 0.6 == pytest.approx(np.pi * 8.0**2, rel=0.05)
        middle = np.argwhere(hole).mean(0)[::-1]
        assert np.abs(a_textured_slice.points_xy[:4] - middle).max(1).min() < 1.0


def test_rician_noise_brightens_the_dark_and_gaussian_noise_does_not(a_slice: PerturbedSlice) -> None:
    """The mean of |n1 + i n2| is sigma sqrt(pi / 2)."""
    corner = np.s_[:40, :40]
    white = np.percentile(a_slice.image, 99.5)
    rician = BY_NAME["Rician noise"].at(0.1, a_slice, 0).image[corner] / white
    gaussian = BY_NAME["Gaussian noise"].at(0.1, a_slice, 0).image[corner] / white
    assert rician.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), abs=0.005)
    assert gaussian.mean() == pytest.approx(0.0, abs=0.01)


def test_the_same_seed_gives_the_same_view_and_another_seed_another(a_textured_slice: PerturbedSlice) -> None:
    first, again, other = (BY_NAME["Gaussian noise"].at(0.1, a_textured_slice, seed).image for seed in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_perturbations_of_one_seed_draw_apart(a_textured_slice: PerturbedSlice) -> None:
    noise = [BY_NAME[name].at(0.1, a_textured_slice, 0).image for name in ("Gaussian noise", "Rician noise")]
    one, other = (image - a_textured_slice.image for image in noise)
    assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 0.1
