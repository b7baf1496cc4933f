"""Telling and asking the person in front of the screen."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import slicer

from SpineLandmarksLib.errors import SpineLandmarksError

TITLE = "SpineLandmarks"


def notify(text: str) -> None:
    """A dialog in plain words."""
    slicer.util.errorDisplay(text, windowTitle=TITLE)


def ask(text: str) -> bool:
    return bool(slicer.util.confirmYesNoDisplay(text, windowTitle=TITLE))


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a person can mend into a dialog that says how. Faults of the program are shown with where to tell."""
    try:
        yield
    except SpineLandmarksError as error:
        notify(str(error))
    except OSError as error:
        notify(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}. Nothing was changed")
    except Exception as error:
        logging.exception("SpineLandmarks")
        slicer.util.errorDisplay(
            f"A fault of SpineLandmarks, not yours: {type(error).__name__}: {error}\n\nYour corrections are in the "
            "scene; save it. Please report the fault with the details below",
            windowTitle=TITLE,
            detailedText=traceback.format_exc(),
        )
