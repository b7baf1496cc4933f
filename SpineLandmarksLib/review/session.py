"""The correction of one study: what the model said, what is said now, and every step between. Free of any interface.

    session = Session("study-7", predicted, author="A. Reader", frame=ImageFrame.of(stack))
    session.move("L3", (1.0, 20.5, -113.0))      -> a Correction, or None when nothing changed
    session.undo()

Each operation is one step of undo and one record of `events`, which only grows: an undo is a record too. An operation
that is refused raises LandmarkError with the next step to take and changes nothing. Positions are RAS mm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timezone

from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, Point, Status
from SpineLandmarksLib.review.correction import Change, Correction, What
from SpineLandmarksLib.review.doubt import UNREVIEWED, next_to_review, to_review
from SpineLandmarksLib.review.frame import ImageFrame
from SpineLandmarksLib.review.shift import shifted

Listener = Callable[[Correction], None]

#: A pause longer than this between two operations is not work on the study; this much of it is counted.
LONGEST_PAUSE_S = 120.0


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Session:
    """study: its key. original: what the model said, kept as it is; every name of the schema in it, head to foot.

    author: who corrects from now on. frame: of the image, to check positions by and to know pixels; None if unknown.
    clock: gives the time as aware UTC. events: of earlier work, which is taken up where it ended.
    """

    def __init__(
        self,
        study: str,
        original: LandmarkSet,
        author: str = "",
        frame: ImageFrame | None = None,
        clock: Callable[[], datetime] = utc_now,
        events: Iterable[Correction] = (),
    ) -> None:
        self.study = study
        self.original = original
        self.author = author
        self.frame = frame
        self._clock = clock
        self._landmarks = {landmark.name: landmark for landmark in original}
        self._events: list[Correction] = []
        self._done: list[Correction] = []
        self._undone: list[Correction] = []
        self._listeners: list[Listener] = []
        for event in events:
            self._accept(event)
        self._last = clock()

    # What is known

    @property
    def names(self) -> tuple[str, ...]:
        return self.original.names

    @property
    def current(self) -> LandmarkSet:
        """The landmarks as they are now; `bundle` is the model that spoke last."""
        models = [event.note for event in self._done if event.what == "relocalize" and event.note]
        return replace(
            self.original, landmarks=tuple(self._landmarks.values()), bundle=[self.original.bundle, *models][-1]
        )

    def __getitem__(self, name: str) -> Landmark:
        if name not in self._landmarks:
            raise LandmarkError(f"Expected one of {', '.join(self.names)}; got {name!r}")
        return self._landmarks[name]

    @property
    def events(self) -> tuple[Correction, ...]:
        return tuple(self._events)

    def given(self) -> dict[str, Point | None]:
        """What a person has said, for the chain solver to hold fixed: a position, or None for not visible."""
        return {m.name: m.position_ras_mm for m in self._landmarks.values() if m.status not in UNREVIEWED}

    def to_review(self) -> list[str]:
        """Names that no person has looked at, worst first."""
        return to_review(self._landmarks)

    def next_doubtful(self, after: str | None = None) -> str | None:
        """The worst landmark that needs review, or the next worst after `after`; None when all are reviewed."""
        if after is not None:
            self[after]
        return next_to_review(self._landmarks, {m.name: m for m in self.original}, after)

    # Operations

    def move(self, name: str, position_ras_mm: Sequence[float]) -> Correction | None:
        """Put a point elsewhere; it is then corrected."""
        if self[name].is_absent:
            raise LandmarkError(f"Expected a landmark with a point; {name} has none. Place it instead")
        return self._set_points("move", [self._at(name, position_ras_mm)])

    def place(self, name: str, position_ras_mm: Sequence[float]) -> Correction | None:
        """Give a point to a landmark that has none; it is then corrected."""
        if not self[name].is_absent:
            raise LandmarkError(f"Expected a landmark without a point; {name} has one. Move it instead")
        return self._set_points("place", [self._at(name, position_ras_mm)])

    def mark_not_visible(self, name: str) -> Correction | None:
        """State that the landmark cannot be seen on this image; its point is taken away."""
        self._require_unconfirmed([name])
        return self._set_points("mark_not_visible", [Landmark(name, "not_visible")])

    def confirm(self, name: str) -> Correction | None:
        if self[name].is_absent:
            raise LandmarkError(
                f"Expected a landmark with a point to confirm; {name} has none. Place it or mark it not visible"
            )
        return self._set_points("confirm", [replace(self[name], status="confirmed")])

    def confirm_all(self) -> Correction | None:
        """Confirm every landmark that has a point. Those without one still need a person's word."""
        present = [landmark for landmark in self._landmarks.values() if not landmark.is_absent]
        return self._set_points("confirm", [replace(landmark, status="confirmed") for landmark in present])

    def unconfirm(self, name: str) -> Correction | None:
        """Back to the status before it was confirmed."""
        if self[name].status != "confirmed":
            raise LandmarkError(f"Expected a confirmed landmark; {name} is {self[name].status}. Nothing to take back")
        return self._set_points("unconfirm", [replace(self[name], status=self._status_before_confirmation(name))])

    def shift_chain(self, levels: int, including_confirmed: bool = False) -> Correction | None:
        """Move all names `levels` towards the head (+1: the body called L2 is now L3) or the foot (-1); see `shift`."""
        if not including_confirmed:
            self._require_unconfirmed(self.names)
        way = f"{abs(levels)} towards the {'head' if levels > 0 else 'foot'}"
        return self._set_points("shift_chain", shifted(tuple(self._landmarks.values()), levels), way)

    def merge_relocalized(self, new: LandmarkSet) -> Correction | None:
        """Take a new prediction for every landmark that no person has spoken of."""
        self._require_same_names(new)
        free = [landmark for landmark in new if self[landmark.name].status in UNREVIEWED]
        return self._set_points("relocalize", free, new.bundle or "")

    def import_points(self, new: LandmarkSet, including_confirmed: bool = False) -> Correction | None:
        """Take all landmarks from a file that was read onto this image (`import_landmarks`), statuses included."""
        self._require_same_names(new)
        if not including_confirmed:
            self._require_unconfirmed(self.names)
        return self._set_points("import", [self._with_pixel(landmark) for landmark in new], new.input)

    def undo(self) -> Correction | None:
        """Take back the last step that is not taken back yet; None when there is none."""
        if not self._done:
            return None
        step = self._done[-1]
        return self._record("undo", tuple(change.reversed() for change in step.changes), step.what)

    def redo(self) -> Correction | None:
        """Do again what was taken back last; None when there is none, or something else was done since."""
        if not self._undone:
            return None
        return self._record("redo", self._undone[-1].changes, self._undone[-1].what)

    def can_undo(self) -> bool:
        return bool(self._done)

    def can_redo(self) -> bool:
        return bool(self._undone)

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(correction)` after each operation; the answer ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Inside

    def _set_points(self, what: What, landmarks: Iterable[Landmark], note: str = "") -> Correction | None:
        changes = [Change(self._landmarks[new.name], new, self.original[new.name]) for new in landmarks]
        changed = tuple(change for change in changes if change.before != change.after)
        return self._record(what, changed, note) if changed else None

    def _record(self, what: What, changes: tuple[Change, ...], note: str) -> Correction:
        now = self._clock()
        seconds = min(max((now - self._last).total_seconds(), 0.0), LONGEST_PAUSE_S)
        event = Correction(self.author, now, what, changes, seconds, note)
        self._accept(event)
        self._last = now
        for listener in tuple(self._listeners):
            listener(event)
        return event

    def _accept(self, event: Correction) -> None:
        self._landmarks.update({change.name: change.after for change in event.changes})
        self._events.append(event)
        if event.what == "undo":
            self._undone.append(self._done.pop())
        elif event.what == "redo":
            self._done.append(self._undone.pop())
        else:
            self._done.append(event)
            self._undone.clear()

    def _at(self, name: str, position_ras_mm: Sequence[float]) -> Landmark:
        self._require_unconfirmed([name])
        position = tuple(float(value) for value in position_ras_mm)
        if len(position) != 3 or not all(map(math.isfinite, position)):
            raise LandmarkError(f"Expected three finite numbers (R, A, S in mm) for {name}; got {position}")
        r, a, s = position
        if self.frame is not None and not self.frame.contains((r, a, s)):
            raise LandmarkError(
                f"Expected {name} inside the volume; got R {r:.1f}, A {a:.1f}, S {s:.1f} mm. "
                "Put it on the image, or mark it not visible"
            )
        return self._with_pixel(Landmark(name, "corrected", (r, a, s)))

    def _with_pixel(self, landmark: Landmark) -> Landmark:
        if self.frame is None or landmark.position_ras_mm is None:
            return landmark
        return replace(landmark, pixel_xy=self.frame.pixel_xy(landmark.position_ras_mm))

    def _status_before_confirmation(self, name: str) -> Status:
        changes = (change for event in reversed(self._events) for change in event.changes if change.name == name)
        return next((c.before.status for c in changes if c.before.status != "confirmed"), "corrected")

    def _require_unconfirmed(self, names: Sequence[str]) -> None:
        confirmed = [name for name in names if self[name].status == "confirmed"]
        if confirmed:
            verb = "is" if len(confirmed) == 1 else "are"
            raise LandmarkError(
                f"Expected landmarks that are not confirmed; {', '.join(confirmed)} {verb}. "
                "Take the confirmation back first, or say that confirmed ones may change"
            )

    def _require_same_names(self, new: LandmarkSet) -> None:
        if set(new.names) != set(self.names):
            raise LandmarkError(f"Expected the landmarks {', '.join(self.names)}; got {', '.join(new.names)}")
