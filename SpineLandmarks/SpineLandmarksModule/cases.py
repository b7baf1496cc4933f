"""Correcting the studies of a data set one after another, in the queue that the browser has too.

The store of a data set needs a package that Slicer does not ship, and reading a study takes seconds, so that both are
done in a process of Slicer's Python.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.annotation.revision import ImageReference
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.formats.json_result import from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.worker.client import environment, own_group
from SpineLandmarksModule.dialogs import explained
from SpineLandmarksModule.runner import new_folder, python

#: At each tick the process is waited for this long: our thread stands still while Slicer's event loop is idle.
YIELD_S = 0.02
#: Attribute of a volume that is a case, an `Origin` as JSON.
ORIGIN = "SpineLandmarks.Case"


@dataclass(frozen=True)
class Origin:
    """dataset: folder. key: of the study. image: what a revision must say of it, as `ImageReference`."""

    dataset: str
    key: str
    image: dict[str, Any]

    @property
    def reference(self) -> ImageReference:
        return ImageReference(**self.image)


@dataclass(frozen=True)
class Case:
    """A study of a data set as a volume of the scene. landmarks: of revision `parent`; None where nothing is known."""

    volume: Any
    landmarks: LandmarkSet | None
    parent: str | None
    words: str


def origin_of(volume: Any) -> Origin | None:
    """Where a volume that is a case comes from."""
    text = volume.GetAttribute(ORIGIN) if volume else None
    return Origin(**json.loads(text)) if text else None


class NextCase:
    """buttons: are off while a case is fetched. take: called with it. say: with a text. list_rows: with the key, state
    and words of every study of a data set.
    """

    def __init__(
        self,
        buttons: Sequence[Any],
        take: Callable[[Case], None],
        say: Callable[[str], None],
        list_rows: Callable[[list[list[str]]], None],
    ) -> None:
        self._buttons, self._take, self._say, self._list_rows = buttons, take, say, list_rows
        self._thread = ThreadPoolExecutor(1, "SpineLandmarks cases")
        self._asked: tuple[str, Path, Future[dict[str, Any]]] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.connect("timeout()", self.look)

    def close(self) -> None:
        self._timer.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._asked is not None:
            shutil.rmtree(self._asked[1], ignore_errors=True)

    def ask(self, dataset: str, reader: str, after: str | None, release: bool, wanted: str = "") -> None:
        """Fetch what is wanted, else what follows `after`, or what waits first. Raises BackendError.

        release: nobody worked on `after`, which is then kept for the reader no longer.
        """
        folder = new_folder(Path(slicer.app.temporaryPath))
        self._run(dataset, folder, reader, [str(folder), after or "", (after or "") if release else "", wanted])
        self._say(tr("Looking for the next case of {dataset}").format(dataset=dataset))

    def list(self, dataset: str, reader: str) -> None:
        """Fetch the list alone. Raises BackendError."""
        self._run(dataset, new_folder(Path(slicer.app.temporaryPath)), reader, [])
        self._say(tr("Reading the list of {dataset}").format(dataset=dataset))

    def _run(self, dataset: str, folder: Path, reader: str, words: Sequence[str]) -> None:
        command = [python(), "-m", "SpineLandmarksLib.web.next_study", dataset, reader, *words]
        self._asked = (dataset, folder, self._thread.submit(_answer, command))
        self._enable(False)
        self._timer.start()

    def _enable(self, on: bool) -> None:
        for button in self._buttons:
            button.enabled = on

    def look(self) -> None:
        if self._asked is None or not wait([self._asked[2]], YIELD_S).done:
            return
        (dataset, folder, answer), self._asked = self._asked, None
        self._timer.stop()
        self._enable(True)
        with explained():
            found = answer.result()
            self._list_rows(found["rows"])
            if "key" not in found:
                self._say(tr("{count} cases are in {dataset}.").format(count=len(found["rows"]), dataset=dataset))
            elif found["key"] is None:
                self._say(tr("No case of {dataset} waits for you.").format(dataset=dataset))
            else:
                self._take(_case(dataset, found))
        shutil.rmtree(folder, ignore_errors=True)  # voxels of a patient


def _answer(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        command, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False, **own_group()
    )
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise BackendError(lines[-1] if lines else tr("The next case could not be found, and nothing says why"))
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _case(dataset: str, found: dict[str, Any]) -> Case:
    volume = slicer.util.addVolumeFromArray(np.load(found["voxels"]), name=found["key"])
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.array(found["ras_from_ijk"])))
    volume.SetAttribute(ORIGIN, json.dumps(asdict(Origin(dataset, found["key"], found["image"]))))
    landmarks = from_fields(Fields.of(found["landmarks"], found["key"])) if found["landmarks"] else None
    progress = tr("{key}: {done} cases are done, {left} wait for you.").format(
        key=found["key"], done=found["done"], left=found["to_do"]
    )
    return Case(volume, landmarks, found["parent"], " ".join([progress, *found["notes"]]))
