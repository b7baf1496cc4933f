"""`spine-landmarks bench`: how fast a bundle is on this machine, from one slice to the whole command.

What it takes beside other pipelines and runtimes is measured by `python -m research.bench` in a checkout.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from SpineLandmarksLib.arguments import add_model, model_arguments, positive
from SpineLandmarksLib.errors import BackendError


def add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("bench", help="time and memory of a bundle on this machine")
    p.add_argument("--runs", type=positive, default=10, metavar="N", help="of each measurement (default 10)")
    add_model(p)
    p.set_defaults(run=run_bench)


def run_bench(options: argparse.Namespace) -> int:
    """Measure on one generated volume of 15 slices of 448 x 448: medians, and the peak memory of the command."""
    from SpineLandmarksLib.backends import usable_cpus
    from SpineLandmarksLib.imaging.study import read_study
    from SpineLandmarksLib.phantom.files import write_nifti
    from SpineLandmarksLib.phantom.phantom import make_phantom
    from SpineLandmarksLib.predict import Localizer

    localizer = Localizer.open(options.bundle, options.backend, options.device)
    with tempfile.TemporaryDirectory() as folder:
        volume = write_nifti(make_phantom(7), Path(folder) / "phantom.nii.gz")
        stack = read_study(volume)
        middle = len(stack) // 2
        one = _median_s(lambda: localizer.localize(stack, middle), options.runs)
        whole = _median_s(lambda: localizer.localize(stack), options.runs)
        cold, peak_mb = _cold_command((str(volume), "--output", str(Path(folder) / "out"), *model_arguments(options)))
    corners = f",{localizer.follower.bundle.label}" if localizer.follower else ""
    print(f"{localizer.bundle.label}{corners}, backend {localizer.backend.name}, {usable_cpus()} processors")
    print(f"  one slice, warm        {1000 * one:8.0f} ms")
    print(f"  whole volume, warm     {1000 * whole:8.0f} ms")
    print(f"  command, cold          {1000 * cold:8.0f} ms")
    if peak_mb is not None:
        print(f"  its peak memory        {peak_mb:8.0f} MB")
    return 0


def _median_s(work: Callable[[], object], runs: int) -> float:
    """Median seconds of a piece of work, after one run that is not counted."""
    work()
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def _cold_command(arguments: Sequence[str]) -> tuple[float, float | None]:
    """Seconds of `predict` in a process of its own and, where the system tells it, its peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "SpineLandmarksLib", "predict", *arguments], stdout=subprocess.DEVNULL
    )
    if not hasattr(os, "wait4"):  # Windows
        status, peak_mb = process.wait(), None
    else:
        _, waited, usage = os.wait4(process.pid, 0)
        status = os.waitstatus_to_exitcode(waited)
        peak_mb = usage.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
        process.returncode = status
    if status:
        raise BackendError(f"Expected predict to end with 0 on a generated volume; it ended with {status}")
    return time.perf_counter() - started, peak_mb
