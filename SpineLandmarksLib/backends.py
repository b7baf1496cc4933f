"""Inference backends: ONNX Runtime (light, the default) and torch (GPUs) behind one call, with the same weights."""

from __future__ import annotations

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.bundle import GRAPH, WEIGHTS, Bundle
from SpineLandmarksLib.errors import BackendError, SpineLandmarksError, is_out_of_memory
from SpineLandmarksLib.settings import from_dict

BACKENDS = ("auto", "light", "torch")
DEVICES = ("auto", "cpu", "cuda")
#: The oldest runtimes that are asked for, as in pyproject.toml.
OLDEST = {"onnxruntime": (1, 17), "torch": (2, 4)}
#: What Linux tells of its processors; x86 ones have a line of flags.
CPU_INFO = Path("/proc/cpuinfo")
#: Property of a graph: sha256 of the weights file whose bytes it refers to.
WEIGHTS_OF_GRAPH = "weights_sha256"


class Peaks(NamedTuple):
    """Candidates as numpy: xy (B, L, K, 2) input pixels; log_mass (B, L, K); covariance (B, L, K, 3) xx, yy, xy."""

    xy: NDArray[np.float32]
    log_mass: NDArray[np.float32]
    covariance: NDArray[np.float32]


class Backend(Protocol):
    """Runs a bundle's network, fusion and peak extraction. batch: slices that it should be given together."""

    name: str
    batch: int

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
    batch = 1  # two slices take nine tenths of the time each, and half of the memory more

    def __init__(self, bundle: Bundle) -> None:
        try:
            import onnxruntime as ort
        except ImportError as error:
            if is_out_of_memory(error):
                raise MemoryError("The model does not fit into it") from error
            said = f" ({error})" if str(error) else ""
            raise BackendError(
                f"The light backend needs ONNX Runtime: pip install --upgrade onnxruntime{said}"
            ) from error
        require_version("onnxruntime", ort.__version__, "pip install --upgrade onnxruntime")
        limit_malloc_retention()
        options = ort.SessionOptions()
        options.log_severity_level = 4  # its errors are raised, and told in one line
        options.intra_op_num_threads = usable_threads()
        graph, mend = bundle.folder / GRAPH, f"spine-landmarks export {bundle.folder} --format onnx"
        try:
            self.session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the runtime raises its own classes, which share no base but Exception
            if is_out_of_memory(error):
                raise MemoryError("The model does not fit into it") from error
            raise BackendError(
                f"ONNX Runtime {ort.__version__} cannot run {graph}. Install a newer one (pip install --upgrade "
                f"onnxruntime), write the graph anew ({mend}), or choose --backend torch. It says: {error}"
            ) from error
        written_for = self.session.get_modelmeta().custom_metadata_map.get(WEIGHTS_OF_GRAPH)
        if written_for not in (None, bundle.weights_sha256):
            raise BackendError(
                f"Expected {graph} to belong to the weights beside it, {bundle.weights_sha256[:12]}...; it was written "
                f"for {written_for[:12]}... Write it anew ({mend}), or choose --backend torch"
            )

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        with translate_oom(images):
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
            raise BackendError(f"The torch backend needs: pip install 'spine-landmarks[train]' ({error})") from error
        require_version("torch", torch.__version__, "pip install --upgrade 'spine-landmarks[train]'")
        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError(f"Expected a CUDA device for --device cuda; torch {torch.__version__} sees none")
        self.device = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
        self.batch = 1 if self.device == "cpu" else 8
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

        with torch.inference_mode(), translate_oom(images):
            found = self.detector.detect(torch.from_numpy(images).to(self.device))
            return Peaks(*(part.float().cpu().numpy() for part in found))


def require_version(module: str, version: str, install: str) -> None:
    """Raise BackendError when a runtime is older than the oldest that is asked for."""
    if tuple(int(number) for number in re.findall(r"\d+", version)[:2]) < OLDEST[module]:
        oldest = ".".join(map(str, OLDEST[module]))
        raise BackendError(f"Expected {module} {oldest} or newer; got {version}: {install}")


@contextmanager
def translate_oom(images: NDArray[np.float32]) -> Iterator[None]:
    """Turn what the runtimes raise when memory runs out into MemoryError; they tell it by their text alone."""
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        count, _, height, width = images.shape
        raise MemoryError(f"The network ran out of it on {count} slices of {width} x {height} pixels") from error


def limit_malloc_retention() -> None:
    """Have the C library return large pieces as soon as they are free. By itself glibc comes to keep them, and making a
    session leaves three times the weights' size of those."""
    with suppress(OSError, AttributeError):  # another system's library
        ctypes.CDLL("libc.so.6").mallopt(-3, 2**19)  # M_MMAP_THRESHOLD


def cpu_warning() -> str:
    """A line for people where the light backend works but is slow: on an x86 processor without AVX2. Else empty."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", CPU_INFO.read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:  # only Linux tells it in a file
        return ""
    if flags is None or "avx2" in flags[1].split():
        return ""
    return "this processor has no AVX2: the light backend takes several times as long; --device cuda needs none"


def usable_cpus() -> int:
    """Processors this process may use; more threads than that only wait for each other."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def usable_threads() -> int:
    """As many as there are processors, or OMP_NUM_THREADS, with which Ray, Slurm and people say what a share is."""
    share = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable_cpus(), int(share)) if share.isdecimal() and int(share) > 0 else usable_cpus()


def device_of(name: str) -> str:
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
