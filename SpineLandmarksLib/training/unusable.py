"""Perturbed slices, and those made unusable on purpose: mirrored, turned, without the sacrum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.imaging.volume import MIN_SIDE
from SpineLandmarksLib.transforms import Image

Generator = np.random.Generator
#: Below the lowest landmark, mm: with so little of the sacrum the levels are mostly right, but with less to go by.
BELOW_MM = (5.0, 15.0)


@dataclass(frozen=True)
class PerturbedSlice:
    """A slice and its truth. image: (H, W). points_xy: (L, 2) pixels, nan where unknown; may lie outside the picture.

    spacing_mm: (x, y), the true one. stated_spacing_mm: the one that the localizer is told; None for unknown.
    """

    image: Image
    points_xy: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    stated_spacing_mm: tuple[float, float] | None

    def degraded(self, image: Image) -> PerturbedSlice:
        """Other values, same places."""
        return replace(self, image=image)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(L,): the point is known and in the picture."""
        height, width = self.image.shape
        return np.asarray(((self.points_xy >= -0.5) & (self.points_xy < [width - 0.5, height - 0.5])).all(-1))


def as_annotated(annotation: Annotation, schema: Sequence[str]) -> PerturbedSlice:
    """An annotated slice as it is, told its own spacing."""
    spacing = spacing_of(annotation)
    if spacing is None:
        raise DatasetError(f"Expected a spacing, or L1 and L5 to tell one by; {annotation.image.name} has neither")
    return PerturbedSlice(load_image(annotation.image), points_of(annotation, schema), spacing, spacing)


def unusable(case: PerturbedSlice, per_level: int = 2) -> list[PerturbedSlice]:
    """The slice in ways in which its levels cannot be told, or only with luck: without its sacrum, turned, mirrored.

    per_level: landmarks in a level, of which half, one and two are cut off.
    """
    rng = np.random.default_rng(0)
    without = [without_foot(case, landmarks) for landmarks in (-(-per_level // 2), per_level, 2 * per_level)]
    without += [cut_below(case, mm) for mm in BELOW_MM]
    return [*(cut for cut in without if cut is not None), flip(case, 1.0, rng), quarter_turns(case, 180.0, rng)]


def without_foot(case: PerturbedSlice, landmarks: int) -> PerturbedSlice | None:
    """Cut off half-way above the lowest so many of the known landmarks; None where too little would be left."""
    y = np.sort(case.points_xy[np.isfinite(case.points_xy).all(-1), 1])
    if len(y) < landmarks + 2:
        return None
    row = round(float(y[-landmarks - 1] + y[-landmarks]) / 2)
    return None if row < MIN_SIDE else replace(case, image=case.image[:row])


def cut_below(case: PerturbedSlice, mm: float) -> PerturbedSlice | None:
    """Cut off `mm` below the lowest landmark; None where no more than that is there."""
    row = round(float(np.nanmax(case.points_xy[:, 1])) + mm / case.spacing_mm[1])
    return replace(case, image=case.image[:row]) if MIN_SIDE < row < len(case.image) else None


def quarter_turns(case: PerturbedSlice, degrees: float, rng: Generator) -> PerturbedSlice:
    """90 degrees to either side, or 180."""
    times = 2 if degrees == 180 else int(rng.choice([1, 3]))
    for _ in range(times):
        x, y = case.points_xy[:, 0], case.points_xy[:, 1]
        told = None if case.stated_spacing_mm is None else case.stated_spacing_mm[::-1]
        points = np.stack([y, case.image.shape[1] - 1 - x], -1)
        case = PerturbedSlice(np.rot90(case.image), points, case.spacing_mm[::-1], told)
    return case.degraded(np.ascontiguousarray(case.image))


def flip(case: PerturbedSlice, _: float, __: Generator) -> PerturbedSlice:
    """Front for back."""
    points = case.points_xy * [-1, 1] + [case.image.shape[1] - 1, 0]
    return replace(case, image=np.ascontiguousarray(case.image[:, ::-1]), points_xy=points)
