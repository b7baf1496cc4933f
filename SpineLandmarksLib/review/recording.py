"""What a session remembers and how it tells of it: records, undo, listeners, revisions to save; see `session.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timezone

from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.review.correction import Change, Correction, What
from SpineLandmarksLib.review.doubt import to_review
from SpineLandmarksLib.review.frame import ImageFrame
from SpineLandmarksLib.review.journal import Journal
from SpineLandmarksLib.review.revision import ImageReference, Revision, require_study_key

Listener = Callable[[Correction], None]

#: A pause longer than this between two operations is not work on the study; this much of it is counted.
LONGEST_PAUSE_S = 120.0


def utc_now() -> datetime:
    return datetime.now(timezone.utc)


class Recording:
    """study: its key. original: what the model said, kept as it is; every name of the schema in it, head to foot.

    author: who corrects from now on. frame: of the image, to check positions by and to know pixels; None if unknown.
    clock: gives the time as aware UTC. events: of earlier work, which is taken up where it ended.
    parent: id of the revision that the work goes on from; saved_events: how many events a revision holds already.
    """

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
        return self.original.names

    @property
    def current(self) -> LandmarkSet:
        """The landmarks as they are now; `bundle` is the model that spoke last."""
        return replace(
            self.original,
            landmarks=tuple(self._journal.landmarks.values()),
            bundle=self._journal.model or self.original.bundle,
            needs_review=self.original.needs_review if self.to_review() else False,
        )

    def __getitem__(self, name: str) -> Landmark:
        if name not in self.names:
            raise LandmarkError(f"Expected one of {', '.join(self.names)}; got {name!r}")
        return self._journal.landmarks[name]

    def to_review(self) -> list[str]:
        """Names that no person has looked at, worst first."""
        return to_review(self._journal.landmarks)

    @property
    def events(self) -> tuple[Correction, ...]:
        return tuple(self._journal.events)

    @property
    def comment(self) -> str:
        return self._journal.comment

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call `listener(correction)` after each operation; the answer ends it."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # Steps

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

    def set_comment(self, text: str) -> Correction | None:
        """A remark on the study, recorded like the rest but no step of undo."""
        return self._record("comment", (), text) if text != self.comment else None

    def _change(self, what: What, landmarks: Iterable[Landmark], note: str = "") -> Correction | None:
        """Make the landmarks of these names be these, as one step; None when they are so already."""
        changes = [Change(self[new.name], new, self.original[new.name]) for new in landmarks]
        changed = tuple(change for change in changes if change.before != change.after)
        return self._record(what, changed, note) if changed else None

    def _record(self, what: What, changes: tuple[Change, ...], note: str) -> Correction:
        now = self._clock()
        seconds = min(max((now - self._last).total_seconds(), 0.0), LONGEST_PAUSE_S)
        event = Correction(self.author, now, what, changes, seconds, note)
        self._journal.accept(event)
        self._last = now
        self._tell(event)
        return event

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

    def revision(self, image: ImageReference) -> Revision:
        """The current state for a store, with the time spent since the last one. Raises LandmarkError without author.

        The session counts as saved once `mark_saved` is told that a store has it.
        """
        seconds = sum(event.seconds for event in self.events[self.saved_events :])
        revision = Revision(
            self.study, self.author, self._clock(), self.current, image, self.parent, seconds, self.comment
        )
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
