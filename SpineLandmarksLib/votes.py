"""Votes on the level: the slices of a series, and the series of a study, need not count the levels alike.

A shift is one of `Session.shift_chain`: +1 all names one level toward the head, -1 toward the feet.

    slices   the shift with the greatest sum of margins (numbering.py) wins; the chosen slice is one of its slices
    series   log P(shift) = log P_chosen(shift) + w * sum over the others of log P_other(shift), normalized: a
             logarithmic opinion pool. One anatomy is no independent evidence of itself, so that w is below 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.landmarks import LandmarkSet, names_per_level
from SpineLandmarksLib.uncertainty import MAX_CONFIDENCE

Array = NDArray[np.float64]

#: Shifts that are told apart.
SHIFTS = (0, +1, -1)
#: Chains whose places lie this near to each other in the median are the same places, mm.
SAME_PLACES_MM = 8.0
#: One slice or series is no surer than this, nats: many that agree must be able to overrule one.
MAX_NATS = 20.0
#: Weight of another series beside the chosen one.
SERIES_WEIGHT = 0.5
#: No series says that a numbering cannot be.
MIN_PROBABILITY = 0.005


def shift_between(places: Array, others: Array, per_level: int = 2) -> int | None:
    """The shift after which the names at `places` (L, D) stand where they do in `others` (L, D), mm, nan where unknown.

    None where no shift lays one on the other. per_level: landmarks in a level; without levels there is no shift but 0.
    """
    apart = {shift: _median_apart(places, others, per_level * shift) for shift in SHIFTS}
    best = min(SHIFTS, key=lambda shift: apart[shift])
    return best if apart[best] < SAME_PLACES_MM else None


def _median_apart(places: Array, others: Array, step: int) -> float:
    """Median distance when each name moves to the place `step` landmarks nearer to the head."""
    count = len(places) - abs(step)
    here, there = places[max(-step, 0) :][:count], others[max(step, 0) :][:count]
    distance = np.linalg.norm(here - there, axis=-1)
    known = np.isfinite(distance)
    return float(np.median(distance[known])) if known.any() else np.inf


def by_majority(best: int, places: Sequence[Array], margins: Sequence[float], scores: Array, per_level: int = 2) -> int:
    """The row of the best slice among those whose levels have the greatest sum of margins.

    best: row of the slice with the most evidence; places: (L, 2) of each, mm; margins, scores: nats.
    """
    shifts = [shift_between(places[best], other, per_level) for other in places]
    votes = {shift: 0.0 for shift in SHIFTS}
    for shift, margin in zip(shifts, margins, strict=True):
        if shift is not None:
            votes[shift] += min(max(margin, 0.0), MAX_NATS)
    winner = max(SHIFTS, key=lambda shift: votes[shift])
    rows = [row for row, shift in enumerate(shifts) if shift == winner]
    return best if winner == 0 or not rows else max(rows, key=lambda row: scores[row])


def with_votes(found: LandmarkSet, others: Sequence[LandmarkSet], review_below: float) -> LandmarkSet:
    """The landmarks with what other series of the study in the same frame of reference say of their levels.

    The names stay; the confidence and `numberings` become those of all series, and whoever disagrees is told.
    """
    shifts = [(other, _shift(found, other)) for other in others]
    voters = [(other, shift) for other, shift in shifts if shift is not None]
    found = _with_strangers(found, [other for other, shift in shifts if shift is None])
    if not found.numberings or not voters:
        return found
    pooled = _pool(found, voters)
    same = dict(pooled)[0]
    share = same / max(dict(found.numberings)[0], MIN_PROBABILITY)
    landmarks = tuple(
        mark
        if mark.confidence is None
        else replace(
            mark,
            confidence=min(mark.confidence * share, MAX_CONFIDENCE),
            needs_review=mark.confidence * share < review_below,
        )
        for mark in found
    )
    apart = [shift for _, shift in voters if shift]
    told = f"{len(voters)} other series of the study were read for the levels; {len(voters) - len(apart)} agree"
    warnings = (*found.warnings, *([_disagreement(apart, len(voters))] if apart else []))
    doubtful = bool(found.needs_review or apart or any(mark.needs_review for mark in landmarks))
    return replace(
        found,
        landmarks=landmarks,
        numberings=pooled,
        warnings=warnings,
        notes=(*found.notes, told),
        needs_review=doubtful,
    )


def _with_strangers(found: LandmarkSet, others: Sequence[LandmarkSet]) -> LandmarkSet:
    """Tells of series whose places are no shift of these: another region, a patient who moved, or a misreading.

    One that is sure of what it shows contradicts what was found; one in doubt shows another region, as a rule.
    """
    if not others:
        return found
    told = f"{len(others)} other series of this study place the landmarks elsewhere, and have no vote on the levels"
    if all(other.needs_review for other in others):
        return replace(found, notes=(*found.notes, told))
    said = f"{told}: another region, a patient who moved, or a misreading. Check every point"
    return replace(found, warnings=(*found.warnings, said), needs_review=True)


def _shift(found: LandmarkSet, other: LandmarkSet) -> int | None:
    here, there = (np.array([mark.position_ras_mm or (np.nan,) * 3 for mark in one]) for one in (found, other))
    return shift_between(here, there, names_per_level(found.names))


def _pool(found: LandmarkSet, voters: Sequence[tuple[LandmarkSet, int]]) -> tuple[tuple[int, float], ...]:
    """(shift, probability) by all series, the likeliest first, in the names of `found`."""
    own = dict(found.numberings)
    log = {shift: float(np.log(max(own.get(shift, 0.0), MIN_PROBABILITY))) for shift in SHIFTS}
    for other, offset in voters:
        said = dict(other.numberings)
        for shift in SHIFTS:
            log[shift] += SERIES_WEIGHT * float(np.log(max(said.get(shift - offset, 0.0), MIN_PROBABILITY)))
    top = np.exp(np.array([log[shift] for shift in SHIFTS]) - max(log.values()))
    probability = top / top.sum()
    surest = int(np.argmax(probability))
    if probability[surest] > MAX_CONFIDENCE:  # never said to be surer, however many agree
        probability *= (1 - MAX_CONFIDENCE) / (1 - probability[surest])
        probability[surest] = MAX_CONFIDENCE
    return tuple(sorted(zip(SHIFTS, (float(p) for p in probability), strict=True), key=lambda one: -one[1]))


def _disagreement(apart: Sequence[int], count: int) -> str:
    ways = " and ".join(word for word, sign in (("higher", 1), ("lower", -1)) if sign in apart)
    return f"{len(apart)} of {count} other series of this study count the levels one {ways}: check the sacrum"
