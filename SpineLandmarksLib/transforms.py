"""From a native slice to network input, and back: intensities, resampling, padding. numpy and Pillow only.

Training wraps these same functions, so that a network never meets another preparation than the one it learned with.
Points move with pixels: each function that moves pixels returns its matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.geometry import Matrix, scale_about_corner, translate

Image = NDArray[np.float32]


@dataclass(frozen=True)
class Preparation:
    """How a slice becomes network input; stored in the bundle.

    resize: "spacing" resamples to `spacing_mm` with the aspect ratio kept and pads to a multiple of `multiple`;
        "plain" squeezes any slice into `size` (columns, rows), as the seed paper does.
    intensity: "percentile" clips to the 0.5th and 99.5th percentile; "equalize" is histogram equalization, as the seed
        paper does. Both end at mean 0 and standard deviation 1, as training does.
    assumed_extent_mm: length of the longer image side when the spacing is unknown.
    max_side: longer input side in pixels; larger fields of view are resampled more coarsely to fit.
    """

    resize: Literal["spacing", "plain"] = "spacing"
    spacing_mm: float = 1.25
    multiple: int = 32
    size: tuple[int, int] = (512, 512)
    intensity: Literal["percentile", "equalize"] = "percentile"
    assumed_extent_mm: float = 330.0
    max_side: int = 512

    def __post_init__(self) -> None:
        if self.resize not in ("spacing", "plain"):
            raise RecipeError(f"Expected resize to be 'spacing' or 'plain'; got {self.resize!r}")
        if self.intensity not in ("percentile", "equalize"):
            raise RecipeError(f"Expected intensity to be 'percentile' or 'equalize'; got {self.intensity!r}")
        if not self.spacing_mm > 0:
            raise RecipeError(f"Expected a positive spacing_mm; got {self.spacing_mm}")
        if min(self.multiple, self.max_side, *self.size) < 1:
            raise RecipeError(f"Expected sides of at least 1 pixel; got {self.multiple}, {self.max_side}, {self.size}")


def equalize_histogram(image: Image, bins: int = 256) -> Image:
    """Histogram equalization: each value becomes the share of pixels below it, 0..1. (H, W) -> (H, W)."""
    # in float64, so that a flat image of large values still has an interval to cut into bins
    counts, edges = np.histogram(image.astype(np.float64), bins=bins)
    share = np.cumsum(counts) / image.size
    return np.interp(image, (edges[:-1] + edges[1:]) / 2, share).astype(np.float32)


def standardize(image: Image, low: float = 0.5, high: float = 99.5) -> Image:
    """Clip to two percentiles, then mean 0 and standard deviation 1. (H, W) -> (H, W); a flat image becomes zeros."""
    floor, ceiling = np.percentile(image, (low, high))
    return _unit(np.clip(image, floor, ceiling))


def _unit(image: Image) -> Image:
    spread = float(image.std())
    return ((image - image.mean()) / spread if spread > 0 else np.zeros_like(image)).astype(np.float32)


def resize(image: Image, size_wh: tuple[int, int]) -> tuple[Image, Matrix]:
    """Resize (H, W) to (columns, rows) with antialiasing. Returns the image and `resized_from_slice`, 3x3."""
    from PIL import Image as Pillow

    height, width = image.shape
    resized = Pillow.fromarray(image.astype(np.float32)).resize(size_wh, Pillow.Resampling.BILINEAR)
    return np.asarray(resized, dtype=np.float32), scale_about_corner([size_wh[0] / width, size_wh[1] / height])


def pad_to_multiple(image: Image, multiple: int) -> tuple[Image, Matrix]:
    """Pad evenly with the image's minimum until both sides divide by `multiple`. Returns `padded_from_slice`, 3x3."""
    extra = [(-side) % multiple for side in image.shape]
    (top, bottom), (left, right) = [(e // 2, e - e // 2) for e in extra]
    padded = np.pad(image, ((top, bottom), (left, right)), constant_values=float(image.min()))
    return padded, translate([left, top])


def valid_extent(image: Image) -> NDArray[np.float64]:
    """(2, 2) first and last corner, native pixels (x, y), of the part of (H, W) that shows something.

    Rows and columns at the rim that hold the image's minimum and nothing else are padding: nothing was seen there.
    """
    is_seen = image > image.min()
    rows, columns = np.flatnonzero(is_seen.any(1)), np.flatnonzero(is_seen.any(0))
    if not len(rows):
        return np.array([[-0.5, -0.5], [image.shape[1] - 0.5, image.shape[0] - 0.5]])
    return np.array([[columns[0] - 0.5, rows[0] - 0.5], [columns[-1] + 0.5, rows[-1] + 0.5]])


def working_spacing(
    shape: tuple[int, int], spacing_mm: tuple[float, float] | None, p: Preparation
) -> NDArray[np.float64]:
    """Spacing (x, y) in mm of a slice of `shape` (H, W); from `assumed_extent_mm` when it is unknown."""
    if spacing_mm is None:
        return np.full(2, p.assumed_extent_mm / max(shape))
    return np.asarray(spacing_mm, dtype=np.float64)


def resized_size(shape: tuple[int, int], spacing_mm: tuple[float, float] | None, p: Preparation) -> tuple[int, int]:
    """(columns, rows) that slice `shape` (H, W) is resampled to."""
    if p.resize == "plain":
        return p.size
    extent = np.array([shape[1], shape[0]]) * working_spacing(shape, spacing_mm, p)
    pixel = max(p.spacing_mm, float(extent.max()) / p.max_side)
    columns, rows = np.maximum(1, np.rint(extent / pixel)).astype(int)
    return int(columns), int(rows)


def prepare_slice(image: Image, spacing_mm: tuple[float, float] | None, p: Preparation) -> tuple[Image, Matrix]:
    """One native slice to network input.

    image: (H, W) in native pixels; spacing_mm: (between columns, between rows) or None when unknown.
    Returns the input (h, w) float32 and `pixel_from_slice` (3, 3).
    """
    resized, pixel_from_slice = resize(image, resized_size(image.shape, spacing_mm, p))
    normalized = standardize(resized) if p.intensity == "percentile" else _unit(equalize_histogram(resized))
    if p.resize == "plain":
        return normalized, pixel_from_slice
    padded, padded_from_resized = pad_to_multiple(normalized, p.multiple)
    return padded, padded_from_resized @ pixel_from_slice
