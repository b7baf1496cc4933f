"""Cross-fitted evaluation: every slice judged by weights and a calibration that have never seen its patient.

Each fold's bundle reads the patients that were left out of its training. The doubt that judges a fold is fitted on the
other folds; the doubt that a shipped bundle gets is fitted on all of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.slice_reading import SliceReading
from SpineLandmarksLib.splits import split_by_group
from SpineLandmarksLib.training.build import held_out_of
from SpineLandmarksLib.training.fit_calibration import HeldOut, fit_calibration
from SpineLandmarksLib.uncertainty import Calibration


@dataclass(frozen=True)
class Fold:
    """One fold's bundle, the slices it has never seen, and what it reads there.

    is_placed: (N,) of each slice, whether its points tell places; else they tell levels alone, and no radius is fitted
    on them. None where all do.
    """

    localizer: Localizer
    annotations: Sequence[Annotation]
    readings: Sequence[SliceReading]
    is_placed: Sequence[bool] | None = None

    @property
    def held_out(self) -> HeldOut:
        found = held_out_of(self.localizer, self.annotations, self.readings)
        if self.is_placed is None:
            return found
        error = found.error_mm.copy()  # the slices as they are come first
        error[: len(self.is_placed)][~np.array(self.is_placed)] = np.nan
        return replace(found, error_mm=error)

    def judged_with(self, calibration: Calibration) -> Predictions:
        bundle = replace(self.localizer.bundle, calibration=calibration)
        return compare(Localizer(bundle, self.localizer.backend), self.annotations, self.readings)


def read_fold(
    bundle: Path, dataset: Path, left_out: Sequence[Annotation], split: str, progress: ProgressCallback | None = None
) -> Fold:
    """Read the slices that `bundle` was trained without: a fold of `dataset`, or all of a data set it never saw.

    Raises DatasetError when its run says that it left out others.
    """
    file = bundle.parent / "run.json"
    run = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seen = {Path(folder).resolve() for folder in (run.get("data", dataset), *run.get("extra", {}))}
    trained = run.get("split", split)
    if dataset.resolve() in seen and trained != split:
        raise DatasetError(f"Expected {bundle} to be trained with {split} left out; its run left out {trained}")
    localizer = Localizer.open(bundle)
    return Fold(localizer, left_out, read_annotated(localizer, left_out, progress))


def deal(
    localizer: Localizer,
    annotations: Sequence[Annotation],
    count: int,
    seed: int,
    is_placed: Sequence[bool],
    progress: ProgressCallback | None = None,
) -> list[Fold]:
    """Slices that one bundle has never seen, in `count` parts by patient. Raises DatasetError as `split_by_group`."""
    parts = [test for _, test in split_by_group([row.group for row in annotations], count, seed)]
    readings = read_annotated(localizer, annotations, progress)
    columns = annotations, readings, is_placed
    return [Fold(localizer, *([column[row] for row in part] for column in columns)) for part in parts]


def crossfit(folds: Sequence[Fold], fitted_on: str) -> tuple[Predictions, Calibration]:
    """The out-of-fold predictions, each with a doubt fitted on the other folds, and the doubt fitted on all."""
    held_out = [fold.held_out for fold in folds]
    judged = []
    for number, fold in enumerate(folds):
        others = HeldOut.join(held_out[:number] + held_out[number + 1 :])
        judged.append(fold.judged_with(fit_calibration(others)))
    return _joined(judged), fit_calibration(HeldOut.join(held_out), fitted_on)


def _joined(parts: Sequence[Predictions]) -> Predictions:
    """All parts; millimetres are called estimated as soon as those of one part are."""
    kinds = {part.millimetres for part in parts}
    if len(kinds) > 1:
        parts = [replace(part, millimetres="estimated") for part in parts]
    return Predictions.join(parts)


def operating_point(summary: dict[str, Any]) -> str:
    """The flag and the radius in one line."""
    review, calibration = summary["review"], summary["calibration"]
    share = {name: review[name]["value"] for name in ("flagged_images", "wrong_points_caught", "wrong_images_caught")}
    said = {name: "none to catch" if value is None else f"{100 * value:.1f} %" for name, value in share.items()}
    return (
        f"radius95 covers {100 * (calibration['radius95_coverage']['value'] or 0):.1f} %; needs_review flags "
        f"{said['flagged_images']} of images and catches {said['wrong_points_caught']} of {review['n_wrong_points']} "
        f"wrong points, {said['wrong_images_caught']} of {review['n_wrong_images']} images with one"
    )
