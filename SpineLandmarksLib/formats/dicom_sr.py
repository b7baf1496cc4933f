"""A DICOM structured report (Comprehensive 3D SR, template TID 1500): one measurement group (TID 1501) a landmark.

A group has the finding site in SNOMED CT, the point in pixels of the image that is nearest to it (SCOORD) and in
millimetres of the patient (SCOORD3D), the certainty of its level in %, the radius that holds it in 95 % in mm, its
status, and the algorithm where a model found it. A landmark that cannot be seen has a group without a point. One more
group speaks of the set: the probabilities of its numberings, whether it needs review, its warnings as comments.

The observer is a device, and the person who corrected. A report that a person has decided on to the last landmark is
final and verified; every other is preliminary. What is the same has the same UID, so that a PACS takes it in once.

Pixels are not read back: a reader wants those of the slice that is shown. Read by pydicom alone, written by highdicom.
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

from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.dicom_plane import (
    PROGRAM,
    VERSION,
    ImagePlane,
    derived_uid,
    nearest_plane,
    require_highdicom,
    source_header,
)
from SpineLandmarksLib.formats.json_result import landmark_as_json
from SpineLandmarksLib.formats.shared import (
    CONFIDENCE_DIGITS,
    MM_DIGITS,
    System,
    checked_landmark,
    filled,
    ras_point,
    rounded,
    stated_set,
)
from SpineLandmarksLib.formats.sr_codes import (
    ANSWERS,
    CENTER,
    CERTAINTY,
    COMMENT,
    NAMES,
    NUMBERINGS,
    OURS,
    POINT,
    PROCEDURE,
    RADIUS,
    REVIEW,
    SITES,
    SPINE,
    STATUS,
    STATUS_VALUES,
    WHOLE,
    Coded,
)
from SpineLandmarksLib.formats.strict_json import short_repr
from SpineLandmarksLib.geometry import lps_from_ras
from SpineLandmarksLib.landmarks import LUMBAR11, UNREVIEWED, Landmark, LandmarkSet, Point

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, Comprehensive3DSR, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset

TEMPLATE, SERIES_NUMBER = "1500", 9001


def write_sr(
    landmarks: LandmarkSet,
    planes: Sequence[ImagePlane],
    path: str | os.PathLike[str],
    author: str = "",
    model_sha256: str = "",
) -> None:
    """Write the report of a study.

    Args:
        landmarks: positions in RAS mm.
        planes: the images of the series that they were found on.
        path: of the file, which is replaced whole.
        author: who corrected; empty where nobody did.
        model_sha256: of the bundle that found them, if it is known.

    Raises:
        LandmarkError: names without a SNOMED CT code, or none of the points has millimetres.
        GeometryError: a point that is on none of the images.
        OutputError: highdicom is missing, no images, or the file cannot be written; nothing is changed.

    Source:
        DICOM PS3.16, TID 1500 and TID 1501
    """
    report = make_report(landmarks, planes, author, model_sha256)
    with write_atomically(path) as file:
        report.save_as(file, enforce_file_format=True)


def make_report(
    landmarks: LandmarkSet, planes: Sequence[ImagePlane], author: str = "", model_sha256: str = ""
) -> Comprehensive3DSR:
    """The report as highdicom's object; arguments and errors of `write_sr`."""
    require_highdicom()
    from highdicom.sr import Comprehensive3DSR, MeasurementReport

    _require_codes(landmarks)
    header = source_header(planes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the source images break themselves
        content = MeasurementReport(
            observation_context=_observers(author),
            procedure_reported=_concept(PROCEDURE),
            imaging_measurements=[
                *(_landmark_group(mark, landmarks, planes, model_sha256) for mark in landmarks),
                _whole_group(landmarks, header, model_sha256),
            ],
        )
        is_verified = bool(author) and not any(mark.status in UNREVIEWED for mark in landmarks)
        return Comprehensive3DSR(
            evidence=[plane.header for plane in planes],
            content=content,
            series_instance_uid=derived_uid(header.SeriesInstanceUID, "report"),
            series_number=SERIES_NUMBER,
            sop_instance_uid=_uid_of(landmarks, header, author),
            instance_number=1,
            manufacturer=PROGRAM,
            manufacturer_model_name=PROGRAM,
            software_versions=VERSION,
            device_serial_number=landmarks.bundle or "none",
            series_description="Lumbar landmarks, research use only",
            specific_character_set="ISO_IR 192",
            is_complete=True,
            is_final=is_verified,
            is_verified=is_verified,
            verifying_observer_name=_person_name(author) if is_verified else None,
            verifying_organization=str(header.get("InstitutionName") or "unknown") if is_verified else None,
        )


def _require_codes(landmarks: LandmarkSet) -> None:
    unknown = [name for name in landmarks.names if name not in SITES]
    if unknown:
        raise LandmarkError(f"Expected names that SNOMED CT has a code for: {', '.join(SITES)}; got {unknown[0]!r}")
    if all(mark.position_ras_mm is None for mark in landmarks):
        raise LandmarkError("Expected a point in patient millimetres to report; got none")


def _uid_of(landmarks: LandmarkSet, header: Dataset, author: str) -> str:
    said = [landmark_as_json(mark) for mark in landmarks]
    return derived_uid(header.SeriesInstanceUID, landmarks.bundle, author, said, landmarks.warnings)


def _observers(author: str) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("device"), name=PROGRAM, manufacturer_name=PROGRAM, model_name=VERSION
    )
    context = ObservationContext(ObserverContext(codes.DCM.Device, device))
    if author:
        person = PersonObserverIdentifyingAttributes(name=_person_name(author))
        context.extend(ObserverContext(codes.DCM.Person, person))
    return context


def _person_name(author: str) -> str:
    """As DICOM writes names, the family name first.

    >>> _person_name("A. B. Reader")
    'Reader^A. B.'
    """
    *given, family = author.replace("^", " ").replace("=", " ").replace("\\", " ").split()
    return f"{family}^{' '.join(given)}"


def _landmark_group(
    mark: Landmark, landmarks: LandmarkSet, planes: Sequence[ImagePlane], model_sha256: str
) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import FindingSite, MeasurementsAndQualitativeEvaluations, QualitativeEvaluation
    from highdicom.sr.value_types import ContentSequence

    measured = [] if mark.confidence is None else [_number(CERTAINTY, 100 * mark.confidence, "%")]
    measured += [] if mark.radius95_mm is None else [_number(RADIUS, mark.radius95_mm, "mm")]
    judged = [(STATUS, STATUS_VALUES[mark.status])]
    judged += [] if mark.needs_review is None else [(REVIEW, ANSWERS[mark.needs_review])]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking(mark.name, source_header(planes)),
        finding_type=_concept(POINT),
        algorithm_id=_algorithm(landmarks.bundle, model_sha256) if mark.status in UNREVIEWED else None,
        finding_sites=[FindingSite(_concept(SITES[mark.name]))],
        measurements=measured,
        qualitative_evaluations=[QualitativeEvaluation(_concept(name), _concept(value)) for name, value in judged],
    )
    if mark.position_ras_mm is not None:
        for item in measured[:1]:  # viewers look for the point below the first number, if there is one
            below = _coordinates(mark.position_ras_mm, planes, "INFERRED FROM")
            item[0].ContentSequence = ContentSequence([*below])
        group[0].ContentSequence.extend(_coordinates(mark.position_ras_mm, planes, "CONTAINS"))
    return group


def _coordinates(position_ras_mm: Point, planes: Sequence[ImagePlane], relationship: str) -> Iterator[Any]:
    """The point on the image that is nearest to it, and in the patient. SCOORD counts from a pixel's corner."""
    from highdicom.sr import Scoord3DContentItem, ScoordContentItem, SourceImageForRegion
    from highdicom.sr.value_types import ContentSequence

    plane, (x, y) = nearest_plane(planes, position_ras_mm)
    header = plane.header
    corner_xy = np.array([[x + 0.5, y + 0.5]])
    on_image = ScoordContentItem(_concept(CENTER), "POINT", corner_xy, relationship_type=relationship)
    frames = None if plane.frame is None else [plane.frame]
    image = SourceImageForRegion(header.SOPClassUID, header.SOPInstanceUID, frames)
    on_image.ContentSequence = ContentSequence([image])
    yield on_image
    if header.get("FrameOfReferenceUID"):
        lps = lps_from_ras(position_ras_mm)[None]
        yield Scoord3DContentItem(
            _concept(CENTER), "POINT", lps, header.FrameOfReferenceUID, relationship_type=relationship
        )


def _whole_group(landmarks: LandmarkSet, header: Dataset, model_sha256: str) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import FindingSite, MeasurementsAndQualitativeEvaluations, QualitativeEvaluation, TextContentItem

    review = [] if landmarks.needs_review is None else [(REVIEW, ANSWERS[landmarks.needs_review])]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("all", header),
        finding_type=_concept(WHOLE),
        algorithm_id=_algorithm(landmarks.bundle, model_sha256),
        finding_sites=[FindingSite(_concept(SPINE))],
        measurements=[
            _number(NUMBERINGS[shift], 100 * probability, "%") for shift, probability in landmarks.numberings
        ],
        qualitative_evaluations=[QualitativeEvaluation(_concept(name), _concept(value)) for name, value in review],
    )
    said = [TextContentItem(_concept(COMMENT), text, relationship_type="CONTAINS") for text in landmarks.warnings]
    group[0].ContentSequence.extend(said)
    return group


def _tracking(name: str, header: Dataset) -> Any:
    """The same landmark of the same series has the same UID in every report, corrected or not."""
    from highdicom.sr import TrackingIdentifier

    return TrackingIdentifier(
        uid=derived_uid(header.SeriesInstanceUID, "landmark", name), identifier=f"SpineLandmarks {name}"
    )


def _algorithm(bundle: str | None, model_sha256: str) -> Any:
    from highdicom.sr import AlgorithmIdentification

    if bundle is None:
        return None
    name, _, version = bundle.rpartition("@")
    parameters = [f"bundle sha256 {model_sha256}"] if model_sha256 else None
    return AlgorithmIdentification(name=name or version, version=version, parameters=parameters)


def _number(name: Coded, value: float, unit: str) -> Any:
    from highdicom.sr import CodedConcept, Measurement

    meaning = {"%": "percent", "mm": "millimeter"}[unit]
    digits = CONFIDENCE_DIGITS - 2 if unit == "%" else MM_DIGITS
    return Measurement(_concept(name), rounded(value, digits), CodedConcept(unit, "UCUM", meaning))


def _concept(coded: Coded) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(*coded)


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
