"""The views on the server without a browser: what the mouse does to a point, and what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.store.study_record import StudyRecord
from SpineLandmarksLib.web.open_study import OpenStudy

SIZE = 400


class Mouse:
    """Moves over the sagittal view of a scene, in pixels from its top left."""

    def __init__(self, scene: Any) -> None:
        self._window = scene._views[0].interactor()

    def do(self, event: str, x: int, y: int) -> None:
        self._window.SetEventInformation(x, SIZE - 1 - y, 0, 0)
        self._window.InvokeEvent(f"{event}Event")

    def drag(self, start: tuple[int, int], by: tuple[int, int]) -> None:
        """Press and move, and do not let go."""
        x, y = start
        self.do("MouseMove", x, y)
        self.do("LeftButtonPress", x, y)
        for share in (0.5, 1.0):
            self.do("MouseMove", x + round(by[0] * share), y + round(by[1] * share))


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Views want one to render in."""
    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    yield made
    for task in asyncio.all_tasks(made):
        task.cancel()
    made.run_until_complete(asyncio.sleep(0))
    asyncio.set_event_loop(None)
    made.close()


@pytest.fixture(scope="module")
def refusals() -> list[str]:
    return []


@pytest.fixture(scope="module")
def pressed() -> list[str]:
    return []


@pytest.fixture(scope="module")
def a_scene(loop: asyncio.AbstractEventLoop, refusals: list[str], pressed: list[str]) -> Any:
    async def make() -> Any:
        from trame.app import get_server

        from SpineLandmarksLib.web.scene import Scene

        server = get_server("views", client_type="vue3")
        return Scene(server, lambda: None, refusals.append, lambda: None, pressed.append)

    scene = loop.run_until_complete(make())
    for view in scene._views:
        view.update_size(SIZE, SIZE)
        view.interactor().InvokeEvent("WindowResizeEvent")
    return scene


@pytest.fixture
def opened(a_phantom: Phantom) -> OpenStudy:
    study = StudyRecord("phantom", "p", "images/p.png", "00", (80, 96), slice_index=3)
    stack = SagittalStack(a_phantom.voxels, a_phantom.ras_from_ijk)
    frame = ImageFrame.of(stack)
    assert frame is not None
    return OpenStudy(study, stack, frame, Path("p"), on_slice(a_phantom, frame, 3), None)


def on_slice(phantom: Phantom, frame: ImageFrame, index: int, with_corners: bool = False) -> LandmarkSet:
    """The truth as a model gives it: all on one slice."""
    from SpineLandmarksLib.geometry import ras_from_slice

    marks, corners = (
        tuple(
            replace(
                mark,
                status="predicted",
                confidence=0.9,
                position_ras_mm=tuple(map(float, ras_from_slice(frame.ras_from_ijk, index, mark.pixel_xy))),
            )
            for mark in some
            if mark.pixel_xy is not None
        )
        for some in (phantom.landmarks.landmarks, phantom.landmarks.corners if with_corners else ())
    )
    return LandmarkSet(marks, slice_index=index, corners=corners)


@pytest.fixture
def session(a_scene: Any, opened: OpenStudy) -> Session:
    made = opened.session("A. Reader")
    a_scene.show(made, opened)
    a_scene.fit()
    return made


@pytest.fixture
def mouse(a_scene: Any, session: Session) -> Mouse:
    return Mouse(a_scene)


def moved(session: Session, opened: OpenStudy, name: str) -> np.ndarray:
    """Native pixels (x, y) from where the model had it."""
    before, after = session.original[name].position_ras_mm, session[name].position_ras_mm
    assert before is not None
    assert after is not None
    return np.subtract(opened.frame.ijk(after), opened.frame.ijk(before))


def test_a_point_that_is_dragged_is_corrected_on_its_slice(
    a_scene: Any, session: Session, opened: OpenStudy, mouse: Mouse
) -> None:
    place = a_scene.pixel(session["L3"].position_ras_mm)
    mouse.drag(place, (20, -12))
    assert session["L3"].status == "predicted"  # not before it is let go
    mouse.do("LeftButtonRelease", place[0] + 20, place[1] - 12)
    assert session["L3"].status == "corrected"
    scale = SIZE / 96  # pixels of the view in one of the image, whose rows fill it
    assert moved(session, opened, "L3") == pytest.approx([20 / scale, -12 / scale, 0], abs=0.3)
    assert [mark.name for mark in session.current if mark.status == "corrected"] == ["L3"]


def test_a_point_that_nobody_holds_any_more_stays_where_it_was_last(
    a_scene: Any, session: Session, opened: OpenStudy, mouse: Mouse
) -> None:
    mouse.drag(a_scene.pixel(session["L4"].position_ras_mm), (16, 0))
    a_scene.end_drags()  # the browser has gone
    assert session["L4"].status == "corrected"
    assert moved(session, opened, "L4")[0] == pytest.approx(16 / (SIZE / 96), abs=0.3)


def test_a_confirmed_point_cannot_be_dragged_is_meant_all_the_same_and_says_why(
    a_scene: Any, session: Session, mouse: Mouse, pressed: list[str], refusals: list[str]
) -> None:
    session.confirm("L3")
    x, y = a_scene.pixel(session["L3"].position_ras_mm)
    mouse.drag((x, y), (16, 0))
    mouse.do("LeftButtonRelease", x + 16, y)
    assert session["L3"].position_ras_mm == session.original["L3"].position_ras_mm
    assert pressed[-1] == "L3"
    assert "L3 is confirmed" in refusals.pop()


def test_window_and_magnification_stay_from_study_to_study(a_scene: Any, session: Session, opened: OpenStudy) -> None:
    """The next picture is four times as dark, and its spine lies where it lies."""
    dark = replace(opened, stack=SagittalStack(opened.stack.voxels / 4, opened.stack.ras_from_ijk))
    (low, high), whole = a_scene.window, a_scene._scales()[0]
    a_scene.set_window(low, (low + high) / 2)
    a_scene.zoom(2)
    a_scene.show(dark.session("A. Reader"), dark)
    assert a_scene.window == pytest.approx((low / 4, (low + high) / 8), rel=1e-3)
    assert a_scene._scales()[0] == pytest.approx(whole / 2, rel=1e-3)
    places = [mark.position_ras_mm for mark in session.current if mark.position_ras_mm is not None]
    assert a_scene.pixel(tuple(np.mean(places, axis=0))) == pytest.approx((SIZE / 2, SIZE / 2), abs=3)
    assert a_scene.slice_index == 3
    a_scene.fit()
    a_scene.reset_window()
    a_scene.show(opened.session("A. Reader"), opened)
    assert a_scene.window == pytest.approx((low, high), rel=1e-3)
    assert a_scene._scales()[0] == pytest.approx(whole, rel=1e-3)


def test_a_press_means_the_point_under_the_mouse_and_no_other(
    a_scene: Any, session: Session, mouse: Mouse, pressed: list[str]
) -> None:
    pressed.clear()
    x, y = a_scene.pixel(session["L4"].position_ras_mm)
    for place in ((x + 3, y - 3), (5, 5)):  # the second is far from all
        mouse.do("MouseMove", *place)
        mouse.do("LeftButtonPress", *place)
        mouse.do("LeftButtonRelease", *place)
    assert pressed == ["L4"]


def test_the_landmark_that_is_worked_on_has_a_cross_which_goes_with_it(a_scene: Any, session: Session) -> None:
    from SpineLandmarksLib.annotation.scene_points import SELECTED

    a_scene.mark("L4")
    cross = a_scene.points.decorations.part(SELECTED)
    assert list(cross.GetNthControlPointPosition(0)) == pytest.approx(session["L4"].position_ras_mm)
    r, a, s = session["L4"].position_ras_mm or (0, 0, 0)
    session.move("L4", (r, a, s + 3))
    assert list(cross.GetNthControlPointPosition(0)) == pytest.approx((r, a, s + 3))
    a_scene.mark(None)
    assert cross.GetNumberOfControlPoints() == 0


def test_a_missing_landmark_is_placed_with_a_click(
    a_scene: Any, session: Session, opened: OpenStudy, mouse: Mouse
) -> None:
    where = a_scene.pixel(session["L2"].position_ras_mm)
    session.mark_not_visible("L2")
    a_scene.start_placing("L2")
    assert a_scene.mode == "place"
    node, row = a_scene.points.node, a_scene.points.row("L2")
    assert not node.GetNthControlPointVisibility(row)  # it would lie in a corner of the image
    mouse.do("MouseMove", *where)
    assert node.GetNthControlPointVisibility(row)
    mouse.do("LeftButtonPress", *where)
    mouse.do("LeftButtonRelease", *where)
    assert session["L2"].status == "corrected"
    assert moved(session, opened, "L2")[:2] == pytest.approx([0, 0], abs=0.2)
    assert a_scene.mode == "view"


def test_placing_can_be_given_up(a_scene: Any, session: Session, mouse: Mouse) -> None:
    session.mark_not_visible("L2")
    a_scene.start_placing("L2")
    mouse.do("MouseMove", 100, 100)
    a_scene.reset_mouse_mode()
    assert session["L2"].status == "not_visible"
    assert a_scene.mode == "view"


def test_slices_window_and_zoom_are_what_they_were_set_to(a_scene: Any, session: Session, mouse: Mouse) -> None:
    a_scene.go_to_slice(5)
    assert a_scene.slice_index == 5
    a_scene.fit()
    assert a_scene.slice_index == 5
    a_scene.set_window(10.0, 90.0)
    assert a_scene.window == (10.0, 90.0)
    a_scene.reset_window()
    assert a_scene.window != (10.0, 90.0)
    before = a_scene._scales()[0]
    a_scene.zoom(1.25)
    assert a_scene._scales()[0] == pytest.approx(before / 1.25)
    mouse.do("MouseMove", 50, 50)
    mouse.do("MouseWheelForward", 50, 50)
    assert a_scene.slice_index != 5


def test_the_wheel_magnifies_a_single_slice(a_scene: Any, opened: OpenStudy) -> None:
    from dataclasses import replace

    alone = replace(opened, stack=replace(opened.stack, voxels=opened.stack.voxels[:1]))
    a_scene.show(alone.session("A. Reader"), alone)
    a_scene.fit()
    before = a_scene._scales()[0]
    Mouse(a_scene).do("MouseWheelForward", 200, 200)
    assert a_scene._scales()[0] == pytest.approx(before / 1.1)


def test_a_window_of_another_size_shows_the_whole_image_still(a_scene: Any, session: Session) -> None:
    a_scene.fit()
    before = a_scene._scales()[0]
    view = a_scene._views[0]
    for size in (SIZE // 2, SIZE):
        view.update_size(size, size)
        view.interactor().InvokeEvent("WindowResizeEvent")
        assert a_scene._scales()[0] == pytest.approx(before * SIZE / size, rel=0.02)


def test_looking_at_a_landmark_goes_to_its_slice(a_scene: Any, session: Session) -> None:
    a_scene.go_to_slice(0)
    a_scene.jump("L3")
    assert a_scene.slice_index == 3


@pytest.fixture
def with_corners(a_scene: Any, opened: OpenStudy, a_phantom: Phantom) -> Iterator[Session]:
    """A study with the corners of endplates."""
    from dataclasses import replace

    study = replace(opened, landmarks=on_slice(a_phantom, opened.frame, 3, with_corners=True))
    made = study.session("A. Reader")
    a_scene.show(made, study)
    a_scene.fit()
    yield made
    a_scene.show_endplates(True)


def test_a_corner_is_dragged_as_a_point_is_and_its_endplate_goes_with_it(
    a_scene: Any, with_corners: Session, pressed: list[str]
) -> None:
    mouse, name = Mouse(a_scene), "L3.sup.ant"
    line = a_scene.points.lines.nodes["L3.sup"]
    x, y = a_scene.pixel(with_corners[name].position_ras_mm)
    mouse.drag((x, y), (-8, -6))
    mouse.do("LeftButtonRelease", x - 8, y - 6)
    assert pressed[-1] == name
    assert [mark.name for mark in with_corners.points if mark.status == "corrected"] == [name]
    assert list(line.GetNthControlPointPosition(0)) == pytest.approx(with_corners[name].position_ras_mm, abs=1e-3)
    with_corners.undo()
    assert a_scene.pixel(a_scene.points.of(name).node.GetNthControlPointPosition(8)) == (x, y)


def test_one_switch_hides_corners_and_lines_which_the_mouse_then_does_not_mean(
    a_scene: Any, with_corners: Session, pressed: list[str]
) -> None:
    drawn = [*a_scene.points.lines.nodes.values(), a_scene.points.corners.node]
    assert len(drawn) == 13
    assert all(node.GetDisplayNode().GetVisibility() for node in drawn)
    a_scene.show_endplates(False)
    assert not any(node.GetDisplayNode().GetVisibility() for node in drawn)
    pressed.clear()
    mouse, (x, y) = Mouse(a_scene), a_scene.pixel(with_corners["L2.inf.ant"].position_ras_mm)
    mouse.drag((x, y), (-8, 0))
    mouse.do("LeftButtonRelease", x - 8, y)
    assert pressed == []
    assert with_corners.events == ()


def test_the_angles_stand_in_the_view_and_the_endplates_of_another_study_go(
    a_scene: Any, with_corners: Session, opened: OpenStudy
) -> None:
    lines = a_scene.points.lines.nodes
    assert lines["L1.sup"].GetNthControlPointLabel(1).startswith("Lordosis ")
    assert lines["axial"].GetNthControlPointLabel(1).startswith("Sacral slope ")
    assert lines["L3.inf"].GetNthControlPointLabel(1) == ""
    sagittal, coronal = (view.get_view_node().GetID() for view in a_scene._views)
    assert all(node.GetDisplayNode().IsDisplayableInView(sagittal) for node in lines.values())
    assert not any(node.GetDisplayNode().IsDisplayableInView(coronal) for node in lines.values())
    nodes = [*lines.values(), a_scene.points.corners.node]
    a_scene.show(opened.session("A. Reader"), opened)
    assert [node for node in nodes if node.GetScene() is not None] == []
    assert a_scene.points.corners is None


def test_a_corner_that_is_missing_is_placed_with_a_click(a_scene: Any, with_corners: Session) -> None:
    name, mouse = "L4.sup.post", Mouse(a_scene)
    where = a_scene.pixel(with_corners[name].position_ras_mm)
    with_corners.mark_not_visible(name)
    a_scene.start_placing(name)
    for event in ("MouseMove", "LeftButtonPress", "LeftButtonRelease"):
        mouse.do(event, *where)
    assert with_corners[name].status == "corrected"
    assert a_scene.pixel(with_corners[name].position_ras_mm) == pytest.approx(where, abs=1)


def test_nothing_was_refused(refusals: list[str], session: Session) -> None:
    assert refusals == []
