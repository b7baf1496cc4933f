"""Messages on their way out, in a thread of their own: nobody who puts one ever waits for the reader of the pipe."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from SpineLandmarksLib.worker.protocol import Message, encode

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
