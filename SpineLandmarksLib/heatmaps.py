"""Heatmaps: continuous Gaussian targets, the losses against them, and sub-pixel peaks. torch; exportable.

Frames: `_px` are network-input pixels. A heatmap of stride s has its pixel u at input pixel s (u + 1/2) - 1/2.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from SpineLandmarksLib.errors import RecipeError


class Candidates(NamedTuple):
    """The K best peaks of each landmark, best first.

    xy: (B, L, K, 2) input pixels; log_mass: (B, L, K) log of the probability inside the peak's window;
    covariance: (B, L, K, 3) xx, yy, xy in squared input pixels.
    """

    xy: Tensor
    log_mass: Tensor
    covariance: Tensor


def centres_px(count: int, stride: float, like: Tensor) -> Tensor:
    """(count,) input-pixel coordinate of each heatmap pixel along one axis."""
    return (torch.arange(count, dtype=torch.float32, device=like.device) + 0.5) * stride - 0.5


def squared_distance(points_px: Tensor, size_hw: tuple[int, int], stride: float) -> tuple[Tensor, Tensor]:
    """Squared distances along each axis from points (B, L, 2): (B, L, 1, w) and (B, L, h, 1)."""
    x = centres_px(size_hw[1], stride, points_px)
    y = centres_px(size_hw[0], stride, points_px)
    dx = x[None, None, None, :] - points_px[..., 0, None, None]  # (B, L, 1, w)
    dy = y[None, None, :, None] - points_px[..., 1, None, None]  # (B, L, h, 1)
    return dx.square(), dy.square()


def gaussian_target(points_px: Tensor, sigma_px: float | Tensor, size_hw: tuple[int, int], stride: float) -> Tensor:
    """exp(-d^2 / 2 sigma^2), peak 1, centred between pixels where the point is. (B, L, 2) -> (B, L, h, w).

    sigma_px: one number, or (L,) for one per landmark.
    """
    dx2, dy2 = squared_distance(torch.nan_to_num(points_px), size_hw, stride)
    sigma = torch.as_tensor(sigma_px, dtype=torch.float32, device=points_px.device).reshape(-1, 1, 1)
    return torch.exp(-dx2 / (2 * sigma**2)) * torch.exp(-dy2 / (2 * sigma**2))


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Mean of (B, L) over the valid entries; 0 when there are none."""
    weight = valid.to(values.dtype)
    return (torch.where(valid, values, torch.zeros_like(values)) * weight).sum() / weight.sum().clamp(min=1)


def softmax_cross_entropy(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of a softmax over all pixels against the normalized target: one peak per channel is known."""
    log_p = F.log_softmax(logits.flatten(2), dim=-1)
    t = target.flatten(2)
    t = t / t.sum(-1, keepdim=True).clamp(min=1e-12)
    return masked_mean(-(t * log_p).sum(-1), valid)


def binary_cross_entropy(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Per-pixel binary cross-entropy, the seed paper's heatmap loss."""
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return masked_mean(loss.flatten(2).mean(-1), valid)


def mean_squared_error(values: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Half the summed squared error per landmark, as SpatialConfiguration-Net uses it."""
    return masked_mean(0.5 * (values - target).square().flatten(2).sum(-1), valid)


LOSSES = {
    "softmax_cross_entropy": softmax_cross_entropy,
    "binary_cross_entropy": binary_cross_entropy,
    "mean_squared_error": mean_squared_error,
}


def log_probability(heatmap: Tensor, loss: str) -> Tensor:
    """What a network trained with `loss` says about each pixel, as log of a distribution over pixels. (B, L, h, w)."""
    if loss == "softmax_cross_entropy":
        log_p = heatmap
    elif loss == "binary_cross_entropy":
        log_p = F.logsigmoid(heatmap)
    elif loss == "mean_squared_error":
        log_p = torch.log(heatmap.clamp(min=1e-6))
    else:
        # TorchScript, which compiles this too, can neither join nor format.
        known = "softmax_cross_entropy, binary_cross_entropy, mean_squared_error"
        raise RecipeError("Expected a heatmap loss of " + known + "; got " + loss)
    return F.log_softmax(log_p.flatten(2), dim=-1).reshape(heatmap.shape)


def windows_at(p: Tensor, indices: Tensor, radius: int) -> Tensor:
    """Square windows about pixels, 0 beyond the edges. (B, L, h, w), flat indices (B, L, K) -> (B, L, K, side^2)."""
    width, side = p.shape[-1], 2 * radius + 1
    padded = F.pad(p, (radius,) * 4)  # row and column of a pixel are now those of the first pixel of its window
    first = indices + indices // width * (2 * radius)
    along = torch.arange(side, device=p.device)
    at = first[..., None] + (along[:, None] * (width + 2 * radius) + along).reshape(-1)
    return padded.flatten(2).gather(-1, at.flatten(2)).reshape(at.shape)


def moments(windows: Tensor, radius: int, stride: float) -> Tensor:
    """Sums of 1, x, y, xx, yy, xy times the values of windows (..., side^2), x and y from their middle: (..., 6)."""
    offset = torch.arange(-radius, radius + 1, dtype=windows.dtype, device=windows.device) * stride
    y, x = (axis.reshape(-1) for axis in torch.meshgrid(offset, offset, indexing="ij"))
    return windows @ torch.stack([torch.ones_like(x), x, y, x * x, y * y, x * y], -1)


def find_candidates(log_p: Tensor, count: int, stride: float, radius: int = 3) -> Candidates:
    """The `count` strongest peaks of each channel, to a fraction of a pixel.

    log_p: (B, L, h, w) log of a distribution over pixels. A peak is a pixel that is the largest of its window; its
    position is the mean, and its covariance the second moment, of the probability inside the window (local
    soft-argmax). The window is centred on the pixel, so it must hold nearly all of the peak: at a radius of 2.5 sigma
    the position is right to 0.05 pixel, at 1 sigma it is drawn to the pixel's middle by up to 0.3 pixel. Built from
    pooling and gathering alone, so that the exported graph decodes exactly as training does.
    """
    height, width = log_p.shape[-2:]
    side = 2 * radius + 1
    p = log_p.exp()
    mass = F.avg_pool2d(p, side, stride=1, padding=radius) * side**2
    is_peak = F.max_pool2d(log_p, side, stride=1, padding=radius) == log_p
    best = torch.where(is_peak, mass, mass * 1e-12).flatten(2).topk(count, dim=-1)
    total, sx, sy, sxx, syy, sxy = moments(windows_at(p, best.indices, radius), radius, stride).unbind(-1)
    total = total.clamp(min=1e-30)
    dx, dy = sx / total, sy / total
    columns = centres_px(width, stride, log_p)[None, :].expand(height, width).reshape(-1)
    rows = centres_px(height, stride, log_p)[:, None].expand(height, width).reshape(-1)
    x, y = columns[best.indices] + dx, rows[best.indices] + dy
    covariance = torch.stack([sxx / total - dx * dx, syy / total - dy * dy, sxy / total - dx * dy], -1)
    return Candidates(torch.stack([x, y], -1), torch.log(best.values.clamp(min=1e-30)), covariance)
