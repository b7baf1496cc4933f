"""DICOM in: order and place of slices, choice of the series, every transfer syntax, and what is refused."""

import copy
import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging import dicom_header, dicom_study
from SpineLandmarksLib.imaging.study import read_study

DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"
needs_dicom = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real DICOM study at {DATA}")

COUNT, ROWS, COLUMNS = 6, 40, 48
BETWEEN_ROWS, BETWEEN_COLUMNS, STEP = 0.7, 0.6, 4.4
STUDY_UID = generate_uid(entropy_srcs=["study"])


def turned(degrees_z, degrees_x, axes):
    """Direction cosines (row, column) after a turn about x and then about z."""
    (cz, sz), (cx, sx) = ((np.cos(a), np.sin(a)) for a in np.radians([degrees_z, degrees_x]))
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return np.array(axes, dtype=float) @ turn.T


SAGITTAL = turned(12, -8, [[0, 1, 0], [0, 0, -1]])  # LPS: along a row to P, along a column to -S
AXIAL = turned(3, 5, [[1, 0, 0], [0, 1, 0]])
CORONAL = turned(0, 0, [[1, 0, 0], [0, 0, -1]])


def pixels_of(k, rows=ROWS, columns=COLUMNS):
    """All values of a stack differ: 2000 k + 48 j + i."""
    return (2000 * k + np.arange(rows * columns).reshape(rows, columns)).astype(np.uint16)


def a_slice(k=0, axes=SAGITTAL, step=STEP, pixels=None, series="T2", **tags):
    """One classic MR image; slice k lies k steps along row x column. Tags given as None are removed."""
    pixels = pixels_of(k) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k), str(axes)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, generate_uid(entropy_srcs=[series])
    ds.PatientID, ds.Modality, ds.SeriesDescription, ds.InstanceNumber = "phantom", "MR", series, k + 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.ImageOrientationPatient = [f"{value:.12f}" for value in np.ravel(axes)]
    position = np.array([-10.0, -30.0, 60.0]) + k * step * np.cross(*axes)
    ds.ImagePositionPatient = [f"{value:.10f}" for value in position]
    ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = [BETWEEN_ROWS, BETWEEN_COLUMNS], 4.0, step
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    for key, value in tags.items():
        if value is None:
            del ds[key]
        else:
            setattr(ds, key, value)
    return ds


def a_series(**options):
    return [a_slice(k, **options) for k in range(COUNT)]


@pytest.fixture
def a_study(tmp_path):
    """Write data sets into a folder under names that say nothing of their order; the path of the folder."""

    def write(*series, folder="study"):
        root = tmp_path / folder
        for number, datasets in enumerate(series):
            (root / f"s{number}").mkdir(parents=True, exist_ok=True)
            for index, ds in enumerate(datasets):
                ds.save_as(root / f"s{number}" / f"{(index * 7) % 11:02d}_{index}", enforce_file_format=True)
        return root

    return write


# --- order and place


def test_slices_lie_where_gdcm_puts_them(a_study):
    folder = a_study(a_series())
    stack = read_study(folder)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder / "s0")))
    image = reader.Execute()
    for ijk in ((0, 0, 0), (47, 3, 2), (20, 39, 5), (5, 17, 4)):
        k, j, i = np.argwhere(stack.voxels == image.GetPixel(*ijk))[0]
        expected_lps = np.array(image.TransformIndexToPhysicalPoint(ijk))
        np.testing.assert_allclose(apply(stack.ras_from_ijk, [i, j, k]), expected_lps * [-1, -1, 1], atol=1e-3)
    assert stack.pixel_spacing_mm == pytest.approx((0.6, 0.7))


def test_a_stack_sorted_by_position_ignores_names_and_instance_numbers(a_study):
    series = a_series()
    for k, ds in enumerate(series):
        ds.InstanceNumber = (5 * k) % 7
    stack = read_study(a_study(series[::-1]))
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) for k in range(COUNT)])
    assert stack.warnings == ()


def test_slices_stored_feet_first_and_back_first_come_out_upright(a_study):
    axes = -SAGITTAL  # along a row to the front, along a column to the head
    stack = read_study(a_study(a_series(axes=axes)))
    np.testing.assert_array_equal(stack.voxels[2], pixels_of(2)[::-1, ::-1])
    np.testing.assert_allclose(  # first voxel = last pixel of the file: corner + 47 * 0.6 along row + 39 * 0.7 down
        apply(stack.ras_from_ijk, [0, 0, 0]) * [-1, -1, 1],
        np.array([-10, -30, 60]) + 47 * 0.6 * axes[0] + 39 * 0.7 * axes[1],
        atol=1e-6,
    )


def test_a_missing_slice_is_told_with_numbers_and_the_rest_is_kept(a_study):
    series = [a_slice(k) for k in range(9) if k != 3]
    stack = read_study(a_study(series))
    assert len(stack) == 8
    assert "8.80 mm after slice 2, elsewhere 4.40 mm" in stack.warnings[0]


@pytest.mark.parametrize("axes", [SAGITTAL, -SAGITTAL, SAGITTAL * [[1], [-1]]])
@pytest.mark.parametrize("missing", [(3,), (2, 3, 6), (1, 4)])
def test_where_slices_are_missing_the_others_keep_their_places(a_study, axes, missing):
    series = [a_slice(k, axes=axes) for k in range(9) if k not in missing]
    stack = read_study(a_study(series))
    assert not stack.needs_review
    for ds in series:
        k = int(np.argmin([abs(int(voxels.min()) - int(ds.pixel_array.min())) for voxels in stack.voxels]))
        own = np.array(ds.ImagePositionPatient, float)
        corner = own + np.outer([0, 47], axes[0]) * 0.6 + np.outer([0, 39], axes[1]) * 0.7
        x, y = (0, 47) if axes[0, 1] > 0 else (47, 0), (0, 39) if axes[1, 2] < 0 else (39, 0)
        found = stack.to_ras(k, np.transpose([x, y]))
        np.testing.assert_allclose(found * [-1, -1, 1], corner, atol=1e-6)
        np.testing.assert_allclose(stack.to_ijk(found), [[x[0], y[0], k], [x[1], y[1], k]], atol=1e-6)
    whole = read_study(a_study([a_slice(k, axes=axes) for k in range(9)], folder="whole"))
    assert whole.origins_ras_mm is None
    between = stack.to_ras(len(stack) - 1.5, [5.0, 6.0])
    np.testing.assert_allclose(stack.turned_round().to_ras(0.5, [5.0, 6.0]), between, atol=1e-9)


def test_an_acquisition_cut_across_its_missing_slices_is_for_review(a_study):
    axes = [[1, 0, 0], [0, 1, 0]]
    slices = [a_slice(k, axes=axes, step=1.0, PixelSpacing=[1.0, 1.0]) for k in range(40) if k not in (20, 21)]
    stack = read_study(a_study(slices))
    assert stack.needs_review
    assert any("were cut across" in warning for warning in stack.warnings)


def one_position(series, sign=1.0, of=0):
    """All slices state the position of one; SliceLocation counts along the normal, or against it."""
    normal = np.cross(*SAGITTAL)
    depths = [float(np.dot(normal, np.array(ds.ImagePositionPatient, float))) for ds in series]
    position = series[of].ImagePositionPatient
    for ds, depth in zip(series, depths, strict=True):
        ds.SliceLocation, ds.ImagePositionPatient = f"{sign * depth:.6f}", position
    return series


@pytest.mark.parametrize(("sign", "of"), [(1.0, 0), (-1.0, 0), (1.0, 4), (-1.0, 5)])
def test_slices_that_state_one_position_are_placed_by_their_location_and_are_for_review(a_study, sign, of):
    stack, true = (
        read_study(a_study(one_position(a_series(), sign, of))),
        read_study(a_study(a_series(), folder="true")),
    )
    np.testing.assert_array_equal(stack.voxels, true.voxels)
    np.testing.assert_allclose(stack.ras_from_ijk, true.ras_from_ijk, atol=1e-5)
    assert stack.needs_review
    assert "placed by SliceLocation" in stack.warnings[0]


def test_slices_that_nothing_places_are_refused(a_study):
    elsewhere = one_position(a_series())
    for ds in elsewhere:
        ds.SliceLocation = float(ds.SliceLocation) + 30
    for number, series in enumerate((elsewhere, [a_slice(0, InstanceNumber=k) for k in range(6)])):
        with pytest.raises(GeometryError, match="Expected a position for each slice; got 6 at one"):
            read_study(a_study(series, folder=f"study{number}"))


def test_time_points_of_one_slice_are_no_stack(a_study):
    series = [a_slice(2, InstanceNumber=k, TriggerTime=40.0 * k, SliceLocation=8.8) for k in range(6)]
    for k, ds in enumerate(series):
        ds.PixelData = pixels_of(k).tobytes()
    np.testing.assert_array_equal(read_study(a_study(series)).voxels, [pixels_of(0)])


def test_the_first_time_point_is_kept_where_positions_repeat(a_study):
    first = a_series(TemporalPositionIdentifier=1)
    second = a_series(TemporalPositionIdentifier=2)
    for ds in second:
        ds.PixelData = np.full((ROWS, COLUMNS), 7, np.uint16).tobytes()
    stack = read_study(a_study(second, first))
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) for k in range(COUNT)])
    assert any("6 images at a position that another already has" in note for note in stack.notes)


def test_echoes_under_one_uid_are_two_series(a_study):
    stack = read_study(a_study(a_series(EchoTime=8.0), a_series(EchoTime=90.0)))
    assert len(stack) == COUNT
    assert "Other series: T2 (sagittal T2, 6 slices)" in stack.notes


def test_two_table_stations_under_one_uid_are_not_mixed(a_study):
    upper = a_series()
    for ds in upper:
        ds.ImagePositionPatient = [float(v) for v in np.array(ds.ImagePositionPatient, float) - 250 * SAGITTAL[1]]
    lower = [*a_series(), a_slice(6)]
    stack = read_study(a_study(upper, lower))
    np.testing.assert_allclose(stack.ras_from_ijk, read_study(a_study(lower, folder="lower")).ras_from_ijk)
    assert stack.warnings == ()


def test_slices_shifted_against_each_other_are_refused(a_study):
    series = a_series()
    for k, ds in enumerate(series):
        ds.ImagePositionPatient = [float(v) for v in np.array(ds.ImagePositionPatient, float) + k * SAGITTAL[0]]
    with pytest.raises(GeometryError, match="orthogonal image axes"):
        read_study(a_study(series))


def test_a_lone_file_is_one_slice_even_within_a_series(a_study):
    folder = a_study(a_series())
    path = sorted((folder / "s0").iterdir())[3]
    stack = read_study(path)
    assert len(stack) == 1
    assert stack.slice_spacing_mm == pytest.approx(4.4)
    position = np.array(pydicom.dcmread(path).ImagePositionPatient, float)
    np.testing.assert_allclose(apply(stack.ras_from_ijk, [0, 0, 0]), position * [-1, -1, 1], atol=1e-6)


# --- headers


def with_raw(ds, tag, vr, value):
    """The data set with an element whose bytes are written as they are, which pydicom does for one that it has read."""
    with io.BytesIO() as stream:
        ds.save_as(stream, enforce_file_format=True)
        ds = pydicom.dcmread(io.BytesIO(stream.getvalue()))
    ds._dict[Tag(tag)] = RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)
    return ds


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [
        (0x00280106, "US", b"\1\0\2"),  # SmallestImagePixelValue of three bytes
        (0x00189073, "FD", b"\1\0\2\0"),
        (0x00091001, "ZZ", b"abcd"),
        (0x00200013, "IS", b"1A"),  # InstanceNumber
        (0x00180081, "DS", b"80,5"),  # EchoTime
        (0x00201041, "DS", b"left"),  # SliceLocation
        (0x00080020, "DA", b"yesterday "),
        (0x00081032, "SQ", b"\1\2\3\4"),  # ProcedureCodeSequence
    ],
)
def test_an_element_that_breaks_its_rules_costs_no_file(a_study, tag, vr, value):
    stack = read_study(a_study([with_raw(ds, tag, vr, value) for ds in a_series()]))
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) for k in range(COUNT)])
    assert stack.warnings == ()


def test_more_frames_than_any_scan_has_are_refused_before_one_is_looked_at(a_study, monkeypatch):
    monkeypatch.setattr(dicom_header, "_frame", lambda *_: pytest.fail("no frame is needed"))
    datasets = a_series()[:1]
    datasets[0].NumberOfFrames = 65535
    with pytest.raises(InputError, match="Expected 1 to 8192 frames; got 65535"):
        read_study(a_study(datasets))


@pytest.mark.parametrize("preamble", [b"II*\0", b"PK\x03\x04", b"\xff\xd8\xff", b"\x1f\x8b", b"\x5c\x01\0\0"])
def test_dicom_is_dicom_whatever_its_preamble(tmp_path, preamble):
    ds = a_slice()
    ds.preamble = preamble.ljust(128, b"\0")
    ds.save_as(tmp_path / "a.tif", enforce_file_format=True)
    assert read_study(tmp_path / "a.tif").tags["Modality"] == "MR"
    ds.Modality = "CT"
    ds.save_as(tmp_path / "a.tif", enforce_file_format=True)
    with pytest.raises(InputError, match="Expected MR; got CT"):
        read_study(tmp_path / "a.tif")


@pytest.mark.parametrize("is_implicit", [True, False])
def test_a_data_set_without_preamble_is_read_alone_as_in_a_folder(tmp_path, is_implicit):
    with DicomBytesIO() as stream:
        stream.is_little_endian, stream.is_implicit_VR = True, is_implicit
        write_dataset(stream, Dataset(a_slice(3)))
        (tmp_path / "x.dcm").write_bytes(stream.getvalue())
    np.testing.assert_array_equal(read_study(tmp_path / "x.dcm").voxels, [pixels_of(3)])
    np.testing.assert_array_equal(read_study(tmp_path).voxels, [pixels_of(3)])


def test_decimal_commas_are_read_as_points(a_study):
    series = [with_raw(ds, 0x00180081, "DS", b"90,50") for ds in a_series(series="sag", RepetitionTime=3500)]
    assert "sag (sagittal T2" in read_study(a_study(series)).notes[0]
    assert read_study(
        a_study([with_raw(a_slice(), 0x00180088, "DS", b"3,30")], folder="one")
    ).slice_spacing_mm == pytest.approx(3.3)


@pytest.mark.parametrize(("is_terminal", "silent_s"), [(True, -1.0), (False, -1.0), (True, 60.0)])
def test_a_long_reading_is_counted_on_a_terminal_alone(a_study, monkeypatch, is_terminal, silent_s):
    stderr = io.StringIO()
    stderr.isatty = lambda: is_terminal
    monkeypatch.setattr("sys.stderr", stderr)
    monkeypatch.setattr(dicom_study, "_SILENT_S", silent_s)
    read_study(a_study(a_series()))
    if is_terminal and silent_s < 0:
        assert "/6 [" in stderr.getvalue()
        assert stderr.getvalue().endswith("\r"), "it is taken away"
    else:
        assert stderr.getvalue() == ""


# --- choice


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


@pytest.mark.parametrize("dates", [(None, None), ("20240503", None), ("20240503", "20240503"), ("", "00010101")])
def test_exams_whose_dates_do_not_tell_the_newest_are_for_review(a_study, dates):
    series = [an_exam(n, **({"StudyDate": day} if day else {})) for n, day in enumerate(dates, 1)]
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


def test_two_patients_in_one_folder_are_refused(a_study):
    with pytest.raises(InputError, match="Expected one patient; got 2"):
        read_study(a_study(a_series(), a_series(series="T1", PatientID="another")))


# --- pixels


def test_slope_sign_and_monochrome1_give_real_world_values(a_study):
    signed = [np.arange(-900, -900 + ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.int16) + k for k in range(COUNT)]
    series = [a_slice(k, pixels=signed[k], RescaleSlope=k + 1, RescaleIntercept=-3) for k in range(COUNT)]
    stack = read_study(a_study(series))
    np.testing.assert_array_equal(stack.voxels, [signed[k] * (k + 1.0) - 3 for k in range(COUNT)])
    inverted = [a_slice(k, PhotometricInterpretation="MONOCHROME1", BitsStored=14, HighBit=13) for k in range(COUNT)]
    stack = read_study(a_study(inverted, folder="inverted"))
    np.testing.assert_array_equal(stack.voxels, [2.0**14 - 1 - pixels_of(k) for k in range(COUNT)])


@pytest.mark.parametrize(
    ("dtype", "value", "limit", "vr"),
    [
        (np.int16, -32768, None, "SS"),
        (np.int16, 0x8000, None, "US"),  # the same bytes, declared as unsigned
        (np.int16, -3000, -2000, "SS"),
        (np.uint16, 65535, None, "US"),
        (np.uint16, -1, None, "SS"),
    ],
)
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_no_tissue(a_study, dtype, value, limit, vr, photometric):
    tissue = (100 + np.arange(ROWS * COLUMNS).reshape(ROWS, COLUMNS) % 700).astype(dtype)
    padded = tissue.copy()
    padded[:, :9] = np.array(value).astype(dtype)
    padded[:, 3] = np.array(value if limit is None else limit).astype(dtype)
    ds = a_slice(pixels=padded, PhotometricInterpretation=photometric, RescaleSlope=2, RescaleIntercept=5)
    ds.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        ds.add_new("PixelPaddingRangeLimit", vr, limit)
    plain = a_slice(pixels=tissue, PhotometricInterpretation=photometric, RescaleSlope=2, RescaleIntercept=5)
    found, true = (read_study(a_study([one], folder=str(n))).voxels[0] for n, one in enumerate((ds, plain)))
    np.testing.assert_array_equal(found[:, 9:], true[:, 9:])
    assert (found[:, :9] == found[:, 9:].min()).all()


def encoded(ds, syntax):
    """The same slice in another transfer syntax; what pydicom cannot write, GDCM can."""
    ds = copy.deepcopy(ds)
    if syntax in (RLELossless, JPEG2000Lossless):
        ds.compress(syntax, generate_instance_uid=False)
        return ds
    if syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds["PixelData"].VR = "OW"
            ds.set_original_encoding(False, False)
        return ds
    if syntax == JPEGBaseline8Bit:
        eight_bit = (np.frombuffer(ds.PixelData, np.uint16).reshape(ROWS, COLUMNS) % 2000 // 8).astype(np.uint8)
        with io.BytesIO() as stream:
            Image.fromarray(eight_bit).save(stream, "JPEG", quality=100)
            ds.PixelData = encapsulate([stream.getvalue()])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.file_meta.TransferSyntaxUID = 7, syntax
        return ds
    return encoded_by_gdcm(ds, syntax)


def encoded_by_gdcm(ds, syntax):
    gdcm = pytest.importorskip("gdcm", reason="GDCM writes the JPEG syntaxes that pydicom cannot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(os.environ["GDCM_FOLDER"])
        ds.save_as("plain.dcm", enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName("plain.dcm")
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetFileName("packed.dcm")
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return pydicom.dcmread("packed.dcm", force=True)


LOSSLESS = [
    ImplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEG2000Lossless,
    pydicom.uid.JPEGLossless,
    pydicom.uid.JPEGLosslessSV1,
    pydicom.uid.JPEGLSLossless,
]


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda uid: uid.keyword)
def test_every_lossless_transfer_syntax_gives_the_same_pixels(a_study, tmp_path, monkeypatch, syntax):
    monkeypatch.setenv("GDCM_FOLDER", str(tmp_path))
    stack = read_study(a_study([encoded(ds, syntax) for ds in a_series()]))
    assert pydicom.dcmread(next((tmp_path / "study" / "s0").iterdir())).file_meta.TransferSyntaxUID == syntax
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) for k in range(COUNT)])


def test_jpeg_baseline_is_read_to_within_its_loss(a_study):
    stack = read_study(a_study([encoded(ds, JPEGBaseline8Bit) for ds in a_series()]))
    np.testing.assert_allclose(stack.voxels, [pixels_of(0) // 8] * COUNT, atol=2)


@pytest.mark.parametrize("syntax", [pydicom.uid.JPEG2000, pydicom.uid.JPEGLSNearLossless], ids=lambda uid: uid.keyword)
def test_the_lossy_syntaxes_are_read_to_within_their_loss(a_study, tmp_path, monkeypatch, syntax):
    monkeypatch.setenv("GDCM_FOLDER", str(tmp_path))
    try:
        series = [encoded(ds, syntax) for ds in a_series()]
    except AssertionError:
        pytest.skip("this GDCM cannot write the syntax")
    stack = read_study(a_study(series))
    np.testing.assert_allclose(stack.voxels, [pixels_of(k) for k in range(COUNT)], atol=40)


def test_a_jpeg_stream_that_contradicts_its_data_set_is_refused(a_study, tmp_path, monkeypatch):
    monkeypatch.setenv("GDCM_FOLDER", str(tmp_path))
    ds = encoded(a_slice(0), pydicom.uid.JPEGLosslessSV1)
    ds.Rows = ROWS + 1  # GDCM ends the whole process on some of these
    with pytest.raises(InputError, match="Expected"):
        read_study(a_study([ds]))


def test_a_stream_that_states_another_size_is_not_worked_on(a_study, monkeypatch):
    """A JPEG-LS stream of 40 x 48 pixels that called itself 65,000 pixels wide took 15 s."""
    ds = a_slice(0)
    ds.compress(pydicom.uid.JPEGLSLossless)
    (stream,) = pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)
    at = stream.index(b"\xff\xf7") + 7
    ds.PixelData = encapsulate([stream[:at] + b"\xfd\xe8" + stream[at + 2 :]])
    monkeypatch.setattr("jpeg_ls.CharLS.decode_buffer", lambda *_: pytest.fail("it is not to be decoded"))
    with pytest.raises(InputError, match=rf"the stream states {ROWS} x 65000 pixels"):
        read_study(a_study([ds]))


def test_pixels_that_no_decoder_here_unpacks_are_told_with_what_does(a_study):
    ds = encoded(a_slice(), JPEGBaseline8Bit)
    ds.file_meta.TransferSyntaxUID = JPEGExtended12Bit
    ds.PixelData = encapsulate([b"\xff\xd8\xff\xc9 arithmetic coding"])
    with pytest.raises(InputError, match=r"JPEG Extended.*dcmdjpeg \(DCMTK\)"):
        read_study(a_study([ds]))


@pytest.mark.parametrize("syntax", [pydicom.uid.JPEGLosslessSV1, JPEGExtended12Bit])
def test_without_the_gpl_decoder_one_line_names_what_to_install(a_study, monkeypatch, syntax):
    ds = encoded(a_slice(), JPEGBaseline8Bit)
    ds.file_meta.TransferSyntaxUID = syntax
    plugins = pydicom.pixels.get_decoder(syntax)._available
    monkeypatch.delitem(plugins, "pylibjpeg")
    monkeypatch.setattr(dicom_study, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"GPL-3.0.*pip install 'spine-landmarks\[gpl-jpeg\]'") as told:
        read_study(a_study([ds]))
    assert "\n" not in str(told.value)


def an_enhanced_file(order=(3, 0, 5, 1, 4, 2), **tags):
    """One multi-frame MR file: orientation and spacing shared, positions and slopes by frame, in the given order."""
    ds = a_slice(0, series="enhanced T2", **tags)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedMRImageStorage
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = ds.ImageOrientationPatient, ds.PixelSpacing
    measures.SliceThickness, measures.SpacingBetweenSlices = 4.0, STEP
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], []
    for k in order:
        group, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = a_slice(k).ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 0.5, k, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [values]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness"):
        del ds[keyword]
    ds.NumberOfFrames, ds.PixelData = len(order), b"".join(pixels_of(k).tobytes() for k in order)
    return ds


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.keyword)
def test_an_enhanced_file_gives_its_frames_by_position(a_study, syntax):
    ds = an_enhanced_file()
    if syntax == RLELossless:
        ds.compress(syntax, generate_instance_uid=False)
    stack = read_study(next((a_study([ds]) / "s0").iterdir()))
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) * 0.5 + k for k in range(COUNT)])
    np.testing.assert_allclose(stack.ras_from_ijk, read_study(a_study(a_series(), folder="classic")).ras_from_ijk)


def test_a_private_sequence_does_not_move_a_frame(a_study):
    ds, moved = an_enhanced_file(), Dataset()
    moved.ImagePositionPatient, moved.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    for group in (*ds.PerFrameFunctionalGroupsSequence, ds.SharedFunctionalGroupsSequence[0]):
        group.add_new((0x2005, 0x0014), "LO", "Philips MR Imaging DD 005")
        group.add_new((0x2005, 0x140F), "SQ", [moved])
    stack = read_study(a_study([ds]))
    np.testing.assert_allclose(stack.ras_from_ijk, read_study(a_study(a_series(), folder="classic")).ras_from_ijk)


def test_frames_without_positions_of_their_own_are_refused(a_study):
    ds = an_enhanced_file()
    del ds.PerFrameFunctionalGroupsSequence
    with pytest.raises(GeometryError, match="Expected a position for every slice"):
        read_study(a_study([ds]))


# --- containers


def test_a_zip_reads_as_its_folder(a_study, tmp_path):
    folder = a_study(a_series(), a_series(series="T1"))
    path = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", folder))
    unzipped, zipped = read_study(folder), read_study(path)
    np.testing.assert_array_equal(zipped.voxels, unzipped.voxels)
    np.testing.assert_array_equal(zipped.ras_from_ijk, unzipped.ras_from_ijk)
    assert zipped.source == str(path)


def test_reports_notes_and_files_without_preamble_are_taken_as_they_are(a_study):
    folder = a_study(a_series())
    for path in (folder / "s0").iterdir():
        path.write_bytes(path.read_bytes()[132:])  # no preamble, no DICM mark
    (folder / "readme.txt").write_text("an ordinary file")
    report = a_slice(0, Modality="SR")
    for keyword in ("Rows", "Columns", "PixelData"):
        del report[keyword]
    report.save_as(folder / "report.dcm", enforce_file_format=True)
    assert read_study(folder).warnings == ()
    with pytest.raises(InputError, match="without an image"):
        read_study(folder / "report.dcm")


def test_a_damaged_slice_is_left_out_with_a_warning(a_study):
    folder = a_study([a_slice(k) for k in range(9)])
    worst = next(path for path in (folder / "s0").iterdir() if pydicom.dcmread(path).InstanceNumber == 9)
    worst.write_bytes(worst.read_bytes()[:-1000])
    stack = read_study(folder)
    assert len(stack) == 8
    assert stack.warnings[0].startswith("1 of 9 slices of T2 (sagittal T2, 9 slices) were left out: Expected a DICOM")


# --- bad input


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        ({"PixelSpacing": [0.0, 0.5]}, "positive pixel spacing; got \\(0.0, 0.5\\)"),
        ({"PixelSpacing": [-0.5, 0.5]}, "positive pixel spacing"),
        ({"PixelSpacing": None}, "positive pixel spacing; got none"),
        ({"ImageOrientationPatient": None}, "with orientation"),
        ({"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]}, "with orientation"),
        ({"ImageOrientationPatient": ["0", "1e200", "0", "0", "0", "-1e200"]}, "with orientation"),
        ({"ImageOrientationPatient": [0, 2, 0, 0, 0, -1]}, "direction cosines of length 1"),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0.6, -0.8]}, "orthogonal image axes"),
        ({"ImagePositionPatient": None}, "position for every slice"),
        ({"Rows": 20000, "Columns": 20000}, "8192 pixels a side; got 20000 x 20000"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"PixelData": None}, "Expected pixels"),
        ({"RescaleSlope": 0, "RescaleIntercept": 5}, "has the value 5 everywhere"),
        ({"BitsAllocated": 12}, "Expected a DICOM file"),
    ],
)
def test_a_slice_with_impossible_tags_is_refused(a_study, tags, message):
    with pytest.raises(SpineLandmarksError, match=message) as caught:
        read_study(a_study(a_series(**tags)))
    assert "\n" not in str(caught.value)


def test_a_spacing_that_is_not_a_number_is_refused(a_study):
    folder = a_study(a_series())
    for path in (folder / "s0").iterdir():
        path.write_bytes(path.read_bytes().replace(b"0.7\\0.6", b"nan\\0.6"))
    with pytest.raises(GeometryError, match=r"positive pixel spacing; got \(nan, 0.6\)"):
        read_study(folder)


def test_slices_of_one_pixel_are_refused(a_study):
    series = [a_slice(k, pixels=np.ones((1, 1), np.uint16)) for k in range(COUNT)]
    with pytest.raises(InputError, match="32 to 8192 pixels a side; got 1 x 1"):
        read_study(a_study(series))


@pytest.fixture(scope="module")
def files_to_damage():
    contents = {}
    packed = a_slice(1)
    packed.compress(RLELossless, generate_instance_uid=False)
    wavelet = a_slice(1)
    wavelet.compress(JPEG2000Lossless, generate_instance_uid=False)
    named = {"plain": a_slice(1), "rle": packed, "jpeg2000": wavelet, "enhanced": an_enhanced_file()}
    named["deflated"] = encoded(a_slice(1), DeflatedExplicitVRLittleEndian)
    named["baseline"] = encoded(a_slice(1), JPEGBaseline8Bit)
    for name, ds in named.items():
        with io.BytesIO() as stream:
            ds.save_as(stream, enforce_file_format=True)
            contents[name] = stream.getvalue()
    with io.BytesIO() as stream:
        with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("a", contents["plain"])
        contents["zip"] = stream.getvalue()
    return contents


DAMAGED = ["plain", "rle", "jpeg2000", "deflated", "baseline", "enhanced", "zip"]


@pytest.mark.parametrize("kind", DAMAGED)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.97))
def test_a_file_cut_anywhere_is_refused_in_one_line(files_to_damage, tmp_path, kind, share):
    content = files_to_damage[kind]
    (tmp_path / kind).write_bytes(content)
    assert read_study(tmp_path / kind).voxels.shape[1:] == (ROWS, COLUMNS)
    (tmp_path / kind).write_bytes(content[: int(share * len(content))])
    with pytest.raises(SpineLandmarksError) as caught:
        read_study(tmp_path / kind)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", DAMAGED)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), byte=st.integers(0, 255), early=st.booleans())
def test_a_file_with_a_wrong_byte_gives_an_image_or_one_line(files_to_damage, tmp_path, kind, place, byte, early):
    content = bytearray(files_to_damage[kind])
    content[int(place * (min(1500, len(content)) if early else len(content)))] = byte
    (tmp_path / kind).write_bytes(content)
    message = ""
    try:
        assert np.isfinite(read_study(tmp_path / kind).voxels).all()
    except SpineLandmarksError as error:
        message = str(error)
    assert "\n" not in message


# --- the real study


@needs_dicom
def test_the_sagittal_t2_of_the_real_study_is_chosen():
    stack = read_study(DATA / "100206310")
    assert stack.series_uid == "100206310.1792451510"
    assert stack.voxels.shape == (18, 462, 448)
    assert stack.slice_spacing_mm == pytest.approx(4.48, abs=0.01)
    assert "Other series: T1 (sagittal T1, 18 slices), T2 (axial T2, 60 slices)" in stack.notes
    assert stack.warnings == ()


@needs_dicom
def test_the_axial_series_of_the_real_study_alone_is_refused():
    with pytest.raises(
        GeometryError, match=r"Expected a sagittal series; got axial \(normal .*T2 \(axial T2, 60 slices"
    ):
        read_study(DATA / "100206310" / "1012284084")
