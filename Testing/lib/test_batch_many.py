"""Thousands of studies: resumed after a kill, read ahead, bounded in memory, summed up; stale results look stale."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.batch import local, predict_all, results, run
from SpineLandmarksLib.batch.ledger import Ledger, fingerprint
from SpineLandmarksLib.batch.progress import ProgressBar
from SpineLandmarksLib.batch.results import BatchItem
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import InputError, OutputError
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

PATIENCE_S = 180.0
Counted = Callable[..., list[str]]


@pytest.fixture
def a_tree(a_picture: Path, tmp_path: Path) -> Path:
    """Pictures a/1, a/2, b/1, b/2; a/2 is no image."""
    tree = tmp_path / "tree"
    for folder in ("a", "b"):
        (tree / folder).mkdir(parents=True)
        for name in ("1.png", "2.png"):
            shutil.copy(a_picture, tree / folder / name)
    (tree / "a" / "2.png").write_text("no image")
    return tree


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def read(a_tree: Path, a_localizer: Localizer, out: Path, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Runs over the tree, resuming, and returns which studies were read."""
    names: list[str] = []

    def noted(path: Path, *how: Any) -> SagittalStack:
        names.append(f"{path.parent.name}_{path.stem}")
        return read_study(path, *how)

    monkeypatch.setattr(local, "read_study", noted)

    def go(
        localizer: Localizer = a_localizer,
        spacing_mm: float = 3.1,
        formats: tuple[str, ...] = ("json",),
        resume: bool = True,
    ) -> list[str]:
        names.clear()
        predict_all([a_tree], localizer, out, formats, spacing_mm, tree=True, resume=resume)
        return list(names)

    return go


ALL = ["a_1", "a_2", "b_1", "b_2"]


def summary(out: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return content


def test_finished_studies_are_kept_and_failed_ones_tried_again(
    read: Counted, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert read() == ALL
    before = {path: path.stat().st_mtime_ns for path in out.glob("[ab]_*")}
    assert read() == ["a_2"]
    assert {path: path.stat().st_mtime_ns for path in out.glob("[ab]_*")} == before
    assert capsys.readouterr().out.endswith(
        f"3 of 4 studies localized; 3 of them by an earlier run; failures in {out / 'failed.json'}.json\n".replace(
            ".json.json", ".json"
        )
    )
    assert [row["status"] for row in summary(out)["rows"]] == ["kept", "failed", "kept", "kept"]
    assert read(resume=False) == ALL


def test_what_has_changed_is_done_again(
    read: Counted, a_tree: Path, a_localizer: Localizer, a_bundle_in_memory: Bundle, out: Path, a_picture: Path
) -> None:
    read()
    shutil.copy(a_picture, a_tree / "a" / "2.png")
    os.utime(a_tree / "b" / "1.png", ns=(1, 1))
    assert read() == ["a_2", "b_1"]
    (out / "b_2.json").unlink()
    assert read() == ["b_2"]
    assert read(spacing_mm=3.0) == ALL
    assert read(spacing_mm=3.0, formats=("json", "csv")) == ALL
    newer = Localizer(replace(a_bundle_in_memory, version="2"), a_localizer.backend)
    assert read(newer, spacing_mm=3.0, formats=("json", "csv")) == ALL
    assert read(newer, spacing_mm=3.0, formats=("json", "csv")) == []


def test_a_bundle_that_was_replaced_under_its_name_is_another(
    read: Counted, a_localizer: Localizer, a_bundle_in_memory: Bundle, tmp_path: Path
) -> None:
    localizer = Localizer(replace(a_bundle_in_memory, folder=tmp_path / "bundle"), a_localizer.backend)
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    metadata = tmp_path / "bundle" / "configs" / "metadata.json"
    metadata.write_text("first training")
    read(localizer)
    assert read(localizer) == ["a_2"]
    metadata.write_text("second training")
    assert read(localizer) == ALL


def test_a_study_that_fails_leaves_no_result_of_an_earlier_run_that_looks_current(
    read: Counted, a_tree: Path, out: Path, a_picture: Path
) -> None:
    read(formats=("json", "csv"))
    earlier = (out / "b_1.csv").read_text()
    (a_tree / "b" / "1.png").write_text("damaged since")
    read(formats=("json",))
    assert {path.name for path in out.glob("b_1.*")} == {"b_1.json.stale", "b_1.csv.stale", "b_1.overlay.png.stale"}
    assert (out / "b_1.csv.stale").read_text() == earlier
    shutil.copy(a_picture, a_tree / "b" / "1.png")
    read(formats=("json", "csv"))
    assert {path.name for path in out.glob("b_1.*")} == {"b_1.json", "b_1.csv", "b_1.overlay.png"}


def test_a_study_done_alone_counts_in_the_ledger_of_its_folder(
    read: Counted, a_tree: Path, a_localizer: Localizer, out: Path, tmp_path: Path
) -> None:
    read()
    other = shutil.copy(a_tree / "a" / "1.png", tmp_path / "a_1.png")  # its results have the same name
    assert predict_all([Path(other)], a_localizer, out, ("json",), 3.1) == 0
    assert read() == ["a_1", "a_2"]


def test_results_of_other_options_that_a_kill_left_without_a_line_are_not_taken_for_finished(
    read: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    read(spacing_mm=3.1)
    with monkeypatch.context() as patch:
        patch.setattr(run, "drop_stale", killed)  # which comes after the files and before the line
        with pytest.raises(KeyboardInterrupt):
            read(spacing_mm=3.0)
    assert read(spacing_mm=3.1) == ["a_1", "a_2"]


def test_an_interrupted_run_is_gone_on_with(
    read: Counted,
    a_localizer: Localizer,
    out: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    localize = a_localizer.localize

    def interrupted(stack: SagittalStack, slice_index: int | None) -> Any:
        if "b" in Path(stack.source).parts and stack.source.endswith("2.png"):
            raise KeyboardInterrupt
        return localize(stack, slice_index)

    with monkeypatch.context() as patch:
        patch.setattr(a_localizer, "localize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            read()
    assert capsys.readouterr().out.endswith("--resume goes on from here\n")
    assert (summary(out)["done"], summary(out)["failed"], summary(out)["not_reached"]) == (2, 1, 1)
    assert read() == ["a_2", "b_2"]
    assert (summary(out)["done"], summary(out)["kept"], summary(out)["failed"]) == (1, 2, 1)


#: predict whose network waits for its death once two studies are done: argv is [ledger or "", its arguments].
WAITS = """
import sys, time
from pathlib import Path
from SpineLandmarksLib import backends
from SpineLandmarksLib.cli.main import main
detect = backends.LightBackend.detect
def waiting(self, images):
    while sys.argv[1] and Path(sys.argv[1]).exists() and Path(sys.argv[1]).read_bytes().count(b"\\n") >= 2:
        time.sleep(0.05)
    return detect(self, images)
backends.LightBackend.detect = waiting
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("sent", ["SIGKILL", "SIGINT"])
def test_a_run_that_is_killed_is_gone_on_with_and_nothing_is_lost_or_done_twice(
    sent: str, a_small_bundle: Bundle, a_picture: Path, tmp_path: Path, out: Path
) -> None:
    for number in range(6):
        (tmp_path / "tree" / f"p{number}").mkdir(parents=True)
        shutil.copy(a_picture, tmp_path / "tree" / f"p{number}" / "s.png")
    command = [
        "predict",
        str(tmp_path / "tree"),
        "--recursive",
        "--output",
        str(out),
        "--spacing",
        "3.1",
        "--resume",
        "--bundle",
        str(a_small_bundle.folder),
    ]
    ledger = out / "studies.jsonl"
    with subprocess.Popen([sys.executable, "-c", WAITS, str(ledger), *command], stderr=subprocess.PIPE) as killed:
        deadline = time.monotonic() + PATIENCE_S
        while not ledger.exists() or ledger.read_bytes().count(b"\n") < 2:
            assert killed.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        killed.send_signal(signal.Signals[sent])
        _, said = killed.communicate(timeout=PATIENCE_S)
    assert killed.returncode == (-signal.SIGKILL if sent == "SIGKILL" else 130), said
    whole = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    assert 2 <= len(whole) < 6
    for path in [*out.glob("*.json"), *out.glob("*.mrk.json")]:
        json.loads(path.read_text())
    with ledger.open("ab") as stream:
        stream.write(b'{"study": "p5_s", "status": "do')  # as a kill in the middle of a write leaves it
    done = subprocess.run([sys.executable, "-c", WAITS, "", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"6 of 6 studies localized; {len(whole)} of them by an earlier run" in done.stdout
    lines = [line for line in ledger.read_bytes().splitlines() if not line.endswith(b'"do')]
    assert sorted(json.loads(line)["study"] for line in lines) == [f"p{number}_s" for number in range(6)]
    assert len(list(out.glob("p*_s.overlay.png"))) == 6


def test_a_torn_or_foreign_line_of_the_ledger_is_passed_over(tmp_path: Path) -> None:
    study = BatchItem(tmp_path / "x.png", "x")
    study.path.write_bytes(b"1")
    ledger = Ledger(tmp_path, "settings")
    ledger.end(study, {"status": "done"}, fingerprint(study.path))
    ledger.close()
    with (tmp_path / "studies.jsonl").open("ab") as stream:
        stream.write(b'[1]\n{"status": 1}\n\xff\n{"study": "x", "status": "fail')
    ledger = Ledger(tmp_path, "settings")
    assert ledger.done(study) is not None
    ledger.begin(study)
    ledger.close()
    ledger = Ledger(tmp_path, "settings")
    assert ledger.done(study) is None
    ledger.close()


def test_a_ledger_that_cannot_be_opened_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "studies.jsonl").mkdir()
    with pytest.raises(OutputError, match=r"studies\.jsonl"):
        Ledger(tmp_path, "")


def test_a_study_is_known_by_all_its_files(tmp_path: Path) -> None:
    (tmp_path / "dicom" / "series").mkdir(parents=True)
    one, header, pixels = tmp_path / "dicom" / "series" / "1", tmp_path / "x.mhd", tmp_path / "x.raw"
    for path in (one, header, pixels):
        path.write_bytes(b"1")
    folder, volume = fingerprint(tmp_path / "dicom"), fingerprint(header)
    assert (fingerprint(tmp_path / "dicom"), fingerprint(header)) == (folder, volume)
    for path in (one, pixels):
        path.write_bytes(b"12")
    assert fingerprint(tmp_path / "dicom") != folder
    assert fingerprint(header) != volume
    assert fingerprint(tmp_path / "absent") is None


def test_the_next_study_is_read_while_one_is_computed_and_no_more_than_that(
    a_tree: Path, a_localizer: Localizer, out: Path, a_picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(a_picture, a_tree / "a" / "2.png")
    begun: list[Path] = []
    stacks: list[weakref.ref[Any]] = []
    localize, seen = a_localizer.localize, []

    def noted(path: Path, *how: Any) -> SagittalStack:
        begun.append(path)
        stack = read_study(path, *how)
        stacks.append(weakref.ref(stack.voxels))
        return stack

    def slow(stack: SagittalStack, slice_index: int | None) -> Any:
        due = min(len(seen) + 2, 4)  # this one and the next
        deadline = time.monotonic() + PATIENCE_S
        while len(stacks) < due and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)  # for a third to begin, if it would
        seen.append((len(begun) - due, sum(one() is not None for one in stacks)))
        return localize(stack, slice_index)

    monkeypatch.setattr(local, "read_study", noted)
    monkeypatch.setattr(a_localizer, "localize", slow)
    assert predict_all([a_tree], a_localizer, out, ("json",), 3.1, tree=True) == 0
    assert seen == [(0, 2), (0, 2), (0, 2), (0, 1)]


def test_memory_stays_bounded_over_hundreds_of_studies(
    a_picture: Path, a_localizer: Localizer, tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stack of 1 MB; if 150 of them, or of their pictures, were kept, it would show."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("resident memory is read from /proc, which this system does not have")
    (tmp_path / "tree").mkdir()
    with Image.open(a_picture) as picture:
        picture.resize((480, 544)).save(tmp_path / "tree" / "0.png")
    for number in range(1, 200):
        os.link(tmp_path / "tree" / "0.png", tmp_path / "tree" / f"{number}.png")
    resident: list[int] = []

    def noted(*_: object, **__: object) -> None:
        resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    monkeypatch.setattr(ProgressBar, "count", noted)
    monkeypatch.setattr(results, "draw_overlay", lambda image, landmarks, path: path.write_bytes(b""))  # takes long
    predict_all([tmp_path / "tree"], a_localizer, out, ("json",), 0.55, tree=True, progress=True)
    assert len(resident) == 200
    assert resident[-1] - resident[49] < 20e6


@pytest.mark.parametrize("is_wrapped", [False, True])
def test_a_study_that_does_not_fit_beside_another_is_read_again_alone(
    read: Counted, a_tree: Path, a_localizer: Localizer, out: Path, monkeypatch: pytest.MonkeyPatch, is_wrapped: bool
) -> None:
    tries: list[Path] = []
    halves: dict[Path, weakref.ref[Any]] = {}
    held: list[Any] = []

    def tight(path: Path, *how: Any) -> SagittalStack:
        tries.append(path)
        if path in halves:
            held.append(halves[path]())
        hopeless = path == a_tree / "b" / "1.png"
        if hopeless or (path == a_tree / "b" / "2.png" and tries.count(path) == 1):
            half = np.zeros(8)
            halves[path] = weakref.ref(half)
            if is_wrapped:
                raise InputError("Expected an image that fits into memory") from MemoryError()
            raise MemoryError
        return read_study(path, *how)

    monkeypatch.setattr(local, "read_study", tight)
    assert predict_all([a_tree], a_localizer, out, ("json",), 3.1, tree=True) == 1
    assert [row["status"] for row in summary(out)["rows"]] == ["done", "failed", "failed", "done"]
    assert "memory" in summary(out)["rows"][2]["error"]
    assert [tries.count(a_tree / "b" / name) for name in ("1.png", "2.png")] == [2, 2]
    assert held == [None, None], "what was read before it did not fit is in no one's way"


@pytest.mark.parametrize("step", ["start", "run"])
def test_a_thread_that_memory_is_too_little_for_is_not_waited_for(
    a_tree: Path, a_localizer: Localizer, out: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Linux refuses a thread for want of memory, or lets it die before it has done anything."""
    lost: list[str] = []

    def die(self: threading.Thread) -> None:
        lost.append(self.name)
        if step == "start":
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, step, die)
    predict_all([a_tree], a_localizer, out, ("json",), 3.1, tree=True)
    monkeypatch.undo()
    assert "done" in {row["status"] for row in summary(out)["rows"]}
    assert lost.count("reading") == len(summary(out)["rows"])


def test_a_volume_that_does_not_fit_into_memory_is_said_to_and_the_next_one_is_done(
    a_small_bundle: Bundle, a_picture: Path, tmp_path: Path, out: Path
) -> None:
    """The file has no pixels on disk: as many as are allowed, twice what the process may have as 32-bit numbers."""
    if sys.platform != "linux":
        pytest.skip("limits on the memory of a process are kept on Linux only")
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.int16)
    header.set_data_shape((800, 800, 800))
    header.set_sform(np.diag([0.3, 0.3, 0.3, 1.0]), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    with (tmp_path / "huge.nii").open("wb") as stream:
        header.write_to(stream)
        stream.truncate(352 + 2 * 800**3)
    arguments = [
        "predict",
        str(tmp_path / "huge.nii"),
        str(a_picture),
        "--spacing",
        "3.1",
        "--output",
        str(out),
        "--bundle",
        str(a_small_bundle.folder),
    ]
    code = f"""
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (2 * 10**9, 2 * 10**9))
from SpineLandmarksLib.cli.main import main
sys.exit(main({arguments!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert done.stderr.splitlines() == [
        f"spine-landmarks: {tmp_path / 'huge.nii'}: Expected a NIfTI file that fits into memory; got huge.nii"
    ]
    assert done.returncode == 1
    assert [row["status"] for row in summary(out)["rows"]] == ["failed", "done"]


def test_the_summary_has_a_row_for_each_study(read: Counted, a_tree: Path, out: Path) -> None:
    read()
    content = summary(out)
    assert {key: content[key] for key in ("studies", "done", "kept", "failed", "not_reached")} == {
        "studies": 4,
        "done": 3,
        "kept": 0,
        "failed": 1,
        "not_reached": 0,
    }
    assert content["settings"]["bundle"] == "memory@1"
    result = json.loads((out / "b_1.json").read_text())
    row = content["rows"][2]
    assert (row["study"], row["input"], row["landmarks"]) == ("b_1", str(a_tree / "b" / "1.png"), 11)
    assert row["confidence"] == min(mark["confidence"] for mark in result["landmarks"])
    table = list(csv.DictReader((out / "summary.csv").read_text().splitlines()))
    assert [line["study"] for line in table] == ALL
    assert table[1]["error"] == content["rows"][1]["error"] != ""


def test_an_input_that_is_given_twice_is_done_once(
    read: Counted, a_tree: Path, a_localizer: Localizer, out: Path
) -> None:
    path = a_tree / "a" / "1.png"
    assert predict_all([path, a_tree / ".." / "tree" / "a" / "1.png"], a_localizer, out, ("json",), 3.1) == 0
    assert len(summary(out)["rows"]) == 1


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that tqdm is told."""
    now = [0.0]
    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return now


def test_progress_tells_rate_and_remaining_time(clock: list[float]) -> None:
    terminal = Terminal()
    line = ProgressBar(terminal, 1000)
    for _ in range(500):  # done by an earlier run: they say nothing of the rate
        line.count(is_work=False)
    for _ in range(20):
        clock[0] += 0.5
        line.count(is_work=True)
    clock[0] += 0.5
    line.count(is_work=True, is_failure=True)
    *_, last = terminal.getvalue().split("\r")
    assert "521 of 1000 studies, 500 done before, 1 failed [00:10<03:59,  2.00 studies/s]" in last
    line.close()
    assert "\n" not in terminal.getvalue()


def test_progress_in_a_file_is_a_line_now_and_then(clock: list[float]) -> None:
    file = io.StringIO()
    line = ProgressBar(file, 9)
    for _ in range(9):
        clock[0] += 6
        line.count(is_work=True)
        line.clear()
    line.close()
    assert [text.rpartition("| ")[2].partition(",")[0] for text in file.getvalue().splitlines()] == [
        "0 of 9 studies [00:00<?",
        "2 of 9 studies [00:12<00:42",
        "4 of 9 studies [00:24<00:30",
        "6 of 9 studies [00:36<00:18",
        "8 of 9 studies [00:48<00:06",
        "9 of 9 studies [00:54<00:00",
    ]


def test_progress_is_told_when_asked_for_or_on_a_terminal(
    a_tree: Path, a_localizer: Localizer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(stream: io.StringIO, **options: bool) -> str:
        monkeypatch.setattr(sys, "stderr", stream)
        predict_all([a_tree / "b" / "1.png", a_tree / "b" / "2.png"], a_localizer, out, ("json",), 3.1, **options)
        return stream.getvalue()

    assert said(io.StringIO()) == ""
    assert "2 of 2 studies" in said(io.StringIO(), progress=True)
    assert "2 of 2 studies" in said(Terminal())
    assert "2 of 2 studies, 2 done before" in said(Terminal(), resume=True)
