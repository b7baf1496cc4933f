"""Changes of a file: of its bytes, and of what they mean where the grammar is known (JSON, tables, DICOM elements)."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Callable
from io import BytesIO
from typing import Any

Rng = random.Random

NUMBERS = (
    "0", "-0", "1", "-1", "1e308", "-1e999", "1e-320", "nan", "inf", "NaN", "Infinity", "2147483648",
    "9" * 400, "0.1", "1,5", "1_000", "0x10", "1e5", "8192", "65536", "-3.5", "٣", " 7 ",
)  # fmt: skip
WORDS = (
    "", " ", "L3", "L1/L2", "T12-L1", "l5–s1", "null", "true", "predicted", "not_visible", "'", '"', "=1+1", "\0", "\n",
    "é", "\ud7ff", "💀", "..", "../../x", "/etc/passwd", "C:\\x", "a" * 5000, "[" * 3000, "{}", "LPS", "RAS", "mm",
    "%s%n", "\ufeff", "&a [*a]", "!!python/object:os.system", "<<", "2024-01-01", "sep=;",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 1.5, 1e308, -1e-320, 10**400, "", "L3", [], {}, [[]], [None], [1, 2], [1, 2, 3],
    {"x": 1}, "9", "1.2.3", -(2**63), "predicted", 2**31, [1e308, 1e308, 1e308], [0, 0, 0], "\0", "../x",
)  # fmt: skip
_NUMBER = re.compile(rb"-?\d+(\.\d+)?")


def mutated(data: bytes, rng: Rng) -> bytes:
    """One to eight changes of the bytes."""
    for _ in range(1 + min(7, int(rng.expovariate(0.7)))):
        data = rng.choice(_CHANGES)(data, rng)
    return data


def _flip(data: bytes, rng: Rng) -> bytes:
    if not data:
        return b"\0"
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _set(data: bytes, rng: Rng) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 2, 4, 8))
    value = rng.choice((0, 1, -1, 127, -128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**32 - 1, rng.getrandbits(63)))
    number: bytes = (value % 2 ** (8 * size)).to_bytes(size, "little" if rng.random() < 0.5 else "big")
    return data[:at] + number + data[at + size :]


def _cut(data: bytes, rng: Rng) -> bytes:
    return data[: _place(data, rng)]


def _remove(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    return data[:at] + data[at + rng.choice((1, 2, 4, 16, 100)) :]


def _repeat(data: bytes, rng: Rng) -> bytes:
    at, size = _place(data, rng), rng.choice((1, 4, 40, 400))
    return data[:at] + data[at : at + size] * rng.choice((2, 2, 3, 50)) + data[at + size :]


def _insert(data: bytes, rng: Rng) -> bytes:
    at = _place(data, rng)
    word = rng.choice((*WORDS, *NUMBERS)).encode("utf-8", "surrogatepass")
    return data[:at] + rng.choice((word, rng.randbytes(rng.choice((1, 2, 8))))) + data[at:]


def _renumber(data: bytes, rng: Rng) -> bytes:
    found = list(_NUMBER.finditer(data[:4096]))
    if not found:
        return _flip(data, rng)
    one = rng.choice(found)
    return data[: one.start()] + rng.choice(NUMBERS).encode() + data[one.end() :]


def _move(data: bytes, rng: Rng) -> bytes:
    one, two = sorted((_place(data, rng), _place(data, rng)))
    size = rng.choice((1, 4, 40))
    return data[:one] + data[two : two + size] + data[one + size : two] + data[one : one + size] + data[two + size :]


_CHANGES: tuple[Callable[[bytes, Rng], bytes], ...] = (
    _flip, _flip, _set, _set, _cut, _remove, _repeat, _insert, _renumber, _renumber, _move,
)  # fmt: skip


def _place(data: bytes, rng: Rng) -> int:
    """Anywhere; headers stand in front, and count more."""
    size = max(len(data), 1)
    return rng.randrange(min(size, 600)) if rng.random() < 0.6 else rng.randrange(size)


def mutated_json(data: bytes, rng: Rng) -> bytes:
    """A JSON text with some of its values, names and items changed."""
    value = json.loads(data)
    for _ in range(1 + min(5, int(rng.expovariate(0.8)))):
        value = _changed(value, rng)
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:
        text = text.replace(":", ":" + rng.choice(NUMBERS), 1)
    return text.encode("utf-8", "replace")


def _changed(value: Any, rng: Rng) -> Any:
    parents = [item for item in _walk(value) if item]
    if not parents or rng.random() < 0.02:
        return rng.choice(VALUES)
    parent = rng.choice(parents)
    key = rng.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
    what = rng.random()
    if what < 0.5:
        parent[key] = copy.deepcopy(rng.choice(VALUES))
    elif what < 0.65:
        del parent[key]
    elif what < 0.75 and isinstance(parent, dict):
        parent[rng.choice(WORDS)] = parent.pop(key)
    elif what < 0.85 and isinstance(parent, list):
        parent.append(copy.deepcopy(parent[key]))
    else:
        parent[key] = copy.deepcopy(rng.choice(list(_walk(value))))
    return value


def _walk(value: Any) -> list[Any]:
    """The lists and objects in a value."""
    found, left = [], [value]
    while left:
        one = left.pop()
        if isinstance(one, (dict, list)):
            found.append(one)
            left += one.values() if isinstance(one, dict) else one
    return found


def mutated_table(data: bytes, rng: Rng) -> bytes:
    """A table with cells, rows and separators changed."""
    separator = "," if b"," in data else ";"
    rows = [line.split(separator) for line in data.decode("utf-8").splitlines()]
    for _ in range(1 + min(5, int(rng.expovariate(0.8)))):
        row = rng.choice(rows)
        at = rng.randrange(len(row)) if row else 0
        what = rng.random()
        if what < 0.5 and row:
            row[at] = rng.choice((*NUMBERS, *WORDS))
        elif what < 0.6:
            row.insert(at, rng.choice(WORDS))
        elif what < 0.7:
            del row[at : at + 1]
        elif what < 0.8:
            rows.append(list(row))
        elif what < 0.85 and len(rows) > 1:
            rows.remove(row)
        else:
            separator = rng.choice((",", ";", "\t", "|", "  "))
    start = rng.choice(("", "", "", "\ufeff", "sep=;\n", "sep=,\r\n"))
    text = start + rng.choice(("\n", "\r\n", "\r")).join(separator.join(row) for row in rows)
    return text.encode("utf-8", "replace")


#: What decides how a DICOM image is read.
DICOM_WORDS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel",
    "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "SliceThickness",
    "SpacingBetweenSlices", "InstanceNumber", "SeriesInstanceUID", "StudyInstanceUID", "Modality", "SOPClassUID",
    "RescaleSlope", "RescaleIntercept", "NumberOfFrames", "SeriesDescription", "PixelPaddingValue", "EchoTime",
    "StudyDate", "StudyTime", "ImageType", "BodyPartExamined", "SliceLocation", "PlanarConfiguration",
    "PerFrameFunctionalGroupsSequence", "ScanningSequence", "RepetitionTime", "PatientPosition",
)  # fmt: skip
_DICOM_VALUES: tuple[str, ...] = (
    "", "0", "-1", "1", "1e400", "nan", "1\\2", "1\\2\\3", "0\\0\\0\\0\\0\\0", "1\\0\\0\\0\\1\\0", "1A", "MR", "CT",
    "MONOCHROME1", "RGB", "65535", "8192", "é", "a" * 70, "20240101", "1.2.3", "DERIVED\\LOC",
    "1.2.840.10008.5.1.4.1.1.4.1",
)  # fmt: skip


def mutated_dicom(data: bytes, rng: Rng) -> bytes:
    """A DICOM file with elements changed or taken away; the bytes of one in three are damaged as well."""
    import pydicom

    dataset = pydicom.dcmread(BytesIO(data), force=True)
    for _ in range(1 + min(4, int(rng.expovariate(0.8)))):
        name = rng.choice(DICOM_WORDS)
        if rng.random() < 0.25:
            if name in dataset:
                delattr(dataset, name)
            continue
        tag = pydicom.tag.Tag(name)
        kind = rng.choice((pydicom.datadict.dictionary_VR(tag)[:2], "LO", "UN", "DS", "US", "SQ"))
        text: bytes = rng.choice(_DICOM_VALUES).encode()
        short = rng.choice((0, 1, 2, 8, 16, 12, 65535, 40, 8193)).to_bytes(2, "little")
        value = short if kind == "US" else rng.randbytes(8) if kind == "FD" else text + b" " * (len(text) % 2)
        # raw, as it comes from a file: the library would refuse to make most of these
        dataset[tag] = pydicom.dataelem.RawDataElement(tag, kind, len(value), value, 0, False, True)
    written = BytesIO()
    pydicom.dcmwrite(written, dataset)
    return mutated(written.getvalue(), rng) if rng.random() < 0.3 else written.getvalue()
