"""What was done to a study, one record for each finished operation; records are only ever appended.

A record holds each landmark it changed, before, after and as the model first had it; the records, applied in turn to
the original prediction, give the current state. As JSON:

{"who", "when", "what", "seconds", "note", "changes": [{"before": landmark, "after": landmark, "original": landmark}]}
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, get_args

from SpineLandmarksLib.annotation.revision import read_time
from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.formats.json_result import landmark_as_json, read_landmark
from SpineLandmarksLib.formats.shared import rounded
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet

What = Literal[
    "move",
    "place",
    "mark_not_visible",
    "confirm",
    "unconfirm",
    "shift_chain",
    "relocalize",
    "import",
    "undo",
    "redo",
    "comment",
]

_PARTS = ("before", "after", "original")


@dataclass(frozen=True)
class Change:
    """One landmark before, after and as it was predicted at first; the three bear the same name."""

    before: Landmark
    after: Landmark
    original: Landmark

    @property
    def name(self) -> str:
        return self.after.name

    def reversed(self) -> Change:
        return Change(self.after, self.before, self.original)


@dataclass(frozen=True)
class Correction:
    """One operation. seconds: that the person spent on it, see `Session`. when: aware, UTC.

    note: the model of a relocalization, the file of an import, the direction of a shift, the text of a comment, the
    step that an undo or redo is of.
    """

    who: str
    when: datetime
    what: What
    changes: tuple[Change, ...] = ()
    seconds: float = 0.0
    note: str = ""

    def __post_init__(self) -> None:
        if self.when.utcoffset() != timedelta(0):
            raise LandmarkError(f"Expected a time in UTC; got {self.when.isoformat()}")

    def as_json(self) -> dict[str, Any]:
        return {
            "who": self.who,
            "when": self.when.isoformat(),
            "what": self.what,
            "seconds": rounded(self.seconds, 3),
            "note": self.note,
            "changes": [{key: landmark_as_json(getattr(change, key)) for key in _PARTS} for change in self.changes],
        }

    @staticmethod
    def from_json(fields: Fields) -> Correction:
        """Raises FormatError."""
        what = fields.text("what")
        if what not in get_args(What):
            raise FormatError(f"{fields.where}: expected one of {', '.join(get_args(What))} in 'what'; got {what!r}")
        return Correction(
            who=fields.text("who"),
            when=read_time(fields, "when"),
            what=what,  # type: ignore[arg-type]
            changes=tuple(_read_change(item) for item in fields.objects("changes")),
            seconds=fields.number("seconds"),
            note=fields.text("note"),
        )


def _read_change(item: Fields) -> Change:
    parts = [read_landmark(Fields.of(item.values.get(key), f"{item.where}, {key}")) for key in _PARTS]
    if len({part.name for part in parts}) != 1:
        raise FormatError(f"{item.where}: expected one landmark; got {', '.join(part.name for part in parts)}")
    return Change(*parts)


class Journal:
    """The records of a session and what follows from them.

    landmarks: by name, as they are now, corners after centres. events: all records, which only grow. done, undone: the
    records that undo and redo take from. An undo is a record too, of the same changes backwards.
    """

    def __init__(self, original: LandmarkSet, events: Iterable[Correction] = ()) -> None:
        self.landmarks: dict[str, Landmark] = {landmark.name: landmark for landmark in original.points}
        self.events: list[Correction] = []
        self.done: list[Correction] = []
        self.undone: list[Correction] = []
        for event in events:
            self.accept(event)

    def accept(self, event: Correction) -> None:
        """Append a record. Raises LandmarkError, and changes nothing, when it does not follow from the ones before."""
        wrong = [change.name for change in event.changes if self.known(change.name) != change.before]
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

    def known(self, name: str) -> Landmark:
        """As it is now; what nobody has spoken of yet, as the corners that a later model brings, is out of view."""
        return self.landmarks.get(name, Landmark(name, "out_of_view"))

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
