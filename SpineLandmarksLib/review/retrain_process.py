"""Retraining for a user interface: start it, show how far it is, stop it. Every call returns at once.

What Slicer's module and the browser both do. The process goes on when the window is closed; another window finds it:

    retraining = Retraining(dataset_folder)         # makes nothing and starts nothing
    retraining.progress() -> Progress               # call it once a second; .state, .text, .share, .model, .promoted
    retraining.start("Ann")                         # when .state is not "running"; goes on with what is unfinished
    retraining.stop()                               # when it is "running"; within seconds .state is "stopped"
    retraining.label                                # what the one button says: "Retrain", "Go on retraining", "Stop"
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from SpineLandmarksLib.errors import BackendError, DatasetError, FormatError, OutputError
from SpineLandmarksLib.review.retrain_state import LOG, MODELS, Progress, ask_to_stop, read_progress
from SpineLandmarksLib.worker.process import environment, own_group

Spawn = Callable[..., "subprocess.Popen[bytes]"]
COMMAND = (sys.executable, "-m", "SpineLandmarksLib")
#: What a folder that was made a data set holds; `review.folder.FILE`, without its database.
DATASET_FILE = "dataset.json"


class Retraining:
    """The retraining of one data set. store: where its database is, when not where the folder says.

    command: what runs `spine-landmarks` (in Slicer, its own Python with `-m SpineLandmarksLib`). spawn: as
    subprocess.Popen.
    """

    def __init__(
        self, dataset: Path, store: str | None = None, command: Sequence[str] = COMMAND, spawn: Spawn = subprocess.Popen
    ) -> None:
        self.dataset, self._store, self._command, self._spawn = dataset, store, tuple(command), spawn
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def _log(self) -> Path:
        return self.dataset / MODELS / LOG

    @property
    def label(self) -> str:
        """What a button that starts or stops it says."""
        state = self.progress().state
        return {"running": "Stop", "stopped": "Go on retraining", "failed": "Go on retraining"}.get(state, "Retrain")

    def start(self, by: str, restart: bool = False) -> None:
        """Start it, or go on where one was stopped; restart: drop what is unfinished.

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
        store, environ = without_secret(self._store)
        command += ["--store", store] if store else []
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            log = self._log.open("wb")
        except OSError as error:
            raise OutputError(f"Could not write {self._log}: {error.strerror}. Nothing was changed") from error
        with log:
            try:
                self._process = self._spawn(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    **own_group(),
                    env=environment() | environ,
                )
            except OSError as error:
                raise BackendError(f"Could not start {command[0]}: {error.strerror}") from error

    def progress(self) -> Progress:
        """How far it is, whoever started it, and what went wrong."""
        try:
            found = read_progress(self.dataset)
        except (FormatError, OSError) as error:
            return Progress("failed", str(error))
        if self._process is None:
            return found
        alive, ours = self._process.poll() is None, found.pid == self._process.pid
        if alive:  # it imports and has written nothing yet, or has written its last word and is about to end
            return replace(found, state="running") if ours else Progress("running", "Starting")
        return found if ours or self._process.returncode == 0 else Progress("failed", self._last_words())

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
