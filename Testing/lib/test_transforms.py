"""Preparation: points move with pixels, intensities are what they are said to be."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.transforms import (
    Preparation,
    equalize_histogram,
    pad_to_multiple,
    prepare_slice,
    resize,
    resized_size,
    standardize,
    valid_extent,
    working_spacing,
)


def a_dot(shape, xy, sigma=1.5):
    """(H, W) Gaussian of height 1 at (x, y)."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.exp(-((x - xy[0]) ** 2 + (y - xy[1]) ** 2) / (2 * sigma**2)).astype(np.float32)


def centroid(image, near, reach=14):
    """Centre (x, y) of what lies above the background within `reach` pixels of `near`."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    light = np.where(np.maximum(abs(x - near[0]), abs(y - near[1])) < reach, image - np.median(image), 0)
    return np.array([(light * x).sum(), (light * y).sum()]) / light.sum()


@pytest.mark.parametrize("size_wh", [(64, 96), (67, 201), (33, 48), (130, 100), (40, 40)])
@pytest.mark.parametrize("xy", [(31.0, 52.0), (24.3, 40.8), (40.5, 60.5)])
def test_a_dot_stays_under_its_point_when_resized(size_wh, xy):
    resized, resized_from_slice = resize(a_dot((96, 64), xy), size_wh)
    point = apply(resized_from_slice, xy)
    assert resized.shape == size_wh[::-1]
    assert np.abs(centroid(resized, point) - point).max() < 0.05


@pytest.mark.parametrize("multiple", [1, 7, 32, 64])
def test_a_dot_stays_under_its_point_when_padded(multiple):
    padded, padded_from_slice = pad_to_multiple(a_dot((50, 61), (30.25, 24.5)), multiple)
    point = apply(padded_from_slice, (30.25, 24.5))
    assert padded.shape[0] % multiple == padded.shape[1] % multiple == 0
    assert np.abs(centroid(padded, point) - point).max() < 0.05


@pytest.mark.parametrize(
    ("shape", "spacing", "preparation"),
    [
        ((320, 320), (0.9, 0.9), Preparation()),
        ((300, 200), (0.7, 1.1), Preparation(multiple=64)),
        ((200, 160), (2.1, 1.7), Preparation()),
        ((256, 256), None, Preparation()),
        ((400, 300), (2.0, 2.0), Preparation(max_side=256)),
        ((300, 200), (0.7, 1.1), Preparation(resize="plain", size=(160, 224))),
    ],
)
def test_dots_stay_under_their_points_when_a_slice_is_prepared(shape, spacing, preparation):
    for xy in ((shape[1] * 0.4 + 0.3, shape[0] * 0.6 - 0.2), (shape[1] * 0.55, shape[0] * 0.3)):
        image, pixel_from_slice = prepare_slice(100 * a_dot(shape, xy, sigma=3.0) + 5, spacing, preparation)
        point = apply(pixel_from_slice, xy)
        assert np.abs(centroid(image, point) - point).max() < 0.05


def test_a_preparation_only_scales_and_shifts():
    # predict reads millimetres per input pixel off the diagonal
    _, matrix = prepare_slice(a_dot((300, 200), (90, 90)), (0.7, 1.1), Preparation())
    assert matrix[0, 1] == matrix[1, 0] == 0
    assert matrix[2].tolist() == [0, 0, 1]


def test_anisotropic_pixels_become_square():
    # 200 x 0.75 = 150 mm wide and 300 x 1.25 = 375 mm tall, at 1.25 mm: 120 columns and 300 rows
    p = Preparation()
    assert resized_size((300, 200), (0.75, 1.25), p) == (120, 300)
    _, matrix = prepare_slice(np.ones((300, 200), np.float32), (0.75, 1.25), p)
    assert np.allclose(np.diag(matrix)[:2], [0.75 / 1.25, 1.25 / 1.25])


def test_a_large_field_of_view_is_resampled_more_coarsely_to_fit():
    # 600 rows of 2 mm are 1200 mm; at most 512 pixels: 2.34375 mm per pixel, so 300 x 2 mm are 256 columns
    p = Preparation(max_side=512)
    assert resized_size((600, 300), (2.0, 2.0), p) == (256, 512)
    image, _ = prepare_slice(np.ones((600, 300), np.float32), (2.0, 2.0), p)
    assert image.shape == (512, 256)


def test_an_unknown_spacing_is_that_of_the_assumed_extent():
    p = Preparation(assumed_extent_mm=330.0)
    assert working_spacing((660, 330), None, p).tolist() == [0.5, 0.5]
    assert working_spacing((660, 330), (0.9, 0.8), p).tolist() == [0.9, 0.8]
    assert resized_size((660, 330), None, p) == (132, 264)


def test_a_plain_resize_ignores_the_spacing():
    image = np.random.default_rng(0).random((90, 70)).astype(np.float32)
    plain = Preparation(resize="plain", size=(64, 96), intensity="equalize")
    results = [prepare_slice(image, spacing, plain) for spacing in (None, (0.3, 0.9), (2.0, 2.0))]
    assert all(np.array_equal(results[0][0], other[0]) for other in results)
    assert all(np.array_equal(results[0][1], other[1]) for other in results)
    assert results[0][0].shape == (96, 64)


@given(st.integers(1, 400), st.integers(1, 400), st.floats(0.1, 4.0), st.floats(0.1, 4.0))
@settings(max_examples=40, deadline=None)
def test_any_slice_gives_sides_that_divide(height, width, x_mm, y_mm):
    p = Preparation(multiple=32, max_side=128)
    image, _ = prepare_slice(np.zeros((height, width), np.float32), (x_mm, y_mm), p)
    assert image.shape[0] % 32 == image.shape[1] % 32 == 0
    assert max(image.shape) <= 128


def test_standardized_intensities_have_mean_0_and_spread_1_between_the_percentiles():
    grey = np.random.default_rng(1).gamma(2.0, 50.0, (80, 60)).astype(np.float32)
    grey[0, 0] = 1e6  # one bright pixel is clipped away
    out = standardize(grey)
    assert out.dtype == np.float32
    assert out.mean() == pytest.approx(0, abs=1e-5)
    assert out.std() == pytest.approx(1, abs=1e-4)
    assert out.max() < 10


@pytest.mark.parametrize("value", [0.0, 0.1, -3.3, 1000.1, 16777217.0, 1e8])
def test_a_flat_image_becomes_flat_whatever_its_value(value):
    flat = np.full((37, 41), value, np.float32)
    assert np.array_equal(standardize(flat), np.zeros((37, 41)))
    assert np.ptp(equalize_histogram(flat)) == 0


def test_equalization_agrees_with_monai_up_to_the_share_of_the_lowest_bin():
    # MONAI stretches the shares c so that the lowest bin is 0: (c - c0) / (1 - c0). Ours stay shares.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.transforms import HistogramNormalize
    grey = np.random.default_rng(2).gamma(2.0, 50.0, (80, 60)).astype(np.float32)
    theirs = np.asarray(HistogramNormalize(num_bins=256, min=0, max=1)(grey))
    lowest = np.histogram(grey, 256)[0][0] / grey.size
    assert np.abs(equalize_histogram(grey) - (lowest + (1 - lowest) * theirs)).max() < 1e-5
    assert np.abs(equalize_histogram(grey) - theirs).max() <= lowest + 1e-5


@pytest.mark.parametrize("intensity", ["percentile", "equalize"])
def test_a_network_gets_mean_0_and_spread_1_from_either_preparation(intensity):
    grey = np.random.default_rng(4).gamma(2.0, 50.0, (80, 60)).astype(np.float32)
    image, _ = prepare_slice(grey, None, Preparation(resize="plain", size=(60, 80), intensity=intensity))
    assert image.mean() == pytest.approx(0, abs=1e-5)
    assert image.std() == pytest.approx(1, abs=1e-4)


def test_equalized_values_are_evenly_spread():
    grey = np.random.default_rng(3).normal(size=(200, 200)).astype(np.float32)
    assert np.allclose(np.quantile(equalize_histogram(grey), [0.1, 0.5, 0.9]), [0.1, 0.5, 0.9], atol=0.02)


@pytest.mark.parametrize(
    "setting", [{"resize": "crop"}, {"intensity": "none"}, {"spacing_mm": 0.0}, {"multiple": 0}, {"size": (0, 5)}]
)
def test_impossible_preparations_are_refused(setting):
    with pytest.raises(RecipeError, match="Expected"):
        Preparation(**setting)


def test_the_part_that_shows_something_ends_where_the_padding_begins() -> None:
    image = np.full((20, 30), 7.0, dtype=np.float32)
    image[4:15, 9:21] = np.random.default_rng(0).uniform(7.5, 9, (11, 12))
    assert valid_extent(image).tolist() == [[8.5, 3.5], [20.5, 14.5]]
    image[10] = 7.0  # a dark row in the middle is no rim
    assert valid_extent(image).tolist() == [[8.5, 3.5], [20.5, 14.5]]
    assert valid_extent(np.zeros((20, 30), dtype=np.float32)).tolist() == [[-0.5, -0.5], [29.5, 19.5]]
