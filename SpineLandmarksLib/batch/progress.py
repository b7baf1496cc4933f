"""How far a long run is and how long it still takes: tqdm's bar on a terminal, a line now and then in a file."""

from __future__ import annotations

from typing import TextIO

from tqdm import tqdm

#: Seconds between two states, on a terminal and in a file.
_EVERY_S, _EVERY_S_IN_A_FILE = 0.2, 10.0
_FORMAT = "{l_bar}{bar}| {n_fmt} of {total_fmt} studies{postfix} [{elapsed}<{remaining}, {rate_fmt}]"


class ProgressBar(tqdm):  # type: ignore[type-arg]
    """The bar of a run over `total` studies; `clear` takes it away before anything else is said."""

    monitor_interval = 0  # no thread that draws on its own

    def __init__(self, stream: TextIO, total: int) -> None:
        self._failed = 0
        super().__init__(
            total=total,
            file=stream if stream.isatty() else _Lines(stream),
            mininterval=_EVERY_S if stream.isatty() else _EVERY_S_IN_A_FILE,
            miniters=1,
            smoothing=0,
            leave=False,
            unit=" studies",
            bar_format=_FORMAT,
        )

    def count(self, is_work: bool, is_failure: bool = False) -> None:
        """One more is done; `is_work` unless it had been done before, for that says nothing of the rate."""
        self.initial += not is_work
        self._failed += is_failure
        notes = [f"{self.initial} done before"] if self.initial else []
        notes += [f"{self._failed} failed"] if self._failed else []
        self.set_postfix_str(", ".join(notes), refresh=False)
        self.update()
        if self.n == self.total != self.last_print_n:
            self.refresh()


class _Lines:
    """A file to which each state is a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self.flush = stream, stream.flush

    def write(self, text: str) -> None:
        if text.strip():
            self._stream.write(text.strip() + "\n")
