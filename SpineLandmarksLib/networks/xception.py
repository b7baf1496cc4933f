"""Xception with a fully connected head that names coordinates directly: the "direct" opinion of the fusion.

Backbone: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions", CVPR 2017, figure 5; 36 convolutions
in 14 blocks. MONAI has neither this network nor a separable convolution, hence plain torch.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

#: Where an untrained head points (the middle of the image) and how unsure it is (a tenth of the image).
START_MEAN, START_SIGMA = 0.5, 0.1


class DirectOutput(NamedTuple):
    """Both (B, L, 2), x then y, normalized by the image's width and height.

    mean: u = (x + 0.5) / W and v = (y + 0.5) / H, where an integer x or y is a pixel centre, so that 0 and 1 are the
    outer edges of the image whatever its size.
    log_sigma: natural logarithm of the standard deviation along each axis, in the same units.
    """

    mean: Tensor
    log_sigma: Tensor


class SeparableConv2d(nn.Sequential):
    """Depthwise 3x3, then pointwise 1x1, with nothing between them, then batch norm. (B, I, H, W) -> (B, O, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )


class ResidualBlock(nn.Module):
    """Separable convolutions through `channels`, each behind a ReLU, added to a shortcut.

    With `halves` a max pool of 3, stride 2, ends the block and the shortcut is a strided 1x1 convolution.
    """

    def __init__(self, channels: tuple[int, ...], halves: bool, first_relu: bool = True) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [nn.ReLU(), SeparableConv2d(before, after)]
        self.body = nn.Sequential(*layers[0 if first_relu else 1 :])
        self.shortcut: nn.Module = nn.Identity()
        if halves:
            self.body.append(nn.MaxPool2d(3, stride=2, padding=1))
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels[0], channels[-1], 1, stride=2, bias=False), nn.BatchNorm2d(channels[-1])
            )

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.body(x) + self.shortcut(x)
        return summed


class Xception(nn.Module):
    """Image (B, in_channels, H, W) -> DirectOutput. Any size from 32 up; the seed paper's is 299 x 299.

    width scales the number of channels (1.0 is the paper's). dropout is that before the head. grid: cells along each
    side that the head sees the features in; 1 is Xception's own pooling, which forgets where they were. coordinates:
    the network also sees where each pixel lies, from -1 to 1, as two more channels (Liu et al., "An intriguing failing
    of convolutional neural networks and the CoordConv solution", NeurIPS 2018).
    """

    def __init__(
        self,
        landmarks: int,
        in_channels: int = 1,
        dropout: float = 0.5,
        width: float = 1.0,
        grid: int = 1,
        coordinates: bool = False,
    ) -> None:
        super().__init__()
        c32, c64, c128, c256, c728, c1024, c1536, c2048 = (
            max(1, round(width * channels)) for channels in (32, 64, 128, 256, 728, 1024, 1536, 2048)
        )
        self.coordinates = coordinates
        self.entry = nn.Sequential(
            nn.Conv2d(in_channels + 2 * coordinates, c32, 3, stride=2, bias=False),
            nn.BatchNorm2d(c32),
            nn.ReLU(),
            nn.Conv2d(c32, c64, 3, bias=False),
            nn.BatchNorm2d(c64),
            nn.ReLU(),
            ResidualBlock((c64, c128, c128), halves=True, first_relu=False),
            ResidualBlock((c128, c256, c256), halves=True),
            ResidualBlock((c256, c728, c728), halves=True),
        )
        self.middle = nn.Sequential(*(ResidualBlock((c728,) * 4, halves=False) for _ in range(8)))
        self.exit = nn.Sequential(
            ResidualBlock((c728, c728, c1024), halves=True),
            SeparableConv2d(c1024, c1536),
            nn.ReLU(),
            SeparableConv2d(c1536, c2048),
            nn.ReLU(),
        )
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(grid), nn.Flatten(), nn.Dropout(dropout))
        self.mean = _head(c2048 * grid**2, landmarks, START_MEAN)
        self.log_sigma = _head(c2048 * grid**2, landmarks, math.log(START_SIGMA))

    def forward(self, image: Tensor) -> DirectOutput:
        if self.coordinates:
            image = torch.cat([image, _coordinates(image)], dim=1)
        features = self.pool(self.exit(self.middle(self.entry(image))))  # (B, 2048 * grid^2)
        # bfloat16 steps by 1/256 near 0.5, which is two pixels of 512: the head stays in float32 under autocast.
        with torch.autocast(image.device.type, enabled=False):
            features = features.float()
            return DirectOutput(self.mean(features), self.log_sigma(features))  # (B, L, 2) each


def _coordinates(image: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 2, H, W): x and y of each pixel centre, -1 to 1."""
    height, width = image.shape[-2:]
    y, x = (torch.linspace(-1.0, 1.0, size, device=image.device, dtype=image.dtype) for size in (height, width))
    return torch.stack([x.expand(height, width), y[:, None].expand(height, width)]).expand(len(image), -1, -1, -1)


def _head(features: int, landmarks: int, start: float) -> nn.Sequential:
    """Linear (B, features) -> (B, landmarks, 2) whose first answers lie around `start`."""
    linear = nn.Linear(features, landmarks * 2)
    nn.init.constant_(linear.bias, start)
    return nn.Sequential(linear, nn.Unflatten(1, (landmarks, 2)))
