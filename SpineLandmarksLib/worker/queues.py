"""The worker's two queues, each between two threads and bounded: jobs that wait, and messages on their way out."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable

from SpineLandmarksLib.worker.protocol import Message, Request, encode

#: Jobs that may wait in line; one more is refused.
MAX_WAITING = 10_000
#: With this many unread, news of progress is not kept.
MAX_PROGRESS = 100
#: With this many unread, no further request is read: results are never dropped, and memory has an end.
MAX_UNREAD = 10_000


class Outbox:
    """A queue and the thread that empties it. `write` may block for as long as it likes.

    on_broken: called once, when `write` raises OSError: nobody will ever read again.
    """

    def __init__(self, write: Callable[[bytes], None], on_broken: Callable[[], None] = lambda: None) -> None:
        self._write, self._on_broken = write, on_broken
        self._waiting: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, message: Message) -> None:
        """Send in turn; `progress` is dropped when much is unread. ValueError for what JSON cannot hold."""
        line = encode(message)
        with self._changed:
            if message["event"] == "progress" and len(self._waiting) >= MAX_PROGRESS:
                return
            self._waiting.append(line)
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Return when fewer than MAX_UNREAD messages wait, or when they never will be read."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < MAX_UNREAD or self._is_closed)

    def close(self, wait_s: float = 1.0) -> None:
        """Send what waits, for at most `wait_s`."""
        with self._changed:
            self._changed.wait_for(lambda: not self._waiting or self._is_closed, wait_s)
            self._is_closed = True
            self._changed.notify_all()

    def _run(self) -> None:
        try:
            while (line := self._next()) is not None:
                self._write(line)
                with self._changed:
                    self._waiting.popleft()
                    self._changed.notify_all()
        except OSError:
            with self._changed:
                self._is_closed = True
                self._changed.notify_all()
            self._on_broken()

    def _next(self) -> bytes | None:
        """The oldest line, which stays in line until it is written; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return None if self._is_closed else self._waiting[0]


class Cancelled(Exception):
    """Raised inside a job that somebody has cancelled."""


class Job:
    """A request that is worked on."""

    def __init__(self, request: Request) -> None:
        assert request.id is not None
        self.request, self.id = request, request.id
        self.is_cancelled = False

    def check(self) -> None:
        """Raise Cancelled when it was."""
        if self.is_cancelled:
            raise Cancelled


class JobList:
    """The line. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, job: Job, announce: Callable[[int], None]) -> str | None:
        """Put a job at the end of the line and `announce` how many are before it; or say why not."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                return f"Expected at most {MAX_WAITING} jobs in line; send this one again when some are done"
            if job.id in self._waiting or self._runs(job.id):
                return f"Expected a new id for a new job; {job.id!r} is that of one that is not done"
            # under the lock, so that it is heard of before it starts
            announce(len(self._waiting) + (self._running is not None))
            self._waiting[job.id] = job
            self._changed.notify_all()
        return None

    def take(self) -> Job | None:
        """The next job, when there is one; it runs until the next call. None when the list is closed."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._running = self._waiting.popitem(last=False)[1] if self._waiting else None
            return self._running

    def withdraw(self, job_id: str) -> bool:
        """Take a waiting job out of the line; whether it was there."""
        with self._changed:
            return self._waiting.pop(job_id, None) is not None

    def stop(self, job_id: str) -> bool:
        """Flag the running job; whether it is this one."""
        with self._changed:
            if self._running is None or not self._runs(job_id):
                return False
            self._running.is_cancelled = True
            return True

    def close(self) -> None:
        """Cancel all jobs; `take` still gives those that wait, each flagged, and then None."""
        with self._changed:
            for job in (self._running, *self._waiting.values()):
                if job:
                    job.is_cancelled = True
            self._is_closed = True
            self._changed.notify_all()

    def _runs(self, job_id: str) -> bool:
        return self._running is not None and self._running.id == job_id
