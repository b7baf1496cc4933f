"""A scene that an earlier version of the module saved is gone on with, and its training set is added to."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.annotation.revision_files import read_training_set
from standins.bench import Module

OLD = Path(__file__).parents[1] / "lib" / "old_dataset"


def test_a_scene_of_an_earlier_version_is_gone_on_with(module: Module, slicer: Any, tmp_path: Path) -> None:
    assert slicer.mrmlScene.ReadFromMRB(str(OLD / "scene.mrb"))
    module.process_events()
    assert module.ui.volumeSelector.currentNode().GetName() == "phantom"
    assert [module.row(name)[1] for name in ("L3", "L4", "L5")] == ["confirmed", "corrected", "confirmed"]
    assert module.session["L4"].position_ras_mm == pytest.approx((19.885, 36.87, -28.398))
    assert module.ui.curveBox.checked
    folder = Path(shutil.copytree(OLD / "training-set", tmp_path / "set"))
    module.ui.readerEdit.text = "Ann"
    module.dialogs.files = [str(folder)]
    module.ui.saveButton.click()
    module.wait_until(lambda: module.session.is_saved)
    (_, first), (_, second) = read_training_set(folder, "phantom")
    assert second.parent == first.id
    assert second.landmarks["L5"].status == "confirmed"
    for _ in range(3):
        module.ui.undoButton.click()
    assert [module.row(name)[1] for name in ("L3", "L4", "L5")] == ["predicted"] * 3
