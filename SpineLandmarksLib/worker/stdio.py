"""The worker's own two pipes. Whatever else prints to stdout or reads stdin in its process reaches neither."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

_BLOCK = 2**16


def take_over() -> tuple[int, int]:
    """File descriptors (to read requests from, to write messages to). Stray prints go to stderr from now on.

    The descriptors 0 and 1 themselves are replaced, so that this holds for C libraries and child processes too.
    """
    sys.stdout.flush()
    requests, messages = os.dup(0), os.dup(1)  # a duplicate is not inherited by children
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return requests, messages


def read_lines(descriptor: int, limit: int) -> Iterator[bytes | None]:
    """The lines until the end, without their newline; None for a line of more than `limit` bytes, which is dropped.

    os.read and no buffered file: a thread that waits in one would hold its lock when the interpreter ends.
    """
    kept, too_long = b"", False
    while block := os.read(descriptor, _BLOCK):
        *whole, rest = (kept + block).split(b"\n")
        for line in whole:
            yield None if too_long or len(line) > limit else line
            too_long = False
        too_long = too_long or len(rest) > limit
        kept = b"" if too_long else rest
    if kept or too_long:
        yield None if too_long else kept


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long the reader takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def on_orphaned(then: Callable[[], None], every_s: float = 1.0) -> None:
    """Call `then` once the parent has ended, even where some other process still holds the pipes.

    A process whose parent ends is given another. On Windows it is not, but there no child inherits the pipes either.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        then()

    threading.Thread(target=watch, name="parent", daemon=True).start()
