"""What of a volume the worker gets, and what is refused before it, in words that say what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.phantom import Phantom
from standins.bench import add_volume

AXIAL = np.diag([0.7, 0.7, 5.0, 1.0])
#: Left-handed, oblique, in the order S, R, A: what Slicer keeps of some series.
ODD = np.array([[0, -4.4, 0, 20], [0.5, 0, 0.8, -30], [-0.8, 0, 0.5, 60], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("kind", ["int16", "uint8", "float32", "float64", "int32"])
def test_the_worker_reads_the_voxels_and_the_frame_that_the_scene_has(slicer: Any, tmp_path: Path, kind: str) -> None:
    from SpineLandmarksModule.volumes import Snapshot, frame_of

    voxels = np.arange(50 * 7 * 60).reshape(60, 7, 50).astype(kind)  # slices run along j
    volume = add_volume(slicer, voxels, ODD, "odd")
    Snapshot(volume).write(tmp_path / "odd.mha")
    stack = read_study(tmp_path / "odd.mha")
    frame = ImageFrame.of(stack)
    assert frame is not None
    assert frame.size_ijk == frame_of(volume).size_ijk == (60, 50, 7)
    np.testing.assert_allclose(frame.ras_from_ijk, frame_of(volume).ras_from_ijk, atol=1e-9)
    i, j, k = 11, 3, 42
    ras = (ODD @ [i, j, k, 1])[:3]
    column, row, index = (round(value) for value in frame.ijk(ras))
    assert stack.voxels[index, row, column] == voxels[k, j, i]


def test_a_snapshot_is_the_volume_as_it_was(slicer: Any, a_volume: Any, tmp_path: Path) -> None:
    from SpineLandmarksModule.volumes import Snapshot

    before = slicer.util.arrayFromVolume(a_volume).copy()
    snapshot = Snapshot(a_volume)
    slicer.util.arrayFromVolume(a_volume)[:] = 0
    snapshot.write(tmp_path / "a.mha")
    assert read_study(tmp_path / "a.mha").voxels.max() == before.max()


def test_the_frame_of_a_phantom_has_its_pixels_where_its_truth_says(a_volume: Any, a_phantom: Phantom) -> None:
    from SpineLandmarksModule.volumes import frame_of

    frame = frame_of(a_volume)
    for mark in a_phantom.landmarks:
        if mark.position_ras_mm and mark.pixel_xy:
            assert frame.pixel_xy(mark.position_ras_mm) == pytest.approx(mark.pixel_xy, abs=1e-3)


def no_volume(slicer: Any) -> Any:
    return None


def without_voxels(slicer: Any) -> Any:
    return slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "bare")


def axial(slicer: Any) -> Any:
    return add_volume(slicer, np.ones((20, 64, 64), np.int16), AXIAL, "axial T2")


def picture(slicer: Any) -> Any:
    return add_volume(slicer, np.ones((1, 64, 64), np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]), "scan")


def colour(slicer: Any) -> Any:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    slicer.util.updateVolumeFromArray(volume, np.ones((3, 64, 64, 3), np.uint8))
    return volume


def label_map(slicer: Any) -> Any:
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    slicer.util.updateVolumeFromArray(volume, np.ones((64, 64, 64), np.uint8))
    return volume


def thin(slicer: Any) -> Any:
    return add_volume(slicer, np.ones((64, 8, 3), np.int16), np.diag([4.0, 1.0, 1.0, 1.0]), "thin")


def flat_matrix(slicer: Any) -> Any:
    return add_volume(slicer, np.ones((64, 64, 64), np.int16), np.diag([1.0, 1.0, 0.0, 1.0]), "flat")


def bent(slicer: Any) -> Any:
    volume = add_volume(slicer, np.ones((64, 64, 11), np.int16), np.diag([4.0, 1.0, 1.0, 1.0]), "bent")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLBSplineTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


#: How each is made, what the dialog must say, and the next step that it must name.
UNUSABLE = (
    (no_volume, "No volume is selected", "Load DICOM"),
    (without_voxels, "has no voxels", "Load the study again"),
    (axial, "axial", "Select the sagittal series"),
    (picture, "is a picture", "Load the DICOM study"),
    (colour, "colour image", "Vector to Scalar Volume"),
    (label_map, "label map", "Select the MRI"),
    (thin, "32 pixels", "slices need"),
    (flat_matrix, "does not say how it lies in the patient", "in the module Volumes"),
    (bent, "non-linear transform", "Harden it"),
)


@pytest.mark.parametrize(("make", "says", "step"), UNUSABLE, ids=[make.__name__ for make, _, _ in UNUSABLE])
def test_what_no_landmark_can_be_put_on_is_refused_with_the_next_step(
    slicer: Any, make: Callable[[Any], Any], says: str, step: str
) -> None:
    from SpineLandmarksModule.volumes import require_usable

    with pytest.raises(SpineLandmarksError) as raised:
        require_usable(make(slicer))
    assert says in str(raised.value)
    assert step in str(raised.value)


def test_a_colour_image_that_is_not_listed_is_named_when_nothing_is_selected(slicer: Any) -> None:
    from SpineLandmarksModule.volumes import require_usable

    colour(slicer)
    with pytest.raises(SpineLandmarksError, match=r"Colour images \(photo\) are not listed.*Vector to Scalar Volume"):
        require_usable(None)


def test_a_linear_transform_or_a_single_slice_is_no_reason_to_refuse(slicer: Any, a_phantom: Phantom) -> None:
    from SpineLandmarksModule.volumes import require_usable

    volume = add_volume(slicer, a_phantom.voxels[3:4], a_phantom.ras_from_ijk, "one slice")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    volume.SetAndObserveTransformNodeID(transform.GetID())
    require_usable(volume)


def test_the_files_of_a_volume_are_those_it_was_loaded_from(slicer: Any, a_phantom_study: Path) -> None:
    from SpineLandmarksModule.volumes import files_of, source_of

    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(a_phantom_study))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "loaded")
    assert storage.ReadData(volume)
    volume.SetAndObserveStorageNodeID(storage.GetID())
    assert files_of(volume) == [a_phantom_study]
    assert source_of(volume) == str(a_phantom_study)
    assert files_of(add_volume(slicer, np.ones((3, 4, 5)), np.eye(4), "made here")) == []


def test_a_volume_under_a_non_linear_transform_is_shown_without_an_error_in_slicer_s_log(
    slicer: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    from SpineLandmarksModule import views

    volume = bent(slicer)
    capfd.readouterr()
    for _ in range(2):  # the second time it is there already
        views.show_volume(volume, turn=True)
    assert "ERR" not in "".join(capfd.readouterr())
