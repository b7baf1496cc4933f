"""The model at work on one study for a screen, in a worker process that may die without taking anything along."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import Any

from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL

#: A worker that does not heed a cancellation for this long is ended.
PATIENCE_S = 3.0


@dataclass
class LocalizationJob:
    """subject: the study, as the screen knows it. is_again: around what a person has said; else afresh.

    id: empty until a worker has it. share, stage: how far it is.
    """

    subject: Any
    is_again: bool
    id: str = ""
    share: float = 0.0
    stage: str = "waiting for the model"
    started: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None


@dataclass(frozen=True)
class JobResult:
    """landmarks: when it was done. error: why not; empty when it was cancelled. kind: of the error (docs/worker.md)."""

    job: LocalizationJob
    landmarks: LandmarkSet | None = None
    error: str = ""
    kind: str = ""


class LocalizationService:
    """One job at a time; every call returns at once. make_client: starts a worker of the model in use."""

    def __init__(self, make_client: Callable[[], WorkerClient]) -> None:
        self._make_client = make_client
        self.client: WorkerClient | None = None
        self.job: LocalizationJob | None = None

    def warm(self) -> None:
        """Load the model before it is needed. A fault is told by the job that needs it."""
        with contextlib.suppress(SpineLandmarksError):
            self._running_client().warm()

    def start(self, job: LocalizationJob, path: str | PathLike[str], **asked: Any) -> None:
        """Find the landmarks of a study, by the arguments of `WorkerClient.submit`.

        Raises BackendError where no worker can be started. The job before must have ended.
        """
        assert self.job is None
        job.id = self._running_client().submit(path, **asked)
        self.job = job

    def cancel(self) -> None:
        if self.job and self.client and self.job.cancelled_at is None:
            self.job.cancelled_at = time.monotonic()
            self.client.cancel(self.job.id)

    def poll(self) -> JobResult | None:
        """How the job ended, once."""
        end = None
        for message in self.client.poll() if self.client else ():
            if self.job and message.get("id") == self.job.id:
                end = _take(self.job, message) or end
        if self.job and self.job.cancelled_at and time.monotonic() - self.job.cancelled_at > PATIENCE_S:
            self.close()
            end = JobResult(self.job)
        if end:
            self.job = None
        return end

    def close(self) -> None:
        if self.client:
            self.client.close()
        self.client = None

    def _running_client(self) -> WorkerClient:
        self.client = self.client or self._make_client()
        return self.client


def _take(job: LocalizationJob, message: Mapping[str, Any]) -> JobResult | None:
    event = message["event"]
    if event == "progress":
        job.share, job.stage = message["share"], message["stage"]
    elif event == "done":
        try:
            return JobResult(job, from_fields(Fields.of(message["result"], "the worker's answer")))
        except SpineLandmarksError as error:
            return JobResult(job, error=str(error))
    elif event == "cancelled":
        return JobResult(job)
    elif event in FINAL:  # with the last words of a worker that died
        said = [message["error"], *message.get("stderr", [])[-3:]]
        return JobResult(job, error="\n".join(said), kind=message.get("kind", ""))
    return None
