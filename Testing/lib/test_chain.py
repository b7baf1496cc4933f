"""The chain: against enumeration of every chain, among decoys, shifted, cut off, at another scale."""

import dataclasses
import itertools

import numpy as np
import pytest

from SpineLandmarksLib.chain import (
    FREE_SCALES,
    LOG_HIDDEN_INSIDE,
    LOG_NO_EVIDENCE,
    LOG_OUT_OF_VIEW,
    LOG_WORST_OFFSET,
    SHORT_STEP,
    ChainPrior,
    solve_chain,
    take_peaks,
)
from SpineLandmarksLib.errors import LandmarkError

WIDE = np.array([[-1000.0, -1000.0], [1000.0, 1000.0]])


@pytest.fixture
def a_spine() -> np.ndarray:
    """(11, 2) mm, x to the right, y down: steps of 15 to 20 mm, leaning from 75 to 115 degrees."""
    length = np.linspace(15, 20, 10)
    angle = np.deg2rad(np.linspace(75, 115, 10))
    steps = np.stack([length * np.cos(angle), length * np.sin(angle)], -1)
    return np.concatenate([[[60.0, 20.0]], np.array([60.0, 20.0]) + steps.cumsum(0)])


@pytest.fixture
def a_prior(a_spine) -> ChainPrior:
    """From 200 spines that scatter about `a_spine`."""
    rng = np.random.default_rng(0)
    return ChainPrior.fit(a_spine + rng.normal(0, 1.5, (200, 11, 2)))


def among_decoys(spine, count=5, seed=1):
    """Truth in first place with a mass of 0.5, and `count` decoys of 0.1 anywhere about."""
    rng = np.random.default_rng(seed)
    low, high = spine.min(0) - 20, spine.max(0) + 20
    xy = np.concatenate([spine[:, None], rng.uniform(low, high, (len(spine), count, 2))], 1)
    mass = np.full(xy.shape[:2], 0.1)
    mass[:, 0] = 0.5
    return xy, np.log(mass)


def score_of(choice, xy, log_mass, prior, extent):
    """The score of one chain, written as the module's docstring says it."""

    def inside(place):
        return ((place > extent[0]) & (place < extent[1])).all()

    def hidden(place, steps):
        """Of all landmarks that are reached from `place` by `steps`, one after the other."""
        return LOG_HIDDEN_INSIDE * sum(inside(place + step) for step in np.cumsum(steps, 0))

    def evidence(k, c):
        if c >= 0:
            return log_mass[k, c] if inside(xy[k, c]) else LOG_NO_EVIDENCE
        seen = [m for m, c in enumerate(choice) if c >= 0]
        is_above = not seen or k < seen[0]
        beyond = [j for j in range(xy.shape[1]) if not inside(xy[k, j])]
        there = [j for j in beyond if (xy[k, j, 1] <= extent[0, 1]) == is_above]
        return np.log(np.exp(LOG_OUT_OF_VIEW) + np.exp(log_mass[k, there]).sum())

    total = sum(prior.vote[k] * evidence(k, c) for k, c in enumerate(choice))
    for k, (a, b) in enumerate(itertools.pairwise(choice)):
        steps = prior.mean_offset_mm()
        if a >= 0 and b >= 0:
            offset = xy[k + 1, b] - xy[k, a]
            turn = np.arctan2(offset[1], offset[0]) - prior.angle_mean[k]
            z = [
                (np.log(np.hypot(*offset)) - prior.log_length_mean[k]) / prior.log_length_sd[k],
                (turn + np.pi) % (2 * np.pi) - np.pi,
            ]
            z[0] *= SHORT_STEP if z[0] < 0 else 1
            z[1] /= prior.angle_sd[k]
            total += max(-0.5 * (z[0] ** 2 + z[1] ** 2), LOG_WORST_OFFSET)
        elif b >= 0:
            total += hidden(xy[k + 1, b], -steps[k::-1])
        elif a >= 0:
            total += hidden(xy[k, a], steps[k:])
    return total


def every_chain(landmarks, peaks):
    """All choices in which only a beginning and an end are out of view."""
    for choice in itertools.product(range(-1, peaks), repeat=landmarks):
        seen = [k for k, c in enumerate(choice) if c >= 0]
        if not seen or seen == list(range(seen[0], seen[-1] + 1)):
            yield choice


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("extent", [WIDE, np.array([[0.0, 0.0], [70.0, 55.0]])])
def test_the_best_the_second_and_the_probabilities_are_those_of_enumeration(a_spine, a_prior, seed, extent):
    rng = np.random.default_rng(seed)
    prior = ChainPrior(*(values[:3] for name, values in vars(a_prior).items() if name != "growth"))
    xy = a_spine[:4, None] + rng.normal(0, 6, (4, 2, 2))
    log_mass = np.log(rng.uniform(1e-4, 1, (4, 2)))
    if seed % 3 == 0:
        log_mass[[0, -1]] -= 9  # so that the ends are out of view in some
    chain = solve_chain(xy, log_mass, prior, extent)
    chains = sorted(every_chain(4, 2), key=lambda choice: -score_of(choice, xy, log_mass, prior, extent))
    scores = np.array([score_of(choice, xy, log_mass, prior, extent) for choice in chains])
    assert tuple(chain.choice) == chains[0]
    assert tuple(chain.runner_up) == chains[1]
    assert chain.score == pytest.approx(scores[0])
    assert chain.runner_up_score == pytest.approx(scores[1])
    assert chain.margin == pytest.approx(scores[0] - scores[1])
    share = np.exp(scores) / np.exp(scores).sum()
    for k in range(4):
        same = np.array([choice[k] == chains[0][k] for choice in chains])
        assert chain.probability[k] == pytest.approx(share[same].sum())


def test_a_sharp_bend_does_not_call_the_spine_above_it_out_of_view(a_spine, a_prior):
    # A fracture: one offset costs the worst there is, and six landmarks above it are all well inside the picture.
    bent = a_spine.copy()
    bent[:6] += np.array([-40.0, 25.0])
    chain = solve_chain(bent[:, None], np.full((11, 1), np.log(0.9)), a_prior, WIDE)
    assert a_prior.log_likelihood(np.diff(bent, axis=0)[:, None])[5, 0] == LOG_WORST_OFFSET
    assert (chain.choice == 0).all()


@pytest.mark.parametrize("collapsed", [1, 3, 7])
def test_a_body_that_has_collapsed_takes_nothing_above_it_out_of_view(a_spine, a_prior, collapsed):
    lost = 0.6 * np.diff(a_spine, axis=0)[collapsed - 1 : collapsed + 1]
    fallen = a_spine.copy()
    fallen[:collapsed] += lost.sum(0)
    fallen[collapsed] += lost[1]
    chain = solve_chain(fallen[:, None], np.full((11, 1), np.log(0.9)), a_prior, WIDE)
    assert (chain.choice == 0).all()


def test_a_spine_wholly_out_of_view_is_one_chain(a_prior):
    # Nothing worth taking: every candidate at one place, hardly any mass. There is one way to see nothing, not two.
    chain = solve_chain(np.zeros((11, 2, 2)), np.full((11, 2), -30.0), a_prior, WIDE)
    assert (chain.choice == -1).all()
    assert chain.score == pytest.approx(a_prior.vote.sum() * LOG_OUT_OF_VIEW)
    assert (chain.runner_up != -1).any()
    assert chain.probability.min() > 0.99


@pytest.mark.parametrize("seed", range(5))
def test_the_truth_is_found_among_decoys(a_spine, a_prior, seed):
    xy, log_mass = among_decoys(a_spine, seed=seed)
    chain = solve_chain(xy, log_mass, a_prior, WIDE)
    assert (chain.choice == 0).all()
    assert chain.margin > 0


def test_weak_truth_in_line_beats_a_strong_decoy_out_of_line(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    xy[5, 1] = a_spine[5] + [45, 0]
    log_mass[5, :2] = np.log([0.05, 0.9])
    assert (solve_chain(xy, log_mass, a_prior, WIDE).choice == 0).all()


def test_the_order_of_candidates_does_not_matter(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    order = np.stack([np.random.default_rng(k).permutation(6) for k in range(11)])
    rows = np.arange(11)
    one = solve_chain(xy, log_mass, a_prior, WIDE)
    other = solve_chain(xy[rows[:, None], order], log_mass[rows[:, None], order], a_prior, WIDE)
    assert (order[rows, other.choice] == one.choice).all()
    assert other.score == pytest.approx(one.score)
    assert other.runner_up_score == pytest.approx(one.runner_up_score)
    assert other.probability == pytest.approx(one.probability)


def test_two_landmarks_that_claim_one_place_are_told_apart(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    xy[6, 1], log_mass[6, :2] = a_spine[4], np.log([0.15, 0.8])  # L3-L4 sees L2-L3 best
    chain = solve_chain(xy, log_mass, a_prior, WIDE)
    assert (chain.choice == 0).all()


def shifted_by_a_vertebra(a_spine, share):
    """Candidates: the truth, and the place two landmarks further down, with `share` and the rest of the mass."""
    below = np.concatenate([a_spine, a_spine[-1] + np.cumsum([[-8.0, 18.0], [-8.5, 18.0]], 0)])[2:]
    return np.stack([a_spine, below], 1), np.tile(np.log([share, 1 - share]), (11, 1))


def test_a_chain_shifted_by_a_vertebra_loses_when_the_evidence_says_so(a_spine, a_prior):
    a_prior = dataclasses.replace(a_prior, growth=1.0)  # every vote counts 1
    chains = [solve_chain(*shifted_by_a_vertebra(a_spine, share), a_prior, WIDE) for share in (0.65, 0.55, 0.5)]
    assert all((chain.choice == 0).all() for chain in chains[:2])
    assert (chains[0].runner_up == 1).all()
    assert chains[0].margin > chains[1].margin > chains[2].margin
    # eleven landmarks at 0.65 against 0.35 are 6.8 nats, at 0.55 against 0.45 2.2; the offsets are the same for both
    expected = 11 * (np.log(0.65 / 0.35) - np.log(0.55 / 0.45))
    assert chains[0].margin - chains[1].margin == pytest.approx(expected, abs=1e-6)
    assert chains[0].probability.min() > chains[1].probability.min()
    assert (solve_chain(*shifted_by_a_vertebra(a_spine, 0.2), a_prior, WIDE).choice == 1).all()


def test_two_equally_good_chains_are_never_mixed(a_spine, a_prior):
    # The same spine twice, 100 mm apart; which of the two comes first alternates from landmark to landmark.
    xy = np.stack([a_spine, a_spine + np.array([100.0, 0.0])], 1)
    xy[1::2] = xy[1::2, ::-1]
    chain = solve_chain(xy, np.log(np.full((11, 2), 0.5)), a_prior, WIDE)
    places = xy[np.arange(11), chain.choice]
    assert np.ptp(places[:, 0] - a_spine[:, 0]) < 1e-9
    assert chain.margin == pytest.approx(0, abs=1e-6)
    # T12-L1 out of view although its place is inside takes exp(-9 - 0.25 * 5 + 0.25 ln 2) = 4e-5 of the whole
    assert chain.probability == pytest.approx(0.5, abs=1e-4)


def test_landmarks_near_the_sacrum_outvote_those_above(a_spine, a_prior):
    xy, log_mass = shifted_by_a_vertebra(a_spine, 0.5)
    log_mass[:6], log_mass[6:] = np.log([0.2, 0.8]), np.log([0.8, 0.2])  # six say shifted, the five lowest do not
    equal = dataclasses.replace(a_prior, growth=1.0)
    assert (solve_chain(xy, log_mass, a_prior, WIDE).choice == 0).all()
    assert solve_chain(xy, log_mass, a_prior, WIDE).margin > solve_chain(xy, log_mass, equal, WIDE).margin


@pytest.mark.parametrize(("missing", "kept"), [([0], slice(1, 11)), ([9, 10], slice(0, 9)), ([0, 1, 10], slice(2, 10))])
def test_ends_beyond_the_image_are_out_of_view(a_spine, a_prior, missing, kept):
    xy, log_mass = among_decoys(a_spine)
    extent = np.stack([a_spine[kept].min(0), a_spine[kept].max(0)]) + np.array([[-60, -6], [60, 6]])
    log_mass[missing] = -20.0
    chain = solve_chain(xy, log_mass, a_prior, extent)
    assert (chain.choice[missing] == -1).all()
    assert (chain.choice[kept] == 0).all()
    assert chain.probability.min() > 0.9


@pytest.mark.parametrize(("missing", "kept"), [([0, 1], slice(2, 11)), ([9, 10], slice(0, 9))])
def test_what_the_network_puts_beyond_the_picture_is_out_of_view_and_not_a_place(a_spine, a_prior, missing, kept):
    """The true places, with half of the mass, of which two lie up to 35 mm above or below the picture."""
    xy, log_mass = among_decoys(a_spine)
    extent = np.stack([a_spine[kept].min(0), a_spine[kept].max(0)]) + np.array([[-60, -6], [60, 6]])
    chain = solve_chain(xy, log_mass, a_prior, extent)
    assert (chain.choice[missing] == -1).all()
    assert (chain.choice[kept] == 0).all()
    assert chain.probability.min() > 0.9


def test_mass_above_the_picture_says_nothing_of_a_landmark_below_it(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    extent = np.array([[-100.0, a_spine[0, 1] - 6], [200.0, a_spine[-1, 1] + 6]])
    before = solve_chain(xy, log_mass, a_prior, extent)
    xy[10, 5] = a_spine[0] - [0, 20]  # a faint peak of L5-S1 above the picture
    after = solve_chain(xy, log_mass, a_prior, extent)
    assert (after.choice == 0).all()
    assert after.score == pytest.approx(before.score)


def test_a_confirmed_place_beyond_the_picture_stands(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    extent = np.stack([a_spine[1:].min(0), a_spine.max(0)]) + np.array([[-60, -6], [60, 6]])
    given = np.full((11, 2), np.nan)
    given[0] = a_spine[0]
    assert (solve_chain(xy, log_mass, a_prior, extent, given_mm=given).choice == 0).all()


def test_a_faint_landmark_in_the_middle_is_taken_all_the_same(a_spine, a_prior):
    xy, log_mass = among_decoys(a_spine)
    log_mass[5, 0], log_mass[5, 1:] = -12.0, -13.0
    assert (solve_chain(xy, log_mass, a_prior, WIDE).choice == 0).all()


@pytest.mark.parametrize("seed", range(30))
def test_only_the_ends_are_ever_out_of_view(a_spine, a_prior, seed):
    rng = np.random.default_rng(seed)
    xy = a_spine[:, None] + rng.normal(0, 15, (11, 3, 2))
    log_mass = rng.uniform(-30, 0, (11, 3))
    extent = np.stack([a_spine.min(0) + 10, a_spine.max(0) - 10])
    seen = np.flatnonzero(solve_chain(xy, log_mass, a_prior, extent).choice >= 0)
    assert len(seen) == 0 or len(seen) == seen[-1] - seen[0] + 1


@pytest.mark.parametrize("scale", [0.7, 1.0, 1.3])
def test_a_wrong_scale_is_found_when_scales_are_free(a_spine, a_prior, scale):
    xy, log_mass = among_decoys(a_spine)
    chain = solve_chain(xy * scale, log_mass, a_prior, WIDE * scale, FREE_SCALES)
    assert (chain.choice == 0).all()
    assert chain.scale == pytest.approx(scale, rel=0.06)  # scales are tried 10 % apart


@pytest.mark.parametrize("seed", range(5))
def test_scales_tried_together_are_as_good_as_each_tried_alone(a_spine, a_prior, seed):
    rng = np.random.default_rng(seed)
    xy, log_mass = a_spine[:, None] * rng.uniform(0.7, 1.4) + rng.normal(0, 8, (11, 4, 2)), rng.uniform(-6, 0, (11, 4))
    alone = [solve_chain(xy, log_mass, a_prior, WIDE, (scale,)) for scale in FREE_SCALES]
    together, best = solve_chain(xy, log_mass, a_prior, WIDE, FREE_SCALES), max(alone, key=lambda chain: chain.score)
    assert (together.scale, together.score) == (best.scale, best.score)
    assert (together.choice == best.choice).all()


def test_one_candidate_a_landmark_is_enough(a_spine, a_prior):
    chain = solve_chain(a_spine[:, None], np.zeros((11, 1)), a_prior, WIDE)
    assert (chain.choice == 0).all()
    assert chain.score == pytest.approx(0, abs=0.5)


def test_the_prior_is_that_of_the_spines_it_was_fitted_to(a_spine, a_prior):
    lengths = np.linalg.norm(np.diff(a_spine, axis=0), axis=-1)
    assert np.exp(a_prior.log_length_mean) == pytest.approx(lengths, rel=0.05)
    assert np.rad2deg(a_prior.angle_mean) == pytest.approx(np.linspace(75, 115, 10), abs=2)
    assert a_prior.mean_offset_mm(2.0) == pytest.approx(2 * np.diff(a_spine, axis=0), abs=2)
    assert a_prior.log_likelihood(a_prior.mean_offset_mm()) == pytest.approx(0)
    assert ChainPrior.from_dict(a_prior.to_dict()).mean_offset_mm() == pytest.approx(a_prior.mean_offset_mm(), abs=1e-3)


def test_each_vote_counts_half_again_as_much_as_the_one_above(a_prior):
    assert a_prior.vote[5] == 1
    assert a_prior.vote[1:] / a_prior.vote[:-1] == pytest.approx(1.5)
    older = a_prior.to_dict() | {"vote": [1.0] * 11}  # as older bundles have it
    assert ChainPrior.from_dict(older).vote == pytest.approx(a_prior.vote)
    assert "vote" not in a_prior.to_dict()


def test_directions_are_compared_around_the_circle():
    # 170 degrees and -170 degrees are 20 apart, which at a spread of 20 costs half a nat
    prior = ChainPrior(np.zeros(1), np.ones(1), np.deg2rad([170.0]), np.deg2rad([20.0]))
    direction = np.deg2rad(-170.0)
    offset = np.array([[np.cos(direction), np.sin(direction)]])
    assert prior.log_likelihood(offset) == pytest.approx(-0.5)


def test_spines_with_gaps_fit_a_prior_but_a_pair_never_seen_is_refused(a_spine):
    spines = np.stack([a_spine, a_spine * 1.1])
    spines[0, 4] = np.nan
    assert all(np.isfinite(values).all() for values in vars(ChainPrior.fit(spines)).values())
    spines[1, 3] = np.nan
    with pytest.raises(LandmarkError, match="3 and 4"):
        ChainPrior.fit(spines)


def test_another_number_of_landmarks_than_the_priors_is_refused(a_prior):
    with pytest.raises(LandmarkError, match="candidates of 11 landmarks"):
        solve_chain(np.zeros((4, 2, 2)), np.zeros((4, 2)), a_prior, WIDE)


def test_steps_that_run_forward_are_fitted_on_both_sides_of_the_half_turn():
    """From a back corner to the next front corner, 180 degrees give or take 5: the mean is no direction between."""
    rng = np.random.default_rng(0)
    angle = np.deg2rad(180 + rng.normal(0, 5, 200))
    points = np.stack([np.zeros((200, 2)), 30 * np.stack([np.cos(angle), np.sin(angle)], -1)], 1)
    prior = ChainPrior.fit(points)
    assert abs(np.rad2deg(prior.angle_mean[0])) == pytest.approx(180, abs=2)
    assert np.rad2deg(prior.angle_sd[0]) == pytest.approx(10)


def test_peaks_without_a_chain_are_each_landmarks_own_best_inside_the_picture():
    xy = np.array([[[10.0, 10.0], [20.0, 20.0]], [[30.0, 5.0], [-5.0, 5.0]], [[-9.0, 1.0], [8.0, 8.0]]])
    mass = np.array([[0.3, 0.6], [0.2, 0.7], [0.9, 1e-9]])
    chain = take_peaks(xy, np.log(mass), np.array([[0.0, 0.0], [40.0, 40.0]]))
    # the second landmark's likeliest place lies beyond the picture, and so is it; the third has no other
    assert chain.choice.tolist() == [1, -1, -1]
    beyond = np.exp(LOG_OUT_OF_VIEW)
    assert chain.probability[0] == pytest.approx(0.6 / (0.9 + 2 * beyond))
    assert chain.probability[1] == pytest.approx((0.7 + 2 * beyond) / (0.9 + 2 * beyond))
    assert chain.runner_up.tolist() == [0, -1, -1]
    given = take_peaks(
        xy, np.log(mass), np.array([[0.0, 0.0], [40.0, 40.0]]), np.array([[np.nan] * 2, [1, 2], [np.nan] * 2])
    )
    assert given.choice[1] == 0
