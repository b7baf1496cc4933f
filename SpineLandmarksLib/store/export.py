"""Everything that a store knows, as plain files, and back, so that nobody is locked in.

The files:

    landmarks.json            what `train` and `evaluate` read: the latest landmarks of the studies, images beside it
    markups/STUDY.mrk.json    the latest landmarks for 3D Slicer
    records/STUDY.json        the study, every revision, sign-off and choice
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, insert, select

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.errors import FormatError, StoreError
from SpineLandmarksLib.formats.atomic import copy_atomically, write_json_atomically
from SpineLandmarksLib.formats.landmarks_json import FILE_NAME, Annotation, write_landmarks_json
from SpineLandmarksLib.formats.slicer_markups import write_markups
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.geometry import is_inside
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.audit import log_event
from SpineLandmarksLib.store.blind import all_readings
from SpineLandmarksLib.store.store import Store, add_revision
from SpineLandmarksLib.store.study_record import StudyRecord, picture_of, pixel_of, slice_of

RECORDS, MARKUPS = "records", "markups"


def annotation_of(study: StudyRecord, revision: Revision, folder: Path) -> Annotation:
    """What a revision says of the slice that it speaks of, for training. Points beside the image are left out."""
    pixels = {mark.name: pixel_of(mark, study) for mark in revision.landmarks if not mark.is_absent}
    inside = {name: xy for name, xy in pixels.items() if xy is not None and is_inside(xy, study.size_wh)}
    image = picture_of(study, slice_of(revision.landmarks, study), folder)
    return Annotation(image, study.patient, inside, study.spacing_mm, study.spacing_is_estimated, study.size_wh)


def write_training_file(store: Store, revisions: Sequence[Revision]) -> Path:
    """`landmarks.json` in the data-set folder, from these revisions; one a study."""
    studies = {study.key: study for study in store.studies()}
    rows = [annotation_of(studies[revision.study], revision, store.folder) for revision in revisions]
    return write_landmarks_json(rows, store.folder)


def refresh_training_file(store: Store) -> None:
    """Have `landmarks.json` say what is signed off; none is made while nothing is."""
    revisions = store.signed_off()
    if revisions or (store.folder / FILE_NAME).exists():
        write_training_file(store, revisions)


def export(store: Store, output: Path, revisions: Sequence[Revision]) -> int:
    """Write the whole store to a folder of its own; `revisions` are what landmarks.json is to hold. Returns studies."""
    studies = {study.key: study for study in store.studies()}
    for folder in (RECORDS, MARKUPS, "images"):
        (output / folder).mkdir(parents=True, exist_ok=True)
    for study in studies.values():
        copy_atomically(store.folder / study.image, output / "images" / Path(study.image).name)
        write_json_atomically(output / RECORDS / f"{study.key}.json", record_of(store, study))
    rows = []
    for revision in revisions:
        write_markups(revision.landmarks, output / MARKUPS / f"{revision.study}.mrk.json")
        row = annotation_of(studies[revision.study], revision, store.folder)
        copy = output / "images" / row.image.name
        if not copy.is_file():
            copy_atomically(row.image, copy)
        rows.append(Annotation(copy, row.group, row.points_xy, row.spacing_mm, row.spacing_is_estimated, row.size_wh))
    write_landmarks_json(rows, output)
    return len(studies)


def record_of(store: Store, study: StudyRecord) -> dict[str, Any]:
    """Everything the store knows of one study."""
    history = store.history(study.key)
    ids = [revision.id for revision in history]
    with store.snapshot() as connection:
        signed = connection.execute(select(t.sign_offs).where(t.sign_offs.c.revision.in_(ids))).mappings().all()
        chosen = connection.execute(select(t.choices).where(t.choices.c.dropped.in_(ids))).mappings().all()
        readings = [one for one in all_readings(connection) if one.study == study.key]
    return {
        "study": study.as_json(),
        "revisions": [revision.as_json() for revision in history],
        "sign_offs": [dict(row) for row in signed],
        "choices": [dict(row) for row in chosen],
        "readings": [asdict(reading) for reading in readings],
    }


def import_record(store: Store, file: Path) -> tuple[str, int]:
    """Take in `records/STUDY.json` of an export; what is there already stays. Returns the study and what was added.

    Taking it in again adds nothing. Raises FormatError, and StoreError where the image is another study's here.
    """
    fields = Fields.of(load_json(file), str(file))
    study = StudyRecord.from_json(fields.values.get("study"), str(file))
    revisions = [Revision.from_json(item.values, item.where) for item in fields.objects("revisions")]
    known = store.key_of_image(study.image_sha256)
    if known not in (None, study.key):
        raise StoreError(
            f"{file}: its image is that of study {known} here. Rename one of the two "
            "studies before the revisions are brought together"
        )
    if known is None:
        _copy_image(study, file.parent.parent, store.folder)
        store.add_study(study)
    with store.transaction() as connection:
        added = sum(not add_revision(connection, revision, store.where).repeated for revision in revisions)
        for name, table, key in (("sign_offs", t.sign_offs, "revision"), ("choices", t.choices, "dropped")):
            have = set(connection.scalars(select(table.c[key])))
            rows = [item.values for item in fields.objects(name) if item.text(key) not in have]
            if rows:
                connection.execute(insert(table), rows)
            if name == "sign_offs":
                for row in rows:
                    log_event(connection, row["author"], "signed", study.key, row["revision"], "imported")
        _import_readings(connection, fields, study.key)
    return study.key, added


def _import_readings(connection: Connection, fields: Fields, study: str) -> None:
    """Those that have ended; one that goes on here or there is its own."""
    have = set(connection.scalars(select(t.readings.c.id)))
    for item in fields.objects("readings") if fields.has("readings") else ():
        row, parts = {**item.values}, [part.values for part in item.objects("parts")]
        del row["parts"]
        if row["id"] not in have and row["closed"]:
            row["after"] = _last_before(connection, study, [part["person"] for part in parts])
            connection.execute(insert(t.readings).values(row))
            connection.execute(insert(t.readers), [{"reading": row["id"], **part} for part in parts])
            log_event(connection, row["author"], "assigned", study, detail="imported")


def _last_before(connection: Connection, study: str, people: Sequence[str]) -> int:
    """Number of the last revision before the first by these people; numbers differ from store to store."""
    c = t.revisions.c
    first = connection.scalar(select(func.min(c.number)).where((c.study == study) & c.author.in_(people)))
    return (first or 1) - 1


def _copy_image(study: StudyRecord, source: Path, folder: Path) -> None:
    found, target = source / "images" / Path(study.image).name, folder / study.image
    if not found.is_file():
        raise FormatError(f"Expected the image of study {study.key} in {found}; there is none")
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        copy_atomically(found, target)
