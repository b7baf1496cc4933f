"""Writers of image files that several test modules of this folder use."""

import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from known_voxels import AFFINE, orthogonal, some_voxels


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


@pytest.fixture
def an_oblique_nifti(tmp_path):
    """Write a NIfTI; keyword arguments change voxels, affine, codes or header fields."""

    def write(name="a.nii", voxels=None, affine=None, sform=1, qform=1, kind=nib.Nifti1Image, **fields):
        affine = orthogonal(AFFINE) if affine is None else affine
        image = kind(some_voxels() if voxels is None else voxels, affine)
        image.set_sform(affine, sform, update_affine=False)
        image.set_qform(affine, qform, update_affine=False)
        for key, value in fields.items():
            image.header[key] = value
        path = tmp_path / name
        content = image.to_bytes()
        path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        return path

    return write


@pytest.fixture
def an_itk_image():
    """The same voxels for SimpleITK, whose frame is LPS."""
    image = sitk.GetImageFromArray(some_voxels().transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1.0]) @ orthogonal(AFFINE)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    return image
