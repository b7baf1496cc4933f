"""Revisions as plain files of their own, only ever added, beside a store or where it could not take them.

    DATASET/revisions/STUDY/0001-ID.json    saved without the database; the number is the order in which they came
    DATASET/unsaved/STUDY-ID.json           spooled: what the store could not take

Two writers at once take the same number and different ids, so nothing is overwritten. A revision's id is that of its
content, so that a store can read these files in as often as it likes.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.errors import FormatError, OutputError
from SpineLandmarksLib.formats.atomic import sha256_of, write_text_atomically
from SpineLandmarksLib.formats.strict_json import load_json

#: What a folder that was made a data set holds; `store.folder` writes it.
DATASET_FILE = "dataset.json"
REVISIONS, UNSAVED = "revisions", "unsaved"


@dataclass(frozen=True)
class SavedFile:
    """path: of the revision. beside: ids of other revisions that were made from the same one; both are kept."""

    path: Path
    beside: tuple[str, ...] = ()


def save_to_training_set(revision: Revision, folder: str | os.PathLike[str]) -> SavedFile:
    """Add a revision to a data-set folder, whole or not at all; saving it again adds nothing.

    Damage in an earlier file does not stop it. Raises OutputError for a folder that is not there, read-only or full.
    """
    if not Path(folder).is_dir():
        raise OutputError(f"Expected a data-set folder at {os.fspath(folder)}; there is none. Make or choose one")
    files = _files(folder, revision.study)
    path = next((file for file in files if file.stem.endswith(f"-{revision.id}")), None)
    if path is None:
        number = _number(files[-1]) + 1 if files else 1
        path = _folder_of(revision, Path(folder)) / f"{number:04d}-{revision.id}.json"
        _write(path, revision)
    others = [one for one in map(_read_or_none, files) if one is not None and one.id != revision.id]
    return SavedFile(path, tuple(one.id for one in others if one.parent == revision.parent))


def read_training_set(folder: str | os.PathLike[str], study: str) -> list[tuple[Path, Revision]]:
    """The revisions of a study in the order in which they came, each with its file. Raises FormatError for damage."""
    return [(file, _read(file)) for file in _files(folder, study)]


def spool(revision: Revision, dataset: Path) -> Path | None:
    """Write the revision to the first place that takes it: the data set, the user's own state, the temporary folder.

    Returns the file, or None when nothing can be written anywhere.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    for folder in (dataset / UNSAVED, state / "spine-landmarks", Path(tempfile.gettempdir()) / "spine-landmarks"):
        file = folder / f"{revision.study}-{revision.id}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write(file, revision)
        except (OSError, OutputError):
            continue
        return file
    return None


def recovery_files(dataset: Path) -> list[tuple[Path, Revision | FormatError]]:
    """What lies spooled in a data set, in the order in which it was done: each file with its revision, or with why it
    cannot be read.
    """
    found: list[tuple[Path, Revision | FormatError]] = []
    for file in sorted((dataset / UNSAVED).glob("*.json")):
        try:
            found.append((file, _read(file)))
        except FormatError as error:
            found.append((file, error))
    return sorted(found, key=lambda one: one[1].time.isoformat() if isinstance(one[1], Revision) else "")


def image_reference(
    files: Sequence[Path], folder: str | os.PathLike[str], series_uid: str | None = None
) -> ImageReference:
    """What was annotated: one file, or the many files of a series, which are then named by the folder they lie in.

    The path is relative to the data-set folder where it lies inside. The hash of many files is that of their hashes in
    order of value, so that it depends on neither names nor order. No file: an image that was never saved.
    Raises InputError for a file that cannot be read.
    """
    if not files:
        return ImageReference("", None, series_uid)
    digests = sorted(sha256_of(file) for file in files)
    whole = digests[0] if len(digests) == 1 else hashlib.sha256(bytes.fromhex("".join(digests))).hexdigest()
    path = Path(files[0] if len(files) == 1 else files[0].parent).resolve()
    root = Path(folder).resolve()
    name = path.relative_to(root) if path.is_relative_to(root) else path
    return ImageReference(name.as_posix(), whole, series_uid)


def _folder_of(revision: Revision, folder: Path) -> Path:
    place = folder / REVISIONS / revision.study
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise OutputError(f"Could not make the folder {place}: {reason}. Nothing was changed") from error
    return place


def _files(folder: str | os.PathLike[str], study: str) -> list[Path]:
    found = (Path(folder) / REVISIONS / study).glob("*-*.json")
    ours = (file for file in found if file.name.partition("-")[0].isdecimal())
    return sorted(ours, key=lambda file: (_number(file), file.name))


def _number(file: Path) -> int:
    return int(file.name.partition("-")[0])


def _write(file: Path, revision: Revision) -> None:
    write_text_atomically(file, json.dumps(revision.as_json(), ensure_ascii=False, indent=1) + "\n")


def _read(file: Path) -> Revision:
    return Revision.from_json(load_json(file), os.fspath(file))


def _read_or_none(file: Path) -> Revision | None:
    try:
        return _read(file)
    except FormatError:
        return None
