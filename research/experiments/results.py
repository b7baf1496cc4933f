"""What is left of one row on one split: what its networks took, and where its points lie on slices it never saw.

The files:

    DIR/KIND/results/ROW/PART.points.json    {"images/a.png": [[x, y] or null, ...], ...} native pixels
    DIR/KIND/results/ROW/PART.json           the rest; written last, so that it says that both are whole
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotated_slices import millimetres_of, points_of, spacing_of
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.settings import from_dict, to_dict

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Training:
    """What one network took. shown, optimizer: its input and its rate in words. minutes: None when unknown.
    parameters: of the network. diverged: the error that ended it, "" for none."""

    recipe: str
    shown: str
    optimizer: str
    batch: int
    steps: int
    minutes: float | None
    parameters: int
    diverged: str = ""


@dataclass(frozen=True)
class Result:
    """One row on one split. points: (L, 2) native pixels by image, nan where out of view. trainings: of the networks
    it is made of. sigma_px: of the fused Gaussian, where one was fitted. remark: what a reader has to know."""

    points: dict[str, Points]
    trainings: tuple[Training, ...]
    sigma_px: tuple[float, ...] = ()
    remark: str = ""


def by_image(rows: Sequence[Annotation], data: Path) -> dict[str, Annotation]:
    """Each slice of the data set `data` by the path of its image inside it."""
    return {Path(os.path.relpath(row.image, data.resolve())).as_posix(): row for row in rows}


def write_result(folder: Path, part: str, result: Result) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    plain = {key: [_plain(point) for point in points] for key, points in result.points.items()}
    write_text_atomically(folder / f"{part}.points.json", json.dumps(plain))
    facts = {"trainings": [to_dict(t) for t in result.trainings], "sigma_px": result.sigma_px, "remark": result.remark}
    write_text_atomically(folder / f"{part}.json", json.dumps(facts, indent=1) + "\n")


def read_result(folder: Path, part: str) -> Result | None:
    """The result, or None when it is not there yet."""
    if not (folder / f"{part}.json").is_file():
        return None
    facts, plain = load_json(folder / f"{part}.json"), load_json(folder / f"{part}.points.json")
    points = {key: np.array([point or (np.nan, np.nan) for point in row]) for key, row in plain.items()}
    trainings = tuple(from_dict(Training, each, "training") for each in facts["trainings"])
    return Result(points, trainings, tuple(facts["sigma_px"]), facts["remark"])


def pooled(results: Sequence[Result], annotated: Mapping[str, Annotation], schema: Sequence[str]) -> Predictions:
    """The points of all results beside the annotations, by image; DatasetError unless each slice was judged once."""
    judged = [image for result in results for image in result.points]
    if sorted(judged) != sorted(annotated):
        raise DatasetError(
            f"Expected points on each of {len(annotated)} slices once; got {len(set(judged) & set(annotated))} of them "
            f"and {len(judged)} in all. Choose another --output for another data set"
        )
    points = {image: each for result in results for image, each in result.points.items()}
    rows = list(annotated.values())
    truth = np.stack([points_of(row, schema) for row in rows])
    predicted = np.stack([points[image] for image in annotated])
    return Predictions(
        truth_px=truth,
        predicted_px=predicted,
        valid=np.asarray(np.isfinite(truth).all(-1)),
        found=np.asarray(np.isfinite(predicted).all(-1)),
        spacing_mm=np.array([spacing_of(row) or (np.nan, np.nan) for row in rows]),
        confidence=np.full(truth.shape[:2], np.nan),
        radius95_mm=np.full(truth.shape[:2], np.nan),
        groups=np.array([row.group for row in rows]),
        names=tuple(schema),
        image_names=tuple(annotated),
        millimetres=millimetres_of(rows),
    )


def _plain(point: Points) -> list[Any] | None:
    return [round(float(value), 3) for value in point] if np.isfinite(point).all() else None
