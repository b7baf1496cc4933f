"""What a bundle's points lose when its kernels keep fewer bits, and what a wheel gains; can write the rounded bundle.

    python -m research.bench.rounding BUNDLE DATASET... [--bits 8 7 6 5] [--every 5] [--output DIR]

Only a bundle whose kernels still have all 11 bits of half precision has something to lose. --output writes a bundle
with the bits that every export keeps, its graph held to torch.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from research.bench.parity import confidences, points, stack_of
from research.markdown import markdown
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.backends import LightBackend, TorchBackend
from SpineLandmarksLib.bundle import GRAPH, METADATA, WEIGHTS, Bundle, load_bundle, read_settings, write_checksums
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training import export
from SpineLandmarksLib.training.export_bundle import record_graph

COLUMNS = [
    "significant bits",
    "compressed, MB",
    "points, px: median",
    "95 %",
    "most",
    "above 0.05 px",
    "confidence: most",
]


def main(options: argparse.Namespace) -> None:
    bundle = load_bundle(options.bundle)
    rows = load_annotations(options.datasets, bundle.landmarks)[:: options.every]
    whole = landmarks_on(bundle, rows)
    body = [["11", f"{compressed_mb(bundle):.2f}", *["-"] * 5]]
    with tempfile.TemporaryDirectory() as folder:
        for bits in options.bits:
            short = rounded(bundle, Path(folder) / str(bits), bits)
            body.append([str(bits), f"{compressed_mb(short):.2f}", *apart(landmarks_on(short, rows), whole)])
    print(f"{bundle.label}, {len(rows)} slices\n\n{markdown(COLUMNS, body)}")
    if options.output:
        rounded(bundle, options.output, export.SIGNIFICANT_BITS)
        record_graph(options.output).require(options.output / GRAPH)


def rounded(bundle: Bundle, folder: Path, bits: int) -> Bundle:
    """A copy of the bundle in `folder` whose large kernels keep `bits`."""
    shutil.copytree(bundle.folder, folder)
    detector = TorchBackend(bundle, "cpu").detector
    kept, export.SIGNIFICANT_BITS = export.SIGNIFICANT_BITS, bits
    try:
        export.write_weights(detector, folder)
    finally:
        export.SIGNIFICANT_BITS = kept
    export.write_graph(detector, folder)
    write_checksums(folder, read_settings(folder / METADATA))
    return load_bundle(folder)


def landmarks_on(bundle: Bundle, rows: Sequence[Annotation]) -> list[LandmarkSet]:
    localizer = Localizer(bundle, LightBackend(bundle))
    return [localizer.localize(stack_of(row)) for row in rows]


def compressed_mb(bundle: Bundle) -> float:
    """As a wheel compresses it."""
    return len(zlib.compress((bundle.folder / WEIGHTS).read_bytes())) / 1e6


def apart(found: Sequence[LandmarkSet], whole: Sequence[LandmarkSet]) -> list[str]:
    px = np.linalg.norm(points(found) - points(whole), axis=-1)
    sure = np.abs(confidences(found) - confidences(whole))
    quantiles = [np.nanmedian(px), np.nanquantile(px, 0.95), np.nanmax(px)]
    return [*(f"{value:.3f}" for value in quantiles), f"{np.nanmean(px > 0.05):.1%}", f"{sure.max():.4f}"]


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="points and size of a bundle with fewer bits in its kernels")
    p.add_argument("bundle")
    p.add_argument("datasets", type=Path, nargs="+")
    p.add_argument("--bits", type=int, nargs="+", default=[8, 7, 6, 5])
    p.add_argument("--every", type=int, default=5, help="slice of the data sets (default 5)")
    p.add_argument("--output", type=Path, help="write the rounded bundle there")
    main(p.parse_args())
