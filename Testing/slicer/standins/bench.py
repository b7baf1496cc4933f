"""The module as tests meet it: its panel, a worker that says what it is told to say, and volumes in the scene."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.landmarks import LandmarkSet


def add_volume(slicer: Any, voxels_kji: Any, ras_from_ijk: Any, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = slicer.util.addVolumeFromArray(np.asarray(voxels_kji), name=name)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(ras_from_ijk, dtype=float)))
    return volume


def delete_in_data(slicer: Any, *nodes: Any) -> None:
    """What *Delete* in the module Data does with what is selected: all that lies under an item goes before it."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    for node in nodes:
        item = node if isinstance(node, int) else hierarchy.GetItemByDataNode(node)
        assert hierarchy.RemoveItem(item, True, True)


class ScriptedClient:
    """A worker client that says what a test puts into `answers`: a list of messages for each poll with an open job."""

    def __init__(self, model: Any = None) -> None:
        self.model = model
        self.asked: list[tuple[Path, dict[str, Any]]] = []
        self.answers: list[list[dict[str, Any]]] = []
        self.cancelled: list[str] = []
        self.is_warm = self.is_closed = False

    open_jobs = ()

    def warm(self) -> str:
        self.is_warm = True
        return "warm"

    def submit(self, path: Path, **asked: Any) -> str:
        assert path.is_file()
        self.asked.append((path, asked))
        return str(len(self.asked))

    def poll(self) -> list[dict[str, Any]]:
        if not self.asked or not self.answers:
            return []
        return [{"id": str(len(self.asked)), **message} for message in self.answers.pop(0)]

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def close(self) -> None:
        self.is_closed = True


class Module:
    """The module as a person meets it: its panel, its widgets by name, the dialogs it shows."""

    def __init__(self, module: Any) -> None:
        from standins.ctk_module import DIALOGS

        self.module, self.dialogs = module, DIALOGS
        self.clients: list[ScriptedClient] = []
        DIALOGS.clear()

    @property
    def widget(self) -> Any:
        return self.module.widget

    @property
    def panel(self) -> Any:
        return self.widget.panel

    @property
    def ui(self) -> Any:
        return self.panel.ui

    @property
    def study(self) -> Any:
        return self.panel.review_panel.study

    @property
    def session(self) -> Any:
        return self.study.session

    @property
    def client(self) -> ScriptedClient:
        """Of the worker in use; made anew after it was closed."""
        return self.clients[-1]

    def enter(self) -> None:
        """Show the module."""
        self.module.widgetRepresentation().enter()

    def exit(self) -> None:
        """Show another module."""
        self.module.widgetRepresentation().exit()

    def use_scripted_worker(self) -> None:
        def make(model: Any) -> ScriptedClient:
            self.clients.append(ScriptedClient(model))
            return self.clients[-1]

        self.panel.logic.runner.make_client = make
        self.panel.timer.setInterval(2)  # a person does not mind 50 ms, a thousand waits do

    def localize(self, found: LandmarkSet) -> None:
        """Press the button and let the worker answer."""
        self.ui.localizeButton.click()
        self.answer({"event": "done", "result": as_json(found)})

    def answer(self, *messages: dict[str, Any]) -> None:
        """Let the worker say this of the job that was started, and the panel hear it."""
        self.wait_until(lambda: not self.panel.logic.runner.job or self.panel.logic.runner.job.id)
        self.client.answers.append(list(messages))
        self.wait_until(lambda: not self.client.answers)

    def wait_until(self, condition: Callable[[], object], longest_s: float = 180.0) -> None:
        """Run Qt's event loop."""
        end = time.monotonic() + longest_s
        while not condition():
            assert time.monotonic() < end, "waited in vain"
            self.process_events()
            time.sleep(0.002)

    def process_events(self) -> None:
        import slicer

        slicer.app.processEvents()

    def select(self, name: str) -> None:
        """Click the row of a landmark."""
        row = [cells[0] for cells in self.rows()].index(name)
        self.ui.landmarkTable.setCurrentCell(row, 0)
        self.ui.landmarkTable.cellClicked.emit(row, 0)

    def rows(self, table: str = "landmarkTable") -> list[list[str]]:
        """The texts of a table."""
        cells = getattr(self.ui, table)
        columns = range(cells.columnCount)
        return [[cells.item(row, column).text() for column in columns] for row in range(cells.rowCount)]

    def row(self, name: str) -> list[str]:
        return next(cells for cells in self.rows() if cells[0] == name)

    def picture(self, width: int, height: int) -> Any:
        """A PIL image of the panel in a window of this size; of all of it where it must be scrolled."""
        import slicer
        from PIL import Image

        slicer.app.window.resize(width, height)
        slicer.app.window.show()
        for _ in range(5):  # texts that wrap ask for another layout
            self.process_events()
        image = self.module.panel.grab().toImage()
        image = image.convertToFormat(image.Format.Format_RGB888)
        rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
        return Image.fromarray(rows[:, : image.width() * 3].reshape(image.height(), image.width(), 3).copy())
