"""The phantom's curves and blur are those that scipy draws, which is the reference here and no dependency."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree

from SpineLandmarksLib.phantom.canvas import blur, monotone, spline
from SpineLandmarksLib.phantom.course import nearest_on


def uneven(rng: np.random.Generator, count: int) -> np.ndarray:
    return np.cumsum(rng.uniform(0.5, 9.0, count))


@pytest.mark.parametrize("count", [4, 5, 25])
def test_a_spline_and_its_slope_are_scipy_s_within_and_beyond_the_knots(count: int) -> None:
    rng = np.random.default_rng(count)
    knots, values = uneven(rng, count), rng.normal(size=(count, 2))
    at = np.linspace(knots[0] - 3, knots[-1] + 3, 200)
    reference = CubicSpline(knots, values)
    value, slope = spline(at, knots, values)
    assert np.allclose(value, reference(at), atol=1e-9)
    assert np.allclose(slope, reference(at, 1), atol=1e-9)


def test_a_spline_through_a_cubic_is_that_cubic() -> None:
    knots = np.array([-2.0, 0.0, 1.0, 4.0, 5.0])
    value, slope = spline(np.array([3.0]), knots, knots[:, None] ** 3)
    assert value[0, 0] == pytest.approx(27)
    assert slope[0, 0] == pytest.approx(27)


@pytest.mark.parametrize("count", [3, 4, 9])
@pytest.mark.parametrize("seed", range(5))
def test_a_monotone_curve_is_scipy_s(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    knots, values = uneven(rng, count), rng.integers(-3, 4, count).astype(float)  # with level stretches
    at = np.linspace(knots[0], knots[-1], 200)
    curve = monotone(at, knots, values)
    assert np.allclose(curve, PchipInterpolator(knots, values)(at), atol=1e-9)
    assert values.min() - 1e-9 <= curve.min() <= curve.max() <= values.max() + 1e-9


@pytest.mark.parametrize("sigma_px", [0.3, 0.86, 2.4])
def test_blur_is_scipy_s(sigma_px: float) -> None:
    image = np.random.default_rng(0).normal(size=(31, 24))
    assert np.allclose(blur(image, sigma_px), gaussian_filter(image, sigma_px), atol=1e-12)


def test_the_nearest_point_of_a_line_is_the_nearest() -> None:
    rng = np.random.default_rng(3)
    points, line = rng.uniform(-200, 200, (50, 2)), rng.uniform(-200, 200, (300, 2))
    assert np.array_equal(nearest_on(line, points), cKDTree(line).query(points)[1])
