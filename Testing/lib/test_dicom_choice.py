"""DICOM in: which series, region and exam of a study is read, and what is no lumbar MRI."""

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, EnhancedMRImageStorage, generate_uid

from dicom_slices import AXIAL, COLUMNS, CORONAL, COUNT, ROWS, SAGITTAL, a_series, a_slice, pixels_of
from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.imaging.study import read_study


@pytest.mark.parametrize(
    ("wanted", "others"),
    [
        ("T2_TSE_SAG", ["T1_TSE_SAG", "STIR_SAG", "SAG T2 FS"]),
        ("T1 SAG", ["sag_stir", "t2_tirm_sag", "T2 DIXON_W"]),
        ("LUMBAR T1", ["C-SPINE T2", "T2 thoracic"]),
        ("Sag", ["t2_haste_loc", "Survey", "3-plane", "T2 myelo", "ADC"]),
    ],
)
def test_the_wanted_series_is_chosen_whatever_the_folder_order(a_study, wanted, others):
    for number, names in enumerate(([wanted, *others], [*others, wanted])):
        stack = read_study(a_study(*[a_series(series=name) for name in names], folder=f"study{number}"))
        assert stack.series_uid == generate_uid(entropy_srcs=[wanted])
        assert f"Chosen series: {wanted} (sagittal" in stack.notes[0]


@pytest.mark.parametrize(
    ("wanted", "other"),
    [
        ({"EchoTime": 100, "RepetitionTime": 3500}, {"EchoTime": 10, "RepetitionTime": 600}),
        ({"EchoTime": 10, "RepetitionTime": 600}, {"EchoTime": 60, "RepetitionTime": 4000, "InversionTime": 160}),
        ({"EchoTime": 100, "RepetitionTime": 3500}, {"EchoTime": 100, "RepetitionTime": 3500, "ScanOptions": "FS"}),
        ({"ImageType": ["ORIGINAL", "PRIMARY"]}, {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
    ],
)
def test_without_a_telling_name_the_tags_decide(a_study, wanted, other):
    if "InversionTime" in other:
        other = {**other, "ScanningSequence": ["SE", "IR"]}
    first, second = a_series(series="a", **other), a_series(series="b", **wanted)
    for ds in first + second:
        ds.SeriesDescription = "sag"
    assert read_study(a_study(first, second)).series_uid == generate_uid(entropy_srcs=["b"])


def test_more_slices_and_finer_pixels_settle_a_tie(a_study):
    fine, coarse = a_series(series="T2 a", PixelSpacing=[0.5, 0.5]), a_series(series="T2 b")
    assert read_study(a_study(coarse, fine)).series_uid == generate_uid(entropy_srcs=["T2 a"])
    more = [*coarse, a_slice(COUNT, series="T2 b")]
    assert read_study(a_study(more, fine, folder="more")).series_uid == generate_uid(entropy_srcs=["T2 b"])


def test_planes_mixed_under_one_uid_are_a_localizer(a_study):
    planes = [a_slice(k, axes=axes, series="T2") for axes in (SAGITTAL, AXIAL, CORONAL) for k in range(3)]
    assert read_study(a_study(planes, a_series(series="T1"))).series_uid == generate_uid(entropy_srcs=["T1"])
    with pytest.raises(SpineLandmarksError, match="got localizer"):
        read_study(a_study(planes, folder="alone"))


def test_an_axial_study_is_refused_with_what_there_is(a_study):
    with pytest.raises(GeometryError) as caught:
        read_study(a_study(a_series(axes=AXIAL, series="T2 tra"), a_series(axes=CORONAL, series="T1 cor")))
    assert str(caught.value) == (
        "Expected a sagittal series; got axial (normal 0.00, 0.09, 1.00), coronal (normal 0.00, -1.00, 0.00). "
        "Series in this study: T1 cor (coronal T1, 6 slices), T2 tra (axial T2, 6 slices)"
    )


def test_an_isotropic_axial_acquisition_is_cut_sagittally(a_study):
    axes = [[1, 0, 0], [0, 1, 0]]
    slices = [a_slice(k, axes=axes, step=1.0, pixels=pixels_of(k), PixelSpacing=[1.0, 1.0]) for k in range(32)]
    stack = read_study(a_study(slices))
    assert stack.voxels.shape == (COLUMNS, 32, ROWS)
    assert "acquired axial, cut sagittally" in stack.notes[0]
    # slice 5 = column 5 of the file; its top row is the last file, from front to back
    np.testing.assert_array_equal(stack.voxels[5, 0], pixels_of(31)[:, 5])


def parts(names, types=None, series=None):
    """Series of one Dixon acquisition. names: of the series. types: fourth value of ImageType, where it has one."""
    types = types or [""] * len(names)
    return [
        a_series(series=series or name, SeriesDescription=name, ImageType=["DERIVED", "PRIMARY", "M", kind or "SE"])
        for name, kind in zip(names, types, strict=True)
    ]


@pytest.mark.parametrize(
    ("names", "types", "wanted"),
    [
        (["t2_dixon_F", "t2_dixon_in", "t2_dixon_opp", "t2_dixon_W"], None, 3),
        (["FAT: T2 FLEX", "InPhase: T2 FLEX", "OutPhase: T2 FLEX", "WATER: T2 FLEX"], None, 3),
        (["T2 mDIXON"] * 4, ["F", "IP", "OP", "W"], 3),
        (["T2 DIXON"] * 4, ["FAT", "IN_PHASE", "OPP_PHASE", "WATER"], 3),
        (["T2 DIXON"] * 3, ["FAT", "OPP_PHASE", "IN_PHASE"], 2),
        (["t2_dixon_F", "t2_dixon_opp", "T1"], None, 2),
    ],
)
@pytest.mark.parametrize("turned", [False, True])
def test_of_a_dixon_acquisition_water_goes_before_in_phase_before_fat(a_study, names, types, wanted, turned):
    same_uid = turned and len(set(names)) == 1
    series = parts(names, types, "one UID" if same_uid else None)
    for number, datasets in enumerate(series):
        for ds in datasets:
            ds.PixelData = (ds.pixel_array + np.uint16(number)).tobytes()
            if not same_uid:
                ds.SeriesInstanceUID = f"1.2.3.{9 - number if turned else number}"
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SOPInstanceUID[:50]}.{number}"
    stack = read_study(a_study(*(series[::-1] if turned else series)))
    assert stack.voxels[0, 0, 0] == wanted


@pytest.mark.parametrize(
    "name",
    [
        *("SAG T2 FRFSE ASSET", "T2W_TSE SAG SmartSpeed", "t2 sag local coil", "T2 SAG CAL", "T2 SAG PLAN"),
        *("T2 calf coil", "T2 SAG NO PHASE WRAP", "T2 SUBACUTE", "T2 DIFFICULT", "T2 SAG WATER", "T2 inPhase"),
    ],
)
def test_a_word_within_a_name_costs_a_series_nothing(a_study, name):
    full = [a_slice(k, series=name) for k in range(18)]
    stack = read_study(a_study([a_slice(k, series="T1") for k in range(18)], full))
    assert stack.series_uid == generate_uid(entropy_srcs=[name])


def test_a_stack_of_many_parallel_slices_is_no_localizer_whatever_it_is_called(a_study):
    scout = [a_slice(k, series="AAHead_Scout") for k in range(18)]
    assert len(read_study(a_study(scout))) == 18
    assert read_study(a_study(scout, a_series(series="sag"), folder="both")).series_uid == generate_uid(
        entropy_srcs=["sag"]
    )


@pytest.mark.parametrize(("sagittal", "axial", "is_read"), [(9, 1, True), (9, 4, True), (9, 9, False), (3, 3, False)])
def test_a_stack_that_has_another_plane_under_its_uid_is_read(a_study, sagittal, axial, is_read):
    mixed = [a_slice(k) for k in range(sagittal)] + [a_slice(k, axes=AXIAL) for k in range(axial)]
    if is_read:
        assert len(read_study(a_study(mixed))) == sagittal
    else:
        with pytest.raises(SpineLandmarksError, match="got localizer"):
            read_study(a_study(mixed))


# --- regions


def at_height(series, height_mm):
    for ds in series:
        x, y, z = map(float, ds.ImagePositionPatient)
        ds.ImagePositionPatient = [x, y, z + height_mm]
    return series


@pytest.mark.parametrize(
    ("elsewhere", "lumbar"),
    [
        ("T2 SAG T-SPINE", "T2 SAG L-SPINE"),
        ("t2_tse_sag BWS", "t2_tse_sag LWS"),
        ("SAG T2 COLUMNA DORSAL", "SAG T2 COLUMNA LUMBAR"),
        ("T2 rachis dorsal", "T2 rachis lombaire"),
        ("T2 torácica", "T2 lombare"),
        ("T2 SAG HWS", "T2 sag lumbale wervelkolom"),
        ("T2 грудной отдел", "T2 поясничный отдел"),
        ("T2 胸椎", "T2 腰椎"),
        ("T2 kręgosłup piersiowy", "T2 kręgosłup lędźwiowy"),
    ],
)
def test_the_lumbar_series_is_known_by_its_name_in_many_languages(a_study, elsewhere, lumbar):
    tags = {"SpecificCharacterSet": "ISO_IR 192", "ProtocolName": "Wirbelsäule"}
    thoracic = at_height([a_slice(k, series=elsewhere, **tags) for k in range(12)], 250)
    stack = read_study(a_study(thoracic, a_series(series=lumbar, **tags)))
    assert stack.series_uid == generate_uid(entropy_srcs=[lumbar])
    assert stack.alternatives == ()


def coded(keyword, value, meaning):
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "SCT", meaning
    return {keyword: [code]}


@pytest.mark.parametrize(
    ("elsewhere", "lumbar"),
    [
        ({"BodyPartExamined": "TSPINE"}, {"BodyPartExamined": "LSPINE"}),
        (coded("AnatomicRegionSequence", "122495006", ""), coded("AnatomicRegionSequence", "122496007", "")),
        (coded("ProcedureCodeSequence", "x", "MR Thoracic spine"), coded("ProcedureCodeSequence", "y", "MRT LWS")),
    ],
)
def test_the_lumbar_series_is_known_by_its_codes(a_study, elsewhere, lumbar):
    thoracic = at_height([a_slice(k, series="T2 a", SeriesDescription="T2", **elsewhere) for k in range(12)], 250)
    stack = read_study(a_study(thoracic, a_series(series="T2 b", SeriesDescription="T2", **lumbar)))
    assert stack.series_uid == generate_uid(entropy_srcs=["T2 b"])


def test_a_name_counts_before_a_code_that_is_left_from_another_scan(a_study):
    thoracic = [a_slice(k, series="T2 BWS", BodyPartExamined="LSPINE") for k in range(12)]
    stack = read_study(a_study(at_height(thoracic, 250), a_series(series="T2 LWS", BodyPartExamined="LSPINE")))
    assert stack.series_uid == generate_uid(entropy_srcs=["T2 LWS"])


def test_where_names_do_not_tell_each_region_is_offered(a_study):
    upper = at_height([a_slice(k, series="T2 UPPER") for k in range(12)], 250)
    lower, beside = a_series(series="T2 LOWER"), at_height(a_series(series="T1 LOWER"), 10)
    stack = read_study(a_study(upper, lower, beside))
    assert [one.series_uid for one in (stack, *stack.alternatives)] == [
        generate_uid(entropy_srcs=[name]) for name in ("T2 UPPER", "T2 LOWER")
    ]
    named = a_series(series="T1 lumbar")
    stack = read_study(a_study(upper, lower, named, folder="named"))
    assert stack.series_uid == generate_uid(entropy_srcs=["T2 LOWER"])  # T2, and where the lumbar T1 lies
    assert stack.alternatives == ()


# --- several exams


def an_exam(name, slices=COUNT, **tags):
    return [a_slice(k, series=f"T2 {name}", StudyInstanceUID=f"1.2.{name}", **tags) for k in range(slices)]


def exam_read(stack):
    return stack.tags["StudyInstanceUID"]


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ({"StudyDate": "20150101"}, {"StudyDate": "20240503"}),
        ({"StudyDate": "20240503", "StudyTime": "081500"}, {"StudyDate": "20240503", "StudyTime": "101500.25"}),
        ({"SeriesDate": "20231231"}, {"AcquisitionDate": "20240101"}),
        ({"StudyDate": "20240101", "SeriesDate": "20250101"}, {"AcquisitionDateTime": "20240102"}),
    ],
)
def test_the_newest_exam_is_read_and_the_others_are_told(a_study, older, newer):
    folder = a_study(an_exam(1, slices=9, **older), an_exam(2, **newer))
    stack = read_study(folder)
    assert exam_read(stack) == "1.2.2"
    assert "The input holds 2 exams of the patient: 1 = 2024-" in stack.warnings[0]
    assert not stack.needs_review
    alone = read_study(a_study(an_exam(2, **newer), folder="alone"))
    assert alone.warnings == ()
    np.testing.assert_array_equal(stack.ras_from_ijk, alone.ras_from_ijk)


@pytest.mark.parametrize("wanted", ["1.2.1", "2", "20150101", "2015-01-01"])
def test_another_exam_is_read_when_it_is_asked_for(a_study, wanted):
    folder = a_study(an_exam(1, StudyDate="20150101"), an_exam(2, StudyDate="20240503"))
    stack = read_study(folder, study=wanted)
    assert exam_read(stack) == "1.2.1"
    assert stack.warnings == ()
    assert "Exam 2 was read" in stack.notes[-1]


@pytest.mark.parametrize("wanted", ["3", "1.2.9", "2019-01-01", ""])
def test_an_exam_that_is_not_there_is_refused_with_those_that_are(a_study, wanted):
    folder = a_study(an_exam(1, StudyDate="20150101"), an_exam(2, StudyDate="20240503"))
    with pytest.raises(InputError, match=r"1 = 2024-05-03 \(1\.2\.2\), 2 = 2015-01-01 \(1\.2\.1\); got"):
        read_study(folder, study=wanted)


@pytest.mark.parametrize(
    ("days", "times"),
    [
        ((None, None), ()),
        (("20240503", None), ()),
        (("20240503", "20240503"), ()),
        (("20240503", "20240503"), ("101500", None)),
        (("", "00010101"), ()),
        (("20240503", "99991231"), ()),
    ],
)
def test_exams_whose_dates_do_not_tell_the_newest_are_for_review(a_study, days, times):
    series = [an_exam(n, **({"StudyDate": day} if day else {})) for n, day in enumerate(days, 1)]
    for one, time in zip(series, times, strict=False):
        for ds in one:
            ds.StudyTime = time
    stack = read_study(a_study(*series))
    assert stack.needs_review
    assert "2 exams" in stack.warnings[0]


def test_an_exam_without_a_lumbar_sagittal_series_is_passed_over(a_study):
    lumbar = an_exam(1, StudyDate="20150101")
    for number, newer in enumerate(({"axes": AXIAL}, {"SeriesDescription": "T2 C-spine"})):
        stack = read_study(a_study(lumbar, an_exam(2, StudyDate="20240503", **newer), folder=f"study{number}"))
        assert exam_read(stack) == "1.2.1"
        assert "Exam 2 was read;" in stack.warnings[0]
        assert stack.needs_review
    stack = read_study(a_study(lumbar, an_exam(2, StudyDate="20240503", Modality="CT"), folder="ct"))
    assert stack.warnings == ()
    assert "Exam 2 was read;" in stack.notes[-1]


@pytest.mark.parametrize(
    "tags",
    [
        {"Modality": "CT"},
        {"Modality": None, "SOPClassUID": CTImageStorage},
        {"Modality": None, "SOPClassUID": None, "RescaleIntercept": -1024, "RescaleSlope": 1},
        {"Modality": None, "SOPClassUID": None, "RescaleType": "HU", "RescaleIntercept": 0, "RescaleSlope": 1},
    ],
)
def test_ct_is_refused_in_one_line(a_study, tags):
    with pytest.raises(InputError, match=r"^Expected MR; got CT. Series in this study: T2 \(sagittal CT, 6 slices\)"):
        read_study(a_study(a_series(**tags)))


def test_files_of_few_tags_are_read_with_a_note(a_study):
    few = (
        "Modality",
        "SOPClassUID",
        "ImageType",
        "SeriesDescription",
        "PatientID",
        "InstanceNumber",
        "StudyInstanceUID",
    )
    series = a_series(**dict.fromkeys(few))
    for ds in series:
        ds.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
        ds.SOPInstanceUID = "1.2.3"
    stack = read_study(a_study(series))
    assert len(stack) == COUNT
    assert any("do not state their modality" in note for note in stack.notes)


@pytest.mark.parametrize(
    "other",
    [
        {"PatientID": "another"},
        {"PatientName": "Roe^Jane", "PatientBirthDate": "19900101"},
        {"PatientName": "Roe^Jane", "PatientID": ""},
    ],
)
def test_two_patients_in_one_folder_are_refused(a_study, other):
    number = "" if "" in other.values() else "phantom"
    one = {"PatientName": "Doe^Ann", "PatientBirthDate": "19500101", "PatientID": number}
    with pytest.raises(InputError, match="Expected one patient; got 2"):
        read_study(a_study(an_exam(1, **one), an_exam(2, StudyDate="20240503", **other)))


@pytest.mark.parametrize(
    "other", [{"PatientName": "DOE ANN"}, {"PatientName": "Roe^Ann"}, {"PatientBirthDate": "19500110"}]
)
def test_one_patient_whose_name_or_date_was_put_right_is_read(a_study, other):
    one = {"PatientName": "Doe^Ann", "PatientBirthDate": "19500101"}
    stack = read_study(a_study(an_exam(1, **one), an_exam(2, StudyDate="20240503", **{**one, **other})))
    assert exam_read(stack) == "1.2.2"


@pytest.mark.parametrize(
    "own", [("SeriesInstanceUID",), ("StudyInstanceUID",), ("SeriesInstanceUID", "StudyInstanceUID")]
)
def test_slices_that_each_have_a_uid_of_their_own_are_one_series_and_for_review(a_study, own):
    t2, axial = a_series(series="T2"), a_series(series="T2 ax", axes=AXIAL)
    for number, ds in enumerate([*t2, *axial]):
        for keyword in own:
            setattr(ds, keyword, f"1.2.{number}")
    stack = read_study(a_study(t2, axial))
    whole = read_study(a_study(a_series(series="T2"), folder="whole"))
    np.testing.assert_array_equal(stack.voxels, whole.voxels)
    np.testing.assert_array_equal(stack.ras_from_ijk, whole.ras_from_ijk)
    assert stack.needs_review
    assert any("UID of its own" in warning for warning in stack.warnings)
    assert not whole.needs_review


def test_two_exams_whose_slices_have_their_own_uids_are_not_mixed(a_study):
    older, newer = (a_series(series="T2", StudyDate=day) for day in ("20150101", "20240503"))
    for number, ds in enumerate([*older, *newer]):
        ds.SeriesInstanceUID = ds.StudyInstanceUID = f"1.2.{number}"
    stack = read_study(a_study(older, newer))
    assert len(stack) == COUNT
    assert exam_read(stack) == newer[0].StudyInstanceUID
