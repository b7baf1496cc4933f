"""Saving without being asked: every change becomes a revision of its own, set aside at once and saved in a thread.

A change is written to the disk before the page shows it (`spool`), so that no end of the program loses it; when the
store has it, that file goes. What the store refuses is tried again, in the order in which it was done.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.annotation.revision_files import spool
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import SessionText
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.store.store import Saved

#: After a save that failed, the next try.
RETRY_S = 5.0
#: A save that takes longer is told.
SLOW_S = 5.0


@dataclass
class PendingSave:
    """A session and what of it the store does not have yet, oldest first, each with the file that keeps it meanwhile.

    history: the file that keeps the session's steps.
    """

    session: Session
    image: ImageReference
    history: Path | None = None
    waiting: deque[tuple[Revision, Path | None]] = field(default_factory=deque)
    stop: Callable[[], None] = lambda: None
    retry_at: float = 0.0
    saved_at: datetime | None = None
    error: str = ""
    notes: tuple[str, ...] = ()


@dataclass
class Saver:
    """save: of the store; runs in `threads`, which do one thing at a time. `poll` is called some times a second.

    folder: of the data set.
    """

    save: Callable[[Revision], Saved]
    threads: Executor
    folder: Path
    clock: Callable[[], float] = time.monotonic
    current: PendingSave | None = None
    _others: list[PendingSave] = field(default_factory=list)
    _running: tuple[PendingSave, Future[Saved], float] | None = None

    def watch(
        self, session: Session, image: ImageReference, prediction: Revision | None = None, history: Path | None = None
    ) -> None:
        """Save this session from now on. The one before is still saved to its end.

        prediction: of the model, to be saved before what a person says of it.
        """
        if self.current is not None:
            self.current.stop()
            self._others.append(self.current)
        one = self.current = PendingSave(session, image, history)
        if prediction is not None:
            self._set_aside(one, prediction)
        one.stop = session.listen(lambda correction: self._make_revision(one))

    @property
    def is_idle(self) -> bool:
        """Whether the store has everything."""
        return self._running is None and not self.left

    @property
    def left(self) -> list[tuple[Revision, Path | None]]:
        """What the store does not have, and the files that keep it."""
        return [each for one in self._all() for each in one.waiting]

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(one.error for one in self._all() if one.error)

    def poll(self) -> bool:
        """Take what is done and begin what is next; whether anything was done."""
        changed = self._take()
        if self._running is None:
            self._others = [one for one in self._others if one.waiting or one.notes]
            due = [one for one in self._all() if one.waiting and self.clock() >= one.retry_at]
            if due:
                self._running = due[0], self.threads.submit(self.save, due[0].waiting[0][0]), self.clock()
                changed = True
        return changed

    def finish(self) -> None:
        """Save what is left, now; the rest stays set aside where the store refuses it."""
        if self._running is not None:
            wait([self._running[1]])
            self._take()
        for one in self._all():
            with contextlib.suppress(Exception):  # whatever it is: the steps lie in their files, which are told
                while one.waiting:
                    self._note(one, self.save(one.waiting[0][0]))

    def take_notes(self) -> tuple[str, ...]:
        """What the store had to say of the last saves, once."""
        notes = tuple(note for one in self._all() for note in one.notes)
        for one in self._all():
            one.notes = ()
        return notes

    @property
    def words(self) -> tuple[str, str]:
        """What the page says of it, and its kind: saved, saving or failed."""
        left = self.left
        if any(file is None for _, file in left) and self._is_slow:
            return "Not saved, and no file can be written. Keep this window open, and free some space", "failed"
        if self.problems:
            return self.problems[0], "failed"
        if self._is_slow:
            kept = left[0][1]
            return (
                f"The store does not answer yet. Nothing is lost: what was done lies in {kept and kept.parent}",
                "failed",
            )
        if self.current is None:
            return "", "saved"
        if left:
            return "Saving", "saving"
        at = self.current.saved_at
        return ("" if at is None else f"Saved {at:%H:%M:%S}"), "saved"

    @property
    def _is_slow(self) -> bool:
        return self._running is not None and self.clock() - self._running[2] > SLOW_S

    def _all(self) -> list[PendingSave]:
        return [*self._others, *([self.current] if self.current else [])]

    def _make_revision(self, one: PendingSave) -> None:
        before = one.waiting[-1][0] if one.waiting else None
        self._set_aside(one, one.session.revision(one.image, after=before))

    def _set_aside(self, one: PendingSave, revision: Revision) -> None:
        one.waiting.append((revision, spool(revision, self.folder)))

    def _take(self) -> bool:
        if self._running is None or not self._running[1].done():
            return False
        one, future, _ = self._running
        self._running = None
        try:
            self._note(one, future.result())
        except Exception as error:  # whatever it is: it waits in its file, is told, and is tried again
            one.error, one.retry_at = str(error), self.clock() + RETRY_S
        return True

    def _note(self, one: PendingSave, saved: Saved) -> None:
        revision, file = one.waiting.popleft()
        if file is not None:
            with contextlib.suppress(OSError):
                file.unlink()
        one.error, one.notes, one.saved_at = "", (*one.notes, *saved.notes), datetime.now()
        if revision.is_prediction:
            one.session.parent = revision.id
        else:
            one.session.mark_saved(revision)
        if not one.waiting and one.history is not None:  # only a convenience: what counts is in the store
            text = str(SessionText(one.session))
            try:
                self.threads.submit(_keep, one.history, text)
            except RuntimeError:  # the end: the threads are gone
                _keep(one.history, text)


def _keep(file: Path, text: str) -> None:
    with contextlib.suppress(SpineLandmarksError, OSError):
        file.parent.mkdir(exist_ok=True)
        write_text_atomically(file, text + "\n")
