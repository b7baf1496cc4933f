"""Which exam of a patient to read, the newest unless asked, and which of its series.

Never a localizer; sagittal; then lumbar, T2 before T1 before fat-suppressed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from SpineLandmarksLib.errors import GeometryError, InputError, SpineLandmarksError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.dicom_header import Frame, Patient
from SpineLandmarksLib.imaging.dicom_series import Series, SliceOrder, order_slices
from SpineLandmarksLib.imaging.dicom_words import contrast_of, is_called_localizer, part_of, region_of
from SpineLandmarksLib.imaging.orient import sagittal_problem
from SpineLandmarksLib.imaging.volume import check_size


@dataclass(frozen=True)
class Wanted:
    """What is asked of an input. study: as `asked_for` takes it. every_series: also those beside the best one."""

    study: str | None = None
    every_series: bool = False


#: The best series of the newest exam.
NEWEST = Wanted()


@dataclass(frozen=True)
class Exam:
    """The series of one StudyInstanceUID and day, with the digits of its date and time, as those of a Frame."""

    uid: str
    time: str
    series: tuple[Series, ...]

    @property
    def has_mr(self) -> bool:
        return any(series.first.modality in ("MR", "") for series in self.series)

    def __str__(self) -> str:
        day = "-".join(filter(None, (self.time[:4], self.time[4:6], self.time[6:8]))) or "without date"
        return f"{day} {self.time[8:10]}:{self.time[10:12]}" if len(self.time) >= 12 else day


def count_patients(patients: Sequence[Patient]) -> int:
    """How many patients these are at least, by number, by name where there is no number, and by name and birth.

    A name or a date of birth alone may have been put right between two exams; both together make another person.
    """
    numbers = {patient.number or patient.name for patient in patients}
    stated = [patient for patient in patients if patient.name and patient.birth]
    names, births = {patient.name for patient in stated}, {patient.birth for patient in stated}
    return max(len(numbers), min(len(names), len(births)))


def exams_of(study: Sequence[Series]) -> list[Exam]:
    """The exams, newest first; those without date last."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for series in study:
        groups.setdefault((series.first.study_uid, series.first.time[:8]), []).append(series)
    exams = [Exam(uid, max(one.first.time for one in group), tuple(group)) for (uid, _), group in groups.items()]
    return sorted(sorted(exams, key=lambda exam: exam.uid), key=lambda exam: exam.time, reverse=True)


def asked_for(exams: Sequence[Exam], wanted: str) -> list[Exam]:
    """The exams that a StudyInstanceUID, a day, or a number counted from the newest (1) names. InputError for none."""
    digits = re.sub(r"[-./]", "", wanted) if re.fullmatch(r"\d{4}([-./]?)\d\d\1\d\d", wanted) else None
    found = [
        exam
        for number, exam in enumerate(exams, 1)
        if wanted in (exam.uid, str(number)) or (digits and exam.time.startswith(digits))
    ]
    if not found:
        raise InputError(f"Expected a study that is there: {listed(exams, with_uid=True)}; got {wanted!r}")
    return found


def listed(exams: Sequence[Exam], with_uid: bool = False) -> str:
    """The exams with the numbers that `asked_for` takes."""
    return ", ".join(f"{number} = {exam}{f' ({exam.uid})' * with_uid}" for number, exam in enumerate(exams, 1))


def remark(exams: Sequence[Exam], chosen: Exam) -> str:
    """What people should know of an input with several exams."""
    number = exams.index(chosen) + 1
    return (
        f"The input holds {len(exams)} exams of the patient: {listed(exams)}. "
        f"Exam {number} was read{', the newest' * (number == 1)}; --study reads another"
    )


def is_doubtful(exams: Sequence[Exam], chosen: Exam) -> bool:
    """Whether the dates do not say that this is the newest exam with MR: without date, of one day, or to come."""
    others = [exam for exam in exams if exam.has_mr and exam is not chosen]
    is_to_come = chosen.time[:8] > f"{date.today() + timedelta(days=1):%Y%m%d}"  # clocks of other time zones
    return is_to_come or any(exam.time >= chosen.time[: len(exam.time)] for exam in others)


#: From the most to the least wanted.
CONTRASTS = ("T2", "PD", "T1", "unknown contrast", "fat-suppressed", "opposed-phase", "fat", "derived")
#: Of one contrast; empty for what is no part of a Dixon acquisition.
PARTS = ("", "water", "in-phase", "opposed-phase", "fat")
#: A stack with fewer slices than this may miss the midline, so any fuller series goes before it.
FEW_SLICES = 5
#: More parallel slices than this are no localizer, whatever it is called; nor is it when it has several planes.
LOCALIZER_SLICES = 9
#: Series whose middles are this far apart from head to foot show different regions.
APART_MM = 60.0
#: No more regions than this are compared.
MAX_REGIONS = 4
#: No more series than this are read beside the best one.
MAX_COMPANIONS = 4
_LAST_TO_COMPARE = CONTRASTS.index("fat-suppressed")


def is_localizer(series: Series, study: Sequence[Series]) -> bool:
    """Whether tags, name, or several planes of a few slices under one UID say that this is a localizer."""
    if "LOCALIZER" in series.first.image_type:
        return True
    alike = [other for other in study if other.first.series_uid == series.first.series_uid]
    own = sum(len(other.frames) for other in alike if other.plane == series.plane)
    others = sum(len(other.frames) for other in alike if other.plane != series.plane)
    if own > LOCALIZER_SLICES:
        return False
    is_stack = own >= FEW_SLICES and own >= 2 * others
    return is_called_localizer(series.first) or (others > 0 and not is_stack)


@dataclass(frozen=True, eq=False)
class Choice:
    """A series that can be used, with its slice order and the exam that it is of."""

    series: Series
    order: SliceOrder
    exam: Exam

    @property
    def height_mm(self) -> float:
        """How far up the patient the middle of the stack lies."""
        frame = self.series.first
        middle = [(frame.columns - 1) / 2, (frame.rows - 1) / 2, (len(self.order.frames) - 1) / 2]
        return float(apply(self.order.ras_from_ijk, middle)[2])


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
    good.sort(key=lambda choice: _rank(choice.series, choice.order, times.index(choice.exam.time)))
    here = _at_lumbar_places(good)
    return _water_first(here + [choice for choice in good if choice not in here])


def _at_lumbar_places(good: Sequence[Choice]) -> list[Choice]:
    """Those of the best one's exam that lie where a series that is called lumbar does; all of it when none is."""
    same = [choice for choice in good if choice.exam is good[0].exam]
    lumbar = [choice for choice in same if region_of(choice.series.first) == "lumbar"]
    return [choice for choice in same if not lumbar or any(not _apart(choice, other) for other in lumbar)]


def _water_first(good: list[Choice]) -> list[Choice]:
    """Of a Dixon acquisition the water image goes before its other parts, which may rank before all others."""
    best = good[0]
    if part_of(best.series.first) in ("", "water"):
        return good
    same = [c for c in good if c.exam is best.exam and _is_same_stack(c, best)]
    water = [c for c in same if part_of(c.series.first) == "water"][:1]
    return water + [c for c in good if c not in water]


def regions(good: Sequence[Choice]) -> list[Choice]:
    """The best one, and of what its names leave open the best in each other place: one of them is lumbar."""
    found = [good[0]]
    for choice in _at_lumbar_places(good):
        if _is_comparable(choice, good[0]) and all(_apart(choice, other) for other in found):
            found.append(choice)
    return found[:MAX_REGIONS]


def companions(good: Sequence[Choice]) -> list[Choice]:
    """The other sagittal stacks of the best one's exam that show the same place: their levels are those of the best."""
    best = good[0]
    beside = [choice for choice in good[1:] if choice.exam is best.exam and not _apart(choice, best)]
    return [choice for choice in beside if _is_comparable(choice, best)][:MAX_COMPANIONS]


def _is_comparable(choice: Choice, best: Choice) -> bool:
    frame = choice.series.first
    same_word = (region_of(frame) == "elsewhere") == (region_of(best.series.first) == "elsewhere")
    is_stack = len(choice.order.frames) >= FEW_SLICES and choice.series.plane == "sagittal"
    return same_word and is_stack and CONTRASTS.index(contrast_of(frame)) <= _LAST_TO_COMPARE


def _apart(one: Choice, other: Choice) -> bool:
    return abs(one.height_mm - other.height_mm) > APART_MM


def _is_same_stack(one: Choice, other: Choice) -> bool:
    same_size = len(one.order.frames) == len(other.order.frames)
    return same_size and bool(np.allclose(one.order.ras_from_ijk, other.order.ras_from_ijk, atol=0.1))


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
    area = float(np.prod(np.linalg.norm(order.ras_from_ijk[:3, :2], axis=0)))
    return (
        region_of(series.first) == "elsewhere",
        age,
        len(order.frames) < FEW_SLICES,
        series.plane != "sagittal",
        is_called_localizer(series.first),
        CONTRASTS.index(contrast_of(series.first)),
        PARTS.index(part_of(series.first)),
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
    return (
        f"{series_label(series)}{turned}, voxels {spacing} mm; wanted order: sagittal, then {', '.join(CONTRASTS[:5])}"
    )


def series_label(series: Series) -> str:
    """A series in a few words, as 'T2_TSE_SAG (sagittal T2, 18 slices)'."""
    name = series.first.description or series.first.series_uid or series.first.path.name
    modality = series.first.modality
    kind = contrast_of(series.first) if modality in ("MR", "") else modality
    count = len(series.frames)
    return f"{name} ({series.plane} {kind}, {count} {'slice' if count == 1 else 'slices'})"


def describe_study(study: Sequence[Series], limit: int = 12) -> str:
    """All series in a few words; the parts of one UID that lie in one plane are told as one."""
    merged: dict[tuple[str, str, str], list[Frame]] = {}
    for series in study:
        merged.setdefault((series.first.series_uid, series.plane, contrast_of(series.first)), []).extend(series.frames)
    texts = sorted(series_label(Series(tuple(frames))) for frames in merged.values())
    return ", ".join(texts[:limit]) + (f" and {len(texts) - limit} more" if len(texts) > limit else "")
