"""Who did what when: a table to which rows are only added, chained so that a change shows.

    digest = SHA-256 of the digest before it and of the row's own fields

The database refuses to change or delete a row (triggers); who takes those away and changes one breaks the chain, which
`dataset check` follows. Events that were cut off at the end show where a sign-off, a reading or a study that was left
out has none. Revisions are a record of their own, whose ids are hashes of what they say: `log_rows` brings both
together. Times are those of the clock of whoever did it; the order is that of the numbers.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, insert, select, text

from SpineLandmarksLib.annotation.revision import utc_now
from SpineLandmarksLib.store import database as t

if TYPE_CHECKING:
    from SpineLandmarksLib.store.store import Store

ACTIONS = (
    "opened",
    "signed",
    "reopened",
    "assigned",
    "agreed",
    "disputed",
    "decided",
    "chosen",
    "gold",
    "excluded",
    "included",
    "imported",
    "exported",
    "retrained",
    "overruled",
    "judges",
    "account",
)
FIELDS = ("number", "time", "person", "action", "study", "revision", "detail")
_HASHED = FIELDS[1:]


def log_event(
    connection: Connection,
    person: str,
    action: str,
    study: str = "",
    revision: str = "",
    detail: str = "",
    time: str = "",
) -> None:
    """Add an event, as the last statement of a transaction: others who add one wait for its end."""
    assert action in ACTIONS, action
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(1179337805)"))
    before = connection.scalar(select(t.events.c.digest).order_by(t.events.c.number.desc()).limit(1))
    said = (time or utc_now().isoformat(), person, action, study or None, revision or None, detail)
    row = dict(zip(_HASHED, said, strict=True))
    connection.execute(insert(t.events).values(**row, digest=digest_of(before or "", row)))


def digest_of(before: str, row: dict[str, Any]) -> str:
    said = json.dumps([before, *(row[name] for name in _HASHED)], ensure_ascii=False)
    return hashlib.sha256(said.encode()).hexdigest()


def log_now(store: Store, person: str, action: str, study: str = "", detail: str = "") -> None:
    """The same in a transaction of its own."""
    with store.transaction() as connection:
        log_event(connection, person, action, study, detail=detail)


def events_of(store: Store) -> list[dict[str, Any]]:
    """All, in their order, by the names of FIELDS."""
    with store.snapshot() as connection:
        return [dict(row) for row in connection.execute(select(*_columns()).order_by(t.events.c.number)).mappings()]


def log_rows(store: Store, study: str = "") -> list[dict[str, Any]]:
    """Events and revisions together, by time; of one study where it is named. A revision is "saved" or "predicted"."""
    c = t.revisions.c
    with store.snapshot() as connection:
        saved = connection.execute(select(c.study, c.id, c.author, c.time, c.source_model, c.seconds_spent)).all()
    rows = events_of(store)
    for row in saved:
        action = "predicted" if row.author == row.source_model else "saved"
        detail = f"{row.seconds_spent:.0f} s" if row.seconds_spent else ""
        rows.append(dict(zip(FIELDS, ("", row.time, row.author, action, row.study, row.id, detail), strict=True)))
    rows = [row for row in rows if not study or row["study"] == study]
    return sorted(rows, key=lambda row: (*_moment(row["time"]), row["number"] or 0))


def _moment(time: str) -> tuple[str, str]:
    """To sort by; an event of an older version, which has whole seconds, came after what was saved in the same one."""
    return time[:19], time[19:26] if time[19:20] == "." else ".999999"


def log_text(store: Store, study: str = "") -> str:
    """`log_rows` as CSV."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for row in log_rows(store, study):
        writer.writerow({name: "" if row[name] is None else row[name] for name in FIELDS})
    return out.getvalue()


def audit_problems(connection: Connection) -> Iterator[str]:
    """Where the events are not what was written."""
    before, had = "", set()
    for row in connection.execute(select(t.events).order_by(t.events.c.number)).mappings():
        if digest_of(before, dict(row)) != row["digest"]:
            yield f"The log was changed: event {row['number']} or the one before it is not what was written"
        before = row["digest"]
        had.add((row["action"], row["study"], row["revision"]))
    yield from _without_event(connection, had)


def _without_event(connection: Connection, had: set[tuple[Any, ...]]) -> Iterator[str]:
    """What was done and is not in the log."""
    signed = {(row.study, row.revision) for row in _sign_offs(connection)}
    known = {(study, revision) for action, study, revision in had if action in ("signed", "agreed", "decided")}
    for study, revision in sorted(signed - known):
        yield f"The log was changed: that revision {revision} of {study} was signed off is not in it"
    read = {study for action, study, _ in had if action in ("assigned", "gold")}
    for row in connection.execute(select(t.readings.c.study, t.readings.c.id)):
        if row.study not in read:
            yield f"The log was changed: who gave {row.study} to its readers is not in it"


def begin_log(connection: Connection) -> None:
    """What a store from before there was a log says of who has signed."""
    for row in _sign_offs(connection):
        log_event(connection, row.author, "signed", row.study, row.revision, "before there was a log", row.time)


def _sign_offs(connection: Connection) -> Sequence[Any]:
    signs = t.sign_offs.join(t.revisions, t.sign_offs.c.revision == t.revisions.c.id)
    query = select(t.sign_offs, t.revisions.c.study).select_from(signs).order_by(t.sign_offs.c.time)
    return connection.execute(query).all()


def _columns() -> list[Any]:
    return [t.events.c[name] for name in FIELDS]
