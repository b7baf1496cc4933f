"""A training that is finished, its schedule included, when its minutes are used up.

    steps = minutes / time of one step

The time of a step is measured on the same machine before the training, and the fastest of a few steps is taken, so that
the steps of a row are the same on every fold and depend little on what else the machine does at that moment.
"""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.training.augment import Batch
from SpineLandmarksLib.training.dataset import Cases
from SpineLandmarksLib.training.losses import Losses
from SpineLandmarksLib.training.recipe import Recipe
from SpineLandmarksLib.training.train import draw_batches, make_training_state, step

#: Steps that are not timed, and steps that are.
WARM_UP, TIMED = 2, 5


def shortened(recipe: Recipe, steps: int) -> Recipe:
    """`recipe` in `steps` steps: the rate falls to its end there, the warm-up is a tenth of them at most, and the
    average of the weights looks back over an eighth of them at most (it weighs about 1 / (1 - ema) steps)."""
    ema = min(recipe.ema, max(0.0, 1 - 8 / steps))
    return replace(recipe, steps=steps, warmup=min(recipe.warmup, steps // 10), ema=ema)


def steps_within(minutes: float, recipe: Recipe, cases: Cases, landmarks: int, device: str) -> int:
    """How many steps of `recipe`, augmentation included, `minutes` are enough for; at least one."""
    return max(1, int(60 * minutes / seconds_per_step(recipe, cases, landmarks, device)))


def seconds_per_step(recipe: Recipe, cases: Cases, landmarks: int, device: str) -> float:
    """Wall time of the fastest of a few steps, of a network that is thrown away afterwards."""
    detector = Detector(recipe.architecture, landmarks).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    state = make_training_state(recipe, detector, landmarks, 0, device)
    losses = Losses(recipe, detector, state.sigma).train()
    batches = draw_batches(recipe, cases, state, recipe.batch)
    seconds = []
    for _ in range(WARM_UP + TIMED):
        started = time.perf_counter()
        parts = step(recipe, state, losses, Batch(*(part.to(device) for part in next(batches))), device)
        sum(float(part) for part in parts.values())  # waits for the device
        seconds.append(time.perf_counter() - started)
    return min(seconds[WARM_UP:])
