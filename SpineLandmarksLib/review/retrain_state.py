"""How far a retraining is, in files that every program may read while it runs. Needs neither torch nor a database.

The files:

    DATASET/models/retraining.json    a `Progress`: how far it is, or how the last one ended
    DATASET/models/retraining.lock    held by the process that trains; the system lets it go when that process dies
    DATASET/models/retraining.log     what the process said, when a user interface started it
    DATASET/models/unfinished/        the plan, the checkpoint, and `cancel` when somebody asked to stop
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from SpineLandmarksLib.errors import DatasetError, FormatError, OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import Fields, load_json

MODELS, UNFINISHED = "models", "unfinished"
STATE, LOCK, LOG, CANCEL = "retraining.json", "retraining.lock", "retraining.log", "cancel"
#: Seconds: who wants to train waits for somebody who only looks, and who looks does not wait.
TO_TRAIN_S, TO_LOOK_S = 2.0, 0.02


@dataclass(frozen=True)
class Progress:
    """How far a retraining is. text: one sentence for people, with the next step where there is one.

    state: "none" (never begun), "running", "stopped" (cancelled or killed: starting again goes on from there), "done",
    "failed" (starting again goes on, too). done, total: training steps. model: the bundle that is being made.
    promoted: whether it is in use now; None until it was judged. pid: of the process that wrote this.
    """

    state: str
    text: str
    done: int = 0
    total: int = 0
    model: str = ""
    promoted: bool | None = None
    pid: int = 0

    @property
    def share(self) -> float:
        """0 to 1, for a progress bar. Judging the model takes the last twentieth."""
        if self.state == "done":
            return 1.0
        return 0.95 * self.done / self.total if self.total else 0.0


def read_progress(dataset: Path) -> Progress:
    """How far the retraining of a data set is, whoever started it. Reads two small files; raises FormatError."""
    file = dataset / MODELS / STATE
    if not file.is_file():
        return Progress("none", "No model was retrained on this data set yet")
    found = Fields.of(load_json(file), str(file))
    try:
        progress = Progress(**{one.name: found.values[one.name] for one in fields(Progress)})
    except KeyError as error:
        raise FormatError(f"{file}: expected a field {error}. Delete the file; no model depends on it") from error
    if progress.state == "running" and not is_running(dataset):
        text = f"The retraining ended at step {progress.done} of {progress.total}. Start it again to go on from there"
        return replace(progress, state="stopped", text=text)
    return progress


def write_progress(dataset: Path, progress: Progress) -> None:
    content = asdict(replace(progress, pid=os.getpid()))
    write_text_atomically(dataset / MODELS / STATE, json.dumps(content, ensure_ascii=False) + "\n")


def ask_to_stop(dataset: Path) -> None:
    """Have a running retraining save where it is and end, within a few seconds. Nothing happens when none runs."""
    if is_running(dataset):
        write_text_atomically(dataset / MODELS / UNFINISHED / CANCEL, "")


def is_running(dataset: Path) -> bool:
    """Whether a process, of this machine or of another one that shares the folder, is retraining."""
    if not (dataset / MODELS / LOCK).is_file():
        return False
    try:
        with _locked(dataset, TO_LOOK_S):
            return False
    except sqlite3.OperationalError as error:
        return "locked" in str(error)


@contextmanager
def the_only_one(dataset: Path) -> Iterator[None]:
    """Hold the data set's lock. Raises DatasetError where another process retrains, OutputError where none may."""
    try:
        (dataset / MODELS / UNFINISHED).mkdir(parents=True, exist_ok=True)
        held = _locked(dataset, TO_TRAIN_S)
        held.__enter__()
    except OSError as error:
        raise OutputError(f"Could not make the folder {dataset / MODELS / UNFINISHED}: {error.strerror}") from error
    except sqlite3.OperationalError as error:
        if "locked" not in str(error):
            raise OutputError(f"Could not write in {dataset / MODELS}: {error}") from error
        with contextlib.suppress(OSError, FormatError):
            raise DatasetError(
                f"Expected no other retraining of this data set; one is running. {read_progress(dataset).text}"
            ) from error
        raise DatasetError("Expected no other retraining of this data set; one is running") from error
    try:
        yield
    finally:
        held.__exit__(None, None, None)


@contextmanager
def _locked(dataset: Path, wait_s: float) -> Iterator[None]:
    """SQLite's lock of an empty file: the same on every system, and gone when its process is."""
    connection = sqlite3.connect(dataset / MODELS / LOCK, timeout=wait_s, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()
