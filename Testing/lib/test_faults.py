"""What a disk, another process or odd voxels can do to a command: one clear line, and files that are whole.

The share of the failing disk here is small; `python -m research.faults` fails every change of every command.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from research.faults.__main__ import broken, contents
from research.faults.commands import COMMANDS, a_model_that_knows, phantom
from SpineLandmarksLib import read_json
from SpineLandmarksLib.annotation import revision
from SpineLandmarksLib.batch.ledger import FILE_NAME
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.store.folder import open_dataset

ROOT = Path(__file__).resolve().parents[2]
#: Of the changes of a command, every so many-th fails.
EVERY, RARELY = 7, 19
#: A disk that is not waited for, where there is one.
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
SYSTEM = pytest.mark.skipif(sys.platform != "linux" or not shutil.which("cc"), reason="needs Linux and a C compiler")


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of each command on a disk that fills."""
    return tried(tmp_path_factory, "--fault", "full", "--every", str(EVERY))


def tried(tmp_path_factory: pytest.TempPathFactory, *options: str) -> dict[str, Any]:
    """What `research.faults` says of each command."""
    room = MEMORY or str(tmp_path_factory.mktemp("faults"))
    command = [sys.executable, "-m", "research.faults", *options]
    environment = {**os.environ, "TMPDIR": room, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr[-2000:]
    return {found["command"]: found for found in map(json.loads, done.stdout.splitlines())}


@SYSTEM
@pytest.mark.parametrize("name", COMMANDS)
def test_a_disk_that_fills_at_any_write_costs_one_line_and_no_file(trials: dict[str, Any], name: str) -> None:
    assert trials[name]["tried"] >= 1
    assert trials[name]["problems"] == []


@SYSTEM
def test_a_round_of_learning_that_is_killed_at_any_write_goes_on_to_the_same_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    found = tried(tmp_path_factory, "--only", "retrain", "--fault", "killed", "--every", str(RARELY))
    assert found["retrain"]["tried"] >= 4
    assert found["retrain"]["problems"] == []


@pytest.fixture
def a_room() -> Iterator[Path]:
    """A folder that any user may enter; what pytest makes is one user's own."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


# Rights


@pytest.fixture
def an_ordinary_user() -> Callable[..., Any]:
    """Calls a function without the rights of root, for whom nothing is read-only."""

    def call(function: Callable[[], int]) -> int:
        is_root = os.geteuid() == 0
        if is_root:
            os.seteuid(65534)
        try:
            return function()
        finally:
            if is_root:
                os.seteuid(0)

    return call


WRITES = ("predict", "dataset add", "dataset import", "dataset export", "dataset split", "models promote")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
@pytest.mark.parametrize("name", WRITES)
def test_a_folder_that_may_only_be_read_is_told_in_one_line(
    name: str, a_room: Path, an_ordinary_user: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    command = COMMANDS[name]
    with a_model_that_knows():
        warm = a_room / "warm"
        warm.mkdir()
        command.make(warm)
        command.run(warm)  # what it imports, an ordinary user may not be able to read here
        shutil.rmtree(warm)
        command.make(a_room)
        before = contents(a_room)
        for folder, _, files in os.walk(a_room):
            os.chmod(folder, 0o555)
            for file in files:
                os.chmod(Path(folder) / file, 0o444)
        capsys.readouterr()
        status = an_ordinary_user(lambda: command.run(a_room))
    said = capsys.readouterr().err.splitlines()
    assert status in (1, 2)
    assert 1 <= len(said) <= 2  # a line for each of two studies
    assert all(line.startswith("spine-landmarks: ") for line in said)
    assert contents(a_room) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other rights")
def test_a_study_that_may_not_be_read_is_told_and_the_others_are_done(
    a_room: Path, an_ordinary_user: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with a_model_that_knows():
        COMMANDS["predict tree"].make(a_room)
        (a_room / "out").mkdir()
        os.chmod(a_room / "out", 0o777)
        COMMANDS["predict tree"].run(a_room)
        shutil.rmtree(a_room / "out")
        os.chmod(a_room / "in" / "one" / "t2.nii", 0o000)
        status = an_ordinary_user(lambda: COMMANDS["predict tree"].run(a_room))
    (line,) = capsys.readouterr().err.splitlines()
    assert status == 1
    assert "one/t2.nii: " in line
    assert "denies reading" in line
    assert (a_room / "out" / "two_t2.json").is_file()


# Files that go


class _Remover:
    """Takes files away when another one is opened: between being listed and being read."""

    def __init__(self) -> None:
        self.trigger, self.victims = "", list[Path]()
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.trigger and event == "open" and str(arguments[0]).endswith(self.trigger):
            self.trigger = ""
            for victim in self.victims:
                victim.unlink()


@pytest.fixture(scope="session")
def a_remover() -> _Remover:
    return _Remover()


def test_slices_that_vanish_while_a_folder_is_read_are_told(
    a_room: Path, a_remover: _Remover, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMANDS["predict"].make(a_room)
    files = sorted(path for path in (a_room / "in").rglob("*") if path.is_file())
    a_remover.victims, a_remover.trigger = files[3:], files[0].name
    with a_model_that_knows():
        status = COMMANDS["predict"].run(a_room)
    said = capsys.readouterr()
    assert not a_remover.trigger  # it happened
    assert len(said.err.splitlines()) <= 1
    if status == 0:
        assert read_json(a_room / "out" / "in.json").needs_review or "note" in said.out or "warning" in said.out


@pytest.mark.parametrize("name", ["predict tree", "dataset add"])
def test_a_study_that_vanishes_before_it_is_read_is_told_and_the_others_are_done(
    name: str, a_room: Path, a_remover: _Remover, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMANDS[name].make(a_room)
    a_remover.victims, a_remover.trigger = [a_room / "in" / "two" / "t2.nii"], "one/t2.nii"
    capsys.readouterr()
    with a_model_that_knows():
        status = COMMANDS[name].run(a_room)
    lines = capsys.readouterr().err.splitlines()
    assert status == 1
    assert len(lines) == 1
    assert "two" in lines[0]
    assert sorted(file.name for file in a_room.rglob("one_t2*"))


# Two at once, clocks, memory, odd voxels

TWO = """
import sys
from pathlib import Path
from research.faults.commands import COMMANDS, a_model_that_knows
with a_model_that_knows():
    sys.stdin.readline()
    sys.exit(COMMANDS["predict tree"].run(Path(sys.argv[1])))
"""


def test_two_runs_into_one_folder_at_once_leave_whole_files_and_one_summary(a_room: Path) -> None:
    COMMANDS["predict tree"].make(a_room)
    command = [sys.executable, "-c", TWO, str(a_room)]
    both = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    for process in both:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=120) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert [errors for _, errors in said] == [b"", b""]
    assert list(broken(a_room)) == []
    assert contents(a_room)[f"out/{FILE_NAME}"] == {"one_t2": "done", "two_t2": "done"}
    summary = json.loads((a_room / "out" / "summary.json").read_text())
    assert [row["study"] for row in summary["rows"]] == ["one_t2", "two_t2"]


@pytest.mark.parametrize("jump_s", [-400 * 86400.0, 400 * 86400.0])
def test_a_clock_that_jumps_changes_no_order_and_loses_nothing(
    jump_s: float, a_room: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    COMMANDS["dataset sign-off"].make(a_room)
    real, shift = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + shift[0])
    monkeypatch.setattr(revision, "datetime", _Shifted(shift))
    shift[0] = jump_s
    assert main(["dataset", "import", str(a_room / "data"), str(a_room / "marks"), "--author", "Bob"]) == 0
    assert COMMANDS["dataset sign-off"].run(a_room) == 0
    with open_dataset(a_room / "data") as store:
        history = store.history("one_t2")
        assert [one.author for one in history][-1] == "Bob"
        assert [one.id for one in store.signed_off()] == [history[-1].id]
        assert [one.parent for one in history[1:]] == [one.id for one in history[:-1]]
    assert abs((history[-1].time - history[0].time).total_seconds()) > abs(jump_s) / 2  # the clock did jump


class _Shifted:
    def __init__(self, shift: list[float]) -> None:
        self._shift = shift

    def now(self, zone: Any) -> datetime:
        return datetime.now(zone) + timedelta(seconds=self._shift[0])

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not limit a process's memory")
@pytest.mark.parametrize("megabytes", [190, 220])
def test_too_little_memory_for_the_runtime_or_the_model_is_one_line(megabytes: int, a_room: Path) -> None:
    COMMANDS["predict tree"].make(a_room)
    words = f"ulimit -v {megabytes * 1024}; exec {sys.executable} -m SpineLandmarksLib predict {a_room}/in/one/t2.nii"
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = ["bash", "-c", f"{words} --output {a_room}/out"]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | threads, capture_output=True, text=True)
    assert len(done.stderr.splitlines()) == (done.returncode != 0), done.stderr
    assert list(broken(a_room)) == []


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_no_numbers_are_told_and_are_no_tissue(
    odd: float, a_room: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voxels = phantom().voxels.copy()
    voxels[:, :6] = odd
    write_nifti(replace(phantom(), voxels=voxels), a_room / "odd.nii")
    with a_model_that_knows():
        assert main(["predict", str(a_room / "odd.nii"), "--output", str(a_room / "out")]) == 0
        write_nifti(replace(phantom(), voxels=np.full_like(voxels, odd)), a_room / "nothing.nii")
        assert main(["predict", str(a_room / "nothing.nii"), "--output", str(a_room / "out")]) == 2
    found = read_json(a_room / "out" / "odd.json")
    assert any("finite" in text or "NaN" in text for text in found.warnings)
    assert all(np.isfinite(mark.position_ras_mm).all() for mark in found if mark.position_ras_mm)
    assert len(capsys.readouterr().err.splitlines()) == 1
