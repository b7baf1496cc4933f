"""NRRD and MetaImage (MHA, MHD): a header of text, then the voxels, packed or not, in the same file or beside it.

They are read here and not by ITK, which writes past its memory where a damaged header states more than it expects, and
hands out noise where packed voxels are damaged. A file that does not say how it lies in the patient is refused.

https://teem.sourceforge.net/nrrd/format.html, https://itk.org/Wiki/ITK/MetaIO/Documentation
"""

from __future__ import annotations

import bz2
import os
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.geometry import Matrix
from SpineLandmarksLib.imaging.volume import Volume, check_size, reading, trailing_ones_dropped

#: Bytes of the longest header.
_LONGEST = 2**16
_NUMBER = r"(?:[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[-+]?\d+)?|[-+]?nan|[-+]?inf)"
_VECTOR = rf"\(\s*{_NUMBER}(?:\s*,\s*{_NUMBER}){{2}}\s*\)"
#: What a field may hold, where AXES is the number of axes; other fields may hold any text of one line.
_NRRD_SHAPES = {
    "space directions": rf"(?:(?:none|{_VECTOR})\s*){{AXES}}",
    "space origin": _VECTOR,
    "measurement frame": rf"(?:none|(?:{_VECTOR}\s*){{3}})",
    "space units": r"(?:\"[^\"]{0,40}\"\s*){1,3}",
    "sizes": r"(?:\d{1,9}(?:\s+|$)){AXES}",
}
_META_LISTS = {
    **dict.fromkeys(("dimsize", "elementspacing", "elementsize", "offset", "position", "origin"), 1),
    **dict.fromkeys(("transformmatrix", "rotation", "orientation"), 2),
}
_SPACES = {"left-posterior-superior": (-1, -1), "left-anterior-superior": (-1, 1), "right-anterior-superior": (1, 1)}
_SPACES |= {"lps": (-1, -1), "las": (-1, 1), "ras": (1, 1)}
_NRRD_KINDS = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "int64", "int64_t"), "i8"),
    **dict.fromkeys(("ulonglong", "unsigned long long", "uint64", "uint64_t"), "u8"),
    **{"float": "f4", "double": "f8"},
}
_META_KINDS = {"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "long": "i4"}
_META_KINDS |= {"ulong": "u4", "long_long": "i8", "ulong_long": "u8", "float": "f4", "double": "f8"}
_PACKINGS = {"raw": "raw", "gzip": "zlib", "gz": "zlib", "bzip2": "bzip2", "bz2": "bzip2"}
_PACKINGS |= dict.fromkeys(("txt", "text", "ascii"), "text")

#: The end of the fields: an empty line, or the field after which files are listed or the voxels begin.
_NRRD_END = rb"\r?\n\r?\n|^data ?file[ \t]*:[ \t]*LIST[^\r\n]*\r?\n"
_META_END = rb"^[ \t]*ElementDataFile[ \t]*[=:][^\r\n]*\r?\n?"

Fields = dict[str, str]
_Vector = tuple[float, ...]


@dataclass(frozen=True)
class _Layout:
    """What a header says. sizes, directions_ras_mm: of each axis, the fastest first; no direction: values of a voxel.

    packing: of `_PACKINGS`. file: of the voxels, "" for what follows the header. skip: bytes before them, -1 for all
    that the last ones leave.
    """

    sizes: tuple[int, ...]
    directions_ras_mm: tuple[_Vector | None, ...]
    origin_ras_mm: _Vector | None
    kind: np.dtype[Any]
    packing: str
    file: str
    skip: int = 0


def is_header_image(path: Path, start: bytes) -> bool:
    """Whether a file that begins so is NRRD or MetaImage."""
    return start.startswith(b"NRRD000") or path.name.lower().endswith((".mha", ".mhd"))


def read_header_image(path: Path) -> Volume:
    """Read an NRRD or MetaImage file. Raises InputError or GeometryError in one line."""
    with reading(path, "an image file"):
        with path.open("rb") as stream:
            start = stream.read(_LONGEST)
        is_nrrd = start.startswith(b"NRRD000")
        fields, end = _fields(path.name, start, is_nrrd)
        layout = (_nrrd if is_nrrd else _meta)(fields, path.name)
        shape, matrix = _place(layout, path.name)
        voxels = _voxels(path, layout, start, end).astype(np.float32).reshape(shape[::-1]).transpose(2, 1, 0)
    warning = f"{path.name} states no origin: positions in mm count from its first voxel"
    return Volume(voxels, matrix, warnings=() if layout.origin_ras_mm else (warning,))


def _fields(name: str, start: bytes, is_nrrd: bool) -> tuple[Fields, int]:
    """The fields of a header by their names in small letters, and where it ends.

    Raises InputError for one that stands there twice, or whose values are not as many as its axes say.
    """
    found = re.search(_NRRD_END if is_nrrd else _META_END, start, re.MULTILINE | re.IGNORECASE)
    if found is None and len(start) == _LONGEST:
        raise InputError(f"Expected a header of at most {_LONGEST} bytes in {name}; it has more")
    end = len(start) if found is None else found.end()
    fields: Fields = {}
    for line in start[:end].decode("latin-1").splitlines():
        field = re.match(r"\s*([^:=#]+?)\s*(:=|[:=])\s*(.*?)\s*$", line)
        if field is None or field[2] == ":=":
            continue
        key, value = field[1].lower(), field[3]
        shape = (_nrrd_shape if is_nrrd else _meta_shape)(key, fields)
        if key in fields or len(value) > 4096 or not re.fullmatch(shape, value, re.IGNORECASE):
            raise InputError(
                f"Expected a whole header in {name}; its field '{field[1][:40]}' is damaged or there twice"
            )
        fields[key] = value
    return fields, end


def _nrrd_shape(key: str, fields: Fields) -> str:
    axes = fields.get("dimension", "0")
    return r"[1-7]" if key == "dimension" else _NRRD_SHAPES.get(key, ".*").replace("AXES", axes)


def _meta_shape(key: str, fields: Fields) -> str:
    if key not in _META_LISTS:
        return r"[1-7]" if key == "ndims" else ".*"
    count = int(fields.get("ndims", 0)) ** _META_LISTS[key]
    return rf"{_NUMBER}(?:\s+{_NUMBER}){{{max(count - 1, 0)}}}"


def _stated(fields: Fields, name: str, what: str, *keys: str) -> str:
    """The value of the first of the keys that is there. Raises GeometryError for none."""
    for key in keys:
        if fields.get(key):
            return fields[key]
    raise GeometryError(f"Expected {what}; the header of {name} states none")


def _nrrd(fields: Fields, name: str) -> _Layout:
    directions, origin = _nrrd_frame(fields, name)
    kind = _NRRD_KINDS.get(fields.get("type", "").lower())
    packing = _PACKINGS.get(fields.get("encoding", "").lower())
    order = {"little": "<", "big": ">", "": "|"}.get(fields.get("endian", "").lower())
    lines, skip = (fields.get(f"{what} skip", fields.get(f"{what}skip", "0")) for what in ("line", "byte"))
    is_ordered = order != "|" or packing == "text" or (kind or "").endswith("1")
    if not kind or not packing or order is None or not is_ordered or "sizes" not in fields:
        raise InputError(f"Expected type, sizes, endian and an encoding of raw, text, gzip or bzip2; {name} has others")
    if lines != "0" or not re.fullmatch(r"0|-1|\d{1,9}" if packing == "raw" else "0", skip):
        raise InputError(f"Expected voxels that begin where their file does; those of {name} do not")
    file = fields.get("data file", fields.get("datafile", ""))
    sizes = tuple(map(int, fields["sizes"].split()))
    return _Layout(sizes, directions, origin, np.dtype(f"{order}{kind}"), packing, file, int(skip))


def _nrrd_frame(fields: Fields, name: str) -> tuple[tuple[_Vector | None, ...], _Vector | None]:
    """The direction of each axis and the origin, RAS mm. Raises GeometryError where the header does not say it."""
    space = fields.get("space", "").lower()
    if space not in _SPACES:
        raise GeometryError(
            "Expected an image with orientation (a space of the patient, such as left-posterior-superior); the header "
            f"of {name} states none"
        )
    directions = _stated(fields, name, "voxel spacing and orientation (space directions)", "space directions")
    if not {"", "mm"}.issuperset(re.findall(r'"([^"]*)"', fields.get("space units", ""))):
        raise GeometryError(f"Expected space units of mm; the header of {name} states others")
    signs = (*_SPACES[space], 1)
    vectors = [_vector(text, signs) for text in re.findall(r"none|\([^)]*\)", directions, re.IGNORECASE)]
    return tuple(vectors), _vector(fields.get("space origin", "none"), signs)


def _vector(text: str, signs: tuple[int, ...]) -> _Vector | None:
    if text.lower() == "none":
        return None
    return tuple(sign * float(value) for sign, value in zip(signs, text.strip("() ").split(","), strict=True))


def _meta(fields: Fields, name: str) -> _Layout:
    directions, origin = _meta_frame(fields, name)
    kind = _META_KINDS.get(fields.get("elementtype", "").lower().removeprefix("met_"))
    if not kind or "dimsize" not in fields or not fields.get("elementdatafile"):
        raise InputError(f"Expected ElementType, DimSize and ElementDataFile; the header of {name} is damaged")
    channels = fields.get("elementnumberofchannels", "1")
    if channels != "1":
        raise InputError(f"Expected one grey value per voxel; got {channels[:9]} in {name}")
    is_big = "true" in (fields.get(key, "").lower() for key in ("binarydatabyteordermsb", "elementbyteordermsb"))
    packing = "zlib" if fields.get("compresseddata", "").lower() == "true" else "raw"
    return _Layout(
        tuple(map(int, map(float, fields["dimsize"].split()))),
        directions,
        origin,
        np.dtype((">" if is_big else "<") + kind),
        "text" if fields.get("binarydata", "true").lower() == "false" else packing,
        "" if fields["elementdatafile"].upper() == "LOCAL" else fields["elementdatafile"],
        int(fields.get("headersize", "0")),
    )


def _meta_frame(fields: Fields, name: str) -> tuple[tuple[_Vector | None, ...], _Vector | None]:
    """The direction of each axis and the origin, RAS mm. Raises GeometryError where the header does not say it."""
    oriented = ("transformmatrix", "rotation", "orientation")
    matrix = _stated(fields, name, "an image with orientation (TransformMatrix)", *oriented).split()
    spacing = _stated(fields, name, "voxel spacing (ElementSpacing)", "elementspacing", "elementsize").split()
    if (units := fields.get("distanceunits", "mm").lower()) not in ("mm", "?", ""):
        raise GeometryError(f"Expected distance units of mm; the header of {name} states {units[:9]}")
    spacing_mm = np.array(spacing, dtype=float)
    if not (spacing_mm > 0).all():
        raise GeometryError(f"Expected positive voxel spacing; got a negative or NaN one in {name}")
    axes = len(spacing_mm)
    lps = np.reshape(np.array(matrix, dtype=float), (axes, axes)) * spacing_mm[:, np.newaxis]
    signs = np.array([-1.0, -1.0, 1.0])[:axes]
    origin = next((fields[key].split()[:3] for key in ("offset", "position", "origin") if key in fields), None)
    directions = tuple(tuple((row[:3] * signs).tolist()) for row in lps)
    return directions, None if origin is None else tuple((np.array(origin, dtype=float) * signs).tolist())


def _place(layout: _Layout, name: str) -> tuple[tuple[int, int, int], Matrix]:
    """Shape (I, J, K) and ras_from_ijk (4, 4)."""
    values = [size for size, one in zip(layout.sizes, layout.directions_ras_mm, strict=True) if one is None]
    if any(size != 1 for size in values):
        raise InputError(f"Expected one grey value per voxel; got {' x '.join(map(str, values))} in {name}")
    inside = [(size, one) for size, one in zip(layout.sizes, layout.directions_ras_mm, strict=True) if one is not None]
    if len(inside) < 3:
        raise GeometryError(f"Expected an image with 3-D orientation; got a {len(inside)}-D image in {name}")
    shape = trailing_ones_dropped([size for size, _ in inside], name)
    check_size(shape, name)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([one for _, one in inside[:3]]).T
    matrix[:3, 3] = layout.origin_ras_mm or (0.0, 0.0, 0.0)
    return shape, matrix


def _voxels(path: Path, layout: _Layout, start: bytes, end: int) -> np.ndarray[Any, Any]:
    """The values in the order of the file. Raises InputError where there are fewer than the header states."""
    count = int(np.prod(layout.sizes))
    files = list(_files(path, layout, start[end:]))
    each, rest = divmod(count, len(files))
    if rest:
        raise InputError(f"Expected voxels in files of one size; {path.name} names {len(files)} for {count} voxels")
    skip = layout.skip + (end if not layout.file and layout.skip >= 0 else 0)
    return np.concatenate([_unpacked(file, layout, each, skip) for file in files])


def _files(path: Path, layout: _Layout, rest: bytes) -> Iterator[Path]:
    """The files of the voxels: this one, another, those of a list, or of a pattern with first, last and step."""
    words = layout.file.split()
    names = [layout.file or path.name]
    if words and words[0].upper() == "LIST":
        names = [line.strip() for line in rest.decode("utf-8", "replace").splitlines() if line.strip()]
    elif len(words) == 4 and all(re.fullmatch(r"\d{1,5}", word) for word in words[1:]):
        first, last, step = map(int, words[1:])
        digits = re.search(r"%0?(\d?)d", words[0])
        numbers = range(first, last + 1, step or 1) if digits else ()
        names = [words[0].replace(digits[0], f"{n:0{digits[1] or 1}d}") for n in numbers if digits] or names
    for name in names:
        if PureWindowsPath(name).anchor or ".." in re.split(r"[/\\]", name):  # a sender could learn of it here
            raise InputError(f"Expected the voxels of {path.name} beside it; it names a file elsewhere")
        if not os.path.isfile(path.parent / name):  # unlike Path's, says no to a name that is too long
            raise InputError(f"Expected the voxels of {path.name} in {name}, beside it; there is no such file")
        yield path.parent / name


def _unpacked(file: Path, layout: _Layout, count: int, skip: int) -> np.ndarray[Any, Any]:
    size = count * layout.kind.itemsize
    with file.open("rb") as stream:
        stream.seek(*((-size, 2) if skip < 0 and file.stat().st_size >= size else (max(skip, 0), 0)))
        if layout.packing == "text":
            values = stream.read(32 * count).split()[:count]
            numbers = np.array(values, dtype=float)
            data = numbers.astype(layout.kind).tobytes()
            if layout.kind.kind != "f" and (np.frombuffer(data, layout.kind) != numbers).any():
                raise InputError(f"Expected values that {layout.kind} holds; {file.name} has others")
        elif layout.packing == "raw":
            data = stream.read(size)
        else:
            data = _inflated(layout.packing, stream.read(), size, file.name)
    if len(data) != size:
        raise InputError(f"Expected {size} bytes of voxels; {file.name} is damaged, it holds {len(data)}")
    return np.frombuffer(data, dtype=layout.kind)


def _inflated(packing: str, packed: bytes, size: int, name: str) -> bytes:
    """What is packed, in one piece or several, each to its end, which checks its checksum; one byte more than `size`
    at most.
    """
    data = b""
    while packed and len(data) < size:
        unpack: Any = bz2.BZ2Decompressor() if packing == "bzip2" else zlib.decompressobj(47)  # zlib or gzip
        data += unpack.decompress(packed, size + 1 - len(data))
        if len(data) <= size and not unpack.eof:
            data += unpack.decompress(getattr(unpack, "unconsumed_tail", b""), size + 1 - len(data))
        if not unpack.eof:
            raise InputError(f"Expected packed voxels that end where their header says; those of {name} are damaged")
        packed = unpack.unused_data
    return data
