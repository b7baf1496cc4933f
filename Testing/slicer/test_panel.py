"""The real panel on stand-ins: what a person presses, sees and is told, from selecting a volume to undo."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.bundle import shipped_bundles
from SpineLandmarksLib.errors import BundleError
from SpineLandmarksLib.formats.csv_table import write_csv
from SpineLandmarksLib.formats.json_result import as_json, write_json
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from standins.application import VIEWS
from standins.bench import Module, add_volume

ROOT = Path(__file__).resolve().parents[2]
BUTTONS = (
    "nextButton",
    "confirmButton",
    "confirmAllButton",
    "placeButton",
    "placeRestButton",
    "notVisibleButton",
    "relocalizeButton",
    "levelUpButton",
    "levelDownButton",
    "undoButton",
    "redoButton",
)


def enabled(module: Module) -> set[str]:
    return {name for name in BUTTONS if getattr(module.ui, name).enabled}


def drag(study: Any, name: str, *by: float) -> None:
    node, row = study.node, study.row(name)
    node.InvokeEvent(node.PointStartInteractionEvent)
    node.SetNthControlPointPosition(row, *np.add(list(node.GetNthControlPointPosition(row)), by))
    node.InvokeEvent(node.PointEndInteractionEvent)


def test_slicer_learns_what_the_module_is(module: Module) -> None:
    parent = module.module
    assert (parent.title, parent.categories, parent.dependencies) == ("Spine Landmarks", ["Spine"], ["Markups"])
    assert not parent.icon.isNull()
    assert "Research only" in parent.helpText
    for text in (parent.helpText, parent.acknowledgementText):
        for page in re.findall(r'href="[^"]+/blob/main/?([^"]*)"', text):
            assert (ROOT / page).exists()


def test_a_generated_case_is_among_slicer_s_sample_data(module: Module, slicer: Any, a_prediction: LandmarkSet) -> None:
    from standins import sample_data

    sample_data.SOURCES.clear()
    slicer.app.startupCompleted.emit()
    volume = sample_data.click("Spine Landmarks", "SpineLandmarksPhantom")
    assert Path(sample_data.SOURCES["Spine Landmarks"][0].thumbnailFileName).is_file()
    assert volume.GetName() == "SpineLandmarksPhantom"
    shown = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    assert shown == [volume.GetID()] * 3
    module.exit()
    module.enter()
    assert module.ui.volumeSelector.currentNode() is volume


def test_slicer_s_start_loads_this_file_alone_and_the_panel_no_torch() -> None:
    paths = [str(ROOT / "Testing" / "slicer"), str(ROOT)]
    code = f"""import sys; sys.path[:0] = {paths!r}
from pathlib import Path
from standins import install; install()
from standins.application import ScriptedModule
loaded = lambda *names: [name for name in names if name in sys.modules]
module = ScriptedModule(Path({str(ROOT)!r}, "SpineLandmarks", "SpineLandmarks.py"))
print(loaded("SpineLandmarksLib", "SpineLandmarksModule"))
module.widgetRepresentation()
print(loaded("torch", "monai", "onnxruntime", "SimpleITK", "pydicom"))"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout.split("\n")[:2] == ["[]", "[]"], answer.stderr


def test_without_a_study_only_loading_and_localizing_are_offered(module: Module) -> None:
    assert enabled(module) == set()
    assert module.ui.localizeButton.enabled
    assert not module.ui.exportButton.enabled
    assert module.rows() == []


def test_what_is_looked_at_is_selected_by_itself_when_it_can_be_used(
    module: Module, slicer: Any, add_phantom: Callable[..., Any], a_phantom: Phantom
) -> None:
    module.exit()
    add_volume(slicer, np.ones((20, 64, 64), np.int16), np.diag([0.7, 0.7, 5.0, 1.0]), "axial T2")
    first, second = (add_phantom(a_phantom, name) for name in ("T1", "T2"))
    module.enter()
    assert module.ui.volumeSelector.currentNode() is first
    module.exit()
    module.ui.volumeSelector.setCurrentNode(None)
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(second.GetID())
    module.enter()
    assert module.ui.volumeSelector.currentNode() is second


def test_load_dicom_opens_slicer_s_own_browser(module: Module, slicer: Any) -> None:
    module.ui.loadDicomButton.click()
    assert slicer.app.selected_module == "DICOM"


def test_selecting_a_volume_shows_it_in_all_views_in_the_planes_it_was_taken_in(
    module: Module, slicer: Any, a_volume: Any
) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    shown = [node.GetBackgroundVolumeID() for node in slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")]
    assert shown == [a_volume.GetID()] * 3
    yellow = slicer.app.layoutManager().sliceWidget("Yellow").mrmlSliceNode()
    normal = slicer.util.arrayFromVTKMatrix(yellow.GetSliceToRAS())[:3, 2]
    across = slicer.util.arrayFromVTKMatrix(_matrix(slicer, a_volume))[:3, 2]
    assert abs(normal @ across) / np.linalg.norm(across) == pytest.approx(1.0, abs=1e-6)


def planes(slicer: Any, volume: Any) -> list[float]:
    """How well the plane of each view agrees with one in which the volume was taken: 1 for exactly."""
    axes = slicer.util.arrayFromVTKMatrix(_matrix(slicer, volume))[:3, :3]
    axes /= np.linalg.norm(axes, axis=0)
    views = slicer.util.getNodesByClass("vtkMRMLSliceNode")
    return [np.abs(slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 2] @ axes).max() for view in views]


def test_a_volume_that_slicer_shows_since_it_was_loaded_is_turned_into_its_planes(
    module: Module, slicer: Any, a_volume: Any
) -> None:
    angle = np.radians(12)
    tilt = np.array(
        [[np.cos(angle), np.sin(angle), 0, 0], [-np.sin(angle), np.cos(angle), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    tilted = tilt @ slicer.util.arrayFromVTKMatrix(_matrix(slicer, a_volume))
    a_volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(tilted))
    slicer.app.applicationLogic().GetSelectionNode().SetActiveVolumeID(a_volume.GetID())
    slicer.app.applicationLogic().PropagateVolumeSelection()  # what every reader of a file ends with
    for name, orientation in VIEWS.items():  # Slicer before 5.13 does not turn them
        slicer.app.layoutManager().sliceWidget(name).mrmlSliceNode().SetOrientation(orientation)
    assert min(planes(slicer, a_volume)) < 0.99
    module.ui.volumeSelector.setCurrentNode(a_volume)
    np.testing.assert_allclose(planes(slicer, a_volume), 1.0, atol=1e-6)
    zoomed = slicer.app.layoutManager().sliceWidget("Yellow").mrmlSliceNode()
    zoomed.SetFieldOfView(50, 50, 1)
    module.ui.volumeSelector.setCurrentNode(None)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    assert zoomed.GetFieldOfView()[0] == 50  # what lies right is left alone


def _matrix(slicer: Any, volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


# Localizing


def test_localize_hands_the_volume_to_the_worker_and_shows_what_it_found(
    module: Module, a_volume: Any, a_phantom: Phantom, a_prediction: LandmarkSet
) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(replace(a_prediction, warnings=("Out of view: T12-L1",)))
    path, asked = module.client.asked[0]
    assert (path.name, asked) == ("phantom.mha", {})
    assert module.client.model.command()[1:] == (
        "-m",
        "SpineLandmarksLib",
        "serve",
        "--bundle",
        "lumbar11",
        "--backend",
        "light",
        "--device",
        "cpu",
    )
    assert [cells[0] for cells in module.rows()] == list(LUMBAR11)
    assert module.row("T12-L1")[1:] == ["out of view", "0.60", "", "", "", ""]
    r, a, s = a_prediction["L5"].position_ras_mm or ()
    k = round((np.linalg.inv(a_phantom.ras_from_ijk) @ [r, a, s, 1])[2])
    assert module.row("L5")[1:] == ["predicted", "0.42", f"{r:.1f}", f"{a:.1f}", f"{s:.1f}", str(k)]
    assert "Out of view: T12-L1." in module.ui.messageLabel.text
    assert module.dialogs.shown == []
    assert not path.exists()


def test_the_confidence_has_a_colour_for_sure_doubtful_and_unlikely(
    module: Module, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    sure = {"L1": 0.95, "L2": 0.8, "L3": 0.3}
    marks = [replace(mark, confidence=sure.get(mark.name, mark.confidence)) for mark in a_prediction]
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(replace(a_prediction, landmarks=tuple(marks)))
    table = module.ui.landmarkTable
    colours = [table.item(LUMBAR11.index(name), 2).background().color().name() for name in ("L1", "L2", "L3")]
    assert len(set(colours)) == 3
    assert [module.row(name)[2] for name in ("L1", "L2", "L3")] == ["0.95", "0.80", "0.30"]


def test_progress_and_elapsed_time_are_shown_while_the_worker_works_and_gone_after(
    module: Module, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.answer({"event": "progress", "share": 0.53, "stage": "slice 9 of 15"})
    assert (module.ui.progressBar.value, module.ui.progressBar.format) == (53, "slice 9 of 15")
    assert module.ui.elapsedLabel.text.endswith(" s")
    assert not module.ui.cancelButton.isHidden()
    assert not module.ui.localizeButton.enabled
    module.answer({"event": "cancelled"})
    assert module.ui.progressBar.isHidden()
    assert module.ui.localizeButton.enabled


def test_cancel_asks_the_worker_to_end_and_changes_nothing(a_case: Module) -> None:
    before = a_case.session.current
    a_case.ui.localizeButton.click()
    a_case.wait_until(lambda: a_case.panel.logic.runner.job.id)
    a_case.ui.cancelButton.click()
    assert a_case.client.cancelled == [a_case.panel.logic.runner.job.id]
    a_case.answer({"event": "cancelled"})
    assert "Cancelled" in a_case.ui.messageLabel.text
    assert a_case.session.current == before
    assert a_case.dialogs.shown == []


def test_a_worker_that_does_not_heed_cancel_is_ended(
    module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SpineLandmarksLib.worker import localization

    monkeypatch.setattr(localization, "PATIENCE_S", 0.05)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    worker = module.client
    module.ui.cancelButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job is None)
    assert worker.is_closed
    assert "Cancelled" in module.ui.messageLabel.text


@pytest.mark.parametrize(
    ("message", "says"),
    [
        (
            {
                "event": "failed",
                "kind": "bundle",
                "error": "Expected the bundle's file x; it is missing. Install again",
            },
            "Install again",
        ),
        ({"event": "failed", "kind": "backend", "error": "The light backend needs ONNX Runtime"}, "ONNX Runtime"),
        (
            {"event": "lost", "error": "The worker ended (SIGKILL). Try again", "stderr": ["a", "b", "c", "d"]},
            "Try again\nb\nc\nd",
        ),
        ({"event": "done", "result": {"landmarks": 7}}, "landmarks"),
    ],
    ids=["model missing", "backend missing", "worker dead", "nonsense"],
)
def test_a_failure_is_told_in_a_dialog_and_the_panel_goes_on(
    a_case: Module, message: dict[str, Any], says: str, a_prediction: LandmarkSet
) -> None:
    before = a_case.session.current
    a_case.ui.localizeButton.click()
    a_case.answer(message)
    assert len(a_case.dialogs.shown) == 1
    assert says in a_case.dialogs.shown[0]
    assert a_case.session.current == before
    a_case.localize(a_prediction)
    assert a_case.session.current.landmarks == a_prediction.landmarks


def test_a_full_disk_is_told_with_what_to_do(module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from SpineLandmarksModule.volumes import Snapshot

    def full(self: Any, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Snapshot, "write", full)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.dialogs.shown)
    assert "No space left on device. Free some space" in module.dialogs.shown[0]
    assert module.ui.localizeButton.enabled


def test_a_volume_that_cannot_be_used_is_told_and_not_handed_over(module: Module, slicer: Any) -> None:
    module.ui.localizeButton.click()
    assert "No volume is selected" in module.dialogs.shown[0]
    axial = add_volume(slicer, np.ones((20, 64, 64), np.int16), np.diag([0.7, 0.7, 5.0, 1.0]), "axial T2")
    module.ui.volumeSelector.setCurrentNode(axial)
    module.ui.localizeButton.click()
    assert "axial T2 is axial" in module.dialogs.shown[1]
    assert module.panel.logic.runner.job is None


def test_the_slice_of_the_sagittal_view_can_be_asked_for(module: Module, slicer: Any, a_volume: Any) -> None:
    from SpineLandmarksModule.volumes import frame_of

    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.sliceSelector.currentIndex = 1
    r, a, s = (frame_of(a_volume).ras_from_ijk @ [30, 40, 5, 1])[:3]
    slicer.modules.markups.logic().JumpSlicesToLocation(r, a, s, True)
    module.ui.localizeButton.click()
    module.answer({"event": "cancelled"})
    assert module.client.asked[0][1] == {"slice_index": 5}


def test_no_sagittal_view_is_told(module: Module, slicer: Any, a_volume: Any) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.sliceSelector.currentIndex = 1
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        view.SetOrientation("Axial")
    module.ui.localizeButton.click()
    assert "No view shows the volume from the side" in module.dialogs.shown[0]


def test_a_range_of_slices_can_be_asked_for_within_the_volume(module: Module, a_volume: Any) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    assert module.ui.firstSliceBox.isHidden()
    module.ui.sliceSelector.currentIndex = 2
    assert not module.ui.firstSliceBox.isHidden()
    assert (module.ui.firstSliceBox.minimum, module.ui.lastSliceBox.maximum) == (0, 6)
    module.ui.firstSliceBox.value, module.ui.lastSliceBox.value = 5, 2
    module.ui.localizeButton.click()
    module.answer({"event": "cancelled"})
    assert module.client.asked[0][1] == {"slices": (2, 5)}


def test_the_model_and_its_card_can_be_chosen_and_the_worker_is_started_with_it(
    module: Module, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    ui = module.ui
    assert ui.modelSelector.currentText == "lumbar11"
    assert ui.modelCard.isHidden()
    ui.modelCardButton.click()
    ui.modelSelector.setCurrentText("lumbar11-open")
    assert "lumbar11-open" in ui.modelCard.plainText
    ui.volumeSelector.setCurrentNode(a_volume)
    first = module.client
    module.localize(a_prediction)
    assert first.is_closed
    assert module.client.model.bundle == "lumbar11-open"


def choose_model_folder(module: Module, folder: Path) -> None:
    module.dialogs.files = [str(folder)]
    module.ui.modelFolderButton.click()


def test_a_model_that_was_trained_elsewhere_is_taken_from_its_folder(
    module: Module, a_volume: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "a folder with a long name" / "models" / "retrained-on-what-was-signed-off-2026-11-25"
    shutil.copytree(ROOT / "Resources" / "Models" / "lumbar11", folder)
    (folder / "docs" / "README.md").write_text("# Ours")
    narrow = module.picture(1, 900).width
    choose_model_folder(module, folder)
    module.ui.modelCardButton.click()
    assert module.ui.modelCard.plainText == "Ours"
    assert module.picture(1, 900).width == narrow
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.answer({"event": "cancelled"})
    assert module.client.model.bundle == str(folder)


def test_wheel_and_end_on_the_models_choose_one_and_open_no_dialog(module: Module) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    module.dialogs.files = ["/not/asked/for"]
    QTest.keyClick(module.ui.modelSelector, Qt.Key_End)
    assert module.dialogs.files == ["/not/asked/for"]
    assert module.panel.model().bundle in shipped_bundles()


def test_a_folder_without_a_model_is_told_and_the_model_before_stays(module: Module, tmp_path: Path) -> None:
    choose_model_folder(module, tmp_path)
    assert "Expected a bundle folder" in module.dialogs.shown[0]
    assert module.ui.modelSelector.currentText == "lumbar11"
    module.dialogs.clear()
    module.ui.modelFolderButton.click()  # and the dialog is closed without a choice
    assert module.dialogs.shown == []
    assert module.panel.model().bundle == "lumbar11"


def test_an_installation_without_models_opens_and_says_so_again_when_localize_is_pressed(
    slicer: Any, module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SpineLandmarksModule import study_panel

    def none() -> list[str]:
        raise BundleError("Expected models at Resources/Models; got none. Install SpineLandmarks again")

    monkeypatch.setattr(study_panel, "shipped_bundles", none)
    study_panel.StudyPanel(module.ui)
    assert "Install SpineLandmarks again" in module.ui.messageLabel.text
    module.ui.modelSelector.clear()
    module.ui.modelCardButton.click()
    assert module.ui.modelCard.plainText == "This model has no card."
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.answer({"event": "failed", "kind": "bundle", "error": "Expected models; got none. Install again"})
    assert module.client.model.bundle == "lumbar11"
    assert module.dialogs.shown == ["Expected models; got none. Install again"]


def test_the_model_is_loaded_when_the_module_is_shown_so_that_the_first_click_is_quick(module: Module) -> None:
    assert module.client.is_warm


# Looking and correcting


def test_a_click_on_a_row_takes_all_views_to_the_point(a_case: Module, slicer: Any) -> None:
    a_case.select("L4")
    point = list(a_case.study.node.GetNthControlPointPositionWorld(LUMBAR11.index("L4")))
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        ras = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        assert ras[:3, 2] @ (point - ras[:3, 3]) == pytest.approx(0.0, abs=1e-6)


def test_a_point_beyond_the_edge_of_a_zoomed_view_is_brought_into_it(a_case: Module, slicer: Any) -> None:
    view = slicer.app.layoutManager().sliceWidget("Yellow").mrmlSliceNode()
    a_case.select("L4")
    view.SetFieldOfView(40, 40, 1)

    def pixel(name: str) -> Any:
        world = list(a_case.study.node.GetNthControlPointPositionWorld(a_case.study.row(name)))
        return (np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.GetXYToRAS())) @ [*world, 1.0])[:3]

    for name in ("L1", "L5"):
        a_case.select(name)
        np.testing.assert_allclose(pixel(name), [256, 256, 0], atol=1.0)
    view.SetFieldOfView(300, 300, 1)
    before = pixel("L5")
    a_case.select("L4")
    np.testing.assert_allclose(pixel("L5")[:2], before[:2], atol=1e-6)  # what is seen stays where it is


def test_next_doubtful_walks_what_nobody_has_looked_at_worst_first(a_case: Module) -> None:
    visited = []
    for _ in range(3):
        a_case.ui.nextButton.click()
        visited.append(a_case.panel.review_panel.selected)
    assert visited == ["L5", "T12-L1", "L5-S1"]  # confidence 0.42, 0.60, 0.80
    a_case.ui.confirmAllButton.click()
    a_case.ui.nextButton.click()
    assert a_case.panel.review_panel.selected == "T12-L1"  # without a point: a person's word is needed
    a_case.ui.notVisibleButton.click()
    assert "nextButton" not in enabled(a_case)


def test_confirm_locks_and_the_same_button_takes_it_back(a_case: Module) -> None:
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    assert a_case.row("L3")[1] == "confirmed"
    assert a_case.ui.confirmButton.text == "Take back"
    assert not a_case.ui.notVisibleButton.enabled
    a_case.ui.confirmButton.click()
    assert a_case.row("L3")[1] == "predicted"


def test_a_drag_in_a_view_shows_in_the_table_and_undo_and_redo_follow(a_case: Module) -> None:
    before = a_case.row("L2")
    drag(a_case.study, "L2", 0, 5, 0)
    moved = a_case.row("L2")
    assert moved[1] == "corrected"
    assert float(moved[4]) == pytest.approx(float(before[4]) + 5, abs=0.11)
    a_case.ui.undoButton.click()
    assert a_case.row("L2") == before
    a_case.ui.redoButton.click()
    assert a_case.row("L2") == moved


def test_not_visible_and_placing_again(a_case: Module, slicer: Any) -> None:
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    a_case.select("L5")
    a_case.ui.notVisibleButton.click()
    assert a_case.row("L5")[1:3] == ["not visible", ""]
    assert enabled(a_case) >= {"placeButton"}
    a_case.ui.placeButton.click()
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert slicer.modules.markups.logic().GetActiveListID() == a_case.study.node.GetID()
    assert "Click in a slice view where L5 is; Esc or a right click" in a_case.ui.messageLabel.text
    row = a_case.study.row("L5")
    assert a_case.study.node.GetControlPointPlacementStartIndex() == row
    target = np.add(a_case.session["L4"].position_ras_mm, (0, 0, -25))
    a_case.study.node.SetNthControlPointPositionWorld(row, *target)
    assert a_case.row("L5")[1] == "corrected"
    assert a_case.session["L5"].position_ras_mm == pytest.approx(tuple(target))


def test_names_move_one_level_up_and_down_and_points_stay(a_case: Module) -> None:
    l2 = a_case.row("L2")[3:]
    a_case.ui.levelUpButton.click()
    assert a_case.row("L3")[3:] == l2
    a_case.ui.undoButton.click()
    a_case.ui.levelDownButton.click()
    assert a_case.row("L1")[3:] == l2


def test_the_probabilities_of_the_numberings_stand_by_their_buttons_until_somebody_corrects(
    a_case: Module, a_prediction: LandmarkSet
) -> None:
    assert a_case.ui.numberingLabel.isHidden()
    a_case.localize(replace(a_prediction, numberings=((0, 0.87), (-1, 0.12), (1, 0.01))))
    assert not a_case.ui.numberingLabel.isHidden()
    assert "as they are: 87 %; one level up: 1 %; one level down: 12 %" in a_case.ui.numberingLabel.text
    drag(a_case.study, "L3", 0, 4, 0)
    assert a_case.ui.numberingLabel.isHidden()
    a_case.ui.undoButton.click()
    assert not a_case.ui.numberingLabel.isHidden()


def test_confirmed_points_are_shifted_only_after_a_question(a_case: Module) -> None:
    from PySide6.QtWidgets import QMessageBox

    a_case.select("L3")
    a_case.ui.confirmButton.click()
    before = a_case.session.current
    a_case.dialogs.answers = [QMessageBox.No, QMessageBox.Yes]
    a_case.ui.levelUpButton.click()
    assert a_case.session.current == before
    a_case.ui.levelUpButton.click()
    assert "Confirmed: L3" in a_case.dialogs.shown[1]
    assert a_case.session.events[-1].what == "shift_chain"


def test_relocalizing_holds_what_a_person_said_and_fills_only_the_rest(
    a_case: Module, a_prediction: LandmarkSet
) -> None:
    assert "relocalizeButton" not in enabled(a_case)
    drag(a_case.study, "L3", 0, 4, 0)
    a_case.select("L5-S1")
    a_case.ui.notVisibleButton.click()
    held = a_case.session["L3"].position_ras_mm
    a_case.ui.relocalizeButton.click()
    r, a, s = a_prediction["L4"].position_ras_mm or ()
    new = [replace(mark, position_ras_mm=(r, a + 2, s)) if mark.name == "L4" else mark for mark in a_prediction]
    answer(a_case, replace(a_prediction, landmarks=tuple(new)))
    assert a_case.client.asked[-1][1] == {"given": {"L3": held, "L5-S1": None}}
    assert a_case.session["L3"].position_ras_mm == held
    assert a_case.session["L4"].position_ras_mm == pytest.approx((r, a + 2, s), abs=1e-3)
    assert a_case.session["L5-S1"].status == "not_visible"
    a_case.ui.undoButton.click()
    assert a_case.session["L4"].position_ras_mm == pytest.approx((r, a, s), abs=1e-3)


def test_localizing_anew_over_corrections_asks_and_can_be_taken_back(a_case: Module, a_prediction: LandmarkSet) -> None:
    from PySide6.QtWidgets import QMessageBox

    drag(a_case.study, "L3", 0, 4, 0)
    corrected = a_case.session["L3"]
    a_case.dialogs.answers = [QMessageBox.No]
    a_case.ui.localizeButton.click()
    assert "has corrections" in a_case.dialogs.shown[0]
    assert a_case.panel.logic.runner.job is None
    a_case.localize(a_prediction)
    assert a_case.session["L3"] == a_prediction["L3"]
    a_case.ui.undoButton.click()
    assert a_case.session["L3"] == corrected


@pytest.mark.parametrize("button", ["localizeButton", "relocalizeButton"])
def test_what_is_corrected_while_the_model_runs_stays(a_case: Module, a_prediction: LandmarkSet, button: str) -> None:
    drag(a_case.study, "L2", 0, 4, 0)
    getattr(a_case.ui, button).click()
    drag(a_case.study, "L3", 0, 4, 0)
    corrected = a_case.session["L3"]
    found = shifted(a_prediction)
    answer(a_case, found)
    assert a_case.session["L3"] == corrected
    assert a_case.session["L4"].position_ras_mm == found["L4"].position_ras_mm
    assert (a_case.session["L2"].status == "corrected") == (button == "relocalizeButton")


def test_what_is_corrected_first_while_the_model_runs_stays(a_case: Module, a_prediction: LandmarkSet) -> None:
    a_case.ui.localizeButton.click()
    drag(a_case.study, "L3", 0, 4, 0)
    corrected = a_case.session["L3"]
    answer(a_case, shifted(a_prediction))
    assert a_case.session["L3"] == corrected
    assert a_case.session["L4"].position_ras_mm == shifted(a_prediction)["L4"].position_ras_mm


def test_what_is_imported_while_the_model_first_runs_stays_where_a_person_has_spoken(
    module: Module, a_volume: Any, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    marks = [replace(mark, status="confirmed") if mark.name == "L3" else mark for mark in a_prediction]
    write_json(replace(a_prediction, landmarks=tuple(marks)), tmp_path / "said.json")
    module.dialogs.files = [str(tmp_path / "said.json")]
    module.ui.importButton.click()
    answer(module, shifted(a_prediction))
    assert module.session["L3"].status == "confirmed"
    assert module.session["L4"].position_ras_mm == shifted(a_prediction)["L4"].position_ras_mm


def press(*buttons: str) -> Callable[..., None]:
    def do(case: Module, *_: Any) -> None:
        for button in buttons:
            getattr(case.ui, button).click()

    return do


def relocalize(case: Module, prediction: LandmarkSet, *_: Any) -> None:
    case.ui.relocalizeButton.click()
    answer(case, shifted(prediction))


def localize_anew(case: Module, prediction: LandmarkSet, *_: Any) -> None:
    case.ui.localizeButton.click()
    answer(case, shifted(prediction))


def import_points(case: Module, prediction: LandmarkSet, folder: Path) -> None:
    write_csv(shifted(prediction), folder / "a.csv")
    case.dialogs.files = [str(folder / "a.csv")]
    case.ui.importButton.click()


def place(case: Module, *_: Any) -> None:
    node, row = case.study.node, case.study.row("L5")
    node.SetNthControlPointPosition(row, *np.add(case.session["L4"].position_ras_mm, (0, 0, -25)))


def answer(case: Module, found: LandmarkSet) -> None:
    case.answer({"event": "done", "result": as_json(found)})


def shifted(prediction: LandmarkSet) -> LandmarkSet:
    """Another prediction, 2 mm further up."""
    return replace(
        prediction,
        landmarks=tuple(
            mark
            if mark.position_ras_mm is None
            else replace(mark, position_ras_mm=tuple(np.add(mark.position_ras_mm, (0, 0, 2))), pixel_xy=None)
            for mark in prediction
        ),
    )


#: Each correction, after L4 was dragged, L5 was called not visible and L3 was selected.
CORRECTIONS: dict[str, Callable[..., None]] = {
    "drag": lambda case, *_: drag(case.study, "L2", 0, 5, 0),
    "place": place,
    "not visible": press("notVisibleButton"),
    "confirm": press("confirmButton"),
    "confirm all": press("confirmAllButton"),
    "level up": press("levelUpButton"),
    "level down": press("levelDownButton"),
    "relocalize": relocalize,
    "localize anew": localize_anew,
    "import": import_points,
}


def everything(case: Module) -> tuple[Any, ...]:
    """What the session, the table and the node say."""
    node, rows = case.study.node, range(11)
    points = [
        (
            node.GetNthControlPointDescription(row),
            node.GetNthControlPointPositionStatus(row),
            node.GetNthControlPointLocked(row),
            [round(value, 3) for value in node.GetNthControlPointPosition(row)],
        )
        for row in rows
    ]
    seen = [point if point[1] == node.PositionDefined else point[:3] for point in points]
    return case.session.current.landmarks, case.rows(), seen


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_every_correction_is_one_step_that_undo_takes_back_and_redo_does_again(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path, correction: str
) -> None:
    drag(a_case.study, "L4", 0, 3, 0)
    for name, button in (("L5", "notVisibleButton"), ("L3", "redoButton")):
        a_case.select(name)
        getattr(a_case.ui, button).click()
    before, steps = everything(a_case), len(a_case.session.events)
    CORRECTIONS[correction](a_case, a_prediction, tmp_path)
    after = everything(a_case)
    assert after[0] != before[0]
    assert after[1] != before[1]
    assert after[2] != before[2]
    assert len(a_case.session.events) == steps + 1
    a_case.ui.undoButton.click()
    assert everything(a_case) == before
    a_case.ui.redoButton.click()
    assert everything(a_case) == after


def test_only_what_can_be_done_is_offered(a_case: Module) -> None:
    offered = {"nextButton", "confirmAllButton", "placeRestButton", "levelUpButton", "levelDownButton"}
    assert enabled(a_case) == offered
    a_case.select("L3")
    assert enabled(a_case) >= {"confirmButton", "notVisibleButton"}
    a_case.select("T12-L1")
    assert enabled(a_case) >= {"placeButton", "notVisibleButton"}
    assert "confirmButton" not in enabled(a_case)


def test_every_key_of_the_list_presses_its_button_while_the_module_is_shown(a_case: Module) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    from SpineLandmarksModule.review_panel import SHORTCUTS

    window = a_case.panel.ui.landmarkTable.window()
    window.show()
    window.activateWindow()
    a_case.wait_until(lambda: window.isActiveWindow)
    pressed: list[str] = []
    codes = {"Ctrl+Z": (Qt.Key_Z, Qt.ControlModifier), "Ctrl+Y": (Qt.Key_Y, Qt.ControlModifier)}
    for key, name, what in SHORTCUTS:
        button = getattr(a_case.ui, name)
        button.enabled = True
        button.blockSignals(True)
        button.click = lambda name=name: pressed.append(name)
        assert f"<b>{key}</b> {what}" in a_case.ui.shortcutsLabel.text
    a_case.panel.review_panel.install_keys()
    for key, _, _ in SHORTCUTS:
        code = codes.get(key) or (getattr(Qt, f"Key_{key[-1]}"), Qt.ShiftModifier if "+" in key else Qt.NoModifier)
        QTest.keyClick(a_case.ui.landmarkTable, *code)
        a_case.process_events()
    assert pressed == [name for _, name, _ in SHORTCUTS]
    a_case.ui.filesButton.collapsed = False
    a_case.ui.readerEdit.text = ""
    a_case.ui.readerEdit.setFocus()
    for letter in "NXCP":
        QTest.keyClick(a_case.ui.readerEdit, letter)
    a_case.process_events()
    assert a_case.ui.readerEdit.text.upper() == "NXCP"  # a name is typed, nothing is pressed
    assert len(pressed) == len(SHORTCUTS)
    a_case.exit()
    a_case.process_events()
    QTest.keyClick(a_case.ui.landmarkTable, Qt.Key_N)
    a_case.process_events()
    assert len(pressed) == len(SHORTCUTS)


def test_every_status_has_a_word_in_the_table(module: Module, a_volume: Any, a_prediction: LandmarkSet) -> None:
    statuses: Any = ("predicted", "corrected", "confirmed", "not_visible", "out_of_view")
    marks = list(a_prediction)
    for row, status in enumerate(statuses, start=1):
        absent = status in ("not_visible", "out_of_view")
        marks[row] = Landmark(marks[row].name, status) if absent else replace(marks[row], status=status)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(replace(a_prediction, landmarks=tuple(marks)))
    assert [cells[1] for cells in module.rows()[1:6]] == [
        "predicted",
        "corrected",
        "confirmed",
        "not visible",
        "out of view",
    ]


def test_what_needs_review_stands_out_and_says_so(module: Module, a_volume: Any, a_prediction: LandmarkSet) -> None:
    marks = tuple(replace(mark, needs_review=mark.name == "L5") for mark in a_prediction)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(replace(a_prediction, landmarks=marks))
    table = module.ui.landmarkTable
    bold = [table.item(row, 0).font().bold() for row in range(11)]
    assert bold == [name == "L5" for name in LUMBAR11]
    assert "person" in table.item(9, 0).toolTip()


def test_the_selected_landmark_is_defined_in_words_and_shown_in_a_picture(a_case: Module) -> None:
    a_case.select("L3")
    assert "centre of the third lumbar body" in a_case.ui.landmarkLabel.text
    assert "diagonals of its four corners" in a_case.ui.landmarkLabel.text
    first = a_case.ui.landmarkPicture.pixmap.toImage()
    assert first.width() / first.devicePixelRatio() == 120
    a_case.select("L5")
    assert "fifth lumbar body" in a_case.ui.landmarkLabel.text
    assert a_case.ui.landmarkPicture.pixmap.toImage() != first


def test_measurements_follow_the_points_and_say_what_they_are_from(a_case: Module) -> None:
    def value(name: str) -> str:
        return next(cells[1] for cells in a_case.rows("measurementTable") if cells[0] == name)

    before = value("Distance L2 to L2-L3")
    drag(a_case.study, "L2", 0, 0, 5)
    assert float(value("Distance L2 to L2-L3")) > float(before)
    a_case.ui.measurementTable.setCurrentCell(0, 0)
    assert "Derived from the centres" in a_case.ui.definitionLabel.text
    assert "Source:" in a_case.ui.definitionLabel.text


def test_the_curve_is_shown_on_request(a_case: Module) -> None:
    a_case.ui.curveBox.click()
    assert a_case.study.decorations.curve.GetDisplayNode().GetVisibility()
    a_case.ui.curveBox.click()
    assert not a_case.study.decorations.curve.GetDisplayNode().GetVisibility()


def test_an_edit_that_the_session_refuses_is_told_and_taken_back(a_case: Module) -> None:
    before = a_case.row("L3")
    drag(a_case.study, "L3", 0, 900, 0)
    assert "inside the volume" in a_case.dialogs.shown[0]
    assert a_case.row("L3") == before


def test_points_deleted_by_hand_are_put_back_and_told(a_case: Module) -> None:
    drag(a_case.study, "L3", 0, 4, 0)
    a_case.study.node.SetFixedNumberOfControlPoints(False)
    a_case.study.node.RemoveAllControlPoints()
    assert "put back" in a_case.dialogs.shown[0]
    assert a_case.row("L3")[1] == "corrected"
    assert a_case.study.node.GetNumberOfControlPoints() == 11


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_a_landmarks_node_that_is_deleted_comes_back_if_the_person_wants_it(
    a_case: Module, slicer: Any, answer: str
) -> None:
    from PySide6.QtWidgets import QMessageBox

    drag(a_case.study, "L3", 0, 4, 0)
    a_case.dialogs.answers = [getattr(QMessageBox, answer)]
    slicer.mrmlScene.RemoveNode(a_case.study.node)
    a_case.wait_until(lambda: a_case.dialogs.shown)
    a_case.process_events()
    assert "Put them back" in a_case.dialogs.shown[0]
    if answer == "Yes":
        assert a_case.row("L3")[1] == "corrected"
        assert a_case.study.node.GetScene() is slicer.mrmlScene
    else:
        assert a_case.study is None
        assert a_case.rows() == []


def test_two_volumes_have_two_studies_and_the_panel_shows_that_of_the_selected_one(
    a_case: Module, add_phantom: Callable[..., Any], a_phantom: Phantom, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    drag(a_case.study, "L3", 0, 4, 0)
    other = add_phantom(a_phantom, "other")
    a_case.ui.volumeSelector.setCurrentNode(other)
    assert a_case.rows() == []
    a_case.localize(a_prediction)
    assert a_case.row("L3")[1] == "predicted"
    a_case.ui.volumeSelector.setCurrentNode(a_volume)
    assert a_case.row("L3")[1] == "corrected"


def seen(slicer: Any) -> list[str]:
    """The lists that the views show."""
    lists = slicer.util.getNodesByClass("vtkMRMLMarkupsNode")
    return sorted(node.GetName() for node in lists if node.GetDisplayNode().GetVisibility())


def test_of_two_volumes_only_the_points_of_the_selected_one_are_shown(
    a_case: Module,
    slicer: Any,
    add_phantom: Callable[..., Any],
    a_phantom: Phantom,
    a_volume: Any,
    a_prediction: LandmarkSet,
) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    own.CreateDefaultDisplayNodes()
    a_case.ui.curveBox.click()
    a_case.ui.confirmAllButton.click()
    first = ["Landmarks phantom", "Landmarks phantom confirmed", "Landmarks phantom curve"]
    assert seen(slicer) == [*first, "mine"]
    a_case.ui.volumeSelector.setCurrentNode(add_phantom(a_phantom, "T1"))
    a_case.localize(a_prediction)
    assert seen(slicer) == ["Landmarks T1", "Landmarks T1 curve", "mine"]
    a_case.ui.volumeSelector.setCurrentNode(a_volume)
    assert seen(slicer) == [*first, "mine"]


def test_the_points_are_hidden_by_their_box_and_the_box_follows_the_eye_in_data(a_case: Module, slicer: Any) -> None:
    a_case.ui.confirmAllButton.click()
    a_case.ui.pointsBox.click()
    assert seen(slicer) == []
    a_case.study.node.GetDisplayNode().SetVisibility(True)
    assert a_case.ui.pointsBox.checked
    assert seen(slicer) == ["Landmarks phantom", "Landmarks phantom confirmed"]
    a_case.study.node.GetDisplayNode().SetVisibility(False)
    assert not a_case.ui.pointsBox.checked


def test_size_and_text_of_the_points_are_set_in_the_panel_and_kept_for_the_next_study(
    a_case: Module, add_phantom: Callable[..., Any], a_phantom: Phantom, a_prediction: LandmarkSet
) -> None:
    def look() -> tuple[Any, ...]:
        shown, over = a_case.study.node.GetDisplayNode(), a_case.study.decorations.confirmed.GetDisplayNode()
        return shown.GetGlyphSize(), over.GetGlyphSize(), shown.GetTextScale(), shown.GetPointLabelsVisibility()

    a_case.ui.confirmAllButton.click()
    assert look() == (3.0, 4.0, 2.5, True)
    a_case.ui.pointSizeBox.value, a_case.ui.textSizeBox.value = 6.0, 4.0
    assert look() == (6.0, 8.0, 4.0, True)
    a_case.ui.textSizeBox.value = 0.0
    a_case.ui.volumeSelector.setCurrentNode(add_phantom(a_phantom, "other"))
    a_case.localize(a_prediction)
    a_case.ui.confirmAllButton.click()
    assert look()[:2] == (6.0, 8.0)
    assert not look()[3]
