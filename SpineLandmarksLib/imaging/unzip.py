"""Unpacking a zip that somebody sent: nothing leaves the folder, and nothing grows without end."""

from __future__ import annotations

import gzip
import re
import shutil
import stat
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.volume import reading

#: What a study may inflate to. A lumbar study has 0.05 to 1 GiB.
MAX_INFLATED_BYTES = 4 * 2**30
#: Above RATIO_FREE_BYTES, the inflated size may be this many times the zip's own. MR slices pack 2 to 10 times.
MAX_INFLATED_RATIO = 100
RATIO_FREE_BYTES = 64 * 2**20
MAX_MEMBERS = 50_000
_BLOCK = 2**20
#: Of temporary folders, the file in each that is locked while the folder is used, and where the rest lies.
PREFIX, IN_USE, FILES = "spine-landmarks-unpacked-", "in-use", "files"
#: A folder that is younger may not be locked yet.
NEW_S = 60.0


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a patient's files that nobody else may read, and that goes in every case: one of a process that was
    killed goes when the next is made. Who uses one holds a lock in it.
    """
    _sweep()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as parent, (Path(parent) / IN_USE).open("wb") as lock:
        lock_file(lock)
        folder = Path(parent) / FILES
        folder.mkdir()
        yield folder


def _sweep() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/{IN_USE}"):
        with suppress(OSError):  # in use, or another user's
            if time.time() - lock.stat().st_mtime > NEW_S:
                with lock.open("r+b") as file:
                    lock_file(file)
                    shutil.rmtree(lock.parent / FILES)
                shutil.rmtree(lock.parent)  # Windows removes no file that is open


def lock_file(file: IO[bytes]) -> None:
    """Raises OSError where another process has it. The system lets go of it when the process ends, however it does."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """Yield a temporary folder with the zip's files, removed at the end of the block in every case.

    Files get new, flat names, so that no name in the zip decides where anything is written. Raises InputError for a
    name with `..`, an absolute name, a link, a password, damage, and more bytes than stated above; the bytes are
    counted while they are inflated, since sizes in the zip can lie.
    """
    with scratch() as folder:
        with reading(path, "a zip file of DICOM slices"), zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                _check_name(member, path.name)
            if len(members) > MAX_MEMBERS:
                raise InputError(f"Expected at most {MAX_MEMBERS} files in a zip; got {len(members)} in {path.name}")
            _inflate(archive, members, folder, path)
        yield folder


@contextmanager
def unpacked_gzip(path: Path) -> Iterator[Path]:
    """Yield what a gzip file holds, in a temporary folder under its name without `.gz`; limits as of a zip."""
    with scratch() as folder:
        inside = folder / (re.sub(r"\.gz$", "", path.name, flags=re.IGNORECASE) or path.name)
        with reading(path, "a file packed with gzip"), gzip.open(path) as source, inside.open("wb") as target:
            _copy(source, target, 0, _allowed(path), path)
        yield inside


def _check_name(member: zipfile.ZipInfo, zip_name: str) -> None:
    # orig_filename is the name as stored; zipfile cuts `filename` at a NUL and turns separators round
    name = member.orig_filename.replace("\\", "/")
    is_absolute = name.startswith("/") or re.match(r"[A-Za-z]:", name)
    if is_absolute or ".." in PurePosixPath(name).parts or "\0" in name:
        raise InputError(f"Expected names inside the zip's own folder; got {name!r} in {zip_name}")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise InputError(f"Expected files in a zip; got a link, {name!r}, in {zip_name}")
    if member.flag_bits & 0x1:
        raise InputError(f"Expected a zip without password; {name!r} in {zip_name} is encrypted")


def _inflate(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo], folder: Path, path: Path) -> None:
    total = 0
    for number, member in enumerate(members):
        tail = re.sub(r"[^\w.-]", "_", PurePosixPath(member.filename).name)[-60:]
        with archive.open(member) as source, (folder / f"{number:05d}_{tail}").open("wb") as target:
            total = _copy(source, target, total, _allowed(path), path)


def _allowed(path: Path) -> int:
    """Bytes that a file may inflate to."""
    return min(MAX_INFLATED_BYTES, max(RATIO_FREE_BYTES, MAX_INFLATED_RATIO * path.stat().st_size))


def _copy(source: IO[bytes] | gzip.GzipFile, target: IO[bytes], total: int, allowed: int, path: Path) -> int:
    """The total with the bytes that were written. InputError as soon as it is more than allowed."""
    while block := source.read(_BLOCK):
        total += len(block)
        if total > allowed:
            kind = "gzip file" if path.suffix.lower() == ".gz" else "zip"
            raise InputError(f"Expected a {kind} that inflates to at most {allowed} bytes; {path.name} holds more")
        target.write(block)
    return total
