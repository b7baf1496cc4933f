"""Confidence and radius: what they are fitted to, by hand where a hand can follow."""

import numpy as np
import pytest

from SpineLandmarksLib.training.fit_calibration import OOD_PRIOR, HeldOut, fit_calibration
from SpineLandmarksLib.uncertainty import FLOOR_MM, MAX_CONFIDENCE, Calibration, peak_width, radius95_with_side


@pytest.fixture
def a_calibration() -> Calibration:
    return Calibration(2.0, (1.5, 3.0))


def features(margin, score=-3.0, caudal_mm=40.0, caudal_nats=8.0):
    """(N, 4) of N margins."""
    return np.stack(np.broadcast_arrays(margin, score, caudal_mm, caudal_nats), -1).astype(float)


def held_out(error_mm, variance_mm2=0.0, probability=0.9, right=True, chain_right=True, margin=50.0, **changed):
    """Studies that differ in what is given and agree in the rest."""
    shape = np.shape(error_mm)
    values = {
        "probability": np.broadcast_to(probability, shape),
        "variance_mm2": np.broadcast_to(variance_mm2, shape),
        "error_mm": np.asarray(error_mm),
        "level_right": np.broadcast_to(right, shape),
        "chain_right": np.broadcast_to(chain_right, shape[:1]),
        "features": features(np.broadcast_to(margin, shape[:1])),
        "anomaly": np.zeros(shape[0]),
        "changed": np.zeros(shape[0], dtype=bool),
    }
    return HeldOut(**(values | changed))


def calibrate(error_mm, *values, **named):
    return fit_calibration(held_out(error_mm, *values, **named))


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


def test_the_radius_is_fitted_where_the_level_is_right_and_the_temperature_where_the_chain_is():
    errors = np.append(np.arange(1.0, 40.0), [35.0, 400.0])[:, None]
    right = errors[:, 0] < 40
    right[-2] = False
    fitted = calibrate(errors, right=right[:, None])
    assert fitted.radius_factor == (38.0,)
    assert fitted.temperature != calibrate(errors[:39], right=right[:39, None]).temperature
    shifted = calibrate(errors, right=right[:, None], chain_right=right)
    assert shifted.temperature == calibrate(errors[:39], right=right[:39, None]).temperature


def test_ninety_five_of_a_hundred_new_errors_lie_within_the_radius():
    rng = np.random.default_rng(1)
    variance = rng.uniform(0, 20, (4000, 3))
    error = np.linalg.norm(rng.normal(size=(4000, 3, 2)), axis=-1) * peak_width(variance)
    fitted = calibrate(error[:2000], variance[:2000])
    inside = (error[2000:] < fitted.radius95_mm(variance[2000:])).mean(0)
    assert np.abs(inside - 0.95).max() < 0.02  # four standard errors of 0.005


@pytest.mark.parametrize(("truth", "low", "high"), [(1.0, 0.9, 1.1), (3.0, 2.7, 3.3)])
def test_the_temperature_of_what_is_said_too_surely_by_a_factor_is_that_factor(truth, low, high):
    rng = np.random.default_rng(2)
    logit = rng.normal(1.0, 2.0, (20_000, 1))
    right = rng.random((20_000, 1)) < 1 / (1 + np.exp(-logit))
    said = 1 / (1 + np.exp(-logit * truth))
    assert low < calibrate(np.ones_like(logit), probability=said, right=right).temperature < high


def test_confidence_rises_with_probability_and_stays_within_its_limits(a_calibration):
    confidence = a_calibration.confidence(np.linspace(0, 1, 101), features(0.0))
    assert (np.diff(confidence) >= 0).all()
    assert confidence[0] >= 0
    assert confidence[-1] == MAX_CONFIDENCE
    assert a_calibration.confidence(np.array([0.5]), features(0.0)) == pytest.approx(0.5)
    # logit(0.9) = ln 9, halved: ln 3, so 3 to 1
    assert a_calibration.confidence(np.array([0.9]), features(0.0)) == pytest.approx(0.75)


def test_a_radius_that_is_not_known_stays_unknown(a_calibration):
    assert np.isnan(a_calibration.radius95_mm(np.array([np.nan, 1.0]))[0])


def test_the_chain_is_as_sure_as_its_caudal_evidence_was_right_on_held_out_cases():
    """Caudal evidence drawn so that a chain with f nats is right with probability sigmoid(f - 1)."""
    rng = np.random.default_rng(3)
    caudal_nats = rng.uniform(0, 8, 20_000)
    right = rng.random(20_000) < 1 / (1 + np.exp(1 - caudal_nats))
    offset, *slopes = calibrate(
        np.ones((20_000, 1)), chain_right=right, features=features(50.0, caudal_nats=caudal_nats)
    ).level
    assert offset == pytest.approx(-1.0, abs=0.1)
    assert slopes == [0, 0, 0, pytest.approx(1.0, abs=0.05)]


@pytest.mark.parametrize("row", [0, 1, 2])
def test_each_other_feature_alone_can_tell_an_unusable_picture(row):
    rng = np.random.default_rng(4)
    told = np.tile([60.0, -4.0, 40.0, 6.0], (2000, 1))
    changed = rng.random(2000) < 0.5
    told[changed, row] -= 30.0
    told += rng.normal(0, 3, told.shape)
    fitted = calibrate(np.ones((2000, 1)), chain_right=~changed, changed=changed, features=told)
    assert fitted.chain_confidence(told[~changed]).mean() > 0.98
    assert fitted.chain_confidence(told[changed]).mean() < 0.15


def test_changed_studies_teach_what_is_in_distribution_and_nothing_else():
    """A hundred studies, and three hundred times one of them without room below the spine and wrong."""
    errors, rooms = np.tile(np.arange(1.0, 101.0), 4)[:, None], np.where(np.arange(400) < 100, 40.0, 5.0)
    changed = np.arange(400) >= 100
    both = calibrate(
        errors * np.where(changed, 50, 1)[:, None],
        chain_right=~changed,
        changed=changed,
        right=~changed[:, None],
        features=features(50.0, caudal_mm=rooms),
        anomaly=np.where(changed, 99.0, 0.0),
    )
    alone = calibrate(errors[:100])
    assert alone.in_distribution is None
    for name in ("radius_factor", "anomaly_above", "unlike_below", "level", "temperature"):
        assert getattr(both, name) == getattr(alone, name)
    high, low = both.chain_confidence(features(50.0, caudal_mm=np.array([40.0, 5.0])))
    assert high > 0.9 > 0.4 > low


def test_the_share_of_changed_studies_is_the_same_however_many_there_are():
    """Nothing tells them apart, so that what is said of all is the share of those in distribution: 1 - OOD_PRIOR."""
    for count in (50, 5000):
        changed = np.arange(1000 + count) >= 1000
        fitted = calibrate(np.ones((1000 + count, 1)), chain_right=~changed, changed=changed)
        assert fitted.chain_confidence(features(50.0)) == pytest.approx(1 - OOD_PRIOR, abs=0.01)


def test_few_wrong_chains_that_caudal_evidence_separates_leave_room_for_doubt():
    caudal_nats = np.r_[[0.0, 0.5, 1.0], np.linspace(3, 8, 147)]
    fitted = calibrate(np.ones((150, 1)), chain_right=caudal_nats > 2, features=features(50.0, caudal_nats=caudal_nats))
    low, middle, high = fitted.chain_confidence(features(50.0, caudal_nats=np.array([0.0, 2.0, 8.0])))
    assert low < 0.5 < high < 1
    assert low < middle < high


def test_caudal_evidence_that_says_the_opposite_says_nothing():
    caudal_nats = np.r_[np.full(50, 1.0), np.full(50, 7.0)]
    fitted = calibrate(np.ones((100, 1)), chain_right=caudal_nats < 5, features=features(50.0, caudal_nats=caudal_nats))
    assert fitted.level == (pytest.approx(0.0, abs=1e-3), 0.0, 0.0, 0.0, 0.0)


def test_both_doubts_are_multiplied():
    fitted = Calibration(1.0, (1.0, 1.0), level=(0.0, 1.0))
    # sigmoid(ln 3) = 3/4 of the chain; sigmoid(logit 0.5) = 1/2 and sigmoid(logit 0.9) = 9/10 of the landmarks
    both = fitted.confidence(np.array([[0.5, 0.9]]), features(np.array([np.log(3)])))
    assert both == pytest.approx(np.array([[0.375, 0.675]]))


def test_the_flag_is_set_so_that_four_studies_in_a_hundred_are_shown():
    caudal_nats = np.arange(100.0) / 12.5
    fitted = calibrate(
        np.ones((100, 2)), chain_right=caudal_nats > 0.75, features=features(50.0, caudal_nats=caudal_nats)
    )
    confidence = fitted.confidence(np.full((100, 2), 0.9), features(50.0, caudal_nats=caudal_nats))
    assert ((confidence < fitted.review_below).any(1) == (caudal_nats < 0.32)).all()


def test_what_is_flagged_as_unusual_counts_among_the_four_in_a_hundred():
    caudal_nats, anomaly = np.arange(100.0) / 12.5, np.r_[np.zeros(98), 9.0, 9.0]
    fitted = calibrate(
        np.ones((100, 2)),
        chain_right=caudal_nats > 0.75,
        features=features(50.0, caudal_nats=caudal_nats),
        anomaly=anomaly,
    )
    confidence = fitted.confidence(np.full((100, 2), 0.9), features(50.0, caudal_nats=caudal_nats))
    doubtful = (confidence < fitted.review_below).any(1)
    assert (doubtful.sum(), (doubtful | (anomaly > fitted.anomaly_above)).sum()) == (2, 4)


def test_oddities_begin_beyond_what_held_out_studies_show():
    anomaly, score = np.r_[np.zeros(99), 9.0], np.r_[-60.0, np.full(99, -4.0)]
    fitted = calibrate(np.ones((100, 1)), anomaly=anomaly, features=features(50.0, score))
    assert 0 < fitted.anomaly_above < 9
    assert -60 < fitted.unlike_below < -4


@pytest.mark.parametrize(("plane_mm", "side_mm"), [(4.0, 0.0), (4.0, 1.0), (4.0, 2.0), (4.0, 5.0), (0.0, 1.0)])
def test_the_radius_in_space_holds_19_of_20_points(plane_mm: float, side_mm: float) -> None:
    spread = plane_mm / np.sqrt(-2 * np.log(0.05))  # 95 % of points in the plane lie within so many times the spread
    points = np.random.default_rng(0).normal(size=(200_000, 3)) * [spread, spread, side_mm]
    radius = radius95_with_side(np.array(plane_mm), np.array(side_mm))
    assert (np.linalg.norm(points, axis=1) < radius).mean() == pytest.approx(0.95, abs=0.005)


def test_a_share_of_the_radius_in_the_plane_is_left_in_a_stack():
    variance, side_sd = np.full(2, 3.0), np.array([0.0, 2.0])
    all_of_it = Calibration(1.0, (2.0, 2.0))
    half = Calibration(1.0, (2.0, 2.0), in_space=(1.0, 0.5))
    whole, less = (one.radius95_in_space_mm(variance, side_sd) for one in (all_of_it, half))
    assert whole == pytest.approx(radius95_with_side(np.full(2, 4.0), side_sd))
    assert less == pytest.approx(radius95_with_side(np.array([4.0, 2.0]), side_sd))
    assert Calibration.from_dict(half.to_dict()) == half
    assert half.radius95_mm(variance) == pytest.approx([4.0, 4.0]), "one slice keeps all of it"
