"""Have the n-th change of the disk fail, for every n, in each command that writes, and see what is left.

    python -m research.faults [--only NAME] [--fault full|hiccup|read-only|killed] [--every N]

After each failure: one line each that says what is wrong, no traceback, and files that are whole. Where the command
says that all is well, all is there. Run again on a good disk, it ends as if nothing had been. The same holds of a
process that is killed there, but for the line.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from research.faults.commands import COMMANDS, Command, a_model_that_knows
from research.faults.disk import FAULTS, Ending, build, run_failing
from SpineLandmarksLib import SpineLandmarksError, read_csv, read_json, read_markups
from SpineLandmarksLib.batch.ledger import FILE_NAME
from SpineLandmarksLib.batch.results import STALE
from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.retraining.process import UNFINISHED

#: What is written of each try, also of one that fails.
LOGS = ("events", "sqlite_sequence")
#: How the names of files begin that are being written.
TEMPORARY = ".spine-landmarks"
LOADED = "SPINE_LANDMARKS_FAULTS"
#: What differs from run to run: ids, and the names that hold them.
_IDS = re.compile(r"[0-9a-f]{16,}|2\.25\.\d+|P[0-9A-F]{10}")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.faults", description=__doc__.partition("\n")[0])
    p.add_argument("--only", action="append", choices=COMMANDS, metavar="NAME")
    p.add_argument("--fault", action="append", choices=FAULTS)
    p.add_argument("--every", type=int, default=1, metavar="N", help="try every N-th change alone")
    options = p.parse_args(arguments)
    if not os.environ.get(LOADED):
        return _loaded(arguments if arguments is not None else sys.argv[1:])
    found = 0
    with tempfile.TemporaryDirectory() as room, a_model_that_knows():
        os.environ.update(XDG_STATE_HOME=f"{room}/state", TMPDIR=f"{room}/tmp", HOME=f"{room}/home")
        for name in options.only or COMMANDS:
            for fault in options.fault or FAULTS:
                trial = Trial(COMMANDS[name], fault, Path(room) / _IDS.sub("", name.replace(" ", "-")))
                problems = list(trial.problems(options.every))
                found += len(problems)
                print(
                    json.dumps({"command": name, "fault": fault, "tried": trial.tried, "problems": problems}),
                    flush=True,
                )
    return bool(found)


def _loaded(arguments: list[str]) -> int:
    """The same in a process into which the library that fails was loaded."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "LD_PRELOAD": str(build(Path(folder))), LOADED: "1"}
        return subprocess.run([sys.executable, "-m", "research.faults", *arguments], env=environment).returncode


class Trial:
    """One command under one fault."""

    def __init__(self, command: Command, fault: str, room: Path) -> None:
        self.command, self.fault, self.room, self.tried = command, fault, room, 0

    def problems(self, every: int) -> Iterator[str]:
        shutil.rmtree(self.room, ignore_errors=True)
        self.before, self.folder = self.room / "before", self.room / "now"
        self.before.mkdir(parents=True)
        self._warm_up()
        assert self._run_in(self.before, make=True).status == 0
        self.had = contents(self.before)
        ending = self._run(0)
        assert ending.status == 0, ending.said
        self.right = contents(self.folder)
        for first in range(1, ending.changes + 1, every):
            self.tried += 1
            yield from (f"change {first}: {problem}" for problem in self._problems_of(first))

    def _warm_up(self) -> None:
        """Have everything imported that the children will need."""
        folder = self.room / "warm"
        folder.mkdir()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            self.command.make(folder)
            self.command.run(folder)

    def _problems_of(self, first: int) -> Iterator[str]:
        ending = self._run(first)
        lines = ending.said.splitlines()
        if self.fault == "killed" and ending.status == -signal.SIGKILL:
            ending, lines = replace(ending, status=2), ["spine-landmarks: killed"]  # it could not say so
        if ending.status not in (0, 1, 2) or any(not line.startswith("spine-landmarks: ") for line in lines):
            yield f"status {ending.status}: {ending.said[-1500:]}"
        if ending.status and not lines:
            yield f"status {ending.status} without a word"
        yield from broken(self.folder, self.fault == "killed")
        now = contents(self.folder)
        if ending.status == 0 and now != self.right:
            yield f"all is said to be well, and it differs: {difference(now, self.right)}"
        lost = {name for name in self.had if name not in now and f"{name}{STALE}" not in now}
        if lost:
            yield f"lost: {sorted(lost)}"
        again = self._run_in(self.folder)
        yield from broken(self.folder, self.fault == "killed")
        if not self._is_right(contents(self.folder)):
            yield f"again: {again.said.strip()[-300:]} {difference(contents(self.folder), self.right)}"

    def _is_right(self, found: dict[str, Any]) -> bool:
        store = "data/store.sqlite"
        if self.command.adds and found[store]["revisions"] > self.right[store]["revisions"]:
            found[store]["revisions"] = self.right[store]["revisions"]
        return bool(found == self.right)

    def _run(self, first: int) -> Ending:
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.before, self.folder)
        return self._run_in(self.folder, first)

    def _run_in(self, folder: Path, first: int = 0, make: bool = False) -> Ending:
        step = self.command.make if make else self.command.run

        def go() -> int:
            try:
                done = step(folder)
                return done if isinstance(done, int) else 0
            except SpineLandmarksError as error:  # of a step that is no command of its own
                print(f"spine-landmarks: {error}", file=sys.stderr)
                return 2

        return run_failing(go, folder, first, self.fault, self.room)


def contents(folder: Path) -> dict[str, Any]:
    """What lies in a folder, but for times and ids: files by name with what a reader finds in them."""
    found: dict[str, Any] = {}
    for file in sorted(folder.rglob("*")):
        name = _IDS.sub("ID", file.relative_to(folder).as_posix())
        is_passing = name.endswith(("-wal", "-shm", "-journal", "log.csv")) or is_draft(file)
        if file.is_file() and not is_passing:
            found[name] = _rows(file) if file.suffix == ".sqlite" else _size(file)
            if file.name == FILE_NAME:  # the last line of each study holds
                lines = [json.loads(line) for line in file.read_text().splitlines() if line.endswith("}")]
                found[name] = {line["study"]: line["status"] for line in lines}
    return found


def _size(file: Path) -> int:
    """Lines of a text, bytes of a picture."""
    data = file.read_bytes()
    if file.suffix == ".dcm":
        return 1  # new UIDs are of any length
    return data.count(b"\n") if file.suffix in (".json", ".jsonl", ".csv") else len(data)


def _rows(file: Path) -> dict[str, int]:
    with sqlite3.connect(file) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        counts = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}
    return {name: count for name, count in counts.items() if name not in LOGS}


def is_draft(file: Path) -> bool:
    """Whether nobody reads it yet: a temporary file, or one of a model that is being made."""
    return file.name.startswith(TEMPORARY) or UNFINISHED in file.parts


def broken(folder: Path, after_kill: bool = False) -> Iterator[str]:
    """Files that are not whole, and those that should have gone: a killed process leaves them for an hour."""
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder)
        if is_draft(file):
            if not after_kill and file.name.startswith(TEMPORARY):
                yield f"{name} is left over"
        elif file.is_file():
            try:
                _read(file)
            except Exception as error:
                yield f"{name}: {type(error).__name__}: {error}"


def _read(file: Path) -> object:
    if file.name.endswith(".mrk.json"):
        return read_markups(file)
    if file.suffix == ".json":
        return read_json(file) if file.parent.name == "out" and file.stem == "in" else json.loads(file.read_text())
    if file.suffix == ".csv":
        return read_csv(file) if file.parent.name == "out" and file.stem == "in" else file.read_text()
    if file.suffix == ".png":
        from PIL import Image

        return Image.open(file).load()
    if file.suffix == ".dcm":
        from pydicom import dcmread

        return dcmread(file).pixel_array
    if file.suffix == ".key":
        return bytes.fromhex(file.read_text().strip())[15]
    if file.suffix == ".sqlite":
        with sqlite3.connect(file) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return load_bundle(file.parent.parent, files=()) if file.name == "metadata.json" else None


def difference(now: dict[str, object], right: dict[str, object]) -> str:
    return "; ".join(
        f"{name}: {now.get(name)} for {right.get(name)}"
        for name in sorted({*now, *right})
        if now.get(name) != right.get(name)
    )


if __name__ == "__main__":
    sys.exit(main())
