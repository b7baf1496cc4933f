"""Which level a predicted point lies on: single points on a neighbour, and whole chains off by one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.evaluation.predictions import Bools, Floats, Predictions

#: A whole chain is looked for up to this many landmarks up or down: two levels, as body and disc alternate.
MAX_STEPS = 4


def shifted(predictions: Predictions) -> Bools:
    """(N, L): a point with truth and prediction that is nearer, in mm, to another landmark's truth than to its own."""
    return _nearer_elsewhere(predictions, np.ones((len(predictions.names),) * 2, dtype=np.bool_))


def shifted_within_kind(predictions: Predictions) -> Bools:
    """(N, L): like `shifted`, among landmarks of one kind only: a body on another body, a disc on another disc.

    A body centre put on the disc beside it is half a level off; it counts in `shifted` and not here.
    """
    is_disc = np.array(["-" in name for name in predictions.names], dtype=np.bool_)
    return _nearer_elsewhere(predictions, is_disc[:, None] == is_disc[None, :])


def _nearer_elsewhere(predictions: Predictions, comparable: Bools) -> Bools:
    others = comparable & ~np.eye(len(predictions.names), dtype=np.bool_)
    distance = np.where(others & ~np.isnan(predictions.distance_mm), predictions.distance_mm, np.inf)
    nearest_other = distance.min(axis=2, initial=np.inf)
    return np.asarray(predictions.counted & (nearest_other < predictions.error_mm))


def chain_shifts(predictions: Predictions) -> NDArray[np.int64]:
    """(N,): landmarks by which the chain as a whole is off; 0 = in place, 2 = one level towards the feet.

    That is the k in -4..4 with the least median distance from prediction l to the truth of l + k, over the points
    where both are there. At least two points, and half of those that could be compared at k = 0, must take part.
    """
    count = len(predictions.names)
    most = min(MAX_STEPS, count - 1)
    steps = sorted(range(-most, most + 1), key=abs)  # 0 first, so that it wins a tie
    needed = np.maximum(predictions.counted.sum(axis=1) / 2, 2)
    misfit = np.stack([_misfit(predictions.distance_mm, step, needed) for step in steps], axis=1)
    return np.asarray(np.array(steps, dtype=np.int64)[misfit.argmin(axis=1)])


def _misfit(distance_mm: Floats, step: int, needed: Floats) -> Floats:
    """(N,): median distance from prediction l to truth l + step; inf where too few points can be compared."""
    along = np.diagonal(distance_mm, offset=step, axis1=1, axis2=2)
    misfit = np.full(len(along), np.inf)
    enough = np.isfinite(along).sum(axis=1) >= needed
    misfit[enough] = np.nanmedian(along[enough], axis=1)
    return misfit


def describe_shift(step: int, names: Sequence[str]) -> str:
    """One line for a reader. Levels are named where body and disc alternate, so that two landmarks are one level.

    >>> describe_shift(-2, ("L1", "L1-L2", "L2"))
    '1 level towards the head'
    """
    if step == 0:
        return "in place"
    alternating = all(("-" in a) != ("-" in b) for a, b in pairwise(names))
    size, word = (abs(step) / 2, "level") if alternating else (float(abs(step)), "landmark")
    return f"{size:g} {word}{'' if size == 1 else 's'} towards the {'feet' if step > 0 else 'head'}"
