"""A bundle's weights, trained a little further on corrected studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import torch

from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.bundle import METADATA, WEIGHTS, Bundle, read_settings
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.settings import from_dict
from SpineLandmarksLib.training.augment import GeometrySettings
from SpineLandmarksLib.training.dataset import load_cases
from SpineLandmarksLib.training.recipe import Recipe, load_recipe
from SpineLandmarksLib.training.train import train

RECIPE = "retrain"


def finetuning_recipe(bundle: Bundle, steps: int | None = None, recipe: str = RECIPE, seed: int = 0) -> Recipe:
    """The recipe in the bundle's own architecture and preparation, and with the crop, the target and the displacements
    that it was trained with, which are in its pixels. Few steps get a short warm-up and average: the average of weights
    looks back over about 1 / (1 - ema) steps.
    """
    base = _in_pixels_of(bundle, load_recipe(recipe))
    steps = steps or base.steps
    architecture = from_dict(Architecture, bundle.architecture, f"architecture of {bundle.name}")
    return replace(
        base,
        architecture=architecture,
        preparation=bundle.preparation,
        steps=steps,
        seed=seed,
        warmup=min(base.warmup, steps // 10),
        ema=min(base.ema, max(0.0, 1 - 8 / steps)),
    )


def _in_pixels_of(bundle: Bundle, recipe: Recipe) -> Recipe:
    own = read_settings(bundle.folder / METADATA).get("recipe", {})
    if not {"crop", "sigma_px", "geometry"} <= set(own):
        return recipe
    geometry = from_dict(GeometrySettings, own["geometry"], f"recipe of {bundle.name}, geometry")
    columns, rows = own["crop"]
    return replace(recipe, crop=(columns, rows), sigma_px=own["sigma_px"], geometry=geometry)


def finetune(
    bundle: Bundle,
    rows: Sequence[Annotation],
    recipe: Recipe,
    output: Path,
    *,
    weights: dict[str, torch.Tensor] | None = None,
    device: str = "cpu",
    resume: bool = False,
    progress: ProgressCallback | None = None,
) -> Detector:
    """Train on annotated slices, from the bundle's weights or from other `weights` of the same architecture.

    Raises DatasetError for slices of a locked hold-out.
    """
    return train(
        recipe,
        load_cases(rows, bundle.landmarks, recipe.preparation),
        len(bundle.landmarks),
        output,
        device=device,
        resume=resume,
        start_from=weights or safetensors.torch.load_file(bundle.folder / WEIGHTS),
        progress=progress,
    )
