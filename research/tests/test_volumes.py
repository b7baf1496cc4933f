"""The radius in space: how its share of the radius in the plane is fitted, and that it holds on real volumes."""

from pathlib import Path

import numpy as np
import pytest

from research.bench.volumes import LEVEL_MM, cases, fitted, judged, least_share, needed
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.uncertainty import radius95_with_side


def test_the_least_share_is_the_one_whose_radius_is_the_distance() -> None:
    plane, side, share = np.array([4.0, 5.0, 3.0]), np.array([1.0, 0.5, 2.0]), np.array([0.3, 0.8, 1.2])
    distance = radius95_with_side(share * plane, side)
    whole, alone = (radius95_with_side(part * plane, side) for part in (1.0, 0.0))
    assert least_share(distance, whole, alone) == pytest.approx(share, abs=0.011)
    assert least_share(alone / 2, whole, alone).tolist() == [0.0] * 3
    assert np.isinf(least_share(distance + 50, whole, alone)).all()


def test_the_share_is_judged_on_the_case_that_it_was_not_fitted_on() -> None:
    text = fitted([np.full(10, 0.5), np.full(10, 0.6), np.full(10, 0.9)])
    assert "3 cases, 30 points: share 0.90; fitted without one case 0.60 to 0.90, which holds 20 of 30" in text


def test_of_a_stack_s_slices_some_keep_their_places() -> None:
    (stack, truth), (thin, same) = (next(cases("phantoms:1", every)) for every in (1, 4))
    assert same.keys() == truth.keys()
    np.testing.assert_array_equal(thin.voxels, stack.voxels[2::4])
    for k in range(len(thin)):
        assert thin.to_ras(k, np.array([5.0, 7.0])) == pytest.approx(stack.to_ras(2 + 4 * k, np.array([5.0, 7.0])))


@pytest.mark.parametrize("bow_mm", [0.0, 15.0])
def test_on_bowed_phantoms_the_radius_holds(the_shipped_localizer: Localizer, bow_mm: float) -> None:
    (case,) = cases("phantoms:1")
    share = needed(the_shipped_localizer, case, [bow_mm])
    assert len(share) == 11
    assert (share <= np.array(the_shipped_localizer.bundle.calibration.in_space)).all()


def test_on_real_volumes_the_radius_holds_19_of_20_bodies(real_data: Path, the_shipped_localizer: Localizer) -> None:
    rows = np.concatenate([judged(the_shipped_localizer, *case) for case in cases(str(real_data / "volumes"))])
    distance, _, plane, radius, flagged = rows.T
    assert plane.max() < LEVEL_MM
    assert 28 <= (distance <= radius).sum() <= 29, "of 30"
    assert distance[flagged == 0].max() < 8.0
