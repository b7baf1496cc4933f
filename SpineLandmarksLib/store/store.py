"""The store of a data set: its studies, and every revision of their landmarks that was ever saved.

Saving never waits for people and never overwrites: a revision made from one that is no longer the latest is kept beside
it, a fork, which is listed until somebody chooses one of its ends. A prediction never competes with a person's work.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Select, delete, insert, select, true, update

from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import spool
from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.landmarks import Schema
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import account_of
from SpineLandmarksLib.store.audit import log_event
from SpineLandmarksLib.store.blind import ARBITER, READER, hidden, open_readings
from SpineLandmarksLib.store.database import lock_all, now, translate_errors
from SpineLandmarksLib.store.study_record import StudyRecord

#: Revisions that are read at once; a database takes so many values in a question.
PART = 500


@dataclass(frozen=True)
class SignOff:
    revision: str
    author: str
    time: str


@dataclass(frozen=True)
class Saved:
    """id: of the revision. repeated: it was there already. fork: other ends that it now stands beside, by id.
    notes: what a person should be told.
    """

    id: str
    repeated: bool = False
    fork: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Store:
    """An open store, closed at the end of a `with` block.

    Every method is one transaction, and raises StoreError in plain words when it cannot be done.
    """

    def __init__(self, engine: Engine, folder: Path, where: str) -> None:
        self.engine, self.folder, self.where = engine, folder, where

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.engine.dispose()

    @cached_property
    def schema(self) -> Schema:
        """The landmarks of the data set. Raises FormatError for a damaged `schema.json`."""
        return schema_of(self.folder)

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """One that may write."""
        with translate_errors(self.where), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """One that only reads; no writer waits for it."""
        with translate_errors(self.where), self.engine.execution_options(reads=True).begin() as connection:
            yield connection

    # Studies

    def add_study(self, study: StudyRecord, revisions: Sequence[Revision] = ()) -> None:
        """A study with what is known of it, or nothing. StoreError for a name or an image that is there already."""
        c = t.studies.c
        with self.transaction() as connection:
            taken = connection.scalar(select(c.key).where(c.key == study.key))
            same = connection.scalar(select(c.key).where(c.image_sha256 == study.image_sha256))
            if same is not None:
                raise StoreError(f"Expected a new image; {study.key} shows the same one as study {same}")
            if taken is not None:
                raise StoreError(f"Expected a new study; there is another one called {study.key}. Rename one of them")
            row = {"key": study.key, "patient": study.patient, "image_sha256": study.image_sha256}
            connection.execute(insert(t.studies).values(**row, content=_as_text(study.as_json())))
            for revision in revisions:
                add_revision(connection, revision, self.where)

    def studies(self) -> list[StudyRecord]:
        """All, by name."""
        with self.snapshot() as connection:
            rows = connection.execute(select(t.studies.c.key, t.studies.c.content).order_by(t.studies.c.key)).all()
        return [_study(key, content) for key, content in rows]

    def study_keys(self) -> list[str]:
        """Names of all studies, without what is said of them."""
        with self.snapshot() as connection:
            return list(connection.scalars(select(t.studies.c.key).order_by(t.studies.c.key)))

    def key_of_image(self, sha256: str) -> str | None:
        """The study that shows this image."""
        with self.snapshot() as connection:
            return connection.scalar(select(t.studies.c.key).where(t.studies.c.image_sha256 == sha256))

    def study(self, key: str) -> StudyRecord:
        with self.snapshot() as connection:
            return _find_study(connection, select(t.studies.c.content), key, self.where)

    # Revisions

    def save(self, revision: Revision) -> Saved:
        """Add a revision; when this returns it is on the disk. Saving it twice adds nothing.

        Where the store cannot take it, it is set aside in a file, and the StoreError says where. Where there are
        accounts, it takes no sign-off away: it is kept beside, and the notes say so.
        """
        try:
            with self.transaction() as connection:
                return _add_beside_sign_off(connection, revision, self.where)
        except StoreError as error:
            file = spool(revision, self.folder)
            kept = "It could not be written to any file either: keep this window open"
            if file is not None:
                command = f"spine-landmarks dataset import {self.folder} {file}"
                kept = f"Nothing is lost: the correction lies in {file}. Go on with: {command}"
            raise StoreError(f"{error}. {kept}") from error

    def history(self, study: str) -> list[Revision]:
        """Every revision of a study, in the order in which they came."""
        return self._read(select(t.revisions.c.content).where(t.revisions.c.study == study))

    def revision(self, revision: str) -> Revision:
        found = self._revisions([revision])
        if not found:
            raise StoreError(f"Expected a revision of {self.where}; got {revision!r}")
        return found[0]

    def heads(self, study: str) -> list[Revision]:
        """The ends of the study's history: none before anything is saved, one as a rule, several where it forked."""
        with self.snapshot() as connection:
            return self._revisions(heads_of(connection, study))

    def all_heads(self) -> dict[str, list[Revision]]:
        """The same of every study that has any, in as few queries as one study takes."""
        with self.snapshot() as connection:
            heads = all_heads_of(connection)
        known = {one.id: one for one in self._revisions([head for ends in heads.values() for head in ends])}
        return {study: [known[head] for head in ends] for study, ends in heads.items()}

    def head(self, study: str) -> Revision | None:
        """The latest state of a study. StoreError where it forked and nobody has chosen."""
        heads = self.heads(study)
        if len(heads) > 1:
            ends = ", ".join(f"{one.id} by {one.author}" for one in heads)
            raise StoreError(
                f"Expected one latest state of {study}; it has {len(heads)}: {ends}. Choose one with: "
                f"spine-landmarks dataset choose {self.folder} {study} ID"
            )
        return heads[0] if heads else None

    def forks(self) -> dict[str, list[Revision]]:
        """The studies with more than one end, and those ends."""
        with self.snapshot() as connection:
            forked = {study: ends for study, ends in all_heads_of(connection).items() if len(ends) > 1}
        return {study: self._revisions(ends) for study, ends in sorted(forked.items())}

    def choose(self, study: str, revision: str, author: str, seen: Collection[str] | None = None) -> list[str]:
        """Go on from one end of a fork. The others stay in the history; returns their ids.

        seen: the ends that the author knows; StoreError where there is another one.
        """
        with self.transaction() as connection:
            lock_study(connection, study, self.where)
            heads = heads_of(connection, study)
            if revision not in heads:
                raise StoreError(f"Expected one of the ends of {study} ({', '.join(heads)}); got {revision!r}")
            dropped = [one for one in heads if one != revision]
            if seen is not None and not set(dropped) <= set(seen):
                raise StoreError(
                    f"{study}: another version was saved meanwhile. Nothing was set aside; open the study again"
                )
            if dropped:
                drop(connection, dropped, revision, author)
                log_event(connection, author, "chosen", study, revision, f"set aside: {', '.join(dropped)}")
        return dropped

    # Sign-offs

    def sign_off(self, revision: str, author: str) -> None:
        """Say that a revision is right. StoreError unless it is the one end, and each landmark was decided on."""
        found = self.revision(revision)
        if found.undecided:
            raise StoreError(
                f"{found.study}: expected each landmark confirmed, corrected or marked as not visible; "
                f"still as predicted: {', '.join(found.undecided)}"
            )
        with self.transaction() as connection:
            lock_study(connection, found.study, self.where)
            heads = heads_of(connection, found.study)
            if heads != [revision]:
                raise StoreError(
                    f"{found.study}: expected the latest revision, with no other beside it; the latest: "
                    f"{', '.join(heads)}; got {revision}"
                )
            if connection.scalar(select(t.sign_offs.c.author).where(t.sign_offs.c.revision == revision)) is None:
                connection.execute(insert(t.sign_offs).values(revision=revision, author=author, time=now()))
                log_event(connection, author, "signed", found.study, revision)

    def signed_by(self, revision: str) -> str:
        """Who has signed this revision off; "" for nobody."""
        with self.snapshot() as connection:
            return connection.scalar(select(t.sign_offs.c.author).where(t.sign_offs.c.revision == revision)) or ""

    def sign_offs(self) -> dict[str, SignOff]:
        """By revision id."""
        with self.snapshot() as connection:
            rows = connection.execute(select(t.sign_offs)).all()
        return {row.revision: SignOff(row.revision, row.author, row.time) for row in rows}

    def signed_off(self) -> list[Revision]:
        """The latest revision of every study whose latest revision was signed off, by study; none that was left out."""
        return sorted(self._revisions(list(self.signed_heads().values())), key=lambda one: one.study)

    def signed_heads(self) -> dict[str, str]:
        """The ids of these, by study."""
        with self.snapshot() as connection:
            signed = set(connection.scalars(select(t.sign_offs.c.revision)))
            left_out = set(connection.scalars(select(t.exclusions.c.study)))
            heads = {study: ends for study, ends in all_heads_of(connection).items() if study not in left_out}
        return {study: ends[0] for study, ends in heads.items() if len(ends) == 1 and ends[0] in signed}

    # Assignments

    def take(self, order: Sequence[str], annotator: str, idle: timedelta = timedelta(hours=12)) -> str | None:
        """Assign the first study of `order` that no other annotator has, and return it; None when there is none.

        An assignment that has seen no save for `idle` is free again: somebody closed a window. What is read blind is
        for its readers alone, and kept for them.
        """
        limit = (utc_now() - idle).isoformat(timespec="seconds")
        with self.transaction() as connection:
            lock_all(connection)
            rows = connection.execute(select(t.assignments)).all()
            others = {row.study for row in rows if row.annotator != annotator and row.time > limit}
            account = account_of(connection, annotator)
            views = {key: (one, one.view(account)) for key, one in open_readings(connection).items()}
            blind = {key: one for key, (one, view) in views.items() if view in ("own", "decide")}
            others = (others - set(blind)) | {key for key, (_, view) in views.items() if view == "closed"}
            study = next((key for key in order if key not in others), None)
            if study is not None and study not in blind:
                _assign(connection, study, annotator)
            elif study is not None and blind[study].part_of(annotator) is None:
                part = READER if views[study][1] == "own" else ARBITER
                connection.execute(insert(t.readers).values(reading=blind[study].id, person=annotator, part=part))
            if study is not None:
                log_event(connection, annotator, "opened", study)
        return study

    def assign(self, study: str, annotator: str) -> None:
        """Give a study to an annotator, whoever had it."""
        with self.transaction() as connection:
            lock_study(connection, study, self.where)
            _assign(connection, study, annotator)

    def release(self, study: str) -> None:
        with self.transaction() as connection:
            connection.execute(delete(t.assignments).where(t.assignments.c.study == study))

    def assignments(self) -> dict[str, str]:
        """The annotator of each study that has one."""
        with self.snapshot() as connection:
            return {row.study: row.annotator for row in connection.execute(select(t.assignments))}

    def _revisions(self, ids: Sequence[str]) -> list[Revision]:
        """In the order in which they came."""
        parts = [ids[start : start + PART] for start in range(0, len(ids), PART)]
        contents = [self._read(select(t.revisions.c.content).where(t.revisions.c.id.in_(part))) for part in parts]
        return [one for part in contents for one in part]

    def _read(self, query: Select[Any]) -> list[Revision]:
        with self.snapshot() as connection:
            contents = connection.scalars(query.order_by(t.revisions.c.number)).all()
        return [Revision.from_json(json.loads(content), self.where) for content in contents]


def drop(connection: Connection, dropped: Sequence[str], kept: str, author: str) -> None:
    """Set ends of a study's history aside in favour of another."""
    rows = [{"dropped": one, "kept": kept, "author": author, "time": now()} for one in dropped]
    if rows:
        connection.execute(insert(t.choices), rows)


def _assign(connection: Connection, study: str, annotator: str) -> None:
    connection.execute(delete(t.assignments).where(t.assignments.c.study == study))
    connection.execute(insert(t.assignments).values(study=study, annotator=annotator, time=now()))


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
        "content": _as_text(revision.as_json()),
    }
    connection.execute(insert(t.revisions).values(row))
    mine = (t.assignments.c.study == revision.study) & (t.assignments.c.annotator == revision.author)
    connection.execute(update(t.assignments).where(mine).values(time=now()))
    if revision.merged:
        known = connection.scalars(select(t.revisions.c.id).where(t.revisions.c.id.in_(revision.merged)))
        drop(connection, known.all(), revision.id, revision.author)
    ends = heads_of(connection, revision.study)
    fork = tuple(one for one in ends if one != revision.id) if revision.id in ends else ()
    return Saved(revision.id, fork=fork, notes=_notes(revision, study, fork))


def _add_beside_sign_off(connection: Connection, revision: Revision, where: str) -> Saved:
    """Add a revision; it is set aside where the study is signed off, which is a lead's to change."""
    study = lock_study(connection, revision.study, where)
    sealed = _sealed(connection, revision)
    if sealed is not None and sealed.revision in revision.merged:
        raise StoreError(f"Expected a study that is open; {revision.study} is signed off by {sealed.author}")
    saved = add_revision(connection, revision, where)
    if sealed is None or heads_of(connection, revision.study) == [sealed.revision]:
        return saved
    drop(connection, [revision.id], sealed.revision, revision.author)
    note = (
        f"{revision.study} is signed off by {sealed.author}, and stays so. This version is kept in its history; a lead "
        "can reopen the study, with a reason"
    )
    return Saved(saved.id, notes=(note, *_notes(revision, study, ())))


def _sealed(connection: Connection, revision: Revision) -> Any:
    """The sign-off of the study's one end, where there are accounts and thus leads; else None."""
    if account_of(connection, revision.author).role is None:
        return None
    heads = heads_of(connection, revision.study)
    signed = select(t.sign_offs).where(t.sign_offs.c.revision.in_(heads))
    return connection.execute(signed).first() if len(heads) == 1 else None


def _notes(revision: Revision, study: StudyRecord, fork: Sequence[str]) -> tuple[str, ...]:
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
    """Ids of the ends of a study's history, oldest first. A prediction counts where there is nothing by a person; what
    somebody reads blind does not.
    """
    return _heads(connection, t.revisions.c.study == study).get(study, [])


def all_heads_of(connection: Connection) -> dict[str, list[str]]:
    """The same for all studies that have any, by study, in three queries."""
    return _heads(connection, true())


def _heads(connection: Connection, which: ColumnElement[bool]) -> dict[str, list[str]]:
    c = t.revisions.c
    columns = (c.study, c.id, c.parent, c.author, c.source_model)
    rows = connection.execute(select(*columns).where(which).order_by(c.number)).all()
    joined = t.choices.join(t.revisions, c.id == t.choices.c.dropped)
    query = select(t.choices.c.dropped, t.choices.c.kept).select_from(joined).where(which)
    chosen = {(row.dropped, row.kept) for row in connection.execute(query)}
    blind = set(connection.scalars(hidden().where(which)))
    rows = [row for row in rows if row.id not in blind]
    # What was set aside in favour of its own parent takes nothing from that.
    inner = {row.parent for row in rows if (row.id, row.parent) not in chosen} | {dropped for dropped, _ in chosen}
    ends: dict[str, list[Any]] = {}
    for row in rows:
        if row.id not in inner:
            ends.setdefault(row.study, []).append(row)
    return {study: _by_people(some) or [some[-1].id] for study, some in ends.items()}


def _by_people(ends: Sequence[Any]) -> list[str]:
    return [row.id for row in ends if row.author != row.source_model]


def lock_study(connection: Connection, study: str, where: str) -> StudyRecord:
    """Let one writer at a time change a study. SQLite has locked the whole store already."""
    return _find_study(connection, select(t.studies.c.content).with_for_update(), study, where)


def _find_study(connection: Connection, contents: Select[Any], key: str, where: str) -> StudyRecord:
    content = connection.scalar(contents.where(t.studies.c.key == key))
    if content is None:
        raise StoreError(f"Expected a study of {where}; got {key!r}. Add it first: spine-landmarks dataset add")
    return _study(key, content)


def _study(key: str, content: str) -> StudyRecord:
    return StudyRecord.from_json(json.loads(content), f"study {key}")


def _as_text(content: object) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
