"""The slice views: showing a volume, jumping to a landmark, placing one, and which slice is being looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer
import vtk

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksModule.volumes import frame_of


def show_volume(volume: Any) -> None:
    """In all slice views, in the planes in which it was taken; nothing happens when it is shown already."""
    shown = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
    if any(view.GetBackgroundVolumeID() == volume.GetID() for view in shown):
        return
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)


def jump_to(node: Any, row: int) -> None:
    """All slice views through a control point, which is put in their middle only where it would not be seen."""
    slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(node.GetID(), row, False)


def start_placing(node: Any, row: int) -> None:
    """The next click in a view sets this control point."""
    node.ResetNthControlPointPosition(row)
    node.SetControlPointPlacementStartIndex(row)
    markups = slicer.modules.markups.logic()
    markups.SetActiveList(node)
    markups.StartPlaceMode(False)


def slice_in_view(volume: Any) -> int:
    """The slice of the volume at the middle of the sagittal view. Raises GeometryError when there is no such view."""
    frame = frame_of(volume)
    for view in slicer.util.getNodesByClass("vtkMRMLSliceNode"):
        ras_from_view = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())
        local = _local_from_world(volume) @ ras_from_view
        across = frame.ras_from_ijk[:3, 2] / np.linalg.norm(frame.ras_from_ijk[:3, 2])
        if abs(float(across @ local[:3, 2])) > np.cos(np.radians(30)):
            r, a, s = (float(value) for value in local[:3, 3])
            return frame.slice_index((r, a, s))
    raise GeometryError(
        "No view shows the volume from the side. Show it in a sagittal view, or choose the slice automatically"
    )


def _local_from_world(volume: Any) -> np.ndarray:
    """(4, 4) from the patient's frame as the views show it to that of the volume itself."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, volume.GetParentTransformNode(), matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
