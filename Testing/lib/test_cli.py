"""The command: what it loads, what it refuses, and how it says so."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib import arguments
from SpineLandmarksLib.arguments import FORMAT_NAMES
from SpineLandmarksLib.backends import BACKENDS, DEVICES
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.cli import bench
from SpineLandmarksLib.cli.main import main, parser
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.predict import Localizer


def modules_after(code: str, *candidates: str) -> list[str]:
    """Which of the candidates a fresh Python has loaded after `code`."""
    tell = f"\nimport sys\nprint('LOADED', *[m for m in {candidates!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + tell], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_help_loads_nothing_heavy() -> None:
    code = "from SpineLandmarksLib.cli.main import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass"
    heavy = ("numpy", "scipy", "torch", "monai", "SimpleITK", "nibabel", "pydicom", "PIL", "onnxruntime", "matplotlib")
    assert modules_after(code, *heavy) == []


def test_predict_on_the_light_backend_loads_neither_torch_nor_monai(
    a_small_bundle: Bundle, a_picture: Path, tmp_path: Path
) -> None:
    arguments = ["predict", str(a_picture), "--output", str(tmp_path), "--bundle", str(a_small_bundle.folder)]
    code = f"from SpineLandmarksLib.cli.main import main\nassert main({arguments!r}) == 0"
    assert modules_after(code, "onnxruntime", "torch", "monai", "matplotlib") == ["onnxruntime"]
    assert (tmp_path / "slice.json").is_file()


def test_the_light_names_in_the_parser_are_the_real_ones() -> None:
    assert set(FORMAT_NAMES) == set(FORMATS)
    predict = next(a for a in parser()._actions if isinstance(a, argparse._SubParsersAction)).choices["predict"]
    choices = {action.dest: action.choices for action in predict._actions}
    assert (choices["backend"], choices["device"]) == (BACKENDS, DEVICES)


@pytest.fixture
def refused(
    a_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """Runs `predict` on a bad input; checks status 2, a single line, no results; returns the line."""
    monkeypatch.setattr(Localizer, "open", staticmethod(lambda *_: a_localizer))

    def run(path: Path, *options: str) -> str:
        status = main(["predict", str(path), "--output", str(tmp_path / "out"), *options])
        said = capsys.readouterr()
        assert (status, said.out) == (2, "")
        assert said.err.count("\n") == 1
        assert said.err.startswith(f"spine-landmarks: {path}: ")
        assert [p.name for p in (tmp_path / "out").iterdir()] == ["failed.json"]
        return said.err

    return run


def test_what_is_no_image_is_refused(refused, tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("hello")
    refused(tmp_path / "notes.png")
    assert "does not exist" in refused(tmp_path / "absent.nii")


def test_an_empty_folder_is_refused(refused, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "DICOM" in refused(tmp_path / "empty")


def test_a_truncated_file_is_refused(refused, a_phantom_study: Path, tmp_path: Path) -> None:
    content = a_phantom_study.read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(content[: len(content) // 2])
    refused(tmp_path / "cut.nii.gz")


def test_an_axial_stack_is_refused(refused, tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).uniform(0, 999, (64, 64, 8)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.8, 0.8, 5.0, 1.0])), tmp_path / "axial.nii")
    assert "axial" in refused(tmp_path / "axial.nii")


def test_a_constant_image_is_refused(refused, tmp_path: Path) -> None:
    Image.fromarray(np.full((64, 64), 7, dtype=np.uint8)).save(tmp_path / "grey.png")
    refused(tmp_path / "grey.png")


def test_a_zip_that_climbs_out_is_refused(refused, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../climbed.dcm", b"x")
    refused(tmp_path / "evil.zip")
    assert not (tmp_path / "climbed.dcm").exists()


@pytest.mark.parametrize("options", [("--slice", "7"), ("--slice=-1",), ("--spacing", "0"), ("--spacing", "nan,1")])
def test_impossible_settings_are_refused(refused, a_phantom_study: Path, options: tuple[str, ...]) -> None:
    assert "Expected" in refused(a_phantom_study, *options)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (["predict", "x", "--output", "o", "--spacing", "wide"], "expected millimetres"),
        (["predict", "x", "--output", "o", "--spacing", "1,2,3"], "expected millimetres"),
        (["predict", "x", "--output", "o", "--slice", "middle"], "expected auto or a slice number"),
        (["predict", "x", "--output", "o", "--format", "json,xml"], "expected formats of json, csv, mrk.json"),
        (["predict", "x", "--output", "o", "--format", ","], "expected formats of"),
        (["predict", "x", "--output", "o", "--backend", "onnx"], "invalid choice"),
        (["train", "--data", "d", "--output", "o", "--steps", "0"], "whole number of 1 or more"),
        (["train", "--data", "d", "--output", "o", "--extra", "d=much"], "expected a folder, or folder=0.3"),
        (["bench", "--runs", "-3"], "whole number of 1 or more"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_option_states_the_rule(options: list[str], rule: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(options)
    assert stopped.value.code == 2
    assert rule in capsys.readouterr().err


def test_one_number_or_two_make_a_spacing() -> None:
    assert (arguments.spacing("0.7"), arguments.spacing("0.7,0.8")) == (0.7, (0.7, 0.8))
    assert (arguments.slice_index("auto"), arguments.slice_index("12")) == (None, 12)
    assert (arguments.extra("phantoms=0.3"), arguments.extra("more")) == ((Path("phantoms"), 0.3), (Path("more"), None))


def test_an_unknown_bundle_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "x.png", "--output", str(tmp_path), "--bundle", "nonsense"]) == 2
    said = capsys.readouterr().err
    assert "got 'nonsense'" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_without_the_training_extra_a_line_says_what_to_install(
    command: str,
    a_small_bundle: Bundle,
    a_phantom_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    needed = {"train": "safetensors", "evaluate": "matplotlib"}[command]
    for name in [name for name in sys.modules if name.partition(".")[0] == needed]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, needed, None)
    data = {
        "train": ["--data", str(a_phantom_dataset)],
        "evaluate": [str(a_phantom_dataset), "--bundle", str(a_small_bundle.folder)],
    }[command]
    assert main([command, *data, "--output", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith(f"spine-landmarks: this command needs {needed}")
    assert "pip install 'spine-landmarks[train]'" in lines[-1]


def raising(error: BaseException):
    def run(_: argparse.Namespace) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (PermissionError(13, "Permission denied", "/x/y"), 2, "Permission denied: /x/y"),
        (OSError("no disk\nat all"), 2, "no disk at all"),
    ],
)
def test_what_stops_a_command_is_one_line(
    error: BaseException, status: int, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "run_bench", raising(error))
    assert main(["bench"]) == status
    said = capsys.readouterr().err
    assert line in said
    assert said.count("\n") == 1


def test_a_fault_of_the_program_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    for fault in (ZeroDivisionError(), ModuleNotFoundError("gone", name="SpineLandmarksLib.gone")):
        monkeypatch.setattr(bench, "run_bench", raising(fault))
        with pytest.raises(type(fault)):
            main(["bench"])


def test_a_terminal_of_few_letters_does_not_stop_a_command(a_picture: Path, tmp_path: Path) -> None:
    code = """
from SpineLandmarksLib.cli import bench
from SpineLandmarksLib.cli.main import main
bench.run_bench = lambda _: print('脊椎') or 0
print(main(['bench']))
"""
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.stdout.split() == ["\\u810a\\u690e", "0"], done.stderr


def test_phantoms_can_be_generated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from SpineLandmarksLib.annotated_slices import load_annotations
    from SpineLandmarksLib.landmarks import LUMBAR11

    assert main(["phantom", "--output", str(tmp_path / "p"), "--count", "1", "--seed", "3"]) == 0
    assert capsys.readouterr().out.endswith(f"Written: {tmp_path / 'p'}\n")
    (row,) = load_annotations([tmp_path / "p"], LUMBAR11)
    assert len(row.points_xy) >= 9
