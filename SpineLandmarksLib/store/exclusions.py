"""Studies that nobody is to work on or learn from, each with the reason; what is known of them stays."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import delete, insert, select

from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import require_role
from SpineLandmarksLib.store.audit import log_event
from SpineLandmarksLib.store.blind import open_readings
from SpineLandmarksLib.store.store import Store, lock_study

#: What one usually says.
REASONS = ("bad image", "wrong region", "not a spine", "seen twice")


@dataclass(frozen=True)
class Exclusion:
    study: str
    reason: str
    author: str
    time: str


def exclude_study(store: Store, study: str, by: str, reason: str) -> None:
    """Leave a study out of the queue, the training and the exports. Raises StoreError: no reason; it is out already;
    others read it blind, and a lead has to.
    """
    if not reason.strip():
        raise StoreError(f"Expected a reason to leave a study out, such as {', '.join(REASONS)}; got none")
    with store.transaction() as connection:
        lock_study(connection, study, store.where)
        if open_readings(connection, study):
            require_role(connection, by, "lead", "leave out a study that is being read")
        author = connection.scalar(select(t.exclusions.c.author).where(t.exclusions.c.study == study))
        if author is not None:
            raise StoreError(f"Expected a study that is not left out; {author} has left {study} out")
        row = {"study": study, "reason": reason.strip(), "author": by, "time": t.now()}
        connection.execute(insert(t.exclusions).values(row))
        connection.execute(delete(t.assignments).where(t.assignments.c.study == study))
        log_event(connection, by, "excluded", study, detail=reason.strip())


def include_study(store: Store, study: str, by: str) -> None:
    """Take a study in again."""
    with store.transaction() as connection:
        lock_study(connection, study, store.where)
        require_role(connection, by, "lead", "take in a study that was left out")
        if not connection.execute(delete(t.exclusions).where(t.exclusions.c.study == study)).rowcount:
            raise StoreError(f"Expected a study that is left out; {study} is not")
        log_event(connection, by, "included", study)


def exclusions(store: Store) -> dict[str, Exclusion]:
    """By study."""
    with store.snapshot() as connection:
        return {row.study: Exclusion(**row._mapping) for row in connection.execute(select(t.exclusions))}
