"""Points together with the image they lie on, for formats that count in its pixels or voxels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.geometry import Matrix, apply, is_inside
from SpineLandmarksLib.landmarks import LandmarkSet, PixelXY, Point

#: An ending, and not the last part of a UID.
_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,4}$")


@dataclass(frozen=True)
class ImageGrid:
    """The pixels and voxels of an image.

    Attributes:
        name: of its file, without folders.
        size_wh: width and height of a slice shown upright, the pixels that `Landmark.pixel_xy` counts in.
        shape: voxels along the file's own axes i, j, k. ras_from_ijk: RAS mm from those; both None when unknown.
        stored_from_upright: (4, 4) a DICOM series' own (column, row, slice) from those shown upright; None for other
            files, whose pixels are only known as they are shown.
        study_uid: DICOM study, if any.
    """

    name: str
    size_wh: tuple[int, int] | None = None
    shape: tuple[int, int, int] | None = None
    ras_from_ijk: Matrix | None = None
    stored_from_upright: Matrix | None = None
    study_uid: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain values, which `from_json` reads back."""
        matrices = (self.ras_from_ijk, self.stored_from_upright)
        ras, stored = (None if matrix is None else matrix.tolist() for matrix in matrices)
        known = {"name": self.name, "size_wh": self.size_wh, "shape": self.shape, "study_uid": self.study_uid}
        return known | {"ras_from_ijk": ras, "stored_from_upright": stored}

    @staticmethod
    def from_json(values: dict[str, Any]) -> ImageGrid:
        """What `as_json` gave, with or without a way through JSON."""
        read: dict[str, Any] = dict(values)
        for name in ("ras_from_ijk", "stored_from_upright"):
            read[name] = None if values[name] is None else np.array(values[name], np.float64)
        for name in ("size_wh", "shape"):
            read[name] = None if values[name] is None else tuple(values[name])
        return ImageGrid(**read)

    @property
    def stem(self) -> str:
        """The name without its endings.

        >>> ImageGrid("case.7.nii.gz").stem, ImageGrid("1.2.840.5").stem
        ('case.7', '1.2.840.5')
        """
        return _ENDING.sub("", self.name.removesuffix(".gz"))

    def stored(self, pixel_xy: PixelXY, index: int) -> PixelXY:
        """The pixel of the file as it is from one of the slice shown upright."""
        return self._turned(pixel_xy, index, self.stored_from_upright)

    def shown(self, pixel_xy: PixelXY, index: int) -> PixelXY:
        """The pixel of the slice shown upright from one of the file as it is."""
        turn = self.stored_from_upright
        return self._turned(pixel_xy, index, None if turn is None else np.linalg.inv(turn).astype(np.float64))

    def _turned(self, pixel_xy: PixelXY, index: int, turn: Matrix | None) -> PixelXY:
        if turn is None:
            return pixel_xy
        if not np.isclose(turn[2, 2], 1.0):
            raise FormatError(f"Expected DICOM files that are sagittal slices each; {self.name} is cut another way")
        x, y, _ = apply(turn, (*pixel_xy, index))
        return float(x), float(y)


@dataclass(frozen=True)
class PointsOnImage:
    """The landmarks of one image. image: None when the file says nothing of it."""

    landmarks: LandmarkSet
    image: ImageGrid | None = None

    @property
    def name(self) -> str:
        """Of the image, or else of what the landmarks were made of."""
        return self.image.name if self.image else base_name(self.landmarks.input)


def base_name(path: str) -> str:
    """A file's name without its folders, whichever system or address the path is of.

    >>> base_name("C:\\\\mri\\\\a.png"), base_name("https://host/mri/a.png")
    ('a.png', 'a.png')
    """
    return path.replace("\\", "/").rpartition("/")[2]


def only_one(cases: Sequence[PointsOnImage], what: str) -> PointsOnImage:
    """The landmarks of a file that holds one image. Raises FormatError."""
    if len(cases) != 1:
        raise FormatError(f"{what}: expected the landmarks of one image a file; got those of {len(cases)}")
    return cases[0]


def known_pixels(one: PointsOnImage, what: str) -> dict[str, PixelXY]:
    """The pixel of each landmark that is there, by name. Raises FormatError for a point in millimetres alone."""
    lacking = [mark.name for mark in one.landmarks if mark.pixel_xy is None and mark.position_ras_mm is not None]
    if lacking:
        raise FormatError(f"{what}: expected pixels; {', '.join(lacking)} have millimetres alone. Give the --image")
    return {mark.name: mark.pixel_xy for mark in one.landmarks if mark.pixel_xy is not None}


def known_voxels(one: PointsOnImage, what: str) -> dict[str, Point]:
    """Voxels (i, j, k) on the image's own grid by name, not rounded. Raises FormatError without grid or millimetres."""
    grid = one.image
    if grid is None or grid.ras_from_ijk is None or grid.shape is None:
        raise FormatError(
            f"{what}: expected an image with evenly spaced voxels in a patient frame. Give it with --image"
        )
    lacking = [mark.name for mark in one.landmarks if not mark.is_absent and mark.position_ras_mm is None]
    if lacking:
        raise FormatError(f"{what}: expected millimetres; {', '.join(lacking)} have pixels alone. Give the --image")
    ijk_from_ras = np.linalg.inv(grid.ras_from_ijk)
    known = [(mark.name, mark.position_ras_mm) for mark in one.landmarks if mark.position_ras_mm is not None]
    voxels = {name: as_point(apply(ijk_from_ras, position)) for name, position in known}
    outside = [name for name, ijk in voxels.items() if not is_inside(ijk, grid.shape)]
    if outside:
        raise FormatError(
            f"{what}: expected points inside {grid.name}; {', '.join(outside)} lie outside. Is it theirs?"
        )
    return voxels


def known_size(one: PointsOnImage, what: str) -> tuple[int, int]:
    """Width and height of the slice. Raises FormatError when nothing says them."""
    if one.image is None or one.image.size_wh is None:
        raise FormatError(f"{what}: expected an image of known width and height. Give it with --image")
    return one.image.size_wh


def box_around(points_xy: Sequence[PixelXY], size_wh: tuple[int, int]) -> tuple[float, float, float, float]:
    """(left, top, width, height) of the points and the pixels they lie in, from the image's corner, inside the image.

    >>> box_around([(0.0, 2.0), (3.0, 9.0)], (10, 8))
    (0.0, 2.0, 4.0, 6.0)
    """
    xy = np.array(points_xy)
    low, high = xy.min(0), np.minimum(xy.max(0) + 1.0, size_wh)  # a pixel's centre lies half a pixel from its corner
    low = np.clip(low, 0.0, high)
    return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])


def as_point(values: Sequence[float] | np.ndarray) -> Point:
    x, y, z = (float(value) for value in values)
    return x, y, z
