"""The studies of a node on disk: every step is one rename, so that a process that is killed at any point loses none.

    incoming/STUDY/INSTANCE.dcm    what has come and was acknowledged
    work/STUDY/                    a study that is quiet, while it is localized
    send/NAME/                     its report and capture, and study.json, until the PACS has taken them
    sent/NAME.json                 which instances a result was sent of
    failed/NAME/                   a study without a result, with the reason in reason.txt

STUDY and INSTANCE are UIDs, NAME is STUDY with a hash of its instances. Only this user can look into the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.imaging.unzip import lock_file

STAGES = ("incoming", "work", "send", "sent", "failed")
STUDY, REASON = "study.json", "reason.txt"


@dataclass(frozen=True)
class QueueLimits:
    """Of one instance in bytes, instances in one study, and studies that wait."""

    instance_bytes: int = 2**28
    instances: int = 5000
    studies: int = 1000


class QueueFullError(OutputError):
    """A limit of the queue is reached; nothing was kept, and the sender is told to come back."""


class StudyQueue:
    """The queue in a folder. One process at a time: raises OutputError where another has it, or it cannot be made."""

    def __init__(self, folder: Path, limits: QueueLimits | None = None) -> None:
        self.folder, self.limits = folder, limits or QueueLimits()
        self._changing = threading.Lock()
        try:
            for stage in STAGES:
                (folder / stage).mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._in_use = _locked(folder / "in-use")
        except OSError as error:
            raise OutputError(f"Expected a queue that no other node uses at {folder}; {error.strerror}") from error
        self._known = self._read_known()

    def close(self) -> None:
        self._in_use.close()

    def add(self, study_uid: str, instance_uid: str, content: bytes) -> None:
        """Keep an instance: it is on the disk when this returns. Raises QueueFullError and OutputError."""
        place = self.folder / "incoming" / study_uid
        with self._changing:
            self._require_room(place, len(content))
            place.mkdir(mode=0o700, exist_ok=True)
            with write_atomically(place / f"{instance_uid}.dcm") as file:
                file.write(content)

    def _require_room(self, place: Path, size: int) -> None:
        if size > self.limits.instance_bytes:
            raise QueueFullError(f"Expected an instance of at most {self.limits.instance_bytes} bytes; got {size}")
        waiting = len(os.listdir(place)) if place.exists() else 0
        if waiting >= self.limits.instances:
            raise QueueFullError(f"Expected at most {self.limits.instances} instances of one study")
        if (
            not place.exists()
            and sum(len(self.studies(stage)) for stage in ("incoming", "work")) >= self.limits.studies
        ):
            raise QueueFullError(f"Expected at most {self.limits.studies} studies that wait; come back later")

    def studies(self, stage: str) -> list[str]:
        """Names of what is in a stage, without what was left half done."""
        return sorted(name for name in os.listdir(self.folder / stage) if not name.startswith("."))

    def take(self, study_uid: str) -> Path | None:
        """Move a quiet study to the work; None where its instances have a result already: it was sent a second time."""
        place, work = self.folder / "incoming" / study_uid, self.folder / "work" / study_uid
        with self._changing:
            new = _instances(place) - self._known.get(study_uid, set())
            if not new:
                shutil.rmtree(place)
                return None
            os.rename(place, work)
        return work

    def has_changed(self, study_uid: str) -> bool:
        """Whether more of a study has come since it was taken; then all of it waits again, and is to be quiet anew.

        What came a second time is dropped.
        """
        place, work = self.folder / "incoming" / study_uid, self.folder / "work" / study_uid
        with self._changing:
            if not place.exists():
                return False
            if _instances(place) <= _instances(work):
                shutil.rmtree(place)
                return False
            for file in work.glob("*.dcm"):
                os.replace(file, place / file.name)  # it may have come again, which Windows' rename refuses
            shutil.rmtree(work)
        return True

    def finish(self, study_uid: str, files: Iterable[Path]) -> str:
        """Put the results of the study in work among what is to be sent, and its images away. Returns the NAME."""
        work = self.folder / "work" / study_uid
        instances = _instances(work)
        name = _name(study_uid, instances)
        half, send = self.folder / "send" / f".{name}", self.folder / "send" / name
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        for file in files:
            with write_atomically(half / file.name) as copy:
                copy.write(file.read_bytes())
        write_text_atomically(half / STUDY, json.dumps({"study": study_uid, "instances": sorted(instances)}))
        if not send.exists():
            os.rename(half, send)
        self._known.setdefault(study_uid, set()).update(instances)
        shutil.rmtree(work)
        return name

    def fail(self, study_uid: str, reason: str) -> None:
        """Put a study aside that has no result. It may be sent again."""
        work = self.folder / "work" / study_uid
        failed = self.folder / "failed" / _name(study_uid, _instances(work))
        shutil.rmtree(failed, ignore_errors=True)
        os.rename(work, failed)
        write_text_atomically(failed / REASON, reason + "\n")

    def files_to_send(self, name: str) -> list[Path]:
        return sorted((self.folder / "send" / name).glob("*.dcm"))

    def mark_sent(self, file: Path) -> None:
        """The PACS has one file of a result; after the last one the result is done."""
        place = file.parent
        file.unlink()
        self.settle(place.name)

    def settle(self, name: str) -> bool:
        """Close a result of which nothing is left to be sent; whether there was nothing."""
        place = self.folder / "send" / name
        if self.files_to_send(name):
            return False
        if (place / STUDY).exists():  # a kill may have come between this step and the next
            os.replace(place / STUDY, self.folder / "sent" / f"{name}.json")
        shutil.rmtree(place)
        return True

    def _read_known(self) -> dict[str, set[str]]:
        """Instances with a result, by study; takes away what was left half done where there is a whole."""
        for half in (self.folder / "send").glob(".*"):
            shutil.rmtree(half, ignore_errors=True)
        known: dict[str, set[str]] = {}
        for file in (*(self.folder / "sent").glob("*.json"), *(self.folder / "send").glob(f"*/{STUDY}")):
            content = json.loads(file.read_text(encoding="utf-8"))
            known.setdefault(content["study"], set()).update(content["instances"])
        for study_uid in self.studies("work"):
            if _instances(self.folder / "work" / study_uid) <= known.get(study_uid, set()):
                shutil.rmtree(self.folder / "work" / study_uid)
        return known


def _locked(path: Path) -> BinaryIO:
    """The open file. Raises OSError where another process has it."""
    file = path.open("wb")
    try:
        lock_file(file)
    except OSError:
        file.close()
        raise
    return file


def _instances(place: Path) -> set[str]:
    return {file.stem for file in place.glob("*.dcm")}


def _name(study_uid: str, instances: Iterable[str]) -> str:
    return f"{study_uid}-{hashlib.sha256(' '.join(sorted(instances)).encode()).hexdigest()[:12]}"
