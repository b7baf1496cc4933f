"""One record per DICOM image frame, the same for classic files and for enhanced multi-frame files.

In an enhanced file an attribute may stand in the frame's functional groups, in the shared ones, or in the file's root;
they are looked up in that order, and a classic file has the root only.
"""

from __future__ import annotations

import math
import re
from collections import ChainMap
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.volume import MAX_SIDE

#: Names that enhanced files use for what classic files call otherwise.
_ENHANCED_NAMES = {
    "EffectiveEchoTime": "EchoTime",
    "FrameType": "ImageType",
    "InversionTimes": "InversionTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}
#: The sequences that hold a frame's attributes (PS3.3 C.7.6.16), and those that converted classic files keep theirs in.
_MACROS = tuple(
    """
    FrameAnatomySequence FrameContentSequence MREchoSequence MRImageFrameTypeSequence MRModifierSequence
    MRTimingAndRelatedParametersSequence PixelMeasuresSequence PixelValueTransformationSequence
    PlaneOrientationSequence PlanePositionSequence UnassignedPerFrameConvertedAttributesSequence
    UnassignedSharedConvertedAttributesSequence
    """.split()
)
#: Sequences of codes that name the region.
_CODES = {"AnatomicRegionSequence", "ProcedureCodeSequence"}
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
#: All that is asked of a header.
_KEYWORDS = (
    *("SOPClassUID", "ImageType", "Modality", "Manufacturer", "ManufacturerModelName"),
    *("PatientID", "PatientName", "PatientBirthDate"),
    *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesDescription", "ProtocolName"),
    *("StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime"),
    *("AcquisitionDateTime", "ContentDate", "ContentTime", "NumberOfFrames", "Rows", "Columns", "SamplesPerPixel"),
    *("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SpacingBetweenSlices", "SliceThickness"),
    *("SliceLocation", "TemporalPositionIdentifier", "TriggerTime", "EchoNumbers", "AcquisitionNumber"),
    *("InstanceNumber", "EchoTime", "RepetitionTime", "InversionTime", "ScanningSequence", "ScanOptions"),
    *("BodyPartExamined", "ProcedureCodeSequence", "AnatomicRegionSequence", "MagneticFieldStrength"),
    *("PatientPosition", "RescaleSlope", "RescaleIntercept", "RescaleType"),
)
#: Value representations of plain ASCII, and of names, which are compared alone: read without pydicom's checks.
_PLAIN_TEXT = {"CS", "DA", "DS", "DT", "IS", "PN", "TM", "UI"}
#: What a classic file says of its image ends with group 0028; frames are described in group 5200.
_LAST_GROUP, _LAST_GROUP_OF_FRAMES = 0x0028, 0x5200
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
#: Modality by the end of the storage class behind 1.2.840.10008.5.1.4.1.1, for files without a Modality.
_CLASSES = {
    "2": "CT",
    "2.1": "CT",
    "2.2": "CT",
    "128": "PT",
    "20": "NM",
    "1": "CR",
    "1.1": "DX",
    "6.1": "US",
    "66.4": "SEG",
}


@dataclass(frozen=True)
class Patient:
    """Whose image it is. No name or date leaves this folder of the library."""

    number: str
    name: str
    birth: str


@dataclass(frozen=True)
class Frame:
    """One image frame. Geometry is DICOM's own: LPS mm; `spacing_mm` is (between rows, between columns).

    region: texts and codes that may name the region, those of the series first, then of the body part and procedure.
    time: digits of the exam's date and time, as 20240503101500; the time, or all, is missing when it is unknown.
    """

    path: Path
    index: int
    series_uid: str
    study_uid: str
    patient: Patient
    time: str
    modality: str
    description: str
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples: int
    orientation_lps: tuple[float, ...] | None
    position_lps_mm: tuple[float, ...] | None
    spacing_mm: tuple[float, ...] | None
    step_mm: float | None
    location_mm: float | None
    echo_time_ms: float | None
    repetition_time_ms: float | None
    inversion_time_ms: float | None
    technique: str
    region: tuple[str, ...]
    rank: tuple[float, ...]
    slope: float
    intercept: float
    root: dict[str, Any]


def looks_like_dicom(start: bytes) -> bool:
    """Whether a file's first 132 bytes are DICOM: the DICM mark, or a bare data set of group 0002 or 0008."""
    if start[128:132] == b"DICM":
        return True
    group, element = start[:2], int.from_bytes(start[2:4], "little")
    length = int.from_bytes(start[4:8], "little")
    is_explicit = start[4:6].isalpha() and start[4:6].isupper()
    return len(start) >= 16 and group in (b"\x08\x00", b"\x02\x00") and element < 0x70 and (is_explicit or length < 256)


def read_frames(path: Path) -> list[Frame] | None:
    """The frames of a DICOM file, without their pixels; empty for a file that holds no image (a report, a directory).

    None when it is not a DICOM file. Raises whatever pydicom raises on damaged bytes: call it inside `reading`.
    """
    with path.open("rb") as stream:
        if not looks_like_dicom(stream.read(132)):
            return None
        dataset = _header(stream, _LAST_GROUP)
        if "NumberOfFrames" in dataset:
            dataset = _header(stream, _LAST_GROUP_OF_FRAMES)
    root = _values(dataset)
    if "Rows" not in dataset or "Columns" not in dataset:
        if len(dataset) < 2:
            raise InputError(f"Expected a DICOM file; {path.name} breaks off in its header")
        return []
    count = int(_number(root.get("NumberOfFrames")) or 1)
    if not 1 <= count <= MAX_SIDE:
        raise InputError(f"Expected 1 to {MAX_SIDE} frames; got {count} in {path.name}")
    shared, per_frame = (_items(dataset, keyword) or [{}] for keyword in _GROUPS)
    if len(per_frame) not in (1, count):
        raise InputError(f"Expected {count} frame descriptions; got {len(per_frame)} in {path.name}")
    if count > 1 and len(per_frame) == 1:
        root.pop("ImagePositionPatient", None)  # it holds for one frame
        per_frame = [{}] * count
    modality = _modality(root, dataset.file_meta)
    common = ChainMap(_flat(shared[0]), root)
    return [_frame(path, index, common.new_child(_flat(group)), modality) for index, group in enumerate(per_frame)]


def _header(stream: BinaryIO, last_group: int) -> Any:
    """The wanted elements up to a group. The others are skipped, so what is wrong in them does no harm."""
    from pydicom.filereader import read_partial

    stream.seek(0)
    return read_partial(stream, lambda tag, *_: tag >> 16 > last_group, force=True, specific_tags=list(_wanted()))


@cache
def _wanted() -> dict[int, tuple[str, str]]:
    """Tag to keyword and VR of all that is asked of a header."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tags = [(tag_for_keyword(keyword) or 0, keyword) for keyword in (*_KEYWORDS, *_ENHANCED_NAMES, *_MACROS, *_GROUPS)]
    return {tag: (keyword, dictionary_VR(tag)) for tag, keyword in tags}


def _values(dataset: Any) -> dict[str, Any]:
    """The wanted values that are there, other than sequences; numbers in text are left as text."""
    values = {}
    for element in dataset.values():  # as stored: pydicom converts what it is asked for, at ten times the cost
        keyword, vr = _wanted().get(element.tag, ("", "SQ"))
        if vr in _PLAIN_TEXT and isinstance(element.value, bytes):
            texts = [part.strip(" \0") for part in element.value.decode("latin-1").split("\\")]
            values[keyword] = texts if len(texts) > 1 else texts[0]
        elif keyword in _CODES:
            values[keyword] = [code for item in _items(dataset, keyword) for code in _code(item)]
        elif vr != "SQ":
            with suppress(Exception):  # whatever pydicom raises on a value that breaks its type's rules
                values[keyword] = dataset[element.tag].value
    return values


def _code(item: Any) -> list[str]:
    """The value and the meaning of a coded entry; nothing of one that is broken."""
    with suppress(Exception):  # whatever pydicom raises on a broken element
        return [str(item.get("CodeValue") or ""), str(item.get("CodeMeaning") or "")]
    return []


def _items(dataset: Any, keyword: str) -> Any:
    """The items of a sequence; none when it is missing or broken."""
    try:
        return dataset.get(keyword) or []
    except Exception:  # whatever pydicom raises on a broken sequence
        return []


def is_directory_file(path: Path) -> bool:
    """Whether this is a DICOMDIR, which lists a study's files and holds no image."""
    with path.open("rb") as stream:
        meta = _header(stream, 0).file_meta
    return str(meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY_CLASS


def _flat(group: Any) -> dict[str, Any]:
    """The attributes of a functional group, which lie one sequence deep. Private sequences repeat some otherwise."""
    flat: dict[str, Any] = {}
    for macro in _MACROS:
        for item in _items(group, macro)[:1]:
            flat |= {_ENHANCED_NAMES.get(keyword, keyword): value for keyword, value in _values(item).items()}
    return flat


def _modality(root: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    """Modality as stated, else by storage class, else CT for Hounsfield units, else empty."""
    if root.get("Modality"):
        return str(root["Modality"]).upper()
    stated = str(root.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID", ""))
    if (end := stated.removeprefix("1.2.840.10008.5.1.4.1.1.")) in _CLASSES:
        return _CLASSES[end]
    intercept = _number(root.get("RescaleIntercept")) or 0.0
    is_hounsfield = intercept <= -1000 or str(root.get("RescaleType", "")).upper() == "HU"
    return "CT" if is_hounsfield else ""


def _frame(path: Path, index: int, tags: Mapping[str, Any], modality: str) -> Frame:
    def text(keyword: str) -> str:
        return str(tags.get(keyword) or "").strip()

    ordering = ("TemporalPositionIdentifier", "TriggerTime", "EchoNumbers", "AcquisitionNumber", "InstanceNumber")
    return Frame(
        path=path,
        index=index,
        series_uid=text("SeriesInstanceUID"),
        study_uid=text("StudyInstanceUID"),
        patient=Patient(text("PatientID"), _letters(text("PatientName")), text("PatientBirthDate")),
        time=_time(tags),
        modality=modality,
        description=" ".join(filter(None, (text("SeriesDescription"), text("ProtocolName")))),
        image_type=tuple(part.upper() for part in _texts(tags.get("ImageType"))),
        rows=int(_number(tags["Rows"]) or 0),
        columns=int(_number(tags["Columns"]) or 0),
        samples=int(_number(tags.get("SamplesPerPixel")) or 1),
        orientation_lps=_numbers(tags.get("ImageOrientationPatient"), 6),
        position_lps_mm=_numbers(tags.get("ImagePositionPatient"), 3),
        spacing_mm=_numbers(tags.get("PixelSpacing"), 2),
        step_mm=_number(tags.get("SpacingBetweenSlices")) or _number(tags.get("SliceThickness")),
        location_mm=_number(tags.get("SliceLocation")),
        echo_time_ms=_number(tags.get("EchoTime")),
        repetition_time_ms=_number(tags.get("RepetitionTime")),
        inversion_time_ms=_number(tags.get("InversionTime")),
        technique=" ".join(word for key in ("ScanningSequence", "ScanOptions") for word in _texts(tags.get(key))),
        region=(
            *(text("SeriesDescription"), text("ProtocolName")),
            *tags.get("AnatomicRegionSequence", ()),
            text("BodyPartExamined"),
            *tags.get("ProcedureCodeSequence", ()),
        ),
        rank=tuple(_number(tags.get(keyword)) or 0.0 for keyword in ordering),
        slope=_number(tags.get("RescaleSlope")) or 1.0,  # a slope of 0 would leave nothing
        intercept=_number(tags.get("RescaleIntercept")) or 0.0,
        root=dict(tags.maps[-1]) if isinstance(tags, ChainMap) else {},
    )


def _letters(name: str) -> str:
    """A name as it can be compared: some write it with carets, some with blanks, some in capitals."""
    return re.sub(r"[\W_]+", "", name).lower()


def _time(tags: Mapping[str, Any]) -> str:
    """Of the study, else of the series, the acquisition or the image."""
    for kind in ("Study", "Series", "Acquisition", "Content"):
        day, time = (re.sub(r"\D", "", str(tags.get(f"{kind}{part}") or "")) for part in ("Date", "Time"))
        if len(day) == 8 and day > "1900":  # some anonymize with zeros
            return day + time[:6]
    return re.sub(r"\D.*", "", str(tags.get("AcquisitionDateTime") or ""))[:14]


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` numbers, or None when they are not there. NaN passes: the geometry names it."""
    if value is None or isinstance(value, (str, int, float)) or len(value) != count:
        return None
    numbers = [_float(part) for part in value]
    return None if None in numbers else tuple(number for number in numbers if number is not None)


def _number(value: Any) -> float | None:
    """The first number, or None when there is none that is finite."""
    first = value if value is None or isinstance(value, (str, int, float)) else next(iter(value), None)
    number = _float(first)
    return None if number is None or not math.isfinite(number) else number


def _float(value: Any) -> float | None:
    """A number, also with a decimal comma, which PS3.5 does not allow and some write; None for what is none."""
    try:
        return float(str(value).replace(",", ".") if isinstance(value, str) else value)
    except (TypeError, ValueError):
        return None
