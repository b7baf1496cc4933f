"""Calibration and conformal prediction: a confidence and a radius that mean what they say. numpy only.

    confidence   = in_distribution * level * sigmoid(logit(chain marginal) / temperature)
    radius95_mm  = q_l * sqrt(variance of the peak in mm^2 + floor^2)   normalized split conformal (Lei et al. 2018)

The first two factors are the whole chain's, logistic regressions (Platt 1999) on four features:

    margin           how much better its names fit than names one level off (numbering.py), nats
    score            how well peaks and offsets fit a lumbar spine at all (chain.py), nats
    caudal_margin    picture below the lowest landmark, mm up to 40: levels are counted from the sacrum
    caudal_evidence  how little the lowest landmark's heatmap sees below its place, nats (numbering.py)

`level` goes by the caudal evidence: whether a whole lumbar picture is on its levels. `in_distribution` goes by the
other three: whether it is one at all, learned from the same pictures cut off, turned and mirrored. Out of fold, the
margin hardly told wrong levels of whole pictures: a chain on the wrong sacral disc is as sure as one on the right. The
third factor is the landmark's own: the marginal of its candidate in the chain, with temperature scaling (Guo et al.
2017). q_l is the 95 % quantile of error / width over the points whose level is right. All are fitted by
training/fit_calibration.py on cases that the network has never seen. The two answers speak of two things: the
confidence of the level, the radius of the place on it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.settings import from_dict, to_dict

Array = NDArray[np.float64]

#: Confidence is never said to be surer than this: the held-out cases are too few to know better.
MAX_CONFIDENCE = 0.995
#: Width that even the sharpest peak is given, mm.
FLOOR_MM = 1.0
#: What the doubt about a chain as a whole goes by, in this order.
FEATURES = ("margin", "score", "caudal_margin", "caudal_evidence")
#: What a bundle's file calls a field of `Calibration`, where that differs.
STORED_NAMES = {"in_distribution": "usable"}
#: 95 % of a normal value lie below so many standard deviations, and of a point in the plane within so many.
Z95, PLANE95 = 1.645, 2.448
#: More picture than this below the lowest landmark says nothing more, mm.
CAUDAL_MARGIN_MM = 40.0
#: With less picture than this below the lowest landmark its sacrum cannot be seen, mm. The first sacral body is about
#: 30 mm high; the least of 150 whole lumbar slices was 32 mm.
SACRUM_MM = 27.0


@dataclass(frozen=True)
class Calibration:
    """temperature: of the chain's marginals. radius_factor: one per landmark. fitted_on: what, in words.

    in_space: of each landmark, the share of its radius in the plane that is left in a stack; None for all of it.
    level, in_distribution: (a, *b) of the logistic regressions on the features; None, and 1, where none was fitted.
    review_below: confidence under which a landmark needs review. anomaly_above: nats from which a body more or less
    explains the picture better. unlike_below: chain score of pictures that are unlike those the network knows.
    """

    temperature: float
    radius_factor: tuple[float, ...]
    fitted_on: str = ""
    level: tuple[float, ...] | None = None
    in_distribution: tuple[float, ...] | None = None
    review_below: float = 0.7
    anomaly_above: float | None = None
    unlike_below: float | None = None
    in_space: tuple[float, ...] | None = None

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Calibration:
        """From `to_dict`. Raises RecipeError as `settings.from_dict` does."""
        names = {stored: name for name, stored in STORED_NAMES.items()}
        renamed = {names.get(key, key): value for key, value in values.items()}
        return from_dict(Calibration, renamed, "calibration")  # type: ignore[no-any-return]

    def to_dict(self) -> dict[str, Any]:
        return {STORED_NAMES.get(key, key): value for key, value in to_dict(self).items()}

    def confidence(self, probability: Array, features: Array) -> Array:
        """Probability that the level is right: (..., L) from the marginals (..., L) and the features (..., F)."""
        p = np.clip(probability, 1e-6, 1 - 1e-6)
        own = sigmoid(np.log(p / (1 - p)) / self.temperature)
        return np.minimum(own * self.chain_confidence(features)[..., None], MAX_CONFIDENCE)

    def chain_confidence(self, features: Array) -> Array:
        """Probability that the chain as a whole is on its level, from its features (..., F)."""
        sure = np.ones(features.shape[:-1])
        for fitted in (self.level, self.in_distribution):
            if fitted is not None:
                offset, *slopes = fitted
                sure = sure * sigmoid(offset + features[..., : len(slopes)] @ np.array(slopes))
        return sure

    def radius95_mm(self, variance_mm2: Array) -> Array:
        """Radius (..., L) in the plane that holds the truth in 95 % of cases, from the peak's mean variance per axis
        (..., L).
        """
        return np.asarray(self.radius_factor) * peak_width(variance_mm2)

    def radius95_in_space_mm(self, variance_mm2: Array, side_sd_mm: Array) -> Array:
        """The same (L,) in a stack, whose lateral places have standard deviations of `side_sd_mm` (L,).

        The radius in the plane holds the clicks of readers, who scatter; `in_space` takes that out again for the
        middle of a body as a mask has it.
        """
        share = np.ones(len(self.radius_factor)) if self.in_space is None else np.asarray(self.in_space)
        return radius95_with_side(share * self.radius95_mm(variance_mm2), side_sd_mm)


def radius95_with_side(plane_mm: Array, side_sd_mm: Array) -> Array:
    """The radius in space from that in the plane and the standard deviation across it.

    The square of the distance is sigma^2 chi2(2) + s^2 chi2(1): a scaled chi-square with the same mean and variance
    (Welch 1938, Satterthwaite 1946), whose quantile is that of Wilson and Hilferty 1931.

    >>> radius95_with_side(np.array([4.0, 0.0]), np.array([0.0, 1.0])).round(2).tolist()
    [3.98, 1.94]
    """
    plane, side = (plane_mm / PLANE95) ** 2, side_sd_mm**2
    mean, ninth = 2 * plane + side, 2 * (2 * plane**2 + side**2) / (9 * np.maximum(2 * plane + side, 1e-12) ** 2)
    return np.asarray(np.sqrt(mean * (1 - ninth + Z95 * np.sqrt(ninth)) ** 3))


def peak_width(variance_mm2: Array) -> Array:
    """Standard deviation in mm of a peak of mean variance per axis `variance_mm2`, floor included."""
    return np.sqrt(variance_mm2 + FLOOR_MM**2)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))
