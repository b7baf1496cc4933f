"""Frames into series, and a series into the order and the matrix of its slices.

One SeriesInstanceUID may hold several acquisitions (localizer planes, echoes, stations, tilted disc blocks), so it is
split wherever matrix, orientation, pixel spacing, image type, echo or station differ. Slices are ordered by where they
lie, ImagePositionPatient along the normal row x column, never by file name or InstanceNumber.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import GeometryError
from SpineLandmarksLib.geometry import Matrix, check_affine, ras_from_lps
from SpineLandmarksLib.imaging.dicom_header import Frame
from SpineLandmarksLib.imaging.orient import plane_of

#: Frames belong together when they agree to this: cosine, share of the spacing, ms, mm.
_COSINE, _SPACING, _ECHO_MS, _STATION_MM = 1e-3, 1e-3, 1.0, 20.0
#: Slices nearer than this lie at the same position; a SliceLocation this near to a position's depth agrees with it.
_SAME_POSITION_MM, _SAME_LOCATION_MM = 0.05, 0.5
#: Positions farther than this from the line that is fitted to them are kept.
_ON_LINE_MM = 0.01
#: So many frames, each with a SeriesInstanceUID of its own, are no so many series.
_OWN_UIDS = 5
#: Steps that differ by more than this share of the usual step are gaps.
_UNEVEN = 0.02


@dataclass(frozen=True)
class Series:
    """Frames of one acquisition, in the order they were found."""

    frames: tuple[Frame, ...]

    @property
    def first(self) -> Frame:
        return self.frames[0]

    @cached_property
    def normal_lps(self) -> NDArray[np.float64] | None:
        """Unit normal row x column (3,), or None without orientation."""
        if self.first.orientation_lps is None:
            return None
        row, column = axes_lps(self.first)
        with np.errstate(all="ignore"):  # a wrong byte makes a cosine of 1e200
            normal: NDArray[np.float64] = np.cross(row, column)
            length = np.linalg.norm(normal)
        return normal / length if 0 < length < np.inf else None

    @property
    def plane(self) -> str:
        return "no orientation" if self.normal_lps is None else plane_of(self.normal_lps)


@dataclass(frozen=True)
class SliceOrder:
    """The frames from one side to the other, with ras_from_ijk (i = column, j = row, k = place in `frames`).

    origins_ras_mm: (K, 3) where pixel (0, 0) of each slice lies when that is not on the line of the matrix.
    needs_review: positions were guessed, which a warning tells.
    """

    frames: tuple[Frame, ...]
    ras_from_ijk: Matrix
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    origins_ras_mm: NDArray[np.float64] | None = None
    needs_review: bool = False


def axes_lps(frame: Frame) -> NDArray[np.float64]:
    """Direction of a row (to the next column) and of a column (to the next row), as (2, 3)."""
    if frame.orientation_lps is None:
        raise GeometryError("Expected slices with orientation (ImageOrientationPatient); got none")
    return np.array(frame.orientation_lps, dtype=np.float64).reshape(2, 3)


def with_shared_uids(frames: Sequence[Frame]) -> list[Frame] | None:
    """The frames with one UID for what belongs together where every slice has a series or a study of its own, as some
    anonymizers make them: plane, description and day tell a series, that and the day a study. None for all others.
    """
    has_own_series, has_own_study = (
        len({getattr(frame, name) for frame in frames}) == len(frames) for name in ("series_uid", "study_uid")
    )
    if len(frames) < _OWN_UIDS or not (has_own_series or has_own_study):
        return None
    first: dict[tuple[str, ...], Frame] = {}
    shared = []
    for frame in frames:
        day = frame.time[:8]
        own_study = (day, "" if has_own_series else frame.series_uid) if has_own_study else (frame.study_uid,)
        study = first.setdefault(own_study, frame).study_uid
        own_series = (study, day, frame.description, Series((frame,)).plane)
        series = first.setdefault(own_series, frame).series_uid if has_own_series else frame.series_uid
        shared.append(replace(frame, study_uid=study, series_uid=series))
    return shared


def split_series(frames: Iterable[Frame]) -> list[Series]:
    """Group frames into series of one geometry, in order of first appearance."""
    groups: dict[tuple[object, ...], list[list[Frame]]] = {}
    for frame in frames:
        uid = frame.series_uid or str(frame.path.parent)
        key = (frame.patient.number, frame.study_uid, uid, frame.modality, frame.image_type, frame.samples)
        alike = groups.setdefault((*key, frame.rows, frame.columns), [])
        for group in alike:
            if _agree(group[0], frame):
                group.append(frame)
                break
        else:
            alike.append([frame])
    return [Series(tuple(station)) for alike in groups.values() for group in alike for station in _stations(group)]


def _agree(a: Frame, b: Frame) -> bool:
    def close(name: str, rtol: float, atol: float) -> bool:
        x, y = getattr(a, name), getattr(b, name)
        if x is None or y is None:
            return x is y
        return bool(np.allclose(x, y, rtol=rtol, atol=atol, equal_nan=True))

    return (
        close("orientation_lps", 0, _COSINE) and close("spacing_mm", _SPACING, 0) and close("echo_time_ms", 0, _ECHO_MS)
    )


def _stations(group: list[Frame]) -> list[list[Frame]]:
    """Split frames whose corners lie in clearly separate places within the slice plane (table stations)."""
    if any(frame.position_lps_mm is None or frame.orientation_lps is None for frame in group):
        return [group]
    corners = np.array([frame.position_lps_mm for frame in group]) @ axes_lps(group[0]).T
    label = np.zeros(len(group), dtype=int)
    for along in np.nan_to_num(corners).T:
        order = np.argsort(along, kind="stable")
        steps = np.concatenate([[0], np.cumsum(np.diff(along[order]) > _STATION_MM)])
        label[order] = label[order] * len(group) + steps
    return [[frame for frame, own in zip(group, label, strict=True) if own == one] for one in dict.fromkeys(label)]


def order_slices(series: Series) -> SliceOrder:
    """Sort, drop repeated positions, and fit the matrix. Raises GeometryError for impossible geometry."""
    series, guessed = _located(series)
    frames, positions = _sorted(series)
    kept = _first_at_each_position(positions @ _normal(series))
    notes = () if len(kept) == len(frames) else (_repeats(len(frames) - len(kept)),)
    frames, positions = [frames[index] for index in kept], positions[kept]
    step, origin, note = _step(series, positions)
    lps_from_ijk = np.eye(4)
    row, column = axes_lps(series.first)
    between_rows, between_columns = _spacing(series)
    lps_from_ijk[:3] = np.column_stack([row * between_columns, column * between_rows, step, origin])
    ras_from_ijk = check_affine(ras_from_lps(lps_from_ijk))
    on_line = np.abs(positions - (origin + np.arange(len(positions))[:, np.newaxis] * step)).max() < _ON_LINE_MM
    origins = None if on_line else ras_from_lps(positions)
    warnings = (*guessed, *_gaps(positions))
    return SliceOrder(tuple(frames), ras_from_ijk, notes + note, warnings, origins, bool(guessed))


def _located(series: Series) -> tuple[Series, tuple[str, ...]]:
    """The frames with positions that tell them apart: by SliceLocation where all state one ImagePositionPatient.

    That position is true of one frame: the one whose SliceLocation agrees with it, which also tells which way locations
    count. Raises GeometryError when there is none. Time points of one slice repeat both, and stay.
    """
    frames, normal = series.frames, series.normal_lps
    if normal is None or any(frame.position_lps_mm is None for frame in frames):
        return series, ()  # refused by what comes next
    positions = np.array([frame.position_lps_mm for frame in frames], dtype=np.float64)
    if not np.ptp(positions, axis=0).max() <= 2 * _SAME_POSITION_MM:
        return series, ()
    locations = np.array([np.nan if frame.location_mm is None else frame.location_mm for frame in frames])
    if not np.ptp(locations) > 2 * _SAME_POSITION_MM:
        _check_repeats(frames)
        return series, ()
    moved = positions + np.outer(_depth_by_location(locations, positions @ normal), normal)
    placed = tuple(replace(frame, position_lps_mm=tuple(place)) for frame, place in zip(frames, moved, strict=True))
    return Series(placed), (
        f"All {len(frames)} slices state one position (ImagePositionPatient); they were placed by SliceLocation",
    )


def _check_repeats(frames: Sequence[Frame]) -> None:
    """Raise GeometryError for images of one place that are neither copies nor numbered as time points or echoes."""
    images = {(frame.rank[-1], frame.index) for frame in frames}
    if len(images) > 2 and len({frame.rank[:-1] for frame in frames}) == 1:
        raise GeometryError(f"Expected a position for each slice; got {len(frames)} at one (ImagePositionPatient)")


def _depth_by_location(locations: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) mm by which each slice lies beside the one place that all state, whose depth is given for each."""
    signs = [sign for sign in (1, -1) if np.abs(sign * locations - depth).min() < _SAME_LOCATION_MM]
    if len(signs) != 1:
        raise GeometryError(
            f"Expected a position for each slice; got {len(depth)} at one (ImagePositionPatient), and none to which "
            "SliceLocation agrees"
        )
    return np.asarray(signs[0] * locations - depth, dtype=np.float64)


def _sorted(series: Series) -> tuple[list[Frame], NDArray[np.float64]]:
    """Frames by depth along the normal, then by temporal position, echo, acquisition and instance; (K, 3) positions."""
    if any(frame.position_lps_mm is None for frame in series.frames):
        raise GeometryError("Expected a position for every slice (ImagePositionPatient); got slices without one")
    positions = np.array([frame.position_lps_mm for frame in series.frames], dtype=np.float64)
    if not np.isfinite(positions).all():
        raise GeometryError("Expected finite slice positions; got NaN or infinity in ImagePositionPatient")
    # rounding lets repeats of one position fall back on their rank
    depth = np.round(positions @ _normal(series) / _SAME_POSITION_MM)
    order = sorted(range(len(depth)), key=lambda n: (depth[n], *series.frames[n].rank, str(series.frames[n].path)))
    return [series.frames[n] for n in order], positions[order]


def _normal(series: Series) -> NDArray[np.float64]:
    normal = series.normal_lps
    if normal is None or not np.isfinite(normal).all():
        raise GeometryError("Expected slices with orientation (ImageOrientationPatient); got none that is usable")
    lengths = np.linalg.norm(axes_lps(series.first), axis=1)
    if np.abs(lengths - 1).max() > 0.01:
        raise GeometryError(f"Expected direction cosines of length 1; got lengths {lengths.round(3).tolist()}")
    return normal


def _spacing(series: Series) -> tuple[float, float]:
    spacing = series.first.spacing_mm
    if spacing is None or not (np.isfinite(spacing).all() and min(spacing) > 0):
        raise GeometryError(f"Expected positive pixel spacing; got {spacing if spacing else 'none'}")
    return spacing[0], spacing[1]


def _first_at_each_position(depth: NDArray[np.float64]) -> list[int]:
    kept = [0]
    for index in range(1, len(depth)):
        if depth[index] - depth[kept[-1]] > 2 * _SAME_POSITION_MM:
            kept.append(index)
    return kept


def _repeats(count: int) -> str:
    return f"{count} images at a position that another already has were left out (first time point or copy kept)"


def _step(
    series: Series, positions: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[str, ...]]:
    """The vector from slice to slice and the first position, by least squares; from the tags for a lone slice."""
    if len(positions) == 1:
        step = series.first.step_mm
        note = () if step else ("The thickness of the only slice is unknown and was taken as 1 mm",)
        return _normal(series) * abs(step or 1.0), positions[0], note
    slope, origin = np.polyfit(np.arange(len(positions)), positions, 1)
    return slope, origin, ()


def _gaps(positions: NDArray[np.float64]) -> tuple[str, ...]:
    if len(positions) < 3:
        return ()
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    usual = float(np.median(steps))
    uneven = np.flatnonzero(np.abs(steps - usual) > _UNEVEN * usual)
    if not len(uneven):
        return ()
    where = ", ".join(f"{steps[n]:.2f} mm after slice {n}" for n in uneven[:4]) + (" ..." if len(uneven) > 4 else "")
    return (
        f"The slices are not evenly spaced: {where}, elsewhere {usual:.2f} mm (a slice may be missing). "
        "Points lie where their slice does; a viewer that knows one distance alone shows them beside it",
    )
