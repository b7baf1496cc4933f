"""Two actors of a Ray cluster on this machine against one, on the same 200 small studies in one run.

    python -m research.bench.cluster [STUDIES] [BUNDLE]

The studies are copies of four phantoms of two slices. An actor has one thread for the network, also when it is alone.
The time of the work is from when the first actor has loaded the model until all files are written; that of starting is
told beside it.
"""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from SpineLandmarksLib.batch import predict_all
from SpineLandmarksLib.batch.ray_engine import RayEngine
from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom

KINDS = 4


def main(count: int = 200, bundle: str = DEFAULT) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = make_tree(Path(name) / "tree", count)
        seconds = {workers: timed(tree, Path(name) / f"out{workers}", bundle, workers) for workers in (1, 2)}
    print(f"2 workers against 1 on {count} studies: {seconds[1] / seconds[2]:.2f} x")


def make_tree(tree: Path, count: int) -> Path:
    for number in range(count):
        file = tree / f"{number:04}" / "s.nii"
        file.parent.mkdir(parents=True)
        if number < KINDS:
            write_nifti(make_phantom(number, matrix=(192, 160), pixel_mm=1.55, slices=2, slice_mm=4.4), file)
        else:
            shutil.copy(tree / f"{number % KINDS:04}" / "s.nii", file)
    return tree


def timed(tree: Path, output: Path, bundle: str, workers: int) -> float:
    """Seconds of the work."""
    begun = time.perf_counter()
    with RayEngine(bundle, "auto", "auto", "local", workers) as engine:
        ready = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            status = predict_all([tree], engine, output, ("json", "csv", "mrk.json"), tree=True)
        done = time.perf_counter()
    rows = json.loads((output / "summary.json").read_text())["rows"]
    alone = sum(row["runtime_s"] for row in rows) / len(rows)
    assert status == 0
    print(
        f"{workers} workers: {done - ready:.1f} s, {(done - ready) / len(rows) * 1000:.0f} ms a study (of them "
        f"{alone * 1000:.0f} ms for an actor to localize it), after {ready - begun:.1f} s for starting"
    )
    return done - ready


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:3])  # type: ignore[arg-type]
