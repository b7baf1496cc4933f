"""The correction of one study: what the model said, what is said now, and every step between. Free of any interface.

    session = Session("study-7", predicted, author="A. Reader", frame=ImageFrame.of(stack))
    session.move("L3", (1.0, 20.5, -113.0))      -> a Correction, or None when nothing changed
    session.undo()

Each operation is one step of undo and one record of `events`, which only grows: an undo is a record too. An operation
that is refused raises LandmarkError with the next step to take and changes nothing. Positions are RAS mm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, Point
from SpineLandmarksLib.review.correction import Correction
from SpineLandmarksLib.review.doubt import UNREVIEWED, next_to_review
from SpineLandmarksLib.review.recording import Recording
from SpineLandmarksLib.review.shift import shifted


class Session(Recording):
    """The operations; what is known, undo, listeners and saving are in `Recording`, as are the arguments."""

    def given(self) -> dict[str, Point | None]:
        """What a person has said, for the chain solver to hold fixed: a position, or None for not visible.

        A point on an image without millimetres cannot be given, and is left out.
        """
        said = [landmark for landmark in self._journal.landmarks.values() if landmark.status not in UNREVIEWED]
        return {m.name: m.position_ras_mm for m in said if m.is_absent or m.position_ras_mm is not None}

    def next_doubtful(self, after: str | None = None) -> str | None:
        """The worst landmark that needs review, or the next worst after `after`; None when all are reviewed."""
        if after is not None:
            self[after]
        return next_to_review(self._journal.landmarks, {m.name: m for m in self.original}, after)

    def move(self, name: str, position_ras_mm: Sequence[float]) -> Correction | None:
        """Put a point elsewhere; it is then corrected."""
        if self[name].is_absent:
            raise LandmarkError(f"Expected a landmark with a point; {name} has none. Place it instead")
        return self._change("move", [self._at(name, position_ras_mm)])

    def place(self, name: str, position_ras_mm: Sequence[float]) -> Correction | None:
        """Give a point to a landmark that has none; it is then corrected."""
        if not self[name].is_absent:
            raise LandmarkError(f"Expected a landmark without a point; {name} has one. Move it instead")
        return self._change("place", [self._at(name, position_ras_mm)])

    def mark_not_visible(self, name: str) -> Correction | None:
        """State that the landmark cannot be seen on this image; its point is taken away."""
        self._require_unconfirmed([name])
        return self._change("mark_not_visible", [Landmark(name, "not_visible", needs_review=False)])

    def confirm(self, name: str) -> Correction | None:
        if self[name].is_absent:
            raise LandmarkError(
                f"Expected a landmark with a point to confirm; {name} has none. Place it or mark it not visible"
            )
        return self._change("confirm", [_confirmed(self[name])])

    def confirm_all(self) -> Correction | None:
        """Confirm every landmark that has a point. Those without one still need a person's word."""
        present = [landmark for landmark in self._journal.landmarks.values() if not landmark.is_absent]
        return self._change("confirm", [_confirmed(landmark) for landmark in present])

    def unconfirm(self, name: str) -> Correction | None:
        """Back to the status before it was confirmed."""
        if self[name].status != "confirmed":
            raise LandmarkError(f"Expected a confirmed landmark; {name} is {self[name].status}. Nothing to take back")
        before = self._journal.before_confirmation(name)
        return self._change("unconfirm", [replace(self[name], status=before.status, needs_review=before.needs_review)])

    def shift_chain(self, levels: int, including_confirmed: bool = False) -> Correction | None:
        """Move all names `levels` towards the head (+1: the body called L2 is now L3) or the foot (-1); see `shift`."""
        if levels == 0:
            raise LandmarkError("Expected a shift by 1 or more levels towards the head (+) or the foot (-); got 0")
        if not including_confirmed:
            self._require_unconfirmed(self.names)
        way = f"{abs(levels)} towards the {'head' if levels > 0 else 'foot'}"
        return self._change("shift_chain", shifted(tuple(self._journal.landmarks.values()), levels), way)

    def merge_relocalized(self, new: LandmarkSet, including_reviewed: bool = False) -> Correction | None:
        """Take a new prediction for every landmark that no person has spoken of, or to begin afresh for all."""
        self._require_same_names(new)
        free = [landmark for landmark in new if including_reviewed or self[landmark.name].status in UNREVIEWED]
        return self._change("relocalize", free, new.bundle or "")

    def import_points(self, new: LandmarkSet, including_confirmed: bool = False) -> Correction | None:
        """Take all landmarks from a file that was read onto this image (`import_landmarks`), statuses included."""
        self._require_same_names(new)
        if not including_confirmed:
            self._require_unconfirmed(self.names)
        return self._change("import", [self._with_pixel(landmark) for landmark in new], Path(new.input).name)

    # Inside

    def _at(self, name: str, position_ras_mm: Sequence[float]) -> Landmark:
        self._require_unconfirmed([name])
        r, a, s = _finite_point(name, position_ras_mm)
        if self.frame is not None and not self.frame.contains((r, a, s)):
            raise LandmarkError(
                f"Expected {name} inside the volume; got R {r:.1f}, A {a:.1f}, S {s:.1f} mm. "
                "Put it on the image, or mark it not visible"
            )
        return self._with_pixel(Landmark(name, "corrected", (r, a, s), needs_review=False))

    def _with_pixel(self, landmark: Landmark) -> Landmark:
        if self.frame is None or landmark.position_ras_mm is None:
            return landmark
        return replace(landmark, pixel_xy=self.frame.pixel_xy(landmark.position_ras_mm))

    def _require_unconfirmed(self, names: Sequence[str]) -> None:
        confirmed = [name for name in names if self[name].status == "confirmed"]
        if confirmed:
            verb = "is" if len(confirmed) == 1 else "are"
            raise LandmarkError(
                f"Expected landmarks that are not confirmed; {', '.join(confirmed)} {verb}. "
                "Take the confirmation back first"
            )

    def _require_same_names(self, new: LandmarkSet) -> None:
        if set(new.names) != set(self.names):
            raise LandmarkError(f"Expected the landmarks {', '.join(self.names)}; got {', '.join(new.names)}")


def _finite_point(name: str, position_ras_mm: Sequence[float]) -> Point:
    try:
        r, a, s = (float(value) for value in position_ras_mm)
    except (TypeError, ValueError):
        r = a = s = math.nan
    if not all(map(math.isfinite, (r, a, s))):
        raise LandmarkError(f"Expected three finite numbers (R, A, S in mm) for {name}; got {position_ras_mm}")
    return r, a, s


def _confirmed(landmark: Landmark) -> Landmark:
    return replace(landmark, status="confirmed", needs_review=False)
