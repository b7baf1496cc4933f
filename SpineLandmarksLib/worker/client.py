"""The worker for a user interface: every call returns at once, and a worker that dies is noticed and replaced."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from os import PathLike, fspath
from typing import Any

from SpineLandmarksLib.landmarks import Point
from SpineLandmarksLib.worker.process import ENDED, Spawn, WorkerProcess
from SpineLandmarksLib.worker.protocol import FINAL, JOBS, Message

SERVE = (sys.executable, "-m", "SpineLandmarksLib", "serve")


class WorkerClient:
    """Gives jobs to a worker process, which it starts for the first job and again after a crash.

    command: what starts the worker (in Slicer, its own Python and `-m SpineLandmarksLib serve`). spawn: as
    subprocess.Popen. For one thread; every call returns at once, also when the worker hangs.

    Messages are those of docs/worker.md. A worker that dies gives a `lost` message for each job that was not done:
    {"id", "event": "lost", "error": one line, "stderr": its last lines}.
    """

    def __init__(self, command: Sequence[str] = SERVE, spawn: Spawn = subprocess.Popen) -> None:
        self._command, self._spawn = tuple(command), spawn
        self._ids = count(1)
        self._processes: list[WorkerProcess] = []  # the last one is in use; others have ended and have news left
        self._open: dict[str, WorkerProcess] = {}

    @property
    def open_jobs(self) -> tuple[str, ...]:
        """Ids of the jobs that are not done, oldest first."""
        return tuple(self._open)

    @property
    def pid(self) -> int | None:
        """Of the worker, if one runs."""
        alive = [process.pid for process in self._processes if process.is_alive]
        return alive[-1] if alive else None

    def submit(
        self,
        path: str | PathLike[str],
        *,
        spacing_mm: float | Sequence[float] | None = None,
        slice_index: int | None = None,
        slices: tuple[int, int] | None = None,
        given: Mapping[str, Point | None] | None = None,
        output: str | PathLike[str] | None = None,
        formats: Sequence[str] | None = None,
    ) -> str:
        """Localize a study; the arguments are those of a `localize` request. Returns the job's id.

        Raises BackendError when the worker cannot be started.
        """
        values = {
            "path": fspath(path),
            "spacing_mm": spacing_mm,
            "slice_index": slice_index,
            "slices": slices,
            "given": given,
            "output": None if output is None else fspath(output),
            "formats": formats,
        }
        return self.request("localize", **{name: value for name, value in values.items() if value is not None})

    def warm(self) -> str:
        """Load the model before it is needed. Returns the job's id; raises as `submit`."""
        return self.request("warm")

    def request(self, do: str, **fields: Any) -> str:
        """Send any request of the protocol. Returns its id; raises as `submit`."""
        job_id = str(next(self._ids))
        if not self._processes or not self._processes[-1].is_alive:
            self._processes.append(WorkerProcess(self._command, self._spawn))
        process = self._processes[-1]
        if do in JOBS:
            self._open[job_id] = process
        process.send({"id": job_id, "do": do, **fields})
        return job_id

    def cancel(self, job_id: str) -> None:
        """Ask for the end of a job; its `cancelled` message comes when it has. Nothing happens to one that is done."""
        if job_id in self._open:
            self._open[job_id].send({"id": job_id, "do": "cancel"})

    def poll(self) -> list[Message]:
        """The messages since the last call, in order."""
        return [message for process in tuple(self._processes) for message in self._news(process)]

    def close(self) -> None:
        """End the worker and all that it started, whatever it is doing. The next job starts a new one."""
        for process in self._processes:
            process.end()
        self._processes.clear()
        self._open.clear()

    def _news(self, process: WorkerProcess) -> Iterator[Message]:
        for message in process.news():
            if message["event"] == ENDED:
                self._processes.remove(process)
                yield from self._lost(process, message)
                continue
            if message["event"] in FINAL:
                self._open.pop(str(message.get("id")), None)
            yield message

    def _lost(self, process: WorkerProcess, end: Message) -> Iterator[Message]:
        for job_id in [job_id for job_id, its_process in self._open.items() if its_process is process]:
            del self._open[job_id]
            yield {"id": job_id, "event": "lost", "error": end["error"], "stderr": end["stderr"]}
