"""Many inputs, one after the other: each one's files are written whole, and one failure does not stop the rest."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

from SpineLandmarksLib.errors import OutputError, SpineLandmarksError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer, predict, printable

#: Endings that come off a file's name; a folder keeps its whole name.
ENDINGS = (".nii.gz", ".nii", ".hdr", ".img", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgh.gz", ".mgh", ".mgz", ".zip",
           ".dcm", ".ima", ".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")  # fmt: skip
FAILED = "failed"


def predict_all(
    inputs: Sequence[Path],
    localizer: Localizer,
    output: Path,
    formats: Sequence[str],
    spacing_mm: float | tuple[float, float] | None = None,
    slice_index: int | None = None,
) -> int:
    """Predict each input into `output`. Returns 0, 1 when some of several failed, or 2 when the only one did."""
    prepare_output(output)
    failed: list[dict[str, str]] = []
    try:
        for path, stem in zip(inputs, stems(inputs), strict=True):
            try:
                stack, landmarks = predict(path, localizer, spacing_mm, slice_index)
                write_results(stack, landmarks, output, stem, formats)
            except Exception as error:
                failed.append({"input": printable(path), **explain(error)})
                print(f"spine-landmarks: {printable(path)}: {failed[-1]['error']}", file=sys.stderr)
            else:
                print(describe(stack, landmarks, output / stem))
    finally:  # also when the user interrupts
        report_failures(output, failed)
    if len(inputs) > 1:
        seen = f"; failures in {output / FAILED}.json" if failed else ""
        print(f"{len(inputs) - len(failed)} of {len(inputs)} studies localized{seen}")
    return 0 if not failed else 2 if len(inputs) == 1 else 1


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


def write_results(
    stack: SagittalStack, landmarks: LandmarkSet, output: Path, stem: str, formats: Sequence[str]
) -> list[Path]:
    """`stem`.<format> for each format, and `stem`.overlay.png to check them by."""
    files = [output / f"{stem}.{name}" for name in formats]
    for name, file in zip(formats, files, strict=True):
        FORMATS[name](landmarks, file)
    picture = output / f"{stem}.overlay.png"
    assert landmarks.slice_index is not None
    draw_overlay(stack.voxels[landmarks.slice_index], landmarks, picture)
    return [*files, picture]


def report_failures(output: Path, failed: list[dict[str, str]]) -> None:
    """`failed.json` lists what failed in this run."""
    if failed:
        write_text_atomically(output / f"{FAILED}.json", json.dumps(failed, indent=2) + "\n")


def stems(inputs: Sequence[Path]) -> list[str]:
    """Names of the results: each input's own, with as many parent folders as it takes to tell inputs apart.

    Where folders do not do it (`a.nii` beside `a.png`), a number does. Names that differ in case alone are one name
    on many disks, and `failed` belongs to the list of failures.
    """
    paths = [Path(os.path.abspath(path)) for path in inputs]
    names = [_stem(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        if len({name.casefold() for name in names}) == len(set(paths)):
            break
        names = ["_".join((*path.parts[1:-1][-depth:], _stem(path))) for path in paths]
    given: dict[Path, str] = {}
    taken = {FAILED}
    for path, name in zip(paths, names, strict=True):
        if path not in given:
            given[path] = next(n for n in _numbered(name) if n.casefold() not in taken)
            taken.add(given[path].casefold())
    return [given[path] for path in paths]


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _stem(path: Path) -> str:
    name = printable(path.name)
    if not path.is_dir():
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
        name = name[: len(name) - len(ending)] or name
    return name or "study"  # the root of a disk has no name


def describe(stack: SagittalStack, landmarks: LandmarkSet, target: Path) -> str:
    """One line for people: what was read, what was found, what to look at."""
    found = sum(not landmark.is_absent for landmark in landmarks)
    sure = [(mark.confidence, mark.name) for mark in landmarks if mark.confidence is not None]
    least = "least sure of {1} ({0:.2f}), ".format(*min(sure)) if sure else ""
    time = f"{landmarks.runtime_s:.2f} s " if landmarks.runtime_s is not None else ""
    lines = [
        f"{landmarks.input}: {found} of {len(landmarks)} landmarks on slice {landmarks.slice_index}, "
        f"{least}{time}-> {target}.*"
    ]
    lines += [f"  note: {note}" for note in stack.notes] + [f"  warning: {text}" for text in landmarks.warnings]
    return "\n".join(lines)
