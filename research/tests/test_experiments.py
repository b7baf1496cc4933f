"""Tables of many trainings: complete, never judged on what was learned, never trained twice."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from research.experiments import budget, commands, curve, decoding, experiment, product, table
from research.experiments import hands as hands_module
from research.experiments.__main__ import main
from research.experiments.ablation import FUSED, ablation_rows, changed, run_ablation
from research.experiments.bundles import bundle_row, minutes_of
from research.experiments.commands import publish
from research.experiments.curve import CURVE_ROWS, curve_plot, nested, run_curve
from research.experiments.decoding import mean_shape_baseline
from research.experiments.experiment import Experiment
from research.experiments.hands import differences, hands_rows, run_hands, with_outliers
from research.experiments.results import Result, Training
from research.experiments.rows import chosen, result_of
from research.experiments.seeds import UNET_NOTE, run_folds, seed_rows
from SpineLandmarksLib.annotated_slices import load_annotations, points_of
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import DatasetError, OutputError, RecipeError
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.model import Architecture, Detector, Output
from SpineLandmarksLib.networks.scn import LearnedSigma
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.settings import to_dict
from SpineLandmarksLib.splits import lock
from SpineLandmarksLib.training.augment import GeometrySettings
from SpineLandmarksLib.training.losses import Losses
from SpineLandmarksLib.training.recipe import Recipe, load_recipe
from SpineLandmarksLib.transforms import Preparation

UNET = {"network": "unet", "filters": [8, 16, 16], "stride": 1}
XCEPTION = {"network": "xception", "width": 0.125}
SQUEEZED = Preparation("plain", size=(64, 64), intensity="equalize")


def tiny(name: str, heatmap: dict | None = None, loss: str = "mean_squared_error", **settings) -> Recipe:
    architecture = Architecture(heatmap, settings.pop("direct", None), {"sigma_px": 6.0}, loss, direct_size=64)
    preparation = settings.pop("preparation", Preparation(spacing_mm=4.0, multiple=32))
    geometry = GeometrySettings((3.0, 3.0), 5.0, (0.9, 1.1))
    common = {"crop": (64, 64), "steps": 500, "batch": 2, "precision": "float32"}
    return Recipe(name, architecture, preparation, geometry, **common, **settings)


TINY = {
    recipe.name: recipe
    for recipe in (
        tiny("seed-direct-small", direct=XCEPTION, direct_loss="mse", preparation=SQUEEZED, ema=0.0),
        tiny("seed-unet-small", UNET, "binary_cross_entropy", preparation=SQUEEZED, ema=0.0),
        tiny("scn-small", {"network": "scn_later", "filters": 4}),
        tiny(
            "scn-original-small",
            {"network": "scn_original", "filters": 4},
            optimizer="nesterov",
            learned_sigma=True,
            learning_rate=1e-6,
            ema=0.0,
        ),
        tiny("small", UNET, "softmax_cross_entropy"),
        tiny("default", UNET, "softmax_cross_entropy"),
    )
}


@pytest.fixture(scope="module")
def six_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_dataset(tmp_path_factory.mktemp("six"), 6, 0)


@pytest.fixture
def an_experiment(six_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Three steps a network, whatever the minutes."""
    monkeypatch.setattr(experiment, "steps_within", lambda *_: 3)
    monkeypatch.setattr(product, "STEPS", 5)
    return Experiment(six_patients, tmp_path / "out", 1.0, recipe_of=TINY.__getitem__, say=lambda _: None)


class Watched:
    """`train`, and what it was given to learn from."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.trained: list[str] = []
        self.learned: list[set[str]] = []
        train, load_cases = experiment.train, experiment.load_cases

        def watched_cases(rows, *rest):
            self.learned.append({row.group for row in rows})
            return load_cases(rows, *rest)

        def watched_train(recipe, *rest, **named):
            self.trained.append(recipe.name)
            return train(recipe, *rest, **named)

        monkeypatch.setattr(experiment, "load_cases", watched_cases)
        monkeypatch.setattr(experiment, "train", watched_train)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def keyed(*keys: str):
    return chosen(seed_rows(), keys)


def test_every_row_judges_every_slice_once_and_products_use_the_networks_that_are_there(
    an_experiment: Experiment, watched: Watched
) -> None:
    lines = run_folds(an_experiment, seed_rows(), 2)
    assert [line.row.key for line in lines] == [
        "mean-place",
        "direct",
        "unet",
        "unet-chain",
        "product-fixed",
        "product-learned",
        "scn-original",
        "scn-later",
        "small",
        "default",
    ]
    assert sorted(watched.trained) == sorted([*TINY] * 2)
    for line in lines:
        assert line.predictions.image_names == tuple(an_experiment.annotated)
        assert len(set(line.predictions.groups)) == 6
        assert summarize(line.predictions, bootstrap=0)["n_points"] == int(line.predictions.valid.sum())
    peaks = [line.predictions for line in lines if line.row.decoder == "peak"]
    assert len(peaks) == 5
    assert all(each.found.all() for each in peaks)
    fixed, learned = ({value for result in line.results for value in result.sigma_px} for line in lines[4:6])
    assert fixed == {6.0}
    assert 6.0 not in learned
    assert not np.allclose(lines[4].predictions.predicted_px, lines[2].predictions.predicted_px)


def test_a_fold_never_learns_from_the_patients_it_is_judged_on(an_experiment: Experiment, watched: Watched) -> None:
    run_folds(an_experiment, keyed("unet"), 3)
    parts = an_experiment.folds(3)
    for learned, part in zip(watched.learned, parts, strict=True):
        assert len(learned) == 4
        assert learned.isdisjoint({row.group for row in part.judge})
    assert {row.group for part in parts for row in part.judge} == {
        row.group for row in an_experiment.annotated.values()
    }
    assert [part.split for part in parts] == [f"fold {i} of 3 of 6 patients, split seed 0" for i in (1, 2, 3)]


def test_a_second_run_trains_nothing_and_says_the_same(an_experiment: Experiment, watched: Watched) -> None:
    (before,) = run_folds(an_experiment, keyed("default"), 2)
    shutil.rmtree(an_experiment.folder / "networks")
    (after,) = run_folds(an_experiment, keyed("default"), 2)
    assert watched.trained == ["default"] * 2
    assert np.array_equal(before.predictions.predicted_px, after.predictions.predicted_px, equal_nan=True)
    assert before.results[0].trainings == after.results[0].trainings


def test_a_lost_result_is_judged_again_by_the_network_that_is_there(
    an_experiment: Experiment, watched: Watched
) -> None:
    (before,) = run_folds(an_experiment, keyed("unet"), 2)
    (an_experiment.folder / "results" / "unet" / "fold2.json").unlink()
    (after,) = run_folds(an_experiment, keyed("unet"), 2)
    assert len(watched.trained) == 2
    assert np.array_equal(before.predictions.predicted_px, after.predictions.predicted_px)


def test_a_network_that_was_cut_short_goes_on_from_its_checkpoint(
    an_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = an_experiment.folds(2)[0]
    whole, _ = replace(an_experiment, folder=an_experiment.folder / "whole").trained("default", part)
    train = experiment.train

    def killed(*given, **named):
        def stop(done: int, _: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        return train(*given, **{**named, "progress": stop})

    monkeypatch.setattr(experiment, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        an_experiment.trained("default", part)
    monkeypatch.setattr(experiment, "train", train)
    gone_on, training = an_experiment.trained("default", part)
    assert training.minutes is None
    for name, value in whole.state_dict().items():
        assert torch.equal(value, gone_on.state_dict()[name])


def test_a_network_whose_training_was_not_recorded_is_trained_again(
    an_experiment: Experiment, watched: Watched
) -> None:
    part = an_experiment.folds(2)[0]
    an_experiment.trained("default", part)
    (an_experiment.folder / "networks" / "default" / "fold1" / "training.json").unlink()
    an_experiment.trained("default", part)
    assert len(watched.trained) == 2


def test_results_of_another_data_set_are_not_taken_for_these(
    an_experiment: Experiment, a_phantom_dataset: Path, watched: Watched
) -> None:
    run_folds(an_experiment, keyed("mean-place"), 2)
    with pytest.raises(DatasetError, match="on each of 4 slices once"):
        run_folds(replace(an_experiment, data=a_phantom_dataset), keyed("mean-place"), 2)


def test_a_locked_patient_is_neither_learned_from_nor_judged(
    an_experiment: Experiment, watched: Watched, tmp_path: Path
) -> None:
    data = tmp_path / "locked"
    shutil.copytree(an_experiment.data, data)
    patient = sorted(row.group for row in an_experiment.annotated.values())[0]
    lock(data, [patient])
    (line,) = run_folds(replace(an_experiment, data=data), keyed("unet"), 2)
    assert len(line.predictions) == 5
    assert patient not in {*line.predictions.groups, *watched.learned[0], *watched.learned[1]}


def test_divergence_is_a_row_of_misses_that_says_so(
    an_experiment: Experiment, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def diverge(*_, **__):
        raise RecipeError("expected a finite loss at step 2")

    monkeypatch.setattr(experiment, "train", diverge)
    lines = run_folds(an_experiment, keyed("unet", "product-fixed"), 2)
    assert not any(line.predictions.found.any() for line in lines)
    publish(arguments(an_experiment, "seeds"), "About.", [(line.row.title, line) for line in lines])
    said = capsys.readouterr().out.splitlines()
    unet, unet_how = (line for line in said if "U-Net" in line)
    _, product_how = (line for line in said if "product" in line)
    assert unet.startswith("| U-Net alone (binary cross-entropy) | – | – | 0.0 ")
    assert unet_how.endswith(f"| largest peak | diverged in 2 of 2; {UNET_NOTE} |")
    assert product_how.endswith("| diverged in 2 of 2 |")


def arguments(an_experiment: Experiment, kind: str) -> argparse.Namespace:
    return argparse.Namespace(output=an_experiment.folder, kind=kind, document=None)


def test_the_steps_are_those_that_the_minutes_are_enough_for(
    an_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 minutes at 0.25 s a step are 480 steps, on every fold."""
    monkeypatch.setattr(budget, "seconds_per_step", lambda *_: 0.25)
    assert budget.steps_within(2.0, TINY["default"], None, 11, "cpu") == 480
    assert budget.steps_within(0.001, TINY["default"], None, 11, "cpu") == 1
    for part in an_experiment.folds(2):
        _, training = an_experiment.trained("default", part)
        assert (training.steps, training.batch, training.recipe) == (3, 2, "default")
        monkeypatch.setattr(experiment, "steps_within", lambda *_: 999)


def test_a_step_is_timed_on_the_recipe_itself(an_experiment: Experiment) -> None:
    part = an_experiment.folds(2)[0]
    cases = experiment.load_cases(part.learn, LUMBAR11, TINY["default"].preparation)
    assert 0.001 < budget.seconds_per_step(TINY["default"], cases, 11, "cpu") < 5.0


def test_a_short_training_has_a_short_warm_up_and_a_short_memory() -> None:
    recipe = Recipe("long", warmup=150, ema=0.998, steps=4000)
    short = budget.shortened(recipe, 400)
    assert (short.steps, short.warmup, short.ema) == (400, 40, 0.98)
    assert budget.shortened(recipe, 8000) == replace(recipe, steps=8000)
    assert budget.shortened(recipe, 5).ema == 0.0


def test_a_folder_keeps_to_its_first_settings(an_experiment: Experiment) -> None:
    an_experiment.require_same_settings({"minutes": 2.0, "folds": 5})
    an_experiment.require_same_settings({"minutes": 2.0, "folds": 5})
    with pytest.raises(OutputError, match=r"minutes 2\.0 \(now 3\.0\)\. Choose another --output"):
        an_experiment.require_same_settings({"minutes": 3.0, "folds": 5})


def test_the_learned_sigma_is_the_error_of_the_direct_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat heatmaps and errors of 2 px in x, 5 px in y: with the target's own 1 px, sqrt(5) and sqrt(26)."""
    g = torch.Generator().manual_seed(0)
    truth = 32 + torch.randn((400, 1, 2), generator=g)
    mean = truth + torch.randn(truth.shape, generator=g) * torch.tensor([2.0, 5.0])
    monkeypatch.setattr(product, "network_outputs", lambda *_: (torch.zeros(400, 1, 64, 64), mean, truth))
    monkeypatch.setattr(product, "BATCH", 32)
    detector = Detector(Architecture(UNET, XCEPTION, {"sigma_px": 12.0}), 1)
    product.learn_sigma(detector, tiny("one", UNET, sigma_px=1.0), [], ["L1"])
    assert detector.fusion.sigma_px.detach()[0].tolist() == pytest.approx([5**0.5, 26**0.5], rel=0.1)
    assert not detector.fusion.raw_sigma.requires_grad


def test_the_mean_place_is_the_same_share_of_every_image(six_patients: Path) -> None:
    rows = load_annotations([six_patients], LUMBAR11)
    (place,) = mean_shape_baseline(rows[:1], LUMBAR11)(rows[1:2])
    (width, height), (w, h) = rows[0].size_wh, rows[1].size_wh
    expected = (points_of(rows[0], LUMBAR11) + 0.5) / (width, height) * (w, h) - 0.5
    assert place == pytest.approx(expected, nan_ok=True)


def test_scn_rests_at_its_first_sigma_while_it_predicts_nothing() -> None:
    """Half the squares of a target 100 g(sigma) sum to 100^2 / (8 pi sigma^2); with 20 sigma^2 / 2 that is least where
    sigma^4 = 100^2 / (4 pi 20), at 2.51 px."""
    recipe = replace(load_recipe("scn-original-small"), crop=(64, 64))
    sigma = LearnedSigma(2, 2.5)
    losses = Losses(recipe, Detector(Architecture({"network": "scn_original", "filters": 4}), 2), sigma)
    empty = Output(torch.zeros(1, 2, 64, 64), None, None, torch.zeros(1, 2, 64, 64))
    losses.heatmap_loss(empty, torch.full((1, 2, 2), 31.5), torch.ones(1, 2, dtype=torch.bool)).backward()
    penalty_alone = 20.0 / 2 * 2.5
    assert float(sigma.sigma_px.grad.abs().max()) < 0.03 * penalty_alone


def test_more_patients_hold_all_patients_of_fewer(an_experiment: Experiment) -> None:
    part = an_experiment.holdout(1)
    sets = [{row.group for row in nested(part, size, 0).learn} for size in (1, 3, 4, 5)]
    assert [len(each) for each in sets] == [1, 3, 4, 5]
    assert all(small < large for small, large in pairwise(sets))
    assert sets[-1].isdisjoint({row.group for row in part.judge})


def test_a_curve_has_each_row_at_each_size_on_the_same_patients(an_experiment: Experiment, watched: Watched) -> None:
    points = run_curve(an_experiment, chosen(CURVE_ROWS, ("default", "unet")), 2, (1, 4, 100))
    assert [(size, line.row.key) for size, line in points] == [(1, "default"), (4, "default"), (1, "unet"), (4, "unet")]
    assert [len(groups) for groups in watched.learned] == [1, 4, 1, 4]
    assert len({line.predictions.image_names for _, line in points}) == 1
    drawn = curve_plot([(size, line.row.title, summarize(line.predictions)["overall"]) for size, line in points])
    assert drawn.startswith(b"<?xml")
    assert b"<image" not in drawn
    assert drawn == curve_plot([(s, line.row.title, summarize(line.predictions)["overall"]) for s, line in points])
    with pytest.raises(DatasetError, match="Expected 100 patients or more to learn from; got 4"):
        run_curve(an_experiment, CURVE_ROWS, 2, (100,))


@pytest.fixture
def hands(an_experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Six patients whose landmarks are no chain, and a recipe of two steps."""
    monkeypatch.setattr(hands_module, "SIZES", (2, 4))
    longer = replace(hands_module.NETWORKS[-1], settings={**hands_module.UNET, "steps": 3})
    monkeypatch.setattr(hands_module, "NETWORKS", (*hands_module.NETWORKS[:-1], longer))
    data = tmp_path / "unordered"
    shutil.copytree(an_experiment.data, data)
    (data / "schema.json").write_text(json.dumps({"landmarks": LUMBAR11, "order": "none"}))
    recipe = replace(tiny("hands", {"network": "scn_later", "filters": 4}), steps=2)
    return replace(an_experiment, data=data, minutes=None, recipe_of={"hands": recipe}.__getitem__)


def test_hands_are_one_recipe_but_for_the_network_and_neither_is_told_the_spacing(
    hands: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, told = [], []
    train, load_cases, load_image = experiment.train, experiment.load_cases, decoding.read_annotated

    def watched_train(recipe, *rest, **named):
        trained.append(recipe)
        return train(recipe, *rest, **named)

    def watched_cases(rows, *rest):
        told.extend(row.spacing_mm for row in rows)
        return load_cases(rows, *rest)

    def watched_reading(localizer, rows):
        told.extend(row.spacing_mm for row in rows)
        return load_image(localizer, rows)

    monkeypatch.setattr(experiment, "train", watched_train)
    monkeypatch.setattr(experiment, "load_cases", watched_cases)
    monkeypatch.setattr(decoding, "read_annotated", watched_reading)
    points = run_hands(hands, hands_rows(), 2)
    assert [(line.row.key, size) for size, line in points] == [
        ("scn", 2), ("scn", 4), ("localization-unet", 2), ("localization-unet", 4),
        ("scn-finer", 4), ("localization-unet-longer", 4),
    ]  # fmt: skip
    networks = [recipe.architecture.heatmap.pop("network") for recipe in trained]
    assert networks == ["scn_later", "localization_unet"] * 3
    assert all(recipe == trained[0] for recipe in trained[:4])
    assert [recipe.crop for recipe in trained[4:]] == [(256, 320), (64, 64)]
    assert set(told) == {None}
    assert len(run_hands(hands, hands_rows(), 2, finished=True)) == len(points)
    with pytest.raises(OutputError, match="got none"):
        run_hands(replace(hands, folder=hands.folder / "none"), hands_rows(), 2, finished=True)
    assert len(trained) == 6
    assert len({line.predictions.image_names for _, line in points}) == 1
    assert np.isfinite(points[0][1].predictions.spacing_mm).all()  # distances are in mm all the same


def test_hands_are_refused_as_a_chain(an_experiment: Experiment) -> None:
    with pytest.raises(DatasetError, match='"order": "none"'):
        run_hands(an_experiment, hands_rows(), 2)


def test_outliers_are_what_is_not_within_and_differences_are_between_the_same_points(hands: Experiment) -> None:
    (_, line), *_ = run_hands(hands, hands_rows()[:1], 2)
    at = {"spacing_mm": np.ones((2, 2)), "valid": np.ones((2, 11), dtype=bool), "found": np.ones((2, 11), dtype=bool)}
    truth = np.arange(44.0).reshape(2, 11, 2) * 50
    off = np.array([0.0, 1.9, 2.1, 3.9, 4.1, 9.9, 10.1, 0.0, 0.0, 0.0, 0.0])[:, None] * [1.0, 0.0]
    exact = replace(line.predictions, truth_px=truth, predicted_px=truth, **at)
    coarse = replace(exact, predicted_px=truth + off)
    shares = {key: each["value"] for key, each in with_outliers(coarse)["outliers"].items()}
    assert shares == pytest.approx({"2": 5 / 11, "4": 3 / 11, "10": 1 / 11})
    other = replace(line, row=hands_rows()[1], predictions=coarse)
    said = differences([(4, replace(line, predictions=exact)), (4, other)])
    assert f"localization U-Net with 4: +{off.sum() / 11:.2f}" in said


def test_an_ablation_changes_one_part_at_a_time(
    an_experiment: Experiment, watched: Watched, a_phantom_dataset: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(a_phantom_dataset, other)
    rows = ablation_rows("default", [(a_phantom_dataset, 0.3), (other, 0.1)], None)
    name = f"without-{a_phantom_dataset.name}"
    assert [row.key for row in rows][-3:] == [name, "without-other", "data-alone"]
    kept = chosen(rows, ("reference", "lone-peaks", name, "data-alone"))
    lines = {line.row.key: line for line in run_ablation(an_experiment, kept, 2)}
    assert len(watched.trained) == 3  # lone peaks are read off the reference's network
    assert lines["lone-peaks"].predictions.found.all()
    both = {
        row.group for folder in (a_phantom_dataset, an_experiment.data) for row in load_annotations([folder], LUMBAR11)
    }
    judged = set(lines["reference"].predictions.groups)
    sizes = [
        json.loads((an_experiment.folder / "networks" / key / "holdout" / "run.json").read_text())["cases"]
        for key in ("reference", name, "data-alone")
    ]
    assert sizes == [12, 8, 4]
    assert len(judged & both) == 2


def test_a_change_of_a_recipe_leaves_the_rest_as_it_was() -> None:
    recipe = load_recipe("default")
    other = changed(recipe, {"architecture": {"heatmap_loss": "binary_cross_entropy"}, "ema": 0.0})
    assert other.architecture == replace(recipe.architecture, heatmap_loss="binary_cross_entropy")
    assert replace(other, architecture=recipe.architecture, ema=recipe.ema) == recipe
    fused = changed(recipe, FUSED)
    assert fused.architecture.direct == {"network": "xception", "width": 0.5}
    assert fused.architecture.heatmap == recipe.architecture.heatmap
    assert Detector(fused.architecture, 11).fusion.raw_sigma.requires_grad
    for row in ablation_rows("default", [], None):
        assert row.key in {
            "reference",
            "lone-peaks",
            "binary-cross-entropy",
            "no-intensity",
            "plain-geometry",
            "no-geometry",
            "fused-product",
            "no-average",
        }


@pytest.fixture
def a_fold_bundle(a_small_bundle: Bundle, an_experiment: Experiment, tmp_path: Path) -> Callable[..., str]:
    """Puts the small bundle where a training of fold 1 would have left it, with the run.json it is given."""

    def write(**said) -> str:
        run = {
            "data": str(an_experiment.data),
            "split": "fold 1 of 2 of 6 patients, split seed 0",
            "extra": {},
            "started_from": "open@1",
            "recipe": to_dict(TINY["default"]),
            **said,
        }
        shutil.copytree(a_small_bundle.folder, tmp_path / "run1" / "fold1", dirs_exist_ok=True)
        (tmp_path / "run1" / "run.json").write_text(json.dumps(run))
        return str(tmp_path / "run{fold}" / "fold{fold}")

    return write


def test_a_bundle_of_its_own_fold_is_judged_as_it_is(an_experiment: Experiment, a_fold_bundle) -> None:
    template = a_fold_bundle(extra={"data/other": 0.25})
    part = an_experiment.folds(2)[0]
    result = result_of(an_experiment, bundle_row("default", "ours", template), part)
    assert len(result.points) == len(part.judge)
    assert result.remark == "starts from open@1; also learns from other (25 % of draws)"
    (training,) = result.trainings
    small = Detector(Architecture({**UNET, "stride": 2}, stride=2), 11)
    assert training.parameters == sum(p.numel() for p in small.parameters())
    assert (training.steps, training.minutes) == (500, None)


@pytest.mark.parametrize(
    "said", [{"split": "fold 2 of 2 of 6 patients, split seed 0"}, {"data": "elsewhere"}, {"split": "all slices"}]
)
def test_a_bundle_that_has_seen_the_judged_patients_is_refused(an_experiment: Experiment, a_fold_bundle, said) -> None:
    row = bundle_row("default", "ours", a_fold_bundle(**said))
    with pytest.raises(DatasetError, match="fold 1 of 2 of 6 patients"):
        result_of(an_experiment, row, an_experiment.folds(2)[0])


def test_a_bundle_that_does_not_say_what_it_has_seen_is_refused(
    an_experiment: Experiment, a_fold_bundle, tmp_path: Path
) -> None:
    row = bundle_row("default", "ours", a_fold_bundle(extra={str(an_experiment.data): None}))
    with pytest.raises(DatasetError, match="other extra data"):
        result_of(an_experiment, row, an_experiment.folds(2)[0])
    (tmp_path / "run1" / "run.json").unlink()
    with pytest.raises(DatasetError, match=r"Expected run\.json"):
        result_of(an_experiment, row, an_experiment.folds(2)[0])


def test_minutes_are_read_from_the_events_of_every_start(tmp_path: Path) -> None:
    """Two starts of a minute and a half each; the hour between them was no training."""
    from torch.utils.tensorboard import SummaryWriter

    assert minutes_of(tmp_path) is None
    for start in (1000.0, 4600.0):
        writer = SummaryWriter(str(tmp_path), filename_suffix=str(start))
        for second in (0.0, 30.0, 90.0):
            writer.add_scalar("loss", 1.0, walltime=1e10 + start + second)
        writer.close()
    assert minutes_of(tmp_path) == pytest.approx(3.0)


OVERALL = {
    "mre_mm": {"value": 1.523, "low": 1.4, "high": 1.66},
    "median_mm": {"value": 1.2, "low": None, "high": None},
    "sdr": {
        t: {"value": v, "low": 0.5, "high": 1.0}
        for t, v in (("2", 0.8), ("2.5", 0.85), ("3", 0.9), ("4", 0.97), ("6", 0.98), ("8", 0.9996))
    },
    "level_shift_rate": {"value": 0.0002, "low": 0.0, "high": 0.001},
    "images_within_8_mm": {"value": 1.0, "low": 0.9, "high": 1.0},
}
TWO = (
    Training("u", "256 x 256 squeezed", "adam 0.001 cosine", 4, 300, 1.0, 2_000_000),
    Training("d", "160 x 160 squeezed", "adam 0.001 cosine", 8, 200, 1.25, 20_500_000),
)


def test_a_line_of_figures_says_intervals_and_never_rounds_up_to_all() -> None:
    results = [Result({}, TWO), Result({}, (TWO[0], replace(TWO[1], minutes=1.75)))]
    *_, line = table.figures_table([("a | b", OVERALL, results)]).splitlines()
    assert line == (
        "| a \\| b | 1.52 (1.40–1.66) | 1.20 | 80.0 (50.0–100.0) | 85.0 (50.0–100.0) | 90.0 (50.0–100.0) "
        "| 97.0 (50.0–100.0) | 98.0 (50.0–100.0) | 99.9 (50.0–100.0) | 0.1 (0.0–0.1) | 100.0 (90.0–100.0) "
        "| 22.5 | 2.5 |"
    )


def test_a_line_of_training_says_what_differs_between_networks_and_folds() -> None:
    results = [Result({}, TWO, (4.0, 6.26), "also this"), Result({}, (replace(TWO[0], steps=310), TWO[1]))]
    *_, line = table.training_table([("product", "peak", results, "poor")]).splitlines()
    assert line == (
        "| product | 256 x 256 squeezed + 160 x 160 squeezed | adam 0.001 cosine | 4 + 8 | 300–310 + 200 "
        "| largest peak | sigma 4.0–6.3 px; also this; poor |"
    )
    alone = [Result({}, (replace(TWO[0], minutes=None),))]
    assert table.minutes(alone) == "unknown"
    assert table.minutes([Result({}, ())]) == "0"


def test_a_row_below_the_mean_place_says_so(an_experiment: Experiment) -> None:
    lines = run_folds(an_experiment, keyed("mean-place", "default"), 2)
    options = arguments(an_experiment, "seeds")
    publish(options, "About.", [(line.row.title, line) for line in lines])
    *_, ours = (an_experiment.folder / "seeds.md").read_text("utf-8").splitlines()
    assert ours.startswith("| our default | 64 x 64 of 4 mm | adamw 0.001 cosine | 2 | 3 | chain |")
    worse = summarize(lines[1].predictions)["overall"]["mre_mm"]["value"]
    floor = summarize(lines[0].predictions)["overall"]["mre_mm"]["value"]
    assert ("no better than the mean place" in ours) == (worse is None or worse >= floor)


def test_the_command_writes_its_section_and_refuses_unknown_rows(
    six_patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("# Benchmarks\n")
    common = ["seeds", "--data", str(six_patients), "--output", str(tmp_path / "out"), "--folds", "2"]
    assert main([*common, "--rows", "mean-place", "--document", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.startswith("# Benchmarks\n\n<!-- seeds:begin -->\nOut of fold on 6 slices of ")
    assert text.count("| mean place, no network |") == 2
    assert str(tmp_path) not in text
    rows = json.loads((tmp_path / "out" / "seeds.json").read_text())["rows"]
    assert rows["mean place, no network"]["sdr"]["8"]["value"] < 1.0
    capsys.readouterr()
    assert main([*common, "--rows", "direkt"]) == 2
    assert "Expected rows of mean-place, direct" in capsys.readouterr().err
    assert main([*common, "--rows", "mean-place", "--minutes", "3"]) == 2
    assert "minutes 2.0 (now 3.0)" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "inf", "nan", "two"])
def test_minutes_are_a_positive_number(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["curve", "--data", "d", "--output", "o", "--minutes", text])
    assert "expected minutes such as 2 or 0.5" in capsys.readouterr().err


def test_all_experiments_may_share_one_folder(
    six_patients: Path,
    hands: Experiment,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(experiment, "steps_within", lambda *_: 2)
    monkeypatch.setattr(
        commands,
        "Experiment",
        partial(Experiment, recipe_of=lambda name: hands.recipe_of(name) if name == "hands" else TINY[name]),
    )
    monkeypatch.setattr(curve, "SIZES", (2, 3))
    page = tmp_path / "docs" / "benchmarks.md"
    common = ["--data", str(six_patients), "--output", str(tmp_path / "out"), "--document", str(page)]
    assert main(["seeds", *common, "--rows", "default", "--folds", "2"]) == 0
    assert main(["curve", *common, "--rows", "default", "--holdout", "2", "--minutes", "1"]) == 0
    assert main(["ablation", *common, "--rows", "reference", "--holdout", "2"]) == 0
    assert main(["hands", "--data", str(hands.data), *common[2:], "--holdout", "2"]) == 0
    text = page.read_text("utf-8")
    assert [line for line in text.splitlines() if line.endswith(":begin -->")] == [
        "<!-- seeds:begin -->",
        "<!-- curve:begin -->",
        "<!-- ablation:begin -->",
        "<!-- hands:begin -->",
    ]
    assert "Mean error less that of SCN" in text
    assert (page.parent / "images" / "hands.svg").is_file()
    assert text.count("| our default, 3 |") == 2
    assert (page.parent / "images" / "learning-curve.svg").is_file()
    assert "(images/learning-curve.svg)" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "seeds",
        "seeds.json",
        "seeds.md",
        "curve",
        "curve.json",
        "curve.md",
        "images",
        "ablation",
        "ablation.json",
        "ablation.md",
        "hands",
        "hands.json",
        "hands.md",
    }
