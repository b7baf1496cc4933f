"""How far beside the chosen slice each landmark lies: where its surroundings are their own mirror image.

    S(z) = sum over d of [rho(z - d, z + d) - mean over z of rho(z - d, z + d)] / sqrt(number of d)
    P(z_1..z_L) ~ exp c * [sum_l S_l(z_l) - b * sum_l (z_l-1 - 2 z_l + z_l+1)^2 - t * sum_l (z_l - z_l-1)^2]

rho is the correlation of two slices in a window about the landmark, from in front of the body to behind the spinous
process. Bodies look much alike over their width, and a detector of sagittal slices sees them on all of it; what lies
behind them (canal, laminae, facets, spinous process) comes in pairs and tells the middle to a millimetre or two. The
mean of each landmark's marginal is its place, the standard deviation its doubt, both exact by dynamic programming over
pairs of neighbours, so that a scoliotic spine is followed. Windows are sheared along the course that was found, and it
is found again: in a bow, rows of one window have their middles millimetres apart. numpy only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.imaging.stack import SagittalStack

Array = NDArray[np.float64]

#: The window about a landmark, mm: in front and behind, above and below.
FRONT_MM, BEHIND_MM, HALF_HEIGHT_MM = 20.0, 55.0, 14.0
#: Pixels in the window are averaged to about this, and slices interpolated to it, mm.
STEP_MM = 2.0
#: Slices are compared at these distances from each other, mm: nearer ones are alike anywhere, farther ones nowhere.
PAIR_MM = (8.0, 36.0)
#: A place is judged by this many pairs of slices or not at all.
MIN_PAIRS = 4
#: Neighbouring slices more alike than this are copies, as at the rim of a resampled volume, and tell nothing.
SAME = 0.9999
#: Cost of a bend between three neighbours and of a step between two, per mm^2, and what a unit of score is worth, nats:
#: likeliest of 0.0025 to 0.02, 0.0005 to 0.002 and 2 to 8 on phantoms 3000 to 3013 bowed by up to 30 mm either way.
BEND, TILT, NATS = 0.0025, 0.0005, 6.0
#: Off the middle of the stack this much costs half a unit, mm.
MIDDLE_SD_MM = 30.0
#: How often the course is found, the windows sheared along the one before.
PASSES = 2


@dataclass(frozen=True)
class LateralCurve:
    """at: (L,) slice coordinates, between slices. sd_mm: (L,) their standard deviation."""

    at: Array
    sd_mm: Array


def lateral_curve(stack: SagittalStack, points_xy: Array) -> LateralCurve | None:
    """Where across the stack the middle of each landmark lies.

    Args:
        stack: upright sagittal slices.
        points_xy: (L, 2) native pixels in the slice plane, nan where a landmark is not in view.

    Returns:
        Places and doubt, of those out of view too; None without spacing, with too few slices for any pair, or with
        fewer than three known points.
    """
    known = np.flatnonzero(np.isfinite(points_xy).all(1))
    pixel_mm = stack.pixel_spacing_mm
    if len(known) < 3 or pixel_mm is None:
        return None
    voxels, index, slice_mm = _evenly_spaced(stack)
    every = max(1, int(STEP_MM / slice_mm))  # of thin slices some are enough
    some = voxels[::every]
    xy = points_xy[known]
    course_mm = np.zeros(len(known))
    for _ in range(PASSES):
        offsets = [
            np.interp(_rows_of(at, pixel_mm), xy[:, 1], course_mm - here)
            for at, here in zip(xy, course_mm, strict=True)
        ]
        windows = [window(some, pixel_mm, at, off / slice_mm / every) for at, off in zip(xy, offsets, strict=True)]
        scores = [mirror_scores(one, slice_mm * every) for one in windows]
        if any(score is None for score in scores):
            return None
        course_mm, sd_mm = _course(np.stack([score for score in scores if score is not None]))
    every_row, at = np.arange(len(points_xy)), np.interp(course_mm / slice_mm, np.arange(len(index)), index)
    return LateralCurve(np.interp(every_row, known, at), np.interp(every_row, known, sd_mm))


def _evenly_spaced(stack: SagittalStack) -> tuple[NDArray[np.float32], Array, float]:
    """Slices (K, H, W), the slice coordinates (K,) they lie at, and their distance in mm.

    A gap is filled: mirrored by index, slices beside it would be compared with others than their counterparts.
    """
    index, slice_mm = np.arange(len(stack), dtype=float), stack.slice_spacing_mm or 0.0
    if stack.ras_from_ijk is None or stack.origins_ras_mm is None:
        return stack.voxels, index, slice_mm
    place_mm = (stack.origins_ras_mm - stack.origins_ras_mm[0]) @ stack.ras_from_ijk[:3, 2] / slice_mm
    step_mm = max(float(np.median(np.diff(place_mm))), place_mm[-1] / (3 * len(stack)))  # no more than can be held
    index = np.interp(np.arange(0.0, place_mm[-1] + step_mm / 2, step_mm), place_mm, index)
    below = np.minimum(index.astype(int), len(stack) - 2)
    share = (index - below).astype(np.float32)[:, None, None]
    return stack.voxels[below] * (1 - share) + stack.voxels[below + 1] * share, index, step_mm


def _course(unary: Array) -> tuple[Array, Array]:
    """(L,) mean and standard deviation across the stack, mm, from the scores (L, Z) of `mirror_scores`."""
    place_mm = np.arange(unary.shape[1]) * STEP_MM / 2
    unary = unary - 0.5 * ((place_mm - place_mm[-1] / 2) / MIDDLE_SD_MM) ** 2
    likely, place_mm = marginals(unary[:, ::2], STEP_MM), place_mm[::2]
    mean = likely @ place_mm
    return mean, np.sqrt((likely * (place_mm - mean[:, None]) ** 2).sum(1))


def _rows_of(xy: Array, spacing_mm: Sequence[float]) -> Array:
    dy = spacing_mm[1]
    return np.arange(xy[1] - HALF_HEIGHT_MM / dy, xy[1] + HALF_HEIGHT_MM / dy, max(1.0, STEP_MM / dy))


def window(voxels: NDArray[np.float32], spacing_mm: Sequence[float], xy: Array, offset: Array | float = 0.0) -> Array:
    """(K, P) the surroundings of a point on each slice, means over about `STEP_MM`; the picture's rim is repeated.

    offset: of each row, by how many slices it is taken from farther on.
    """
    dx = spacing_mm[0]
    columns = np.arange(xy[0] - FRONT_MM / dx, xy[0] + BEHIND_MM / dx, max(1.0, STEP_MM / dx))
    rows = _rows_of(xy, spacing_mm)
    part = _block_means(voxels, np.rint(rows).astype(int), np.rint(columns).astype(int))
    return _shifted(part, np.broadcast_to(offset, len(rows))).reshape(len(voxels), -1)


def _shifted(part: Array, offset: Array) -> Array:
    """(K, R, C), each row taken from `offset` (R,) slices farther on; the outermost slices are repeated."""
    last, row = len(part) - 1, np.arange(part.shape[1])
    at = np.clip(np.arange(len(part))[:, None] + offset, 0, last)
    below = np.minimum(at.astype(int), max(last - 1, 0))
    share = (at - below)[..., None]
    return np.asarray(part[below, row] * (1 - share) + part[np.minimum(below + 1, last), row] * share)


def mirror_scores(slices: Array, slice_spacing_mm: float) -> Array | None:
    """(Z,) S(z) every half `STEP_MM` across the stack, -9 where too few pairs lie about a place; None if nowhere.

    slices: (K, P) the same window on every slice.
    """
    extent_mm = (len(slices) - 1) * slice_spacing_mm
    at = np.arange(0.0, extent_mm + 1e-6, STEP_MM) / slice_spacing_mm
    if len(at) < 2:
        return None
    below = np.minimum(at.astype(int), len(slices) - 2)
    share = (at - below)[:, None]
    unit = _standardized(slices[below] * (1 - share) + slices[below + 1] * share)
    first, second = np.triu_indices(len(at), 1)
    apart_mm = (second - first) * STEP_MM
    own = ~_copies(slices)[np.rint(at).astype(int)]
    use = (apart_mm >= PAIR_MM[0]) & (apart_mm <= PAIR_MM[1]) & own[first] & own[second]
    first, second = first[use], second[use]
    table = np.full((2 * len(at) - 1, len(at)), np.nan)
    table[first + second, second - first] = (unit @ unit.T)[first, second]
    pairs = np.isfinite(table).sum(1)
    usual = np.nansum(table, 0) / np.maximum(np.isfinite(table).sum(0), 1)
    enough = pairs >= MIN_PAIRS
    if not enough.any():
        return None
    return np.where(enough, np.nansum(table - usual, 1) / np.sqrt(np.maximum(pairs, 1)), -9.0)


def _standardized(rows: Array) -> Array:
    """Rows of mean 0 and length 1, so that their products are correlations."""
    centred = rows - rows.mean(1, keepdims=True)
    return np.asarray(centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9))


def _copies(slices: Array) -> NDArray[np.bool_]:
    """(K,) slices that are copies of a neighbour."""
    unit = _standardized(slices)
    same = (unit[:-1] * unit[1:]).sum(1) > SAME
    return np.asarray(np.r_[same, False] | np.r_[False, same])


def marginals(unary: Array, step_mm: float) -> Array:
    """(L, Z) probability of each place of each landmark given all scores (L, Z), L at least 2, step_mm apart."""
    count, places = unary.shape
    mm = np.arange(places) * step_mm
    tilt = np.exp(-NATS * TILT * (mm[:, None] - mm) ** 2)
    bend = np.exp(-NATS * BEND * (mm[:, None, None] - 2 * mm[None, :, None] + mm) ** 2)
    own = np.exp(NATS * (unary - unary.max(1, keepdims=True)))
    ahead = [own[0][:, None] * own[1] * tilt]  # (Z, Z): of the last two landmarks, by what stands before them
    for row in range(2, count):
        ahead.append(_scaled(np.einsum("ij,ijk->jk", ahead[-1], bend) * own[row] * tilt))
    pairs, back = ahead[-1:], np.ones((places, places))
    for row in range(count - 1, 1, -1):
        back = _scaled(np.einsum("jk,ijk->ij", back * own[row] * tilt, bend))
        pairs.append(ahead[row - 2] * back)
    found = np.stack([pairs[-1].sum(1), *(pair.sum(0) for pair in pairs[::-1])])
    return np.asarray(found / found.sum(1, keepdims=True))


def _scaled(values: Array) -> Array:
    return np.asarray(values / values.max())


def _block_means(voxels: NDArray[np.float32], rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Array:
    """(K, R, C) means of the blocks that begin at the rows and columns, the picture's rim repeated beyond it."""
    high, wide = (max(1, int(np.median(np.diff(at)))) for at in (rows, columns))
    total = np.zeros((len(voxels), len(rows), len(columns)))
    for i in range(high):
        for j in range(wide):
            at_rows = np.clip(rows + i, 0, voxels.shape[1] - 1)
            at_columns = np.clip(columns + j, 0, voxels.shape[2] - 1)
            total += voxels[:, at_rows[:, None], at_columns]
    return total / (high * wide)
