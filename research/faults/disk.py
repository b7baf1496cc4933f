"""A command on a disk that fails at its n-th change, in a child of a process that has everything imported."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("fail.c")
#: How a disk fails: with which error, and whether it goes on failing. At a negative one the process is killed.
FAULTS = {
    "full": (errno.ENOSPC, True),
    "hiccup": (errno.EIO, False),
    "read-only": (errno.EROFS, True),
    "killed": (-1, False),
}


@dataclass(frozen=True)
class Ending:
    """status: of the command, negative for a signal. said: what it wrote to stderr. changes: of the disk, in all."""

    status: int
    said: str
    changes: int


def build(folder: Path) -> Path:
    """The library that makes a disk fail, compiled; needs a C compiler and Linux."""
    library = folder / "fail.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    return library


def run_failing(run: Callable[[], int], below: Path, first: int, fault: str, room: Path) -> Ending:
    """Run in a child whose `first`-th change below a folder fails; none does where it is 0. room: for what it says."""
    sys.stdout.flush()
    child = os.fork()
    if not child:
        _be_child(run, below, first, *FAULTS[fault], room)
    _, state = os.waitpid(child, 0)
    count = (room / "count").read_text() if (room / "count").exists() else "0"
    return Ending(os.waitstatus_to_exitcode(state), (room / "err").read_text(), int(count))


def _be_child(
    run: Callable[[], int], below: Path, first: int, number: int, for_ever: bool, room: Path
) -> None:  # never returns
    status = 99
    try:
        for stream, name in ((1, "out"), (2, "err")):
            file = os.open(room / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, stream)
        shim = ctypes.CDLL(None)
        shim.fault_arm(os.fsencode(below), ctypes.c_long(first), number, for_ever)
        status = run()
        (room / "count").write_text(str(shim.fault_count()))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
