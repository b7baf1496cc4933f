"""The tables of a store and the one way to reach them: SQLite in write-ahead-log mode, or PostgreSQL, by SQLAlchemy.

A commit is on the disk when it returns (`synchronous=FULL`), so that what was acknowledged outlives a kill and a power
cut. A writing transaction of SQLite takes its lock at its beginning (`BEGIN IMMEDIATE`): one that reads first and asks
for the lock later can be refused without waiting (sqlite.org/isolation.html).

Revisions are only ever added; no statement of the program changes or deletes one. Times are ISO 8601 text in UTC, which
sorts as it reads in every database. Older stores are brought up to date:

Version 1: properties, studies, revisions, assignments, sign_offs.
Version 2: `choices`, by which one end of a fork is chosen and the others are set aside.
Version 3: `readings` and `readers` (double readings and gold cases), `exclusions`, `accounts`, and `events`, to which
    the database itself lets rows only be added.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from SpineLandmarksLib.annotation.revision import utc_now
from SpineLandmarksLib.errors import StoreError

#: Longest wait for another writer; a save takes milliseconds.
WAIT_S = 60.0
#: What the databases say, and what a person can do about it. The first that fits counts.
ADVICE = (
    ("disk is full", "the disk is full. Free some space and save again"),
    ("No space left", "the disk of the database is full. Free some space and save again"),
    ("readonly", "it can only be read. Ask for the right to write in this folder, or work on a copy of it"),
    ("read-only", "it can only be read. Ask for the right to write in it, or work on a copy"),
    ("locked", f"another program has been writing to it for {WAIT_S:.0f} s. Close that program and try again"),
    ("malformed", "it is damaged. Keep the file, and import the latest export into a new data set"),
    ("not a database", "it is no store, or damaged. Keep the file, and import the latest export into a new data set"),
    ("unable to open", "it cannot be opened. See whether the folder is there and may be written to"),
    ("disk I/O", "the disk refuses to read or write. See whether it is full, still there, and healthy"),
    ("password", "the database refuses the user or password. Put the password into ~/.pgpass or PGPASSWORD"),
    ("does not exist", "the database or its user does not exist. Ask who runs the database to make it"),
)
GONE = "the database cannot be reached. See whether it runs and whether the network is up, then go on"

VERSION = 3
TABLES = MetaData()

properties = Table(
    "properties",
    TABLES,
    Column("name", String(50), primary_key=True),  # "version", "dataset"
    Column("value", Text, nullable=False),
)
studies = Table(
    "studies",
    TABLES,
    Column("key", String(100), primary_key=True),
    Column("patient", Text, nullable=False),
    Column("image_sha256", String(64), nullable=False, index=True),
    Column("content", Text, nullable=False),  # JSON of `study_record.StudyRecord`
)
revisions = Table(
    "revisions",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order in which they came
    Column("id", String(16), nullable=False, unique=True),
    Column("study", ForeignKey("studies.key"), nullable=False, index=True),
    Column("parent", String(16), index=True),
    Column("author", Text, nullable=False),
    Column("time", String(40), nullable=False),
    Column("source_model", Text),
    Column("seconds_spent", Float, nullable=False),
    Column("content", Text, nullable=False),  # JSON of `revision.Revision`, with the status of each point
)
#: Which revisions are no predictions, as `revision.Revision.is_prediction` has it.
BY_PEOPLE = revisions.c.source_model.is_(None) | (revisions.c.author != revisions.c.source_model)
assignments = Table(
    "assignments",
    TABLES,
    Column("study", ForeignKey("studies.key"), primary_key=True),
    Column("annotator", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
sign_offs = Table(
    "sign_offs",
    TABLES,
    Column("revision", ForeignKey("revisions.id"), primary_key=True),
    Column("author", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
choices = Table(
    "choices",
    TABLES,
    Column("dropped", ForeignKey("revisions.id"), primary_key=True),
    Column("kept", ForeignKey("revisions.id"), nullable=False),
    Column("author", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
readings = Table(
    "readings",
    TABLES,
    Column("id", String(16), primary_key=True),
    Column("study", ForeignKey("studies.key"), nullable=False, index=True),
    Column("kind", String(10), nullable=False),  # one of `blind.KINDS`
    Column("limit_mm", Float, nullable=False),
    Column("author", Text, nullable=False),  # who asked for it
    Column("time", String(40), nullable=False),
    Column("after", Integer, nullable=False),  # number of the last revision before it
    Column("result", String(16)),  # revision that ended it; of a gold case the truth
    Column("closed", String(40)),
)
readers = Table(
    "readers",
    TABLES,
    Column("reading", ForeignKey("readings.id"), primary_key=True),
    Column("person", String(200), primary_key=True),
    Column("part", String(10), nullable=False),  # one of `blind.PARTS`
    Column("revision", String(16)),  # that this person has signed off
    Column("time", String(40)),
)
exclusions = Table(
    "exclusions",
    TABLES,
    Column("study", ForeignKey("studies.key"), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("time", String(40), nullable=False),
)
accounts = Table(
    "accounts",
    TABLES,
    Column("name", String(200), primary_key=True),
    Column("role", String(20), nullable=False),  # one of `accounts.ROLES`
    Column("password", Text),  # argon2; none where a proxy says who it is
    Column("time", String(40), nullable=False),
)
events = Table(
    "events",
    TABLES,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time", String(40), nullable=False),
    Column("person", Text, nullable=False),
    Column("action", String(20), nullable=False),  # one of `audit.ACTIONS`
    Column("study", String(100)),
    Column("revision", String(16)),
    Column("detail", Text, nullable=False),
    Column("digest", String(64), nullable=False),  # of this row and the digest before it
    sqlite_autoincrement=True,
)
_TEAM = (readings, readers, exclusions, accounts, events)
_ONLY_ADDED = "events are only ever added"
for _verb in ("UPDATE", "DELETE"):
    _refuse = (
        f"CREATE TRIGGER events_no_{_verb} BEFORE {_verb} ON events BEGIN SELECT RAISE(ABORT, '{_ONLY_ADDED}'); END"
    )
    event.listen(events, "after_create", DDL(_refuse).execute_if(dialect="sqlite"))  # type: ignore[no-untyped-call]
for _refuse in (
    "CREATE OR REPLACE FUNCTION spine_landmarks_keep() RETURNS trigger LANGUAGE plpgsql AS "
    f"$$ BEGIN RAISE EXCEPTION '{_ONLY_ADDED}'; END $$",
    "CREATE TRIGGER events_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON events "
    "FOR EACH STATEMENT EXECUTE FUNCTION spine_landmarks_keep()",
):
    event.listen(events, "after_create", DDL(_refuse).execute_if(dialect="postgresql"))  # type: ignore[no-untyped-call]


def now() -> str:
    """The time in UTC as the store keeps it."""
    return utc_now().isoformat(timespec="seconds")


def _add_choices(connection: Connection) -> None:
    choices.create(connection)


def _add_teams(connection: Connection) -> None:
    for table in _TEAM:
        table.create(connection)


#: What turns a store of version n into one of n + 1.
MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_choices, 2: _add_teams}


def read_version(connection: Connection) -> int | None:
    """The version of a store, None where there is none. The caller has checked that `properties` exists."""
    value = connection.scalar(select(properties.c.value).where(properties.c.name == "version"))
    return None if value is None else int(value)


def create(connection: Connection, dataset: str) -> None:
    TABLES.create_all(connection)
    rows = [{"name": "version", "value": str(VERSION)}, {"name": "dataset", "value": dataset}]
    connection.execute(insert(properties), rows)


def migrate(connection: Connection, version: int, where: str) -> None:
    """Bring a store to VERSION, in the caller's transaction: all steps or none. StoreError for a newer one."""
    if version > VERSION:
        raise StoreError(
            f"Expected a store of version {VERSION} or older; {where} has version {version}, written by a newer "
            "SpineLandmarks. Update SpineLandmarks; nothing was changed"
        )
    for step in range(version, VERSION):
        MIGRATIONS[step](connection)
    if version < VERSION:
        connection.execute(update(properties).where(properties.c.name == "version").values(value=str(VERSION)))


def open_sqlite(file: Path, read_only: bool = False) -> Engine:
    """The engine of a store in a file. read_only: nothing is written, not even beside the file."""
    mode = _reading(file) if read_only else "mode=rwc"

    def connect() -> sqlite3.Connection:
        nonlocal mode
        connection = sqlite3.connect(
            f"{file.absolute().as_uri()}?{mode}",
            uri=True,
            timeout=WAIT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        mode = "mode=rw" if mode == "mode=rwc" else mode  # one that has vanished is not made anew, and empty
        connection.execute("PRAGMA foreign_keys=ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        return connection

    engine = create_engine("sqlite://", creator=connect, poolclass=QueuePool)

    @event.listens_for(engine, "connect")
    def _connected(_: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info["file"] = _identity(file)

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.info["file"] != _identity(file):
            connection.invalidate()
            raise sqlite3.OperationalError("unable to open: the file was moved, deleted or replaced")
        reads = read_only or connection.get_execution_options().get("reads", False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _identity(file: Path) -> tuple[int, int] | None:
    """Which file has the name now. SQLite goes on to write into one that was deleted, and says that all is well."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def open_postgresql(url: str) -> Engine:
    """The engine of `postgresql://[user[:password]@]host[:port]/database`."""
    try:
        address = make_url(url)
        if address.get_backend_name() != "postgresql":
            raise StoreError(f"Expected postgresql://user@host/database; got {without_password(url)}")
        # A connection that broke in the meantime is replaced before it is used.
        return create_engine(
            address.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args={"connect_timeout": 10}
        )
    except (ArgumentError, NoSuchModuleError) as error:
        raise StoreError(f"Expected postgresql://user@host/database; got {url.partition(':')[0]}:...") from error


def without_password(url: str) -> str:
    """The address as it may be shown and remembered.

    >>> without_password("postgresql://ann:secret@host/spines")
    'postgresql://ann@host/spines'
    """
    try:
        address = make_url(url)
    except ArgumentError:
        return "what is no address"
    return address._replace(password=None).render_as_string()


def lock_all(connection: Connection) -> None:
    """Let one process at a time create or migrate; SQLite's transaction has done so already."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(1179337804)"))  # any number, the same for everybody


@contextmanager
def translate_errors(where: str) -> Iterator[None]:
    """Turn what a database raises into one StoreError in plain words with the next step."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(f"Could not use the store {where}: {advice(error)}") from error
    except sqlite3.Error as error:
        raise StoreError(f"Could not use the store {where}: {advice(error)}") from error


def advice(error: Exception) -> str:
    """One sentence and the next step; the database's own words where they are not known."""
    said = " ".join(str(_cause(error)).split())
    for words, step in ADVICE:
        if words.lower() in said.lower():
            return step
    if isinstance(error, DBAPIError) and (error.connection_invalidated or _is_connection_fault(error)):
        return GONE
    return f"{said[:200]}. This is a fault of the program; please report it"


def _cause(error: Exception) -> Any:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _is_connection_fault(error: DBAPIError) -> bool:
    """psycopg says OperationalError for a server that is not there and for one that goes away."""
    return type(error.orig).__name__ in ("OperationalError", "ConnectionTimeout", "AdminShutdown", "InterfaceError")


def _reading(file: Path) -> str:
    """Readers share memory through a file beside the store; where none can be made, none can write either."""
    log = file.with_name(f"{file.name}-wal")
    return "mode=ro" if log.exists() or os.access(file.parent, os.W_OK) else "immutable=1"
