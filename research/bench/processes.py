"""Commands in processes of their own: how long they take, and how much memory at the most."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
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
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "spent.json"
        launcher = [sys.executable, "-m", f"{__package__}.launch", str(file), *command]
        output = subprocess.run(launcher, stdout=subprocess.PIPE, text=True, check=True).stdout
        taken = json.loads(file.read_text())
    if taken["status"]:
        raise BackendError(f"Expected {' '.join(command)} to end with 0; it ended with {taken['status']}")
    return Spent(taken["seconds"], taken["peak_mb"], output)


def child(python: str, module: str, job: dict[str, Any], folder: Path) -> tuple[dict[str, Any], Spent]:
    """A module of this package on a job; what it answers in its last line, and what it took."""
    file = folder / "job.json"
    file.write_text(json.dumps(job))
    result = spent([python, "-m", f"{__package__}.{module}", str(file)])
    return json.loads(result.output.splitlines()[-1]), result
