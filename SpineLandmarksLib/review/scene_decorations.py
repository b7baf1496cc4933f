"""What is drawn beside the points: the mark of confirmed ones, and a curve through the centres.

A point list of Slicer has two colours, for selected and for unselected points; three statuses are shown. So confirmed
points, which are locked, get a larger ball of a third colour from a list of its own, which nobody can grab.
Neither is saved with the scene: both are made from the landmarks.
"""

from __future__ import annotations

from typing import Any

from SpineLandmarksLib.landmarks import Landmark, LandmarkSet

CONFIRMED, CURVE = "SpineLandmarks.Confirmed", "SpineLandmarks.Curve"
GREEN = (0.25, 0.85, 0.35)
#: A little larger than the points, so that it covers them, mm.
CONFIRMED_SIZE_MM = 4.0
CURVE_MM = 0.8


class Decorations:
    """node: the markups node that is decorated. Both parts are in its transform, and are deleted with it."""

    def __init__(self, node: Any) -> None:
        self.node = node

    def show(self, landmarks: LandmarkSet) -> None:
        self._fill(self._confirmed(), [mark for mark in landmarks if mark.status == "confirmed"])
        curve = self.node.GetNodeReference(CURVE)
        if curve:
            self._fill(curve, [mark for mark in landmarks if mark.position_ras_mm is not None])

    def show_curve(self, visible: bool, landmarks: LandmarkSet) -> None:
        if visible and self.node.GetNodeReference(CURVE) is None:
            self._add(CURVE, "vtkMRMLMarkupsCurveNode", f"{self.node.GetName()} curve")
        if self.node.GetNodeReference(CURVE) is not None:
            self.node.GetNodeReference(CURVE).GetDisplayNode().SetVisibility(visible)
        self.show(landmarks)

    def remove(self) -> None:
        for role in (CONFIRMED, CURVE):
            part = self.node.GetNodeReference(role)
            if part is not None:
                part.GetScene().RemoveNode(part)

    def _confirmed(self) -> Any:
        found = self.node.GetNodeReference(CONFIRMED)
        return found or self._add(CONFIRMED, "vtkMRMLMarkupsFiducialNode", f"{self.node.GetName()} confirmed")

    def _add(self, role: str, kind: str, name: str) -> Any:
        scene = self.node.GetScene()
        part = scene.CreateNodeByClass(kind)
        part.UnRegister(None)
        part.SetName(name)
        part.SetHideFromEditors(True)
        part.SetSaveWithScene(False)
        part.SetLocked(True)
        scene.AddNode(part)
        part.CreateDefaultDisplayNodes()
        display = part.GetDisplayNode()
        display.SetSaveWithScene(False)
        display.SetPointLabelsVisibility(False)
        display.SetPropertiesLabelVisibility(False)  # the name of a curve lies on the spine
        display.SetUseGlyphScale(False)
        display.SetGlyphSize(CONFIRMED_SIZE_MM if role == CONFIRMED else CURVE_MM)
        display.SetSelectedColor(*GREEN)
        display.SetCurveLineSizeMode(display.UseLineDiameter)
        display.SetLineDiameter(CURVE_MM)
        display.SetSliceProjection(True)
        self.node.SetNodeReferenceID(role, part.GetID())
        return part

    def _fill(self, part: Any, landmarks: list[Landmark]) -> None:
        part.SetAndObserveTransformNodeID(self.node.GetTransformNodeID())
        modifying = part.StartModify()
        part.RemoveAllControlPoints()
        for mark in landmarks:
            part.SetNthControlPointLocked(part.AddControlPoint(mark.position_ras_mm, mark.name), True)
        part.EndModify(modifying)
