"""Retraining for a user interface: start it, show how far it is, stop it. Every call returns at once.

What Slicer's module and the browser both do. The process goes on when the window is closed; another window finds it:

    retraining = Retraining(dataset_folder)         # makes nothing and starts nothing
    retraining.progress() -> RetrainStatus          # call it once a second; .state, .text, .share, .model, .promoted
    retraining.start("Ann")                         # when .state is not "running"; goes on with what is unfinished
    retraining.stop()                               # when it is "running"; within seconds .state is "stopped"
    retraining.label                                # what the one button says: "Retrain", "Go on retraining", "Stop"

Neither torch nor a database is needed to look. How far it is lies in files that every program may read while it runs:

    DATASET/models/retraining.json    a `RetrainStatus`: how far it is, or how the last one ended
    DATASET/models/retraining.lock    held by the process that trains; the system lets it go when that process dies
    DATASET/models/retraining.log     what the process said, when a user interface started it
    DATASET/models/unfinished/        the plan, the checkpoint, and `cancel` when somebody asked to stop
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from secrets import token_hex
from urllib.parse import unquote, urlsplit, urlunsplit

from SpineLandmarksLib.annotation.revision_files import DATASET_FILE
from SpineLandmarksLib.errors import BackendError, DatasetError, FormatError, OutputError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import Fields, load_json
from SpineLandmarksLib.worker.client import Spawn, environment, own_group

MODELS, UNFINISHED = "models", "unfinished"
STATE, LOCK, LOG, CANCEL = "retraining.json", "retraining.lock", "retraining.log", "cancel"
#: Seconds: who wants to train waits for somebody who only looks, and who looks does not wait.
LOCK_WAIT_S, PEEK_WAIT_S = 2.0, 0.02
#: Name of the variable by which a process knows the start that began it.
RUN = "SPINE_LANDMARKS_RUN"
#: Exit status of a retraining that was stopped.
STOPPED = 130
COMMAND = (sys.executable, "-m", "SpineLandmarksLib")


@dataclass(frozen=True)
class RetrainStatus:
    """How far a retraining is. text: one sentence for people, with the next step where there is one.

    state: "none" (never begun), "running", "stopped" (cancelled or killed: starting again goes on from there), "done",
    "failed" (starting again goes on, too). done, total: training steps. model: the bundle that is being made.
    promoted: whether it is in use now; None until it was judged. pid: of the process that wrote this. run: of the start
    that began it, as the starter named it; a launcher between the two has a pid of its own.
    """

    state: str
    text: str
    done: int = 0
    total: int = 0
    model: str = ""
    promoted: bool | None = None
    pid: int = 0
    run: str = ""

    @property
    def share(self) -> float:
        """0 to 1, for a progress bar. Judging the model takes the last twentieth."""
        if self.state == "done":
            return 1.0
        return 0.95 * self.done / self.total if self.total else 0.0


def read_progress(dataset: Path) -> RetrainStatus:
    """How far the retraining of a data set is, whoever started it. Reads two small files; raises FormatError."""
    file = dataset / MODELS / STATE
    if not file.is_file():
        return RetrainStatus("none", "No model was retrained on this data set yet")
    found = Fields.of(load_json(file), str(file))
    try:
        values = {"run": "", **found.values}  # the first ones had none
        progress = RetrainStatus(**{one.name: values[one.name] for one in fields(RetrainStatus)})
    except KeyError as error:
        raise FormatError(f"{file}: expected a field {error}. Delete the file; no model depends on it") from error
    if progress.state == "running" and not is_running(dataset):
        text = f"The retraining ended at step {progress.done} of {progress.total}. Start it again to go on from there"
        return replace(progress, state="stopped", text=text)
    return progress


def write_progress(dataset: Path, progress: RetrainStatus) -> None:
    content = asdict(replace(progress, pid=os.getpid(), run=os.environ.get(RUN, "")))
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
        with locked(dataset / MODELS / LOCK, PEEK_WAIT_S):
            return False
    except sqlite3.OperationalError as error:
        return "locked" in str(error)


@contextmanager
def the_only_one(dataset: Path) -> Iterator[None]:
    """Hold the data set's lock. Raises DatasetError where another process retrains, OutputError where none may."""
    try:
        (dataset / MODELS / UNFINISHED).mkdir(parents=True, exist_ok=True)
        held = locked(dataset / MODELS / LOCK, LOCK_WAIT_S)
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
def locked(file: Path, wait_s: float) -> Iterator[None]:
    """SQLite's lock of an empty file: the same on every system, and gone when its process is. sqlite3.OperationalError
    where another has it for so long. Any thread may let it go.
    """
    connection = sqlite3.connect(file, timeout=wait_s, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        connection.close()


class Retraining:
    """The retraining of one data set, in a process of its own that outlives the window.

    store: where the data set's database is, when not where the folder says.
    command: what runs `spine-landmarks` (in Slicer, its own Python with `-m SpineLandmarksLib`). spawn: as
    subprocess.Popen.
    """

    def __init__(
        self, dataset: Path, store: str | None = None, command: Sequence[str] = COMMAND, spawn: Spawn = subprocess.Popen
    ) -> None:
        self.dataset, self._store, self._command, self._spawn = dataset, store, tuple(command), spawn
        self._process: subprocess.Popen[bytes] | None = None
        self._run = ""

    @property
    def _log(self) -> Path:
        return self.dataset / MODELS / LOG

    @property
    def label(self) -> str:
        """What a button that starts or stops it says."""
        state = self.progress().state
        return {"running": "Stop", "stopped": "Go on retraining", "failed": "Go on retraining"}.get(state, "Retrain")

    def start(self, by: str, restart: bool = False, options: Sequence[str] = ()) -> None:
        """Start it, or go on where one was stopped; restart: drop what is unfinished. options: more for the command.

        Raises DatasetError when one is running or the folder is no data set, OutputError for a folder that cannot be
        written, BackendError when the process cannot be started. Every other fault is told by `progress`.
        """
        if not (self.dataset / DATASET_FILE).is_file():
            raise DatasetError(
                f"Expected a data set with {DATASET_FILE}; there is none in {self.dataset}. Make one: "
                f"spine-landmarks dataset init {self.dataset}"
            )
        if self.progress().state == "running":
            raise DatasetError("Expected no other retraining of this data set; one is running")
        command = [*self._command, "retrain", str(self.dataset), "--by", by, *(["--restart"] if restart else [])]
        command += options
        store, environ = without_secret(self._store)
        command += ["--store", store] if store else []
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            log = self._log.open("wb")
        except OSError as error:
            raise OutputError(f"Could not write {self._log}: {error.strerror}. Nothing was changed") from error
        self._run = token_hex(8)
        with log:
            try:
                self._process = self._spawn(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    **own_group(),
                    env=environment() | environ | {RUN: self._run},
                )
            except OSError as error:
                raise BackendError(f"Could not start {command[0]}: {error.strerror}") from error

    def progress(self) -> RetrainStatus:
        """How far it is, whoever started it, and what went wrong."""
        try:
            found = read_progress(self.dataset)
        except (FormatError, OSError) as error:
            return RetrainStatus("failed", str(error))
        if self._process is None:
            return found
        alive, ours = self._process.poll() is None, found.run == self._run
        if alive:  # it imports and has written nothing yet, or has written its last word and is about to end
            return replace(found, state="running") if ours else RetrainStatus("running", "Starting")
        if ours or self._process.returncode == 0:
            return found
        state = "stopped" if self._process.returncode == STOPPED else "failed"
        return RetrainStatus(state, self._last_words())

    def stop(self) -> None:
        """Have it save where it is and end, whoever started it."""
        ask_to_stop(self.dataset)

    def _last_words(self) -> str:
        try:
            lines = [line.strip() for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines()]
        except OSError as error:
            return f"The retraining ended, and its log cannot be read: {error.strerror}"
        said = next((line for line in reversed(lines) if line), "it said nothing")
        return f"The retraining could not begin: {said.removeprefix('spine-landmarks: ')}"


def without_secret(url: str | None) -> tuple[str | None, dict[str, str]]:
    """A database's address without its password, which everybody may read in a list of processes, and the password as
    PostgreSQL's clients take it from the environment.

    >>> without_secret("postgresql://ann:s%40cret@host:5432/spines")
    ('postgresql://ann@host:5432/spines', {'PGPASSWORD': 's@cret'})
    >>> without_secret("postgresql://host/spines"), without_secret(None)
    (('postgresql://host/spines', {}), (None, {}))
    """
    parts = urlsplit(url or "")
    if parts.password is None:
        return url, {}
    people, _, place = parts.netloc.rpartition("@")
    netloc = f"{people.partition(':')[0]}@{place}"
    return urlunsplit(parts._replace(netloc=netloc)), {"PGPASSWORD": unquote(parts.password)}
