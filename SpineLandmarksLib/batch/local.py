"""Studies localized in this process, one after the other; a thread reads the next while one is computed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
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
            yield run_item(study, stack, self._localizer, settings)


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
    pool = ThreadPoolExecutor(1, "reading")

    def begin() -> list[tuple[BatchItem, Future[SagittalStack]]]:
        return [(study, pool.submit(read, study)) for study in islice(coming, 1)]

    try:
        ahead = begin()
        while ahead:
            study, future = ahead.pop()
            result = _settled(future)
            if _is_memory(result):
                result = _settled(pool.submit(read, study))
            ahead = begin()
            yield study, result
    finally:
        pool.shutdown(cancel_futures=True)  # waits for a reading in progress, which cleans up behind itself


def _settled(future: Future[SagittalStack]) -> SagittalStack | Exception:
    try:
        return future.result()
    except Exception as error:
        return error


def _is_memory(result: object) -> bool:
    return isinstance(result, MemoryError) or (
        isinstance(result, InputError) and isinstance(result.__cause__, MemoryError)
    )
