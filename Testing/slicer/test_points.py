"""The markups node of a study in the real MRML: what it shows, what people do to it, saving, loading, transforms."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.slicer_markups import read_markups
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet


@pytest.fixture
def refusals() -> list[str]:
    """The texts that were to be shown in dialogs."""
    return []


@pytest.fixture
def make_study(
    slicer: Any, a_volume: Any, a_prediction: LandmarkSet, refusals: list[str]
) -> Iterator[Callable[..., Any]]:
    from SpineLandmarksModule.points import StudyPoints
    from SpineLandmarksModule.volumes import frame_of

    made = []

    def make(node: Any = None, session: Session | None = None, volume: Any = None) -> Any:
        on = volume or a_volume
        session = session or Session("phantom", a_prediction, "A. Reader", frame_of(on))
        made.append(StudyPoints(session, on, node, on_refused=refusals.append))
        return made[-1]

    yield make
    for study in made:
        study.close()


@pytest.fixture
def a_study(make_study: Callable[..., Any]) -> Any:
    return make_study()


def drag(node: Any, row: int, *position: float) -> None:
    """What the widget of a view does: many moves between a start and an end."""
    node.InvokeEvent(node.PointStartInteractionEvent)
    start = list(node.GetNthControlPointPosition(row))
    for share in (0.25, 0.5, 0.75, 1.0):
        node.SetNthControlPointPosition(row, *(start + share * np.subtract(position, start)))
    node.InvokeEvent(node.PointEndInteractionEvent)


def position(study: Any, name: str) -> list[float]:
    return list(study.node.GetNthControlPointPosition(study.row(name)))


def moved(study: Any, name: str, *by: float) -> list[float]:
    return list(np.add(position(study, name), by))


def test_a_new_study_shows_eleven_named_points_with_confidence_where_the_model_put_them(
    a_study: Any, a_prediction: LandmarkSet
) -> None:
    node = a_study.node
    assert node.GetNumberOfControlPoints() == 11
    assert node.GetFixedNumberOfControlPoints()
    assert [node.GetNthControlPointLabel(row) for row in range(11)] == list(LUMBAR11)
    assert node.GetNthControlPointDescription(9) == "predicted; confidence 0.42; radius95 3.0 mm"
    assert node.GetNthControlPointPositionStatus(0) == node.PositionMissing
    for name in LUMBAR11[1:]:
        np.testing.assert_allclose(position(a_study, name), a_prediction[name].position_ras_mm or (), atol=1e-6)


def test_points_are_small_balls_in_millimetres_with_their_names(a_study: Any) -> None:
    display = a_study.node.GetDisplayNode()
    assert not display.GetUseGlyphScale()
    assert display.GetGlyphSize() == 3.0  # 5 pixels where 300 mm fill 512
    assert display.GetPointLabelsVisibility()


def test_every_status_that_has_a_point_has_a_colour_of_its_own(a_study: Any) -> None:
    a_study.session.confirm("L3")
    drag(a_study.node, a_study.row("L4"), *moved(a_study, "L4", 0, 2, 0))
    node, overlay = a_study.node, a_study.decorations.confirmed
    selected = {name: bool(node.GetNthControlPointSelected(a_study.row(name))) for name in ("L2", "L3", "L4")}
    assert selected == {"L2": True, "L3": False, "L4": False}
    assert [overlay.GetNthControlPointLabel(row) for row in range(overlay.GetNumberOfControlPoints())] == ["L3"]
    np.testing.assert_allclose(list(overlay.GetNthControlPointPosition(0)), position(a_study, "L3"), atol=1e-6)
    shown, over = node.GetDisplayNode(), overlay.GetDisplayNode()
    assert len({shown.GetSelectedColor(), shown.GetColor(), over.GetSelectedColor()}) == 3
    assert over.GetGlyphSize() > shown.GetGlyphSize()
    assert overlay.GetLocked()


def test_a_drag_is_one_correction_however_many_moves_it_has_and_the_original_is_kept(
    a_study: Any, a_prediction: LandmarkSet
) -> None:
    target = moved(a_study, "L3", 0, 4, -3)
    drag(a_study.node, a_study.row("L3"), *target)
    assert [event.what for event in a_study.session.events] == ["move"]
    assert a_study.session["L3"].status == "corrected"
    assert a_study.session["L3"].position_ras_mm == pytest.approx(target)
    assert a_study.session.events[0].changes[0].original == a_prediction["L3"]
    assert a_study.node.GetNthControlPointDescription(a_study.row("L3")) == "corrected"


def test_coordinates_typed_into_the_markups_module_are_a_correction(a_study: Any) -> None:
    target = moved(a_study, "L2", 0, 1, 1)
    a_study.node.SetNthControlPointPosition(a_study.row("L2"), *target)
    assert [event.what for event in a_study.session.events] == ["move"]
    assert a_study.session["L2"].position_ras_mm == pytest.approx(target)


def test_a_click_that_moves_nothing_is_no_correction(a_study: Any) -> None:
    drag(a_study.node, a_study.row("L3"), *position(a_study, "L3"))
    assert a_study.session.events == ()


def test_placing_a_missing_point_is_a_correction_once_it_is_set_and_not_while_it_follows_the_mouse(
    a_study: Any,
) -> None:
    node, target = a_study.node, moved(a_study, "L1", 0, 0, 20)
    node.ResetNthControlPointPosition(0)
    node.SetNthControlPointPosition(0, *moved(a_study, "L1", 0, 0, 5), node.PositionPreview)
    assert a_study.session.events == ()
    node.SetNthControlPointPosition(0, *target, node.PositionDefined)
    assert [event.what for event in a_study.session.events] == ["place"]
    assert a_study.session["T12-L1"].position_ras_mm == pytest.approx(target)


@pytest.mark.parametrize("take_away", ["UnsetNthControlPointPosition", "SetNthControlPointPositionMissing"])
def test_a_position_taken_away_in_slicer_means_not_visible(a_study: Any, take_away: str) -> None:
    getattr(a_study.node, take_away)(a_study.row("L5"))
    assert a_study.session["L5"].status == "not_visible"
    assert a_study.node.GetNthControlPointPositionStatus(a_study.row("L5")) == a_study.node.PositionMissing


def test_undo_and_redo_of_the_session_move_the_point_of_the_node(a_study: Any) -> None:
    before, target = position(a_study, "L4"), moved(a_study, "L4", 0, 3, 0)
    drag(a_study.node, a_study.row("L4"), *target)
    a_study.session.undo()
    np.testing.assert_allclose(position(a_study, "L4"), before, atol=1e-6)
    assert a_study.node.GetNthControlPointDescription(a_study.row("L4")).startswith("predicted")
    a_study.session.redo()
    np.testing.assert_allclose(position(a_study, "L4"), target, atol=1e-6)


def test_a_shift_of_the_chain_renames_in_place(a_study: Any) -> None:
    was_l2 = position(a_study, "L2")
    a_study.session.shift_chain(+1)
    np.testing.assert_allclose(position(a_study, "L3"), was_l2, atol=1e-6)
    assert [a_study.node.GetNthControlPointLabel(row) for row in range(11)] == list(LUMBAR11)


def test_a_confirmed_point_is_locked_and_a_move_by_hand_is_refused_and_taken_back(
    a_study: Any, refusals: list[str]
) -> None:
    before = position(a_study, "L3")
    a_study.session.confirm("L3")
    assert a_study.node.GetNthControlPointLocked(a_study.row("L3"))
    a_study.node.SetNthControlPointPosition(a_study.row("L3"), *np.add(before, (0, 9, 0)))
    assert len(refusals) == 1
    assert "L3 is" in refusals[0]
    np.testing.assert_allclose(position(a_study, "L3"), before, atol=1e-6)


def test_a_point_dragged_off_the_volume_is_refused_and_put_back(a_study: Any, refusals: list[str]) -> None:
    before = position(a_study, "L3")
    drag(a_study.node, a_study.row("L3"), *np.add(before, (0, 900, 0)))
    assert "inside the volume" in refusals[0]
    np.testing.assert_allclose(position(a_study, "L3"), before, atol=1e-6)
    assert a_study.session.events == ()


@pytest.mark.parametrize("harm", ["delete one", "delete all", "rename"])
def test_points_deleted_or_renamed_by_hand_are_put_back_with_all_corrections(
    a_study: Any, refusals: list[str], harm: str
) -> None:
    target = moved(a_study, "L4", 0, 3, 0)
    drag(a_study.node, a_study.row("L4"), *target)
    node = a_study.node
    if harm == "rename":
        node.SetNthControlPointLabel(3, "L9")
    else:
        node.SetFixedNumberOfControlPoints(False)
        node.RemoveNthControlPoint(4) if harm == "delete one" else node.RemoveAllControlPoints()
    assert [node.GetNthControlPointLabel(row) for row in range(node.GetNumberOfControlPoints())] == list(LUMBAR11)
    assert node.GetFixedNumberOfControlPoints()
    np.testing.assert_allclose(position(a_study, "L4"), target, atol=1e-6)
    assert a_study.session["L4"].status == "corrected"
    assert len(a_study.session.events) == 1
    assert all("put back" in text for text in refusals)
    assert refusals


def test_the_node_is_linked_to_its_volume_and_lies_beside_it_in_the_subject_hierarchy(
    slicer: Any, make_study: Callable[..., Any], a_volume: Any
) -> None:
    from SpineLandmarksModule.points import VOLUME, find_node

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "a patient")
    hierarchy.CreateItem(patient, a_volume)
    a_study = make_study()

    assert a_study.node.GetNodeReference(VOLUME) is a_volume
    assert find_node(slicer.mrmlScene, a_volume) is a_study.node
    assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(a_study.node)) == patient


def test_points_follow_their_volume_into_a_linear_transform(slicer: Any, a_study: Any, a_volume: Any) -> None:
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode")
    matrix = np.array([[0, -1, 0, 10], [1, 0, 0, 20], [0, 0, 1, 30], [0, 0, 0, 1.0]])
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    a_volume.SetAndObserveTransformNodeID(transform.GetID())
    local = position(a_study, "L3")
    world = list(a_study.node.GetNthControlPointPositionWorld(a_study.row("L3")))
    np.testing.assert_allclose(world, (matrix @ [*local, 1])[:3], atol=1e-6)
    assert a_study.session.events == ()


def test_a_curve_runs_through_the_centres_on_request_and_follows_them(a_study: Any) -> None:
    assert a_study.decorations.curve is None
    a_study.decorations.show_curve(True, a_study.session.current)
    curve = a_study.decorations.curve
    assert curve.GetNumberOfControlPoints() == 10
    assert not curve.GetDisplayNode().GetPropertiesLabelVisibility()  # no name across the spine
    a_study.session.mark_not_visible("L5")
    assert curve.GetNumberOfControlPoints() == 9
    a_study.decorations.show_curve(False, a_study.session.current)
    assert not curve.GetDisplayNode().GetVisibility()


def test_the_marks_beside_the_points_are_hidden_with_them(a_study: Any) -> None:
    a_study.session.confirm("L3")
    a_study.decorations.show_curve(True, a_study.session.current)
    parts = (a_study.decorations.confirmed, a_study.decorations.curve)
    for seen in (False, True):
        a_study.node.GetDisplayNode().SetVisibility(seen)  # the eye in Data and in Markups
        assert [bool(part.GetDisplayNode().GetVisibility()) for part in parts] == [seen, seen]


def test_the_marks_beside_the_points_go_with_who_watches_them(slicer: Any, a_study: Any) -> None:
    a_study.session.confirm("L3")
    a_study.decorations.show_curve(True, a_study.session.current)
    a_study.close()
    a_study.close()
    assert slicer.util.getNodesByClass("vtkMRMLMarkupsNode") == [a_study.node]


def active_list(slicer: Any) -> str | None:
    """The list in which a click after the toolbar's place button sets a point."""
    selection = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    found: str | None = selection.GetActivePlaceNodeID()
    assert selection.GetActivePlaceNodeClassName() == (found and "vtkMRMLMarkupsFiducialNode")
    return found


@pytest.mark.parametrize("has_own", [True, False])
def test_the_list_in_which_the_reader_places_points_stays_the_reader_s(
    slicer: Any, make_study: Callable[..., Any], has_own: bool
) -> None:
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "mine") if has_own else None
    assert active_list(slicer) == (own and own.GetID())
    a_study = make_study()
    a_study.session.confirm("L3")
    a_study.decorations.show_curve(True, a_study.session.current)
    assert active_list(slicer) == (own and own.GetID())


def test_a_saved_scene_brings_back_the_work_with_its_history(
    slicer: Any, make_study: Callable[..., Any], a_study: Any, tmp_path: Path
) -> None:
    from SpineLandmarksModule.points import find_node, restored_session
    from SpineLandmarksModule.volumes import frame_of
    from standins import application

    target = moved(a_study, "L4", 0, 3, 0)
    drag(a_study.node, a_study.row("L4"), *target)
    a_study.session.confirm("L2")
    a_study.session.mark_not_visible("L5-S1")
    a_study.decorations.show_curve(True, a_study.session.current)
    save_scene(slicer, tmp_path / "case.mrml")
    scene = application.new_scene()
    scene.SetURL(str(tmp_path / "case.mrml"))
    assert scene.Connect()
    volume = slicer.util.getNode("phantom")
    node = find_node(scene, volume)
    again = make_study(node, restored_session(node, frame_of(volume)), volume)
    assert [event.what for event in again.session.events] == ["move", "confirm", "mark_not_visible"]
    np.testing.assert_allclose(position(again, "L4"), target, atol=1e-3)
    assert [again.session[name].status for name in ("L4", "L2", "L5-S1", "L3")] == [
        "corrected",
        "confirmed",
        "not_visible",
        "predicted",
    ]
    names = [each.GetName() for each in slicer.util.getNodesByClass("vtkMRMLMarkupsNode")]
    assert sorted(names) == ["Landmarks phantom", "Landmarks phantom confirmed"]  # no curve, and no list twice
    again.session.undo()
    assert again.session["L5-S1"].status == "predicted"


def save_scene(slicer: Any, path: Path) -> None:
    """What the application's Save dialog does, for the nodes of these tests."""
    scene = slicer.mrmlScene
    for node in [*slicer.util.getNodesByClass("vtkMRMLVolumeNode"), *slicer.util.getNodesByClass("vtkMRMLMarkupsNode")]:
        if node.GetSaveWithScene():
            node.AddDefaultStorageNode()
            ending = "nrrd" if node.IsA("vtkMRMLVolumeNode") else "mrk.json"
            node.GetStorageNode().SetFileName(str(path.parent / f"{node.GetName()}.{ending}"))
            assert node.GetStorageNode().WriteData(node)
    scene.SetURL(str(path))
    assert scene.Commit(str(path))


def test_a_damaged_history_is_refused_and_says_so(a_study: Any) -> None:
    from SpineLandmarksModule.points import SESSION, restored_session

    a_study.node.SetAttribute(SESSION, a_study.node.GetAttribute(SESSION)[:200])
    with pytest.raises(FormatError):
        restored_session(a_study.node, None)


def test_the_point_list_that_slicer_saves_is_read_by_the_library_with_its_statuses(
    slicer: Any, a_study: Any, tmp_path: Path
) -> None:
    drag(a_study.node, a_study.row("L4"), *moved(a_study, "L4", 0, 3, 0))
    a_study.session.confirm("L2")
    writer = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsJsonStorageNode")
    writer.SetFileName(str(tmp_path / "a.mrk.json"))
    assert writer.WriteData(a_study.node)
    back = read_markups(tmp_path / "a.mrk.json")
    assert [back[name].status for name in ("T12-L1", "L2", "L4", "L3")] == [
        "out_of_view",
        "confirmed",
        "corrected",
        "predicted",
    ]
    assert back["L3"].confidence == a_study.session["L3"].confidence
    assert json.loads((tmp_path / "a.mrk.json").read_text())["markups"][0]["fixedNumberOfControlPoints"] is True
