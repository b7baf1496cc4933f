"""Who may see what of a study that several people read, none of whom may see the points of another.

A *double reading* is open from the day that a study is given to its readers until their points are brought together.
A *gold case* is a study whose truth is known, and that every reader gets once, as if it were new.

    view        who                                                  sees
    main        everybody, of a study that nobody reads blind        what was saved last
    own         its readers                                          the model's points, then their own
    decide      who decides, once all readers have signed            the points of all
    closed      everybody else                                       that it is being read

What readers save is kept in the history like everything else, and is no version of the study (`hidden`) until then.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Select, select

from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import Account

DOUBLE, GOLD = KINDS = ("double", "gold")
READER, ARBITER, LEFT, MAKER = PARTS = ("reader", "arbiter", "left", "maker")
ReadingView = Literal["main", "own", "decide", "closed"]


@dataclass(frozen=True)
class ReadingPart:
    """What a person has to do with a reading. part: one of PARTS; maker: of a gold case's truth. revision: signed."""

    person: str
    part: str
    revision: str | None = None
    time: str | None = None


@dataclass(frozen=True)
class BlindReading:
    """after: number of the last revision before it. result: of a gold case the truth. Times are ISO 8601, UTC."""

    id: str
    study: str
    kind: str
    limit_mm: float
    author: str
    time: str
    after: int
    result: str | None = None
    closed: str | None = None
    parts: tuple[ReadingPart, ...] = ()

    @property
    def readers(self) -> list[ReadingPart]:
        return [one for one in self.parts if one.part == READER]

    @property
    def arbiter(self) -> str:
        """Who was asked to decide, "" for any lead."""
        return next((one.person for one in self.parts if one.part == ARBITER), "")

    @property
    def is_read(self) -> bool:
        """Whether every reader has signed."""
        return all(one.revision for one in self.readers)

    def part_of(self, person: str) -> ReadingPart | None:
        return next((one for one in self.parts if one.person == person), None)

    def view(self, account: Account) -> ReadingView:
        """What this person may see of the study."""
        mine = self.part_of(account.name)
        part = mine.part if mine else ""
        if self.kind == GOLD:
            return "main" if part == MAKER or account.is_lead else "own"
        if part == READER:
            return "own"
        may_decide = part == ARBITER or (not self.arbiter and part != LEFT and account.may("lead"))
        return "decide" if may_decide and self.is_read else "closed"


def open_readings(connection: Connection, study: str | None = None) -> dict[str, BlindReading]:
    """Those that go on, by study; at most one each."""
    query = select(t.readings).where(t.readings.c.closed.is_(None))
    if study is not None:
        query = query.where(t.readings.c.study == study)
    return {one.study: one for one in _readings(connection, query)}


def all_readings(connection: Connection) -> list[BlindReading]:
    """In the order in which they were asked for."""
    return _readings(connection, select(t.readings).order_by(t.readings.c.time, t.readings.c.id))


def hidden() -> Select[Any]:
    """Ids of revisions that are no versions of their study: those of blind readers."""
    c, r, p = t.revisions.c, t.readings.c, t.readers.c
    mine = (p.person == c.author) & (p.part.in_((READER, ARBITER, LEFT)))
    joined = t.revisions.join(t.readings, r.study == c.study).join(t.readers, (p.reading == r.id) & mine)
    return select(c.id).select_from(joined).where(((r.kind == GOLD) | r.closed.is_(None)) & (c.number > r.after))


def _readings(connection: Connection, query: Select[Any]) -> list[BlindReading]:
    rows = connection.execute(query).mappings().all()
    parts: dict[str, list[ReadingPart]] = {row["id"]: [] for row in rows}
    for part in _parts(connection, list(parts)):
        parts[part.reading].append(ReadingPart(part.person, part.part, part.revision, part.time))
    return [BlindReading(**row, parts=tuple(parts[row["id"]])) for row in rows]


def _parts(connection: Connection, ids: Sequence[str]) -> list[Any]:
    """Of one reading, or of all at once."""
    query = select(t.readers).order_by(t.readers.c.person)
    query = query.where(t.readers.c.reading == ids[0]) if len(ids) == 1 else query
    return [row for row in connection.execute(query) if row.reading in ids] if ids else []
