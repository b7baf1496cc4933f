"""The training loop: draw a batch, augment it, step, average, save. Plain torch, one screen."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from SpineLandmarksLib import __version__
from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.errors import BundleError, RecipeError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.networks.scn import LearnedSigma
from SpineLandmarksLib.settings import to_dict
from SpineLandmarksLib.training.augment import Batch, RandomGeometry, RandomIntensity
from SpineLandmarksLib.training.dataset import Cases, cache_scale
from SpineLandmarksLib.training.losses import Losses
from SpineLandmarksLib.training.recipe import Recipe


@dataclass
class TrainingState:
    """Everything that changes during training, and so everything that a checkpoint holds."""

    detector: nn.Module
    sigma: LearnedSigma | None
    average: AveragedModel | None
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    generator: torch.Generator
    queue: Tensor = field(default_factory=lambda: torch.empty(0, dtype=torch.long))
    step: int = 0

    def state(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"detector": self.detector, "optimizer": self.optimizer, "schedule": self.schedule}
        parts |= {"average": self.average} if self.average else {}
        parts |= {"sigma": self.sigma} if self.sigma else {}
        state = {name: part.state_dict() for name, part in parts.items()}
        drawn = {"generator": self.generator.get_state(), "queue": self.queue, "dropout": torch.get_rng_state()}
        return {**state, **drawn, "step": self.step}

    def load(self, state: dict[str, Any]) -> None:
        for name in ("detector", "optimizer", "schedule", "average", "sigma"):
            if name in state and getattr(self, name) is not None:
                getattr(self, name).load_state_dict(state[name])
        self.generator.set_state(state["generator"].cpu())  # generators keep their state on the CPU
        if "queue" in state:
            torch.set_rng_state(state["dropout"].cpu())
            self.queue = state["queue"].cpu()
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
    origin: dict[str, Any] | None = None,
    progress: ProgressCallback | None = None,
) -> Detector:
    """Train `recipe` on all of `cases` and return the detector on the CPU, in evaluation mode.

    Writes `output/checkpoint.pt` about once a minute (whole, so that a kill loses a minute), `output/run.json` with
    every setting, and TensorBoard events. `resume` goes on from the checkpoint when there is one. Under `torchrun`
    every process draws its own batches and gradients are averaged. `start_from`: weights to fine-tune. `origin`: what
    else `run.json` is to tell, such as the data. `progress`: called after each step with the steps done and all steps;
    what it raises ends the training, with a checkpoint. Raises BundleError for weights or a checkpoint that do not fit.
    """
    rank, world = rank_and_world()
    if world > 1:
        join_processes(device)
    torch.manual_seed(recipe.seed)
    detector = Detector(recipe.architecture, landmarks)
    if start_from is not None:
        load_weights(detector, start_from)
    detector = detector.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = make_training_state(recipe, detector, landmarks, rank, device)
    checkpoint = output / "checkpoint.pt"
    if resume and checkpoint.is_file():
        load_checkpoint(checkpoint, state, recipe, rank, device)
    if rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        write_run(output, recipe, len(cases), world, device, origin or {})
    losses: nn.Module = Losses(recipe, detector, state.sigma)
    if world > 1:
        # Which of a direct network's two heads and a fusion's sigma the losses reach is up to the recipe.
        losses = nn.parallel.DistributedDataParallel(losses, find_unused_parameters=detector.direct_net is not None)
    run_steps(recipe, cases, state, losses, checkpoint if rank == 0 else None, device, world, progress)
    if world > 1:
        torch.distributed.destroy_process_group()
    best = state.best().cpu().eval()
    assert isinstance(best, Detector)
    return best


def run_steps(
    recipe: Recipe,
    cases: Cases,
    t: TrainingState,
    losses: nn.Module,
    checkpoint: Path | None,
    device: str,
    world: int,
    progress: ProgressCallback | None = None,
) -> None:
    """Step until `recipe.steps`; `checkpoint` is None on every process but the first."""
    from torch.utils.tensorboard import SummaryWriter
    from tqdm import tqdm

    writer = SummaryWriter(str(checkpoint.parent)) if checkpoint else None
    batches = draw_batches(recipe, cases, t, max(1, recipe.batch // world))
    bar = tqdm(total=recipe.steps, initial=t.step, desc=recipe.name, disable=checkpoint is None, mininterval=5.0)
    saved = time.monotonic()
    losses.train()
    while t.step < recipe.steps:
        batch = Batch(*(part.to(device) for part in next(batches)))
        parts = step(recipe, t, losses, batch, device)
        bar.update()
        save = checkpoint is not None and (time.monotonic() - saved > 60 or t.step == recipe.steps)
        if t.step % 20 == 0 or save:
            values = finite(parts, recipe, t.step)
            bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()})
            if writer:
                for name, value in values.items():
                    writer.add_scalar(name, value, t.step)
        if checkpoint and save:
            save_checkpoint(checkpoint, t)
            saved = time.monotonic()
        if progress:
            try:
                progress(t.step, recipe.steps)
            except BaseException:  # somebody asks to stop: what is done so far is kept
                if checkpoint:
                    save_checkpoint(checkpoint, t)
                raise
    bar.close()
    if writer:
        writer.close()


def step(recipe: Recipe, t: TrainingState, losses: nn.Module, batch: Batch, device: str) -> dict[str, Tensor]:
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


def make_training_state(recipe: Recipe, detector: Detector, landmarks: int, rank: int, device: str) -> TrainingState:
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
    return TrainingState(detector, sigma, average, optimizer, schedule, generator)


def rate(recipe: Recipe, done: int) -> float:
    """Factor of the learning rate after `done` steps: linear warm-up, then constant or half a cosine."""
    warm = min(1.0, (done + 1) / max(1, recipe.warmup))
    if recipe.schedule == "constant":
        return warm
    share = torch.tensor(min(1.0, done / recipe.steps) * torch.pi)
    return warm * float(0.5 * (1 + torch.cos(share)) * 0.99 + 0.01)


def draw_batches(recipe: Recipe, cases: Cases, t: TrainingState, count: int) -> Iterator[Batch]:
    """Augmented batches for ever: whole shuffled rounds over the cases, or random draws where weights differ."""
    g = t.generator
    width, height = recipe.crop
    geometry = RandomGeometry(recipe.geometry, (height, width), cache_scale(recipe.preparation))
    intensity = RandomIntensity(recipe.intensity)
    t.queue = t.queue[t.queue < len(cases)]  # of a resumed run whose data have shrunk
    while True:
        while len(t.queue) < count:
            t.queue = torch.cat([t.queue, draw_round(cases, g)])
        chosen, t.queue = t.queue[:count], t.queue[count:]
        raw = Batch(cases.images[chosen], cases.points_px[chosen], cases.valid[chosen])
        moved = geometry(raw, cases.sizes_wh[chosen], g)
        yield moved._replace(image=intensity(moved.image, g))


def draw_round(cases: Cases, g: torch.Generator) -> Tensor:
    """(N,) indices of as many cases as there are."""
    if bool((cases.weight == cases.weight[0]).all()):
        return torch.randperm(len(cases), generator=g)
    return torch.multinomial(cases.weight, len(cases), replacement=True, generator=g)


def autocast(recipe: Recipe, device: str) -> AbstractContextManager[Any]:
    """What a step computes its losses under: bfloat16 where `precision_on` says so, else float32."""
    if precision_on(device, recipe.precision) == "float32":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


def precision_on(device: str, asked: str) -> str:
    """Precision that a recipe's is run in on a device: "bf16" or "float32".

    A processor without bfloat16 instructions imitates them: a step of the default recipe took 17 s there, and 1.5 s in
    float32.
    """
    imitated = torch.device(device).type == "cpu" and not cpu_has_bfloat16()
    return "float32" if imitated else asked


def cpu_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor multiplies bfloat16 itself, as Linux lists it, or, on another system, as PyTorch says."""
    try:
        features = cpuinfo.read_text(encoding="utf-8").split()
    except OSError:
        known = getattr(torch.cpu, "_is_avx512_bf16_supported", None)  # not in every version
        return bool(known and known())
    return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(features)  # the last: Arm


def save_checkpoint(path: Path, t: TrainingState) -> None:
    with write_atomically(path) as file:
        torch.save(t.state(), file)


def load_checkpoint(path: Path, t: TrainingState, recipe: Recipe, rank: int, device: str) -> None:
    """Put `t` where the checkpoint left off; BundleError when it is cut short or another recipe's."""
    try:
        t.load(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:  # pickle, zip and torch raise classes that share no base but Exception
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"Expected a whole checkpoint of recipe {recipe.name} in {path}; got: {reason}") from error
    if rank > 0:  # the checkpoint is of the first process; the others must not draw what it draws
        t.generator.manual_seed(recipe.seed + 1000 * rank + 1_000_003 * t.step)
        t.queue = t.queue[:0]


def load_weights(detector: Detector, weights: dict[str, Tensor]) -> None:
    try:
        detector.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise BundleError(f"Expected weights of the recipe's own architecture to start from; got: {reason}") from error


def with_landmarks(weights: dict[str, Tensor], old: Sequence[str], new: Sequence[str]) -> dict[str, Tensor]:
    """Weights of the landmarks `old`, for the landmarks `new`: the rows of the last layer go by their names.

    A landmark that `old` has not begins at 0, where every place is equally likely.
    """
    rows = [(new.index(name), old.index(name)) for name in old if name in new]

    def moved(value: Tensor) -> Tensor:
        found = value.new_zeros((len(new), *value.shape[1:]))
        for to, at in rows:
            found[to] = value[at]
        return found

    if tuple(old) == tuple(new):
        return weights
    return {key: moved(value) if value.shape[:1] == (len(old),) else value for key, value in weights.items()}


def finite(parts: dict[str, Tensor], recipe: Recipe, step: int) -> dict[str, float]:
    """The parts of the loss as numbers; RecipeError, before a checkpoint is spoiled, when one is none."""
    values = {name: float(value) for name, value in parts.items()}
    if not all(math.isfinite(value) for value in values.values()):
        raise RecipeError(
            f"Recipe {recipe.name}: expected a finite loss at step {step}; got {values}. "
            "Try a lower learning_rate or a longer warmup"
        )
    return values


def write_run(output: Path, recipe: Recipe, cases: int, world: int, device: str, origin: dict[str, Any]) -> None:
    """Every setting of the run, and the precision that it has on this machine, beside its output."""
    run = {"version": __version__, "torch": torch.__version__, "cases": cases, "processes": world, **origin}
    run |= {"device": device, "precision": precision_on(device, recipe.precision)}
    with write_atomically(output / "run.json") as file:
        file.write(json.dumps({**run, "recipe": to_dict(recipe)}, indent=2).encode())


def rank_and_world() -> tuple[int, int]:
    """Which of how many processes this is, as `torchrun` says; (0, 1) without it."""
    return int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def join_processes(device: str) -> None:
    """Join the group of processes; on CUDA each takes the GPU of its local rank, which "cuda" then means."""
    if device == "cuda":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
