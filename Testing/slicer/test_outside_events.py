"""What other parts of Slicer do to a study: each event of the table in docs/slicer.md, on the real MRML."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from standins.bench import Module, add_volume, delete_in_data

DOCS = Path(__file__).resolve().parents[2] / "docs"
L3 = LUMBAR11.index("L3")


@dataclass
class Work:
    """A study on which somebody has worked: L3 was dragged, L2 confirmed, L5 called not visible. folder: for files."""

    case: Module
    slicer: Any
    volume: Any
    folder: Path

    def __post_init__(self) -> None:
        node = self.case.study.node
        node.SetNthControlPointPosition(L3, *np.add(list(node.GetNthControlPointPosition(L3)), (0, 4, 0)))
        for name, button in (("L2", "confirmButton"), ("L5", "notVisibleButton")):
            self.case.select(name)
            getattr(self.case.ui, button).click()
        self.node, self.steps = node, len(self.case.session.events)
        self.voxel = self.voxel_of(node)

    def voxel_of(self, node: Any) -> Any:
        """(3,) which voxel of its volume the corrected L3 of a list lies on."""
        world = [*node.GetNthControlPointPositionWorld(L3), 1.0]
        return (np.linalg.inv(self.world_from_voxel(self.case.study.volume)) @ world)[:3]

    def world_from_voxel(self, volume: Any) -> Any:
        import vtk

        ijk, world = vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(ijk)
        self.slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(volume.GetParentTransformNode(), None, world)
        return self.slicer.util.arrayFromVTKMatrix(world) @ self.slicer.util.arrayFromVTKMatrix(ijk)

    def is_as_before(self, said: str = "", steps: int = 0) -> None:
        """The study is open, whole and on its voxels, undo goes on, and nothing else was said."""
        for _ in range(3):
            self.case.process_events()
        case, node = self.case, self.case.study.node
        np.testing.assert_allclose(self.voxel_of(node), self.voxel, atol=1e-3)
        assert [case.row(name)[1] for name in ("L2", "L3", "L5")] == ["confirmed", "corrected", "not visible"]
        assert [node.GetNthControlPointLabel(row) for row in range(node.GetNumberOfControlPoints())] == list(LUMBAR11)
        assert node.GetTransformNodeID() == case.study.volume.GetTransformNodeID()
        assert len(case.session.events) == self.steps + steps
        assert len(case.dialogs.shown) == bool(said)
        assert all(said in text for text in case.dialogs.shown)
        case.ui.undoButton.click()
        assert case.row("L5")[1] != "not visible"

    def under_transform(self, *nodes: Any, kind: str = "vtkMRMLLinearTransformNode") -> Any:
        """A transform that turns by 37 degrees and shifts, inside of another that shifts, on these nodes."""
        outer, inner = (self.slicer.mrmlScene.AddNewNodeByClass(kind) for _ in range(2))
        turn = np.array([[1, 0, 0, 5], [0, 0.8, -0.6, 7], [0, 0.6, 0.8, -40], [0, 0, 0, 1.0]])
        inner.SetMatrixTransformToParent(self.slicer.util.vtkMatrixFromArray(turn))
        outer.SetMatrixTransformToParent(self.slicer.util.vtkMatrixFromArray(np.eye(4) + np.eye(4, k=3) * 30))
        inner.SetAndObserveTransformNodeID(outer.GetID())
        for node in nodes:
            node.SetAndObserveTransformNodeID(inner.GetID())
        return inner

    def answer(self, button: str) -> None:
        from PySide6.QtWidgets import QMessageBox

        self.case.dialogs.answers = [getattr(QMessageBox, button)]


@pytest.fixture
def work(a_case: Module, slicer: Any, a_volume: Any, tmp_path: Path) -> Work:
    return Work(a_case, slicer, a_volume, tmp_path)


def list_deleted(work: Work) -> None:
    work.answer("Yes")
    delete_in_data(work.slicer, work.node)
    work.is_as_before("Put them back with all corrections?")


def volume_deleted(work: Work) -> None:
    delete_in_data(work.slicer, work.volume)
    work.case.process_events()
    assert work.node.GetScene() is work.slicer.mrmlScene
    assert work.case.dialogs.shown == []
    assert work.case.rows() == []


def both_deleted(work: Work) -> None:
    work.answer("Yes")
    delete_in_data(work.slicer, work.volume, work.node)
    work.case.process_events()
    assert "Keep those in the scene?" in work.case.dialogs.shown[0]
    assert work.node.GetScene() is work.slicer.mrmlScene


def point_deleted(work: Work) -> None:
    work.node.UnsetNthControlPointPosition(LUMBAR11.index("L4"))  # *Clear control point position* of the view's menu
    assert work.case.row("L4")[1] == "not visible"
    work.case.ui.undoButton.click()
    assert work.case.row("L4")[1] == "predicted"
    work.node.SetFixedNumberOfControlPoints(False)
    work.node.RemoveNthControlPoint(4)
    assert "were put back" in work.case.dialogs.shown[0]
    assert work.node.GetNumberOfControlPoints() == 11
    np.testing.assert_allclose(work.voxel_of(work.node), work.voxel, atol=1e-3)


def point_renamed(work: Work) -> None:
    work.node.SetNthControlPointLabel(L3, "mine")
    work.is_as_before("were put back")


def nodes_renamed(work: Work) -> None:
    work.node.SetName("my points")
    work.volume.SetName("my volume")
    work.is_as_before()
    delete_in_data(work.slicer, work.volume)
    work.case.process_events()
    assert "my volume was deleted" in work.case.ui.messageLabel.text


def copied(work: Work) -> None:
    """Of the list, as the module Data clones: the copy is one like any other and keeps what it was."""
    scene = work.slicer.mrmlScene
    clone = scene.CreateNodeByClass("vtkMRMLMarkupsFiducialNode")
    clone.UnRegister(None)
    clone.Copy(work.node)
    scene.AddNode(clone)
    clone.SetName("Landmarks phantom Copy")
    work.node.SetNthControlPointPosition(L3, *np.add(list(work.node.GetNthControlPointPosition(L3)), (0, 2, 0)))
    np.testing.assert_allclose(work.voxel_of(clone), work.voxel, atol=1e-3)
    clone.SetNthControlPointPosition(0, 1.0, 2.0, 3.0)
    work.case.ui.undoButton.click()
    work.is_as_before(steps=2)


def hidden(work: Work) -> None:
    for seen in (False, True):
        work.node.GetDisplayNode().SetVisibility(seen)
        assert work.case.ui.pointsBox.checked == seen
        assert bool(work.case.study.decorations.confirmed.GetDisplayNode().GetVisibility()) == seen
    work.is_as_before()


def volume_hardened(work: Work) -> None:
    work.under_transform(work.volume)
    work.volume.HardenTransform()
    assert work.volume.GetTransformNodeID() is None
    work.is_as_before()


def list_hardened(work: Work) -> None:
    work.under_transform(work.volume)
    work.node.HardenTransform()
    work.is_as_before("lie where it lies")


def list_hardened_out_of_a_grid(work: Work) -> None:
    """A non-linear transform, which no matrix describes."""
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    grid, displaced = work.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLGridTransformNode"), vtk.vtkImageData()
    displaced.SetDimensions(2, 2, 2)
    displaced.SetOrigin(-500, -500, -500)
    displaced.SetSpacing(1000, 1000, 1000)
    displaced.AllocateScalars(vtk.VTK_DOUBLE, 3)
    vtk_to_numpy(displaced.GetPointData().GetScalars())[:] = [3.0, 4.0, 5.0]
    transform = work.slicer.vtkOrientedGridTransform()
    transform.SetDisplacementGridData(displaced)
    grid.SetAndObserveTransformToParent(transform)
    work.volume.SetAndObserveTransformNodeID(grid.GetID())
    before = work.case.session.current
    work.node.HardenTransform()
    work.case.process_events()
    assert work.case.session.current == before
    assert work.node.GetTransformNodeID() == grid.GetID()
    assert "lie where it lies" in work.case.dialogs.shown[0]


def both_hardened(work: Work) -> None:
    work.under_transform(work.volume)
    work.volume.HardenTransform()
    work.node.HardenTransform()
    work.is_as_before()


def list_transformed(work: Work) -> None:
    work.under_transform(work.node)
    work.is_as_before("lie where it lies")


def transform_deleted(work: Work) -> None:
    transform = work.under_transform(work.volume)
    delete_in_data(work.slicer, transform)
    assert work.volume.GetTransformNodeID() is None
    work.is_as_before()


def volume_moved(work: Work) -> None:
    """*Center volume* and what is typed into the module Volumes."""
    work.volume.SetOrigin(*np.add(work.volume.GetOrigin(), (10, 20, 30)))
    work.is_as_before()


def volume_cropped(work: Work) -> None:
    """In place: the voxels that are left stay where they are in the patient."""
    world = list(work.node.GetNthControlPointPositionWorld(L3))
    voxels = work.slicer.util.arrayFromVolume(work.volume)[:, 2:, 3:]
    matrix = work.world_from_voxel(work.volume)
    modifying = work.volume.StartModify()
    work.slicer.util.updateVolumeFromArray(work.volume, voxels)
    work.volume.SetOrigin(*(matrix @ [3, 2, 0, 1])[:3])
    work.volume.EndModify(modifying)
    np.testing.assert_allclose(list(work.node.GetNthControlPointPositionWorld(L3)), world, atol=1e-3)
    work.voxel = work.voxel - [3, 2, 0]
    work.is_as_before()


def scene_merged(work: Work) -> None:
    """The same scene once more into this one."""
    assert work.slicer.mrmlScene.WriteToMRB(str(work.folder / "a.mrb"))
    assert work.slicer.mrmlScene.ReadFromMRB(str(work.folder / "a.mrb"), False)
    work.case.process_events()
    volumes = work.slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert len(volumes) == 2
    nodes = set()
    for volume in volumes:
        work.case.ui.volumeSelector.setCurrentNode(volume)
        nodes.add(work.case.study.node.GetID())
        assert work.case.study.volume is volume
        assert work.case.row("L3")[1] == "corrected"
        shown = [each for each in work.slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") if is_seen(each)]
        assert {each.GetName() for each in shown} == {"Landmarks phantom", "Landmarks phantom confirmed"}
        assert len(shown) == 2
    assert len(nodes) == 2
    work.case.ui.volumeSelector.setCurrentNode(work.volume)
    work.is_as_before()


def is_seen(node: Any) -> bool:
    return bool(node.GetDisplayNode() and node.GetDisplayNode().GetVisibility())


def undone_in_slicer(work: Work) -> None:
    """Slicer's own undo, where an application has turned it on, takes the point back: one more correction."""
    scene = work.slicer.mrmlScene
    scene.SetUndoOn()
    work.node.SetUndoEnabled(True)
    scene.SaveStateForUndo()
    work.node.SetNthControlPointPosition(L3, *np.add(list(work.node.GetNthControlPointPosition(L3)), (0, 5, 0)))
    scene.Undo()
    np.testing.assert_allclose(work.voxel_of(work.case.study.node), work.voxel, atol=1e-3)
    assert work.case.row("L3")[1] == "corrected"
    assert [event.what for event in work.case.session.events[-2:]] == ["move", "move"]
    scene.SetUndoOff()
    assert work.case.dialogs.shown == []


def place_mode(work: Work) -> None:
    """The toolbar's button, with the landmarks selected in the module Markups: see test_slice_view.py for the click."""
    work.slicer.modules.markups.logic().SetActiveList(work.node)
    work.slicer.modules.markups.logic().StartPlaceMode(True)
    assert work.node.AddControlPoint([1.0, 2.0, 3.0]) == -1  # Slicer refuses: their number is fixed
    work.is_as_before()


def second_volume(work: Work) -> None:
    other = add_volume(
        work.slicer, work.slicer.util.arrayFromVolume(work.volume), work.world_from_voxel(work.volume), "other"
    )
    work.case.ui.volumeSelector.setCurrentNode(other)
    assert work.case.rows() == []
    assert not is_seen(work.node)
    work.case.ui.volumeSelector.setCurrentNode(work.volume)
    assert is_seen(work.node)
    work.is_as_before()


def left_and_entered(work: Work) -> None:
    work.case.exit()
    row = LUMBAR11.index("L4")
    work.node.SetNthControlPointPosition(row, *np.add(list(work.node.GetNthControlPointPosition(row)), (0, 2, 0)))
    work.case.enter()
    assert work.case.row("L4")[1] == "corrected"
    work.case.ui.undoButton.click()
    work.is_as_before(steps=2)


def scene_closed(work: Work) -> None:
    """What is closed is gone, as Slicer asks first whether to save it; what was saved is there again, undo included."""
    assert work.slicer.mrmlScene.WriteToMRB(str(work.folder / "a.mrb"))
    work.slicer.mrmlScene.Clear()
    assert work.case.rows() == []
    assert work.slicer.mrmlScene.ReadFromMRB(str(work.folder / "a.mrb"))
    work.case.process_events()
    work.voxel[2] = 6 - work.voxel[2]  # of seven slices, which Slicer saves from the other side
    work.is_as_before()


#: The first column of the table in docs/slicer.md, and what shows that its second one is so.
EVENTS: dict[str, tuple[Callable[[Work], None], ...]] = {
    "the list is deleted": (list_deleted,),
    "the volume is deleted": (volume_deleted,),
    "both are deleted, or the patient": (both_deleted,),
    "a point is deleted": (point_deleted,),
    "a point is renamed": (point_renamed,),
    "list or volume is renamed": (nodes_renamed,),
    "the list is copied": (copied,),
    "the list is hidden": (hidden,),
    "the volume's transform is hardened, or its origin changed": (volume_hardened, both_hardened, volume_moved),
    "the volume is cropped in place": (volume_cropped,),
    "the list is transformed or hardened by itself": (list_transformed, list_hardened, list_hardened_out_of_a_grid),
    "the transform is deleted": (transform_deleted,),
    "a scene is merged into this one": (scene_merged,),
    "the scene is closed, and loaded again": (scene_closed,),
    "Slicer's own undo": (undone_in_slicer,),
    "place mode from the toolbar": (place_mode,),
    "a second volume is selected": (second_volume,),
    "the module is left and entered": (left_and_entered,),
}


@pytest.mark.parametrize("happens", [each for some in EVENTS.values() for each in some], ids=lambda each: each.__name__)
def test_no_event_from_outside_loses_work_or_says_what_is_not_so(work: Work, happens: Callable[[Work], None]) -> None:
    happens(work)


def test_the_table_of_events_has_what_is_tested() -> None:
    page = (DOCS / "slicer.md").read_text(encoding="utf-8").partition("## What others do to the points")[2]
    assert re.findall(r"^\| (?!event |---)([^|]+) \|", page.partition("\n## ")[0], re.MULTILINE) == list(EVENTS)


def test_a_result_for_a_volume_that_was_moved_meanwhile_is_not_taken(
    module: Module, a_volume: Any, a_prediction: LandmarkSet, a_phantom: Phantom
) -> None:
    from SpineLandmarksLib.formats.json_result import as_json

    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    a_volume.SetOrigin(*np.add(a_volume.GetOrigin(), (0, 0, 50)))
    module.answer({"event": "done", "result": as_json(a_prediction)})
    assert "was moved while it was localized" in module.dialogs.shown[0]
    assert module.rows() == []
