"""Landmarks of nnLandmark: voxels of many cases by name, and what its prediction writes.

all_landmarks_voxel.json:  {"case_01": {"L1": [i, j, k], ...}, ...}
a prediction:              {"1": {"coordinates": [i, j, k], "likelihood": 0.97}, ...}, named as its case

Voxels count from 0 along the image's own axes, in the order in which NIfTI stores them (x, y, z). In a prediction a
number stands for a landmark; `name_to_label.json` beside it says which, else they are counted from the head down, with
a warning. A likelihood is the height of a heat map and no probability that the level is right: it is not taken for a
confidence.

https://github.com/MIC-DKFZ/nnLandmark
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, as_point, known_voxels
from SpineLandmarksLib.formats.shared import PIXEL_DIGITS, rounded, stated_set
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

TITLE = "nnLandmark"
_LABELS = "name_to_label.json"
_COUNTED = (
    "The file has numbers for names, and no name_to_label.json lies beside it: they were counted from the head down. "
    "Check each name"
)
#: What nnU-Net puts behind the name of a case for its first channel.
_CHANNEL = re.compile(r"_\d{4}$")


def write_nnlandmark(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write the voxels of every case, which needs the image of each.

    Raises FormatError: no image, points outside it, two cases of one name; OutputError.
    """
    found: dict[str, Any] = {}
    for one in cases:
        voxels = known_voxels(one, TITLE)
        assert one.image is not None
        case = _case_of(one.image)
        if case in found:
            raise FormatError(f"{TITLE}: expected a name for each image; {case!r} came twice")
        found[case] = {name: [rounded(value, PIXEL_DIGITS) for value in ijk] for name, ijk in voxels.items()}
    write_json_atomically(path, found)


def read_nnlandmark(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the case of an image, in RAS mm: the one of its name, or the only one there is.

    Raises FormatError: no image, no such case, unknown names, voxels that are none.
    """
    file = Fields.of(load_json(path), os.fspath(path))
    if image is None or image.ras_from_ijk is None:
        raise FormatError(f"{file.where}: expected the image whose voxels these are. Give it with --image")
    told: tuple[str, ...] = ()
    if is_prediction(file.values):
        marks = _predicted(file, _names(Path(path), schema), image)
        told = () if Path(path).with_name(_LABELS).is_file() else (_COUNTED,)
    else:
        case = _chosen(file, image)
        named = Fields.of(file.values[case], f"{file.where}, {case}")
        marks = [_landmark(named, name, name, image) for name in named.values if named.has(name)]
    found = stated_set(marks, schema, path, input=image.name, warnings=told, needs_review=True if told else None)
    return [PointsOnImage(found, image)]


def is_prediction(content: Mapping[str, Any]) -> bool:
    return any(isinstance(value, dict) and "coordinates" in value for value in content.values())


def _case_of(image: ImageGrid) -> str:
    return _CHANNEL.sub("", image.stem)


def _chosen(file: Fields, image: ImageGrid) -> str:
    case = _case_of(image)
    if case not in file.values and len(file.values) != 1:
        found = ", ".join(file.values)[:200] or "none"
        raise FormatError(f"{file.where}: expected the case {case!r} of {image.name}; found {found}")
    return case if case in file.values else next(iter(file.values))


def _names(path: Path, schema: Sequence[str]) -> dict[str, str]:
    """Names by number, as text."""
    beside = path.with_name(_LABELS)
    if not beside.is_file():
        return {str(number): name for number, name in enumerate(schema, start=1)}
    labels = Fields.of(load_json(beside), str(beside))
    return {str(labels.whole_number(name)): name for name in labels.values}


def _predicted(file: Fields, names: dict[str, str], image: ImageGrid) -> list[Landmark]:
    marks = []
    for number, value in file.values.items():
        point = Fields.of(value, f"{file.where}, {number}")
        if number not in names:
            raise FormatError(f"{point.where}: expected a number of {', '.join(names)}; got {number!r}")
        if point.list("coordinates") != [None] * 3:  # how nnLandmark says that it found nothing
            marks.append(_landmark(point, "coordinates", names[number], image))
    return marks


def _landmark(fields: Fields, key: str, name: str, image: ImageGrid) -> Landmark:
    assert image.ras_from_ijk is not None
    return Landmark(name, position_ras_mm=as_point(apply(image.ras_from_ijk, fields.numbers(key, 3))))
