"""One baseline in a process of its own, so that its memory and its start are its own: `python -m ... child JOB.json`.

The last line of its output is JSON. Without "measure" in the job it finds the points of one slice and ends: that is
what the parent times from start to end.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from research.bench.baselines import BASELINES
from research.bench.pipelines import STAGES, Pipeline, Slices
from SpineLandmarksLib.backends import LightBackend, Peaks
from SpineLandmarksLib.bundle import GRAPH, Bundle, load_bundle
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

BATCHES = (1, 8, 32)
MIN_RUNS = 3


def main(job: dict[str, Any]) -> dict[str, Any]:
    """job: name (of a baseline), bundle, slices (file, (N, H, W)), spacing_mm, volume, measure, runs, seconds,
    limit."""
    baseline, bundle = BASELINES[job["name"]], load_bundle(job["bundle"])
    slices: Slices = np.load(job["slices"])
    pipeline = baseline.open(bundle, tuple(job["spacing_mm"]))
    points = pipeline(slices[:1])
    if not job["measure"]:
        return {}
    is_light = job["name"] == "light"
    latency, stages = by_stage(pipeline, slices[:1], job["runs"], job["seconds"])
    return {
        "points": points.tolist(),
        "latency_s": latency,
        "stages_s": stages,
        "throughput": throughput(pipeline, slices, statistics.median(latency), job["seconds"], job["limit"]),
        "model_bytes": pipeline.model_bytes,
        "decode_share": decode_share(bundle, pipeline.prepare(slices[:1])) if is_light else None,
        "volume": whole_volume(bundle, job["volume"], job["seconds"]) if is_light else None,
        "flops": operations(pipeline, slices[:1]) if baseline.is_torch else None,
    }


def by_stage(pipeline: Pipeline, slices: Slices, runs: int, seconds: float) -> tuple[list[float], dict[str, float]]:
    """Seconds of each whole run, and the median of each stage; as many runs as fit into the time, at least three."""
    rows: list[list[float]] = []
    ends = time.perf_counter() + seconds
    while len(rows) < MIN_RUNS or (len(rows) < runs and time.perf_counter() < ends):
        value: Any = slices
        row = []
        for stage in STAGES:
            started = time.perf_counter()
            value = getattr(pipeline, stage)(value)
            row.append(time.perf_counter() - started)
        rows.append(row)
    medians = np.median(rows, axis=0).tolist()
    return [sum(row) for row in rows], dict(zip(STAGES, medians, strict=True))


def throughput(
    pipeline: Pipeline, slices: Slices, latency: float, seconds: float, limit: float
) -> dict[str, float | None]:
    """Slices a second at each batch; None where a single run would take more than `limit` seconds."""
    found: dict[str, float | None] = {}
    for count in BATCHES:
        if count * latency > limit:
            found[str(count)] = None
            continue
        batch = np.resize(slices, (count, *slices.shape[1:]))
        if count * latency < seconds / 4:
            pipeline(batch)  # the first of a new size also makes room for it
        found[str(count)] = count / _fastest_half(lambda batch=batch: pipeline(batch), seconds)  # type: ignore[misc]
    return found


def _fastest_half(work: Callable[[], object], seconds: float) -> float:
    """Median seconds of a call, over a third of the time, at least one call."""
    taken: list[float] = []
    ends = time.perf_counter() + seconds / 3
    while not taken or time.perf_counter() < ends:
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def whole_volume(bundle: Bundle, path: str, seconds: float) -> dict[str, float]:
    """Median seconds to localize a volume that has been read, and of that in the runtime."""
    backend = LightBackend(bundle)
    detect = backend.detect
    rows: list[list[float]] = []

    def timed(images: Slices) -> Peaks:
        started = time.perf_counter()
        found = detect(images)
        rows[-1][1] += time.perf_counter() - started
        return found

    backend.detect = timed  # type: ignore[method-assign]
    localizer, stack = Localizer(bundle, backend), read_study(path)
    ends = time.perf_counter() + seconds
    while len(rows) < MIN_RUNS + 1 or time.perf_counter() < ends:
        rows.append([0.0, 0.0])
        started = time.perf_counter()
        localizer.localize(stack)
        rows[-1][0] = time.perf_counter() - started
    localize, network = np.median(rows[1:], axis=0).tolist()  # the first makes room
    return {"localize_s": localize, "network_s": network}


def operations(pipeline: Pipeline, slices: Slices) -> int:
    """Floating-point operations of the network on one slice, a multiplication and an addition being two."""
    from torch.utils.flop_counter import FlopCounterMode

    image = pipeline.prepare(slices)
    with FlopCounterMode(display=False) as counter:
        pipeline.network(image)
    return int(counter.get_total_flops())


def decode_share(bundle: Bundle, images: Slices, runs: int = 10) -> float:
    """Share of the light graph's time after its last convolution: fusion and peaks. From ONNX Runtime's profile."""
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling, options.profile_file_prefix = True, str(Path(folder) / "profile")
        options.log_severity_level = 3
        session = ort.InferenceSession(str(bundle.folder / GRAPH), options, providers=["CPUExecutionProvider"])
        for _ in range(runs):
            session.run(None, {"image": images})
        events = json.loads(Path(session.end_profiling()).read_text())
    nodes = [event for event in events if event["cat"] == "Node" and event["name"].endswith("_kernel_time")]
    per_run = len(nodes) // runs
    shares = []
    for start in range(per_run, len(nodes), per_run):  # without the first, which makes room
        run = nodes[start : start + per_run]
        last = max(k for k, event in enumerate(run) if event["args"]["op_name"] in ("Conv", "FusedConv"))
        shares.append(sum(event["dur"] for event in run[last + 1 :]) / sum(event["dur"] for event in run))
    return float(np.median(shares))


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text()))))
