"""`spine-landmarks serve`: reads requests on stdin, keeps the model warm, writes messages on stdout (docs/worker.md).

Three threads: one reads requests, so that cancelling and pinging go on during work; one writes messages; the main one
works, one job at a time. The process ends when stdin does, when its parent does, and when nobody can read its messages.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib import metadata
from pathlib import Path
from queue import Full, Queue

from SpineLandmarksLib import __version__
from SpineLandmarksLib.batch import explain, stems, write_results
from SpineLandmarksLib.bundle import identity, shipped_bundles
from SpineLandmarksLib.errors import InputError, SpineLandmarksError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.imaging.study import read_grid
from SpineLandmarksLib.predict import Localizer, printable
from SpineLandmarksLib.worker.protocol import (
    JOBS,
    MAX_LINE,
    PROTOCOL,
    Message,
    Request,
    RequestError,
    encode,
    on_orphaned,
    parse_request,
    read_lines,
    write_all,
)

#: Jobs that may wait in line; one more is refused.
MAX_WAITING = 10_000
#: With this many unread, news of progress is not kept.
MAX_PROGRESS = 100
#: With this many unread, whoever has more to say waits: results are never dropped, and memory has an end.
MAX_UNREAD = 10_000


class Outbox:
    """A queue and the thread that empties it. `write` may block for as long as it likes.

    on_broken: called once, when `write` raises OSError: nobody will ever read again.
    """

    def __init__(self, write: Callable[[bytes], None], on_broken: Callable[[], None] = lambda: None) -> None:
        self._write, self._on_broken = write, on_broken
        self._lines: Queue[bytes | None] = Queue(MAX_UNREAD)
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Send in turn, once there is room; `progress` is dropped when much is unread. ValueError for no JSON."""
        line = encode(message)
        if message["event"] != "progress" or self._lines.qsize() < MAX_PROGRESS:
            self._lines.put(line)

    def close(self, wait_s: float = 1.0) -> None:
        """Send what waits, for at most `wait_s` or, where nobody reads, twice that."""
        with contextlib.suppress(Full):
            self._lines.put(None, timeout=wait_s)
        self._thread.join(wait_s)

    def _run(self) -> None:
        try:
            while (line := self._lines.get()) is not None:
                self._write(line)
        except OSError:
            threading.Thread(target=self._on_broken, name="broken", daemon=True).start()
            while self._lines.get() is not None:  # nobody who puts may wait for ever
                pass


class Cancelled(Exception):
    """Raised inside a job that somebody has cancelled."""


class WorkerJob:
    """A request that is worked on."""

    def __init__(self, request: Request) -> None:
        assert request.id is not None
        self.request, self.id = request, request.id
        self.is_cancelled = False

    def check(self) -> None:
        """Raise Cancelled when it was."""
        if self.is_cancelled:
            raise Cancelled


class JobList:
    """The line, out of which a job can be taken anywhere. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, WorkerJob] = OrderedDict()
        self._running: WorkerJob | None = None
        self._is_closed = False
        self._changed = threading.Condition()

    def add(self, job: WorkerJob, announce: Callable[[int], None]) -> str | None:
        """Put a job at the end of the line and `announce` how many are before it; or say why not."""
        with self._changed:
            if len(self._waiting) >= MAX_WAITING:
                return f"Expected at most {MAX_WAITING} jobs in line; send this one again when some are done"
            if job.id in self._waiting or self._runs(job.id):
                return f"Expected a new id for a new job; {job.id!r} is that of one that is not done"
            # under the lock, so that it is heard of before it starts
            announce(len(self._waiting) + (self._running is not None))
            self._waiting[job.id] = job
            self._changed.notify_all()
        return None

    def take(self) -> WorkerJob | None:
        """The next job, when there is one; it runs until the next call. None when the list is closed."""
        with self._changed:
            self._running = None
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            self._running = self._waiting.popitem(last=False)[1] if self._waiting else None
            return self._running

    def withdraw(self, job_id: str) -> bool:
        """Take a waiting job out of the line; whether it was there."""
        with self._changed:
            return self._waiting.pop(job_id, None) is not None

    def stop(self, job_id: str) -> bool:
        """Flag the running job; whether it is this one."""
        with self._changed:
            if self._running is None or not self._runs(job_id):
                return False
            self._running.is_cancelled = True
            return True

    def close(self) -> None:
        """Cancel all jobs; `take` still gives those that wait, each flagged, and then None."""
        with self._changed:
            for job in (self._running, *self._waiting.values()):
                if job:
                    job.is_cancelled = True
            self._is_closed = True
            self._changed.notify_all()

    def _runs(self, job_id: str) -> bool:
        return self._running is not None and self._running.id == job_id


#: What a step that cannot be interrupted (reading a file, one batch) may still take once the worker is to end.
GRACE_S = 5.0
#: What may do the work, and whether it is installed, is told by `describe`.
RUNTIMES = ("onnxruntime", "torch")


def serve(requests: int, messages: int, open_localizer: Callable[[], Localizer], settings: Message) -> int:
    """Work until there are no more requests. requests, messages: file descriptors. settings: told by `describe`."""
    worker = Worker(open_localizer, settings)

    def end() -> None:
        timer = threading.Timer(GRACE_S, os._exit, (1,))  # first: what follows waits where nobody reads
        timer.daemon = True
        timer.start()
        worker.end()

    outbox = Outbox(partial(write_all, messages), on_broken=end)
    worker.say = outbox.put
    on_orphaned(end)  # first: whoever is told that this is ready may be killed at once
    outbox.put({"event": "ready", "protocol": PROTOCOL, "version": __version__, "pid": os.getpid()})

    def listen() -> None:
        for line in read_lines(requests, MAX_LINE):
            if not worker.receive(line):
                break
        end()

    threading.Thread(target=listen, name="requests", daemon=True).start()
    worker.run()
    outbox.close()
    return 0


class Worker:
    """The jobs in line, and the model that does them, which is loaded once. `say` takes each message."""

    def __init__(self, open_localizer: Callable[[], Localizer], settings: Message) -> None:
        self.say: Callable[[Message], None] = lambda message: None
        self._open, self._settings = open_localizer, settings
        self._localizer: Localizer | None = None
        self._jobs = JobList()

    def receive(self, line: bytes | None) -> bool:
        """Answer one line, or put its job in line; whether there may be more. None is a line that was too long."""
        try:
            if line is None:
                raise RequestError(f"request: expected a line of at most {MAX_LINE} bytes")
            if line.strip():
                request = parse_request(line)
                self._answer(request)
                return request.do != "quit"
        except RequestError as error:
            event = "failed" if error.do in JOBS and error.request_id is not None else "error"
            self.say({"id": error.request_id, "event": event, "kind": "request", "error": str(error)})
        except Exception as error:
            self.say({"id": None, "event": "error", **failure(error)})
        return True

    def run(self) -> None:
        """Do the jobs, one after the other, until `end`."""
        while job := self._jobs.take():
            self._do(job)

    def end(self) -> None:
        """Cancel everything, and let `run` return."""
        self._jobs.close()

    def _answer(self, request: Request) -> None:
        if request.do == "ping":
            self.say({"id": request.id, "event": "pong"})
        elif request.do == "describe":
            self.say({"id": request.id, "event": "described", **self._describe()})
        elif request.do == "cancel":
            self._cancel(str(request.id))
        elif request.do in JOBS:
            self._queue(WorkerJob(request))

    def _queue(self, job: WorkerJob) -> None:
        refusal = self._jobs.add(job, lambda before: self.say({"id": job.id, "event": "queued", "before": before}))
        if refusal:
            self.say({"id": job.id, "event": "error", "kind": "request", "error": refusal})

    def _cancel(self, job_id: str) -> None:
        if self._jobs.withdraw(job_id):
            self.say({"id": job_id, "event": "cancelled"})
        elif not self._jobs.stop(job_id):  # it may have ended while the request was on its way
            self.say({"id": job_id, "event": "error", "kind": "request", "error": "Expected the id of a job in line"})

    def _do(self, job: WorkerJob) -> None:
        try:
            job.check()
            self.say({"id": job.id, "event": "started"})
            facts = self._localize(job) if job.request.do == "localize" else self._warm()
            self.say({"id": job.id, "event": "done", **facts})
        except Cancelled:
            self.say({"id": job.id, "event": "cancelled"})
        except Exception as error:
            self.say({"id": job.id, "event": "failed", **failure(error)})

    def _localize(self, job: WorkerJob) -> Message:
        def progress(share: float, stage: str) -> None:
            job.check()
            self.say({"id": job.id, "event": "progress", "share": round(share, 4), "stage": stage})

        asked = job.request
        progress(0.0, "loading the model")
        localizer = self._loaded()
        progress(0.0, "reading")
        stack, grid = read_grid(asked.path, asked.spacing_mm)
        slices = _within(asked.slices, len(stack))
        found = localizer.localize(stack, asked.slice_index, slices=slices, given=asked.given, progress=progress)
        found = replace(found, input=printable(asked.path))
        job.check()
        model = identity(localizer.bundle)
        files = [] if asked.output is None else write_results(stack, found, *_target(asked), asked.formats, model)
        told = {"notes": list(stack.notes), "files": [printable(file) for file in files], "grid": grid.as_json()}
        return {"result": as_json(found), **told}

    def _warm(self) -> Message:
        started = time.perf_counter()
        localizer = self._loaded()
        took = round(time.perf_counter() - started, 3)
        return {"bundle": localizer.bundle.label, "backend": localizer.backend.name, "runtime_s": took}

    def _loaded(self) -> Localizer:
        """The model. What is wrong with it is the failure of each job that needs it."""
        if self._localizer is None:
            self._localizer = self._open()
        return self._localizer

    def _describe(self) -> Message:
        loaded = self._localizer
        return {
            "version": __version__,
            "protocol": PROTOCOL,
            **self._settings,
            "loaded": loaded and {"bundle": loaded.bundle.label, "backend": loaded.backend.name},
            "bundles": shipped_bundles(),
            "runtimes": {name: _version(name) for name in RUNTIMES},
        }


def failure(error: Exception) -> Message:
    """`kind` and one line; for a fault of the program `details` too. A kind is the error's class in small letters."""
    if isinstance(error, SpineLandmarksError):
        kind = type(error).__name__.removesuffix("Error").lower()
    else:
        kind = "memory" if isinstance(error, MemoryError) else "fault"
    return {"kind": kind, **explain(error)}


def _within(slices: tuple[int, int] | None, count: int) -> range | None:
    if slices and slices[1] >= count:
        raise InputError(f"Expected slices in 0..{count - 1}; got {slices[0]} to {slices[1]}")
    return range(slices[0], slices[1] + 1) if slices else None


def _target(asked: Request) -> tuple[Path, str]:
    """Folder and stem of the result files."""
    folder = Path(str(asked.output))
    folder.mkdir(parents=True, exist_ok=True)
    return folder, stems([Path(asked.path)])[0]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
