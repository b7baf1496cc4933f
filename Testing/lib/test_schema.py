"""Landmarks other than the eleven, from the data set through training to the result."""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import pytest

from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.cli.main import main, parser
from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.splits import split_dataset

RECIPE = """
architecture: {heatmap: {network: unet, filters: [8, 16, 16], stride: 2}, stride: 2}
preparation: {spacing_mm: 4.0, multiple: 8}
crop: [64, 64]
steps: 2
batch: 2
precision: float32
"""
NAMES = {"L3": "C4", "L3-L4": "C4-C5", "L4": "C5"}


@pytest.fixture
def a_cervical_dataset(a_phantom_dataset: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "cervical"
    shutil.copytree(a_phantom_dataset, folder)
    rows = json.loads((folder / "landmarks.json").read_text())
    for row in rows:
        row["landmarks_px"] = {new: row["landmarks_px"][old] for old, new in NAMES.items()}
    (folder / "landmarks.json").write_text(json.dumps(rows))
    (folder / "schema.json").write_text(json.dumps(list(NAMES.values())))
    return folder


def test_names_and_count_come_from_the_data_set(a_cervical_dataset: Path, a_picture: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(RECIPE)
    train = ["train", "--recipe", str(recipe), "--data", str(a_cervical_dataset), "--output", str(tmp_path / "run")]
    assert main(train) == 0
    bundle = str(tmp_path / "run" / "bundle")
    assert main(["predict", str(a_picture), "--bundle", bundle, "--output", str(tmp_path / "out")]) == 0
    result = json.loads((tmp_path / "out" / f"{a_picture.stem}.json").read_text())
    assert [landmark["name"] for landmark in result["landmarks"]] == ["C4", "C4-C5", "C5"]
    # a second training there would lose the first
    assert main(train) == 2


def test_a_data_set_without_schema_has_the_eleven(a_phantom_dataset: Path) -> None:
    assert schema_of(a_phantom_dataset) == LUMBAR11


@pytest.mark.parametrize("text", ['{"names": []}', '["L1"]', '["L1", 2]', '["L1", ""]'])
def test_a_schema_is_a_list_of_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "schema.json").write_text(text)
    with pytest.raises(FormatError, match="Expected a list of two or more landmark names"):
        schema_of(tmp_path)


def test_a_schema_has_each_name_once(tmp_path: Path) -> None:
    (tmp_path / "schema.json").write_text('["L1", "L2", "L1"]')
    with pytest.raises(LandmarkError, match="L1 more than once"):
        schema_of(tmp_path)


def test_the_folds_judge_everybody_once(a_phantom_dataset: Path) -> None:
    judged = []
    for fold in ("1/2", "2/2"):
        options = parser().parse_args(["evaluate", str(a_phantom_dataset), "--output", "o", "--fold", fold])
        learn, judge, words = split_dataset(options, options.dataset, LUMBAR11)
        assert {row.group for row in learn}.isdisjoint(row.group for row in judge)
        assert words == f"fold {fold[0]} of 2 of 4 patients, split seed 0"
        judged += [row.group for row in judge]
    assert len(judged) == len(set(judged)) == 4


@pytest.mark.parametrize("text", ["0/5", "6/5", "1", "1/1", "a/b", "1/5/2"])
def test_a_fold_is_one_of_several(text: str) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["evaluate", "data", "--output", "o", "--fold", text])
    assert isinstance(parser().parse_args(["evaluate", "d", "--output", "o", "--fold", "5/5"]), argparse.Namespace)
