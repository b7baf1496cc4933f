"""The whole detector on one screen: a heatmap network, a direct network, and their product.

    log_p  = log heatmap(image)                       heatmaps.py
    mean   = direct(image)                            networks/xception.py
    log_p  = log_p + log Gaussian(mean, sigma)        fusion.py
    points = peaks of log_p                           heatmaps.py

Either network may be left out: without a direct network log_p is the heatmap's; without a heatmap network it is the
Gaussian alone, so that direct regression is decoded and judged by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.fusion import Fusion
from SpineLandmarksLib.heatmaps import LOSSES, Candidates, find_candidates, log_probability
from SpineLandmarksLib.networks import NETWORKS, build_network
from SpineLandmarksLib.settings import from_dict


@dataclass(frozen=True)
class Architecture:
    """What a detector is made of; stored in the bundle.

    heatmap, direct: {"network": name, **arguments} or None. fusion: arguments of `Fusion`.
    heatmap_loss: the loss the heatmaps are trained with, which says how to read them.
    stride: input pixels per heatmap pixel. direct_size: side of the square input of the direct network.
    candidates: peaks kept per landmark. peak_radius: of the window that a peak is measured in, heatmap pixels; it
        holds 2.5 sigma of the target, or peaks are drawn towards the middle of their pixel.
    """

    heatmap: dict[str, Any] | None = field(default_factory=lambda: {"network": "unet"})
    direct: dict[str, Any] | None = None
    fusion: dict[str, Any] = field(default_factory=dict)
    heatmap_loss: str = "softmax_cross_entropy"
    stride: int = 1
    direct_size: int = 299
    candidates: int = 6
    peak_radius: int = 3

    def __post_init__(self) -> None:
        if self.heatmap is None and self.direct is None:
            raise RecipeError("Expected a heatmap network, a direct network or both; got neither")
        for settings in (self.heatmap, self.direct):
            if settings is not None and settings.get("network") not in NETWORKS:
                raise RecipeError(f"Expected network: one of {', '.join(NETWORKS)}; got {settings}")
        if self.heatmap_loss not in LOSSES:
            raise RecipeError(f"Expected a heatmap_loss of {', '.join(LOSSES)}; got {self.heatmap_loss!r}")
        if min(self.stride, self.candidates, self.peak_radius, self.direct_size) < 1:
            raise RecipeError("Expected stride, candidates, peak_radius and direct_size of at least 1")
        own = self.stride if self.heatmap is None else self.heatmap.get("stride", 1)
        if own != self.stride:
            raise RecipeError(f"Expected the stride of the heatmap network, {own}; got {self.stride}")


class Output(NamedTuple):
    """heatmap: (B, L, h, w) as the network gives it, or None; mean_px, spread_px: (B, L, 2) input pixels, or None;
    log_p: (B, L, h, w) log of a distribution over pixels."""

    heatmap: Tensor | None
    mean_px: Tensor | None
    spread_px: Tensor | None
    log_p: Tensor


class Detector(nn.Module):
    """image (B, 1, H, W) -> Output; `detect` goes on to the peaks."""

    def __init__(self, architecture: Architecture, landmarks: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.landmarks = landmarks
        self.heatmap_net = _build(architecture.heatmap, landmarks)
        self.direct_net = _build(architecture.direct, landmarks)
        self.fusion = Fusion(landmarks, **architecture.fusion) if self.direct_net is not None else None

    def forward(self, image: Tensor) -> Output:
        heatmap = self.heatmap(image)
        log_p = self.read_heatmap(heatmap, image)
        if self.direct_net is None or self.fusion is None:
            return Output(heatmap, None, None, log_p)
        mean_px, spread_px = self.direct(image)
        return Output(heatmap, mean_px, spread_px, self.fusion(log_p, mean_px, spread_px, self.architecture.stride))

    def detect(self, image: Tensor) -> Candidates:
        a = self.architecture
        return find_candidates(self(image).log_p, a.candidates, a.stride, a.peak_radius)

    def heatmap(self, image: Tensor) -> Tensor | None:
        if self.heatmap_net is None:
            return None
        out = self.heatmap_net(image)
        return (out if isinstance(out, Tensor) else out.heatmaps).float()

    def read_heatmap(self, heatmap: Tensor | None, image: Tensor) -> Tensor:
        """Log of a distribution over pixels; a uniform one where there is no heatmap network."""
        a = self.architecture
        if heatmap is None:
            shape = (image.shape[0], self.landmarks, image.shape[-2] // a.stride, image.shape[-1] // a.stride)
            return torch.zeros(shape, device=image.device)
        return log_probability(heatmap, a.heatmap_loss)

    def direct(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and spread (B, L, 2) in input pixels. The network says (x + 1/2) / W, so x = u W - 1/2."""
        assert self.direct_net is not None
        side = self.architecture.direct_size
        # A picture made smaller without a filter is noise to a network that was trained on smoothly made smaller ones.
        small = F.interpolate(image, (side, side), mode="bilinear", align_corners=False, antialias=True)
        out = self.direct_net(small)
        size_wh = torch.tensor([image.shape[-1], image.shape[-2]], dtype=torch.float32, device=image.device)
        return out.mean.float() * size_wh - 0.5, out.log_sigma.float().exp() * size_wh


class DetectorLogProbability(Detector):
    """The same weights by the same names; image (B, 1, H, W) -> log_p (B, L, h, w), the one tensor that MONAI asks."""

    def forward(self, image: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(image).log_p


class UNetLogProbability(nn.Module):
    """As `DetectorLogProbability` where there is a U-Net and nothing else: TorchScript compiles it."""

    def __init__(self, architecture: Architecture, landmarks: int) -> None:
        super().__init__()
        network = _build(architecture.heatmap, landmarks)
        assert network is not None
        self.heatmap_net = network
        self.heatmap_loss = architecture.heatmap_loss

    def forward(self, image: Tensor) -> Tensor:
        return log_probability(self.heatmap_net(image), self.heatmap_loss)


def network_of_bundle(architecture: dict[str, Any], landmarks: int) -> nn.Module:
    """The network that a bundle's `network_def` means to MONAI, without weights.

    architecture: settings of `Architecture`. Raises RecipeError for unknown ones.
    """
    settings: Architecture = from_dict(Architecture, architecture, "architecture")
    is_unet = settings.direct is None and (settings.heatmap or {}).get("network") == "unet"
    return (UNetLogProbability if is_unet else DetectorLogProbability)(settings, landmarks)


def _build(settings: dict[str, Any] | None, landmarks: int) -> nn.Module | None:
    if settings is None:
        return None
    arguments = dict(settings)
    return build_network(arguments.pop("network"), landmarks, **arguments)
