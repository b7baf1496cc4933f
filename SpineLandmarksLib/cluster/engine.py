"""Does the work of many studies on a Ray cluster, on any number of machines, with a processor or a GPU for each actor.

Only the driver writes results and the ledger, once for each study, when its files have come: a study whose actor or
machine dies is given to another, and none is lost or written twice. Inputs must be readable under the same path on
every machine, and the program and the bundle must be the same there; the output folder need not exist on them.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Generator, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from SpineLandmarksLib import __version__
from SpineLandmarksLib.backends import usable_cpus
from SpineLandmarksLib.batch.local import Settings
from SpineLandmarksLib.batch.names import Study
from SpineLandmarksLib.batch.results import Outcome
from SpineLandmarksLib.batch.run import identity
from SpineLandmarksLib.bundle import METADATA, load_bundle
from SpineLandmarksLib.cluster.actor import Actor
from SpineLandmarksLib.cluster.crew import Crew
from SpineLandmarksLib.errors import BackendError

#: Shared memory of a cluster that is started here: results of a study have some hundred kB.
_STORE_BYTES = 100 * 2**20
#: Of Ray's own doing: nothing is reported to anybody, and a machine's GPUs are not hidden from what needs none.
_MANNERS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
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
    for name, value in _MANNERS.items():
        os.environ.setdefault(name, value)
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
