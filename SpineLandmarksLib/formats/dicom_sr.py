"""A DICOM structured report (Comprehensive 3D SR, template TID 1500): one measurement group (TID 1501) a landmark.

A group has the finding site in SNOMED CT, the point in pixels of the image that is nearest to it (SCOORD) and in
millimetres of the patient (SCOORD3D), the certainty of its level in %, the radius that holds it in 95 % in mm, its
status, and the algorithm where a model found it. A landmark that cannot be seen has a group without a point. One more
group speaks of the set: the probabilities of its numberings, whether it needs review, its warnings as comments.

Corners of endplates have groups as landmarks have, at sites of our own scheme. What is measured by them is in one
group: numbers with their interval and what is usual; those that are absent, and grades, are told in comments.

The observer is a device, and the person who corrected. A report that a person has decided on to the last landmark is
final and verified; every other is preliminary. What is the same has the same UID, so that a PACS takes it in once.

Written by highdicom; `dicom_sr_reading` reads it.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from SpineLandmarksLib.errors import LandmarkError
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
from SpineLandmarksLib.formats.shared import CONFIDENCE_DIGITS, MM_DIGITS, rounded
from SpineLandmarksLib.formats.sr_codes import (
    ANSWERS,
    CENTER,
    CERTAINTY,
    COMMENT,
    CORNER_SITES,
    HIGH95,
    LOW95,
    MEASURED,
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
    USUAL_HIGH,
    USUAL_LOW,
    WHOLE,
    Coded,
)
from SpineLandmarksLib.geometry import lps_from_ras
from SpineLandmarksLib.landmarks import UNREVIEWED, Landmark, LandmarkSet, Point
from SpineLandmarksLib.measurement import Measurement

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, Comprehensive3DSR, MeasurementsAndQualitativeEvaluations
    from pydicom import Dataset

SERIES_NUMBER = 9001
_ALL_SITES = {**SITES, **CORNER_SITES}
#: Units of UCUM.
_UNITS = {"%": "percent", "mm": "millimeter", "deg": "degree", "1": "no units"}


def write_sr(
    landmarks: LandmarkSet,
    planes: Sequence[ImagePlane],
    path: str | os.PathLike[str],
    author: str = "",
    model_sha256: str = "",
    measurements: Sequence[Measurement] = (),
) -> None:
    """Write the report of a study.

    Args:
        landmarks: positions in RAS mm.
        planes: the images of the series that they were found on.
        path: of the file, which is replaced whole.
        author: who corrected; empty where nobody did.
        model_sha256: of the bundle that found them, if it is known.
        measurements: of the study; those by corners are reported.

    Raises:
        LandmarkError: names without a SNOMED CT code, or none of the points has millimetres.
        GeometryError: a point that is on none of the images.
        OutputError: highdicom is missing, no images, or the file cannot be written; nothing is changed.

    Source:
        DICOM PS3.16, TID 1500 and TID 1501
    """
    report = make_report(landmarks, planes, author, model_sha256, measurements)
    with write_atomically(path) as file:
        report.save_as(file, enforce_file_format=True)


def make_report(
    landmarks: LandmarkSet,
    planes: Sequence[ImagePlane],
    author: str = "",
    model_sha256: str = "",
    measurements: Sequence[Measurement] = (),
) -> Comprehensive3DSR:
    """The report as highdicom's object; arguments and errors of `write_sr`."""
    require_highdicom()
    from highdicom.sr import Comprehensive3DSR, MeasurementReport

    _require_codes(landmarks)
    header, measured = source_header(planes), [one for one in measurements if one.points]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the source images break themselves
        content = MeasurementReport(
            observation_context=_observers(author),
            procedure_reported=_concept(PROCEDURE),
            imaging_measurements=[
                *(_landmark_group(mark, landmarks, planes, model_sha256) for mark in landmarks.points),
                *([_measured_group(measured, header)] if measured else []),
                _whole_group(landmarks, header, model_sha256),
            ],
        )
        is_verified = bool(author) and not any(mark.status in UNREVIEWED for mark in landmarks.points)
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
    unknown = [mark.name for mark in landmarks.points if mark.name not in _ALL_SITES]
    if unknown:
        raise LandmarkError(f"Expected names that SNOMED CT has a code for: {', '.join(SITES)}; got {unknown[0]!r}")
    if all(mark.position_ras_mm is None for mark in landmarks):
        raise LandmarkError("Expected a point in patient millimetres to report; got none")


def _uid_of(landmarks: LandmarkSet, header: Dataset, author: str) -> str:
    said = [landmark_as_json(mark) for mark in landmarks.points]
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
        finding_sites=[FindingSite(_concept(_ALL_SITES[mark.name]))],
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


def _measured_group(measurements: Sequence[Measurement], header: Dataset) -> MeasurementsAndQualitativeEvaluations:
    from highdicom.sr import FindingSite, MeasurementsAndQualitativeEvaluations, TextContentItem

    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=_tracking("measurements", header),
        finding_type=_concept(MEASURED),
        finding_sites=[FindingSite(_concept(SPINE))],
        measurements=[_measured_number(one) for one in measurements if one.value is not None],
    )
    said = [f"{one.name}: {one.grade}" for one in measurements if one.grade]
    for reason in dict.fromkeys(one.reason for one in measurements if one.reason):
        said.append(f"Absent, as {reason}: {', '.join(one.name for one in measurements if one.reason == reason)}")
    comments = [TextContentItem(_concept(COMMENT), text, relationship_type="CONTAINS") for text in said]
    group[0].ContentSequence.extend(comments)
    return group


def _measured_number(one: Measurement) -> Any:
    """The value with the ends of its interval and of what is usual as properties."""
    from highdicom.sr import CodedConcept, NumContentItem
    from highdicom.sr.value_types import ContentSequence

    assert one.value is not None
    number = _number((_slug(one.name), OURS, one.name[:64]), one.value, one.unit)
    ends = dict(zip((LOW95, HIGH95), one.interval95 or (), strict=False))
    ends |= {USUAL_LOW: one.usual.low, USUAL_HIGH: one.usual.high} if one.usual else {}
    unit = CodedConcept(one.unit, "UCUM", _UNITS[one.unit])
    known = [
        NumContentItem(_concept(name), rounded(end, MM_DIGITS), unit, relationship_type="HAS PROPERTIES")
        for name, end in ends.items()
    ]
    if known:
        number[0].ContentSequence = ContentSequence(known)
    return number


def _slug(name: str) -> str:
    """The code of a measurement.

    >>> _slug("Disc height L4-L5 (Dabbs)")
    'disc-height-l4-l5-dabbs'
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


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
    from highdicom.sr import CodedConcept
    from highdicom.sr import Measurement as CodedMeasurement

    digits = CONFIDENCE_DIGITS - 2 if unit == "%" else MM_DIGITS
    return CodedMeasurement(_concept(name), rounded(value, digits), CodedConcept(unit, "UCUM", _UNITS[unit]))


def _concept(coded: Coded) -> CodedConcept:
    from highdicom.sr import CodedConcept

    return CodedConcept(*coded)
