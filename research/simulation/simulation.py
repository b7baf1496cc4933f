"""Does the loop of correcting and retraining help, and does the queue beat a random order? Played on annotated studies.

For each seed: `start` studies at random are corrected and the bundle is retrained on them; then `step` more at a time,
by queue or at random, each retrained from the last promoted weights on all that was corrected. The hold-out judges
every round; a model that may be worse is not promoted, as in `retrain`. Annotators are played by the annotations, their
time by

    seconds = 15 for each study + 6 for each landmark further than 2 mm from where it belongs

an assumption, not a measurement. Everything is kept in files, so that a simulation goes on where it stopped:

    DIR/settings.json                             what the first run was asked for; another run must ask the same
    DIR/base/round.json                           the bundle before any correction
    DIR/seed0/start/round.json, weights           the common first round
    DIR/seed0/queue/030/round.json, weights       ... and DIR/seed0/random/030, with 30 corrected studies
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

from research.experiments.decoding import InMemory
from SpineLandmarksLib.annotated_slices import load_image, points_of
from SpineLandmarksLib.bundle import WEIGHTS, Bundle
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.evaluation.non_inferiority import non_inferiority_test
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.atomic import sha256_of, write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.retraining.queue import appearance_vector, assess, at_random, order
from SpineLandmarksLib.slice_reading import SliceReading
from SpineLandmarksLib.splits import holdout
from SpineLandmarksLib.training.finetune import RECIPE, finetune, finetuning_recipe

STRATEGIES = ("queue", "random")
#: Weights in a round's folder: of the model in use after it, and, until it is judged, of the new one.
USED, CANDIDATE = "model.safetensors", "candidate.safetensors"
#: The last promoted and the new model of each order, and the first round's.
MAX_CACHED = 6
SECONDS_PER_STUDY, SECONDS_PER_LANDMARK, NEAR_ENOUGH_MM = 15.0, 6.0, 2.0


@dataclass(frozen=True)
class SimulationSettings:
    """steps: of each retraining. holdout: patients that judge. until: corrected studies of the last round."""

    data: str
    bundle: str
    start: int = 15
    step: int = 15
    until: int = 75
    seeds: int = 5
    steps: int = 100
    holdout: int = 30
    recipe: str = RECIPE
    margin: float = 0.01


@dataclass(frozen=True)
class SimulationRound:
    """One round of one seed. strategy: "start" for the common first one, "base" for the bundle before any correction.

    seconds: that annotators spent so far. promoted: whether the retrained model took over; mre_mm and the shares are
    those of the model in use after the round, the candidate's stand beside them. None: no point was found.
    """

    seed: int
    strategy: str
    corrected: tuple[str, ...]
    seconds: float
    promoted: bool
    why: str
    mre_mm: float | None
    sdr2: float
    sdr4: float
    level_shift: float
    candidate_mre_mm: float | None
    candidate_sdr4: float
    train_s: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)


class CachedLocalizer:
    """A model, and what it said of each slice so far: reading slices is most of what a simulation does."""

    def __init__(self, localizer: Localizer) -> None:
        self.localizer = localizer
        self._known: dict[Path, SliceReading] = {}

    def read(self, rows: Sequence[Annotation]) -> list[SliceReading]:
        """The reading of each slice, once."""
        new = [row for row in rows if row.image not in self._known]
        self._known |= zip((row.image for row in new), read_annotated(self.localizer, new), strict=True)
        return [self._known[row.image] for row in rows]

    def compare(self, rows: Sequence[Annotation]) -> Predictions:
        return compare(self.localizer, rows, self.read(rows))


class Simulation:
    """rows: every annotated study of one slice each. say: told what is being done."""

    def __init__(
        self,
        settings: SimulationSettings,
        folder: Path,
        rows: Sequence[Annotation],
        bundle: Bundle,
        device: str = "cpu",
        say: Callable[[str], None] = print,
    ) -> None:
        self.settings, self.folder, self.bundle, self.device, self.say = settings, folder, bundle, device, say
        learn, held = holdout([row.group for row in rows], settings.holdout, 0)
        self.pool = {row.image.stem: row for row in (rows[i] for i in learn)}
        self.judges = [rows[i] for i in held]
        if len(self.pool) < settings.until:
            raise DatasetError(f"Expected at least {settings.until} studies beside the hold-out; got {len(self.pool)}")
        self.longest_s = 0.0
        self._cached: dict[str, CachedLocalizer] = {}

    def run(self, minutes: float) -> bool:
        """Play rounds until the time is used up; no round is begun that may not end in time. True when all are done."""
        end = time.monotonic() + 60 * minutes
        if not (self.folder / "base" / "round.json").is_file():
            self._judge_base()
        for work in self._rounds():
            if work[-1].joinpath("round.json").is_file():
                continue
            if time.monotonic() + self.longest_s > end:
                return False
            started = time.monotonic()
            self._play(*work)
            self.longest_s = max(self.longest_s, time.monotonic() - started)
        return True

    def _judge_base(self) -> None:
        predictions = self._localizer(self.bundle.folder / WEIGHTS).compare(self.judges)
        base = _round_of((predictions, predictions), promoted=True, seed=0, strategy="base", corrected=(), seconds=0.0)
        _write(base, self.folder / "base")

    def _rounds(self) -> Iterator[tuple[int, str, int, Path, Path]]:
        """(seed, strategy, corrected, folder before, folder): both strategies advance together."""
        s = self.settings
        for seed in range(s.seeds):
            first = self.folder / f"seed{seed}" / "start"
            yield seed, "start", s.start, first, first
            for count in range(s.start + s.step, s.until + 1, s.step):
                for strategy in STRATEGIES:
                    parent = self.folder / f"seed{seed}" / strategy
                    before = first if count == s.start + s.step else parent / f"{count - s.step:03d}"
                    yield seed, strategy, count, before, parent / f"{count:03d}"

    def _play(self, seed: int, strategy: str, count: int, before: Path, folder: Path) -> None:
        is_first = before == folder
        weights = self.bundle.folder / WEIGHTS if is_first else before / USED
        old = self._localizer(weights)
        done = () if is_first else load_round(before).corrected
        spent = 0.0 if is_first else load_round(before).seconds
        chosen, reasons = self._choose(seed, strategy, count - len(done), done, old)
        corrected = (*done, *chosen)
        train_s = self._retrain(corrected, seed, weights, folder)
        figures = [model.compare(self.judges) for model in (old, self._localizer(folder / CANDIDATE))]
        verdict = non_inferiority_test(figures[0], figures[1], self.settings.margin)
        shutil.copyfile(folder / CANDIDATE if verdict.promoted else weights, folder / USED)
        (folder / CANDIDATE).unlink()
        played = _round_of(
            (figures[0], figures[1]),
            seed=seed,
            strategy=strategy,
            corrected=corrected,
            seconds=spent + self._seconds(chosen, old),
            promoted=verdict.promoted,
            why=verdict.why,
            train_s=train_s,
            reasons=reasons,
        )
        _write(played, folder)
        self.say(_described(played))

    def _retrain(self, corrected: Sequence[str], seed: int, weights: Path, folder: Path) -> float:
        """Write the candidate, trained from `weights`; returns the seconds that it took."""
        recipe = finetuning_recipe(self.bundle, self.settings.steps, self.settings.recipe, seed)
        rows, run = [self.pool[key] for key in corrected], folder / "run"
        started = time.monotonic()
        detector = finetune(self.bundle, rows, recipe, run, weights=_read(weights), device=self.device)
        seconds = time.monotonic() - started
        state = {name: value.contiguous() for name, value in detector.state_dict().items()}
        safetensors.torch.save_file(state, folder / CANDIDATE)
        shutil.rmtree(run)
        return seconds

    def _choose(
        self, seed: int, strategy: str, count: int, done: Sequence[str], model: CachedLocalizer
    ) -> tuple[list[str], dict[str, int]]:
        left = [key for key in self.pool if key not in done]
        if strategy != "queue":
            return [place.key for place in at_random(left, 1000 * seed + len(done))[:count]], {}
        readings = model.read([self.pool[key] for key in left])
        waiting = [
            assess(key, load_image(self.pool[key].image), reading, model.localizer)
            for key, reading in zip(left, readings, strict=True)
        ]
        seen = [
            appearance_vector(load_image(row.image), points_of(row, self.bundle.landmarks))
            for row in (self.pool[key] for key in done)
        ]
        places = order(waiting, seen, seed, count=count)
        reasons = [place.reason for place in places]
        return [place.key for place in places], {reason: reasons.count(reason) for reason in sorted(set(reasons))}

    def _seconds(self, keys: Sequence[str], model: CachedLocalizer) -> float:
        predicted = model.compare([self.pool[key] for key in keys])
        to_move = predicted.missed | (predicted.counted & ~(predicted.error_mm <= NEAR_ENOUGH_MM))
        return SECONDS_PER_STUDY * len(keys) + SECONDS_PER_LANDMARK * int(to_move.sum())

    def _localizer(self, weights: Path) -> CachedLocalizer:
        """One for all rounds with the same weights, as after a round that promoted nothing."""
        digest = sha256_of(weights)
        if digest not in self._cached:
            recipe = finetuning_recipe(self.bundle)
            detector = Detector(recipe.architecture, len(self.bundle.landmarks))
            detector.load_state_dict(_read(weights))
            self._cached[digest] = CachedLocalizer(Localizer(self.bundle, InMemory(detector, self.device)))
            while len(self._cached) > MAX_CACHED:
                del self._cached[next(iter(self._cached))]
        return self._cached[digest]


def load_round(folder: Path) -> SimulationRound:
    values = load_json(folder / "round.json")
    values["corrected"] = tuple(values["corrected"])
    return SimulationRound(**{one.name: values[one.name] for one in fields(SimulationRound)})


def rounds_of(folder: Path) -> list[SimulationRound]:
    """Every round that was played."""
    return [load_round(file.parent) for file in sorted(folder.glob("**/round.json"))]


def _write(round_: SimulationRound, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "round.json", json.dumps(asdict(round_), indent=1, allow_nan=False) + "\n")


def _round_of(figures: tuple[Predictions, Predictions], *, promoted: bool, **said: Any) -> SimulationRound:
    """figures: of the model in use before the round, and of the candidate."""
    used, candidate = (_shares(each) for each in (figures[promoted], figures[1]))
    compared = {f"candidate_{name}": candidate[name] for name in ("mre_mm", "sdr4")}
    return SimulationRound(promoted=promoted, **{"why": ""} | said | used | compared)


def _described(played: SimulationRound) -> str:
    mre = "unknown" if played.mre_mm is None else f"{played.mre_mm:.2f} mm"
    found = f"MRE {mre}, SDR@4 {100 * played.sdr4:.1f} %{'' if played.promoted else ', not promoted'}"
    return f"seed {played.seed}, {played.strategy}, {len(played.corrected)} corrected: {found}"


def _shares(predictions: Predictions) -> dict[str, Any]:
    """The figures of a round, by the names of its fields."""
    overall: dict[str, Any] = summarize(predictions, bootstrap=0)["overall"]
    return {
        "mre_mm": overall["mre_mm"]["value"],
        "sdr2": overall["sdr"]["2"]["value"],
        "sdr4": overall["sdr"]["4"]["value"],
        "level_shift": overall["level_shift_rate"]["value"] or 0.0,
    }


def _read(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    return weights
