"""The light backend beside torch on every slice of annotated data sets: points, confidence, and who is right how often.

    python -m research.bench.parity ../shared/data/spider ../shared/data/tianchi150 [--bundle NAME] [--others] \\
        [--document docs/performance.md]

--others also runs OpenVINO in float32 and bfloat16 (pip install openvino) and ONNX Runtime with 8-bit convolutions.
Slices are the project's own training data for most bundles: this compares runtimes, and judges no model.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from research.bench.runtimes import EightBitBackend, OpenVinoBackend
from research.markdown import markdown, write_section
from SpineLandmarksLib.annotated_slices import load_annotations, load_image, points_of, spacing_of
from SpineLandmarksLib.backends import Backend, LightBackend, TorchBackend
from SpineLandmarksLib.bundle import DEFAULT, Bundle, load_bundle
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.export_bundle import MAX_CONFIDENCE, MAX_PX

THRESHOLDS_MM = (2.0, 4.0, 8.0)


def main(options: argparse.Namespace) -> None:
    bundle, body = load_bundle(options.bundle), []
    for folder in options.datasets:
        rows = load_annotations([folder], bundle.landmarks)
        reference: list[LandmarkSet] = []
        for name, build in backends(options.others).items():
            localizer = Localizer(bundle, build(bundle))
            found = [localizer.localize(stack_of(row)) for row in rows]
            reference = reference or found
            body.append([f"{folder.name} ({len(rows)})", name, *figures(rows, found, reference, bundle)])
            print(*body[-1], sep="  ", flush=True)
    text = (
        f"Bundle {bundle.label}; points in native pixels and confidence against torch in float32, share of all points "
        f"within 2, 4 and 8 mm of the annotation. A graph may be {MAX_PX} px and {MAX_CONFIDENCE} off.\n\n"
    ) + markdown(
        [
            "slices",
            "runtime",
            "points, px: median",
            "95 %",
            "most",
            "confidence: most",
            "out of view by one alone",
            *(f"SDR@{t:g}, %" for t in THRESHOLDS_MM),
        ],
        body,
    )
    print(text)
    if options.document:
        write_section(options.document, "parity", text)


def backends(others: bool) -> dict[str, Callable[[Bundle], Backend]]:
    """torch first, which the others are held to."""
    found: dict[str, Callable[[Bundle], Backend]] = {
        "torch float32": lambda bundle: TorchBackend(bundle, "cpu"),
        "light": LightBackend,
    }
    if others and importlib.util.find_spec("openvino"):
        found["OpenVINO float32"] = lambda bundle: OpenVinoBackend(bundle, "f32")
        found["OpenVINO bfloat16"] = lambda bundle: OpenVinoBackend(bundle, "bf16")
    return {**found, "ONNX Runtime int8": EightBitBackend} if others else found


def stack_of(row: Annotation) -> SagittalStack:
    spacing_mm = spacing_of(row)
    matrix = None if spacing_mm is None else np.diag([*spacing_mm, 1.0, 1.0])
    return SagittalStack(load_image(row.image)[None], matrix)


def figures(
    rows: Sequence[Annotation], found: Sequence[LandmarkSet], reference: Sequence[LandmarkSet], bundle: Bundle
) -> list[str]:
    xy, ours = points(found), points(reference)
    apart = np.linalg.norm(xy - ours, axis=-1)
    lone = int((np.isnan(xy[..., 0]) != np.isnan(ours[..., 0])).sum())
    sure = np.abs(confidences(found) - confidences(reference))
    return [
        f"{np.nanmedian(apart):.4f}",
        f"{np.nanquantile(apart, 0.95):.4f}",
        f"{np.nanmax(apart):.4f}",
        f"{np.nanmax(sure):.4f}",
        str(lone),
        *within(rows, xy, bundle),
    ]


def points(found: Sequence[LandmarkSet]) -> np.ndarray:
    """(N, L, 2) native pixels, nan where out of view."""
    return np.array([[mark.pixel_xy or (np.nan, np.nan) for mark in landmarks] for landmarks in found])


def confidences(found: Sequence[LandmarkSet]) -> np.ndarray:
    return np.array([[mark.confidence or 0.0 for mark in landmarks] for landmarks in found])


def within(rows: Sequence[Annotation], xy: np.ndarray, bundle: Bundle) -> list[str]:
    truth = np.stack([points_of(row, bundle.landmarks) for row in rows])
    spacing_mm = np.array([spacing_of(row) or (np.nan, np.nan) for row in rows])  # where unknown, L1-L5 is 144 mm
    mm = np.linalg.norm((xy - truth) * spacing_mm[:, None], axis=-1)
    known = np.isfinite(truth).all(-1)
    return [f"{100 * (mm[known] <= limit).mean():.2f}" for limit in THRESHOLDS_MM]


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="light backend and torch on the same slices")
    p.add_argument("datasets", type=Path, nargs="+")
    p.add_argument("--bundle", default=DEFAULT)
    p.add_argument("--others", action="store_true", help="OpenVINO and int8 too")
    p.add_argument("--document", type=Path, help="also write the section parity of this Markdown file")
    main(p.parse_args())
