"""Where a correction goes that the store could not take: a small file, written whole, that is read in later.

A revision's id is that of its content, so that reading a file in twice adds nothing.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from SpineLandmarksLib.errors import FormatError, OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.review.revision import Revision

FOLDER = "unsaved"


def set_aside(revision: Revision, dataset: Path) -> Path | None:
    """Write the revision to the first place that takes it: the data set, the user's own state, the temporary folder.

    Returns the file, or None when nothing can be written anywhere.
    """
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    for folder in (dataset / FOLDER, state / "spine-landmarks", Path(tempfile.gettempdir()) / "spine-landmarks"):
        file = folder / f"{revision.study}-{revision.id}.json"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_text_atomically(file, json.dumps(revision.as_json(), ensure_ascii=False, indent=1) + "\n")
        except (OSError, OutputError):
            continue
        return file
    return None


def waiting(dataset: Path) -> list[tuple[Path, Revision | FormatError]]:
    """What lies set aside in a data set: each file with its revision, or with why it cannot be read."""
    found: list[tuple[Path, Revision | FormatError]] = []
    for file in sorted((dataset / FOLDER).glob("*.json")):
        try:
            found.append((file, Revision.from_json(load_json(file), str(file))))
        except FormatError as error:
            found.append((file, error))
    return found
