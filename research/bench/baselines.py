"""The rows of the table: what each is called, what it needs, and how it is opened."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from research.bench.pipelines import Pipeline, Spacing
from SpineLandmarksLib.bundle import Bundle

PACKAGE = __name__.rpartition(".")[0]
TORCH = ("torch", "monai", "safetensors")


@dataclass(frozen=True)
class Baseline:
    """place: "module.function" of this package that opens it. needs: modules to import, by their distributions' names.

    precision: of its arithmetic, which says what peak it is held to; network: whose operations are counted.
    is_prepared_anew: opening it makes its model first, so that the time and memory of a start say nothing.
    """

    title: str
    place: str
    needs: tuple[str, ...]
    precision: str = "float32"
    network: str = "ours"
    device: str = "cpu"
    is_prepared_anew: bool = False

    @property
    def is_torch(self) -> bool:
        return not self.place.startswith("runtimes.") and "torch" in self.needs

    def missing(self) -> list[str]:
        """What it lacks in this environment."""
        lacking = [name for name in self.needs if importlib.util.find_spec(name) is None]
        return lacking or (["CUDA device"] if self.device == "cuda" and not _has_cuda() else [])

    def open(self, bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
        module, _, function = self.place.partition(".")
        build: Callable[..., Pipeline] = getattr(importlib.import_module(f"{PACKAGE}.{module}"), function)
        if self.device == "cuda":
            build = partial(build, device="cuda")
        return build(bundle, spacing_mm)


def _has_cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


BASELINES = {
    "seed": Baseline(
        "seed pipeline: Xception 299 + U-Net 512, dense Gaussians, argmax", "others.seed", TORCH, network="seed"
    ),
    "landmarker": Baseline(
        "landmarker 0.4.1: SCN 512, local soft-argmax",
        "others.landmarker",
        (*TORCH, "landmarker", "cv2"),
        network="landmarker",
    ),
    "torch": Baseline("this project, torch float32", "pipelines.torch_float32", TORCH),
    "torch-bfloat16": Baseline("this project, torch bfloat16", "pipelines.torch_bfloat16", TORCH, "bfloat16"),
    "light": Baseline("**this project, light (ONNX Runtime float32)**", "pipelines.light", ("onnxruntime",)),
    "light-int8": Baseline(
        "the same graph, ONNX Runtime int8",
        "runtimes.light_int8",
        ("onnxruntime", "onnx"),
        "int8",
        is_prepared_anew=True,
    ),
    "openvino": Baseline("the same graph, OpenVINO float32", "runtimes.openvino_float32", ("openvino",)),
    "openvino-bfloat16": Baseline(
        "the same graph, OpenVINO bfloat16", "runtimes.openvino_bfloat16", ("openvino",), "bfloat16"
    ),
    "cuda": Baseline("this project, torch float32, GPU", "pipelines.torch_float32", TORCH, device="cuda"),
    "cuda-bfloat16": Baseline(
        "this project, torch bfloat16, GPU", "pipelines.torch_bfloat16", TORCH, "bfloat16", device="cuda"
    ),
}
