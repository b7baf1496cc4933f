"""The locked hold-out of a data set: patients that no training may see, to judge every later model on.

It is a file:

    DATASET/holdout.json    {"patients": [...], "seed": 0, "locked": "2026-01-31T12:00:00+00:00", "by": "..."}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import Fields, load_json

FILE = "holdout.json"


def locked_patients(folder: Path) -> frozenset[str]:
    """The locked patients of a data set; none where it has no hold-out. Raises FormatError for a damaged file."""
    file = folder / FILE
    if not file.is_file():
        return frozenset()
    return frozenset(str(patient) for patient in Fields.of(load_json(file), str(file)).list("patients"))


def lock(folder: Path, patients: Sequence[str], **said: Any) -> None:
    """Lock patients once and for all. Raises DatasetError where a hold-out is locked already."""
    if (folder / FILE).exists():
        count = len(locked_patients(folder))
        raise DatasetError(
            f"Expected a data set without a hold-out; {folder / FILE} locks {count} patients already. "
            "A hold-out must not change: earlier models were judged on it"
        )
    write_text_atomically(folder / FILE, json.dumps({"patients": sorted(patients), **said}, indent=1) + "\n")


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
