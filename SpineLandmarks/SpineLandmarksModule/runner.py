"""One localization at a time in the worker process, from a copy of the voxels to the landmarks.

Nothing here waits: a thread writes the voxels to a file, the worker does the rest, and a timer calls `poll`.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import slicer
from slicer.i18n import tr

from SpineLandmarksLib.errors import BackendError, SpineLandmarksError
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.worker.client import WorkerClient
from SpineLandmarksLib.worker.protocol import FINAL

#: A worker that does not heed a cancellation for this long is ended.
PATIENCE_S = 3.0
#: What the folders of voxels are called, and for how long one may lie untouched.
PREFIX, LEFT_BEHIND_S = "SpineLandmarks-", 24 * 3600.0
#: A worker that was told to end is gone after this long.
ENDING_S = 3.0


class Voxels(Protocol):
    """What can be written for the worker, in any thread. name: of a file, for people who read an error."""

    name: str

    def write(self, path: Path) -> None: ...


@dataclass(frozen=True)
class WorkerOptions:
    """What the worker is started with."""

    bundle: str = "lumbar11"
    backend: str = "light"
    device: str = "cpu"

    def command(self) -> tuple[str, ...]:
        settings = ("--bundle", self.bundle, "--backend", self.backend, "--device", self.device)
        return (python(), "-m", "SpineLandmarksLib", "serve", *settings)


def python() -> str:
    """What runs Python outside of Slicer's window. Raises BackendError."""
    found = shutil.which("PythonSlicer")
    if found is None and not Path(sys.executable).name.lower().startswith("python"):  # Slicer itself
        raise BackendError(
            tr("Expected PythonSlicer beside Slicer; it is not on the PATH. Start Slicer by its launcher")
        )
    return found or sys.executable


@dataclass
class LocalizationJob:
    """study: whose it is. is_again: around what a person has said. asked: arguments of `WorkerClient.submit`."""

    study: str
    is_again: bool
    asked: Mapping[str, Any]
    path: Path
    written: Future[None]
    started: float = field(default_factory=time.monotonic)
    id: str = ""
    cancelled_at: float | None = None

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started


@dataclass(frozen=True)
class JobResult:
    """landmarks: when it was done. error: why not; empty when it was cancelled. kind: of the error (docs/worker.md)."""

    landmarks: LandmarkSet | None = None
    error: str = ""
    kind: str = ""


class Runner:
    """on_progress: called with the share done and what is being done. on_end: once for each job that was started."""

    def __init__(
        self,
        on_progress: Callable[[float, str], None],
        on_end: Callable[[LocalizationJob, JobResult], None],
        make_client: Callable[[WorkerOptions], WorkerClient] = lambda model: WorkerClient(model.command()),
    ) -> None:
        self._on_progress, self._on_end, self.make_client = on_progress, on_end, make_client
        self._client: WorkerClient | None = None
        self._model = WorkerOptions()
        self._writer = ThreadPoolExecutor(1, "SpineLandmarks voxels")
        self._folder = new_folder(Path(slicer.app.temporaryPath))
        self._ended = -ENDING_S
        self.job: LocalizationJob | None = None

    @property
    def is_busy(self) -> bool:
        """Whether `poll` must be called: something is being done, a model is being loaded, or a worker is ending."""
        is_ending = time.monotonic() - self._ended < ENDING_S
        return self.job is not None or bool(self._client and self._client.open_jobs) or is_ending

    def use(self, model: WorkerOptions) -> None:
        """What later jobs run with; a worker that runs with something else ends."""
        if model != self._model:
            self._end_worker()
        self._model = model

    def restart(self) -> None:
        """End the worker, so that the next job finds what was installed meanwhile."""
        self._end_worker()

    def warm(self) -> None:
        """Start the worker and load the model before it is needed. A fault is told by the job that needs it."""
        with contextlib.suppress(SpineLandmarksError):
            if self._client is None:
                self._client = self.make_client(self._model)
                self._client.warm()

    def start(self, study: str, voxels: Voxels, asked: Mapping[str, Any], is_again: bool = False) -> None:
        """Begin. The one before must have ended."""
        assert self.job is None
        path = self._folder / f"{voxels.name}.mha"
        self.job = LocalizationJob(study, is_again, asked, path, self._writer.submit(voxels.write, path))
        self._on_progress(0.0, tr("copying the voxels"))

    def cancel(self) -> None:
        if self.job and self.job.cancelled_at is None:
            self.job.cancelled_at = time.monotonic()
            if self.job.id and self._client:
                self._client.cancel(self.job.id)

    def poll(self) -> None:
        """Take what has happened since the last call."""
        if self.job and not self.job.id:
            self._submit(self.job)
        for message in self._client.poll() if self._client else ():
            if self.job and message.get("id") == self.job.id:
                self._take(self.job, message)
        if self.job and self.job.cancelled_at and time.monotonic() - self.job.cancelled_at > PATIENCE_S:
            self._end_worker()

    def close(self) -> None:
        """End everything; the runner is not used again."""
        self._on_progress = lambda share, stage: None
        self._on_end = lambda job, end: None
        self._end_worker()
        self._writer.shutdown(wait=False, cancel_futures=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    def _submit(self, job: LocalizationJob) -> None:
        if not job.written.done():
            return
        if job.cancelled_at is not None:
            return self._finish(job, JobResult())
        try:
            job.written.result()
            self._client = self._client or self.make_client(self._model)
            job.id = self._client.submit(job.path, **job.asked)
        except OSError as error:
            reason = tr("{reason}. Free some space on the disk of {folder} and try again").format(
                reason=error.strerror or error, folder=self._folder
            )
            self._finish(job, JobResult(error=tr("Could not hand the volume over: {reason}").format(reason=reason)))
        except SpineLandmarksError as error:
            self._finish(job, JobResult(error=str(error), kind="backend"))

    def _take(self, job: LocalizationJob, message: Mapping[str, Any]) -> None:
        event = message["event"]
        if event == "progress":
            self._on_progress(message["share"], message["stage"])
        elif event == "done":
            try:
                self._finish(job, JobResult(from_fields(Fields.of(message["result"], "the worker's answer"))))
            except SpineLandmarksError as error:
                self._finish(job, JobResult(error=str(error)))
        elif event in FINAL:
            self._finish(
                job, JobResult(error="" if event == "cancelled" else _told(message), kind=message.get("kind", ""))
            )

    def _finish(self, job: LocalizationJob, end: JobResult) -> None:
        self.job = None
        job.path.unlink(missing_ok=True)
        self._on_end(job, end)

    def _end_worker(self) -> None:
        if self._client:
            self._client.close()
            self._ended = time.monotonic()
        self._client = None
        if self.job and self.job.id:
            self._finish(self.job, JobResult())


def new_folder(parent: Path) -> Path:
    """For voxels of patients, where Slicer keeps what is temporary. What a crash left there goes."""
    parent.mkdir(parents=True, exist_ok=True)
    for old in parent.glob(f"{PREFIX}*"):
        if time.time() - old.stat().st_mtime > LEFT_BEHIND_S:
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))


def _told(message: Mapping[str, Any]) -> str:
    """The error of a job with the last words of a worker that died."""
    return "\n".join([str(message["error"]), *map(str, message.get("stderr", [])[-3:])])
