"""What is measured, taken apart into the stages whose times are told.

    slices (N, H, W) native pixels -> prepare -> network -> decode -> finish -> points (N, L, 2) native pixels

`network` ends with heatmaps, `decode` with positions in network pixels, `finish` with named points. The light runtimes
run network and decode as one graph: their `decode` passes on what came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.backends import Backend, LightBackend, Peaks, TorchBackend, usable_cpus
from SpineLandmarksLib.bundle import GRAPH, WEIGHTS, Bundle
from SpineLandmarksLib.geometry import Matrix
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.transforms import Preparation, prepare_slice, valid_extent

Slices = NDArray[np.float32]
Spacing = tuple[float, float]
STAGES = ("prepare", "network", "decode", "finish")


@dataclass(frozen=True)
class Pipeline:
    """prepare: (N, H, W) -> what `network` takes; the others as above. model_bytes: of the weights on disk."""

    prepare: Callable[[Slices], Any]
    network: Callable[[Any], Any]
    decode: Callable[[Any], Any]
    finish: Callable[[Any], NDArray[np.float64]]
    model_bytes: int

    def __call__(self, slices: Slices) -> NDArray[np.float64]:
        return self.finish(self.decode(self.network(self.prepare(slices))))


class Prepared:
    """Slices prepared as a bundle says, and the matrix back, kept for the last stage."""

    def __init__(self, preparation: Preparation, spacing_mm: Spacing) -> None:
        self.preparation, self.spacing_mm = preparation, spacing_mm
        self.pixel_from_slice: Matrix = np.eye(3)
        self.shape = (0, 0)
        self.extent_xy: list[NDArray[np.float64]] = []

    def __call__(self, slices: Slices) -> NDArray[np.float32]:
        """(N, H, W) -> (N, 1, h, w)."""
        prepared = [prepare_slice(image, self.spacing_mm, self.preparation) for image in slices]
        self.pixel_from_slice, self.shape = prepared[0][1], (int(slices.shape[1]), int(slices.shape[2]))
        self.extent_xy = [valid_extent(image) for image in slices]
        return np.stack([image for image, _ in prepared])[:, None]


def light(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    """The light backend as `predict` runs it."""
    return graph_pipeline(bundle, LightBackend(bundle), spacing_mm)


def graph_pipeline(bundle: Bundle, backend: Backend, spacing_mm: Spacing) -> Pipeline:
    """A backend that does network and decoding in one."""
    prepare = Prepared(bundle.preparation, spacing_mm)
    files = sum((bundle.folder / name).stat().st_size for name in (WEIGHTS, GRAPH))
    return Pipeline(prepare, backend.detect, lambda peaks: peaks, chained(bundle, backend, prepare), files)


def chained(bundle: Bundle, backend: Backend, prepare: Prepared) -> Callable[[Peaks], NDArray[np.float64]]:
    """The last stage of this project: the chain through the peaks of each slice."""
    localizer = Localizer(bundle, backend)
    nobody_says = np.full((len(bundle.landmarks), 2), np.nan)

    def finish(peaks: Peaks) -> NDArray[np.float64]:
        sized, known = (prepare.pixel_from_slice, prepare.shape), (prepare.spacing_mm, nobody_says)
        extents = enumerate(prepare.extent_xy)
        return np.stack([localizer.read_peaks(peaks, row, *sized, extent, *known).xy for row, extent in extents])

    return finish


def torch_float32(bundle: Bundle, spacing_mm: Spacing, device: str = "cpu") -> Pipeline:
    """The same network in torch, with its decoding apart."""
    return _torch(bundle, spacing_mm, device, autocast=False)


def torch_bfloat16(bundle: Bundle, spacing_mm: Spacing, device: str = "cpu") -> Pipeline:
    """Under autocast to bfloat16, decoded in float32."""
    return _torch(bundle, spacing_mm, device, autocast=True)


def _torch(bundle: Bundle, spacing_mm: Spacing, device: str, autocast: bool) -> Pipeline:
    import torch

    from SpineLandmarksLib.heatmaps import find_candidates

    torch.set_num_threads(usable_cpus())
    backend = TorchBackend(bundle, device)
    prepare = Prepared(bundle.preparation, spacing_mm)

    def network(images: NDArray[np.float32]) -> Any:
        with torch.inference_mode(), torch.autocast(device, torch.bfloat16, autocast):
            log_p = backend.detector(torch.from_numpy(images).to(device)).log_p
        if device == "cuda":
            torch.cuda.synchronize()  # else the time of the network is told as that of the decoding
        return log_p

    def decode(log_p: Any) -> Peaks:
        a = backend.detector.architecture
        with torch.inference_mode():
            found = find_candidates(log_p, a.candidates, a.stride, a.peak_radius)
            return Peaks(*(part.float().cpu().numpy() for part in found))

    size = (bundle.folder / WEIGHTS).stat().st_size
    return Pipeline(prepare, network, decode, chained(bundle, backend, prepare), size)
