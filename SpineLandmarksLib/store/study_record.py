"""One study of a data set: its slice as a picture, where it came from, and points in its pixels and millimetres."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.revision import ImageReference, require_study_key
from SpineLandmarksLib.errors import FormatError, GeometryError, LandmarkError
from SpineLandmarksLib.formats.atomic import sha256_of, write_atomically
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.geometry import Matrix, apply, check_affine, is_inside, ras_from_slice, spacing_mm
from SpineLandmarksLib.imaging.picture import frame_of_picture
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, PixelXY, Point

#: Pixels and millimetres of one point may be so far apart, in pixels: both were rounded.
SAME_PIXEL = 0.25


@dataclass(frozen=True)
class StudyRecord:
    """image: the slice, relative to the data-set folder; image_sha256: of that file when the study was added.

    patient: images of one patient never part between training and test. source: what was added, relative where it lies
    inside, else absolute; empty where the picture is all there is. source_sha256: of a source that is one file.
    slice_index: of the picture in the source; slices: how many that has, None in a record that does not say.
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
    slices: int | None = None
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

    @property
    def known_slices(self) -> int | None:
        """How many slices the image has; of a picture one, whatever the record says."""
        return self.slices if self.source else 1

    def contains(self, position_ras_mm: Point) -> bool:
        """Whether a position lies in the image, as far as the record knows its slices; one alone has no thickness."""
        i, j, k = apply(self._ijk_from_ras, position_ras_mm)
        slices = self.known_slices
        return is_inside((i, j), self.size_wh) and (slices in (None, 1) or bool(-0.5 <= k <= slices - 0.5))

    def nearest_slice(self, landmarks: LandmarkSet) -> int:
        """The slice that is nearest to most of the points."""
        index = nearest_slice(landmarks, self._ijk_from_ras)
        return index if self.known_slices is None else min(max(index, 0), self.known_slices - 1)

    @property
    def _ijk_from_ras(self) -> Matrix:
        assert self.matrix is not None
        return np.linalg.inv(self.matrix).astype(np.float64)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(content: object, where: str = "study") -> StudyRecord:
        """Raises FormatError for a field that is missing or of the wrong kind; fields that are not known are left."""
        found = Fields.of(content, where)
        try:
            record = StudyRecord(**{name: read(found, name) for name, read in _FIELDS.items() if found.has(name)})
        except (TypeError, ValueError, OverflowError, LandmarkError, GeometryError) as error:
            raise FormatError(f"{where}: {error}") from error
        image = Path(record.image)
        if image.is_absolute() or ".." in image.parts or "\0" in record.image:
            raise FormatError(f"{where}: expected an image inside the data set; got {record.image!r}")
        return record


def _matrix(found: Fields, name: str) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, check_affine(np.array(found.list(name), dtype=np.float64)).tolist()))


#: How each field of a record is read from JSON.
_FIELDS: dict[str, Callable[[Fields, str], Any]] = {
    **dict.fromkeys(("key", "patient", "image", "image_sha256"), Fields.text),
    "size_wh": lambda found, name: tuple(map(int, found.numbers(name, 2))),
    **dict.fromkeys(("source", "source_sha256", "series_uid", "added"), Fields.text),
    **dict.fromkeys(("slice_index", "slices"), Fields.whole_number),
    "spacing_mm": lambda found, name: found.numbers(name, 2),
    "spacing_is_estimated": Fields.flag,
    "ras_from_ijk": _matrix,
}


def image_problems(study: StudyRecord, folder: Path) -> list[str]:
    """What of the study's files is no longer as it was annotated, each with the next step; none when all is well."""
    problems = [picture_problem(study, folder)]
    if study.source:
        problems.append(_problem(study, folder, "source", study.source, study.source_sha256 or ""))
    return [problem for problem in problems if problem is not None]


def picture_problem(study: StudyRecord, folder: Path) -> str | None:
    """The same of the picture alone, which is all that training reads of most studies."""
    return _problem(study, folder, "image", study.image, study.image_sha256)


def _problem(study: StudyRecord, folder: Path, kind: str, name: str, sha256: str) -> str | None:
    path = folder / name  # an absolute name stands for itself
    if not os.path.exists(path):  # unlike Path's, says no to a name that is too long for any file
        return f"{study.key}: the {kind} {name} is not there. Put it back; its landmarks are kept"
    if sha256 and path.is_file() and sha256_of(path) != sha256:
        return (
            f"{study.key}: the {kind} {name} has changed since it was annotated. "
            "Restore it from a copy, or look whether the points still fit"
        )
    return None


def write_slice(pixels: NDArray[np.float32], path: Path) -> None:
    """Write (H, W) grey values as a 16-bit PNG without any text in it; the lowest value is 0, the highest 65535.

    No prepared image depends on scale or offset, so that the network sees the same picture as in the volume.
    """
    from PIL import Image

    low, high = float(pixels.min()), float(pixels.max())
    grey = np.round((pixels - low) / max(high - low, 1e-12) * 65535).astype(np.uint16)
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        Image.fromarray(grey).save(file, format="PNG")


def slice_of(landmarks: LandmarkSet, study: StudyRecord) -> int:
    """The slice of the source that the pixels of `landmarks` belong to; the study's own where it is not said."""
    return study.slice_index if landmarks.slice_index is None else landmarks.slice_index


def picture_of(study: StudyRecord, index: int, folder: Path) -> Path:
    """The picture of a slice; cut from the source where it is not the study's own. Raises InputError."""
    if index == study.slice_index or not study.source:
        return folder / study.image
    path = folder / "images" / f"{study.key}-slice{index}.png"
    if not path.is_file():
        write_slice(read_study(folder / study.source).voxels[index], path)
    return path


def pixel_of(landmark: Landmark, study: StudyRecord) -> PixelXY | None:
    """Native pixels of a landmark on its slice, from its millimetres where it has no pixels; None when unknown."""
    if landmark.pixel_xy is not None or landmark.position_ras_mm is None or study.matrix is None:
        return landmark.pixel_xy
    i, j, _ = apply(np.linalg.inv(study.matrix), landmark.position_ras_mm)
    return float(i), float(j)


def complete(
    landmarks: LandmarkSet,
    ras_from_ijk: Matrix | None,
    index: int | None = None,
    slices: int | None = None,
    where: str = "",
) -> LandmarkSet:
    """The same with pixels from millimetres or millimetres from pixels, whichever is missing, and with its slice.

    index: the slice that pixels count on, when the landmarks do not say; else the one nearest to most of the points.
    slices: of the image, None when unknown. Raises FormatError, which begins with `where`: pixels that could lie on any
    of several slices, or that are not those of the millimetres beside them; no such slice.
    """
    index = landmarks.slice_index if index is None else index
    if index is None and slices != 1 and any(mark.pixel_xy and not mark.position_ras_mm for mark in landmarks):
        raise FormatError(f"{where}: expected the slice that the pixels count on, in a column 'slice'; got none")
    if index is not None and slices is not None and not 0 <= index < slices:
        raise FormatError(f"{where}: expected a slice in 0..{slices - 1}; got {index}")
    if ras_from_ijk is None:
        return replace(landmarks, slice_index=index or 0)
    ijk_from_ras: Matrix = np.linalg.inv(ras_from_ijk).astype(np.float64)
    for mark in landmarks:
        _require_one_place(mark, ijk_from_ras, where)
    index = nearest_slice(landmarks, ijk_from_ras) if index is None else index
    spacing = landmarks.spacing_mm or spacing_mm(ras_from_ijk)[:2]
    marks, corners = (
        tuple(_with_both(mark, ras_from_ijk, ijk_from_ras, index) for mark in some)
        for some in (landmarks.landmarks, landmarks.corners)
    )
    return replace(landmarks, slice_index=index, spacing_mm=spacing, landmarks=marks, corners=corners)


def nearest_slice(landmarks: LandmarkSet, ijk_from_ras: Matrix) -> int:
    """The slice that is nearest to most of the points; 0 without any."""
    known = [mark.position_ras_mm for mark in landmarks if mark.position_ras_mm is not None]
    return int(np.rint(np.median([apply(ijk_from_ras, point)[2] for point in known]))) if known else 0


def _require_one_place(mark: Landmark, ijk_from_ras: Matrix, where: str) -> None:
    if mark.position_ras_mm is None or mark.pixel_xy is None:
        return
    i, j, _ = apply(ijk_from_ras, mark.position_ras_mm)
    if np.hypot(i - mark.pixel_xy[0], j - mark.pixel_xy[1]) > SAME_PIXEL:
        x, y = mark.pixel_xy
        raise FormatError(
            f"{where}, row of {mark.name}: expected pixels and millimetres of one place; the pixels are ({x:.1f}, "
            f"{y:.1f}), the millimetres lie at ({i:.1f}, {j:.1f}). Correct one of them, or leave it empty"
        )


def _with_both(mark: Landmark, ras_from_ijk: Matrix, ijk_from_ras: Matrix, index: int) -> Landmark:
    if mark.position_ras_mm is not None and mark.pixel_xy is None:
        i, j, _ = apply(ijk_from_ras, mark.position_ras_mm)
        return replace(mark, pixel_xy=(float(i), float(j)))
    if mark.pixel_xy is not None and mark.position_ras_mm is None:
        r, a, s = ras_from_slice(ras_from_ijk, index, mark.pixel_xy)
        return replace(mark, position_ras_mm=(float(r), float(a), float(s)))
    return mark
