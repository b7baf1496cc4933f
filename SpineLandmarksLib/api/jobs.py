"""The jobs of the HTTP interface: a line before one worker, and results that are kept for a while."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL, Message

#: How often the worker is asked for news while it works, s.
NEWS_S = 0.02
#: A job whose worker died under it is given to the next one, so often in all.
MAX_TRIES = 2

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]


@dataclass(eq=False)
class ApiJob:
    """One study on its way.

    Attributes:
        path: of the study. drop: takes away what was uploaded or fetched, once it has been read.
        name: that the result names as its input, as the client gave it.
        asked: arguments of `WorkerClient.submit`.
        error, kind: one line and what sort of fault, when it failed.
        found: the result. files: of the results that were asked for with the study, by name.
        ended: set when there is nothing more to come.
    """

    path: Path
    name: str
    drop: Callable[[], None] | None = None
    asked: dict[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: JobStatus = "queued"
    share: float = 0.0
    stage: str = ""
    error: str = ""
    kind: str = ""
    found: PointsOnImage | None = None
    files: dict[str, Path] = field(default_factory=dict)
    tries: int = 0
    since: float = field(default_factory=time.monotonic)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def drop_study(self) -> None:
        """Take the study away, unless it is not ours."""
        drop, self.drop = self.drop, None
        if drop is not None:
            with contextlib.suppress(OSError):
                drop()

    def drop_files(self) -> None:
        if "output" in self.asked:
            shutil.rmtree(self.asked["output"], ignore_errors=True)


@dataclass(frozen=True)
class JobLimits:
    """waiting: jobs in line. kept: results. kept_s: for how long. job_s: what one study may take."""

    waiting: int = 100
    kept: int = 1000
    kept_s: float = 24 * 3600.0
    job_s: float = 600.0


class JobLine:
    """Gives one job after the other to a worker. All methods are for the thread of the event loop.

    make_client: starts a worker of the model in use.
    """

    def __init__(self, make_client: Callable[[], WorkerClient], limits: JobLimits) -> None:
        self.limits = limits
        self._client = make_client()
        self._jobs: dict[str, ApiJob] = {}
        self._running: ApiJob | None = None
        self._worker_id, self._started = "", 0.0
        self._has_work = asyncio.Event()

    def __len__(self) -> int:
        """Jobs in line and at work."""
        return sum(not job.ended.is_set() for job in self._jobs.values())

    @property
    def is_full(self) -> bool:
        return len(self) >= self.limits.waiting

    def find(self, job_id: str) -> ApiJob | None:
        return self._jobs.get(job_id)

    def add(self, job: ApiJob) -> None:
        """Put a job at the end; whoever asks has seen that there is room."""
        self._forget()
        self._jobs[job.id] = job
        self._has_work.set()

    def remove(self, job: ApiJob) -> None:
        """Forget a job and its result; one that runs is stopped."""
        self._jobs.pop(job.id, None)
        if job is self._running:
            self._client.cancel(self._worker_id)
        elif not job.ended.is_set():
            self._end(job, "cancelled")
        else:
            job.drop_files()

    async def work(self) -> None:
        """Until cancelled: hand out jobs and take what the worker says."""
        self._warm()
        while True:
            if self._running is None and (job := self._next()) is not None:
                self._start(job)
            for message in self._client.poll():
                self._take(message)
            if self._running is None and self._next() is None:
                self._has_work.clear()
                await self._has_work.wait()
                continue
            self._stop_if_late()
            await asyncio.sleep(NEWS_S)

    def close(self) -> None:
        """End the worker; uploads go."""
        self._client.close()
        for job in self._jobs.values():
            job.drop_study()

    def _warm(self) -> None:
        with contextlib.suppress(SpineLandmarksError):  # a fault is told by the job that needs the model
            self._client.warm()

    def _next(self) -> ApiJob | None:
        return next((job for job in self._jobs.values() if job.status == "queued"), None)

    def _start(self, job: ApiJob) -> None:
        self._running, job.status, job.tries = job, "running", job.tries + 1
        self._started = time.monotonic()
        try:
            self._worker_id = self._client.submit(job.path, **job.asked)
        except SpineLandmarksError as error:
            self._end(job, "failed", str(error), "backend")

    def _take(self, message: Message) -> None:
        job, event = self._running, message["event"]
        if job is None or message.get("id") != self._worker_id:
            return
        if event == "progress":
            job.share, job.stage = message["share"], message["stage"]
        elif event == "done":
            self._done(job, message)
        elif event == "lost" and job.tries < MAX_TRIES and job.id in self._jobs:
            job.status, self._running = "queued", None
        elif event in FINAL:
            status: JobStatus = "cancelled" if event == "cancelled" else "failed"
            self._end(job, status, str(message.get("error", "")), str(message.get("kind", event)))

    def _done(self, job: ApiJob, message: Message) -> None:
        said = from_fields(Fields.of(message["result"], "result"))
        grid = replace(ImageGrid.from_json(message["grid"]), name=job.name)
        job.found = PointsOnImage(replace(said, input=job.name), grid)
        written = [Path(file) for file in message.get("files", ())]
        job.files = {key: file for key, end in DICOM_NAMES.items() for file in written if file.name.endswith(end)}
        self._end(job, "done")

    def _stop_if_late(self) -> None:
        """A study that takes too long costs the worker: nothing else ends what does not heed a cancellation."""
        job = self._running
        if job is not None and time.monotonic() - self._started > self.limits.job_s:
            self._client.close()
            limit = f"Expected a study that is localized within {self.limits.job_s:.0f} s; it was stopped"
            self._end(job, "failed", limit, "timeout")

    def _end(self, job: ApiJob, status: JobStatus, error: str = "", kind: str = "") -> None:
        job.status, job.error, job.kind, job.since = status, error, kind, time.monotonic()
        job.drop_study()
        if status != "done" or job.id not in self._jobs:
            job.drop_files()
        job.ended.set()
        if job is self._running:
            self._running = None

    def _forget(self) -> None:
        """Drop the oldest results, and those whose time is over."""
        ended = [job for job in self._jobs.values() if job.ended.is_set()]
        late = time.monotonic() - self.limits.kept_s
        surplus = len(ended) - self.limits.kept + 1
        for number, job in enumerate(ended):
            if number < surplus or job.since < late:
                del self._jobs[job.id]
                job.drop_files()
