"""What is shipped: every package and data file is in the wheel, the models are found, and light modules stay light."""

from __future__ import annotations

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib import __version__, bundle
from SpineLandmarksLib.errors import BundleError

tomllib = pytest.importorskip("tomllib", reason="reading pyproject.toml needs Python 3.11")

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = ROOT / "SpineLandmarksLib"


@pytest.fixture
def the_setuptools_settings() -> dict[str, Any]:
    settings: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    return settings


def test_every_folder_with_code_is_a_listed_package(the_setuptools_settings: dict[str, Any]) -> None:
    folders = {file.parent for file in LIBRARY.rglob("*.py")}
    found = {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert set(the_setuptools_settings["packages"]) == found | {"SpineLandmarksLib.Resources"}


def test_every_data_file_of_the_library_goes_into_the_wheel(the_setuptools_settings: dict[str, Any]) -> None:
    shipped = {
        file
        for package, patterns in the_setuptools_settings["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    data = {f for f in LIBRARY.rglob("*") if f.is_file() and f.suffix not in {".py", ".pyc"}}
    assert data - shipped == set()


def test_weights_for_few_stay_out_of_the_wheel(the_setuptools_settings: dict[str, Any]) -> None:
    (pattern,) = the_setuptools_settings["exclude-package-data"]["SpineLandmarksLib.Resources"]
    left_out = {file.relative_to(ROOT / "Resources").parts[1] for file in (ROOT / "Resources").glob(f"{pattern}/*")}
    assert left_out == {"lumbar11-open"}


def test_the_models_are_found_beside_the_library_in_the_source_tree() -> None:
    assert bundle.models_folder() == ROOT / "Resources" / "Models"


def test_the_models_inside_an_installed_library_win_over_a_stranger_s_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LIBRARY", tmp_path / "site-packages" / "SpineLandmarksLib")
    inside = tmp_path / "site-packages" / "SpineLandmarksLib" / "Resources" / "Models"
    for folder in (inside, tmp_path / "site-packages" / "Resources" / "Models"):
        folder.mkdir(parents=True)
    assert bundle.models_folder() == inside


def test_an_installation_without_models_says_where_they_were_sought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "LIBRARY", tmp_path / "SpineLandmarksLib")
    with pytest.raises(BundleError, match=r"SpineLandmarksLib/Resources/Models or .*Resources/Models; got neither"):
        bundle.models_folder()


def test_importing_what_prediction_needs_loads_neither_torch_nor_any_reader() -> None:
    light = [
        "predict",
        "backends",
        "bundle",
        "chain",
        "transforms",
        "uncertainty",
        "settings",
        "splits",
        "annotated_slices",
    ]
    files = [LIBRARY / f"{name}.py" for name in light]
    folders = ("annotation", "batch", "cli", "imaging", "formats", "pacs", "worker")
    files += [file for folder in folders for file in LIBRARY.glob(f"{folder}/[!_]*.py")]
    modules = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    heavy = ["torch", "monai", "matplotlib", "scipy", "SimpleITK", "nibabel", "pydicom", "PIL", "onnxruntime", "ray"]
    heavy += ["highdicom", "pynetdicom", "dicomweb_client", "requests"]
    code = f"import sys, {', '.join(modules)}; print(*[name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_a_wheel_has_less_than_20_mb(the_setuptools_settings: dict[str, Any]) -> None:
    (pattern,) = the_setuptools_settings["exclude-package-data"]["SpineLandmarksLib.Resources"]
    left_out = set((ROOT / "Resources").glob(f"{pattern}/*"))
    shipped = [file for folder in (LIBRARY, ROOT / "Resources") for file in folder.rglob("*") if file.is_file()]
    inside = [file for file in shipped if file not in left_out and file.suffix != ".pyc"]
    assert sum(len(zlib.compress(file.read_bytes())) for file in inside) < 20e6


def test_a_tagged_commit_bears_the_version_of_the_code() -> None:
    git = ["git", "-C", str(ROOT), "tag", "--points-at", "HEAD"]
    tags = subprocess.run(git, capture_output=True, text=True, check=False).stdout.split()
    assert set(tags) <= {f"v{__version__}"}


def test_the_version_without_git_is_one_before_that_of_the_code() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools_scm"]
    assert settings["fallback_version"] == f"{__version__}.dev0"
