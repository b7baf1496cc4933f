"""The image that points are placed on: which pixel a patient position falls on, and whether it is inside at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import Matrix, apply, check_affine
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import PixelXY, Point


@dataclass(frozen=True)
class ImageFrame:
    """ras_from_ijk: (4, 4) RAS mm from (i = column, j = row, k = slice) of the upright sagittal stack, so that (i, j)
    are the pixels that results speak of. size_ijk: columns, rows, slices. reference_uid: of the DICOM frame of
    reference, empty when unknown.
    """

    ras_from_ijk: Matrix
    size_ijk: tuple[int, int, int]
    reference_uid: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "ras_from_ijk", check_affine(self.ras_from_ijk))
        if len(self.size_ijk) != 3 or min(self.size_ijk) < 1:
            raise GeometryError(f"Expected a volume of (columns, rows, slices), each 1 or more; got {self.size_ijk}")

    @staticmethod
    def of(stack: SagittalStack) -> ImageFrame | None:
        """The frame of a stack; None when it has no known spacing."""
        slices, rows, columns = stack.voxels.shape
        if stack.ras_from_ijk is None:
            return None
        return ImageFrame(stack.ras_from_ijk, (columns, rows, slices), stack.tags.get("FrameOfReferenceUID", ""))

    def ijk(self, position_ras_mm: ArrayLike) -> tuple[float, float, float]:
        """Voxel coordinates of a position (3,); an integer is a voxel centre."""
        i, j, k = apply(np.linalg.inv(self.ras_from_ijk), position_ras_mm)
        return float(i), float(j), float(k)

    def pixel_xy(self, position_ras_mm: Point) -> PixelXY:
        return self.ijk(position_ras_mm)[:2]

    def slice_index(self, position_ras_mm: Point) -> int:
        """The slice that is nearest to a position."""
        return int(np.clip(round(self.ijk(position_ras_mm)[2]), 0, self.size_ijk[2] - 1))

    def contains(self, position_ras_mm: Point) -> bool:
        """Whether a position lies in the volume, which reaches half a voxel beyond the outer voxel centres."""
        ijk, tolerance = np.array(self.ijk(position_ras_mm)), 1e-6
        return bool((ijk >= -0.5 - tolerance).all() and (ijk <= np.array(self.size_ijk) - 0.5 + tolerance).all())
