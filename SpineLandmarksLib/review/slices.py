"""The slice of a study as a picture of the data set, and points moved onto it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.geometry import Matrix, apply, ras_from_slice, spacing_mm
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, PixelXY
from SpineLandmarksLib.review.study import Study


def write_slice(pixels: NDArray[np.float32], path: Path) -> None:
    """Write (H, W) grey values as a 16-bit PNG without any text in it; the lowest value is 0, the highest 65535.

    No prepared image depends on scale or offset, so that the network sees the same picture as in the volume.
    """
    from PIL import Image

    low, high = float(pixels.min()), float(pixels.max())
    grey = np.round((pixels - low) / max(high - low, 1e-12) * 65535).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        Image.fromarray(grey).save(file, format="PNG")


def slice_of(landmarks: LandmarkSet, study: Study) -> int:
    """The slice of the source that the pixels of `landmarks` belong to; the study's own where it is not said."""
    return study.slice_index if landmarks.slice_index is None else landmarks.slice_index


def picture_of(study: Study, index: int, folder: Path) -> Path:
    """The picture of a slice; cut from the source where it is not the study's own. Raises InputError."""
    if index == study.slice_index or not study.source:
        return folder / study.image
    path = folder / "images" / f"{study.key}-slice{index}.png"
    if not path.is_file():
        write_slice(read_study(folder / study.source).voxels[index], path)
    return path


def pixel_of(landmark: Landmark, study: Study) -> PixelXY | None:
    """Native pixels of a landmark on its slice, from its millimetres where it has no pixels; None when unknown."""
    if landmark.pixel_xy is not None or landmark.position_ras_mm is None or study.matrix is None:
        return landmark.pixel_xy
    i, j, _ = apply(np.linalg.inv(study.matrix), landmark.position_ras_mm)
    return float(i), float(j)


def complete(landmarks: LandmarkSet, ras_from_ijk: Matrix | None, index: int | None = None) -> LandmarkSet:
    """The same with pixels from millimetres or millimetres from pixels, whichever is missing, and with its slice.

    index: the slice that pixels count on, when the landmarks do not say; else the one nearest to most of the points.
    """
    index = landmarks.slice_index if index is None else index
    if ras_from_ijk is None:
        return replace(landmarks, slice_index=index or 0)
    ijk_from_ras: Matrix = np.linalg.inv(ras_from_ijk).astype(np.float64)
    if index is None:
        known = [mark.position_ras_mm for mark in landmarks if mark.position_ras_mm is not None]
        index = int(np.rint(np.median([apply(ijk_from_ras, point)[2] for point in known]))) if known else 0
    spacing = landmarks.spacing_mm or spacing_mm(ras_from_ijk)[:2]
    marks = tuple(_with_both(mark, ras_from_ijk, ijk_from_ras, index) for mark in landmarks)
    return replace(landmarks, slice_index=index, spacing_mm=spacing, landmarks=marks)


def _with_both(mark: Landmark, ras_from_ijk: Matrix, ijk_from_ras: Matrix, index: int) -> Landmark:
    if mark.position_ras_mm is not None and mark.pixel_xy is None:
        i, j, _ = apply(ijk_from_ras, mark.position_ras_mm)
        return replace(mark, pixel_xy=(float(i), float(j)))
    if mark.pixel_xy is not None and mark.position_ras_mm is None:
        r, a, s = ras_from_slice(ras_from_ijk, index, mark.pixel_xy)
        return replace(mark, position_ras_mm=(float(r), float(a), float(s)))
    return mark


def is_inside(xy: PixelXY, size_wh: tuple[int, int]) -> bool:
    """Whether a pixel coordinate lies in the image, which reaches half a pixel beyond the outer pixel centres."""
    return all(-0.5 <= value <= side - 0.5 for value, side in zip(xy, size_wh, strict=True))
