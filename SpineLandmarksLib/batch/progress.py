"""A line that says how far a long run is and how long it still takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO

#: Seconds between two lines, on a terminal and in a file.
_EVERY_S, _EVERY_S_IN_A_FILE = 0.2, 10.0
_CLEAR = "\r\x1b[K"


class Progress:
    """Writes to `stream`; on a terminal it stays on one line, which `clear` takes away before anything else is said."""

    def __init__(self, stream: TextIO, total: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._total, self._clock = stream, total, clock
        self._is_terminal = stream.isatty()
        self._started = self._told = clock()
        self._worked = self._passed = self._failed = 0

    def count(self, is_work: bool, is_failure: bool = False) -> None:
        """One more is done; `is_work` unless it had been done before, for that says nothing of the rate."""
        self._worked += is_work
        self._passed += not is_work
        self._failed += is_failure
        is_last = self._worked + self._passed == self._total
        if is_last or self._clock() - self._told >= (_EVERY_S if self._is_terminal else _EVERY_S_IN_A_FILE):
            self._told = self._clock()
            self._stream.write(f"{_CLEAR}{self}" if self._is_terminal else f"{self}\n")
            self._stream.flush()

    def clear(self) -> None:
        if self._is_terminal:
            self._stream.write(_CLEAR)
            self._stream.flush()

    def __str__(self) -> str:
        done = self._worked + self._passed
        parts = [f"{done} of {self._total} studies"]
        parts += [f"{self._passed} done before"] if self._passed else []
        parts += [f"{self._failed} failed"] if self._failed else []
        elapsed = self._clock() - self._started
        if self._worked and elapsed > 0:
            rate = self._worked / elapsed
            parts += [f"{rate:.1f} a second" if rate >= 1 else f"{rate * 60:.1f} a minute"]
            parts += [f"{in_words((self._total - done) / rate)} left"] if done < self._total else []
        return ", ".join(parts)


def in_words(seconds: float) -> str:
    """
    >>> in_words(42), in_words(200), in_words(9000)
    ('42 s', '3 min', '2 h 30 min')
    """
    minutes = round(seconds / 60)
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
