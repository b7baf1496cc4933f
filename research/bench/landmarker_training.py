"""The networks and the two recipes of landmarker_side_by_side.py, each trained for the same minutes.

To run it:

    theirs   the example of landmarker 0.4.1 for cephalograms: its data set, MONAI transforms, learned Gaussian targets,
             L2 loss, Nesterov SGD 1e-6, batch 1; without early stopping, so that the minutes are what ends it
    ours     recipe "wide", lengths in pixels halved with the resolution, by this project's trainer
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import research.bench.landmarker_traps  # noqa: F401  first, as it may put an empty torchvision in place

# isort: split
import numpy as np
import torch
from landmarker.data import LandmarkDataset
from landmarker.heatmap import GaussianHeatmapGenerator
from landmarker.losses import GaussianHeatmapL2Loss
from landmarker.models import OriginalSpatialConfigurationNet
from monai.transforms import (
    Compose,
    RandAdjustContrastd,
    RandAffined,
    RandGaussianNoised,
    RandHistogramShiftd,
    RandScaleIntensityd,
    ScaleIntensityd,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader

from research.experiments.budget import shortened
from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.training.dataset import Cases, load_cases
from SpineLandmarksLib.training.losses import Losses
from SpineLandmarksLib.training.recipe import Recipe, load_recipe
from SpineLandmarksLib.training.train import draw_batches, make_training_state, step
from SpineLandmarksLib.transforms import Preparation, prepare_slice

SIDE, SPACING_MM = 128, 2.5
PREPARATION = Preparation(spacing_mm=SPACING_MM, multiple=SIDE, max_side=SIDE)
THEIR_SIGMA, THEIR_GAMMA = 3.0, 100.0


@dataclass(frozen=True)
class Entry:
    """One network in one recipe: whose is which."""

    network: str
    recipe: str


ENTRIES = tuple(Entry(network, recipe) for network in ("theirs", "ours") for recipe in ("theirs", "ours"))


class Fitted(NamedTuple):
    detector: Detector
    batch: int
    steps: int
    seconds: float


def trained(entry: Entry, learn: Sequence[Annotation], output: Path, minutes: float, channels: int) -> Fitted:
    """The network in evaluation mode after its minutes; read from its folder where that is finished."""
    torch.manual_seed(0)
    folder = output / f"network-{entry.network}-recipe-{entry.recipe}"
    folder.mkdir(parents=True, exist_ok=True)
    fit = fit_theirs if entry.recipe == "theirs" else fit_ours
    fitted = fit(detector_of(entry, channels), learn, folder, 60 * minutes)
    fitted.detector.eval()
    return fitted


def detector_of(entry: Entry, channels: int) -> Detector:
    """A network with the loss of its recipe, so that the decoders know how to read it."""
    unet = {**(load_recipe("wide").architecture.heatmap or {}), "stride": 1}
    theirs = entry.recipe == "theirs"
    detector = Detector(
        Architecture(
            heatmap=unet,
            stride=1,
            heatmap_loss="mean_squared_error" if theirs else "softmax_cross_entropy",
            peak_radius=8 if theirs else 3,
        ),
        len(LUMBAR11),
    )
    if entry.network == "theirs":
        detector.heatmap_net = OriginalSpatialConfigurationNet(
            1, len(LUMBAR11), la_channels=channels, sp_channels=channels
        )
    if theirs:
        assert detector.heatmap_net is not None
        detector.heatmap_net = nn.Sequential(ToUnit(), detector.heatmap_net)
    return detector


class ToUnit(nn.Module):
    """Each image to 0..1, as the example's ScaleIntensityd does."""

    def forward(self, image: Tensor) -> Tensor:
        low, high = image.amin((1, 2, 3), keepdim=True), image.amax((1, 2, 3), keepdim=True)
        return (image - low) / (high - low).clamp(min=1e-6)


def fit_ours(detector: Detector, learn: Sequence[Annotation], folder: Path, budget_s: float) -> Fitted:
    """Recipe "wide", lengths in pixels halved with the resolution; as many steps as the seconds are enough for."""
    full = load_recipe("wide")
    geometry = replace(full.geometry, shift_xy=(15.0, 22.0), elastic_px=2.0)
    recipe = replace(
        full,
        architecture=detector.architecture,
        preparation=PREPARATION,
        crop=(SIDE, SIDE),
        sigma_px=full.sigma_px / 2,
        geometry=geometry,
    )
    cases = load_cases(learn, LUMBAR11, PREPARATION)
    recipe = shortened(recipe, steps_for(budget_s, recipe, detector, cases, folder))
    state = make_training_state(recipe, detector, len(LUMBAR11), 0, "cpu")
    losses = Losses(recipe, detector, None).train()
    batches = draw_batches(recipe, cases, state, recipe.batch)

    def advance() -> None:
        step(recipe, state, losses, next(batches), "cpu")

    steps, seconds = run(folder, advance, state.state, state.load, lambda done, _: done >= recipe.steps)
    best = state.best()
    assert isinstance(best, Detector)
    return Fitted(best, recipe.batch, steps, seconds)


def steps_for(budget_s: float, recipe: Recipe, detector: Detector, cases: Cases, folder: Path) -> int:
    """Timed on a copy that is thrown away; kept in the folder, so that a resumed training has the same schedule."""
    path = folder / "steps.json"
    if not path.is_file():
        spare = copy.deepcopy(detector)
        state = make_training_state(recipe, spare, len(LUMBAR11), 0, "cpu")
        losses, batches = Losses(recipe, spare, None).train(), draw_batches(recipe, cases, state, recipe.batch)
        seconds = []
        for _ in range(6):
            started = time.perf_counter()
            step(recipe, state, losses, next(batches), "cpu")
            seconds.append(time.perf_counter() - started)
        write_text_atomically(path, json.dumps({"steps": max(1, int(budget_s / float(np.median(seconds[1:]))))}))
    return int(json.loads(path.read_text())["steps"])


def fit_theirs(detector: Detector, learn: Sequence[Annotation], folder: Path, budget_s: float) -> Fitted:
    """Their example for cephalograms, without early stopping: the rate stays until the seconds are used up."""
    generator = GaussianHeatmapGenerator(
        len(LUMBAR11), THEIR_SIGMA, THEIR_GAMMA, heatmap_size=(SIDE, SIDE), learnable=True
    )
    optimizer = torch.optim.SGD(
        [{"params": detector.parameters(), "weight_decay": 1e-3}, {"params": [generator.sigmas, generator.rotation]}],  # type: ignore[arg-type]
        lr=1e-6,
        momentum=0.99,
        nesterov=True,
    )
    loss, batches = GaussianHeatmapL2Loss(alpha=5), for_ever(DataLoader(their_dataset(learn), 1, shuffle=True))
    parts = {"detector": detector, "generator": generator, "optimizer": optimizer}
    detector.train()

    def advance() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        loss(detector.heatmap(batch["image"]), generator.sigmas, generator(batch["landmark"])).backward()
        optimizer.step()

    def load(state: dict[str, Any]) -> None:
        for name, part in parts.items():
            part.load_state_dict(state[name])

    def state() -> dict[str, Any]:
        return {name: part.state_dict() for name, part in parts.items()}

    steps, seconds = run(folder, advance, state, load, lambda _, used: used >= budget_s)
    return Fitted(detector, 1, steps, seconds)


def their_dataset(learn: Sequence[Annotation]) -> LandmarkDataset:
    """Prepared slices in their data set with the transforms of their example; landmarks are (y, x)."""
    key = ("image",)
    transforms = Compose(
        [
            ScaleIntensityd(key),
            RandGaussianNoised(key, prob=0.2, mean=0, std=0.1),
            RandScaleIntensityd(key, factors=0.25, prob=0.2),
            RandAdjustContrastd(key, prob=0.2, gamma=(0.5, 4.5)),
            RandHistogramShiftd(key, prob=0.2),
            ScaleIntensityd(key),
            RandAffined(
                key,
                prob=1,
                rotate_range=(-np.pi / 12, np.pi / 12),
                translate_range=(-10, 10),
                scale_range=(-0.1, 0.1),
                shear_range=(-0.1, 0.1),
            ),
        ]
    ).set_random_state(0)
    prepared = [prepare_slice(load_image(row.image), spacing_of(row), PREPARATION) for row in learn]
    landmarks = [
        apply(matrix, points_of(row, LUMBAR11))[:, ::-1] for row, (_, matrix) in zip(learn, prepared, strict=True)
    ]
    images = [torch.from_numpy(image)[None] for image, _ in prepared]
    return LandmarkDataset(images, torch.tensor(np.array(landmarks)).float(), transform=transforms)


def for_ever(loader: DataLoader[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def run(
    folder: Path,
    advance: Callable[[], None],
    state: Callable[[], Any],
    load: Callable[[Any], None],
    is_done: Callable[[int, float], bool],
) -> tuple[int, float]:
    """Advance until done, with a checkpoint a minute; returns steps and seconds, those before a kill included."""
    path, steps, used = folder / "checkpoint.pt", 0, 0.0
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        steps, used = saved["steps"], saved["seconds"]
        load(saved["state"])
    since = saved_at = time.perf_counter()
    while True:
        now = time.perf_counter()
        finished = is_done(steps, used + now - since)
        if finished or now - saved_at > 60:
            with write_atomically(path) as file:
                torch.save({"steps": steps, "seconds": used + now - since, "state": state()}, file)
            saved_at = now
        if finished:
            return steps, used + now - since
        advance()
        steps += 1
