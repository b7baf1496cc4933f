"""The exams of one patient in one input: a disc with the prior, a folder that grew. The newest counts, unless asked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.dicom_series import Series


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
    """Whether the dates do not say that this is the newest exam with MR."""
    others = [exam for exam in exams if exam.has_mr and exam is not chosen]
    return any(not exam.time or exam.time >= chosen.time for exam in others)
