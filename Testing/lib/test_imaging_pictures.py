"""Pictures in: PNG, JPEG, BMP and TIFF."""

import io
import os
import struct

import numpy as np
import pytest
from PIL import Image

from known_voxels import a_picture
from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.imaging import picture
from SpineLandmarksLib.imaging.study import read_study


def test_a_damaged_picture_writes_nothing_to_stdout(tmp_path, capfd):
    Image.fromarray(a_picture()).save(tmp_path / "a.jpg")
    content = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\x00" + bytes(18) + content[3:])
    with pytest.raises(InputError, match=r"a\.jpg is damaged or not one"):
        read_study(tmp_path / "a.jpg")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a_without_extension"])
def test_a_picture_has_our_own_frame(tmp_path, name):
    Image.fromarray(a_picture()).save(tmp_path / name, format=None if "." in name else "PNG")
    stack = read_study(tmp_path / name, spacing_mm=(0.5, 0.8))
    np.testing.assert_array_equal(stack.voxels[0], a_picture())
    assert not stack.has_patient_frame
    assert stack.pixel_spacing_mm == (0.5, 0.8)
    # column 10 lies 5 mm behind, row 20 lies 16 mm below pixel (0, 0)
    np.testing.assert_allclose(stack.to_ras(0, np.array([[10.0, 20.0]])), [[0, -5, -16]])


def test_a_picture_without_spacing_has_no_millimetres(tmp_path):
    Image.fromarray(a_picture()).save(tmp_path / "a.png")
    stack = read_study(tmp_path / "a.png")
    assert stack.ras_from_ijk is None
    assert any("spacing of a picture is unknown" in warning for warning in stack.warnings)


def a_packed_tiff(compression):
    with io.BytesIO() as stream:
        Image.fromarray(np.add.outer(np.arange(90), np.arange(80)).astype(np.uint16) * 200).save(
            stream, "TIFF", compression=compression
        )
        return bytearray(stream.getvalue())


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate"])
def test_a_damaged_tiff_is_refused_in_one_line_and_libtiff_says_nothing(tmp_path, capfd, compression):
    content = a_packed_tiff(compression)
    content[200:400] = b"\xff" * 200
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        read_study(tmp_path / "a.tif")
    assert capfd.readouterr() == ("", "")


def test_damage_that_libtiff_reports_is_told_and_is_for_review(tmp_path, capfd, monkeypatch):
    """A library that goes on after an error, as libtiff does with some strips."""
    (tmp_path / "a.tif").write_bytes(a_packed_tiff("tiff_lzw"))
    lines = b"a.tif: Warning, unknown field.\nLZWDecode: Not enough data at scanline 7.\nspine-landmarks: x\n"
    grey = picture._grey
    monkeypatch.setattr(picture, "_grey", lambda image: grey(image) if os.write(2, lines) else None)
    stack = read_study(tmp_path / "a.tif")
    assert "LZWDecode: Not enough data at scanline 7" in stack.warnings[0]
    assert stack.needs_review
    assert capfd.readouterr().err == "spine-landmarks: x\n"


def as_tiff(pixels, white_is_zero, kind):
    """An uncompressed little-endian TIFF of one strip. kind: SampleFormat, 1 unsigned, 3 float."""
    rows, columns = pixels.shape
    photometric = 0 if white_is_zero else 1
    tags = [(256, columns), (257, rows), (258, 8 * pixels.itemsize), (259, 1), (262, photometric), (273, 8)]
    tags += [(277, 1), (278, rows), (279, pixels.nbytes), (339, kind)]
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + pixels.nbytes) + pixels.tobytes() + directory


@pytest.mark.parametrize(("dtype", "kind"), [("u1", 1), ("<u2", 1), ("<f4", 3)])
def test_a_tiff_whose_zero_is_white_is_turned_round(tmp_path, dtype, kind):
    values = (a_picture().astype(float) * (1 if dtype == "u1" else 100)).astype(dtype)
    top = {"u1": 255, "<u2": 65535}.get(dtype, values.max())
    for name, pixels in (("black", values), ("white", (top - values).astype(dtype))):
        (tmp_path / f"{name}.tif").write_bytes(as_tiff(pixels, name == "white", kind))
    black, white = (read_study(tmp_path / f"{name}.tif").voxels for name in ("black", "white"))
    np.testing.assert_array_equal(black, white)


def test_sixteen_bit_and_float_pictures_keep_their_values(tmp_path):
    deep = a_picture().astype(np.uint16) * 250
    Image.fromarray(deep).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_study(tmp_path / "a.png").voxels[0], deep)
    Image.fromarray(a_picture() / np.float32(3)).save(tmp_path / "a.tif")
    np.testing.assert_array_equal(read_study(tmp_path / "a.tif").voxels[0], a_picture() / np.float32(3))


def test_colour_becomes_grey_with_a_warning_only_where_channels_differ(tmp_path):
    grey = np.repeat(a_picture()[..., np.newaxis], 3, axis=2)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    stack = read_study(tmp_path / "grey.png")
    np.testing.assert_array_equal(stack.voxels[0], a_picture())
    assert not any("colour" in warning for warning in stack.warnings)
    grey[0, 0] = 100, 200, 50  # 0.299 * 100 + 0.587 * 200 + 0.114 * 50 = 153
    Image.fromarray(grey).save(tmp_path / "colour.png")
    stack = read_study(tmp_path / "colour.png")
    assert stack.voxels[0, 0, 0] == pytest.approx(153)
    assert any("colour" in warning for warning in stack.warnings)


def test_a_palette_is_looked_up(tmp_path):
    image = Image.fromarray(a_picture()).convert("P")
    image.putpalette([255 - n // 3 for n in range(768)])
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_study(tmp_path / "a.png").voxels[0], 255 - a_picture().astype(int))


def test_pictures_with_pages_or_of_a_wrong_size_are_refused(tmp_path, monkeypatch):
    pages = [Image.fromarray(a_picture()) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="got 3 pages"):
        read_study(tmp_path / "a.tif")
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="32 to 8192 pixels a side; got 1 x 1"):
        read_study(tmp_path / "a.png")
    Image.new("1", (20000, 20000)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="8192 pixels a side"):
        read_study(tmp_path / "a.png")


@pytest.mark.parametrize("spacing", [0.0, -0.5, np.nan, np.inf, (0.5, 0.0)])
def test_an_impossible_spacing_for_a_picture_is_refused(tmp_path, spacing):
    Image.fromarray(a_picture()).save(tmp_path / "a.png")
    with pytest.raises(GeometryError, match="positive pixel spacing"):
        read_study(tmp_path / "a.png", spacing_mm=spacing)
