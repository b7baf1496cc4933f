"""Export of a bundle: its graph written anew from its weights, held to torch, and recorded.

Parity is how far the light backend's answer lies from torch's: the same slices, the same weights, both runtimes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from SpineLandmarksLib.backends import LightBackend, TorchBackend
from SpineLandmarksLib.bundle import (
    DETECTOR,
    GRAPH,
    METADATA,
    WEIGHTS,
    Bundle,
    load_bundle,
    read_settings,
    write_checksums,
)
from SpineLandmarksLib.errors import BundleError, OutputError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.export import versions_of, write_graph
from SpineLandmarksLib.training.monai_files import CHECKPOINT, INFERENCE, complete_for_monai
from SpineLandmarksLib.transforms import Image

#: The furthest apart that a graph and torch may be, in native pixels and in probability.
MAX_PX, MAX_CONFIDENCE = 0.05, 0.01

Slice = tuple[Image, tuple[float, float] | None]


@dataclass(frozen=True)
class Parity:
    """Largest differences over `slices` slices: of points in native pixels, infinite where only one of the two calls a
    landmark out of view, and of confidence."""

    slices: int
    points_px: float
    confidence: float

    def require(self, graph: object) -> Parity:
        """Itself, or BundleError when the two are further apart than a graph may be."""
        if self.points_px < MAX_PX and self.confidence < MAX_CONFIDENCE:
            return self
        raise BundleError(
            f"Expected {graph} to agree with torch to {MAX_PX} px and {MAX_CONFIDENCE}; they differ by "
            f"{self.points_px:.3g} px and {self.confidence:.3g} on {self.slices} slices"
        )

    def to_dict(self) -> dict[str, float | None]:
        """Numbers and None alone, as JSON has no infinity."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def export_bundle(name_or_folder: str | Path, output: Path | None = None) -> tuple[Bundle, Parity]:
    """Write the graph of a bundle whose settings and weights are whole, in place or into a copy at `output`.

    Nothing is changed unless the new graph agrees with torch. Raises BundleError when it does not or the bundle is
    damaged, BackendError when a runtime is missing, OutputError when `output` exists or cannot be written.
    """
    bundle = load_bundle(name_or_folder, (DETECTOR, WEIGHTS))
    if output is not None and output.exists():
        raise OutputError(f"Expected a new folder for the bundle; {output} exists")
    with tempfile.TemporaryDirectory() as scratch:
        draft = shutil.copytree(bundle.folder, Path(scratch) / bundle.name)
        write_graph(TorchBackend(bundle, "cpu").detector, draft)
        complete_for_monai(draft)
        write_checksums(draft, read_settings(draft / METADATA))
        parity = record_graph(draft).require(draft / GRAPH)
        if output is not None:
            _move_whole(draft, output)
        else:
            for file in (GRAPH, INFERENCE, METADATA):
                with write_atomically(bundle.folder / file) as target:
                    target.write((draft / file).read_bytes())
    return load_bundle(output or bundle.folder), parity


def export_for_monai(name_or_folder: str | Path, output: Path) -> Bundle:
    """Write a copy of a bundle at `output` with the checkpoint that MONAI's tools load.

    Raises BundleError when the bundle is damaged, OutputError when `output` exists or cannot be written.
    """
    bundle = load_bundle(name_or_folder)
    if output.exists():
        raise OutputError(f"Expected a new folder for the bundle; {output} exists")
    with tempfile.TemporaryDirectory() as scratch:
        draft = shutil.copytree(bundle.folder, Path(scratch) / bundle.name)
        complete_for_monai(draft)
        torch.save(TorchBackend(bundle, "cpu").detector.state_dict(), draft / CHECKPOINT)
        _move_whole(draft, output)
    return load_bundle(output)


def record_graph(folder: Path) -> Parity:
    """Measure a bundle's graph against torch, and write into its metadata what the graph is and how far it lies."""
    parity = measure_parity(load_bundle(folder), phantom_slices())
    graph = {
        "format": "onnx",
        **versions_of(folder / GRAPH),
        "written_with": f"torch {torch.__version__}",
        "parity_with_torch": parity.to_dict(),
    }
    write_checksums(folder, {**read_settings(folder / METADATA), "graph": graph})
    return parity


def _move_whole(folder: Path, target: Path) -> None:
    """A copy beside the target first, since only a rename on the same disk is whole or not at all."""
    beside = target.with_name(f".{target.name}.tmp")
    try:
        shutil.copytree(folder, beside)
        os.rename(beside, target)
    except OSError as error:
        raise OutputError(f"Could not write {target}: {error.strerror or error}. Nothing was changed") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def measure_parity(bundle: Bundle, slices: Iterable[Slice]) -> Parity:
    """Localize each slice, (H, W) with its pixel spacing (x, y) in mm or None, by both backends on the CPU."""
    light, torch = Localizer(bundle, LightBackend(bundle)), Localizer(bundle, TorchBackend(bundle, "cpu"))
    count, points_px, confidence = 0, 0.0, 0.0
    for image, spacing_mm in slices:
        stack = SagittalStack(image[None], None if spacing_mm is None else np.diag([*spacing_mm, 1.0, 1.0]))
        for one, other in zip(light.localize(stack), torch.localize(stack), strict=True):
            points_px = max(points_px, _distance_px(one, other))
            confidence = max(confidence, abs((one.confidence or 0.0) - (other.confidence or 0.0)))
        count += 1
    return Parity(count, points_px, confidence)


def _distance_px(one: Landmark, other: Landmark) -> float:
    if one.pixel_xy is None or other.pixel_xy is None:
        return 0.0 if one.pixel_xy == other.pixel_xy else np.inf
    return float(np.hypot(*np.subtract(one.pixel_xy, other.pixel_xy)))


def phantom_slices(count: int = 8) -> Iterable[Slice]:
    """Generated slices of several shapes, every other one without a known spacing: what anybody can measure on."""
    for seed in range(count):
        shape = ((320, 320), (384, 256), (256, 448), (512, 512))[seed % 4]
        image, _, pixel_mm = make_slice(np.random.default_rng(seed), matrix=shape)
        yield image, (pixel_mm, pixel_mm) if seed % 2 else None
