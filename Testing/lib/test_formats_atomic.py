"""A file is there whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import drop_left_over, write_atomically, write_text_atomically

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def an_old_result(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_text("old")
    return path


def only_file_in(path: Path) -> bool:
    return list(path.parent.iterdir()) == [path]


def run_python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_written_file_replaces_the_old_one_and_leaves_nothing_beside_it(an_old_result: Path) -> None:
    write_text_atomically(an_old_result, "näw\n")
    assert an_old_result.read_bytes() == "näw\n".encode()
    assert only_file_in(an_old_result)


def test_an_exception_in_the_block_keeps_the_old_file(an_old_result: Path) -> None:
    def stop_half_way() -> None:
        with write_atomically(an_old_result) as file:
            file.write(b"half")
            raise KeyError("stop")

    with pytest.raises(KeyError):
        stop_half_way()
    assert an_old_result.read_text() == "old"
    assert only_file_in(an_old_result)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fills_at_the_end_keeps_the_old_file(
    an_old_result: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OutputError, match=r"result\.json: No space left on device\. Nothing was changed"):
        write_text_atomically(an_old_result, "new")
    assert an_old_result.read_text() == "old"
    assert only_file_in(an_old_result)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_the_kernel_saying_that_the_disk_is_full_keeps_the_old_file(
    an_old_result: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open
    monkeypatch.setattr(os, "open", lambda *_, **__: real_open("/dev/full", os.O_WRONLY))
    with pytest.raises(OutputError, match="No space left on device"), write_atomically(an_old_result) as file:
        file.write(b"x" * 10_000_000)  # more than any buffer, so that the write itself fails
    assert an_old_result.read_text() == "old"


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically
try:
    write_text_atomically(sys.argv[1], "x" * 100_000)
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no file size limit for a process")
def test_a_write_that_the_system_cuts_short_keeps_the_old_file(an_old_result: Path) -> None:
    output, errors = run_python(LIMITED, str(an_old_result)).communicate(timeout=180)
    assert "File too large. Nothing was changed" in output, errors
    assert an_old_result.read_text() == "old"
    assert only_file_in(an_old_result)


SLOW = """
import sys, time
from SpineLandmarksLib.formats.atomic import write_atomically
with write_atomically(sys.argv[1]) as file:
    file.write(b"x" * 1_000_000)
    file.flush()
    print("half", flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_process_killed_in_the_middle_of_a_write_keeps_the_old_file(an_old_result: Path) -> None:
    with run_python(SLOW, str(an_old_result)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=180)
    assert an_old_result.read_text() == "old"
    left = [path.name for path in an_old_result.parent.iterdir() if path != an_old_result]
    assert len(left) == 1
    assert left[0].startswith(".spine-landmarks-")  # hidden, and never under a final name


@pytest.mark.parametrize("name", ["no/such/folder/a.json", "result.json/a.json", "", "n" * 300])
def test_a_place_that_cannot_be_written_gives_one_clear_line(an_old_result: Path, name: str) -> None:
    with pytest.raises(OutputError, match=r"Could not write .*: .+\. Nothing was changed") as caught:
        write_text_atomically(an_old_result.parent / name, "new")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder_gives_one_clear_line(an_old_result: Path) -> None:
    an_old_result.parent.chmod(0o500)
    with pytest.raises(OutputError, match="Permission denied"):
        write_text_atomically(an_old_result, "new")
    an_old_result.parent.chmod(0o700)


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights on Windows")
def test_a_link_stays_a_link_and_its_target_is_written(an_old_result: Path) -> None:
    link = an_old_result.with_name("link.json")
    link.symlink_to(an_old_result.name)
    write_text_atomically(link, "new")
    assert link.is_symlink()
    assert an_old_result.read_text() == "new"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_permissions_are_those_of_a_plain_new_file_or_of_the_old_one(an_old_result: Path) -> None:
    plain = an_old_result.with_name("plain")
    plain.touch()
    fresh = an_old_result.with_name("fresh")
    write_text_atomically(fresh, "new")
    assert fresh.stat().st_mode == plain.stat().st_mode
    an_old_result.chmod(0o600)
    write_text_atomically(an_old_result, "new")
    assert an_old_result.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_process_left_half_written_goes_after_an_hour(tmp_path: Path) -> None:
    fresh, old, other = (tmp_path / name for name in (".spine-landmarks-1.tmp", ".spine-landmarks-2.tmp", "x.tmp"))
    for file in (fresh, old, other):
        file.write_text("half")
    for file in (old, other):
        os.utime(file, (0, 0))
    drop_left_over(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == [fresh.name, other.name]
