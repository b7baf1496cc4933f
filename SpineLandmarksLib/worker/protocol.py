"""What requests and messages of the worker may say (a JSON object a line: docs/worker.md), and its own two pipes.

Whatever else prints to stdout or reads stdin in the worker's process reaches neither of them.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from SpineLandmarksLib.arguments import DICOM_NAMES, FORMAT_NAMES, REPORT_NAMES
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.strict_json import Fields, is_number, parse_json, short_repr
from SpineLandmarksLib.landmarks import Point

_BLOCK = 2**16


def take_over() -> tuple[int, int]:
    """File descriptors (to read requests from, to write messages to). Stray prints go to stderr from now on.

    The descriptors 0 and 1 themselves are replaced, so that this holds for C libraries and child processes too.
    """
    sys.stdout.flush()
    requests, messages = os.dup(0), os.dup(1)  # a duplicate is not inherited by children
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.stdout = sys.stderr
    return requests, messages


def read_lines(descriptor: int, limit: int) -> Iterator[bytes | None]:
    """The lines until the end, without their newline; None for a line of more than `limit` bytes, which is dropped.

    os.read and no buffered file: a thread that waits in one would hold its lock when the interpreter ends.
    """
    kept, too_long = b"", False
    while block := os.read(descriptor, _BLOCK):
        *whole, rest = (kept + block).split(b"\n")
        for line in whole:
            yield None if too_long or len(line) > limit else line
            too_long = False
        too_long = too_long or len(rest) > limit
        kept = b"" if too_long else rest
    if kept or too_long:
        yield None if too_long else kept


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however long the reader takes."""
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def on_orphaned(then: Callable[[], None], every_s: float = 1.0) -> None:
    """Call `then` once the parent has ended, even where some other process still holds the pipes.

    A process whose parent ends is given another. On Windows it is not, but there no child inherits the pipes either.
    """
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(every_s)
        then()

    threading.Thread(target=watch, name="parent", daemon=True).start()


PROTOCOL = 1
#: Bytes of the longest line; a request has some hundred.
MAX_LINE = 2**20
MAX_ID = 200
#: Events after which nothing more is said of a job. `lost` is the client's own: the worker has died.
FINAL = frozenset({"done", "failed", "cancelled", "lost"})
#: What can be asked for, and the fields that it may have besides `id` and `do`.
FIELDS: dict[str, tuple[str, ...]] = {
    "localize": ("path", "spacing_mm", "slice_index", "slices", "given", "output", "formats"),
    "warm": (),
    "cancel": (),
    "ping": (),
    "describe": (),
    "quit": (),
}
#: These are jobs: they wait in line and end with one of FINAL.
JOBS = frozenset({"localize", "warm"})

Message = dict[str, Any]


class RequestError(FormatError):
    """A line that is no request; `request_id` is its id as far as it has one, `do` what it asks for."""

    def __init__(self, text: str, request_id: str | None = None, do: str | None = None) -> None:
        super().__init__(text)
        self.request_id, self.do = request_id, do


@dataclass(frozen=True)
class Request:
    """A request of the right form. `id` is the job's for `localize`, `warm` and `cancel`, and may be None elsewhere.

    slices: first and last slice that may be chosen. given: confirmed positions, RAS mm, None for what cannot be seen.
    output: folder for result files, None for none; formats: which files.
    """

    do: str
    id: str | None = None
    path: str = ""
    spacing_mm: float | tuple[float, float] | None = None
    slice_index: int | None = None
    slices: tuple[int, int] | None = None
    given: dict[str, Point | None] | None = None
    output: str | None = None
    formats: tuple[str, ...] = FORMAT_NAMES


def encode(message: Message) -> bytes:
    """One line. ASCII, so that a name of bytes that are not UTF-8 passes as the escapes that Python reads back."""
    return json.dumps(message, allow_nan=False, separators=(",", ":")).encode("ascii") + b"\n"


def decode(line: bytes) -> Message:
    """The message of a line; an `error` message for a line that holds none, as when a library prints."""
    try:
        message = json.loads(line)
    except ValueError:
        message = None
    if isinstance(message, dict) and isinstance(message.get("event"), str):
        return message
    return {"id": None, "event": "error", "kind": "fault", "error": f"Expected a message; got {short_repr(repr(line))}"}


def parse_request(line: bytes) -> Request:
    """Read one line. Raises RequestError: not JSON, no object, unknown or missing fields, values of a wrong kind."""
    request_id = do = None
    try:
        fields = Fields.of(parse_json(line.decode("utf-8"), "request"), "request")
        request_id = _id(fields) if "id" in fields.values else None
        do = fields.text("do")
        _check_names(fields, do, request_id)
        return _localize(fields, request_id) if do == "localize" else Request(do, request_id)
    except FormatError as error:
        raise RequestError(str(error), request_id, do) from error
    except UnicodeDecodeError as error:
        raise RequestError(f"request: expected UTF-8; {error}") from error


def _id(fields: Fields) -> str:
    text = fields.text("id")
    if not 0 < len(text) <= MAX_ID:
        raise FormatError(f"request: expected an 'id' of 1 to {MAX_ID} characters; got {len(text)}")
    return text


def _check_names(fields: Fields, do: str, request_id: str | None) -> None:
    if do not in FIELDS:
        raise FormatError(f"request: expected 'do' of {', '.join(FIELDS)}; got {short_repr(do)}")
    unknown = [name for name in fields.values if name not in ("id", "do", *FIELDS[do])]
    if unknown:
        known = ", ".join(("id", "do", *FIELDS[do]))
        raise FormatError(f"request: expected fields of {known} in {do}; got {short_repr(unknown[0])}")
    if request_id is None and do in JOBS | {"cancel"}:
        raise FormatError(f"request: expected a field 'id' in {do}; got none")


def _localize(fields: Fields, request_id: str | None) -> Request:
    path = fields.text("path")
    if not path or "\0" in path:
        raise FormatError(f"request: expected the path of a study in 'path'; got {short_repr(path)}")
    return Request(
        do="localize",
        id=request_id,
        path=path,
        spacing_mm=_spacing(fields),
        slice_index=fields.whole_number("slice_index") if fields.has("slice_index") else None,
        slices=_slices(fields),
        given=_given(fields),
        output=fields.text("output") if fields.has("output") else None,
        formats=_formats(fields),
    )


def _spacing(fields: Fields) -> float | tuple[float, float] | None:
    if not fields.has("spacing_mm"):
        return None
    if isinstance(fields.values["spacing_mm"], list):
        x, y = fields.numbers("spacing_mm", 2)
        return x, y
    return fields.number("spacing_mm")


def _slices(fields: Fields) -> tuple[int, int] | None:
    if not fields.has("slices"):
        return None
    first, last = fields.numbers("slices", 2)
    if first != int(first) or last != int(last) or not 0 <= first <= last:
        raise FormatError(f"request: expected the first and last slice in 'slices'; got {short_repr([first, last])}")
    return int(first), int(last)


def _given(fields: Fields) -> dict[str, Point | None] | None:
    if not fields.has("given"):
        return None
    values = Fields.of(fields.values["given"], "request, given").values
    return {name: None if value is None else _point(name, value) for name, value in values.items()}


def _point(name: str, value: object) -> Point:
    if isinstance(value, list) and len(value) == 3 and all(map(is_number, value)):
        r, a, s = map(float, value)
        return r, a, s
    raise FormatError(
        f"request, given: expected three finite numbers or null in {short_repr(name)}; got {short_repr(value)}"
    )


def _formats(fields: Fields) -> tuple[str, ...]:
    names: Sequence[Any] = fields.list("formats") if fields.has("formats") else FORMAT_NAMES
    known = (*FORMAT_NAMES, *REPORT_NAMES, *DICOM_NAMES.values())
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        got = short_repr(unknown[0] if unknown else [])
        raise FormatError(f"request: expected 'formats' of {', '.join(known)}; got {got}")
    return tuple(names)
