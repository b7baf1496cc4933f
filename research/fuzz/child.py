"""A process that reads damaged files one after the other and tells, in a line of JSON each, what came of them.

Each lies alone in a folder, the box; the folder for temporary files lies in the box as well, so that a file anywhere
else inside or just outside of the box shows.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from research.fuzz.targets import STORES, TARGETS, Target, nothing_left_open
from SpineLandmarksLib.errors import SpineLandmarksError

#: Of the processor: a busy machine is no finding.
SLOW_S = 10.0
MUCH_BYTES = 2**30
#: Beyond this the system's memory would be in danger; a reader that meets it is a finding all the same.
LIMIT_BYTES = 6 * 2**30


def main(name: str, seed: int, first: int, end: int, room: Path) -> None:
    box = room / "box"
    (box / "tmp").mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = tempfile.tempdir = str(box / "tmp")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT_BYTES, LIMIT_BYTES))
    STORES.home = room
    target = TARGETS[name]
    beside = target.beside()
    for other, content in beside.items():
        (box / other).write_bytes(content)
    with nothing_left_open(), (room / "said").open("w+b") as said:
        answers = os.fdopen(os.dup(1), "w")
        sys.stderr = os.fdopen(os.dup(2), "w")  # for faults of our own
        os.dup2(said.fileno(), 1)
        os.dup2(said.fileno(), 2)
        for number in range(first, end):
            file, content = target.input(name, seed, number)
            path = box / file
            path.write_bytes(content)
            print(json.dumps({"number": number, "file": file}), file=answers, flush=True)
            found = list(examine(target, path, said, {*beside, file, "tmp"}))
            path.unlink(missing_ok=True)
            print(json.dumps({"number": number, "found": found}), file=answers, flush=True)
            if any("memory" in text for text in found):  # the peak does not go down again
                os._exit(0)


def examine(target: Target, path: Path, said: object, allowed: set[str]) -> Iterator[str]:
    """What is wrong with how an input was read; nothing as a rule."""
    started, before = time.process_time(), _peak()
    try:
        target.read(path)
    except SpineLandmarksError as error:
        if "\n" in str(error) or not str(error).strip() or len(str(error)) > 2000:
            yield f"no clear line: {str(error)[:300]!r}"
    except BaseException:
        yield "traceback: " + traceback.format_exc()[-1500:]
    if time.process_time() - started > SLOW_S:
        yield f"slow: {time.process_time() - started:.1f} s"
    if _peak() - before > MUCH_BYTES:
        yield f"memory: {(_peak() - before) / 2**20:.0f} MiB more"
    box, room = path.parent, path.parent.parent
    left = {*os.listdir(box)} - allowed | {*os.listdir(box / "tmp")} - {"spine-landmarks"}
    left |= {name for name in os.listdir(room) if not name.startswith("tmp")} - {"box", "said"}  # tmp: a store
    if left:
        yield f"left files: {sorted(left)}"
    yield from _words(said)


def _words(said: object) -> Iterator[str]:
    size = os.lseek(said.fileno(), 0, os.SEEK_END)  # type: ignore[attr-defined]
    if size:
        text = os.pread(said.fileno(), 300, 0)  # type: ignore[attr-defined]
        os.ftruncate(said.fileno(), 0)  # type: ignore[attr-defined]
        os.lseek(said.fileno(), 0, os.SEEK_SET)  # type: ignore[attr-defined]
        yield f"said past the program: {text!r}"


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
