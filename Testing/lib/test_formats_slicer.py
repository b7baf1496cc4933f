"""Our markups in the real MRML of 3D Slicer, and Slicer's markups in our reader."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.slicer_markups import read_markups, write_markups
from SpineLandmarksLib.geometry import ras_from_slice
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

#: Oblique, not cubic: 0.5 mm along (0.6, -0.8, 0), 0.8 mm along (0, 0, -1), slices 4 mm along (0.8, 0.6, 0).
OBLIQUE = np.array([[0.3, 0, 3.2, 10], [-0.4, 0, 2.4, 20], [0, -0.8, 0, 30], [0, 0, 0, 1]])
STATUSES = ("out_of_view", "confirmed", "corrected", "not_visible", *["predicted"] * 7)


@pytest.fixture(scope="module")
def mrml() -> Any:
    """The `slicer` package of slicer-core, once it is known to be that and not another of the same name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Slicer's own import says is not ours to mend
        slicer = pytest.importorskip("slicer", reason="needs PyPI slicer-core, the real MRML of 3D Slicer")
    if not hasattr(slicer, "vtkMRMLMarkupsJsonStorageNode"):
        pytest.skip("the installed package 'slicer' is not slicer-core")
    return slicer


@pytest.fixture
def markups_logic(mrml: Any) -> Iterator[Any]:
    """The logic through which the desktop application loads a file that is dropped on it."""
    scene = mrml.vtkMRMLScene()
    application = mrml.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    logic = mrml.vtkSlicerMarkupsLogic()
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    yield logic
    scene.Clear(True)


@pytest.fixture
def a_result() -> LandmarkSet:
    def landmark(n: int, name: str, status: Any) -> Landmark:
        if status in ("out_of_view", "not_visible"):
            return Landmark(name, status)
        position = ras_from_slice(OBLIQUE, 3, [20.123457 + 1.7 * n, 40.3 + 25.9 * n])
        return Landmark(name, status, tuple(position.tolist()), confidence=0.9 + n / 1000, radius95_mm=2.5)

    landmarks = [landmark(n, name, status) for n, (name, status) in enumerate(zip(LUMBAR11, STATUSES, strict=True))]
    return LandmarkSet(tuple(landmarks), input="study/case 7.nii.gz")


def load(logic: Any, path: Path) -> Any:
    node = logic.GetMRMLScene().GetNodeByID(logic.LoadMarkups(str(path), ""))
    messages = node.GetStorageNode().GetUserMessages()
    assert messages.GetNumberOfMessages() == 0, messages.GetAllMessagesAsString()
    return node


def save(logic: Any, node: Any, path: Path, system: str) -> None:
    writer = logic.GetMRMLScene().AddNewNodeByClass("vtkMRMLMarkupsJsonStorageNode")
    writer.SetCoordinateSystem(getattr(writer, f"CoordinateSystem{system}"))
    writer.SetFileName(str(path))
    assert writer.WriteData(node) == 1


def test_slicer_shows_our_points_where_they_are_with_their_names(
    markups_logic: Any, a_result: LandmarkSet, tmp_path: Path
) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    node = load(markups_logic, tmp_path / "a.mrk.json")
    assert node.GetName() == "Landmarks case 7.nii.gz"
    assert node.GetNumberOfControlPoints() == 11
    assert [node.GetNthControlPointLabel(n) for n in range(11)] == list(LUMBAR11)
    for n, landmark in enumerate(a_result):
        status = node.GetNthControlPointPositionStatus(n)
        if landmark.position_ras_mm is None:
            assert status == node.PositionUndefined
        else:
            assert status == node.PositionDefined
            world = list(node.GetNthControlPointPositionWorld(n))
            np.testing.assert_allclose(world, landmark.position_ras_mm, atol=1e-6, rtol=0)


def test_slicer_keeps_the_order_and_locks_what_is_confirmed(
    markups_logic: Any, a_result: LandmarkSet, tmp_path: Path
) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    node = load(markups_logic, tmp_path / "a.mrk.json")
    assert node.GetFixedNumberOfControlPoints()
    assert not node.GetLocked()
    locked = [bool(node.GetNthControlPointLocked(n)) for n in range(11)]
    assert locked == [status == "confirmed" for status in STATUSES]
    assert node.GetNthControlPointDescription(1) == "confirmed; confidence 0.901; radius95 2.5 mm"
    assert all(node.GetNthControlPointVisibility(n) for n in range(11))


def test_slicer_takes_the_orientation_of_our_points_for_its_own_axes(
    markups_logic: Any, a_result: LandmarkSet, tmp_path: Path
) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    node = load(markups_logic, tmp_path / "a.mrk.json")
    assert node.GetNthControlPointOrientationMatrix(1) == (1, 0, 0, 0, 1, 0, 0, 0, 1)


def test_slicer_draws_our_points_small_and_with_their_names(
    markups_logic: Any, a_result: LandmarkSet, tmp_path: Path
) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    display = load(markups_logic, tmp_path / "a.mrk.json").GetDisplayNode()
    assert not display.GetUseGlyphScale()
    assert display.GetGlyphSize() == 3.0  # mm
    assert display.GetPointLabelsVisibility()


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_what_slicer_saves_is_read_back_in_either_frame(
    markups_logic: Any, a_result: LandmarkSet, tmp_path: Path, system: str
) -> None:
    write_markups(a_result, tmp_path / "ours.mrk.json")
    node = load(markups_logic, tmp_path / "ours.mrk.json")
    save(markups_logic, node, tmp_path / "theirs.mrk.json", system)
    assert f'"coordinateSystem": "{system}"' in (tmp_path / "theirs.mrk.json").read_text()
    back = read_markups(tmp_path / "theirs.mrk.json")
    for landmark, expected in zip(back, a_result, strict=True):
        assert (landmark.name, landmark.status, landmark.confidence, landmark.radius95_mm) == (
            expected.name,
            expected.status,
            expected.confidence,
            expected.radius95_mm,
        )
        if expected.position_ras_mm is not None:
            np.testing.assert_allclose(landmark.position_ras_mm or (), expected.position_ras_mm, atol=1e-6, rtol=0)


@pytest.mark.parametrize("system", ["LPS", "RAS"])
def test_points_that_a_person_placed_in_slicer_are_corrected_ones(
    markups_logic: Any, tmp_path: Path, system: str
) -> None:
    node = markups_logic.GetMRMLScene().AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.AddControlPointWorld([25.6, 19.2, -2.0], "L1")
    node.AddControlPointWorld([1.0, 2.0, 3.0], "L5")
    node.UnsetNthControlPointPosition(1)
    save(markups_logic, node, tmp_path / "a.mrk.json", system)
    back = read_markups(tmp_path / "a.mrk.json")
    assert back["L1"].status == "corrected"
    assert back["L1"].position_ras_mm == pytest.approx((25.6, 19.2, -2.0), abs=1e-6)
    assert back["L5"].status == "not_visible"


def test_a_point_moved_in_slicer_comes_back_moved(markups_logic: Any, a_result: LandmarkSet, tmp_path: Path) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    node = load(markups_logic, tmp_path / "a.mrk.json")
    node.SetNthControlPointPositionWorld(5, -7.25, 8.5, 9.75)
    save(markups_logic, node, tmp_path / "b.mrk.json", "LPS")
    assert read_markups(tmp_path / "b.mrk.json")[LUMBAR11[5]].position_ras_mm == pytest.approx((-7.25, 8.5, 9.75))


# The published schema, Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.0.json to v1.0.3.json of Slicer


def numbers(count: int, low: float = -np.inf, high: float = np.inf) -> Any:
    return lambda value: len(value) == count and all(isinstance(v, (int, float)) and low <= v <= high for v in value)


def one_of(*allowed: str) -> Any:
    return lambda value: value in allowed


def of_kind(*kinds: type) -> Any:
    return lambda value: type(value) in kinds


TEXT, FLAG, NUMBER = of_kind(str), of_kind(bool), of_kind(int, float)
POINT_RULES = {
    **dict.fromkeys(("id", "label", "description", "associatedNodeID"), TEXT),
    **dict.fromkeys(("selected", "locked", "visibility"), FLAG),
    "position": numbers(3),
    "orientation": numbers(9),
    "positionStatus": one_of("undefined", "preview", "defined"),
}
MARKUP_RULES = {
    **dict.fromkeys(("name", "labelFormat", "description"), TEXT),  # the last is ours; more properties are allowed
    **dict.fromkeys(("locked", "fixedNumberOfControlPoints"), FLAG),
    "type": one_of("Fiducial", "Line", "Angle", "Curve", "ClosedCurve", "Plane", "ROI"),
    "coordinateSystem": one_of("LPS", "RAS"),
    "coordinateUnits": one_of("mm", "um"),
    "lastUsedControlPointNumber": of_kind(int),
    "controlPoints": of_kind(list),
    "measurements": of_kind(list),
    "display": of_kind(dict),
}
DISPLAY_RULES = {
    **dict.fromkeys(("color", "selectedColor", "activeColor"), numbers(3, 0, 1)),
    **dict.fromkeys(("visibility", "propertiesLabelVisibility", "pointLabelsVisibility", "useGlyphScale"), FLAG),
    **dict.fromkeys(("sliceProjection", "sliceProjectionUseFiducialColor"), FLAG),
    **dict.fromkeys(("opacity", "textScale", "glyphSize", "sliceProjectionOpacity"), NUMBER),
    "glyphType": one_of("Sphere3D"),
}


def test_what_we_write_keeps_the_rules_of_the_published_schema(a_result: LandmarkSet, tmp_path: Path) -> None:
    pixels = Landmark("L5-S1", pixel_xy=(3.0, 4.0))
    write_markups(LandmarkSet((*a_result.landmarks[:-1], pixels)), tmp_path / "a.mrk.json")
    content = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))
    assert content["@schema"].endswith("/markups-schema-v1.0.3.json#")
    (markup,) = content["markups"]
    assert [point["positionStatus"] for point in markup["controlPoints"]].count("undefined") == 3
    parts = [(markup, MARKUP_RULES), (markup["display"], DISPLAY_RULES)]
    for part, rules in parts + [(point, POINT_RULES) for point in markup["controlPoints"]]:
        assert [key for key, value in part.items() if not rules[key](value)] == []


@pytest.mark.parametrize(("system", "sign"), [("RAS", 1), ("0", 1), (0, 1), ("LPS", -1), ("1", -1), (1, -1)], ids=repr)
def test_every_way_in_which_slicer_names_the_frame_is_read(system: object, sign: int, tmp_path: Path) -> None:
    points = [{"label": "L3", "position": [1, 2, 3]}]
    (tmp_path / "a.mrk.json").write_text(
        json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]})
    )
    assert read_markups(tmp_path / "a.mrk.json")["L3"].position_ras_mm == (sign, 2 * sign, 3)


@pytest.mark.parametrize("system", [True, 2, 0.0, None, "IJK", ["RAS"]])
def test_another_frame_is_refused(system: object, tmp_path: Path) -> None:
    (tmp_path / "a.mrk.json").write_text(
        json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": []}]})
    )
    with pytest.raises(FormatError, match="expected LPS or RAS in 'coordinateSystem'"):
        read_markups(tmp_path / "a.mrk.json")


def test_a_point_at_the_mouse_is_read_and_one_without_position_is_not_placed(tmp_path: Path) -> None:
    points = [
        {"label": "L1", "position": [-1, -2, 3], "positionStatus": "preview"},
        {"label": "L2"},
        {"label": "L3", "position": None},
        {"label": "L4", "position": [0, 0, 0], "positionStatus": "undefined"},
        {"label": "L5", "position": "", "positionStatus": "missing"},
    ]
    (tmp_path / "a.mrk.json").write_text(json.dumps({"markups": [{"type": "Fiducial", "controlPoints": points}]}))
    found = read_markups(tmp_path / "a.mrk.json")
    assert (found["L1"].status, found["L1"].position_ras_mm) == ("corrected", (1, 2, 3))
    assert {found[name].status for name in ("L2", "L3", "L4", "L5")} == {"not_visible"}
