"""Fusion: the heatmap times the direct regressor's Gaussian, as the seed paper multiplies them, in log space.

    log p(x, y) = log heatmap(x, y) - (x - mx)^2 / (2 sx^2) - (y - my)^2 / (2 sy^2) + const

The Gaussian is separable, so a row of w and a column of h numbers are added; no L x H x W Gaussian is rendered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from SpineLandmarksLib.heatmaps import squared_distance


def fuse(log_p: Tensor, mean_px: Tensor, sigma_px: Tensor, stride: float) -> Tensor:
    """Product of a heatmap and a Gaussian, normalized again.

    log_p: (B, L, h, w) log of a distribution over pixels; mean_px: (B, L, 2) x, y in input pixels;
    sigma_px: (L, 2) or (B, L, 2) standard deviation per axis in input pixels. Returns (B, L, h, w).
    """
    height, width = log_p.shape[-2:]
    dx2, dy2 = squared_distance(mean_px, (height, width), stride)
    sigma = sigma_px.expand_as(mean_px)[..., None, None]  # (B, L, 2, 1, 1)
    fused = log_p - dx2 / (2 * sigma[:, :, 0] ** 2) - dy2 / (2 * sigma[:, :, 1] ** 2)
    return F.log_softmax(fused.flatten(2), dim=-1).reshape(fused.shape)


class Fusion(nn.Module):
    """`fuse` with sigma per landmark and axis, fixed or learned with the network (softplus keeps it positive).

    sigma_px: initial standard deviation in input pixels. The direct regressor's own spread may widen it: the
    variances add, because its error and the annotators' scatter are independent.
    """

    def __init__(self, landmarks: int, sigma_px: float = 12.0, learned: bool = False, use_spread: bool = False) -> None:
        super().__init__()
        self.raw_sigma = nn.Parameter(_inverse_softplus(torch.full((landmarks, 2), float(sigma_px))), learned)
        self.use_spread = use_spread

    @property
    def sigma_px(self) -> Tensor:
        """(L, 2) standard deviation in input pixels."""
        return F.softplus(self.raw_sigma)

    def set_sigma(self, sigma_px: Tensor) -> None:
        """Use (L, 2) standard deviations that were fitted elsewhere, such as by `fit_sigma`."""
        with torch.no_grad():
            self.raw_sigma.copy_(_inverse_softplus(sigma_px))

    def forward(self, log_p: Tensor, mean_px: Tensor, spread_px: Tensor, stride: float) -> Tensor:
        sigma = self.sigma_px
        if self.use_spread:
            sigma = torch.sqrt(sigma.square() + spread_px.square())
        return fuse(log_p, mean_px, sigma, stride)


def _inverse_softplus(value: Tensor) -> Tensor:
    return value + torch.log(-torch.expm1(-value))


def fit_sigma(mean_px: Tensor, truth_px: Tensor, valid: Tensor) -> Tensor:
    """Root mean square error of the direct regressor per landmark and axis on held-out cases: the sigma to fuse with.

    mean_px, truth_px: (N, L, 2); valid: (N, L). Returns (L, 2) in input pixels.
    """
    weight = valid[..., None].to(mean_px.dtype)
    error = torch.where(valid[..., None], mean_px - truth_px, torch.zeros_like(mean_px))
    return torch.sqrt((error.square() * weight).sum(0) / weight.sum(0).clamp(min=1)).clamp(min=0.5)
