"""SpatialConfiguration-Net: where it looks like a landmark, times where a landmark can be given the others.

Payer, Stern, Bischof, Urschler: "Integrating spatial configuration into heatmap regression based CNNs for landmark
localization", Medical Image Analysis 54, 2019. `scn_original` is that network in 2-D; `scn_later` is the recipe its
author moved to (VerSe 2020: "Coarse to fine vertebrae localization and segmentation with SpatialConfiguration-Net and
U-Net", VISAPP 2020, and the code of the same group), which trains more steadily. `localization_unet` is what they
compare it with: a U-Net of the same blocks, without the second factor.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

LEVELS = 4  # of every U-Net here: the lowest is at 1/8 of its input
SLOPE = 0.1  # of LeakyReLU


class SCNOutput(NamedTuple):
    """All (B, L, H, W): the product, and its two factors for pictures and diagnosis. The loss is on `heatmaps` only."""

    heatmaps: Tensor
    local: Tensor
    spatial: Tensor


class SpatialConfigurationNet(nn.Module):
    """Image (B, C, H, W) -> SCNOutput. H and W must be multiples of 16 (`scn_original`) or 32 (`scn_later`).

    local: (B, C, H, W) -> (B, L, H, W), sharp but blind to which level it sees.
    spatial: (B, L, H, W) -> (B, L, H, W), from the local heatmaps alone: coarse, but it knows the configuration.
    """

    def __init__(self, local: nn.Module, spatial: nn.Module) -> None:
        super().__init__()
        self.local = local
        self.spatial = spatial

    def forward(self, image: Tensor) -> SCNOutput:
        # float32 also under autocast: the peak's neighbours must differ for a sub-pixel position.
        local = self.local(image).float()  # (B, L, H, W)
        spatial = self.spatial(local).float()  # (B, L, H, W)
        heatmaps = local * spatial  # (B, L, H, W)
        return SCNOutput(heatmaps, local, spatial)


def scn_original(landmarks: int, in_channels: int = 1, filters: int = 128) -> SpatialConfigurationNet:
    """The network of the 2019 paper: linear local heatmaps; three 11x11 convolutions at 1/16 and tanh for the rest."""
    local = nn.Sequential(
        _convolution(in_channels, filters),
        _adding_unet(filters, dropout=0.5),
        _output(filters, landmarks, kernel=3, std=1e-4),
    )
    spatial = nn.Sequential(
        nn.AvgPool2d(16),  # (B, L, H/16, W/16)
        _convolution(landmarks, filters, kernel=11),
        _convolution(filters, filters, kernel=11),
        _convolution(filters, filters, kernel=11),
        _output(filters, landmarks, kernel=11, std=1e-4),
        nn.Tanh(),
        _bicubic_up(16),
    )
    return SpatialConfigurationNet(local, spatial)


def scn_later(
    landmarks: int, in_channels: int = 1, filters: int = 96, stride: int = 1, dropout: float = 0.25
) -> SpatialConfigurationNet:
    """The network of VerSe 2020: concatenating U-Nets in both branches, dropout, and tanh on both.

    stride: input pixels per heatmap pixel, of the first convolution; 1 as published, and then H and W are as above.
    """
    local = nn.Sequential(
        _concatenating_unet(in_channels, filters, repeats=2, dropout=dropout, stride=stride),
        _output(filters, landmarks, kernel=1, std=1e-3),
        nn.Tanh(),
    )
    spatial = nn.Sequential(
        nn.AvgPool2d(4),  # (B, L, H/4, W/4)
        _concatenating_unet(landmarks, filters, repeats=1, dropout=dropout),
        _output(filters, landmarks, kernel=1, std=1e-3),
        _bicubic_up(4),
        nn.Tanh(),  # after the bicubic, which overshoots
    )
    return SpatialConfigurationNet(local, spatial)


def localization_unet(
    landmarks: int, in_channels: int = 1, filters: int = 96, stride: int = 1, dropout: float = 0.25
) -> nn.Module:
    """Image (B, C, H, W) -> linear heatmaps (B, L, H / stride, W / stride) by the local blocks of `scn_later` alone.

    Two levels more, so that its lowest is at 1/32 as that of the spatial branch is, and it sees as much of the picture.
    """
    unet = _concatenating_unet(in_channels, filters, repeats=2, dropout=dropout, stride=stride, levels=LEVELS + 2)
    return nn.Sequential(unet, _output(filters, landmarks, kernel=1, std=1e-3))


class LearnedSigma(nn.Module):
    """One trainable width per landmark, in pixels; it shapes the targets (the paper's equation 1) and nothing else."""

    def __init__(self, landmarks: int, initial: float = 2.5) -> None:
        super().__init__()
        self.sigma_px = nn.Parameter(torch.full((landmarks,), initial))

    def forward(self, squared_distance_px: Tensor) -> Tensor:
        """Squared distances d^2 (B, L, H, W) in px^2 -> targets 100 / (2 pi sigma_i^2) * exp(-d^2 / (2 sigma_i^2))."""
        variance = self.sigma_px.square()[:, None, None]  # (L, 1, 1)
        return 100 / (2 * math.pi * variance) * torch.exp(-squared_distance_px / (2 * variance))

    def penalty(self) -> Tensor:
        """Half the sum of sigma_i^2, a scalar; the paper adds it to the loss 20 times, or every sigma would grow."""
        return 0.5 * self.sigma_px.square().sum()


class _UNet(nn.Module):
    """Average pool down, bilinear up, as many filters on every level. (B, I, H, W) -> (B, filters, H, W).

    Each list holds one module per level, finest first. The way up meets the skip by concatenation or by addition.
    """

    def __init__(self, contract: list[nn.Module], skip: list[nn.Module], expand: list[nn.Module], concat: bool) -> None:
        super().__init__()
        self.contract = nn.ModuleList(contract)
        self.skip = nn.ModuleList(skip)
        self.expand = nn.ModuleList(expand)
        self.concat = concat

    def forward(self, x: Tensor) -> Tensor:
        skipped = []
        for level, (contract, skip) in enumerate(zip(self.contract, self.skip, strict=True)):
            x = contract(x if level == 0 else functional.avg_pool2d(x, 2))
            skipped.append(skip(x))
        *finer, lowest = skipped  # each (B, filters, H / 2^level, W / 2^level)
        x = self.expand[-1](lowest)
        for expand, fine in zip(self.expand[-2::-1], reversed(finer), strict=True):
            up = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = expand(torch.cat([fine, up], dim=1) if self.concat else fine + up)
        return x


def _adding_unet(filters: int, dropout: float) -> _UNet:
    """The paper's: two convolutions down with dropout between, one on each skip, nothing on the way up."""

    def contract() -> nn.Module:
        return nn.Sequential(_convolution(filters, filters, dropout=dropout), _convolution(filters, filters))

    return _UNet(
        contract=[contract() for _ in range(LEVELS)],
        skip=[_convolution(filters, filters) for _ in range(LEVELS)],
        expand=[nn.Identity() for _ in range(LEVELS)],
        concat=False,
    )


def _concatenating_unet(
    in_channels: int, filters: int, repeats: int, dropout: float, stride: int = 1, levels: int = LEVELS
) -> _UNet:
    """VerSe 2020's: `repeats` convolutions, each followed by dropout, on every level down and again up."""

    def block(channels: int, stride: int = 1) -> nn.Module:
        widths = [channels, *[filters] * repeats]
        first, *others = pairwise(widths)
        layers = [_convolution(*first, dropout=dropout, stride=stride)]
        return nn.Sequential(*layers, *(_convolution(i, o, dropout=dropout) for i, o in others))

    return _UNet(
        contract=[block(in_channels, stride), *(block(filters) for _ in range(levels - 1))],
        skip=[nn.Identity() for _ in range(levels)],
        expand=[*(block(2 * filters) for _ in range(levels - 1)), block(filters)],
        concat=True,
    )


def _convolution(
    in_channels: int, out_channels: int, kernel: int = 3, dropout: float = 0.0, stride: int = 1
) -> Convolution:
    """Convolution, LeakyReLU, dropout; He initialization, no normalization."""
    layer = Convolution(
        2,
        in_channels,
        out_channels,
        strides=stride,
        kernel_size=kernel,
        adn_ordering="AD",
        act=("leakyrelu", {"negative_slope": SLOPE}),
        dropout=dropout or None,
    )
    nn.init.kaiming_normal_(layer.conv.weight, nonlinearity="relu")
    nn.init.zeros_(layer.conv.bias)
    return layer


def _output(filters: int, landmarks: int, kernel: int, std: float) -> nn.Conv2d:
    """The linear layer that makes heatmaps; near zero at first, so that no pixel starts as a peak."""
    layer = nn.Conv2d(filters, landmarks, kernel, padding="same")
    nn.init.trunc_normal_(layer.weight, std=std, a=-2 * std, b=2 * std)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def _bicubic_up(factor: int) -> nn.Upsample:
    return nn.Upsample(scale_factor=float(factor), mode="bicubic", align_corners=False)
