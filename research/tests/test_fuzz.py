"""A small share of `make fuzz` in each run of the tests: whole files are read, damaged ones too, or give one line."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from research.fuzz.targets import STORES, TARGETS, nothing_left_open
from SpineLandmarksLib.errors import SpineLandmarksError

SEED = 7
COUNTS = {"store": 40, "dicom": 60, "zip": 20, "volume": 80, "picture": 60, "worker": 40}


@pytest.fixture(autouse=True)
def a_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # a disk that is not waited for
    monkeypatch.setattr(STORES, "home", tmp_path)
    with nothing_left_open():
        yield


def what_is_said(name: str, number: int, box: Path) -> str:
    """The line of the error that an input raises; empty for a result. It leaves no file behind."""
    target = TARGETS[name]
    file, content = target.input(name, SEED, number)
    (box / file).write_bytes(content)
    try:
        target.read(box / file)
        return ""
    except SpineLandmarksError as error:
        return str(error)
    finally:
        (box / file).unlink()
        assert {entry.name for entry in box.iterdir()} == set(target.beside())


@pytest.mark.parametrize("name", TARGETS)
def test_a_damaged_file_gives_a_result_or_one_clear_line(name: str, tmp_path: Path) -> None:
    box = tmp_path / "box"
    box.mkdir()
    for other, content in TARGETS[name].beside().items():
        (box / other).write_bytes(content)
    said = [what_is_said(name, number, box) for number in range(COUNTS.get(name, 150))]
    whole = said[: len(TARGETS[name].files())]
    assert [text for text in whole if text and "Add it first" not in text] == []  # of no study in the store
    assert max(map(len, said)) <= 2000
    assert not any("\n" in text or "\x1b" in text for text in said)
    assert any(said) or name in ("request", "worker")  # the worker answers with a message


def test_an_input_follows_from_name_seed_and_number_alone() -> None:
    for name, target in TARGETS.items():
        assert target.input(name, SEED, 30) == target.input(name, SEED, 30)
    assert TARGETS["landmarks"].input("landmarks", 1, 30) != TARGETS["landmarks"].input("landmarks", 2, 30)
