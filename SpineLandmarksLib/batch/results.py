"""What came of one study, what its files are called, and what becomes of those of an earlier run."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.measurements import measure, write_measurements, write_measurements_json
from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.batch.study_report import key_figures, write_report_html, write_report_pdf
from SpineLandmarksLib.errors import InputError, OutputError, SpineLandmarksError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.atomic import drop_left_over
from SpineLandmarksLib.formats.dicom_capture import write_capture
from SpineLandmarksLib.formats.dicom_sr import write_sr
from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.imaging.dicom_source import image_planes
from SpineLandmarksLib.imaging.discover import PICTURES, VOLUMES, find_studies
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import printable

#: Endings that come off a file's name; a folder keeps its whole name.
ENDINGS = (*VOLUMES, *PICTURES, ".img", ".dcm", ".ima")
#: Names of a run's own lists, which no study may have.
FAILED, SUMMARY = "failed", "summary"
#: Bytes of a stem: with `.overlay.png` and the like it must stay below the 255 that most disks allow.
MAX_BYTES = 200


@dataclass(frozen=True)
class BatchItem:
    """An input and the stem of its result files. name: what people know it by, where its path says nothing."""

    path: Path
    stem: str
    name: str = ""

    @property
    def label(self) -> str:
        """What results and messages call it."""
        return self.name or printable(self.path)


def named(inputs: Sequence[Path], known_as: str = "") -> list[BatchItem]:
    """Each input as a study."""
    return [BatchItem(path, stem, known_as) for path, stem in zip(inputs, stems(inputs), strict=True)]


def found_in(roots: Sequence[Path], with_pictures: bool, output: Path) -> list[BatchItem]:
    """The studies in trees, named after their folders below the root, as `patient_study`. InputError without any."""
    names: dict[Path, str] = {}
    for root in roots:
        for path in find_studies(root, with_pictures, but_not=output):
            below = path.relative_to(root).parts[:-1] if path != root else ()
            parts = (*([root.name] if len(roots) > 1 and path != root else []), *below, _stem(path))
            names.setdefault(path, "_".join(printable(part) for part in parts))
    if not names:
        pictures = "" if with_pictures else "; with --spacing, pictures count too"
        raise InputError(f"Expected DICOM folders or image files in {', '.join(map(str, roots))}; found none{pictures}")
    return [BatchItem(path, stem) for path, stem in zip(names, _unlike(names.values()), strict=True)]


def stems(inputs: Sequence[Path]) -> list[str]:
    """Names of the results: each input's own, with as many parent folders as it takes to tell inputs apart.

    Where folders do not do it (`a.nii` beside `a.png`), a number does. Names that differ in case alone are one name
    on many disks, and `failed` and `summary` belong to the lists of a run.
    """
    paths = [Path(os.path.abspath(path)) for path in inputs]
    names = [_stem(path) for path in paths]
    for depth in range(1, max(len(path.parts) for path in paths)):
        if len({name.casefold() for name in names}) == len(set(paths)):
            break
        names = ["_".join((*path.parts[1:-1][-depth:], _stem(path))) for path in paths]
    once = list(dict.fromkeys(zip(paths, names, strict=True)))
    unlike = dict(zip(once, _unlike(name for _, name in once), strict=True))
    return [unlike[pair] for pair in zip(paths, names, strict=True)]


def _unlike(names: Iterable[str]) -> Iterator[str]:
    """Each name, with a number where an earlier one is the same but for case."""
    taken = {FAILED, SUMMARY}
    for name in names:
        name = next(n for n in _numbered(_short(name)) if n.casefold() not in taken)
        taken.add(name.casefold())
        yield name


def _numbered(name: str) -> Iterator[str]:
    yield name
    yield from (f"{name}-{number}" for number in count(2))


def _short(name: str) -> str:
    """The end of a name that is too long, and a hash of the whole in place of the beginning."""
    data = name.encode()
    if len(data) <= MAX_BYTES:
        return name
    return f"{hashlib.sha256(data).hexdigest()[:12]}_{data[-MAX_BYTES + 20 :].decode(errors='ignore')}"


def _stem(path: Path) -> str:
    name = printable(path.name)
    if not path.is_dir():
        ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), "")
        name = name[: len(name) - len(ending)] or name
    is_device = re.match(r"(con|prn|aux|nul|com\d|lpt\d)\s*(\.|$)", name, re.IGNORECASE)  # to Windows, with any ending
    return f"study_{name}" if is_device else name or "study"  # the root of a disk has no name


#: What is made of the slice (H, W) and its landmarks, by ending; `arguments.REPORT_NAMES` lists the same.
REPORTS: dict[str, Callable[[NDArray[np.float32], LandmarkSet, Path], None]] = {
    "measurements.csv": lambda image, landmarks, path: write_measurements(measure(landmarks), path),
    "measurements.json": lambda image, landmarks, path: write_measurements_json(measure(landmarks), path),
    "report.html": write_report_html,
    "report.pdf": write_report_pdf,
}
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


def outcome_of(
    study: BatchItem, stack: SagittalStack, landmarks: LandmarkSet, formats: Sequence[str], model_sha256: str = ""
) -> Outcome:
    """The outcome of a study that went well."""
    return Outcome(
        study,
        headline(landmarks),
        remarks(landmarks),
        row_of(landmarks),
        lambda folder: write_results(stack, landmarks, folder, study.stem, formats, model_sha256),
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
    """Make the folder, and take away an earlier run's list of failures, and what a killed one left half written."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        drop_left_over(output)
        (output / f"{FAILED}.json").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"Expected a folder that can be made at {output}; got: {error.strerror}") from error


def result_files(stem: str, formats: Sequence[str]) -> list[str]:
    """Names of a study's files."""
    return [f"{stem}.{name}" for name in (*formats, OVERLAY)]


def write_results(
    stack: SagittalStack,
    landmarks: LandmarkSet,
    output: Path,
    stem: str,
    formats: Sequence[str],
    model_sha256: str = "",
) -> list[Path]:
    """`stem`.<format> for each format, and `stem`.overlay.png to check them by. model_sha256: `bundle.identity`."""
    files = [output / name for name in result_files(stem, formats)]
    by_name = dict(zip(formats, files, strict=False))
    assert landmarks.slice_index is not None
    image = stack.voxels[landmarks.slice_index]
    planes = image_planes(stack.source, stack.series_uid) if set(DICOM_NAMES.values()) & set(formats) else []
    for name, file in by_name.items():
        if name == DICOM_NAMES["sr"]:
            write_sr(landmarks, planes, file, model_sha256=model_sha256, measurements=measure(landmarks))
        elif name == DICOM_NAMES["sc"]:
            write_capture(image, landmarks, planes, file)
        elif name in REPORTS:
            REPORTS[name](image, landmarks, file)
        else:
            FORMATS[name](landmarks, file)
    draw_overlay(image, landmarks, files[-1], key_figures(landmarks))
    return files


def put_aside(output: Path, stem: str) -> None:
    """Rename an earlier run's files of this stem, in any format, so that they do not look current. Raises OSError."""
    for name in result_files(stem, (*FORMATS, *REPORTS, *DICOM_NAMES.values())):
        with contextlib.suppress(FileNotFoundError):
            os.replace(output / name, output / (name + STALE))


def drop_stale(output: Path, stem: str, formats: Sequence[str]) -> None:
    """Remove what was put aside, once there are new results in its place."""
    for name in result_files(stem, formats):
        (output / (name + STALE)).unlink(missing_ok=True)


def result_text(stack: SagittalStack, landmarks: LandmarkSet, target: Path) -> str:
    """Lines for people: what was read, what was found, what to look at, and where it was written."""
    return in_lines(headline(landmarks), target, remarks(landmarks))


def in_lines(headline: str, target: Path, remarks: Sequence[str]) -> str:
    return "\n".join([f"{headline}-> {target}.*", *remarks])


def headline(landmarks: LandmarkSet) -> str:
    found = sum(not landmark.is_absent for landmark in landmarks)
    sure = [(mark.confidence, mark.name) for mark in landmarks if mark.confidence is not None]
    least = "least sure of {1} ({0:.2f}), ".format(*min(sure)) if sure else ""
    time = f"{landmarks.runtime_s:.2f} s " if landmarks.runtime_s is not None else ""
    return f"{landmarks.input}: {found} of {len(landmarks)} landmarks on slice {landmarks.slice_index}, {least}{time}"


def remarks(landmarks: LandmarkSet) -> tuple[str, ...]:
    return (*(f"  note: {note}" for note in landmarks.notes), *(f"  warning: {text}" for text in landmarks.warnings))


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
