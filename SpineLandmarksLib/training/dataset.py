"""A data-set folder as tensors: every slice prepared once, padded onto one canvas, with points and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.splits import refuse_locked
from SpineLandmarksLib.transforms import Image, Preparation, prepare_slice

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Cases:
    """images: (N, 1, Hc, Wc) prepared slices at the first pixel of a common canvas; sizes_wh: (N, 2) their extents;
    points_px: (N, L, 2) canvas pixels, nan where not annotated; valid: (N, L). weight: (N,) how often each is drawn."""

    images: Tensor
    sizes_wh: Tensor
    points_px: Tensor
    valid: Tensor
    weight: Tensor

    def __len__(self) -> int:
        return len(self.images)


def cache_preparation(p: Preparation, finer: float = 1.4) -> Preparation:
    """Preparation of the cached slices: as the network's, but finer, so that random scaling loses no detail."""
    return p if p.resize == "plain" else replace(p, spacing_mm=p.spacing_mm / finer, multiple=1, max_side=10_000)


def cache_scale(p: Preparation) -> float:
    """Network pixels per cached pixel."""
    return 1.0 if p.resize == "plain" else cache_preparation(p).spacing_mm / p.spacing_mm


def load_cases(
    annotations: Sequence[Annotation], schema: Sequence[str], p: Preparation, weight: Sequence[float] | None = None
) -> Cases:
    """Read and prepare every annotated slice once. weight: how often each is drawn, the same for all when left out.

    Raises DatasetError for slices of a locked hold-out.
    """
    import torch

    refuse_locked(annotations)
    prepared, points = [], []
    for annotation in annotations:
        native = load_image(annotation.image)
        image, cache_from_slice = prepare_slice(native, spacing_of(annotation), cache_preparation(p))
        prepared.append(image)
        points.append(apply(cache_from_slice, points_of(annotation, schema)))
    height, width = np.max([image.shape for image in prepared], axis=0)
    canvas = np.stack([_onto_canvas(image, height, width) for image in prepared])[:, None]
    sizes = torch.tensor([image.shape[::-1] for image in prepared], dtype=torch.float32)
    points_px = torch.from_numpy(np.stack(points)).float()
    drawn = torch.ones(len(annotations)) if weight is None else torch.tensor(weight, dtype=torch.float32)
    return Cases(torch.from_numpy(canvas), sizes, points_px, ~torch.isnan(points_px).any(-1), drawn)


def _onto_canvas(image: Image, height: int, width: int) -> Image:
    below, right = height - image.shape[0], width - image.shape[1]
    return np.pad(image, ((0, below), (0, right)), constant_values=float(image.min()))
