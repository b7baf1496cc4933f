"""Evaluation metrics as plain data, the content of metrics.json: radial errors, detection rates, level shifts, and the
calibration of confidence and radius (does a 95 % radius hold 95 % of the truth, is a 0.9 right nine times in ten?).

Needs numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.bootstrap import LEVEL, Estimate, GroupBootstrap
from SpineLandmarksLib.evaluation.predictions import Bools, Floats, Predictions
from SpineLandmarksLib.landmarks import Schema, kind_of, names_per_level

#: A whole chain is looked for up to this many levels up or down; names without levels are taken to have two a level.
MAX_LEVELS = 2


def shifted(predictions: Predictions) -> Bools:
    """(N, L): a point with truth and prediction that is nearer, in mm, to another landmark's truth than to its own."""
    return _nearer_elsewhere(predictions, np.ones((len(predictions.names),) * 2, dtype=np.bool_))


def shifted_within_kind(predictions: Predictions) -> Bools:
    """(N, L): like `shifted`, among landmarks of one kind only: a body on another body, a disc on another disc.

    A body centre put on the disc beside it is half a level off; it counts in `shifted` and not here.
    """
    kinds = np.array([kind_of(name) for name in predictions.names])
    return _nearer_elsewhere(predictions, kinds[:, None] == kinds[None, :])


def _nearer_elsewhere(predictions: Predictions, comparable: Bools) -> Bools:
    others = comparable & ~np.eye(len(predictions.names), dtype=np.bool_)
    distance = np.where(others & ~np.isnan(predictions.distance_mm), predictions.distance_mm, np.inf)
    nearest_other = distance.min(axis=2, initial=np.inf)
    return np.asarray(predictions.counted & (nearest_other < predictions.error_mm))


def chain_shifts(predictions: Predictions) -> NDArray[np.int64]:
    """(N,): landmarks by which the chain as a whole is off; 0 = in place, 2 = one level towards the feet.

    That is the k up to two levels away with the least median distance from prediction l to the truth of l + k, over
    the points where both are there. At least two points, and half of those that could be compared at k = 0, must take
    part. Landmarks without an order are in place as a whole.
    """
    if not Schema.of(predictions.names).has_order:
        return np.zeros(len(predictions), dtype=np.int64)
    count = len(predictions.names)
    most = min(MAX_LEVELS * (names_per_level(predictions.names) or 2), count - 1)
    steps = sorted(range(-most, most + 1), key=abs)  # 0 first, so that it wins a tie
    needed = np.maximum(predictions.counted.sum(axis=1) / 2, 2)
    misfit = np.stack([_misfit(predictions.distance_mm, step, needed) for step in steps], axis=1)
    return np.asarray(np.array(steps, dtype=np.int64)[misfit.argmin(axis=1)])


def _misfit(distance_mm: Floats, step: int, needed: Floats) -> Floats:
    """(N,): median distance from prediction l to truth l + step; inf where too few points can be compared."""
    along = np.diagonal(distance_mm, offset=step, axis1=1, axis2=2)
    misfit = np.full(len(along), np.inf)
    enough = np.isfinite(along).sum(axis=1) >= needed
    misfit[enough] = np.nanmedian(along[enough], axis=1)
    return misfit


def describe_shift(step: int, names: Sequence[str]) -> str:
    """One line for a reader, in levels where names tell of them.

    >>> describe_shift(-2, ("L1", "L1-L2", "L2"))
    '1 level towards the head'
    """
    if step == 0:
        return "in place"
    per_level = names_per_level(names)
    size, word = (abs(step) / per_level, "level") if per_level else (float(abs(step)), "landmark")
    return f"{size:g} {word}{'' if size == 1 else 's'} towards the {'feet' if step > 0 else 'head'}"


THRESHOLDS_MM = (2.0, 2.5, 3.0, 4.0, 6.0, 8.0)
#: Every point of an image within this makes the image wholly right.
WHOLLY_RIGHT_MM = 8.0
#: Of the reliability diagram.
N_BINS = 10
#: Nominal levels at which the coverage of scaled radii is drawn.
NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)

DEFINITIONS = {
    "mre_mm": "mean radial error over annotated points that were predicted; missed points have no distance",
    "median_mm": "median radial error, over the same points",
    "p95_mm": "95th percentile of the radial error, over the same points",
    "max_mm": "largest radial error",
    "sdr": "share of all annotated points within t mm of the truth; a missed point is a failure at every t",
    "missed_rate": "share of annotated points that were called out of view",
    "level_shift_rate": "share of predicted annotated points nearer to another landmark's truth than to their own",
    "level_shift_same_kind_rate": "the same, a body compared with bodies and a disc with discs only",
    "images_within_8_mm": "share of images with every annotated point predicted and within 8 mm",
    "images_without_level_shift": "share of images with every annotated point predicted and none on another level",
    "chain_shifts": "images whose points as a whole fit the truth better when moved along the chain",
    "radius95_coverage": "share of predicted annotated points whose truth lies within the stated 95 % radius",
    "confidence": "probability that the level is right, against the share of points that are not level shifts",
    "review": "flagged_images: share of images with a flagged landmark; wrong_points_caught: share of wrong points "
    "(missed, on another level, or beyond 8 mm) that are flagged; wrong_images_caught: share of images with such a "
    "point that are flagged",
    "interval": "95 % percentile bootstrap over groups (patients or studies); where all or none succeeded, the exact "
    "binomial limit with each group as one trial; null with fewer than two groups",
}


@dataclass(frozen=True)
class Bin:
    """Points whose confidence lies in low < c <= high (the first bin holds 0 as well)."""

    low: float
    high: float
    n: int
    mean_confidence: float
    fraction_right: float


def summarize(predictions: Predictions, *, bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Content of metrics.json: strings, finite numbers and null only. The order of images changes nothing but "images".

    bootstrap: resamples of groups for each interval; 0 leaves the intervals null.
    Raises DatasetError when no point is annotated.
    """
    if not predictions.valid.any():
        raise DatasetError(f"Expected annotated points to measure against; got none in {len(predictions)} images")
    # Sums of floats depend on their order, so the order is made canonical.
    ordered = predictions.take(np.lexsort((np.array(predictions.image_names), predictions.groups)))
    resampler = GroupBootstrap(ordered.groups, bootstrap, seed)
    every = np.ones_like(ordered.valid)
    return {
        "millimetres": predictions.millimetre_source,
        "unit": predictions.unit,
        "n_images": len(predictions),
        "n_groups": resampler.n_groups,
        "n_points": int(predictions.valid.sum()),
        "n_missed": int(predictions.missed.sum()),
        "n_predicted_without_annotation": int((predictions.found & ~predictions.valid).sum()),
        "overall": _points(ordered, every, resampler) | _images(ordered, resampler),
        "per_landmark": {
            name: _points(ordered, every & (np.arange(len(ordered.names)) == column), resampler)
            for column, name in enumerate(ordered.names)
        },
        "chain_shifts": _chains(ordered),
        "calibration": _calibration(ordered, resampler),
        "review": _review(ordered, resampler),
        "bootstrap": {"replicates": bootstrap, "seed": seed, "level": LEVEL, "resampled": "groups"},
        "definitions": DEFINITIONS,
        "images": _cases(predictions),
    }


def failures(predictions: Predictions, threshold_mm: float = WHOLLY_RIGHT_MM) -> Bools:
    """(N, L): annotated points that were missed or lie further than the threshold from the truth."""
    return np.asarray(predictions.missed | (predictions.counted & (predictions.error_mm > threshold_mm)))


def _points(predictions: Predictions, chosen: Bools, resampler: GroupBootstrap) -> dict[str, Any]:
    """Figures over the chosen points (N, L)."""
    valid, counted = predictions.valid & chosen, predictions.counted & chosen
    error = np.where(counted, predictions.error_mm, np.nan)
    n_valid, n_counted = valid.sum(axis=1), counted.sum(axis=1)

    def rate(events: Bools, trials: Any) -> dict[str, float | None]:
        return resampler.proportion((events & chosen).sum(axis=1), trials).as_json()

    return {
        "n": int(valid.sum()),
        "n_missed": int((predictions.missed & chosen).sum()),
        "n_level_shifts": int((shifted(predictions) & chosen).sum()),
        "mre_mm": resampler.ratio(np.where(counted, error, 0.0).sum(axis=1), n_counted).as_json(),
        "median_mm": resampler.quantile(error, 0.5).as_json(),
        "p95_mm": resampler.quantile(error, 0.95).as_json(),
        "max_mm": float(error[counted].max()) if counted.any() else None,
        "sdr": {f"{t:g}": rate(valid & ~failures(predictions, t), n_valid) for t in THRESHOLDS_MM},
        "missed_rate": rate(predictions.missed, n_valid),
        "level_shift_rate": rate(shifted(predictions), n_counted),
        "level_shift_same_kind_rate": rate(shifted_within_kind(predictions), n_counted),
        "radius95_coverage": coverage(predictions, resampler, chosen).as_json(),
    }


def _images(predictions: Predictions, resampler: GroupBootstrap) -> dict[str, Any]:
    """Shares of annotated images that are right as a whole."""
    annotated = predictions.valid.any(axis=1)
    near = annotated & ~failures(predictions).any(axis=1)
    in_place = annotated & ~(predictions.missed | shifted(predictions)).any(axis=1)
    return {
        "images_within_8_mm": resampler.proportion(near, annotated).as_json(),
        "images_without_level_shift": resampler.proportion(in_place, annotated).as_json(),
    }


def _chains(predictions: Predictions) -> dict[str, Any]:
    steps, counts = np.unique(chain_shifts(predictions), return_counts=True)
    by_step = {int(step): int(count) for step, count in zip(steps, counts, strict=True) if step != 0}
    described = {describe_shift(step, predictions.names): count for step, count in by_step.items()}
    return {"n_images": sum(by_step.values()), "by_shift": described}


def _calibration(predictions: Predictions, resampler: GroupBootstrap) -> dict[str, Any]:
    """Reliability of the confidence and coverage of the radius."""
    bins = reliability(predictions)
    radii = predictions.radius95_mm[predictions.counted & np.isfinite(predictions.radius95_mm)]
    return {
        "radius95_coverage": coverage(predictions, resampler).as_json(),
        "radius95_median_mm": float(np.median(radii)) if len(radii) else None,
        "coverage_curve": [{"nominal": nominal, "observed": seen} for nominal, seen in coverage_curve(predictions)],
        "expected_calibration_error": expected_calibration_error(bins),
        "confidence_bins": [asdict(each) for each in bins],
    }


def _review(predictions: Predictions, resampler: GroupBootstrap) -> dict[str, Any]:
    """How much the flag asks of readers, and how much of what is wrong it shows them."""
    assert predictions.needs_review is not None
    flagged = predictions.needs_review
    wrong = failures(predictions) | (shifted(predictions) & predictions.counted)
    wrong_image, flagged_image = wrong.any(axis=1), flagged.any(axis=1)
    return {
        "flagged_images": resampler.proportion(flagged_image, np.ones_like(flagged_image)).as_json(),
        "wrong_points_caught": resampler.proportion((wrong & flagged).sum(axis=1), wrong.sum(axis=1)).as_json(),
        "wrong_images_caught": resampler.proportion(flagged_image & wrong_image, wrong_image).as_json(),
        "n_wrong_points": int(wrong.sum()),
        "n_wrong_images": int(wrong_image.sum()),
    }


def _cases(predictions: Predictions) -> list[dict[str, Any]]:
    """One entry an image, in the order of the rows: the error of each point, null where it is absent."""
    steps, moved, failed = chain_shifts(predictions), shifted(predictions), failures(predictions)
    cases = []
    for row, image in enumerate(predictions.image_names):
        errors = dict(zip(predictions.names, predictions.error_mm[row].tolist(), strict=True))
        seen = predictions.error_mm[row][predictions.counted[row]]
        case = {
            "image": image,
            "group": str(predictions.groups[row]),
            "mean_mm": float(seen.mean()) if len(seen) else None,
            "max_mm": float(seen.max()) if len(seen) else None,
            "n_failed": int(failed[row].sum()),
            "missed": np.array(predictions.names)[predictions.missed[row]].tolist(),
            "level_shifts": int(moved[row].sum()),
            "chain_shift": int(steps[row]),
            "error_mm": {name: error if math.isfinite(error) else None for name, error in errors.items()},
        }
        cases.append(case)
    return cases


def reliability(predictions: Predictions) -> list[Bin]:
    """Ten equal bins of confidence, empty ones left out. Right: not on another level (see `shifted`)."""
    use = predictions.counted & np.isfinite(predictions.confidence)
    confidence, right = predictions.confidence[use], ~shifted(predictions)[use]
    which = np.clip(np.ceil(confidence * N_BINS).astype(int) - 1, 0, N_BINS - 1)
    bins = []
    for number in np.unique(which):
        inside = which == number
        low, high = number / N_BINS, (number + 1) / N_BINS
        mean, fraction = float(confidence[inside].mean()), float(right[inside].mean())
        bins.append(Bin(float(low), float(high), int(inside.sum()), mean, fraction))
    return bins


def expected_calibration_error(bins: list[Bin]) -> float | None:
    """Mean |confidence - fraction right| over the bins, weighted by their points (Naeini et al., 2015, eq. 3)."""
    total = sum(each.n for each in bins)
    return sum(each.n * abs(each.mean_confidence - each.fraction_right) for each in bins) / total if total else None


def coverage(predictions: Predictions, resampler: GroupBootstrap, chosen: Bools | None = None) -> Estimate:
    """Share of points whose truth lies within their `radius95_mm`; of the chosen (N, L) only, where given."""
    use = predictions.counted & np.isfinite(predictions.radius95_mm)
    use = use if chosen is None else use & chosen
    inside = use & (predictions.error_mm <= predictions.radius95_mm)
    return resampler.proportion(inside.sum(axis=1), use.sum(axis=1))


def coverage_curve(predictions: Predictions) -> list[tuple[float, float]]:
    """(nominal, observed) coverage when the 95 % radius is scaled to other levels as for a round Gaussian.

    The radius that holds a share p is sigma * sqrt(-2 ln(1 - p)) (Rayleigh), so radius_p = radius95 *
    sqrt(ln(1 - p) / ln(0.05)).
    """
    use = predictions.counted & np.isfinite(predictions.radius95_mm)
    error, radius95 = predictions.error_mm[use], predictions.radius95_mm[use]
    if not len(error):
        return []
    scale = np.sqrt(np.log1p(-np.array(NOMINAL)) / np.log(0.05))
    observed: Floats = (error[None, :] <= scale[:, None] * radius95[None, :]).mean(axis=1)
    return [(nominal, float(share)) for nominal, share in zip(NOMINAL, observed, strict=True)]
