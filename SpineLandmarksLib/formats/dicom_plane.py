"""What the DICOM formats know of the images they speak of: patient positions to pixels, patient and study."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from SpineLandmarksLib import __version__
from SpineLandmarksLib.errors import GeometryError, OutputError
from SpineLandmarksLib.geometry import Matrix, apply, is_inside
from SpineLandmarksLib.landmarks import PixelXY, Point

if TYPE_CHECKING:
    from pydicom import Dataset

#: What objects of our own name as their maker.
PROGRAM, VERSION = "SpineLandmarks", __version__
#: What an object of our own must have from its study, and files without a name or number lack.
_TYPE_2 = tuple(
    """
    PatientID PatientName PatientBirthDate PatientSex AccessionNumber StudyID StudyDate StudyTime
    ReferringPhysicianName
    """.split()
)


@dataclass(frozen=True)
class ImagePlane:
    """One image or frame. header: of its file, without pixels. frame: its number from 1, None in a file of one image.

    ras_from_pixel: (4, 4) RAS mm from (column, row, mm along the normal); an integer is a pixel centre.
    """

    header: Dataset
    frame: int | None
    ras_from_pixel: Matrix

    def pixel_and_depth(self, position_ras_mm: Point) -> tuple[PixelXY, float]:
        """(column, row) of the position on the plane, and how many mm it lies off it."""
        x, y, depth = apply(np.linalg.inv(self.ras_from_pixel), position_ras_mm)
        return (float(x), float(y)), float(depth)

    def contains(self, pixel_xy: PixelXY) -> bool:
        """Whether a pixel lies on the image."""
        return is_inside(pixel_xy, (int(self.header.Columns), int(self.header.Rows)))


def nearest_plane(planes: Sequence[ImagePlane], position_ras_mm: Point) -> tuple[ImagePlane, PixelXY]:
    """The plane that shows a position with the least between, and the pixel there.

    Raises GeometryError where no image shows it: the points are of other images.
    """
    placed = [(plane, *plane.pixel_and_depth(position_ras_mm)) for plane in planes]
    shown = [one for one in placed if one[0].contains(one[1])]
    if not shown:
        r, a, s = position_ras_mm
        raise GeometryError(
            f"Expected points on the images of the series; R {r:.1f}, A {a:.1f}, S {s:.1f} mm is on none"
        )
    plane, xy, _ = min(shown, key=lambda one: abs(one[2]))
    return plane, xy


def source_header(planes: Sequence[ImagePlane]) -> Dataset:
    """Header of the first image, whose patient and study a new object takes over, with all that it must state.

    Raises OutputError without an image, or for one that names no study.
    """
    if not planes:
        raise OutputError("Expected the DICOM images that the points belong to; there are none")
    header = planes[0].header
    lacking = [keyword for keyword in ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID") if not header.get(keyword)]
    if lacking:
        raise OutputError(f"Expected images that state {', '.join(lacking)}; without it nothing can refer to them")
    for keyword in _TYPE_2:
        if keyword not in header:
            setattr(header, keyword, "")
    return header


def derived_uid(*parts: object) -> str:
    """A UID under 2.25 from a hash of the parts: what is the same gets the same one, and is sent twice for nothing.

    >>> derived_uid("study", "L3") == derived_uid("study", "L3") != derived_uid("study", "L4")
    True
    """
    digest = hashlib.sha256("/".join(map(str, ("SpineLandmarks", *parts))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def require_highdicom() -> None:
    """Raise OutputError where what writes DICOM objects is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError as error:
        raise OutputError(
            "DICOM reports and captures need highdicom, which is missing: pip install 'spine-landmarks[dicom]'"
        ) from error
