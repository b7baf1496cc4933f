"""One study of a data set: its slice as a picture, where it came from, and how pixels become millimetres."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import FormatError, InputError, LandmarkError
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.geometry import Matrix
from SpineLandmarksLib.imaging.picture import frame_of_picture
from SpineLandmarksLib.review.revision import ImageReference, require_study_key


@dataclass(frozen=True)
class Study:
    """image: the slice, relative to the data-set folder; image_sha256: of that file when the study was added.

    patient: images of one patient never part between training and test. source: what was added, relative where it lies
    inside, else absolute; empty where the picture is all there is. source_sha256: of a source that is one file.
    slice_index: of the picture in the source.
    spacing_mm: (between columns, between rows), None when unknown. ras_from_ijk: of the upright stack (4 rows of 4),
    None when unknown; a picture's frame is our own. size_wh: pixels.
    """

    key: str
    patient: str
    image: str
    image_sha256: str
    size_wh: tuple[int, int]
    source: str = ""
    source_sha256: str | None = None
    series_uid: str | None = None
    slice_index: int = 0
    spacing_mm: tuple[float, float] | None = None
    spacing_is_estimated: bool = False
    ras_from_ijk: tuple[tuple[float, ...], ...] | None = None
    added: str = ""

    def __post_init__(self) -> None:
        require_study_key(self.key)
        if not self.patient:
            raise LandmarkError(f"Expected a patient for study {self.key}; got none")

    @property
    def reference(self) -> ImageReference:
        return ImageReference(self.image, self.image_sha256, self.series_uid)

    @property
    def matrix(self) -> Matrix | None:
        """ras_from_ijk of the stack as (4, 4), or None when no millimetres are known."""
        if self.ras_from_ijk is None:
            return frame_of_picture(self.spacing_mm)
        return np.array(self.ras_from_ijk, dtype=np.float64)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(content: object, where: str = "study") -> Study:
        """Raises FormatError for a field that is missing or of the wrong kind; fields that are not known are left."""
        found = Fields.of(content, where)
        known = {field.name: found.values[field.name] for field in fields(Study) if field.name in found.values}
        try:
            known["size_wh"] = tuple(int(side) for side in found.numbers("size_wh", 2))
            if found.has("spacing_mm"):
                known["spacing_mm"] = found.numbers("spacing_mm", 2)
            if found.has("ras_from_ijk"):
                known["ras_from_ijk"] = tuple(tuple(map(float, row)) for row in found.list("ras_from_ijk"))
            return Study(**known)
        except (TypeError, ValueError, LandmarkError) as error:
            raise FormatError(f"{where}: {error}") from error


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file. Raises InputError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(f"Expected a file that can be read at {path}; got: {error.strerror}") from error
    return digest.hexdigest()


def image_problems(study: Study, folder: Path) -> list[str]:
    """What of the study's files is no longer as it was annotated, each with the next step; none when all is well."""
    problems = [picture_problem(study, folder)]
    if study.source:
        problems.append(_problem(study, folder, "source", study.source, study.source_sha256 or ""))
    return [problem for problem in problems if problem is not None]


def picture_problem(study: Study, folder: Path) -> str | None:
    """The same of the picture alone, which is all that training reads of most studies."""
    return _problem(study, folder, "image", study.image, study.image_sha256)


def _problem(study: Study, folder: Path, kind: str, name: str, sha256: str) -> str | None:
    path = folder / name  # an absolute name stands for itself
    if not path.exists():
        return f"{study.key}: the {kind} {name} is not there. Put it back; its landmarks are kept"
    if sha256 and path.is_file() and sha256_of(path) != sha256:
        return (
            f"{study.key}: the {kind} {name} has changed since it was annotated. "
            "Restore it from a copy, or look whether the points still fit"
        )
    return None
