"""The views of 3D Slicer on the server: one study's volume and points, which the browser sees as pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.scene_endplates import CornerPoints, SpinePoints
from SpineLandmarksLib.annotation.scene_points import KIND, style
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.wording import LETTERS, OPINION_STYLES, OpinionStyle
from SpineLandmarksLib.formats.slicer_markups import DISPLAY
from SpineLandmarksLib.geometry import Matrix, apply
from SpineLandmarksLib.landmarks import Landmark, Point
from SpineLandmarksLib.web.open_study import OpenStudy

if sys.platform == "linux" and not os.environ.get("DISPLAY"):  # before VTK is loaded: it would look for a screen first
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

from trame_slicer.core import LayoutManager, SlicerApp
from trame_slicer.rca_view import register_rca_factories
from trame_slicer.views import Layout, LayoutDirection, ViewLayoutDefinition
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkLogger, vtkOutputWindow
from vtkmodules.vtkCommonDataModel import vtkImageData
from vtkmodules.vtkCommonMath import vtkMatrix4x4

SAGITTAL, CORONAL = "Sagittal", "Coronal"
#: Share of the voxels that are black and white at first.
PERCENTILES = (1.0, 99.5)
#: Smaller labels than those of Slicer: the picture is smaller than its window.
#: What is held differs from all that is not: in hue, and in lightness for who sees fewer colours.
MARKUP_STYLE = {**DISPLAY, "textScale": 2.8, "sliceProjectionOpacity": 0.6, "activeColor": [1.0, 0.3, 1.0]}
#: As far from a point a press still means it, in pixels; and so far the mouse moves when it drags.
HIT_PX, DRAG_PX = 9.0, 4.0
#: Size of the points of several readers, mm: larger than the one that is decided on, which stays in sight.
OPINION_MM = 5.0
#: Letters that a name takes.
INDENT = 6
#: Factor of magnification of one notch of the wheel.
WHEEL = 1.1

#: Grey of points that lie on another slice.
PROJECTED = (0.75, 0.75, 0.75)


class _Corners(CornerPoints):
    looks = MARKUP_STYLE

    def _new_node(self) -> Any:
        return _grey_elsewhere(super()._new_node())


class _Points(SpinePoints):
    hides_confirmed, looks, corner_points = True, MARKUP_STYLE, _Corners

    def _new_node(self) -> Any:
        return _grey_elsewhere(super()._new_node())


def _grey_elsewhere(node: Any) -> Any:
    """The colour of a point on another slice would be that of corrected ones, whatever it is."""
    node.GetDisplayNode().SetSliceProjectionUseFiducialColor(False)
    node.GetDisplayNode().SetSliceProjectionColor(*PROJECTED)
    return node


class Scene:
    """server: of trame. on_change: called after each change of the points. on_refused: with a text for the person.

    on_view: called whenever a view shows something else. on_press: with the landmark that a press of the mouse means.
    """

    def __init__(
        self,
        server: Any,
        on_change: Callable[[], None],
        on_refused: Callable[[str], None],
        on_view: Callable[[], None],
        on_press: Callable[[str], None] = lambda name: None,
    ) -> None:
        vtkLogger.SetStderrVerbosity(vtkLogger.VERBOSITY_ERROR)  # it warns of how trame uses it
        self._app = SlicerApp()
        vtkOutputWindow.GetInstance().SetDisplayModeToNever()  # it would name files
        self._on_change, self._on_refused, self._on_view, self._on_press = on_change, on_refused, on_view, on_press
        self._hidden: tuple[Any, int] | None = None
        self.shows_endplates = True
        self._pressed: tuple[str, tuple[int, int]] | None = None
        self._opened: OpenStudy | None = None
        self._volume: Any = None
        self.points: SpinePoints | None = None
        self._opinions: list[Any] = []
        self.grey: tuple[float, float] = (0.0, 1.0)
        self._usual: tuple[float, float] = (0.0, 1.0)
        register_rca_factories(
            self._app.view_manager,
            server,
            slice_view_ui_f=lambda *_: None,
            three_d_view_ui_f=lambda *_: None,
            interactive_quality=70,
        )
        sagittal = ViewLayoutDefinition.sagittal_view(SAGITTAL)
        coronal = ViewLayoutDefinition.coronal_view(CORONAL)
        self.layout = LayoutManager(self._app.scene, self._app.view_manager, server)
        both = Layout(LayoutDirection.Horizontal, [sagittal, coronal], ["3", "1"])
        self.layout.register_layout_dict({"volume": both, "slice": Layout(LayoutDirection.Horizontal, [sagittal])})
        self.layout.set_layout("volume")
        self._views = [self._app.view_manager.get_view(name) for name in (SAGITTAL, CORONAL)]
        for view in self._views:
            view.get_view_node().SetSliceResolutionMode(view.get_view_node().SliceResolutionMatch2DView)
            view.modified.connect(lambda _view: self._viewed())
            view.interactor().AddObserver("WindowResizeEvent", lambda *_: self._on_resize())
            view.interactor().AddObserver("MouseMoveEvent", lambda *_: self._show_preview(), 1.0)
            for event, factor in (("MouseWheelForwardEvent", WHEEL), ("MouseWheelBackwardEvent", 1 / WHEEL)):
                view.interactor().AddObserver(event, partial(self._on_wheel, factor), 1.0)
            # before Slicer's own, which begin a drag
            view.interactor().AddObserver("LeftButtonPressEvent", partial(self._press, view), 1.0)
            view.interactor().AddObserver("LeftButtonReleaseEvent", partial(self._release, view), 1.0)
        self._fitted: list[float] = []

    # A study

    def show(self, session: Session, opened: OpenStudy) -> None:
        """Show a study; the image stays as it is looked at when it is the same one."""
        if self.points is not None:
            self.points.close()
            self.points.decorations.remove()
            self._app.scene.RemoveNode(self.points.node)
        if self._opened is None or opened.stack is not self._opened.stack:
            self._show_volume(opened)
        self._opened = opened
        _Points.line_views = (self._views[0].get_view_node().GetID(),)
        self.points = _Points(session, self._volume, None, self._on_change, self._on_refused)
        self.points.show_endplates(self.shows_endplates)
        self._show_opinions(opened)
        self._viewed()

    def _viewed(self) -> None:
        """A view shows something else."""
        if self.points is not None:
            self.points.draw_lines_on(self.slice_index)
        self._on_view()

    def _show_opinions(self, opened: OpenStudy) -> None:
        """What several readers have signed where they differ, each in a colour and shape; nobody can grab it."""
        for node in self._opinions:
            self._app.scene.RemoveNode(node)
        drawn = zip(LETTERS, opened.opinions, OPINION_STYLES, strict=False)
        self._opinions = [
            self._draw_opinion(letter, [mark for mark in one.landmarks.points if mark.name in opened.disputed], looks)
            for letter, one, looks in drawn
        ]

    def _draw_opinion(self, letter: str, landmarks: Sequence[Landmark], looks: OpinionStyle) -> Any:
        """The letters of two who name one place differently stand beside each other."""
        indent = " " * INDENT * LETTERS.index(letter)
        node = self._app.scene.AddNewNodeByClass(KIND, f"reader {letter}")
        node.SetLocked(True)
        for mark in landmarks:
            if mark.position_ras_mm is not None:
                row = node.AddControlPoint(mark.position_ras_mm, f"{indent}{letter} {mark.name}")
                node.SetNthControlPointLocked(row, True)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        style(display, MARKUP_STYLE)
        display.SetGlyphType(getattr(display, looks.glyph))
        display.SetGlyphSize(OPINION_MM)
        for colour in (display.SetSelectedColor, display.SetColor, display.SetActiveColor):
            colour(*looks.rgb)
        return node

    def _show_volume(self, opened: OpenStudy) -> None:
        window, magnification = self._looks()
        before, stack = self._volume, opened.stack
        assert stack.ras_from_ijk is not None
        self._volume = self._app.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "study")
        self._volume.SetAndObserveImageData(_image(stack.voxels))
        self._volume.SetIJKToRASMatrix(_matrix(stack.ras_from_ijk))
        self._volume.CreateDefaultDisplayNodes()
        self._volume.GetDisplayNode().SetInterpolate(True)
        self.layout.set_layout("volume" if len(stack) > 1 else "slice")
        self._app.display_manager.show_volume_in_slice_background(self._volume)
        self.grey = float(stack.voxels.min()), float(max(stack.voxels.max(), stack.voxels.min() + 1e-6))
        self._usual = _usual_window(stack.voxels)
        self.set_window(*(self._usual[0] + part * (self._usual[1] - self._usual[0]) for part in window))
        for view, name in zip(self._views, (SAGITTAL, CORONAL), strict=True):
            view.get_view_node().SetOrientation(name)
            view.get_view_node().RotateToVolumePlane(self._volume)
        self._fit()
        if not np.isclose(magnification, 1.0, rtol=1e-3):
            self._magnify(magnification, opened)
        self.go_to_slice(self._first_slice(opened))
        if before is not None:
            self._app.scene.RemoveNode(before)

    def _looks(self) -> tuple[list[float], float]:
        """How the person has set the views, for the next study: black and white as parts of the usual window, and the
        magnification over that of the whole image.
        """
        if self._volume is None:
            return [0.0, 1.0], 1.0
        low, high = self._usual
        return [(grey - low) / (high - low) for grey in self.window], self._fitted[0] / self._scales()[0]

    def _magnify(self, factor: float, opened: OpenStudy) -> None:
        """Round what is known of the spine, which does not lie in the middle of every picture."""
        self.zoom(factor)
        known = [mark.position_ras_mm for mark in opened.landmarks or () if mark.position_ras_mm is not None]
        if known:
            self._app.markups_logic.JumpSlicesToLocation(*map(float, np.mean(known, axis=0)), True)

    def _first_slice(self, opened: OpenStudy) -> int:
        known = [mark.position_ras_mm for mark in opened.landmarks or () if mark.position_ras_mm is not None]
        if known:
            return int(np.median([opened.frame.slice_index(position) for position in known]))
        return min(opened.study.slice_index, len(opened.stack) - 1)

    # Looking

    @property
    def slice_index(self) -> int:
        """The sagittal slice in the middle of its view."""
        return 0 if self._opened is None else self._opened.frame.slice_index(self.centre())

    def centre(self) -> Point:
        """The middle of the sagittal view, RAS mm."""
        matrix = self._views[0].get_view_node().GetSliceToRAS()
        r, a, s = (float(matrix.GetElement(row, 3)) for row in range(3))
        return r, a, s

    def go_to_slice(self, index: int) -> None:
        """Show a sagittal slice; what is seen of it stays."""
        opened_stack = self._volume
        matrix = vtkMatrix4x4()
        opened_stack.GetIJKToRASMatrix(matrix)
        i, j, _ = (size / 2 for size in opened_stack.GetImageData().GetDimensions())
        self._views[0].get_view_node().JumpSliceByOffsetting(*list(matrix.MultiplyPoint((i, j, float(index), 1.0)))[:3])

    def jump(self, name: str) -> None:
        """All views through a landmark that has a point; they move only where it would not be seen."""
        assert self.points is not None
        position = self.points.session[name].position_ras_mm
        if position is not None:
            self._app.markups_logic.JumpSlicesToLocation(*position, False)

    def mark(self, name: str | None) -> None:
        """Draw a cross round the landmark that is worked on."""
        if self.points is not None:
            self.points.select(name)

    def show_endplates(self, visible: bool) -> None:
        """Corners, lines and angles, or none of them."""
        self.shows_endplates = visible
        if self.points is not None:
            self.points.show_endplates(visible)

    def zoom(self, factor: float) -> None:
        """factor: of the magnification."""
        for view in self._views:
            view.zoom(1 - 1 / factor)

    def fit(self) -> None:
        """The whole image, on the slice that is shown."""
        index = self.slice_index
        self._fit()
        self.go_to_slice(index)

    def _fit(self) -> None:
        for view in self._views:
            view.fit_view_to_content()
        self._fitted = self._scales()

    def _scales(self) -> list[float]:
        """Millimetres a pixel of each view."""
        nodes = [view.get_view_node() for view in self._views]
        return [node.GetFieldOfView()[0] / max(node.GetDimensions()[0], 1) for node in nodes]

    def _on_resize(self) -> None:
        """A window of another size: what was shown as a whole still is."""
        if self._opened is not None and np.allclose(self._scales(), self._fitted, rtol=1e-3):
            self.fit()

    @property
    def window(self) -> tuple[float, float]:
        """Grey values that are black and white."""
        if self._volume is None:
            return self.grey
        display = self._volume.GetDisplayNode()
        half = display.GetWindow() / 2
        return display.GetLevel() - half, display.GetLevel() + half

    def set_window(self, low: float, high: float) -> None:
        display = self._volume.GetDisplayNode()
        display.AutoWindowLevelOff()
        display.SetWindowLevel(high - low, (high + low) / 2)

    def reset_window(self) -> None:
        if self._opened is not None:
            self.set_window(*self._usual)

    # The mouse

    def _press(self, view: Any, *_: Any) -> None:
        """What a person presses on is what they mean, also where it cannot be dragged."""
        interactor = view.interactor()
        interactor.InvokeEvent("MouseMoveEvent")  # a finger has not been there before: Slicer drags what was hovered
        name = self._near(view) if self.mode == "view" and not interactor.GetShiftKey() else None
        self._pressed = (name, interactor.GetEventPosition()) if name else None
        if name:
            self._on_press(name)

    def _release(self, view: Any, *_: Any) -> None:
        pressed, self._pressed = self._pressed, None
        if pressed is None or self.points is None:
            return
        name, start = pressed
        dragged = np.hypot(*np.subtract(view.interactor().GetEventPosition(), start)) > DRAG_PX
        if dragged and self.points.session[name].status == "confirmed":
            self._on_refused(f"{name} is confirmed and stays where it is. Take the confirmation back first (C)")

    def _near(self, view: Any) -> str | None:
        """The landmark under the mouse."""
        marks = self._seen
        apart = {
            mark.name: float(
                np.hypot(*np.subtract(self._xy(view, mark.position_ras_mm), view.interactor().GetEventPosition()))
            )
            for mark in marks
            if mark.position_ras_mm is not None
        }
        name = min(apart, key=apart.__getitem__, default=None)
        return name if name is not None and apart[name] <= HIT_PX else None

    @property
    def _seen(self) -> tuple[Landmark, ...]:
        """What the mouse can mean."""
        if self.points is None:
            return ()
        session = self.points.session
        return session.points if self.shows_endplates else session.current.landmarks

    @staticmethod
    def _xy(view: Any, position: Point) -> tuple[float, float]:
        """Pixels of a view from its bottom left."""
        inverse = vtkMatrix4x4()
        vtkMatrix4x4.Invert(view.get_view_node().GetXYToRAS(), inverse)
        x, y = apply(_array(inverse), np.array(position))[:2]
        return float(x), float(y)

    @property
    def _interaction(self) -> Any:
        return self._app.markups_logic.interaction_node

    @property
    def mode(self) -> str:
        """What a click does: view, place or window."""
        now = self._interaction.GetCurrentInteractionMode()
        modes = {self._interaction.Place: "place", self._interaction.AdjustWindowLevel: "window"}
        return modes.get(now, "view")

    def reset_mouse_mode(self) -> None:
        """The mouse drags points and does nothing else."""
        if self.mode == "place" and self.points is not None:
            self.points.show_anew()  # the preview goes
        self._interaction.SetCurrentInteractionMode(self._interaction.ViewTransform)

    def adjust_window(self) -> None:
        """The mouse changes brightness and contrast."""
        self._interaction.SetCurrentInteractionMode(self._interaction.AdjustWindowLevel)

    def start_placing(self, name: str) -> None:
        """The next click sets this landmark."""
        assert self.points is not None
        holder = self.points.of(name)
        node, row = holder.node, holder.row(name)
        node.ResetNthControlPointPosition(row)
        node.SetControlPointPlacementStartIndex(row)
        self._app.markups_logic.place_node(node)
        self._hidden = node, row
        node.SetNthControlPointVisibility(row, False)  # where the mouse is nobody knows before it moves

    def _show_preview(self) -> None:
        hidden, self._hidden = self._hidden, None
        if hidden is not None:
            hidden[0].SetNthControlPointVisibility(hidden[1], True)

    def _on_wheel(self, factor: float, *_: Any) -> None:
        """Slicer goes through the slices; where there is one, the wheel magnifies it."""
        if self._opened is not None and len(self._opened.stack) == 1:
            self.zoom(factor)

    def end_drags(self) -> None:
        """Let go of what is held: the browser that held it has gone. The point stays where it was last."""
        for view in self._views:
            view.interactor().LeftButtonReleaseEvent()
            view.interactor().RightButtonReleaseEvent()
            view.interactor().MiddleButtonReleaseEvent()

    def pixel(self, position: Point) -> tuple[int, int]:
        """Of the sagittal view's picture, from its top left; for tests and measurements."""
        view = self._views[0]
        x, y = self._xy(view, position)
        return round(x), round(view.render_window().GetSize()[1] - 1 - y)


def _usual_window(voxels: NDArray[np.float32]) -> tuple[float, float]:
    low, high = (float(value) for value in np.percentile(voxels, PERCENTILES))
    return low, max(high, low + 1e-6)


def _image(voxels: NDArray[np.float32]) -> Any:
    """(K, H, W) as an image of VTK, whose first index runs fastest."""
    slices, rows, columns = voxels.shape
    image = vtkImageData()
    image.SetDimensions(columns, rows, slices)
    image.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(voxels).ravel(), deep=True))
    return image


def _matrix(matrix: Matrix) -> Any:
    made = vtkMatrix4x4()
    made.DeepCopy(matrix.astype(float).ravel().tolist())
    return made


def _array(matrix: Any) -> Matrix:
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
