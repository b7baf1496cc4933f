"""What runs on the machines of a cluster: a localizer with one processor of its own, which sends files back."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from SpineLandmarksLib import __version__
from SpineLandmarksLib.batch.local import Settings, localize
from SpineLandmarksLib.batch.names import Study
from SpineLandmarksLib.batch.results import Outcome, explain
from SpineLandmarksLib.batch.run import identity
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

Files = dict[str, bytes]


@dataclass(frozen=True)
class Facts:
    """What an actor has loaded, and where: all of a run must have loaded the same."""

    version: str
    bundle_sha256: str
    backend: str
    host: str


class Actor:
    """Localizes one study after the other. Ray starts it in a process that no other actor is in."""

    def __init__(self, bundle: str, backend: str, device: str) -> None:
        os.environ["OMP_NUM_THREADS"] = "1"  # the processor that it was given; those beside it have their own actors
        self._asked = bundle, backend, device
        self._localizer: Localizer | None = None

    def ready(self) -> Facts:
        """Load the model. Raises what `Localizer.open` does."""
        self._localizer = Localizer.open(*self._asked)
        bundle = self._localizer.bundle
        return Facts(__version__, identity(bundle), self._localizer.backend.name, platform.node())

    def localize(self, study: Study, path: Path, settings: Settings) -> tuple[Outcome, Files]:
        """The outcome, without a way to write it, and the contents of its files by name. path: absolute."""
        assert self._localizer is not None
        try:
            stack = read_study(path, settings.spacing_mm)
        except Exception as error:
            return Outcome(study, error=explain(error)), {}
        outcome = localize(study, stack, self._localizer, settings)
        try:
            return replace(outcome, write=None), _files(outcome)
        except Exception as error:
            return Outcome(study, error=explain(error)), {}


def _files(outcome: Outcome) -> Files:
    if not outcome.write:
        return {}
    with TemporaryDirectory(prefix="spine-landmarks-") as folder:
        outcome.write(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}
