"""Slicer's event loop, which keeps Python's lock also while it has nothing to do: other threads run in our slots only.

PySide6 lets the lock go, so that on its loop a thread that would stand still in Slicer runs.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Called with the lock held, as PythonQt's caller does.
_C = ctypes.PyDLL(None)


def own_time() -> float:
    """Seconds, in which those do not count that this thread was ready to run but other programs had the processors.

    So a busy machine makes no difference. Where the kernel does not tell (it is not Linux), they do count.
    """
    now = time.perf_counter()
    try:
        return now - 1e-9 * int(Path("/proc/thread-self/schedstat").read_text().split()[1])
    except OSError:
        return now


def run_until(condition: Callable[[], object], slots: dict[Any, Callable[[], None]], longest_s: float = 180.0) -> float:
    """Let timers fire their slots, and idle with the lock held between; the longest that one slot took, s.

    slots: what each timer calls. AssertionError when the condition is not met in time.
    """
    end, longest = time.monotonic() + longest_s, 0.0
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        _C.usleep(1000 * min([timer.interval for timer in slots if timer.active], default=50))
        for timer, slot in slots.items():
            if timer.active:
                start = own_time()
                slot()
                longest = max(longest, own_time() - start)
    return longest
