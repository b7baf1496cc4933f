"""Next case: the queue of a data set in the panel, with a real store and the process that reads it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sqlalchemy")

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.formats.json_result import write_json
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.store.doubt import StudyDoubts, most_doubtful_first
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.web.next_study import next_study
from SpineLandmarksLib.web.studies import listing
from standins.bench import Module


@pytest.fixture
def a_dataset(a_phantom: Phantom, a_prediction: LandmarkSet, tmp_path: Path) -> Path:
    """Three patients; of all but the last a model has said where the landmarks are."""
    folder = tmp_path / "dataset"
    assert main(["dataset", "init", str(folder)]) == 0
    names = [f"p{number}" for number in (1, 2, 3)]
    for number, name in enumerate(names):  # no image comes twice
        voxels = a_phantom.voxels.copy()
        voxels[:, 20:24, 10 + 8 * number : 14 + 8 * number] += 100
        write_nifti(replace(a_phantom, voxels=voxels), tmp_path / f"{name}.nii.gz")
    files = [str(tmp_path / f"{name}.nii.gz") for name in names]
    assert main(["dataset", "add", str(folder), *files, "--bundle", "none"]) == 0
    with open_dataset(folder) as store:
        for study in store.studies()[:2]:
            store.save(Revision(study.key, "memory@1", utc_now(), a_prediction, study.reference))
    return folder


def next_case(module: Module, dataset: Path | None = None) -> None:
    module.dialogs.files = [str(dataset)] if dataset else []
    module.ui.nextCaseButton.click()
    module.wait_until(lambda: module.ui.nextCaseButton.enabled, 60.0)


def queue(dataset: Path, reader: str) -> list[str]:
    with open_dataset(dataset) as store:
        return listing(store, reader, most_doubtful_first(StudyDoubts().read(store))).to_do()


def test_cases_come_in_the_queue_of_the_browser_and_what_is_saved_is_its_next_revision(
    module: Module, slicer: Any, a_dataset: Path, a_prediction: LandmarkSet
) -> None:
    module.ui.readerEdit.text = "Ann"
    order = queue(a_dataset, "Ann")
    seen = []
    for number in range(3):
        next_case(module, a_dataset if number == 0 else None)  # the folder is asked for once
        assert module.dialogs.shown == []
        volume = module.ui.volumeSelector.currentNode()
        seen.append(volume.GetName())
        assert f"{volume.GetName()}: 0 cases are done" in module.ui.messageLabel.text
        assert bool(module.rows()) == (volume.GetName() != "p3")
        if not module.rows():
            module.localize(a_prediction)
        truth = a_prediction["L3"].position_ras_mm
        np.testing.assert_allclose(module.session["L3"].position_ras_mm, truth, atol=0.01)
        module.select("L3")
        module.ui.confirmButton.click()
        module.ui.saveButton.click()
        assert module.session.is_saved
    assert seen == order
    assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 1  # what is saved was put away
    assert list(Path(slicer.app.temporaryPath).rglob("*.npy")) == []
    with open_dataset(a_dataset) as store:
        for key in seen:
            head = store.head(key)
            assert head is not None
            assert (head.author, head.landmarks["L3"].status) == ("Ann", "confirmed")
            assert (head.parent is None) == (key == "p3")
            assert head.image == store.study(key).reference
        assert store.assignments() == dict.fromkeys(seen, "Ann")


def test_a_case_that_somebody_else_has_is_not_given_and_no_case_is_told(module: Module, a_dataset: Path) -> None:
    with open_dataset(a_dataset) as store:
        for key in ("p1", "p2", "p3"):
            store.assign(key, "Bo")
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    assert "No case" in module.ui.messageLabel.text
    assert module.ui.volumeSelector.currentNode() is None
    assert module.dialogs.shown == []


def test_a_case_that_is_not_saved_stays_in_the_scene_and_one_that_nobody_touched_goes(
    module: Module, slicer: Any, a_dataset: Path
) -> None:
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    untouched = module.ui.volumeSelector.currentNode()
    next_case(module)
    assert untouched.GetScene() is None
    first = module.ui.volumeSelector.currentNode()
    if not module.rows():
        next_case(module)
        first = module.ui.volumeSelector.currentNode()
    node = module.study.node
    module.select("L3")
    module.ui.confirmButton.click()
    next_case(module)
    assert module.ui.volumeSelector.currentNode() is not first
    assert (first.GetScene(), node.GetScene()) == (slicer.mrmlScene, slicer.mrmlScene)
    assert module.dialogs.shown == []


def test_a_reader_without_a_name_and_a_folder_that_is_no_data_set_are_told(module: Module, tmp_path: Path) -> None:
    module.ui.readerEdit.text = ""
    next_case(module)
    assert "Enter your name" in module.dialogs.shown[0]
    module.ui.readerEdit.text = "Ann"
    next_case(module)  # and no folder chosen
    assert len(module.dialogs.shown) == 1
    next_case(module, tmp_path)
    assert "data set" in module.dialogs.shown[1]
    assert list(tmp_path.iterdir()) == []


def test_the_package_that_the_store_needs_is_offered(
    module: Module, a_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PySide6.QtWidgets import QMessageBox

    from SpineLandmarksModule import install

    missing: Callable[[str], list[str]] = install.missing
    monkeypatch.setattr(install, "missing", lambda what: ["sqlalchemy>=2.0"] if what == "cases" else missing(what))
    module.ui.readerEdit.text = "Ann"
    module.dialogs.answers = [QMessageBox.No]
    next_case(module, a_dataset)
    assert [text.partition("?")[0] for text in module.dialogs.shown] == ["sqlalchemy>=2.0 is missing. Install it now"]
    assert module.rows() == []


def test_the_names_of_the_landmarks_are_those_of_the_panel(module: Module, a_dataset: Path) -> None:
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    assert [cells[0] for cells in module.rows()] in ([], list(LUMBAR11))


@pytest.mark.parametrize("series_uid", ["1.2.3.4", None])
def test_a_file_that_is_imported_onto_a_case_is_saved_as_that_case(
    module: Module, a_dataset: Path, a_prediction: LandmarkSet, tmp_path: Path, series_uid: str | None
) -> None:
    with open_dataset(a_dataset) as store:
        for key in ("p1", "p2"):
            store.assign(key, "Bo")
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    module.ui.volumeSelector.currentNode().SetName("renamed")
    write_json(replace(a_prediction, series_uid=series_uid), tmp_path / "found.json")
    module.dialogs.files = [str(tmp_path / "found.json")]
    module.ui.importButton.click()
    module.ui.saveButton.click()
    with open_dataset(a_dataset) as store:
        head = store.head("p3")
        assert head is not None
        assert head.author == "Ann"


def test_localizing_a_case_that_was_reviewed_asks_first_and_is_a_step_that_goes_on_from_its_revision(
    module: Module, a_dataset: Path, a_prediction: LandmarkSet
) -> None:
    from PySide6.QtWidgets import QMessageBox

    with open_dataset(a_dataset) as store:
        for key in ("p2", "p3"):
            store.assign(key, "Bo")
        marks = [replace(mark, status="confirmed") if mark.name == "L3" else mark for mark in a_prediction]
        said = replace(a_prediction, landmarks=tuple(marks))
        head = store.head("p1")
        assert head is not None
        store.save(Revision("p1", "Ann", utc_now(), said, head.image, head.id))
        reviewed = store.head("p1")
    assert reviewed is not None
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    assert module.session.events == ()
    module.dialogs.answers = [QMessageBox.No, QMessageBox.Yes]
    module.ui.localizeButton.click()
    assert "has corrections" in module.dialogs.shown[0]
    assert module.panel.logic.runner.job is None
    module.localize(a_prediction)
    assert module.row("L3")[1] == "predicted"
    module.ui.undoButton.click()
    assert module.row("L3")[1] == "confirmed"
    module.ui.redoButton.click()
    module.ui.saveButton.click()
    with open_dataset(a_dataset) as store:
        assert [each.parent for each in store.heads("p1")] == [reviewed.id]


def test_localizing_where_a_reviewed_file_was_imported_asks_and_can_be_undone(
    module: Module, a_volume: Any, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    marks = tuple(mark if mark.is_absent else replace(mark, status="confirmed") for mark in a_prediction)
    write_json(replace(a_prediction, landmarks=marks), tmp_path / "said.json")
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.dialogs.files = [str(tmp_path / "said.json")]
    module.ui.importButton.click()
    module.localize(a_prediction)
    assert "has corrections" in module.dialogs.shown[0]
    module.ui.undoButton.click()
    assert module.row("L3")[1] == "confirmed"


def test_a_case_that_was_only_looked_at_is_kept_for_nobody_and_one_that_was_begun_is(
    module: Module, a_dataset: Path
) -> None:
    module.ui.readerEdit.text = "Ann"
    next_case(module, a_dataset)
    next_case(module)
    if not module.rows():
        next_case(module)
    begun = module.ui.volumeSelector.currentNode().GetName()
    with open_dataset(a_dataset) as store:
        assert store.assignments() == {begun: "Ann"}
    module.select("L3")
    module.ui.confirmButton.click()
    next_case(module)
    opened = module.ui.volumeSelector.currentNode().GetName()
    with open_dataset(a_dataset) as store:
        assert store.assignments() == {begun: "Ann", opened: "Ann"}


def test_a_case_is_released_only_where_another_is_open_and_by_who_has_it(a_dataset: Path, tmp_path: Path) -> None:
    with open_dataset(a_dataset) as store:
        for key, who in {"p1": "Ann", "p2": "Bo", "p3": "Bo"}.items():
            store.assign(key, who)
        assert next_study(store, "Ann", tmp_path, "p1", "p1")["key"] is None
        assert store.assignments()["p1"] == "Ann"
        store.release("p3")
        assert next_study(store, "Ann", tmp_path, "p2", "p2")["key"] == "p3"
        assert store.assignments() == {"p1": "Ann", "p2": "Bo", "p3": "Ann"}


def test_a_file_of_another_series_is_saved_as_the_dicom_series_that_it_was_imported_onto(
    module: Module, slicer: Any, a_volume: Any, a_prediction: LandmarkSet, tmp_path: Path
) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    hierarchy.SetItemUID(hierarchy.GetItemByDataNode(a_volume), "DICOM", "1.2.840.7")
    module.ui.volumeSelector.setCurrentNode(a_volume)
    write_json(replace(a_prediction, series_uid="1.2.3.4"), tmp_path / "found.json")
    module.dialogs.files = [str(tmp_path / "found.json")]
    module.ui.importButton.click()
    assert module.session.study == "1.2.840.7"


def rows(module: Module) -> list[list[str]]:
    table = module.ui.casesTable
    return [[table.item(row, column).text() for column in range(3)] for row in range(table.rowCount)]


def test_the_cases_of_a_data_set_are_listed_found_and_opened_by_a_double_click(module: Module, a_dataset: Path) -> None:
    ui = module.ui
    with open_dataset(a_dataset) as store:
        store.assign("p2", "Bo")
    ui.readerEdit.text = "Ann"
    module.dialogs.files = [str(a_dataset)]
    ui.casesButton.click()
    module.wait_until(lambda: ui.casesButton.enabled, 60.0)
    assert [row[0] for row in rows(module)] == [*queue(a_dataset, "Ann"), "p2"]
    assert [row[1] for row in rows(module)] == ["waits", "waits", "with another"]
    assert "Bo" in rows(module)[-1][2]
    ui.caseSearchEdit.text = "bo WITH"
    assert [row[0] for row in rows(module)] == ["p2"]
    ui.casesTable.cellDoubleClicked.emit(0, 0)
    module.wait_until(lambda: ui.casesButton.enabled, 60.0)
    assert "No case" in ui.messageLabel.text  # somebody else has it
    ui.caseSearchEdit.text = "p1"
    ui.casesTable.cellDoubleClicked.emit(0, 0)
    module.wait_until(lambda: ui.casesButton.enabled, 60.0)
    assert ui.volumeSelector.currentNode().GetName() == "p1"
    assert [row[1] for row in rows(module)] == ["begun"]
    assert module.dialogs.shown == []
    with open_dataset(a_dataset) as store:
        assert store.assignments() == {"p1": "Ann", "p2": "Bo"}


def test_without_a_reader_no_list_is_read(module: Module, a_dataset: Path) -> None:
    module.ui.readerEdit.text = ""
    module.ui.casesButton.click()
    (said,) = module.dialogs.shown
    assert "reader" in said
    assert rows(module) == []
