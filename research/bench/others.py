"""The pipelines to measure against: the seed paper's, and landmarker 0.4.1. Random weights, as only time is asked."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from research.bench.pipelines import Pipeline, Prepared, Spacing
from SpineLandmarksLib.backends import usable_cpus
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.heatmaps import gaussian_target
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.training.recipe import load_recipe
from SpineLandmarksLib.transforms import Preparation

SIDE = 512
BYTES = 4  # of a float32 weight


def seed(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    """The paper's: Xception on 299 x 299, U-Net on 512 x 512, dense Gaussians times heatmaps, argmax. float32.

    The networks are those of recipe "seed", whose U-Net is the smaller one that trains on a CPU.
    """
    recipe, landmarks = load_recipe("seed"), len(bundle.landmarks)
    detector = _evaluated(Detector(recipe.architecture, landmarks))
    sigma = float(recipe.architecture.fusion["sigma_px"])
    prepare = Prepared(recipe.preparation, spacing_mm)

    def network(images: NDArray[np.float32]) -> tuple[Tensor, Tensor]:
        with torch.inference_mode():
            image = torch.from_numpy(images)
            heatmap = detector.heatmap(image)
            assert heatmap is not None
            return torch.sigmoid(heatmap), detector.direct(image)[0]

    def decode(found: tuple[Tensor, Tensor]) -> NDArray[np.float64]:
        with torch.inference_mode():
            return densely_fused(*found, sigma)

    return Pipeline(prepare, network, decode, lambda xy: _to_native(xy, prepare), _weights(detector))


def densely_fused(heatmap: Tensor, mean_px: Tensor, sigma_px: float) -> NDArray[np.float64]:
    """(B, L, h, w) heatmaps times whole rendered Gaussians about (B, L, 2): the best pixel of each, (B, L, 2)."""
    height, width = heatmap.shape[-2:]
    best = (heatmap * gaussian_target(mean_px, sigma_px, (height, width), 1.0)).flatten(2).argmax(-1).numpy()
    return np.stack([best % width, best // width], -1).astype(np.float64)


def landmarker(bundle: Bundle, spacing_mm: Spacing) -> Pipeline:
    """landmarker's OriginalSpatialConfigurationNet as published (128 filters) on 512 x 512, local soft-argmax."""
    _stand_in_for_torchvision()
    from landmarker.heatmap import heatmap_to_coord
    from landmarker.models import OriginalSpatialConfigurationNet

    net = _evaluated(OriginalSpatialConfigurationNet(1, len(bundle.landmarks)))
    prepare = Prepared(Preparation(resize="plain", size=(SIDE, SIDE)), spacing_mm)

    def network(images: NDArray[np.float32]) -> Any:
        with torch.inference_mode():
            return net(torch.from_numpy(images))

    def decode(heatmap: Any) -> NDArray[np.float64]:
        with torch.inference_mode():
            yx = heatmap_to_coord(heatmap, method="local_soft_argmax").numpy()
        return np.asarray(yx[..., ::-1], dtype=np.float64)

    return Pipeline(prepare, network, decode, lambda xy: _to_native(xy, prepare), _weights(net))


def _evaluated(network: Any) -> Any:
    torch.set_num_threads(usable_cpus())
    return network.eval()


def _to_native(xy: NDArray[np.float64], prepare: Prepared) -> NDArray[np.float64]:
    return apply(np.linalg.inv(prepare.pixel_from_slice), xy)


def _weights(network: nn.Module) -> int:
    return BYTES * sum(int(value.numel()) for value in network.state_dict().values())


def _stand_in_for_torchvision() -> None:
    """landmarker imports torchvision for the resizing of a data set, which is not used here."""
    if importlib.util.find_spec("torchvision") is None:
        empty, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
        empty.transforms = transforms  # type: ignore[attr-defined]
        sys.modules |= {"torchvision": empty, "torchvision.transforms": transforms}
