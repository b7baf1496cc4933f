"""How much is done, by whom, how fast, and what is left: for the page and `dataset status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from statistics import median

from sqlalchemy import Connection, select

from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.blind import all_readings
from SpineLandmarksLib.store.store import Store


@dataclass(frozen=True)
class Workload:
    """Of one person, or of all. signed: studies, of several readers one for each. days: on which some were signed.

    seconds: spent on a study, in the median; None where no time was kept. left: studies that wait for this person.
    """

    person: str
    signed: int
    days: int
    seconds: float | None
    left: int = 0

    @property
    def a_day(self) -> float:
        return self.signed / self.days if self.days else 0.0


@dataclass(frozen=True)
class TeamWork:
    """people: by name. every: all together. remaining: studies that nobody has signed off."""

    people: tuple[Workload, ...]
    every: Workload
    remaining: int


def team_work(store: Store, done: Set[str]) -> TeamWork:
    """done: the studies that are signed off. Five questions to the database, however many studies there are."""
    with store.snapshot() as connection:
        signs = _signs(connection)
        spent = _seconds(connection)
        open_parts = [(p.person, p.revision) for one in all_readings(connection) if not one.closed for p in one.readers]
        studies = set(connection.scalars(select(t.studies.c.key)))
        out = set(connection.scalars(select(t.exclusions.c.study)))
    waiting = Counter(person for person, revision in open_parts if not revision)
    names = sorted({person for person, _, _ in signs} | {person for person, _ in spent} | set(waiting))
    people = tuple(_workload(name, signs, spent, waiting[name]) for name in names)
    every = Workload(
        "all", len(done), len({day for _, _, day in signs}), _median(list(spent.values())), sum(waiting.values())
    )
    return TeamWork(people, every, len(studies - out - done))


def _workload(
    name: str, signs: Sequence[tuple[str, str, str]], spent: dict[tuple[str, str], float], left: int
) -> Workload:
    mine = {study: day for person, study, day in signs if person == name}
    seconds = [value for (person, study), value in spent.items() if person == name and study in mine]
    return Workload(name, len(mine), len(set(mine.values())), _median(seconds), left)


def _median(values: Sequence[float]) -> float | None:
    known = [value for value in values if value > 0]
    return float(median(known)) if known else None


def _signs(connection: Connection) -> list[tuple[str, str, str]]:
    """(person, study, day) of what was signed, by the log."""
    e = t.events.c
    rows = connection.execute(select(e.person, e.study, e.time).where(e.action.in_(("signed", "decided"))))
    return sorted({(person, study, time[:10]) for person, study, time in rows})


def _seconds(connection: Connection) -> dict[tuple[str, str], float]:
    """Spent by each person on each study; a consensus is nobody's time."""
    c = t.revisions.c
    spent: Counter[tuple[str, str]] = Counter()
    query = select(c.author, c.study, c.seconds_spent).where(t.BY_PEOPLE & (c.seconds_spent > 0))
    for person, study, seconds in connection.execute(query):
        spent[person, study] += seconds
    return dict(spent)


def work_lines(work: TeamWork) -> list[str]:
    """For a terminal; none where nobody has signed anything or has anything to read."""
    if not work.people:
        return []
    lines = [f"{'':16}{'signed':>7}{'a day':>7}{'s a study':>11}{'to read':>9}"]
    for one in (*work.people, work.every):
        seconds = "-" if one.seconds is None else f"{one.seconds:.0f}"
        lines.append(f"{one.person:16}{one.signed:>7}{one.a_day:>7.1f}{seconds:>11}{one.left:>9}")
    days = (
        f"; days at this pace: {work.remaining / work.every.a_day:.1f}" if work.every.a_day and work.remaining else ""
    )
    return [*lines, f"not signed off yet: {work.remaining}{days}"]
