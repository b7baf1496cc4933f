"""Whether a data set is sound, and where it stands: its records, files, landmarks, and names of people in headers.

Two neighbouring landmarks (a body and the disc beside it) are half a level apart. In 294 annotated slices of two
sources that step is 0.58 to 1.49 times the median step of its spine, and 10 to 30 mm; beyond 0.45 to 1.8 times, or 7 to
35 mm where the spacing was measured, something is named or placed wrongly.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile
from pathlib import Path
from statistics import median

import numpy as np
from sqlalchemy import Connection, func, select, text

from SpineLandmarksLib.annotation.plausibility import (
    Expected,
    better_reading,
    course_of,
    fits_both_ways,
    known_positions,
)
from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.annotation.revision_files import recovery_files
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.geometry import is_inside
from SpineLandmarksLib.imaging.discover import read_tags
from SpineLandmarksLib.landmarks import LandmarkSet, PixelXY, name_at_level
from SpineLandmarksLib.splits import locked_patients
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.annotations import FROM_FILE
from SpineLandmarksLib.store.audit import audit_problems
from SpineLandmarksLib.store.exclusions import exclusions
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, image_problems, pixel_of
from SpineLandmarksLib.store.work import team_work, work_lines

STEP_RATIO = (0.45, 1.8)
STEP_MM = (7.0, 35.0)
#: Two names on one place, in pixels.
SAME_PLACE_PX = 1.0
#: Attributes that name a person. DICOM PS3.15 table E.1-1 has hundreds more, which `dataset anonymize` takes out.
PERSONAL = tuple(
    """
    PatientName PatientBirthDate OtherPatientNames OtherPatientIDs PatientAddress PatientTelephoneNumbers
    ReferringPhysicianName PerformingPhysicianName OperatorsName InstitutionName
    """.split()
)
#: What anonymizers leave behind.
_NOBODY = ("", "ANONYMIZED", "ANONYMOUS", "ANON", "NONE", "UNKNOWN", "00010101")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (an error), or that somebody has to do or look at. text: one sentence, with the study."""

    text: str
    is_error: bool = True


def check_dataset(store: Store) -> list[Finding]:
    """Everything that is wrong or left to do in a data set."""
    found = [*check_store(store), *check_files(store)]
    heads = store.all_heads()
    for study in store.studies():
        history = store.history(study.key)
        for head in heads.get(study.key, []):
            found += check_landmarks(study, head, before(history, head))
        if study.source:
            found += [Finding(f"{study.key}: {text}") for text in names_in_headers(store.folder / study.source)]
    return found


def check_store(store: Store) -> list[Finding]:
    """Everything that is wrong with the records; none in a sound store. Forks and files set aside are to be done."""
    with store.snapshot() as connection:
        problems = (*_damage(connection), *_bad_revisions(connection), *audit_problems(connection))
        found = [Finding(problem) for problem in problems]
    for study, heads in store.forks().items():
        ends = ", ".join(f"{one.id} by {one.author}" for one in heads)
        found.append(Finding(f"{study}: {len(heads)} versions stand side by side: {ends}. Choose one", False))
    for file, revision in recovery_files(store.folder):
        lies = f"{file} waits to be saved"
        found.append(Finding(lies, False) if isinstance(revision, Revision) else Finding(str(revision)))
    return found


def check_files(store: Store) -> list[Finding]:
    """Images and sources that are missing or have changed since they were annotated."""
    return [Finding(problem) for study in store.studies() for problem in image_problems(study, store.folder)]


def _damage(connection: Connection) -> list[str]:
    """What SQLite finds in its own file; PostgreSQL checks its pages when it reads them."""
    if connection.dialect.name != "sqlite":
        return []
    pages = [row[0] for row in connection.execute(text("PRAGMA integrity_check")) if row[0] != "ok"]
    keys = [f"a record of {row[0]} belongs to nothing" for row in connection.execute(text("PRAGMA foreign_key_check"))]
    return [f"The store is damaged: {problem}" for problem in (*pages, *keys)]


def _bad_revisions(connection: Connection) -> list[str]:
    rows = connection.execute(select(t.revisions).order_by(t.revisions.c.number)).all()
    study_of = {row.id: row.study for row in rows}
    problems = []
    for row in rows:
        try:
            revision = Revision.from_json(json.loads(row.content), f"revision {row.id} of {row.study}")
        except (FormatError, ValueError) as error:
            problems.append(str(error))
            continue
        columns = (row.id, row.study, row.parent, row.author, row.time)
        if columns != (revision.id, revision.study, revision.parent, revision.author, revision.time.isoformat()):
            problems.append(f"revision {row.id} of {row.study}: its content says otherwise than its columns")
        if row.parent is not None and study_of.get(row.parent) != row.study:
            problems.append(f"{row.study}: revision {row.id} was made from {row.parent}, which is not in the store")
    return problems


def before(history: Sequence[Revision], revision: Revision) -> list[Revision]:
    """The revisions that came before one."""
    return list(takewhile(lambda one: one.id != revision.id, history))


def misread(study: StudyRecord, revision: Revision, earlier: Sequence[Revision]) -> str | None:
    """That the points seem to have been read in the wrong frame or unit; None when they do not. earlier: revisions.

    Without these, only what came from a file is doubted: who places points on the picture sees what he does.
    """
    points, course = known_positions(revision.landmarks), course_of(earlier)
    is_from_file = revision.comment.startswith(FROM_FILE)
    if revision.is_prediction or study.matrix is None or not points or not (course or is_from_file):
        return None
    other = better_reading(points, Expected(study.contains, course), (10.0, 1000.0))
    if other is None:
        return None
    how = ["with R and A reversed"] * other.mirrored + [f"{other.factor:g} times as large"] * (other.factor != 1)
    return (
        f"{study.key} ({revision.author}): the points do not lie where this spine does; {' and '.join(how)} they "
        "would. Import their file again, with --frame or --unit"
    )


def ambiguity(study: StudyRecord, revision: Revision, earlier: Sequence[Revision]) -> str | None:
    """That nothing tells whether the points of a file are of the frame that it says; None where something does."""
    points = known_positions(revision.landmarks)
    if not revision.comment.startswith(FROM_FILE) or study.matrix is None:
        return None
    both = fits_both_ways(points, Expected(study.contains, course_of(earlier)))
    return (
        "with R and A reversed the points would lie in the image as well, and nothing tells which is right" * both
        or None
    )


def misreadings(store: Store, revisions: Sequence[Revision]) -> list[str]:
    """What `misread` says of each."""
    found = [misread(store.study(one.study), one, before(store.history(one.study), one)) for one in revisions]
    return [text for text in found if text is not None]


def check_landmarks(study: StudyRecord, revision: Revision, earlier: Sequence[Revision] = ()) -> list[Finding]:
    """What is odd in one revision, and beside earlier ones. A landmark that nobody has seen is told, and no error."""
    here = f"{study.key} ({revision.author})"
    absent = [mark.name for mark in revision.landmarks if mark.is_absent]
    found = [Finding(f"{here}: {text}") for text in implausible(study, revision.landmarks)]
    wrong_frame = misread(study, revision, earlier)
    if wrong_frame:
        found.insert(0, Finding(wrong_frame))
    if absent and not revision.undecided:
        found.append(Finding(f"{here}: without a point: {', '.join(absent)}", False))
    if revision.comment and "became" in revision.comment:
        found.append(Finding(f"{here}: mended on reading: {revision.comment}", False))
    return found


def implausible(study: StudyRecord, landmarks: LandmarkSet) -> list[str]:
    """What cannot be right in the landmarks of a study, each in a sentence; none as a rule."""
    points = {mark.name: pixel_of(mark, study) for mark in landmarks if not mark.is_absent}
    unknown = [name for name, xy in points.items() if xy is None]
    known = {name: xy for name, xy in points.items() if xy is not None}
    outside = [name for name, xy in known.items() if not is_inside(xy, study.size_wh)]
    found = list(_odd_chain(known, study))
    if outside:
        found.append(f"{', '.join(outside)} outside the image of {' x '.join(map(str, study.size_wh))}")
    if unknown:
        found.append(f"{', '.join(unknown)} in millimetres, but the image has no known spacing")
    return found


def _odd_chain(points: dict[str, PixelXY], study: StudyRecord) -> Iterator[str]:
    """Neighbours that stand in the wrong order, on one place, or at an implausible distance. points: head to foot."""
    mm = np.array(study.spacing_mm or (1.0, 1.0))
    for upper, lower in (pair for column in _columns(points) for pair in pairwise(column)):
        a, b = points[upper], points[lower]
        if np.hypot(*np.subtract(a, b)) < SAME_PLACE_PX:
            yield f"{upper} and {lower} lie on one place"
        elif b[1] < a[1]:
            yield f"{lower} lies above {upper}: their names may be swapped"
    steps = {
        (one, two): float(np.hypot(*(np.subtract(points[two], points[one]) * mm)))
        for one, two in pairwise(points)
        if _are_neighbours(one, two)
    }
    middle = float(np.median(list(steps.values()))) if len(steps) > 2 else None
    measured = study.spacing_mm is not None and not study.spacing_is_estimated
    for (one, two), step in steps.items():
        if middle and not STEP_RATIO[0] <= step / middle <= STEP_RATIO[1]:
            yield f"{one} and {two} are {step / middle:.2f} times as far apart as neighbours of this spine are"
        elif measured and not STEP_MM[0] <= step <= STEP_MM[1]:
            yield f"{one} and {two} are {step:.1f} mm apart; {STEP_MM[0]:g} to {STEP_MM[1]:g} mm are plausible"


def _columns(names: Iterable[str]) -> list[list[str]]:
    """Names that follow each other from the head down: all bodies and discs, or all corners of one side.

    >>> _columns(["L1.sup.ant", "L1.sup.post", "L1.inf.ant", "p01"]), _columns(["L1", "L1-L2"])
    ([['L1.sup.ant', 'L1.inf.ant'], ['L1.sup.post']], [['L1', 'L1-L2']])
    """
    columns: dict[str, list[str]] = {}
    for name in names:
        if name_at_level(name, 0) is not None:
            columns.setdefault(name.rpartition(".")[2] if "." in name else "", []).append(name)
    return list(columns.values())


def _are_neighbours(one: str, two: str) -> bool:
    """A body and a disc that has its name in it, or two names of another schema.

    >>> _are_neighbours("L1", "L1-L2"), _are_neighbours("L1", "L2"), _are_neighbours("L1-L2", "L2")
    (True, False, True)
    """
    discs = [name for name in (one, two) if "-" in name]
    body = next((name for name in (one, two) if "-" not in name), None)
    return len(discs) == 1 and body in discs[0].split("-")


def names_in_headers(source: Path, most: int = 3) -> list[str]:
    """Which attributes of a study's DICOM files still name somebody; the names themselves are not repeated.

    One file of each folder is read, for the files of a series agree in this.
    """
    problems = []
    for file in _one_file_a_folder(source):
        filled = _filled(file)
        if filled:
            problems.append(
                f"DICOM headers are not anonymous ({', '.join(filled)} in {file.parent.name}/). "
                "Run: spine-landmarks dataset anonymize"
            )
    return problems[:most]


def _filled(file: Path) -> list[str]:
    tags = read_tags(file, ["PatientIdentityRemoved", *PERSONAL]) or {}
    if tags.get("PatientIdentityRemoved") == "YES":
        return []
    return [tag for tag in PERSONAL if tags.get(tag, "").strip().upper() not in _NOBODY]


def _one_file_a_folder(source: Path) -> Iterator[Path]:
    if source.is_file():
        yield source
    elif source.is_dir():
        for folder, _, names in os.walk(source):
            yield from [Path(folder) / name for name in sorted(names) if not name.startswith(".")][:1]


def status_lines(store: Store) -> list[str]:
    """Counts of studies by how far they are, the hold-out, who has what, and the time it took."""
    studies = store.studies()
    ends = store.all_heads()
    signed = {revision.study for revision in store.signed_off()}
    locked = locked_patients(store.folder)
    by_people = {key for key, heads in ends.items() if any(not head.is_prediction for head in heads)}
    predicted = {key for key, heads in ends.items() if heads} - by_people
    held_out = [study for study in studies if study.patient in locked]
    lines = [
        f"{len(studies)} studies of {len({study.patient for study in studies})} patients in {store.where}",
        f"  signed off   {len(signed)}",
        f"  annotated    {len(by_people - signed)}, not signed off",
        f"  predicted    {len(predicted)}",
        f"  untouched    {len(studies) - len(by_people) - len(predicted)}",
        f"  locked       {len(held_out)} studies of {len(locked)} patients, "
        f"{sum(study.key in signed for study in held_out)} of them signed off",
    ]
    out = exclusions(store)
    if out:
        reasons = Counter(one.reason for one in out.values()).most_common()
        lines.append(f"  left out     {len(out)}: {', '.join(f'{count} {reason}' for reason, count in reasons)}")
    forks = [key for key, heads in ends.items() if len(heads) > 1]
    if forks:
        lines.append(f"  forked       {len(forks)}, choose one version of each: {', '.join(forks[:5])}")
    lines += [f"  waiting      {file}" for file, _ in recovery_files(store.folder)]
    assigned = Counter(store.assignments().values())
    lines += [f"{name} has {count} studies" for name, count in sorted(assigned.items())]
    return [*lines, *_time_lines(store), *work_lines(team_work(store, signed))]


def _time_lines(store: Store) -> list[str]:
    """What people spent on each study, in all its revisions."""
    c = t.revisions.c
    sums = select(func.sum(c.seconds_spent)).where(t.BY_PEOPLE).group_by(c.study)
    with store.snapshot() as connection:
        spent = [seconds for seconds in connection.scalars(sums) if seconds > 0]
    if not spent:
        return []
    return [f"Correcting took {sum(spent) / 60:.0f} min for {len(spent)} studies, {median(spent):.0f} s in the median"]
