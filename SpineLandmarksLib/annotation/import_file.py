"""A landmark file of any kind we read, brought onto the image that is open; what does not fit is refused."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import replace

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.plausibility import Expected, better_reading, doubt, known_positions, misplaced
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import AS_STATED, UNITS, Reading, read_landmarks
from SpineLandmarksLib.formats.dicom_sr_reading import frame_of_reference
from SpineLandmarksLib.formats.shared import System, filled
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, UNREVIEWED, Landmark, LandmarkSet

#: Nearer than this, in mm or pixels, two points are one that was rounded.
SAME_PLACE = 0.1


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
    before: LandmarkSet | None = None,
) -> LandmarkSet:
    """Read a file by its ending, in the order of `schema`, over what was there before. RAS mm.

    With a frame, points outside the volume become `out_of_view`, unless they are most. known: what is known of this
    spine, such as the model's points, to see by whether the file means what it says.
    Raises FormatError: an unknown ending, a file that breaks its format, unknown names, pixels without millimetres;
    MisreadError: positions that do not fit.
    """
    name = os.fspath(path)
    landmarks = read_landmarks(path, schema, reading)
    _require_millimetres(landmarks, name)
    _require_frame_of_reference(name, frame)
    if frame is None:
        return merged(landmarks, before, schema)
    course = known_positions(known) if known is not None else None
    require_plausible(landmarks, Expected(frame.contains, course), name, reading, schema)
    within, corners = (tuple(seen_in(frame, mark) for mark in marks) for marks in (landmarks, landmarks.corners))
    seen = replace(landmarks, landmarks=within, corners=corners)
    return merged(seen, before, schema)


def import_or_ask(
    path: str | os.PathLike[str],
    schema: Sequence[str],
    frame: ImageFrame | None,
    known: LandmarkSet | None,
    before: LandmarkSet | None,
    may_take: Callable[[str], bool],
) -> LandmarkSet | None:
    """`import_landmarks`; where another reading fits, `may_take` is asked with a text, and None is its no."""
    try:
        return import_landmarks(path, schema, frame, AS_STATED, known, before)
    except MisreadError as error:
        if error.reading is None:
            raise
        take = may_take(f"{error}.\n\nTake them so?")
        return import_landmarks(path, schema, frame, error.reading, known, before) if take else None


def merged(said: LandmarkSet, before: LandmarkSet | None, schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """What a file says over what was there before; with nothing before, names that it lacks become `not_visible`.

    What the file does not speak of stays. A point that it calls predicted, or says nothing of, and that lies where it
    lay, stays too; elsewhere a person has put it, and it is corrected. Only a file that names another model is taken
    at its word, for what no person has decided.
    """
    if before is None:
        return filled(said, schema)
    by_model = said.bundle is not None and said.bundle != before.bundle
    new, old = ({mark.name: mark for mark in landmarks} for landmarks in (said, before))
    marks = tuple(_over(new.get(name), old[name], by_model) for name in schema)
    corners = _corners_over(said.corners, before.corners, by_model)
    undecided = any(mark.status in UNREVIEWED for mark in marks)
    judged = said if by_model and said.needs_review is not None else before
    return replace(
        before,
        landmarks=marks,
        corners=corners,
        input=said.input,
        bundle=said.bundle or before.bundle,
        warnings=judged.warnings,
        needs_review=judged.needs_review if undecided else False,
    )


def _corners_over(said: Sequence[Landmark], before: Sequence[Landmark], by_model: bool) -> tuple[Landmark, ...]:
    """As the landmarks; corners of which nobody has spoken before are taken as they are."""
    new, old = ({mark.name: mark for mark in marks} for marks in (said, before))
    both = [name for name in CORNERS22 if name in new or name in old]
    return tuple(_over(new.get(name), old[name], by_model) if name in old else new[name] for name in both)


def _over(new: Landmark | None, old: Landmark, by_model: bool) -> Landmark:
    if new is None:
        return old
    if new.status not in UNREVIEWED:
        return new
    if by_model:
        return new if old.status in UNREVIEWED else old
    if _at_one_place(new, old):
        return old
    return (
        new if new.is_absent else Landmark(new.name, "corrected", new.position_ras_mm, new.pixel_xy, needs_review=False)
    )


def _at_one_place(new: Landmark, old: Landmark) -> bool:
    """Within what rounding in a spreadsheet moves a point by, in mm or else in pixels."""
    for one, two in ((new.position_ras_mm, old.position_ras_mm), (new.pixel_xy, old.pixel_xy)):
        if one is not None and two is not None:
            return math.dist(one, two) < SAME_PLACE
    return new.is_absent and old.is_absent


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
    points, name = known_positions(landmarks), os.fspath(path)
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


def _require_frame_of_reference(name: str, frame: ImageFrame | None) -> None:
    """Raise FormatError for a report whose points are in another frame of reference than the image."""
    wanted = frame.reference_uid if frame else ""
    found = frame_of_reference(name) if wanted and name.lower().endswith(".dcm") else ""
    if found and found != wanted:
        raise FormatError(f"{name}: expected points of the image's frame of reference {wanted}; got {found}")


def seen_in(frame: ImageFrame, landmark: Landmark) -> Landmark:
    """The landmark, which is `out_of_view` where its point lies outside of the image."""
    if landmark.position_ras_mm is None or frame.contains(landmark.position_ras_mm):
        return landmark
    return Landmark(landmark.name, "out_of_view")
