"""What a lead types: accounts, two readers, gold cases, what is left out, and the log."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.readings import sign_study, standing
from SpineLandmarksLib.store.study_record import complete

SPINE = {name: (60.0, 20.0 + 17 * row) for row, name in enumerate(LUMBAR11)}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three studies of one slice each."""
    for number in range(3):
        grey = np.arange(240 * 120, dtype=np.uint32).reshape(240, 120) * (number + 1) % 251
        Image.fromarray(grey.astype(np.uint8)).save(tmp_path / f"case-{number}.png")
    pictures = [str(tmp_path / f"case-{number}.png") for number in range(3)]
    assert main(["dataset", "init", str(tmp_path / "data")]) == 0
    assert main(["dataset", "add", str(tmp_path / "data"), *pictures, "--bundle", "none", "--spacing", "1"]) == 0
    return tmp_path / "data"


def team(data: Path, *arguments: str) -> int:
    return main(["dataset", arguments[0], str(data), *arguments[1:]])


def read(data: Path, key: str, person: str, **moved: float) -> None:
    with open_dataset(data) as store:
        study = store.study(key)
        marks = [Landmark(name, "confirmed", pixel_xy=(x, y + moved.get(name, 0.0))) for name, (x, y) in SPINE.items()]
        said = complete(LandmarkSet(tuple(marks), slice_index=0), study.matrix)
        before = standing(store, key, person).revision
        one = Revision(key, person, utc_now(), said, study.reference, before and before.id, 12.0)
        store.take([key], person)
        store.save(one)
        sign_study(store, one.id, person)


def test_from_two_readers_to_a_decision(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert team(data, "assign", "case-0", "case-1", "--readers", "Ann,Bob", "--by", "Lea") == 0
    read(data, "case-0", "Ann")
    read(data, "case-0", "Bob", L4=2.0)
    read(data, "case-1", "Ann")
    assert team(data, "assign", "case-1", "--readers", "Bob=Cy", "--by", "Lea") == 0
    read(data, "case-1", "Cy", L4=12.0)
    capsys.readouterr()
    assert team(data, "readings", "--output", str(tmp_path / "readings.csv")) == 0
    said = capsys.readouterr().out
    assert "read by Ann (signed), Bob (signed); they agree" in said
    assert "being read by Ann (signed), Cy (signed); they differ (waits for a lead): L4: 12.0 mm apart" in said
    rows = list(csv.DictReader(io.StringIO((tmp_path / "readings.csv").read_text())))
    assert [row["study"] + row["landmark"] for row in rows if row["disputed"] == "1"] == ["case-1L4"]
    assert team(data, "status") == 0
    said = capsys.readouterr().out
    assert "signed off   1" in said
    assert "not signed off yet: 2" in said
    assert team(data, "check") == 0


def test_gold_cases_and_quality(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    read(data, "case-0", "Lea")
    assert team(data, "gold", "case-0", "--by", "Lea") == 0
    read(data, "case-0", "Ann", L4=1.0)
    assert team(data, "quality", "--output", str(tmp_path / "quality")) == 0
    assert "Ann" in capsys.readouterr().out
    (row,) = csv.DictReader(io.StringIO((tmp_path / "quality" / "gold.csv").read_text()))
    assert (row["reader"], row["study"], row["level_errors"], row["seconds"]) == ("Ann", "case-0", "0", "12.0")
    assert (tmp_path / "quality" / "gold.svg").read_text().startswith("<?xml")


def test_leaving_out_reopening_and_the_log(data: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    read(data, "case-0", "Ann")
    assert team(data, "exclude", "case-1", "--why", "wrong region", "--by", "Ann") == 0
    assert team(data, "reopen", "case-0", "--why", "L5 is S1", "--by", "Lea") == 0
    assert team(data, "status") == 0
    assert "left out     1: 1 wrong region" in capsys.readouterr().out
    assert team(data, "include", "case-1", "--by", "Lea") == 0
    assert team(data, "log", "--output", str(tmp_path / "log.csv")) == 0
    rows = list(csv.DictReader(io.StringIO((tmp_path / "log.csv").read_text())))
    told = [(row["person"], row["action"], row["study"], row["detail"]) for row in rows if row["number"]]
    assert ("Ann", "excluded", "case-1", "wrong region") in told
    assert ("Lea", "reopened", "case-0", "L5 is S1") in told
    assert team(data, "log", "case-0") == 0
    assert "Ann signed case-0" in capsys.readouterr().out


def test_accounts_and_what_a_role_may_not(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert team(data, "account", "Ada", "--no-password") == 0
    assert team(data, "account", "Ann", "--role", "reader", "--no-password", "--by", "Ada") == 0
    assert team(data, "account") == 0
    assert capsys.readouterr().out.split()[-4:] == ["Ada", "administrator", "Ann", "reader"]
    for refused in (
        ("account", "Ann", "--role", "lead", "--no-password"),
        ("assign", "case-0", "--readers", "Ada,Ann", "--by", "Ann"),
        ("assign", "case-0", "--readers", "Ada,Nobody", "--by", "Ada"),
        ("assign", "--readers", "Ada,Ann", "--by", "Ada"),
        ("reopen", "case-0", "--why", " ", "--by", "Ada"),
        ("gold", "case-0", "--by", "Ada"),
        ("include", "case-0", "--by", "Ada"),
        ("exclude", "no-such-study", "--why", "bad image", "--by", "Ada"),
    ):
        assert team(data, *refused) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_team_without_accounts_is_told_how_to_make_them(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("aiohttp")
    assert main(["review", str(data), "--team"]) == 2
    assert "dataset account" in capsys.readouterr().err
