"""Is the stated doubt honest: does the 95 % radius hold 95 % of the truth, is a 0.9 right nine times in ten?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from SpineLandmarksLib.training.bootstrap import Estimate, GroupBootstrap
from SpineLandmarksLib.training.levels import shifted
from SpineLandmarksLib.training.predictions import Bools, Floats, Predictions

N_BINS = 10
#: Nominal levels at which the coverage of scaled radii is drawn.
NOMINAL = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


@dataclass(frozen=True)
class Bin:
    """Points whose confidence lies in low < c <= high (the first bin holds 0 as well)."""

    low: float
    high: float
    n: int
    mean_confidence: float
    fraction_right: float


def reliability(predictions: Predictions) -> list[Bin]:
    """Ten equal bins of confidence, empty ones left out. Right: not on another level (see `levels.shifted`)."""
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
