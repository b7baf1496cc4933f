"""Annotated slices of data-set folders: schema, rows, pictures, spacing and points. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json
from SpineLandmarksLib.formats.strict_json import load_json, short_repr
from SpineLandmarksLib.imaging.picture import read_picture
from SpineLandmarksLib.landmarks import LUMBAR11, Schema, require_unique
from SpineLandmarksLib.transforms import Image

#: Mean distance from the centre of L1 to that of L5, in mm; the ruler where no spacing is known.
LUMBAR_LENGTH_MM = 144.0
#: What a schema can say of the order of its names.
ORDERED, UNORDERED = "head to foot", "none"
Millimetres = Literal["measured", "estimated", "pixels"]


def schema_of(folder: Path) -> Schema:
    """The landmarks of a data set: its `schema.json`, or the eleven lumbar ones.

    The file is a list of names from the head down, or `{"landmarks": [...], "order": "none"}` for landmarks that are
    no chain. Raises LandmarkError when a name comes twice, FormatError for another content.
    """
    file = folder / "schema.json"
    if not file.is_file():
        return Schema(LUMBAR11)
    content = load_json(file)
    said = content if isinstance(content, dict) else {"landmarks": content}
    names, order = said.get("landmarks"), said.get("order", ORDERED)
    if order not in (ORDERED, UNORDERED):
        raise FormatError(f"Expected an order of {ORDERED!r} or {UNORDERED!r} in {file}; got {short_repr(order)}")
    if not isinstance(names, list) or len(names) < 2 or not all(isinstance(name, str) and name for name in names):
        raise FormatError(f"Expected a list of two or more landmark names in {file}; got {short_repr(names)}")
    require_unique(names)
    return Schema(names, order == ORDERED)


def load_annotations(folders: Sequence[Path], schema: Sequence[str]) -> list[Annotation]:
    """Every annotated slice of the data-set folders, in a fixed order.

    Groups (patients) keep their own names, so that a split does not depend on where a folder lies. Two folders that
    use the same name for different patients only make a split more careful.
    """
    found: list[Annotation] = []
    for folder in folders:
        file = folder / "landmarks.json" if folder.is_dir() else folder
        if not file.is_file():
            raise DatasetError(f"Expected a data-set folder with landmarks.json; got {folder}")
        found += read_landmarks_json(file, schema)
    if not found:
        raise DatasetError(f"Expected at least one annotated slice; got none in {', '.join(map(str, folders))}")
    return sorted(found, key=lambda row: (row.group, str(row.image)))


def load_image(path: Path) -> Image:
    """A slice picture as (H, W) float32 grey values, read as `predict` reads it. InputError when it is none."""
    return read_picture(path, None).voxels[:, :, 0].T


def spacing_of(annotation: Annotation) -> tuple[float, float] | None:
    """(x, y) mm: the recorded spacing, else the one that makes L1-L5 144 mm, else None."""
    if annotation.spacing_mm is not None:
        return annotation.spacing_mm
    ends = [annotation.points_xy.get(name) for name in ("L1", "L5")]
    if ends[0] is None or ends[1] is None:
        return None
    length_px = float(np.linalg.norm(np.subtract(ends[0], ends[1])))
    return (LUMBAR_LENGTH_MM / length_px,) * 2 if length_px > 0 else None


def points_of(annotation: Annotation, schema: Sequence[str]) -> NDArray[np.float64]:
    """(L, 2) native pixels in the schema's order; nan where not annotated."""
    return np.array([annotation.points_xy.get(name) or (np.nan, np.nan) for name in schema], dtype=np.float64)


def millimetres_of(annotations: Sequence[Annotation]) -> Millimetres:
    """Say "measured" only when every spacing was."""
    measured = all(row.spacing_mm is not None and not row.spacing_is_estimated for row in annotations)
    return "measured" if measured else "estimated"
