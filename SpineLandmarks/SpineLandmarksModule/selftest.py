"""The self test that runs inside Slicer, on a generated MRI: localize, correct, relocalize, cancel, save and load."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import slicer

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksModule import install
from SpineLandmarksModule.points import StudyPoints
from SpineLandmarksModule.runner import WorkerOptions
from SpineLandmarksModule.sample import add

#: Every point of the phantom is found this close to its exact place.
LEVEL_MM = 8.0
PATIENCE_S = 120.0


def run(test: Any) -> None:
    """test: of Slicer's test class, for its messages."""
    assert install.missing("light") == [], "Open the module and press Install first"
    slicer.mrmlScene.Clear()
    phantom = make_phantom(8, slices=7, matrix=(256, 256), pixel_mm=1.2)
    volume = add(phantom)
    logic = make_logic()
    try:
        test.delayDisplay("SpineLandmarks: localizing on a generated MRI")
        refuses_what_is_no_volume(logic)
        study = finds_every_level(logic, volume, phantom)
        test.delayDisplay("SpineLandmarks: correcting")
        keeps_corrections(study)
        finds_the_rest_around_what_is_held(logic, volume, phantom)
        test.delayDisplay("SpineLandmarks: cancelling")
        ends_when_it_is_cancelled(logic, volume)
        test.delayDisplay("SpineLandmarks: saving and loading the scene")
        comes_back_with_the_scene(logic, study)
    finally:
        logic.close()
    test.delayDisplay("SpineLandmarks: all passed")


def make_logic() -> Any:
    import SpineLandmarks  # Slicer's module of this name, which has imported this file

    return SpineLandmarks.SpineLandmarksLogic()


def refuses_what_is_no_volume(logic: Any) -> None:
    try:
        logic.localize(None, WorkerOptions())
    except InputError:
        return
    raise AssertionError("Localizing without a volume was not refused")


def finds_every_level(logic: Any, volume: Any, phantom: Phantom) -> StudyPoints:
    logic.localize(volume, WorkerOptions())
    wait(logic)
    study = logic.studies.of(volume)
    has_every_level(study, phantom)
    return study


def has_every_level(study: StudyPoints, phantom: Phantom) -> None:
    for landmark in phantom.landmarks:
        apart = np.subtract(position(study.node, study.row(landmark.name)), landmark.position_ras_mm)
        assert np.linalg.norm(apart) < LEVEL_MM, f"{landmark.name} is {apart} mm off"


def keeps_corrections(study: StudyPoints) -> None:
    row = study.row("L3")
    before = position(study.node, row)
    study.node.SetNthControlPointPosition(row, *np.add(before, (0, 5, 0)))
    assert study.session["L3"].status == "corrected"
    study.session.undo()
    np.testing.assert_allclose(position(study.node, row), before, atol=1e-3)
    study.session.confirm("L4")
    assert study.node.GetNthControlPointLocked(study.row("L4"))


def finds_the_rest_around_what_is_held(logic: Any, volume: Any, phantom: Phantom) -> None:
    """L4 is confirmed; L5 is put 4 mm too far in front; all others are found anew."""
    study = logic.studies.of(volume)
    study.session.move("L5", np.add(study.session["L5"].position_ras_mm, (0, 4, 0)))
    held = {name: study.session[name] for name in ("L4", "L5")}
    study.session.mark_not_visible("T12-L1")
    logic.localize(volume, WorkerOptions(), is_again=True)
    wait(logic)
    assert {name: study.session[name] for name in held} == held
    assert study.session["T12-L1"].status == "not_visible"
    study.session.place("T12-L1", phantom.landmarks["T12-L1"].position_ras_mm)
    has_every_level(study, phantom)


def ends_when_it_is_cancelled(logic: Any, volume: Any) -> None:
    before = logic.studies.of(volume).session.current
    logic.localize(volume, WorkerOptions())
    logic.runner.cancel()
    wait(logic)
    assert logic.studies.of(volume).session.current == before


def comes_back_with_the_scene(logic: Any, study: StudyPoints) -> None:
    events = len(study.session.events)
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "case.mrb")
        assert slicer.mrmlScene.WriteToMRB(file)
        logic.studies.clear()
        slicer.mrmlScene.Clear()
        assert slicer.mrmlScene.ReadFromMRB(file)
    again = logic.studies.of(slicer.util.getNode("phantom"))
    assert again is not None, "The study was not found in the scene"
    assert len(again.session.events) == events
    assert again.session["L4"].status == "confirmed"


def position(node: Any, row: int) -> list[float]:
    return list(node.GetNthControlPointPosition(row))


def wait(logic: Any) -> None:
    end = time.monotonic() + PATIENCE_S
    while logic.runner.job:
        assert time.monotonic() < end, "The worker did not answer"
        logic.runner.poll()
        slicer.app.processEvents()
        time.sleep(0.02)
