"""The DICOM report and capture: what they say, what real tools make of them, and what is refused on reading."""

from __future__ import annotations

import contextlib
import math
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import import_landmarks
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import FormatError, GeometryError, InputError, LandmarkError, OutputError
from SpineLandmarksLib.formats import read_landmarks
from SpineLandmarksLib.formats.dicom_capture import write_capture
from SpineLandmarksLib.formats.dicom_plane import ImagePlane
from SpineLandmarksLib.formats.dicom_replacing import ReportReference, mark_report
from SpineLandmarksLib.formats.dicom_sr import write_sr
from SpineLandmarksLib.formats.dicom_sr_reading import read_sr
from SpineLandmarksLib.formats.sr_codes import SITES
from SpineLandmarksLib.imaging.dicom_source import image_planes
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.store.folder import init_dataset


@pytest.fixture(scope="module")
def a_series(a_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oblique slices; the patient's name is Japanese, in two writings, in a character set of its own."""
    folder = write_dicom_series(a_phantom, tmp_path_factory.mktemp("dicom") / "study")
    for file in folder.iterdir():
        dataset = pydicom.dcmread(file)
        dataset.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
        dataset.PatientName = "Yamada^Tarou=山田^太郎"
        dataset.InstitutionName = "Clinic"
        dataset.save_as(file)
    return folder


@pytest.fixture(scope="module")
def planes(a_series: Path) -> list[ImagePlane]:
    return image_planes(a_series, read_study(a_series).series_uid)


@pytest.fixture(scope="module")
def a_result(a_phantom: Phantom, a_series: Path) -> LandmarkSet:
    """The phantom's own points, off the slices, one of them out of view."""
    marks = [
        Landmark(
            mark.name,
            "predicted",
            (mark.position_ras_mm[0] + 0.7, *mark.position_ras_mm[1:]),
            confidence=round(0.9071 - 0.01 * row, 4),
            radius95_mm=3.25 + row,
            needs_review=row == 3,
        )
        for row, mark in enumerate(a_phantom.landmarks)
        if mark.position_ras_mm is not None
    ]
    marks[0] = Landmark("T12-L1", "out_of_view", confidence=0.5, needs_review=True)
    return LandmarkSet(
        tuple(marks),
        series_uid=read_study(a_series).series_uid,
        slice_index=3,
        spacing_mm=(3.1, 3.1),
        bundle="memory@1.2",
        warnings=("The sacrum is not in the picture", "Zwei Sätze: größer als 5 °"),
        needs_review=True,
        numberings=((0, 0.9071), (1, 0.08), (-1, 0.0129)),
    )


@pytest.fixture(scope="module")
def a_report(a_result: LandmarkSet, planes: list[ImagePlane], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "case.sr.dcm"
    write_sr(a_result, planes, path, model_sha256="ab" * 32)
    return path


def groups(path: Path) -> list[Any]:
    (measurements,) = [item for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "CONTAINER"]
    return list(measurements.ContentSequence)


def items(group: Any, kind: str) -> list[Any]:
    return [item for item in group.ContentSequence if item.ValueType == kind]


def test_a_report_reads_back_as_the_same_landmarks(a_report: Path, a_result: LandmarkSet) -> None:
    back = read_sr(a_report)
    for before, after in zip(a_result, back, strict=True):
        assert replace(after, position_ras_mm=None) == replace(before, position_ras_mm=None, pixel_xy=None)
        if before.position_ras_mm and after.position_ras_mm:
            assert math.dist(before.position_ras_mm, after.position_ras_mm) < 0.001
    same = ("series_uid", "bundle", "warnings", "needs_review", "numberings")
    assert [getattr(back, name) for name in same] == [getattr(a_result, name) for name in same]
    assert read_landmarks(a_report) == replace(back, input=str(a_report))


@pytest.fixture(scope="module")
def with_corners(a_result: LandmarkSet, a_phantom: Phantom) -> LandmarkSet:
    """Sure of all levels and corners but one, which cannot be seen."""
    corners = [
        replace(mark, status="predicted", pixel_xy=None, confidence=0.95, radius95_mm=1.5, needs_review=False)
        for mark in a_phantom.landmarks.corners
    ]
    corners[0] = Landmark("L1.sup.ant", "out_of_view", confidence=0.5, needs_review=True)
    return replace(a_result, corners=tuple(corners), needs_review=False, bundle="memory@1.2,corners@3")


@pytest.fixture(scope="module")
def a_report_of_corners(with_corners: LandmarkSet, planes: list[ImagePlane], tmp_path_factory: Any) -> Path:
    path = tmp_path_factory.mktemp("corners") / "case.sr.dcm"
    write_sr(with_corners, planes, path, measurements=measure(with_corners))
    return path


def test_corners_of_endplates_are_reported_and_read_back_beside_the_landmarks(
    a_report_of_corners: Path, with_corners: LandmarkSet
) -> None:
    back = read_sr(a_report_of_corners)
    assert back.names == LUMBAR11
    assert back.bundle == with_corners.bundle
    for before, after in zip(with_corners.corners, back.corners, strict=True):
        assert replace(after, position_ras_mm=None) == replace(before, position_ras_mm=None)
        if before.position_ras_mm and after.position_ras_mm:
            assert math.dist(before.position_ras_mm, after.position_ras_mm) < 0.001


def test_a_report_of_corners_that_replaces_another_is_the_same_but_for_review_and_the_reason(
    a_report_of_corners: Path, tmp_path: Path
) -> None:
    later = Path(shutil.copy(a_report_of_corners, tmp_path / "later.sr.dcm"))
    former, before = ReportReference.of(later), read_sr(later)
    mark_report(later, 2, "It replaces result 1", former)
    after = read_sr(later)
    assert (before.needs_review, after.needs_review) == (False, True)
    assert after.warnings == (*before.warnings, "It replaces result 1")
    assert replace(after, warnings=before.warnings, needs_review=False) == before
    assert len(groups(later)) == len(groups(a_report_of_corners))


def test_a_report_has_the_measurements_with_interval_and_usual_range_and_why_others_are_absent(
    a_report_of_corners: Path, with_corners: LandmarkSet
) -> None:
    known = {one.name: one for one in measure(with_corners) if one.points}
    (group,) = [one for one in groups(a_report_of_corners) if len(items(one, "NUM")) > 5]
    numbers = {item.ConceptNameCodeSequence[0].CodeMeaning: item for item in items(group, "NUM")}
    assert set(numbers) == {name for name, one in known.items() if one.value is not None}
    slope, expected = numbers["Sacral slope"], known["Sacral slope"]
    value = slope.MeasuredValueSequence[0]
    assert float(value.NumericValue) == pytest.approx(expected.value, abs=1e-3)
    assert value.MeasurementUnitsCodeSequence[0].CodeValue == "deg"
    ends = {
        item.ConceptNameCodeSequence[0].CodeValue: float(item.MeasuredValueSequence[0].NumericValue)
        for item in slope.ContentSequence
    }
    assert expected.interval95 is not None
    assert expected.usual is not None
    assert (ends["low95"], ends["high95"]) == pytest.approx(expected.interval95, abs=1e-3)
    assert (ends["usual-low"], ends["usual-high"]) == (expected.usual.low, expected.usual.high)
    said = " ".join(str(item.TextValue) for item in items(group, "TEXT"))
    assert "Absent, as L1.sup.ant is out of view: Lumbar lordosis L1-S1" in said
    assert "Genant's limits: 0" in said


def test_a_report_with_corners_that_nobody_has_looked_at_is_not_verified(
    with_corners: LandmarkSet, planes: list[ImagePlane], tmp_path: Path
) -> None:
    decided = tuple(replace(mark, status="not_visible" if mark.is_absent else "confirmed") for mark in with_corners)
    for corners, flag in ((with_corners.corners, "UNVERIFIED"), ((), "VERIFIED")):
        marks = replace(with_corners, landmarks=decided, corners=corners)
        write_sr(marks, planes, tmp_path / "case.sr.dcm", author="A. Reader")
        assert pydicom.dcmread(tmp_path / "case.sr.dcm").VerificationFlag == flag


def test_a_point_in_pixels_lies_on_the_nearest_image_where_the_point_in_mm_does(
    a_report: Path, a_series: Path, a_result: LandmarkSet
) -> None:
    """By the formula of PS3.3 C.7.6.2.1.1, whose pixel (0, 0) is a centre; SCOORD counts from the corner."""
    images = {str((d := pydicom.dcmread(file)).SOPInstanceUID): d for file in a_series.iterdir()}
    depths = {}
    for group in groups(a_report)[1:11]:
        (scoord,), (scoord3d,) = items(group, "SCOORD"), items(group, "SCOORD3D")
        image = images[scoord.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
        assert scoord3d.ReferencedFrameOfReferenceUID == image.FrameOfReferenceUID
        x, y = np.array(scoord.GraphicData) - 0.5
        row, column = np.reshape(image.ImageOrientationPatient, (2, 3)).astype(float)
        place = np.array(image.ImagePositionPatient, float) + x * image.PixelSpacing[1] * row
        place += y * image.PixelSpacing[0] * column
        off = np.array(scoord3d.GraphicData) - place
        depth = off @ np.cross(row, column)
        assert np.abs(off - depth * np.cross(row, column)).max() < 1e-3
        depths[image.InstanceNumber] = depth
        assert abs(depth) <= 4.4 / 2 + 1e-3
    assert any(abs(depth) > 0.3 for depth in depths.values())


def test_the_first_number_of_a_group_has_the_point_too_where_viewers_look_for_it(a_report: Path) -> None:
    for group in groups(a_report)[1:11]:
        first = items(group, "NUM")[0].ContentSequence
        assert [item.RelationshipType for item in first] == 2 * ["INFERRED FROM"]
        assert [item.GraphicData for item in first] == [
            items(group, kind)[0].GraphicData for kind in ("SCOORD", "SCOORD3D")
        ]


def test_the_codes_are_those_of_pydicom_s_table(a_report: Path) -> None:
    table = {
        "T12-L1": codes.SCT.T12L1Disc,
        "L1": codes.SCT.L1Vertebra,
        "L1-L2": codes.SCT.L1L2Disc,
        "L2": codes.SCT.L2Vertebra,
        "L2-L3": codes.SCT.L2L3Disc,
        "L3": codes.SCT.L3Vertebra,
        "L3-L4": codes.SCT.L3L4Disc,
        "L4": codes.SCT.L4Vertebra,
        "L4-L5": codes.SCT.L4L5Disc,
        "L5": codes.SCT.L5Vertebra,
        "L5-S1": codes.SCT.L5S1Disc,
    }
    assert {name: (code.value, code.scheme_designator, code.meaning) for name, code in table.items()} == SITES
    sites = [items(group, "CODE")[1].ConceptCodeSequence[0].CodeValue for group in groups(a_report)[:11]]
    assert sites == [table[name].value for name in LUMBAR11]


def test_a_prediction_is_preliminary_and_a_device_s_word(a_report: Path, a_series: Path) -> None:
    report = pydicom.dcmread(a_report)
    source = pydicom.dcmread(next(a_series.iterdir()))
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert (report.StudyInstanceUID, report.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert report.PatientName == source.PatientName
    (observer,) = [item for item in items(report, "CODE") if item.RelationshipType == "HAS OBS CONTEXT"]
    assert observer.ConceptCodeSequence[0].CodeMeaning == "Device"
    assert "Person" not in str(report)
    assert f"bundle sha256 {'ab' * 32}" in [item.get("TextValue") for item in groups(a_report)[0].ContentSequence]
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    assert len(study.ReferencedSeriesSequence[0].ReferencedSOPSequence) == 7


def decided(result: LandmarkSet) -> LandmarkSet:
    marks = [Landmark("T12-L1", "not_visible"), *(Landmark(m.name, "confirmed", m.position_ras_mm) for m in result)]
    return replace(result, landmarks=tuple(marks[:1] + marks[2:]), needs_review=False, numberings=())


def test_a_person_who_decides_on_all_verifies(
    a_result: LandmarkSet, planes: list[ImagePlane], a_report: Path, tmp_path: Path
) -> None:
    write_sr(decided(a_result), planes, tmp_path / "all.dcm", author="Änne B. Reader")
    report = pydicom.dcmread(tmp_path / "all.dcm")
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("FINAL", "VERIFIED")
    assert report.VerifyingObserverSequence[0].VerifyingObserverName == "Reader^Änne B."
    assert report.VerifyingObserverSequence[0].VerifyingOrganization == "Clinic"
    names = [item for item in report.ContentSequence if item.ValueType == "PNAME"]
    assert [item.PersonName for item in names] == ["Reader^Änne B."]
    assert [mark.status for mark in read_sr(tmp_path / "all.dcm")] == ["not_visible"] + 10 * ["confirmed"]
    tracked = [[items(group, "UIDREF")[0].UID for group in groups(path)] for path in (a_report, tmp_path / "all.dcm")]
    assert tracked[0] == tracked[1]


def test_one_undecided_landmark_leaves_a_person_s_report_preliminary(
    a_result: LandmarkSet, planes: list[ImagePlane], tmp_path: Path
) -> None:
    marks = list(decided(a_result))
    marks[5] = replace(marks[5], status="predicted")
    write_sr(replace(a_result, landmarks=tuple(marks)), planes, tmp_path / "x.dcm", author="Reader")
    report = pydicom.dcmread(tmp_path / "x.dcm")
    assert (report.PreliminaryFlag, report.VerificationFlag) == ("PRELIMINARY", "UNVERIFIED")
    assert [item.PersonName for item in report.ContentSequence if item.ValueType == "PNAME"] == ["Reader^"]


def test_what_is_the_same_has_the_same_uid_and_what_differs_another(
    a_result: LandmarkSet, planes: list[ImagePlane], a_report: Path, tmp_path: Path
) -> None:
    write_sr(replace(a_result, runtime_s=9.0), planes, tmp_path / "again.dcm")
    write_sr(decided(a_result), planes, tmp_path / "other.dcm")
    first, again, other = map(pydicom.dcmread, (a_report, tmp_path / "again.dcm", tmp_path / "other.dcm"))
    assert first.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert first.SeriesInstanceUID == other.SeriesInstanceUID


@pytest.mark.parametrize("tool", ["dciodvfy", "dsrdump"])
def test_real_tools_accept_the_report(
    tool: str, a_report: Path, a_result: LandmarkSet, planes: list[ImagePlane], tmp_path: Path
) -> None:
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed (Debian: dicom3tools, dcmtk)")
    write_sr(decided(a_result), planes, tmp_path / "all.dcm", author="Änne B. Reader")
    for path in (a_report, tmp_path / "all.dcm"):
        done = subprocess.run([tool, path], capture_output=True, text=True, check=True)
        assert not [line for line in done.stderr.splitlines() if line.startswith(("Error", "E:"))]
        assert tool != "dsrdump" or done.stdout.count("contains SCOORD3D:") == 10


def test_a_capture_belongs_to_the_study_and_says_research_use(
    a_result: LandmarkSet, a_series: Path, planes: list[ImagePlane], tmp_path: Path
) -> None:
    stack = read_study(a_series)
    write_capture(stack.voxels[3], a_result, planes, tmp_path / "case.sc.dcm")
    capture, source = pydicom.dcmread(tmp_path / "case.sc.dcm"), pydicom.dcmread(next(a_series.iterdir()))
    assert (capture.StudyInstanceUID, capture.PatientName) == (source.StudyInstanceUID, source.PatientName)
    assert capture.SOPClassUID == codes_of("SecondaryCaptureImageStorage")
    assert capture.BurnedInAnnotation == "YES"
    last_line = capture.pixel_array[-35:-12, :260].astype(int)
    assert (np.abs(last_line - (255, 112, 67)).sum(-1) < 60).sum() > 200  # the line is drawn, in its own colour
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", tmp_path / "case.sc.dcm"], capture_output=True, text=True, check=True).stderr
        assert not [line for line in said.splitlines() if line.startswith("Error")]


def codes_of(name: str) -> str:
    return str(getattr(pydicom.uid, name))


def test_a_study_that_holds_our_own_objects_reads_as_before(
    a_result: LandmarkSet, a_series: Path, planes: list[ImagePlane], a_report: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(a_series, tmp_path / "study")
    shutil.copy(a_report, folder)
    write_capture(read_study(a_series).voxels[3], a_result, planes, folder / "case.sc.dcm")
    before, after = read_study(a_series), read_study(folder)
    assert (after.series_uid, len(after)) == (before.series_uid, len(before))
    np.testing.assert_array_equal(after.voxels, before.voxels)


def test_images_are_found_again_in_a_folder_a_zip_and_by_a_file(a_series: Path, tmp_path: Path) -> None:
    uid = read_study(a_series).series_uid
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for file in a_series.iterdir():
            archive.write(file, file.name)
    one = next(a_series.iterdir())
    assert [len(image_planes(path, uid)) for path in (a_series, tmp_path / "s.zip", one)] == [7, 7, 1]


def test_a_series_that_is_gone_or_none_is_told(a_series: Path, a_phantom: Phantom, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"images of series 1\.2\.3 in .*; there are none"):
        image_planes(a_series, "1.2.3")
    with pytest.raises(InputError, match="images of a DICOM series"):
        image_planes(write_nifti(a_phantom, tmp_path / "x.nii"), None)


def test_what_cannot_be_reported_is_refused(a_result: LandmarkSet, planes: list[ImagePlane], tmp_path: Path) -> None:
    far = replace(a_result, landmarks=(Landmark("L3", position_ras_mm=(0.0, 900.0, 0.0)),))
    named = replace(a_result, landmarks=(Landmark("F-1", position_ras_mm=(0.0, 0.0, 0.0)),))
    empty = replace(a_result, landmarks=(Landmark("L3", "out_of_view"),))
    for wrong, error, rule in (
        (far, GeometryError, "on none"),
        (named, LandmarkError, "'F-1'"),
        (empty, LandmarkError, "patient millimetres"),
    ):
        with pytest.raises(error, match=rule):
            write_sr(wrong, planes, tmp_path / "x.dcm")
    with pytest.raises(OutputError, match="DICOM images that the points belong to"):
        write_sr(a_result, [], tmp_path / "x.dcm")
    assert not (tmp_path / "x.dcm").exists()


Change = Callable[[Any], None]


def _first_group(report: Any) -> Any:
    return report.ContentSequence[-1].ContentSequence[1]


def _set_site(value: str, scheme: str) -> Change:
    def change(report: Any) -> None:
        code = items(_first_group(report), "CODE")[1].ConceptCodeSequence[0]
        code.CodeValue, code.CodingSchemeDesignator = value, scheme

    return change


def _other_template(report: Any) -> None:
    report.ContentTemplateSequence[0].TemplateIdentifier = "2000"


def _other_frame(report: Any) -> None:
    items(_first_group(report), "SCOORD3D")[0].ReferencedFrameOfReferenceUID = "1.2.3"


def _no_points_in_mm(report: Any) -> None:
    for group in report.ContentSequence[-1].ContentSequence:
        for item in (group, *items(group, "NUM")):
            item.ContentSequence = [one for one in item.get("ContentSequence", ()) if one.ValueType != "SCOORD3D"]


def _set_points(data: list[float]) -> Change:
    def change(report: Any) -> None:
        for item in _first_group(report).iterall():
            if item.keyword == "GraphicData" and len(item.value) == 3:
                item.value = data

    return change


def _another_point(report: Any) -> None:
    items(_first_group(report), "SCOORD3D")[0].GraphicData = [1.0, 2.0, 3.0]


def _twice(report: Any) -> None:
    _set_site("14293000", "SCT")(report)


def _certainty_of_200(report: Any) -> None:
    items(_first_group(report), "NUM")[0].MeasuredValueSequence[0].NumericValue = "200"


def _metres(report: Any) -> None:
    value = items(_first_group(report), "NUM")[1].MeasuredValueSequence[0]
    value.MeasurementUnitsCodeSequence[0].CodeValue = "m"


def _an_image(report: Any) -> None:
    report.Modality = "MR"


def _a_status_of_another(report: Any) -> None:
    items(_first_group(report), "CODE")[2].ConceptCodeSequence[0].CodeValue = "fine"


def _no_landmarks(report: Any) -> None:
    report.ContentSequence[-1].ContentSequence = report.ContentSequence[-1].ContentSequence[-1:]


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_other_template, "template TID 1500 .*; got template 2000"),
        (_an_image, "got MR modality"),
        (_other_frame, r"one frame of reference; got 1\.2\.3, 2\.25"),
        (_set_site("51114001", "SCT"), "from T12/L1 to L5/S1; got .51114001 of SCT."),
        (_set_site("66794005", "99CLINIC"), "SNOMED CT .*; got .66794005 of 99CLINIC."),
        (_twice, "L2 more than once"),
        (_no_points_in_mm, "pixels of an image alone"),
        (_set_points([1.0, 2.0]), "three finite coordinates"),
        (_set_points([1.0, 2.0, math.inf]), "three finite coordinates"),
        (_another_point, "expected one point; got several"),
        (_certainty_of_200, r"confidence in 0\.\.1"),
        (_metres, "in mm, 0 or more; got 4.25 m"),
        (_a_status_of_another, "expected a status of .*fine"),
        (_no_landmarks, "the report has none"),
    ],
)
def test_a_report_that_breaks_a_rule_is_one_line(change: Change, rule: str, a_report: Path, tmp_path: Path) -> None:
    report = pydicom.dcmread(a_report)
    change(report)
    report.save_as(tmp_path / "bad.dcm")
    with pytest.raises(FormatError, match=rule) as caught:
        read_sr(tmp_path / "bad.dcm")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"no DICOM", b"\0" * 128 + b"DICM" + b"\xff" * 40])
def test_a_file_that_is_no_dicom_is_one_line(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.dcm").write_bytes(content)
    with pytest.raises(FormatError, match="expected a DICOM report"):
        read_sr(tmp_path / "x.dcm")
    with pytest.raises(FormatError, match="Could not read"):
        read_sr(tmp_path / "none.dcm")


def test_every_cut_of_a_report_is_a_result_or_one_line(a_report: Path, tmp_path: Path) -> None:
    content = a_report.read_bytes()
    for end in range(0, len(content), 5003):
        (tmp_path / "cut.dcm").write_bytes(content[:end])
        with contextlib.suppress(FormatError):
            assert len(read_sr(tmp_path / "cut.dcm")) == 11


def test_a_report_of_another_program_says_where_a_person_put_points(a_report: Path, tmp_path: Path) -> None:
    """Without our codes, one point only, which hangs on a number as viewers write it."""
    report = pydicom.dcmread(a_report)
    group = _first_group(report)
    number = next(item for item in items(group, "NUM"))
    number.ContentSequence = items(group, "SCOORD3D")
    number.ContentSequence[0].RelationshipType = "INFERRED FROM"
    site = [item for item in items(group, "CODE") if item.RelationshipType == "HAS CONCEPT MOD"]
    number.ConceptNameCodeSequence[0].CodeValue = "111010"
    group.ContentSequence = [*site, number]
    report.ContentSequence[-1].ContentSequence = [group]
    report.save_as(tmp_path / "theirs.dcm")
    said = read_landmarks(tmp_path / "theirs.dcm")
    assert [(mark.name, mark.status) for mark in said] == [("L1", "corrected")]


def test_points_in_pixels_alone_are_read_by_the_images_beside_the_report(
    a_report: Path, a_series: Path, a_result: LandmarkSet, tmp_path: Path
) -> None:
    """As viewers write points of single images: they lie on the image, so the lateral part is that of the slice."""
    folder = shutil.copytree(a_series, tmp_path / "study")
    report = pydicom.dcmread(a_report)
    _no_points_in_mm(report)
    report.save_as(folder / "theirs.dcm")
    frame = ImageFrame.of(read_study(a_series))
    assert frame is not None
    for before, after in zip(a_result, read_sr(folder / "theirs.dcm"), strict=True):
        if before.position_ras_mm and after.position_ras_mm:
            there, here = np.array(frame.ijk(before.position_ras_mm)), np.array(frame.ijk(after.position_ras_mm))
            assert np.abs(there - here)[:2].max() * 3.1 < 0.01
            assert here[2] == pytest.approx(round(there[2]), abs=1e-3)


def test_points_of_another_frame_of_reference_are_not_put_on_an_image(
    a_report: Path, a_series: Path, a_result: LandmarkSet
) -> None:
    frame = ImageFrame.of(read_study(a_series))
    assert frame is not None
    assert import_landmarks(a_report, frame=frame)["L3"].position_ras_mm is not None
    with pytest.raises(FormatError, match=r"frame of reference 1\.2\.3; got 2\.25"):
        import_landmarks(a_report, frame=replace(frame, reference_uid="1.2.3"))


def changed_report(report: Path, to: Path, series_uid: str | None, frame_uid: str | None) -> Path:
    dataset = pydicom.dcmread(report)
    evidence = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    evidence.SeriesInstanceUID = series_uid or evidence.SeriesInstanceUID
    for element in dataset.iterall() if frame_uid else ():
        if element.keyword == "ReferencedFrameOfReferenceUID":
            element.value = frame_uid
    dataset.save_as(to)
    return to


def test_a_report_comes_into_a_data_set_by_its_series_or_its_frame_and_on_no_other(
    a_report: Path, a_series: Path, tmp_path: Path, run: Callable[..., str]
) -> None:
    dataset, images, reader = tmp_path / "dataset", shutil.copytree(a_series, tmp_path / "images"), ("--author", "Ann")
    init_dataset(dataset).close()
    run("add", dataset, images)
    shutil.copy(a_report, tmp_path / "1.2.840.dcm")
    key, saved, _ = run("import", dataset, tmp_path / "1.2.840.dcm", *reader).partition(": saved")
    assert saved
    elsewhere = changed_report(a_report, tmp_path / "elsewhere.dcm", None, "1.2.3")
    assert "got 1.2.3" in run("import", dataset, elsewhere, *reader, status=1), "of its series, in another frame"
    other = changed_report(a_report, tmp_path / f"{key}.sr.dcm", "1.2.3", None)
    assert ": saved" in run("import", dataset, other, *reader), "of another series of the same frame"
    shutil.rmtree(images)
    assert "got one on 1.2.3" in run("import", dataset, other, *reader, status=1), "nothing says that it is the same"


def test_predict_writes_both_objects_of_a_dicom_study(
    a_series: Path, a_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Localizer, "open", lambda *_: a_localizer)
    assert main(["predict", str(a_series), "--output", str(tmp_path), "--format", "json,sr,sc"]) == 0
    assert {file.name for file in tmp_path.iterdir()} == {
        *(f"study.{ending}" for ending in ("json", "sr.dcm", "sc.dcm", "overlay.png"))
    }
    by_json, by_sr = read_landmarks(tmp_path / "study.json"), read_landmarks(tmp_path / "study.sr.dcm")
    for one, other in zip(by_json, by_sr, strict=True):
        assert one.status == other.status
        if one.position_ras_mm and other.position_ras_mm:
            assert math.dist(one.position_ras_mm, other.position_ras_mm) < 0.01


def test_a_report_of_what_is_no_dicom_is_refused_in_one_line(
    a_phantom_study: Path,
    a_localizer: Localizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Localizer, "open", lambda *_: a_localizer)
    assert main(["predict", str(a_phantom_study), "--output", str(tmp_path), "--format", "sr"]) == 2
    assert "A report needs DICOM images" in capsys.readouterr().err


def test_without_highdicom_a_line_says_what_to_install(
    a_series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "highdicom", None)
    assert main(["predict", str(a_series), "--output", str(tmp_path), "--format", "sr"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'spine-landmarks[dicom]'" in said
    assert said.count("\n") == 1
