"""One saved state of one study: who said, when, where its landmarks are. Revisions are only ever added.

As JSON: {"version", "study", "author", "time", "parent", "seconds_spent", "comment", "image": {"path", "sha256",
"series_uid"}, "merged": ids, where there are any, "result": the result contract of `formats/json_result.py`, "id"}.

The id is the first 16 hex digits of the SHA-256 of all the other fields that are not null, so that every store gives
the same revision the same id, a save that is repeated adds nothing, a file that was altered shows, and a field that the
result contract gains later changes no id. A model's prediction is a revision too, whose author is the bundle's label.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

from SpineLandmarksLib.errors import FormatError, LandmarkError
from SpineLandmarksLib.formats.json_result import as_json, from_fields
from SpineLandmarksLib.formats.shared import rounded
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.landmarks import UNREVIEWED, LandmarkSet

VERSION = 1
#: What a study may be called: the name of a folder on every system, and no path.
_STUDY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
#: Devices to Windows, with any ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)
#: Fields of a result that came after the first revisions were saved: without content they must not change their ids.
_LATER = ("notes", "numberings", "corners")


@dataclass(frozen=True)
class ImageReference:
    """The image that was annotated. path: relative to the data-set folder, with forward slashes, where it lies inside.

    sha256: of the file, None for a series of many files without one; series_uid: DICOM series, if any.
    """

    path: str
    sha256: str | None = None
    series_uid: str | None = None


@dataclass(frozen=True)
class Revision:
    """study: key of the study; parent: id of the revision it was made from; seconds_spent: of the author, since then.

    merged: ids of further revisions that it was made from: a consensus has the readings of several people.

    time: aware, UTC. landmarks.bundle is the model that predicted what was corrected.
    Raises LandmarkError for a study key that is no plain name, no author, a time without zone, negative seconds.
    """

    study: str
    author: str
    time: datetime
    landmarks: LandmarkSet
    image: ImageReference
    parent: str | None = None
    seconds_spent: float = 0.0
    comment: str = ""
    merged: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_study_key(self.study)
        if not self.author.strip():
            raise LandmarkError("Expected the name of the person who saves; got none. Enter a name first")
        if self.time.utcoffset() != timedelta(0):
            raise LandmarkError(f"Expected a time in UTC; got {self.time.isoformat()}")
        if not self.seconds_spent >= 0:
            raise LandmarkError(f"Expected seconds spent of 0 or more; got {self.seconds_spent}")

    @property
    def source_model(self) -> str | None:
        return self.landmarks.bundle

    @property
    def is_prediction(self) -> bool:
        """Whether it is a model's work, not a person's."""
        return self.author == self.source_model

    @property
    def undecided(self) -> list[str]:
        """Names of the landmarks that no person has decided on."""
        return [mark.name for mark in self.landmarks if mark.status in UNREVIEWED]

    @cached_property
    def id(self) -> str:
        text = json.dumps(_without_null(self._content()), sort_keys=True, ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def as_json(self) -> dict[str, Any]:
        return {**self._content(), "id": self.id}

    def _content(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "study": self.study,
            "author": self.author,
            "time": self.time.isoformat(),
            "parent": self.parent,
            "seconds_spent": rounded(self.seconds_spent, 3),
            "comment": self.comment,
            "image": asdict(self.image),
            **({"merged": list(self.merged)} if self.merged else {}),
            "result": {key: value for key, value in as_json(self.landmarks).items() if key not in _LATER or value},
        }

    @staticmethod
    def from_json(content: object, where: str = "revision") -> Revision:
        """Raises FormatError: a newer version, fields missing or wrong, or an id that is not that of the content."""
        fields = Fields.of(content, where)
        if fields.whole_number("version") > VERSION:
            raise FormatError(
                f"{where}: expected a revision of version {VERSION}; got {fields.number('version'):g}. "
                "Update SpineLandmarks to read it"
            )
        try:
            revision = _read(fields)
        except LandmarkError as error:
            raise FormatError(f"{where}: {error}") from error
        if revision.id != fields.text("id"):
            raise FormatError(
                f"{where}: expected the content of revision {fields.text('id')}; got other content. "
                "It was changed after it was saved, or a later version wrote it; restore it from a copy, or update"
            )
        return revision


def _without_null(value: Any) -> Any:
    """JSON without the fields that are null."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _read(fields: Fields) -> Revision:
    image = Fields.of(fields.values.get("image"), f"{fields.where}, image")
    return Revision(
        study=fields.text("study"),
        author=fields.text("author"),
        time=read_time(fields, "time"),
        landmarks=from_fields(Fields.of(fields.values.get("result"), f"{fields.where}, result")),
        image=ImageReference(image.text("path"), optional_text(image, "sha256"), optional_text(image, "series_uid")),
        parent=optional_text(fields, "parent"),
        seconds_spent=fields.number("seconds_spent"),
        comment=fields.text("comment"),
        merged=tuple(map(str, fields.list("merged"))) if fields.has("merged") else (),
    )


def require_study_key(key: str) -> str:
    """`key`, which names a folder.

    Raises LandmarkError for one that is empty, a path, or holds other than A-Za-z0-9._-
    """
    if not _STUDY.fullmatch(key) or key.endswith("."):
        raise LandmarkError(f"Expected a study key of letters, digits, '.', '_' and '-' (at most 100); got {key!r}")
    return key


def study_key_of(text: str) -> str:
    """A study key made from any text, such as a file's name or a series UID; a text that is one already stays.

    >>> study_key_of("1.2.840.10008"), study_key_of("L spine (2).nii")
    ('1.2.840.10008', 'L-spine-2-.nii-351ee3ea')
    """
    text = f"study-{text}" if _DEVICE.match(text) else text
    if _STUDY.fullmatch(text) and not text.endswith("."):
        return text
    plain = re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-._")[:80] or "study"
    return f"{plain}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def optional_text(fields: Fields, key: str) -> str | None:
    return fields.text(key) if fields.has(key) else None


def utc_now() -> datetime:
    """The time, aware, as revisions keep it."""
    return datetime.now(timezone.utc)


def read_time(fields: Fields, key: str) -> datetime:
    """An ISO 8601 time with its zone."""
    try:
        time = datetime.fromisoformat(fields.text(key))
    except ValueError:
        time = datetime.min
    if time.utcoffset() is None:
        raise FormatError(
            f"{fields.where}: expected a time such as 2026-01-31T09:30:00+00:00 in '{key}'; got {fields.text(key)!r}"
        )
    return time
