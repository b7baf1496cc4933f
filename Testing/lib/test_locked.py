"""The locked hold-out: no training sees it, whichever way its slices come."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.splits import load_extra, lock, locked_patients, refuse_shared, split_dataset, with_extra
from SpineLandmarksLib.training.dataset import load_cases
from SpineLandmarksLib.transforms import Preparation


@pytest.fixture
def a_locked_dataset(a_phantom_dataset: Path, tmp_path: Path) -> Path:
    """Four patients, phantom0_0 to phantom0_3; the last is locked."""
    folder = shutil.copytree(a_phantom_dataset, tmp_path / "data")
    lock(folder, ["phantom0_3"], seed=0)
    return folder


def split(folder: Path, **options: object) -> tuple[list[str], list[str], str]:
    chosen = argparse.Namespace(fold=None, holdout=None, split_seed=0, **options)
    learn, judge, words = split_dataset(chosen, folder, LUMBAR11)
    return [row.group for row in learn], [row.group for row in judge], words


def test_a_split_leaves_the_locked_patients_out_and_says_so(a_locked_dataset: Path) -> None:
    open_ones = ["phantom0_0", "phantom0_1", "phantom0_2"]
    assert split(a_locked_dataset) == (open_ones, open_ones, "all slices, without 1 locked patients")


def test_only_asking_for_the_locked_ones_gives_them_and_to_judge_alone(a_locked_dataset: Path) -> None:
    assert split(a_locked_dataset, locked=True) == ([], ["phantom0_3"], "the locked hold-out of 1 patients")


def test_extra_data_leave_theirs_out_too(a_locked_dataset: Path) -> None:
    rows, _ = with_extra([], [(a_locked_dataset, None)], LUMBAR11)
    assert [row.group for row in rows] == ["phantom0_0", "phantom0_1", "phantom0_2"]


def test_a_patient_held_out_of_one_data_set_and_learned_from_in_another_is_refused(
    a_locked_dataset: Path, a_phantom_dataset: Path
) -> None:
    rows = load_annotations([a_phantom_dataset], LUMBAR11)
    some, rest = rows[:2], rows[2:]
    more = load_extra([(a_locked_dataset, None)], LUMBAR11)
    with pytest.raises(DatasetError, match=r"phantom0_3 \(1 in all\), held out of .*, are also in"):
        refuse_shared({a_phantom_dataset: rows, **more}, {})
    with pytest.raises(DatasetError, match=r"phantom0_2 .*also in"):  # by the split, not by a lock
        refuse_shared({a_phantom_dataset: some, **more}, {a_phantom_dataset: {row.group for row in rest}})
    refuse_shared({a_phantom_dataset: some, **more}, {})


def test_training_refuses_locked_slices_whichever_way_they_come(a_locked_dataset: Path) -> None:
    rows = load_annotations([a_locked_dataset], LUMBAR11)
    with pytest.raises(DatasetError, match=r"nothing of the locked hold-out.*got 1 of its patients: phantom0_3"):
        load_cases(rows, LUMBAR11, Preparation())


def test_a_hold_out_is_locked_once(a_locked_dataset: Path) -> None:
    with pytest.raises(DatasetError, match="locks 1 patients already"):
        lock(a_locked_dataset, ["phantom0_0"])
    assert locked_patients(a_locked_dataset) == {"phantom0_3"}
    assert json.loads((a_locked_dataset / "holdout.json").read_text()) == {"patients": ["phantom0_3"], "seed": 0}
