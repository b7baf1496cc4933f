"""From raw probabilities and peak widths to a confidence and a radius that mean what they say. numpy only.

    confidence   = sigmoid(logit(chain marginal) / temperature)         temperature scaling (Guo et al. 2017)
    radius95_mm  = q_l * sqrt(variance of the peak in mm^2 + floor^2)   normalized split conformal (Lei et al. 2018)

Both are fitted on cases that the network has never seen; q_l is the 95 % quantile of error / width there, over the
points whose level is right. The two speak of two things: the confidence of the level, the radius of the place on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Confidence is never said to be surer than this: the held-out cases are too few to know better.
MOST_CONFIDENT = 0.995
#: Width that even the sharpest peak is given, mm.
FLOOR_MM = 1.0


@dataclass(frozen=True)
class Calibration:
    """temperature: of the chain's marginals. radius_factor: one per landmark. fitted_on: what, in words."""

    temperature: float
    radius_factor: tuple[float, ...]
    fitted_on: str = ""

    def confidence(self, probability: Array) -> Array:
        """Probability that the level is right, from the marginal (...,) of the chosen candidate."""
        p = np.clip(probability, 1e-6, 1 - 1e-6)
        return np.minimum(1 / (1 + np.exp(-np.log(p / (1 - p)) / self.temperature)), MOST_CONFIDENT)

    def radius95_mm(self, variance_mm2: Array) -> Array:
        """Radius (..., L) that holds the truth in 95 % of cases, from the peak's mean variance per axis (..., L)."""
        return np.asarray(self.radius_factor) * peak_width(variance_mm2)

    @staticmethod
    def fit(probability: Array, level_right: NDArray[np.bool_], variance_mm2: Array, error_mm: Array,
            fitted_on: str = "") -> Calibration:  # fmt: skip
        """From held-out (N, L) marginals, level judgements, variances and errors; nan errors are left out.

        The radius is fitted where the level is right, the temperature on all.
        The factor of each landmark is drawn halfway to that of all landmarks together: thirty cases do not carry
        eleven separate 95 % quantiles.
        """
        ratio = np.where(level_right, error_mm / peak_width(variance_mm2), np.nan)
        pooled = _quantile95(ratio)
        factor = [(pooled + _quantile95(ratio[:, landmark])) / 2 for landmark in range(ratio.shape[1])]
        known = np.isfinite(error_mm)
        temperature = _fit_temperature(probability[known], level_right[known])
        return Calibration(temperature, tuple(round(float(f), 4) for f in factor), fitted_on)


def peak_width(variance_mm2: Array) -> Array:
    """Standard deviation in mm of a peak of mean variance per axis `variance_mm2`, floor included."""
    return np.sqrt(variance_mm2 + FLOOR_MM**2)


def _quantile95(ratio: Array) -> float:
    """The conformal quantile: the ceil((n + 1) 0.95)-th smallest of n."""
    known = np.sort(ratio[np.isfinite(ratio)])
    rank = min(len(known), int(np.ceil((len(known) + 1) * 0.95)))
    return float(known[rank - 1]) if len(known) else 3.0


def _fit_temperature(probability: Array, right: NDArray[np.bool_]) -> float:
    """The temperature, of a grid from 0.5 to 20, with the least cross-entropy."""
    grid = np.geomspace(0.5, 20.0, 60)
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    logit = np.log(p / (1 - p))
    loss = [np.mean(np.logaddexp(0, np.where(right, -logit, logit) / t)) for t in grid]
    return round(float(grid[int(np.argmin(loss))]), 4)
