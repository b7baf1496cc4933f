"""Windows and macOS, as far as it can be told from here: names, newlines, consoles, and what only POSIX has."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from SpineLandmarksLib import read_csv, write_csv
from SpineLandmarksLib.annotation.revision import study_key_of
from SpineLandmarksLib.batch.results import stems
from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats import atomic
from SpineLandmarksLib.imaging import unzip
from SpineLandmarksLib.landmarks import LandmarkSet

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*ROOT.glob("SpineLandmarksLib/**/*.py"), *ROOT.glob("SpineLandmarks/**/*.py")])
#: What Windows lacks, of modules and their attributes.
POSIX_ONLY = {
    *("fcntl pwd grp resource termios pty".split()),
    *("os.fork os.killpg os.getuid os.geteuid os.getpgid os.setsid os.wait4 os.sysconf os.mkfifo os.chown".split()),
    *("os.O_DIRECTORY os.O_NOFOLLOW signal.SIGKILL signal.SIGHUP signal.SIGUSR1 signal.pause signal.alarm".split()),
    *("loop.add_signal_handler asyncio.add_signal_handler".split()),
}
#: How a function says that it has thought of it.
BRANCHES = ("sys.platform", "hasattr(", "getattr(", "os.name")


def functions(file: Path) -> Iterator[tuple[ast.AST, str]]:
    """Each outermost function and what is outside of any, with its source."""
    text = file.read_text(encoding="utf-8")
    for node in ast.parse(text).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        yield from ((each, ast.get_source_segment(text, each) or "") for each in inside)


def posix_only(node: ast.AST) -> Iterator[str]:
    for each in ast.walk(node):
        names = [alias.name for alias in each.names] if isinstance(each, ast.Import) else []
        names += (
            [f"{each.value.id}.{each.attr}"]
            if isinstance(each, ast.Attribute) and isinstance(each.value, ast.Name)
            else []
        )
        yield from (name for name in names if name in POSIX_ONLY)


def test_no_function_does_what_only_posix_has_without_its_other_branch() -> None:
    found = [(file.name, name) for file in SOURCES for node, text in functions(file)
             for name in posix_only(node) if not any(branch in text for branch in BRANCHES)]  # fmt: skip
    assert found == []


def is_text(call: ast.Call) -> bool:
    """Whether a call reads or writes text in whatever encoding the system prefers."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if any(keyword.arg == "encoding" for keyword in call.keywords):
        return False
    if name == "read_text" or name == "write_text":
        return len(call.args) < (1 if name == "read_text" else 2)
    modes = [each.value for each in call.args[1:2] if isinstance(each, ast.Constant)]
    return name in ("open", "fdopen") and modes != [] and isinstance(modes[0], str) and "b" not in modes[0]


def test_text_is_read_and_written_in_a_stated_encoding() -> None:
    """UTF-8 is what files hold; a Windows of western Europe would take cp1252."""
    found = [f"{file.name}:{each.lineno}" for file in SOURCES
             for each in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
             if isinstance(each, ast.Call) and is_text(each)]  # fmt: skip
    assert found == []


@pytest.mark.parametrize("name", ["con.nii.gz", "AUX.nii", "nul.png", "Com1.nii", "lpt9.old.nii", "prn"])
def test_no_result_is_named_like_a_device_of_windows(name: str, tmp_path: Path) -> None:
    (stem,) = stems([tmp_path / name])
    device = stem.split(".")[0].casefold()
    assert device not in {"con", "aux", "nul", "prn", "com1", "lpt9"}
    assert name.split(".")[0] in stem


@pytest.mark.parametrize("name", ["con", "NUL.old", "com1", "lpt9.nii"])
def test_no_study_is_named_like_a_device_of_windows(name: str) -> None:
    assert study_key_of(name).split(".")[0].casefold() == f"study-{name.split('.')[0].casefold()}"


def test_names_that_differ_in_case_alone_have_results_of_their_own(tmp_path: Path) -> None:
    found = stems([tmp_path / "Case.nii", tmp_path / "case.nii"])
    assert len({stem.casefold() for stem in found}) == 2


def test_files_with_the_newlines_of_windows_are_read_the_same(a_phantom: object, tmp_path: Path) -> None:
    landmarks: LandmarkSet = a_phantom.landmarks  # type: ignore[attr-defined]
    write_csv(landmarks, tmp_path / "case.csv")
    text = (tmp_path / "case.csv").read_bytes().replace(b"\r\n", b"\n")
    (tmp_path / "dos.csv").write_bytes(b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n"))
    assert read_csv(tmp_path / "dos.csv")["L3"].position_ras_mm == read_csv(tmp_path / "case.csv")["L3"].position_ras_mm


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "ascii"])
def test_a_console_that_cannot_show_a_name_gets_one_line_all_the_same(encoding: str, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "SpineLandmarksLib",
        "predict",
        str(tmp_path / "脊椎 Łuk.nii"),
        "--output",
        str(tmp_path / "out"),
    ]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert done.returncode in (1, 2)
    said = done.stderr.decode(encoding)
    assert "Traceback" not in said
    assert "\\u810a" in said  # the first sign of the name, as an escape


def test_files_of_a_killed_process_go_though_windows_keeps_an_open_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the lock itself cannot be removed while it is held, and stops the removal of the folder that it lies in."""
    monkeypatch.setattr(unzip.tempfile, "gettempdir", lambda: str(tmp_path))
    left = tmp_path / f"{unzip.PREFIX}old"
    (left / "files").mkdir(parents=True)
    (left / "files" / "patient.dcm").write_bytes(b"patient")
    (left / unzip.IN_USE).touch()
    os.utime(left / unzip.IN_USE, (0, 0))
    remove, opened = unzip.shutil.rmtree, []
    monkeypatch.setattr(unzip, "lock_file", opened.append)

    def as_on_windows(folder: Path) -> None:
        if (Path(folder) / unzip.IN_USE).exists() and not opened[0].closed:
            raise PermissionError(13, "the process cannot access the file")
        remove(folder)

    monkeypatch.setattr(unzip.shutil, "rmtree", as_on_windows)
    unzip._sweep()
    assert not left.exists()


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setattr(atomic.sys, "platform", "win32")
    return monkeypatch


@pytest.mark.parametrize("busy", [3, 10**9])
def test_a_file_that_somebody_reads_is_waited_for_and_otherwise_stays(
    busy: int, windows: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    target, tries = tmp_path / "progress.json", []
    target.write_text("old")
    replace = os.replace

    def as_on_windows(source: Path, to: Path) -> None:
        tries.append(to)
        if len(tries) <= busy:
            raise PermissionError(13, "The process cannot access the file")
        replace(source, to)

    windows.setattr(atomic.os, "replace", as_on_windows)
    windows.setattr(atomic, "_BUSY_S", 0.1)
    if busy == 3:
        atomic.write_text_atomically(target, "new")
    else:
        with pytest.raises(OutputError, match=r"cannot access the file\. Nothing was changed"):
            atomic.write_text_atomically(target, "new")
    assert target.read_text() == ("new" if busy == 3 else "old")
    assert list(tmp_path.iterdir()) == [target]


def test_a_path_that_is_too_long_for_windows_is_said_to_be(windows: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its own words would be: no such file."""

    def as_on_windows(path: Path, *how: int) -> int:
        raise FileNotFoundError(2, "The system cannot find the path specified")

    windows.setattr(atomic.os, "open", as_on_windows)
    with pytest.raises(OutputError, match="too long for Windows, which takes 259"):
        atomic.write_text_atomically(tmp_path / ("n" * 120) / ("n" * 120) / "a.json", "new")
    with pytest.raises(OutputError, match="cannot find the path"):
        atomic.write_text_atomically(Path("a.json"), "new")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout of git")
def test_a_checkout_of_windows_leaves_the_bundles_as_they_are(tmp_path: Path) -> None:
    """Git for Windows turns LF into CRLF unless it is told not to, and a bundle states the SHA-256 of its files."""
    names = "Resources/Models/lumbar11"
    git = ["git", "-C", str(ROOT), "-c", "core.autocrlf=true"]
    listed = subprocess.run([*git, "ls-files", "-z", names], capture_output=True, check=True).stdout
    subprocess.run([*git, "checkout-index", "-z", "--stdin", f"--prefix={tmp_path}/"], input=listed, check=True)
    assert load_bundle(tmp_path / names).name == "lumbar11"
