"""Blind readings side by side: what two people agree on, and every planted error found and called by its name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from SpineLandmarksLib.annotation.consensus import (
    ReadingComparison,
    chosen,
    compare_readings,
    comparison_words,
    consensus_of,
    level_shift,
    with_numberings,
)
from SpineLandmarksLib.annotation.session import shift_names
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Status

#: A spine that bows by some mm, a body and a disc 17 mm apart: column and row in mm.
SPINE = {name: (100 - 0.4 * (row - 5) ** 2, 40 + 17.0 * row) for row, name in enumerate(LUMBAR11)}


SIDES = (("ant", 16.0), ("post", -16.0))


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


#: Two corners a level, as many mm apart as those of an endplate.
CORNERS = {f"{name}.sup.{side}": (x + dx, y - 12) for name, (x, y) in list(SPINE.items())[1::2] for side, dx in SIDES}


def with_corners(places: dict[str, tuple[float, float]], status: Status = "confirmed") -> LandmarkSet:
    marks = [Landmark(name, status, (0.0, -xy[0], -xy[1]), xy) for name, xy in places.items()]
    return replace(landmarks(SPINE), corners=tuple(marks))


def compared(*corners: dict[str, tuple[float, float]], decided: Collection[str] = CORNERS) -> ReadingComparison:
    return compare_readings([SPINE] * len(corners), LUMBAR11, 4.0, corners, decided)


def planted_corners() -> dict[str, tuple[dict[str, tuple[float, float]], list[str]]]:
    """What a reader says who has one slip, has exchanged the ends of one endplate, does not see one corner."""
    ends = ["L4.sup.ant", "L4.sup.post"]
    swap = {**CORNERS, ends[0]: CORNERS[ends[1]], ends[1]: CORNERS[ends[0]]}
    without = {name: xy for name, xy in CORNERS.items() if name != "L5.sup.ant"}
    return {
        "slip": (moved(CORNERS, 12.0, "L2.sup.post"), ["L2.sup.post"]),
        "swap": (swap, ends),
        "unseen": (without, ["L5.sup.ant"]),
        "level": (dict(zip(CORNERS, [*list(CORNERS.values())[2:], *[(100, 230)] * 2], strict=True)), list(CORNERS)),
    }


@pytest.mark.parametrize("planted", planted_corners())
def test_a_planted_error_in_corners_is_found_and_nothing_else(planted: str) -> None:
    other, disputed = planted_corners()[planted]
    found = compared(CORNERS, other)
    assert found.disputed == disputed
    assert not found.is_level_dispute, "told by the landmarks of the schema"
    assert [words.split()[0].rstrip(":") for words in comparison_words(["Ann", "Bob"], found)] == disputed
    agreed = consensus_of([with_corners(CORNERS), with_corners(other)], found)
    assert [mark.name for mark in agreed.corners if mark.is_absent and mark.needs_review] == disputed
    assert agreed.needs_review


def test_corners_within_the_limit_are_agreed_on_as_their_mean() -> None:
    other = moved(CORNERS, 3.0, "L2.sup.post")
    found = compared(CORNERS, other)
    assert found.disputed == []
    agreed = consensus_of([with_corners(CORNERS), with_corners(other)], found)["L2.sup.post"]
    assert agreed.pixel_xy == (CORNERS["L2.sup.post"][0], CORNERS["L2.sup.post"][1] + 1.5)
    assert (agreed.status, agreed.needs_review) == ("confirmed", False)


def test_corners_of_which_no_reader_has_spoken_are_no_dispute() -> None:
    found = compared(CORNERS, moved(CORNERS, 12.0, "L2.sup.post"), decided=["L3.sup.ant"])
    assert found.disputed == []
    assert next(one.apart_mm for one in found.corners if one.name == "L2.sup.post") == 12.0


def test_a_decision_takes_corners_singly_or_with_the_whole_chain() -> None:
    other = moved(CORNERS, 12.0, "L2.sup.post", "L4.sup.ant")
    found = compared(CORNERS, other, decided=["L2.sup.post"])
    readings = [with_corners(CORNERS, "predicted"), with_corners(other, "predicted")]
    now = consensus_of(readings, found)
    one = chosen(now, readings[1:], ["L2.sup.post"], "Bob")
    assert (one["L2.sup.post"].pixel_xy, one["L2.sup.post"].status) == (other["L2.sup.post"], "confirmed")
    assert one["L4.sup.ant"] == now["L4.sup.ant"]
    whole = chosen(now, readings[1:], [*LUMBAR11, *found.disputed], "Bob")
    assert (whole["L4.sup.ant"].pixel_xy, whole["L4.sup.ant"].status) == (other["L4.sup.ant"], "predicted")
    middle = chosen(now, readings, ["L2.sup.post"], "the middle")["L2.sup.post"].pixel_xy
    assert middle == (CORNERS["L2.sup.post"][0], CORNERS["L2.sup.post"][1] + 6.0)


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
