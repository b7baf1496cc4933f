"""Does the work of many studies on a Ray cluster, on any number of machines, with a processor or a GPU for each actor.

Only the driver writes results and the ledger, once for each study, when its files have come: a study whose actor or
machine dies is given to another, and none is lost or written twice. Inputs must be readable under the same path on
every machine, and the program and the bundle must be the same there; the output folder need not exist on them.

The actors of a run and what each has in hand. One that dies is replaced, and others do what it had.

What runs on the machines of a cluster: a localizer with one processor of its own, which sends files back.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from SpineLandmarksLib import __version__
from SpineLandmarksLib.backends import usable_cpus
from SpineLandmarksLib.batch.local import Settings, localize
from SpineLandmarksLib.batch.names import Study
from SpineLandmarksLib.batch.results import Outcome, explain
from SpineLandmarksLib.batch.run import identity
from SpineLandmarksLib.bundle import METADATA, load_bundle
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

Files = dict[str, bytes]


@dataclass(frozen=True)
class Facts:
    """What an actor has loaded, and where: all of a run must have loaded the same."""

    version: str
    bundle_sha256: str
    backend: str
    host: str


class Actor:
    """Localizes one study after the other. Ray starts it in a process that no other actor is in."""

    def __init__(self, bundle: str, backend: str, device: str) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # the processor that it was given; those beside it have their own actors
        self._asked = bundle, backend, device
        self._localizer: Localizer | None = None

    def ready(self) -> Facts:
        """Load the model. Raises what `Localizer.open` does."""
        self._localizer = Localizer.open(*self._asked)
        bundle = self._localizer.bundle
        return Facts(__version__, identity(bundle), self._localizer.backend.name, platform.node())

    def localize(self, study: Study, path: Path, settings: Settings) -> tuple[Outcome, Files]:
        """The outcome, without a way to write it, and the contents of its files by name. path: absolute."""
        assert self._localizer is not None
        try:
            stack = read_study(path, settings.spacing_mm, settings.study)
        except Exception as error:
            return Outcome(study, error=explain(error)), {}
        outcome = localize(study, stack, self._localizer, settings)
        try:
            return replace(outcome, write=None), _files(outcome)
        except Exception as error:
            return Outcome(study, error=explain(error)), {}


def _files(outcome: Outcome) -> Files:
    if not outcome.write:
        return {}
    with TemporaryDirectory(prefix="spine-landmarks-") as folder:
        outcome.write(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


#: Studies that an actor has: one that it works on, and one so that it need not wait.
IN_HAND = 2
#: A study that was worked on each time when this many actors died is taken to be the cause.
MAX_DEATHS = 3
#: After this many actors in a row that died before they were ready, no more are hired.
MAX_VAIN = 3
#: After this long without any news, what is waited for is said.
QUIET_S = 30.0


@dataclass(frozen=True)
class Task:
    """What an actor was asked to do: a study, or, without one, to get ready."""

    actor: Any
    study: Study | None = None


class Crew:
    """Gives studies to actors and takes what they send, each study's once.

    ray: the module, connected to a cluster. hire: starts an `Actor` there. expected: version and bundle of the driver.
    """

    def __init__(self, ray: Any, hire: Callable[[], Any], expected: tuple[str, str]) -> None:
        self._ray, self._hire, self._expected = ray, hire, expected
        self._tasks: dict[Any, Task] = {}  # by the reference to the answer, oldest first
        self._ready: list[Any] = []
        self._waiting: deque[Study] = deque()
        self._deaths: Counter[Study] = Counter()
        self._vain = 0
        self._facts: Facts | None = None  # of the last actor that got ready

    def start(self, count: int) -> Facts:
        """Hire `count` actors and return when one of them is ready. BackendError when none can be."""
        for _ in range(count):
            self._begin()
        while self._facts is None:
            list(self._news())  # nobody has a study yet
        return self._facts

    def work(self, studies: Iterable[Study], settings: Settings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in the order in which they are done. BackendError when nobody is left."""
        coming = iter(studies)
        while self._hand_out(coming, settings) or any(task.study for task in self._tasks.values()):
            yield from self._news()

    def _begin(self) -> None:
        actor = self._hire()
        self._tasks[actor.ready.remote()] = Task(actor)

    def _hand_out(self, coming: Iterator[Study], settings: Settings) -> bool:
        """Give studies to whoever has fewest, until all have enough; whether any study is left."""
        while True:
            if not self._waiting:
                self._waiting.extend(islice(coming, 1))
            if not self._waiting:
                return False
            load = Counter(task.actor for task in self._tasks.values() if task.study)
            actor = min(self._ready, key=lambda actor: load[actor], default=None)
            if actor is None or load[actor] >= IN_HAND:
                return True
            study = self._waiting.popleft()
            path = Path(os.path.abspath(study.path))
            self._tasks[actor.localize.remote(study, path, settings)] = Task(actor, study)

    def _news(self) -> Iterator[Outcome]:
        """Wait for one answer, or a death, and deal with it."""
        if not self._tasks:
            raise BackendError("No actor of the cluster is left; --resume goes on from here")
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=QUIET_S)
        if not done and not self._ready:
            _say(f"waiting for the cluster to start one of {len(self._tasks)} actors")
        for reference in done:
            task = self._tasks[reference]
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:  # raised by the actor, which lives
                answer = error.cause if isinstance(error.cause, Exception) else error
            except self._ray.exceptions.RayError as error:
                yield from self._bury(reference, error)
                continue
            del self._tasks[reference]
            if task.study:
                yield _outcome(task.study, answer)
            else:
                self._admit(task.actor, answer)

    def _admit(self, actor: Any, answer: Facts | Exception) -> None:
        """Give work to an actor that has loaded the same as the driver."""
        if isinstance(answer, Exception):
            self._refuse(explain(answer)["error"])
        elif (answer.version, answer.bundle_sha256) != self._expected:
            self._refuse(
                f"{answer.host}: expected SpineLandmarks {self._expected[0]} and the same bundle as here on every "
                f"machine; got {answer.version}, bundle {answer.bundle_sha256[:12]} (here {self._expected[1][:12]})"
            )
        else:
            self._facts, self._vain = answer, 0
            self._ready.append(actor)

    def _refuse(self, reason: str) -> None:
        """Go on without an actor that cannot begin."""
        if not self._tasks:
            raise BackendError(f"No actor of the cluster can begin: {reason}")
        _say(f"an actor of the cluster cannot begin: {reason}")

    def _bury(self, reference: Any, error: Exception) -> Iterator[Outcome]:
        """An actor has died, or its answer with the machine: replace it, and have its study done again."""
        task = self._tasks.pop(reference)
        if task.study and task.actor in self._ready:  # the first that is heard of it: of what was worked on
            self._deaths[task.study] += 1
            self._ready.remove(task.actor)
            self._ray.kill(task.actor)  # one that merely cannot be reached may not go on
            self._begin()
        if task.study is None:
            self._died_unready(error)
        elif self._deaths[task.study] < MAX_DEATHS:
            self._waiting.appendleft(task.study)
        else:
            yield Outcome(task.study, error={"error": f"{MAX_DEATHS} actors died of this study: {_line(error)}"})

    def _died_unready(self, error: Exception) -> None:
        self._vain += 1
        if self._vain < MAX_VAIN:
            self._begin()
        else:
            self._refuse(_line(error))


def _outcome(study: Study, answer: tuple[Outcome, Files] | Exception) -> Outcome:
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
        self.bundle = load_bundle(bundle)
        self.backend = ""  # known when an actor has chosen
        named = str(Path(bundle).resolve()) if (Path(bundle) / METADATA).is_file() else bundle
        self._asked = named, backend, device
        self._kind = "GPU" if device == "cuda" else "CPU"
        self._address, self._workers = address or os.environ.get("RAY_ADDRESS") or "local", workers

    def __enter__(self) -> RayEngine:
        try:
            _connect(self._ray, self._address, self._workers)
            needs = {"num_cpus": 1, "num_gpus": int(self._kind == "GPU"), "scheduling_strategy": "SPREAD"}
            hire = partial(self._ray.remote(**needs)(Actor).remote, *self._asked)
            self._crew = Crew(self._ray, hire, (__version__, identity(self.bundle)))
            self.backend = self._crew.start(self._workers or self._all_there_are()).backend
        except BaseException:
            self._ray.shutdown()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._ray.shutdown()  # and with it our actors

    def outcomes(self, studies: Iterable[Study], settings: Settings) -> Generator[Outcome, None, None]:
        """One outcome for each study, in the order in which they are done. Raises BackendError when all is lost."""
        return self._crew.work(studies, settings)

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
