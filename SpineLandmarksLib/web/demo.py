"""Something to try the reviewer on: a data set of generated studies in a temporary folder."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future
from pathlib import Path

from SpineLandmarksLib.phantom.phantom import Contrast, make_phantom
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.find import Source
from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.worker.client import environment

#: Seeds and contrasts of the studies, in the order in which they are made.
STUDIES: tuple[tuple[int, Contrast], ...] = ((8, "T2"), (21, "T1"), (33, "STIR"))
SLICES, MATRIX, PIXEL_MM = 7, (320, 320), 0.95


class Demo:
    """Makes the data set at once and its studies in a process of their own, so that nobody waits for all of them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="spine-landmarks-demo-"))
        init_dataset(self.folder).close()
        command = (sys.executable, "-c", f"from {__name__} import fill; fill({str(self.folder)!r})")
        self._process = subprocess.Popen(command, env=environment(), stdin=subprocess.DEVNULL)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def as_made() -> Future[list[str]]:
    """The order in which the studies are made, for the review."""
    order: Future[list[str]] = Future()
    order.set_result([f"demo-{number}" for number in range(1, len(STUDIES) + 1)])
    return order


def fill(folder: str) -> None:
    """Add the studies, one after the other."""
    from SpineLandmarksLib.phantom.files import write_nifti

    volumes = Path(folder) / "volumes"
    volumes.mkdir(exist_ok=True)
    store = open_dataset(Path(folder))
    for number, (seed, contrast) in enumerate(STUDIES, start=1):
        phantom = make_phantom(seed, contrast=contrast, slices=SLICES, matrix=MATRIX, pixel_mm=PIXEL_MM)
        key = f"demo-{number}"
        path = write_nifti(phantom, volumes / f"{key}.nii")
        add_source(store, Source(path, key, key), [], Adding())
    store.close()
