"""Splits by patient: no group on both sides, the same on every machine and for every order of rows.

Groups are ordered by a hash of seed and name rather than by a random generator: the streams of generators may change
between versions, and a new group then leaves the order of the others as it was.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError

Split = tuple[NDArray[np.intp], NDArray[np.intp]]


def split_by_group(groups: Sequence[str], folds: int, seed: int) -> list[Split]:
    """(train rows, test rows) of each fold, ascending; every row is in the test rows of exactly one fold.

    groups: (N,) patient or study of each row. Folds have nearly the same number of rows: the largest groups are dealt
    first, each to the fold that is smallest so far. Raises DatasetError when there are fewer groups than folds.
    """
    sizes = Counter(str(group) for group in groups)
    if not 2 <= folds <= len(sizes):
        raise DatasetError(f"Expected 2 folds or more and at most one a group; got {folds} folds, {len(sizes)} groups")
    dealt: list[list[str]] = [[] for _ in range(folds)]
    filled = [(0, 0, fold) for fold in range(folds)]  # rows, groups, fold
    for group in sorted(_shuffled(sizes, seed), key=lambda name: -sizes[name]):
        rows, members, fold = min(filled)
        filled[fold] = (rows + sizes[group], members + 1, fold)
        dealt[fold].append(group)
    return [_split(groups, members) for members in dealt]


def holdout(groups: Sequence[str], count: int, seed: int) -> Split:
    """(train rows, held-out rows), ascending, with `count` groups held out. Raises DatasetError when no group
    would stay to train on.
    """
    names = {str(group) for group in groups}
    if not 1 <= count < len(names):
        raise DatasetError(f"Expected to hold out 1 to {len(names) - 1} of {len(names)} groups; got {count}")
    return _split(groups, _shuffled(names, seed)[:count])


def _shuffled(names: Iterable[str], seed: int) -> list[str]:
    return sorted(names, key=lambda name: sha256(f"{seed}/{name}".encode()).digest())


def _split(groups: Sequence[str], held_out: Iterable[str]) -> Split:
    test = np.isin(np.array([str(group) for group in groups]), list(held_out))
    return np.flatnonzero(~test), np.flatnonzero(test)
