"""The worker's two queues, each between two threads and bounded: jobs that wait, and messages on their way out."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from queue import Full, Queue

from SpineLandmarksLib.worker.protocol import Message, Request, encode

#: Jobs that may wait in line; one more is refused.
MAX_WAITING = 10_000
#: With this many unread, news of progress is not kept.
MAX_PROGRESS = 100
#: With this many unread, whoever has more to say waits: results are never dropped, and memory has an end.
MAX_UNREAD = 10_000


class Outbox:
    """A queue and the thread that empties it. `write` may block for as long as it likes.

    on_broken: called once, when `write` raises OSError: nobody will ever read again.
    """

    def __init__(self, write: Callable[[bytes], None], on_broken: Callable[[], None] = lambda: None) -> None:
        self._write, self._on_broken = write, on_broken
        self._lines: Queue[bytes | None] = Queue(MAX_UNREAD)
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Send in turn, once there is room; `progress` is dropped when much is unread. ValueError for no JSON."""
        line = encode(message)
        if message["event"] != "progress" or self._lines.qsize() < MAX_PROGRESS:
            self._lines.put(line)

    def close(self, wait_s: float = 1.0) -> None:
        """Send what waits, for at most `wait_s` or, where nobody reads, twice that."""
        with contextlib.suppress(Full):
            self._lines.put(None, timeout=wait_s)
        self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                self._write(line)
        except OSError:
            threading.Thread(target=self._on_broken, name="broken", daemon=True).start()
            while self._lines.get() is not None:  # nobody who puts may wait for ever
                pass


class Cancelled(Exception):
    """Raised inside a job that somebody has cancelled."""


class WorkerJob:
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
    """The line, out of which a job can be taken anywhere. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, WorkerJob] = OrderedDict()
        self._running: WorkerJob | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, job: WorkerJob, announce: Callable[[int], None]) -> str | None:
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

    def take(self) -> WorkerJob | None:
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
