"""Which studies lie in a tree: what belongs together is one, previews and results are none."""

from __future__ import annotations

import os
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from SpineLandmarksLib.batch.results import MAX_BYTES, found_in
from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.discover import find_studies
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom


def put_dicom(path: Path, study: str | None) -> None:
    """The smallest DICOM file that names a study."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = pydicom.Dataset()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = MRImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = generate_uid()
    if study:
        dataset.StudyInstanceUID = study
    dataset.save_as(path, enforce_file_format=True)


def put(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 200)


def found(root: Path, **options: object) -> list[str]:
    return [path.relative_to(root).as_posix() for path in find_studies(root, **options)]  # type: ignore[arg-type]


def test_series_folders_of_one_study_are_one_study_and_a_patient_may_have_several(tmp_path: Path) -> None:
    for name, study in [
        ("anna/2020/t1/1", "1.1"),
        ("anna/2020/t1/2", "1.1"),
        ("anna/2020/t2/1", "1.1"),
        ("anna/2020/scout/x/1", "1.1"),
        ("anna/2023/t2/1.dcm", "1.2"),
        ("ben/t1/1", "2.1"),
        ("ben/t2/1", "2.1"),
        ("carl/1", "3.1"),
    ]:
        put_dicom(tmp_path / name, study)
    assert found(tmp_path) == ["anna/2020", "anna/2023/t2", "ben", "carl"]


def test_a_folder_that_is_a_study_stays_one(tmp_path: Path) -> None:
    for name in ("t1/1", "t2/1"):
        put_dicom(tmp_path / name, "1.1")
    assert found(tmp_path) == ["."]
    put_dicom(tmp_path / "1", "9.9")
    assert found(tmp_path) == ["."], "DICOM files of its own make a folder a study, with all that is below"
    put(tmp_path / "one.nii")
    assert find_studies(tmp_path / "one.nii") == [tmp_path / "one.nii"]


def test_folders_whose_study_is_unknown_are_studies_of_their_own(tmp_path: Path) -> None:
    for name in ("a/1", "b/1"):
        put_dicom(tmp_path / name, None)
    assert found(tmp_path) == ["a", "b"]
    (tmp_path / "a" / "0").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)  # damaged: the next file is asked
    put_dicom(tmp_path / "a" / "1", "1.1")
    put_dicom(tmp_path / "b" / "1", "1.1")
    assert found(tmp_path) == ["."]


def test_a_disk_with_its_directory_file_is_searched_like_any_tree(tmp_path: Path) -> None:
    put_dicom(tmp_path / "DICOMDIR", None)
    put_dicom(tmp_path / "DICOM" / "0000" / "1", "1.1")
    put_dicom(tmp_path / "DICOM" / "0001" / "1", "1.2")
    assert found(tmp_path) == ["DICOM/0000", "DICOM/0001"]


def test_images_and_zips_are_studies_and_what_belongs_to_them_is_not(tmp_path: Path) -> None:
    names = ["a.NII.gz", "b.hdr", "c/d.mhd", "e.nrrd", "f.zip", "g.mgz"]
    others = ["b.img", "c/d.raw", "notes.txt", ".hidden.nii", ".cache/x.nii", "out/x.nii"]
    pictures = ["p.png", "q.JPG"]
    put(*(tmp_path / name for name in [*names, *others, *pictures, "e.overlay.png"]))
    assert found(tmp_path, but_not=tmp_path / "out") == names
    assert found(tmp_path, but_not=tmp_path / "out", with_pictures=True) == sorted([*names, *pictures])


def test_previews_and_copies_beside_dicom_files_belong_to_the_study(tmp_path: Path) -> None:
    put_dicom(tmp_path / "study" / "1", "1.1")
    put(tmp_path / "study" / "preview.jpg", tmp_path / "study" / "converted.nii.gz", tmp_path / "other.nii")
    assert found(tmp_path, with_pictures=True) == ["other.nii", "study"]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege on Windows")
def test_links_to_folders_are_not_followed_so_that_a_circle_ends(tmp_path: Path) -> None:
    put(tmp_path / "a" / "x.nii")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "y.nii").symlink_to(tmp_path / "a" / "x.nii")
    assert found(tmp_path) == ["a/x.nii", "y.nii"]


def test_a_folder_that_cannot_be_listed_fails_as_a_study_and_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a" / "x.nii", tmp_path / "locked" / "y.nii")
    scandir = os.scandir

    def denied(path: object) -> object:
        if os.fspath(path).endswith("locked"):  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "scandir", denied)
    monkeypatch.setattr(os, "listdir", lambda path: [entry.name for entry in denied(path)])  # type: ignore[attr-defined]
    assert found(tmp_path) == ["a/x.nii", "locked"]
    with pytest.raises(InputError, match="denies reading"):
        read_study(tmp_path / "locked")


def test_a_phantom_s_series_folders_are_found_and_read(a_phantom: Phantom, tmp_path: Path) -> None:
    write_dicom_series(a_phantom, tmp_path / "tree" / "p1" / "t2")
    write_dicom_series(a_phantom, tmp_path / "tree" / "p1" / "again", series_number=2)
    put(tmp_path / "tree" / "x.nii")
    (study, _) = find_studies(tmp_path / "tree")
    assert study.name == "p1"
    assert read_study(study).voxels.shape == a_phantom.voxels.shape


def test_results_in_a_tree_are_named_by_the_folders_below_it(tmp_path: Path) -> None:
    put(*(tmp_path / name for name in ("one/p1/s.nii", "one/p1/s.nrrd", "one/p2/s.nii", "two/p1/s.nii")))
    one, two = tmp_path / "one", tmp_path / "two"
    assert [study.stem for study in found_in([one], False, tmp_path / "out")] == ["p1_s", "p1_s-2", "p2_s"]
    assert [study.stem for study in found_in([one, two], False, tmp_path / "out")][-2:] == ["one_p2_s", "two_p1_s"]
    assert [study.stem for study in found_in([one / "p1" / "s.nii"], False, tmp_path / "out")] == ["s"]
    assert len(found_in([one, one], False, tmp_path / "out")) == 3


def test_a_name_that_no_disk_could_hold_is_cut_and_stays_unlike_others(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["ä" * 50] * 4)
    put(deep / "x" / "s.nii", deep / "y" / "s.nii")
    stems = [study.stem for study in found_in([tmp_path], False, tmp_path / "out")]
    assert len(set(stems)) == 2
    assert all(len(stem.encode()) <= MAX_BYTES for stem in stems)
    assert stems[0].endswith("ä_x_s")


def test_a_tree_without_studies_says_what_was_sought(tmp_path: Path) -> None:
    put(tmp_path / "p.png")
    with pytest.raises(InputError, match=r"found none; with --spacing, pictures count too"):
        found_in([tmp_path], False, tmp_path / "out")
