"""What happens around the work: scenes that close and load, a volume that is deleted, reloading, the end of Slicer."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.worker import client as client_module
from SpineLandmarksLib.worker.client import WorkerClient
from standins.bench import Module, delete_in_data

#: A worker that starts a job and never ends it.
ENDLESS = """
import json, sys, time
print(json.dumps({"event": "ready", "protocol": 1, "version": "0", "pid": 0}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["do"] == "localize":
        print(json.dumps({"id": asked["id"], "event": "started"}), flush=True)
        news = {"id": asked["id"], "event": "progress", "share": 0.5, "stage": "busy"}
        while True:
            print(json.dumps(news), flush=True)
            time.sleep(0.01)
"""


@pytest.fixture
def a_busy_module(module: Module, a_volume: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Module:
    """The module in the middle of a localization, by a real process that neither ends nor heeds a cancellation."""
    from SpineLandmarksLib.worker import localization

    monkeypatch.setattr(localization, "PATIENCE_S", 0.3)
    monkeypatch.setattr(client_module, "GRACE_S", 0.3)
    script = tmp_path / "endless.py"
    script.write_text(ENDLESS)
    module.panel.logic.runner.restart()
    module.panel.logic.runner.make_client = lambda model: WorkerClient([sys.executable, str(script)])
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.ui.progressBar.format == "busy")
    return module


def worker_of(module: Module) -> int:
    client = module.panel.logic.runner.service.client
    assert client is not None
    assert client.pid is not None
    return int(client.pid)


def has_ended(pid: int, within_s: float = 180.0) -> bool:
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_closing_the_scene_in_mid_run_ends_the_work_and_empties_the_panel(a_busy_module: Module, slicer: Any) -> None:
    runner = a_busy_module.panel.logic.runner
    slicer.mrmlScene.Clear()
    a_busy_module.wait_until(lambda: runner.job is None)
    assert a_busy_module.rows() == []
    assert a_busy_module.ui.volumeSelector.currentNode() is None
    assert a_busy_module.dialogs.shown == []


def test_deleting_the_volume_in_mid_run_ends_the_work(a_busy_module: Module, slicer: Any, a_volume: Any) -> None:
    runner = a_busy_module.panel.logic.runner
    slicer.mrmlScene.RemoveNode(a_volume)
    a_busy_module.wait_until(lambda: runner.job is None)
    assert a_busy_module.dialogs.shown == []
    assert a_busy_module.ui.localizeButton.enabled


def test_a_result_for_a_volume_that_is_gone_is_dropped(
    module: Module, slicer: Any, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    from SpineLandmarksLib.formats.json_result import as_json

    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    slicer.mrmlScene.RemoveNode(a_volume)
    module.answer({"event": "done", "result": as_json(a_prediction)})
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsFiducialNode") == []
    assert module.rows() == []


def test_reloading_the_module_in_mid_run_ends_the_worker_and_a_new_panel_stands(a_busy_module: Module) -> None:
    pid, old = worker_of(a_busy_module), a_busy_module.panel
    a_busy_module.widget.onReload()
    assert has_ended(pid)
    assert a_busy_module.panel is not old
    assert type(a_busy_module.panel) is not type(old)  # the parts were read anew too
    assert a_busy_module.ui.localizeButton.enabled


def test_the_end_of_slicer_in_mid_run_ends_the_worker(a_busy_module: Module) -> None:
    pid = worker_of(a_busy_module)
    a_busy_module.widget.cleanup()
    assert has_ended(pid)
    assert a_busy_module.dialogs.shown == []


def test_a_worker_that_is_killed_is_told_and_the_next_click_starts_another(
    a_busy_module: Module, a_prediction: LandmarkSet
) -> None:
    os.kill(worker_of(a_busy_module), 9)
    a_busy_module.wait_until(lambda: a_busy_module.dialogs.shown)
    assert "SIGKILL" in a_busy_module.dialogs.shown[0]
    assert "Try again" in a_busy_module.dialogs.shown[0]
    a_busy_module.ui.localizeButton.click()
    a_busy_module.wait_until(lambda: a_busy_module.ui.progressBar.format == "busy")


def test_leaving_the_module_keeps_the_work_going(a_busy_module: Module) -> None:
    a_busy_module.exit()
    a_busy_module.process_events()
    assert a_busy_module.panel.logic.runner.job is not None
    a_busy_module.enter()


def test_cleaning_up_twice_and_before_anything_was_done_raises_nothing(module: Module) -> None:
    module.widget.cleanup()
    module.module.widget.cleanup()


def deleted(case: Module, slicer: Any, *nodes: Any, answer: str = "") -> None:
    """Delete in Data, answer what the panel asks, and let it do what it does after."""
    from PySide6.QtWidgets import QMessageBox

    case.dialogs.answers = [getattr(QMessageBox, answer)] if answer else []
    delete_in_data(slicer, *nodes)
    for _ in range(3):
        case.process_events()


def corrected(case: Module) -> list[float]:
    """Correct L3, confirm L2 and show the curve; where L3 is."""
    node, row = case.study.node, case.study.row("L3")
    node.SetNthControlPointPosition(row, *np.add(list(node.GetNthControlPointPosition(row)), (0, 4, 0)))
    case.select("L2")
    case.ui.confirmButton.click()
    case.ui.curveBox.click()
    return list(node.GetNthControlPointPosition(row))


def lists(slicer: Any) -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLMarkupsNode")]


def test_a_deleted_volume_leaves_its_landmarks_in_the_scene_and_nothing_beside_them(
    a_case: Module, slicer: Any, a_volume: Any
) -> None:
    node, place = a_case.study.node, corrected(a_case)
    deleted(a_case, slicer, a_volume)
    assert node.GetScene() is slicer.mrmlScene
    assert list(node.GetNthControlPointPosition(LUMBAR11.index("L3"))) == place
    assert lists(slicer) == ["Landmarks phantom"]
    assert a_case.rows() == []
    assert "still in the scene" in a_case.ui.messageLabel.text
    assert a_case.dialogs.shown == []


@pytest.mark.parametrize("answer", ["Yes", "No"])
@pytest.mark.parametrize("how", ["under the volume", "both selected", "list first", "patient"])
def test_landmarks_that_are_deleted_with_their_volume_are_offered_back(
    a_case: Module, slicer: Any, a_volume: Any, how: str, answer: str
) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    node, place = a_case.study.node, corrected(a_case)
    item, beside = (hierarchy.GetItemByDataNode(each) for each in (node, a_volume))
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "a patient")
    hierarchy.SetItemParent(beside, patient)
    hierarchy.SetItemParent(item, beside if how == "under the volume" else patient)
    gone = {"both selected": [a_volume, node], "list first": [node, a_volume], "patient": [patient]}.get(how)
    deleted(a_case, slicer, *(gone or [a_volume]), answer=answer)
    assert [text.partition("?")[0] for text in a_case.dialogs.shown] == [
        "phantom was deleted with the landmarks that you worked on. Keep those in the scene"
    ]
    assert lists(slicer) == ["Landmarks phantom"] * (answer == "Yes")
    assert a_case.rows() == []
    if answer == "Yes":
        found = slicer.util.getNode("Landmarks phantom")
        assert list(found.GetNthControlPointPosition(LUMBAR11.index("L3"))) == place
        assert found.GetDisplayNode().GetScene() is slicer.mrmlScene


def test_landmarks_that_nobody_worked_on_go_with_their_volume_unasked(
    a_case: Module, slicer: Any, a_volume: Any
) -> None:
    deleted(a_case, slicer, a_volume, a_case.study.node)
    assert a_case.dialogs.shown == []
    assert lists(slicer) == []


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_a_deleted_list_leaves_no_marks_behind_and_comes_back_whole(a_case: Module, slicer: Any, answer: str) -> None:
    place = corrected(a_case)
    deleted(a_case, slicer, a_case.study.node, answer=answer)
    assert "Put them back with all corrections?" in a_case.dialogs.shown[0]
    marks = ("confirmed", "curve", "selected")
    whole = ["Landmarks phantom", *(f"Landmarks phantom {mark}" for mark in marks)]
    assert sorted(lists(slicer)) == (whole if answer == "Yes" else [])
    if answer == "Yes":
        assert a_case.session["L3"].position_ras_mm == pytest.approx(tuple(place))


def test_reloading_the_module_goes_on_with_the_study(a_case: Module) -> None:
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    a_case.widget.onReload()
    assert a_case.row("L3")[1] == "confirmed"
    a_case.ui.undoButton.click()
    assert a_case.row("L3")[1] == "predicted"


def test_a_scene_that_is_loaded_brings_its_study_into_the_panel(a_case: Module, slicer: Any, tmp_path: Path) -> None:
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    a_case.ui.curveBox.click()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear()
    assert a_case.rows() == []
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "case.mrb"))
    a_case.process_events()
    assert a_case.ui.volumeSelector.currentNode().GetName() == "phantom"
    assert a_case.row("L3")[1] == "confirmed"
    assert a_case.ui.curveBox.checked
    a_case.ui.undoButton.click()
    assert a_case.row("L3")[1] == "predicted"
    assert lists(slicer) == ["Landmarks phantom", "Landmarks phantom confirmed", "Landmarks phantom curve"]


def test_a_scene_that_is_loaded_while_another_module_is_shown_waits_for_this_one(
    a_case: Module, slicer: Any, tmp_path: Path
) -> None:
    def views() -> list[str | None]:
        return [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]

    a_case.select("L3")
    a_case.ui.confirmButton.click()
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "case.mrb"))
    a_case.exit()
    slicer.mrmlScene.Clear()
    before, nodes = views(), len(slicer.util.getNodesByClass("vtkMRMLMarkupsNode"))
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "case.mrb"))
    for composite in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode"):
        composite.SetBackgroundVolumeID(None)
    a_case.process_events()
    assert views() == [None] * len(before)
    assert len(slicer.util.getNodesByClass("vtkMRMLMarkupsNode")) == nodes + 1  # the list that was saved
    assert a_case.rows() == []
    a_case.enter()
    assert a_case.row("L3")[1] == "confirmed"
    assert None not in views()


def test_the_keys_work_after_a_reload_and_the_model_is_loaded(a_case: Module) -> None:
    a_case.widget.onReload()
    assert a_case.panel.review_panel._keys
    assert a_case.panel.logic.runner.service.client is not None


def test_a_panel_that_was_reloaded_has_let_go_of_the_parameters(a_case: Module) -> None:
    old = a_case.ui.curveBox
    a_case.widget.onReload()
    a_case.ui.curveBox.click()
    assert a_case.panel.parameters.showCurve
    assert not old.checked


def reopened(case: Module, volume: Any) -> None:
    """Forget the open study, as after loading a scene, and select its volume again."""
    case.panel.logic.studies.clear()
    case.ui.volumeSelector.setCurrentNode(None)
    case.ui.volumeSelector.setCurrentNode(volume)


def test_what_was_moved_while_nobody_watched_is_taken_up_as_a_correction(a_case: Module, a_volume: Any) -> None:
    node, row = a_case.study.node, a_case.study.row("L3")
    target = np.add(list(node.GetNthControlPointPosition(row)), (0, 4, 0))
    a_case.panel.logic.studies.clear()
    node.SetNthControlPointPosition(row, *target)
    reopened(a_case, a_volume)
    assert a_case.row("L3")[1] == "corrected"
    assert a_case.session["L3"].position_ras_mm == pytest.approx(tuple(target))


def test_a_damaged_history_is_told_and_the_points_are_taken_as_they_are(a_case: Module, a_volume: Any) -> None:
    from SpineLandmarksModule.points import SESSION

    a_case.select("L3")
    a_case.ui.confirmButton.click()
    a_case.study.node.SetAttribute(SESSION, "{")
    reopened(a_case, a_volume)
    assert "is damaged" in a_case.dialogs.shown[0]
    assert a_case.row("L3")[1] == "confirmed"
    assert a_case.row("L5")[1:3] == ["predicted", "0.42"]
    assert not a_case.ui.undoButton.enabled


def test_a_damaged_history_of_renamed_points_is_told_and_left_alone(
    a_case: Module, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    from SpineLandmarksModule.points import SESSION

    node = a_case.study.node
    a_case.panel.logic.studies.clear()
    node.SetNthControlPointLabel(3, "L9")
    node.SetAttribute(SESSION, "{")
    reopened(a_case, a_volume)
    assert "press Localize to begin anew" in a_case.dialogs.shown[0]
    assert a_case.rows() == []
    assert node.GetNthControlPointLabel(3) == "L9"
    a_case.localize(a_prediction)
    assert a_case.study.node is not node


def test_the_worker_s_temporary_files_are_gone_after_the_end(
    module: Module, add_phantom: Callable[..., Any], a_phantom: Phantom
) -> None:
    module.ui.volumeSelector.setCurrentNode(add_phantom(a_phantom))
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    folder = module.client.asked[0][0].parent
    assert folder.is_dir()
    module.widget.cleanup()
    assert not folder.exists()


def test_voxels_lie_where_slicer_keeps_what_is_temporary_and_what_a_crash_left_goes(
    slicer: Any, module: Module, a_volume: Any
) -> None:
    place = Path(slicer.app.temporaryPath)
    crashed, running, other = (place / name for name in ("SpineLandmarks-a", "SpineLandmarks-b", "other"))
    for folder in (crashed, running, other):
        folder.mkdir()
        (folder / "patient.mha").touch()
    for folder in (crashed, other):
        os.utime(folder, (0, 0))
    module.widget.onReload()
    assert [folder.exists() for folder in (crashed, running, other)] == [False, True, True]
    module.use_scripted_worker()
    module.panel.logic.runner.restart()
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    assert place in module.client.asked[0][0].parents


def test_where_only_slicer_itself_could_run_python_it_is_said(
    module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/opt/Slicer/bin/SlicerApp-real")
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.panel.logic.runner.restart()
    module.panel.logic.runner.make_client = lambda model: WorkerClient(model.command())
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.dialogs.shown)
    assert "Expected PythonSlicer" in module.dialogs.shown[0]
