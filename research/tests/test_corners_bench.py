"""The figures of the corners' command, on corners that are off by what is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from research.bench.corners import enclosed_on, errors_text
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, name_at_level
from SpineLandmarksLib.phantom.phantom import Phantom


@pytest.fixture
def a_row(a_phantom: Phantom) -> Annotation:
    points = {mark.name: mark.pixel_xy for mark in a_phantom.landmarks.corners if mark.pixel_xy is not None}
    return Annotation(Path("a.png"), "a", points, (3.1, 3.1))


def test_points_and_measurements_are_off_by_what_they_were_moved(a_row: Annotation) -> None:
    """All up by one pixel of 3.1 mm, and L1's upper back corner is not found: no measurement changes."""
    moved = {name: (x, y - 1.0) for name, (x, y) in a_row.points_xy.items() if name != "L1.sup.post"}
    text = errors_text([a_row], [moved])
    assert "corners: 21 found, 1 missed; median 3.10, 95 % 3.10, worst 3.1 mm" in text
    assert "Sacral slope: off by 0.00 (median), 0.00 (95 %) of 1" in text
    assert "Lumbar lordosis" not in text


def test_centres_are_enclosed_where_all_four_corners_are_found(a_phantom: Phantom) -> None:
    class Known:
        def localize(self, stack: object) -> LandmarkSet:
            gone = (Landmark("L3.sup.ant", "out_of_view"),)
            kept = tuple(mark for mark in a_phantom.landmarks.corners if mark.name != "L3.sup.ant")
            return LandmarkSet(a_phantom.landmarks.landmarks, corners=(*kept, *gone))

    picture = Path(__file__).parents[2] / "docs" / "images" / "demo.png"
    counts = enclosed_on(Known(), picture, (1.0, 1.0), {})  # type: ignore[arg-type]
    assert counts == {"bodies": (4, 5), "discs": (4, 5), "other level": False}
    centres = {mark.name: mark.pixel_xy for mark in a_phantom.landmarks if mark.pixel_xy is not None}
    lower = {name: centres[other] for name in centres if (other := name_at_level(name, 1)) in centres}
    counts = enclosed_on(Known(), picture, (1.0, 1.0), lower)  # type: ignore[arg-type]
    assert counts["bodies"][0] == 0
    assert counts["other level"]
