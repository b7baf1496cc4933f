"""Measurements against figures whose values follow from school geometry."""

from __future__ import annotations

import csv
from dataclasses import replace
from math import cos, radians, sin
from pathlib import Path

import pytest

from SpineLandmarksLib.annotation.measurements import COLUMNS, FROM_CENTRES, measure, write_measurements
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Point

RADIUS, STEP = 100.0, 6.0


def a_spine(points: dict[str, Point], *absent: str) -> LandmarkSet:
    return LandmarkSet(
        tuple(
            Landmark(name, "not_visible") if name in absent else Landmark(name, position_ras_mm=points[name])
            for name in LUMBAR11
        )
    )


def on_a_circle(step: float = STEP, lateral: float = 0.0) -> dict[str, Point]:
    """Centres on a circle of 100 mm whose middle is behind the spine, `step` degrees from one to the next."""
    angles = [radians(30 - step * n) for n in range(len(LUMBAR11))]
    return {
        name: (lateral * n, RADIUS * cos(angle), RADIUS * sin(angle))
        for n, (name, angle) in enumerate(zip(LUMBAR11, angles, strict=True))
    }


def upright() -> dict[str, Point]:
    """A straight spine, 15 mm from one centre to the next."""
    return {name: (0.0, 0.0, -15.0 * n) for n, name in enumerate(LUMBAR11)}


def values(landmarks: LandmarkSet) -> dict[str, float | None]:
    return {measurement.name: measurement.value for measurement in measure(landmarks)}


def test_neighbours_on_a_circle_are_a_chord_apart() -> None:
    found = values(a_spine(on_a_circle()))
    distances = {name: value for name, value in found.items() if name.startswith("Distance")}
    assert next(iter(distances)) == "Distance T12-L1 to L1"
    assert list(distances.values()) == pytest.approx([2 * RADIUS * sin(radians(STEP / 2))] * 10)


def test_discs_on_a_circle_are_a_chord_of_two_steps_apart() -> None:
    found = values(a_spine(on_a_circle()))
    heights = {name: value for name, value in found.items() if name.startswith("Disc-to-disc")}
    assert list(heights) == [
        f"Disc-to-disc height {pair}"
        for pair in ("T12-L1 to L1-L2", "L1-L2 to L2-L3", "L2-L3 to L3-L4", "L3-L4 to L4-L5", "L4-L5 to L5-S1")
    ]
    assert list(heights.values()) == pytest.approx([2 * RADIUS * sin(radians(STEP))] * 5)


def test_distances_are_in_space_also_to_the_side() -> None:
    points = upright() | {"L1": (8.0, 0.0, -15.0)}
    assert values(a_spine(points))["Distance T12-L1 to L1"] == pytest.approx(17.0)  # 8, 15, 17


@pytest.mark.parametrize("lateral", [0.0, 3.0])
def test_lordosis_on_a_circle_is_the_angle_between_its_chords_whatever_lies_to_the_side(lateral: float) -> None:
    # A chord is as steep as the circle in its middle. L1-L2: 2 steps from the first centre; L4-L5: 8; L5 to disc: 9.5.
    found = values(a_spine(on_a_circle(lateral=lateral)))
    assert found["Centroid lordosis L1-L2 to L4-L5"] == pytest.approx(6 * STEP)
    assert found["Centroid lordosis L1-L2 to L5-S1"] == pytest.approx(7.5 * STEP)


def test_segment_angles_on_a_circle_are_two_steps_each() -> None:
    found = values(a_spine(on_a_circle()))
    angles = {name: value for name, value in found.items() if name.startswith("Segment angle")}
    assert angles == pytest.approx({f"Segment angle L{n}": 2 * STEP for n in (2, 3, 4)})


def test_segment_angles_add_up_to_the_lordosis_of_the_bodies() -> None:
    bent = upright() | {"L2": (0, 4.0, -45.0), "L3": (0, 9.0, -75.0), "L4": (0, 7.0, -105.0), "L5": (0, -2.0, -135.0)}
    found = values(a_spine(bent))
    angles = [value for name, value in found.items() if name.startswith("Segment angle") and value is not None]
    assert sum(angles) == pytest.approx(found["Centroid lordosis L1-L2 to L4-L5"])


def test_a_spine_that_bends_the_other_way_has_negative_angles() -> None:
    mirrored = {name: (r, -a, s) for name, (r, a, s) in on_a_circle().items()}
    assert values(a_spine(mirrored))["Centroid lordosis L1-L2 to L4-L5"] == pytest.approx(-6 * STEP)


def test_a_body_that_slipped_forward_is_in_front_of_the_one_below_and_leaves_the_one_above_behind() -> None:
    slipped = upright() | {"L4": (0.0, 5.0, -105.0)}
    found = values(a_spine(slipped))
    offsets = {name: value for name, value in found.items() if name.startswith("Centre offset")}
    assert offsets == pytest.approx(
        {
            "Centre offset L1 on L2": 0.0,
            "Centre offset L2 on L3": 0.0,
            "Centre offset L3 on L4": -5.0,
            "Centre offset L4 on L5": 5.0,
        }
    )


def test_the_offset_is_across_the_axis_of_the_lower_body_however_it_is_tilted() -> None:
    # On a circle the axis is its tangent, and the next body is 1 - cos of two steps further from it than the radius.
    expected = -RADIUS * (1 - cos(radians(2 * STEP)))
    assert values(a_spine(on_a_circle()))["Centre offset L4 on L5"] == pytest.approx(expected)


def test_what_needs_a_missing_point_is_unknown_and_the_rest_is_not() -> None:
    full, without = values(a_spine(on_a_circle())), values(a_spine(on_a_circle(), "L5"))
    assert {name for name, value in without.items() if value is None} == {
        "Distance L4-L5 to L5",
        "Distance L5 to L5-S1",
        "Centroid lordosis L1-L2 to L4-L5",
        "Centroid lordosis L1-L2 to L5-S1",
        "Segment angle L4",
        "Centre offset L4 on L5",
    }
    assert {name: value for name, value in without.items() if value is not None}.items() <= full.items()


def test_a_schema_without_discs_has_what_bodies_can_say() -> None:
    bodies = LandmarkSet(tuple(Landmark(f"L{n}", position_ras_mm=(0.0, 0.0, -30.0 * n)) for n in range(1, 6)))
    found = values(bodies)
    assert found["Distance L1 to L2"] == pytest.approx(30)
    assert found["Centroid lordosis L1-L2 to L4-L5"] == pytest.approx(0)
    assert found["Centroid lordosis L1-L2 to L5-S1"] is None
    assert found["Centre offset L3 on L4"] is None
    assert not [name for name in found if name.startswith("Disc")]


def test_each_measurement_has_a_unit_a_definition_a_source_and_says_what_it_is_derived_from() -> None:
    for measurement in measure(a_spine(on_a_circle())):
        assert measurement.unit in ("mm", "deg")
        assert measurement.definition.endswith(FROM_CENTRES)
        assert measurement.source
    names = [measurement.name for measurement in measure(a_spine(on_a_circle()))]
    assert len(names) == len(set(names)) == 10 + 5 + 2 + 3 + 4


def test_the_table_has_a_row_for_each_and_an_empty_cell_for_what_is_unknown(tmp_path: Path) -> None:
    write_measurements(measure(a_spine(upright(), "L5")), tmp_path / "m.csv")
    with (tmp_path / "m.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert tuple(rows[0]) == COLUMNS
    cells = {row[0]: row[1:3] for row in rows[1:]}
    assert cells["Distance L1 to L1-L2"] == ["15.00", "mm"]
    assert cells["Segment angle L4"] == ["", "deg"]
    assert cells["Segment angle L2"] == ["0.00", "deg"]


def test_of_doubtful_levels_there_is_no_number_until_somebody_has_decided() -> None:
    doubtful = replace(a_spine(on_a_circle()), needs_review=True)
    doubtful = replace(doubtful, landmarks=tuple(replace(mark, status="predicted") for mark in doubtful))
    assert not any(value is not None for value in values(doubtful).values())
    assert {measurement.reason for measurement in measure(doubtful)} == {
        "the levels of this study are doubtful: confirm or correct its points first"
    }
    decided = replace(
        doubtful,
        landmarks=tuple(
            replace(mark, status="confirmed") if mark.name in ("L3", "L3-L4") else mark for mark in doubtful
        ),
    )
    assert [name for name, value in values(decided).items() if value is not None] == ["Distance L3 to L3-L4"]
    assert all(measurement.points == () for measurement in measure(decided))
