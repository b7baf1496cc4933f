"""Annotation files of every kind, and the study that each belongs to."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import AS_STATED, READERS, Reading, ending_of, read_landmarks
from SpineLandmarksLib.formats.dicom_sr_reading import is_dicom_image
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.formats.tianchi import TianchiSlice, read_tianchi
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.store.find import Source

#: How the comment of a revision begins that was made of a landmark file.
FROM_FILE = "from "


@dataclass(frozen=True)
class Annotated:
    """The landmarks of one study. study: the name that its file gives it. author: who annotated, "" when not said.

    instance_uid: of the DICOM file that the pixels count in. tianchi: where the pixels are those of the file as it is,
    not of the slice shown upright. comment: what was mended on reading. reading: of a landmark file, which may speak
    of some landmarks only.
    """

    study: str
    landmarks: LandmarkSet
    path: Path
    author: str = ""
    instance_uid: str | None = None
    tianchi: TianchiSlice | None = None
    comment: str = ""
    reading: Reading = AS_STATED


def read_annotations(path: Path, reading: Reading = AS_STATED, schema: Sequence[str] = LUMBAR11) -> list[Annotated]:
    """Tianchi's JSON as published or its raw rows, a CSV, markups or result file named as its study, or a folder of
    such files. Raises FormatError.
    """
    if path.is_dir():
        files = [file for file in sorted(path.iterdir()) if ending_of(file.name) and not is_dicom_image(file)]
        if not files:
            raise FormatError(f"{path}: expected files that end in {', '.join(READERS)}; found none")
        return [annotated for file in files for annotated in read_annotations(file, reading, schema)]
    ending = ending_of(path.name) or ""
    if ending.lower() == ".json" and isinstance(load_json(path), list):
        return [_annotated(one, path) for one in read_tianchi(path)]
    landmarks = read_landmarks(path, schema, reading)
    if not len(landmarks):
        raise FormatError(f"{path}: expected at least one landmark; it says nothing of any")
    study = path.name.removesuffix(ending)
    return [Annotated(study, landmarks, path, comment=FROM_FILE + path.name, reading=reading)]


def _annotated(one: TianchiSlice, path: Path) -> Annotated:
    author = f"tianchi-{one.annotator}" if one.annotator else "tianchi"
    return Annotated(one.study, one.landmarks, path, author, one.instance_uid, one, "; ".join(one.repairs))


def match(annotations: Iterable[Annotated], sources: Sequence[Source]) -> tuple[dict[str, list[Annotated]], list[str]]:
    """The annotations of each source by its key, and a sentence for each annotation without an image, or with several.

    An annotation belongs to the source that holds its DICOM instance, else that has its name, else whose name has the
    same only number in it (study 10 and study010.png).
    """
    matched: dict[str, list[Annotated]] = {}
    problems = []
    for one in annotations:
        keys = _candidates(one, sources)
        if len(keys) == 1:
            matched.setdefault(keys[0], []).append(one)
        else:
            found = ", ".join(keys[:5]) or "none"
            problems.append(f"Expected one image for the annotation of {one.study!r}; found {found}")
    return matched, problems


def _candidates(one: Annotated, sources: Sequence[Source]) -> list[str]:
    if one.instance_uid is not None:
        return [source.key for source in sources if one.instance_uid in source.files]
    by_name = [source.key for source in sources if source.key == one.study]
    number = _only_number(one.study)
    return by_name or [source.key for source in sources if number is not None and _only_number(source.key) == number]


def _only_number(text: str) -> int | None:
    numbers = re.findall(r"\d+", text)
    return int(numbers[0]) if len(numbers) == 1 else None
