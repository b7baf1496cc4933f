"""Confidence and radius: what they are fitted to, by hand where a hand can follow."""

import numpy as np
import pytest

from SpineLandmarksLib.uncertainty import FLOOR_MM, MOST_CONFIDENT, Calibration, peak_width


@pytest.fixture
def a_calibration() -> Calibration:
    return Calibration(2.0, (1.5, 3.0))


def calibrate(error_mm, variance_mm2=0.0, probability=0.9, right=True):
    shape = np.shape(error_mm)
    return Calibration.fit(
        np.broadcast_to(probability, shape), np.broadcast_to(right, shape), np.full(shape, variance_mm2), error_mm
    )


def test_the_width_of_a_peak_has_the_floor_in_it():
    assert FLOOR_MM == 1.0
    assert peak_width(np.array([0.0, 3.0, 8.0])).tolist() == [1.0, 2.0, 3.0]


def test_the_radius_is_the_factor_of_the_landmark_times_the_width(a_calibration):
    assert a_calibration.radius95_mm(np.array([[3.0, 3.0], [8.0, 0.0]])).tolist() == [[3.0, 6.0], [4.5, 3.0]]


def test_the_factor_is_the_conformal_quantile():
    # 39 errors 1..39: ceil(40 x 0.95) = 38th smallest, 38. One landmark alone is its own pool.
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 40.0))[:, None]
    assert calibrate(errors).radius_factor == (38.0,)
    # with a variance of 3 mm^2 all widths are 2 mm, and factors are half
    assert calibrate(errors, 3.0).radius_factor == (19.0,)


def test_few_cases_take_the_largest_error():
    # ceil(6 x 0.95) = 6 of 5: no more than all there are
    assert calibrate(np.arange(1.0, 6.0)[:, None]).radius_factor == (5.0,)


def test_a_landmark_is_drawn_halfway_to_all_landmarks_together():
    # own quantiles 38 and 3.8; pooled: 78 values, ceil(79 x 0.95) = 76th smallest, the 37th of the large ones:
    # above 3.9 there are 36 of them (4..39), so the 42 others come first, and the 76th is the 34th of 4..39: 37
    large = np.arange(1.0, 40.0)
    assert calibrate(np.column_stack([large, large / 10])).radius_factor == ((37 + 38) / 2, (37 + 3.8) / 2)


def test_unknown_errors_are_left_out_and_a_landmark_without_any_gets_a_factor():
    errors = np.full((60, 2), np.nan)
    errors[:39, 0] = np.arange(1.0, 40.0)
    first, second = calibrate(errors).radius_factor
    assert first == 38.0
    assert np.isfinite(second)


def test_the_radius_is_fitted_where_the_level_is_right_and_the_temperature_on_all():
    errors = np.append(np.arange(1.0, 40.0), [35.0, 400.0])[:, None]
    right = errors[:, 0] < 40
    right[-2] = False
    fitted = calibrate(errors, right=right[:, None])
    assert fitted.radius_factor == (38.0,)
    assert fitted.temperature != calibrate(errors[:39], right=right[:39, None]).temperature


def test_ninety_five_of_a_hundred_new_errors_lie_within_the_radius():
    rng = np.random.default_rng(1)
    variance = rng.uniform(0, 20, (4000, 3))
    error = np.linalg.norm(rng.normal(size=(4000, 3, 2)), axis=-1) * peak_width(variance)
    fitted = Calibration.fit(np.full((2000, 3), 0.9), np.ones((2000, 3), bool), variance[:2000], error[:2000])
    inside = (error[2000:] < fitted.radius95_mm(variance[2000:])).mean(0)
    assert np.abs(inside - 0.95).max() < 0.02  # four standard errors of 0.005


@pytest.mark.parametrize(("truth", "low", "high"), [(1.0, 0.9, 1.1), (3.0, 2.7, 3.3)])
def test_the_temperature_of_what_is_said_too_surely_by_a_factor_is_that_factor(truth, low, high):
    rng = np.random.default_rng(2)
    logit = rng.normal(1.0, 2.0, (20_000, 1))
    right = rng.random((20_000, 1)) < 1 / (1 + np.exp(-logit))
    said = 1 / (1 + np.exp(-logit * truth))
    assert low < Calibration.fit(said, right, np.zeros_like(logit), np.ones_like(logit)).temperature < high


def test_confidence_rises_with_probability_and_stays_within_its_limits(a_calibration):
    confidence = a_calibration.confidence(np.linspace(0, 1, 101))
    assert (np.diff(confidence) >= 0).all()
    assert confidence[0] >= 0
    assert confidence[-1] == MOST_CONFIDENT
    assert a_calibration.confidence(np.array([0.5])) == pytest.approx(0.5)
    # logit(0.9) = ln 9, halved: ln 3, so 3 to 1
    assert a_calibration.confidence(np.array([0.9])) == pytest.approx(0.75)


def test_a_radius_that_is_not_known_stays_unknown(a_calibration):
    assert np.isnan(a_calibration.radius95_mm(np.array([np.nan, 1.0]))[0])
