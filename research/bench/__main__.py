"""`python -m research.bench`: every baseline in a process of its own, one after the other, and one table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from research.arguments import names
from research.bench import machine
from research.bench.baselines import BASELINES
from research.bench.processes import Spent, child, spent
from research.bench.report import Measured, report
from research.bench.sizes import PROJECT
from research.markdown import write_section
from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.cli.main import run
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom

SECTION = "bench"
STARTS = 1
ALONE = ("openvino", "openvino-bfloat16")  # run without ONNX Runtime


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure on this machine; exit statuses are those of `spine-landmarks`."""
    p = argparse.ArgumentParser(prog="python -m research.bench", description=__doc__)
    p.add_argument("--runs", type=positive, default=30, metavar="N", help="at the most, of one slice (default 30)")
    p.add_argument("--seconds", type=positive, default=6, metavar="S", help="for each measurement (default 6)")
    p.add_argument("--limit", type=positive, default=40, metavar="S", help="for one batch, else left out (default 40)")
    p.add_argument("--only", type=names, metavar="ROWS", help="of the table, such as light,torch (default all)")
    p.add_argument("--environment", type=Path, metavar="DIR", help="one with the core dependencies, to run light in")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the table into its section")
    p.add_argument("--bundle", default="lumbar11", metavar="NAME_OR_DIR", help="model bundle (default lumbar11)")
    p.set_defaults(run=bench_command)
    return run(p.parse_args(arguments))


def bench_command(options: argparse.Namespace) -> int:
    """Measure, print the tables, and write them into a section of a Markdown file when one is named."""
    python = _python_of(options.environment)
    unknown = [name for name in options.only or () if name not in BASELINES]
    if unknown:
        raise BackendError(f"Expected rows of {', '.join(BASELINES)}; got {', '.join(unknown)}")
    with tempfile.TemporaryDirectory() as folder:
        text = report(measure(options, python, Path(folder)))
    print(text)
    if options.document:
        write_section(options.document, SECTION, text)
    return 0


def measure(options: argparse.Namespace, light_python: str, folder: Path) -> Measured:
    """Everything, on one generated volume of 15 slices of 448 x 448."""
    bundle = load_bundle(options.bundle)
    volume = write_nifti(make_phantom(7), folder / "phantom.nii.gz")
    stack = read_study(volume)
    slices = stack.voxels[np.argsort(abs(np.arange(len(stack)) - len(stack) // 2))]  # the middle one first
    np.save(folder / "slices.npy", slices)
    spacing = stack.pixel_spacing_mm
    assert spacing is not None
    count, height, width = slices.shape
    shown = f"a generated volume of {count} slices of {width} x {height} pixels, {spacing[0]:.2f} mm"
    m = Measured(machine.describe(), machine.peaks(), bundle.label, shown)
    job = {
        "bundle": str(bundle.folder.resolve()),
        "slices": str(folder / "slices.npy"),
        "spacing_mm": list(spacing),
        "volume": str(volume),
        "runs": options.runs,
        "seconds": options.seconds,
        "limit": options.limit,
    }
    for name in options.only or BASELINES:
        _one(m, name, light_python if name == "light" else sys.executable, job, folder)
    _commands(m, options, light_python, volume, folder)
    _sizes(m, light_python, folder)
    return m


def _one(m: Measured, name: str, python: str, job: dict[str, Any], folder: Path) -> None:
    lacking = BASELINES[name].missing() if python == sys.executable else []
    if lacking:
        m.left_out[name] = lacking
        return
    print(f"{BASELINES[name].title.strip('*')} ...", file=sys.stderr, flush=True)
    m.rows[name], _ = child(python, "child", {**job, "name": name, "measure": True}, folder)
    starts = 0 if BASELINES[name].is_prepared_anew else STARTS
    m.cold[name] = [child(python, "child", {**job, "name": name, "measure": False}, folder)[1] for _ in range(starts)]


def _commands(m: Measured, options: argparse.Namespace, light_python: str, volume: Path, folder: Path) -> None:
    """The cold command on the volume, in the light environment and on torch where there is one."""
    print("cold command ...", file=sys.stderr, flush=True)

    def command(python: str, backend: str) -> list[str]:
        return [
            python,
            "-m",
            "SpineLandmarksLib",
            "predict",
            str(volume),
            "--bundle",
            str(options.bundle),
            "--backend",
            backend,
            "--device",
            "cpu",
            "--output",
            str(folder / backend),
        ]

    m.command["light"] = _starts(command(light_python, "light"), 5)
    if not BASELINES["torch"].missing():
        m.command["torch"] = _starts(command(sys.executable, "torch"), STARTS)


def _starts(command: Sequence[str], count: int) -> list[Spent]:
    return [spent(command) for _ in range(count)]


def _sizes(m: Measured, light_python: str, folder: Path) -> None:
    """Of the light environment and of this one."""
    light, _ = child(light_python, "sizes", {"packages": {}}, folder)
    m.sizes |= {**light, "light": light["standalone"], "light-int8": light["standalone"]}
    rows = [name for name in m.rows if name not in m.sizes]
    packages = {name: _packages_of(name) for name in rows}
    without = {name: ["onnxruntime"] if name in ALONE else [] for name in rows}
    here, _ = child(sys.executable, "sizes", {"packages": packages, "without": without}, folder)
    m.sizes |= {name: here[name] for name in rows}


def _packages_of(name: str) -> list[str]:
    """Distributions of a row's modules, beside those that reading needs."""
    distributions = {"cv2": "opencv-python-headless"}
    return [PROJECT, *(distributions.get(module, module) for module in BASELINES[name].needs)]


def _python_of(environment: Path | None) -> str:
    """The interpreter of an environment; this one when none is named."""
    if environment is None:
        return sys.executable
    for place in (environment / "bin" / "python", environment / "Scripts" / "python.exe"):
        if place.is_file():
            return str(place)
    raise BackendError(f"Expected a Python environment in {environment}; it has no bin/python")


if __name__ == "__main__":
    sys.exit(main())
