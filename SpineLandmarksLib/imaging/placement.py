"""Landmarks of a file brought onto an image: millimetres from pixels, pixels from millimetres, and the slice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.geometry import is_inside
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, PixelXY


def placed(
    said: LandmarkSet,
    stack: SagittalStack,
    slice_index: int | None = None,
    shown: Callable[[PixelXY, int], PixelXY] | None = None,
) -> LandmarkSet:
    """The landmarks with pixels and millimetres, as far as the image knows them, and with its slice and spacing.

    Args:
        said: as a file has them.
        stack: of the image that they belong to.
        slice_index: of the pixels, where the file does not say it.
        shown: a pixel shown upright from one of the file as it is stored, and its slice; None where they agree.

    Raises:
        FormatError: pixels of an unknown slice, a slice that the image lacks, points beside the image.
    """
    index = _slice(said, stack, slice_index)
    upright = [mark if shown is None else _turned(mark, index, shown) for mark in said.points]
    marks = tuple(_complete(mark, stack, index) for mark in upright)
    _require_inside(marks, stack)
    return replace(
        said,
        landmarks=marks[: len(said)],
        corners=marks[len(said) :],
        slice_index=index,
        spacing_mm=stack.pixel_spacing_mm or said.spacing_mm,
        series_uid=said.series_uid or stack.series_uid,
    )


def off_slice_mm(said: LandmarkSet, stack: SagittalStack) -> float:
    """How far the farthest point lies beside its slice, which pixels alone cannot say."""
    step, index = stack.slice_spacing_mm, said.slice_index
    known = [mark.position_ras_mm for mark in said if mark.position_ras_mm is not None]
    if step is None or index is None or not known:
        return 0.0
    return float(np.abs(stack.to_ijk(np.array(known))[:, 2] - index).max() * step)


def _slice(said: LandmarkSet, stack: SagittalStack, asked: int | None) -> int:
    index = said.slice_index if said.slice_index is not None else asked
    if index is None and len(stack) == 1:
        index = 0
    if index is None:
        index = _nearest_slice(said, stack)
    if not 0 <= index < len(stack):
        raise FormatError(f"Expected a slice of 0..{len(stack) - 1} in {stack.source}; got {index}")
    return index


def _nearest_slice(said: LandmarkSet, stack: SagittalStack) -> int:
    """The slice that is nearest to most of the points."""
    known = [mark.position_ras_mm for mark in said if mark.position_ras_mm is not None]
    alone = [mark.name for mark in said if mark.pixel_xy is not None and mark.position_ras_mm is None]
    if alone or not known:
        raise FormatError(
            f"Expected the slice of the pixels; the file does not say it. Give it with --slice (0..{len(stack) - 1})"
        )
    slices = np.rint(stack.to_ijk(np.array(known))[:, 2]).clip(0, len(stack) - 1)
    return int(Counter(slices.astype(int).tolist()).most_common(1)[0][0])


def _turned(mark: Landmark, index: int, shown: Callable[[PixelXY, int], PixelXY]) -> Landmark:
    return mark if mark.pixel_xy is None else replace(mark, pixel_xy=shown(mark.pixel_xy, index))


def _complete(mark: Landmark, stack: SagittalStack, index: int) -> Landmark:
    if mark.is_absent or stack.ras_from_ijk is None:
        return mark
    if mark.position_ras_mm is None and mark.pixel_xy is not None:
        r, a, s = stack.to_ras(index, np.array([mark.pixel_xy]))[0].tolist()
        return replace(mark, position_ras_mm=(r, a, s))
    if mark.pixel_xy is None and mark.position_ras_mm is not None:
        x, y, _ = stack.to_ijk(np.array(mark.position_ras_mm)).tolist()
        return replace(mark, pixel_xy=(x, y))
    return mark


def _require_inside(marks: tuple[Landmark, ...], stack: SagittalStack) -> None:
    slices, rows, columns = stack.voxels.shape
    outside = [mark.name for mark in marks if mark.pixel_xy and not is_inside(mark.pixel_xy, (columns, rows))]
    if stack.ras_from_ijk is not None:
        known = [mark for mark in marks if mark.position_ras_mm is not None and mark.name not in outside]
        for mark in known:
            k = stack.to_ijk(np.array(mark.position_ras_mm))[2]
            outside += [mark.name] * (slices > 1 and not -1.0 <= k <= slices)
    if outside:
        raise FormatError(
            f"Expected points inside {stack.source}; {', '.join(outside)} lie outside. Is it their image?"
        )
