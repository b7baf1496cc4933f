"""The slice views: showing a volume, jumping to a landmark, and which slice is being looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksModule.volumes import frame_of, ras_from_ijk


def show_volume(volume: Any, turn: bool) -> None:
    """In all slice views, unless some show it already. turn: these into the planes in which it was taken.

    Slicer shows what it has loaded in the planes of the patient.
    """
    showing = [view for view in _slices() if view.GetSliceCompositeNode().GetBackgroundVolumeID() == volume.GetID()]
    if not showing:
        slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    for view in showing if turn else ():
        if not _is_in_plane(view.GetSliceNode(), volume):
            view.GetSliceNode().RotateToVolumePlane(volume)
            view.FitSliceToBackground()


def jump_to(node: Any, row: int) -> None:
    """All slice views through a control point, which is put in their middle only where it would not be seen."""
    slicer.modules.markups.logic().JumpSlicesToNthPointInMarkup(node.GetID(), row, False)
    world = list(node.GetNthControlPointPositionWorld(row))
    for view in _slices():
        if not _is_in_view(view.GetSliceNode(), world):
            view.GetSliceNode().JumpSliceByCentering(*world)


def _slices() -> list[Any]:
    """The logic of each slice view."""
    found = slicer.app.applicationLogic().GetSliceLogics()
    return [found.GetItemAsObject(index) for index in range(found.GetNumberOfItems())]


def _is_in_plane(view: Any, volume: Any) -> bool:
    across = slicer.util.arrayFromVTKMatrix(view.GetSliceToRAS())[:3, 2]
    axes = np.linalg.inv(_local_from_world(volume))[:3, :3] @ ras_from_ijk(volume)[:3, :3]
    return bool(np.abs(across @ (axes / np.linalg.norm(axes, axis=0))).max() > np.cos(np.radians(0.5)))


def _is_in_view(view: Any, world: Sequence[float]) -> bool:
    """Whether a position is seen, with a margin of a twentieth, when the view is moved to its plane."""
    pixel = np.linalg.inv(slicer.util.arrayFromVTKMatrix(view.GetXYToRAS())) @ [*world, 1.0]
    size = np.array(view.GetDimensions()[:2])
    return bool((pixel[:2] >= 0.05 * size).all() and (pixel[:2] <= 0.95 * size).all())


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
        tr("No view shows the volume from the side. Show it in a sagittal view, or choose the slice automatically")
    )


def _local_from_world(volume: Any) -> np.ndarray:
    """(4, 4) from the patient's frame as the views show it to that of the volume itself."""
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(None, volume.GetParentTransformNode(), matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)
