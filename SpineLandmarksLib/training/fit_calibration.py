"""The calibration of a bundle's confidence and radius, fitted on cases that its weights have never seen.

What is fitted, and what each part means: uncertainty.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.uncertainty import FEATURES, Calibration, peak_width, sigmoid

Array = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Features that each of the two regressions goes by.
LEVEL_FEATURES, IN_DISTRIBUTION_FEATURES = ("caudal_evidence",), ("margin", "score", "caudal_margin")
#: Share of pictures that are taken to be out of distribution: the weight of those that were changed on purpose. At
#: 0.05 it took so much confidence from whole pictures that one of four shifted chains was no longer flagged.
OOD_PRIOR = 0.01
#: Share of the held-out studies that may be flagged, for whatever reason: the operating point. Readers stop to look at
#: a flag that comes for nothing. Out of fold it is up to half as much again: 12 of 147 at 0.06, 10 at 0.04, each time
#: with the one wrong chain among them (weights 0.2.0).
REVIEW_RATE = 0.04
#: Share of the held-out studies beyond each limit from which an image is called unusual.
OUTLIER_QUANTILE = 0.0125


@dataclass(frozen=True)
class HeldOut:
    """What the doubt is fitted on: N studies with L landmarks that the network has never seen.

    probability: (N, L) marginal of the choice; variance_mm2: (N, L); error_mm: (N, L), nan where unknown;
    level_right: (N, L) the point is not on another level; chain_right: (N,) the chain as a whole is not shifted;
    features: (N, F) as `FEATURES` names them; anomaly: (N,) nats for a body more or less; changed: (N,) the study was
    cut off, turned or mirrored on purpose, and tells nothing of how often that happens.
    """

    probability: Array
    variance_mm2: Array
    error_mm: Array
    level_right: Bools
    chain_right: Bools
    features: Array
    anomaly: Array
    changed: Bools

    def as_is(self) -> HeldOut:
        """The studies that nobody has changed."""
        return HeldOut(*(getattr(self, f.name)[~self.changed] for f in fields(HeldOut)))

    @staticmethod
    def join(parts: Sequence[HeldOut]) -> HeldOut:
        """All studies of several parts."""
        return HeldOut(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(HeldOut)))


def fit_calibration(held_out: HeldOut, fitted_on: str = "") -> Calibration:
    """Fit everything. The radius is fitted where the level is right, the temperature where the chain is.

    The factor of each landmark is drawn halfway to that of all landmarks together: a hundred cases do not carry
    eleven separate 95 % quantiles.
    """
    h = held_out.as_is()
    ratio = np.where(h.level_right, h.error_mm / peak_width(h.variance_mm2), np.nan)
    pooled = _quantile95(ratio)
    factor = [(pooled + _quantile95(ratio[:, landmark])) / 2 for landmark in range(ratio.shape[1])]
    known = np.isfinite(h.error_mm) & h.chain_right[:, None]
    fitted = Calibration(
        temperature=_fit_temperature(h.probability[known], h.level_right[known]),
        radius_factor=tuple(round(float(f), 4) for f in factor),
        fitted_on=fitted_on,
        level=_fit_logistic(h.features, h.chain_right, LEVEL_FEATURES),
        in_distribution=_fit_in_distribution(held_out),
        anomaly_above=round(float(np.quantile(h.anomaly, 1 - OUTLIER_QUANTILE)) + 1.0, 3),
        unlike_below=round(float(np.quantile(h.features[:, FEATURES.index("score")], OUTLIER_QUANTILE)) - 1.0, 3),
    )
    return _with_review(fitted, h)


def _with_review(fitted: Calibration, h: HeldOut) -> Calibration:
    """`review_below` between the studies that may be flagged, the share REVIEW_RATE rounded down, and the others.

    What is flagged as unusual counts among them.
    """
    assert fitted.anomaly_above is not None
    assert fitted.unlike_below is not None
    score = h.features[:, FEATURES.index("score")]
    unusual = (h.anomaly > fitted.anomaly_above) | (score < fitted.unlike_below)
    order = np.sort(fitted.confidence(h.probability, h.features).min(1)[~unusual])
    count = max(int(len(unusual) * REVIEW_RATE) - int(unusual.sum()), 0)
    return replace(fitted, review_below=float(order[max(count - 1, 0)] + order[count]) / 2)


def _quantile95(ratio: Array) -> float:
    """The conformal quantile: the ceil((n + 1) 0.95)-th smallest of n."""
    known = np.sort(ratio[np.isfinite(ratio)])
    rank = min(len(known), int(np.ceil((len(known) + 1) * 0.95)))
    return float(known[rank - 1]) if len(known) else 3.0


def _fit_temperature(probability: Array, right: Bools) -> float:
    """The temperature, of a grid from 0.5 to 20, with the least cross-entropy; 1 where there is nothing to fit."""
    if not len(right):
        return 1.0
    grid = np.geomspace(0.5, 20.0, 60)
    p = np.clip(probability, 1e-6, 1 - 1e-6)
    logit = np.log(p / (1 - p))
    loss = [np.mean(np.logaddexp(0, np.where(right, -logit, logit) / t)) for t in grid]
    return round(float(grid[int(np.argmin(loss))]), 4)


def _fit_in_distribution(held_out: HeldOut) -> tuple[float, ...] | None:
    """Whole pictures on their levels against changed ones, those on their levels by luck included; None without any."""
    if not held_out.changed.any():
        return None
    compared = held_out.changed | held_out.chain_right
    changed = held_out.changed[compared]
    weight = np.where(changed, OOD_PRIOR / (1 - OOD_PRIOR) * (~changed).sum() / changed.sum(), 1.0)
    return _fit_logistic(held_out.features[compared], held_out.chain_right[compared], IN_DISTRIBUTION_FEATURES, weight)


def _fit_logistic(
    features: Array, right: Bools, names: Sequence[str], weight: Array | None = None, steps: int = 60
) -> tuple[float, ...]:
    """(a, *b) of sigmoid(a + features . b), (N, F), by Newton's method; each b at least 0, and 0 but for `names`.

    Targets are (n + 1) / (n + 2) and 1 / (m + 2) for n right and m wrong cases instead of 1 and 0 (Platt 1999), so
    that few wrong cases, which a threshold separates, do not make it infinitely sure. A feature that would say the
    opposite of what it should says nothing.
    """
    weight = np.ones(len(right)) if weight is None else weight
    n, m = float(weight[right].sum()), float(weight[~right].sum())
    target = np.where(right, (n + 1) / (n + 2), 1 / (m + 2))
    scale = np.maximum(np.abs(features).max(0), 1e-9)
    use = [FEATURES.index(name) for name in names]
    start = float(np.log((n + 1) / (m + 1)))
    while True:
        x = np.concatenate([np.ones((len(features), 1)), features[:, use] / scale[use]], 1)
        w = _newton(x, target, weight, np.r_[start, np.zeros(len(use))], steps)
        if (w[1:] >= 0).all():
            break
        del use[int(w[1:].argmin())]
    slopes = np.zeros(features.shape[1])
    slopes[use] = w[1:] / scale[use]
    return (round(float(w[0]), 5), *(round(float(slope), 6) for slope in slopes))


def _newton(x: Array, target: Array, weight: Array, w: Array, steps: int, ridge: float = 1e-3) -> Array:
    """The w with the least weighted cross-entropy of sigmoid(x w) against the targets; no step may make it worse."""

    def loss(at: Array) -> float:
        z = x @ at
        return float((weight * (np.logaddexp(0, z) - target * z)).sum() + ridge / 2 * (at @ at))

    for _ in range(steps):
        p = sigmoid(x @ w)
        hessian = (x * (weight * p * (1 - p))[:, None]).T @ x + ridge * np.eye(len(w))
        step = np.linalg.solve(hessian, x.T @ (weight * (target - p)) - ridge * w)
        while loss(w + step) > loss(w) and np.abs(step).max() > 1e-9:
            step = step / 2
        w = w + step
    return w
