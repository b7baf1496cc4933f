"""The two runtimes behind one call: ONNX Runtime (light, the default) and torch (GPUs). Both run the same weights."""

from __future__ import annotations

import os
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.bundle import GRAPH, WEIGHTS, Bundle
from SpineLandmarksLib.errors import BackendError, SpineLandmarksError
from SpineLandmarksLib.settings import from_dict

BACKENDS = ("auto", "light", "torch")
DEVICES = ("auto", "cpu", "cuda")


class Peaks(NamedTuple):
    """Candidates as numpy: xy (B, L, K, 2) input pixels; log_mass (B, L, K); covariance (B, L, K, 3) xx, yy, xy."""

    xy: NDArray[np.float32]
    log_mass: NDArray[np.float32]
    covariance: NDArray[np.float32]


class Backend(Protocol):
    """Runs a bundle's network, fusion and peak extraction."""

    name: str

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        """images: (B, 1, H, W) prepared slices of one size."""


def open_backend(bundle: Bundle, backend: str = "auto", device: str = "auto") -> Backend:
    """The runtime asked for. `auto` is the light one unless CUDA is asked for; BackendError says what to install."""
    if backend not in BACKENDS or device not in DEVICES:
        raise BackendError(f"Expected a backend of {BACKENDS} and a device of {DEVICES}; got {backend!r}, {device!r}")
    if backend == "light" and device == "cuda":
        raise BackendError("The light backend runs on the CPU; for --device cuda choose --backend torch")
    if backend == "torch" or device == "cuda":
        return TorchBackend(bundle, device)
    return LightBackend(bundle)


class LightBackend:
    """ONNX Runtime on the CPU."""

    name = "light"

    def __init__(self, bundle: Bundle) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise BackendError("The light backend needs ONNX Runtime: pip install onnxruntime") from error
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = usable_cpus()
        try:
            self.session = ort.InferenceSession(
                str(bundle.folder / GRAPH), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime raises its own classes, which share no base but Exception
            raise BackendError(f"ONNX Runtime {ort.__version__} cannot run {bundle.folder / GRAPH}: {error}") from error

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        return Peaks(*self.session.run(["xy", "log_mass", "covariance"], {"image": images}))


class TorchBackend:
    """torch on CUDA, or on the CPU for comparison."""

    name = "torch"

    def __init__(self, bundle: Bundle, device: str = "auto") -> None:
        try:
            import safetensors.torch
            import torch

            from SpineLandmarksLib.model import Architecture, Detector
        except ImportError as error:
            raise BackendError("The torch backend needs: pip install 'spine-landmarks[train]'") from error
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError(f"Expected a CUDA device for --device cuda; torch {torch.__version__} sees none")
        self.device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        try:
            architecture = from_dict(Architecture, bundle.architecture, f"architecture of {bundle.name}")
            detector = Detector(architecture, len(bundle.landmarks))
            detector.load_state_dict(safetensors.torch.load_file(bundle.folder / WEIGHTS))
        except SpineLandmarksError:
            raise
        except Exception as error:  # networks, safetensors and torch raise classes that share no base but Exception
            raise BackendError(f"torch {torch.__version__} cannot run {bundle.folder / WEIGHTS}: {error}") from error
        self.detector = detector.to(self.device).eval()

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        import torch

        with torch.inference_mode():
            found = self.detector.detect(torch.from_numpy(images).to(self.device))
        return Peaks(*(part.float().cpu().numpy() for part in found))


def usable_cpus() -> int:
    """Processors this process may use; more threads than that only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
