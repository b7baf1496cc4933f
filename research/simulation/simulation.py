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

What a simulation found, as a table in Markdown and a plot, both with the spread over the seeds.
"""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from research.experiments.locate import InMemory
from SpineLandmarksLib.annotated_slices import load_image, points_of
from SpineLandmarksLib.bundle import WEIGHTS, Bundle
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.evaluation.non_inferiority import non_inferiority_test
from SpineLandmarksLib.evaluation.plots import BLUE, ORANGE
from SpineLandmarksLib.evaluation.predictions import Floats, Predictions
from SpineLandmarksLib.formats.atomic import sha256_of, write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.predict import Localizer, SliceReading
from SpineLandmarksLib.retraining.queue import appearance_vector, assess, at_random, order
from SpineLandmarksLib.splits import holdout
from SpineLandmarksLib.training.finetune import RECIPE, finetune, finetuning_recipe

STRATEGIES = ("queue", "random")
#: Weights in a round's folder: of the model in use after it, and, until it is judged, of the new one.
USED, CANDIDATE = "model.safetensors", "candidate.safetensors"
#: The last promoted and the new model of each order, and the first round's.
MOST_READERS = 6
SECONDS_PER_STUDY, SECONDS_PER_LANDMARK, NEAR_ENOUGH_MM = 15.0, 6.0, 2.0


@dataclass(frozen=True)
class Settings:
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
class Round:
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


class Reader:
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
        settings: Settings,
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
        self._readers: dict[str, Reader] = {}

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
        found = _shares(self._reader(self.bundle.folder / WEIGHTS).compare(self.judges))
        base = Round(
            0,
            "base",
            (),
            0.0,
            True,
            "",
            found["mre"],
            found["sdr2"],
            found["sdr4"],
            found["shift"],
            found["mre"],
            found["sdr4"],
        )
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
        old = self._reader(weights)
        done = () if is_first else load_round(before).corrected
        spent = 0.0 if is_first else load_round(before).seconds
        chosen, reasons = self._choose(seed, strategy, count - len(done), done, old)
        spent += self._seconds(chosen, old)
        corrected = (*done, *chosen)
        recipe = finetuning_recipe(self.bundle, self.settings.steps, self.settings.recipe, seed)
        started = time.monotonic()
        detector = finetune(
            self.bundle,
            [self.pool[key] for key in corrected],
            recipe,
            folder / "run",
            weights=_read(weights),
            device=self.device,
        )
        train_s = time.monotonic() - started
        state = {name: value.contiguous() for name, value in detector.state_dict().items()}
        safetensors.torch.save_file(state, folder / CANDIDATE)
        figures = [reader.compare(self.judges) for reader in (old, self._reader(folder / CANDIDATE))]
        verdict = non_inferiority_test(figures[0], figures[1], self.settings.margin)
        used, candidate = (_shares(figures[verdict.promoted]), _shares(figures[1]))
        shutil.copyfile(folder / CANDIDATE if verdict.promoted else weights, folder / USED)
        (folder / CANDIDATE).unlink()
        shutil.rmtree(folder / "run")
        round_ = Round(
            seed,
            strategy,
            corrected,
            spent,
            verdict.promoted,
            verdict.why,
            used["mre"],
            used["sdr2"],
            used["sdr4"],
            used["shift"],
            candidate["mre"],
            candidate["sdr4"],
            train_s,
            reasons,
        )
        _write(round_, folder)
        mre = "unknown" if used["mre"] is None else f"{used['mre']:.2f} mm"
        found = f"MRE {mre}, SDR@4 {100 * used['sdr4']:.1f} %"
        self.say(f"seed {seed}, {strategy}, {count} corrected: {found}{'' if verdict.promoted else ', not promoted'}")

    def _choose(
        self, seed: int, strategy: str, count: int, done: Sequence[str], model: Reader
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

    def _seconds(self, keys: Sequence[str], model: Reader) -> float:
        predicted = model.compare([self.pool[key] for key in keys])
        to_move = predicted.missed | (predicted.counted & ~(predicted.error_mm <= NEAR_ENOUGH_MM))
        return SECONDS_PER_STUDY * len(keys) + SECONDS_PER_LANDMARK * int(to_move.sum())

    def _reader(self, weights: Path) -> Reader:
        """One for all rounds with the same weights, as after a round that promoted nothing."""
        digest = sha256_of(weights)
        if digest not in self._readers:
            recipe = finetuning_recipe(self.bundle)
            detector = Detector(recipe.architecture, len(self.bundle.landmarks))
            detector.load_state_dict(_read(weights))
            self._readers[digest] = Reader(Localizer(self.bundle, InMemory(detector, self.device)))
            while len(self._readers) > MOST_READERS:
                del self._readers[next(iter(self._readers))]
        return self._readers[digest]


def load_round(folder: Path) -> Round:
    values = load_json(folder / "round.json")
    values["corrected"] = tuple(values["corrected"])
    return Round(**{one.name: values[one.name] for one in fields(Round)})


def rounds_of(folder: Path) -> list[Round]:
    """Every round that was played."""
    return [load_round(file.parent) for file in sorted(folder.glob("**/round.json"))]


def _write(round_: Round, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text_atomically(folder / "round.json", json.dumps(asdict(round_), indent=1, allow_nan=False) + "\n")


def _shares(predictions: Predictions) -> dict[str, Any]:
    overall: dict[str, Any] = summarize(predictions, bootstrap=0)["overall"]
    return {
        "mre": overall["mre_mm"]["value"],
        "sdr2": overall["sdr"]["2"]["value"],
        "sdr4": overall["sdr"]["4"]["value"],
        "shift": overall["level_shift_rate"]["value"] or 0.0,
    }


def _read(path: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    return weights


_COLOURS = {"queue": BLUE, "random": ORANGE}


def series(rounds: Sequence[Round], strategy: str) -> dict[int, list[Round]]:
    """The rounds of a strategy by corrected studies; the base and the common first round belong to both."""
    found: dict[int, list[Round]] = {}
    for one in rounds:
        if one.strategy in ("base", "start", strategy):
            found.setdefault(len(one.corrected), []).append(one)
    return dict(sorted(found.items()))


def table(rounds: Sequence[Round], settings: Settings) -> str:
    """Mean and range over the seeds of the model in use, for each number of corrected studies and strategy."""
    lines = [
        "| corrected | order | seeds | minutes | MRE, mm | SDR@2, % | SDR@4, % | level shifts, % | promoted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for count in (0, *range(settings.start, settings.until + 1, settings.step)):
        for strategy in STRATEGIES if count > settings.start else ("start",):
            those = series(rounds, strategy).get(count, [])
            if those:
                lines.append(_row(count, strategy, those))
    return "\n".join(lines) + "\n"


def paired(rounds: Sequence[Round]) -> list[tuple[int, int, float, float, float]]:
    """(corrected, seeds, mean, low, high) of queue minus random in MRE over the seeds that played both.

    low, high: 95 % interval of the mean by Student's t over the seeds; nan for one seed.
    """
    from scipy.stats import t

    found = []
    queue, by_chance = (series([one for one in rounds if one.strategy in STRATEGIES], name) for name in STRATEGIES)
    for count in sorted(set(queue) & set(by_chance)):
        one, other = (
            {each.seed: each.mre_mm for each in those[count] if each.mre_mm is not None} for those in (queue, by_chance)
        )
        change = np.array([one[seed] - other[seed] for seed in sorted(set(one) & set(other))])
        if len(change):
            wide = float("nan")
            if len(change) > 1:
                wide = float(t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5)
            found.append((count, len(change), float(change.mean()), change.mean() - wide, change.mean() + wide))
    return found


def verdict(rounds: Sequence[Round]) -> str:
    """One sentence: does the queue beat a random order?"""
    last = paired(rounds)[-1:]
    if not last:
        return "No round was played by both orders yet."
    count, seeds, mean, low, high = last[0]
    said = f"At {count} corrected studies, queue minus random is {mean:+.2f} mm of MRE over {seeds} seeds"
    if seeds < 2:
        return f"{said}: one seed cannot tell."
    said += f" (95 % interval {low:+.2f} to {high:+.2f})"
    return f"{said}: the queue is better." if high < 0 else f"{said}: the queue is not shown to beat a random order."


def gains(rounds: Sequence[Round], settings: Settings) -> str:
    """One sentence: how the MRE of the model in use changes from the first round of each order to its last."""
    first, last = settings.start + settings.step, settings.until
    said = []
    for strategy in STRATEGIES:
        counts = series([one for one in rounds if one.strategy == strategy], strategy)
        before, after = ({one.seed: one.mre_mm for one in counts.get(count, [])} for count in (first, last))
        known = [(before[seed], after[seed]) for seed in sorted(set(before) & set(after))]
        pairs = np.array([pair for pair in known if None not in pair], dtype=np.float64)
        if len(pairs):
            fell = int((pairs[:, 1] < pairs[:, 0]).sum())
            said.append(
                f"by {strategy} {pairs[:, 0].mean():.2f} -> {pairs[:, 1].mean():.2f} mm (falls in {fell} of "
                f"{len(pairs)} seeds)"
            )
    if not said:
        return f"No order was played from {first} to {last} corrected studies yet."
    return f"From {first} to {last} corrected studies the MRE of the model in use goes, {' and '.join(said)}."


def plot(rounds: Sequence[Round]) -> bytes:
    """SVG: MRE and SDR@4 of the model in use against corrected studies and against the annotators' assumed minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    for strategy in STRATEGIES:
        counts = series(rounds, strategy)
        minutes = [np.mean([one.seconds for one in those]) / 60 for those in counts.values()]
        for row, (name, factor) in enumerate((("mre_mm", 1.0), ("sdr4", 100.0))):
            values = [factor * _values(those, name) for those in counts.values()]
            middle = [each.mean() for each in values]
            for column, x in enumerate((list(counts), minutes)):
                panels[row, column].plot(x, middle, "o-", color=_COLOURS[strategy], label=strategy, markersize=4)
                panels[row, column].fill_between(
                    x,
                    [v.min() for v in values],
                    [v.max() for v in values],
                    color=_COLOURS[strategy],
                    alpha=0.15,
                    linewidth=0,
                )
    panels[0, 0].set_ylabel("MRE, mm")
    panels[1, 0].set_ylabel("SDR@4, %")
    panels[1, 0].set_xlabel("corrected studies")
    panels[1, 1].set_xlabel("annotators' minutes, by assumption")
    panels[0, 0].legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _row(count: int, strategy: str, those: Sequence[Round]) -> str:
    def shown(name: str, factor: float, digits: int) -> str:
        values = factor * _values(those, name)
        spread = f" ({values.min():.{digits}f} to {values.max():.{digits}f})" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread}"

    promoted = f"{sum(one.promoted for one in those)} of {len(those)}" if count else "-"
    name = "-" if not count else "random" if strategy == "start" else strategy
    cells = (
        count,
        name,
        len(those),
        shown("seconds", 1 / 60, 0),
        shown("mre_mm", 1, 2),
        shown("sdr2", 100, 1),
        shown("sdr4", 100, 1),
        shown("level_shift", 100, 1),
        promoted,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _values(those: Sequence[Round], name: str) -> Floats:
    """One figure of each round; nan where there is none."""
    return np.array([getattr(one, name) for one in those], dtype=np.float64)
