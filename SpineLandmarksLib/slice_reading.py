"""What one slice says, and what is unusual about it, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.chain import Chain
from SpineLandmarksLib.numbering import Numbering
from SpineLandmarksLib.uncertainty import CAUDAL_MARGIN_MM, SACRUM_MM, Calibration

Array = NDArray[np.float64]

#: Said where the lowest landmark is out of view, or too little is seen below it.
WITHOUT_SACRUM = (
    "The sacrum is not in the picture, or hardly: levels are counted from it, so all names may be one "
    "or more levels off"
)


@dataclass(frozen=True)
class SliceReading:
    """What one slice says. xy: (L, 2) native pixels and places_mm: (L, 2) the same in mm, nan where out of view;
    variance_mm2: (L,) mean over the axes; candidates_mm: (L, K, 2) and log_mass: (L, K) all peaks; numbering: what the
    same places could be called; caudal_margin_mm: picture below the lowest landmark, 0 where that one is out of view,
    infinite where levels are not counted from a sacrum.
    """

    chain: Chain
    xy: Array
    places_mm: Array
    variance_mm2: Array
    candidates_mm: Array
    log_mass: Array
    numbering: Numbering
    caudal_margin_mm: float

    @property
    def confidence_features(self) -> Array:
        """(F,) what the doubt about the chain as a whole goes by, as `uncertainty.FEATURES` names it."""
        margin_mm = min(self.caudal_margin_mm, CAUDAL_MARGIN_MM)
        return np.array([self.numbering.margin, self.chain.score, margin_mm, self.numbering.caudal_evidence_nats])


def evidence_at(chosen: SliceReading, readings: Sequence[SliceReading], near_mm: float = 6.0) -> Array:
    """(N, L) log of the probability that each slice puts near the chosen slice's points; nan where out of view."""
    rows = []
    for reading in readings:
        distance = np.linalg.norm(reading.candidates_mm - chosen.places_mm[:, None], axis=-1)
        mass = np.where(distance < near_mm, np.exp(reading.log_mass), 0.0).sum(1)
        rows.append(np.where(chosen.chain.choice < 0, np.nan, np.log(np.maximum(mass, 1e-6))))
    return np.stack(rows)


def image_warnings(reading: SliceReading, calibration: Calibration) -> tuple[str, ...]:
    """What is so unusual about the whole picture that somebody should look at it, in words; empty for most."""
    said = []
    # The confidence is no help here: where the picture ends, so does what would have spoken for another numbering.
    if reading.caudal_margin_mm < SACRUM_MM and (reading.chain.choice >= 0).any():
        said.append(WITHOUT_SACRUM)
    limit, numbering = calibration.anomaly_above, reading.numbering
    if limit is not None and numbering.anomaly > limit:
        bodies = "six" if numbering.six >= numbering.four else "four"
        said.append(
            f"There may be {bodies} bodies between T12 and the sacrum, or a transitional vertebra: the upper "
            "levels and the sacrum count differently. The names are counted from the sacrum"
        )
    if calibration.unlike_below is not None and reading.chain.score < calibration.unlike_below:
        said.append(
            "This image is unlike the lumbar MRI that the model knows: it may show another region, another "
            "plane or a mirrored or turned spine. Check every point"
        )
    return tuple(said)
