"""The DICOM images of a series again, by their headers: what a report refers to once its points are known."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import InputError, SpineLandmarksError
from SpineLandmarksLib.formats.dicom_plane import ImagePlane
from SpineLandmarksLib.geometry import ras_from_lps
from SpineLandmarksLib.imaging.dicom_choice import choices, exams_of
from SpineLandmarksLib.imaging.dicom_header import Frame, is_directory_file, looks_like_dicom, read_frames
from SpineLandmarksLib.imaging.dicom_series import axes_lps, split_series
from SpineLandmarksLib.imaging.discover import files_below
from SpineLandmarksLib.imaging.unzip import unpacked
from SpineLandmarksLib.imaging.volume import reading


def image_planes(path: str | Path, series_uid: str | None) -> list[ImagePlane]:
    """The images of a series in what was read: a folder, a zip, a DICOM file or a DICOMDIR.

    Raises InputError where they are not there: no DICOM was read, or it has changed since.
    """
    with _files(Path(path)) as files:
        planes = planes_of(files, series_uid)
    if not planes:
        which = f"series {series_uid}" if series_uid else "a DICOM series"
        raise InputError(f"Expected the images of {which} in {path}; there are none. A report needs DICOM images")
    return planes


def planes_of(files: Iterable[Path], series_uid: str | None) -> list[ImagePlane]:
    """The images of a series among files, in the order in which they lie; what is damaged is passed over.

    Where one UID holds several acquisitions, those that `read_study` would choose. Raises InputError as it does.
    """
    frames: list[Frame] = []
    for file in files:
        with suppress(SpineLandmarksError), reading(file, "a DICOM file"):
            frames += [frame for frame in read_frames(file) or () if frame.series_uid == (series_uid or "")]
    if not frames:
        return []
    headers: dict[Path, Any] = {}
    return [_plane(frame, headers) for frame in choices(exams_of(split_series(frames)))[0].order.frames]


def _plane(frame: Frame, headers: dict[Path, Any]) -> ImagePlane:
    import pydicom

    if frame.path not in headers:
        with reading(frame.path, "a DICOM file"):
            headers[frame.path] = pydicom.dcmread(frame.path, stop_before_pixels=True, force=True)
    header = headers[frame.path]
    row, column = axes_lps(frame)
    assert frame.spacing_mm is not None  # its slices have been ordered
    assert frame.position_lps_mm is not None
    between_rows, between_columns = frame.spacing_mm
    lps_from_pixel = np.eye(4)
    lps_from_pixel[:3] = np.column_stack(
        [row * between_columns, column * between_rows, np.cross(row, column), frame.position_lps_mm]
    )
    is_one = int(header.get("NumberOfFrames") or 1) == 1 and "PerFrameFunctionalGroupsSequence" not in header
    return ImagePlane(header, None if is_one else frame.index + 1, ras_from_lps(lps_from_pixel))


@contextmanager
def _files(path: Path) -> Iterator[list[Path]]:
    if zipfile.is_zipfile(path):
        with unpacked(path) as folder:
            yield files_below(folder)
    elif path.is_file() and _is_directory(path):
        yield files_below(path.parent)
    else:
        yield files_below(path)


def _is_directory(path: Path) -> bool:
    with path.open("rb") as stream:
        is_dicom = looks_like_dicom(stream.read(132))
    with suppress(SpineLandmarksError), reading(path, "a DICOM file"):
        return is_dicom and is_directory_file(path)
    return False
