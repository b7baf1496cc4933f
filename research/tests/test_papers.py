"""The papers' networks: each a change of a shipped recipe, their course told by networks that are kept on the way."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from research.experiments import experiment as experiment_module
from research.experiments import papers, product
from research.experiments.__main__ import main
from research.experiments.experiment import Experiment, kept_weights, stage_ends
from research.experiments.papers import (
    DIRECT,
    NETWORKS,
    UNET,
    Stage,
    course_plot,
    course_table,
    losses_of,
    papers_recipe,
    papers_rows,
    run_course,
    run_papers,
)
from research.experiments.rows import chosen
from SpineLandmarksLib.bundle import WEIGHTS
from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.training.augment import GeometrySettings
from SpineLandmarksLib.training.recipe import Recipe
from SpineLandmarksLib.transforms import Preparation

SQUEEZED = Preparation("plain", size=(64, 64), intensity="equalize")
SMALL_UNET = {"network": "unet", "filters": [8, 16, 16], "stride": 1}


def tiny(name: str) -> Recipe:
    """The network `name`, small: what is published of it does not matter here."""
    is_direct = papers_recipe(name).architecture.heatmap is None
    direct = {"network": "xception", "width": 0.125} if is_direct else None
    architecture = Architecture(None if is_direct else SMALL_UNET, direct, {"sigma_px": 6.0}, direct_size=64)
    geometry = GeometrySettings((3.0, 3.0), 5.0, (0.9, 1.1))
    short = {"crop": (64, 64), "steps": 6, "batch": 2, "precision": "float32", "ema": 0.5}
    return Recipe(name, architecture, SQUEEZED, geometry, **short)


@pytest.fixture(scope="module")
def four_patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_dataset(tmp_path_factory.mktemp("four"), 4, 0)


@pytest.fixture
def an_experiment(four_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    monkeypatch.setattr(product, "STEPS", 5)
    return Experiment(four_patients, tmp_path / "out", None, recipe_of=tiny, say=lambda _: None, stages=3)


def test_every_network_has_a_recipe_that_trains_and_the_products_multiply_two_of_them() -> None:
    keys = [each.key for each in NETWORKS]
    assert len(set(keys)) == len(keys)
    assert {UNET, DIRECT} <= set(keys)
    for network in NETWORKS:
        recipe = papers_recipe(network.key)
        assert (recipe.architecture.heatmap is None) == network.key.startswith("direct")
        assert Detector(recipe.architecture, 11)
    assert papers_recipe(UNET).crop == (512, 512)
    assert papers_recipe("direct-299").architecture.direct_size == 299


def test_stages_are_equal_parts_that_end_with_the_training() -> None:
    assert stage_ends(1500, 6) == [250, 500, 750, 1000, 1250, 1500]
    assert stage_ends(7, 3) == [2, 5, 7]
    assert stage_ends(2, 6) == [1, 2]
    assert stage_ends(500, 1) == [500]


def test_a_training_in_stages_is_the_training_in_one(an_experiment: Experiment, tmp_path: Path) -> None:
    part = an_experiment.holdout(2)
    staged, facts = an_experiment.trained(UNET, part)
    whole, _ = replace(an_experiment, folder=tmp_path / "whole", stages=1).trained(UNET, part)
    assert staged is not None
    assert whole is not None
    assert facts.steps == 6
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(staged.state_dict()[name], value, msg=name)
    course = an_experiment.course(UNET, part)
    assert [steps for steps, _ in course] == [2, 4, 6]
    weights = [detector.state_dict()["heatmap_net.output_block.conv.conv.weight"] for _, detector in course]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[2], staged.state_dict()["heatmap_net.output_block.conv.conv.weight"])


def test_a_training_that_is_killed_between_stages_keeps_those_that_are_there(
    an_experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    part, train = an_experiment.holdout(2), experiment_module.train
    calls: list[int] = []

    def killed_in_the_second(*given, **named):
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*given, **named)

    monkeypatch.setattr(experiment_module, "train", killed_in_the_second)
    with pytest.raises(KeyboardInterrupt):
        an_experiment.trained(UNET, part)
    folder = an_experiment.folder / "networks" / UNET / "holdout"
    assert (folder / "2" / WEIGHTS).is_file()
    before = (folder / "2" / WEIGHTS).read_bytes()
    _, facts = an_experiment.trained(UNET, part)
    assert len(calls) == 4  # two of the first run, the second and third stage of this one
    assert facts.minutes is None  # how long it took before is not known
    assert (folder / "2" / WEIGHTS).read_bytes() == before
    assert len(an_experiment.course(UNET, part)) == 3


def test_a_network_that_diverges_has_no_course(an_experiment: Experiment, monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_, **__):
        raise RecipeError("expected a finite loss at step 2")

    monkeypatch.setattr(experiment_module, "train", diverge)
    rows = chosen(papers_rows(), (UNET,))
    (line,) = run_papers(an_experiment, rows, 2)
    assert not line.predictions.found.any()
    assert run_course(an_experiment, rows, 2) == []


def test_what_is_kept_is_the_average_where_there_is_one(tmp_path: Path) -> None:
    recipe = tiny(UNET)
    plain, mean = (Detector(recipe.architecture, 11) for _ in range(2))
    torch.save({"detector": plain.state_dict(), "step": 2}, tmp_path / "plain.pt")
    average = {f"module.{name}": value for name, value in mean.state_dict().items()} | {"n_averaged": torch.tensor(2)}
    torch.save({"detector": plain.state_dict(), "average": average}, tmp_path / "mean.pt")
    for file, expected in (("plain.pt", plain), ("mean.pt", mean)):
        kept = kept_weights(tmp_path / file, Detector(recipe.architecture, 11))
        for name, value in expected.state_dict().items():
            assert torch.equal(kept.state_dict()[name], value)


def test_the_course_names_each_stage_and_its_loss(an_experiment: Experiment) -> None:
    rows = chosen(papers_rows(), (UNET, DIRECT, "product-fixed"))
    lines = run_papers(an_experiment, rows, 2)
    assert [line.row.key for line in lines] == [row.key for row in rows]
    stages = run_course(an_experiment, rows, 2)
    assert [round(each.share, 2) for each in stages] == [0.33, 0.67, 1.0] * 2
    final = [each for each in stages if each.share == 1.0]
    assert all(each.loss is not None and math.isfinite(each.loss) for each in final)
    losses = losses_of(an_experiment.folder / "networks" / UNET / "holdout")
    assert losses[-1][0] == 6
    head, _, *body = course_table(stages).splitlines()
    assert head.endswith("| 33 % | 67 % | 100 % |")
    assert len(body) == 2
    assert all(line.count("|") == 5 for line in body)
    assert course_plot(stages).startswith(b"<?xml")


def test_a_stage_without_a_recorded_loss_is_shown_without(an_experiment: Experiment) -> None:
    overall = {"sdr": {"8": {"value": 0.5}}, "median_mm": {"value": None}}
    stages = [Stage("a", 0.5, None, overall), Stage("a", 1.0, 0.125, overall)]
    *_, line = course_table(stages).splitlines()
    assert line == "| a | 50.0 | 50.0 (0.125) |"
    assert course_plot(stages).startswith(b"<?xml")


def test_the_command_writes_what_is_finished(
    four_patients: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(papers, "papers_recipe", tiny)
    monkeypatch.setattr("research.experiments.commands.papers_recipe", tiny)
    page = tmp_path / "docs" / "benchmarks.md"
    common = ["papers", "--data", str(four_patients), "--output", str(tmp_path / "out"), "--holdout", "2"]
    assert main([*common, "--rows", f"mean-place,{UNET}"]) == 0
    capsys.readouterr()
    assert main([*common, "--finished", "--document", str(page)]) == 0
    text = page.read_text("utf-8")
    assert text.startswith("<!-- papers:begin -->\n2 held-out patients of ")
    assert "(images/papers.svg)" in text
    assert (page.parent / "images" / "papers.svg").is_file()
    rows = json.loads((tmp_path / "out" / "papers.json").read_text())["rows"]
    assert list(rows) == ["mean place, no network", NETWORKS[[n.key for n in NETWORKS].index(UNET)].title]
