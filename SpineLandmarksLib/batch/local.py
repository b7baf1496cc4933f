"""Studies localized in this process, one after the other; a thread reads the next while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from threading import Thread
from typing import Protocol

from SpineLandmarksLib.batch.results import BatchItem, Outcome, explain, outcome_of
from SpineLandmarksLib.bundle import Bundle, identity
from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer


@dataclass(frozen=True)
class BatchSettings:
    """What the results depend on besides the study and the model."""

    formats: tuple[str, ...]
    spacing_mm: float | tuple[float, float] | None = None
    slice_index: int | None = None
    study: str | None = None
    every_series: bool = False


class Engine(Protocol):
    """Does the work of many studies."""

    @property
    def bundle(self) -> Bundle: ...

    @property
    def backend(self) -> str: ...

    def outcomes(self, studies: Iterable[BatchItem], settings: BatchSettings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in any order. Takes studies as it comes to them; never raises for one of them."""


class LocalEngine:
    """A localizer in this process."""

    def __init__(self, localizer: Localizer) -> None:
        self._localizer = localizer
        self.bundle, self.backend = localizer.bundle, localizer.backend.name

    def outcomes(self, studies: Iterable[BatchItem], settings: BatchSettings) -> Generator[Outcome, None, None]:
        def read(study: BatchItem) -> SagittalStack:
            return read_study(study.path, settings.spacing_mm, settings.study, settings.every_series)

        for study, stack in read_ahead(read, studies):
            outcome = run_item(study, stack, self._localizer, settings)
            yield outcome
            del stack, outcome  # before the next one is waited for, which may need their memory


def run_item(
    study: BatchItem, stack: SagittalStack | Exception, localizer: Localizer, settings: BatchSettings
) -> Outcome:
    """The outcome of a study that has been read, or could not be."""
    try:
        if isinstance(stack, Exception):
            raise stack
        stack = localizer.most_lumbar(stack)
        found = replace(localizer.localize_study(stack, settings.slice_index), input=study.label)
        return outcome_of(study, stack, found, settings.formats, identity(localizer.bundle))
    except Exception as error:
        return Outcome(study, error=explain(error))


def read_ahead(
    read: Callable[[BatchItem], SagittalStack], studies: Iterable[BatchItem]
) -> Iterator[tuple[BatchItem, SagittalStack | Exception]]:
    """Each study with what `read` gave or raised. One is read while the caller works on the one before, never more.

    One that did not fit into memory beside its predecessor is read again when it is alone.
    """
    coming = iter(studies)

    def begin() -> list[_Reading]:
        return [_Reading(read, study) for study in islice(coming, 1)]

    ahead: list[_Reading] = []
    try:
        ahead = begin()
        while ahead:
            reading = ahead.pop()
            result = reading.result()
            ahead = begin()
            yield reading.study, result
            del reading, result
    finally:
        for reading in ahead:  # in progress: it cleans up behind itself
            reading.join()


class _Reading:
    """A study that a thread reads. A pool would wait for ever for a thread that died of want of memory."""

    def __init__(self, read: Callable[[BatchItem], SagittalStack], study: BatchItem) -> None:
        self.study = study
        self._read = read
        self._result: SagittalStack | Exception | None = None
        self._thread: Thread | None = Thread(target=self._run, name="reading")
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):  # no room for its stack
            self._thread = None

    def _run(self) -> None:
        try:
            self._result = self._read(self.study)
        except Exception as error:
            self._result = error

    def join(self) -> None:
        if self._thread:
            self._thread.join()

    def result(self) -> SagittalStack | Exception:
        """Waits for it, and reads again what did not fit into memory, or was not read at all."""
        self.join()
        if self._result is None or _is_memory(self._result):
            self._result = None  # an error holds what was read before it
            self._run()
        assert self._result is not None
        return self._result


def _is_memory(result: object) -> bool:
    return isinstance(result, MemoryError) or (
        isinstance(result, InputError) and isinstance(result.__cause__, MemoryError)
    )
