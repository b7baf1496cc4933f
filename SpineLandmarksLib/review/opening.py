"""Opening a store: made where there is none, brought up to date where it is older, refused where it is newer."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, inspect, select

from SpineLandmarksLib.errors import SpineLandmarksError, StoreError
from SpineLandmarksLib.review import tables as t
from SpineLandmarksLib.review.database import lock_all, open_postgresql, open_sqlite, without_password
from SpineLandmarksLib.review.history import add_revision
from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.training_set import FOLDER as BESIDE
from SpineLandmarksLib.review.training_set import read_training_set
from SpineLandmarksLib.review.unsaved import waiting

FILE = "store.sqlite"


def open_store(folder: Path, url: str | None = None, dataset: str = "", read_only: bool = False) -> Store:
    """Open the store of a data set, make it where there is none, and bring an older one up to date.

    url: `postgresql://...`; else FILE in the folder. dataset: id of the data set, so that a database serves one only.
    Corrections that were set aside in the folder are read in. Raises StoreError.
    """
    where = without_password(url) if url else str(folder / FILE)
    if not url and read_only and not (folder / FILE).is_file():
        raise StoreError(
            f"Expected a data set with a store; there is no {where}. Make one: spine-landmarks dataset init"
        )
    engine = open_postgresql(url) if url else open_sqlite(folder / FILE, read_only)
    store = Store(engine, folder, where)
    try:
        with store.transaction() as connection:
            _prepare(connection, where, dataset, read_only)
        if not read_only:
            read_in(store)
    except BaseException:
        store.close()
        raise
    return store


def read_in(store: Store) -> list[str]:
    """Save what was set aside in the data set, and take those files away; save what was written beside the store, which
    stays. Returns what could not be saved, and why.
    """
    problems = []
    for file, revision in waiting(store.folder):
        if not isinstance(revision, Revision):
            problems.append(str(revision))
            continue
        try:
            with store.transaction() as connection:
                add_revision(connection, revision, store.where)
            file.unlink()
        except (StoreError, OSError) as error:
            problems.append(f"{file}: {error}")
    for study in _new_beside(store):
        try:
            for _, revision in read_training_set(store.folder, study):
                with store.transaction() as connection:
                    add_revision(connection, revision, store.where)
        except SpineLandmarksError as error:
            problems.append(str(error))
    return problems


def _new_beside(store: Store) -> list[str]:
    """Studies of the store with revision files that it does not know. An id stands at the end of each file's name."""
    files = list((store.folder / BESIDE).glob("*/*-*.json"))
    if not files:
        return []
    with store.snapshot() as connection:
        ids = set(connection.scalars(select(t.revisions.c.id)))
        keys = set(connection.scalars(select(t.studies.c.key)))
    new = {file.parent.name for file in files if file.stem.partition("-")[2] not in ids}
    return sorted(new & keys)


def _prepare(connection: Connection, where: str, dataset: str, read_only: bool) -> None:
    if not read_only:
        lock_all(connection)
    version = t.read_version(connection) if inspect(connection).has_table("properties") else None
    if version is None:
        if read_only:
            raise StoreError(f"Expected a store of corrections in {where}; it holds none. Nothing was changed")
        t.create(connection, dataset)
    elif version != t.VERSION:
        if read_only and version < t.VERSION:
            raise StoreError(
                f"{where} is of version {version} and must be brought to {t.VERSION} before it is read. "
                "Open it once from a folder that may be written to"
            )
        t.migrate(connection, version, where)
    known = connection.scalar(select(t.properties.c.value).where(t.properties.c.name == "dataset"))
    if dataset and known and known != dataset:
        raise StoreError(
            f"Expected the store of this data set ({dataset}); {where} belongs to another one ({known}). "
            "Give each data set its own database"
        )
