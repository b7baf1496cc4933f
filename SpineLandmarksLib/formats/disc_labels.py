"""Label images (NIfTI) of TotalSpineSeg and of the Spinal Cord Toolbox: one voxel a landmark on the image's own grid.

TotalSpineSeg: vertebrae 41..45 = L1..L5; discs 91..95 = T12-L1..L4-L5, 100 = L5-S1.
SCT:           discs alone, 20 = T12-L1, 21..24 = L1-L2..L4-L5, 25 = L5-S1 (counted from 3 = C2-C3).

SCT's own disc labels lie at the posterior tip of the disc; ours, and what is written here, at its centre. Of a
segmentation of TotalSpineSeg the centroids of the discs are read; that of a vertebra, which has its arch, is not the
centre of the body and is left out with a warning. Its numbers before 2024 (discs 202..207) are refused.

https://github.com/neuropoly/totalspineseg, https://spinalcordtoolbox.com (labeling conventions)
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, as_point, known_voxels, only_one
from SpineLandmarksLib.formats.shared import stated_set
from SpineLandmarksLib.geometry import Matrix, apply
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

_DISCS = tuple(name for name in LUMBAR11 if "-" in name)
_BODIES = tuple(name for name in LUMBAR11 if "-" not in name)
TOTALSPINESEG = dict(zip(_BODIES, range(41, 46), strict=True)) | dict(zip(_DISCS, (*range(91, 96), 100), strict=True))
SCT = dict(zip(_DISCS, range(20, 26), strict=True))
_FORMER = range(202, 225)
#: A region of more voxels is a segmentation and no point (nnLandmark and others draw cubes of 27).
_MAX_POINT_VOXELS = 27
#: A whole spine on CT.
_MAX_VOXELS = 2**27
Labels: TypeAlias = NDArray[Any]
_WHOLE = "{} have whole vertebrae, whose centroids are not the centres of the bodies; they were left out"
_POSTERIOR = (
    "Disc labels of the Spinal Cord Toolbox lie at the posterior tip of the disc by its convention, not at the centre: "
    "check each point"
)


def write_totalspineseg(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write one image's landmarks as voxels of its grid. Raises FormatError, OutputError."""
    _write(cases, path, TOTALSPINESEG, "TotalSpineSeg")


def write_sct(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write one image's discs as voxels of its grid; bodies have no label there. Raises FormatError, OutputError."""
    _write(cases, path, SCT, "SCT")


def _write(cases: Sequence[PointsOnImage], path: str | os.PathLike[str], labels: Mapping[str, int], what: str) -> None:
    import gzip

    import nibabel as nib

    one = only_one(cases, what)
    voxels = {name: ijk for name, ijk in known_voxels(one, what).items() if name in labels}
    if not voxels:
        raise FormatError(f"{what}: expected at least one of {', '.join(labels)}; the landmarks have none")
    assert one.image is not None
    assert one.image.shape is not None
    data = np.zeros(one.image.shape, np.uint8)
    for name, ijk in voxels.items():
        place = tuple(np.minimum(np.rint(ijk).astype(int), np.array(data.shape) - 1))  # the rim rounds outward
        if data[place]:
            raise FormatError(f"{what}: expected a voxel for each point; {name} shares its voxel with another")
        data[place] = labels[name]
    image = nib.Nifti1Image(data, one.image.ras_from_ijk)
    image.header.set_xyzt_units("mm")
    content = image.to_bytes()
    with write_atomically(path) as file:
        file.write(gzip.compress(content, mtime=0) if os.fspath(path).lower().endswith(".gz") else content)


def read_totalspineseg(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read points or a segmentation, in RAS mm. Raises FormatError: no such labels, former numbers, no label image."""
    data, matrix = _load(path)
    found = set(map(int, np.unique(data)))
    if found & set(_FORMER) or not found & set(TOTALSPINESEG.values()):
        known = ", ".join(map(str, sorted(found - {0})))[:200] or "none"
        raise FormatError(f"{os.fspath(path)}: expected labels 41..45, 91..95 and 100 of TotalSpineSeg; got {known}")
    places = {name: _voxels(data, label) for name, label in TOTALSPINESEG.items() if label in found}
    whole = [name for name in places if name in _BODIES and len(places[name]) > _MAX_POINT_VOXELS]
    marks = [_centroid(name, voxels, matrix) for name, voxels in places.items() if name not in whole]
    return [_points(marks, path, schema, (_WHOLE.format(", ".join(whole)),) if whole else ())]


def read_sct(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read disc labels, in RAS mm, with a warning of where they lie. Raises FormatError: no points, no label image."""
    data, matrix = _load(path)
    places = {name: _voxels(data, label) for name, label in SCT.items()}
    places = {name: voxels for name, voxels in places.items() if len(voxels)}
    regions = [name for name, voxels in places.items() if len(voxels) > _MAX_POINT_VOXELS]
    if not places or regions:
        got = f"regions for {', '.join(regions)}" if regions else "none"
        raise FormatError(f"{os.fspath(path)}: expected single voxels with SCT's disc labels 20..25; got {got}")
    return [_points([_centroid(*item, matrix) for item in places.items()], path, schema, (_POSTERIOR,))]


def labels_in(path: str | os.PathLike[str]) -> set[int]:
    """The numbers in a label image. Raises FormatError."""
    return set(map(int, np.unique(_load(path)[0])))


def _points(
    marks: Sequence[Landmark], path: str | os.PathLike[str], schema: Sequence[str], told: tuple[str, ...]
) -> PointsOnImage:
    review = True if told else None
    return PointsOnImage(stated_set(marks, schema, path, input=os.fspath(path), warnings=told, needs_review=review))


def _load(path: str | os.PathLike[str]) -> tuple[Labels, Matrix]:
    """The labels (I, J, K) and ras_from_ijk."""
    import nibabel as nib
    from nibabel.imageglobals import LoggingOutputSuppressor

    name = os.fspath(path)
    try:
        with LoggingOutputSuppressor(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image: Any = nib.load(Path(path))
            if np.prod(image.shape, dtype=float) > _MAX_VOXELS:
                raise ValueError(f"{image.shape} are more than {_MAX_VOXELS} voxels")
            values = np.asarray(image.dataobj)
            unit = image.header.get_xyzt_units()[0]
    except Exception as error:  # whatever nibabel, gzip and numpy raise on damaged bytes
        raise FormatError(f"{name}: expected a label image (NIfTI); {type(error).__name__}: {error}") from error
    if values.ndim != 3 or values.size == 0 or not _are_whole(values):
        raise FormatError(f"{name}: expected a 3-D image of whole numbers; got {values.shape}, {values.dtype}")
    if unit not in ("mm", "unknown"):
        raise FormatError(f"{name}: expected millimetres; got {unit}")
    return values, np.asarray(image.affine, np.float64)


def _are_whole(values: Labels) -> bool:
    kind = values.dtype.kind
    return kind in "ui" or (kind == "f" and bool(np.isfinite(values).all() and not (values % 1).any()))


def _voxels(data: Labels, label: int) -> NDArray[np.int64]:
    return np.argwhere(data == label)


def _centroid(name: str, voxels: NDArray[np.int64], matrix: Matrix) -> Landmark:
    return Landmark(name, position_ras_mm=as_point(apply(matrix, voxels.mean(axis=0))))
