"""Files written whole: a temporary name in the same folder, fsync, rename. A kill or power cut leaves no half file.

And the check of files that were written: their SHA-256.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO

from SpineLandmarksLib.errors import InputError, OutputError

_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
_PREFIX = ".spine-landmarks-"
#: No file takes as long to write: an older temporary one was left by a process that was killed, s.
_LEFT_OVER_S = 3600.0
#: How long a file that somebody reads is waited for where the system replaces no open file, s.
_BUSY_S = 5.0
#: Characters of a path that Windows takes, unless long paths are turned on there.
_WINDOWS_PATH = 259


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yield a binary file that becomes `path` when the block ends well; otherwise `path` stays as it was.

    The temporary file lies in the folder of `path`: a rename across file systems is a copy, and a copy can be cut
    short. A reader sees the old content or the new content, never a part. A link is followed, so that it stays one.

    Raises OutputError for a full disk, a missing or read-only folder and every other OSError of the block.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{_PREFIX}{secrets.token_hex(8)}.tmp")
    try:
        if target.exists() and not target.is_file():
            raise FileExistsError("it is there and not a regular file")
        with os.fdopen(os.open(temporary, _NEW_FILE, _mode_of(target)), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _replace(temporary, target)
    except OSError as error:
        reason = _why(error, max(str(temporary), str(target), key=len))
        raise OutputError(f"Could not write {os.fspath(path)}: {reason}. Nothing was changed") from error
    finally:
        with contextlib.suppress(OSError):  # after the rename there is none left
            temporary.unlink()
    _fsync_folder(target.parent)


def copy_atomically(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> None:
    """Copy a file, whole or not at all. Raises OutputError as `write_atomically`, InputError for the source."""
    with ExitStack() as stack:
        try:
            opened = stack.enter_context(open(source, "rb"))
        except OSError as error:
            raise _unreadable(source, error) from error
        shutil.copyfileobj(opened, stack.enter_context(write_atomically(target)))


def drop_left_over(folder: Path) -> None:
    """Take away what killed processes have left half written in a folder."""
    for file in folder.glob(f"{_PREFIX}*.tmp"):
        with contextlib.suppress(OSError):  # another process may take it away at the same time
            if time.time() - file.stat().st_mtime > _LEFT_OVER_S:
                file.unlink()


def write_text_atomically(path: str | os.PathLike[str], text: str) -> None:
    """Write `text` as UTF-8 with the newlines it has. Raises OutputError as `write_atomically`."""
    with write_atomically(path) as file:
        file.write(text.encode("utf-8"))


def write_json_atomically(path: str | os.PathLike[str], content: object) -> None:
    """Write `content` as indented JSON. Raises ValueError for NaN and infinity, OutputError as `write_atomically`."""
    write_text_atomically(path, json.dumps(content, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces. Raises InputError when it cannot be read."""
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise _unreadable(path, error) from error
    return digest.hexdigest()


def _replace(temporary: Path, target: Path) -> None:
    """Rename. Windows replaces no file that another program has open, a virus scanner say: it is tried for a while."""
    until = time.monotonic() + _BUSY_S
    while True:
        try:
            return os.replace(temporary, target)
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > until:
                raise
            time.sleep(0.02)


def _why(error: OSError, path: str) -> str:
    """Windows says of a path that is too long that it is not there."""
    if sys.platform == "win32" and isinstance(error, FileNotFoundError) and len(path) > _WINDOWS_PATH:
        return f"its path is too long for Windows, which takes {_WINDOWS_PATH} characters unless long paths are on"
    return error.strerror or str(error)


def _unreadable(path: str | os.PathLike[str], error: OSError) -> InputError:
    reason = error.strerror or str(error)
    return InputError(f"Expected a file that can be read at {os.fspath(path)}; got: {reason}. Is it still there?")


def _mode_of(target: Path) -> int:
    """Permissions of the file that is replaced, else what a plain `open` asks for; the umask is applied to both."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        return 0o666


def _fsync_folder(folder: Path) -> None:
    """Make the rename itself durable. Windows and some network drives refuse this; the file is whole all the same."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
