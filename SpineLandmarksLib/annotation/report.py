"""The report of what a person has corrected, for the screens of both interfaces."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np

from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.formats.dicom_plane import ImagePlane
from SpineLandmarksLib.formats.dicom_sr import make_report

#: Voxels by which an image may lie beside where its files have it.
_MOVED = 0.05


def report_of(session: Session, planes: Sequence[ImagePlane]) -> bytes:
    """The DICOM file. planes: the images of the series that is corrected.

    Raises GeometryError where the image was moved away from them, and what `write_sr` raises.
    """
    _require_unmoved(session, planes)
    author = session.author if session.events or session.parent else ""
    content = io.BytesIO()
    current = session.current
    make_report(current, planes, author, measurements=measure(current)).save_as(content, enforce_file_format=True)
    return content.getvalue()


def _require_unmoved(session: Session, planes: Sequence[ImagePlane]) -> None:
    for plane in (*planes[:1], *planes[-1:]) if session.frame else ():
        assert session.frame is not None
        ijk = np.array(session.frame.ijk(plane.ras_from_pixel[:3, 3]))
        if np.abs(ijk - ijk.round()).max() > _MOVED:
            raise GeometryError(
                "Expected the image where its DICOM files have it; it was moved or resampled. Points that are there no "
                "longer cannot be reported"
            )
