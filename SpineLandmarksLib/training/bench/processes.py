"""Commands in processes of their own: how long they take, and how much memory at the most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from SpineLandmarksLib.errors import BackendError


class Spent(NamedTuple):
    seconds: float
    peak_mb: float
    output: str


def spent(command: Sequence[str]) -> Spent:
    """Run a command to its end. Raises BackendError when it fails."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.stdout.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BackendError(f"Expected {' '.join(command)} to end with 0; it ended with {process.returncode}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB elsewhere
    return Spent(seconds, usage.ru_maxrss / unit, output)


def child(python: str, module: str, job: dict[str, Any], folder: Path) -> tuple[dict[str, Any], Spent]:
    """A module of this package on a job; what it answers in its last line, and what it took."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    result = spent([python, "-m", f"{__package__}.{module}", str(file)])
    return json.loads(result.output.splitlines()[-1]), result
