"""Text files and the numbers in them, read so that an error names the file and what it should be."""

from __future__ import annotations

import math
import os
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from SpineLandmarksLib.errors import FormatError


def read_text(path: str | os.PathLike[str], what: str) -> str:
    """The content of a UTF-8 file, or of a UTF-16 one that says so, as spreadsheets save "Unicode text".

    what: it should be, in words. Raises FormatError when it cannot be read.
    """
    try:
        content = Path(path).read_bytes()
        text = content.decode("utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
        return text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as error:
        raise FormatError(f"Could not read {os.fspath(path)}: {error.strerror or error}") from error
    except ValueError as error:
        raise FormatError(f"{os.fspath(path)}: expected {what} in UTF-8; {error}") from error


def finite_or_none(text: str) -> float | None:
    """The number that a text is; None for every other text.

    >>> finite_or_none(" 1.5"), finite_or_none("nan"), finite_or_none("")
    (1.5, None, None)
    """
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
