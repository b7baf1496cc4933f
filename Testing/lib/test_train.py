"""The training loop: it learns, it goes on where it stopped, and it says what is wrong."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BundleError, DatasetError, LandmarkError, RecipeError
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.training import train as training
from SpineLandmarksLib.training.augment import Batch, GeometrySettings
from SpineLandmarksLib.training.build import fit_prior
from SpineLandmarksLib.training.dataset import Cases, load_cases
from SpineLandmarksLib.training.losses import Losses
from SpineLandmarksLib.training.recipe import Recipe
from SpineLandmarksLib.training.train import draw_batches, make_training_state, rate, step, train, with_landmarks
from SpineLandmarksLib.transforms import Preparation

TINY = {"network": "unet", "filters": [8, 16, 16], "stride": 2}


@pytest.fixture(scope="module")
def a_recipe() -> Recipe:
    """A tiny U-Net on 64 x 64 crops of 4 mm pixels; batch 3 of 4 cases, so that rounds end inside batches."""
    return Recipe(
        "tiny",
        Architecture(heatmap=TINY, stride=2),
        Preparation(spacing_mm=4.0, multiple=8),
        GeometrySettings(shift_xy=(3.0, 3.0), rotation=5.0, scale=(0.9, 1.1)),
        crop=(64, 64),
        steps=6,
        batch=3,
        warmup=0,
        schedule="constant",
        precision="float32",
    )


@pytest.fixture(scope="module")
def a_few_cases(a_phantom_dataset: Path, a_recipe: Recipe) -> Cases:
    return load_cases(load_annotations([a_phantom_dataset], LUMBAR11), LUMBAR11, a_recipe.preparation)


def weights(detector: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in detector.state_dict().values()])


def a_batch(recipe: Recipe, cases: Cases) -> Batch:
    return next(
        draw_batches(recipe, cases, make_training_state(recipe, Detector(recipe.architecture, 11), 11, 0, "cpu"), 3)
    )


def test_the_loss_of_one_batch_goes_down(a_recipe: Recipe, a_few_cases: Cases) -> None:
    torch.manual_seed(0)
    recipe = replace(a_recipe, learning_rate=1e-2)
    state = make_training_state(recipe, Detector(recipe.architecture, 11), 11, 0, "cpu")
    losses = Losses(recipe, state.detector, None)
    batch = a_batch(recipe, a_few_cases)
    heatmap = [float(step(recipe, state, losses, batch, "cpu")["heatmap"]) for _ in range(30)]
    assert heatmap[-1] < 0.8 * heatmap[0]
    assert state.step == 30


def test_a_run_writes_its_settings_its_checkpoint_and_its_curves(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path
) -> None:
    detector = train(a_recipe, a_few_cases, 11, tmp_path / "run", origin={"data": "phantoms"})
    assert not detector.training
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["cases"], run["processes"], run["data"]) == (4, 1, "phantoms")
    assert (run["recipe"]["seed"], run["recipe"]["steps"]) == (0, 6)
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["step"] == 6
    assert list((tmp_path / "run").glob("events.out.tfevents*"))


@pytest.mark.parametrize(
    ("listed", "has_it"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx2 amx_tile amx_bf16\n", True),
        ("Features\t: fp asimd i8mm bf16\n", True),
        ("model name\t: bf16x\nflags\t\t: fpu avx2 avx512f\n", False),
    ],
)
def test_a_processor_tells_whether_it_has_bfloat16(listed: str, has_it: bool, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(listed)
    assert training.cpu_has_bfloat16(tmp_path / "cpuinfo") is has_it


@pytest.mark.parametrize("says", [True, False])
def test_without_such_a_list_pytorch_is_asked(says: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: says, raising=False)
    assert training.cpu_has_bfloat16(tmp_path / "missing") is says
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert not training.cpu_has_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize(("has_it", "used"), [(True, "bf16"), (False, "float32")])
def test_bfloat16_is_used_on_a_processor_that_has_it(
    has_it: bool, used: str, a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "cpu_has_bfloat16", lambda: has_it)
    recipe = replace(a_recipe, precision="bf16", steps=1)
    with training.autocast(recipe, "cpu"):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is (torch.bfloat16 if has_it else torch.float32)
    train(recipe, a_few_cases, 11, tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert (run["precision"], run["recipe"]["precision"]) == (used, "bf16")
    assert training.precision_on("cuda", "bf16") == "bf16"
    assert training.precision_on("cpu", "float32") == "float32"


def test_the_same_seed_gives_the_same_weights_and_another_does_not(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path
) -> None:
    short = replace(a_recipe, steps=2)
    one, two = (weights(train(short, a_few_cases, 11, tmp_path / name)) for name in "ab")
    other = weights(train(replace(short, seed=1), a_few_cases, 11, tmp_path / "c"))
    assert torch.equal(one, two)
    assert not torch.allclose(one, other)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path, ema: float
) -> None:
    """Killed after 3 of 7 steps of 3 images: 9 of the 12 in three rounds of 4 cases were drawn."""
    recipe = replace(a_recipe, steps=7, ema=ema)
    whole = train(recipe, a_few_cases, 11, tmp_path / "whole")
    train(replace(recipe, steps=3), a_few_cases, 11, tmp_path / "killed")
    torch.manual_seed(12345)
    resumed = train(recipe, a_few_cases, 11, tmp_path / "killed", resume=True)
    assert torch.load(tmp_path / "killed" / "checkpoint.pt", weights_only=True)["step"] == 7
    assert (weights(whole) - weights(resumed)).abs().max() < 1e-6


def test_dropout_goes_on_where_it_stopped(a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path) -> None:
    scn = Architecture(heatmap={"network": "scn_later", "filters": 4}, heatmap_loss="mean_squared_error", stride=1)
    recipe = replace(a_recipe, architecture=scn, steps=3)
    whole = train(recipe, a_few_cases, 11, tmp_path / "whole")
    train(replace(recipe, steps=1), a_few_cases, 11, tmp_path / "killed")
    resumed = train(recipe, a_few_cases, 11, tmp_path / "killed", resume=True)
    assert (weights(whole) - weights(resumed)).abs().max() < 1e-6


def test_a_finished_run_resumed_changes_nothing(a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path) -> None:
    done = train(replace(a_recipe, steps=2), a_few_cases, 11, tmp_path)
    again = train(replace(a_recipe, steps=2), a_few_cases, 11, tmp_path, resume=True)
    assert torch.equal(weights(done), weights(again))


def test_another_process_does_not_draw_what_the_first_draws_after_a_resume(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path
) -> None:
    train(replace(a_recipe, steps=1), a_few_cases, 11, tmp_path)
    drawn = []
    for rank in (0, 1):
        state = make_training_state(a_recipe, Detector(a_recipe.architecture, 11), 11, rank, "cpu")
        training.load_checkpoint(tmp_path / "checkpoint.pt", state, a_recipe, rank, "cpu")
        drawn.append(torch.rand(5, generator=state.generator))
    assert not torch.equal(*drawn)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "another architecture"])
def test_a_checkpoint_that_does_not_fit_is_one_clear_error(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path, damage: str
) -> None:
    recipe, path = replace(a_recipe, steps=1), tmp_path / "checkpoint.pt"
    train(recipe, a_few_cases, 11, tmp_path)
    content = path.read_bytes()
    if damage == "another architecture":
        recipe = replace(recipe, architecture=Architecture(heatmap={**TINY, "filters": [8, 16, 24]}, stride=2))
    else:
        path.write_bytes({"truncated": content[:-2000], "empty": b"", "garbage": b"checkpoint"}[damage])
    with pytest.raises(BundleError, match="Expected a whole checkpoint of recipe tiny") as error:
        train(recipe, a_few_cases, 11, tmp_path, resume=True)
    assert "\n" not in str(error.value)


def test_weights_to_start_from_must_fit(a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path) -> None:
    start = Detector(a_recipe.architecture, 11).state_dict()
    tuned = train(replace(a_recipe, steps=1, learning_rate=1e-9, ema=0.0), a_few_cases, 11, tmp_path, start_from=start)
    kernel = "heatmap_net.output_block.conv.conv.weight"
    assert torch.allclose(tuned.state_dict()[kernel], start[kernel], atol=1e-6)
    with pytest.raises(BundleError, match="to start from"):
        train(a_recipe, a_few_cases, 11, tmp_path, start_from={"x": torch.zeros(1)})


def test_a_loss_that_is_no_number_stops_the_run_and_spares_the_checkpoint(
    a_recipe: Recipe, a_few_cases: Cases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(replace(a_recipe, steps=1), a_few_cases, 11, tmp_path)
    before = (tmp_path / "checkpoint.pt").read_bytes()

    def diverged(recipe: Recipe, t: training.TrainingState, *_: object) -> dict[str, torch.Tensor]:
        t.step += 1
        return {"heatmap": torch.tensor(float("nan"))}

    monkeypatch.setattr(training, "step", diverged)
    with pytest.raises(RecipeError, match=r"finite loss at step 3.*Try a lower learning_rate"):
        train(replace(a_recipe, steps=3), a_few_cases, 11, tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before


XCEPTION = {"network": "xception", "width": 0.125}
PATHS = {
    "the paper's": (
        Architecture(
            {"network": "unet", "filters": [8, 16, 16], "stride": 1},
            XCEPTION,
            {"sigma_px": 12.0},
            "binary_cross_entropy",
            1,
            64,
        ),
        {"direct_loss": "mse"},
        {"heatmap", "direct"},
    ),
    "a learned fusion": (
        Architecture(TINY, XCEPTION, {"learned": True, "use_spread": True}, stride=2, direct_size=64),
        {"fusion_weight": 0.5},
        {"heatmap", "direct", "fusion"},
    ),
    "direct regression alone": (
        Architecture(None, XCEPTION, stride=2, direct_size=64),
        {"direct_weight": 2.0},
        {"direct"},
    ),
    "SCN with learned sigma": (
        Architecture({"network": "scn_original", "filters": 4}, heatmap_loss="mean_squared_error", stride=1),
        {"learned_sigma": True, "optimizer": "nesterov", "learning_rate": 1e-6},
        {"heatmap"},
    ),
    "SCN fused": (
        Architecture({"network": "scn_later", "filters": 4}, XCEPTION, {"learned": True}, "mean_squared_error", 1, 64),
        {"fusion_weight": 1.0, "optimizer": "adam", "precision": "bf16"},
        {"heatmap", "direct", "fusion"},
    ),
}


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("known", ["all", "none of the first image", "none at all"])
def test_every_loss_is_finite_and_reaches_its_weights(
    a_recipe: Recipe, a_few_cases: Cases, path: str, known: str
) -> None:
    architecture, settings, parts = PATHS[path]
    recipe = replace(a_recipe, architecture=architecture, **settings)
    torch.manual_seed(1)
    state = make_training_state(recipe, Detector(architecture, 11), 11, 0, "cpu")
    losses = Losses(recipe, state.detector, state.sigma)
    batch = a_batch(recipe, a_few_cases)
    rows = {"all": 0, "none of the first image": 1, "none at all": 3}[known]
    points, valid = batch.points_px.clone(), batch.valid.clone()
    points[:rows], valid[:rows] = float("nan"), False
    before = {name: p.detach().clone() for name, p in losses.named_parameters() if p.requires_grad}
    made = step(recipe, state, losses, Batch(batch.image, points, valid), "cpu")
    assert set(made) == parts
    assert all(torch.isfinite(value) for value in made.values())
    after = dict(losses.named_parameters())
    assert all(torch.isfinite(value).all() for value in after.values())
    if known == "all":
        moved = {
            name.split(".")[0] if "detector" not in name else name.split(".")[1]
            for name, value in before.items()
            if not torch.equal(value, after[name])
        }
        expected = {"heatmap_net"} if "heatmap" in parts else set()
        expected |= {"direct_net"} if "direct" in parts else set()
        expected |= {"fusion"} if "fusion" in parts else set()
        expected |= {"sigma"} if recipe.learned_sigma else set()
        assert moved == expected


def test_a_round_draws_every_case_once_and_a_weight_of_zero_never(a_recipe: Recipe, a_few_cases: Cases) -> None:
    g = torch.Generator().manual_seed(0)
    assert sorted(training.draw_round(a_few_cases, g).tolist()) == [0, 1, 2, 3]
    weighted = replace(a_few_cases, weight=torch.tensor([1.0, 0.0, 3.0, 0.0]))
    drawn = torch.cat([training.draw_round(weighted, g) for _ in range(500)])
    assert set(drawn.tolist()) == {0, 2}
    assert float((drawn == 2).float().mean()) == pytest.approx(0.75, abs=0.05)


def test_the_rate_warms_up_and_falls_to_a_hundredth(a_recipe: Recipe) -> None:
    cosine = replace(a_recipe, schedule="cosine", warmup=10, steps=100)
    assert rate(cosine, 4) == pytest.approx(0.5, abs=0.01)
    assert rate(cosine, 50) == pytest.approx(0.505, abs=1e-3)
    assert rate(cosine, 100) == pytest.approx(0.01, abs=1e-6)
    assert [rate(a_recipe, done) for done in (0, 5, 99)] == [1.0, 1.0, 1.0]


def test_data_that_cannot_make_a_prior_are_refused_before_training(a_phantom_dataset: Path) -> None:
    rows = load_annotations([a_phantom_dataset], LUMBAR11)
    with pytest.raises(LandmarkError, match="never so: T12-L1 and L1, L1 and L1-L2"):
        fit_prior([replace(row, points_xy={"L1": (1.0, 2.0), "L3": (3.0, 4.0)}) for row in rows], LUMBAR11)
    with pytest.raises(DatasetError, match="spacing_mm"):
        fit_prior([replace(row, spacing_mm=None, points_xy={}) for row in rows], LUMBAR11)


@pytest.fixture
def a_recipe_file(tmp_path: Path) -> Path:
    settings = {
        "architecture": {"heatmap": TINY, "direct": XCEPTION, "stride": 2, "direct_size": 64},
        "preparation": {"spacing_mm": 4.0, "multiple": 8},
        "crop": [64, 64],
        "steps": 2,
        "batch": 4,
        "warmup": 0,
        "direct_loss": "mse",
        "ema": 0.5,
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_a_resumed_command_with_a_damaged_checkpoint_is_one_line(
    a_recipe_file: Path, a_phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint.pt").write_bytes(b"PK\x03\x04 cut short")
    arguments = ["train", "--recipe", str(a_recipe_file), "--data", str(a_phantom_dataset)]
    assert main([*arguments, "--output", str(tmp_path / "run"), "--resume", "--device", "cpu"]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("spine-landmarks: Expected a whole checkpoint")


def test_a_data_set_named_twice_would_teach_what_it_holds_out(
    a_recipe_file: Path, a_phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = a_phantom_dataset / ".." / a_phantom_dataset.name
    for extra in ([again], [tmp_path, tmp_path / "." / ""]):
        options = [part for folder in extra for part in ("--extra", str(folder))]
        arguments = ["train", "--recipe", str(a_recipe_file), "--data", str(a_phantom_dataset), *options]
        assert main([*arguments, "--holdout", "1", "--output", str(tmp_path / "run")]) == 2
        assert "Expected each data set once; got " in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_training_goes_on_with_its_own_data_and_split_alone(
    a_recipe_file: Path, a_phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Else what has been learned from would judge the result, and `run.json` would not tell."""
    moved, other = tmp_path / "moved" / a_phantom_dataset.name, tmp_path / "other"
    for folder in (moved, other):
        shutil.copytree(a_phantom_dataset, folder)
    arguments = ["train", "--recipe", str(a_recipe_file), "--output", str(tmp_path / "run"), "--device", "cpu"]
    assert main([*arguments, "--data", str(a_phantom_dataset)]) == 0
    run = (tmp_path / "run" / "run.json").read_text()
    capsys.readouterr()
    for options, said in (
        (["--data", str(a_phantom_dataset), "--holdout", "1"], "Expected the split of the training in "),
        (["--data", str(other)], "Expected the data of the training in "),
        (["--data", str(a_phantom_dataset), "--extra", str(other)], "Expected the extra of the training in "),
    ):
        assert main([*arguments, *options, "--separate-patients", "--resume"]) == 2
        assert said in capsys.readouterr().err
        assert (tmp_path / "run" / "run.json").read_text() == run
    assert main([*arguments, "--data", str(moved), "--resume"]) == 0


def test_two_processes_train_one_bundle(a_recipe_file: Path, a_phantom_dataset: Path, tmp_path: Path) -> None:
    """The one test of several processes; `mse` leaves the head of spreads without a gradient, which DDP must bear."""
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "SpineLandmarksLib",
        "train",
        "--recipe",
        str(a_recipe_file),
        "--data",
        str(a_phantom_dataset),
        "--output",
        str(tmp_path / "run"),
        "--device",
        "cpu",
        "--holdout",
        "1",
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("Written:") == 1
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (run["processes"], run["cases"]) == (2, 3)
    assert run["split"] == "1 held-out patients of 4, split seed 0"
    assert load_bundle(tmp_path / "run" / "bundle").calibration.fitted_on.startswith("1 slices of")
    assert (tmp_path / "run" / "bundle" / "docs" / "metrics.json").is_file()


def test_weights_go_to_other_landmarks_by_their_names() -> None:
    old, new = ("a", "b", "c"), ("c", "d", "a", "e")
    weights = {"head.weight": torch.arange(6.0).reshape(3, 2), "trunk.weight": torch.ones(4, 2)}
    moved = with_landmarks(weights, old, new)
    assert moved["head.weight"].tolist() == [[4.0, 5.0], [0.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert torch.equal(moved["trunk.weight"], weights["trunk.weight"])
    assert with_landmarks(weights, old, old) is weights
