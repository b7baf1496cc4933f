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
from SpineLandmarksLib.imaging.volume import Volume, check_size, native_stderr, reading, trailing_ones_dropped

#: What ITK reads and what holds an orientation.
_ORIENTED = ("NrrdImageIO", "MetaImageIO", "MINCImageIO", "HDF5ImageIO")
#: What a header must say: the pattern of a line, and what is missing without one. ITK would take the identity and 1 mm.
_REQUIRED = {
    "NrrdImageIO": (
        (
            rb"^space\s*:\s*(?:right-anterior-superior|left-anterior-superior|left-posterior-superior|ras|las|lps)\s*$",
            "an image with orientation (a space of the patient, such as left-posterior-superior)",
        ),
        (rb"^space directions\s*:.*(?:\([^)]*\).*){2}", "voxel spacing and orientation (space directions)"),
    ),
    "MetaImageIO": (
        (rb"^(?:TransformMatrix|Rotation|Orientation)\s*=\s*\S", "an image with orientation (TransformMatrix)"),
        (rb"^(?:ElementSpacing|ElementSize)\s*=\s*\S", "voxel spacing (ElementSpacing)"),
    ),
}
_ORIGIN = {"NrrdImageIO": rb"^space origin\s*:", "MetaImageIO": rb"^(?:Offset|Position|Origin)\s*="}
#: Where the header ends and the voxels begin.
_END = {"NrrdImageIO": rb"\r?\n\r?\n", "MetaImageIO": rb"^ElementDataFile\s*=.*$"}
#: Where a header names the file of its voxels.
_VOXELS = {"NrrdImageIO": rb"^data ?file\s*:\s*(\S[^\r\n]*)", "MetaImageIO": rb"^ElementDataFile\s*=\s*(\S[^\r\n]*)"}
#: The field that states the number of axes.
_AXES = {"NrrdImageIO": "dimension", "MetaImageIO": "ndims"}
_NUMBER = r"(?:[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?|[-+]?nan|[-+]?inf)"
_VECTOR = rf"\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{2}}\s*\)"
_NRRD_SHAPES = {
    "space directions": rf"(?:(?:none|{_VECTOR})\s*){{AXES}}",
    "space origin": _VECTOR,
    "measurement frame": rf"(?:none|(?:{_VECTOR}\s*){{3}})",
    **dict.fromkeys(("centers", "centerings", "kinds"), r"(?:[^\s\"]{1,40}(?:\s+|$)){AXES}"),
    **dict.fromkeys(("labels", "units"), r"(?:\"[^\"]{0,40}\"\s*){AXES}"),
}
_NRRD_LISTS = ("sizes", "spacings", "thicknesses", "axis mins", "axismins", "axis maxs", "axismaxs")
_META_LISTS = (
    *("dimsize", "elementspacing", "elementsize", "offset", "position", "origin", "centerofrotation"),
    *("transformmatrix", "rotation", "orientation"),
)
#: Bytes of the longest header.
_LONGEST = 2**16
_NEGATIVE_SPACING = rb"^(?:ElementSpacing|ElementSize)\s*=.*(?:-\d|nan)"
_UNITS = rb"^space units\s*:.*\"(?!mm\")[^\"]+\""
_ANY_CASE = re.MULTILINE | re.IGNORECASE


def read_itk(path: Path) -> Volume:
    """Read an image file with SimpleITK. Raises InputError or GeometryError in one line."""
    import SimpleITK as sitk

    with reading(path, "an image file"), _silent_itk(), native_stderr([]):
        kind = sitk.ImageFileReader.GetImageIOFromFileName(str(path))
        if not kind:
            raise InputError(f"Expected an MRI as DICOM, NIfTI, NRRD, MHA, PNG, JPEG or TIFF; got {path.name}")
        warnings = _check_header(path, kind)
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
        return Volume(voxels, _ras_from_ijk(reader), warnings=warnings)


def _check_header(path: Path, kind: str) -> tuple[str, ...]:
    """Raise GeometryError for a header that does not say how the image lies in the patient; return warnings."""
    if kind not in _ORIENTED:
        raise GeometryError(f"Expected a format with orientation (NIfTI, NRRD, MHA); {path.name} is read by {kind}")
    if kind not in _REQUIRED:
        return ()
    with path.open("rb") as stream:
        start = stream.read(_LONGEST)
    _require_voxels(path, start, _VOXELS[kind])
    header = re.split(_END[kind], start, maxsplit=1, flags=_ANY_CASE)[0]
    if re.search(rb"^encoding\s*:\s*bz", header, _ANY_CASE):
        raise InputError(f"Expected NRRD voxels as raw, text or gzip; {path.name} has bzip2. Save it anew as gzip")
    _require_whole(path, header, kind)
    for pattern, what in _REQUIRED[kind]:
        if not re.search(pattern, header, _ANY_CASE):
            raise GeometryError(f"Expected {what}; the header of {path.name} states none")
    if re.search(_NEGATIVE_SPACING, header, _ANY_CASE):
        raise GeometryError(f"Expected positive voxel spacing; got a negative or NaN one in {path.name}")
    if re.search(_UNITS, header, _ANY_CASE):
        raise GeometryError(f"Expected space units of mm; the header of {path.name} states others")
    if re.search(_ORIGIN[kind], header, _ANY_CASE):
        return ()
    return (f"{path.name} states no origin: positions in mm count from its first voxel",)


def _require_whole(path: Path, header: bytes, kind: str) -> None:
    """Raise InputError for a header whose fields are not as long as its number of axes says, or stand there twice.

    ITK writes past its memory, and the process ends, where a list or vector is longer than it expects.
    """
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").splitlines():
        field = re.match(r"\s*([^:=#]+?)\s*(:=|[:=])\s*(.*?)\s*$", line)
        if field is None or field[2] == ":=":
            continue
        key, value = field[1], field[3]
        if (
            len(key) > 100
            or key.lower() in fields
            or not re.fullmatch(_shape(kind, key.lower(), fields), value, re.IGNORECASE)
        ):
            raise InputError(
                f"Expected a whole header in {path.name}; its field '{key[:40]}' is damaged or there twice"
            )
        fields[key.lower()] = value
    if len(header) == _LONGEST:
        raise InputError(f"Expected a header of at most {_LONGEST} bytes in {path.name}; it has more")


def _shape(kind: str, key: str, fields: dict[str, str]) -> str:
    """What a field may hold, as a pattern. fields: those before it."""
    if key == _AXES[kind]:
        return "[1-7]"
    axes = int(fields.get(_AXES[kind], 0))
    if kind == "NrrdImageIO":
        return _numbers(axes) if key in _NRRD_LISTS else _NRRD_SHAPES.get(key, ".{0,2000}").replace("AXES", str(axes))
    count = {"transformmatrix": axes**2, "rotation": axes**2, "orientation": axes**2}.get(key, axes)
    return _numbers(count) if key in _META_LISTS else ".{0,2000}"


def _numbers(count: int) -> str:
    return rf"{_NUMBER}(?:\s+{_NUMBER}){{{max(count - 1, 0)}}}"


def _require_voxels(path: Path, start: bytes, pattern: bytes) -> None:
    """Raise InputError where a header names a file of voxels that is not there."""
    found = re.search(pattern, start, _ANY_CASE)
    name = found[1].decode("utf-8", "replace").strip() if found else ""
    one_file = name and name.upper() not in ("LOCAL", "LIST") and "%" not in name and not name.startswith("LIST ")
    if one_file and not (path.parent / name).is_file():
        raise InputError(f"Expected the voxels of {path.name} in {name}, beside it; there is no such file")


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
