"""`python -m research.load`: many studies sent to `spine-landmarks api` at once; what was lost, how long it took.

A request is timed from the first byte sent to the last byte of the result. Memory is that of the server and its worker,
sampled from /proc while the requests run (Linux).
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.cli.api import TOKEN
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom

SAMPLE_S = 0.25


def main() -> int:
    p = argparse.ArgumentParser(prog="python -m research.load", description=__doc__)
    p.add_argument("--requests", type=int, default=200)
    p.add_argument("--at-once", type=int, default=8)
    options = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        phantom = make_phantom(8, slices=15, matrix=(320, 320), pixel_mm=0.9)
        study = write_nifti(phantom, Path(folder) / "study.nii.gz").read_bytes()
        with _served() as (address, pid, token):
            memory = _Memory(pid)
            started = time.perf_counter()
            with ThreadPoolExecutor(options.at_once) as pool:
                times = list(pool.map(lambda _: _localized(address, token, study), range(options.requests)))
            took = time.perf_counter() - started
            memory.end()
    _tell(times, took, options.at_once, len(study), memory.samples)
    return 0 if all(times) else 1


@contextmanager
def _served() -> Any:
    token = secrets.token_urlsafe(32)
    command = [sys.executable, "-m", "SpineLandmarksLib", "api", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, TOKEN: token})
    assert process.stdout is not None
    try:
        line = process.stdout.readline().decode()
        yield line.split()[1].rstrip(",").removeprefix("http://"), process.pid, token
    finally:
        process.terminate()
        process.communicate()


def _localized(address: str, token: str, study: bytes) -> float | None:
    """Seconds from the study to its points; None when there are none."""
    started = time.perf_counter()
    connection = http.client.HTTPConnection(address, timeout=600)
    try:
        job = _asked(connection, token, "POST", "/v1/jobs?name=study.nii.gz", study)
        while job["status"] in ("queued", "running"):
            job = _asked(connection, token, "GET", f"/v1/jobs/{job['id']}?wait=60")
        found = _asked(connection, token, "GET", f"/v1/jobs/{job['id']}/result?format=json")
        return time.perf_counter() - started if len(found["landmarks"]) == 11 else None
    except (OSError, KeyError, ValueError, http.client.HTTPException) as error:
        print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
        return None
    finally:
        connection.close()


def _asked(connection: http.client.HTTPConnection, token: str, method: str, path: str, body: Any = None) -> Any:
    connection.request(method, path, body, {"Authorization": f"Bearer {token}"})
    return json.loads(connection.getresponse().read())


class _Memory:
    """samples: MiB of the process and all that it started, at intervals."""

    def __init__(self, pid: int) -> None:
        self.samples: list[float] = []
        self._pid, self._ended = pid, threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_S):
            self.samples.append(sum(_resident_mib(pid) for pid in (self._pid, *_children(self._pid))))


def _children(pid: int) -> list[int]:
    try:
        return [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _resident_mib(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        return 0.0


def _tell(times: list[float | None], took: float, at_once: int, size: int, memory: list[float]) -> None:
    known = np.array([seconds for seconds in times if seconds is not None])
    lost = len(times) - len(known)
    print(f"{len(times)} studies of {size / 2**20:.1f} MiB, {at_once} at once: {lost} lost, {took:.1f} s")
    if len(known):
        p50, p95 = np.percentile(known, [50, 95])
        print(
            f"each: median {p50:.2f} s, p95 {p95:.2f} s, longest {known.max():.2f} s; {len(known) / took:.2f} a second"
        )
    if memory:
        quarter = max(len(memory) // 4, 1)
        first, last = max(memory[:quarter]), max(memory[-quarter:])
        print(f"server and worker: at most {max(memory):.0f} MiB; first quarter {first:.0f}, last quarter {last:.0f}")


if __name__ == "__main__":
    sys.exit(main())
