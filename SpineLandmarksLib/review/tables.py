"""The tables of the store, and how older stores become this one.

Revisions are only ever added; no statement of the program changes or deletes one. Times are ISO 8601 text in UTC, which
sorts as it reads in every database.

Version 1: properties, studies, revisions, assignments, sign_offs.
Version 2: `choices`, by which one end of a fork is chosen and the others are set aside.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import (
    Column,
    Connection,
    Float,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    insert,
    select,
    update,
)

from SpineLandmarksLib.errors import StoreError

VERSION = 2
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
    Column("content", Text, nullable=False),  # JSON of `study.Study`
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


def _add_choices(connection: Connection) -> None:
    choices.create(connection)


#: What turns a store of version n into one of n + 1.
MIGRATIONS: dict[int, Callable[[Connection], None]] = {1: _add_choices}


def read_version(connection: Connection) -> int | None:
    """The version of a store, None where there is none. The caller has checked that `properties` exists."""
    text = connection.scalar(select(properties.c.value).where(properties.c.name == "version"))
    return None if text is None else int(text)


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
