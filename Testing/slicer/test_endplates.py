"""Endplates in 3D Slicer: corners that are corrected as the centres are, lines and angles, and the one switch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from standins.bench import Module
from standins.slice_view import SliceView


@pytest.fixture
def a_prediction(a_prediction: LandmarkSet, a_phantom: Phantom) -> LandmarkSet:
    """With corners of which a second model is sure."""
    corners = tuple(
        replace(
            mark,
            status="predicted",
            confidence=0.95,
            radius95_mm=1.5,
            needs_review=False,
            position_ras_mm=tuple(round(v, 3) for v in mark.position_ras_mm or ()),
        )
        for mark in a_phantom.landmarks.corners
    )
    return replace(a_prediction, corners=corners, bundle="memory@1,corners@1")


@pytest.fixture
def a_view(a_case: Module) -> Iterator[SliceView]:
    a_case.select("L3")
    view = SliceView("Yellow")
    view.logic.FitSliceToBackground()
    a_case.select("L3.sup.ant")
    yield view
    view.close()


def measured(case: Module, name: str) -> str:
    return next(cells[1] for cells in case.rows("measurementTable") if cells[0] == name)


def drawn(case: Module) -> list[Any]:
    return [*case.study.lines.nodes.values(), case.study.corners.node]


def pixel_of(case: Module, view: SliceView, name: str) -> Any:
    shown = case.study.of(name)
    return view.pixel_of(list(shown.node.GetNthControlPointPositionWorld(shown.row(name))))


def test_a_corner_that_is_dragged_is_corrected_and_what_is_measured_follows(a_case: Module, a_view: SliceView) -> None:
    before = measured(a_case, "Lumbar lordosis L1-S1")
    start = np.round(pixel_of(a_case, a_view, "S1.sup.ant"))
    a_view.drag(start, 0, -12)
    assert [(event.what, event.changes[0].name) for event in a_case.session.events] == [("move", "S1.sup.ant")]
    assert a_case.panel.review_panel.selected == "S1.sup.ant"
    assert "front corner of the upper endplate of S1" in a_case.ui.landmarkLabel.text
    assert a_case.row("S1.sup.ant")[1] == "corrected"
    after = measured(a_case, "Lumbar lordosis L1-S1")
    assert float(after.split("°")[0]) > float(before.split("°")[0]) + 3
    a_case.ui.undoButton.click()
    assert measured(a_case, "Lumbar lordosis L1-S1") == before
    np.testing.assert_allclose(pixel_of(a_case, a_view, "S1.sup.ant"), start, atol=0.51)


def test_the_buttons_do_to_a_corner_what_they_do_to_a_centre(a_case: Module) -> None:
    a_case.select("L4.inf.post")
    a_case.ui.confirmButton.click()
    assert a_case.row("L4.inf.post")[1] == "confirmed"
    a_case.ui.confirmButton.click()
    a_case.ui.notVisibleButton.click()
    assert measured(a_case, "Slip L4-L5") == "L4.inf.post is not visible"
    a_case.ui.confirmAllButton.click()  # of its kind: the corners
    assert a_case.row("L3.sup.ant")[1] == "confirmed"
    assert a_case.row("L3")[1] == "predicted"


def test_one_switch_hides_and_shows_all_of_it(a_case: Module) -> None:
    assert len(drawn(a_case)) == 13
    assert all(node.GetDisplayNode().GetVisibility() for node in drawn(a_case))
    assert a_case.ui.landmarkTable.rowCount == 33
    a_case.select("L2.sup.post")
    a_case.ui.endplatesBox.click()
    assert not any(node.GetDisplayNode().GetVisibility() for node in drawn(a_case))
    assert a_case.ui.landmarkTable.rowCount == 11
    a_case.ui.endplatesBox.click()
    a_case.ui.pointsBox.click()  # with the points goes what is drawn beside them
    assert not any(node.GetDisplayNode().GetVisibility() for node in drawn(a_case))


def test_hiding_endplates_ends_the_placing_of_a_corner_and_of_no_centre(a_case: Module) -> None:
    for name, goes_on in (("L4.inf.post", False), ("L4", True)):
        a_case.select(name)
        a_case.ui.notVisibleButton.click()
        a_case.ui.placeButton.click()
        assert name in a_case.ui.messageLabel.text
        a_case.ui.endplatesBox.click()
        assert (name in a_case.ui.messageLabel.text) == goes_on
        a_case.ui.endplatesBox.click()


def test_a_study_without_corners_has_nothing_to_switch(a_case: Module, a_prediction: LandmarkSet) -> None:
    assert a_case.ui.endplatesBox.enabled
    a_case.session.undo()
    a_case.panel.logic.studies.drop(a_case.study)
    a_case.panel.open(None)
    assert not a_case.ui.endplatesBox.enabled


def test_angles_stand_beside_their_lines_in_slicers_own_views(a_case: Module, a_view: SliceView) -> None:
    lines = a_case.study.lines.nodes
    assert lines["L1.sup"].GetNthControlPointLabel(1).startswith("Lordosis ")
    front, back = (np.array(a_case.session[f"L3.inf.{side}"].position_ras_mm) for side in ("ant", "post"))
    on_slice = a_case.session.frame.ijk(lines["L3.inf"].GetNthControlPointPosition(0))
    assert on_slice == pytest.approx((*a_case.session.frame.ijk(front)[:2], 3), abs=1e-3)
    middle = a_view.pixel_of(list((front + back) / 2))
    assert a_view.colour_at(middle)[1] > 200  # the light green of endplates
    a_case.ui.endplatesBox.click()
    assert a_view.colour_at(middle)[1] < 200


def test_lines_lie_on_the_slice_of_the_point_that_is_gone_to(a_case: Module) -> None:
    frame, line = a_case.session.frame, a_case.study.lines.nodes["L3.inf"]
    for name in ("L5-S1", "L1"):
        a_case.select(name)
        on = frame.slice_index(a_case.session[name].position_ras_mm)
        assert frame.ijk(line.GetNthControlPointPosition(0))[2] == pytest.approx(on, abs=1e-3)


def test_endplates_go_with_the_transform_of_their_volume_and_are_not_saved(
    a_case: Module, a_volume: Any, slicer: Any
) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    a_volume.SetAndObserveTransformNodeID(transform.GetID())
    for node in drawn(a_case):
        assert node.GetTransformNodeID() == transform.GetID()
        assert not node.GetSaveWithScene()
        assert node.GetHideFromEditors()
    kept = drawn(a_case)
    a_case.panel.logic.studies.drop(a_case.study)
    assert [node for node in kept if node.GetScene() is not None] == []


def test_points_that_are_taken_over_come_with_their_corners(
    a_case: Module, add_phantom: Callable[..., Any], a_phantom: Phantom
) -> None:
    from PySide6.QtWidgets import QMessageBox

    other = add_phantom(a_phantom, "other series")
    a_case.dialogs.answers = [QMessageBox.Yes]  # nothing says that they lie in one frame of reference
    a_case.select("L2.sup.ant")
    a_case.ui.confirmButton.click()
    first = a_case.session
    a_case.ui.volumeSelector.setCurrentNode(other)
    a_case.ui.takeOverButton.click()
    assert a_case.session is not first
    assert a_case.row("L2.sup.ant")[1] == "confirmed"
    assert measured(a_case, "Sacral slope").split("°")[0] != ""
