"""Training losses of a recipe: on heatmaps, on direct coordinates, and on their product."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from SpineLandmarksLib.heatmaps import LOSSES, gaussian_target, masked_mean, softmax_cross_entropy, squared_distance
from SpineLandmarksLib.model import Detector, Output
from SpineLandmarksLib.networks.scn import LearnedSigma
from SpineLandmarksLib.training.recipe import Recipe


class Losses(nn.Module):
    """The detector with its losses, as one module, so that gradients of several processes are averaged in one place."""

    def __init__(self, recipe: Recipe, detector: Detector, sigma: LearnedSigma | None) -> None:
        super().__init__()
        self.recipe, self.detector, self.sigma = recipe, detector, sigma

    def forward(self, image: Tensor, points_px: Tensor, valid: Tensor) -> dict[str, Tensor]:
        r, out = self.recipe, self.detector(image)
        parts = {}
        if out.heatmap is not None:
            parts["heatmap"] = self.heatmap_loss(out, points_px, valid)
        if out.mean_px is not None:
            parts["direct"] = r.direct_weight * self.direct_loss(out, points_px, valid, image)
        if out.mean_px is not None and r.fusion_weight > 0:
            target = gaussian_target(points_px, r.sigma_px, out.log_p.shape[-2:], r.architecture.stride)
            parts["fusion"] = r.fusion_weight * softmax_cross_entropy(out.log_p, target, valid)
        return parts

    def heatmap_loss(self, out: Output, points_px: Tensor, valid: Tensor) -> Tensor:
        r, a, heatmap = self.recipe, self.recipe.architecture, out.heatmap
        assert heatmap is not None
        size = (heatmap.shape[-2], heatmap.shape[-1])
        if self.sigma is None:
            target = gaussian_target(points_px, r.sigma_px, size, a.stride)
            return LOSSES[a.heatmap_loss](heatmap, target, valid)
        dx2, dy2 = squared_distance(torch.nan_to_num(points_px), size, a.stride)
        # The paper adds 20 penalties to a sum over landmarks; the heatmap loss here is their mean.
        penalty = 20.0 / self.detector.landmarks * self.sigma.penalty()
        return LOSSES[a.heatmap_loss](heatmap, self.sigma(dx2 + dy2), valid) + penalty

    def direct_loss(self, out: Output, points_px: Tensor, valid: Tensor, image: Tensor) -> Tensor:
        assert out.mean_px is not None
        assert out.spread_px is not None
        size_wh = torch.tensor([image.shape[-1], image.shape[-2]], dtype=torch.float32, device=image.device)
        error = (out.mean_px - torch.nan_to_num(points_px)) / size_wh
        if self.recipe.direct_loss == "mse":
            return masked_mean(error.square().mean(-1), valid)
        spread = out.spread_px / size_wh
        return masked_mean((0.5 * (error / spread).square() + torch.log(spread)).sum(-1), valid)
