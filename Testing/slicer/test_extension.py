"""The extension as CMake builds and installs it, its self test out of there, and what the Extensions Index reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MODULES = Path("lib", "Slicer-5.10", "qt-scripted-modules")
#: Those of the Extensions Index whose check takes no others that would fit.
CATEGORIES = ("IGT", "Quantification", "Registration", "Segmentation", "VisSimTools")
#: Localizes, corrects, undoes, cancels, saves and loads, out of the installed folder and from nowhere else.
USE_INSTALLED = """
import sys; sys.path.insert(0, {here!r})
from pathlib import Path
from standins import install; install()
from standins.application import ScriptedModule
module = ScriptedModule(Path({installed!r}, "SpineLandmarks.py"))
module.widgetRepresentation()
module.python.SpineLandmarksTest().runTest()
module.widget.cleanup()
ours = [part.__file__ for name, part in sys.modules.items() if name.startswith("SpineLandmarks")]
print(len(ours), [file for file in ours if not file.startswith({installed!r})])
"""


def run(*command: str, **options: Any) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the extension was configured and built, with a stand-in for Slicer's own CMake files."""
    return build(ROOT, tmp_path_factory.mktemp("extension"))


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `built`, inside the sources of an application, which has folders of the same names."""
    application = tmp_path_factory.mktemp("application")
    for name in ("SpineLandmarksLib", "Resources"):
        (application / name).mkdir()
        (application / name / "of_the_application.py").touch()
    (application / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.16.3...3.28)\nproject(Application)\nadd_subdirectory({ROOT} extension)\n"
    )
    return build(application, application)


def build(source: Path, folder: Path) -> Path:
    tools = str(Path(sys.executable).parent)
    cmake, ninja = (shutil.which(name, path=tools) or shutil.which(name) for name in ("cmake", "ninja"))
    if not (cmake and ninja):
        pytest.skip("needs CMake and Ninja, which the extra `test` installs")
    run(
        cmake,
        "-S",
        str(source),
        "-B",
        str(folder / "build"),
        "-G",
        "Ninja",
        f"-DSlicer_DIR={HERE / 'cmake'}",
        f"-DCMAKE_MAKE_PROGRAM={ninja}",
        "-DBUILD_TESTING=ON",
    )
    run(cmake, "--build", str(folder / "build"))
    run(cmake, "--install", str(folder / "build"), "--prefix", str(folder / "installed"))
    return folder


def files_below(folder: Path) -> set[Path]:
    return {
        file.relative_to(folder) for file in folder.rglob("*") if file.is_file() and "__pycache__" not in file.parts
    }


def expected_files() -> set[Path]:
    expected = {Path("SpineLandmarks.py")}
    for folder in (ROOT / "SpineLandmarks" / "SpineLandmarksModule", ROOT / "SpineLandmarksLib", ROOT / "Resources"):
        expected |= {Path(folder.name) / file for file in files_below(folder)}
    return expected


def test_the_installed_tree_has_the_module_the_whole_library_and_the_resources(built: Path) -> None:
    assert files_below(built / "installed" / MODULES) == expected_files()
    assert files_below(built / "build" / MODULES) == expected_files()  # what runs from the build tree is the same


def test_bundled_into_an_application_it_takes_its_own_folders_and_not_the_application_s(bundled: Path) -> None:
    assert files_below(bundled / "installed" / MODULES) == expected_files()


def test_the_factory_runs_the_self_test(built: Path) -> None:
    assert (built / "build" / "unittests.txt").read_text() == "SpineLandmarks.py\n"


def test_what_is_installed_runs_by_itself_and_passes_the_self_test_that_it_ships(
    slicer_package: Any, built: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "Slicer" / "qt-scripted-modules"  # as unpacked on another computer
    shutil.copytree(built / "installed" / MODULES, moved)
    code = USE_INSTALLED.format(here=str(HERE), installed=str(moved))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    answer = run(sys.executable, "-c", code, cwd=tmp_path, env=environment).splitlines()
    count, strangers = answer[-1].split(" ", 1)
    assert int(count) > 30
    assert strangers == "[]"


def test_the_description_of_the_extension_has_all_that_the_index_asks_for(built: Path) -> None:
    told = dict(line.split("=", 1) for line in (built / "build" / "description.txt").read_text().splitlines())
    assert (told["DEPENDS"], told["RECOMMENDS"]) == ("NA", "PyTorch")  # offered by the panel, not depended on
    assert told["DESCRIPTION"].endswith("Research use only, Apache-2.0.")
    sizes = {}
    for name in ("ICONURL", "SCREENSHOTURLS"):
        with Image.open(ROOT / told[name].split("/main/", 1)[1]) as picture:
            sizes[name], kind = picture.size, picture.format
        assert kind == "PNG"
    assert sizes["ICONURL"] == (128, 128)
    assert (ROOT / "LICENSE.txt").is_file()


def test_the_catalog_entry_has_the_fields_of_its_schema_and_the_category_of_the_extension(built: Path) -> None:
    entry = json.loads((ROOT / "SpineLandmarks.json").read_text())
    assert set(entry) == {
        "$schema",
        "build_dependencies",
        "build_subdirectory",
        "category",
        "scm_revision",
        "scm_url",
        "tier",
    }
    assert entry["category"] in CATEGORIES
    told = (built / "build" / "description.txt").read_text()
    assert f"CATEGORY={entry['category']}\n" in told
    assert f"HOMEPAGE={entry['scm_url'].removesuffix('.git')}\n" in told


def test_the_module_file_stays_a_thin_layer() -> None:
    assert len((ROOT / "SpineLandmarks" / "SpineLandmarks.py").read_text().splitlines()) <= 200


def test_the_library_knows_nothing_of_slicer() -> None:
    """Only the browser's views, which run in a process of their own, are made of its parts."""
    wrong = re.compile(r"^\s*(?:import|from) (?:qt|ctk|vtk|slicer|trame_slicer|vtkmodules)\b", re.MULTILINE)
    files = [file for file in (ROOT / "SpineLandmarksLib").rglob("*.py") if "web" not in file.parts]
    assert len(files) > 50
    assert [file.name for file in files if wrong.search(file.read_text(encoding="utf-8"))] == []
