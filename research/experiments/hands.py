"""The second paper's own experiment: SCN beside the U-Net it is compared with, on few radiographs of hands.

Payer, Stern, Bischof, Urschler 2019 (networks/scn.py) hold that SCN needs little data. Both networks are one recipe but
for the network itself. Neither is told the spacing of a picture, as it is taken from two of the points: each picture is
as many rows high.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from research.experiments.ablation import Change, entering
from research.experiments.curve import run_curve
from research.experiments.experiment import Experiment, Part
from research.experiments.results import Result, read_result
from research.experiments.rows import ExperimentRow, Line, Predictor
from research.experiments.table import millions, minutes
from research.markdown import estimate, markdown, mm, percent
from SpineLandmarksLib.errors import DatasetError, OutputError
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap
from SpineLandmarksLib.evaluation.metrics import failures, summarize
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.landmarks import Schema

RECIPE = "hands"
SIZES = (10, 50, 78)
OUTLIERS_MM = (2.0, 4.0, 10.0)
PANELS = (
    ("mre_mm", None, "mean error, mm", 1),
    ("outliers", "2", "beyond 2 mm, %", 100),
    ("outliers", "10", "beyond 10 mm, %", 100),
)
NOTE = "here 1 mm is 1/256 of the picture's height"
UNET = {"architecture": {"heatmap": {"network": "localization_unet"}}}
#: 320 rows instead of 256.
FINER = {
    "preparation": {"spacing_mm": 0.8},
    "crop": [256, 320],
    "geometry": {"shift_xy": [12.5, 12.5], "elastic_px": 2.5},
}
NETWORKS = (
    Change("scn", "SCN", decoder="peak"),
    Change("localization-unet", "localization U-Net", UNET, decoder="peak"),
    Change("scn-finer", "SCN, 320 rows", FINER, decoder="peak"),
    Change("localization-unet-longer", "localization U-Net, 12,000 steps", {**UNET, "steps": 12_000}, decoder="peak"),
)
#: What only the most patients are tried with: where each network gains more.
ON_ALL_PATIENTS = ("scn-finer", "localization-unet-longer")


def hands_rows() -> list[ExperimentRow]:
    return [ExperimentRow(each.key, each.title, each.decoder, entering_untold(each), NOTE) for each in NETWORKS]


def entering_untold(change: Change) -> Callable[[Experiment, Part], Predictor]:
    """As `ablation.entering`, the spacing hidden from what learns and from what is judged."""
    enter = entering(change, RECIPE, ())

    def enter_untold(experiment: Experiment, part: Part) -> Predictor:
        predictor = enter(experiment, replace(part, learn=_untold(part.learn)))
        return replace(predictor, predict_points=lambda rows: predictor.predict_points(_untold(rows)))

    return enter_untold


def _untold(rows: Sequence[Annotation]) -> list[Annotation]:
    return [replace(row, spacing_mm=None) for row in rows]


def run_hands(
    experiment: Experiment, rows: Sequence[ExperimentRow], held_out: int, finished: bool = False
) -> list[tuple[int, Line]]:
    """As `run_curve`; all networks on the most patients first.

    finished: take what is there already, and train nothing. Raises DatasetError for landmarks that are a chain,
    OutputError where nothing is finished.
    """
    if Schema.of(experiment.schema).has_order:
        raise DatasetError(f'Expected "order": "none" in {experiment.data / "schema.json"}: a hand is no chain')
    coarse = [row for row in rows if row.key not in ON_ALL_PATIENTS]
    turns = [(coarse, size) for size in (SIZES[-1], *SIZES[:-1])]
    turns.append(([row for row in rows if row not in coarse], SIZES[-1]))
    if finished:
        turns = [([row for row in part if is_finished(experiment, row, size)], size) for part, size in turns]
    points = [point for part, size in turns for point in run_curve(experiment, part, held_out, (size,))]
    if not points:
        raise OutputError(f"Expected finished networks in {experiment.folder}; got none")
    return sorted(points, key=lambda point: ([row.key for row in rows].index(point[1].row.key), point[0]))


def is_finished(experiment: Experiment, row: ExperimentRow, size: int) -> bool:
    return read_result(experiment.folder / "results" / row.key, f"n{size}") is not None


def with_outliers(predictions: Predictions) -> dict[str, Any]:
    """ "overall" of metrics.json, and "outliers": share of annotated points that are missed or further off."""
    resampler = GroupBootstrap(predictions.groups, 2000, 0)
    trials = predictions.valid.sum(axis=1)
    outliers = {
        f"{t:g}": resampler.proportion(failures(predictions, t).sum(axis=1), trials).as_json() for t in OUTLIERS_MM
    }
    return {**summarize(predictions)["overall"], "outliers": outliers}


def outliers_table(lines: Sequence[tuple[str, dict[str, Any], Sequence[Result]]]) -> str:
    """(title, of `with_outliers`, results) -> one line each."""
    head = ["row", "mean, mm", "median, mm", *(f"beyond {t:g} mm, %" for t in OUTLIERS_MM), "parameters, M", "minutes"]
    return markdown(
        head,
        [
            [
                title,
                *(estimate(overall[key], mm) for key in ("mre_mm", "median_mm")),
                *(estimate(share, percent) for share in overall["outliers"].values()),
                millions(results),
                minutes(results),
            ]
            for title, overall, results in lines
        ],
    )


def differences(points: Sequence[tuple[int, Line]]) -> str:
    """By how much each later row's mean error is above the first one's, on the same patients, with intervals."""
    first = points[0][1].row
    known = {size: line.predictions for size, line in points if line.row.key == first.key}
    said = [
        f"{line.row.title} with {size}: {_difference(line.predictions, known[size])}"
        for size, line in points
        if line.row.key != first.key
    ]
    return f"Mean error less that of {first.title}, patients resampled together, mm: {'; '.join(said)}." if said else ""


def _difference(one: Predictions, other: Predictions) -> str:
    both = one.counted & other.counted
    apart = np.where(both, one.error_mm - other.error_mm, 0.0).sum(axis=1)
    found = GroupBootstrap(one.groups, 2000, 0).ratio(apart, both.sum(axis=1)).as_json()
    return estimate(found, "{:+.2f}".format).replace("–", " to ")
