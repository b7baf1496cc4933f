"""Many inputs, one after the other: each one's files are written whole, and one failure does not stop the rest."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from SpineLandmarksLib.errors import OutputError, SpineLandmarksError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer, predict

#: Endings that come off a file's name; a folder keeps its whole name.
ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".zip", ".dcm", ".ima",
           ".png", ".jpg", ".jpeg", ".tif", ".tiff")  # fmt: skip


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
    failed = []
    for path, stem in zip(inputs, stems(inputs), strict=True):
        try:
            stack, landmarks = predict(path, localizer, spacing_mm, slice_index)
            write_results(stack, landmarks, output, stem, formats)
            print(describe(stack, landmarks, output / stem))
        except (SpineLandmarksError, MemoryError) as error:
            text = str(error) or "Expected enough memory for this study; there is too little"
            failed.append({"input": str(path), "error": text})
            print(f"spine-landmarks: {path}: {text}", file=sys.stderr)
    report_failures(output, failed)
    return 0 if not failed else 2 if len(inputs) == 1 else 1


def prepare_output(output: Path) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
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
    """`failed.json` lists what failed in this run; one of an earlier run does not stay behind."""
    if failed:
        write_text_atomically(output / "failed.json", json.dumps(failed, indent=2) + "\n")
    else:
        (output / "failed.json").unlink(missing_ok=True)


def stems(inputs: Sequence[Path]) -> list[str]:
    """Names of the results: each input's own, with as many parent folders as it takes to tell inputs apart."""
    paths = [path.absolute() for path in inputs]
    names = [_stem(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        if len(set(names)) == len(set(paths)):
            break
        names = ["_".join((*path.parts[1:-1][-depth:], _stem(path))) for path in paths]
    return names


def _stem(path: Path) -> str:
    if path.is_dir():
        return path.name
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)] or path.name
    return path.name


def describe(stack: SagittalStack, landmarks: LandmarkSet, target: Path) -> str:
    """One line for people: what was read, what was found, what to look at."""
    found = sum(not landmark.is_absent for landmark in landmarks)
    least = min((mark for mark in landmarks if mark.confidence is not None), key=lambda mark: mark.confidence or 0.0)
    lines = [
        f"{landmarks.input}: {found} of {len(landmarks)} landmarks on slice {landmarks.slice_index}, "
        f"least sure of {least.name} ({least.confidence:.2f}), {landmarks.runtime_s:.2f} s -> {target}.*"
    ]
    lines += [f"  note: {note}" for note in stack.notes] + [f"  warning: {text}" for text in landmarks.warnings]
    return "\n".join(lines)
