"""The best chain through the candidate peaks: no level skipped, none used twice. numpy only.

Each landmark takes one of its candidates or is out of view, which only the ends of the chain may be:

    score(chain) = sum_l log mass(candidate of l) + sum_l log g(offset from l to l + 1)

g is a Gaussian of the logarithm of the offset's length and of its direction, learned from annotated spines (the same
idea as the path of Payer et al. 2020 for VerSe, with their pairwise deviation as a likelihood). Solved exactly by
dynamic programming (Viterbi); sums instead of maxima over the same table give each candidate's marginal probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import LandmarkError

Array = NDArray[np.float64]

#: Log-likelihood of one landmark being out of view; of being so although its place is inside the image.
LOG_OUT_OF_VIEW, LOG_HIDDEN_INSIDE = -5.0, -9.0
#: The worst that one offset can cost, so that an odd spine is doubted rather than torn apart.
LOG_WORST_OFFSET = -10.0
#: Scales tried when millimetres are only assumed.
FREE_SCALES = tuple(np.geomspace(0.6, 1.6, 11))


@dataclass(frozen=True)
class ChainPrior:
    """Offsets between neighbouring landmarks, head to foot: (L - 1,) each.

    log_length: mean and spread of ln(length in mm); angle: mean and spread of atan2(dy, dx), radians, y down.
    """

    log_length_mean: Array
    log_length_sd: Array
    angle_mean: Array
    angle_sd: Array

    @staticmethod
    def fit(points_mm: Array, widen: float = 1.5) -> ChainPrior:
        """From annotated spines (N, L, 2) in mm, nan where unknown. `widen` allows for spines not among them."""
        offset = np.diff(points_mm, axis=1)
        log_length = np.log(np.linalg.norm(offset, axis=-1))
        angle = np.arctan2(offset[..., 1], offset[..., 0])
        return ChainPrior(
            np.nanmean(log_length, 0),
            np.maximum(np.nanstd(log_length, 0) * widen, 0.10),
            np.nanmean(angle, 0),
            np.maximum(np.nanstd(angle, 0) * widen, np.deg2rad(10.0)),
        )

    @staticmethod
    def from_dict(values: dict[str, Sequence[float]]) -> ChainPrior:
        return ChainPrior(*(np.asarray(values[name], dtype=np.float64) for name in ChainPrior.__annotations__))

    def to_dict(self) -> dict[str, list[float]]:
        return {name: [round(float(v), 5) for v in getattr(self, name)] for name in ChainPrior.__annotations__}

    def mean_offset_mm(self, scale: float = 1.0) -> Array:
        """(L - 1, 2) the usual step from each landmark to the next."""
        length = np.exp(self.log_length_mean)[:, None] * scale
        direction: Array = np.stack([np.cos(self.angle_mean), np.sin(self.angle_mean)], -1)
        return length * direction

    def log_likelihood(self, offset_mm: Array, scale: float = 1.0) -> Array:
        """(L - 1, ..., 2) offsets -> (L - 1, ...), 0 at the mean and never below `LOG_WORST_OFFSET`."""
        shape = (-1,) + (1,) * (offset_mm.ndim - 2)
        log_length = np.log(np.maximum(np.linalg.norm(offset_mm, axis=-1) / scale, 1e-6))
        turn = np.arctan2(offset_mm[..., 1], offset_mm[..., 0]) - self.angle_mean.reshape(shape)
        z_length = (log_length - self.log_length_mean.reshape(shape)) / self.log_length_sd.reshape(shape)
        z_angle = ((turn + np.pi) % (2 * np.pi) - np.pi) / self.angle_sd.reshape(shape)
        return np.asarray(np.maximum(-0.5 * (z_length**2 + z_angle**2), LOG_WORST_OFFSET))


@dataclass(frozen=True)
class Chain:
    """choice: (L,) candidate taken by each landmark, -1 where out of view. probability: (L,) marginal of that choice.

    score, runner_up_score: of the best chain and of the best one that differs from it somewhere; margin is their
    difference in nats. scale: the scale that the offsets fit best with.
    """

    choice: NDArray[np.intp]
    probability: Array
    score: float
    runner_up: NDArray[np.intp]
    runner_up_score: float
    scale: float = 1.0

    @property
    def margin(self) -> float:
        return self.score - self.runner_up_score


def solve_chain(
    xy_mm: Array, log_mass: Array, prior: ChainPrior, extent_mm: Array, scales: Sequence[float] = (1.0,)
) -> Chain:
    """The best chain, the runner-up and the probability of each choice.

    xy_mm: (L, K, 2) candidates in the slice plane, x to the right, y down; log_mass: (L, K); extent_mm: (2, 2) first
    and last corner of the image in the same frame. scales: tried in turn; more than one when millimetres are assumed.
    """
    if xy_mm.shape[:2] != log_mass.shape or len(xy_mm) != len(prior.angle_mean) + 1:
        raise LandmarkError(
            f"Expected candidates of {len(prior.angle_mean) + 1} landmarks; got {xy_mm.shape} and {log_mass.shape}"
        )
    return max((_solve(xy_mm, log_mass, prior, extent_mm, scale) for scale in scales), key=lambda chain: chain.score)


def _solve(xy_mm: Array, log_mass: Array, prior: ChainPrior, extent_mm: Array, scale: float) -> Chain:
    unary, pairwise = _tables(xy_mm, log_mass, prior, extent_mm, scale)
    forward, backward = _pass(unary, pairwise, np.max), _pass(unary[::-1], pairwise[::-1].swapaxes(1, 2), np.max)[::-1]
    through = forward + backward - unary  # best chain through each state
    best = through.argmax(1)
    score = float(through[0, best[0]])
    other = through.copy()
    other[np.arange(len(best)), best] = -np.inf
    landmark, state = np.unravel_index(int(other.argmax()), other.shape)
    forced = unary.copy()
    forced[landmark, np.arange(unary.shape[1]) != state] = -np.inf
    runner_up = (
        _pass(forced, pairwise, np.max)
        + _pass(forced[::-1], pairwise[::-1].swapaxes(1, 2), np.max)[::-1]
        - np.where(np.isfinite(forced), forced, 0)
    ).argmax(1)
    total = _pass(unary, pairwise, _log_sum) + _pass(unary[::-1], pairwise[::-1].swapaxes(1, 2), _log_sum)[::-1] - unary
    probability = np.exp(total - _log_sum(total, 1)[:, None])[np.arange(len(best)), best]
    return Chain(_as_choice(best, xy_mm), np.clip(probability, 0, 1), score, _as_choice(runner_up, xy_mm),
                 float(other.max()), scale)  # fmt: skip


def _tables(
    xy_mm: Array, log_mass: Array, prior: ChainPrior, extent_mm: Array, scale: float
) -> tuple[Array, Array]:
    """Unary (L, K + 2) and pairwise (L - 1, K + 2, K + 2) scores; the last two states are out of view above, below."""
    count, peaks = log_mass.shape
    above, below = peaks, peaks + 1
    unary = np.concatenate([np.maximum(log_mass, -30.0), np.full((count, 2), LOG_OUT_OF_VIEW)], 1)
    pairwise = np.full((count - 1, peaks + 2, peaks + 2), -1e6)
    offsets = xy_mm[1:, None, :, :] - xy_mm[:-1, :, None, :]
    pairwise[:, :peaks, :peaks] = prior.log_likelihood(offsets, scale)
    step = prior.mean_offset_mm(scale)[:, None]
    pairwise[:, above, above] = pairwise[:, below, below] = 0.0
    pairwise[:, above, :peaks] = _unless_outside(xy_mm[1:] - step, extent_mm)
    pairwise[:, :peaks, below] = _unless_outside(xy_mm[:-1] + step, extent_mm)
    return unary, pairwise


def _unless_outside(xy_mm: Array, extent_mm: Array) -> Array:
    inside = ((xy_mm > extent_mm[0]) & (xy_mm < extent_mm[1])).all(-1)
    return np.where(inside, LOG_HIDDEN_INSIDE, 0.0)


def _pass(unary: Array, pairwise: Array, reduce: object) -> Array:
    """Best (or summed) score of all partial chains that end in each state."""
    out = [unary[0]]
    for u, p in zip(unary[1:], pairwise, strict=True):
        out.append(u + reduce(out[-1][:, None] + p, 0))  # type: ignore[operator]
    return np.stack(out)


def _log_sum(values: Array, axis: int) -> Array:
    top = values.max(axis, keepdims=True)
    return (np.log(np.exp(values - top).sum(axis, keepdims=True)) + top).squeeze(axis)  # type: ignore[no-any-return]


def _as_choice(states: NDArray[np.intp], xy_mm: Array) -> NDArray[np.intp]:
    return np.where(states < xy_mm.shape[1], states, -1)
