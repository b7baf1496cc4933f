"""Zips that attack: nothing leaves the folder, nothing grows without end, nothing stays behind."""

import bz2
import gzip
import lzma
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging import unzip
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti


@pytest.fixture
def a_zip(tmp_path):
    """Write members {name: bytes} to a zip; a ZipInfo may stand for a name."""

    def write(members, compression=zipfile.ZIP_DEFLATED):
        path = tmp_path / "study.zip"
        with zipfile.ZipFile(path, "w", compression) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path

    return write


@pytest.mark.parametrize(
    "name", ["../escaped", "a/../../escaped", "/escaped", "..\\escaped", "C:\\escaped", "c:escaped"]
)
def test_a_name_that_leaves_the_folder_is_refused(a_zip, tmp_path, name):
    with pytest.raises(InputError, match="Expected names inside the zip's own folder"):
        read_study(a_zip([(name, b"x")]))
    assert not list(tmp_path.parent.rglob("escaped"))


def test_a_link_is_refused(a_zip):
    link = zipfile.ZipInfo("slice.dcm")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with pytest.raises(InputError, match="got a link"):
        read_study(a_zip([(link, b"/etc/passwd")]))


def test_a_zip_that_inflates_a_thousandfold_is_refused(a_zip):
    bomb = a_zip([(f"{n}.dcm", bytes(2**24)) for n in range(5)])  # 80 MiB of zeros in 80 KiB
    assert bomb.stat().st_size < 2**17
    with pytest.raises(InputError, match="inflates to at most 67108864 bytes"):
        read_study(bomb)


def test_the_inflated_size_is_counted_not_believed(a_zip, monkeypatch):
    path = a_zip([("a.dcm", b"abc" * 4000)])
    monkeypatch.setattr(unzip, "MAX_INFLATED_BYTES", 1000)
    monkeypatch.setattr(
        zipfile.ZipInfo, "file_size", property(lambda self: 10, lambda self, value: None), raising=False
    )
    with pytest.raises(InputError):
        read_study(path)


def test_a_limit_in_bytes_holds_for_honest_content(a_zip, monkeypatch):
    monkeypatch.setattr(unzip, "MAX_INFLATED_BYTES", 1000)
    with pytest.raises(InputError, match="at most 1000 bytes"):
        read_study(a_zip([("a.dcm", b"ab"), ("b.dcm", b"abc" * 400)], zipfile.ZIP_STORED))


def test_too_many_members_are_refused(a_zip, monkeypatch):
    monkeypatch.setattr(unzip, "MAX_MEMBERS", 3)
    with pytest.raises(InputError, match="at most 3 files"):
        read_study(a_zip([(f"{n}", b"x") for n in range(4)]))


@pytest.mark.parametrize("content", [[], [("notes.txt", b"no image")], [("volume.nii", b"\x5c\x01\0\0" * 90)]])
def test_a_zip_without_dicom_is_refused(a_zip, content):
    path = a_zip(content)
    with pytest.raises(InputError, match="Expected"):
        read_study(path)


def test_the_temporary_folder_goes_away_whatever_happens(a_zip):
    path = a_zip([("a", b"x")])
    with unzip.unpacked(path) as folder:
        assert [file.read_bytes() for file in folder.iterdir()] == [b"x"]
    assert not folder.exists()
    with pytest.raises(ZeroDivisionError), unzip.unpacked(path) as folder:
        raise ZeroDivisionError
    assert not Path(folder).exists()


HOLD = """
import sys, time
from pathlib import Path
from SpineLandmarksLib.imaging import unzip
with unzip.unpacked(Path(sys.argv[1])) as folder:
    print(folder, flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_folder_of_a_process_that_was_killed_goes_when_the_next_is_made(a_zip, tmp_path, monkeypatch):
    path = a_zip([("a", b"x")])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(unzip, "NEW_S", -1.0)
    command = [sys.executable, "-c", HOLD, str(path)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        with unzip.unpacked(path):
            assert held.is_dir()  # it is in use
        holder.kill()
    assert held.is_dir()
    with unzip.unpacked(path):
        assert not held.parent.exists()
    assert not list(tmp_path.glob("spine-landmarks-*"))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_command_that_is_told_to_end_takes_its_folders_away(a_zip, tmp_path):
    code = (
        "import sys; from SpineLandmarksLib.cli import main\n"
        f"options = type('Options', (), dict(run=lambda options: exec({HOLD!r}) or 0))\n"
        "sys.exit(main.run(options))"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", code, str(a_zip([("a", b"x")]))]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as holder:
        assert holder.stdout is not None
        held = Path(holder.stdout.readline().strip())
        assert held.is_dir()
        holder.terminate()
        assert "interrupted" in holder.communicate()[1]
    assert holder.returncode == 130
    assert not held.parent.exists()


def test_an_encrypted_member_is_refused(a_zip):
    path = a_zip([("a.dcm", b"secret")])
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x03\x04") + 6] |= 1  # general purpose flag, bit 0, in both headers
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="encrypted"):
        read_study(path)


@pytest.mark.parametrize("name", ["slice.dcm.gz", "SLICE.PNG.GZ", "volume.mha.gz", "study.zip.gz", "volume.nii"])
def test_what_is_packed_with_gzip_is_read_as_what_it_is(a_phantom, tmp_path, name):
    plain = tmp_path / "plain"
    slices = sorted(write_dicom_series(a_phantom, plain).iterdir())
    inner = tmp_path / Path(name).name.lower().removesuffix(".gz")
    if "dcm" in name:
        shutil.copy(slices[0], inner)
    elif "zip" in name:
        with zipfile.ZipFile(inner, "w") as archive:
            [archive.write(file, file.name) for file in slices]
    elif "PNG" in name:
        Image.fromarray(a_phantom.voxels[3].astype(np.uint16)).save(inner)
    else:
        write_nifti(a_phantom, tmp_path / "a.nii")
        sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii")), str(inner))
    packed = tmp_path / "packed" / name
    packed.parent.mkdir()
    packed.write_bytes(gzip.compress(inner.read_bytes()))
    expected, found = read_study(inner), read_study(packed)
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    assert found.source == str(packed)


def test_a_gzip_file_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unzip, "RATIO_FREE_BYTES", 1000)
    bomb = tmp_path / "bomb.png.gz"
    bomb.write_bytes(gzip.compress(b"\x89PNG\r\n\x1a\n" + bytes(2_000_000)))
    with pytest.raises(InputError, match="inflates to at most"):
        read_study(bomb)


@pytest.mark.parametrize(("name", "content"), [("a.nii.bz2", bz2.compress(b"x")), ("a.dcm.xz", lzma.compress(b"x"))])
def test_other_archives_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="Unpack it first"):
        read_study(tmp_path / name)
    with tarfile.open(tmp_path / "all.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / name, name)
    with pytest.raises(InputError, match=r"got tar, all\.tar"):
        read_study(tmp_path / "all.tar.gz")
