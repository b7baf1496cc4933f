"""A landmark file of any kind we read, brought onto the image that is open; what does not fit is refused."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.csv_table import read_csv
from SpineLandmarksLib.formats.fcsv import read_fcsv
from SpineLandmarksLib.formats.json_result import read_json
from SpineLandmarksLib.formats.slicer_markups import read_markups
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Point

#: By ending; of two that fit, the first.
READERS = {".mrk.json": read_markups, ".json": read_json, ".csv": read_csv, ".fcsv": read_fcsv}


def import_landmarks(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: ImageFrame | None = None
) -> LandmarkSet:
    """Read a file by its ending, in the order of `schema`; names that it lacks are `not_visible`. RAS mm.

    With a frame, points outside the volume become `out_of_view`, unless they are most: then the file is another's.
    Raises FormatError: an unknown ending, a file that breaks its format, unknown names, pixels without millimetres,
    most points outside the volume.
    """
    name = os.fspath(path)
    reader = next((read for ending, read in READERS.items() if name.lower().endswith(ending)), None)
    if reader is None:
        raise FormatError(f"{name}: expected a file that ends in {', '.join(READERS)}; got another")
    landmarks = reader(path, schema)
    _require_millimetres(landmarks, name)
    return landmarks if frame is None else onto_frame(landmarks, frame, name)


def onto_frame(landmarks: LandmarkSet, frame: ImageFrame, name: str) -> LandmarkSet:
    """Landmarks in RAS mm on another image: points outside become `out_of_view`. FormatError when these are most."""
    _require_inside(landmarks, frame, name)
    return replace(landmarks, landmarks=tuple(_seen_in(frame, landmark) for landmark in landmarks))


def _require_millimetres(landmarks: LandmarkSet, name: str) -> None:
    if all(landmark.position_ras_mm is None for landmark in landmarks):
        only = "pixels only" if any(landmark.pixel_xy is not None for landmark in landmarks) else "no point at all"
        raise FormatError(f"{name}: expected points in patient millimetres; got {only}")


def _require_inside(landmarks: LandmarkSet, frame: ImageFrame, name: str) -> None:
    points = [landmark.position_ras_mm for landmark in landmarks if landmark.position_ras_mm is not None]
    outside = sum(not frame.contains(point) for point in points)
    if 2 * outside <= len(points):
        return
    flipped: list[Point] = [(-r, -a, s) for r, a, s in points]
    hint = "Is it the file of this study?"
    if 2 * sum(map(frame.contains, flipped)) > len(points):
        hint = "With R and A reversed most would lie inside: the file seems to mix up RAS and LPS"
    raise FormatError(f"{name}: expected points inside the volume; {outside} of {len(points)} lie outside. {hint}")


def _seen_in(frame: ImageFrame, landmark: Landmark) -> Landmark:
    if landmark.position_ras_mm is None or frame.contains(landmark.position_ras_mm):
        return landmark
    return Landmark(landmark.name, "out_of_view")
