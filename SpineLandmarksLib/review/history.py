"""The history of one study inside a transaction: adding a revision, and finding where the history ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from sqlalchemy import Connection, insert, select, update

from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.review import tables as t
from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.study import Study


@dataclass(frozen=True)
class Saved:
    """id: of the revision. repeated: it was there already. fork: other ends that it now stands beside, by id.
    notes: what a person should be told.
    """

    id: str
    repeated: bool = False
    fork: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def add_revision(connection: Connection, revision: Revision, where: str) -> Saved:
    """Add a revision unless it is there; keeps the author's assignment of the study alive."""
    study = lock_study(connection, revision.study, where)
    if connection.scalar(select(t.revisions.c.number).where(t.revisions.c.id == revision.id)) is not None:
        return Saved(revision.id, repeated=True)
    row = {
        "id": revision.id,
        "study": revision.study,
        "parent": revision.parent,
        "author": revision.author,
        "time": revision.time.isoformat(),
        "source_model": revision.source_model,
        "seconds_spent": revision.seconds_spent,
        "content": as_text(revision.as_json()),
    }
    connection.execute(insert(t.revisions).values(row))
    mine = (t.assignments.c.study == revision.study) & (t.assignments.c.annotator == revision.author)
    connection.execute(update(t.assignments).where(mine).values(time=now()))
    ends = heads_of(connection, revision.study)
    fork = tuple(one for one in ends if one != revision.id) if revision.id in ends else ()
    return Saved(revision.id, fork=fork, notes=_notes(revision, study, fork))


def _notes(revision: Revision, study: Study, fork: Sequence[str]) -> tuple[str, ...]:
    notes = []
    if fork:
        notes.append(
            f"Somebody else has saved {study.key} since you began. Both versions are kept "
            f"({', '.join((revision.id, *fork))}); one of them has to be chosen"
        )
    same_file = revision.image.path == study.image and revision.image.sha256 is not None
    if same_file and revision.image.sha256 != study.image_sha256:
        notes.append(
            f"The image of {study.key} has changed since it was added. The points are kept; look whether "
            "they fit the original"
        )
    return tuple(notes)


def heads_of(connection: Connection, study: str) -> list[str]:
    """Ids of the ends of a study's history, oldest first. A prediction counts where there is nothing by a person."""
    c = t.revisions.c
    of_study = select(c.id, c.parent, c.author, c.source_model).where(c.study == study).order_by(c.number)
    rows = connection.execute(of_study).all()
    in_study = t.choices.join(t.revisions, c.id == t.choices.c.dropped)
    dropped = set(connection.scalars(select(t.choices.c.dropped).select_from(in_study).where(c.study == study)))
    parents = {row.parent for row in rows}
    ends = [row for row in rows if row.id not in parents and row.id not in dropped]
    by_people = [row.id for row in ends if row.author != row.source_model]
    return by_people or [row.id for row in ends][-1:]


def lock_study(connection: Connection, study: str, where: str) -> Study:
    """Let one writer at a time change a study. SQLite has locked the whole store already."""
    content = connection.scalar(select(t.studies.c.content).where(t.studies.c.key == study).with_for_update())
    if content is None:
        raise no_study(study, where)
    return Study.from_json(json.loads(content), f"study {study}")


def no_study(key: str, where: str) -> StoreError:
    return StoreError(f"Expected a study of {where}; got {key!r}. Add it first: spine-landmarks dataset add")


def as_text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def now() -> str:
    """The time in UTC as the store keeps it."""
    return utc_now().isoformat(timespec="seconds")


def utc_now() -> datetime:
    return datetime.now(timezone.utc)
