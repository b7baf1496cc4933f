"""A report and its capture that come after others of the same study, since more images of it have come.

The report refers to the one that it replaces (Predecessor Documents Sequence, PS3.3 C.17.2), a comment says why, and
the capture has the same words burned in. Each is told from the former by its UID and by its instance number.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.dicom_plane import derived_uid
from SpineLandmarksLib.formats.overlay import stamp
from SpineLandmarksLib.formats.sr_codes import ANSWERS, COMMENT, REVIEW, WHOLE

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class ReportReference:
    """UIDs by which a report is referred to."""

    study_uid: str
    series_uid: str
    class_uid: str
    instance_uid: str

    @staticmethod
    def of(report: Path) -> ReportReference:
        """Of a file that `write_sr` has written."""
        import pydicom

        header = pydicom.dcmread(report, stop_before_pixels=True)
        keywords = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")
        return ReportReference(*(str(header[keyword].value) for keyword in keywords))


def mark_report(report: Path, number: int, note: str, replaced: ReportReference | None) -> None:
    """Rewrite a report of `write_sr` as the `number`-th of its study, which is for review.

    note: why there is another one, for people. replaced: whose place it takes; None where it stands beside the others.
    Raises OutputError where it cannot be written.
    """
    import pydicom
    from highdicom.sr import CodedConcept, TextContentItem

    dataset = pydicom.dcmread(report)
    whole = _whole_group(dataset)
    for item in whole.ContentSequence:
        if item.ConceptNameCodeSequence[0].CodeValue == REVIEW[0]:
            item.ConceptCodeSequence = [CodedConcept(*ANSWERS[True])]
    whole.ContentSequence.append(TextContentItem(CodedConcept(*COMMENT), note, relationship_type="CONTAINS"))
    if replaced:
        dataset.PredecessorDocumentsSequence = [_reference(replaced)]
    _save_numbered(dataset, report, number)


def mark_capture(capture: Path, number: int, note: str) -> None:
    """Burn the note of its report into a capture of `write_capture`. Raises OutputError as `mark_report`."""
    import pydicom
    from PIL import Image

    dataset = pydicom.dcmread(capture)
    page = Image.fromarray(dataset.pixel_array)
    stamp(page, note)
    pixels = page.tobytes()
    dataset.PixelData = pixels + bytes(len(pixels) % 2)
    _save_numbered(dataset, capture, number)


def _whole_group(report: Dataset) -> Dataset:
    """What a report says of the set: of the measurement groups, the one whose finding is `WHOLE`."""
    (measurements,) = (item for item in report.ContentSequence if "ContentSequence" in item and _has_groups(item))
    groups: Iterable[Dataset] = measurements.ContentSequence
    return next(group for group in groups if any(map(_is_whole, group.ContentSequence)))


def _is_whole(item: Dataset) -> bool:
    return "ConceptCodeSequence" in item and item.ConceptCodeSequence[0].CodeValue == WHOLE[0]


def _has_groups(item: Dataset) -> bool:
    return any("ContentSequence" in child and child.ValueType == "CONTAINER" for child in item.ContentSequence)


def _reference(report: ReportReference) -> Dataset:
    """As an item of the hierarchical reference macro, PS3.3 table C.17-3."""
    from pydicom import Dataset

    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID, instance.ReferencedSOPInstanceUID = report.class_uid, report.instance_uid
    series.SeriesInstanceUID, series.ReferencedSOPSequence = report.series_uid, [instance]
    study.StudyInstanceUID, study.ReferencedSeriesSequence = report.study_uid, [series]
    return study


def _save_numbered(dataset: Dataset, path: Path, number: int) -> None:
    from pydicom.uid import UID

    uid = UID(derived_uid(dataset.SOPInstanceUID, "result", number))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.InstanceNumber = number
    with write_atomically(path) as file:
        dataset.save_as(file, enforce_file_format=True)
