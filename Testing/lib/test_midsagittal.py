"""Which slices are tried, which is chosen, and how far beside it a landmark lies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from SpineLandmarksLib.imaging.midsagittal import REACH_MM, choose_slice, most_evidence, slices_to_try


def bells(tried, centres, width=1.5):
    """(N, L) log evidence: a bell over the slices about each landmark's centre."""
    return -((np.asarray(tried, float)[:, None] - np.asarray(centres, float)) ** 2) / (2 * width**2)


def test_thick_slices_are_all_tried():
    assert slices_to_try(13, 5.0) == list(range(13))


def test_thin_slices_are_tried_every_9_mm_within_32_mm_of_the_middle():
    assert slices_to_try(201, 1.0) == list(range(73, 128, 9))


def test_every_other_slice_of_the_usual_stack_is_tried():
    assert slices_to_try(15, 4.4) == list(range(1, 15, 2))


@pytest.mark.parametrize("count", range(2, 13))
def test_a_stack_of_few_slices_is_not_thinned(count):
    assert np.diff(slices_to_try(count, 2.0)).tolist() == [1] * (len(slices_to_try(count, 2.0)) - 1)


def test_an_asked_for_slice_is_the_only_one():
    assert slices_to_try(1, 4.4) == [0]
    assert slices_to_try(1, None) == [0]


@given(st.integers(2, 400), st.one_of(st.none(), st.floats(0.3, 50.0)))
def test_slices_are_few_symmetric_and_within_reach(count, spacing):
    tried = slices_to_try(count, spacing)
    middle = count // 2
    assert middle in tried
    assert tried == sorted(set(tried))
    assert tried[0] >= 0
    assert tried[-1] < count
    assert len(tried) <= 23  # 2.67 mm apart is the closest that one slice a step gets: 11 to both sides
    assert len(set(np.diff(tried))) <= 1
    farthest = max(abs(index - middle) for index in tried)
    assert farthest * (spacing or 4.0) <= max(REACH_MM, spacing or 4.0)
    mirrored = [2 * middle - index for index in tried if 0 <= 2 * middle - index < count]
    assert set(mirrored) <= set(tried)


def test_in_doubt_the_middle_has_the_most_evidence():
    assert most_evidence([0, 5, 10, 15, 20], np.zeros(5), 21, 3.0) == 2


def test_clear_evidence_wins_over_the_middle():
    # 30 mm from the middle costs (30 / 20)^2 / 2 = 1.1 nats
    tried, scores = [0, 5, 10, 15, 20], np.zeros(5)
    scores[4] = 1.0
    assert most_evidence(tried, scores, 21, 3.0) == 2
    scores[4] = 1.2
    assert most_evidence(tried, scores, 21, 3.0) == 4


def test_a_spine_beside_the_middle_is_chosen_at_the_centre_of_its_evidence():
    tried = list(range(15))
    scores = np.zeros(15)
    scores[6] = 1.0  # the best single slice is not the middle of the evidence
    choice = choose_slice(tried, scores, bells(tried, np.full(11, 4.2)), np.ones(15, bool))
    assert choice.index == 4
    assert choice.score == 0.0
    assert choice.warnings == ()


def test_only_slices_that_agree_on_the_levels_are_chosen():
    tried = list(range(15))
    agrees = np.ones(15, bool)
    agrees[3:7] = False
    choice = choose_slice(tried, np.zeros(15), bells(tried, np.full(11, 5.9)), agrees)
    assert choice.index == 7
    assert "11 of 15" in choice.reason


def test_landmarks_out_of_view_have_no_say():
    tried = list(range(15))
    evidence = bells(tried, [4, 4, 4, 5, 5, 5, 6, 6, 6, 6, 6])
    partly = np.column_stack([evidence, np.full((15, 2), np.nan)])
    everything, part = (choose_slice(tried, np.zeros(15), e, np.ones(15, bool)) for e in (evidence, partly))
    assert everything == part


def test_the_outermost_slice_is_told():
    tried = [0, 1, 2, 3]
    choice = choose_slice(tried, np.zeros(4), bells(tried, np.zeros(3)), np.array([True, False, False, True]))
    assert choice.index == 0
    assert "outermost" in choice.warnings[0]
    assert choose_slice([5], np.zeros(1), np.zeros((1, 3)), np.ones(1, bool)).warnings == ()
