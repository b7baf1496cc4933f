"""A data-set folder that people annotate: it says who it is and where its store is.

The folder holds:

    DATASET/
      dataset.json      {"id", "created", "store": null or "postgresql://user@host/database"}
      store.sqlite      the store, unless it is in PostgreSQL
      images/           one picture a study
      landmarks.json    what is signed off, in the layout that `train` and `evaluate` read
      holdout.json      the locked hold-out, if any
      models/           retrained bundles
      revisions/        what 3D Slicer saved, to be read in
      sessions/         the steps of what was corrected in the browser, so that they can be undone after a restart
      uploads/          what came in through the browser
      unsaved/          what the store could not take, to be read in

A store is made where there is none, brought up to date where it is older, and refused where it is newer.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.annotation.revision_files import DATASET_FILE, REVISIONS, read_training_set, recovery_files
from SpineLandmarksLib.errors import DatasetError, OutputError, SpineLandmarksError, StoreError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.audit import begin_log
from SpineLandmarksLib.store.database import lock_all, now, open_postgresql, open_sqlite, without_password
from SpineLandmarksLib.store.store import Store, add_revision

STORE_FILE = "store.sqlite"
#: What DATASET_FILE is called until all is in place that the data set begins with.
BEGUN = "dataset.json.begun"
VERSION_WITH_LOG = 3


class OutdatedStoreError(StoreError):
    """A store of an older version, which cannot be brought up to date by who only reads."""


@dataclass(frozen=True)
class DatasetFolder:
    """id: random, so that a database serves one data set only, and that pseudonyms differ between data sets."""

    folder: Path
    id: str
    store: str | None = None


def init_dataset(folder: Path, url: str | None = None, fill: Callable[[Store], object] = lambda _: None) -> Store:
    """Make a data-set folder with a store. Raises DatasetError where there is one already.

    fill: puts in what the data set begins with; it must bear to be called again. The folder is a data set only when all
    of it is there, and one that was cut short is gone on with.
    """
    if (folder / DATASET_FILE).exists():
        raise DatasetError(
            f"Expected a folder that is no data set yet; {folder / DATASET_FILE} is there. "
            f"Add studies to it: spine-landmarks dataset add {folder} INPUT"
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)  # patients' images: who else may see them, its owner says
        (folder / "images").mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {folder / 'images'}: {error.strerror}") from error
    begun = folder / BEGUN
    if not begun.is_file():
        said = {"id": secrets.token_hex(16), "created": now(), "store": without_password(url) if url else None}
        write_text_atomically(begun, json.dumps(said, indent=1) + "\n")
    store = open_store(folder, url, _said_in(folder, begun).id)
    try:
        fill(store)
        os.replace(begun, folder / DATASET_FILE)
    except BaseException:
        store.close()
        raise
    return store


def read_folder(folder: Path) -> DatasetFolder:
    """Raises DatasetError for a folder that nobody made a data set of, FormatError for a damaged file."""
    file = folder / DATASET_FILE
    if not file.is_file():
        raise DatasetError(
            f"Expected a data set with {DATASET_FILE}; there is none in {folder}. Make one: "
            f"spine-landmarks dataset init {folder}"
        )
    return _said_in(folder, file)


def _said_in(folder: Path, file: Path) -> DatasetFolder:
    fields = Fields.of(load_json(file), str(file))
    return DatasetFolder(folder, fields.text("id"), fields.text("store") if fields.has("store") else None)


def open_dataset(folder: Path, url: str | None = None, read_only: bool = False) -> Store:
    """The store of a data set. url: where it is, when not where the folder says (or to give the password)."""
    known = read_folder(folder)
    try:
        return open_store(folder, url or known.store, known.id, read_only)
    except OutdatedStoreError:
        if not os.access(folder, os.W_OK):
            raise
    _bring_up_to_date(folder, url or known.store, known.id)
    return open_store(folder, url or known.store, known.id, read_only)


def open_store(folder: Path, url: str | None = None, dataset: str = "", read_only: bool = False) -> Store:
    """Open the store of a data set, make it where there is none, and bring an older one up to date.

    url: `postgresql://...`; else STORE_FILE in the folder. dataset: id of the data set, as a database serves one only.
    Corrections that were set aside in the folder are read in. Raises StoreError.
    """
    where = without_password(url) if url else str(folder / STORE_FILE)
    if not url and read_only and not (folder / STORE_FILE).is_file():
        raise StoreError(
            f"Expected a data set with a store; there is no {where}. Make one: spine-landmarks dataset init"
        )
    engine = open_postgresql(url) if url else open_sqlite(folder / STORE_FILE, read_only)
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


def _bring_up_to_date(folder: Path, url: str | None, dataset: str) -> None:
    """Only that: what was set aside is read in by who writes."""
    where = without_password(url) if url else str(folder / STORE_FILE)
    store = Store(open_postgresql(url) if url else open_sqlite(folder / STORE_FILE), folder, where)
    with store, store.transaction() as connection:
        _prepare(connection, where, dataset, read_only=False)


def read_in(store: Store) -> list[str]:
    """Save what was set aside in the data set, and take those files away; save what was written beside the store, which
    stays. Returns what could not be saved, and why.
    """
    problems = []
    for file, revision in recovery_files(store.folder):
        if not isinstance(revision, Revision):
            problems.append(str(revision))
            continue
        try:
            with store.transaction() as connection:
                add_revision(connection, revision, store.where)
            file.unlink()
        except (StoreError, OSError) as error:
            problems.append(f"{file}: {error}")
    return problems + read_beside(store)


def read_beside(store: Store) -> list[str]:
    """Save what 3D Slicer wrote beside the store, which stays there. Returns what could not be saved, and why."""
    problems = []
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
    files = list((store.folder / REVISIONS).glob("*/*-*.json"))
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
            raise OutdatedStoreError(
                f"{where} is of version {version} and must be brought to {t.VERSION} before it is read. "
                "Open it once from a folder that may be written to"
            )
        t.migrate(connection, version, where)
        if version < VERSION_WITH_LOG:
            begin_log(connection)
    known = connection.scalar(select(t.properties.c.value).where(t.properties.c.name == "dataset"))
    if dataset and known and known != dataset:
        raise StoreError(
            f"Expected the store of this data set ({dataset}); {where} belongs to another one ({known}). "
            "Give each data set its own database"
        )
