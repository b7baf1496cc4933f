"""Is a new model no worse than the old one? Verdicts on errors that are put there by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap
from SpineLandmarksLib.evaluation.non_inferiority import non_inferiority_test, paired_difference
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.landmarks import LUMBAR11


def spines(patients: int, images_each: int = 1) -> Predictions:
    """Right predictions of eleven points down a column, 15 px of 1 mm apart."""
    count = patients * images_each
    truth = np.zeros((count, 11, 2))
    truth[..., 0], truth[..., 1] = 100.0, 30 + 15.0 * np.arange(11)
    yes = np.ones((count, 11), dtype=np.bool_)
    return Predictions(
        truth,
        truth,
        yes,
        yes,
        np.ones((count, 2)),
        np.full((count, 11), 0.9),
        np.full((count, 11), 3.0),
        np.array([f"patient{row // images_each}" for row in range(count)]),
        LUMBAR11,
        tuple(f"image{row}" for row in range(count)),
    )


def off(predictions: Predictions, rows: list[int], mm: float, columns: int = 11) -> Predictions:
    """The first `columns` points of the chosen images are `mm` to the side, where no other landmark is nearer."""
    predicted = predictions.predicted_px.copy()
    predicted[rows, :columns, 0] += mm
    return replace(predictions, predicted_px=predicted)


def shifted(predictions: Predictions, rows: list[int]) -> Predictions:
    """The chosen images are a landmark further down."""
    predicted = predictions.predicted_px.copy()
    predicted[rows, :, 1] += 15.0
    return replace(predictions, predicted_px=predicted)


def test_the_same_model_is_no_worse_than_itself() -> None:
    verdict = non_inferiority_test(off(spines(12), [0, 1], 5.0), off(spines(12), [0, 1], 5.0))
    assert verdict.promoted
    assert (verdict.sdr4.low, verdict.sdr4.high, verdict.level_shift.high) == (0.0, 0.0, 0.0)
    assert verdict.sdr4.old == verdict.sdr4.new == pytest.approx(10 / 12)
    assert verdict.why.startswith("it is not worse: SDR@4 83.3 -> 83.3 %")


def test_one_that_mends_points_is_promoted() -> None:
    verdict = non_inferiority_test(off(spines(20), [0, 1, 2], 5.0), spines(20))
    assert verdict.promoted
    assert verdict.sdr4.new - verdict.sdr4.old == pytest.approx(3 / 20)
    assert 0 <= verdict.sdr4.low < 3 / 20 < verdict.sdr4.high
    assert verdict.mre_mm == (pytest.approx(5 * 3 / 20), 0.0)


def test_a_level_shift_alone_keeps_a_model_back() -> None:
    """Both are as far within 4 mm; the new one's misses lie on other levels."""
    verdict = non_inferiority_test(off(spines(20), [0, 1, 2], 5.0), shifted(spines(20), [0, 1, 2]))
    assert not verdict.promoted
    assert verdict.sdr4.low == verdict.sdr4.high == 0.0
    assert "it may be worse at the level-shift rate: " in verdict.why
    # The last point has no landmark below it to be nearer to.
    assert verdict.level_shift.new == pytest.approx(3 * 10 / 220)


def test_one_that_is_as_good_on_average_but_elsewhere_is_kept_back_for_it_cannot_be_told() -> None:
    verdict = non_inferiority_test(off(spines(20), [0, 1], 5.0), off(spines(20), [2, 3], 5.0))
    assert verdict.sdr4.old == verdict.sdr4.new
    assert not verdict.promoted
    assert verdict.why.startswith("it may be worse at SDR@4: ")


def test_a_loss_within_the_margin_counts_as_none() -> None:
    """One of 2200 points."""
    assert non_inferiority_test(spines(200), off(spines(200), [0], 5.0, columns=1)).promoted
    assert not non_inferiority_test(spines(200), off(spines(200), [0], 5.0, columns=1), margin=0.0).promoted


def test_a_missed_point_is_a_failure() -> None:
    found = np.ones((12, 11), dtype=np.bool_)
    found[:3] = False
    assert non_inferiority_test(spines(12), replace(spines(12), found=found)).sdr4.new == pytest.approx(9 / 12)


def test_images_of_one_patient_are_drawn_together() -> None:
    """Five bad images of one patient leave the interval wider than five of five patients."""
    new = off(spines(12, images_each=5), [0, 1, 2, 3, 4], 5.0)
    apart = replace(new, groups=np.array([f"patient{row}" for row in range(60)]))
    together, spread = (
        non_inferiority_test(replace(spines(12, 5), groups=one.groups), one).sdr4.low for one in (new, apart)
    )
    assert together < spread < 0
    # Drawn 12 times of 12, one patient comes three times or more in 1 of 13 draws, four times or more in 1 of 60.
    assert together == pytest.approx(-3 / 12)


def test_fewer_than_ten_patients_cannot_tell() -> None:
    verdict = non_inferiority_test(spines(9), spines(9))
    assert not verdict.promoted
    assert verdict.why.startswith("the hold-out has 9 patients; fewer than 10 cannot tell")


def test_a_single_patient_has_no_interval() -> None:
    ones = np.ones((2, 3), dtype=np.bool_)
    difference = paired_difference(ones, ones, ones, GroupBootstrap(np.array(["a", "a"]), 100, 0))
    assert (difference.low, difference.high) == (-1.0, 1.0)


def test_models_are_compared_on_the_same_slices_only() -> None:
    other = replace(spines(12), image_names=tuple(f"other{row}" for row in range(12)))
    with pytest.raises(DatasetError, match="Expected predictions of the same annotated slices by both models"):
        non_inferiority_test(spines(12), other)
