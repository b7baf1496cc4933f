"""What a volume of the scene is to the library: a frame, a file for the worker, or a reason why not, in plain words.

Positions are those of the volume itself, before any transform that it is under: the points are put under the same one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.revision import study_key_of
from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.geometry import check_affine, lps_from_ras
from SpineLandmarksLib.imaging.orient import axes_of, sagittal_problem, upright_matrix
from SpineLandmarksLib.imaging.volume import MIN_SIDE

#: MetaImage's names of the types of voxels.
ELEMENT_TYPES = {
    "int8": "MET_CHAR",
    "uint8": "MET_UCHAR",
    "int16": "MET_SHORT",
    "uint16": "MET_USHORT",
    "int32": "MET_INT",
    "uint32": "MET_UINT",
    "int64": "MET_LONG_LONG",
    "uint64": "MET_ULONG_LONG",
    "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}
#: A picture that was loaded as a volume: Slicer gives it a spacing of 1 and the axes of the scanner.
PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


def ras_from_ijk(volume: Any) -> np.ndarray:
    """(4, 4) of the volume itself."""
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def size_ijk(volume: Any) -> tuple[int, int, int]:
    i, j, k = volume.GetImageData().GetDimensions()
    return i, j, k


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a volume lie. ras_from_ijk: (4, 4)."""

    ras_from_ijk: np.ndarray
    size: tuple[int, int, int]

    def __eq__(self, other: object) -> bool:
        same = isinstance(other, Geometry) and self.size == other.size
        return same and np.allclose(self.ras_from_ijk, other.ras_from_ijk, rtol=0, atol=1e-6)


def geometry_of(volume: Any) -> Geometry | None:
    """None for a volume without voxels."""
    return Geometry(ras_from_ijk(volume), size_ijk(volume)) if volume.GetImageData() else None


def require_usable(volume: Any) -> None:
    """Raise InputError or GeometryError, with the next step to take, unless landmarks can be placed on it."""
    if volume is None:
        raise InputError(tr("No volume is selected. {next_step}").format(next_step=_next_step_without_one()))
    name = volume.GetName()
    if volume.GetImageData() is None or volume.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(tr("{name} has no voxels. Load the study again").format(name=name))
    if volume.GetImageData().GetNumberOfScalarComponents() != 1:
        raise InputError(
            tr(
                "{name} is a colour image. Landmarks need one grey value per voxel: convert it with the "
                "module Vector to Scalar Volume and select the result"
            ).format(name=name)
        )
    if slicer.vtkMRMLLabelMapVolumeNode.SafeDownCast(volume):
        raise InputError(tr("{name} is a label map, not an MRI. Select the MRI that it was drawn on").format(name=name))
    if not is_linear(volume):
        raise GeometryError(
            tr(
                "{name} is under a non-linear transform, which no matrix describes. Harden it in the module "
                "Transforms, or take the volume out of the transform"
            ).format(name=name)
        )
    _require_sagittal(volume)


def likely(scene: Any) -> Any:
    """The volume that a reader most likely means: the active one, else the first that can be used; None without."""
    active = scene.GetNodeByID(slicer.app.applicationLogic().GetSelectionNode().GetActiveVolumeID() or "")
    found = [active, *slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)]
    return next((volume for volume in found if _is_usable(volume)), None)


def _is_usable(volume: Any) -> bool:
    try:
        require_usable(volume)
    except (InputError, GeometryError):
        return False
    return True


def _next_step_without_one() -> str:
    colours = [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLVectorVolumeNode")]
    if colours:
        return tr(
            "Colour images ({names}) are not listed, because landmarks need one grey value per voxel: "
            "load the MRI itself, or convert one with the module Vector to Scalar Volume"
        ).format(names=", ".join(colours))
    return tr("Load a study (Load DICOM, or drag a file into Slicer) and select it")


def is_linear(volume: Any) -> bool:
    transform = volume.GetParentTransformNode()
    return transform is None or bool(transform.IsTransformToWorldLinear())


def _require_sagittal(volume: Any) -> None:
    name, size, matrix = volume.GetName(), size_ijk(volume), ras_from_ijk(volume)
    if is_picture(volume):
        raise GeometryError(
            tr(
                "{name} is a picture: nothing says how it lies in the patient. Load the DICOM study instead, "
                "or use the command spine-landmarks predict with --spacing"
            ).format(name=name)
        )
    if sorted(size)[1] < MIN_SIDE:
        voxels = " x ".join(map(str, size))
        raise InputError(
            tr("{name} has {voxels} voxels; slices need {side} pixels a side or more").format(
                name=name, voxels=voxels, side=MIN_SIDE
            )
        )
    try:
        problem = sagittal_problem(size, check_affine(matrix))
    except GeometryError as error:
        raise GeometryError(
            tr(
                "{name} does not say how it lies in the patient: {error}. Load the DICOM study anew, or set "
                "spacing and orientation in the module Volumes"
            ).format(name=name, error=error)
        ) from error
    if problem:
        raise GeometryError(
            tr(
                "{name} is {problem}, not sagittal. Select the sagittal series of the study; if it is loaded "
                "and named otherwise, the module Data shows all series"
            ).format(name=name, problem=problem)
        )


def is_picture(volume: Any) -> bool:
    """A 2-D picture file, of which Slicer cannot know spacing or orientation."""
    storage = volume.GetStorageNode()
    file = (storage.GetFileName() or "").lower() if storage else ""
    flat = min(size_ijk(volume)) == 1
    made_up = np.allclose(volume.GetSpacing(), 1.0) and np.allclose(np.abs(ras_from_ijk(volume)[:3, :3]), np.eye(3))
    return flat and (file.endswith(PICTURES) or bool(made_up))


def frame_of(volume: Any) -> ImageFrame:
    """The frame of the upright sagittal stack that the library makes of the volume."""
    size, matrix = size_ijk(volume), ras_from_ijk(volume)
    lateral, back_front, foot_head = axes_of(matrix)
    return ImageFrame(upright_matrix(size, matrix), (size[back_front], size[foot_head], size[lateral]))


def lateral_count(volume: Any) -> int:
    """How many sagittal slices the volume has; 1 where there is none."""
    if volume is None or volume.GetImageData() is None:
        return 1
    return size_ijk(volume)[axes_of(ras_from_ijk(volume))[0]]


def series_uid_of(volume: Any) -> str | None:
    """The DICOM series that the volume was loaded from."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume)
    return (hierarchy.GetItemUID(item, "DICOM") or None) if item else None


def source_of(volume: Any) -> str:
    """What the volume was loaded from, as far as it is one file; else its name."""
    storage = volume.GetStorageNode()
    return (storage.GetFileName() if storage else None) or volume.GetName()


def files_of(volume: Any) -> list[Path]:
    """The files that the volume was loaded from; none for one that was made in Slicer."""
    storage = volume.GetStorageNode()
    if storage is None:
        return []
    names = [storage.GetNthFileName(n) for n in range(storage.GetNumberOfFileNames())]
    return [Path(name) for name in dict.fromkeys([storage.GetFileName(), *names]) if name and Path(name).is_file()]


class Snapshot:
    """The voxels as they are now, to be written while the scene goes on; `write` may run in any thread."""

    def __init__(self, volume: Any) -> None:
        voxels = slicer.util.arrayFromVolume(volume)
        if voxels.dtype.name not in ELEMENT_TYPES:
            voxels = voxels.astype(np.float32)
        self.name = study_key_of(volume.GetName() or "volume")
        self.voxels = voxels.copy()
        self.matrix = ras_from_ijk(volume)

    def write(self, path: Path) -> None:
        """An uncompressed MetaImage. Raises OSError."""
        lps = lps_from_ras(self.matrix)
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        header = {
            "ObjectType": "Image",
            "NDims": 3,
            "BinaryData": True,
            "BinaryDataByteOrderMSB": False,
            "CompressedData": False,
            "TransformMatrix": _text((lps[:3, :3] / spacing).T.ravel()),
            "Offset": _text(lps[:3, 3]),
            "ElementSpacing": _text(spacing),
            "DimSize": " ".join(map(str, self.voxels.shape[::-1])),
            "ElementType": ELEMENT_TYPES[self.voxels.dtype.name],
            "ElementDataFile": "LOCAL",
        }
        with path.open("wb") as file:
            file.write("".join(f"{key} = {value}\n" for key, value in header.items()).encode())
            file.write(memoryview(np.ascontiguousarray(self.voxels)).cast("B"))


def _text(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in values)
