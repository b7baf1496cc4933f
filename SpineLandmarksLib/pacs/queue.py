"""The studies of a node on disk: every step is one rename, so that a process that is killed at any point loses none.

    incoming/STUDY/INSTANCE.dcm    what has come and was acknowledged
    work/STUDY/                    a study that is quiet, while it is localized
    kept/STUDY/                    its images after that for a while, to be read together with what comes later
    send/NAME/                     its report and capture, and study.json, until the PACS has taken them
    sent/NAME.json                 which instances a result was made of, and its report
    failed/NAME/                   a study without a result, with the reason in reason.txt

STUDY and INSTANCE are UIDs, NAME is STUDY, the number of the result and a hash of its instances. Only this user can
look into the folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.formats.dicom_replacing import ReportReference
from SpineLandmarksLib.imaging.unzip import lock_file

STAGES = ("incoming", "work", "kept", "send", "sent", "failed")
STUDY, REASON = "study.json", "reason.txt"


@dataclass(frozen=True)
class QueueLimits:
    """Of one instance in bytes, instances in one study, and studies that wait.

    kept: studies whose images stay after their result, and those that stay without one; kept_s: for how long the
    former do. sent: studies whose results are remembered.
    """

    instance_bytes: int = 2**28
    instances: int = 5000
    studies: int = 1000
    kept: int = 100
    kept_s: float = 3600.0
    sent: int = 10_000


@dataclass(frozen=True)
class StudyResult:
    """The last result of a study. number: from 1. report: as it was sent, None where an older version wrote no such
    thing. made_as: instance UID that the report had before it was told what it replaces."""

    number: int
    report: ReportReference | None = None
    made_as: str = ""


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
        self._known: dict[str, set[str]] = {}
        self._results: dict[str, StudyResult] = {}
        self._read_known()

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

    def gather(self, study_uid: str) -> None:
        """Put the images that an earlier result of the study in work was made of, or a failure, beside what came since,
        as far as they are there; one that was sent anew, mended perhaps, is as it came last."""
        work = self.folder / "work" / study_uid
        for place in (self.folder / "kept" / study_uid, *(self.folder / "failed").glob(f"{study_uid}-*")):
            for file in place.glob("*.dcm"):
                if not (work / file.name).exists():
                    os.rename(file, work / file.name)
            shutil.rmtree(place, ignore_errors=True)

    def last_result(self, study_uid: str) -> StudyResult | None:
        return self._results.get(study_uid)

    def came_since(self, study_uid: str) -> tuple[int, int]:
        """Of the study in work: images that no result has been made of, and images of results that are gone."""
        known, there = self._known.get(study_uid, set()), _instances(self.folder / "work" / study_uid)
        return len(there - known), len(known - there)

    def finish(self, study_uid: str, files: Iterable[Path], result: StudyResult) -> str:
        """Put the results of the study in work among what is to be sent, and keep its images. Returns the NAME.

        files: none where the PACS has this result already.
        """
        work = self.folder / "work" / study_uid
        instances = _instances(work)
        name = f"{study_uid}-{result.number:03d}-{_hash(instances)}"
        half, send = self.folder / "send" / f".{name}", self.folder / "send" / name
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(mode=0o700)
        for file in files:
            with write_atomically(half / file.name) as copy:
                copy.write(file.read_bytes())
        content = {"study": study_uid, "instances": sorted(instances), "result": asdict(result)}
        write_text_atomically(half / STUDY, json.dumps(content))
        if not send.exists():
            os.rename(half, send)
        self._remember(content)
        self._keep(study_uid)
        return name

    def _keep(self, study_uid: str) -> None:
        """The images of a study in work that has a result."""
        kept = self.folder / "kept" / study_uid
        shutil.rmtree(kept, ignore_errors=True)
        os.rename(self.folder / "work" / study_uid, kept)
        os.utime(kept)

    def fail(self, study_uid: str, reason: str) -> None:
        """Put a study aside that has no result. It may be sent again."""
        work = self.folder / "work" / study_uid
        failed = self.folder / "failed" / f"{study_uid}-{_hash(_instances(work))}"
        shutil.rmtree(failed, ignore_errors=True)
        os.rename(work, failed)
        write_text_atomically(failed / REASON, reason + "\n")

    def prune(self) -> list[str]:
        """Drop what is more, or older, than the limits; the studies without a result that went."""
        oldest = time.time() - self.limits.kept_s
        self._forget_oldest()
        kept, failed = self._by_age("kept"), self._by_age("failed")
        too_old = [place for place in kept[: self.limits.kept] if _time_of(place) < oldest]
        for place in (*too_old, *kept[self.limits.kept :], *failed[self.limits.kept :]):
            shutil.rmtree(place, ignore_errors=True)
        return [_study_of(place) for place in failed[self.limits.kept :]]

    def _forget_oldest(self) -> None:
        """All results of a study go together, or its next one would be the first again; none while one waits to go."""
        waiting = {name.partition("-")[0] for name in self.studies("send")}
        sent = self._by_age("sent")
        oldest = [*dict.fromkeys(map(_study_of, sent))][self.limits.sent :]
        forgotten = set(oldest) - waiting
        for file in sent:
            if _study_of(file) in forgotten:
                file.unlink()
        for study_uid in forgotten:
            self._known.pop(study_uid, None)
            self._results.pop(study_uid, None)

    def _by_age(self, stage: str) -> list[Path]:
        """The newest first."""
        return sorted((self.folder / stage / name for name in self.studies(stage)), key=_time_of, reverse=True)

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

    def _read_known(self) -> None:
        """What has a result, by study; takes away what was left half done where there is a whole."""
        for half in (self.folder / "send").glob(".*"):
            shutil.rmtree(half, ignore_errors=True)
        for file in (*(self.folder / "sent").glob("*.json"), *(self.folder / "send").glob(f"*/{STUDY}")):
            with suppress(ValueError, TypeError, KeyError):  # a damaged one costs a study its memory, no more
                self._remember(json.loads(file.read_text(encoding="utf-8")))
        for study_uid in self.studies("work"):
            if _instances(self.folder / "work" / study_uid) <= self._known.get(study_uid, set()):
                self._keep(study_uid)

    def _remember(self, content: dict[str, Any]) -> None:
        """content: of study.json; that of an older version says nothing of the result."""
        study_uid, said = content["study"], content.get("result") or {"number": 1}
        self._known.setdefault(study_uid, set()).update(content["instances"])
        report = said.get("report")
        result = StudyResult(**{**said, "report": report and ReportReference(**report)})
        if result.number >= getattr(self._results.get(study_uid), "number", 0):
            self._results[study_uid] = result


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


def _hash(instances: Iterable[str]) -> str:
    return hashlib.sha256(" ".join(sorted(instances)).encode()).hexdigest()[:12]


def _study_of(place: Path) -> str:
    """The study of a NAME."""
    return place.name.partition("-")[0]


def _time_of(place: Path) -> float:
    return place.stat().st_mtime
