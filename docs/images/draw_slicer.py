"""Draw the pictures of docs/slicer.md: the module's panel and a slice view, on a generated MRI.

    python docs/images/draw_slicer.py docs/images    writes slicer-panel.png, slicer-correcting.png, slicer-files.png

The panel is the real one on the tests' stand-ins for Qt, the slice view has Slicer's own markups and interaction, and
the landmarks come from the shipped model. What is around them in Slicer's window is not drawn: see docs/slicer.md.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "Testing" / "slicer")]

from SpineLandmarksLib.phantom.phantom import make_phantom  # noqa: E402
from standins import install  # noqa: E402

slicer = install()
from standins.application import ScriptedModule  # noqa: E402
from standins.bench import Module, add_volume  # noqa: E402
from standins.slice_view import SliceView  # noqa: E402

PANEL_WIDTH, HEIGHT, VIEW_WIDTH = 440, 960, 700
#: A patient who lies well; the model leaves doubt at the upper end.
SEED = 8


def main(folder: Path) -> None:
    with a_study() as (module, view):
        write(folder / "slicer-panel.png", module, view)
        correct(module, view)
        write(folder / "slicer-correcting.png", module, view)
        show_files(module)
        module.picture(PANEL_WIDTH, HEIGHT).save(folder / "slicer-files.png", optimize=True)


@contextmanager
def a_study() -> Iterator[tuple[Module, SliceView]]:
    """The module with a phantom that its own worker has localized, and a sagittal view of it."""
    phantom = make_phantom(SEED, slices=9)
    module = Module(ScriptedModule(ROOT / "SpineLandmarks" / "SpineLandmarks.py"))
    module.module.widgetRepresentation()
    module.enter()
    volume = add_volume(slicer, np.round(phantom.voxels).astype(np.int16), phantom.ras_from_ijk, "lumbar T2 sag")
    module.ui.volumeSelector.setCurrentNode(volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job is None, 120.0)
    assert module.dialogs.shown == []
    view = SliceView("Yellow", (VIEW_WIDTH, HEIGHT))
    view.logic.FitSliceToBackground()
    module.select("L3")
    yield module, view
    view.close()
    module.widget.cleanup()


def correct(module: Module, view: SliceView) -> None:
    """Drag L4, confirm L2 and L3, and say that T12-L1 cannot be seen."""
    node, row = module.study.node, module.study.row("L4")
    start = view.pixel_of(list(node.GetNthControlPointPositionWorld(row)))
    view.drag(start, 7, 4)
    view.move_to((5, 5))
    module.select("T12-L1")
    module.ui.notVisibleButton.click()
    for name in ("L2", "L3"):
        module.select(name)
        module.ui.confirmButton.click()
    module.ui.curveBox.click()


def show_files(module: Module) -> None:
    """The lower half of the panel."""
    for name in ("studyButton", "landmarksButton"):
        getattr(module.ui, name).collapsed = True
    for name in ("measurementsButton", "filesButton"):
        getattr(module.ui, name).collapsed = False
    module.ui.readerEdit.text = "A. Reader"
    module.ui.measurementTable.setCurrentCell(5, 0)


def write(path: Path, module: Module, view: SliceView) -> None:
    panel, slice_ = module.picture(PANEL_WIDTH, HEIGHT), Image.fromarray(view.pixels())
    both = Image.new("RGB", (panel.width + slice_.width, max(panel.height, slice_.height)), "#efefef")
    both.paste(panel, (0, 0))
    both.paste(slice_, (panel.width, 0))
    both.save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
