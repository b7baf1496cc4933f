"""How far the light backend's answer lies from torch's: the same slices, the same weights, both runtimes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

import numpy as np

from SpineLandmarksLib.backends import LightBackend, TorchBackend
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import BundleError
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.phantom.phantom import make_slice
from SpineLandmarksLib.transforms import Image

#: The furthest apart that a graph and torch may be, in native pixels and in probability.
MOST_PX, MOST_CONFIDENCE = 0.05, 0.01

Slice = tuple[Image, tuple[float, float] | None]


@dataclass(frozen=True)
class Parity:
    """Largest differences over `slices` slices: of points in native pixels, infinite where only one of the two calls a
    landmark out of view, and of confidence."""

    slices: int
    points_px: float
    confidence: float

    def require(self, graph: object) -> Parity:
        """Itself, or BundleError when the two are further apart than a graph may be."""
        if self.points_px < MOST_PX and self.confidence < MOST_CONFIDENCE:
            return self
        raise BundleError(
            f"Expected {graph} to agree with torch to {MOST_PX} px and {MOST_CONFIDENCE}; they differ by "
            f"{self.points_px:.3g} px and {self.confidence:.3g} on {self.slices} slices"
        )

    def to_dict(self) -> dict[str, float | None]:
        """Numbers and None alone, as JSON has no infinity."""
        return {name: value if np.isfinite(value) else None for name, value in asdict(self).items()}


def measure_parity(bundle: Bundle, slices: Iterable[Slice]) -> Parity:
    """Localize each slice, (H, W) with its pixel spacing (x, y) in mm or None, by both backends on the CPU."""
    light, torch = Localizer(bundle, LightBackend(bundle)), Localizer(bundle, TorchBackend(bundle, "cpu"))
    count, points_px, confidence = 0, 0.0, 0.0
    for image, spacing_mm in slices:
        stack = SagittalStack(image[None], None if spacing_mm is None else np.diag([*spacing_mm, 1.0, 1.0]))
        for one, other in zip(light.localize(stack), torch.localize(stack), strict=True):
            points_px = max(points_px, _distance_px(one, other))
            confidence = max(confidence, abs((one.confidence or 0.0) - (other.confidence or 0.0)))
        count += 1
    return Parity(count, points_px, confidence)


def _distance_px(one: Landmark, other: Landmark) -> float:
    if one.pixel_xy is None or other.pixel_xy is None:
        return 0.0 if one.pixel_xy == other.pixel_xy else np.inf
    return float(np.hypot(*np.subtract(one.pixel_xy, other.pixel_xy)))


def phantom_slices(count: int = 8) -> Iterable[Slice]:
    """Generated slices of several shapes, every other one without a known spacing: what anybody can measure on."""
    for seed in range(count):
        shape = ((320, 320), (384, 256), (256, 448), (512, 512))[seed % 4]
        image, _, pixel_mm = make_slice(np.random.default_rng(seed), matrix=shape)
        yield image, (pixel_mm, pixel_mm) if seed % 2 else None
