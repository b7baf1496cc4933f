"""Any geometry in any container gives the same voxels at the same places of the patient, upright."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.predict import Localizer

Array = NDArray[np.float64]
#: A place may be off by this much, mm.
PLACE_MM = 0.05
#: Without shrinking, which takes minutes where each example writes files.
QUICK = (Phase.explicit, Phase.reuse, Phase.generate)
TILTS = st.tuples(*[st.floats(-20, 20)] * 3)


@pytest.fixture(scope="module")
def a_small_phantom() -> Phantom:
    return make_phantom(3, slices=6, matrix=(48, 40), pixel_mm=6.0)


def rotation(degrees: tuple[float, float, float]) -> Array:
    """(3, 3) about R, then A, then S."""
    turned = np.eye(3)
    for axis, angle in enumerate(np.radians(degrees)):
        one, two = [(1, 2), (2, 0), (0, 1)][axis]
        about = np.eye(3)
        about[[one, one, two, two], [one, two, one, two]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turned = about @ turned
    return turned


def acquired(
    values: Array, spacing: tuple[float, float, float], tilt: tuple[float, float, float]
) -> tuple[Array, Array]:
    """Voxels (I, J, K) that run R, A, S by their axes, and their matrix: RAS mm from ijk, tilted and off the origin."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation(tilt) * spacing
    matrix[:3, 3] = (-31.0, 17.0, -402.0)
    return values, matrix


def stored(voxels: Array, matrix: Array, order: tuple[int, ...], flips: tuple[bool, ...]) -> tuple[Array, Array]:
    """The same image with its axes in another order, some of them from the other end."""
    from_stored = np.zeros((4, 4))
    from_stored[3, 3] = 1.0
    for new, old in enumerate(order):
        from_stored[old, new] = -1.0 if flips[new] else 1.0
        from_stored[old, 3] = voxels.shape[old] - 1.0 if flips[new] else 0.0
    turned = voxels.transpose(order)
    for axis, is_flipped in enumerate(flips):
        turned = np.flip(turned, axis) if is_flipped else turned
    return np.ascontiguousarray(turned), matrix @ from_stored


def write_nifti_file(voxels: Array, matrix: Array, path: Path) -> Path:
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.int16), matrix), path)
    return path


def write_itk_file(voxels: Array, matrix: Array, path: Path) -> Path:
    image = sitk.GetImageFromArray(voxels.astype(np.int16).transpose(2, 1, 0))
    lps = np.diag([-1, -1, 1, 1.0]) @ matrix
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    sitk.WriteImage(image, str(path))
    return path


CONTAINERS: dict[str, Callable[[Array, Array, Path], Path]] = {
    "a.nii": write_nifti_file,
    "a.nii.gz": write_nifti_file,
    "a.nrrd": write_itk_file,
    "a.nhdr": write_itk_file,
    "a.mha": write_itk_file,
    "a.mhd": write_itk_file,
}


def require_same(stack: SagittalStack, voxels: Array, matrix: Array) -> None:
    """Every voxel of the stack is the one that the image has there; the stack is upright, anterior left."""
    count, height, width = stack.voxels.shape
    k, row, column = np.mgrid[:count, :height, :width].reshape(3, -1)
    places = np.concatenate([stack.to_ras(i, np.c_[column[k == i], row[k == i]]) for i in range(count)])
    at = (np.c_[places, np.ones(len(places))] @ np.linalg.inv(matrix).T)[:, :3]
    off_mm = np.abs(at - np.rint(at)) * np.linalg.norm(matrix[:3, :3], axis=0)
    assert off_mm.max() < PLACE_MM
    i, j, s = np.rint(at).astype(int).T
    np.testing.assert_array_equal(stack.voxels.ravel(), voxels[i, j, s])
    assert stack.ras_from_ijk is not None
    assert stack.ras_from_ijk[1, 0] < 0, "columns run from front to back"
    assert stack.ras_from_ijk[2, 1] < 0, "rows run from head to feet"


@settings(max_examples=60, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(CONTAINERS)),
    order=st.permutations(range(3)).map(tuple),
    flips=st.tuples(*[st.booleans()] * 3),
    tilt=TILTS,
    spacing=st.tuples(st.floats(3.0, 6.0), st.floats(0.6, 2.0), st.floats(0.6, 2.0)),
    seed=st.integers(0, 99),
)
def test_a_volume_however_it_is_stored_keeps_each_voxel_in_its_place(
    tmp_path: Path,
    name: str,
    order: tuple[int, ...],
    flips: tuple[bool, ...],
    tilt: tuple[float, float, float],
    spacing: tuple[float, float, float],
    seed: int,
) -> None:
    values = np.random.default_rng(seed).integers(0, 30_000, (5, 36, 44)).astype(float)
    voxels, matrix = acquired(values, spacing, tilt)
    path = CONTAINERS[name](*stored(voxels, matrix, order, flips), tmp_path / name)
    require_same(read_study(path), voxels, matrix)


@settings(max_examples=20, deadline=None, phases=QUICK, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    transposed=st.booleans(),
    flips=st.tuples(*[st.booleans()] * 3),
    tilt=TILTS,
    spacing=st.tuples(st.floats(3.0, 6.0), st.floats(0.6, 2.0), st.floats(0.6, 2.0)),
    seed=st.integers(0, 99),
)
def test_sagittal_dicom_slices_however_they_are_stored_keep_each_voxel_in_its_place(
    tmp_path: Path,
    a_small_phantom: Phantom,
    transposed: bool,
    flips: tuple[bool, ...],
    tilt: tuple[float, float, float],
    spacing: tuple[float, float, float],
    seed: int,
) -> None:
    """Numbers and names of the files are in no order of the slices."""
    values = np.random.default_rng(seed).integers(0, 4096, (5, 36, 44)).astype(float)
    voxels, matrix = acquired(values, spacing, tilt)
    written, written_matrix = stored(voxels, matrix, (2, 1, 0) if transposed else (1, 2, 0), flips)
    as_phantom = replace(
        a_small_phantom, voxels=written.transpose(2, 1, 0).astype(np.float32), ras_from_ijk=written_matrix, seed=seed
    )
    shutil.rmtree(tmp_path / "series", ignore_errors=True)
    require_same(read_study(write_dicom_series(as_phantom, tmp_path / "series")), voxels, matrix)


def test_the_landmarks_are_the_same_from_every_container_and_order(
    the_shipped_localizer: Localizer, tmp_path: Path
) -> None:
    phantom = make_phantom(11, matrix=(160, 128), pixel_mm=2.0, slices=7)
    matrix, voxels = phantom.ras_from_ijk, np.rint(phantom.voxels.transpose(2, 1, 0)).astype(float)
    found = []
    for number, (name, write) in enumerate(sorted(CONTAINERS.items())):
        rng = np.random.default_rng(number)
        order, flips = tuple(rng.permutation(3)), tuple(rng.random(3) < 0.5)
        path = write(*stored(voxels, matrix, order, flips), tmp_path / name)
        found.append(the_shipped_localizer.localize(read_study(path)))
    places = np.array([[mark.position_ras_mm for mark in one] for one in found], dtype=float)
    assert np.abs(places - places[0]).max() < PLACE_MM
