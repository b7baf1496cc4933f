"""A data-set folder as tensors: every slice prepared once, padded onto one canvas, with points and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json
from SpineLandmarksLib.formats.strict_json import load_json, shown
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.picture import read_picture
from SpineLandmarksLib.landmarks import LUMBAR11, require_unique
from SpineLandmarksLib.training.locked import refuse_locked
from SpineLandmarksLib.training.predictions import LUMBAR_LENGTH_MM
from SpineLandmarksLib.transforms import Image, Preparation, prepare_slice

if TYPE_CHECKING:
    from torch import Tensor


def schema_of(folder: Path) -> tuple[str, ...]:
    """The landmark names of a data set, head to foot: its `schema.json`, a list of names, or the eleven lumbar ones.

    Raises LandmarkError when a name comes twice, FormatError when the file is not a list of at least two names.
    """
    file = folder / "schema.json"
    if not file.is_file():
        return LUMBAR11
    names = load_json(file)
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise FormatError(f"Expected a list of two or more landmark names in {file}; got {shown(names)}")
    require_unique(names)
    return tuple(names)


def load_annotations(folders: Sequence[Path], schema: Sequence[str]) -> list[Annotation]:
    """Every annotated slice of the data-set folders, in a fixed order.

    Groups (patients) keep their own names, so that a split does not depend on where a folder lies. Two folders that
    use the same name for different patients only make a split more careful.
    """
    found: list[Annotation] = []
    for folder in folders:
        file = folder / "landmarks.json" if folder.is_dir() else folder
        if not file.is_file():
            raise DatasetError(f"Expected a data-set folder with landmarks.json; got {folder}")
        found += read_landmarks_json(file, schema)
    if not found:
        raise DatasetError(f"Expected at least one annotated slice; got none in {', '.join(map(str, folders))}")
    return sorted(found, key=lambda row: (row.group, str(row.image)))


def load_image(path: Path) -> Image:
    """A slice picture as (H, W) float32 grey values, read as `predict` reads it. InputError when it is none."""
    return read_picture(path, None).voxels[:, :, 0].T


def spacing_of(annotation: Annotation) -> tuple[float, float] | None:
    """(x, y) mm: the recorded spacing, else the one that makes L1-L5 144 mm, else None."""
    if annotation.spacing_mm is not None:
        return annotation.spacing_mm
    ends = [annotation.points_xy.get(name) for name in ("L1", "L5")]
    if ends[0] is None or ends[1] is None:
        return None
    length_px = float(np.linalg.norm(np.subtract(ends[0], ends[1])))
    return (LUMBAR_LENGTH_MM / length_px,) * 2 if length_px > 0 else None


def points_of(annotation: Annotation, schema: Sequence[str]) -> NDArray[np.float64]:
    """(L, 2) native pixels in the schema's order; nan where not annotated."""
    return np.array([annotation.points_xy.get(name) or (np.nan, np.nan) for name in schema], dtype=np.float64)


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


def weights_of_shares(sizes: Sequence[int], shares: Sequence[float | None]) -> list[float]:
    """A weight for each slice of several data sets, of which some must make up a fixed share of what is drawn.

    Those without a share divide the rest by their sizes.

    >>> weights_of_shares([3, 1], [None, 0.5])
    [1.0, 1.0, 1.0, 3.0]
    """
    fixed = sum(share or 0.0 for share in shares)
    free = sum(size for size, share in zip(sizes, shares, strict=True) if share is None)
    if not 0 <= fixed < 1 or free == 0 or any(share is not None and share < 0 for share in shares):
        raise DatasetError(f"Expected shares from 0 to below 1 in all, and data without a share; got {list(shares)}")
    total = free / (1 - fixed)
    each = [1.0 if share is None else share * total / size for size, share in zip(sizes, shares, strict=True)]
    return [weight for weight, size in zip(each, sizes, strict=True) for _ in range(size)]


def _onto_canvas(image: Image, height: int, width: int) -> Image:
    below, right = height - image.shape[0], width - image.shape[1]
    return np.pad(image, ((0, below), (0, right)), constant_values=float(image.min()))
