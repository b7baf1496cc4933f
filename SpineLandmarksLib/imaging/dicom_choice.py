"""Which series of a study to read: never a localizer; sagittal; then lumbar, T2 before T1 before fat-suppressed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.imaging.dicom_exams import Exam
from SpineLandmarksLib.imaging.dicom_header import Frame
from SpineLandmarksLib.imaging.dicom_series import Series, SliceOrder, order_slices
from SpineLandmarksLib.imaging.orient import sagittal_problem
from SpineLandmarksLib.imaging.volume import check_size

#: From the most to the least wanted.
CONTRASTS = ("T2", "PD", "T1", "unknown contrast", "fat-suppressed", "derived")
#: A stack with fewer slices than this may miss the midline, so any fuller series goes before it.
FEW_SLICES = 5
#: One series UID with several planes and at most this many slices in each is a localizer.
LOCALIZER_SLICES = 9

_LOCALIZER = r"\b(loc\w*|scout|survey|plan|(3|three)[ -]?pl\w*|aah?scout|smart ?\w*|topogram|calib\w*|asset|cal)\b"
_DERIVED = r"\b(adc|trace|dwi|dti|diff\w*|fa|sub\w*|mip|mrcp|myelo\w*|phase|perf\w*|reformat\w*|screen ?save)\b"
_FAT_SUPPRESSED = r"stir|tirm|spair|spir\b|fat ?(sat|sup)|\bfs\b|t[12]w? ?fs|\bwater\b|\b[wf] ?only\b|\bdixon [wf]\b"
_ELSEWHERE = r"\b(c ?spine|cerv\w*|csp|t ?spine|thor\w*|tsp|brain|head|neck|knee|hip|pelvis|shoulder)\b"
_LUMBAR = r"\b(l ?spine|lum\w*|ls|lsp\w*|lws)\b"


def _words(frame: Frame) -> str:
    """What the series is called, lower case, with single spaces for every separator."""
    return re.sub(r"[^a-z0-9*]+", " ", frame.description.lower()).strip()


def contrast_of(series: Series) -> str:
    """One of CONTRASTS, from the description, else from sequence, echo, repetition and inversion time."""
    frame, words = series.first, _words(series.first)
    echo, repetition, inversion = frame.echo_time_ms, frame.repetition_time_ms, frame.inversion_time_ms
    technique = frame.technique.split()
    if re.search(_DERIVED, words) or "PROJECTION IMAGE" in frame.image_type or "ADC" in frame.image_type:
        return "derived"
    nulls_fat = "IR" in technique and inversion is not None and 80 <= inversion <= 300
    if re.search(_FAT_SUPPRESSED, words) or "FS" in technique or nulls_fat:
        return "fat-suppressed"
    for name, pattern in (("T2", r"\bt2|\dt2|t2w"), ("T1", r"\bt1|t1w"), ("PD", r"\bpd|proton")):
        if re.search(pattern, words):
            return name
    if echo is None or repetition is None:
        return "unknown contrast"
    if echo >= 60:
        return "T2"
    return "T1" if repetition < 1300 else "PD"


def is_localizer(series: Series, study: Sequence[Series]) -> bool:
    """Whether tags, name, or several planes of a few slices under one UID say that this is a localizer."""
    if "LOCALIZER" in series.first.image_type or re.search(_LOCALIZER, _words(series.first)):
        return True
    same = [other for other in study if other.first.series_uid == series.first.series_uid]
    by_plane = {plane: sum(len(o.frames) for o in same if o.plane == plane) for plane in {o.plane for o in same}}
    return len(by_plane) > 1 and max(by_plane.values()) <= LOCALIZER_SLICES


@dataclass(frozen=True)
class Choice:
    """A series that can be used, with its slice order and the exam that it is of."""

    series: Series
    order: SliceOrder
    exam: Exam


def choices(exams: Sequence[Exam]) -> list[Choice]:
    """All series that will do, the best one first. Raises InputError or GeometryError when none will."""
    good: list[Choice] = []
    problems: list[SpineLandmarksError] = []
    study = [series for exam in exams for series in exam.series]
    for exam in exams:
        for series in exam.series:
            try:
                good.append(Choice(series, _checked(series, exam.series), exam))
            except SpineLandmarksError as error:
                problems.append(error)
    if not good:
        texts = [str(problem) for problem in problems]
        kind = GeometryError if all(isinstance(problem, GeometryError) for problem in problems) else InputError
        raise kind(f"{_joined(texts)}. Series in this study: {describe_study(study)}")
    times = sorted({exam.time for exam in exams}, reverse=True)
    return sorted(good, key=lambda choice: _rank(choice.series, choice.order, times.index(choice.exam.time)))


def _checked(series: Series, study: Sequence[Series]) -> SliceOrder:
    """The slice order, or the error that says why this series cannot be used."""
    frame = series.first
    if frame.modality not in ("MR", ""):
        raise InputError(f"Expected MR; got {frame.modality}")
    if frame.samples != 1:
        raise InputError("Expected a sagittal series; got colour pictures")
    if is_localizer(series, study):
        raise InputError("Expected a sagittal series; got localizer")
    check_size((frame.columns, frame.rows, len(series.frames)), frame.path.name)
    order = order_slices(series)
    problem = sagittal_problem((frame.columns, frame.rows, len(order.frames)), order.ras_from_ijk)
    if problem:
        raise GeometryError(f"Expected a sagittal series; got {problem}")
    return order


def _joined(texts: list[str]) -> str:
    """Errors that begin alike told as one: "Expected MR; got CT, PT"."""
    by_start: dict[str, dict[str, str]] = {}
    for text in texts:
        start, _, rest = text.partition("; got ")
        by_start.setdefault(start, {}).setdefault(rest.split(" ")[0], rest)  # each plane or modality once
    return ". ".join(f"{start}; got {', '.join(rests.values())}" for start, rests in by_start.items())


def _rank(series: Series, order: SliceOrder, age: int) -> tuple[object, ...]:
    """Sorts the most wanted series first; the UID and the geometry settle ties, so that the choice never varies.

    age: how many times of exams are later than that of this one.
    """
    words = f"{_words(series.first)} {series.first.region.lower()}"
    is_elsewhere = bool(re.search(_ELSEWHERE, words)) and not re.search(_LUMBAR, words)
    area = float(np.prod(np.linalg.norm(order.ras_from_ijk[:3, :2], axis=0)))
    return (
        is_elsewhere,
        age,
        len(order.frames) < FEW_SLICES,
        series.plane != "sagittal",
        CONTRASTS.index(contrast_of(series)),
        -len(order.frames),
        round(area, 6),
        series.first.series_uid,
        order.ras_from_ijk.round(6).tolist(),
        str(series.first.path),
    )


def reason(series: Series, order: SliceOrder) -> str:
    """Why this series was chosen, for people."""
    spacing = "x".join(f"{mm:.2f}" for mm in np.linalg.norm(order.ras_from_ijk[:3, :3], axis=0))
    turned = "" if series.plane == "sagittal" else f" acquired {series.plane}, cut sagittally"
    return f"{describe(series)}{turned}, voxels {spacing} mm; wanted order: sagittal, then {', '.join(CONTRASTS[:5])}"


def describe(series: Series) -> str:
    """A series in a few words, as 'T2_TSE_SAG (sagittal T2, 18 slices)'."""
    name = series.first.description or series.first.series_uid or series.first.path.name
    modality = series.first.modality
    kind = contrast_of(series) if modality in ("MR", "") else modality
    count = len(series.frames)
    return f"{name} ({series.plane} {kind}, {count} {'slice' if count == 1 else 'slices'})"


def describe_study(study: Sequence[Series], limit: int = 12) -> str:
    """All series in a few words; the parts of one UID that lie in one plane are told as one."""
    merged: dict[tuple[str, str, str], list[Frame]] = {}
    for series in study:
        merged.setdefault((series.first.series_uid, series.plane, contrast_of(series)), []).extend(series.frames)
    texts = sorted(describe(Series(tuple(frames))) for frames in merged.values())
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")
