"""Telling and asking the person in front of the screen."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import slicer
from slicer.i18n import tr

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
        reason = ": ".join(str(part) for part in (error.strerror or error, error.filename) if part)
        notify(tr("{reason}. Nothing was changed").format(reason=reason))
    except Exception as error:
        logging.exception("SpineLandmarks")
        slicer.util.errorDisplay(
            tr(
                "A fault of SpineLandmarks, not yours: {kind}: {error}\n\nYour corrections are in the scene; "
                "save it. Please report the fault with the details below"
            ).format(kind=type(error).__name__, error=error),
            windowTitle=TITLE,
            detailedText=traceback.format_exc(),
        )
