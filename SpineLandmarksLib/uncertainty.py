"""From raw probabilities and peak widths to a confidence and a radius that mean what they say. numpy only.

    confidence   = usable * level * sigmoid(logit(chain marginal) / temperature)
    radius95_mm  = q_l * sqrt(variance of the peak in mm^2 + floor^2)   normalized split conformal (Lei et al. 2018)

The first two factors are the whole chain's, logistic regressions (Platt 1999) on four signs:

    margin   how much better its names fit than names one level off (numbering.py), nats
    score    how well peaks and offsets fit a lumbar spine at all (chain.py), nats
    room     how much picture there is below the lowest landmark, mm up to 40: levels are counted from the sacrum
    foot     how little the lowest landmark's heatmap sees below its place, nats (numbering.py)

`level` goes by the foot: whether a whole lumbar picture is on its levels. `usable` goes by the other three: whether it
is one at all, learned from the same pictures cut off, turned and mirrored. Out of fold, the margin hardly told wrong
levels of whole pictures: a chain on the wrong sacral disc is as sure as one on the right. The third factor is the
landmark's own: the marginal of its candidate in the chain, with temperature scaling (Guo et al. 2017). q_l is the 95 %
quantile of error / width over the points whose level is right. training/fit_calibration.py fits all
of them on cases that the network has never seen. The two answers speak of two things: the confidence of the level, the
radius of the place on it.
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
#: What the doubt about a chain as a whole goes by, in this order.
SIGNS = ("margin", "score", "room", "foot")
#: More picture than this below the lowest landmark says nothing more, mm.
ROOM_MM = 40.0
#: With less picture than this below the lowest landmark its sacrum cannot be seen, mm. The first sacral body is about
#: 30 mm high; the least of 150 whole lumbar slices was 32 mm.
SACRUM_MM = 27.0


@dataclass(frozen=True)
class Calibration:
    """temperature: of the chain's marginals. radius_factor: one per landmark. fitted_on: what, in words.

    level, usable: (a, *b) of the logistic regressions on the signs; None where none was fitted: then they say nothing.
    review_below: confidence under which a landmark needs review. anomaly_above: nats from which a body more or less
    explains the picture better. unlike_below: chain score of pictures that are unlike those the network knows.
    """

    temperature: float
    radius_factor: tuple[float, ...]
    fitted_on: str = ""
    level: tuple[float, ...] | None = None
    usable: tuple[float, ...] | None = None
    review_below: float = 0.7
    anomaly_above: float | None = None
    unlike_below: float | None = None

    def confidence(self, probability: Array, signs: Array) -> Array:
        """Probability that the level is right: (..., L) from the marginals (..., L) and the signs (..., S)."""
        p = np.clip(probability, 1e-6, 1 - 1e-6)
        own = sigmoid(np.log(p / (1 - p)) / self.temperature)
        return np.minimum(own * self.chain_confidence(signs)[..., None], MOST_CONFIDENT)

    def chain_confidence(self, signs: Array) -> Array:
        """Probability that the chain as a whole is on its level, from its signs (..., S)."""
        sure = np.ones(signs.shape[:-1])
        for fitted in (self.level, self.usable):
            if fitted is not None:
                offset, *slopes = fitted
                sure = sure * sigmoid(offset + signs[..., : len(slopes)] @ np.array(slopes))
        return sure

    def radius95_mm(self, variance_mm2: Array) -> Array:
        """Radius (..., L) that holds the truth in 95 % of cases, from the peak's mean variance per axis (..., L)."""
        return np.asarray(self.radius_factor) * peak_width(variance_mm2)


def peak_width(variance_mm2: Array) -> Array:
    """Standard deviation in mm of a peak of mean variance per axis `variance_mm2`, floor included."""
    return np.sqrt(variance_mm2 + FLOOR_MM**2)


def sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -500, 500))))
