"""Percentile bootstrap intervals that resample patients, not points.

Points of one image, and images of one patient, fail together. Drawing single points would pretend that there are
more independent observations than there are, and give intervals that are too narrow (Field and Welsh, 2007).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval; None where there is nothing to compute it from."""

    value: float | None
    low: float | None = None
    high: float | None = None

    def as_json(self) -> dict[str, float | None]:
        return {"value": self.value, "low": self.low, "high": self.high}


class GroupBootstrap:
    """Draws `replicates` times as many groups as there are, with replacement, and recomputes a statistic.

    groups: (N,) label of each row. The draw depends on the seed and on the set of labels, not on the order of rows.
    """

    def __init__(self, groups: NDArray[np.str_], replicates: int, seed: int) -> None:
        labels, self.group_of_row = np.unique(groups, return_inverse=True)
        self.n_groups = len(labels)
        # An interval from one group would have width zero and say nothing.
        replicates = replicates if self.n_groups > 1 else 0
        even = np.full(max(self.n_groups, 1), 1 / max(self.n_groups, 1))
        #: (replicates, n_groups): how often each group was drawn.
        self.draws = np.random.default_rng(seed).multinomial(self.n_groups, even, size=replicates)

    def ratio(self, numerator: ArrayLike, denominator: ArrayLike) -> Estimate:
        """sum(numerator) / sum(denominator) over rows (N,); a mean, or a rate of what may happen many times a row."""
        top, bottom = self.per_group(numerator), self.per_group(denominator)
        if bottom.sum() == 0:
            return Estimate(None)
        tops, bottoms = self.draws @ top, self.draws @ bottom
        return self._estimate(float(top.sum() / bottom.sum()), tops[bottoms > 0] / bottoms[bottoms > 0])

    def proportion(self, successes: ArrayLike, trials: ArrayLike) -> Estimate:
        """Like `ratio`, for counts. Where all or none succeeded, every resample agrees and its interval has no width;
        then the open end is the exact binomial limit with each group as one trial, (alpha / 2) ** (1 / groups)."""
        estimate = self.ratio(successes, trials)
        if estimate.low is None or estimate.low != estimate.high or estimate.value not in (0.0, 1.0):
            return estimate
        groups_with_trials = int((self.per_group(trials) > 0).sum())
        limit = ((1 - LEVEL) / 2) ** (1 / groups_with_trials)
        return Estimate(1.0, limit, 1.0) if estimate.value == 1.0 else Estimate(0.0, 0.0, 1 - limit)

    def quantile(self, values: Floats, q: float) -> Estimate:
        """Quantile of all finite values (N, ...), with linear interpolation as in `numpy.quantile`."""
        finite = np.isfinite(values)
        if not finite.any():
            return Estimate(None)
        flat = values[finite]
        rows = np.broadcast_to(self.group_of_row.reshape(-1, *[1] * (values.ndim - 1)), values.shape)[finite]
        order = np.argsort(flat, kind="stable")
        ordered, group_of_value = flat[order], rows[order]
        # Blocks of draws bound the memory: 64 x points counts at a time.
        starts = range(0, len(self.draws), 64)
        resampled = [_quantile_of_counts(ordered, self.draws[k : k + 64, group_of_value], q) for k in starts]
        return self._estimate(float(np.quantile(flat, q)), np.concatenate([*resampled, np.empty(0)]))

    def per_group(self, rows: ArrayLike) -> Floats:
        """(n_groups,): the sums of rows (N,)."""
        weights = np.asarray(rows, dtype=np.float64)
        return np.bincount(self.group_of_row, weights=weights, minlength=self.n_groups).astype(np.float64)

    @staticmethod
    def _estimate(value: float, resampled: Floats) -> Estimate:
        if not len(resampled):
            return Estimate(value)
        return Estimate(value, *interval(resampled))


def interval(resampled: Floats) -> tuple[float, float]:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _quantile_of_counts(ordered: Floats, counts: NDArray[np.int64], q: float) -> Floats:
    """(R,) quantiles of samples that hold `ordered[i]` counts[r, i] times; empty samples are left out."""
    cumulative = counts.cumsum(axis=1)
    cumulative = cumulative[cumulative[:, -1] > 0]
    position = (cumulative[:, -1] - 1) * q
    below = np.floor(position)
    # The value at rank k of a sorted sample is the first whose cumulative count exceeds k.
    lower = ordered[(cumulative <= below[:, None]).sum(axis=1)]
    upper = ordered[(cumulative <= np.ceil(position)[:, None]).sum(axis=1)]
    return np.asarray(lower + (position - below) * (upper - lower))
