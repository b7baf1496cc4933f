"""What the panel remembers with the scene. Slicer binds the widgets of the same names in the `.ui` to it."""

# No `from __future__ import annotations` here: Slicer's wrapper reads the annotations as types.
from enum import Enum

from slicer import vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import parameterNodeWrapper

from SpineLandmarksLib.formats.slicer_markups import DISPLAY


class SliceChoice(Enum):
    """Which slice the landmarks are put on."""

    AUTOMATIC = "automatic"
    CURRENT = "the one in the sagittal view"
    RANGE = "one of a range"

    def label(self) -> str:
        return self.value


class Processor(Enum):
    """What the model runs on."""

    CPU = "the processor (CPU)"
    CUDA = "an NVIDIA graphics card (CUDA)"

    def label(self) -> str:
        return self.value


@parameterNodeWrapper
class SpineLandmarksParameterNode:
    volume: vtkMRMLScalarVolumeNode
    sliceChoice: SliceChoice = SliceChoice.AUTOMATIC
    processor: Processor = Processor.CPU
    showCurve: bool = False
    pointSize: float = DISPLAY["glyphSize"]
    textSize: float = DISPLAY["textScale"]
