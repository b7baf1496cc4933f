"""What has been done in an output folder: a line of JSON for each study, only ever appended to; a kill loses nothing.

A line is written when a study's files are whole. The last line of a study holds; a line that was cut short is passed
over, and so its study is done again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from SpineLandmarksLib.batch.results import BatchItem
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.imaging.discover import files_below

FILE_NAME = "studies.jsonl"
#: Headers whose pixels lie in another file of the same stem.
_DETACHED = (".hdr", ".mhd", ".nhdr")

Entry = dict[str, Any]


class Ledger:
    """The lines of one output folder. settings: a text that changes when the results would."""

    def __init__(self, output: Path, settings: str) -> None:
        self._settings = settings
        self._file = output / FILE_NAME
        self._entries = _read(self._file)
        try:
            self._descriptor = os.open(
                self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666
            )
            self._write(b"" if _ends_well(self._file) else b"\n")
        except OSError as error:
            raise self._failure(error) from error

    def done(self, study: BatchItem) -> Entry | None:
        """What was said of a study that is finished and has not changed since, input, settings or name."""
        entry = self._entries.get(study.stem)
        if entry is None or entry.get("status") != "done" or entry.get("settings") != self._settings:
            return None
        return entry if entry.get("fingerprint") == (fingerprint(study.path) or "unknown") else None

    def begin(self, study: BatchItem) -> None:
        """An earlier line holds no longer: the files are about to be written anew."""
        if study.stem in self._entries:
            self._append({"study": study.stem, "status": "begun"})

    def end(self, study: BatchItem, row: Entry, fingerprint: str | None) -> None:
        """The study is finished, or has failed, as its row says."""
        self._append({**row, "study": study.stem, "settings": self._settings, "fingerprint": fingerprint})

    def close(self) -> None:
        os.close(self._descriptor)

    def _append(self, entry: Entry) -> None:
        self._entries[entry["study"]] = entry
        try:
            self._write(json.dumps(entry).encode() + b"\n")
        except OSError as error:
            raise self._failure(error) from error

    def _write(self, data: bytes) -> None:
        """In one piece, so that lines of two runs do not mix."""
        if data and os.write(self._descriptor, data) < len(data):
            raise OSError(0, "the disk is full")

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(f"Could not write {self._file}: {error.strerror}. What it says of earlier studies stands")


def fingerprint(path: Path) -> str | None:
    """Changes when a file of the study does, by path, size or time of change; None when it cannot be read."""
    digest = hashlib.sha256(os.fsencode(os.path.abspath(path)))
    try:
        for file in _files_of(path):
            state = file.stat()
            digest.update(os.fsencode(file) + f"\0{state.st_size}\0{state.st_mtime_ns}\0".encode())
    except OSError:
        return None
    return digest.hexdigest()[:32]


def settings_of(values: dict[str, Any]) -> str:
    """A short text that differs when the values do."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def _files_of(path: Path) -> list[Path]:
    if path.name.lower().endswith(_DETACHED):
        return sorted(path.parent.glob(f"{glob.escape(path.stem)}.*"))
    return files_below(path)


def _read(file: Path) -> dict[str, Entry]:
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise OutputError(f"Expected to read {file}; got: {error.strerror}") from error
    entries = {}
    for line in lines:
        try:
            entry = json.loads(line)
            entries[str(entry["study"])] = entry
        except (ValueError, TypeError, KeyError):
            continue
    return entries


def _ends_well(file: Path) -> bool:
    with file.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"
