"""The list of studies as one annotator sees it: what waits and in which order, who has what, what is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from sqlalchemy import Connection, func, select

from SpineLandmarksLib.retraining.queue import at_random
from SpineLandmarksLib.splits import locked_patients
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import Account, account_of
from SpineLandmarksLib.store.blind import GOLD, BlindReading, open_readings
from SpineLandmarksLib.store.readings import reading_words
from SpineLandmarksLib.store.store import Store, all_heads_of

#: From what is to be done first to what is done.
STATES = ("mine", "waiting", "given", "forked", "done", "out")


@dataclass(frozen=True)
class StudyRow:
    """state: one of STATES. words: what is said of it. place: in the order of review, whatever its state. since: when
    somebody last had to do with it. doubt: of the model, -1 for what does not wait.
    """

    key: str
    state: str
    words: str
    place: int = 0
    since: str = ""
    doubt: float = -1


@dataclass(frozen=True)
class Listing:
    """The studies, first those to do, in the order of review."""

    rows: tuple[StudyRow, ...] = ()

    @property
    def done(self) -> int:
        return sum(row.state == "done" for row in self.rows)

    @cached_property  # asked for at each change of the page, most of which change no study
    def as_text(self) -> str:
        """JSON for the page: key, state, words and doubt of each."""
        names = ("key", "state", "words", "doubt")
        return json.dumps([{name: getattr(row, name) for name in names} for row in self.rows])

    def to_do(self, after: str | None = None) -> list[str]:
        """Keys of what this annotator may take: what was worked on last, then what was begun, then the rest; or, from
        `after` on, in the order of review and round again.
        """
        rows = [row for row in self.rows if row.state in ("mine", "waiting") and row.key != after]
        here = next((row.place for row in self.rows if row.key == after), None)
        last = max((row.since for row in rows if row.state == "mine"), default="")
        if here is None:
            rows = sorted(rows, key=lambda row: row.state == "waiting" or row.since != last)
        else:
            rows = sorted(rows, key=lambda row: (row.place < here, row.place))
        return [row.key for row in rows]


def listing(
    store: Store,
    annotator: str,
    order: Sequence[str] = (),
    locked: bool = False,
    doubts: Mapping[str, float] = MappingProxyType({}),
) -> Listing:
    """Read it. order: keys that come first; the others follow at random, which is the same for everybody.

    locked: the studies of the hold-out, else those of the rest. doubts: of the model, by study.
    """
    held_out = locked_patients(store.folder)
    with store.snapshot() as connection:
        studies = connection.execute(select(t.studies.c.key, t.studies.c.patient).order_by(t.studies.c.key)).all()
        heads = all_heads_of(connection)
        of_study = t.sign_offs.join(t.revisions, t.sign_offs.c.revision == t.revisions.c.id)
        signs = connection.execute(select(t.sign_offs, t.revisions.c.study).select_from(of_study)).all()
        given = {row.study: row for row in connection.execute(select(t.assignments))}
        blind = _Blind.of(connection, annotator)
        out = {row.study: row.reason for row in connection.execute(select(t.exclusions))}
    keys = [study.key for study in studies if (study.patient in held_out) == locked]
    places = {key: place for place, key in reversed(list(enumerate([*order, *drawn(keys)])))}
    signed, earlier = {row.revision: row.author for row in signs}, {row.study: row.author for row in signs}
    rows = []
    for key in keys:
        who, since = (given[key].annotator, given[key].time) if key in given else (None, "")
        state, words = _state(heads.get(key, ()), signed, who, annotator)
        words += f"; {earlier[key]} had signed it off" if key in earlier and state != "done" else ""
        state, words, since = blind.over(key, state, words, since, bool(heads.get(key)))
        if key in out:
            state, words = "out", f"left out: {out[key]}"
        doubt = round(doubts.get(key, 0.0), 2) if state in ("mine", "waiting") else -1
        rows.append(StudyRow(key, state, words, places[key], since, doubt))
    return Listing(tuple(sorted(rows, key=lambda row: (STATES.index(row.state), row.place))))


@dataclass(frozen=True)
class _Blind:
    """What is read blind, as one person may know of it. begun: when they last saved each of these studies."""

    account: Account
    readings: dict[str, BlindReading]
    begun: dict[str, str]

    @staticmethod
    def of(connection: Connection, name: str) -> _Blind:
        c, readings = t.revisions.c, open_readings(connection)
        mine = (c.author == name) & (c.study == t.readings.c.study) & (c.number > t.readings.c.after)
        query = select(c.study, func.max(c.time)).where(mine & t.readings.c.closed.is_(None)).group_by(c.study)
        begun = {key: time for key, time in connection.execute(query)} if readings else {}
        return _Blind(account_of(connection, name), readings, begun)

    def over(self, key: str, state: str, words: str, since: str, is_known: bool) -> tuple[str, str, str]:
        """State, words and time of a study, as this person is to see them."""
        reading = self.readings.get(key)
        view = reading.view(self.account) if reading else "main"
        if reading is None:
            return state, words, since
        if view == "main":
            return state, f"{words}; gold case" if self.account.is_lead else words, since
        if view == "decide":
            return "mine", "to decide: the readers differ", self.begun.get(key, "")
        if view == "closed":
            return "given", reading_words(reading) if self.account.is_lead else "being read", ""
        return self._own(reading, is_known)

    def _own(self, reading: BlindReading, is_known: bool) -> tuple[str, str, str]:
        part, since = reading.part_of(self.account.name), self.begun.get(reading.study, "")
        if part and part.revision:
            return "done", f"signed off by {self.account.name}", since
        if since:
            return "mine", "in work", since
        if reading.kind == GOLD:  # as any other that waits
            return "waiting", "predicted" if is_known else "new", ""
        return "mine", "assigned to you", ""


def drawn(keys: Sequence[str]) -> list[str]:
    """The order by chance, which is the same for everybody."""
    return [place.key for place in at_random(keys)]


def _state(heads: Sequence[str], signed: dict[str, str], given: str | None, annotator: str) -> tuple[str, str]:
    if len(heads) > 1:
        return "forked", f"{len(heads)} versions"
    if heads and heads[0] in signed:
        return "done", f"signed off by {signed[heads[0]]}"
    if given == annotator:
        return "mine", "in work"
    if given is not None:
        return "given", f"with {given}"
    return "waiting", "predicted" if heads else "new"
