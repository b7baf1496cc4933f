"""What is drawn of endplates and of the angles between them: lines in RAS mm, each with the words beside it.

An endplate is the line from its front to its back corner; those of L1 and S1, between which lordosis is measured, are
drawn longer, as the arms of Cobb's angle are. Beside them stand the angles of the whole lumbar spine, where they are
measured; the sacral slope is that to a line along the patient's axial plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineLandmarksLib.annotation.endplates import corners_of, measure_endplates
from SpineLandmarksLib.landmarks import LandmarkSet, Point
from SpineLandmarksLib.quadrilaterals import ARM, COBB_ARMS, plates

#: The line at whose front end a measurement is written.
AXIAL = "axial"
WRITTEN = {"Lumbar lordosis L1-S1": "L1.sup", "Lumbosacral angle": "L5.inf", "Sacral slope": AXIAL}


@dataclass(frozen=True)
class EndplateLine:
    """name: of the endplate, or `AXIAL`. front, back: its ends. words: what is measured by it, empty for nothing."""

    name: str
    front: Point
    back: Point
    words: str = ""


def endplate_lines(landmarks: LandmarkSet) -> tuple[EndplateLine, ...]:
    """From the head down, the axial line last; none of an endplate with a corner that has no place in millimetres."""
    corners = corners_of(landmarks)
    at = {mark.name: np.array(mark.position_ras_mm) for mark in corners if mark.position_ras_mm is not None}
    measured = {one.name: one for one in measure_endplates(landmarks, corners)}
    known = {
        line: f"{name} {measured[name].words}" for name, line in WRITTEN.items() if measured[name].value is not None
    }
    ends = plates(at, COBB_ARMS)
    if AXIAL in known:
        back, length = at["S1.sup.post"], np.hypot(*(at["S1.sup.ant"] - at["S1.sup.post"])[1:])
        ends[AXIAL] = (back + np.array([0.0, (1 + ARM) * length, 0.0]), back)
    return tuple(
        EndplateLine(name, _point(front), _point(end), known.get(name, "")) for name, (front, end) in ends.items()
    )


def _point(values: np.ndarray) -> Point:
    r, a, s = (float(value) for value in values)
    return r, a, s
