"""The best chain through the candidate peaks: no level skipped, none used twice. numpy only.

Each landmark takes one of its candidates or is out of view, which only the ends of the chain may be:

    score(chain) = sum_l vote_l log mass(candidate of l) + sum_l log g(offset from l to l + 1) - 9 per hidden landmark

Hidden is one that is out of view although the usual steps from the chain's end lead to a place inside the picture.

g is a Gaussian of the logarithm of the offset's length and of its direction, learned from annotated spines (the same
idea as the path of Payer et al. 2020 for VerSe, with their pairwise deviation as a likelihood). A candidate beyond the
picture is no place: its mass speaks for the landmark being out of view. Solved exactly by dynamic programming
(Viterbi); sums instead of maxima over the same table give each candidate's marginal probability.

Landmarks whose schema says that they have no order are no chain: each takes its own best peak.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import LandmarkError

Array = NDArray[np.float64]

#: Log-likelihood of one landmark being out of view; of each that is although its usual place is inside the image.
LOG_OUT_OF_VIEW, LOG_HIDDEN_INSIDE = -5.0, -9.0
#: The least that a candidate's evidence can be.
LOG_NO_EVIDENCE = -30.0
#: Log-likelihood of what cannot be: finite, so that differences stay numbers.
LOG_IMPOSSIBLE = -1e6
#: So large that no doubt about a landmark's neighbours outweighs it.
LOG_GIVEN = 1e3
#: The worst that one offset can cost. A skipped level doubles an offset, which must cost more than the evidence of the
#: landmarks above it can gain: at -10 a chain was torn wherever the sacrum and the upper spine contradicted each other.
LOG_WORST_OFFSET = -40.0
#: How much more each landmark's own evidence counts than that of the one above it, where two make a level. Levels are
#: counted from the sacrum: landmarks near it know the level, and those above repeat it, errors included. Weights that
#: had learned from SPIDER and phantoms alone shift 7 of 120 Tianchi chains at a growth of 1, 2 at 1.35 to 1.7
#: (research/bench/levels.py).
VOTE_GROWTH = 1.5
#: Two landmarks in one place are taken to be this far apart, mm, so that the logarithm of the length is a number.
SHORTEST_MM = 0.1
#: A step that is too short counts as this part of one that is too long: bodies collapse, discs narrow, nothing grows.
#: `research.experiments robustness` has a row for a collapsed L1.
SHORT_STEP = 0.6
#: Scales tried when millimetres are only assumed.
FREE_SCALES = tuple(np.geomspace(0.6, 1.6, 11))


@dataclass(frozen=True)
class ChainPrior:
    """Offsets between neighbouring landmarks, head to foot: (L - 1,) each.

    log_length: mean and spread of ln(length in mm); angle: mean and spread of atan2(dy, dx), radians, y down.
    growth: of the votes, from each landmark to the next; no property of spines, so that no file holds it.
    """

    log_length_mean: Array
    log_length_sd: Array
    angle_mean: Array
    angle_sd: Array
    growth: float = VOTE_GROWTH

    @property
    def vote(self) -> Array:
        """(L,) weight of each landmark's own evidence, 1 in the middle."""
        count = len(self.angle_mean) + 1
        return np.asarray(self.growth ** (np.arange(count) - (count - 1) / 2))

    @staticmethod
    def fit(points_mm: Array, names: Sequence[str] | None = None, widen: float = 1.5) -> ChainPrior:
        """From annotated spines (N, L, 2) in mm, nan where unknown. `widen` allows for spines not among them.

        Raises LandmarkError where neighbours are never annotated together, by their names, else by their numbers.
        """
        offset = np.diff(points_mm, axis=1)
        unseen = np.flatnonzero(~np.isfinite(offset).all(-1).any(0))
        if len(unseen):
            said: Sequence[object] = names or range(points_mm.shape[1])
            pairs = ", ".join(f"{said[k]} and {said[k + 1]}" for k in unseen.tolist())
            raise LandmarkError(
                f"Expected neighbouring landmarks annotated together; never so: {pairs}. Learn from a data set that "
                "has them too (--extra), or leave out of schema.json what none has"
            )
        log_length = np.log(np.maximum(np.linalg.norm(offset, axis=-1), SHORTEST_MM))
        angle = np.arctan2(offset[..., 1], offset[..., 0])
        # Means of unit vectors: steps that run forward lie on both sides of the half turn where angles jump.
        mean = np.arctan2(np.nanmean(np.sin(angle), 0), np.nanmean(np.cos(angle), 0))
        return ChainPrior(
            np.nanmean(log_length, 0),
            np.maximum(np.nanstd(log_length, 0) * widen, 0.10),
            mean,
            np.maximum(np.sqrt(np.nanmean(_half_turn(angle - mean) ** 2, 0)) * widen, np.deg2rad(10.0)),
        )

    @staticmethod
    def from_dict(values: dict[str, Sequence[float]], growth: float = VOTE_GROWTH) -> ChainPrior:
        """From `to_dict`. Older bundles hold votes of their own too, which are not used."""
        mean, spread, angle, angle_spread = (np.asarray(values[name], dtype=np.float64) for name in STORED)
        return ChainPrior(mean, spread, angle, angle_spread, growth)

    def to_dict(self) -> dict[str, list[float]]:
        return {name: [round(float(v), 5) for v in getattr(self, name)] for name in STORED}

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
        z_length = np.where(z_length < 0, SHORT_STEP * z_length, z_length)
        z_angle = _half_turn(turn) / self.angle_sd.reshape(shape)
        return np.asarray(np.maximum(-0.5 * (z_length**2 + z_angle**2), LOG_WORST_OFFSET))


def _half_turn(angle: Array) -> Array:
    """The same directions, from half a turn back to half a turn on."""
    return (angle + np.pi) % (2 * np.pi) - np.pi


def vote_growth(names_per_level: int) -> float:
    """The growth from one landmark to the next where a level has so many; without levels all votes are alike.

    >>> vote_growth(2) == VOTE_GROWTH, abs(vote_growth(4) ** 4 - VOTE_GROWTH**2) < 1e-12, vote_growth(0)
    (True, True, 1.0)
    """
    return float(VOTE_GROWTH ** (2 / names_per_level)) if names_per_level else 1.0


#: Fields of a prior that a bundle holds.
STORED = ("log_length_mean", "log_length_sd", "angle_mean", "angle_sd")


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
    xy_mm: Array,
    log_mass: Array,
    prior: ChainPrior,
    extent_mm: Array,
    scales: Sequence[float] = (1.0,),
    given_mm: Array | None = None,
) -> Chain:
    """The best chain, the runner-up and the probability of each choice.

    xy_mm: (L, K, 2) candidates in the slice plane, x to the right, y down; log_mass: (L, K); extent_mm: (2, 2) first
    and last corner of the image in the same frame. scales: tried in turn; more than one when millimetres are assumed.
    given_mm: (L, 2) places that somebody has confirmed, nan where nobody has; they stand as candidate 0.
    """
    if xy_mm.shape[:2] != log_mass.shape or len(xy_mm) != len(prior.angle_mean) + 1:
        raise LandmarkError(
            f"Expected candidates of {len(prior.angle_mean) + 1} landmarks; got {xy_mm.shape} and {log_mass.shape}"
        )
    if given_mm is not None:
        xy_mm, log_mass = fix_given(xy_mm, log_mass, given_mm)
    tables = [_tables(xy_mm, log_mass, prior, extent_mm, scale) for scale in scales]
    best = _best_scale(tables) if len(scales) > 1 else 0
    return _solve(*tables[best], xy_mm, scales[best])


def take_peaks(xy_mm: Array, log_mass: Array, extent_mm: Array, given_mm: Array | None = None) -> Chain:
    """Each landmark's own best peak, for landmarks that are no chain: no place speaks for or against another.

    Arguments and result as `solve_chain`; the score is the sum of what is taken.
    """
    if given_mm is not None:
        xy_mm, log_mass = fix_given(xy_mm, log_mass, given_mm)
    inside, beyond = _inside_and_beyond(xy_mm, log_mass, extent_mm)
    unary = np.concatenate([inside, _log_sum(beyond, 1)[:, None]], 1)
    rows, order = np.arange(len(unary)), np.argsort(-unary, 1)
    best, second = order[:, 0], order[:, 1]
    gap = unary[rows, best] - unary[rows, second]
    runner_up, least = best.copy(), int(gap.argmin())
    runner_up[least] = second[least]
    probability = np.exp(unary[rows, best] - _log_sum(unary, 1))
    score = float(np.minimum(unary[rows, best], 0).sum())
    return Chain(
        _as_choice(best, xy_mm), np.clip(probability, 0, 1), score, _as_choice(runner_up, xy_mm), score - gap[least]
    )


def _best_scale(tables: Sequence[tuple[Array, Array]]) -> int:
    """The one whose best chain scores highest; all forward passes in one, as their steps are too short for numpy."""
    unary, pairwise = (np.stack(part, 1) for part in zip(*tables, strict=True))
    best = unary[0]
    for u, p in zip(unary[1:], pairwise, strict=True):
        best = u + (best[:, :, None] + p).max(1)
    return int(best.max(1).argmax())


def fix_given(xy_mm: Array, log_mass: Array, given_mm: Array) -> tuple[Array, Array]:
    """Candidates (L, K, 2) and (L, K) with the given places (L, 2) first and alone; nan is a landmark not given."""
    given = np.isfinite(given_mm).all(-1)
    xy_mm, log_mass = xy_mm.copy(), log_mass.copy()
    xy_mm[given, 0] = given_mm[given]
    log_mass[given, 0], log_mass[given, 1:] = LOG_GIVEN, LOG_IMPOSSIBLE
    return xy_mm, log_mass


def _solve(unary: Array, pairwise: Array, xy_mm: Array, scale: float) -> Chain:
    best, score = _best_path(unary, pairwise)
    other = _through(unary, pairwise, np.max)  # the best chain through each state
    other[np.arange(len(best)), best] = -np.inf
    landmark, state = np.unravel_index(int(other.argmax()), other.shape)
    forced = unary.copy()
    forced[landmark, np.arange(unary.shape[1]) != state] = -np.inf
    runner_up, runner_up_score = _best_path(forced, pairwise)
    total = _through(unary, pairwise, _log_sum)
    share = np.exp(total - _log_sum(total, 1)[:, None])
    share[:, -2:] = share[:, -2:].sum(1, keepdims=True)  # out of view is one answer, above or below
    probability = share[np.arange(len(best)), best]
    return Chain(
        _as_choice(best, xy_mm), np.clip(probability, 0, 1), score, _as_choice(runner_up, xy_mm), runner_up_score, scale
    )


def _tables(xy_mm: Array, log_mass: Array, prior: ChainPrior, extent_mm: Array, scale: float) -> tuple[Array, Array]:
    """Unary (L, K + 2) and pairwise (L - 1, K + 2, K + 2) scores; the last two states are out of view above, below."""
    count, peaks = log_mass.shape
    above, below = peaks, peaks + 1
    unary = np.concatenate(_inside_and_beyond(xy_mm, log_mass, extent_mm), 1)
    unary *= prior.vote[:, None]
    unary[0, below] = LOG_IMPOSSIBLE  # a chain wholly out of view is counted once, as above
    pairwise = np.full((count - 1, peaks + 2, peaks + 2), LOG_IMPOSSIBLE)
    offsets = xy_mm[1:, None, :, :] - xy_mm[:-1, :, None, :]
    pairwise[:, :peaks, :peaks] = prior.log_likelihood(offsets, scale)
    hidden_above, hidden_below = _hidden(xy_mm, prior.mean_offset_mm(scale), extent_mm)
    pairwise[:, above, above] = pairwise[:, below, below] = 0.0
    pairwise[:, above, :peaks] = LOG_HIDDEN_INSIDE * hidden_above[1:]
    pairwise[:, :peaks, below] = LOG_HIDDEN_INSIDE * hidden_below[:-1]
    return unary, pairwise


def _inside_and_beyond(xy_mm: Array, log_mass: Array, extent_mm: Array) -> tuple[Array, Array]:
    """(L, K) the evidence for each candidate, none for one beyond the picture, and (L, 2) for being beyond it.

    The network sees the picture with a dark rim, and where a landmark is cut off it puts it there: evidence for being
    out of view, above where it lies beyond the picture's upper edge and below elsewhere.
    """
    outside = ~_is_inside(xy_mm, extent_mm) & (log_mass < LOG_GIVEN)
    over = outside & (xy_mm[..., 1] <= extent_mm[0, 1])
    beyond = [np.where(part, np.exp(np.minimum(log_mass, 0)), 0).sum(1) for part in (over, outside & ~over)]
    inside = np.where(outside, LOG_NO_EVIDENCE, np.maximum(log_mass, LOG_NO_EVIDENCE))
    return inside, np.log(np.stack(beyond, 1) + np.exp(LOG_OUT_OF_VIEW))


def _hidden(xy_mm: Array, step_mm: Array, extent_mm: Array) -> tuple[Array, Array]:
    """(L, K) each: how many landmarks above and below a candidate would be inside the picture, at their usual steps."""
    usual = np.concatenate([np.zeros((1, 2)), np.cumsum(step_mm, 0)])
    inside = _is_inside(xy_mm[:, :, None] + usual - usual[:, None, None], extent_mm)  # (L, K, L)
    other = np.arange(len(usual))
    above, below = other < other[:, None], other > other[:, None]
    return (inside & above[:, None]).sum(-1), (inside & below[:, None]).sum(-1)


def _is_inside(xy_mm: Array, extent_mm: Array) -> NDArray[np.bool_]:
    return np.asarray(((xy_mm > extent_mm[0]) & (xy_mm < extent_mm[1])).all(-1))


def _best_path(unary: Array, pairwise: Array) -> tuple[NDArray[np.intp], float]:
    """Viterbi: the states of the best chain, traced back so that equally good chains are never mixed, and its score."""
    forward = _pass(unary, pairwise, np.max)
    states = [int(forward[-1].argmax())]
    for score, step in zip(forward[-2::-1], pairwise[::-1], strict=True):
        states.append(int((score + step[:, states[-1]]).argmax()))
    return np.array(states[::-1], dtype=np.intp), float(forward[-1].max())


def _through(unary: Array, pairwise: Array, reduce: object) -> Array:
    """Best (or summed) score of all whole chains through each state."""
    back = _pass(unary[::-1], pairwise[::-1].swapaxes(1, 2), reduce)[::-1]
    return np.asarray(_pass(unary, pairwise, reduce) + back - unary)


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
