"""A reviewer that runs as people start it, a real browser, and pictures of each state.

SPINE_LANDMARKS_SCREENSHOTS names a folder for the pictures; without it they go where the test's other files go.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.session import shift_names
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.find import Source
from SpineLandmarksLib.store.folder import init_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import complete

ROOT = Path(__file__).resolve().parents[2]
#: What a browser needs where it runs as root, without a screen and without asking the network for anything.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

#: How long an event is waited for before it is given up: long, for the machine may be busy. Nothing waits by the clock.
PATIENCE_S = 180.0

START = "import sys; from SpineLandmarksLib.cli.main import main; sys.exit(main(sys.argv[1:]))"


class Reviewer:
    """A reviewer in a process of its own. address: what it told to open; temporary: where its demo lies.

    before: code that the process runs first.
    """

    def __init__(self, temporary: Path, *arguments: str, before: str = "") -> None:
        self.temporary = temporary
        self.log = temporary / "log.txt"
        start = ("-c", f"{before}\n{START}") if before else ("-m", "SpineLandmarksLib")
        command = (sys.executable, *start, "review", *arguments, "--no-browser")
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)}
        environment.pop("DISPLAY", None)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        self.address = self._await_address()

    def _await_address(self) -> str:
        limit = time.monotonic() + PATIENCE_S
        while time.monotonic() < limit and self.process.poll() is None:
            told = re.search(r"Open (\S+)\n", self.text)
            if told:
                return told[1]
            time.sleep(0.1)
        raise AssertionError(f"the reviewer did not start:\n{self.text}")

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def folder(self) -> Path:
        """Of the demo's data set."""
        return next(self.temporary.glob("spine-landmarks-demo-*"))

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


@pytest.fixture(scope="session")
def start_reviewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Reviewer]]:
    started = []

    def start(*arguments: str, before: str = "") -> Reviewer:
        started.append(Reviewer(tmp_path_factory.mktemp("reviewer"), *arguments, before=before))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture(scope="session")
def the_demo(start_reviewer: Callable[..., Reviewer]) -> Reviewer:
    return start_reviewer("--demo")


@pytest.fixture(scope="session")
def make_dataset(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a data set of single slices, volumes and DICOM series, each with the landmarks that a model found there.

    new: those that no model has seen. url: of a database. corners: whether a model found those of the endplates, too.
    shifted: those on which the model has named everything a level too low. told: what else it says.
    """

    def make(
        slices: Sequence[str] = (),
        volumes: Sequence[str] = (),
        new: Sequence[str] = (),
        url: str | None = None,
        series: Sequence[str] = (),
        corners: bool = False,
        shifted: Sequence[str] = (),
        **told: Any,
    ) -> Path:
        folder = tmp_path_factory.mktemp("data") / "dataset"
        kinds = {**dict.fromkeys(slices, "slice"), **dict.fromkeys(volumes, "volume"), **dict.fromkeys(series, "dicom")}
        with init_dataset(folder, url) as store:
            for seed, (key, kind) in enumerate(kinds.items(), start=11):
                phantom = add_phantom(store, key, seed, kind)
                if key not in new:
                    said = {"status": "predicted", "confidence": 0.95, "radius95_mm": 1.5, "needs_review": False}
                    marks = [replace(one, **said) for one in phantom.landmarks.corners if corners]
                    find(store, key, phantom, int(key in shifted), corners=tuple(marks), **told)
        return folder

    return make


def add_phantom(store: Store, key: str, seed: int, kind: str) -> Phantom:
    phantom = make_phantom(seed, matrix=(200, 160), pixel_mm=1.5, slices=5)
    if kind == "volume":
        path, how = write_nifti(phantom, store.folder / f"{key}.nii"), Adding()
    elif kind == "dicom":
        path, how = write_dicom_series(phantom, store.folder / key), Adding()
    else:
        path, how = store.folder / f"{key}.png", Adding(1.5)
        Image.fromarray((phantom.voxels[2] / phantom.voxels.max() * 255).astype(np.uint8)).save(path)
    add_source(store, Source(path, key, key), [], how)
    return phantom


def find(store: Store, key: str, phantom: Phantom, levels: int = 0, **told: Any) -> None:
    """What a model says that has found everything. levels: by which its names are too low."""
    study, marks = store.study(key), tuple(phantom.landmarks)
    marks = tuple(
        replace(mark, status="predicted", position_ras_mm=None, confidence=0.95, needs_review=False)
        if not mark.is_absent
        else mark
        for mark in (shift_names(marks, levels) if levels else marks)
    )
    found = LandmarkSet(marks, slice_index=study.slice_index, bundle="model@1", input=study.image, **told)
    store.save(Revision(key, "model@1", utc_now(), complete(found, study.matrix), study.reference))


class Browser:
    """Opens pages on which every event is waited for with patience. started: playwright's."""

    def __init__(self, started: Any) -> None:
        self.started = started

    def new_context(self, **options: Any) -> Any:
        context = self.started.new_context(**options)
        context.set_default_timeout(1000 * PATIENCE_S)
        return context

    def new_page(self, **options: Any) -> Any:
        return self.new_context(**options).new_page()


@pytest.fixture(scope="module")  # as long as it runs, so does its event loop, and no other can
def browser() -> Iterator[Browser]:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=1000 * PATIENCE_S)
    if CHROMIUM is None:
        pytest.fail("Expected a chromium to test the page with; found none. Install it: apt-get install chromium")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield Browser(started)
        started.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the pictures."""
    named = os.environ.get("SPINE_LANDMARKS_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
