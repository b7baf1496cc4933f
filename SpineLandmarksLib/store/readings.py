"""Double reading and gold cases: given to readers, read blind, compared, and brought together or decided.

When the last reader of a study signs, the points are compared (`annotation/consensus.py`). Where all agree, their mean
is saved as a revision made from theirs, signed off. Where they do not, a third person decides: what was agreed on is
there, each disputed landmark waits for a word, and what that person signs is the revision that ends the reading.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, delete, func, insert, select, update

from SpineLandmarksLib.annotation.consensus import (
    LIMIT_MM,
    Places,
    ReadingComparison,
    compare_readings,
    comparison_words,
    consensus_of,
    level_shift,
    with_numberings,
)
from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.formats.shared import complete_set
from SpineLandmarksLib.landmarks import UNREVIEWED, Landmark, LandmarkSet
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import account_of, require_role
from SpineLandmarksLib.store.audit import log_event
from SpineLandmarksLib.store.blind import (
    ARBITER,
    DOUBLE,
    GOLD,
    LEFT,
    MAKER,
    READER,
    BlindReading,
    ReadingView,
    all_readings,
    open_readings,
)
from SpineLandmarksLib.store.store import Store, add_revision, drop, heads_of, lock_study
from SpineLandmarksLib.store.study_record import StudyRecord, complete, pixel_of


@dataclass(frozen=True)
class Opinion:
    """What one reader has signed."""

    person: str
    landmarks: LandmarkSet


@dataclass(frozen=True)
class Standing:
    """What a person is to see of a study. revision: to go on from; landmarks: where these are to be others.

    opinions: of the readers, for who decides. words: what they differ in; disputed: in which landmarks. signed_by: who
    has signed `revision`.
    """

    view: ReadingView
    revision: Revision | None
    signed_by: str = ""
    landmarks: LandmarkSet | None = None
    opinions: tuple[Opinion, ...] = ()
    words: tuple[str, ...] = ()
    disputed: tuple[str, ...] = ()


# By a lead


def assign_readers(
    store: Store, study: str, people: Sequence[str], by: str, arbiter: str = "", limit_mm: float = LIMIT_MM
) -> str:
    """Give a study to two readers or more, none of whom sees the others' points; returns the reading's id.

    arbiter: who decides where they differ; "" for any lead. Raises AccessError and StoreError.
    """
    names = list(dict.fromkeys(" ".join(name.split()) for name in people))
    if len(names) < 2 or "" in names or arbiter in names or not limit_mm > 0:
        raise StoreError(
            f"Expected two readers or more, somebody else to decide, and a limit above 0 mm; got {', '.join(names)}"
            f"{f', and {arbiter} to decide' if arbiter else ''}, {limit_mm:g} mm"
        )
    with store.transaction() as connection:
        _require_free(connection, store, study, by, "give a study to readers")
        _require_accounts(connection, [*names, *([arbiter] if arbiter else [])])
        parts = [(name, READER) for name in names] + [(arbiter, ARBITER)] * bool(arbiter)
        found = _begin(connection, study, DOUBLE, by, parts, limit_mm)
        connection.execute(delete(t.assignments).where(t.assignments.c.study == study))
        log_event(
            connection, by, "assigned", study, detail=", ".join([*names, *([f"{arbiter} decides"] * bool(arbiter))])
        )
    return found


def replace_reader(store: Store, study: str, old: str, new: str, by: str) -> None:
    """Let somebody else read instead of one who has left. What that one saved stays in the history, unused."""
    with store.transaction() as connection:
        lock_study(connection, study, store.where)
        require_role(connection, by, "lead", "change readers")
        reading = open_readings(connection, study).get(study)
        part = reading and reading.kind == DOUBLE and reading.part_of(old)
        if not reading or not part or part.part == LEFT or reading.part_of(new):
            raise StoreError(f"Expected a reader of {study}, and somebody new; got {old} and {new}")
        _require_accounts(connection, [new])
        mine = (t.readers.c.reading == reading.id) & (t.readers.c.person == old)
        connection.execute(update(t.readers).where(mine).values(part=LEFT, revision=None))
        connection.execute(insert(t.readers).values(reading=reading.id, person=new, part=part.part))
        log_event(connection, by, "assigned", study, detail=f"{new} instead of {old}")


def mark_gold(store: Store, study: str, by: str) -> None:
    """Have every reader get a study once whose truth, the signed-off landmarks, is known. They are not told."""
    with store.transaction() as connection:
        _require_free(connection, store, study, by, "choose gold cases")
        heads = heads_of(connection, study)
        signer = connection.scalar(select(t.sign_offs.c.author).where(t.sign_offs.c.revision.in_(heads)))
        if len(heads) != 1 or signer is None:
            raise StoreError(f"Expected a study whose landmarks are signed off; {study} has none such")
        c = t.revisions.c
        authors = connection.scalars(select(c.author).where((c.study == study) & t.BY_PEOPLE))
        makers = [(name, MAKER) for name in sorted({*authors, signer})]
        _begin(connection, study, GOLD, by, makers, LIMIT_MM, heads[0])
        log_event(connection, by, "gold", study, heads[0])


def end_gold(store: Store, study: str, by: str) -> None:
    """Give the case to no further reader; what was read counts on."""
    with store.transaction() as connection:
        require_role(connection, by, "lead", "choose gold cases")
        reading = open_readings(connection, study).get(study)
        if reading is None or reading.kind != GOLD:
            raise StoreError(f"Expected a gold case; {study} is none")
        connection.execute(update(t.readings).where(t.readings.c.id == reading.id).values(closed=t.now()))
        log_event(connection, by, "gold", study, detail="ended")


def reopen_study(store: Store, study: str, by: str, reason: str, reader: str = "") -> None:
    """Take a sign-off back, with a reason: that of the study, or that of one reader of it.

    Raises AccessError for who is no lead, StoreError without a reason, or where nothing is signed off.
    """
    if not reason.strip():
        raise StoreError("Expected a reason to reopen a study; got none")
    with store.transaction() as connection:
        lock_study(connection, study, store.where)
        require_role(connection, by, "lead", "reopen a study that is signed off")
        reading = open_readings(connection, study).get(study)
        part = reading.part_of(reader) if reading else None
        heads = heads_of(connection, study)
        mine = t.sign_offs.c.revision.in_(heads)
        signed = connection.scalar(select(t.sign_offs.c.revision).where(mine)) if not reader else part and part.revision
        if signed is None or (reading and reading.kind == GOLD):
            raise StoreError(
                f"Expected what is signed off; {study} is not{f' by {reader}' if reader else ''}, or is gold"
            )
        if reading and reader:
            whose = (t.readers.c.reading == reading.id) & (t.readers.c.person == reader)
            connection.execute(update(t.readers).where(whose).values(revision=None, time=None))
        else:
            connection.execute(delete(t.sign_offs).where(mine))
        log_event(connection, by, "reopened", study, str(signed), f"{reason.strip()}{f' ({reader})' if reader else ''}")


# By everybody


def standing(store: Store, study: str, person: str) -> Standing:
    """What this person is to see of the study. StoreError where it is not for them."""
    with store.snapshot() as connection:
        reading = open_readings(connection, study).get(study)
        account = account_of(connection, person)
    view = reading.view(account) if reading else "main"
    if reading is None or view == "main":
        return Standing("main", None)
    if view == "closed":
        raise StoreError(f"{study} is being read by others, and is shown to nobody else meanwhile. Take another one")
    mine = _own(store, reading, person)
    if view == "own":
        part = reading.part_of(person)
        signer = person if part and mine and part.revision == mine.id else ""
        return Standing(view, mine or _predicted(store.history(study)), signer)
    opinions, comparing = _compared(store, reading, store.study(study))
    words = tuple(comparison_words([one.person for one in opinions], comparing))
    landmarks = None if mine else consensus_of([one.landmarks for one in opinions], comparing)
    begun = mine or store.revision(reading.readers[0].revision or "")
    return Standing(view, begun, "", landmarks, opinions, words, tuple(comparing.disputed))


def versions(store: Store, study: StudyRecord) -> tuple[tuple[Opinion, ...], tuple[str, ...]]:
    """Of a forked study what each end says, and the landmarks in which they differ; nothing where it has one end."""
    heads = store.heads(study.key)
    if len(heads) < 2:
        return (), ()
    opinions, comparing = _side_by_side(store, heads, study, LIMIT_MM)
    return opinions, tuple(comparing.disputed)


def sign_study(store: Store, revision: str, person: str, instead_of: Sequence[str] = ()) -> str:
    """Sign a revision off, as what it is: the study's, one reader's, or the decision. Returns words for the person.

    instead_of: other versions of a forked study that this person has seen, which are set aside.
    Signing the same one twice changes nothing. Raises StoreError, as `Store.sign_off`.
    """
    found = store.revision(revision)
    with store.snapshot() as connection:
        reading = open_readings(connection, found.study).get(found.study)
        account = account_of(connection, person)
    view = reading.view(account) if reading else "main"
    if reading is None or view == "main":
        if instead_of and not found.undecided:
            store.choose(found.study, revision, person, instead_of)
        store.sign_off(revision, person)
        return f"{found.study} is signed off"
    if found.undecided:
        raise StoreError(
            f"{found.study}: expected each landmark decided on; still to decide: {', '.join(found.undecided)}"
        )
    if view == "decide":
        return _decide(store, reading, found, person)
    if view == "closed":
        raise StoreError(f"{found.study} is being read by others. What you saved is kept beside theirs")
    _sign_own(store, reading, found, person)
    return f"{found.study} is signed off"


def _sign_own(store: Store, reading: BlindReading, found: Revision, person: str) -> None:
    """Sign one reading; with the last of them, what follows is done at once, or none of it."""
    last = _own(store, reading, person)
    if last is None or last.id != found.id:
        raise StoreError(f"{found.study}: expected the latest revision by {person}; got {found.id}")
    with store.transaction() as connection:
        study = lock_study(connection, found.study, store.where)
        now = _still(connection, reading)
        part = now.part_of(person)
        if part is None or part.part != READER:
            raise StoreError(f"{found.study} was given to somebody else meanwhile. What you saved is kept")
        if part.revision == found.id:
            return
        whose = (t.readers.c.reading == reading.id) & (t.readers.c.person == person)
        connection.execute(update(t.readers).where(whose).values(revision=found.id, time=t.now()))
        log_event(connection, person, "signed", found.study, found.id)
        now = _still(connection, reading)
        if now.kind == DOUBLE and now.is_read:
            _conclude(connection, store, now, study)


def _conclude(connection: Connection, store: Store, reading: BlindReading, study: StudyRecord) -> None:
    """Bring together what all have signed, or say that somebody must decide."""
    opinions, comparing = _compared(store, reading, study)
    people = [one.person for one in opinions]
    if comparing.disputed:
        words = "; ".join(comparison_words(people, comparing))
        log_event(connection, " and ".join(people), "disputed", study.key, detail=words)
        return
    ids = [one.revision or "" for one in reading.readers]
    agreed = replace(consensus_of([one.landmarks for one in opinions], comparing), bundle=None)
    author = " and ".join(people)
    made = Revision(study.key, author, utc_now(), agreed, study.reference, ids[0], merged=tuple(ids[1:]))
    _close(connection, store, reading, made, "agreed")


def _decide(store: Store, reading: BlindReading, found: Revision, person: str) -> str:
    study = store.study(found.study)
    opinions, comparing = _compared(store, reading, study)
    _require_corners(found, comparing)
    places = places_of(found.landmarks, study)
    shifts = {one.person: level_shift(places, places_of(one.landmarks, study)) for one in opinions}
    ids = tuple(one.revision or "" for one in reading.readers)
    decided = with_numberings(replace(found.landmarks, needs_review=False), shifts)
    made = replace(
        found, author=person, time=utc_now(), landmarks=decided, parent=found.id, seconds_spent=0.0, merged=ids
    )
    with store.transaction() as connection:
        lock_study(connection, made.study, store.where)
        now = _still(connection, reading)
        if [one.revision for one in now.readers] != list(ids):
            raise StoreError(
                f"{made.study}: a reading was reopened meanwhile. Open the study again; what you did is kept"
            )
        if now.view(account_of(connection, person)) != "decide":
            raise StoreError(
                f"{made.study} is {now.arbiter}'s to decide meanwhile. What you did is kept in its history"
            )
        _close(connection, store, now, made, "decided")
    return f"{found.study} is decided and signed off"


def _require_corners(found: Revision, comparing: ReadingComparison) -> None:
    """The landmarks of the schema are asked of everybody; corners of who decides, where the readers differ in them."""
    decided = {mark.name for mark in found.landmarks.points if mark.status not in UNREVIEWED}
    missing = [name for name in comparing.disputed if name not in decided]
    if missing:
        raise StoreError(
            f"{found.study}: expected each corner decided on in which the readers differ; still to decide: "
            f"{', '.join(missing)}"
        )


def _close(connection: Connection, store: Store, reading: BlindReading, made: Revision, action: str) -> None:
    """End a reading with a revision that takes the place of all versions before it."""
    ended = update(t.readings).where(t.readings.c.id == reading.id).values(result=made.id, closed=t.now())
    connection.execute(ended)
    add_revision(connection, made, store.where)
    drop(connection, [one for one in heads_of(connection, made.study) if one != made.id], made.id, made.author)
    connection.execute(insert(t.sign_offs).values(revision=made.id, author=made.author, time=t.now()))
    log_event(connection, made.author, action, made.study, made.id, "; ".join(made.landmarks.notes[-1:]))


def _still(connection: Connection, reading: BlindReading) -> BlindReading:
    """The reading as it is now. StoreError where it has ended."""
    now = open_readings(connection, reading.study).get(reading.study)
    if now is None or now.id != reading.id:
        who = connection.scalar(
            select(t.sign_offs.c.author)
            .join(t.readings, t.readings.c.result == t.sign_offs.c.revision)
            .where(t.readings.c.id == reading.id)
        )
        raise StoreError(
            f"{reading.study} was decided by {who or 'somebody'} meanwhile, and their word stands. What you did "
            "is kept in its history; a lead can reopen it, with a reason"
        )
    return now


# Inside


def places_of(landmarks: Iterable[Landmark], study: StudyRecord) -> Places:
    """Where the landmarks that have a point lie on the slice, column and row in mm."""
    columns, rows = study.spacing_mm or (1.0, 1.0)
    pixels = {mark.name: pixel_of(mark, study) for mark in landmarks if not mark.is_absent}
    return {name: (xy[0] * columns, xy[1] * rows) for name, xy in pixels.items() if xy is not None}


def _compared(store: Store, reading: BlindReading, study: StudyRecord) -> tuple[tuple[Opinion, ...], ReadingComparison]:
    signed = [store.revision(part.revision or "") for part in reading.readers]
    opinions, comparing = _side_by_side(store, signed, study, reading.limit_mm)
    people = [part.person for part in reading.readers]
    return tuple(replace(one, person=who) for one, who in zip(opinions, people, strict=True)), comparing


def _side_by_side(
    store: Store, revisions: Sequence[Revision], study: StudyRecord, limit_mm: float
) -> tuple[tuple[Opinion, ...], ReadingComparison]:
    opinions = []
    for revision in revisions:
        landmarks = revision.landmarks
        known = complete_set(list(landmarks), store.schema, study.key)
        whole = complete(replace(landmarks, landmarks=known.landmarks), study.matrix)
        opinions.append(Opinion(revision.author, whole))
    places = [places_of(one.landmarks, study) for one in opinions]
    corners = [one.landmarks.corners for one in opinions]
    decided = {mark.name for marks in corners for mark in marks if mark.status not in UNREVIEWED}
    places_of_corners = [places_of(marks, study) for marks in corners]
    return tuple(opinions), compare_readings(places, store.schema, limit_mm, places_of_corners, decided)


def _own(store: Store, reading: BlindReading, person: str) -> Revision | None:
    """What the person saved last in this reading."""
    c = t.revisions.c
    since = (c.study == reading.study) & (c.number > reading.after) & (c.author == person)
    with store.snapshot() as connection:
        last = connection.scalar(select(c.id).where(since & t.BY_PEOPLE).order_by(c.number.desc()).limit(1))
    return store.revision(last) if last else None


def _predicted(history: Sequence[Revision]) -> Revision | None:
    return next((one for one in reversed(history) if one.is_prediction), None)


def _begin(
    connection: Connection,
    study: str,
    kind: str,
    by: str,
    parts: Sequence[tuple[str, str]],
    limit_mm: float,
    result: str | None = None,
) -> str:
    last = connection.scalar(select(func.max(t.revisions.c.number))) or 0
    row = {"id": secrets.token_hex(8), "study": study, "kind": kind, "limit_mm": limit_mm, "author": by}
    connection.execute(insert(t.readings).values(**row, time=t.now(), after=last, result=result))
    rows = [{"reading": row["id"], "person": person, "part": part} for person, part in parts]
    connection.execute(insert(t.readers), rows)
    return str(row["id"])


def _require_free(connection: Connection, store: Store, study: str, by: str, to_do: str) -> None:
    lock_study(connection, study, store.where)
    require_role(connection, by, "lead", to_do)
    if open_readings(connection, study):
        raise StoreError(f"Expected a study that nobody reads blind yet; {study} is being read, or a gold case")


def _require_accounts(connection: Connection, names: Sequence[str]) -> None:
    known = set(connection.scalars(select(t.accounts.c.name)))
    strange = [name for name in names if known and name not in known]
    if strange:
        raise StoreError(f"Expected people with accounts; there is none of {', '.join(strange)}")


# For a lead


def reading_rows(store: Store) -> list[dict[str, object]]:
    """One a landmark of each double reading that all have signed: how far apart, and what was disputed."""
    with store.snapshot() as connection:
        readings = [one for one in all_readings(connection) if one.kind == DOUBLE and one.is_read]
    rows: list[dict[str, object]] = []
    for reading in readings:
        opinions, comparing = _compared(store, reading, store.study(reading.study))
        people = [one.person for one in opinions]
        shifts = "; ".join(f"{who}: {shift:+d}" for who, shift in zip(people, comparing.shifts, strict=True) if shift)
        for one in (*comparing.differences, *comparing.corners):
            rows.append(
                {
                    "study": reading.study,
                    "readers": " and ".join(people),
                    "landmark": one.name,
                    "apart_mm": "" if one.apart_mm is None else f"{one.apart_mm:.3f}",
                    "seen_by": one.seen,
                    "disputed": int(one.is_disputed),
                    "level_shift": shifts,
                    "result": reading.result or "",
                }
            )
    return rows


def readings_csv(store: Store) -> str:
    out = io.StringIO()
    fields = ("study", "readers", "landmark", "apart_mm", "seen_by", "disputed", "level_shift", "result")
    writer = csv.DictWriter(out, fields, lineterminator="\n")
    writer.writeheader()
    writer.writerows(reading_rows(store))
    return out.getvalue()


def reading_lines(store: Store) -> list[str]:
    """One a double reading, for a terminal."""
    with store.snapshot() as connection:
        readings = [one for one in all_readings(connection) if one.kind == DOUBLE]
    return [f"{one.study:24} {reading_words(one)}{_differing(store, one)}" for one in readings]


def reading_words(reading: BlindReading) -> str:
    """Who reads it and who has signed."""
    people = ", ".join(f"{one.person}{' (signed)' if one.revision else ''}" for one in reading.readers)
    return f"{'read' if reading.closed else 'being read'} by {people}"


def _differing(store: Store, reading: BlindReading) -> str:
    if not reading.is_read:
        return ""
    opinions, comparing = _compared(store, reading, store.study(reading.study))
    words = "; ".join(comparison_words([one.person for one in opinions], comparing))
    waits = f" (waits for {reading.arbiter or 'a lead'})" if not reading.closed else ""
    return f"; they differ{waits}: {words}" if words else "; they agree"
