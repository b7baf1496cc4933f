"""Runtimes and precisions that could be the light backend but are not: OpenVINO, and ONNX Runtime with 8-bit kernels.

They run the graph of the bundle as it is shipped; only the benchmark knows them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.bench.pipelines import Pipeline, Spacing, graph_pipeline
from SpineLandmarksLib.backends import Peaks, usable_cpus
from SpineLandmarksLib.bundle import GRAPH, WEIGHTS, Bundle
from SpineLandmarksLib.training.export_bundle import phantom_slices
from SpineLandmarksLib.transforms import prepare_slice

OUTPUTS = ["xy", "log_mass", "covariance"]


class OpenVinoBackend:
    """OpenVINO on the CPU. precision: "f32", or "bf16", which needs a processor that has it."""

    batch = 1

    def __init__(self, bundle: Bundle, precision: str) -> None:
        import openvino

        self.name = f"openvino {precision}"
        hints = {
            "INFERENCE_PRECISION_HINT": precision,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": usable_cpus(),
        }
        compiled = openvino.Core().compile_model(str(bundle.folder / GRAPH), "CPU", hints)
        self.outputs = [compiled.output(name) for name in OUTPUTS]
        self.request = compiled.create_infer_request()

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        found = self.request.infer({0: images})
        return Peaks(*(np.array(found[output]) for output in self.outputs))


class EightBitBackend:
    """ONNX Runtime with 8-bit convolutions, quantized on generated slices; decoding stays in float32."""

    name, batch = "light int8", 1

    def __init__(self, bundle: Bundle) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.session = _session(quantized(bundle, Path(folder)))

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        return Peaks(*self.session.run(OUTPUTS, {"image": images}))


def openvino_float32(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    return graph_pipeline(bundle, OpenVinoBackend(bundle, "f32"), spacing_mm)


def openvino_bfloat16(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    return graph_pipeline(bundle, OpenVinoBackend(bundle, "bf16"), spacing_mm)


def light_int8(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    return graph_pipeline(bundle, EightBitBackend(bundle), spacing_mm)


def quantized(bundle: Bundle, folder: Path) -> Path:
    """The graph of a bundle with 8-bit convolutions, per channel, ranges from generated slices; written to `folder`."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    shutil.copy(bundle.folder / WEIGHTS, folder)  # the folded graph still refers to it
    folded, target = folder / "folded.onnx", folder / "int8.onnx"
    _session(bundle.folder / GRAPH, folded)
    quantize_static(
        folded,
        target,
        _Calibration(bundle),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "ConvTranspose"],
    )
    return target


class _Calibration:
    """What `quantize_static` takes its ranges from: one prepared slice after the other."""

    def __init__(self, bundle: Bundle) -> None:
        self.slices: Iterator[NDArray[np.float32]] = (
            prepare_slice(image, spacing_mm, bundle.preparation)[0][None, None]
            for image, spacing_mm in phantom_slices(12)
        )

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        image = next(self.slices, None)
        return None if image is None else {"image": image}


def _session(graph: Path, optimized: Path | None = None) -> Any:
    """optimized: where to write the graph with its casts folded away and nothing fused."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, usable_cpus()
    if optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
