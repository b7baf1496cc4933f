"""What several test modules stand on: phantoms, a small bundle, a backend that knows the answer, real data."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from SpineLandmarksLib.backends import Peaks
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.files import write_nifti, write_phantom_dataset
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.transforms import Preparation, prepare_slice
from SpineLandmarksLib.uncertainty import Calibration

ROOT = Path(__file__).resolve().parent
#: The browser reviewer has an environment of its own, .venv-web, in which `make test` runs these too.
collect_ignore = [] if find_spec("trame_slicer") else ["Testing/web"]
SHIPPED = ROOT / "Resources" / "Models" / "lumbar11"
PEAKS = 6


#: A shell starts background jobs with Ctrl-C ignored, and what tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `dataset ...`, checks the status, and returns what was printed."""
    from SpineLandmarksLib.cli.main import main

    def command(*arguments: object, status: int = 0) -> str:
        capsys.readouterr()
        assert main(["dataset", *map(str, arguments)]) == status, capsys.readouterr()
        said = capsys.readouterr()
        return said.out + said.err

    return command


def pytest_report_header() -> str | None:
    return "Testing/web is left out here: .venv-web/bin/python -m pytest Testing/web" if collect_ignore else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real studies, which is beside the project and never in it."""
    folder = Path(os.environ.get("SPINE_LANDMARKS_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real studies are not here ({folder}); SPINE_LANDMARKS_DATA says where they are")
    return folder


@pytest.fixture(scope="session")
def the_shipped_localizer() -> Localizer:
    return Localizer.open(SHIPPED)


@pytest.fixture(scope="session")
def a_phantom() -> Phantom:
    """Oblique, 7 slices of 96 x 80 pixels of 3.1 mm, 4.4 mm apart."""
    return make_phantom(11, matrix=(96, 80), pixel_mm=3.1, slices=7, slice_mm=4.4)


@pytest.fixture(scope="session")
def a_phantom_study(a_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_nifti(a_phantom, tmp_path_factory.mktemp("study") / "phantom.nii.gz")


@pytest.fixture(scope="session")
def a_picture(a_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The phantom's middle slice as PNG."""
    middle = a_phantom.voxels[3]
    path = tmp_path_factory.mktemp("picture") / "slice.png"
    Image.fromarray((middle / middle.max() * 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def a_phantom_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four slices, a patient each."""
    return write_phantom_dataset(tmp_path_factory.mktemp("phantoms"), 4, 0)


class Oracle:
    """A backend that answers with given points, whatever the image. points_px: (L, 2) input pixels.

    log_mass: (N, L) of the N slices in the order in which they come; 0 for all when left out.
    """

    name, batch = "oracle", 4

    def __init__(self, points_px: NDArray[np.float64], log_mass: NDArray[np.float64] | None = None) -> None:
        self.points_px, self.log_mass, self.seen = points_px, log_mass, 0

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        batch, landmarks = len(images), len(self.points_px)
        xy = np.zeros((batch, landmarks, PEAKS, 2), dtype=np.float32)
        xy[:, :, 0] = self.points_px
        mass = np.full((batch, landmarks, PEAKS), -25.0, dtype=np.float32)
        rows = slice(self.seen, self.seen + batch)
        mass[:, :, 0] = 0.0 if self.log_mass is None else self.log_mass[rows]
        self.seen += batch
        covariance = np.tile(np.float32([1.0, 1.0, 0.0]), (batch, landmarks, PEAKS, 1))
        return Peaks(xy, mass, covariance)


@pytest.fixture(scope="session")
def truth_xy(a_phantom: Phantom) -> NDArray[np.float64]:
    """(L, 2) native pixels of the landmarks of `a_phantom`."""
    return np.array([a_phantom.landmarks[name].pixel_xy for name in LUMBAR11], dtype=np.float64)


@pytest.fixture(scope="session")
def oracle() -> type[Oracle]:
    """The class, for tests that give their own answers."""
    return Oracle


@pytest.fixture
def an_oracle(a_phantom: Phantom, truth_xy: NDArray[np.float64]) -> Oracle:
    """Knows where the landmarks of `a_phantom` are in the input of `a_bundle_in_memory`."""
    _, pixel_from_slice = prepare_slice(a_phantom.voxels[0], (3.1, 3.1), Preparation(multiple=8))
    return Oracle(apply(pixel_from_slice, truth_xy))


@pytest.fixture(scope="session")
def a_bundle_in_memory(truth_xy: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle without a network: radius factor 2, temperature 1, the chain prior of `a_phantom`."""
    return Bundle(
        folder=tmp_path_factory.mktemp("nowhere"),
        name="memory",
        version="1",
        landmarks=LUMBAR11,
        preparation=Preparation(multiple=8),
        architecture={},
        prior=ChainPrior.fit(truth_xy[None] * 3.1),
        calibration=Calibration(1.0, (2.0,) * 11),
    )


@pytest.fixture
def a_localizer(a_bundle_in_memory: Bundle, an_oracle: Oracle) -> Localizer:
    return Localizer(a_bundle_in_memory, an_oracle)


@pytest.fixture(scope="session")
def a_small_bundle(a_phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A real bundle on disk around a tiny U-Net that has learned nothing; exported once, which takes seconds."""
    torch = pytest.importorskip("torch", reason="making a bundle needs torch, the extra `train`")

    from SpineLandmarksLib.annotated_slices import load_annotations
    from SpineLandmarksLib.model import Architecture, Detector
    from SpineLandmarksLib.training.build import build_bundle
    from SpineLandmarksLib.training.recipe import Recipe

    network = {"network": "unet", "filters": [8, 16, 16], "stride": 2}
    recipe = Recipe("small", Architecture(heatmap=network, stride=2), Preparation(multiple=8))
    torch.manual_seed(0)
    detector = Detector(recipe.architecture, 11)
    for name, value in detector.named_parameters():
        if "output_block" in name:  # sharper peaks than random weights make, so that they are worth comparing
            value.data *= 20
    annotations = load_annotations([a_phantom_dataset], LUMBAR11)
    return build_bundle(tmp_path_factory.mktemp("bundles") / "small", detector, recipe, LUMBAR11, annotations)


#: Is imported by every Python that has it on its path, before anything else.
WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        with open(os.environ["WATCHED"], "a") as file:
            print(event, arguments, file=file)

sys.addaudithook(watch)
"""


@pytest.fixture
def watched(tmp_path: Path) -> Callable[..., tuple[set[str], str]]:
    """Runs Python with a home of its own; returns the files written there, and the sockets and names it asked for.

    Python reports those itself; what native code queues for sending, it writes into the home or the temporary folder.
    """
    home, hook, told = tmp_path / "home", tmp_path / "hook", tmp_path / "told"
    home.mkdir()
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(WATCH)
    told.touch()
    switches = ("XDG_", "ORT_", "RAY_", "DO_NOT_TRACK", "MPLCONFIGDIR", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(switches)}
    mine = {
        "HOME": home,
        "TMPDIR": home / "tmp",
        "PYTHONPATH": f"{hook}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": 1,
        "WATCHED": told,
    }
    (home / "tmp").mkdir()

    def run(*arguments: object) -> tuple[set[str], str]:
        environment = {**kept, **{name: str(value) for name, value in mine.items()}}
        subprocess.run([sys.executable, *map(str, arguments)], env=environment, check=True, cwd=home)
        return {str(file.relative_to(home)) for file in home.rglob("*") if file.is_file()}, told.read_text()

    return run
