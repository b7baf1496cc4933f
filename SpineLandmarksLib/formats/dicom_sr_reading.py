"""A DICOM structured report read back: by pydicom alone, ours or one that another program has made or corrected.

A point without a status of ours was put there by a person. Pixels are not read back: a reader wants those of the slice
that is shown; where a report has no others, the images beside it tell the millimetres.
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    System,
    checked_landmark,
    filled,
    ras_point,
    rounded,
    stated_set,
)
from SpineLandmarksLib.formats.sr_codes import (
    ANSWERS,
    CERTAINTY,
    COMMENT,
    CORNER_SITES,
    NAMES,
    NUMBERINGS,
    OURS,
    RADIUS,
    REVIEW,
    STATUS,
    STATUS_VALUES,
    WHOLE,
    Coded,
)
from SpineLandmarksLib.formats.strict_json import short_repr
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Point

if TYPE_CHECKING:
    from pydicom import Dataset

TEMPLATE = "1500"


def read_sr(path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11) -> LandmarkSet:
    """Read a report of template TID 1500, ours or one that another program has made or corrected.

    Args:
        path: of the file.
        schema: names in the order that is wanted.

    Returns:
        Positions in RAS mm, no pixels; names that the report lacks are `not_visible`.

    Raises:
        FormatError: no report of TID 1500, sites that are not of `SITES`, points of several frames of reference,
            points in pixels alone, impossible values.
    """
    return filled(parse_sr(path, schema), schema)


def parse_sr(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, frame: System | None = None
) -> LandmarkSet:
    """What a report says. frame: of its positions, which should be LPS. Raises as `read_sr`."""
    where = os.fspath(path)
    report = _report(where)
    groups = [item for item in _below(report) if _code(item) == ("125007", "DCM")]
    spoken = [group for group in groups if _is_point(group)]
    if not spoken:
        raise FormatError(f"{where}: expected landmarks at sites of SNOMED CT; the report has none")
    _require_one_frame(report, spoken, where)
    whole = next((group for group in groups if _value(group, ("121071", "DCM")) == WHOLE[:2]), None)
    review = None if whole is None else _answer(whole)
    probabilities = {shift: _measured(whole, name, where) for shift, name in NUMBERINGS.items()} if whole else {}
    numberings = [(shift, rounded(p / 100, CONFIDENCE_DIGITS)) for shift, p in probabilities.items() if p is not None]
    return stated_set(
        [_read_landmark(group, frame or "LPS", where) for group in spoken],
        schema,
        path,
        input=where,
        series_uid=_series(report),
        bundle=_bundle(groups),
        needs_review=review,
        warnings=tuple(_texts(whole, COMMENT)) if whole else (),
        numberings=tuple(sorted(numberings, key=lambda one: -one[1])),
    )


def is_dicom_image(path: str | os.PathLike[str]) -> bool:
    """Whether this is a DICOM file that states another modality than that of a report; what is damaged is none."""
    import pydicom

    if not os.fspath(path).lower().endswith(".dcm"):
        return False
    try:
        return str(pydicom.dcmread(path, specific_tags=["Modality"], stop_before_pixels=True).Modality) != "SR"
    except Exception:  # whatever pydicom raises on damaged bytes: reading it as a report will say what is wrong
        return False


def frame_of_reference(path: str | os.PathLike[str]) -> str:
    """UID of the frame of reference that a report's points are in; empty where it has none. Raises as `read_sr`."""
    report = _report(os.fspath(path))
    return next((str(item.get("ReferencedFrameOfReferenceUID", "")) for item in _points(report, "SCOORD3D")), "")


def _report(where: str) -> Dataset:
    """The whole file. Raises FormatError where it is no report of the template."""
    import pydicom

    expected = f"{where}: expected a DICOM report of template TID {TEMPLATE} (measurement report)"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            report = pydicom.dcmread(where, stop_before_pixels=True)
            modality, templates = str(report.get("Modality", "")), report.get("ContentTemplateSequence") or [{}]
            list(report.iterall())  # sequences are parsed when they are asked for
    except OSError as error:
        raise FormatError(f"Could not read {where}: {error.strerror or error}") from error
    except Exception as error:  # whatever pydicom raises on damaged bytes
        raise FormatError(
            f"{expected}; it is damaged or no DICOM file: {' '.join(str(error).split())[:200]}"
        ) from error
    if modality != "SR":
        raise FormatError(f"{expected}; got {modality or 'no'} modality. Landmarks of images are not read")
    template = str(templates[0].get("TemplateIdentifier", ""))
    if template != TEMPLATE:
        raise FormatError(f"{expected}; got template {template or 'none'}")
    return report


def _below(item: Dataset) -> Iterator[Dataset]:
    """All content below an item."""
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _below(child)


def _code(item: Dataset, of: str = "ConceptNameCodeSequence") -> tuple[str, str]:
    """Value and scheme of a coded entry; empty where there is none."""
    entry = (item.get(of) or [{}])[0]
    value = entry.get("CodeValue") or entry.get("LongCodeValue") or entry.get("URNCodeValue") or ""
    return str(value), str(entry.get("CodingSchemeDesignator") or "")


def _own(group: Dataset, name: Coded | tuple[str, str]) -> Iterator[Dataset]:
    """Items of a group by the code of their name."""
    return (item for item in group.get("ContentSequence") or () if _code(item) == tuple(name[:2]))


def _value(group: Dataset, name: Coded | tuple[str, str]) -> tuple[str, str] | None:
    return next((_code(item, "ConceptCodeSequence") for item in _own(group, name)), None)


def _points(group: Dataset, kind: str) -> list[Dataset]:
    """Points of a kind, as items of the group or of what is inferred from them."""
    return [item for item in _below(group) if item.get("ValueType") == kind and item.get("GraphicType") == "POINT"]


def _is_point(group: Dataset) -> bool:
    return bool(_points(group, "SCOORD3D") or _points(group, "SCOORD") or _value(group, STATUS))


def _require_one_frame(report: Dataset, groups: Iterable[Dataset], where: str) -> None:
    found = {str(item.get("ReferencedFrameOfReferenceUID", "")) for one in groups for item in _points(one, "SCOORD3D")}
    stated = {str(item.get("UID", "")) for item in _below(report) if _code(item) == ("112227", "DCM")}
    if len(found | stated) > 1:
        raise FormatError(
            f"{where}: expected points of one frame of reference; got {', '.join(sorted(found | stated))}"
        )


def _read_landmark(group: Dataset, frame: System, where: str) -> Landmark:
    name = _site(group, where)
    at = f"{where}, {name}"
    position = _position(group, frame, at, where)
    certainty = _measured(group, CERTAINTY, at)
    value = _value(group, STATUS)
    if value is not None and (value[1] != OURS or value[0] not in STATUS_VALUES):
        raise FormatError(f"{at}: expected a status of {', '.join(STATUS_VALUES)}; got {short_repr(value[0])}")
    return checked_landmark(
        at,
        name,
        status=value[0] if value else "corrected",  # a point of another program was put there by a person
        position_ras_mm=position,
        confidence=None if certainty is None else rounded(certainty / 100, CONFIDENCE_DIGITS),
        radius95_mm=_measured(group, RADIUS, at),
        needs_review=_answer(group),
    )


def _site(group: Dataset, where: str) -> str:
    """The landmark that the finding site of a group means."""
    value, scheme = _value(group, ("363698007", "SCT")) or ("", "")
    if scheme == "SCT" and value in NAMES:
        return NAMES[value]
    if scheme == OURS and value in CORNER_SITES:
        return value
    got = f"{value or 'none'} of {scheme}" if scheme else "none"
    raise FormatError(f"{where}: expected finding sites of SNOMED CT (SCT) from T12/L1 to L5/S1; got {short_repr(got)}")


def _position(group: Dataset, frame: System, at: str, where: str) -> Point | None:
    points = [item.get("GraphicData") for item in _points(group, "SCOORD3D")]
    points = points or [_from_image(item, at, where) for item in _points(group, "SCOORD")]
    if not points:
        return None
    data = points[0]
    if any(other != data for other in points):
        raise FormatError(f"{at}: expected one point; got several")
    values = tuple(map(float, data)) if isinstance(data, Iterable) else ()
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise FormatError(f"{at}: expected three finite coordinates; got {short_repr(list(values))}")
    return ras_point(values, frame)


def _from_image(item: Dataset, at: str, where: str) -> list[float]:
    """LPS mm of a point in pixels (SCOORD), by the header of its image, which must lie beside the report.

    Raises FormatError where it does not. Source: DICOM PS3.3 C.7.6.2.1.1, and C.18.6 for the corner that pixels count
    from.
    """
    reference: Any = next((one for below in _below(item) for one in below.get("ReferencedSOPSequence") or ()), {})
    image = _image_beside(where, str(reference.get("ReferencedSOPInstanceUID", "")))
    try:
        x, y = (float(value) - 0.5 for value in item.GraphicData)
        row, column = np.reshape(np.array(image.ImageOrientationPatient, dtype=float), (2, 3))
        between_rows, between_columns = map(float, image.PixelSpacing)
        corner = np.array(image.ImagePositionPatient, dtype=float)
    except (AttributeError, TypeError, ValueError) as error:
        raise FormatError(
            f"{at}: expected a point in patient millimetres (SCOORD3D), or its image with a place beside the report; "
            "got pixels of an image alone"
        ) from error
    return [float(value) for value in corner + x * between_columns * row + y * between_rows * column]


def _image_beside(where: str, uid: str) -> Any:
    """Header of an image in the folder of the report; None where it is not there."""
    import pydicom

    wanted = ["SOPInstanceUID", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing"]
    for file in sorted(Path(where).parent.iterdir()) if uid else ():
        with contextlib.suppress(Exception):  # whatever pydicom raises on what is no DICOM file
            header = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=wanted)
            if header.SOPInstanceUID == uid:
                return header
    return None


def _measured(group: Dataset, name: Coded, at: str) -> float | None:
    """A number by its name; its unit must be the one we write."""
    for item in _own(group, name):
        entry = (item.get("MeasuredValueSequence") or [{}])[0]
        unit = _code(entry, "MeasurementUnitsCodeSequence") if entry else ("", "")
        wanted = "mm" if name == RADIUS else "%"
        try:
            value = float(entry.get("NumericValue"))
        except (TypeError, ValueError):
            value = math.nan
        if unit != (wanted, "UCUM") or not (math.isfinite(value) and value >= 0):
            raise FormatError(f"{at}: expected '{name[2]}' in {wanted}, 0 or more; got {value} {unit[0]}")
        return value
    return None


def _answer(group: Dataset) -> bool | None:
    value = _value(group, REVIEW)
    return next((answer for answer, coded in ANSWERS.items() if coded[:2] == value), None)


def _texts(group: Dataset, name: Coded) -> Iterator[str]:
    return (str(item.get("TextValue", "")) for item in _own(group, name))


def _bundle(groups: Iterable[Dataset]) -> str | None:
    """name@version of the first group that names an algorithm."""
    for group in groups:
        names = [*_texts(group, ("111001", "DCM", ""))]
        versions = [*_texts(group, ("111003", "DCM", ""))]
        if names and versions:
            return f"{names[0]}@{versions[0]}"
    return None


def _series(report: Dataset) -> str | None:
    """The one series that the report refers to; None for several."""
    series = {
        str(one.get("SeriesInstanceUID", ""))
        for study in report.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for one in study.get("ReferencedSeriesSequence") or ()
    }
    return series.pop() if len(series) == 1 else None
