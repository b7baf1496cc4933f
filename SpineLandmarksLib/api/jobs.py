"""The jobs of the HTTP interface: a line before one worker, and results that are kept for a while."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from SpineLandmarksLib.api.job_folder import ApiJob, JobFolder, JobStatus
from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.errors import OutputError, SpineLandmarksError
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL, Message

#: How often the worker is asked for news while it works, and how often what is old is looked for while it does not, s.
NEWS_S, FORGET_S = 0.02, 600.0
#: A job whose worker died under it is given to the next one, so often in all.
MAX_TRIES = 2


@dataclass(frozen=True)
class JobLimits:
    """waiting: jobs in line. kept: results. kept_s: for how long. job_s: what one study may take."""

    waiting: int = 100
    kept: int = 1000
    kept_s: float = 24 * 3600.0
    job_s: float = 600.0


class JobLine:
    """Gives one job after the other to a worker. All methods are for the thread of the event loop.

    make_client: starts a worker of the model in use. folder: whose jobs of an earlier process are gone on with.
    """

    def __init__(self, make_client: Callable[[], WorkerClient], limits: JobLimits, folder: Path) -> None:
        self.limits, self.folder = limits, JobFolder(folder)
        self._client = make_client()
        self._jobs: dict[str, ApiJob] = {job.id: job for job in self.folder.jobs()}
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
        """Put a job at the end; whoever asks has seen that there is room. OutputError where it cannot be written."""
        self._forget(room_for=1)
        self.folder.save(job)
        self._jobs[job.id] = job
        self._has_work.set()

    def remove(self, job: ApiJob) -> None:
        """Forget a job and its result; one that runs is stopped."""
        self._jobs.pop(job.id, None)
        self.folder.forget(job)
        if job is self._running:
            self._client.cancel(self._worker_id)
        elif not job.ended.is_set():
            self._end(job, "cancelled")
        else:
            self.folder.drop(job)

    async def work(self) -> None:
        """Until cancelled: hand out jobs and take what the worker says."""
        self._warm()
        while True:
            if self._running is None and (job := self._next()) is not None:
                self._start(job)
            for message in self._client.poll():
                self._take(message)
            if self._running is None and self._next() is None:
                await self._rest()
                continue
            self._stop_if_late()
            await asyncio.sleep(NEWS_S)

    def close(self) -> None:
        """End the worker. Jobs that are not done stay in the folder, and what was begun was not tried."""
        self._client.close()
        if self._running is not None and self._running.id in self._jobs:
            self._running.tries -= 1
            self._save(self._running)

    async def _rest(self) -> None:
        self._has_work.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._has_work.wait(), FORGET_S)
        self._forget()

    def _warm(self) -> None:
        with contextlib.suppress(SpineLandmarksError):  # a fault is told by the job that needs the model
            self._client.warm()

    def _next(self) -> ApiJob | None:
        return next((job for job in self._jobs.values() if job.status == "queued"), None)

    def _start(self, job: ApiJob) -> None:
        if job.tries >= MAX_TRIES:  # in an earlier process
            return self._end(job, "failed", "The server ended while it was at this study, each time", "lost")
        self._running, job.status, job.tries = job, "running", job.tries + 1
        self._started = time.monotonic()
        self._save(job)
        asked: dict[str, Any] = dict(job.asked)
        if job.dicom:
            asked |= {"output": self.folder.dicom(job), "formats": list(DICOM_NAMES.values())}
        try:
            self._worker_id = self._client.submit(job.path, **asked)
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
        said = replace(from_fields(Fields.of(message["result"], "result")), input=job.name)
        grid = replace(ImageGrid.from_json(message["grid"]), name=job.name)
        job.warnings, job.needs_review = list(said.warnings), said.needs_review
        job.formats = [name for name in DICOM_NAMES if self.folder.dicom_file(job, name)]
        try:
            self.folder.save_result(job, PointsOnImage(said, grid))
        except OutputError:
            self._end(job, "failed", "There is too little room on the server's disk; send it again later", "output")
        else:
            self._end(job, "done")

    def _stop_if_late(self) -> None:
        """A study that takes too long costs the worker: nothing else ends what does not heed a cancellation."""
        job = self._running
        if job is not None and time.monotonic() - self._started > self.limits.job_s:
            self._client.close()
            limit = f"Expected a study that is localized within {self.limits.job_s:.0f} s; it was stopped"
            self._end(job, "failed", limit, "timeout")

    def _end(self, job: ApiJob, status: JobStatus, error: str = "", kind: str = "") -> None:
        job.status, job.error, job.kind, job.changed_s = status, error, kind, time.time()
        if job.id in self._jobs:
            self._save(job)
            self.folder.drop_study(job)
        else:
            self.folder.drop(job)
        job.ended.set()
        if job is self._running:
            self._running = None

    def _save(self, job: ApiJob) -> None:
        with contextlib.suppress(OutputError):  # what is in memory holds until the process ends
            self.folder.save(job)

    def _forget(self, room_for: int = 0) -> None:
        """Drop the oldest results, and those whose time is over."""
        ended = [job for job in self._jobs.values() if job.ended.is_set()]
        late = time.time() - self.limits.kept_s
        surplus = len(ended) - self.limits.kept + room_for
        for number, job in enumerate(ended):
            if number < surplus or job.changed_s < late:
                del self._jobs[job.id]
                self.folder.drop(job)
