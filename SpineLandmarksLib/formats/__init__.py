"""Result formats by the name that `--format` takes; the name is also the file's ending."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeAlias

from SpineLandmarksLib.formats.csv_table import write_csv
from SpineLandmarksLib.formats.json_result import write_json
from SpineLandmarksLib.formats.slicer_markups import write_markups
from SpineLandmarksLib.landmarks import LandmarkSet

Writer: TypeAlias = Callable[[LandmarkSet, str | os.PathLike[str]], None]

FORMATS: dict[str, Writer] = {"json": write_json, "csv": write_csv, "mrk.json": write_markups}
