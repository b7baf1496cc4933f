"""Splits by patient."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.splits import holdout, split_by_group


@pytest.fixture
def uneven_groups():
    """30 patients with 1 to 9 slices each."""
    return [f"patient{number}" for number in range(30) for _ in range(1 + number * 7 % 9)]


def names(groups, rows):
    return {groups[row] for row in rows}


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=20, max_size=60), st.integers(0, 5))
def test_every_row_is_tested_once_and_no_group_stands_on_both_sides(groups, seed):
    folds = min(3, len(set(groups)))
    if folds < 2:
        return
    splits = split_by_group(groups, folds, seed)
    assert sorted(row for _, test in splits for row in test) == list(range(len(groups)))
    for train, test in splits:
        assert not names(groups, train) & names(groups, test)
        assert sorted([*train, *test]) == list(range(len(groups)))


def test_folds_are_of_nearly_equal_size(uneven_groups):
    sizes = [len(test) for _, test in split_by_group(uneven_groups, 5, seed=0)]
    assert max(sizes) - min(sizes) <= 1


def test_the_order_of_rows_does_not_change_who_is_in_which_fold(uneven_groups):
    order = np.random.default_rng(0).permutation(len(uneven_groups))
    shuffled = [uneven_groups[row] for row in order]
    for (_, test), (_, again) in zip(split_by_group(uneven_groups, 5, 1), split_by_group(shuffled, 5, 1), strict=True):
        assert names(uneven_groups, test) == names(shuffled, again)
    assert names(uneven_groups, holdout(uneven_groups, 6, 1)[1]) == names(shuffled, holdout(shuffled, 6, 1)[1])


def test_the_seed_decides_the_split(uneven_groups):
    assert names(uneven_groups, holdout(uneven_groups, 6, 0)[1]) != names(
        uneven_groups, holdout(uneven_groups, 6, 1)[1]
    )
    first, other = (split_by_group(uneven_groups, 5, seed)[0][1].tolist() for seed in (0, 1))
    assert first != other


def test_a_split_written_down_today_is_the_split_of_tomorrow():
    # sha256 of "0/a", "0/b", "0/c", "0/d" begins with d3, 7d, 28, 9d: c and b come first.
    assert holdout(["a", "b", "c", "d"], 2, seed=0)[1].tolist() == [1, 2]


def test_a_new_patient_moves_at_most_one_other_across_a_holdout(uneven_groups):
    before = names(uneven_groups, holdout(uneven_groups, 6, 0)[1])
    larger = [*uneven_groups, "newcomer"]
    assert len(before - names(larger, holdout(larger, 6, 0)[1])) <= 1


def test_a_holdout_has_the_number_of_groups_asked_for(uneven_groups):
    train, test = holdout(uneven_groups, 6, seed=0)
    assert len(names(uneven_groups, test)) == 6
    assert len(names(uneven_groups, train)) == 24


@pytest.mark.parametrize("folds", [0, 1, 4])
def test_more_folds_than_groups_or_fewer_than_two_are_refused(folds):
    with pytest.raises(DatasetError, match="3 groups"):
        split_by_group(["a", "b", "c"], folds, 0)


@pytest.mark.parametrize("count", [0, 3, 4])
def test_holding_out_nobody_or_everybody_is_refused(count):
    with pytest.raises(DatasetError, match="1 to 2 of 3 groups"):
        holdout(["a", "b", "c"], count, 0)
