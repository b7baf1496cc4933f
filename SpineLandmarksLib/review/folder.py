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
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path

from SpineLandmarksLib.errors import DatasetError, OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.review.database import without_password
from SpineLandmarksLib.review.history import now
from SpineLandmarksLib.review.opening import open_store
from SpineLandmarksLib.review.store import Store

FILE = "dataset.json"


@dataclass(frozen=True)
class DatasetFolder:
    """id: random, so that a database serves one data set only, and that pseudonyms differ between data sets."""

    folder: Path
    id: str
    store: str | None = None


def init_dataset(folder: Path, url: str | None = None) -> Store:
    """Make a data-set folder with an empty store. Raises DatasetError where there is one already."""
    if (folder / FILE).exists():
        raise DatasetError(
            f"Expected a folder that is no data set yet; {folder / FILE} is there. "
            f"Add studies to it: spine-landmarks dataset add {folder} INPUT"
        )
    try:
        (folder / "images").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {folder / 'images'}: {error.strerror}") from error
    identity = secrets.token_hex(16)
    store = open_store(folder, url, identity)
    said = {"id": identity, "created": now(), "store": without_password(url) if url else None}
    write_text_atomically(folder / FILE, json.dumps(said, indent=1) + "\n")
    return store


def read_folder(folder: Path) -> DatasetFolder:
    """Raises DatasetError for a folder that nobody made a data set of, FormatError for a damaged file."""
    file = folder / FILE
    if not file.is_file():
        raise DatasetError(
            f"Expected a data set with {FILE}; there is none in {folder}. Make one: "
            f"spine-landmarks dataset init {folder}"
        )
    fields = Fields.of(load_json(file), str(file))
    return DatasetFolder(folder, fields.text("id"), fields.text("store") if fields.has("store") else None)


def open_dataset(folder: Path, url: str | None = None, read_only: bool = False) -> Store:
    """The store of a data set. url: where it is, when not where the folder says (or to give the password)."""
    known = read_folder(folder)
    return open_store(folder, url or known.store, known.id, read_only)
