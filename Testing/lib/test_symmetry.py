"""The lateral place of landmarks: where the surroundings are their own mirror image, along any bow of the spine."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

from research.bench.volumes import bowed
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.symmetry import BEND, NATS, TILT, lateral_curve, marginals, mirror_scores
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import make_phantom

Array = NDArray[np.float64]


@pytest.fixture(scope="module")
def a_spine() -> tuple[SagittalStack, Array]:
    """A generated stack of 1.5 mm slices with columns and rows that differ, and (L, 3) the truth in ijk."""
    phantom = make_phantom(104)
    stack = SagittalStack(phantom.voxels, phantom.ras_from_ijk)
    truth = np.array([stack.to_ijk(np.array(phantom.landmarks[name].position_ras_mm)) for name in LUMBAR11])
    return stack, truth


def bowed_ijk(stack: SagittalStack, truth_ijk: Array, bow_mm: float) -> tuple[SagittalStack, Array]:
    """`bowed`, with the truth in ijk."""
    places = {name: stack.to_ras(ijk[2], ijk[None, :2])[0] for name, ijk in zip(LUMBAR11, truth_ijk, strict=True)}
    moved, truth = bowed(stack, places, bow_mm)
    return moved, stack.to_ijk(np.array([truth[name] for name in LUMBAR11]))


@pytest.mark.parametrize("bow_mm", [0.0, 10.0, -15.0])
def test_a_bowed_spine_is_followed(a_spine: tuple[SagittalStack, Array], bow_mm: float) -> None:
    stack, truth = bowed_ijk(*a_spine, bow_mm)
    assert stack.slice_spacing_mm is not None
    curve = lateral_curve(stack, truth[:, :2])
    assert curve is not None
    off_mm = np.abs(curve.at - truth[:, 2]) * stack.slice_spacing_mm
    assert off_mm.max() < 2.0
    assert (off_mm < 2.0 * np.hypot(curve.sd_mm, 1.0)).all()
    assert curve.sd_mm.max() < 3.0


def test_the_order_in_which_slices_are_stored_changes_nothing(a_spine: tuple[SagittalStack, Array]) -> None:
    stack, truth = bowed_ijk(*a_spine, 8.0)
    one, other = (lateral_curve(each, truth[:, :2]) for each in (stack, stack.turned_round()))
    assert one is not None
    assert other is not None
    np.testing.assert_allclose(len(stack) - 1 - other.at, one.at, atol=0.2)
    np.testing.assert_allclose(other.sd_mm, one.sd_mm, atol=0.3)


@pytest.mark.parametrize("missing", [(6,), (3, 9)])
def test_a_gap_between_slices_moves_nothing(a_spine: tuple[SagittalStack, Array], missing: tuple[int, ...]) -> None:
    """Mirrored by index, one slice missing beside the middle puts it half a slice beside its place."""
    stack, truth = a_spine
    kept = np.setdiff1d(np.arange(len(stack)), missing)
    assert stack.ras_from_ijk is not None
    origins = (stack.ras_from_ijk @ np.stack([0 * kept, 0 * kept, kept, 0 * kept + 1])).T[:, :3]
    fitted = stack.ras_from_ijk.copy()
    fitted[:3, 2] *= (len(stack) - 1) / (len(kept) - 1)
    gapped = replace(stack, voxels=stack.voxels[kept], ras_from_ijk=fitted, origins_ras_mm=origins)
    whole, found = (lateral_curve(each, truth[:, :2]) for each in (stack, gapped))
    assert whole is not None
    assert found is not None
    there = np.interp(found.at, np.arange(len(kept)), kept)
    np.testing.assert_allclose(there * 4.0, whole.at * 4.0, atol=1.0)  # slices of 4 mm


def test_a_point_out_of_view_lies_between_the_others(a_spine: tuple[SagittalStack, Array]) -> None:
    stack, truth = a_spine
    points = truth[:, :2].copy()
    points[[0, 4]] = np.nan
    curve = lateral_curve(stack, points)
    assert curve is not None
    assert curve.at[0] == curve.at[1]
    assert curve.at[4] == pytest.approx((curve.at[3] + curve.at[5]) / 2)
    assert curve.sd_mm[4] == pytest.approx((curve.sd_mm[3] + curve.sd_mm[5]) / 2)


def test_few_slices_few_points_or_no_spacing_tell_nothing(a_spine: tuple[SagittalStack, Array]) -> None:
    stack, truth = a_spine
    assert lateral_curve(replace(stack, voxels=stack.voxels[:2]), truth[:, :2]) is None
    assert lateral_curve(replace(stack, ras_from_ijk=None), truth[:, :2]) is None
    assert lateral_curve(stack, np.full((11, 2), np.nan)) is None


def test_the_middle_of_a_symmetric_window_scores_highest() -> None:
    rng = np.random.default_rng(0)
    half = rng.normal(size=(10, 40)).cumsum(0)
    slices = np.concatenate([half, rng.normal(size=(1, 40)), half[::-1]])  # mirrored about slice 10
    scores = mirror_scores(slices, 2.0)
    assert scores is not None
    assert int(scores.argmax()) == 20  # every millimetre: half of the step of 2 mm


def test_copies_of_the_outermost_slice_are_no_evidence() -> None:
    rng = np.random.default_rng(1)
    half = rng.normal(size=(10, 40)).cumsum(0)
    slices = np.concatenate([half, rng.normal(size=(1, 40)), half[::-1]])
    padded = np.concatenate([slices, np.repeat(slices[-1:], 14, 0)])
    scores = mirror_scores(padded, 2.0)
    assert scores is not None
    assert int(scores.argmax()) == 20


def test_a_course_bends_no_more_than_the_evidence_asks_for_and_is_in_doubt_without_any() -> None:
    unary = np.zeros((5, 21))
    unary[0, 4] = unary[1, 6] = unary[3, 10] = unary[4, 12] = 3.0
    unary[2, 20] = 0.5  # a stray peak, against a straight line through 8
    likely = marginals(unary, 2.0)
    np.testing.assert_allclose(likely.sum(1), 1.0)
    np.testing.assert_allclose(likely @ (2.0 * np.arange(21)), [8.0, 12.0, 16.0, 20.0, 24.0], atol=1.0)
    spread = [np.sqrt(np.cov(2.0 * np.arange(21), aweights=row, ddof=0)) for row in (likely[2], likely[3])]
    assert spread[0] > 1.5 * spread[1]


def test_the_marginals_are_those_of_all_paths_together() -> None:
    """Every path of four landmarks over three places, one by one."""
    rng = np.random.default_rng(2)
    unary, mm = rng.normal(size=(4, 3)) / NATS, 3.0 * np.arange(3)
    expected = np.zeros((4, 3))
    for path in product(range(3), repeat=4):
        at = mm[list(path)]
        score = unary[range(4), path].sum() - BEND * (np.diff(at, 2) ** 2).sum() - TILT * (np.diff(at) ** 2).sum()
        expected[range(4), path] += np.exp(NATS * score)
    np.testing.assert_allclose(marginals(unary, 3.0), expected / expected.sum(1, keepdims=True))
