"""Is everything in the store whole, and does it still fit the files of the data set?"""

from __future__ import annotations

import json
from dataclasses import dataclass

from sqlalchemy import Connection, select, text

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.review import tables as t
from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.study import image_problems
from SpineLandmarksLib.review.unsaved import waiting


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (an error), or that somebody has to do or look at. text: one sentence, with the study."""

    text: str
    is_error: bool = True


def check_store(store: Store) -> list[Finding]:
    """Everything that is wrong with the records; none in a sound store. Forks and files set aside are to be done."""
    with store.snapshot() as connection:
        found = [Finding(problem) for problem in (*_damage(connection), *_bad_revisions(connection))]
    for study, heads in store.forks().items():
        ends = ", ".join(f"{one.id} by {one.author}" for one in heads)
        found.append(Finding(f"{study}: {len(heads)} versions stand side by side: {ends}. Choose one", False))
    for file, revision in waiting(store.folder):
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
