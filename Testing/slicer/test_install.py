"""What is missing, the button that installs it, and what is said when that fails."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.worker.client import WorkerClient
from standins.bench import Module

ROOT = Path(__file__).resolve().parents[2]


class Installer:
    """`slicer.packaging` as of Slicer 5.12. What is asked for is then there, unless `fault` is raised."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, absent: set[str]) -> None:
        from SpineLandmarksModule.install import NEEDS

        self.absent, self.asked, self.fault = set(absent), [], None
        self.constraints = ""
        self.versions = {}
        version = metadata.version
        monkeypatch.setattr("importlib.metadata.version", lambda name: self.versions.get(name) or version(name))
        find, known = importlib.util.find_spec, {name for needed in NEEDS.values() for name in needed}
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name: find(name) if name not in known else None if name in self.absent else object(),
        )
        packaging = types.ModuleType("slicer.packaging")
        packaging.pip_ensure = self.pip_ensure  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)

    asked: list[str]
    #: Of distributions that are there, where they differ from this Python's.
    versions: dict[str, str]
    fault: Exception | None

    def pip_ensure(
        self, requirements: list[Any], constraints: Path, prompt_install: bool = True, requester: str = ""
    ) -> None:
        if self.fault:
            raise self.fault
        if prompt_install and not slicer_asks(f"{len(requirements)} Python packages need to be installed"):
            raise RuntimeError("User declined package installation")
        self.asked += [f"{each.name}{each.specifier}" for each in requirements]
        self.constraints = Path(constraints).read_text()
        self.absent.clear()
        self.versions.clear()


def slicer_asks(text: str) -> bool:
    import slicer

    return bool(slicer.util.confirmOkCancelDisplay(text))


@pytest.fixture
def without_light(monkeypatch: pytest.MonkeyPatch, slicer: Any) -> Installer:
    return Installer(monkeypatch, {"onnxruntime"})


def test_the_requirements_are_those_of_the_project(slicer: Any) -> None:
    tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")
    from SpineLandmarksModule.install import NEEDS

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(NEEDS["light"].values()) <= set(project["dependencies"])
    assert set(NEEDS["torch"].values()) <= set(project["optional-dependencies"]["train"])


def test_nothing_is_said_of_installing_where_nothing_is_missing(module: Module) -> None:
    assert module.ui.installButton.isHidden()
    assert module.ui.processorLabel.isHidden()


def test_what_is_missing_is_named_and_the_button_installs_it_and_starts_the_worker_anew(
    without_light: Installer, module: Module
) -> None:
    assert not module.ui.installButton.isHidden()
    assert "onnxruntime>=1.17" in module.ui.processorLabel.text
    assert module.clients == []  # nothing is warmed that cannot run
    module.ui.installButton.click()
    assert without_light.asked == ["onnxruntime>=1.17"]
    assert f"numpy=={metadata.version('numpy')}\n" in without_light.constraints
    assert f"SimpleITK=={metadata.version('SimpleITK')}\n" in without_light.constraints
    assert module.ui.installButton.isHidden()
    assert module.dialogs.shown == []


@pytest.mark.parametrize("answer", ["Yes", "No"])
def test_localize_asks_once_and_a_no_ends_quietly(
    without_light: Installer, module: Module, a_volume: Any, answer: str
) -> None:
    from PySide6.QtWidgets import QMessageBox

    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.dialogs.answers = [getattr(QMessageBox, answer)]
    module.ui.localizeButton.click()
    assert [text.partition("?")[0] for text in module.dialogs.shown] == ["onnxruntime>=1.17 is missing. Install it now"]
    assert bool(without_light.asked) == (answer == "Yes")
    assert (module.panel.logic.runner.job is not None) == (answer == "Yes")


@pytest.mark.parametrize("proxy", ["http://ann:s3cret@proxy.clinic:3128", ""])
@pytest.mark.parametrize(
    "fault",
    [
        subprocess.CalledProcessError(1, ["pip"], stderr="proxy"),
        RuntimeError("A non-blocking pip_install is already in progress"),
        OSError(28, "No space left on device"),
    ],
    ids=["network", "busy", "full disk"],
)
def test_an_installation_that_fails_is_told_with_what_to_try(
    without_light: Installer, module: Module, fault: Exception, proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, proxy)
    without_light.fault = fault
    module.ui.installButton.click()
    assert len(module.dialogs.shown) == 1
    assert ("through the proxy proxy.clinic:3128" if proxy else "set HTTPS_PROXY") in module.dialogs.shown[0]
    assert "s3cret" not in module.dialogs.shown[0]
    heading = module.dialogs.shown[0].rpartition("docs/slicer.md, ")[2].rstrip(")")
    assert f"## {heading}\n" in (ROOT / "docs" / "slicer.md").read_text()
    assert not module.ui.installButton.isHidden()


@pytest.mark.parametrize(
    ("version", "is_old"),
    [("1.9.1", True), ("1.16.3", True), ("1.17.0", False), ("1.17.0rc1", False), ("2.0.0+cu121", False)],
)
def test_a_version_that_is_too_old_counts_as_missing(
    slicer: Any, monkeypatch: pytest.MonkeyPatch, version: str, is_old: bool
) -> None:
    from SpineLandmarksModule import install

    Installer(monkeypatch, set()).versions = {"onnxruntime": version}
    assert install.missing("light") == ["onnxruntime>=1.17"] * is_old


def test_a_package_that_another_distribution_brought_is_taken(slicer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from SpineLandmarksModule import install

    def not_found(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    Installer(monkeypatch, set())
    monkeypatch.setattr("importlib.metadata.version", not_found)
    assert install.missing("light") == []


def test_older_slicers_install_with_pip(slicer: Any, module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    installer = Installer(monkeypatch, {"onnxruntime"})
    monkeypatch.setitem(sys.modules, "slicer.packaging", types.ModuleType("slicer.packaging"))  # has no pip_ensure
    called: list[Any] = []

    def pip_install(arguments: list[str]) -> None:
        called.append(arguments)
        installer.absent.clear()

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    module.ui.installButton.click()
    assert called[0][0] == "--constraint"
    assert called[0][2:] == ["onnxruntime>=1.17"]
    assert module.dialogs.shown == []


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel of a package that is empty."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.parametrize("has_wheel", [True, False])
def test_without_internet_the_button_installs_from_a_folder_of_wheels(
    without_light: Installer, module: Module, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_wheel: bool
) -> None:
    """With the two variables that docs/slicer.md names, and the real pip."""
    wheels, site = tmp_path / "wheels", tmp_path / "site-packages"
    wheels.mkdir()
    if has_wheel:
        wheel(wheels, "onnxruntime", "99.0")
    page = (ROOT / "docs" / "slicer.md").read_text()
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", str(wheels))):
        assert f"`{name}=" in page
        monkeypatch.setenv(name, value)

    def pip_ensure(requirements: list[Any], constraints: Path, **_: Any) -> None:
        wanted = [str(each) for each in requirements]
        command = [sys.executable, "-m", "pip", "install", "--target", str(site), "-c", str(constraints), *wanted]
        subprocess.run(command, check=True, capture_output=True)
        without_light.absent.clear()

    monkeypatch.setattr(sys.modules["slicer.packaging"], "pip_ensure", pip_ensure)
    module.ui.installButton.click()
    assert (site / "onnxruntime").is_dir() == has_wheel
    assert module.ui.installButton.isHidden() == has_wheel
    assert all("from a folder" in text for text in module.dialogs.shown)
    assert len(module.dialogs.shown) == (not has_wheel)


def test_an_installation_that_changes_nothing_is_an_error(slicer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from SpineLandmarksModule import install

    installer = Installer(monkeypatch, {"onnxruntime"})
    installer.pip_ensure = lambda *_, **__: None  # type: ignore[method-assign]
    sys.modules["slicer.packaging"].pip_ensure = installer.pip_ensure  # type: ignore[attr-defined]
    with pytest.raises(BackendError, match="still missing"):
        install.install("light", lambda question: True)


#: A worker whose Python has nothing of this. Slicer ships numpy, scipy, SimpleITK, pydicom, pillow and requests.
WITHOUT = """
import sys
class NotThere:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in (
            "nibabel", "pylibjpeg", "libjpeg", "openjpeg", "jpeg_ls", "torch", "monai", "safetensors", "onnx", "yaml",
            "tqdm", "matplotlib", "jinja2", "sqlalchemy", "psycopg", "dicomanonymizer", "gdcm", "trame", "vtk",
        ):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, NotThere())
from SpineLandmarksLib.cli.main import main
main(["serve"])
"""


def test_the_worker_runs_on_what_slicer_ships_and_the_one_package_that_is_installed(
    slicer: Any, a_volume: Any, module: Module
) -> None:
    module.panel.logic.runner.restart()
    module.panel.logic.runner.make_client = lambda model: WorkerClient([sys.executable, "-c", WITHOUT])
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job is None, 60.0)
    assert module.dialogs.shown == []
    assert len(module.rows()) == 11


# The graphics card


def test_the_graphics_card_needs_torch_and_says_where_it_comes_from(
    slicer: Any, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    Installer(monkeypatch, {"torch", "monai", "safetensors"})
    module.ui.processorSelector.currentIndex = 1
    assert "torch>=2.4, monai>=1.4, safetensors>=0.4" in module.ui.processorLabel.text
    module.ui.installButton.click()
    assert "install PyTorch, restart Slicer" in module.dialogs.shown[0]


def test_torch_is_installed_by_the_extension_pytorch_and_the_rest_by_pip(
    slicer: Any, module: Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer = Installer(monkeypatch, {"torch", "monai", "safetensors"})

    class Logic:
        def installTorch(self, askConfirmation: bool, torchVersionRequirement: str) -> None:
            assert askConfirmation
            assert torchVersionRequirement == ">=2.4"
            installer.absent.discard("torch")

    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=Logic))
    module.ui.processorSelector.currentIndex = 1
    module.ui.installButton.click()
    assert installer.asked == ["monai>=1.4", "safetensors>=0.4"]
    assert module.dialogs.shown == []


def test_declining_torch_in_the_extension_pytorch_installs_nothing_and_says_nothing(
    slicer: Any, module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    installer = Installer(monkeypatch, {"torch", "monai", "safetensors"})
    logic = type("Logic", (), {"installTorch": lambda self, **_: None})
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=logic))
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.processorSelector.currentIndex = 1
    for button in (module.ui.installButton, module.ui.localizeButton):
        button.click()
    assert installer.asked == []
    assert module.dialogs.shown == []
    assert module.panel.logic.runner.job is None


def fails(self: Any, askConfirmation: bool, torchVersionRequirement: str) -> None:
    raise ValueError("no network")


def test_a_torch_that_cannot_be_installed_is_told(slicer: Any, module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    Installer(monkeypatch, {"torch"})
    logic: Callable[[], Any] = type("Logic", (), {"installTorch": fails})
    monkeypatch.setitem(sys.modules, "PyTorchUtils", types.SimpleNamespace(PyTorchUtilsLogic=logic))
    module.ui.processorSelector.currentIndex = 1
    module.ui.installButton.click()
    assert "could not install torch: no network" in module.dialogs.shown[0]


def test_the_worker_is_started_for_the_graphics_card(
    module: Module, a_volume: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Installer(monkeypatch, set())
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.ui.processorSelector.currentIndex = 1
    assert "NVIDIA" in module.ui.processorLabel.text
    module.ui.localizeButton.click()
    module.wait_until(lambda: module.panel.logic.runner.job.id)
    assert module.client.model.command()[-4:] == ("--backend", "torch", "--device", "cuda")
