"""A session as a file: what the model said and every record since, so that work is taken up where it ended.

{"version", "study", "author", "parent", "saved", "prediction": the result contract of `formats/json_result.py`,
 "events": the records of `correction.py`}

The current state is not stored: applying the records gives it, and a record that does not fit shows damage.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from typing import Any

from SpineLandmarksLib.annotation.correction import Correction
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.revision import optional_text, utc_now
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.json_result import as_json, from_fields
from SpineLandmarksLib.formats.strict_json import Fields, load_json

VERSION = 1


def session_as_json(session: Session) -> dict[str, Any]:
    return {**_head_as_json(session), "events": [event.as_json() for event in session.events]}


class SessionText:
    """The session as one line of JSON, each time anew. A record is written once: a long session stays quick."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events: list[str] = []

    def __str__(self) -> str:
        new = self._session.events[len(self._events) :]
        self._events += [_line(event.as_json()) for event in new]
        head = _line(_head_as_json(self._session)).removesuffix("}")
        return f'{head},"events":[{",".join(self._events)}]}}'


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _head_as_json(session: Session) -> dict[str, Any]:
    return {
        "version": VERSION,
        "study": session.study,
        "author": session.author,
        "parent": session.parent,
        "saved": session.saved_events,
        "prediction": as_json(session.original),
    }


def session_from_json(
    content: object,
    frame: ImageFrame | None = None,
    author: str | None = None,
    clock: Callable[[], datetime] = utc_now,
    where: str = "session",
) -> Session:
    """Take up a session; `author` continues it under another name.

    Raises FormatError: a newer version, fields missing or wrong, records that do not follow from each other.
    """
    fields = Fields.of(content, where)
    if fields.whole_number("version") > VERSION:
        raise FormatError(
            f"{where}: expected a session of version {VERSION}; got {fields.number('version'):g}. "
            "Update SpineLandmarks to read it"
        )
    try:
        return Session(
            study=fields.text("study"),
            original=from_fields(Fields.of(fields.values.get("prediction"), f"{where}, prediction")),
            author=fields.text("author") if author is None else author,
            frame=frame,
            clock=clock,
            events=[Correction.from_json(item) for item in fields.objects("events")],
            parent=optional_text(fields, "parent"),
            saved_events=fields.whole_number("saved"),
        )
    except LandmarkError as error:
        raise FormatError(f"{where}: {error}") from error


def save_session(session: Session, path: str | os.PathLike[str]) -> None:
    """Write the session whole. Raises OutputError; what was there before is then untouched."""
    write_json_atomically(path, session_as_json(session))


def load_session(
    path: str | os.PathLike[str],
    frame: ImageFrame | None = None,
    author: str | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> Session:
    """Read a session back. Raises FormatError."""
    return session_from_json(load_json(path), frame, author, clock, os.fspath(path))
