"""What the HTTP interface has on the disk, so that memory stays small and a restart loses nothing.

ID.job.json       a job, as it stands
ID.study...       its study, as it was sent or fetched, until it is read
ID.result.json    its points, and the image that they are on
ID.dicom/         its report and capture, where they were asked for
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import drop_left_over, write_json_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.json_result import as_json, from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.imaging.unzip import lock_file

JobStatus = Literal["queued", "running", "done", "failed", "cancelled"]
#: The file that is locked while the folder is used.
IN_USE = "in-use"
#: What only a server can have written: ID and what is of it. All else in the folder is somebody's.
_OF_A_JOB = re.compile(r"[\w-]{22}\.(study(\..+)?|result\.json|dicom)", re.ASCII)


@dataclass(eq=False)
class ApiJob:
    """One study on its way.

    Attributes:
        path: of the study. is_ours: it was sent or fetched, and goes once it has been read.
        name: that the result names as its input, as the client gave it.
        asked: arguments of `WorkerClient.submit`. dicom: report and capture are wanted too.
        error, kind: one line and what sort of fault, when it failed.
        warnings, needs_review, formats: of the result. formats: those of `DICOM_NAMES` that there are.
        changed_s: when it was put in line or ended, s since 1970.
        ended: set when there is nothing more to come.
    """

    path: str
    name: str
    is_ours: bool = False
    asked: dict[str, Any] = field(default_factory=dict)
    dicom: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: JobStatus = "queued"
    error: str = ""
    kind: str = ""
    warnings: list[str] = field(default_factory=list)
    needs_review: bool | None = None
    formats: list[str] = field(default_factory=list)
    tries: int = 0
    changed_s: float = field(default_factory=time.time)
    share: float = 0.0
    stage: str = ""
    ended: asyncio.Event = field(default_factory=asyncio.Event)


#: Fields that mean nothing to another process.
_OF_THE_PROCESS = ("share", "stage", "ended")
_SAVED = tuple(one.name for one in fields(ApiJob) if one.name not in _OF_THE_PROCESS)


class JobFolder:
    """The jobs in a folder that no other process uses."""

    def __init__(self, folder: Path) -> None:
        self.path = folder

    def study(self, job_id: str, ending: str = "") -> Path:
        """Where a study of ours lies."""
        return self.path / f"{job_id}.study{ending}"

    def dicom(self, job: ApiJob) -> Path:
        """The folder for report and capture."""
        return self.path / f"{job.id}.dicom"

    def dicom_file(self, job: ApiJob, name: str) -> Path | None:
        """Report or capture, by its name in `DICOM_NAMES`."""
        return next(self.dicom(job).glob(f"*.{DICOM_NAMES[name]}"), None)

    def save(self, job: ApiJob) -> None:
        """Raises OutputError."""
        content = {name: getattr(job, name) for name in _SAVED}
        write_json_atomically(self._record(job), content)

    def forget(self, job: ApiJob) -> None:
        """Let no later process go on with it."""
        _remove(self._record(job))

    def save_result(self, job: ApiJob, found: PointsOnImage) -> None:
        """Raises OutputError."""
        grid = found.image.as_json() if found.image else None
        write_json_atomically(self._result(job), {"result": as_json(found.landmarks), "grid": grid})

    def result(self, job: ApiJob) -> PointsOnImage:
        """Raises OSError where it was dropped meanwhile."""
        content = json.loads(self._result(job).read_text(encoding="utf-8"))
        grid = content["grid"] and ImageGrid.from_json(content["grid"])
        return PointsOnImage(from_fields(Fields.of(content["result"], "result")), grid)

    def _record(self, job: ApiJob) -> Path:
        return self.path / f"{job.id}.job.json"

    def _result(self, job: ApiJob) -> Path:
        return self.path / f"{job.id}.result.json"

    def drop_study(self, job: ApiJob) -> None:
        """Take the study away, unless it is not ours."""
        if job.is_ours:
            _remove(Path(job.path))

    def drop(self, job: ApiJob) -> None:
        """Take all of a job away."""
        for place in self.path.glob(f"{job.id}.*"):
            _remove(place)

    def jobs(self) -> list[ApiJob]:
        """Those of an earlier process in their order; what it left of others goes. Raises OutputError."""
        found = sorted(map(_read, self.path.glob("*.job.json")), key=lambda job: job.changed_s)
        ids = {job.id for job in found}
        for place in self.path.iterdir():
            if _OF_A_JOB.fullmatch(place.name) and place.name.partition(".")[0] not in ids:
                _remove(place)
        drop_left_over(self.path)
        for job in found:
            if job.ended.is_set():
                self.drop_study(job)
        return found


def _read(file: Path) -> ApiJob:
    """Raises OutputError for a file that is none of ours, or of another version."""
    try:
        job = ApiJob(**json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise OutputError(f"Expected jobs of this version in the folder; {file} is none. Take it away") from error
    if job.is_ours:  # the folder may have moved
        job.path = str(file.with_name(Path(job.path).name))
    if job.status == "running":
        job.status = "queued"
    elif job.status != "queued":
        job.ended.set()
    return job


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(place) if place.is_dir() else place.unlink()


@contextmanager
def kept_folder(folder: Path) -> Iterator[Path]:
    """A folder that stays and that one process uses at a time. Raises OutputError where it cannot be had."""
    with ExitStack() as stack:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)
            lock_file(stack.enter_context((folder / IN_USE).open("wb")))
        except OSError as error:
            raise OutputError(f"Expected a folder that no other server uses at {folder}; {error.strerror}") from error
        yield folder
