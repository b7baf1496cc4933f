"""The correction of one study: what the model said, what is said now, and every step between. Free of any interface.

    session = Session("study-7", predicted, author="A. Reader", frame=ImageFrame.of(stack))
    session.move("L3", (1.0, 20.5, -113.0))      -> a Correction, or None when nothing changed
    session.undo()

Each operation is one step of undo and one record of `events`, which only grows: an undo is a record too. An operation
that is refused raises LandmarkError with the next step to take and changes nothing. Positions are RAS mm.

Corners of endplates that a second model has found are points like the others, by their names: one journal holds both.
They go along with names that are moved and with a prediction that is taken; no sign-off waits for them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from SpineLandmarksLib.annotation.correction import Change, Correction, Journal, What
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.review_order import next_to_review, to_review
from SpineLandmarksLib.annotation.revision import ImageReference, Revision, require_study_key, utc_now
from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import UNREVIEWED, Landmark, LandmarkSet, Point, name_at_level, names_per_level

#: A pause longer than this between two operations is no work on the study, and nothing of it is counted.
LONGEST_PAUSE_S = 120.0

Listener = Callable[[Correction], None]


class Session:
    """What is known of a study's landmarks, and what can be done to them.

    study: its key. original: what the model said, kept as it is; every name of the schema in it, head to foot, and the
    corners of endplates where a model has looked for them.

    author: who corrects from now on. frame: of the image, to check positions by and to know pixels; None if unknown.
    clock: gives the time as aware UTC. events: of earlier work, which is taken up where it ended.
    parent: id of the revision that the work goes on from; saved_events: how many events a revision holds already.
    seal: who has signed it off; nothing can be changed until it is taken away.
    """

    seal = ""

    def __init__(
        self,
        study: str,
        original: LandmarkSet,
        author: str = "",
        frame: ImageFrame | None = None,
        clock: Callable[[], datetime] = utc_now,
        events: Iterable[Correction] = (),
        parent: str | None = None,
        saved_events: int = 0,
    ) -> None:
        self.study = require_study_key(study)
        self.original = original
        self.author = author
        self.frame = frame
        self.parent = parent
        self.saved_events = saved_events
        self._clock = clock
        self._journal = Journal(original, events)
        self._listeners: list[Listener] = []
        self._offered: dict[str, int] = {}
        self._last = clock()

    # What is known

    @property
    def names(self) -> tuple[str, ...]:
        """Of the schema, without corners beside it."""
        return self.original.names

    @property
    def _landmarks(self) -> tuple[Landmark, ...]:
        return tuple(self._journal.landmarks[name] for name in self.names)

    @property
    def corners(self) -> tuple[Landmark, ...]:
        """Of endplates, beside the landmarks of the schema; none where nobody has spoken of any."""
        marks = tuple(mark for name, mark in self._journal.landmarks.items() if name not in self.names)
        return marks if any(mark != Landmark(mark.name, "out_of_view") for mark in marks) else ()

    @property
    def points(self) -> tuple[Landmark, ...]:
        """All that can be corrected: the landmarks, then the corners."""
        return (*self._landmarks, *self.corners)

    def alike(self, name: str | None) -> tuple[Landmark, ...]:
        """The corners where `name` is one of them, else the landmarks of the schema."""
        corners = self.corners
        return corners if any(mark.name == name for mark in corners) else self._landmarks

    @property
    def current(self) -> LandmarkSet:
        """The landmarks as they are now; `bundle` is the model that spoke last."""
        return replace(
            self.original,
            landmarks=self._landmarks,
            bundle=self._journal.model or self.original.bundle,
            needs_review=self.original.needs_review if self.to_review() else False,
            numberings=self.original.numberings if self._landmarks == self.original.landmarks else (),
            corners=self.corners,
        )

    def __getitem__(self, name: str) -> Landmark:
        if name not in self._journal.landmarks:
            raise LandmarkError(f"Expected one of {', '.join(self.names)}; got {name!r}")
        return self._journal.landmarks[name]

    def to_review(self) -> list[str]:
        """Names of the schema that no person has looked at, worst first."""
        return to_review({mark.name: mark for mark in self._landmarks})

    @property
    def events(self) -> tuple[Correction, ...]:
        return tuple(self._journal.events)

    @property
    def comment(self) -> str:
        return self._journal.comment

    @property
    def is_reviewed(self) -> bool:
        """Whether a person has spoken of any landmark, now or in the work that this goes on from."""
        return any(landmark.status not in UNREVIEWED for landmark in self.points)

    @property
    def is_worked_on(self) -> bool:
        """Whether there is anything to lose: a step, a revision that it follows, a word of a person."""
        return bool(self.events or self.parent or self.is_reviewed)

    def given(self) -> dict[str, Point | None]:
        """What a person has said, for the chain solver to hold fixed: a position, or None for not visible.

        A point on an image without millimetres cannot be given, and is left out.
        """
        said = [landmark for landmark in self._landmarks if landmark.status not in UNREVIEWED]
        return {m.name: m.position_ras_mm for m in said if m.is_absent or m.position_ras_mm is not None}

    def next_doubtful(self, after: str | None = None) -> str | None:
        """The worst landmark that needs review, or the next worst after `after`; None when all are reviewed.

        When those of the schema are, it goes on with the corners that are doubtful.
        """
        if after is not None:
            self[after]
        doubtful = [mark for mark in self.corners if mark.needs_review or mark.name == after]
        known = {mark.name: mark for mark in (self._landmarks if self.to_review() else doubtful)}
        return next_to_review(known, {m.name: m for m in self.original.points}, after if after in known else None)

    # Operations: each is one step; None when it changes nothing

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

    def mark_rest_not_visible(self, like: str | None = None) -> Correction | None:
        """State it of all that the model has not found either. like: as `alike` takes it."""
        rest = [mark.name for mark in self.alike(like) if mark.status == "out_of_view"]
        return self._change("mark_not_visible", [Landmark(name, "not_visible", needs_review=False) for name in rest])

    def confirm(self, name: str) -> Correction | None:
        if self[name].is_absent:
            raise LandmarkError(
                f"Expected a landmark with a point to confirm; {name} has none. Place it or mark it not visible"
            )
        return self._change("confirm", [_confirmed(self[name])])

    def confirm_all(self, like: str | None = None) -> Correction | None:
        """Confirm every landmark that has a point, or every corner. Those without one still need a person's word.

        like: as `alike` takes it.
        """
        present = [landmark for landmark in self.alike(like) if not landmark.is_absent]
        return self._change("confirm", [_confirmed(landmark) for landmark in present])

    def unconfirm(self, name: str) -> Correction | None:
        """Back to the status before it was confirmed."""
        if self[name].status != "confirmed":
            raise LandmarkError(f"Expected a confirmed landmark; {name} is {self[name].status}. Nothing to take back")
        before = self._journal.before_confirmation(name)
        return self._change("unconfirm", [replace(self[name], status=before.status, needs_review=before.needs_review)])

    def shift_chain(self, levels: int, including_confirmed: bool = False) -> Correction | None:
        """Move all names `levels` towards the head (+1: the body called L2 is now L3) or the foot (-1)."""
        if levels == 0:
            raise LandmarkError("Expected a shift by 1 or more levels towards the head (+) or the foot (-); got 0")
        if not including_confirmed:
            self._require_unconfirmed([mark.name for mark in self.points])
        way = f"{abs(levels)} towards the {'head' if levels > 0 else 'foot'}"
        moved = (*shift_names(self._landmarks, levels), *_shifted(self.corners, levels, _followed))
        return self._change("shift_chain", moved, way)

    def merge_relocalized(
        self, new: LandmarkSet, including_reviewed: bool = False, since: LandmarkSet | None = None
    ) -> Correction | None:
        """Take a new prediction for every landmark that no person has spoken of, or to begin afresh for all.

        since: as they were when the model was asked; what was changed from then on stays.
        """
        self._require_same_names(new)
        asked = None if since is None else {mark.name: mark for mark in since.points}
        now = [self._journal.known(mark.name) for mark in new.points]
        still = [mark for mark in now if asked is None or mark == asked.get(mark.name, mark)]
        names = {mark.name for mark in still if including_reviewed or mark.status in UNREVIEWED}
        # the doubt about the new picture as a whole would be lost: a session keeps that of its first result
        free = [replace(mark, needs_review=new.asks_for_review(mark)) for mark in new.points if mark.name in names]
        return self._change("relocalize", free, new.bundle or "")

    def import_points(self, new: LandmarkSet, including_confirmed: bool = False) -> Correction | None:
        """Take all landmarks from a file that was read onto this image (`import_landmarks`), statuses included."""
        self._require_same_names(new)
        if not including_confirmed:
            self._require_unconfirmed([mark.name for mark in self.points])
        moved = [mark for mark in new.points if mark != self._journal.known(mark.name)]
        return self._change("import", map(self._with_pixel, moved), Path(new.input).name)

    def set_comment(self, text: str) -> Correction | None:
        """A remark on the study, recorded like the rest but no step of undo."""
        return self._record("comment", (), text) if text != self.comment else None

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

    def _change(self, what: What, landmarks: Iterable[Landmark], note: str = "") -> Correction | None:
        """Make the landmarks of these names be these, as one step; None when they are so already."""
        first = {mark.name: mark for mark in self.original.points}
        changes = [
            Change(self._journal.known(new.name), new, first.get(new.name, Landmark(new.name, "out_of_view")))
            for new in landmarks
        ]
        changed = tuple(change for change in changes if change.before != change.after)
        return self._record(what, changed, note) if changed else None

    def require_unsealed(self) -> None:
        if self.seal:
            raise LandmarkError(
                f"Expected a study that is open; {self.seal} has signed {self.study} off. Reopen it first"
            )

    def _record(self, what: What, changes: tuple[Change, ...], note: str) -> Correction:
        self.require_unsealed()
        now = self._clock()
        pause = (now - self._last).total_seconds()
        seconds = pause if 0 <= pause <= LONGEST_PAUSE_S else 0.0
        event = Correction(self.author, now, what, changes, seconds, note)
        self._journal.accept(event)
        self._last = now
        self._tell(event)
        return event

    # Undo and redo

    def undo(self) -> Correction | None:
        """Take back the last step that is not taken back yet; None when there is none."""
        if not self.can_undo():
            return None
        step = self._journal.done[-1]
        return self._record("undo", tuple(change.reversed() for change in step.changes), step.what)

    def redo(self) -> Correction | None:
        """Do again what was taken back last; None when there is none, or something else was done since."""
        if not self.can_redo():
            return None
        step = self._journal.undone[-1]
        return self._record("redo", step.changes, step.what)

    def can_undo(self) -> bool:
        return bool(self._journal.done)

    def can_redo(self) -> bool:
        return bool(self._journal.undone)

    # Listeners

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(correction)` after each operation; the answer ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def _tell(self, event: Correction) -> None:
        """Call every listener, also after one that fails: a table that cannot be drawn must not stop the autosave."""
        errors: list[Exception] = []
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except Exception as error:
                errors.append(error)
        if errors:
            raise errors[0]

    # Saving

    @property
    def is_saved(self) -> bool:
        """Whether a revision holds everything that was done."""
        return self.saved_events == len(self.events)

    def revision(self, image: ImageReference, after: Revision | None = None) -> Revision:
        """The current state for a store, with the time spent since the last one. Raises LandmarkError without author.

        after: the one that it follows, where that one is still on its way to the store. The session counts as saved
        once `mark_saved` is told that a store has it.
        """
        parent, begun = self.parent, self.saved_events
        if after is not None:
            parent, begun = after.id, self._offered.get(after.id, begun)
        seconds = sum(event.seconds for event in self.events[begun:])
        revision = Revision(self.study, self.author, self._clock(), self.current, image, parent, seconds, self.comment)
        self._offered[revision.id] = len(self.events)
        return revision

    def mark_saved(self, revision: Revision) -> None:
        """A store has taken a revision of this session; the next one follows from it. What was done since is unsaved.

        Raises LandmarkError for a revision that this session did not make.
        """
        if revision.id not in self._offered:
            raise LandmarkError(f"Expected a revision of this session; got {revision.id} of {revision.study}")
        self.saved_events = self._offered.pop(revision.id)
        self.parent = revision.id


def moved_session(session: Session, frame: ImageFrame | None, moved: Callable[[Point], Point]) -> Session:
    """The same work on an image that was moved: every position of the history goes along. Nobody listens to it yet."""

    def put(mark: Landmark) -> Landmark:
        return mark if mark.position_ras_mm is None else replace(mark, position_ras_mm=moved(mark.position_ras_mm))

    def put_all(event: Correction) -> Correction:
        changes = (Change(put(change.before), put(change.after), put(change.original)) for change in event.changes)
        return replace(event, changes=tuple(changes))

    landmarks, corners = (tuple(map(put, marks)) for marks in (session.original.landmarks, session.original.corners))
    original = replace(session.original, landmarks=landmarks, corners=corners)
    events = [put_all(event) for event in session.events]
    return Session(
        session.study, original, session.author, frame, session._clock, events, session.parent, session.saved_events
    )


def shift_names(landmarks: Sequence[Landmark], levels: int) -> tuple[Landmark, ...]:
    """Landmarks with every name moved `levels` towards the head (+) or the foot (-).

    The commonest fault of a prediction is a chain that is right everywhere and one level off. +1: the body that was
    called L2 is now called L3. Points whose name would be beyond the end are dropped; a name that no point is left for
    is out of view without a confidence: nobody has said that it cannot be seen. A moved point counts as corrected; its
    confidence spoke of the level, and goes.

    Raises LandmarkError when no point would be left, or names tell of no levels.
    """
    if not names_per_level([mark.name for mark in landmarks]):
        raise LandmarkError(
            f"Expected names of levels, such as L1 and L2; got {', '.join(mark.name for mark in landmarks)}"
        )
    result = _shifted(landmarks, levels, _renamed)
    if all(landmark.is_absent for landmark in result):
        raise LandmarkError("Expected points to shift; none would be left. Localize or place some first")
    return result


def _shifted(
    landmarks: Sequence[Landmark], levels: int, moved: Callable[[Landmark, str], Landmark]
) -> tuple[Landmark, ...]:
    known = {mark.name: mark for mark in landmarks}
    come_from = {name: known.get(name_at_level(name, -levels) or "") for name in known}
    return tuple(moved(mark, name) if mark else Landmark(name, "out_of_view") for name, mark in come_from.items())


def _renamed(landmark: Landmark, name: str) -> Landmark:
    moved = replace(landmark, name=name, confidence=None)
    return moved if moved.is_absent else replace(moved, status="corrected", needs_review=False)


def _followed(corner: Landmark, name: str) -> Landmark:
    """A corner whose names others moved: where it lies nobody has looked at because of that."""
    status = "corrected" if corner.status == "confirmed" else corner.status
    return replace(corner, name=name, confidence=None, status=status)


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
