"""The simulated loop: rounds are played once, kept, and summed up as they are; and what fine-tuning takes over."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from research.simulation import simulation
from research.simulation.__main__ import main
from research.simulation.report import gains, paired, series, table, verdict
from research.simulation.simulation import SimulationRound, SimulationSettings, rounds_of
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import METADATA, Bundle, read_settings
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.splits import holdout
from SpineLandmarksLib.training.finetune import finetuning_recipe


@pytest.fixture(scope="module")
def seven_spines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom_dataset(tmp_path_factory.mktemp("seven"), 7, 3)


def simulate(data: Path, bundle: Bundle, output: Path, minutes: float = 10, steps: int = 1, *more: str) -> int:
    numbers = {"start": 2, "step": 2, "until": 4, "seeds": 1, "steps": steps, "holdout": 2}
    arguments = [f"--{name}={value}" for name, value in numbers.items()]
    given = [str(data), f"--bundle={bundle.folder}", f"--output={output}", f"--minutes={minutes}", "--device=cpu"]
    return main([*given, *arguments, *more])


@pytest.fixture(scope="module")
def a_played(seven_spines: Path, a_small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One seed: two studies in common, then two more by queue and two at random."""
    output = tmp_path_factory.mktemp("played") / "simulation"
    document = f"--document={output / 'docs' / 'loop.md'}"
    assert simulate(seven_spines, a_small_bundle, output, 10, 1, document) == 0
    return output


def test_every_round_is_kept_with_what_was_corrected(a_played: Path, seven_spines: Path) -> None:
    rounds = {one.strategy: one for one in rounds_of(a_played)}
    assert sorted(rounds) == ["base", "queue", "random", "start"]
    start, queue, by_chance = (rounds[name] for name in ("start", "queue", "random"))
    assert len(start.corrected) == 2
    for one in (queue, by_chance):
        assert one.corrected[:2] == start.corrected
        assert len(set(one.corrected)) == 4
        assert one.seconds > start.seconds >= 2 * 15
    assert sum(queue.reasons.values()) == 2
    rows = load_annotations([seven_spines], LUMBAR11)
    judges = {rows[row].image.stem for row in holdout([each.group for each in rows], 2, 0)[1]}
    assert not judges & {*queue.corrected, *by_chance.corrected}
    left = sorted(path.name for path in (a_played / "seed0" / "queue" / "004").iterdir())
    assert left == ["model.safetensors", "round.json"]


def test_the_document_has_the_table_and_the_plot(a_played: Path) -> None:
    text = (a_played / "docs" / "loop.md").read_text()
    assert text.count("| 4 | queue | 1 |") == 1
    assert "](images/simulation.svg)" in text
    assert (a_played / "docs" / "images" / "simulation.svg").read_bytes() == (a_played / "curves.svg").read_bytes()


def test_what_was_played_is_not_played_again(
    a_played: Path, seven_spines: Path, a_small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_more(*_, **__):
        raise AssertionError("a round was played")

    monkeypatch.setattr(simulation.Simulation, "_play", no_more)
    assert simulate(seven_spines, a_small_bundle, a_played) == 0


def test_another_simulation_is_not_mixed_in(
    a_played: Path, seven_spines: Path, a_small_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    assert simulate(seven_spines, a_small_bundle, a_played, steps=9) == 2
    assert "steps 1 (now 9). Choose another --output" in capsys.readouterr().err


def test_more_studies_than_there_are_cannot_be_corrected(a_phantom_dataset, a_small_bundle, tmp_path, capsys) -> None:
    assert simulate(a_phantom_dataset, a_small_bundle, tmp_path / "none") == 2
    assert "Expected at least 4 studies beside the hold-out; got 2" in capsys.readouterr().err


# Reports, from rounds made by hand


def a_round(seed: int, strategy: str, count: int, mre_mm: float) -> SimulationRound:
    names = tuple(f"study{number}" for number in range(count))
    return SimulationRound(seed, strategy, names, 60.0 * count, True, "", mre_mm, 0.5, 0.8, 0.0, mre_mm, 0.8)


@pytest.fixture
def three_seeds() -> list[SimulationRound]:
    """Queue minus random at 30 studies: -0.1, -0.2 and -0.3 mm."""
    rounds = [a_round(0, "base", 0, 5.0)]
    for seed in range(3):
        rounds += [
            a_round(seed, "start", 15, 4.0),
            a_round(seed, "random", 30, 3.0),
            a_round(seed, "queue", 30, 2.9 - seed / 10),
        ]
    return rounds


def test_orders_are_compared_within_each_seed(three_seeds: list[SimulationRound]) -> None:
    (count, seeds, mean, low, high), *others = paired(three_seeds)
    assert (count, seeds, others) == (30, 3, [])
    # Standard deviation 0.1 over three seeds; Student's t of 2 degrees of freedom is 4.303.
    assert (mean, low, high) == pytest.approx((-0.2, -0.2 - 0.2484, -0.2 + 0.2484), abs=1e-3)
    assert verdict(three_seeds).endswith("the queue is not shown to beat a random order.")
    assert verdict(
        [
            *three_seeds,
            *(a_round(seed, *rest) for seed in range(3, 9) for rest in (("random", 30, 3.0), ("queue", 30, 2.8))),
        ]
    ).endswith("the queue is better.")
    assert verdict(three_seeds[:4]).endswith("-0.10 mm of MRE over 1 seeds: one seed cannot tell.")
    assert verdict(three_seeds[:1]) == "No round was played by both orders yet."


def test_the_gain_from_the_first_to_the_last_round_is_told(three_seeds: list[SimulationRound]) -> None:
    settings = SimulationSettings("data", "bundle", until=75, seeds=3)
    rounds = [*three_seeds, a_round(0, "queue", 75, 2.0), a_round(1, "queue", 75, 2.9), a_round(2, "random", 75, 3.0)]
    assert gains(rounds, settings) == (
        "From 30 to 75 corrected studies the MRE of the model in use goes, by queue 2.85 -> 2.45 mm (falls in 1 of 2 "
        "seeds) and by random 3.00 -> 3.00 mm (falls in 0 of 1 seeds)."
    )
    assert gains(three_seeds, settings) == "No order was played from 30 to 75 corrected studies yet."


def test_the_table_has_mean_and_range_over_the_seeds(three_seeds: list[SimulationRound]) -> None:
    lines = table(three_seeds, SimulationSettings("data", "bundle", until=30, seeds=3)).splitlines()
    assert [line.split("|")[1:4] for line in lines[2:]] == [
        [" 0 ", " - ", " 1 "],
        [" 15 ", " random ", " 3 "],
        [" 30 ", " queue ", " 3 "],
        [" 30 ", " random ", " 3 "],
    ]
    assert "| 2.80 (2.70 to 2.90) |" in lines[4]
    assert sorted(series(three_seeds, "random")) == [0, 15, 30]


# Fine-tuning


def test_fine_tuning_keeps_what_counts_in_the_pixels_of_the_bundle(a_small_bundle: Bundle) -> None:
    own = read_settings(a_small_bundle.folder / METADATA)["recipe"]
    recipe = finetuning_recipe(a_small_bundle, steps=20)
    assert recipe.preparation == a_small_bundle.preparation
    assert (list(recipe.crop), recipe.sigma_px) == (list(own["crop"]), own["sigma_px"])
    assert json.loads(json.dumps(asdict(recipe.geometry))) == own["geometry"]
    assert (recipe.steps, recipe.warmup, recipe.learning_rate) == (20, 2, 3e-4)
    assert recipe.ema == pytest.approx(0.6)  # 1 - 8 / 20
    assert finetuning_recipe(a_small_bundle).ema == 0.97
