"""Slices made unusable on purpose: mirrored, turned, without the sacrum."""

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


@dataclass(frozen=True)
class View:
    """A slice and its truth. image: (H, W). points_xy: (L, 2) pixels, nan where unknown; may lie outside the picture.

    spacing_mm: (x, y), the true one. told_mm: the one that the localizer is told; None for unknown.
    """

    image: Image
    points_xy: NDArray[np.float64]
    spacing_mm: tuple[float, float]
    told_mm: tuple[float, float] | None

    def degraded(self, image: Image) -> View:
        """Other values, same places."""
        return replace(self, image=image)

    @property
    def inside(self) -> NDArray[np.bool_]:
        """(L,): the point is known and in the picture."""
        height, width = self.image.shape
        return np.asarray(((self.points_xy >= -0.5) & (self.points_xy < [width - 0.5, height - 0.5])).all(-1))


def view_of(annotation: Annotation, schema: Sequence[str]) -> View:
    """An annotated slice as it is, told its own spacing."""
    spacing = spacing_of(annotation)
    if spacing is None:
        raise DatasetError(f"Expected a spacing, or L1 and L5 to tell one by; {annotation.image.name} has neither")
    return View(load_image(annotation.image), points_of(annotation, schema), spacing, spacing)


def unusable(view: View) -> list[View]:
    """The slice in ways in which its levels cannot be told, or only with luck: without its sacrum, turned, mirrored."""
    rng = np.random.default_rng(0)
    without = [without_foot(view, landmarks) for landmarks in (1, 2, 4)]
    return [*(cut for cut in without if cut is not None), flip(view, 1.0, rng), quarter_turns(view, 180.0, rng)]


def without_foot(view: View, landmarks: int) -> View | None:
    """Cut off half-way above the lowest so many of the known landmarks; None where too little would be left."""
    y = np.sort(view.points_xy[np.isfinite(view.points_xy).all(-1), 1])
    if len(y) < landmarks + 2:
        return None
    row = round(float(y[-landmarks - 1] + y[-landmarks]) / 2)
    return None if row < MIN_SIDE else replace(view, image=view.image[:row])


def quarter_turns(view: View, degrees: float, rng: Generator) -> View:
    """90 degrees to either side, or 180."""
    times = 2 if degrees == 180 else int(rng.choice([1, 3]))
    for _ in range(times):
        x, y = view.points_xy[:, 0], view.points_xy[:, 1]
        told = None if view.told_mm is None else view.told_mm[::-1]
        points = np.stack([y, view.image.shape[1] - 1 - x], -1)
        view = View(np.rot90(view.image), points, view.spacing_mm[::-1], told)
    return view.degraded(np.ascontiguousarray(view.image))


def flip(view: View, _: float, __: Generator) -> View:
    """Front for back."""
    points = view.points_xy * [-1, 1] + [view.image.shape[1] - 1, 0]
    return replace(view, image=np.ascontiguousarray(view.image[:, ::-1]), points_xy=points)
