"""Many inputs into one folder: their names, their files, what has been done, and the run over all of them."""

from __future__ import annotations

from SpineLandmarksLib.batch.names import stems
from SpineLandmarksLib.batch.results import describe, explain, prepare_output, write_results
from SpineLandmarksLib.batch.run import predict_all

__all__ = ["describe", "explain", "predict_all", "prepare_output", "stems", "write_results"]
