"""The records of a session and what follows from them: the landmarks now, what can be undone, what can be redone."""

from __future__ import annotations

from collections.abc import Iterable

from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.review.correction import Correction


class Journal:
    """landmarks: by name, as they are now. events: all records, which only grow.

    done, undone: the records that undo and redo take from. An undo is a record too, of the same changes backwards.
    """

    def __init__(self, original: LandmarkSet, events: Iterable[Correction] = ()) -> None:
        self.landmarks: dict[str, Landmark] = {landmark.name: landmark for landmark in original}
        self.events: list[Correction] = []
        self.done: list[Correction] = []
        self.undone: list[Correction] = []
        for event in events:
            self.accept(event)

    def accept(self, event: Correction) -> None:
        """Append a record. Raises LandmarkError, and changes nothing, when it does not follow from the ones before."""
        wrong = [change.name for change in event.changes if self.landmarks.get(change.name) != change.before]
        if wrong or not {"undo": self.done, "redo": self.undone}.get(event.what, True):
            raise LandmarkError(
                f"Expected a record that follows from those before it; record {len(self.events)} ({event.what} "
                f"{', '.join(wrong)}) does not. The session is damaged; go on from an earlier copy"
            )
        self.landmarks.update({change.name: change.after for change in event.changes})
        self.events.append(event)
        if event.what == "undo":
            self.undone.append(self.done.pop())
        elif event.what == "redo":
            self.done.append(self.undone.pop())
        elif event.changes:  # a comment is no step
            self.done.append(event)
            self.undone.clear()

    @property
    def comment(self) -> str:
        """The text of the last comment."""
        return next((event.note for event in reversed(self.events) if event.what == "comment"), "")

    @property
    def model(self) -> str | None:
        """The model of the last relocalization that is not taken back."""
        return next((event.note for event in reversed(self.done) if event.what == "relocalize" and event.note), None)

    def before_confirmation(self, name: str) -> Landmark:
        """What a confirmed landmark was before; one that came confirmed counts as corrected."""
        changes = (change for event in reversed(self.events) for change in event.changes if change.name == name)
        before = (change.before for change in changes if change.before.status != "confirmed")
        return next(before, Landmark(name, "corrected", needs_review=False))
