"""Judging a bundle: the files, the figures, and the same patients left out by `train` and `evaluate`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

from SpineLandmarksLib.annotated_slices import load_annotations, load_image, points_of, spacing_of
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.cli.main import main, parser
from SpineLandmarksLib.cli.train import metrics_line
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.evaluate import evaluate
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import split_dataset, with_extra
from SpineLandmarksLib.transforms import prepare_slice


class Copyist:
    """A backend that knows each annotated slice in turn, and is `off_mm` to the right of every point."""

    name, batch = "copyist", 4

    def __init__(self, oracle, localizer: Localizer, dataset: Path, off_mm: float) -> None:
        self.oracle, self.answers = oracle, []
        for row in load_annotations([dataset], LUMBAR11):
            spacing = spacing_of(row)
            _, pixel_from_slice = prepare_slice(load_image(row.image), spacing, localizer.bundle.preparation)
            self.answers.append(apply(pixel_from_slice, points_of(row, LUMBAR11) + np.array([off_mm / spacing[0], 0])))

    def detect(self, images):
        return self.oracle(np.nan_to_num(self.answers.pop(0))).detect(images)


def test_a_known_error_is_the_figure_that_is_written(
    oracle, a_localizer: Localizer, a_phantom_dataset: Path, tmp_path: Path
) -> None:
    rows = load_annotations([a_phantom_dataset], LUMBAR11)
    localizer = Localizer(a_localizer.bundle, Copyist(oracle, a_localizer, a_phantom_dataset, 2.2))
    seen = []
    summary = evaluate(localizer, rows, tmp_path / "out", ["a note"], lambda done, total: seen.append((done, total)))
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == summary
    assert summary["overall"]["median_mm"]["value"] == pytest.approx(2.2, abs=0.01)
    assert (summary["overall"]["sdr"]["2"]["value"], summary["overall"]["sdr"]["2.5"]["value"]) == (0.0, 1.0)
    assert (summary["bundle"], summary["notes"], summary["millimetres"]) == ("memory@1", ["a note"], "measured")
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "memory@1 on 4 slices" in page
    assert "a note" in page
    assert metrics_line(summary).startswith("memory@1: median 2.20 mm  MRE 2.20 mm  SDR@2 0.0 %  SDR@2.5 100.0 %")


def test_the_command_writes_metrics_and_report_and_says_the_headline(
    a_small_bundle: Bundle, a_phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", str(a_phantom_dataset), "--output", str(out), "--bundle", str(a_small_bundle.folder)]
    assert main([*arguments, "--holdout", "2"]) == 0
    said = capsys.readouterr().out
    assert f"{a_small_bundle.label}: median " in said
    assert f"Written: {out / 'metrics.json'}, {out / 'report.html'}" in said
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["n_images"] == 2
    assert metrics["notes"] == [f"Data: {a_phantom_dataset.name}, 2 held-out patients of 4, split seed 0"]
    assert (out / "report.html").stat().st_size > 10_000


def test_a_headline_of_nothing_found_has_no_millimetres() -> None:
    summary = {
        "bundle": "b@1",
        "overall": {"median_mm": {"value": None}, "mre_mm": {"value": None}, "sdr": {"8": {"value": 0.0}}},
    }
    assert metrics_line(summary) == "b@1: median unknown  MRE unknown  SDR@8 0.0 %"


def options(*arguments: str) -> argparse.Namespace:
    return parser().parse_args(arguments)


def test_train_leaves_out_whom_evaluate_judges(a_phantom_dataset: Path) -> None:
    common = ("--holdout", "2", "--split-seed", "5", "--output", "o")
    trained = options("train", "--data", str(a_phantom_dataset), *common)
    judged = options("evaluate", str(a_phantom_dataset), *common)
    learn, left_out, words = split_dataset(trained, trained.data, LUMBAR11)
    _, judge, same_words = split_dataset(judged, judged.dataset, LUMBAR11)
    assert [row.group for row in left_out] == [row.group for row in judge]
    assert words == same_words == "2 held-out patients of 4, split seed 5"
    assert {row.group for row in learn}.isdisjoint(row.group for row in judge)
    assert len(learn) + len(judge) == 4
    # Some other seed leaves out others.
    others = [
        options("evaluate", str(a_phantom_dataset), "--holdout", "2", "--output", "o", "--split-seed", str(n))
        for n in range(10)
    ]
    groups = {tuple(row.group for row in split_dataset(other, other.dataset, LUMBAR11)[1]) for other in others}
    assert len(groups) > 1


def test_without_holdout_all_is_learned_and_all_is_judged(a_phantom_dataset: Path) -> None:
    plain = options("train", "--data", str(a_phantom_dataset), "--output", "o")
    learn, judge, words = split_dataset(plain, plain.data, LUMBAR11)
    assert (len(learn), len(judge), words) == (4, 4, "all slices")


@pytest.mark.parametrize("count", ["0", "4", "99"])
def test_a_holdout_must_leave_both_sides_something(a_phantom_dataset: Path, count: str) -> None:
    wrong = options("evaluate", str(a_phantom_dataset), "--output", "o", "--holdout", count)
    with pytest.raises(DatasetError, match="Expected to hold out 1 to 3 of 4"):
        split_dataset(wrong, wrong.dataset, LUMBAR11)


def test_extra_data_follow_and_get_their_share(a_phantom_dataset: Path) -> None:
    data = load_annotations([a_phantom_dataset], LUMBAR11)[:1]
    rows, weight = with_extra(data, [(a_phantom_dataset, 0.5)], LUMBAR11)
    assert (len(rows), rows[0]) == (5, data[0])
    assert sum(weight[1:]) / sum(weight) == pytest.approx(0.5)
