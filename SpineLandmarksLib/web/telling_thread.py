"""A thread for what takes long, so that nobody has to look time and again whether it is done."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class TellingThread(ThreadPoolExecutor):
    """Does one thing at a time. on_done: called in that thread after each."""

    def __init__(self, name: str, on_done: Callable[[], None]) -> None:
        super().__init__(1, name)
        self._on_done = on_done

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        future = super().submit(work, *arguments, **named)
        future.add_done_callback(lambda _: self._on_done())
        return future
