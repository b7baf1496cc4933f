"""Figures of an evaluation, recomputed by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.errors import DatasetError, LandmarkError
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap
from SpineLandmarksLib.evaluation.metrics import (
    Predictions,
    chain_shifts,
    coverage_curve,
    describe_shift,
    expected_calibration_error,
    failures,
    reliability,
    shifted,
    shifted_within_kind,
    summarize,
)
from SpineLandmarksLib.landmarks import LUMBAR11


@pytest.fixture
def two_small_images():
    """Two images, three landmarks down a column 10 px apart; spacing (between columns, between rows) is not square.

    Image a, (0.5, 2.0) mm/px: L1 off by (6, 2) px = (3, 4) mm -> 5 mm; L1-L2 right -> 0; L2 missed.
    Image b, (1.0, 1.0) mm/px: L1 off by (0, 1) -> 1 mm; L1-L2 not annotated; L2 off by (0, -9) -> 9 mm,
    which is 1 mm from where L1-L2 would be, were it annotated, and 11 mm from L1.
    """
    truth = np.array([[[50.0, 10], [50, 20], [50, 30]], [[50, 10], [-1, -1], [50, 30]]])
    predicted = np.array([[[56.0, 12], [50, 20], [0, 0]], [[50, 11], [50, 20], [50, 21]]])
    return Predictions(
        truth_px=truth,
        predicted_px=predicted,
        valid=np.array([[1, 1, 1], [1, 0, 1]], dtype=bool),
        found=np.array([[1, 1, 0], [1, 1, 1]], dtype=bool),
        spacing_mm=np.array([[0.5, 2.0], [1.0, 1.0]]),
        confidence=np.full((2, 3), 0.9),
        radius95_mm=np.array([[5.0, 1, 1], [0.5, 1, 10]]),
        groups=np.array(["a", "b"]),
        names=("L1", "L1-L2", "L2"),
        image_names=("a.png", "b.png"),
    )


def straight_spines(count, per_group=1, noise_px=0.0, seed=0):
    """`count` spines of eleven points down a column, 18 mm apart; 0.9 mm between columns and 1.2 mm between rows."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((count, 11, 2))
    truth[..., 0], truth[..., 1] = 100.0, 30 + 15.0 * np.arange(11)
    return Predictions(
        truth_px=truth,
        predicted_px=truth + noise_px * rng.normal(size=truth.shape),
        valid=np.ones((count, 11), dtype=bool),
        found=np.ones((count, 11), dtype=bool),
        spacing_mm=np.tile([0.9, 1.2], (count, 1)),
        confidence=rng.uniform(0.5, 1.0, (count, 11)),
        radius95_mm=np.full((count, 11), 3.0),
        groups=np.array([f"patient{row // per_group}" for row in range(count)]),
        names=LUMBAR11,
        image_names=tuple(f"image{row:03d}" for row in range(count)),
    )


def moved(predictions, rows, steps):
    """The chosen images with the whole chain `steps` landmarks further down."""
    predicted = predictions.predicted_px.copy()
    predicted[rows, :, 1] += 15.0 * steps
    return replace(predictions, predicted_px=predicted)


def numbers(value):
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in numbers(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in numbers(item)]
    return [value] if isinstance(value, float) else []


def test_the_distance_between_columns_scales_x_and_that_between_rows_scales_y(two_small_images):
    expected = [[5.0, 0.0, np.nan], [1.0, np.nan, 9.0]]
    np.testing.assert_allclose(two_small_images.error_mm, expected, atol=1e-12)


def test_the_figures_of_two_small_images_are_those_computed_by_hand(two_small_images):
    summary = summarize(two_small_images, bootstrap=50)
    overall = summary["overall"]
    assert (summary["n_images"], summary["n_groups"], summary["n_points"], summary["n_missed"]) == (2, 2, 5, 1)
    # Errors of predicted annotated points: 0, 1, 5, 9.
    assert overall["mre_mm"]["value"] == pytest.approx(15 / 4)
    assert overall["median_mm"]["value"] == pytest.approx((1 + 5) / 2)
    assert overall["p95_mm"]["value"] == pytest.approx(5 + 0.85 * (9 - 5))  # rank 0.95 * 3 = 2.85
    assert overall["max_mm"] == pytest.approx(9)
    # The missed point stays in the denominator: 2 of 5 within 2 mm, 3 of 5 within 6 and 8 mm.
    assert [overall["sdr"][t]["value"] for t in ("2", "4", "6", "8")] == [0.4, 0.4, 0.6, 0.6]
    assert overall["missed_rate"]["value"] == pytest.approx(1 / 5)
    assert overall["level_shift_rate"]["value"] == 0.0
    assert overall["images_within_8_mm"]["value"] == 0.0
    assert overall["images_without_level_shift"]["value"] == 0.5  # image a misses a point
    # Radii 5, 1 | 0.5, 10 hold errors 5, 0 | 1, 9: three of four.
    assert summary["calibration"]["radius95_coverage"]["value"] == pytest.approx(3 / 4)


def test_the_figures_of_a_landmark_are_of_its_own_points(two_small_images):
    rows = summarize(two_small_images, bootstrap=0)["per_landmark"]
    assert [(name, row["n"], row["n_missed"]) for name, row in rows.items()] == [
        ("L1", 2, 0),
        ("L1-L2", 1, 0),
        ("L2", 2, 1),
    ]
    assert rows["L1"]["mre_mm"]["value"] == pytest.approx(3.0)
    assert rows["L2"]["sdr"]["8"]["value"] == 0.0


def test_whatever_stands_in_an_unannotated_or_unpredicted_point_changes_no_figure(two_small_images):
    garbage_truth, garbage_prediction = two_small_images.truth_px.copy(), two_small_images.predicted_px.copy()
    garbage_truth[1, 1] = [np.inf, -1e9]
    garbage_prediction[0, 2] = [np.nan, 1e9]
    other = replace(two_small_images, truth_px=garbage_truth, predicted_px=garbage_prediction)
    assert summarize(other, bootstrap=20) == summarize(two_small_images, bootstrap=20)
    assert np.isnan(other.truth_px[1, 1]).all()
    assert np.isnan(other.predicted_px[0, 2]).all()


def test_an_image_without_annotation_is_counted_and_nothing_else():
    spines = straight_spines(3, noise_px=1.0)
    valid = spines.valid.copy()
    valid[1] = False
    with_blank, without = replace(spines, valid=valid), spines.take([0, 2])
    a, b = summarize(with_blank, bootstrap=0), summarize(without, bootstrap=0)
    assert (a["n_images"], b["n_images"]) == (3, 2)
    assert a["overall"] == b["overall"]


def test_a_missing_prediction_fails_at_every_threshold(two_small_images):
    for threshold in (2.0, 8.0, 1e9):
        assert failures(two_small_images, threshold)[0, 2]
    assert not failures(two_small_images)[1, 1]  # not annotated


def test_a_chain_one_level_down_is_a_level_shift_at_every_point_that_has_a_lower_neighbour():
    spines = moved(straight_spines(4, noise_px=0.3), [2], 2)
    expected = np.zeros((4, 11), dtype=bool)
    expected[2, :10] = True  # L5-S1 lies below everything: its own truth is still the nearest
    np.testing.assert_array_equal(shifted(spines), expected)
    expected[2, 9] = False  # L5 is two below the last body, so its own body is the nearest body
    np.testing.assert_array_equal(shifted_within_kind(spines), expected)


def test_a_body_on_the_disc_beside_it_is_a_shift_but_not_within_its_kind():
    spines = straight_spines(2)
    predicted = spines.predicted_px.copy()
    predicted[0, 3, 1] += 15 * 0.6  # 0.6 of the way from L2 to L2-L3, and 0.3 of that to L3
    spines = replace(spines, predicted_px=predicted)
    assert shifted(spines)[0, 3]
    assert not shifted_within_kind(spines).any()


def test_a_point_just_short_of_half_way_is_not_shifted():
    spines = straight_spines(2)
    predicted = spines.predicted_px.copy()
    predicted[:, 3, 1] += 15 * np.array([0.48, 0.52])
    assert shifted(replace(spines, predicted_px=predicted))[:, 3].tolist() == [False, True]


@pytest.mark.parametrize("steps", [-4, -2, -1, 0, 1, 2, 4])
def test_the_shift_of_a_whole_chain_is_found_with_its_direction(steps):
    spines = moved(straight_spines(3, noise_px=0.5), [0, 2], steps)
    assert chain_shifts(spines).tolist() == [steps, 0, steps]


def test_a_few_points_on_another_level_are_no_shift_of_the_chain():
    spines = straight_spines(2)
    predicted = spines.predicted_px + 2.0
    predicted[1, :4] = spines.truth_px[1, 2:6]
    assert chain_shifts(replace(spines, predicted_px=predicted)).tolist() == [0, 0]


def test_one_point_alone_is_no_chain():
    spines = moved(straight_spines(2), [0, 1], 2)
    found = np.zeros((2, 11), dtype=bool)
    found[0, 3], found[1, 3:5] = True, True
    assert chain_shifts(replace(spines, found=found)).tolist() == [0, 2]


def test_a_shift_is_told_in_levels_where_names_tell_of_them():
    assert describe_shift(2, LUMBAR11) == "1 level towards the feet"
    assert describe_shift(-4, LUMBAR11) == "2 levels towards the head"
    assert describe_shift(1, ("L1", "L2", "L3")) == "1 level towards the feet"
    assert describe_shift(1, ("p01", "p02", "p03")) == "1 landmark towards the feet"


def test_an_interval_is_wider_when_the_errors_of_a_patient_go_together():
    spines = straight_spines(120, per_group=6, noise_px=0.5)
    bad = np.flatnonzero(np.isin(spines.groups, ["patient3", "patient8"]))
    clustered = moved(spines, bad, 2)
    naive = replace(clustered, groups=np.array(clustered.image_names))
    for figure in ("mre_mm", "level_shift_rate"):
        wide, narrow = (summarize(each)["overall"][figure] for each in (clustered, naive))
        assert wide["value"] == pytest.approx(narrow["value"])
        # Six images a patient that all fail or all succeed: sqrt(6) = 2.4 times as wide.
        assert wide["high"] - wide["low"] > 1.7 * (narrow["high"] - narrow["low"])


def test_an_interval_of_independent_images_agrees_with_the_normal_approximation():
    rng = np.random.default_rng(3)
    values = rng.normal(5.0, 2.0, 400)
    groups = np.array([f"{number:03d}" for number in range(400)])
    estimate = GroupBootstrap(groups, 4000, 0).ratio(values, np.ones(400))
    half = 1.96 * values.std() / np.sqrt(400)
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 12), st.sampled_from([0.0, 0.25, 0.5, 0.95, 1.0]), st.integers(0, 1000))
def test_a_resampled_quantile_is_numpys_quantile_of_the_drawn_rows(n_groups, q, seed):
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, n_groups, 20).astype(str)
    values = rng.normal(size=(20, 3))
    values[rng.random((20, 3)) < 0.2] = np.nan
    resampler = GroupBootstrap(groups, 5, seed)
    labels = np.unique(groups)
    expected = []
    for draw in resampler.draws:
        rows = [values[groups == label] for label, times in zip(labels, draw, strict=True) for _ in range(times)]
        drawn = np.concatenate(rows)
        expected.append(np.quantile(drawn[np.isfinite(drawn)], q))
    estimate = resampler.quantile(values, q)
    np.testing.assert_allclose((estimate.low, estimate.high), np.quantile(expected, [0.025, 0.975]))


def test_a_perfect_rate_still_has_an_honest_lower_limit():
    estimate = summarize(straight_spines(30))["overall"]["sdr"]["8"]
    # 30 of 30 groups: the exact (Clopper-Pearson) lower limit is 0.025 ** (1 / 30).
    assert estimate == {"value": 1.0, "low": pytest.approx(0.025 ** (1 / 30)), "high": 1.0}


def test_one_group_gives_no_interval():
    spines = replace(straight_spines(3, noise_px=1.0), groups=np.array(["same"] * 3))
    assert summarize(spines)["overall"]["mre_mm"]["low"] is None


def test_the_order_of_images_changes_nothing():
    spines = moved(straight_spines(20, per_group=2, noise_px=2.0), [4], 2)
    order = np.random.default_rng(5).permutation(20)
    a, b = summarize(spines, bootstrap=100), summarize(spines.take(order), bootstrap=100)
    assert [a["images"][row] for row in order] == b["images"]
    del a["images"], b["images"]
    assert a == b


def test_the_seed_decides_the_intervals():
    spines = straight_spines(20, noise_px=2.0)
    one, two = (summarize(spines, bootstrap=100, seed=seed)["overall"]["mre_mm"] for seed in (1, 2))
    assert one != two
    assert one == summarize(spines, bootstrap=100, seed=1)["overall"]["mre_mm"]


def test_no_nan_reaches_the_figures_when_almost_everything_is_absent():
    spines = straight_spines(3)
    valid, found = np.zeros((3, 11), dtype=bool), np.zeros((3, 11), dtype=bool)
    valid[0, 2], found[1, 4] = True, True
    nothing = np.full((3, 11), np.nan)
    summary = summarize(replace(spines, valid=valid, found=found, confidence=nothing, radius95_mm=nothing))
    assert np.isfinite(numbers(summary)).all()
    json.dumps(summary, allow_nan=False)
    assert summary["overall"]["mre_mm"]["value"] is None
    assert summary["overall"]["sdr"]["8"]["value"] == 0.0
    assert summary["calibration"]["expected_calibration_error"] is None


def test_a_set_without_any_annotation_is_refused():
    spines = straight_spines(2)
    with pytest.raises(DatasetError, match="annotated points"):
        summarize(replace(spines, valid=np.zeros((2, 11), dtype=bool)))


def test_confidence_is_held_against_the_level_not_against_the_distance():
    spines = moved(straight_spines(10), [0, 1, 2, 3, 4], 2)
    confidence = np.full((10, 11), 0.95)
    confidence[:5] = 0.25
    bins = reliability(replace(spines, confidence=confidence))
    # Of the 55 points of the moved chains, the five L5-S1 have no lower neighbour to be nearer to.
    assert [(each.low, each.high, each.n) for each in bins] == [(0.2, 0.3, 55), (0.9, 1.0, 55)]
    assert [each.fraction_right for each in bins] == pytest.approx([5 / 55, 1.0])
    # (0.25 - 0.0909) * 1/2 + (1 - 0.95) * 1/2
    assert expected_calibration_error(bins) == pytest.approx((0.25 - 5 / 55 + 0.05) / 2)


def test_the_flag_is_judged_by_what_is_wrong_and_what_it_asks_to_be_looked_at(two_small_images):
    """Wrong are L2 of image a (missed) and L2 of image b (9 mm off, nearer to L1-L2 were it annotated)."""
    flags = np.array([[False, False, True], [False, False, False]])
    review = summarize(replace(two_small_images, needs_review=flags))["review"]
    assert (review["n_wrong_points"], review["n_wrong_images"]) == (2, 2)
    shares = {name: review[name]["value"] for name in ("flagged_images", "wrong_points_caught", "wrong_images_caught")}
    assert shares == {"flagged_images": 0.5, "wrong_points_caught": 0.5, "wrong_images_caught": 0.5}


def test_predictions_joined_are_those_of_all_parts(two_small_images):
    first, second = two_small_images.take([0]), two_small_images.take([1])
    assert summarize(Predictions.join([second, first]))["overall"] == summarize(two_small_images)["overall"]


def test_a_confidence_of_exactly_zero_or_one_falls_in_the_outer_bins():
    spines = straight_spines(2)
    confidence = np.stack([np.zeros(11), np.ones(11)])
    assert [(each.low, each.high) for each in reliability(replace(spines, confidence=confidence))] == [
        (0.0, 0.1),
        (0.9, 1.0),
    ]


def test_radii_of_a_true_gaussian_cover_what_they_say_at_every_level():
    spines = straight_spines(2000, noise_px=1.0)
    # Equal noise of 1.2 mm along both axes needs square pixels; radius95 = sigma * sqrt(-2 ln 0.05).
    spines = replace(
        spines, spacing_mm=np.full((2000, 2), 1.2), radius95_mm=np.full((2000, 11), 1.2 * np.sqrt(-2 * np.log(0.05)))
    )
    for nominal, observed in coverage_curve(spines):
        assert observed == pytest.approx(nominal, abs=0.01)


def test_an_image_without_spacing_is_scaled_so_that_l1_to_l5_is_144_mm():
    spines = replace(straight_spines(2, noise_px=1.0), spacing_mm=np.full((2, 2), np.nan))
    # L1 to L5 are eight steps of 15 px = 120 px, so 1.2 mm per pixel.
    np.testing.assert_allclose(spines.mm_per_px, 1.2)
    assert spines.millimetre_source == "pixels"
    assert summarize(spines, bootstrap=0)["unit"] == "mm, scaled so that L1-L5 = 144 mm"


def test_an_unscaled_image_without_l5_is_scaled_by_its_outermost_points():
    spines = straight_spines(2)
    valid = spines.valid.copy()
    valid[0, :2] = valid[0, 10:] = False  # L1-L2 to L5: seven steps of 18 mm on 105 px
    spacing = np.array([[np.nan, np.nan], [0.9, 1.2]])
    mixed = replace(spines, valid=valid, spacing_mm=spacing, millimetres="estimated")
    np.testing.assert_allclose(mixed.mm_per_px, [[1.2, 1.2], [0.9, 1.2]])
    assert mixed.millimetre_source == "estimated"
    assert mixed.unit == "estimated mm, 1 of 2 images scaled so that L1-L5 = 144 mm"


def test_an_image_that_cannot_be_scaled_is_refused():
    spines = straight_spines(2)
    one_point = np.zeros((2, 11), dtype=bool)
    one_point[:, 3] = True
    with pytest.raises(LandmarkError, match="two annotated landmarks"):
        replace(spines, valid=one_point, spacing_mm=np.full((2, 2), np.nan))
    with pytest.raises(LandmarkError, match="L1 and L5"):
        replace(spines, names=tuple("abcdefghijk"), spacing_mm=np.full((2, 2), np.nan))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("valid", np.ones((11, 2), dtype=bool), r"valid of shape \(2, 11\)"),
        ("spacing_mm", np.zeros((2, 2)), "spacing_mm positive"),
        ("confidence", np.full((2, 11), 1.5), r"confidence in 0\.\.1"),
        ("radius95_mm", np.full((2, 11), -1.0), "radius95_mm at least 0"),
        ("predicted_px", np.full((2, 11, 2), np.nan), "predicted_px finite where found; image 'image000'"),
        ("names", ("L1",) * 11, "more than once"),
        ("millimetres", "inches", "measured, estimated, pixels"),
    ],
)
def test_predictions_that_break_a_rule_are_refused_with_the_rule(field, value, message):
    with pytest.raises(LandmarkError, match=message):
        replace(straight_spines(2), **{field: value})
