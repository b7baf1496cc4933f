"""Splits by patient: no group on both sides, the same on every machine and for every order of rows.

Groups are ordered by a hash of seed and name rather than by a random generator: the streams of generators may change
between versions, and a new group then leaves the order of the others as it was.

The locked hold-out of a data set, patients that no training may see, to judge every later model on, is a file:

    DATASET/holdout.json    {"patients": [...], "seed": 0, "locked": "2026-01-31T12:00:00+00:00", "by": "..."}
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from hashlib import sha256
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import Fields, load_json

HOLDOUT_FILE = "holdout.json"
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


def weights_of_shares(sizes: Sequence[int], shares: Sequence[float | None]) -> list[float]:
    """A weight for each slice of several data sets, of which some must make up a fixed share of what is drawn.

    Those without a share divide the rest by their sizes.

    >>> weights_of_shares([3, 1], [None, 0.5])
    [1.0, 1.0, 1.0, 3.0]
    """
    fixed = sum(share or 0.0 for share in shares)
    free = sum(size for size, share in zip(sizes, shares, strict=True) if share is None)
    if not 0 <= fixed < 1 or free == 0 or any(share is not None and share < 0 for share in shares):
        raise DatasetError(f"Expected shares from 0 to below 1 in all, and data without a share; got {list(shares)}")
    total = free / (1 - fixed)
    each = [1.0 if share is None else share * total / size for size, share in zip(sizes, shares, strict=True)]
    return [weight for weight, size in zip(each, sizes, strict=True) for _ in range(size)]


def locked_patients(folder: Path) -> frozenset[str]:
    """The locked patients of a data set; none where it has no hold-out. Raises FormatError for a damaged file."""
    file = folder / HOLDOUT_FILE
    if not file.is_file():
        return frozenset()
    return frozenset(str(patient) for patient in Fields.of(load_json(file), str(file)).list("patients"))


def lock(folder: Path, patients: Sequence[str], **said: Any) -> None:
    """Lock patients once and for all. Raises DatasetError where a hold-out is locked already."""
    if (folder / HOLDOUT_FILE).exists():
        count = len(locked_patients(folder))
        raise DatasetError(
            f"Expected a data set without a hold-out; {folder / HOLDOUT_FILE} locks {count} patients already. "
            "A hold-out must not change: earlier models were judged on it"
        )
    write_text_atomically(folder / HOLDOUT_FILE, json.dumps({"patients": sorted(patients), **said}, indent=1) + "\n")


def without_locked(rows: Sequence[Annotation], folder: Path) -> tuple[list[Annotation], str]:
    """The rows that may be learned from, and how many patients were left out, in words ("" for none)."""
    locked = locked_patients(folder)
    left_out = {row.group for row in rows} & locked
    words = f", without {len(left_out)} locked patients" if left_out else ""
    return [row for row in rows if row.group not in locked], words


def only_locked(rows: Sequence[Annotation], folder: Path) -> list[Annotation]:
    """The rows of the locked patients. Raises DatasetError where there are none."""
    locked = locked_patients(folder)
    found = [row for row in rows if row.group in locked]
    if not found:
        raise DatasetError(
            f"Expected annotated slices of locked patients in {folder}; got none of {len(locked)}. "
            "Lock some with: spine-landmarks dataset split, and sign off their landmarks"
        )
    return found


def refuse_locked(rows: Sequence[Annotation]) -> None:
    """Raise DatasetError when rows to be learned from are of locked patients, whichever way they came."""
    locks = {folder: locked_patients(folder) for row in rows for folder in row.image.parents[:2]}
    found = {row.group for row in rows if any(row.group in locks[folder] for folder in row.image.parents[:2])}
    if found:
        raise DatasetError(
            f"Expected nothing of the locked hold-out to learn from; got {len(found)} of its patients: "
            f"{', '.join(sorted(found)[:5])}"
        )


def split_dataset(
    options: argparse.Namespace, dataset: Path, schema: tuple[str, ...]
) -> tuple[list[Annotation], list[Annotation], str]:
    """(rows to learn from, rows to judge, the split in words); both are all rows when nothing is held out.

    The patients of a locked hold-out are in neither, unless `options.locked` asks to judge them alone.
    """
    rows = load_annotations([dataset], schema)
    if getattr(options, "locked", False):
        judge_alone = only_locked(rows, dataset)
        return [], judge_alone, f"the locked hold-out of {len({row.group for row in judge_alone})} patients"
    rows, locked_out = without_locked(rows, dataset)
    groups = [row.group for row in rows]
    seed = f"split seed {options.split_seed}{locked_out}"
    if options.fold is not None:
        number, folds = options.fold
        learn, judge = split_by_group(groups, folds, options.split_seed)[number - 1]
        words = f"fold {number} of {folds} of {len(set(groups))} patients, {seed}"
    elif options.holdout is not None:
        learn, judge = holdout(groups, options.holdout, options.split_seed)
        words = f"{options.holdout} held-out patients of {len(set(groups))}, {seed}"
    else:
        return rows, rows, f"all slices{locked_out}"
    return [rows[i] for i in learn], [rows[i] for i in judge], words


def refuse_shared(learned: Mapping[Path, Sequence[Annotation]], judge: Mapping[Path, Collection[str]]) -> None:
    """Raise DatasetError when a patient that judges the result is learned from under the same number elsewhere.

    learned: the rows of each data set that are learned from. judge: the patients of it that judge, beside its locked.
    """
    patients = {folder: {row.group for row in rows} for folder, rows in learned.items()}
    judges = {folder: locked_patients(folder) | set(judge.get(folder, ())) for folder in learned}
    for folder, other in permutations(learned, 2):
        shared = sorted(patients[folder] & judges[other])
        if shared:
            raise DatasetError(
                f"Expected patients that judge the result to be learned from nowhere; {', '.join(shared[:5])} "
                f"({len(shared)} in all), held out of {other.name}, are also in {folder.name}. Lock them there too; if "
                "equal numbers in the two are other people, say so with --separate-patients"
            )


def refuse_repeated(folders: Sequence[Path]) -> None:
    """Raise DatasetError for a data set that is named twice: what its split holds out would be learned from."""
    resolved = [folder.resolve() for folder in folders]
    twice = next((folder for folder, at in zip(folders, resolved, strict=True) if resolved.count(at) > 1), None)
    if twice is not None:
        raise DatasetError(f"Expected each data set once; got {twice} more than once. Give more data sets as --extra")


def load_extra(extra: Sequence[tuple[Path, float | None]], schema: tuple[str, ...]) -> dict[Path, list[Annotation]]:
    """The slices of every extra data set that may be learned from."""
    return {folder: without_locked(load_annotations([folder], schema), folder)[0] for folder, _ in extra}


def with_extra(
    data: list[Annotation],
    extra: Sequence[tuple[Path, float | None]],
    schema: tuple[str, ...],
    loaded: Mapping[Path, list[Annotation]] | None = None,
) -> tuple[list[Annotation], list[float]]:
    """`data` followed by the slices of every extra data set, and how often each slice is drawn.

    loaded: what `load_extra` gave, where it has been asked already.
    """
    more = loaded if loaded is not None else load_extra(extra, schema)
    parts = [data, *(more[folder] for folder, _ in extra)]
    weight = weights_of_shares([len(part) for part in parts], [None, *(share for _, share in extra)])
    return [row for part in parts for row in part], weight
