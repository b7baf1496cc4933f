"""A generated MRI as a volume of the scene, for the first steps and for the self test."""

from __future__ import annotations

from typing import Any

import numpy as np
import slicer

from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom


def load(name: str) -> Any:
    """Generate one, which takes a second, and show it in the slice views; the node."""
    volume = add(make_phantom(8, slices=9), name)
    slicer.util.setSliceViewerLayers(background=volume, fit=True, rotateToVolumePlane=True)
    return volume


def add(phantom: Phantom, name: str = "phantom") -> Any:
    volume = slicer.util.addVolumeFromArray(np.round(phantom.voxels).astype(np.int16), name=name)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(phantom.ras_from_ijk)))
    return volume
