"""Many inputs into one folder: their names, their files, what has been done, and the run over all of them."""

from __future__ import annotations

from SpineLandmarksLib.batch.results import explain, prepare_output, result_text, stems, write_results
from SpineLandmarksLib.batch.run import predict_all

__all__ = ["explain", "predict_all", "prepare_output", "result_text", "stems", "write_results"]
