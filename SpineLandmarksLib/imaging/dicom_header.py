"""One record per DICOM image frame, the same for classic files and for enhanced multi-frame files.

In an enhanced file an attribute may stand in the frame's functional groups, in the shared ones, or in the file's root;
they are looked up in that order, and a classic file has the root only.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.volume import MAX_VOXELS

#: Names that enhanced files use for what classic files call otherwise.
_ENHANCED_NAMES = {
    "EffectiveEchoTime": "EchoTime",
    "FrameType": "ImageType",
    "InversionTimes": "InversionTime",
    "TemporalPositionIndex": "TemporalPositionIdentifier",
}
_DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
_CLASSES = {  # Modality by storage class, for files without a Modality
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.2.1": "CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "CT",
    "1.2.840.10008.5.1.4.1.1.128": "PT",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.1": "CR",
    "1.2.840.10008.5.1.4.1.1.1.1": "DX",
    "1.2.840.10008.5.1.4.1.1.6.1": "US",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
}


@dataclass(frozen=True)
class Frame:
    """One image frame. Geometry is DICOM's own: LPS mm; `spacing_mm` is (between rows, between columns)."""

    path: Path
    index: int
    series_uid: str
    study_uid: str
    patient_id: str
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
    echo_time_ms: float | None
    repetition_time_ms: float | None
    inversion_time_ms: float | None
    technique: str
    region: str
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


def read_frames(path: Path) -> list[Frame]:
    """The frames of a DICOM file, without their pixels; empty for a file that holds no image (a report, a directory).

    Raises whatever pydicom raises on damaged bytes: call it inside `reading`.
    """
    import pydicom

    dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
    if "Rows" not in dataset or "Columns" not in dataset:
        if len(dataset) < 2:
            raise InputError(f"Expected a DICOM file; {path.name} breaks off in its header")
        return []
    count = int(dataset.get("NumberOfFrames") or 1)
    if count < 1 or count > MAX_VOXELS:
        raise InputError(f"Expected a number of frames above 0; got {count} in {path.name}")
    root = {element.keyword: element.value for element in dataset if element.keyword}
    shared = _flat(dataset.get("SharedFunctionalGroupsSequence", [{}])[0])
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or [{}]
    if len(per_frame) not in (1, count):
        raise InputError(f"Expected {count} frame descriptions; got {len(per_frame)} in {path.name}")
    if count > 1 and len(per_frame) == 1:
        root = {key: value for key, value in root.items() if key != "ImagePositionPatient"}  # it holds for one frame
        per_frame = [{}] * count
    modality = _modality(dataset)
    return [
        _frame(path, index, ChainMap(_flat(group), shared, root), modality) for index, group in enumerate(per_frame)
    ]


def is_directory_file(path: Path) -> bool:
    """Whether this is a DICOMDIR, which lists a study's files and holds no image."""
    import pydicom

    meta = pydicom.filereader.read_file_meta_info(path)
    return str(meta.get("MediaStorageSOPClassUID", "")) == _DIRECTORY_CLASS


def _flat(group: Any) -> dict[str, Any]:
    """The attributes of a functional group, which lie one sequence deep."""
    flat: dict[str, Any] = {}
    for element in group:
        if element.VR == "SQ" and element.value:
            for inner in element.value[0]:
                flat[_ENHANCED_NAMES.get(inner.keyword, inner.keyword)] = inner.value
    return flat


def _modality(dataset: Any) -> str:
    """Modality as stated, else by storage class, else CT for Hounsfield units, else empty."""
    if dataset.get("Modality"):
        return str(dataset.Modality).upper()
    stated = dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID", "")
    if str(stated) in _CLASSES:
        return _CLASSES[str(stated)]
    intercept = _number(dataset.get("RescaleIntercept")) or 0.0
    is_hounsfield = intercept <= -1000 or str(dataset.get("RescaleType", "")).upper() == "HU"
    return "CT" if is_hounsfield else ""


def _frame(path: Path, index: int, tags: Mapping[str, Any], modality: str) -> Frame:
    def text(keyword: str) -> str:
        return str(tags.get(keyword) or "").strip()

    ordering = ("TemporalPositionIdentifier", "EchoNumbers", "AcquisitionNumber", "InstanceNumber")
    return Frame(
        path=path,
        index=index,
        series_uid=text("SeriesInstanceUID"),
        study_uid=text("StudyInstanceUID"),
        patient_id=text("PatientID"),
        modality=modality,
        description=" ".join(filter(None, (text("SeriesDescription"), text("ProtocolName")))),
        image_type=tuple(part.upper() for part in _texts(tags.get("ImageType"))),
        rows=int(tags["Rows"]),
        columns=int(tags["Columns"]),
        samples=int(tags.get("SamplesPerPixel") or 1),
        orientation_lps=_numbers(tags.get("ImageOrientationPatient"), 6),
        position_lps_mm=_numbers(tags.get("ImagePositionPatient"), 3),
        spacing_mm=_numbers(tags.get("PixelSpacing"), 2),
        step_mm=_number(tags.get("SpacingBetweenSlices")) or _number(tags.get("SliceThickness")),
        echo_time_ms=_number(tags.get("EchoTime")),
        repetition_time_ms=_number(tags.get("RepetitionTime")),
        inversion_time_ms=_number(tags.get("InversionTime")),
        technique=" ".join(word for key in ("ScanningSequence", "ScanOptions") for word in _texts(tags.get(key))),
        region=text("BodyPartExamined"),
        rank=tuple(_number(tags.get(keyword)) or 0.0 for keyword in ordering),
        slope=1.0 if (slope := _number(tags.get("RescaleSlope"))) is None else slope,
        intercept=_number(tags.get("RescaleIntercept")) or 0.0,
        root=dict(tags.maps[-1]) if isinstance(tags, ChainMap) else {},
    )


def _texts(value: Any) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(part) for part in value]


def _numbers(value: Any, count: int) -> tuple[float, ...] | None:
    """`count` numbers, or None when they are not there. NaN passes: the geometry names it."""
    if value is None or isinstance(value, (str, int, float)) or len(value) != count:
        return None
    return tuple(float(part) for part in value)


def _number(value: Any) -> float | None:
    """The first number, or None when there is none that is finite."""
    if value is None or value == "":
        return None
    first = value if isinstance(value, (str, int, float)) else next(iter(value), None)
    return None if first is None or not math.isfinite(float(first)) else float(first)
