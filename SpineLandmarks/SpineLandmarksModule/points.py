"""The points of one study in 3D Slicer: the history is kept with the node, which lies beside its volume.

Not under it: *Data* deletes with an item all that lies under it, without a question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import qt
import slicer
import vtk
from slicer.i18n import tr

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.scene_endplates import SpinePoints
from SpineLandmarksLib.annotation.scene_points import KIND, VOLUME, active_list_kept, in_world
from SpineLandmarksLib.annotation.session import Session, moved_session
from SpineLandmarksLib.annotation.session_file import SessionText, session_from_json
from SpineLandmarksLib.formats.strict_json import parse_json
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import Point
from SpineLandmarksModule.volumes import frame_of, geometry_of, identity_of, is_linear

SESSION, IDENTITY = "SpineLandmarks.Session", "SpineLandmarks.Volume"


def studied_nodes(scene: Any) -> list[Any]:
    """The landmarks nodes of all volumes."""
    found = slicer.util.getNodesByClass(KIND, scene)
    return [node for node in found if node.GetAttribute(SESSION) and node.GetNodeReferenceID(VOLUME)]


def find_node(scene: Any, volume: Any) -> Any:
    """The landmarks node of a volume, or None."""
    found = (node for node in studied_nodes(scene) if node.GetNodeReferenceID(VOLUME) == volume.GetID())
    return next(found, None) or _orphan(scene, volume)


def _orphan(scene: Any, volume: Any) -> Any:
    """A list whose volume was deleted, and has now been loaded again."""
    if not volume.GetImageData():
        return None
    known = identity_of(volume)
    lists = (node for node in slicer.util.getNodesByClass(KIND, scene) if not node.GetNodeReferenceID(VOLUME))
    return next((node for node in lists if node.GetAttribute(SESSION) and node.GetAttribute(IDENTITY) == known), None)


def restored_session(node: Any, frame: ImageFrame | None) -> Session:
    """The session that is saved with a node. Raises FormatError when what is saved is damaged."""
    return session_from_json(parse_json(node.GetAttribute(SESSION), node.GetName()), frame, where=node.GetName())


def detach_session(node: Any) -> None:
    """Let a node be a point list like any other from now on."""
    node.RemoveAttribute(SESSION)


class StudyPoints(SpinePoints):
    """As `SpinePoints`; what is done in a scene that is saved can be gone on with."""

    def __init__(self, session: Session, *arguments: Any, **named: Any) -> None:
        self._history = SessionText(session)
        #: Called with whether the points are seen, when that or another look of them has changed.
        self.on_display: Callable[[bool], None] = lambda seen: None
        super().__init__(session, *arguments, **named)
        self._geometry = geometry_of(self.volume)

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

    def take_session(self, session: Session) -> None:
        self._history = SessionText(session)
        super().take_session(session)

    def _events(self) -> list[Any]:
        return [
            *super()._events(),
            (self.node, self.node.TransformModifiedEvent, lambda *_: self._return_later()),
            (self.volume, vtk.vtkCommand.ModifiedEvent, lambda *_: self._follow_geometry()),
        ]

    def _return_later(self) -> None:
        """MRML crashes where a node's transform is set while the node tells of another one."""
        if not self.is_with_volume():
            qt.QTimer.singleShot(0, self._return_to_volume)

    def _return_to_volume(self) -> None:
        """A list that was taken out of its volume's transform, or hardened, lies on the image again."""
        if self.is_with_volume() or None in (self.node.GetScene(), self.volume.GetScene()):
            return
        self.follow_transform()
        self.show()
        self._on_refused(
            tr(
                "The landmarks of {name} lie where it lies, so they were put back into its transform. "
                "Transform or harden the volume; they follow"
            ).format(name=self.volume.GetName())
        )

    def _follow_geometry(self) -> None:
        """Hardening a transform or setting another origin moves the voxels of the volume; the points stay on them.

        Where it has another size it was cut or resampled, and its voxels stay where they were. A non-linear transform
        can only be hardened, which moves nothing in the patient.
        """
        now, before = geometry_of(self.volume), self._geometry
        if now is None or before is None or now == before:
            return
        self._geometry = now
        self.node.SetAttribute(IDENTITY, identity_of(self.volume))
        matrix = now.ras_from_ijk @ np.linalg.inv(before.ras_from_ijk) if now.size == before.size else np.eye(4)

        def moved(position: Point) -> Point:
            return _point(apply(matrix, position) if is_linear(self.volume) else in_world(self.node, position))

        self.take_session(moved_session(self.session, frame_of(self.volume), moved))

    def keep(self) -> None:
        """Let the scene hold the history."""
        self.node.SetAttribute(SESSION, str(self._history))

    def link(self) -> None:
        """Also in the subject hierarchy."""
        super().link()
        self.node.SetAttribute(IDENTITY, identity_of(self.volume))
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


def _point(values: Sequence[float] | np.ndarray) -> Point:
    r, a, s = (float(value) for value in values)
    return r, a, s
