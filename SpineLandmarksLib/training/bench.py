"""Time and memory of `predict` on this machine: warm slices, and the whole command from process start to files."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from SpineLandmarksLib.backends import usable_cpus
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.phantom.files import write_nifti
from SpineLandmarksLib.training.phantom.phantom import make_phantom


def bench(bundle: str, backend: str, device: str, runs: int) -> int:
    """Print a table: median and worst of `runs` runs, on a generated volume of 15 slices of 448 x 448."""
    localizer = Localizer.open(bundle, backend, device)
    processor = platform.processor() or platform.machine()
    print(f"{processor}, {usable_cpus()} processors, Python {platform.python_version()}")
    print(f"bundle {localizer.bundle.label}, backend {localizer.backend.name}")
    with tempfile.TemporaryDirectory() as folder:
        volume = write_nifti(make_phantom(7), Path(folder) / "phantom.nii.gz")
        stack = read_study(volume)
        middle = stack.voxels[len(stack) // 2][None]
        row("warm, one slice", timed(lambda: localizer.read_slices(middle, stack.pixel_spacing_mm), runs))
        row("warm, one volume (slice search)", timed(lambda: localizer.localize(stack), runs))
        arguments = ["--bundle", bundle, "--backend", backend, "--device", device, "--output", folder]
        cold = [cold_command([str(volume), *arguments]) for _ in range(runs)]
        row("cold command, volume to files", [seconds for seconds, _ in cold])
        print(f"{'cold command, peak memory':34}{max(peak for _, peak in cold):8.0f} MB")
    return 0


def timed(work: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of `runs` calls, after one that is not counted."""
    work()
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return seconds


def cold_command(arguments: list[str]) -> tuple[float, float]:
    """(seconds, peak MB) of a fresh `spine-landmarks predict`."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "SpineLandmarksLib", "predict", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BackendError(f"Expected predict to end with 0; it ended with {process.returncode}: {' '.join(command)}")
    unit = 2**20 if sys.platform == "darwin" else 2**10  # ru_maxrss is in bytes there, in KiB elsewhere
    return time.perf_counter() - started, usage.ru_maxrss / unit


def row(name: str, seconds: list[float]) -> None:
    print(f"{name:34}{statistics.median(seconds):8.3f} s median {max(seconds):8.3f} s worst of {len(seconds)}")
