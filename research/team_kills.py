"""Kill readers and leads in the middle of their work, again and again, and see that nothing is lost or half done.

    python -m research.team_kills --count 200 [--store postgresql://user@host/database] [--seed 0]

Two readers and two leads work on one store, each a process of its own: the leads give studies to the readers, decide
and reopen; the readers save and sign, and differ in a third of the studies. One of them is killed (SIGKILL) at a random
moment and started again. Whatever a process has told as done must be in the store, and the store must be sound: no
damaged record, no gap in the log, no reading that all have signed, agree on, and that goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store.audit import events_of
from SpineLandmarksLib.store.blind import all_readings
from SpineLandmarksLib.store.checks import check_store
from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.store.readings import assign_readers, reading_rows, reopen_study, sign_study, standing
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, complete

READERS, LEADS = ("Ann", "Bob"), ("Lea", "Leo")
STUDIES = 12
#: Of the studies that a reader reads, this share with a slip of 12 mm.
SLIPS = 0.2


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.team_kills", description=__doc__.partition("\n")[0])
    p.add_argument("--count", type=int, default=200, metavar="N", help="kills")
    p.add_argument("--store", metavar="postgresql://...")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--work", nargs=2, metavar=("DATASET", "NAME"), help=argparse.SUPPRESS)
    options = p.parse_args(arguments)
    if options.work:
        work(Path(options.work[0]), options.store, options.work[1], random.Random(options.seed))
    with tempfile.TemporaryDirectory() as folder:
        dataset = make_dataset(Path(folder) / "team", options.store)
        problems, told = campaign(dataset, options.store, options.count, random.Random(options.seed))
    done = ", ".join(f"{count} {what}" for what, count in sorted(told.items()))
    print(f"{options.count} kills, told as done: {done}; {len(problems)} problems")
    print("\n".join(problems[:20]))
    return bool(problems)


def make_dataset(folder: Path, url: str | None) -> Path:
    with init_dataset(folder, url) as store:
        for number in range(STUDIES):
            image = f"images/{number}.png"
            study = StudyRecord(f"s{number}", f"p{number}", image, f"{number:064x}", (200, 300), spacing_mm=(1.0, 1.0))
            store.add_study(study)
            store.save(Revision(study.key, "model@1", utc_now(), points(study, "model@1"), study.reference))
    return folder


def points(study: StudyRecord, bundle: str | None = None, slip: str = "", mm: float = 0.0) -> LandmarkSet:
    """A straight spine; slip: the landmark that lies 12 mm too low. mm: by which all are beside it."""
    status = "predicted" if bundle else "confirmed"
    marks = tuple(
        Landmark(name, status, pixel_xy=(100.0 + mm, 40.0 + 17 * row + 12 * (name == slip)))  # type: ignore[arg-type]
        for row, name in enumerate(LUMBAR11)
    )
    return complete(LandmarkSet(marks, slice_index=0, bundle=bundle), study.matrix)


def campaign(dataset: Path, url: str | None, count: int, rng: random.Random) -> tuple[list[str], Counter[str]]:
    """What went wrong, and what the processes told as done."""
    files: list[Path] = []
    running = {name: start(dataset, url, name, rng, files) for name in (*READERS, *LEADS)}
    try:
        for _ in range(count):
            await_work(files)
            time.sleep(rng.uniform(0.0, 0.5))
            name = rng.choice(list(running))
            running[name].kill()
            running[name].wait()
            running[name] = start(dataset, url, name, rng, files)
        await_work(files)
    finally:
        for process in running.values():
            process.send_signal(signal.SIGKILL)
            process.wait()
    told = [line.split() for file in files for line in file.read_text().splitlines(keepends=True) if line[-1] == "\n"]
    with open_dataset(dataset, url) as store:
        return list(faults(store, told)), Counter(what for what, _ in told)


def await_work(files: list[Path], seconds: float = 120.0) -> None:
    """Until somebody has told of something that is done."""
    before, limit = told_bytes(files), time.monotonic() + seconds
    while told_bytes(files) == before:
        if time.monotonic() > limit:
            raise TimeoutError(f"nobody has done anything for {seconds:.0f} s")
        time.sleep(0.05)


def told_bytes(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def start(dataset: Path, url: str | None, name: str, rng: random.Random, files: list[Path]) -> subprocess.Popen[bytes]:
    files.append(dataset.parent / f"told-{len(files)}.txt")
    command = [sys.executable, "-m", "research.team_kills", "--work", str(dataset), name]
    command += ["--seed", str(rng.randrange(2**31)), *(["--store", url] if url else [])]
    with files[-1].open("wb") as out:
        return subprocess.Popen(command, stdout=out)


def faults(store: Store, told: list[list[str]]) -> Iterator[str]:
    """What was told as done and is not in the store, and what is wrong with the store."""
    saved = {one.id for study in store.studies() for one in store.history(study.key)}
    events = {(row["action"], row["revision"] or row["study"]) for row in events_of(store)}
    for what, which in told:
        if what == "saved" and which not in saved:
            yield f"revision {which} was told as saved"
        elif what != "saved" and (what, which) not in events:
            yield f"{which} was told as {what}"
    yield from (finding.text for finding in check_store(store) if finding.is_error)
    yield from (f"{study} has forked" for study in store.forks())
    disputed = {row["study"] for row in reading_rows(store) if row["disputed"]}
    with store.snapshot() as connection:
        for reading in all_readings(connection):
            if reading.is_read and not reading.closed and reading.study not in disputed:
                yield f"{reading.study} was read, all agree, and nothing came of it"


def work(dataset: Path, url: str | None, name: str, rng: random.Random) -> None:
    """Until killed."""
    with open_dataset(dataset, url) as store:
        while os.getppid() != 1:
            study = store.study(f"s{rng.randrange(STUDIES)}")
            with contextlib.suppress(SpineLandmarksError):  # somebody else was faster
                read(store, study, name, rng) if name in READERS else lead(store, study, name, rng)


def tell(what: str, which: str) -> None:
    print(what, which, flush=True)


def save(store: Store, study: StudyRecord, name: str, landmarks: LandmarkSet) -> str:
    before = standing(store, study.key, name).revision
    one = Revision(study.key, name, utc_now(), landmarks, study.reference, before.id if before else None, 1.0)
    store.save(one)
    tell("saved", one.id)
    return one.id


def read(store: Store, study: StudyRecord, name: str, rng: random.Random) -> None:
    seen = standing(store, study.key, name)
    if seen.view != "own" or seen.signed_by:
        return
    save(store, study, name, points(study, mm=rng.uniform(-1, 1)))
    slip = rng.choice(LUMBAR11) if rng.random() < SLIPS else ""
    last = save(store, study, name, points(study, slip=slip, mm=rng.uniform(-1, 1)))
    sign_study(store, last, name)
    tell("signed", last)


def lead(store: Store, study: StudyRecord, name: str, rng: random.Random) -> None:
    with store.snapshot() as connection:
        is_open = any(one.study == study.key and not one.closed for one in all_readings(connection))
    if not is_open:
        assign_readers(store, study.key, READERS, name)
        tell("assigned", study.key)
    elif store.take([study.key], name):
        seen = standing(store, study.key, name)
        if seen.view == "decide" and rng.random() < 0.2:
            reopen_study(store, study.key, name, "look again", READERS[0])
        elif seen.view == "decide":
            sign_study(store, save(store, study, name, points(study)), name)


if __name__ == "__main__":
    sys.exit(main())
