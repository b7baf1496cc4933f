"""A landmark file of any kind we read, brought onto the image that is open; what does not fit is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.plausibility import Expected, better_reading, doubt, misplaced, points_of
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import AS_STATED, UNITS, Reading, read_landmarks
from SpineLandmarksLib.formats.shared import System, filled
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet


class MisreadError(FormatError):
    """The positions of a file do not fit the image as they are stated. reading: that fits; None where none does."""

    def __init__(self, text: str, reading: Reading | None = None) -> None:
        super().__init__(text)
        self.reading = reading


def import_landmarks(
    path: str | os.PathLike[str],
    schema: Sequence[str] = LUMBAR11,
    frame: ImageFrame | None = None,
    reading: Reading = AS_STATED,
    known: LandmarkSet | None = None,
) -> LandmarkSet:
    """Read a file by its ending, in the order of `schema`; names that it lacks are `not_visible`. RAS mm.

    With a frame, points outside the volume become `out_of_view`, unless they are most. known: what is known of this
    spine, such as the model's points, to see by whether the file means what it says.
    Raises FormatError: an unknown ending, a file that breaks its format, unknown names, pixels without millimetres;
    MisreadError: positions that do not fit.
    """
    name = os.fspath(path)
    landmarks = read_landmarks(path, schema, reading)
    _require_millimetres(landmarks, name)
    if frame is None:
        return filled(landmarks, schema)
    course = points_of(known) if known is not None else None
    require_plausible(landmarks, Expected(frame.contains, course), name, reading, schema)
    landmarks = filled(landmarks, schema)
    return replace(landmarks, landmarks=tuple(_seen_in(frame, landmark) for landmark in landmarks))


def import_or_ask(
    path: str | os.PathLike[str],
    schema: Sequence[str],
    frame: ImageFrame | None,
    known: LandmarkSet | None,
    may_take: Callable[[str], bool],
) -> LandmarkSet | None:
    """`import_landmarks`; where another reading fits, `may_take` is asked with a text, and None is its no."""
    try:
        return import_landmarks(path, schema, frame, known=known)
    except MisreadError as error:
        if error.reading is None:
            raise
        take = may_take(f"{error}.\n\nTake them so?")
        return import_landmarks(path, schema, frame, error.reading, known) if take else None


def require_plausible(
    landmarks: LandmarkSet,
    expected: Expected,
    path: str | os.PathLike[str],
    reading: Reading = AS_STATED,
    schema: Sequence[str] = LUMBAR11,
) -> None:
    """Raise MisreadError where the positions that were read from `path` cannot lie there, or where another frame or
    unit fits far better and nobody has asked for this one.
    """
    points, name = points_of(landmarks), os.fspath(path)
    if not points:
        return
    reason = doubt(points, expected)
    if reason is None and reading.frame is not None:
        return
    unit = UNITS[reading.unit]
    better = better_reading(points, expected, [one / unit for one in UNITS.values() if one != unit])
    if better is None:
        if reason is not None:
            raise MisreadError(f"{name}: expected {reason}. Is it the file of this study?")
        return
    stated = reading.frame or _stated_frame(name, schema)
    asked: System = ("LPS" if stated == "RAS" else "RAS") if better.mirrored else stated
    fits = Reading(asked, next(one for one, mm in UNITS.items() if abs(mm - unit * better.factor) < 1e-9 * mm))
    options = " ".join(_options(fits, Reading(stated, reading.unit)))
    raise MisreadError(
        f"{name}: expected {reason or misplaced(points, expected)}. Read as {asked} in "
        f"{fits.unit} they fit, which the file does not say: look which is right, and take them with {options}",
        fits,
    )


def _stated_frame(name: str, schema: Sequence[str]) -> System:
    as_ras = read_landmarks(name, schema, Reading("RAS"))
    return "RAS" if as_ras == read_landmarks(name, schema) else "LPS"


def _options(fits: Reading, stated: Reading) -> list[str]:
    frame = [f"--frame {str(fits.frame).lower()}"] if fits.frame != stated.frame else []
    return frame + ([f"--unit {fits.unit}"] if fits.unit != stated.unit else [])


def _require_millimetres(landmarks: LandmarkSet, name: str) -> None:
    if all(landmark.position_ras_mm is None for landmark in landmarks):
        only = "pixels only" if any(landmark.pixel_xy is not None for landmark in landmarks) else "no point at all"
        raise FormatError(f"{name}: expected points in patient millimetres; got {only}")


def _seen_in(frame: ImageFrame, landmark: Landmark) -> Landmark:
    if landmark.position_ras_mm is None or frame.contains(landmark.position_ras_mm):
        return landmark
    return Landmark(landmark.name, "out_of_view")
