"""What every reader hands over before the stack is turned upright, and the guard that all readers stand behind."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import warnings as python_warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import InputError, SpineLandmarksError
from SpineLandmarksLib.geometry import Matrix

#: A slice needs at least this many pixels a side to show a spine, and no MRI has more than this many.
MIN_SIDE, MAX_SIDE = 32, 8192
#: 2 GiB as float32: well above any lumbar MRI, and below what a small machine can hold.
MAX_VOXELS = 2**29


@dataclass(frozen=True)
class Volume:
    """An image as its file has it: voxels (I, J, K) float32, ras_from_ijk (4, 4) in mm.

    A picture has no `ras_from_ijk` when its spacing is unknown, and no patient frame in either case; it then has
    K = 1, i to the back and j to the feet already. origins_ras_mm: (K, 3) where voxel (0, 0, k)
    lies, when that is not where the matrix has it. The other fields are those of SagittalStack.
    """

    voxels: NDArray[np.float32]
    ras_from_ijk: Matrix | None
    origins_ras_mm: NDArray[np.float64] | None = None
    series_uid: str | None = None
    has_patient_frame: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    needs_review: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    alternatives: tuple[Volume, ...] = ()
    companions: tuple[Volume, ...] = ()


def check_size(shape: Sequence[int], name: str) -> None:
    """Raise InputError when a size that a header states is impossible; called before any pixel is read."""
    sides = [int(side) for side in shape]
    text = " x ".join(map(str, sides))
    if min(sides) < 1 or max(sides) > MAX_SIDE:
        raise InputError(f"Expected slices of {MIN_SIDE} to {MAX_SIDE} pixels a side; got {text} in {name}")
    if np.prod(sides, dtype=float) > MAX_VOXELS:
        raise InputError(f"Expected at most {MAX_VOXELS} voxels; got {text} in {name}")


def one_line(error: object, length: int = 200) -> str:
    """The message of a library's error without line breaks, cut to `length` characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= length else text[: length - 3] + "..."


@contextmanager
def reading(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a reading library raises in the block into one InputError, and keep its warnings to ourselves.

    The libraries raise some forty different things on damaged bytes (struct.error, zlib.error, KeyError, ...), so
    everything that is not our own error is caught here, and only around their calls.
    """
    try:
        with python_warnings.catch_warnings():
            python_warnings.simplefilter("ignore")
            yield
    except (SpineLandmarksError, ImportError):  # a missing library is not the file's fault
        raise
    except PermissionError as error:
        raise InputError(f"Expected a readable file; the system denies reading {path}") from error
    except MemoryError as error:
        raise InputError(f"Expected {expected} that fits into memory; got {path.name}") from error
    except Exception as error:
        raise InputError(f"Expected {expected}; {path.name} is damaged or not one: {one_line(error)}") from error


_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def native_stderr(said: list[str]) -> Iterator[None]:
    """Put into `said` the lines that C libraries write to stderr, past Python, while the block runs.

    Another thread's own lines, which begin with the program's name, are handed on.
    """
    with _ONE_AT_A_TIME, tempfile.TemporaryFile() as kept:
        try:
            stderr = os.dup(2)
        except OSError:  # a program without one
            yield
            return
        os.dup2(kept.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            kept.seek(0)
            for line in kept.read().decode(errors="replace").splitlines():
                if line.startswith("spine-landmarks:"):
                    print(line, file=sys.stderr)
                else:
                    said.append(line.strip())


def trailing_ones_dropped(shape: Sequence[int], name: str) -> tuple[int, int, int]:
    """The shape as three sides: missing ones are 1; a fourth and later may only be 1. Raises InputError otherwise."""
    sides = [int(side) for side in shape]
    if any(side != 1 for side in sides[3:]):
        text = " x ".join(map(str, sides))
        raise InputError(f"Expected one 3-D image; got {len(sides)}-D, {text}, in {name}. Save one of its images alone")
    i, j, k = (*sides[:3], 1, 1, 1)[:3]
    return i, j, k


def metadata_text(values: dict[str, Any]) -> dict[str, str]:
    """The values that are there, as text."""
    return {key: str(value) for key, value in values.items() if value not in (None, "", ())}
