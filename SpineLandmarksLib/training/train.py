"""The training loop: draw a batch, augment it, step, average, save. Plain torch, one screen."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SpineLandmarksLib import __version__
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.heatmaps import LOSSES, gaussian_target, masked_mean, softmax_cross_entropy, squared_distance
from SpineLandmarksLib.model import Detector, Output
from SpineLandmarksLib.networks.scn import LearnedSigma
from SpineLandmarksLib.settings import to_dict
from SpineLandmarksLib.training.augment import Batch, RandomGeometry, RandomIntensity
from SpineLandmarksLib.training.dataset import Cases, cache_scale
from SpineLandmarksLib.training.recipe import Recipe


@dataclass
class Trainee:
    """Everything that changes during training, and so everything that a checkpoint holds."""

    detector: nn.Module
    sigma: LearnedSigma | None
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    step: int = 0

    def state(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"detector": self.detector, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"average": self.average} if self.average else {}
        parts |= {"sigma": self.sigma} if self.sigma else {}
        state = {name: part.state_dict() for name, part in parts.items()}
        return {**state, "generator": self.generator.get_state(), "step": self.step}

    def load(self, state: dict[str, Any]) -> None:
        for name in ("detector", "optimizer", "schedule", "average", "sigma"):
            if name in state and getattr(self, name) is not None:
                getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"])
        self.step = int(state["step"])

    def best(self) -> nn.Module:
        """The weights to keep: the average where there is one."""
        return self.average.module if self.average else self.detector


def train(
    recipe: Recipe,
    cases: Cases,
    landmarks: int,
    output: Path,
    *,
    device: str = "cpu",
    resume: bool = False,
    start_from: dict[str, Tensor] | None = None,
) -> Detector:
    """Train `recipe` on all of `cases` and return the detector in evaluation mode.

    Writes `output/checkpoint.pt` about once a minute (whole, so that a kill loses a minute), `output/run.json` with
    every setting, and TensorBoard events. `resume` goes on from the checkpoint when there is one. Under `torchrun`
    every process draws its own batches and gradients are averaged. `start_from`: weights to fine-tune.
    """
    rank, world = start_processes()
    torch.manual_seed(recipe.seed)
    detector = Detector(recipe.architecture, landmarks)
    if start_from is not None:
        detector.load_state_dict(start_from)
    detector = detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    trainee = make_trainee(recipe, detector, landmarks, rank, device)
    checkpoint = output / "checkpoint.pt"
    if resume and checkpoint.is_file():
        trainee.load(torch.load(checkpoint, map_location=device, weights_only=True))
    if rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        write_run(output, recipe, len(cases), world)
    wrapped = nn.parallel.DistributedDataParallel(Losses(recipe, detector, trainee.sigma)) if world > 1 else None
    losses = wrapped or Losses(recipe, detector, trainee.sigma)
    run_steps(recipe, cases, trainee, losses, checkpoint if rank == 0 else None, device, world)
    best = trainee.best().eval()
    assert isinstance(best, Detector)
    return best


def run_steps(
    recipe: Recipe, cases: Cases, t: Trainee, losses: nn.Module, checkpoint: Path | None, device: str, world: int
) -> None:
    """Step until `recipe.steps`; `checkpoint` is None on every process but the first."""
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    writer = SummaryWriter(str(checkpoint.parent)) if checkpoint else None
    batches = draw_batches(recipe, cases, t.generator, max(1, recipe.batch // world))
    bar = tqdm(total=recipe.steps, initial=t.step, desc=recipe.name, disable=checkpoint is None, mininterval=5.0)
    saved = time.monotonic()
    losses.train()
    while t.step < recipe.steps:
        batch = Batch(*(part.to(device) for part in next(batches)))
        parts = step(recipe, t, losses, batch, device)
        bar.update()
        if t.step % 20 == 0:
            values = {name: float(value) for name, value in parts.items()}
            bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
            if writer:
                for name, value in values.items():
                    writer.add_scalar(name, value, t.step)
        if checkpoint and (time.monotonic() - saved > 60 or t.step == recipe.steps):
            save_checkpoint(checkpoint, t)
            saved = time.monotonic()
    bar.close()
    if writer:
        writer.close()


def step(recipe: Recipe, t: Trainee, losses: nn.Module, batch: Batch, device: str) -> dict[str, Tensor]:
    """One optimizer step; returns the parts of the loss."""
    with autocast(recipe, device):
        parts: dict[str, Tensor] = losses(batch.image.contiguous(memory_format=torch.channels_last), *batch[1:])
    t.optimizer.zero_grad(set_to_none=True)
    torch.stack(list(parts.values())).sum().backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(losses.parameters(), recipe.clip_norm)
    t.optimizer.step()
    t.schedule.step()
    t.step += 1
    if t.average:
        t.average.update_parameters(t.detector)
    return {name: value.detach() for name, value in parts.items()}


class Losses(nn.Module):
    """The detector with its losses, as one module, so that gradients of several processes are averaged in one place."""

    def __init__(self, recipe: Recipe, detector: Detector, sigma: LearnedSigma | None) -> None:
        super().__init__()
        self.recipe, self.detector, self.sigma = recipe, detector, sigma

    def forward(self, image: Tensor, points_px: Tensor, valid: Tensor) -> dict[str, Tensor]:
        r, out = self.recipe, self.detector(image)
        parts = {}
        if out.heatmap is not None:
            parts["heatmap"] = self.heatmap_loss(out, points_px, valid)
        if out.mean_px is not None:
            parts["direct"] = r.direct_weight * self.direct_loss(out, points_px, valid, image)
        if out.mean_px is not None and r.fusion_weight > 0:
            target = gaussian_target(points_px, r.sigma_px, out.log_p.shape[-2:], r.architecture.stride)
            parts["fusion"] = r.fusion_weight * softmax_cross_entropy(out.log_p, target, valid)
        return parts

    def heatmap_loss(self, out: Output, points_px: Tensor, valid: Tensor) -> Tensor:
        r, a, heatmap = self.recipe, self.recipe.architecture, out.heatmap
        assert heatmap is not None
        size = (heatmap.shape[-2], heatmap.shape[-1])
        if self.sigma is None:
            target = gaussian_target(points_px, r.sigma_px, size, a.stride)
            return LOSSES[a.heatmap_loss](heatmap, target, valid)
        dx2, dy2 = squared_distance(torch.nan_to_num(points_px), size, a.stride)
        return LOSSES[a.heatmap_loss](heatmap, self.sigma(dx2 + dy2), valid) + 20.0 * self.sigma.penalty()

    def direct_loss(self, out: Output, points_px: Tensor, valid: Tensor, image: Tensor) -> Tensor:
        assert out.mean_px is not None
        assert out.spread_px is not None
        size_wh = torch.tensor([image.shape[-1], image.shape[-2]], dtype=torch.float32, device=image.device)
        error = (out.mean_px - torch.nan_to_num(points_px)) / size_wh
        if self.recipe.direct_loss == "mse":
            return masked_mean(error.square().mean(-1), valid)
        spread = out.spread_px / size_wh
        return masked_mean((0.5 * (error / spread).square() + torch.log(spread)).sum(-1), valid)


def make_trainee(recipe: Recipe, detector: Detector, landmarks: int, rank: int, device: str) -> Trainee:
    sigma = LearnedSigma(landmarks, recipe.sigma_px).to(device) if recipe.learned_sigma else None
    parameters = [p for p in (*detector.parameters(), *(sigma.parameters() if sigma else ())) if p.requires_grad]
    lr, decay = recipe.learning_rate, recipe.weight_decay
    optimizer: torch.optim.Optimizer
    if recipe.optimizer == "adamw":
        optimizer = torch.optim.AdamW(parameters, lr, weight_decay=decay)
    elif recipe.optimizer == "adam":
        optimizer = torch.optim.Adam(parameters, lr, weight_decay=decay)
    else:
        optimizer = torch.optim.SGD(parameters, lr, momentum=0.99, nesterov=True, weight_decay=decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda done: rate(recipe, done))
    average = None
    if recipe.ema > 0:
        average = AveragedModel(detector, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(recipe.seed + 1000 * rank)
    return Trainee(detector, sigma, average, optimizer, schedule, generator)


def rate(recipe: Recipe, done: int) -> float:
    """Factor of the learning rate after `done` steps: linear warm-up, then constant or half a cosine."""
    warm = min(1.0, (done + 1) / max(1, recipe.warmup))
    if recipe.schedule == "constant":
        return warm
    share = torch.tensor(min(1.0, done / recipe.steps) * torch.pi)
    return warm * float(0.5 * (1 + torch.cos(share)) * 0.99 + 0.01)


def draw_batches(recipe: Recipe, cases: Cases, g: torch.Generator, count: int) -> Iterator[Batch]:
    """Augmented batches for ever: whole shuffled rounds over the cases, or random draws where weights differ."""
    width, height = recipe.crop
    geometry = RandomGeometry(recipe.geometry, (height, width), cache_scale(recipe.preparation))
    intensity = RandomIntensity(recipe.intensity)
    queue = torch.empty(0, dtype=torch.long)
    while True:
        while len(queue) < count:
            queue = torch.cat([queue, draw_round(cases, g)])
        chosen, queue = queue[:count], queue[count:]
        raw = Batch(cases.images[chosen], cases.points_px[chosen], cases.valid[chosen])
        moved = geometry(raw, cases.sizes_wh[chosen], g)
        yield moved._replace(image=intensity(moved.image, g))


def draw_round(cases: Cases, g: torch.Generator) -> Tensor:
    """(N,) indices of as many cases as there are."""
    if bool((cases.weight == cases.weight[0]).all()):
        return torch.randperm(len(cases), generator=g)
    return torch.multinomial(cases.weight, len(cases), replacement=True, generator=g)


def autocast(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    if recipe.precision == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def save_checkpoint(path: Path, t: Trainee) -> None:
    with write_atomically(path) as file:
        torch.save(t.state(), file)


def write_run(output: Path, recipe: Recipe, cases: int, world: int) -> None:
    """Every setting of the run, beside its output."""
    run = {"version": __version__, "torch": torch.__version__, "cases": cases, "processes": world}
    with write_atomically(output / "run.json") as file:
        file.write(json.dumps({**run, "recipe": to_dict(recipe)}, indent=2).encode())


def start_processes() -> tuple[int, int]:
    """(rank, world) of this process; joins the group when `torchrun` started it."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    return int(os.environ.get("RANK", "0")), world
