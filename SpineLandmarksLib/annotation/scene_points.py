"""The markups node of one study, held to its review session in both directions; what 3D Slicer and the browser share.

The session knows what is true; the node shows it. What a person does to the node (a drag, a placed point, a position
taken away, coordinates typed in by hand) is found by comparing the two once it is finished, and the session is told.
What it refuses, and a node whose points were deleted or renamed, is shown anew from the session. The scene is that of
the volume which comes in: nothing of Slicer or VTK is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.slicer_markups import DISPLAY, control_point_text
from SpineLandmarksLib.landmarks import Landmark

KIND = "vtkMRMLMarkupsFiducialNode"
VOLUME = "SpineLandmarksVolume"
#: A position that differs by less than this was not moved by anybody: a saved history is rounded to it, mm.
SAME_MM = 1e-3
CONFIRMED, CURVE, SELECTED = "confirmed", "curve", "selected"
#: Light enough that VTK gives a text in it a dark shadow, not a light one.
GREEN, WHITE = (0.3, 0.9, 0.4), (1.0, 1.0, 1.0)
CURVE_MM = 0.8
#: Of the points' own size: the ball of a confirmed point covers it, the cross of the selected one leaves both free.
SIZES = {CONFIRMED: 4 / 3, SELECTED: 4.0}


class ScenePoints:
    """session: of the study. volume: that it was placed on. node: taken up, or None for a new one in the scene.

    on_change: called after each change of the session. on_refused: called with a text for a dialog.
    """

    #: Whether the mark of a confirmed point stands for the point, and bears its name in its own colour.
    hides_confirmed = False
    looks: Mapping[str, Any] = DISPLAY
    title = "Landmarks"

    def __init__(
        self,
        session: Session,
        volume: Any,
        node: Any = None,
        on_change: Callable[[], None] = lambda: None,
        on_refused: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.session, self.volume = session, volume
        self.scene = volume.GetScene()
        self._on_change, self._on_refused = on_change, on_refused
        #: Called with the name of the point that the mouse has taken hold of.
        self.on_grab: Callable[[str], None] = lambda name: None
        self._is_showing = self._is_dragged = False
        self.selected: str | None = None
        self.node = node or self._new_node()
        self.link()
        self.decorations = Decorations(self.node, self.hides_confirmed)
        self._tags = [(source, source.AddObserver(event, seen)) for source, event, seen in self._events()]
        self._stop_listening = session.listen(lambda correction: self._changed())
        if node and node.GetNumberOfControlPoints():
            self.take_edits()  # what was done to it while nobody watched
        self.show()

    def close(self) -> None:
        """Stop watching; the node stays as it is, without what is drawn beside it. More than once does no harm."""
        tags, self._tags = self._tags, []
        for source, tag in tags:
            source.RemoveObserver(tag)
        self._stop_listening()
        self._stop_listening = lambda: None
        self.decorations.remove()

    def take_session(self, session: Session) -> None:
        """Go on with another session of the same landmarks."""
        self._stop_listening()
        self.session = session
        self._stop_listening = session.listen(lambda correction: self._changed())
        self._changed()

    @property
    def marks(self) -> tuple[Landmark, ...]:
        """What the node shows, in its order."""
        return self.session.current.landmarks

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(mark.name for mark in self.marks)

    def row(self, name: str) -> int:
        return self.names.index(name)

    def select(self, name: str | None) -> None:
        """Mark a landmark in the views."""
        self.selected = name
        self._decorate()

    # From the session to the node

    def show(self) -> None:
        """Make the node say what the session says."""
        with self._showing():
            if self.node.GetNumberOfControlPoints() != len(self.marks):
                self._refill()
            for row, landmark in enumerate(self.marks):
                self._show_point(row, landmark)
        self.keep()
        self._decorate()

    def _decorate(self) -> None:
        self.decorations.show(self.marks, None if self._is_dragged else self.selected)

    def _changed(self) -> None:
        self.show()
        self._on_change()

    def keep(self) -> None:
        """Called after each change, for who keeps the history with the scene."""

    def _show_point(self, row: int, landmark: Landmark) -> None:
        node = self.node
        node.SetNthControlPointLabel(row, landmark.name)
        node.SetNthControlPointDescription(row, control_point_text(landmark))
        node.SetNthControlPointSelected(row, landmark.status == "predicted")  # the colour of what nobody has looked at
        if landmark.position_ras_mm is None:
            node.SetNthControlPointPositionMissing(row)
        elif not self._is_at(row, landmark):
            node.SetNthControlPointPosition(row, *landmark.position_ras_mm)
        node.SetNthControlPointLocked(row, landmark.status == "confirmed")
        node.SetNthControlPointVisibility(row, not (self.hides_confirmed and landmark.status == "confirmed"))

    def _is_at(self, row: int, landmark: Landmark) -> bool:
        there = self.node.GetNthControlPointPositionStatus(row) == self.node.PositionDefined
        if not there or landmark.position_ras_mm is None:
            return False
        return _apart([list(self.node.GetNthControlPointPosition(row))], [landmark.position_ras_mm]) < SAME_MM

    # From the node to the session

    def take_edits(self) -> None:
        """Tell the session what a person has done to the node."""
        if self._is_showing or self.node.GetScene() is None or not self.is_with_volume() or self._is_hardened():
            return
        if not self._is_whole():
            self.show()
            self._on_refused(
                f"The points of {self.node.GetName()} were deleted or renamed by hand. Their number and names are "
                "fixed, so they were put back, with all corrections. If a landmark cannot be seen, press Not visible"
            )
            return
        for row, landmark in enumerate(self.marks):
            try:
                self._take_edit(row, landmark)
            except SpineLandmarksError as error:
                self.show()
                self._on_refused(str(error))

    def _is_hardened(self) -> bool:
        """Whether its transform was just put into the points: they go back, as the volume still lies in it."""
        if self.node.GetParentTransformNode() is None or not self._is_whole():
            return False
        marks = [(row, mark.position_ras_mm) for row, mark in enumerate(self.marks) if mark.position_ras_mm]
        world = [in_world(self.node, position) for _, position in marks]
        there = [list(self.node.GetNthControlPointPosition(row)) for row, _ in marks]
        was_moved = bool(marks) and _apart(world, [position for _, position in marks]) > SAME_MM
        return was_moved and _apart(world, there) < SAME_MM

    def _is_whole(self) -> bool:
        count = self.node.GetNumberOfControlPoints()
        return tuple(self.node.GetNthControlPointLabel(row) for row in range(count)) == self.names

    def _take_edit(self, row: int, landmark: Landmark) -> None:
        status = self.node.GetNthControlPointPositionStatus(row)
        if status == self.node.PositionPreview:  # it still follows the mouse
            return
        if status != self.node.PositionDefined:
            if not landmark.is_absent:
                self.session.mark_not_visible(landmark.name)
        elif landmark.is_absent:
            self.session.place(landmark.name, list(self.node.GetNthControlPointPosition(row)))
        elif not self._is_at(row, landmark):
            self.session.move(landmark.name, list(self.node.GetNthControlPointPosition(row)))

    def _events(self) -> list[tuple[Any, int, Callable[..., None]]]:
        node = self.node
        finished = (
            node.PointPositionDefinedEvent,
            node.PointPositionUndefinedEvent,
            node.PointPositionMissingEvent,
            node.PointRemovedEvent,
            node.PointAddedEvent,
        )
        return [
            (node, node.PointStartInteractionEvent, lambda *_: self._drag(True)),
            (node, node.PointEndInteractionEvent, lambda *_: self._drag(False)),
            (node, node.PointModifiedEvent, lambda *_: None if self._is_dragged else self.take_edits()),
            *((node, event, lambda *_: self.take_edits()) for event in finished),
            (node, node.DisplayModifiedEvent, lambda *_: self.follow_display()),
            (self.volume, self.volume.TransformModifiedEvent, lambda *_: self.follow_transform()),
        ]

    def follow_display(self) -> None:
        """Called whenever the points look otherwise."""
        self.decorations.follow_display()

    def _drag(self, starts: bool) -> None:
        self._is_dragged = starts
        if not starts:
            self.take_edits()
        self._decorate()
        row = self.node.GetDisplayNode().GetActiveComponentIndex() if self.node.GetDisplayNode() else -1
        if starts and 0 <= row < len(self.names):
            self.on_grab(self.names[row])

    # The node

    def _new_node(self) -> Any:
        with active_list_kept(self.scene):
            node = self.scene.AddNewNodeByClass(KIND, f"{self.title} {self.volume.GetName()}")
        node.SetControlPointLabelFormat("%N-%d")
        node.CreateDefaultDisplayNodes()
        style(node.GetDisplayNode(), self.looks)
        return node

    def _refill(self) -> None:
        self.node.SetFixedNumberOfControlPoints(False)
        self.node.RemoveAllControlPoints()
        for name in self.names:
            self.node.SetNthControlPointPositionMissing(self.node.AddControlPoint([0.0, 0.0, 0.0], name))
        self.node.SetFixedNumberOfControlPoints(True)

    def link(self) -> None:
        """Under its volume: by reference, and in the transform that moves both."""
        self.node.SetNodeReferenceID(VOLUME, self.volume.GetID())
        self.follow_transform()

    def is_with_volume(self) -> bool:
        """Whether it lies in the transform of its volume; where not, its positions say nothing of the image."""
        return bool(self.node.GetTransformNodeID() == self.volume.GetTransformNodeID())

    def follow_transform(self) -> None:
        """Called whenever the volume is in another transform."""
        self.node.SetAndObserveTransformNodeID(self.volume.GetTransformNodeID())

    @contextmanager
    def _showing(self) -> Iterator[None]:
        before, self._is_showing = self._is_showing, True
        modifying = self.node.StartModify()
        try:
            yield
        finally:
            self.node.EndModify(modifying)
            self._is_showing = before


def in_world(node: Any, position: Sequence[float]) -> Sequence[float]:
    """Where a position in a node's own frame is after all transforms that the node is in."""
    transform = node.GetParentTransformNode()
    while transform is not None:
        position = transform.GetTransformToParent().TransformPoint(position)
        transform = transform.GetParentTransformNode()
    return position


def _apart(some: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> float:
    """The largest difference of a coordinate, mm."""
    return float(np.abs(np.subtract(some, others)).max())


def style(display: Any, looks: Mapping[str, Any] = DISPLAY) -> None:
    """Small balls in mm with their names, in the colours of files that the command writes."""
    display.SetUseGlyphScale(looks["useGlyphScale"])
    display.SetGlyphSize(looks["glyphSize"])
    display.SetTextScale(looks["textScale"])
    display.SetPointLabelsVisibility(True)
    display.SetSelectedColor(*looks["selectedColor"])
    display.SetColor(*looks["color"])
    display.SetActiveColor(*looks["activeColor"])
    display.SetSliceProjection(looks["sliceProjection"])
    display.SetSliceProjectionOpacity(looks["sliceProjectionOpacity"])


@contextmanager
def active_list_kept(scene: Any) -> Iterator[None]:
    """Slicer makes each new list the one in which its toolbar places points; here that of the reader stays it."""
    kept = active_list(scene)
    yield
    active_list(scene, *kept)


def active_list(scene: Any, *new: Any) -> tuple[Any, Any]:
    """Class and id of the list in which Slicer's toolbar places points, which becomes `new` when that is given."""
    selection = scene.GetFirstNodeByClass("vtkMRMLSelectionNode")
    if selection is None:
        return None, None
    if new:
        selection.SetActivePlaceNodeClassName(new[0])
        selection.SetActivePlaceNodeID(new[1])
    return selection.GetActivePlaceNodeClassName(), selection.GetActivePlaceNodeID()


class Decorations:
    """What is drawn beside the points of `node`: marks of confirmed ones and of the selected one, and a curve.

    A point list of Slicer has two colours, for selected and for unselected points; three statuses are shown. So
    confirmed points, which are locked, get a larger ball of a third colour from a list of its own, which nobody can
    grab, and the landmark that is worked on gets a cross. All parts are in the node's transform, are seen when it is,
    and are not saved with the scene; no editor lists them, so whoever shows them takes them away.

    names_confirmed: the names of confirmed points are drawn again, in their mark's colour.
    """

    def __init__(self, node: Any, names_confirmed: bool = False) -> None:
        self.node, self.names_confirmed = node, names_confirmed
        self._parts: dict[str, Any] = {}
        self._wants_curve = False
        self._selected: str | None = None

    def part(self, role: str) -> Any:
        """The node of CONFIRMED, CURVE or SELECTED; None while there is none."""
        part = self._parts.get(role)
        return part if part is not None and part.GetScene() is not None else None

    @property
    def confirmed(self) -> Any:
        return self.part(CONFIRMED)

    @property
    def curve(self) -> Any:
        return self.part(CURVE)

    def show(self, landmarks: Sequence[Landmark], selected: str | None = None) -> None:
        self._selected = selected
        known = [mark for mark in landmarks if mark.position_ras_mm is not None]
        shown = {
            CONFIRMED: [mark for mark in known if mark.status == "confirmed"],
            SELECTED: [mark for mark in known if mark.name == selected],
            CURVE: known if self._wants_curve else [],
        }
        for role, marks in shown.items():
            if marks and self.part(role) is None:
                self._parts[role] = self._add(role)
            self._fill(self.part(role), marks)
        self.follow_display()

    def show_curve(self, visible: bool, landmarks: Sequence[Landmark]) -> None:
        self._wants_curve = visible
        self.show(landmarks, self._selected)

    def follow_display(self) -> None:
        """Be seen when the points are, and as large."""
        display = self.node.GetDisplayNode()
        seen = bool(display and display.GetVisibility())
        for role in self._parts:
            part = self.part(role)
            if part is not None:
                part.GetDisplayNode().SetVisibility(seen and (role != CURVE or self._wants_curve))
                if display and role in SIZES:
                    part.GetDisplayNode().SetGlyphSize(SIZES[role] * display.GetGlyphSize())

    def remove(self) -> None:
        for role in list(self._parts):
            part = self.part(role)
            if part is not None:
                part.GetScene().RemoveNode(part)
        self._parts.clear()

    def _add(self, role: str) -> Any:
        scene = self.node.GetScene()
        part = scene.CreateNodeByClass("vtkMRMLMarkupsCurveNode" if role == CURVE else KIND)
        part.UnRegister(None)
        part.SetName(f"{self.node.GetName()} {role}")
        part.SetHideFromEditors(True)
        part.SetSaveWithScene(False)
        part.SetLocked(True)
        with active_list_kept(scene):
            scene.AddNode(part)
        part.CreateDefaultDisplayNodes()
        display = part.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetPointLabelsVisibility(role == CONFIRMED and self.names_confirmed)
        display.SetTextScale(self.node.GetDisplayNode().GetTextScale())
        display.SetPropertiesLabelVisibility(False)  # the name of a curve lies on the spine
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(CURVE_MM)
        if role == SELECTED:
            display.SetGlyphType(display.Cross2D)
        display.SetSelectedColor(*(WHITE if role == SELECTED else GREEN))
        display.SetCurveLineSizeMode(display.UseLineDiameter)
        display.SetLineDiameter(CURVE_MM)
        display.SetSliceProjection(True)
        return part

    def _fill(self, part: Any, landmarks: list[Landmark]) -> None:
        if part is None:
            return
        part.SetAndObserveTransformNodeID(self.node.GetTransformNodeID())
        modifying = part.StartModify()
        part.RemoveAllControlPoints()
        for mark in landmarks:
            part.SetNthControlPointLocked(part.AddControlPoint(mark.position_ras_mm, mark.name), True)
        part.EndModify(modifying)
