"""Landmarks that come through the browser from a file, onto the study that is open."""

from __future__ import annotations

import tempfile
from pathlib import Path

from SpineLandmarksLib.annotation.import_file import import_landmarks
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import AS_STATED, Reading, ending_of
from SpineLandmarksLib.landmarks import LandmarkSet

#: Text formats, as a browser is to offer them, and how long such a text may be.
KINDS_OF_LABELS = ".csv,.json,.fcsv"
MAX_TEXT = 2**20


def read_labels(name: str, text: str, session: Session, reading: Reading = AS_STATED) -> LandmarkSet:
    """What a file says, over what the session has. name: as the browser gives it, of which only the ending counts.

    Raises FormatError, and MisreadError with the reading that fits.
    """
    ending = ending_of(name)
    if ending is None or ending.lower().endswith(".dcm"):
        raise FormatError(f"Expected a landmark file ({KINDS_OF_LABELS.replace(',', ', ')}); got another")
    if len(text) > MAX_TEXT:
        raise FormatError(f"Expected a landmark file of at most {MAX_TEXT // 2**20} MiB; this one is longer")
    with tempfile.TemporaryDirectory(prefix="spine-landmarks-") as folder:
        path = Path(folder) / f"labels{ending}"
        path.write_text(text, encoding="utf-8")
        try:
            return import_landmarks(path, session.names, session.frame, reading, session.original, session.current)
        except FormatError as error:
            error.args = (str(error).replace(f"{path}", "The file"), *error.args[1:])
            raise
