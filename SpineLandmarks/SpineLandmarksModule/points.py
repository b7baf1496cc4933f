"""The points of one study in 3D Slicer: the history is kept with the node, which lies beside its volume.

Not under it: *Data* deletes with an item all that lies under it, without a question.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.scene_points import KIND, VOLUME, ScenePoints, active_list_kept
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import SessionText, session_from_json
from SpineLandmarksLib.formats.strict_json import parse_json

SESSION = "SpineLandmarks.Session"


def studied_nodes(scene: Any) -> list[Any]:
    """The landmarks nodes of all volumes."""
    found = slicer.util.getNodesByClass(KIND, scene)
    return [node for node in found if node.GetAttribute(SESSION) and node.GetNodeReferenceID(VOLUME)]


def find_node(scene: Any, volume: Any) -> Any:
    """The landmarks node of a volume, or None."""
    found = (node for node in studied_nodes(scene) if node.GetNodeReferenceID(VOLUME) == volume.GetID())
    return next(found, None)


def restored_session(node: Any, frame: ImageFrame | None) -> Session:
    """The session that is saved with a node. Raises FormatError when what is saved is damaged."""
    return session_from_json(parse_json(node.GetAttribute(SESSION), node.GetName()), frame, where=node.GetName())


def detach_session(node: Any) -> None:
    """Let a node be a point list like any other from now on."""
    node.RemoveAttribute(SESSION)


class StudyPoints(ScenePoints):
    """As `ScenePoints`; what is done in a scene that is saved can be gone on with."""

    def __init__(self, session: Session, *arguments: Any, **named: Any) -> None:
        self._history = SessionText(session)
        #: Called with whether the points are seen, when that or another look of them has changed.
        self.on_display: Callable[[bool], None] = lambda seen: None
        super().__init__(session, *arguments, **named)

    def follow_display(self) -> None:
        super().follow_display()
        self.on_display(bool(self.node.GetDisplayNode() and self.node.GetDisplayNode().GetVisibility()))

    def look(self, size_mm: float, text: float) -> None:
        """text: size of the names; 0 for none."""
        display = self.node.GetDisplayNode()
        if display:
            display.SetGlyphSize(size_mm)
            display.SetTextScale(text)
            display.SetPointLabelsVisibility(text > 0)

    def keep(self) -> None:
        """Let the scene hold the history."""
        self.node.SetAttribute(SESSION, str(self._history))

    def link(self) -> None:
        """Also in the subject hierarchy."""
        super().link()
        hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(self.scene)
        item, beside = (
            hierarchy.GetItemByDataNode(node) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)
            for node in (self.node, self.volume)
        )
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(beside))

    def keep_without_volume(self) -> None:
        """Put the node, which was deleted together with its volume, into the scene again as a list of its own."""
        with active_list_kept(self.scene):
            self.scene.AddNode(self.node)
