"""Saving without being asked: every change becomes part of a revision, in a thread, while the person works on."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import SessionText
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.store.store import Saved

#: After a save that failed, the next try.
RETRY_S = 5.0


@dataclass
class PendingSave:
    """A session and what of it is under way. prediction: of the model, to be saved before what a person says of it.
    history: the file that keeps its steps.
    """

    session: Session
    image: ImageReference
    prediction: Revision | None = None
    history: Path | None = None
    refused: Revision | None = None
    retry_at: float = 0.0
    saved_at: datetime | None = None
    error: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_saved(self) -> bool:
        return self.session.is_saved and self.prediction is None


@dataclass
class Saver:
    """save: of the store; runs in `threads`, which do one thing at a time. `poll` is called some times a second.

    What the store refuses is tried again, the same revision, until it is taken; changes made meanwhile follow it.
    """

    save: Callable[[Revision], Saved]
    threads: Executor
    clock: Callable[[], float] = time.monotonic
    current: PendingSave | None = None
    _others: list[PendingSave] = field(default_factory=list)
    _running: tuple[PendingSave, Revision, Future[Saved]] | None = None

    def watch(
        self, session: Session, image: ImageReference, prediction: Revision | None = None, history: Path | None = None
    ) -> None:
        """Save this session from now on. The one before is still saved to its end."""
        if self.current is not None and not self.current.is_saved:
            self._others.append(self.current)
        self.current = PendingSave(session, image, prediction, history)

    @property
    def is_idle(self) -> bool:
        """Whether everything is on the disk."""
        return self._running is None and all(one.is_saved for one in self._all())

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(one.error for one in self._all() if one.error)

    def poll(self) -> bool:
        """Take what is done and begin what is next; whether anything was done."""
        changed = self._take()
        if self._running is None:
            self._others = [one for one in self._others if not one.is_saved]
            due = [one for one in self._all() if not one.is_saved and self.clock() >= one.retry_at]
            if due:
                self._begin(due[0])
                changed = True
        return changed

    def finish(self) -> None:
        """Save what is left, now; what the store does not take it sets aside."""
        if self._running is not None:
            wait([self._running[2]])
            self._take()
        for one in self._all():
            with contextlib.suppress(SpineLandmarksError):
                while not one.is_saved:
                    revision = one.refused or one.prediction or one.session.revision(one.image)
                    self._note(one, revision, self.save(revision))

    def take_notes(self) -> tuple[str, ...]:
        """What the store had to say of the last saves, once."""
        notes = tuple(note for one in self._all() for note in one.notes)
        for one in self._all():
            one.notes = ()
        return notes

    @property
    def words(self) -> tuple[str, str]:
        """What the page says of it, and its kind: saved, saving or failed."""
        if self.problems:
            return self.problems[0], "failed"
        if self.current is None:
            return "", "saved"
        if not self.current.is_saved:
            return "Saving", "saving"
        at = self.current.saved_at
        return ("" if at is None else f"Saved {at:%H:%M:%S}"), "saved"

    def _all(self) -> list[PendingSave]:
        return [*self._others, *([self.current] if self.current else [])]

    def _begin(self, one: PendingSave) -> None:
        try:
            revision = one.refused or one.prediction or one.session.revision(one.image)
        except SpineLandmarksError as error:  # no name was given yet
            one.error, one.retry_at = str(error), self.clock() + RETRY_S
            return
        self._running = one, revision, self.threads.submit(self.save, revision)

    def _take(self) -> bool:
        if self._running is None or not self._running[2].done():
            return False
        one, revision, future = self._running
        self._running = None
        try:
            saved = future.result()
        except (SpineLandmarksError, OSError) as error:
            one.error, one.refused, one.retry_at = str(error), revision, self.clock() + RETRY_S
            return True
        self._note(one, revision, saved)
        return True

    def _note(self, one: PendingSave, revision: Revision, saved: Saved) -> None:
        one.error, one.refused, one.notes = "", None, saved.notes
        one.saved_at = datetime.now()
        if one.prediction is revision:
            one.prediction, one.session.parent = None, revision.id
        else:
            one.session.mark_saved(revision)
        if one.is_saved and one.history is not None:  # only a convenience: what counts is in the store
            text = str(SessionText(one.session))
            try:
                self.threads.submit(_keep, one.history, text)
            except RuntimeError:  # the end: the threads are gone
                _keep(one.history, text)


def _keep(file: Path, text: str) -> None:
    with contextlib.suppress(SpineLandmarksError, OSError):
        file.parent.mkdir(exist_ok=True)
        write_text_atomically(file, text + "\n")
