"""What came of one study, its files, and what becomes of those of an earlier run."""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from SpineLandmarksLib.batch.names import FAILED, BatchItem
from SpineLandmarksLib.errors import OutputError, SpineLandmarksError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet

OVERLAY = "overlay.png"
#: Ending of results that no longer hold: nothing that looks for results finds them, and nothing is lost.
STALE = ".stale"


@dataclass(frozen=True)
class Outcome:
    """What came of a study: files that can be written, or an error.

    headline, remarks: for people. row: of the summary. write: writes all files into a folder. error: the entry of
    `failed.json`.
    """

    study: BatchItem
    headline: str = ""
    remarks: tuple[str, ...] = ()
    row: dict[str, Any] = field(default_factory=dict)
    write: Callable[[Path], object] | None = None
    error: dict[str, str] | None = None


def outcome_of(study: BatchItem, stack: SagittalStack, landmarks: LandmarkSet, formats: Sequence[str]) -> Outcome:
    """The outcome of a study that went well."""
    return Outcome(
        study,
        headline(landmarks),
        remarks(stack, landmarks),
        row_of(landmarks),
        lambda folder: write_results(stack, landmarks, folder, study.stem, formats),
    )


def explain(error: Exception) -> dict[str, str]:
    """The entry of `failed.json`: one line, and for a fault of the program the details that a report of it needs."""
    if isinstance(error, SpineLandmarksError):
        return {"error": str(error)}
    if isinstance(error, MemoryError):
        return {"error": f"Expected enough memory for this study; there is too little. {error}".strip()}
    text = " ".join(f"{type(error).__name__}: {error}".split())
    details = "".join(traceback.format_exception(error))
    return {"error": f"Unexpected {text}. This is a fault of the program; please report it", "details": details}


def prepare_output(output: Path) -> None:
    """Make the folder, and take away an earlier run's list of failures: this run has not failed anywhere yet."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / f"{FAILED}.json").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Expected a folder that can be made at {output}; got: {error.strerror}") from error


def result_files(stem: str, formats: Sequence[str]) -> list[str]:
    """Names of a study's files."""
    return [f"{stem}.{name}" for name in (*formats, OVERLAY)]


def write_results(
    stack: SagittalStack, landmarks: LandmarkSet, output: Path, stem: str, formats: Sequence[str]
) -> list[Path]:
    """`stem`.<format> for each format, and `stem`.overlay.png to check them by."""
    files = [output / name for name in result_files(stem, formats)]
    for name, file in zip(formats, files, strict=False):
        FORMATS[name](landmarks, file)
    assert landmarks.slice_index is not None
    draw_overlay(stack.voxels[landmarks.slice_index], landmarks, files[-1])
    return files


def put_aside(output: Path, stem: str) -> None:
    """Rename an earlier run's files of this stem, in any format, so that they do not look current. Raises OSError."""
    for name in result_files(stem, tuple(FORMATS)):
        with contextlib.suppress(FileNotFoundError):
            os.replace(output / name, output / (name + STALE))


def drop_stale(output: Path, stem: str, formats: Sequence[str]) -> None:
    """Remove what was put aside, once there are new results in its place."""
    for name in result_files(stem, formats):
        (output / (name + STALE)).unlink(missing_ok=True)


def result_text(stack: SagittalStack, landmarks: LandmarkSet, target: Path) -> str:
    """Lines for people: what was read, what was found, what to look at, and where it was written."""
    return in_lines(headline(landmarks), target, remarks(stack, landmarks))


def in_lines(headline: str, target: Path, remarks: Sequence[str]) -> str:
    return "\n".join([f"{headline}-> {target}.*", *remarks])


def headline(landmarks: LandmarkSet) -> str:
    found = sum(not landmark.is_absent for landmark in landmarks)
    sure = [(mark.confidence, mark.name) for mark in landmarks if mark.confidence is not None]
    least = "least sure of {1} ({0:.2f}), ".format(*min(sure)) if sure else ""
    time = f"{landmarks.runtime_s:.2f} s " if landmarks.runtime_s is not None else ""
    return f"{landmarks.input}: {found} of {len(landmarks)} landmarks on slice {landmarks.slice_index}, {least}{time}"


def remarks(stack: SagittalStack, landmarks: LandmarkSet) -> tuple[str, ...]:
    return (*(f"  note: {note}" for note in stack.notes), *(f"  warning: {text}" for text in landmarks.warnings))


def row_of(landmarks: LandmarkSet) -> dict[str, Any]:
    """What the summary says of a study, besides its name, input and status."""
    sure = [(mark.confidence, mark.name) for mark in landmarks if mark.confidence is not None]
    return {
        "slice_index": landmarks.slice_index,
        "landmarks": sum(not mark.is_absent for mark in landmarks),
        "least_sure": min(sure)[1] if sure else None,
        "confidence": round(min(sure)[0], 4) if sure else None,
        "needs_review": landmarks.needs_review,
        "warnings": "; ".join(landmarks.warnings),
        "runtime_s": None if landmarks.runtime_s is None else round(landmarks.runtime_s, 3),
    }
