"""Export, clipboard, import and the training set, as the panel does them, and what it says when they fail."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from SpineLandmarksLib.annotation.revision_files import read_training_set
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.csv_table import read_csv, write_csv
from SpineLandmarksLib.formats.dicom_sr_reading import read_sr
from SpineLandmarksLib.formats.slicer_markups import read_markups, write_markups
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.retraining.process import Retraining, RetrainStatus
from standins.bench import Module, add_volume

RAS, LPS, MARKUPS, MEASUREMENTS, REPORT = range(5)


def export(case: Module, what: int, path: Path) -> None:
    case.ui.formatSelector.currentIndex = what
    case.dialogs.files = [str(path)]
    case.ui.exportButton.click()


@pytest.mark.parametrize(("what", "header"), [(RAS, "label,r_mm,a_mm,s_mm"), (LPS, "label,l_mm,p_mm,s_mm")])
def test_a_table_is_exported_in_the_frame_that_its_header_says(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path, what: int, header: str
) -> None:
    export(a_case, what, tmp_path / "case")
    written = tmp_path / "case.csv"  # the ending is added
    assert written.read_text().startswith(header)
    assert read_csv(written)["L3"].position_ras_mm == pytest.approx(a_prediction["L3"].position_ras_mm, abs=1e-3)
    assert str(written) in a_case.ui.messageLabel.text


def test_markups_are_exported_as_the_command_writes_them(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    export(a_case, MARKUPS, tmp_path / "case.mrk.json")
    assert read_markups(tmp_path / "case.mrk.json")["L3"].position_ras_mm == pytest.approx(
        a_prediction["L3"].position_ras_mm
    )


def test_measurements_are_exported_with_definition_and_source(a_case: Module, tmp_path: Path) -> None:
    export(a_case, MEASUREMENTS, tmp_path / "m.csv")
    text = (tmp_path / "m.csv").read_text()
    assert text.startswith("name,value,unit,definition,source,")  # a later column comes after these
    assert "Derived from the centres" in text


@pytest.fixture
def a_dicom_case(a_case: Module, a_volume: Any, slicer: Any, a_phantom: Phantom, tmp_path: Path) -> Module:
    """The study with the DICOM files that its volume was loaded from."""
    series = sorted(write_dicom_series(a_phantom, tmp_path / "series").iterdir())
    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(series[0]))
    for file in series:
        storage.AddFileName(str(file))
    a_volume.SetAndObserveStorageNodeID(storage.GetID())
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    uid = str(pydicom.dcmread(series[0]).SeriesInstanceUID)
    hierarchy.SetItemUID(hierarchy.GetItemByDataNode(a_volume), "DICOM", uid)
    return a_case


def test_a_report_is_exported_as_the_command_writes_it(
    a_dicom_case: Module, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    export(a_dicom_case, REPORT, tmp_path / "case")
    assert a_dicom_case.dialogs.shown == []
    back = read_sr(tmp_path / "case.sr.dcm")
    assert back["L3"].position_ras_mm == pytest.approx(a_prediction["L3"].position_ras_mm, abs=1e-3)


def test_a_report_of_no_dicom_or_of_a_moved_volume_is_refused(
    a_dicom_case: Module, a_volume: Any, slicer: Any, tmp_path: Path
) -> None:
    matrix = slicer.util.arrayFromVTKMatrix(ijk_to_ras(a_volume))
    matrix[:3, 3] += 2.0
    a_volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(matrix))
    export(a_dicom_case, REPORT, tmp_path / "case")
    assert "it was moved or resampled" in a_dicom_case.dialogs.shown[-1]
    a_volume.SetAndObserveStorageNodeID(None)
    export(a_dicom_case, REPORT, tmp_path / "case")
    assert "DICOM images" in a_dicom_case.dialogs.shown[-1]
    assert not (tmp_path / "case.sr.dcm").exists()


def ijk_to_ras(volume: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return matrix


def test_without_highdicom_the_module_says_what_to_type(
    a_dicom_case: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "highdicom", None)
    export(a_dicom_case, REPORT, tmp_path / "case")
    assert "slicer.util.pip_install('highdicom')" in a_dicom_case.dialogs.shown[-1]


def test_no_file_chosen_writes_nothing(a_case: Module, tmp_path: Path) -> None:
    a_case.ui.exportButton.click()
    a_case.ui.importButton.click()
    a_case.ui.saveButton.click()
    assert list(tmp_path.iterdir()) == []
    assert a_case.dialogs.shown == []
    assert a_case.session.events == ()


def test_a_full_disk_is_told_and_nothing_is_lost(
    a_case: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SpineLandmarksModule import files_panel

    def full(*_: Any) -> None:
        raise OutputError("Could not write case.csv: No space left on device. Nothing was changed")

    a_case.select("L3")
    a_case.ui.confirmButton.click()
    ending, _, copy = files_panel.FORMATS["Landmarks, CSV in RAS"]
    monkeypatch.setitem(files_panel.FORMATS, "Landmarks, CSV in RAS", (ending, full, copy))
    export(a_case, RAS, tmp_path / "case.csv")
    assert "No space left on device" in a_case.dialogs.shown[0]
    assert a_case.session["L3"].status == "confirmed"


def test_a_folder_that_may_not_be_written_is_told(a_case: Module, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    export(a_case, RAS, tmp_path / "file" / "case.csv")
    assert len(a_case.dialogs.shown) == 1
    assert "case.csv" in a_case.dialogs.shown[0]


@pytest.mark.parametrize(
    ("what", "start"),
    [
        (RAS, "label\tr_mm"),
        (LPS, "label\tl_mm"),
        (MARKUPS, "label\tr_mm"),
        (REPORT, "label\tr_mm"),
        (MEASUREMENTS, "name\tvalue"),
    ],
)
def test_the_clipboard_gets_a_table_with_tabs(a_case: Module, slicer: Any, what: int, start: str) -> None:
    a_case.ui.formatSelector.currentIndex = what
    a_case.ui.copyButton.click()
    text = slicer.app.clipboard().text()
    assert text.startswith(start)
    assert len(text.splitlines()) > 10


# Import


def write_fcsv(landmarks: LandmarkSet, path: Path) -> None:
    lines = [
        "# Markups fiducial file version = 5.0",
        "# CoordinateSystem = RAS",
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID",
    ]
    for n, mark in enumerate(landmarks):
        if mark.position_ras_mm:
            lines.append(f"{n},{','.join(map(str, mark.position_ras_mm))},0,0,0,1,1,1,0,{mark.name},,")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("ending", [".csv", ".mrk.json", ".fcsv"])
def test_a_file_is_imported_onto_a_volume_that_has_no_landmarks_yet(
    module: Module, a_volume: Any, a_prediction: LandmarkSet, tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"from elsewhere{ending}"
    {".csv": write_csv, ".mrk.json": write_markups, ".fcsv": write_fcsv}[ending](a_prediction, path)
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.dialogs.files = [str(path)]
    module.ui.importButton.click()
    assert module.dialogs.shown == []
    assert [cells[0] for cells in module.rows()] == list(LUMBAR11)
    assert module.session["L3"].position_ras_mm == pytest.approx(a_prediction["L3"].position_ras_mm, abs=1e-3)
    assert path.name in module.ui.messageLabel.text


def test_an_import_over_corrections_is_one_step_that_undo_takes_back_and_confirmed_ones_are_asked_for(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    from PySide6.QtWidgets import QMessageBox

    write_csv(a_prediction, tmp_path / "a.csv")
    old = "{:.3f}".format(a_prediction["L4"].position_ras_mm[2])
    moved = f"{a_prediction['L4'].position_ras_mm[2] + 2:.3f}"
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace(old, moved))
    a_case.select("L3")
    a_case.ui.notVisibleButton.click()
    a_case.select("L4")
    a_case.ui.confirmButton.click()
    before = a_case.session.current
    a_case.dialogs.files = [str(tmp_path / "a.csv")] * 2
    a_case.dialogs.answers = [QMessageBox.No, QMessageBox.Yes]
    a_case.ui.importButton.click()
    assert a_case.session.current == before
    a_case.ui.importButton.click()
    assert a_case.session["L3"].status == "corrected"  # it has a place again, which a person gave it
    assert (a_case.session["L4"].status, a_case.session["L2"].status) == ("corrected", "predicted")
    a_case.ui.undoButton.click()
    assert a_case.session.current == before


def test_an_import_that_leaves_confirmed_landmarks_alone_asks_nothing(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    r, a, s = a_prediction["L3"].position_ras_mm
    (tmp_path / "a.csv").write_text(f"label,r_mm,a_mm,s_mm\nL3,{r},{a},{s - 3}\n")
    a_case.select("L4")
    a_case.ui.confirmButton.click()
    before = a_case.session.current
    a_case.dialogs.files = [str(tmp_path / "a.csv")]
    a_case.ui.importButton.click()
    assert a_case.dialogs.shown == []
    assert a_case.session["L3"].status == "corrected"
    assert [mark for mark in a_case.session.current if mark.name != "L3"] == [m for m in before if m.name != "L3"]


def test_names_that_do_not_fit_are_told(a_case: Module, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,r_mm,a_mm,s_mm\nC7,1,2,3\n")
    a_case.dialogs.files = [str(tmp_path / "a.csv")]
    a_case.ui.importButton.click()
    assert "C7" in a_case.dialogs.shown[0]
    assert a_case.session.events == ()


def test_points_in_the_wrong_frame_are_asked_about_and_taken_right(
    a_case: Module, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    from PySide6.QtWidgets import QMessageBox

    write_csv(a_prediction, tmp_path / "a.csv", "LPS")
    text = (tmp_path / "a.csv").read_text().replace("l_mm,p_mm", "r_mm,a_mm")  # a table that lies about its frame
    (tmp_path / "a.csv").write_text(text)
    a_case.dialogs.files = [str(tmp_path / "a.csv")] * 2
    a_case.dialogs.answers = [QMessageBox.No, QMessageBox.Yes]
    a_case.ui.importButton.click()
    assert "Read as LPS in mm they fit" in a_case.dialogs.shown[0]
    assert a_case.session.events == ()
    a_case.ui.importButton.click()
    assert a_case.session["L3"].position_ras_mm == pytest.approx(a_prediction["L3"].position_ras_mm, abs=1e-3)


def test_an_import_without_a_volume_is_told(module: Module, a_prediction: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_prediction, tmp_path / "a.csv")
    module.dialogs.files = [str(tmp_path / "a.csv")]
    module.ui.importButton.click()
    assert "No volume is selected" in module.dialogs.shown[0]


# Training set


def save(case: Module, folder: Path) -> None:
    said = len(case.dialogs.shown)
    case.ui.messageLabel.text = ""
    case.dialogs.files = [str(folder)]
    case.ui.saveButton.click()
    case.wait_until(lambda: case.ui.messageLabel.text or len(case.dialogs.shown) > said)


def test_saving_adds_who_when_what_and_the_image_and_overwrites_nothing(
    a_case: Module, tmp_path: Path, slicer: Any
) -> None:
    a_case.ui.readerEdit.text = "A. Reader"
    a_case.ui.commentEdit.text = "six bodies?"
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    save(a_case, tmp_path)
    a_case.select("L4")
    a_case.ui.confirmButton.click()
    save(a_case, tmp_path)
    (first_file, first), (_, second) = read_training_set(tmp_path, "phantom")
    assert (first.author, first.comment, first.source_model) == ("A. Reader", "six bodies?", "memory@1")
    assert [first.landmarks[name].status for name in ("L3", "L4")] == ["confirmed", "predicted"]
    assert [second.landmarks[name].status for name in ("L3", "L4")] == ["confirmed", "confirmed"]
    assert second.parent == first.id
    assert json.loads(first_file.read_text())["id"] == first.id
    assert a_case.session.is_saved


def test_saving_names_the_file_that_the_volume_was_loaded_from_by_its_hash(
    module: Module, slicer: Any, a_phantom_study: Path, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    import hashlib

    storage = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLVolumeArchetypeStorageNode")
    storage.SetFileName(str(a_phantom_study))
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "loaded")
    assert storage.ReadData(volume)
    volume.SetAndObserveStorageNodeID(storage.GetID())
    module.ui.volumeSelector.setCurrentNode(volume)
    module.localize(a_prediction)
    module.ui.readerEdit.text = "A. Reader"
    save(module, tmp_path)
    ((_, saved),) = read_training_set(tmp_path, "loaded")
    assert saved.image.sha256 == hashlib.sha256(a_phantom_study.read_bytes()).hexdigest()


def test_saving_without_a_name_asks_for_one_and_keeps_everything(a_case: Module, tmp_path: Path) -> None:
    a_case.ui.readerEdit.text = "  "
    save(a_case, tmp_path)
    assert "Enter a name first" in a_case.dialogs.shown[0]
    assert list(tmp_path.iterdir()) == []
    assert a_case.ui.saveButton.enabled


def test_saving_into_a_folder_that_is_gone_is_told(a_case: Module, tmp_path: Path) -> None:
    a_case.ui.readerEdit.text = "A. Reader"
    save(a_case, tmp_path / "gone")
    assert "there is none" in a_case.dialogs.shown[0]


def test_the_name_of_the_reader_is_remembered_and_every_correction_bears_it(a_case: Module) -> None:
    a_case.ui.readerEdit.text = "B. Reader"
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    assert a_case.session.events[-1].who == "B. Reader"
    a_case.widget.onReload()
    assert a_case.ui.readerEdit.text == "B. Reader"
    assert np.isfinite(a_case.panel.timer.interval)


# Retraining

#: In place of the command: trains until it is asked to stop.
TRAINS = """
import sys, time
from pathlib import Path
from SpineLandmarksLib.retraining.process import CANCEL, MODELS, UNFINISHED, RetrainStatus, the_only_one, write_progress
dataset = Path(sys.argv[2])
with the_only_one(dataset):
    while not (dataset / MODELS / UNFINISHED / CANCEL).exists():
        write_progress(dataset, RetrainStatus("running", "step 5 of 10", 5, 10))
        time.sleep(0.05)
    write_progress(dataset, RetrainStatus("stopped", "Stopped at step 5 of 10", 5, 10))
"""


def test_retraining_is_started_watched_and_stopped_with_one_button(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from SpineLandmarksModule.files_panel import RetrainButton

    (tmp_path / "dataset.json").write_text("{}")
    (tmp_path / "trains.py").write_text(TRAINS)
    command = (sys.executable, str(tmp_path / "trains.py"))
    monkeypatch.setattr(RetrainButton, "_of", staticmethod(lambda folder: Retraining(Path(folder), command=command)))
    module.dialogs.files = [str(tmp_path)]
    button = module.ui.retrainButton
    assert button.text == "Retrain"
    button.click()
    module.wait_until(lambda: button.text == "Stop retraining (48 %)")
    assert button.toolTip == "step 5 of 10"
    button.click()
    module.wait_until(lambda: button.text == "Go on retraining")
    assert module.ui.messageLabel.text == "Stopped at step 5 of 10"
    assert module.dialogs.shown == []


def test_retraining_in_a_folder_that_is_no_data_set_is_told(module: Module, tmp_path: Path) -> None:
    module.dialogs.files = [str(tmp_path)]
    module.ui.retrainButton.click()
    assert "spine-landmarks dataset init" in module.dialogs.shown[0]
    assert list(tmp_path.iterdir()) == []


# Into the scene


def test_the_results_become_a_table_node_that_is_written_anew_and_saved_with_the_scene(
    a_case: Module, slicer: Any, tmp_path: Path
) -> None:
    def tables() -> list[Any]:
        return list(slicer.util.getNodesByClass("vtkMRMLTableNode"))

    for what in (RAS, MEASUREMENTS, RAS):
        a_case.ui.formatSelector.currentIndex = what
        a_case.ui.tableButton.click()
    marks, measured = tables()
    assert marks.GetName() == "phantom Landmarks, CSV in RAS"
    assert [marks.GetCellText(row, 0) for row in range(marks.GetNumberOfRows())] == list(LUMBAR11)
    column = marks.GetTable().GetColumnByName("a_mm")
    assert column.GetValue(LUMBAR11.index("L3")) == pytest.approx(a_case.session["L3"].position_ras_mm[1], abs=1e-3)
    assert np.isnan(column.GetValue(0))  # T12-L1 has no point
    assert measured.GetTable().GetColumnByName("value").IsA("vtkDoubleArray")
    assert measured.GetTable().GetColumnByName("definition").IsA("vtkStringArray")
    assert slicer.mrmlScene.WriteToMRB(str(tmp_path / "case.mrb"))
    slicer.mrmlScene.Clear()
    assert slicer.mrmlScene.ReadFromMRB(str(tmp_path / "case.mrb"))
    a_case.process_events()
    a_case.ui.tableButton.click()
    assert sorted(node.GetName() for node in tables()) == [marks.GetName(), measured.GetName()]


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_a_file_that_the_added_ending_would_replace_is_asked_about(a_case: Module, tmp_path: Path, answer: str) -> None:
    from PySide6.QtWidgets import QMessageBox

    (tmp_path / "case.csv").write_text("mine")
    a_case.dialogs.answers = [getattr(QMessageBox, answer)]
    export(a_case, RAS, tmp_path / "case")
    assert "case.csv is there already" in a_case.dialogs.shown[0]
    assert ((tmp_path / "case.csv").read_text() == "mine") == (answer == "No")
    a_case.dialogs.clear()
    export(a_case, RAS, tmp_path / "case.csv")  # the dialog has asked
    assert a_case.dialogs.shown == []


def test_a_data_set_on_a_drive_that_does_not_answer_does_not_hold_the_window(
    module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from SpineLandmarksModule.files_panel import RetrainButton

    answers = threading.Event()

    class Hanging(Retraining):
        def progress(self) -> RetrainStatus:
            assert answers.wait(180.0)
            return RetrainStatus("stopped", "Stopped at step 5 of 10")

    monkeypatch.setattr(RetrainButton, "_of", staticmethod(lambda folder: Hanging(Path(folder))))
    module.ui.retrainButton.text = ""
    button = RetrainButton(module.ui, str(tmp_path))
    for _ in range(3):
        button.look()
    assert module.ui.retrainButton.text == ""
    answers.set()
    module.wait_until(lambda: module.ui.retrainButton.text == "Go on retraining")
    assert module.ui.messageLabel.text == ""  # nobody asked
    button.close()


# From another series


class Database:
    """slicer.dicomDatabase: the frame of reference of each image."""

    frames: dict[str, str] = {}  # noqa: RUF012

    def instanceValue(self, uid: str, tag: str) -> str:
        assert tag == "0020,0052"
        return self.frames.get(uid, "")


@pytest.fixture
def another_series(a_case: Module, slicer: Any, a_phantom: Phantom, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of the same patient, cut by two columns and under a transform of its own that the scanner did not know."""
    monkeypatch.setattr(slicer, "dicomDatabase", Database(), raising=False)
    monkeypatch.setattr(Database, "frames", {"1": "one", "2": "one", "3": "another"})
    matrix = a_phantom.ras_from_ijk.copy()
    matrix[:3, 3] += matrix[:3, 0] * 2
    volume = add_volume(slicer, a_phantom.voxels[:, :, 2:], matrix, "T1")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    moved = np.eye(4)
    moved[:3, 3] = 0, 0, 4
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(moved))
    volume.SetAndObserveTransformNodeID(transform.GetID())
    return volume


@pytest.mark.parametrize(
    ("uids", "answer", "taken"),
    [(("1", "2"), "", True), (("1", "3"), "", False), (("", ""), "Yes", True), (("1", ""), "No", False)],
    ids=["same frame", "other frame", "unknown, yes", "unknown, no"],
)
def test_points_are_taken_over_from_a_series_in_the_same_frame_where_they_lie_in_the_patient(
    a_case: Module, another_series: Any, a_volume: Any, uids: tuple[str, str], answer: str, taken: bool
) -> None:
    from PySide6.QtWidgets import QMessageBox

    for volume, uid in zip((a_volume, another_series), uids, strict=True):
        volume.SetAttribute("DICOM.instanceUIDs", uid)
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    first = a_case.study.node
    a_case.ui.volumeSelector.setCurrentNode(another_series)
    a_case.dialogs.answers = [getattr(QMessageBox, answer)] if answer else []
    a_case.ui.takeOverButton.click()
    assert bool(a_case.rows()) == taken
    if not taken:
        said = "No other series" if uids[1] == "3" else "Nothing says that phantom lies in the same frame"
        assert said in a_case.dialogs.shown[0]
        return
    assert a_case.row("L3")[1] == "confirmed"
    assert a_case.study.node is not first
    for row in range(1, 11):
        there, here = (list(node.GetNthControlPointPositionWorld(row)) for node in (first, a_case.study.node))
        np.testing.assert_allclose(here, there, atol=1e-3)


def test_points_that_are_taken_over_onto_work_are_one_step_that_undo_takes_back(
    a_case: Module, another_series: Any, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    for volume, uid in ((a_volume, "1"), (another_series, "2")):
        volume.SetAttribute("DICOM.instanceUIDs", uid)
    a_case.ui.volumeSelector.setCurrentNode(another_series)
    a_case.ui.takeOverButton.click()
    a_case.select("L4")
    a_case.ui.notVisibleButton.click()
    a_case.ui.takeOverButton.click()
    assert a_case.row("L4")[1] == "predicted"
    a_case.ui.undoButton.click()
    assert a_case.row("L4")[1] == "not visible"
    assert a_case.dialogs.shown == []


def test_points_that_are_taken_over_keep_the_doubts_about_them(
    a_case: Module, another_series: Any, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    for volume, uid in ((a_volume, "1"), (another_series, "2")):
        volume.SetAttribute("DICOM.instanceUIDs", uid)
    doubts = {"needs_review": True, "warnings": ("Six bodies",), "numberings": ((0, 0.6), (1, 0.4))}
    a_case.localize(replace(a_prediction, **doubts))
    a_case.ui.volumeSelector.setCurrentNode(another_series)
    a_case.ui.takeOverButton.click()
    assert {name: getattr(a_case.session.current, name) for name in doubts} == doubts
