"""DICOM in: headers, containers, and what is refused, down to a single wrong byte; the real study."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGBaseline8Bit, RLELossless

from dicom_slices import COLUMNS, COUNT, ROWS, a_series, a_slice, an_enhanced_file, encoded, pixels_of
from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.imaging import dicom_header, dicom_study
from SpineLandmarksLib.imaging.study import read_study

DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", Path(__file__).parents[3] / "shared" / "data")) / "dicom"
needs_dicom = pytest.mark.skipif(not DATA.is_dir(), reason=f"no real DICOM study at {DATA}")


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
