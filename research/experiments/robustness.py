"""One bundle under every perturbation at every strength, as a table: what still works, and what is warned of.

    python -m research.experiments robustness DATASET --bundle NAME --holdout 30 --output DIR --document FILE.md

Every slice goes through the whole of `Localizer.localize`, so that doubt is judged as well as places.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from research.experiments.perturb import PERTURBATIONS, Perturbation
from research.markdown import write_section
from SpineLandmarksLib.annotated_slices import millimetres_of
from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap
from SpineLandmarksLib.evaluation.metrics import shifted
from SpineLandmarksLib.evaluation.predictions import Bools, Predictions
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.imaging.picture import frame_of_picture
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.training.unusable import PerturbedSlice, as_annotated

#: One line of the table: a perturbation at one strength; None is the slices as they are.
Condition = tuple[Perturbation, float] | None

DEFINITIONS = {
    "sdr_4, sdr_8": "share of all annotated points within t mm of the truth, or rightly called out of view because "
    "the change has moved them out of the picture",
    "level_shift": "share of predicted points nearer to another landmark's truth than to their own",
    "outside": "share of all annotated points that the change has moved out of the picture",
    "out_of_view": "share of all annotated points that were called out of view; ideally the same",
    "warned": "share of images with at least one warning about levels or view; those of unusual pixels not counted",
    "review": "share of images that are flagged as in need of review",
    "silent": "share of images with a point that is not right at 8 mm and no such flag",
}


def robustness_command(options: argparse.Namespace) -> int:
    """Measure, write DIR/robustness.json and .md and, where asked for, the section of a document."""
    localizer = Localizer.open(options.bundle, options.backend, options.device)
    _, judged, split = split_dataset(options, options.dataset, localizer.bundle.landmarks)
    rows = robustness(localizer, judged, options.progress)
    about = {
        "bundle": localizer.bundle.label,
        "data": options.dataset.name,
        "split": split,
        "images": len(judged),
        "millimetres": millimetres_of(judged),
        "definitions": DEFINITIONS,
    }
    table = as_markdown(rows, about)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(options.output / "robustness.json", json.dumps({**about, "rows": rows}, indent=1) + "\n")
    write_text_atomically(options.output / "robustness.md", table)
    if options.document:
        write_section(options.document, "robustness", table)
    print(f"Written: {', '.join(map(str, [options.output / 'robustness.json', options.document or '']))}".rstrip(", "))
    return 0


def robustness(
    localizer: Localizer, annotations: Sequence[Annotation], progress: ProgressCallback | None = None
) -> list[dict[str, Any]]:
    """One row a condition, the slices as they are first: its name, its strength and the figures of `DEFINITIONS`."""
    cases = [as_annotated(annotation, localizer.bundle.landmarks) for annotation in annotations]
    seeds = [zlib.crc32(annotation.image.name.encode()) for annotation in annotations]
    conditions: list[Condition] = [None, *((p, strength) for p in PERTURBATIONS for strength in p.strengths)]
    rows = []
    for done, condition in enumerate(conditions, start=1):
        changed = [
            case if condition is None else condition[0].at(condition[1], case, seed)
            for case, seed in zip(cases, seeds, strict=True)
        ]
        found = [localizer.localize(stack_of(case)) for case in changed]
        name, strength = ("none", "") if condition is None else (condition[0].name, condition[0].label(condition[1]))
        rows.append({"perturbation": name, "strength": strength, **figures(annotations, changed, found)})
        if progress:
            progress(done, len(conditions))
    return rows


def stack_of(case: PerturbedSlice) -> SagittalStack:
    """What `predict` would read, without the warnings of reading, which are about the file and not about the levels."""
    return SagittalStack(case.image[None], frame_of_picture(case.stated_spacing_mm), has_patient_frame=False)


def figures(
    annotations: Sequence[Annotation], cases: Sequence[PerturbedSlice], found: Sequence[LandmarkSet]
) -> dict[str, dict[str, float | None]]:
    """Each figure with its interval, which resamples groups."""
    predictions = compare(annotations, cases, found)
    outside = predictions.valid & ~np.stack([case.inside for case in cases])
    resampler = GroupBootstrap(predictions.groups, 2000, 0)

    def share(events: Bools, of: Bools) -> dict[str, float | None]:
        return resampler.proportion(events.sum(axis=1), of.sum(axis=1)).as_json()

    def right(mm: float) -> Bools:
        near = predictions.counted & (np.nan_to_num(predictions.error_mm, nan=np.inf) <= mm)
        return np.asarray(near | (outside & ~predictions.found))

    warned = np.array([[bool(each.warnings)] for each in found])
    review = np.array([[bool(each.needs_review)] for each in found])
    wrong = (predictions.valid & ~right(8.0)).any(axis=1, keepdims=True)
    return {
        "sdr_4": share(right(4.0), predictions.valid),
        "sdr_8": share(right(8.0), predictions.valid),
        "level_shift": share(shifted(predictions), predictions.counted),
        "outside": share(outside, predictions.valid),
        "out_of_view": share(predictions.missed, predictions.valid),
        "warned": share(warned, np.ones_like(warned)),
        "review": share(review, np.ones_like(warned)),
        "silent": share(wrong & ~review, np.ones_like(warned)),
    }


def compare(
    annotations: Sequence[Annotation], cases: Sequence[PerturbedSlice], found: Sequence[LandmarkSet]
) -> Predictions:
    """The points found beside the moved truth, which may lie outside the picture."""
    truth = np.stack([case.points_xy for case in cases])
    predicted = np.array([[mark.pixel_xy or (np.nan, np.nan) for mark in each] for each in found], dtype=np.float64)
    unstated = np.full(truth.shape[:2], np.nan)
    return Predictions(
        truth_px=truth,
        predicted_px=predicted,
        valid=np.asarray(np.isfinite(truth).all(-1)),
        found=np.asarray(np.isfinite(predicted).all(-1)),
        spacing_mm=np.array([case.spacing_mm for case in cases]),
        confidence=unstated,
        radius95_mm=unstated,
        groups=np.array([annotation.group for annotation in annotations]),
        names=found[0].names,
        image_names=tuple(annotation.image.name for annotation in annotations),
    )


def as_markdown(rows: Sequence[dict[str, Any]], about: dict[str, Any]) -> str:
    """The table with what it was measured on; the intervals are in the JSON file."""
    head = [
        f"Bundle {about['bundle']} on {about['data']}: {about['images']} images, {about['split']}. "
        f"Millimetres are {about['millimetres']}. All figures are per cent; as it is, SDR@8 has the 95 % interval "
        f"{_interval(rows[0]['sdr_8'])}, and no difference within it says anything.",
        "",
        *(f"- {name}: {meaning}" for name, meaning in about["definitions"].items()),
        "",
        "| change | strength | SDR@4 | SDR@8 | level shift | outside | called out of view | warned | review | silent |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    keys = ("sdr_4", "sdr_8", "level_shift", "outside", "out_of_view", "warned", "review", "silent")
    lines = [
        f"| {row['perturbation']} | {row['strength']} | {' | '.join(_percent(row[key]['value']) for key in keys)} |"
        for row in rows
    ]
    return "\n".join([*head, *lines]) + "\n"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _interval(estimate: dict[str, float | None]) -> str:
    return f"{_percent(estimate['low'])}-{_percent(estimate['high'])}"
