"""Phantoms on disk: read back with independent readers, geometry included."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK

from SpineLandmarksLib.geometry import apply, ras_from_lps
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom


@pytest.fixture(scope="module")
def a_phantom() -> Phantom:
    return make_phantom(11, matrix=(96, 80), pixel_mm=3.1, slices=5, slice_mm=4.4)


@pytest.fixture
def a_series(a_phantom: Phantom, tmp_path: Path) -> list[pydicom.FileDataset]:
    write_dicom_series(a_phantom, tmp_path / "series")
    return [pydicom.dcmread(path) for path in sorted((tmp_path / "series").iterdir())]


@pytest.mark.parametrize("name", ["phantom.nii", "phantom.nii.gz"])
def test_nifti_comes_back_with_voxels_and_matrix(a_phantom: Phantom, tmp_path: Path, name: str) -> None:
    image = nibabel.load(write_nifti(a_phantom, tmp_path / name))
    assert np.array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), a_phantom.voxels)
    corners = np.array([[0, 0, 0], [79, 95, 4], [79, 0, 4]])
    for matrix in (image.get_sform(), image.get_qform()):
        assert np.abs(apply(matrix, corners) - apply(a_phantom.ras_from_ijk, corners)).max() < 1e-3


def test_dicom_read_by_itk_puts_every_landmark_where_the_truth_is(a_phantom: Phantom, tmp_path: Path) -> None:
    folder = write_dicom_series(a_phantom, tmp_path / "series")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    voxels = SimpleITK.GetArrayFromImage(image)
    corners = [(0, 0, 0), (79, 95, 4), (79, 0, 0)]
    read = np.array([ras_from_lps(image.TransformIndexToPhysicalPoint(corner)) for corner in corners])
    kept = apply(a_phantom.ras_from_ijk, np.array(corners))
    turned = apply(a_phantom.ras_from_ijk, np.array([(i, j, 4 - k) for i, j, k in corners]))
    # ITK may stack from the other side; the voxels must then be turned as well.
    same_way = np.abs(read - kept).max() < 1e-3
    assert same_way or np.abs(read - turned).max() < 1e-3
    assert np.abs((voxels if same_way else voxels[::-1]) - a_phantom.voxels).max() <= 0.5


def test_dicom_must_be_sorted_by_position(a_series: list[pydicom.FileDataset]) -> None:
    normal = np.cross(a_series[0].ImageOrientationPatient[:3], a_series[0].ImageOrientationPatient[3:])
    along = np.array([np.dot(normal, d.ImagePositionPatient) for d in a_series])
    by_position = np.argsort(along)
    numbers = np.array([d.InstanceNumber for d in a_series])
    assert sorted(numbers) == [1, 2, 3, 4, 5]
    for order in (np.arange(5), np.argsort(numbers)):
        assert not np.array_equal(order, by_position)
        assert not np.array_equal(order, by_position[::-1])
    assert np.diff(along[by_position]) == pytest.approx([4.4] * 4)


def test_dicom_headers_are_whole_and_plainly_fictitious(a_series: list[pydicom.FileDataset]) -> None:
    assert {str(d.PatientName) for d in a_series} == {"PHANTOM^SPINE"}
    assert {d.SOPClassUID.name for d in a_series} == {"MR Image Storage"}
    assert len({d.SOPInstanceUID for d in a_series}) == 5
    assert len({d.SeriesInstanceUID for d in a_series}) == 1
    for d in a_series:
        assert d.file_meta.MediaStorageSOPInstanceUID == d.SOPInstanceUID
        for uid in (d.SOPInstanceUID, d.SeriesInstanceUID, d.StudyInstanceUID, d.FrameOfReferenceUID):
            assert uid.is_valid
        assert d.SeriesDescription == "T2 sag"


def test_the_same_phantom_gives_the_same_bytes(a_phantom: Phantom, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_dicom_series(a_phantom, tmp_path / folder)
        write_nifti(a_phantom, tmp_path / folder / "v.nii.gz")
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())
    for name in names:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    # Bytes 4 to 8 of a gzip file are its time stamp (RFC 1952); two writes in one second would hide it.
    assert (tmp_path / "a" / "v.nii.gz").read_bytes()[4:8] == b"\0\0\0\0"


def test_series_of_one_seed_share_their_study_and_frame(tmp_path: Path) -> None:
    shared, series = set(), set()
    for number, contrast in enumerate(("T1", "T2", "STIR"), start=1):
        phantom = make_phantom(6, contrast=contrast, matrix=(64, 64), pixel_mm=5.0, slices=2)
        folder = write_dicom_series(phantom, tmp_path / contrast, series_number=number, description=f"{contrast} tse")
        header = pydicom.dcmread(next(folder.iterdir()))
        shared.add((header.StudyInstanceUID, header.FrameOfReferenceUID, header.PatientID))
        series.add((header.SeriesInstanceUID, header.SeriesDescription))
    assert len(shared) == 1
    assert len(series) == 3
