"""NIfTI-1, NIfTI-2 (single file or .hdr/.img pair, plain or gzip) and MGH/MGZ through nibabel.

A file must say how it lies in the patient: with both sform_code and qform_code 0 the axes mean nothing (left and right,
head and foot would be guessed), so it is refused. The sform counts before the qform, as nibabel and most tools have it.
"""

from __future__ import annotations

import glob
import gzip
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.imaging.volume import Volume, check_size, reading, trailing_ones_dropped

_MM_PER_UNIT = {"unknown": 1.0, "meter": 1000.0, "mm": 1.0, "micron": 0.001}
#: Bytes that may follow the voxels (some writers pad) before the file is taken for a bomb.
_SLACK = 2**20


def read_nifti(path: Path) -> Volume:
    """Read a NIfTI file. Raises InputError or GeometryError in one line."""
    from nibabel.imageglobals import LoggingOutputSuppressor

    with reading(path, "a NIfTI file"), LoggingOutputSuppressor():
        header = _header(path)
        shape = trailing_ones_dropped(header.get_data_shape(), path.name)
        check_size(shape, path.name)
        _check_values(header, path.name)
        warnings = _check_orientation(header, path.name)
        image = _load(path, header)
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
        scale = _MM_PER_UNIT[header.get_xyzt_units()[0]]
        affine = np.diag([scale, scale, scale, 1.0]) @ image.affine
    return Volume(voxels, affine, warnings=warnings)


def read_mgh(path: Path) -> Volume:
    """Read a FreeSurfer MGH or MGZ file. Raises InputError or GeometryError in one line."""
    import nibabel

    with reading(path, "an MGH file"), _opened(path) as stream:
        header = nibabel.freesurfer.mghformat.MGHHeader.from_fileobj(stream)
        shape = trailing_ones_dropped(header.get_data_shape(), path.name)
        check_size(shape, path.name)
        if not header["goodRASFlag"]:
            raise GeometryError(f"Expected an image with orientation; got {path.name} whose goodRASFlag is 0")
        image = nibabel.MGHImage.from_bytes(_all_bytes(path, int(np.prod(shape)) * header.get_data_dtype().itemsize))
        voxels = image.get_fdata(dtype=np.float32, caching="unchanged").reshape(shape)
    return Volume(voxels, image.affine)


def header_of_pair(path: Path) -> Path | None:
    """The .hdr beside the .img of a pair; None for another file."""
    if not path.name.lower().endswith((".img", ".img.gz")):
        return None
    return next(iter(sorted(path.parent.glob(f"{_stem(path)}.[hH][dD][rR]*"))), None)


def _stem(path: Path) -> str:
    """The name without its ending, as a pattern that means itself."""
    return glob.escape(path.name[: -len(".img.gz")] if path.name.lower().endswith(".gz") else path.stem)


def _header(path: Path) -> Any:
    """The header as written: nibabel's own check would quietly mend a zero or negative pixdim."""
    import nibabel

    with _opened(path) as stream:
        start = stream.read(4)
        stream.seek(0)
        is_nifti2 = 540 in (int.from_bytes(start, "little"), int.from_bytes(start, "big"))
        kind = nibabel.Nifti2Header if is_nifti2 else nibabel.Nifti1Header
        return kind.from_fileobj(stream, check=False)


def _check_values(header: Any, name: str) -> None:
    if not header["magic"].item().startswith((b"n+", b"ni")):
        raise GeometryError(f"Expected NIfTI; got Analyze 7.5 in {name}, which does not state its orientation")
    kind = header.get_data_dtype()
    if kind.fields or kind.kind not in "iufb":
        raise InputError(f"Expected one grey value per voxel; got {kind} in {name}")


def _check_orientation(header: Any, name: str) -> tuple[str, ...]:
    """Raise GeometryError for no orientation or impossible spacing; return warnings about contradictions."""
    used = [int(side) > 1 for side in (*header.get_data_shape(), 1, 1)[:3]]
    spacing = np.asarray(header["pixdim"][1:4], dtype=np.float64)
    if not (np.isfinite(spacing[used]) & (spacing[used] > 0)).all():
        raise GeometryError(f"Expected positive voxel spacing; got {spacing.tolist()} mm in {name}")
    sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    if sform is None and qform is None:
        raise GeometryError(f"Expected an image with orientation; got {name} with sform_code and qform_code 0")
    if sform is None or qform is None:
        return ()
    corner = np.array([*(np.array((*header.get_data_shape(), 1, 1)[:3]) - 1), 1.0])
    apart = max(np.linalg.norm((sform - qform) @ point) for point in (corner, np.array([0, 0, 0, 1.0])))
    return (f"The sform and qform of {name} differ by up to {apart:.1f} mm; the sform was used",) if apart > 0.5 else ()


def _load(path: Path, header: Any) -> Any:
    import nibabel

    if header["magic"].item().startswith(b"ni"):
        if not any(path.parent.glob(f"{_stem(path)}.[iI][mM][gG]*")):
            raise InputError(f"Expected the voxels of {path.name} in an .img beside it; there is none")
        return nibabel.load(path)
    voxels = int(np.prod(header.get_data_shape(), dtype=float)) * header.get_data_dtype().itemsize
    kind = nibabel.Nifti2Image if isinstance(header, nibabel.Nifti2Header) else nibabel.Nifti1Image
    return kind.from_bytes(_all_bytes(path, int(header["vox_offset"]) + voxels))


def _opened(path: Path) -> BinaryIO:
    """The file, inflated as it is read when its content is gzip, whatever it is called."""
    with path.open("rb") as stream:
        is_gzip = stream.read(2) == b"\x1f\x8b"
    return cast(BinaryIO, gzip.open(path)) if is_gzip else path.open("rb")


def _all_bytes(path: Path, expected: int) -> bytes:
    """The content to its end, which checks gzip's checksum. Raises InputError when it is much longer than stated."""
    with _opened(path) as stream:
        content = stream.read(expected + _SLACK)
        if stream.read(1):
            raise InputError(f"Expected about {expected} bytes as its header states; {path.name} holds many more")
    return content
