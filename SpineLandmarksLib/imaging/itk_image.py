"""NRRD, MetaImage (MHA, MHD) and the other oriented formats that ITK reads, through SimpleITK.

A format or file that says nothing of how it lies in the patient is refused: ITK would take the identity for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.geometry import Matrix, ras_from_lps
from SpineLandmarksLib.imaging.volume import Volume, check_size, reading, trailing_ones_dropped

#: What ITK reads and what holds an orientation.
_ORIENTED = ("NrrdImageIO", "MetaImageIO", "MINCImageIO", "HDF5ImageIO")
#: Header lines that give the orientation and the spacing.
_ORIENTATION = {
    "NrrdImageIO": rb"^space(?: dimension)?\s*:",
    "MetaImageIO": rb"^(?:TransformMatrix|Rotation|Orientation)\s*=",
}
_NEGATIVE_SPACING = rb"^(?:ElementSpacing|ElementSize)\s*=.*(?:-\d|nan)"


def read_itk(path: Path) -> Volume:
    """Read an image file with SimpleITK. Raises InputError or GeometryError in one line."""
    import SimpleITK as sitk

    with reading(path, "an image file"), _silent_itk():
        kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if not kind:
            raise InputError(f"Expected an MRI as DICOM, NIfTI, NRRD, MHA, PNG, JPEG or TIFF; got {path.name}")
        _check_header(path, kind)
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        reader.SetImageIO(kind)
        reader.ReadImageInformation()
        shape = trailing_ones_dropped(reader.GetSize(), path.name)
        check_size(shape, path.name)
        if reader.GetNumberOfComponents() != 1:
            raise InputError(f"Expected one grey value per voxel; got {reader.GetNumberOfComponents()} in {path.name}")
        if reader.GetDimension() == 2:
            raise GeometryError(f"Expected an image with 3-D orientation; got a 2-D image in {path.name}")
        reader.SetOutputPixelType(sitk.sitkFloat32)
        voxels = sitk.GetArrayFromImage(reader.Execute()).reshape(shape[::-1]).transpose(2, 1, 0)
        return Volume(voxels, _ras_from_ijk(reader))


def _check_header(path: Path, kind: str) -> None:
    if kind not in _ORIENTED:
        raise GeometryError(f"Expected a format with orientation (NIfTI, NRRD, MHA); {path.name} is read by {kind}")
    if kind not in _ORIENTATION:
        return
    with path.open("rb") as stream:
        header = stream.read(2**16)
    if not re.search(_ORIENTATION[kind], header, re.MULTILINE | re.IGNORECASE):
        raise GeometryError(f"Expected an image with orientation; the header of {path.name} states none")
    if re.search(_NEGATIVE_SPACING, header, re.MULTILINE | re.IGNORECASE):
        raise GeometryError(f"Expected positive voxel spacing; got a negative or NaN one in {path.name}")


def _ras_from_ijk(reader: Any) -> Matrix:
    size = reader.GetDimension()
    direction = np.array(reader.GetDirection()).reshape(size, size)[:3, :3]
    lps_from_ijk = np.eye(4)
    lps_from_ijk[:3, :3] = direction * np.array(reader.GetSpacing()[:3])
    lps_from_ijk[:3, 3] = reader.GetOrigin()[:3]
    return ras_from_lps(lps_from_ijk)


@contextmanager
def _silent_itk() -> Iterator[None]:
    """ITK writes its warnings to stderr from C++; ours is the only voice here."""
    import SimpleITK as sitk

    was_on = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(was_on)
