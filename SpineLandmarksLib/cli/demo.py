"""The demo: a generated MRI as a DICOM series, localized, written, and compared with the exact truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.arguments import add_model

if TYPE_CHECKING:
    from SpineLandmarksLib.landmarks import LandmarkSet
    from SpineLandmarksLib.phantom.phantom import Contrast
    from SpineLandmarksLib.predict import Localizer


def add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("demo", help="localize landmarks on a generated MRI and show the result")
    p.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")
    p.add_argument("--seed", type=int, default=8, help="which generated spine")
    p.add_argument("--contrast", choices=("T1", "T2", "STIR"), default="T2")
    add_model(p)
    p.set_defaults(run=run_demo)


def run_demo(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.predict import Localizer

    localizer = Localizer.open(options.bundle, options.backend, options.device)
    return demo(options.output, localizer, options.seed, options.contrast)


def demo(output: Path, localizer: Localizer, seed: int, contrast: Contrast) -> int:
    """Write a phantom to `output/dicom`, localize it as any study, and name what was written."""
    from SpineLandmarksLib.batch import prepare_output, result_text, write_results
    from SpineLandmarksLib.formats import FORMATS
    from SpineLandmarksLib.phantom.files import write_dicom_series
    from SpineLandmarksLib.phantom.phantom import make_phantom
    from SpineLandmarksLib.predict import predict

    prepare_output(output)
    phantom = make_phantom(seed, contrast=contrast)
    study = output / "dicom"
    write_dicom_series(phantom, study, description=f"SAG {contrast}")
    stack, found = predict(study, localizer)
    files = write_results(stack, found, output, "demo", tuple(FORMATS))
    print(result_text(stack, found, output / "demo"))
    print(f"\n  {'landmark':9}{'R':>8}{'A':>8}{'S':>8}  sure  off truth")
    for line in table(found, phantom.landmarks):
        print(line)
    print("\nWritten:", *(f"  {file}" for file in files), sep="\n")
    print("\nResearch use only. Not a medical device.")
    return 0


def table(found: LandmarkSet, truth: LandmarkSet) -> list[str]:
    """A line a landmark: position in RAS mm, confidence, distance from the truth."""
    import numpy as np

    lines = []
    for mark in found:
        if mark.position_ras_mm is None:
            lines.append(f"  {mark.name:9}{mark.status}")
            continue
        r, a, s = mark.position_ras_mm
        exact = truth[mark.name].position_ras_mm
        off = "" if exact is None else f"{np.linalg.norm(np.subtract(mark.position_ras_mm, exact)):8.1f} mm"
        lines.append(f"  {mark.name:9}{r:8.1f}{a:8.1f}{s:8.1f}  {mark.confidence:.2f}{off}")
    return lines
