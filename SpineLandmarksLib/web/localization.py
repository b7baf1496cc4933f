"""The model at work on one study, in a worker process that may die without taking anything along."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import LandmarkSet, Point
from SpineLandmarksLib.web.open_study import OpenStudy
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL

#: A worker that does not heed a cancellation for this long is ended.
PATIENCE_S = 3.0


@dataclass
class LocalizationJob:
    """is_again: around what a person has said; else afresh."""

    opened: OpenStudy
    is_again: bool
    id: str
    share: float = 0.0
    stage: str = "waiting for the model"
    started: float = field(default_factory=time.monotonic)
    cancelled_at: float | None = None


@dataclass(frozen=True)
class JobResult:
    """landmarks: when it was done. error: why not, in words; empty when somebody cancelled."""

    job: LocalizationJob
    landmarks: LandmarkSet | None = None
    error: str = ""


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

    def start(self, opened: OpenStudy, given: Mapping[str, Point | None] | None = None) -> None:
        """Find the landmarks of a study; given: what a person has said, for all others around it.

        Raises BackendError where no worker can be started. The job before must have ended.
        """
        assert self.job is None
        assert opened.path is not None
        study = opened.study
        spacing = None if study.source else study.spacing_mm
        job_id = self._running_client().submit(opened.path, spacing_mm=spacing, given=given)
        self.job = LocalizationJob(opened, given is not None, job_id)

    def cancel(self) -> None:
        if self.job and self.client and self.job.cancelled_at is None:
            self.job.cancelled_at = time.monotonic()
            self.client.cancel(self.job.id)

    def poll(self) -> JobResult | None:
        """How the job ended, once."""
        end = None
        for message in self.client.poll() if self.client else ():
            if self.job and message.get("id") == self.job.id:
                end = self._take(self.job, message) or end
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

    def _take(self, job: LocalizationJob, message: Mapping[str, Any]) -> JobResult | None:
        event = message["event"]
        if event == "progress":
            job.share, job.stage = message["share"], message["stage"]
        elif event == "done":
            try:
                found = from_fields(Fields.of(message["result"], "the worker's answer"))
            except SpineLandmarksError as error:
                return JobResult(job, error=str(error))
            study = job.opened.study
            return JobResult(job, replace(found, input=study.image, series_uid=study.series_uid))
        elif event in FINAL:
            return JobResult(job, error="" if event == "cancelled" else str(message["error"]))
        return None
