"""Level numbering: what else the same places could be called, a level off as a whole or with a body more or less.

The chain solver finds places and names together. Here the places stay and the names move:

    E[l, s] = log of the probability that landmark l's own heatmap puts near the place of landmark l + s
    margin  = sum_l v_l E[l, 0] - max over s = -2, +2 of sum_l v_l E[l, s]        one level is two landmarks
    six     = max over k of sum_{l < k} (E[l, -2] - E[l, 0])   the upper names lie one level nearer to the head
    four    = max over k of sum_{l < k} (E[l, +2] - E[l, 0])   the upper names lie one level nearer to the feet
    caudal  = -log of the probability that the lowest landmark's own heatmap puts below its place

Bodies and discs alternate in these formulas; where a level has more landmarks, `per_level` stands for the two, and
names that tell of no levels have no other numbering.

A chain that is right has a large margin, large caudal evidence and no gain. The caudal evidence is what tells a chain
that lies a level too high on a well-formed first sacral disc: all other landmarks follow the lowest one and are as sure
as it is, while its own heatmap still shows the disc below. Where the sacrum and the upper spine contradict each other,
six or four bodies lie between them (an L6, a sacralized L5 or a transitional vertebra), or one of the two was
misjudged. numpy only; all values are natural logarithms (nats).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.chain import LOG_OUT_OF_VIEW, ChainPrior

Array = NDArray[np.float64]

#: A heatmap that puts less than this near a place says no more than "not here".
LOG_NOTHING = -8.0
#: A peak of the lowest landmark this far below its place is another disc: less than a level, more than a disc's height.
BELOW_MM = 15.0
#: How near to a place a peak counts for it: less than half the way from a body to its disc.
NEAR_MM = 7.0


@dataclass(frozen=True)
class Numbering:
    """Nats by which the chosen names beat the next numbering, by which a body more or less would explain better, by
    which the lowest landmark excludes a disc below it, and by which a landmark in the mean rather lies one level higher
    than one level lower."""

    margin: float
    six: float
    four: float
    caudal_evidence_nats: float
    higher: float = 0.0
    has_levels: bool = True

    @property
    def anomaly(self) -> float:
        return max(self.six, self.four)

    def alternatives(self, probability: float) -> tuple[tuple[int, float], ...]:
        """(shift in levels, its probability), the likeliest first, of names that are right with `probability`.

        A shift is one of `Session.shift_chain`: +1 all names one level toward the head, -1 toward the feet. What is
        not on the chosen numbering is divided between the two by their evidence. Empty where there are no levels.
        """
        if not self.has_levels:
            return ()
        higher = (1 - probability) / (1 + float(np.exp(-np.clip(self.higher, -50, 50))))
        every = ((0, probability), (+1, higher), (-1, 1 - probability - higher))
        return tuple(sorted(every, key=lambda one: -one[1]))


def number(
    places_mm: Array,
    xy_mm: Array,
    log_mass: Array,
    prior: ChainPrior | None,
    extent_mm: Array,
    scale: float = 1.0,
    per_level: int = 2,
) -> Numbering:
    """Compare numberings of the chain's places (L, 2), nan where out of view; the rest as in `solve_chain`.

    per_level: landmarks from one to the same of the next level; 0, or no prior, for those without levels.
    """
    if prior is None or per_level == 0 or np.isnan(places_mm).all():
        return Numbering(0.0, 0.0, 0.0, 0.0, has_levels=prior is not None and per_level > 0)
    places = extended(places_mm, prior.mean_offset_mm(scale), per_level)
    rows = np.arange(len(places_mm)) + per_level
    kept, up, down = (
        _evidence(places[rows + shift], xy_mm, log_mass, extent_mm) for shift in (0, -per_level, per_level)
    )
    vote = prior.vote
    margin = float(vote @ kept - max(vote @ up, vote @ down))
    higher = float(vote @ (up - down) / vote.sum())
    caudal = _caudal_evidence_nats(places_mm[-1], xy_mm[-1], log_mass[-1], scale)
    six, four = (_max_gain(gain - kept, per_level) for gain in (up, down))
    return Numbering(margin, six, four, caudal, higher)


def extended(places_mm: Array, step_mm: Array, per_level: int = 2) -> Array:
    """(level + L + level, 2) the places (L, 2), continued by the usual steps (L - 1, 2) where there are none."""
    places = np.pad(places_mm, ((per_level, per_level), (0, 0)), constant_values=np.nan)
    # body and disc alternate beyond the ends too
    step = np.concatenate([step_mm[:per_level], step_mm, step_mm[-per_level:]])
    seen = np.flatnonzero(np.isfinite(places[:, 0]))
    for row in range(int(seen[0]) - 1, -1, -1):
        places[row] = places[row + 1] - step[row]
    for row in range(int(seen[-1]) + 1, len(places)):
        places[row] = places[row - 1] + step[row - 1]
    return places


def _evidence(places: Array, xy_mm: Array, log_mass: Array, extent_mm: Array) -> Array:
    """(L,) log of the probability that each landmark's heatmap puts near its place in (L, 2)."""
    near = np.linalg.norm(xy_mm - places[:, None], axis=-1) < NEAR_MM
    mass = np.where(near, np.exp(log_mass), 0.0).sum(1)
    inside = ((places > extent_mm[0]) & (places < extent_mm[1])).all(-1)
    return np.where(inside, np.log(np.maximum(mass, np.exp(LOG_NOTHING))), LOG_OUT_OF_VIEW)


def _caudal_evidence_nats(place_mm: Array, xy_mm: Array, log_mass: Array, scale: float) -> float:
    """From the lowest landmark's place (2,) and peaks (K, 2); 0 where it is out of view."""
    if np.isnan(place_mm).any():
        return 0.0
    offset = xy_mm - place_mm
    is_below = (offset[:, 1] > 0) & (np.linalg.norm(offset, axis=-1) > BELOW_MM * scale)
    mass = float(np.exp(log_mass[is_below]).sum())
    return -float(np.log(np.clip(mass, np.exp(LOG_NOTHING), 1.0)))


def _max_gain(gain: Array, per_level: int) -> float:
    """The most that the upper landmarks gain together; the lowest level must stay, else it is a shift of the whole."""
    return float(max(np.cumsum(gain)[:-per_level].max(initial=0.0), 0.0))
