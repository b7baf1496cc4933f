"""DICOM in: the order and place of slices, and what is told where they do not fit together."""

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_slices import COLUMNS, COUNT, ROWS, SAGITTAL, a_series, a_slice, pixels_of
from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.study import read_study


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
