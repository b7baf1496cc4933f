"""Distances and angles between the landmarks: by the corners of endplates (endplates.py), and what centres can say.

By centres of bodies and discs:

    lordosis      = angle from the line L1 -> L2 to a lower line, in the patient's sagittal plane; lordotic is positive
    segment angle = angle at one body between the lines from the body above and to the body below
    offset        = how far a body's centre lies in front of the axis of the body below it (its disc -> its disc)

The sagittal plane is that of the patient: R is left out, as on a lateral radiograph. The segment angles of L2, L3 and
L4 add up to the lordosis L1-L2 to L4-L5. What needs a landmark without a position is None.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.endplates import corners_of, doubt_of, measure_endplates
from SpineLandmarksLib.annotation.wording import lies_turned
from SpineLandmarksLib.formats.atomic import write_json_atomically, write_text_atomically
from SpineLandmarksLib.landmarks import UNREVIEWED, VERTEBRAE, LandmarkSet, kind_of
from SpineLandmarksLib.measurement import COLUMNS, Measurement

Vector = NDArray[np.float64]

FROM_CENTRES = "Derived from the centres of bodies and discs, not from endplates."
HERE = "this project"
OFFSET = "Centre offset"
CHEN = (
    "after Chen YL (1999), Vertebral centroid measurement of lumbar lordosis compared with the Cobb technique, "
    "Spine 24(17):1786-1790"
)
HARRISON = (
    "after Harrison DE et al. (2001), Radiographic analysis of lumbar lordosis: centroid, Cobb, TRALL, and Harrison "
    "posterior tangent methods, Spine 26(11):E235-E242"
)


class _Points:
    """Positions by name, nan where there is none, so that what is computed from them is nan too."""

    def __init__(self, landmarks: LandmarkSet) -> None:
        self.names = landmarks.names
        self.discs = [name for name in self.names if kind_of(name) == "-"]
        self.bodies = [name for name in self.names if name in VERTEBRAE]
        self._at = {m.name: np.array(m.position_ras_mm or (math.nan,) * 3) for m in landmarks}

    def step(self, start: str, end: str) -> Vector:
        """(3,) RAS mm from one landmark to another."""
        unknown = np.full(3, math.nan)
        return np.asarray(self._at.get(end, unknown) - self._at.get(start, unknown))


def measure(landmarks: LandmarkSet) -> tuple[Measurement, ...]:
    """All measurements: by the corners of endplates where they are known, then by centres.

    Each kind from the head down. Landmarks of neither kind have none.
    """
    corners = corners_of(landmarks)
    by_corners = measure_endplates(landmarks, corners) if corners else ()
    points = _Points(landmarks)
    kinds = (_distances, _disc_to_disc, _lordosis, _segment_angles, _offsets) if points.bodies else ()
    by_centres = (_unless_doubtful(measurement, landmarks) for kind in kinds for measurement in kind(points))
    every = (*by_corners, *by_centres)
    return tuple(map(_without_direction, every)) if lies_turned(landmarks.warnings) else every


def _unless_doubtful(measurement: Measurement, landmarks: LandmarkSet) -> Measurement:
    """Without its number where the levels are doubtful and nobody has decided on its points.

    The points go: to a report, those of a measurement are corners.
    """
    doubt = doubt_of(landmarks)
    is_decided = all(mark.status not in UNREVIEWED for mark in landmarks if mark.name in measurement.points)
    measurement = replace(measurement, points=())
    if not doubt or is_decided or measurement.value is None:
        return measurement
    return replace(measurement, value=None, reason=doubt)


def _without_direction(measurement: Measurement) -> Measurement:
    """Without its number where that needs to know which way is up and which is front."""
    if measurement.value is None or (measurement.unit != "deg" and not measurement.name.startswith(OFFSET)):
        return measurement
    reason = "the picture lies turned or mirrored: measure on one that is upright"
    return replace(measurement, value=None, interval95=None, grade="", reason=reason)


def write_measurements(measurements: Sequence[Measurement], path: str | os.PathLike[str]) -> None:
    """A comma-separated table of `COLUMNS`. Raises OutputError (nothing is changed)."""
    table = io.StringIO()
    csv.writer(table, lineterminator="\n").writerows([COLUMNS, *(each.row() for each in measurements)])
    write_text_atomically(path, table.getvalue())


def write_measurements_json(measurements: Sequence[Measurement], path: str | os.PathLike[str]) -> None:
    """{"measurements": [...]}, each as `Measurement.as_json` says. Raises OutputError (nothing is changed)."""
    content = {"measurements": [each.as_json() for each in measurements]}
    write_json_atomically(path, content)


def _distances(points: _Points) -> list[Measurement]:
    return [
        _measurement(
            f"Distance {one} to {other}",
            np.linalg.norm(points.step(one, other)),
            "mm",
            f"Straight distance in space between the centres of {one} and {other}.",
            HERE,
            (one, other),
        )
        for one, other in zip(points.names, points.names[1:], strict=False)
    ]


def _disc_to_disc(points: _Points) -> list[Measurement]:
    return [
        _measurement(
            f"Disc-to-disc height {above} to {below}",
            np.linalg.norm(points.step(above, below)),
            "mm",
            f"Straight distance in space between the centres of the discs {above} and {below}: the body "
            "between them and half of each disc.",
            HERE,
            (above, below),
        )
        for above, below in zip(points.discs, points.discs[1:], strict=False)
    ]


def _lordosis(points: _Points) -> list[Measurement]:
    upper = points.step("L1", "L2")
    return [
        _measurement(
            "Centroid lordosis L1-L2 to L4-L5",
            _turn(upper, points.step("L4", "L5")),
            "deg",
            "Angle in the sagittal plane between the line through the body centres of L1 and L2 and that "
            "through L4 and L5; positive is lordotic.",
            HARRISON,
            ("L1", "L2", "L4", "L5"),
        ),
        _measurement(
            "Centroid lordosis L1-L2 to L5-S1",
            _turn(upper, points.step("L5", "L5-S1")),
            "deg",
            "Angle in the sagittal plane between the line through the body centres of L1 and L2 and that "
            "through the body centre of L5 and the disc centre of L5-S1, which stands in for an endplate; "
            "positive is lordotic. The lower line is short: 1 mm turns it by about 3 degrees.",
            CHEN,
            ("L1", "L2", "L5", "L5-S1"),
        ),
    ]


def _segment_angles(points: _Points) -> list[Measurement]:
    triples = zip(points.bodies, points.bodies[1:], points.bodies[2:], strict=False)
    return [
        _measurement(
            f"Segment angle {body}",
            _turn(points.step(above, body), points.step(body, below)),
            "deg",
            f"Angle in the sagittal plane at the centre of {body} between the lines from the centre of "
            f"{above} and to that of {below}; positive is lordotic.",
            HARRISON,
            (above, body, below),
        )
        for above, body, below in triples
    ]


def _offsets(points: _Points) -> list[Measurement]:
    return [
        _measurement(
            f"{OFFSET} {upper} on {lower}",
            _in_front(points, upper, lower),
            "mm",
            f"How far the centre of {upper} lies in front of the line through the centre of {lower} along "
            f"the axis of {lower} (from the disc centre above it to that below it), in the sagittal plane; "
            "positive is anterior, as in anterolisthesis. A curved spine has an offset without any slip, so "
            "it is for comparing a level with itself over time.",
            HERE,
            (upper, lower),
        )
        for upper, lower in zip(points.bodies, points.bodies[1:], strict=False)
    ]


def _in_front(points: _Points, upper: str, lower: str) -> float:
    row = points.names.index(lower)
    neighbours = [*points.names[row - 1 : row], *points.names[row + 1 : row + 2]]
    if len(neighbours) != 2 or not set(neighbours) <= set(points.discs):
        return math.nan
    _, a, s = points.step(*neighbours)
    _, offset_a, offset_s = points.step(lower, upper)
    length = math.hypot(a, s)  # the axis points down, so its front is (-s, a)
    return float((offset_s * a - offset_a * s) / length) if length else math.nan


def _turn(upper: Vector, lower: Vector) -> float:
    """Degrees by which a line that runs down turns backwards, in the plane of A and S; nan for a line of no length."""
    (_, a, s), (_, next_a, next_s) = upper, lower
    if not (math.hypot(a, s) and math.hypot(next_a, next_s)):
        return math.nan
    return math.degrees(math.atan2(s * next_a - a * next_s, a * next_a + s * next_s))


def _measurement(
    name: str, value: float | np.floating, unit: str, definition: str, source: str, points: tuple[str, ...]
) -> Measurement:
    known = float(value) if math.isfinite(value) else None
    return Measurement(name, known, unit, f"{definition} {FROM_CENTRES}", source, points=points)
