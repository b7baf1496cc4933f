"""A Ray cluster as engine of a batch: any number of machines, with a processor or a GPU for each actor.

Only the driver writes results and the ledger, once for each study, when its files have come. Ray restarts an actor that
dies, on another machine if need be; its study is given to whoever is free first, and none is lost or written twice.
Inputs must be readable under the same path on every machine, and the program and the bundle must be the same there; the
output folder need not exist on them.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SpineLandmarksLib import __version__
from SpineLandmarksLib.backends import usable_cpus
from SpineLandmarksLib.batch.local import BatchSettings, run_item
from SpineLandmarksLib.batch.results import BatchItem, Outcome, explain
from SpineLandmarksLib.bundle import METADATA, bundles_named, identity, load_bundle
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

Files = dict[str, bytes]

#: A study is taken to be the cause when so many actors died of it, and an actor unfit that dies so often of loading.
MAX_DEATHS = 3
#: After this long without any news, what is waited for is said.
QUIET_S = 30.0


class Actor:
    """Localizes one study after the other, in a process of its own. expected: version and bundle of the driver."""

    def __init__(self, bundle: str, backend: str, device: str, expected: tuple[str, str]) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # the processor that it was given; those beside it have their own actors
        self._asked, self._expected = (bundle, backend, device), expected
        self._localizer: Localizer | None = None

    def ready(self) -> str:
        """Load the model. Returns the name of its backend; raises what `Localizer.open` does, and BackendError."""
        return self._loaded().backend.name

    def localize(self, study: BatchItem, path: Path, settings: BatchSettings) -> tuple[Outcome, Files]:
        """The outcome, without a way to write it, and the contents of its files by name. path: absolute."""
        try:
            stack = read_study(path, settings.spacing_mm, settings.study, settings.every_series)
            outcome = run_item(study, stack, self._loaded(), settings)
            return replace(outcome, write=None), _files(outcome)
        except Exception as error:
            return Outcome(study, error=explain(error)), {}

    def _loaded(self) -> Localizer:
        """The model, loaded once a process, so again after a restart, on whatever machine that is."""
        if self._localizer is None:
            localizer, (version, bundle) = Localizer.open(*self._asked), self._expected
            if (got := identity(localizer.bundle)) != bundle or __version__ != version:
                raise BackendError(
                    f"{platform.node()}: expected SpineLandmarks {version} and the bundle {bundle[:12]}, as on the "
                    f"machine of the command; got {__version__}, bundle {got[:12]}"
                )
            self._localizer = localizer
        return self._localizer


def _files(outcome: Outcome) -> Files:
    if not outcome.write:
        return {}
    with TemporaryDirectory(prefix="spine-landmarks-") as folder:
        outcome.write(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


@dataclass(frozen=True)
class Task:
    """What an actor was asked to do: a study, or, without one, to get ready."""

    actor: Any
    study: BatchItem | None = None


class ActorPool:
    """Gives each actor one study at a time, and takes one outcome of each study, whoever dies.

    ray: the module, connected to a cluster. actors: handles of `Actor`, which Ray restarts when they die.
    """

    def __init__(self, ray: Any, actors: Iterable[Any]) -> None:
        self._ray = ray
        self._tasks: dict[Any, Task] = {}  # by the reference to the answer, oldest first
        self._idle: deque[Any] = deque()
        self._waiting: deque[BatchItem] = deque()
        self._deaths: Counter[BatchItem] = Counter()
        self._backend = ""  # of the last actor that got ready
        for actor in actors:
            self._prepare(actor)

    def start(self) -> str:
        """The backend of the first actor that is ready. BackendError when none can be."""
        while not self._backend:
            list(self._news())  # nobody has a study yet
        return self._backend

    def work(self, studies: Iterable[BatchItem], settings: BatchSettings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in the order in which they are done. BackendError when nobody is left."""
        coming, done = iter(studies), list[Outcome]()
        while self._hand_out(coming, settings) or self._is_working():
            yield from done  # after their actors were given the next
            done = list(self._news())
        yield from done

    def _prepare(self, actor: Any) -> None:
        self._tasks[actor.ready.options(max_task_retries=MAX_DEATHS - 1).remote()] = Task(actor)

    def _is_working(self) -> bool:
        return any(task.study for task in self._tasks.values())

    def _hand_out(self, coming: Iterator[BatchItem], settings: BatchSettings) -> bool:
        """Give a study to each that is idle; whether any study is left."""
        while True:
            if not self._waiting:
                self._waiting.extend(islice(coming, 1))
            if not self._waiting or not self._idle:
                return bool(self._waiting)
            actor, study = self._idle.popleft(), self._waiting.popleft()
            path = Path(os.path.abspath(study.path))
            self._tasks[actor.localize.remote(study, path, settings)] = Task(actor, study)

    def _news(self) -> Iterator[Outcome]:
        """Wait for one answer, or a death, and deal with it."""
        if not self._tasks:
            raise BackendError("No actor of the cluster is left; --resume goes on from here")
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=QUIET_S)
        if not done and not self._is_working():
            _say(f"waiting for the cluster to start one of {len(self._tasks)} actors")
        for reference in done:
            yield from self._settle(reference, self._tasks.pop(reference))

    def _settle(self, reference: Any, task: Task) -> Iterator[Outcome]:
        try:
            answer = self._ray.get(reference)
        except self._ray.exceptions.RayTaskError as error:  # raised by the actor, which lives
            answer = error.cause if isinstance(error.cause, Exception) else error
        except self._ray.exceptions.RayError as error:
            yield from self._on_actor_death(task, error)
            return
        if task.study is None and isinstance(answer, Exception):
            return self._reject(explain(answer)["error"])
        self._idle.append(task.actor)
        if task.study:
            yield _outcome(task.study, answer)
        else:
            self._backend = answer

    def _on_actor_death(self, task: Task, error: Exception) -> Iterator[Outcome]:
        """An actor has died, or its answer with the machine: wait for its restart, and have its study done by any."""
        if task.study is None and isinstance(error, self._ray.exceptions.ActorUnavailableError):
            return self._prepare(task.actor)  # its machine has just gone; Ray will know where else it can begin
        if task.study is None:  # Ray has tried again
            return self._reject(_line(error))
        self._prepare(task.actor)
        self._deaths[task.study] += 1
        if self._deaths[task.study] < MAX_DEATHS:
            self._waiting.appendleft(task.study)
        else:
            yield Outcome(task.study, error={"error": f"{MAX_DEATHS} actors died of this study: {_line(error)}"})

    def _reject(self, reason: str) -> None:
        """Go on without an actor that cannot begin."""
        if not self._tasks and not self._idle:
            raise BackendError(f"No actor of the cluster can begin: {reason}")
        _say(f"an actor of the cluster cannot begin: {reason}")


def _outcome(study: BatchItem, answer: tuple[Outcome, Files] | Exception) -> Outcome:
    if isinstance(answer, Exception):
        return Outcome(study, error=explain(answer))
    outcome, files = answer
    return replace(outcome, study=study, write=partial(_write, files) if files else None)


def _write(files: Files, folder: Path) -> None:
    for name, content in files.items():
        with write_atomically(folder / name) as file:
            file.write(content)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _say(text: str) -> None:
    print(f"spine-landmarks: {text}", file=sys.stderr)


#: Shared memory of a cluster that is started here: results of a study have some hundred kB.
_STORE_BYTES = 100 * 2**20
#: A cluster that takes longer to be called is not there.
_ANSWERS_IN_S = 5.0


class RayEngine:
    """The engine, connected while it is entered (`with`), with at least one actor ready.

    bundle, backend, device: as for `Localizer.open`; each actor for the device `cuda` gets a GPU.
    address: of the cluster; without one, that of RAY_ADDRESS, else a cluster is started on this machine for the time
    of the run. workers: how many actors; without a number, as many as the cluster has processors, or GPUs for CUDA.
    Raises BackendError: no Ray, no cluster, or none of its machines can run the bundle.
    """

    def __init__(
        self, bundle: str, backend: str, device: str, address: str | None = None, workers: int | None = None
    ) -> None:
        self._ray = _ray()
        self.bundle = load_bundle(bundles_named(bundle)[0])
        self.backend = ""  # known when an actor has chosen
        named = str(Path(bundle).resolve()) if (Path(bundle) / METADATA).is_file() else bundle
        self._asked = named, backend, device
        self._kind = "GPU" if device == "cuda" else "CPU"
        self._address, self._workers = address or os.environ.get("RAY_ADDRESS") or "local", workers

    def __enter__(self) -> RayEngine:
        try:
            _connect(self._ray, self._address, self._workers)
            place = {"num_cpus": 1, "num_gpus": int(self._kind == "GPU"), "scheduling_strategy": "SPREAD"}
            actor = self._ray.remote(max_restarts=-1, **place)(Actor)
            count, expected = self._workers or self._all_there_are(), (__version__, identity(self.bundle))
            self._pool = ActorPool(self._ray, [actor.remote(*self._asked, expected) for _ in range(count)])
            self.backend = self._pool.start()
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()  # and with it our actors

    def outcomes(self, studies: Iterable[BatchItem], settings: BatchSettings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in the order in which they are done. Raises BackendError when all is lost."""
        return self._pool.work(studies, settings)

    def _all_there_are(self) -> int:
        resources = self._ray.cluster_resources()
        count = int(resources.get(self._kind, 0))
        if not count:
            raise BackendError(f"Expected a cluster with a {self._kind}; it has {resources}")
        return count


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise BackendError(f"--engine ray needs Ray: pip install 'spine-landmarks[cluster]' ({error})") from error
    return ray


def _connect(ray: Any, address: str, workers: int | None) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # GPUs are not hidden from what needs none
    if address != "local":
        _require_somebody_at(address)
    own = {"num_cpus": workers or usable_cpus(), "include_dashboard": False, "object_store_memory": _STORE_BYTES}
    try:
        ray.init(address=address, log_to_driver=False, logging_level="error", **(own if address == "local" else {}))
    except Exception as error:  # ConnectionError, RuntimeError, ValueError and more: all say what is wrong
        raise BackendError(f"Expected a Ray cluster at {address}; got {type(error).__name__}: {error}") from error


def _require_somebody_at(address: str) -> None:
    """Ray itself would try for a quarter of an hour, whatever the address."""
    os.environ.setdefault("RAY_gcs_server_port_wait_time_s", "1")  # how often it tries, where `auto` leads to nobody
    host, colon, port = address.rpartition(":")
    if address == "auto":
        return
    if not (colon and port.isdecimal()) or "/" in host:
        raise BackendError(f"Expected the address of a Ray cluster as HOST:PORT or auto; got {address!r}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERS_IN_S).close()
    except (OSError, OverflowError) as error:
        raise BackendError(f"Expected a Ray cluster at {address}; nobody answers there: {error}") from error
