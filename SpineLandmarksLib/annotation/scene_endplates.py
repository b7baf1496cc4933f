"""The centres of a study in a scene, and beside them, under one switch, its endplates: corners, lines and angles.

Corners are points like the centres, in a list of their own, smaller and without names in the views; what is drawn from
them follows each change of the session. None of it is saved with the scene: the session, which is, has it all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from SpineLandmarksLib.annotation.endplate_lines import AXIAL, EndplateLine, endplate_lines
from SpineLandmarksLib.annotation.scene_points import ScenePoints, active_list_kept
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.landmarks import Landmark

LINE_KIND = "vtkMRMLMarkupsLineNode"
LINE_MM = 0.5
#: As on the overlay; the line of the patient's axial plane is grey.
ENDPLATE, GREY = (0.7, 1.0, 0.63), (0.75, 0.75, 0.75)
#: Of the size of the centres and of their names.
CORNER_SIZE, WORDS_SIZE = 0.8, 0.9
#: A line has its own colour also where it leaves the slice that is shown a little, mm.
NEVER_FADES = 1e4


class CornerPoints(ScenePoints):
    """The corners beside the landmarks of the schema."""

    title = "Corners"

    @property
    def marks(self) -> tuple[Landmark, ...]:
        return self.session.corners

    def _new_node(self) -> Any:
        node = super()._new_node()
        node.SetHideFromEditors(True)
        node.SetSaveWithScene(False)
        node.GetDisplayNode().SetSaveWithScene(False)
        node.GetDisplayNode().SetPointLabelsVisibility(False)
        return node


class SpinePoints(ScenePoints):
    """As `ScenePoints`, with the endplates."""

    corner_points = CornerPoints
    #: Ids of the views that show lines and angles; all where it is empty.
    line_views: tuple[str, ...] = ()

    def __init__(self, session: Session, *arguments: Any, **named: Any) -> None:
        self._wants_endplates = True
        self._lines_on: int | None = None
        self.corners: CornerPoints | None = None
        self.lines: EndplateLines | None = None
        super().__init__(session, *arguments, **named)

    def of(self, name: str) -> ScenePoints:
        """Who shows a landmark or a corner."""
        return self.corners if self.corners is not None and name in self.corners.names else self

    def show_endplates(self, visible: bool) -> None:
        self._wants_endplates = visible
        self.follow_display()

    def show(self) -> None:
        super().show()
        self.lines = self.lines or EndplateLines(self.node, self.line_views)
        self.lines.show(endplate_lines(self.session.current, self.session.frame, self._lines_on))
        if self.corners is None and self.session.corners:
            self.corners = self.corner_points(self.session, self.volume, on_refused=self._on_refused)
            self.corners.on_grab = lambda name: self.on_grab(name)
        self.follow_display()

    def draw_lines_on(self, index: int) -> None:
        """On this slice of the image: Slicer draws a line only where it lies on the slice that is shown."""
        if index != self._lines_on and self.lines is not None:
            self._lines_on = index
            self.lines.show(endplate_lines(self.session.current, self.session.frame, index))

    def show_anew(self) -> None:
        """As the session says, whatever was about to be placed."""
        self.show()
        if self.corners is not None:
            self.corners.show()

    def select(self, name: str | None) -> None:
        holder = self if name is None else self.of(name)
        super().select(name if holder is self else None)
        if self.corners is not None:
            self.corners.select(name if holder is self.corners else None)

    def take_session(self, session: Session) -> None:
        if self.corners is not None:
            self.corners.take_session(session)
        super().take_session(session)

    def follow_transform(self) -> None:
        super().follow_transform()
        if self.lines is not None:
            self.lines.follow_transform()

    def follow_display(self) -> None:
        super().follow_display()
        display = self.node.GetDisplayNode()
        seen = bool(display and display.GetVisibility() and self._wants_endplates)
        if self.lines is not None:
            self.lines.follow_display(seen)
        if self.corners is not None and self.corners.node.GetDisplayNode():
            self.corners.node.GetDisplayNode().SetVisibility(seen)
            if display:
                self.corners.node.GetDisplayNode().SetGlyphSize(CORNER_SIZE * display.GetGlyphSize())

    def close(self) -> None:
        super().close()
        corners, self.corners = self.corners, None
        if corners is not None:
            corners.close()
            _remove(corners.node)
        if self.lines is not None:
            self.lines.remove()


class EndplateLines:
    """A line for each endplate, with the words of what is measured by it; in the transform of `node`, and as it not
    listed or saved.
    """

    def __init__(self, node: Any, views: Sequence[str] = ()) -> None:
        self.node, self._views = node, views
        self.nodes: dict[str, Any] = {}
        self._is_seen = False

    def show(self, lines: Sequence[EndplateLine]) -> None:
        by_name = {line.name: line for line in lines}
        for name in [name for name in self.nodes if name not in by_name]:
            _remove(self.nodes.pop(name))
        for name, line in by_name.items():
            if name not in self.nodes or self.nodes[name].GetScene() is None:
                self.nodes[name] = self._add(name)
            self._fill(self.nodes[name], line)
        self.follow_transform()

    def follow_display(self, seen: bool) -> None:
        self._is_seen = seen
        display = self.node.GetDisplayNode()
        for node in self.nodes.values():
            node.GetDisplayNode().SetVisibility(seen)
            if display:
                node.GetDisplayNode().SetTextScale(WORDS_SIZE * display.GetTextScale())

    def follow_transform(self) -> None:
        for node in self.nodes.values():
            node.SetAndObserveTransformNodeID(self.node.GetTransformNodeID())

    def remove(self) -> None:
        for node in self.nodes.values():
            _remove(node)
        self.nodes.clear()

    def _add(self, name: str) -> Any:
        scene = self.node.GetScene()
        node = scene.CreateNodeByClass(LINE_KIND)
        node.UnRegister(None)
        node.SetName(f"{self.node.GetName()} {name}")
        for hidden in (node.SetHideFromEditors, node.SetLocked):
            hidden(True)
        node.SetSaveWithScene(False)
        with active_list_kept(scene):
            scene.AddNode(node)
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
        for view in self._views:
            display.AddViewNodeID(view)
        for said, value in self._looks(display, GREY if name == AXIAL else ENDPLATE).items():
            getattr(display, f"Set{said}")(*value if isinstance(value, tuple) else (value,))
        return node

    def _looks(self, display: Any, colour: tuple[float, float, float]) -> Mapping[str, Any]:
        return {
            "SaveWithScene": False,
            "Visibility": self._is_seen,
            "PropertiesLabelVisibility": False,  # it would be the length
            "PointLabelsVisibility": True,
            "UseGlyphScale": False,
            "GlyphSize": LINE_MM,
            "CurveLineSizeMode": display.UseLineDiameter,
            "LineDiameter": LINE_MM,
            "LineColorFadingStart": NEVER_FADES,
            "LineColorFadingEnd": 2 * NEVER_FADES,
            "SelectedColor": colour,
            "Color": colour,
            "SliceProjection": True,
            "SliceProjectionUseFiducialColor": True,
            "SliceProjectionOpacity": 1.0,
        }

    def _fill(self, node: Any, line: EndplateLine) -> None:
        modifying = node.StartModify()
        node.SetLocked(False)
        node.RemoveAllControlPoints()
        for place, words in ((line.start, ""), (line.end, line.words)):
            row = node.AddControlPoint(place, words)
            node.SetNthControlPointLabel(row, words)  # an empty one would be made up
            node.SetNthControlPointLocked(row, True)
        node.SetLocked(True)
        node.EndModify(modifying)


def _remove(node: Any) -> None:
    if node.GetScene() is not None:
        node.GetScene().RemoveNode(node)
