"""MINC and HDF5, through SimpleITK. A format that says nothing of how it lies in the patient is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.geometry import Matrix, ras_from_lps
from SpineLandmarksLib.imaging.volume import Volume, check_size, native_stderr, reading, trailing_ones_dropped

#: What ITK reads here and what holds an orientation.
_ORIENTED = ("MINCImageIO", "HDF5ImageIO")


def read_itk(path: Path) -> Volume:
    """Read an image file with SimpleITK. Raises InputError or GeometryError in one line."""
    import SimpleITK as sitk

    with reading(path, "an image file"), _silent_itk(), native_stderr([]):
        kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if not kind:
            raise InputError(f"Expected an MRI as DICOM, NIfTI, NRRD, MHA, PNG, JPEG or TIFF; got {path.name}")
        if kind not in _ORIENTED:
            raise GeometryError(f"Expected a format with orientation (NIfTI, NRRD, MHA); {path.name} is read by {kind}")
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
