"""Blind readings side by side: what two people agree on, and every planted error found and called by its name."""

from __future__ import annotations

import pytest

from SpineLandmarksLib.annotation.consensus import (
    compare_readings,
    comparison_words,
    consensus_of,
    level_shift,
    with_numberings,
)
from SpineLandmarksLib.annotation.session import shift_names
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

#: A spine that bows by some mm, a body and a disc 17 mm apart: column and row in mm.
SPINE = {name: (100 - 0.4 * (row - 5) ** 2, 40 + 17.0 * row) for row, name in enumerate(LUMBAR11)}


def landmarks(places: dict[str, tuple[float, float]]) -> LandmarkSet:
    """On a slice whose pixels are 1 mm."""
    return LandmarkSet(
        tuple(
            Landmark(name, "confirmed", (0.0, -places[name][0], -places[name][1]), places[name])
            if name in places
            else Landmark(name, "not_visible")
            for name in LUMBAR11
        )
    )


def moved(places: dict[str, tuple[float, float]], mm: float, *names: str) -> dict[str, tuple[float, float]]:
    return {name: (x, y + mm * (name in names)) for name, (x, y) in places.items()}


def shifted(places: dict[str, tuple[float, float]], levels: int) -> dict[str, tuple[float, float]]:
    """What a reader says whose names are some levels off, as the session's own shift makes it."""
    marks = shift_names(tuple(landmarks(places)), levels)
    return {mark.name: mark.pixel_xy for mark in marks if mark.pixel_xy is not None}


def test_two_who_are_close_agree_on_the_mean() -> None:
    a, b = SPINE, moved(SPINE, 3.0, "L3", "L4-L5")
    found = compare_readings([a, b], LUMBAR11, limit_mm=4.0)
    assert found.disputed == []
    assert {one.name: one.apart_mm for one in found.differences if one.apart_mm} == {"L3": 3.0, "L4-L5": 3.0}
    mean = consensus_of([landmarks(a), landmarks(b)], found)
    assert mean["L3"].pixel_xy == (SPINE["L3"][0], SPINE["L3"][1] + 1.5)
    assert mean["L3"].position_ras_mm == pytest.approx((0.0, -SPINE["L3"][0], -SPINE["L3"][1] - 1.5))
    assert {mark.status for mark in mean} == {"confirmed"}


def test_a_landmark_that_none_sees_is_agreed_on() -> None:
    without = {name: xy for name, xy in SPINE.items() if name != "T12-L1"}
    found = compare_readings([without, without], LUMBAR11)
    assert found.disputed == []
    assert consensus_of([landmarks(without)] * 2, found)["T12-L1"].status == "not_visible"


@pytest.mark.parametrize("levels", [-2, -1, 1, 2])
def test_a_planted_level_shift_is_found_with_its_direction(levels: int) -> None:
    other = shifted(moved(SPINE, 2.0, "L2", "L5"), levels)
    assert level_shift(SPINE, other) == levels
    found = compare_readings([SPINE, other], LUMBAR11)
    assert found.shifts == (0, levels)
    assert found.is_level_dispute
    assert set(found.disputed) == set(LUMBAR11)
    (said,) = comparison_words(["Ann", "Bob"], found)
    assert said.startswith(f"Bob names the levels {abs(levels)} towards the {'head' if levels > 0 else 'foot'}")


def test_a_planted_swap_is_found_and_nothing_else() -> None:
    other = {**SPINE, "L3": SPINE["L3-L4"], "L3-L4": SPINE["L3"]}
    found = compare_readings([SPINE, other], LUMBAR11)
    assert found.disputed == ["L3", "L3-L4"]
    assert found.swaps == (("L3", "L3-L4"),)
    assert not found.is_level_dispute
    assert comparison_words(["Ann", "Bob"], found) == ["L3 and L3-L4 are exchanged"]


@pytest.mark.parametrize("name", LUMBAR11)
def test_a_planted_slip_of_12_mm_is_found_and_nothing_else(name: str) -> None:
    found = compare_readings([SPINE, moved(SPINE, 12.0, name)], LUMBAR11)
    assert found.disputed == [name]
    assert comparison_words(["Ann", "Bob"], found) == [f"{name}: 12.0 mm apart"]
    mean = consensus_of([landmarks(SPINE), landmarks(moved(SPINE, 12.0, name))], found)
    assert (mean[name].status, mean[name].pixel_xy) == ("out_of_view", None), "somebody has to decide, not the mean"


def test_what_one_sees_and_the_other_does_not_is_disputed() -> None:
    without = {name: xy for name, xy in SPINE.items() if name != "L1"}
    found = compare_readings([SPINE, without], LUMBAR11)
    assert found.disputed == ["L1"]
    assert comparison_words(["Ann", "Bob"], found) == ["L1 is seen by 1 of 2"]


def test_of_three_the_two_that_are_farthest_apart_count() -> None:
    found = compare_readings([SPINE, moved(SPINE, 3.0, "L3"), moved(SPINE, -3.0, "L3")], LUMBAR11, 4.0)
    assert found.disputed == ["L3"]
    assert next(one.apart_mm for one in found.differences if one.is_disputed) == 6.0


def test_readings_with_nothing_in_common_are_disputed_and_no_shift_is_claimed() -> None:
    found = compare_readings([{"L1": (0.0, 0.0)}, {"L5": (0.0, 100.0)}], LUMBAR11)
    assert found.disputed == ["L1", "L5"]
    assert found.shifts == (0, 0)
    assert compare_readings([{}, {}], LUMBAR11).disputed == []


def test_a_level_that_was_disputed_keeps_both_numberings() -> None:
    decided = with_numberings(landmarks(SPINE), {"Ann": 0, "Bob": 1})
    assert decided.numberings == ((0, pytest.approx(2 / 3)), (1, pytest.approx(1 / 3)))
    assert "transitional" in decided.notes[-1]
    assert "Bob: +1" in decided.notes[-1]
    assert with_numberings(landmarks(SPINE), {"Ann": 0, "Bob": 0}) == landmarks(SPINE)
