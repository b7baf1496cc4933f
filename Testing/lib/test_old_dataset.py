"""What an earlier version stored opens: a data set with its SQLite store, its sessions, and what 3D Slicer saved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from SpineLandmarksLib.annotation.revision_files import read_training_set
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.web.open_study import open_study

OLD = Path(__file__).parent / "old_dataset"
STUDY = "p2b25423b-557b63"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy, for opening a data set may change it."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def dataset(*arguments: object) -> int:
    return main(["dataset", *map(str, arguments)])


def test_its_state_is_told_checked_and_exported(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = old / "data"
    assert dataset("status", data) == 0
    said = capsys.readouterr().out
    for line in ("3 studies of 3 patients", "signed off   2", "annotated    1", "locked       1 studies of 1 patients"):
        assert line in said
    assert dataset("check", data) == 0
    assert "3 studies: 0 errors" in capsys.readouterr().out
    before = {row.image.stem: row for row in read_landmarks_json(data)}
    assert dataset("export", data) == 0
    after = {row.image.stem: row for row in read_landmarks_json(data)}
    assert after == {"phantom0": before["phantom0"]}, "phantom1 has a correction that nobody has signed off"
    assert dataset("export", data, "--output", old / "export") == 0
    assert dataset("init", old / "again") == 0
    assert dataset("import", old / "again", old / "export") == 0
    again = capsys.readouterr().out
    assert all(name in again for name in (STUDY, "phantom0", "phantom1"))


def test_its_studies_have_their_landmarks_and_steps_that_can_be_undone(old: Path) -> None:
    store = open_dataset(old / "data")
    try:
        session = open_study(store, STUDY, "Bo").session("Bo")
        assert (session["L3"].status, session["L4"].status, session["L5"].status) == (
            "confirmed",
            "corrected",
            "predicted",
        )
        moved = session["L4"].position_ras_mm
        session.undo()
        back = session["L4"].position_ras_mm
        assert moved is not None
        assert back is not None
        assert [a - b for a, b in zip(moved, back, strict=True)] == pytest.approx([0, 4, 0])
        assert session["L4"].status == "predicted"
    finally:
        store.close()


def test_a_correction_that_was_waiting_is_taken_in(old: Path) -> None:
    store = open_dataset(old / "data")
    try:
        head = store.head("phantom1")
        assert head is not None
        assert (head.author, head.landmarks["T12-L1"].status) == ("Bo", "corrected")
        assert list((old / "data" / "unsaved").iterdir()) == []
    finally:
        store.close()


def test_what_slicer_saved_is_read(old: Path) -> None:
    ((file, revision),) = read_training_set(old / "training-set", "phantom")
    assert (revision.author, revision.comment, revision.source_model) == ("Ann", "moved L4", "memory@1")
    assert [revision.landmarks[name].status for name in ("L3", "L4", "L5")] == ["confirmed", "corrected", "predicted"]
    assert revision.landmarks["L4"].position_ras_mm == pytest.approx((19.885, 36.87, -28.398))
    assert file.name == f"0001-{revision.id}.json"
