"""A study that comes through the browser: counted while it comes, kept under a name of our own, read and never run."""

from __future__ import annotations

import contextlib
import secrets
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO

from SpineLandmarksLib.errors import AccessError
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.find import find_sources
from SpineLandmarksLib.store.folder import read_folder
from SpineLandmarksLib.store.store import Store

FOLDER = "uploads"


#: What may come, and how such a file begins.
NIFTI = (b"\x5c\x01\0\0", b"\0\0\x01\x5c", b"\x1c\x02\0\0", b"\0\0\x02\x1c")


KINDS = {".zip": (b"PK\x03\x04",), ".nii.gz": (b"\x1f\x8b",), ".nii": NIFTI}


@dataclass
class Incoming:
    """A file that is being received. name: as the browser gives it, of which only the ending counts.

    The name may be that of a patient, so the file gets another one. `close` takes away what was not finished.
    """

    folder: Path
    name: str
    max_bytes: int
    received: int = 0

    def __post_init__(self) -> None:
        endings = [ending for ending in KINDS if self.name.lower().endswith(ending)]
        if not endings:
            raise AccessError(f"Expected a DICOM zip or NIfTI ({', '.join(KINDS)}); got a file of another kind")
        self.ending = endings[0]
        (self.folder / FOLDER).mkdir(parents=True, exist_ok=True)
        self.path = self.folder / FOLDER / f"upload-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}{self.ending}"
        self._part = self.path.with_name(self.path.name + ".part")
        self._file: IO[bytes] = self._part.open("xb")

    def write(self, block: bytes) -> None:
        """Raises AccessError for too much, and for what does not begin as its ending says."""
        if self.received == 0 and not block.startswith(KINDS[self.ending]):
            raise AccessError(f"Expected a {self.ending} file; what came is something else, whatever its name says")
        self.received += len(block)
        if self.received > self.max_bytes:
            raise AccessError(
                f"Expected a file of at most {self.max_bytes / 2**20:.0f} MiB; this one is larger. "
                "Start the reviewer with a larger --max-upload, or add the study with: "
                "spine-landmarks dataset add"
            )
        self._file.write(block)

    def finish(self) -> Path:
        if self.received == 0:
            raise AccessError("Expected a file with something in it; it is empty")
        self._file.close()
        self._part.replace(self.path)
        return self.path

    def close(self) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)


def ingest_upload(store: Store, path: Path) -> str:
    """Add an uploaded file to the data set; returns its study. Raises what is wrong with it, and takes it away then."""
    try:
        source = find_sources([path], read_folder(store.folder).id)[0]
        key = path.name.partition(".")[0]
        add_source(store, replace(source, key=key, patient=key), [], Adding())
        return key
    except BaseException:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
