"""The mouse in a slice view: Slicer's own displayable managers and interactor style on the module's points."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.landmarks import LUMBAR11
from standins.bench import Module
from standins.slice_view import SliceView

YELLOW_BALL, CYAN_BALL, GREEN_BALL = (255, 217, 51), (102, 255, 255), (76, 230, 102)


@pytest.fixture
def a_view(a_case: Module) -> Iterator[SliceView]:
    """The sagittal view at L3, large enough to hit a point."""
    a_case.select("L3")
    view = SliceView("Yellow")
    view.logic.FitSliceToBackground()
    a_case.select("L3")
    yield view
    view.close()


def pixel_of(case: Module, view: SliceView, name: str) -> Any:
    return view.pixel_of(list(case.study.node.GetNthControlPointPositionWorld(case.study.row(name))))


def test_a_drag_with_the_mouse_moves_the_point_and_is_one_correction(a_case: Module, a_view: SliceView) -> None:
    start = np.round(pixel_of(a_case, a_view, "L3"))
    expected = a_view.position_of(np.add(start, (30, -10)))
    a_view.drag(start, 30, -10)
    assert [(event.what, event.changes[0].name) for event in a_case.session.events] == [("move", "L3")]
    assert a_case.session["L3"].position_ras_mm == pytest.approx(tuple(expected), abs=1.0)  # a pixel is 0.6 mm
    assert a_case.row("L3")[1] == "corrected"
    a_case.ui.undoButton.click()
    np.testing.assert_allclose(pixel_of(a_case, a_view, "L3"), start, atol=0.51)
    assert a_case.row("L3")[1] == "predicted"


def test_a_drag_beside_every_point_changes_nothing(a_case: Module, a_view: SliceView) -> None:
    a_view.drag((40, 40), 40, 20)
    assert a_case.session.events == ()


def test_a_confirmed_point_cannot_be_grabbed(a_case: Module, a_view: SliceView) -> None:
    a_case.ui.confirmButton.click()
    start = pixel_of(a_case, a_view, "L3")
    a_view.drag(start, 30, 0)
    np.testing.assert_allclose(pixel_of(a_case, a_view, "L3"), start)
    assert [event.what for event in a_case.session.events] == ["confirm"]
    assert a_case.dialogs.shown == []


def test_place_and_a_click_put_the_chosen_point_where_the_click_was(
    a_case: Module, a_view: SliceView, slicer: Any
) -> None:
    for name in ("L3", "L5"):
        a_case.select(name)
        a_case.ui.notVisibleButton.click()
    a_case.ui.placeButton.click()  # L5, thought better of
    a_case.select("L3")
    a_case.ui.placeButton.click()
    for pixel in ((100, 100), (150, 250)):  # the point follows the mouse, which is no correction yet
        a_view.move_to(pixel)
    assert [event.what for event in a_case.session.events] == ["mark_not_visible"] * 2
    target = np.array([200.0, 200.0])
    a_view.click(target)
    assert [(event.what, event.changes[0].name) for event in a_case.session.events[2:]] == [("place", "L3")]
    np.testing.assert_allclose(pixel_of(a_case, a_view, "L3"), target, atol=1.0)
    assert [a_case.row(name)[1] for name in ("L3", "L5")] == ["corrected", "not visible"]
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    assert interaction.GetCurrentInteractionMode() == interaction.ViewTransform
    assert a_case.study.node.GetNumberOfControlPoints() == 11


def is_placing(slicer: Any) -> bool:
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    return bool(interaction.GetCurrentInteractionMode() == interaction.Place)


@pytest.fixture
def own_list(a_case: Module, slicer: Any) -> str:
    """Id of the reader's own list, in which the toolbar places points."""
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    return str(own.GetID())


def placed_in(slicer: Any) -> str:
    return str(slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode").GetActivePlaceNodeID())


@pytest.mark.parametrize("way", ["Esc", "right click", "another module"])
def test_placing_ends_without_a_point(a_case: Module, a_view: SliceView, slicer: Any, own_list: str, way: str) -> None:
    from PySide6.QtCore import Qt
    from PySide6.QtTest import QTest

    window = a_case.panel.ui.landmarkTable.window()
    window.show()
    window.activateWindow()
    a_case.wait_until(lambda: window.isActiveWindow)
    a_case.select("T12-L1")
    a_case.ui.placeButton.click()
    a_view.move_to((100, 100))
    a_view.press("Escape", "\x1b")
    assert is_placing(slicer)  # Slicer does not know the key
    if way == "Esc":
        QTest.keyClick(a_case.ui.landmarkTable, Qt.Key_Escape)
    elif way == "right click":
        a_view.right_click((100, 100))
    else:
        a_case.exit()
    a_case.wait_until(lambda: not a_case.ui.messageLabel.text)
    assert not is_placing(slicer)
    assert placed_in(slicer) == own_list
    node = a_case.study.node
    assert node.GetNthControlPointPositionStatus(0) == node.PositionMissing
    a_view.click((150, 150))
    assert a_case.session.events == ()


def test_what_has_no_point_is_placed_one_after_another_from_head_to_foot(
    a_case: Module, a_view: SliceView, slicer: Any, own_list: str
) -> None:
    a_case.ui.levelUpButton.click()
    a_case.ui.levelUpButton.click()  # two levels: nothing is left for L4-L5, L5 and L5-S1, nor for L4
    absent = [name for name in LUMBAR11 if a_case.session[name].is_absent]
    assert len(absent) >= 4
    a_case.select("L3")
    steps = len(a_case.session.events)
    a_case.ui.placeRestButton.click()
    targets = {}
    for row, name in enumerate(absent):
        a_case.wait_until(lambda name=name: f"where {name} is" in a_case.ui.messageLabel.text)
        assert a_case.panel.review_panel.selected == name
        a_view.move_to((200, 300 - 20 * row))
        if row == 1:  # thought better of: this one cannot be seen
            a_case.ui.notVisibleButton.click()
            continue
        targets[name] = a_view.position_of((200, 300 - 20 * row))
        a_view.click((200, 300 - 20 * row))
    a_case.wait_until(lambda: not a_case.ui.messageLabel.text)
    done = [(event.what, event.changes[0].name) for event in a_case.session.events[steps:]]
    assert done == [("mark_not_visible" if row == 1 else "place", name) for row, name in enumerate(absent)]
    for name, target in targets.items():
        assert a_case.session[name].position_ras_mm == pytest.approx(tuple(target), abs=1.0)
    assert not is_placing(slicer)
    assert placed_in(slicer) == own_list
    assert not a_case.ui.placeRestButton.enabled


def test_a_correction_of_another_point_does_not_end_placing(a_case: Module, a_view: SliceView) -> None:
    a_case.ui.placeRestButton.click()
    a_case.session.confirm("L4")
    a_case.process_events()
    a_view.click((150, 150))
    assert a_case.session["T12-L1"].status == "corrected"


def test_the_toolbar_s_place_mode_on_the_landmarks_themselves_changes_none(
    a_case: Module, a_view: SliceView, slicer: Any
) -> None:
    before = a_case.session.current
    slicer.modules.markups.logic().SetActiveList(a_case.study.node)  # selected in the module Markups
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)
    for pixel in ((100, 100), (150, 150)):
        a_view.click(pixel)
    assert a_case.session.current == before
    assert a_case.study.node.GetNumberOfControlPoints() == 11
    assert a_case.dialogs.shown == []


def test_a_drag_in_a_transformed_volume_lands_where_the_mouse_was(
    a_case: Module, a_view: SliceView, a_volume: Any, slicer: Any
) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    matrix = np.array([[1, 0, 0, 5], [0, 0.8, -0.6, 0], [0, 0.6, 0.8, -40], [0, 0, 0, 1.0]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    a_volume.SetAndObserveTransformNodeID(transform.GetID())
    a_view.logic.FitSliceToBackground()
    a_case.select("L3")
    start = np.round(pixel_of(a_case, a_view, "L3"))
    world = a_view.position_of(np.add(start, (0, 25)))
    a_view.drag(start, 0, 25)
    local = (np.linalg.inv(matrix) @ [*world, 1.0])[:3]
    assert a_case.session["L3"].position_ras_mm == pytest.approx(tuple(local), abs=1.0)


def test_every_status_has_its_colour_in_the_view(a_case: Module, a_view: SliceView) -> None:
    l3, l4 = pixel_of(a_case, a_view, "L3"), pixel_of(a_case, a_view, "L4")
    assert a_view.colour_at(l3) == pytest.approx(YELLOW_BALL, abs=12)
    a_case.select("L3")
    a_case.ui.confirmButton.click()
    assert a_view.colour_at(l3) == pytest.approx(GREEN_BALL, abs=12)
    a_view.drag(l4, 20, 0)
    a_view.move_to((5, 5))  # a point under the mouse has a colour of its own
    assert a_view.colour_at(pixel_of(a_case, a_view, "L4")) == pytest.approx(CYAN_BALL, abs=12)


def test_the_volume_is_what_the_view_shows(a_case: Module, a_view: SliceView) -> None:
    assert a_view.pixels().std() > 20


def test_what_the_toolbar_places_lands_in_the_reader_s_own_list_and_stays_there(
    a_case: Module, a_view: SliceView, slicer: Any
) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine")
    a_case.ui.confirmButton.click()
    a_case.ui.curveBox.click()
    interaction = slicer.app.applicationLogic().GetInteractionNode()
    interaction.SetCurrentInteractionMode(interaction.Place)  # what the toolbar's button does
    a_view.click((100, 100))
    assert own.GetNumberOfControlPoints() == 1
    steps = len(a_case.session.events)
    a_case.ui.undoButton.click()
    assert len(a_case.session.events) == steps + 1
    np.testing.assert_allclose(list(own.GetNthControlPointPositionWorld(0)), a_view.position_of((100, 100)), atol=0.5)
