"""DICOM in: real-world values, every transfer syntax, frames of one file."""

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    RLELossless,
)

from dicom_slices import COLUMNS, COUNT, ROWS, a_series, a_slice, an_enhanced_file, encoded, pixels_of
from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.imaging import dicom_study
from SpineLandmarksLib.imaging.study import read_study


def test_slope_sign_and_monochrome1_give_real_world_values(a_study):
    signed = [np.arange(-900, -900 + ROWS * COLUMNS).reshape(ROWS, COLUMNS).astype(np.int16) + k for k in range(COUNT)]
    series = [a_slice(k, pixels=signed[k], RescaleSlope=k + 1, RescaleIntercept=-3) for k in range(COUNT)]
    stack = read_study(a_study(series))
    np.testing.assert_array_equal(stack.voxels, [signed[k] * (k + 1.0) - 3 for k in range(COUNT)])
    inverted = [a_slice(k, PhotometricInterpretation="MONOCHROME1", BitsStored=14, HighBit=13) for k in range(COUNT)]
    stack = read_study(a_study(inverted, folder="inverted"))
    np.testing.assert_array_equal(stack.voxels, [2.0**14 - 1 - pixels_of(k) for k in range(COUNT)])


def test_a_slope_of_zero_is_none(a_study):
    stack = read_study(a_study([a_slice(k, RescaleSlope=0, RescaleIntercept=0) for k in range(COUNT)]))
    np.testing.assert_array_equal(stack.voxels, [pixels_of(k) for k in range(COUNT)])


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
