"""The error tree. Every message states the rule, what came, and what exists."""

import re

#: What would break a line, or write to the terminal past it.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
#: Characters of the longest message: a file may hold a name of any length.
_LONGEST = 2000


class SpineLandmarksError(Exception):
    """Base of every error that a user can cause or mend; the command prints it on one line and exits 2.

    >>> from SpineLandmarksLib import read_study
    >>> try:
    ...     read_study("nowhere")
    ... except SpineLandmarksError as error:
    ...     print(error)
    Expected an existing file or folder; nowhere does not exist
    """

    def __str__(self) -> str:
        text = _CONTROL.sub(" ", super().__str__())
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 500]} ... {text[-495:]}"


#: Said where there is no room for a study, a model or a library.
TOO_LITTLE_MEMORY = "Expected enough memory; there is too little. Close other programs, or use a machine with more"
_OUT_OF_MEMORY = re.compile("alloc|out of memory|failed to map segment", re.IGNORECASE)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was too little memory: native libraries and the loader say so in words of their own.

    >>> is_out_of_memory(ImportError("x.so: failed to map segment from shared object")), is_out_of_memory(KeyError())
    (True, False)
    """
    return isinstance(error, MemoryError) or _OUT_OF_MEMORY.search(str(error)) is not None


class InputError(SpineLandmarksError):
    """The image or study cannot be read, or is not something that landmarks can be placed on."""


class LandmarkError(SpineLandmarksError):
    """Landmark names, counts, statuses or positions break a rule."""


class GeometryError(SpineLandmarksError):
    """A matrix, spacing or orientation is impossible."""


class FormatError(SpineLandmarksError):
    """A landmark file does not have the layout of its format."""


class BundleError(SpineLandmarksError):
    """A model bundle is missing, incomplete, altered or does not fit the program."""


class BackendError(SpineLandmarksError):
    """The chosen runtime is missing or cannot run on this machine."""


class DatasetError(SpineLandmarksError):
    """A data-set folder lacks what training or evaluation needs."""


class StoreError(SpineLandmarksError):
    """The store of corrections cannot be read or written; what was acknowledged before is untouched."""


class RecipeError(SpineLandmarksError):
    """A training recipe has an unknown or impossible setting."""


class OutputError(SpineLandmarksError):
    """A result could not be written; what was there before is untouched."""


class AccessError(SpineLandmarksError):
    """The browser reviewer would be open to others than was asked for, or an upload breaks a rule."""
