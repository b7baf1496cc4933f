"""Landmarks other than the eleven, from the data set through training to the result."""

from __future__ import annotations

import argparse
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.annotation.session import shift_names
from SpineLandmarksLib.bundle import METADATA, Bundle, load_bundle, read_settings, write_checksums, write_settings
from SpineLandmarksLib.cli.main import main, parser
from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.evaluation.metrics import chain_shifts
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, Landmark, Schema, names_per_level
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.uncertainty import Calibration

RECIPE = """
architecture: {heatmap: {network: unet, filters: [8, 16, 16], stride: 2}, stride: 2}
preparation: {spacing_mm: 4.0, multiple: 8}
crop: [64, 64]
steps: 2
batch: 2
precision: float32
"""
UNCALIBRATED11 = Calibration(1.0, (2.0,) * 11)
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


def test_a_schema_can_say_that_it_has_no_order(tmp_path: Path) -> None:
    file = tmp_path / "schema.json"
    file.write_text('{"landmarks": ["thumb", "wrist"], "order": "none"}')
    assert schema_of(tmp_path) == ("thumb", "wrist")
    assert not schema_of(tmp_path).has_order
    file.write_text('["thumb", "wrist"]')
    assert schema_of(tmp_path).has_order
    file.write_text('{"landmarks": ["thumb", "wrist"], "order": "left to right"}')
    with pytest.raises(FormatError, match="Expected an order"):
        schema_of(tmp_path)


def test_a_level_has_as_many_names_as_lie_between_one_and_the_same_one_level_lower() -> None:
    assert names_per_level(LUMBAR11) == 2
    assert names_per_level(CORNERS22) == 4
    assert names_per_level(["C2", "C2-C3", "C3"]) == 2
    assert names_per_level(["thumb", "wrist"]) == 0


def test_corners_are_shifted_by_a_level_and_names_without_levels_are_not() -> None:
    marks = [Landmark(name, pixel_xy=(1.0, float(row))) for row, name in enumerate(CORNERS22)]
    up = {mark.name: mark for mark in shift_names(marks, +1)}
    assert up["L3.inf.ant"].pixel_xy == (1.0, float(CORNERS22.index("L2.inf.ant")))
    assert up["L1.sup.ant"].is_absent
    with pytest.raises(LandmarkError, match="Expected names of levels"):
        shift_names([Landmark("thumb", pixel_xy=(1.0, 2.0))], +1)


def test_landmarks_without_an_order_are_each_read_by_themselves(
    a_phantom: Phantom, a_bundle_in_memory: Bundle, an_oracle: Any, a_picture: Path
) -> None:
    """Upside down no chain of a spine would take them; nothing is said of levels, sacrum or how the picture lies."""
    an_oracle.points_px = an_oracle.points_px[::-1].copy()
    bundle = replace(a_bundle_in_memory, prior=None, landmarks=tuple(f"p{n}" for n in range(11)))
    stack = read_study(a_picture, 3.1)
    found = Localizer(bundle, an_oracle).localize(stack)
    lowest_first = [mark.pixel_xy for mark in a_phantom.landmarks][::-1]
    assert [mark.pixel_xy for mark in found] == [pytest.approx(xy, abs=1e-3) for xy in lowest_first]
    assert (found.numberings, found.warnings) == ((), stack.warnings)


def test_a_bundle_keeps_whether_its_landmarks_are_a_chain(a_small_bundle: Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(a_small_bundle.folder, tmp_path / "free"))
    write_settings(folder, LUMBAR11, a_small_bundle.preparation, a_small_bundle.architecture, None, UNCALIBRATED11)
    write_checksums(folder, read_settings(folder / METADATA))
    assert load_bundle(folder).schema.has_order is False
    assert load_bundle(a_small_bundle.folder).schema.has_order is True


def test_a_set_without_an_order_is_never_off_as_a_whole() -> None:
    truth = np.arange(22.0).reshape(1, 11, 2)
    one_lower = np.roll(truth, -2, axis=1)
    everywhere, here = np.ones((1, 11), dtype=bool), np.ones((1, 2))
    for order, shift in ((True, 2), (False, 0)):
        both = Predictions(
            truth, one_lower, everywhere, everywhere, here, everywhere * 0.9, everywhere * 1.0, np.array(["a"]),
            Schema(LUMBAR11, order), ("a.png",),
        )  # fmt: skip
        assert chain_shifts(both).tolist() == [shift]


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
