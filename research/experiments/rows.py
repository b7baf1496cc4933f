"""A row of a table, and how it is run: once for each split, and never again when its result is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from research.experiments.decoding import Decoder, PredictPoints, all_missing, decode_with, localizer_of
from research.experiments.experiment import Experiment, Part
from research.experiments.results import Result, Training, by_image, pooled, read_result, write_result
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.training.recipe import Recipe


@dataclass(frozen=True)
class Predictor:
    """What is judged on one split: how it names points, and what a reader has to know of it."""

    predict_points: PredictPoints
    trainings: tuple[Training, ...] = ()
    sigma_px: tuple[float, ...] = ()
    remark: str = ""


@dataclass(frozen=True)
class ExperimentRow:
    """key: its name in files and for --rows. title, decoder, note: as the table says them. enter: trains what is
    missing."""

    key: str
    title: str
    decoder: str
    enter: Callable[[Experiment, Part], Predictor]
    note: str = ""


@dataclass(frozen=True)
class Line:
    """A finished row: the points of all its splits together, and the result of each split."""

    row: ExperimentRow
    predictions: Predictions
    results: tuple[Result, ...]


def network_row(key: str, title: str, recipe: str, decoder: Decoder, note: str = "") -> ExperimentRow:
    """One network on its own."""

    def enter(experiment: Experiment, part: Part) -> Predictor:
        detector, training = experiment.trained(recipe, part)
        return predictor_of(detector, training, experiment.recipe_of(recipe), decoder, part.learn, experiment.schema)

    return ExperimentRow(key, title, decoder, enter, note)


def predictor_of(
    detector: Detector | None,
    training: Training,
    recipe: Recipe,
    decoder: Decoder,
    learned: Sequence[Annotation],
    schema: Sequence[str],
) -> Predictor:
    """How a network trained by `recipe` on `learned` names points; nowhere where it has diverged."""
    if detector is None:
        return Predictor(all_missing(len(schema)), (training,))
    localizer = localizer_of(detector, recipe.preparation, learned, schema)
    return Predictor(decode_with(decoder, localizer), (training,))


def result_of(experiment: Experiment, row: ExperimentRow, part: Part) -> Result:
    """The result of `row` on `part`: read where it is there, else made and written."""
    folder = experiment.folder / "results" / row.key
    known = read_result(folder, part.name)
    if known is not None:
        return known
    predictor = row.enter(experiment, part)
    points = predictor.predict_points(part.judge)
    named = dict(zip(by_image(part.judge, experiment.data), points, strict=True))
    write_result(folder, part.name, Result(named, predictor.trainings, predictor.sigma_px, predictor.remark))
    experiment.say(f"{row.key}, {part.name}: judged on {len(points)} slices")
    result = read_result(folder, part.name)
    assert result is not None
    return result


def judged(experiment: Experiment, row: ExperimentRow, part: Part) -> Line:
    """The line of `row` on the slices that `part` judges."""
    result = result_of(experiment, row, part)
    return Line(row, pooled([result], by_image(part.judge, experiment.data), experiment.schema), (result,))


def chosen(rows: Sequence[ExperimentRow], keys: Sequence[str] | None) -> list[ExperimentRow]:
    """The rows called `keys`, in the table's order; all when left out. OutputError names what exists."""
    known = [row.key for row in rows]
    unknown = sorted(set(keys or ()) - set(known))
    if unknown:
        raise OutputError(f"Expected rows of {', '.join(known)}; got {', '.join(unknown)}")
    return [row for row in rows if keys is None or row.key in keys]
