"""Bundles that `train --fold` has made, as a row: only where run.json says that their fold is the one they judge."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

from safetensors import safe_open

from research.experiments.decoding import decode_with
from research.experiments.experiment import Experiment, Part, facts_of
from research.experiments.results import Training
from research.experiments.rows import ExperimentRow, Predictor
from SpineLandmarksLib.bundle import WEIGHTS
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.settings import from_dict
from SpineLandmarksLib.training.recipe import Recipe


def bundle_row(key: str, title: str, template: str) -> ExperimentRow:
    """The bundles that `template` names, such as "runs/fold{fold}/fold{fold}", each on its own fold."""

    def enter(experiment: Experiment, part: Part) -> Predictor:
        folder = Path(template.replace("{fold}", part.name.removeprefix("fold")))
        run = run_of(folder, experiment, part)
        localizer = Localizer.open(folder)
        training = training_of(folder, from_dict(Recipe, run["recipe"], str(folder)))
        return Predictor(decode_with("chain", localizer), (training,), remark=provenance(run))

    return ExperimentRow(key, title, "chain", enter)


def run_of(bundle: Path, experiment: Experiment, part: Part) -> dict[str, Any]:
    """What `train` wrote beside the bundle; DatasetError unless it left out just the patients of `part.judge`."""
    path = bundle.parent / "run.json"
    if not path.is_file():
        raise DatasetError(f"Expected run.json, which says what a bundle has not seen, beside {bundle}; it is missing")
    run: dict[str, Any] = load_json(path)
    same = Path(str(run.get("data"))).resolve() == experiment.data.resolve()
    if not same or run.get("split") != part.split:
        raise DatasetError(
            f"Expected {bundle} to be trained on {experiment.data}, {part.split}; "
            f"got {run.get('data')}, {run.get('split')}"
        )
    if any(Path(folder).resolve() == experiment.data.resolve() for folder in run.get("extra", {})):
        raise DatasetError(f"Expected {bundle} to have learned from other extra data than {experiment.data}")
    return run


def training_of(bundle: Path, recipe: Recipe) -> Training:
    with safe_open(bundle / WEIGHTS, framework="pt") as file:
        names = [name for name in file.keys() if not name.endswith(BUFFERS)]  # noqa: SIM118  no dict
        parameters = sum(prod(file.get_slice(name).get_shape()) for name in names)
    return facts_of(recipe, minutes_of(bundle.parent), parameters)


#: Tensors of a network that are stored, but not trained.
BUFFERS = ("running_mean", "running_var", "num_batches_tracked")


def minutes_of(run: Path) -> float | None:
    """Wall minutes from the first to the last recorded loss of each start of a training; None without any."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader  # type: ignore[import-untyped]

    seconds = 0.0
    for path in sorted(run.glob("events.out.tfevents.*")):
        times = [event.wall_time for event in EventFileLoader(str(path)).Load() if event.HasField("summary")]
        seconds += times[-1] - times[0] if times else 0.0
    return round(seconds / 60, 3) if seconds else None


def provenance(run: dict[str, Any]) -> str:
    """What else the bundle has learned from, in words."""
    extra = [
        f"{Path(folder).name} ({100 * share:g} % of draws)" if share else Path(folder).name
        for folder, share in run.get("extra", {}).items()
    ]
    said = [f"starts from {run['started_from']}"] if run.get("started_from") else []
    said += [f"also learns from {', '.join(extra)}"] if extra else []
    return "; ".join(said)
