"""The figures of `spine-landmarks calibrate` as a section of a document.

python -m research.experiments doubt DIR --document FILE.md
"""

from __future__ import annotations

import argparse
from typing import Any

from research.markdown import estimate, markdown, percent, write_section
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.training.crossfit import operating_point


def doubt_command(options: argparse.Namespace) -> int:
    """Write the section "doubt" from DIR/metrics.json."""
    file = options.output / "metrics.json"
    write_section(options.document, "doubt", doubt_section(Fields.of(load_json(file), str(file)).values))
    print(f"Written: {options.document}")
    return 0


def doubt_section(summary: dict[str, Any]) -> str:
    """The operating point, how right each confidence is, and how much of the truth each landmark's radius holds."""
    calibration = summary["calibration"]
    error = calibration["expected_calibration_error"]
    bins = [
        [f"{b['low']:.1f}-{b['high']:.1f}", str(b["n"]), f"{b['mean_confidence']:.3f}", f"{b['fraction_right']:.3f}"]
        for b in calibration["confidence_bins"]
    ]
    held = [
        [name, estimate(row["radius95_coverage"], percent), estimate(row["sdr"]["8"], percent)]
        for name, row in summary["per_landmark"].items()
    ]
    about = (
        f"{'. '.join(summary['notes']).removeprefix('Data: ')}. {operating_point(summary)}. Expected calibration error "
        f"of the confidence: {'unknown' if error is None else f'{error:.3f}'}. In brackets: 95 % intervals that "
        "resample patients."
    )
    reliability = markdown(["confidence", "points", "mean confidence", "share on the right level"], bins)
    coverage = markdown(["landmark", "truth in the 95 % radius, %", "SDR@8, %"], held)
    return f"{about}\n\n{reliability}\n\n{coverage}"
