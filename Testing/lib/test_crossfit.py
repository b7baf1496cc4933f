"""Every slice judged out of its fold: by weights and a doubt that have not seen it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import Bundle, load_bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.evaluation.evaluate import read_annotated
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import lock
from SpineLandmarksLib.training import crossfit as module
from SpineLandmarksLib.training.crossfit import Fold, crossfit, deal


@pytest.fixture
def two_trainings(a_small_bundle: Bundle, a_phantom_dataset: Path, tmp_path: Path) -> Path:
    """Two folds' bundles, each in the folder of its run, as `train --fold I/2` leaves them."""
    for number in (1, 2):
        run = tmp_path / f"fold{number}"
        shutil.copytree(a_small_bundle.folder, run / "small")
        split = f"fold {number} of 2 of 4 patients, split seed 0"
        (run / "run.json").write_text(json.dumps({"split": split, "data": str(a_phantom_dataset)}))
    return tmp_path


def test_all_slices_are_judged_once_and_the_doubt_goes_into_the_bundle(
    two_trainings: Path, a_small_bundle: Bundle, a_phantom_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = two_trainings / "shipped"
    shutil.copytree(a_small_bundle.folder, shipped)
    pattern, output = two_trainings / "fold{fold}" / "small", two_trainings / "out"
    assert (
        main(
            [
                "calibrate",
                str(a_phantom_dataset),
                "--bundles",
                str(pattern),
                "--folds",
                "2",
                "--into",
                str(shipped),
                "--output",
                str(output),
            ]
        )
        == 0
    )
    assert "needs_review flags" in capsys.readouterr().out
    summary = json.loads((output / "metrics.json").read_text())
    annotated = load_annotations([a_phantom_dataset], a_small_bundle.landmarks)
    assert sorted(case["image"] for case in summary["images"]) == sorted(row.image.name for row in annotated)
    assert load_bundle(shipped).calibration.fitted_on.startswith("4 slices of")
    assert load_bundle(shipped).calibration.level is not None


def test_the_locked_patients_of_several_data_sets_are_judged_by_one_bundle(
    a_small_bundle: Bundle, a_phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = tmp_path / "shipped"
    shutil.copytree(a_small_bundle.folder, shipped)
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        shutil.copytree(a_phantom_dataset, folder)
        rows = json.loads((folder / "landmarks.json").read_text())
        for row in rows:
            row["patient"] = f"{folder.name}/{row['patient']}"
        (folder / "landmarks.json").write_text(json.dumps(rows))
        lock(folder, sorted({row["patient"] for row in rows})[:2], seed=0)
    where = ["--bundles", str(shipped), "--into", str(shipped), "--output", str(tmp_path / "out")]
    asked = ["calibrate", *map(str, folders), *where, "--folds", "2"]
    assert main(asked) == 2
    assert "--locked" in capsys.readouterr().err
    assert main([*asked, "--locked", "--levels-alone", str(tmp_path)]) == 2
    assert "to name one of the data sets" in capsys.readouterr().err
    assert main([*asked, "--locked"]) == 0
    for folder in folders:
        summary = json.loads((tmp_path / "out" / folder.name / "metrics.json").read_text())
        assert {case["group"].split("/")[0] for case in summary["images"]} == {folder.name}
        assert len(summary["images"]) == 2
    assert load_bundle(shipped).calibration.fitted_on.startswith("locked hold-outs (2 of one, 2 of two slices)")


def test_points_that_tell_levels_alone_have_no_part_in_the_radius(a_phantom_dataset: Path) -> None:
    localizer = Localizer.open("lumbar11")
    rows = load_annotations([a_phantom_dataset], localizer.bundle.landmarks)
    parts = deal(localizer, rows, 2, 0, [row.image == rows[0].image for row in rows])
    for part in parts:
        known, every = (one.held_out.error_mm for one in (part, replace(part, is_placed=None)))
        is_placed = np.array([row.image == rows[0].image for row in part.annotations])
        count = len(is_placed)
        assert np.isfinite(every[:count]).any()
        assert np.isnan(known[:count][~is_placed]).all()
        assert np.array_equal(known[:count][is_placed], every[:count][is_placed], equal_nan=True)


def test_a_bundle_of_another_fold_is_refused(
    two_trainings: Path, a_phantom_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two_trainings / "fold1").rename(two_trainings / "fold0")
    (two_trainings / "fold2").rename(two_trainings / "fold1")
    (two_trainings / "fold0").rename(two_trainings / "fold2")
    assert (
        main(
            [
                "calibrate",
                str(a_phantom_dataset),
                "--bundles",
                str(two_trainings / "fold{fold}" / "small"),
                "--folds",
                "2",
                "--output",
                str(two_trainings / "out"),
            ]
        )
        == 2
    )
    assert "to be trained with fold 1 of 2" in capsys.readouterr().err
    assert not (two_trainings / "out").exists()


def test_weights_that_never_saw_the_data_set_may_judge_all_of_it(
    two_trainings: Path, a_phantom_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = {"split": "all slices", "data": "another", "extra": {"more": None}}
    (two_trainings / "fold1" / "run.json").write_text(json.dumps(run))
    assert (
        main(
            [
                "calibrate",
                str(a_phantom_dataset),
                "--bundles",
                str(two_trainings / "fold1" / "small"),
                "--folds",
                "2",
                "--output",
                str(two_trainings / "out"),
            ]
        )
        == 0
    )
    run["extra"] = {str(a_phantom_dataset): 0.3}
    (two_trainings / "fold1" / "run.json").write_text(json.dumps(run))
    assert (
        main(
            [
                "calibrate",
                str(a_phantom_dataset),
                "--bundles",
                str(two_trainings / "fold1" / "small"),
                "--folds",
                "2",
                "--output",
                str(two_trainings / "out"),
            ]
        )
        == 2
    )


def test_the_doubt_that_judges_a_fold_is_fitted_on_the_others(
    a_small_bundle: Bundle, a_phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localizer = Localizer.open(a_small_bundle.folder)
    rows = load_annotations([a_phantom_dataset], a_small_bundle.landmarks)
    readings = read_annotated(localizer, rows)
    folds = [Fold(localizer, rows[part], readings[part]) for part in (slice(0, 1), slice(1, 4))]
    scores = [np.array([reading.chain.score for reading in fold.readings]) for fold in folds]
    fitted: list[np.ndarray] = []
    fit, keep = module.fit_calibration, fitted.append
    monkeypatch.setattr(module, "fit_calibration", lambda h, *a: keep(h.as_is().features[:, 1]) or fit(h, *a))
    crossfit(folds, "all")
    expected = [scores[1], scores[0], np.concatenate(scores)]
    assert [part.tolist() for part in fitted] == [part.tolist() for part in expected]
