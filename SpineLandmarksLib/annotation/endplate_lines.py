"""What is drawn of endplates and of the angles between them: lines in RAS mm, each with the words beside it.

An endplate is the line from its front to its back corner; those of L1 and S1, between which lordosis is measured, are
drawn longer, as the arms of Cobb's angle are. At their ends stand the angles of the whole lumbar spine, where they are
measured; the sacral slope is that to a line along the patient's axial plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineLandmarksLib.annotation.endplates import corners_of, measure_endplates
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.geometry import ras_from_slice
from SpineLandmarksLib.landmarks import LandmarkSet, Point
from SpineLandmarksLib.quadrilaterals import ARM, COBB_ARMS, plates

#: The line at whose end a measurement is written, and its name there.
AXIAL = "axial"
WRITTEN = {
    "Lumbar lordosis L1-S1": ("L1.sup", "Lordosis"),
    "Lumbosacral angle": ("L5.inf", "Lumbosacral"),
    "Sacral slope": (AXIAL, "Sacral slope"),
}


@dataclass(frozen=True)
class EndplateLine:
    """name: of the endplate, whose line runs to the back, or `AXIAL`, which runs to the front. words: that stand at its
    end, of what is measured by it; empty for nothing.
    """

    name: str
    start: Point
    end: Point
    words: str = ""


def endplate_lines(
    landmarks: LandmarkSet, frame: ImageFrame | None = None, index: int | None = None
) -> tuple[EndplateLine, ...]:
    """From the head down, the axial line last; none of an endplate with a corner that has no place in millimetres.

    frame: of the image, for all lines to lie on one slice of it. index: which; None for that of the landmarks.
    """
    corners = corners_of(landmarks)
    at = {mark.name: np.array(mark.position_ras_mm) for mark in corners if mark.position_ras_mm is not None}
    on = landmarks.slice_index if index is None else index
    if frame is not None and on is not None:
        ijk = {name: frame.ijk(place) for name, place in at.items()}
        at = {name: ras_from_slice(frame.ras_from_ijk, on, (i, j)) for name, (i, j, _) in ijk.items()}
    measured = {one.name: one for one in measure_endplates(landmarks, corners)}
    values = {name: measured[name].value for name in WRITTEN}
    known = {
        line: f"{short} {values[name]:.1f}°" for name, (line, short) in WRITTEN.items() if values[name] is not None
    }
    ends = plates(at, COBB_ARMS)
    if AXIAL in known:
        back, length = at["S1.sup.post"], np.hypot(*(at["S1.sup.ant"] - at["S1.sup.post"])[1:])
        ends[AXIAL] = (back, back + np.array([0.0, (1 + ARM) * length, 0.0]))
    return tuple(
        EndplateLine(name, _point(start), _point(end), known.get(name, "")) for name, (start, end) in ends.items()
    )


def _point(values: np.ndarray) -> Point:
    r, a, s = (float(value) for value in values)
    return r, a, s
