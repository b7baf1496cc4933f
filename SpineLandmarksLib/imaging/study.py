"""Any supported file or folder in, one SagittalStack out, or the reason why no landmarks can be placed on it.

| input                                            | read by               | told by                                |
|--------------------------------------------------|-----------------------|----------------------------------------|
| folder, DICOM file, DICOMDIR, zip of DICOM files | pydicom               | being a folder; DICM mark; zip mark    |
| NIfTI-1/-2 (.nii, .nii.gz, .hdr/.img), MGH/MGZ   | nibabel               | header size and magic; name for MGH    |
| PNG, JPEG, TIFF, BMP                             | Pillow                | first bytes                            |
| NRRD, MHA, MHD                                   | this library          | first bytes; name for MHA              |
| other oriented formats of ITK (MINC, HDF5)       | SimpleITK             | ITK itself                             |

Content decides before the name does, and DICOM before all others. Any of them may be packed with gzip.
"""

from __future__ import annotations

import gzip
import math
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.formats.image_grid import ImageGrid
from SpineLandmarksLib.geometry import Matrix, apply, spacing_mm
from SpineLandmarksLib.imaging.dicom_choice import Wanted
from SpineLandmarksLib.imaging.dicom_header import looks_like_dicom
from SpineLandmarksLib.imaging.dicom_study import read_dicom_file, read_dicom_folder
from SpineLandmarksLib.imaging.discover import PICTURES
from SpineLandmarksLib.imaging.header_image import is_header_image, read_header_image
from SpineLandmarksLib.imaging.itk_image import read_itk
from SpineLandmarksLib.imaging.nifti import header_of_pair, read_mgh, read_nifti
from SpineLandmarksLib.imaging.orient import axes_of, cosines, upright, upright_matrix
from SpineLandmarksLib.imaging.picture import read_picture
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.unzip import unpacked, unpacked_gzip
from SpineLandmarksLib.imaging.volume import MAX_SIDE, MIN_SIDE, Volume, reading

#: Air in Hounsfield units, and how much of it tells a CT without header.
_AIR_HU, _AIR_SHARE = (-1100, -900), 0.01
_THICK_MM, _COARSE_MM, _FINE_MM, _OBLIQUE_COSINE = 10.0, 2.0, 0.1, 0.87  # 0.87: 30 degrees


def check_intensities(
    voxels: NDArray[np.float32], name: str, may_be_ct: bool
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Voxels (K, H, W) with unusable values replaced by the minimum, and warnings.

    Raises InputError for slices too small, no finite value, one value only, or (may_be_ct) Hounsfield units.
    """
    height, width = voxels.shape[1:]
    if min(height, width) < MIN_SIDE:
        raise InputError(f"Expected slices of {MIN_SIDE} to {MAX_SIDE} pixels a side; got {width} x {height} in {name}")
    finite = np.isfinite(voxels)
    warnings: tuple[str, ...] = ()
    if not finite.all():
        if not finite.any():
            raise InputError(f"Expected grey values; {name} has not one finite value")
        warnings = (f"{(~finite).sum()} voxels without a finite value were set to the minimum",)
        voxels = np.where(finite, voxels, voxels[finite].min())
    low, high = voxels.min(), voxels.max()
    if low == high:
        raise InputError(f"Expected an image with contrast; {name} has the value {low:g} everywhere")
    if may_be_ct and looks_like_ct(voxels):
        raise InputError(f"Expected MR; got what looks like CT in {name} (a peak of values at air, -1000 HU)")
    return voxels, warnings


def looks_like_ct(voxels: NDArray[np.float32]) -> bool:
    """Whether the values have the peak of air at -1000 HU and a valley above it, as no MRI has."""
    sample = voxels[:, ::2, ::2]
    if sample.min() > _AIR_HU[1] or sample.max() > 2**15:
        return False
    air = np.mean((sample >= _AIR_HU[0]) & (sample <= _AIR_HU[1]))
    valley = np.mean((sample > -800) & (sample < -300))  # phase images are flat here
    return bool(air >= _AIR_SHARE and valley < air)


def is_far_from_square(ras_from_ijk: Matrix | None) -> bool:
    """Whether the pixels are as no scanner makes them, so that one of their two sides may be stated wrongly."""
    x, y, _ = (1.0, 1.0, 1.0) if ras_from_ijk is None else spacing_mm(ras_from_ijk)
    return bool(max(x, y) > 1.5 * min(x, y))


def geometry_warnings(ras_from_ijk: Matrix | None) -> tuple[str, ...]:
    """Warnings about geometry that is usable but unlike a lumbar series."""
    if ras_from_ijk is None:
        return ()
    x, y, step = spacing_mm(ras_from_ijk)
    tilt = abs(float(cosines(ras_from_ijk)[0, axes_of(ras_from_ijk)[0]]))
    found = []
    if step > _THICK_MM:
        found.append(f"The slices are {step:.1f} mm apart; the midline may lie between two of them")
    if max(x, y) > _COARSE_MM or min(x, y) < _FINE_MM:
        found.append(f"Pixels of {x:.2f} x {y:.2f} mm are unusual for a lumbar MRI (0.3 to 1.5 mm)")
    if is_far_from_square(ras_from_ijk):
        found.append(f"The pixels are far from square: {x:.2f} x {y:.2f} mm")
    if tilt < _OBLIQUE_COSINE:
        found.append(f"The slices are turned by {np.degrees(np.arccos(tilt)):.0f} degrees from the sagittal plane")
    return tuple(found)


_MGH = (".mgh", ".mgz", ".mgh.gz")
#: Archives that are not unpacked here: where their mark stands, and the mark.
_ARCHIVES = {"bzip2": (0, b"BZh"), "xz": (0, b"\xfd7zXZ"), "7z": (0, b"7z\xbc\xaf"), "tar": (257, b"ustar")}
#: Slices that are cut across may lie this far from where one spacing has them.
_OFF_LINE_MM = 0.5
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"BM", b"GIF8")


def read_study(
    path: str | Path,
    spacing_mm: float | tuple[float, float] | None = None,
    study: str | None = None,
    every_series: bool = False,
) -> SagittalStack:
    """Read an MRI and return its sagittal slices upright, in native resolution.

    Args:
        path: DICOM folder, zip or file, NIfTI, MGH, NRRD, MHA/MHD, or a picture of one slice.
        spacing_mm: pixel spacing of a picture, (between columns, between rows) or one number for both. Images that
            carry their own spacing keep it, with a warning.
        study: StudyInstanceUID, day (2024-05-03) or number (1 is the newest) of the exam to read where an input holds
            several; the newest when left out.
        every_series: read the sagittal series beside the best one too, as its companions.

    Returns:
        The stack, RAS mm. Its slice k is slice k of the file (NIfTI, NRRD, MHA) or the k-th position along the normal
        row x column (DICOM).

    Raises:
        InputError, GeometryError: in one line, for everything that cannot be used.

    >>> from tempfile import TemporaryDirectory
    >>> from PIL import Image
    >>> with TemporaryDirectory() as folder:
    ...     Image.radial_gradient("L").save(f"{folder}/slice.png")
    ...     stack = read_study(f"{folder}/slice.png", spacing_mm=(0.8, 0.9))
    >>> stack.voxels.shape, stack.pixel_spacing_mm
    ((1, 256, 256), (0.8, 0.9))
    """
    path = Path(path)
    spacing_xy_mm = _spacing_xy(spacing_mm)
    volume = _read(path, spacing_xy_mm, Wanted(study, every_series))
    warnings: tuple[str, ...] = ()
    if spacing_xy_mm and volume.has_patient_frame:
        warnings += ("The spacing given is for pictures; this image carries its own, which was used",)
    if study and not volume.tags.get("StudyInstanceUID"):
        warnings += ("The study asked for is one of a DICOM folder; this image names none, and was read",)
    others = [stack for other in volume.alternatives for stack in _usable(other, path, warnings)]
    beside = [stack for other in volume.companions for stack in _usable(other, path, warnings)]
    return replace(_stack(volume, path, warnings), alternatives=tuple(others), companions=tuple(beside))


def _usable(volume: Volume, path: Path, warnings: tuple[str, ...]) -> list[SagittalStack]:
    """The stack, or nothing where it cannot be used: it is read beside another one."""
    with suppress(SpineLandmarksError):
        return [_stack(volume, path, warnings)]
    return []


def read_grid(
    path: str | Path, spacing_mm: float | tuple[float, float] | None = None, study: str | None = None
) -> tuple[SagittalStack, ImageGrid]:
    """The stack of an image as `read_study` gives it, and the pixels and voxels of its file. Raises as that."""
    path = Path(path)
    volume = _read(path, _spacing_xy(spacing_mm), Wanted(study))
    stack = _stack(volume, path, ())
    shape, matrix, turn = volume.voxels.shape, volume.ras_from_ijk, None
    if matrix is not None and volume.series_uid is not None:
        turn = np.linalg.inv(matrix) @ upright_matrix(shape, matrix)
    is_even = volume.origins_ras_mm is None and volume.has_patient_frame
    return stack, ImageGrid(
        path.resolve().name,
        (stack.voxels.shape[2], stack.voxels.shape[1]),
        shape if is_even else None,
        matrix if is_even else None,
        turn,
        volume.tags.get("StudyInstanceUID"),
    )


def _stack(volume: Volume, path: Path, warnings: tuple[str, ...]) -> SagittalStack:
    """The volume upright, with what is doubtful about it."""
    warnings = volume.warnings + warnings
    origins, needs_review = None, volume.needs_review
    if volume.ras_from_ijk is None:
        voxels, matrix = volume.voxels.transpose(2, 1, 0), None
    else:
        voxels, matrix = upright(volume.voxels, volume.ras_from_ijk)
        if volume.origins_ras_mm is not None and axes_of(volume.ras_from_ijk)[0] == 2:
            origins = volume.origins_ras_mm + (matrix - volume.ras_from_ijk)[:3, 3]
        elif (off_mm := _off_line_mm(volume)) > _OFF_LINE_MM:
            needs_review = True
            warnings += (f"The slices were cut across, so that their uneven distances put points {off_mm:.1f} mm off",)
    needs_review = needs_review or is_far_from_square(matrix)
    voxels, mended = check_intensities(voxels, path.name, may_be_ct=not volume.tags.get("Modality"))
    return SagittalStack(
        voxels,
        matrix,
        origins_ras_mm=origins,
        source=str(path),
        series_uid=volume.series_uid,
        has_patient_frame=volume.has_patient_frame,
        notes=volume.notes,
        warnings=warnings + mended + geometry_warnings(matrix),
        needs_review=needs_review,
        tags=volume.tags,
    )


def _off_line_mm(volume: Volume) -> float:
    """How far from its place the farthest slice is when the matrix alone says where it lies."""
    if volume.origins_ras_mm is None or volume.ras_from_ijk is None:
        return 0.0
    line = apply(volume.ras_from_ijk, np.outer(np.arange(len(volume.origins_ras_mm)), (0, 0, 1)))
    return float(np.linalg.norm(volume.origins_ras_mm - line, axis=1).max())


def _spacing_xy(spacing_mm: float | tuple[float, float] | None) -> tuple[float, float] | None:
    if spacing_mm is None:
        return None
    x, y = spacing_mm if isinstance(spacing_mm, tuple) else (spacing_mm, spacing_mm)
    if not (math.isfinite(x) and math.isfinite(y) and x > 0 and y > 0):
        raise GeometryError(f"Expected a positive pixel spacing in mm; got {x} x {y}")
    return float(x), float(y)


def _read(path: Path, spacing_xy_mm: tuple[float, float] | None, wanted: Wanted) -> Volume:
    with reading(path, "an image"):
        if not path.exists():
            raise InputError(f"Expected an existing file or folder; {path} does not exist")
        if path.is_dir():
            return read_dicom_folder(path, wanted)
        if not path.is_file():
            raise InputError(f"Expected a file or folder; {path} is neither")
        start, is_packed = _first_bytes(path)
    if not looks_like_dicom(start) and (header := header_of_pair(path)):
        return read_nifti(header)
    if is_packed and not _is_nifti(path, start) and not path.name.lower().endswith(_MGH):
        with unpacked_gzip(path) as inside:
            return _read_file(inside, start, spacing_xy_mm, wanted)
    return _read_file(path, start, spacing_xy_mm, wanted)


def _read_file(path: Path, start: bytes, spacing_xy_mm: tuple[float, float] | None, wanted: Wanted) -> Volume:
    """A file whose content begins with `start`. DICOM goes first: its preamble may be that of any other format."""
    if looks_like_dicom(start):
        return read_dicom_file(path, wanted)
    if start.startswith(_PICTURES):
        return read_picture(path, spacing_xy_mm)
    if start.startswith(b"PK\x03\x04"):
        with unpacked(path) as folder:
            return read_dicom_folder(folder, wanted)
    if _is_nifti(path, start):
        return read_nifti(path)
    if path.name.lower().endswith(_MGH):
        return read_mgh(path)
    if path.name.lower().endswith(".img"):
        raise InputError(f"Expected the header of {path.name} in an .hdr beside it; there is none")
    if path.name.lower().endswith(PICTURES):  # ITK would let libjpeg write to stdout before it says so
        raise InputError(f"Expected a picture; {path.name} is damaged or not one")
    for kind, (at, mark) in _ARCHIVES.items():
        if start[at:].startswith(mark):
            raise InputError(f"Expected an image, or a zip of DICOM files; got {kind}, {path.name}. Unpack it first")
    return read_header_image(path) if is_header_image(path, start) else read_itk(path)


def _first_bytes(path: Path) -> tuple[bytes, bool]:
    """The first bytes of the content, and whether it is packed with gzip: then they are those of what is inside."""
    with path.open("rb") as stream:
        start = stream.read(512)
    if not start:
        raise InputError(f"Expected an image; {path.name} is empty")
    if not start.startswith(b"\x1f\x8b") or looks_like_dicom(start):
        return start, False
    with gzip.open(path) as stream:
        return stream.read(512), True


def _is_nifti(path: Path, start: bytes) -> bool:
    """By the header size 348 or 540 in either byte order, or else by name."""
    by_content = {int.from_bytes(start[:4], "little"), int.from_bytes(start[:4], "big")} & {348, 540}
    return bool(by_content) or path.name.lower().endswith((".nii", ".nii.gz", ".hdr"))
