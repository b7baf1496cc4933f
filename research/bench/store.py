"""Does the store keep what it acknowledged? Writers that are killed, and writers at once.

    python -m research.bench.store kill FOLDER --saves 500 --kills 40
    python -m research.bench.store writers FOLDER --seconds 60 [--store postgresql://...]

Prints one JSON object; the status is 1 when an acknowledged save is missing, an error was seen, or the check complains.
FOLDER is made and must not exist.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.atomic import sha256_of
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store.checks import check_files, check_store
from SpineLandmarksLib.store.folder import open_store
from SpineLandmarksLib.store.study_record import StudyRecord, write_slice

STUDY = "case-1"
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    kill = commands.add_parser("kill")
    kill.set_defaults(run=kill_writers)
    writers = commands.add_parser("writers")
    writers.set_defaults(run=two_writers)
    for each in (kill, writers):
        each.add_argument("folder", type=Path)
        each.add_argument("--store", metavar="postgresql://...")
    kill.add_argument("--saves", type=int, default=500)
    kill.add_argument("--kills", type=int, default=40)
    kill.add_argument("--seed", type=int, default=0)
    writers.add_argument("--seconds", type=float, default=60)
    writers.add_argument("--least", type=int, default=0, help="saves of each writer, however long they take")
    options = parser.parse_args()
    make(options)
    found = options.run(options)
    print(json.dumps(found))
    return int(bool(found["lost"] or found["errors"] or found["complaints"]))


def make(options: argparse.Namespace) -> None:
    import numpy as np

    options.folder.mkdir()
    image = options.folder / "images" / "case-1.png"
    write_slice(np.arange(2400, dtype=np.float32).reshape(40, 60), image)
    store = open_store(options.folder, options.store)
    store.add_study(StudyRecord(STUDY, "patient", "images/case-1.png", sha256_of(image), (60, 40)))
    store.close()


def write(options: argparse.Namespace, name: str, pipe: int, until: float = float("inf"), least: int = 0) -> None:
    """Save revisions, each on the latest one, and tell each acknowledged id, or an error, in a line of the pipe."""
    told = 0
    store = open_store(options.folder, options.store)
    study = store.study(STUDY)
    points = tuple(Landmark(mark, "confirmed", pixel_xy=(10.0, 20.0)) for mark in LUMBAR11)
    while time.time() < until or told < least:
        told += 1
        try:
            heads = store.heads(STUDY)
            parent = heads[-1].id if heads else None
            landmarks = LandmarkSet(points, input="case")
            saved = store.save(Revision(STUDY, name, NOON, landmarks, study.reference, parent, time.time()))
            os.write(pipe, f"{saved.id} {len(saved.fork)}\n".encode())
        except SpineLandmarksError as error:
            os.write(pipe, f"error {error}\n".encode())


def start(options: argparse.Namespace, name: str, until: float = float("inf"), least: int = 0) -> tuple[int, Any]:
    """A writer in a process of its own, and the file that it tells its saves to."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            write(options, name, writing, until, least)
        finally:
            os._exit(0)
    os.close(writing)
    return child, os.fdopen(reading)


def kill_writers(options: argparse.Namespace) -> dict[str, Any]:
    """Kill -9 each writer after a random number of saves and a random moment more."""
    draw = random.Random(options.seed)
    acknowledged: list[str] = []
    for number in range(options.kills):
        child, told = start(options, f"writer {number}")
        wanted = draw.randint(1, max(1, 2 * options.saves // options.kills - 1))
        first = [told.readline() for _ in range(wanted)]
        time.sleep(draw.uniform(0, 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        acknowledged += [*first, *told]  # what was told before the kill lies in the pipe
        told.close()
    return count_lost(options, acknowledged) | {"kills": options.kills}


def two_writers(options: argparse.Namespace) -> dict[str, Any]:
    """Two writers at once on one study."""
    until = time.time() + options.seconds
    writers = [start(options, name, until, options.least) for name in ("Ann", "Bo")]
    acknowledged: list[str] = []
    for child, told in writers:
        acknowledged += told
        told.close()
        os.waitpid(child, 0)
    return count_lost(options, acknowledged) | {"seconds": options.seconds}


def count_lost(options: argparse.Namespace, told: list[str]) -> dict[str, Any]:
    store = open_store(options.folder, options.store)
    kept = {revision.id for revision in store.history(STUDY)}
    saves = [line.split() for line in told if line.endswith("\n") and not line.startswith("error")]
    # Two writers that start from the same revision make a fork, which is kept and listed: nothing is wrong then.
    complaints = [finding.text for finding in (*check_store(store), *check_files(store)) if finding.is_error]
    ends = len(store.heads(STUDY))
    store.close()
    return {
        "acknowledged": len(saves),
        "kept": len(kept),
        "lost": sum(save[0] not in kept for save in saves),
        "ends": ends,
        "errors": [line for line in told if line.startswith("error")],
        "complaints": complaints,
    }


if __name__ == "__main__":
    sys.exit(main())
