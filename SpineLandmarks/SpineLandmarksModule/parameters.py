"""What the panel remembers with the scene. Slicer binds the widgets of the same names in the `.ui` to it."""

# No `from __future__ import annotations` here: Slicer's wrapper reads the annotations as types.
from enum import Enum

from slicer import vtkMRMLScalarVolumeNode
from slicer.i18n import tr
from slicer.parameterNodeWrapper import parameterNodeWrapper

from SpineLandmarksLib.formats.slicer_markups import DISPLAY


class SliceChoice(Enum):
    """Which slice the landmarks are put on."""

    AUTOMATIC = 0
    CURRENT = 1
    RANGE = 2

    def label(self) -> str:
        return (tr("automatic"), tr("the one in the sagittal view"), tr("one of a range"))[self.value]


class Processor(Enum):
    """What the model runs on."""

    CPU = 0
    CUDA = 1

    def label(self) -> str:
        return (tr("the processor (CPU)"), tr("an NVIDIA graphics card (CUDA)"))[self.value]


@parameterNodeWrapper
class SpineLandmarksParameterNode:
    volume: vtkMRMLScalarVolumeNode
    sliceChoice: SliceChoice = SliceChoice.AUTOMATIC
    processor: Processor = Processor.CPU
    showCurve: bool = False
    showEndplates: bool = True
    pointSize: float = DISPLAY["glyphSize"]
    textSize: float = DISPLAY["textScale"]
