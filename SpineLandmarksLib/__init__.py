"""SpineLandmarks: eleven named points on a lumbar spine MRI, with an honest statement of how sure each is.

The public names are imported when they are first used, so that `import SpineLandmarksLib` alone loads nothing heavy:

    from SpineLandmarksLib import Localizer, read_study

    landmarks = Localizer.open().localize(read_study("study/"))
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

# Nothing leaves the computer. ONNX Runtime reads its switch when it is imported, Ray when it is started; processes that
# are started from here inherit both.
for _switch, _value in (("ORT_DISABLE_TELEMETRY", "1"), ("RAY_USAGE_STATS_ENABLED", "0")):
    os.environ.setdefault(_switch, _value)

if TYPE_CHECKING:
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.errors import SpineLandmarksError
    from SpineLandmarksLib.formats.csv_table import read_csv, write_csv
    from SpineLandmarksLib.formats.json_result import read_json, write_json
    from SpineLandmarksLib.formats.slicer_markups import read_markups, write_markups
    from SpineLandmarksLib.imaging.stack import SagittalStack
    from SpineLandmarksLib.imaging.study import read_study
    from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
    from SpineLandmarksLib.predict import Localizer, predict_study

__version__ = "0.1.0"

__all__ = [
    "LUMBAR11",
    "Landmark",
    "LandmarkSet",
    "Localizer",
    "SagittalStack",
    "SpineLandmarksError",
    "load_bundle",
    "predict_study",
    "read_csv",
    "read_json",
    "read_markups",
    "read_study",
    "write_csv",
    "write_json",
    "write_markups",
]

#: Where the public names live, as the type checker is told above.
_MODULES = {
    "bundle": ("load_bundle",),
    "errors": ("SpineLandmarksError",),
    "formats.csv_table": ("read_csv", "write_csv"),
    "formats.json_result": ("read_json", "write_json"),
    "formats.slicer_markups": ("read_markups", "write_markups"),
    "imaging.stack": ("SagittalStack",),
    "imaging.study": ("read_study",),
    "landmarks": ("LUMBAR11", "Landmark", "LandmarkSet"),
    "predict": ("Localizer", "predict_study"),
}

if not TYPE_CHECKING:  # which would believe it of every name

    def __getattr__(name: str) -> object:
        """A public name, imported now (PEP 562)."""
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                return getattr(import_module(f"{__name__}.{module}"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
