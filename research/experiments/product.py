"""The seeds' product: one U-Net and one direct network of the same split, and the sigma they are multiplied with.

    log p = log heatmap - (x - mx)^2 / (2 sx^2) - (y - my)^2 / (2 sy^2) + const          fusion.py

Learned: sx and sy of each landmark minimize the cross-entropy of p against the heatmap target on the slices that the
two networks were trained on; nothing else changes, so one pass through the networks is enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from research.experiments.decoding import all_missing, decode_with, localizer_of
from research.experiments.experiment import Experiment, Part
from research.experiments.rows import ExperimentRow, Predictor
from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.fusion import Fusion
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.heatmaps import gaussian_target, softmax_cross_entropy
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.training.recipe import Recipe
from SpineLandmarksLib.transforms import prepare_slice

#: Steps of the optimization of sigma, slices in each, and the rate in pixels.
STEPS, BATCH, RATE_PX = 150, 8, 0.3


def product_row(key: str, title: str, heatmap: str, direct: str, learned: bool) -> ExperimentRow:
    """Recipes `heatmap` and `direct` multiplied, with sigma by experience (that of `direct`) or learned."""

    def enter(experiment: Experiment, part: Part) -> Predictor:
        networks = [experiment.trained(recipe, part) for recipe in (heatmap, direct)]
        trainings = tuple(training for _, training in networks)
        (unet, _), (regressor, _) = networks
        if unet is None or regressor is None:
            return Predictor(all_missing(len(experiment.schema)), trainings)
        recipe = experiment.recipe_of(heatmap)
        product = fuse(unet, regressor)
        if learned:
            learn_sigma(product, recipe, part.learn, experiment.schema)
        assert product.fusion is not None
        sigma = tuple(round(float(value), 3) for value in product.fusion.sigma_px.detach().flatten())
        localizer = localizer_of(product, recipe.preparation, part.learn, experiment.schema)
        return Predictor(decode_with("peak", localizer), trainings, sigma)

    return ExperimentRow(key, title, "peak", enter)


def fuse(heatmap: Detector, direct: Detector) -> Detector:
    """One detector around the two networks, which are shared, not copied; sigma is that of `direct`."""
    d = direct.architecture
    both = replace(heatmap.architecture, direct=d.direct, direct_size=d.direct_size, fusion=d.fusion)
    product = Detector(both, heatmap.landmarks)
    product.heatmap_net, product.direct_net = heatmap.heatmap_net, direct.direct_net
    return product.eval()


def learn_sigma(product: Detector, recipe: Recipe, learn: Sequence[Annotation], schema: Sequence[str]) -> None:
    """Set the product's sigma to what explains the annotations of `learn` best."""
    log_p, mean, truth = network_outputs(product, recipe, learn, schema)
    valid = ~torch.isnan(truth).any(-1)
    assert product.fusion is not None
    fusion: Fusion = product.fusion
    fusion.raw_sigma.requires_grad_(True)
    optimizer = torch.optim.Adam([fusion.raw_sigma], RATE_PX)
    generator = torch.Generator().manual_seed(recipe.seed)
    stride = recipe.architecture.stride
    for _ in range(STEPS):
        some = torch.randint(len(truth), (BATCH,), generator=generator)
        fused = fusion(log_p[some], mean[some], torch.zeros_like(mean[some]), stride)
        target = gaussian_target(truth[some], recipe.sigma_px, (log_p.shape[-2], log_p.shape[-1]), stride)
        optimizer.zero_grad()
        softmax_cross_entropy(fused, target, valid[some]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    fusion.raw_sigma.requires_grad_(False)


def network_outputs(
    product: Detector, recipe: Recipe, rows: Sequence[Annotation], schema: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """log p of the heatmaps (N, L, h, w), means of the direct network (N, L, 2) and truth (N, L, 2), input pixels."""
    heatmaps, means, truths = [], [], []
    for row in rows:
        image, pixel_from_slice = prepare_slice(load_image(row.image), spacing_of(row), recipe.preparation)
        with torch.no_grad():
            tensor = torch.from_numpy(image)[None, None]
            heatmaps.append(product.read_heatmap(product.heatmap(tensor), tensor))
            means.append(product.direct(tensor)[0])
        truths.append(torch.from_numpy(apply(pixel_from_slice, points_of(row, schema))).float())
    return torch.cat(heatmaps), torch.cat(means), torch.stack(truths)
