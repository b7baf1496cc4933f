"""Is the new model not worse than the old one? Both on the same locked patients, compared in pairs.

    d = rate(new) - rate(old);  not worse when the whole 95 % interval of d is better than -margin

For SDR@4 (share of annotated points within 4 mm; a missed point is a failure) and for the level-shift rate (share of
annotated points nearer to another landmark's truth than to their own). The interval is a percentile bootstrap that
draws patients, each with all points under both models (Field and Welsh, 2007); the rule is that of a non-inferiority
trial. Where an interval is too wide to tell, the model is not promoted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.bootstrap import GroupBootstrap, interval
from SpineLandmarksLib.evaluation.metrics import failures, shifted
from SpineLandmarksLib.evaluation.predictions import Bools, Predictions

#: Fewer patients than this tell nothing, whatever the interval.
MIN_PATIENTS = 10
THRESHOLD_MM = 4.0
REPLICATES = 10_000


@dataclass(frozen=True)
class Difference:
    """One rate under both models, and the interval of new minus old."""

    old: float
    new: float
    low: float
    high: float


@dataclass(frozen=True)
class PromotionDecision:
    """promoted: the new model may be used. why: one sentence for people. mre_mm: old and new, for information."""

    promoted: bool
    why: str
    sdr4: Difference
    level_shift: Difference
    mre_mm: tuple[float | None, float | None]
    patients: int
    margin: float

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def non_inferiority_test(old: Predictions, new: Predictions, margin: float = 0.01, seed: int = 0) -> PromotionDecision:
    """Whether the new model may be used, by both models' predictions of the same slices.

    margin: what counts as no worse, 0.01 is 1 point of 100. Raises DatasetError where the slices differ or none is
    annotated.
    """
    same = old.image_names == new.image_names and np.array_equal(old.valid, new.valid)
    if not same or not old.valid.any():
        raise DatasetError("Expected predictions of the same annotated slices by both models; got others, or none")
    resampler = GroupBootstrap(old.groups, REPLICATES, seed)
    near_old, near_new = (one.valid & ~failures(one, THRESHOLD_MM) for one in (old, new))
    sdr4 = paired_difference(near_old, near_new, old.valid, resampler)
    shift = paired_difference(shifted(old), shifted(new), old.valid, resampler)
    promoted, why = _decide(sdr4, shift, resampler.n_groups, margin)
    errors = [one.error_mm[one.counted] for one in (old, new)]
    mre = [float(error.mean()) if len(error) else None for error in errors]
    return PromotionDecision(promoted, why, sdr4, shift, (mre[0], mre[1]), resampler.n_groups, margin)


def paired_difference(old: Bools, new: Bools, trials: Bools, resampler: GroupBootstrap) -> Difference:
    """Rates of events (N, L) over trials (N, L), and the interval of their difference over resampled groups."""
    a, b, n = (resampler.per_group(values.sum(axis=1)) for values in (old, new, trials))
    rates = float(a.sum() / n.sum()), float(b.sum() / n.sum())
    drawn = resampler.draws @ n
    if not len(drawn):  # one group has no interval
        return Difference(*rates, -1.0, 1.0)
    return Difference(*rates, *interval((resampler.draws @ (b - a))[drawn > 0] / drawn[drawn > 0]))


def _decide(sdr4: Difference, shift: Difference, patients: int, margin: float) -> tuple[bool, str]:
    if patients < MIN_PATIENTS:
        return False, (
            f"the hold-out has {patients} patients; fewer than {MIN_PATIENTS} cannot tell. Sign off more "
            "studies of locked patients"
        )
    said = (
        f"SDR@4 {_percent(sdr4)}, level shifts {_percent(shift)}, on {patients} locked patients; a change of up to "
        f"{100 * margin:g} points counts as none"
    )
    worse = [name for name, loss in (("SDR@4", -sdr4.low), ("the level-shift rate", shift.high)) if loss > margin]
    if worse:
        return False, f"it may be worse at {' and '.join(worse)}: {said}"
    return True, f"it is not worse: {said}"


def _percent(d: Difference) -> str:
    change = f"{100 * (d.new - d.old):+.1f} points, 95 % interval {100 * d.low:+.1f} to {100 * d.high:+.1f}"
    return f"{100 * d.old:.1f} -> {100 * d.new:.1f} % ({change})"
