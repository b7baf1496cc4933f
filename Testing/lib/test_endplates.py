"""Measurements by corners: on phantoms whose geometry is known, on boxes with school geometry, and their absence."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import cos, degrees, hypot, log, radians, sin, sqrt

import numpy as np
import pytest

from SpineLandmarksLib.annotation.endplates import measure_endplates
from SpineLandmarksLib.annotation.measurements import COLUMNS, measure
from SpineLandmarksLib.formats.json_result import as_json, from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.measurement import Measurement
from SpineLandmarksLib.phantom.anatomy import Spine, random_spine
from SpineLandmarksLib.quadrilaterals import BODIES

#: Boxes of this size, 8 mm apart, one above the other; the sacrum's endplate is as long.
HEIGHT, DEPTH, GAP = 28.0, 35.0, 8.0


def boxes() -> dict[str, tuple[float, float]]:
    """(A, S) of the corners of five equal upright boxes on a level sacrum."""
    at = {}
    for row, body in enumerate((*BODIES, "S1")):
        top = -row * (HEIGHT + GAP)
        for end, s in (("sup", top), ("inf", top - HEIGHT)):
            at |= {f"{body}.{end}.ant": (DEPTH, s), f"{body}.{end}.post": (0.0, s)}
    return {name: at[name] for name in CORNERS22}


def corners_at(points: dict[str, tuple[float, float]], radius: float | None = None) -> tuple[Landmark, ...]:
    return tuple(
        Landmark(name, "predicted", (5.0, *point), (0.0, 0.0), 0.99, radius, False) for name, point in points.items()
    )


def turned(points: dict[str, tuple[float, float]], body: str, front_down: float) -> dict[str, tuple[float, float]]:
    """The corners of one body turned about its upper back corner."""
    a0, s0 = points[f"{body}.sup.post"]
    c, s = cos(radians(front_down)), sin(radians(front_down))
    moved = {n: (a0 + (a - a0) * c + (z - s0) * s, s0 - (a - a0) * s + (z - s0) * c) for n, (a, z) in points.items()}
    return {name: moved[name] if name.startswith(f"{body}.") else at for name, at in points.items()}


def taken(points: dict[str, tuple[float, float]], radius: float | None = None) -> dict[str, Measurement]:
    return {one.name: one for one in measure_endplates(LandmarkSet(()), corners_at(points, radius))}


@pytest.fixture
def a_phantom_spine() -> Spine:
    return random_spine(np.random.default_rng(3))


def lying(spine: Spine) -> dict[str, tuple[float, float]]:
    """The phantom's plane (x back, y down) as (A, S)."""
    return {name: (-x, -y) for name, (x, y, _) in spine.corners().items()}


@pytest.mark.parametrize("seed", range(5))
def test_angles_of_a_phantom_follow_from_the_tilts_and_slopes_it_was_made_of(seed: int) -> None:
    """Bodies that are no more than wedges: each endplate is a line whose slope is given, and needs no corner."""
    random = random_spine(np.random.default_rng(seed))
    plain = {"waist": 0.0, "taper": 0.0, "concave_top": 0.0, "concave_bottom": 0.0}
    spine = Spine(tuple(replace(v, **plain) for v in random.vertebrae), random.discs, random.conus)
    found = taken(lying(spine))
    body = {v.name: v for v in spine.vertebrae}

    def front_down(name: str, end: str) -> float:
        v = body[name]
        slope = v.slope_top if end == "sup" else -v.slope_bottom
        return degrees(v.tilt + np.arctan(slope))

    def lordosis(upper: tuple[str, str], lower: tuple[str, str]) -> float:
        return front_down(*lower) - front_down(*upper)

    expected = lordosis(("L1", "sup"), ("S1", "sup"))
    assert found["Lumbar lordosis L1-S1"].value == pytest.approx(expected, abs=1e-6)
    assert found["Sacral slope"].value == pytest.approx(front_down("S1", "sup"), abs=1e-6)
    assert found["Lumbosacral angle"].value == pytest.approx(lordosis(("L5", "inf"), ("S1", "sup")), abs=1e-6)
    segments = sum(found[f"Segmental lordosis {a}-{b}"].value or 0 for a, b in (("L1", "L2"), ("L3", "L4")))
    assert segments == pytest.approx(
        lordosis(("L1", "sup"), ("L2", "inf")) + lordosis(("L3", "sup"), ("L4", "inf")), abs=1e-6
    )


def test_lordosis_is_the_sum_of_what_bodies_and_discs_take_of_it(a_phantom_spine: Spine) -> None:
    """From endplate to endplate: each body gives its wedge, lower behind being lordotic, and each disc its own."""
    found = taken(lying(a_phantom_spine))
    segments = sum(found[f"Segmental lordosis {a}-{b}"].value or 0 for a, b in pairwise(BODIES))
    # each of those segments holds the wedges of two bodies and of one disc: bodies but the outer two are counted twice
    inner = sum(found[f"Wedge angle {body}"].value or 0 for body in BODIES[1:-1])
    lumbosacral = found["Lumbosacral angle"].value or 0
    assert found["Lumbar lordosis L1-S1"].value == pytest.approx(segments + inner + lumbosacral)
    assert inner != pytest.approx(0, abs=0.1)


def test_heights_of_boxes_are_those_they_were_made_of() -> None:
    found = taken(boxes())
    assert {found[f"Height L3 {side}"].value for side in ("anterior", "middle", "posterior")} == {HEIGHT}
    for side in ("anterior", "middle", "posterior", "(Dabbs)"):
        assert found[f"Disc height L5-S1 {side}"].value == pytest.approx(GAP)
    assert found["Disc height L2-L3 (Farfan)"].value == pytest.approx(2 * GAP / DEPTH)
    assert found["Disc height index L2-L3"].value == pytest.approx(GAP / HEIGHT)
    assert found["Lumbar length L1-S1"].value == pytest.approx(5 * (HEIGHT + GAP))
    assert found["Lumbar lordosis L1-S1"].value == found["Wedge angle L4"].value == found["Slip L4-L5"].value == 0


def test_a_body_that_is_turned_gives_its_segments_what_it_is_turned_by() -> None:
    found = taken(turned(boxes(), "L5", front_down=12.0))
    assert found["Segmental lordosis L4-L5"].value == pytest.approx(12.0)
    assert found["Lumbosacral angle"].value == pytest.approx(-12.0)
    assert found["Wedge angle L5"].value == pytest.approx(0.0)
    assert found["Lumbar lordosis L1-S1"].value == pytest.approx(0.0)


def test_a_turned_sacrum_has_that_slope() -> None:
    found = taken(turned(boxes(), "S1", front_down=40.0))
    assert found["Sacral slope"].value == pytest.approx(40.0)
    assert found["Lumbar lordosis L1-S1"].value == pytest.approx(40.0)


@pytest.mark.parametrize(
    ("share", "grade"),
    [
        (0.10, "I (to 25 %)"),
        (0.30, "II"),
        (0.60, "III"),
        (0.90, "IV"),
        (1.10, "V"),
        (-0.20, "no forward"),
        (0.05, "no "),
    ],
)
def test_a_slip_is_measured_along_the_endplate_below_and_graded_by_its_share(share: float, grade: str) -> None:
    points = boxes()
    forward = {name: (a + share * DEPTH, s) for name, (a, s) in points.items() if not name.startswith(("L5", "S1"))}
    found = taken(points | forward)
    assert found["Slip L4-L5"].value == pytest.approx(share * DEPTH)
    assert found["Slip L4-L5 of the endplate"].value == pytest.approx(100 * share)
    assert grade in found["Slip L4-L5 of the endplate"].grade


def test_a_slip_within_its_own_error_is_none() -> None:
    points = boxes()
    forward = {name: (a + 4.0, s) for name, (a, s) in points.items() if not name.startswith(("L5", "S1"))}
    sure, unsure = (taken(points | forward, radius)["Slip L4-L5 of the endplate"] for radius in (1.0, 6.0))
    assert "Meyerding I " in sure.grade
    assert "no forward slip" in unsure.grade


@pytest.mark.parametrize(
    ("front", "grade"), [(0.85, "0 "), (0.8, "1 "), (0.78, "1 "), (0.70, "2 "), (0.61, "2 "), (0.55, "3 ")]
)
def test_what_a_body_has_lost_in_front_is_told_with_genants_limits(front: float, grade: str) -> None:
    points = boxes()
    points["L2.inf.ant"] = (DEPTH, points["L2.sup.ant"][1] - front * HEIGHT)
    found = taken(points)["Height loss L2"]
    assert found.value == pytest.approx(100 * (1 - front))
    assert f"Genant's limits: {grade}" in found.grade


def test_the_interval_of_a_height_is_that_of_two_points() -> None:
    """Each of two points scatters by radius / sqrt(-2 ln 0.05) along the height; across it counts nothing."""
    sd = 3.0 / sqrt(-2 * log(0.05)) * sqrt(2)
    low, high = taken(boxes(), 3.0)["Disc height L1-L2 anterior"].interval95 or (0.0, 0.0)
    assert (low, high) == pytest.approx((GAP - 1.96 * sd, GAP + 1.96 * sd), abs=1e-4)
    assert taken(boxes())["Disc height L1-L2 anterior"].interval95 is None


def test_intervals_hold_the_truth_as_often_as_they_say(a_phantom_spine: Spine) -> None:
    rng, truth = np.random.default_rng(0), lying(a_phantom_spine)
    radius = 2.0
    exact, inside = taken(truth), []
    names = ("Lumbar lordosis L1-S1", "Sacral slope", "Disc height L4-L5 (Dabbs)", "Slip L3-L4", "Wedge angle L2")
    for _ in range(300):
        scattered = {name: tuple(rng.normal(at, radius / sqrt(-2 * log(0.05)))) for name, at in truth.items()}
        found = measure_endplates(LandmarkSet(()), corners_at(scattered, radius))
        for one in found:
            if one.name in names and one.interval95:
                inside.append(one.interval95[0] <= (exact[one.name].value or 0.0) <= one.interval95[1])
    assert len(inside) == 300 * len(names)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_what_cannot_be_relied_on_has_a_reason_and_no_number() -> None:
    marks = {mark.name: mark for mark in corners_at(boxes(), 2.0)}
    marks["S1.sup.ant"] = Landmark("S1.sup.ant", "out_of_view")
    marks["L2.inf.post"] = replace(marks["L2.inf.post"], confidence=0.4, needs_review=True)
    found = {one.name: one for one in measure_endplates(LandmarkSet(()), tuple(marks.values()))}
    assert found["Sacral slope"].value is found["Sacral slope"].interval95 is None
    assert found["Sacral slope"].reason == "S1.sup.ant is out of view"
    assert found["Slip L2-L3"].value is None
    assert "L2.inf.post is doubtful (confidence 0.40)" in found["Slip L2-L3"].reason
    assert found["Disc height L3-L4 middle"].value == pytest.approx(GAP)


def test_doubtful_levels_leave_only_what_a_person_has_confirmed() -> None:
    doubtful = LandmarkSet((), needs_review=True)
    assert all(one.value is None for one in measure_endplates(doubtful, corners_at(boxes())))
    confirmed = tuple(replace(mark, status="confirmed") for mark in corners_at(boxes()))
    assert all(one.value is not None for one in measure_endplates(doubtful, confirmed))


def test_the_endplates_of_a_collapsed_body_are_not_measured_by() -> None:
    points = boxes()
    for side, a in (("ant", DEPTH), ("post", 0.0)):
        points[f"L1.inf.{side}"] = (a, points[f"L1.sup.{side}"][1] - 0.5 * HEIGHT)
    found = taken(points)
    assert "L1 is collapsed" in found["Lumbar lordosis L1-S1"].reason
    assert "50 %" in found["Disc height index L1-L2"].reason
    assert found["Height L1 anterior"].value == pytest.approx(0.5 * HEIGHT)  # which is what tells of it
    assert found["Segmental lordosis L2-L3"].value is not None


@pytest.mark.parametrize("place", ["sup.post", "inf.ant", "all"])
def test_corners_that_lie_on_one_place_give_no_number_but_a_reason(place: str) -> None:
    """A reader may drop one corner on another: no angle of a line without length, and no crash."""
    points, on = boxes(), boxes()["L3.sup.ant"]
    for name in points:
        if name.startswith("L3.") and (place == "all" or name == f"L3.{place}"):
            points[name] = on
    found = taken(points, 2.0)
    known = [one for one in found.values() if one.value is not None]
    assert all(np.isfinite(one.value) and np.isfinite(one.interval95).all() for one in known)
    assert all(one.reason for one in found.values() if one.value is None)
    name = {"sup.post": "Segmental lordosis L3-L4", "inf.ant": "Segmental lordosis L2-L3", "all": "Wedge angle L3"}[
        place
    ]
    assert found[name].value is None
    assert found[name].reason == "its points lie on one place" or "collapsed" in found[name].reason


def test_centres_on_one_place_have_no_angle() -> None:
    marks = tuple(Landmark(name, "corrected", (0.0, 0.0, -18.0 * row)) for row, name in enumerate(LUMBAR11))
    on = replace(marks[3], position_ras_mm=marks[1].position_ras_mm)  # L2 on L1
    found = {one.name: one.value for one in measure(LandmarkSet((*marks[:3], on, *marks[4:])))}
    assert found["Centroid lordosis L1-L2 to L4-L5"] is None
    assert found["Segment angle L3"] == pytest.approx(0)


def test_every_measurement_says_what_it_is_and_fits_its_columns() -> None:
    for one in taken(boxes(), 2.0).values():
        assert one.definition.endswith(".")
        assert one.source
        assert len(one.row()) == len(COLUMNS)
        assert one.usual is None or one.usual.low < one.usual.high
        assert one.usual is None or one.usual.source


def test_corners_are_measured_whether_they_are_the_landmarks_or_beside_them() -> None:
    corners = corners_at(boxes(), 2.0)
    alone, beside = measure(LandmarkSet(corners)), measure(LandmarkSet((), corners=corners))
    assert alone == beside == measure_endplates(LandmarkSet(()), corners)
    kept = from_fields(Fields.of(as_json(LandmarkSet((), input="study", corners=corners)), "result"))
    assert measure(kept) == beside


def test_the_corner_of_a_phantom_lies_on_both_its_endplate_and_its_wall(a_phantom_spine: Spine) -> None:
    for vertebra in a_phantom_spine.vertebrae:
        if vertebra.name not in (*BODIES, "S1"):
            continue
        u, v = vertebra.local(*vertebra.corner_xy("sup", "ant"))
        assert v == pytest.approx(-float(vertebra.top(u)), abs=1e-6)
        assert u == pytest.approx(-float(vertebra.wall(v)), abs=1e-6)
        assert hypot(float(u), float(v)) > vertebra.half_height
