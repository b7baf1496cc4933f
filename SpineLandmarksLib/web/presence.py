"""Whether somebody works under the same name elsewhere: two under one name are given the same studies.

Told by a lock that the system lets go with its process: of the database where one serves all, else of a file.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from SpineLandmarksLib.retraining.process import locked
from SpineLandmarksLib.store.store import Store

#: One that is about to end is waited for, s.
WAIT_S = 5.0
#: First half of PostgreSQL's key of such a lock; the second is a hash of the name.
CLASS = 1179337806


class Presence:
    """Of one person, from `claim` to `close`, or to a `claim` of another name."""

    def __init__(self, store: Store) -> None:
        self._store, self._held = store, contextlib.ExitStack()

    def claim(self, name: str) -> bool:
        """Say that `name` works here from now on; whether nobody did before. Where it cannot be known, nobody did."""
        self.close()
        is_shared = self._store.engine.dialect.name == "postgresql"
        try:
            return self._claim_in_database(name) if is_shared else self._claim_in_folder(name)
        except (OSError, sqlite3.Error, SQLAlchemyError):  # no word of it is worth keeping anybody from the work
            return True

    def close(self) -> None:
        with contextlib.suppress(SQLAlchemyError, sqlite3.Error):
            self._held.close()

    def _claim_in_folder(self, name: str) -> bool:
        folder = self._store.folder / "sessions"
        folder.mkdir(exist_ok=True)
        file = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.lock"
        try:
            self._held.enter_context(locked(file, WAIT_S))
        except sqlite3.OperationalError as error:
            return "locked" not in str(error)
        return True

    def _claim_in_database(self, name: str) -> bool:
        connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.detach()  # closed at the end, and with it the lock let go
        self._held.callback(connection.close)
        connection.execute(text(f"SET lock_timeout = {1000 * WAIT_S:.0f}"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:kind, hashtext(:name))"), {"kind": CLASS, "name": name})
        except OperationalError as error:
            if type(error.orig).__name__ != "LockNotAvailable":  # its words are in the server's language
                raise
            return False
        return True
