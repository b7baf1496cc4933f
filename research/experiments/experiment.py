"""One experiment in one folder: the data, the splits, and every network trained once for each split and then reused.

    DIR/KIND/settings.json                 what the first run was asked for; another run must ask the same
    DIR/KIND/networks/NAME/steps.json      how many steps the minutes are enough for, the same for every split
    DIR/KIND/networks/NAME/PART/           weights and training.json of recipe NAME on split PART
    DIR/KIND/networks/NAME/PART/STEP/      its weights after so many steps, where the course of a training is asked for

A network that was cut short goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from research.experiments.budget import shortened, steps_within
from research.experiments.results import Training, by_image
from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.bundle import WEIGHTS
from SpineLandmarksLib.errors import OutputError, RecipeError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.settings import from_dict, to_dict
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.training.dataset import Cases, load_cases
from SpineLandmarksLib.training.export import write_weights
from SpineLandmarksLib.training.recipe import Recipe, load_recipe
from SpineLandmarksLib.training.train import train


@dataclass(frozen=True)
class Part:
    """One split. name: such as "fold1". learn, judge: slices, no patient in both. weight: how often each slice is
    drawn, the same for all when left out. split: the split in words, as `train` writes it into run.json."""

    name: str
    learn: list[Annotation]
    judge: list[Annotation]
    split: str = ""
    weight: list[float] | None = None


@dataclass(frozen=True)
class Experiment:
    """data: the data set. folder: where everything goes. minutes: of training, per network and split; None for the
    steps of the recipes. recipe_of: recipe by name. say: told what is being done. stages: equal parts of a training,
    the network being kept after each."""

    data: Path
    folder: Path
    minutes: float | None
    device: str = "cpu"
    split_seed: int = 0
    recipe_of: Callable[[str], Recipe] = load_recipe
    say: Callable[[str], None] = print
    stages: int = 1

    @cached_property
    def schema(self) -> tuple[str, ...]:
        return schema_of(self.data)

    @cached_property
    def annotated(self) -> dict[str, Annotation]:
        """Every slice of the data set by image, without those of a locked hold-out."""
        return by_image(self._split("all").judge, self.data)

    def folds(self, count: int) -> list[Part]:
        """The splits of `train --fold 1/count` to `--fold count/count`."""
        return [self._split(f"fold{i}", fold=(i, count)) for i in range(1, count + 1)]

    def holdout(self, patients: int) -> Part:
        """The split of `train --holdout patients`."""
        return self._split("holdout", holdout=patients)

    def _split(self, name: str, fold: tuple[int, int] | None = None, holdout: int | None = None) -> Part:
        options = argparse.Namespace(fold=fold, holdout=holdout, split_seed=self.split_seed)
        learn, judge, words = split_dataset(options, self.data, self.schema)
        return Part(name, learn, judge, words)

    def require_same_settings(self, settings: dict[str, Any]) -> None:
        """As `require_same_settings`, in this experiment's folder."""
        require_same_settings(settings, self.folder)

    def trained(
        self, name: str, part: Part, recipe: Recipe | None = None, start_from: dict[str, Tensor] | None = None
    ) -> tuple[Detector | None, Training]:
        """The network of recipe `name` (or of `recipe`, kept under `name`), trained on `part.learn`; None when it has
        diverged. Trained once and read from the folder ever after."""
        recipe = recipe or self.recipe_of(name)
        folder = self.folder / "networks" / name / part.name
        if not (folder / "training.json").is_file():
            self._train(name, folder, part, recipe, start_from)
        facts: Training = from_dict(Training, load_json(folder / "training.json"), str(folder))
        if facts.diverged:
            return None, facts
        return self._detector(recipe, folder), facts

    def course(self, name: str, part: Part) -> list[tuple[int, Detector]]:
        """(steps, network) after each stage of a training that is finished, its end the last; none of one that has
        diverged."""
        recipe, folder = self.recipe_of(name), self.folder / "networks" / name / part.name
        end, facts = self.trained(name, part)
        if end is None:
            return []
        before = [(steps, folder / f"{steps}") for steps in stage_ends(facts.steps, self.stages)[:-1]]
        kept = [(steps, self._detector(recipe, at)) for steps, at in before if (at / WEIGHTS).is_file()]
        return [*kept, (facts.steps, end)]

    def _detector(self, recipe: Recipe, folder: Path) -> Detector:
        detector = Detector(recipe.architecture, len(self.schema))
        detector.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        return detector.eval()

    def _train(self, name: str, folder: Path, part: Part, recipe: Recipe, start: dict[str, Tensor] | None) -> None:
        cases = load_cases(part.learn, self.schema, recipe.preparation, part.weight)
        recipe = shortened(recipe, self._steps(name, recipe, cases))
        self.say(f"{name}, {part.name}: {recipe.steps} steps on {len(cases)} slices")
        folder.mkdir(parents=True, exist_ok=True)
        started, diverged = time.perf_counter(), ""
        resumed = (folder / "checkpoint.pt").is_file()  # how long it took before is not known
        try:
            for steps in stage_ends(recipe.steps, self.stages):
                at = folder if steps == recipe.steps else folder / f"{steps}"
                if at == folder or not (at / WEIGHTS).is_file():
                    detector = self._train_until(steps, recipe, cases, folder, start)
                    write_weights(detector, at)
        except RecipeError as error:  # the recipe is whole, so this is its loss, which is no number any more
            diverged = str(error)
        minutes = None if resumed else round((time.perf_counter() - started) / 60, 3)
        facts = facts_of(recipe, minutes, parameters_of(recipe, len(self.schema)), diverged)
        (folder / "checkpoint.pt").unlink(missing_ok=True)
        write_text_atomically(folder / "training.json", json.dumps(to_dict(facts), indent=1) + "\n")

    def _train_until(
        self, steps: int, recipe: Recipe, cases: Cases, folder: Path, start: dict[str, Tensor] | None
    ) -> Detector:
        """Go on from the checkpoint in `folder` until `steps` are done; the rest of the recipe waits there."""

        def pause(done: int, _: int) -> None:
            if done >= steps < recipe.steps:
                raise Paused

        landmarks = len(self.schema)
        try:
            return train(
                recipe, cases, landmarks, folder, device=self.device, resume=True, start_from=start, progress=pause
            )
        except Paused:
            return kept_weights(folder / "checkpoint.pt", Detector(recipe.architecture, landmarks))

    def _steps(self, name: str, recipe: Recipe, cases: Cases) -> int:
        if self.minutes is None:
            return recipe.steps
        path = self.folder / "networks" / name / "steps.json"
        if not path.is_file():
            steps = steps_within(self.minutes, recipe, cases, len(self.schema), self.device)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps({"minutes": self.minutes, "steps": steps}) + "\n")
        return int(load_json(path)["steps"])


class Paused(Exception):
    """A training has reached the end of a stage."""


def stage_ends(steps: int, stages: int) -> list[int]:
    """The steps at which each of `stages` equal parts of a training ends."""
    return sorted({max(1, round(steps * k / stages)) for k in range(1, stages + 1)})


def kept_weights(checkpoint: Path, detector: Detector) -> Detector:
    """`detector` with the weights that the training would keep if it ended at its checkpoint."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    average = state.get("average")
    prefix, weights = ("", state["detector"]) if average is None else ("module.", average)
    detector.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return detector.eval()


def require_same_settings(settings: dict[str, Any], folder: Path) -> None:
    """Write the settings of the first run; OutputError when a later one has others, which would mix two tables."""
    path = folder / "settings.json"
    known = load_json(path) if path.is_file() else settings
    if known != settings:
        differ = ", ".join(
            f"{key} {known.get(key)} (now {value})" for key, value in settings.items() if known.get(key) != value
        )
        raise OutputError(
            f"Expected the settings of the first run in {folder}: {differ or known}. Choose another --output"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(path, json.dumps(settings, indent=1) + "\n")


def facts_of(recipe: Recipe, minutes: float | None, parameters: int, diverged: str = "") -> Training:
    rate = f"{recipe.optimizer} {recipe.learning_rate:g} {recipe.schedule}"
    return Training(recipe.name, input_size(recipe), rate, recipe.batch, recipe.steps, minutes, parameters, diverged)


def parameters_of(recipe: Recipe, landmarks: int) -> int:
    return sum(p.numel() for p in Detector(recipe.architecture, landmarks).parameters())


def input_size(recipe: Recipe) -> str:
    """The input of a recipe's network in words."""
    p, (columns, rows) = recipe.preparation, recipe.crop
    kind = "squeezed" if p.resize == "plain" else f"of {p.spacing_mm:g} mm"
    direct = recipe.architecture.direct_size
    return f"{direct} x {direct} squeezed" if recipe.architecture.heatmap is None else f"{columns} x {rows} {kind}"
