"""The demo: a generated MRI as a DICOM series, localized, written, and compared with the exact truth."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from SpineLandmarksLib.batch import describe, prepare_output, write_results
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer, predict
from SpineLandmarksLib.training.phantom.files import write_dicom_series
from SpineLandmarksLib.training.phantom.phantom import Contrast, make_phantom


def demo(output: Path, localizer: Localizer, seed: int, contrast: Contrast) -> int:
    """Write a phantom to `output/dicom`, localize it as any study, and name what was written."""
    prepare_output(output)
    phantom = make_phantom(seed, contrast=contrast)
    study = output / "dicom"
    write_dicom_series(phantom, study, description=f"SAG {contrast}")
    stack, found = predict(study, localizer)
    files = write_results(stack, found, output, "demo", tuple(FORMATS))
    print(describe(stack, found, output / "demo"))
    print(f"\n  {'landmark':9}{'R':>8}{'A':>8}{'S':>8}  sure  off truth")
    for line in table(found, phantom.landmarks):
        print(line)
    print("\nWritten:", *(f"  {file}" for file in files), sep="\n")
    print("\nResearch use only. Not a medical device.")
    return 0


def table(found: LandmarkSet, truth: LandmarkSet) -> list[str]:
    """A line a landmark: position in RAS mm, confidence, distance from the truth."""
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
