"""Which studies lie in files, in trees as of `find_studies`, and in data sets by their landmarks.json.

A DICOM study gets a name that says nothing of the patient: a keyed hash (HMAC-SHA-256, RFC 2104) of its identifiers,
keyed with the data set's own random id.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.annotation.revision import study_key_of
from SpineLandmarksLib.batch import stems
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.landmarks_json import FILE_NAME, Annotation, read_landmarks_json
from SpineLandmarksLib.imaging.discover import files_below, find_studies, read_tags

_TAGS = ("StudyInstanceUID", "SOPInstanceUID", "PatientID", "Rows")


@dataclass(frozen=True)
class Source:
    """One study to be added. path: what `read_study` reads. files: by SOP instance UID, of DICOM.

    annotation: the row of the data set it comes from.
    """

    path: Path
    key: str
    patient: str
    files: dict[str, Path] = field(default_factory=dict)
    annotation: Annotation | None = None


@dataclass(frozen=True)
class _Header:
    path: Path
    study: str
    instance: str
    patient: str


def find_sources(inputs: Sequence[Path], secret: str, patient: str | None = None) -> list[Source]:
    """The studies of files and folders, in a fixed order.

    patient: a regular expression whose first group is the patient, looked for in the path of an image that is not
    DICOM. Raises DatasetError where nothing is found, or two DICOM studies share a folder.
    """
    headers: list[_Header] = []
    images: list[Path] = []
    rows: list[Annotation] = []
    for path in inputs:
        if not path.exists():
            raise DatasetError(f"Expected an existing file or folder; there is no {path}")
        if path.is_dir() and (path / FILE_NAME).is_file():
            rows += read_landmarks_json(path, schema_of(path))
            continue
        for study in find_studies(path, with_pictures=True):
            slices = list(filter(None, map(_header, files_below(study))))
            headers += slices
            images += [] if slices or study.is_dir() else [study]
    found = [*_dicom_studies(headers, secret), *_images(images, patient), *_rows(rows)]
    if not found:
        raise DatasetError(f"Expected images in {', '.join(map(str, inputs))}; found none")
    return found


def pseudonym(secret: str, text: str, digits: int = 8) -> str:
    """The same text gives the same name in one data set, and another in each other one."""
    return hmac.new(secret.encode(), text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()[:digits]


def _header(file: Path) -> _Header | None:
    """What a DICOM image says of itself; None for every other file, and for what is damaged, as reading will show."""
    study, instance, patient, rows = ((read_tags(file, _TAGS) or {}).get(tag, "") for tag in _TAGS)
    return _Header(file, study, instance, patient) if rows else None


def _dicom_studies(headers: Iterable[_Header], secret: str) -> Iterator[Source]:
    studies: dict[str, list[_Header]] = defaultdict(list)
    for header in headers:
        studies[header.study or str(header.path.parent)].append(header)
    for uid, files in sorted(studies.items()):
        path = files[0].path if len(files) == 1 else Path(os.path.commonpath([one.path.parent for one in files]))
        inside = {other for other, those in studies.items() if any(one.path.is_relative_to(path) for one in those)}
        if len(inside) > 1:
            raise DatasetError(
                f"Expected one folder for each DICOM study; {path} holds the files of {len(inside)}. "
                "Put each study into a folder of its own"
            )
        patient = "p" + pseudonym(secret, files[0].patient or uid)
        yield Source(path, f"{patient}-{pseudonym(secret, uid, 6)}", patient, {one.instance: one.path for one in files})


def _images(paths: Sequence[Path], pattern: str | None) -> Iterator[Source]:
    for path, stem in zip(paths, stems(paths), strict=True) if paths else ():
        key = study_key_of(stem)
        found = re.search(pattern, path.as_posix()) if pattern else None
        if pattern and (found is None or not found.groups()):
            raise DatasetError(f"Expected the pattern {pattern!r} with a group in {path}; it does not fit")
        yield Source(path, key, found[1] if found else key)


def _rows(rows: Sequence[Annotation]) -> Iterator[Source]:
    names = stems([row.image for row in rows]) if rows else []
    for row, stem in zip(rows, names, strict=True):
        yield Source(row.image, study_key_of(stem), row.group, annotation=row)
