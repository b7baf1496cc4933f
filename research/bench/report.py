"""What was measured as Markdown: the rows side by side, their time by stage, and the goals."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from research.bench.baselines import BASELINES
from research.bench.child import BATCHES
from research.bench.pipelines import STAGES
from research.bench.processes import Spent
from research.markdown import markdown

#: Each goal: a ratio, or a number of the light backend, and the most or least that it may be.
MIN_FASTER, MAX_COLD_S, MAX_COLD_MB, MAX_COLD_SHARE = 20.0, 1.5, 700.0, 1 / 3
MAX_NOT_NETWORK, MAX_DECODE_S, MAX_BEYOND_MB, MAX_ALONE_MB = 0.15, 0.005, 100.0, 500.0


@dataclass
class Measured:
    """rows: answers of `child` by baseline; cold: starts to the first slice's points. command: cold predict commands
    on a volume by "light" and "torch". sizes: MB as `sizes` names them. left_out: baseline -> what it lacks."""

    machine: str
    peaks: dict[str, float]
    bundle: str
    input: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    cold: dict[str, list[Spent]] = field(default_factory=dict)
    command: dict[str, list[Spent]] = field(default_factory=dict)
    sizes: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def latency(self, name: str) -> float:
        return float(np.median(self.rows[name]["latency_s"]))

    def flops(self, name: str) -> float | None:
        """Of the network on one slice, counted where torch runs it."""
        network = BASELINES[name].network
        counted = [row["flops"] for key, row in self.rows.items() if BASELINES[key].network == network]
        return next((value for value in counted if value), None)


HEAD = """Machine: {machine}. A product of two matrices of 2048 x 2048 reaches {peaks} there.

Input: {input}. Bundle: {bundle}. Times are of one slice from native pixels to points, everything loaded. Cold start: \
from process start to the points of one slice, median of the starts; peak memory: the most of them. The seed pipeline \
and landmarker run with random weights, as only their time is asked; their model size is that of their float32 weights.
"""
STAGES_HEAD = """Where the time of one slice goes, ms. *prepare* is intensities and resampling, *decode* from heatmaps \
to positions, *finish* the chain of levels; the runtimes that run one graph tell network and decode as one, and the \
share of what follows the last convolution is from ONNX Runtime's own profile.
"""


def report(m: Measured) -> str:
    """The whole section."""
    peaks = ", ".join(f"{rate:.0f} GFLOP/s in {name}" for name, rate in m.peaks.items())
    head = HEAD.format(machine=m.machine, peaks=peaks, input=m.input, bundle=m.bundle)
    lines = [f"Left out: {BASELINES[name].title} (no {', '.join(lacking)})." for name, lacking in m.left_out.items()]
    parts = [head.rstrip(), main_table(m), STAGES_HEAD.rstrip(), stage_table(m), "Goals:", goal_table(m), *lines]
    return "\n\n".join(parts) + "\n"


def main_table(m: Measured) -> str:
    head = [
        "pipeline",
        "p50, ms",
        "p95, ms",
        *(f"slices/s at {count}" for count in BATCHES),
        "cold start, s",
        "peak memory, MB",
        "model, MB",
        "installed, MB",
        "GFLOP",
        "GFLOP/s (of peak)",
        "off torch, px",
    ]
    return markdown(head, [_row(m, name) for name in m.rows])


def _row(m: Measured, name: str) -> list[str]:
    row, cold = m.rows[name], m.cold[name]
    rates = (row["throughput"][str(count)] for count in BATCHES)
    return [
        BASELINES[name].title,
        f"{1e3 * m.latency(name):.1f}",
        f"{1e3 * float(np.quantile(row['latency_s'], 0.95)):.1f}",
        *("too slow" if rate is None else f"{rate:.2g}" if rate < 10 else f"{rate:.0f}" for rate in rates),
        f"{float(np.median([start.seconds for start in cold])):.2f}" if cold else "–",
        f"{max(start.peak_mb for start in cold):.0f}" if cold else "–",
        f"{row['model_bytes'] / 2**20:.1f}",
        f"{m.sizes[name]:.0f}" if name in m.sizes else "–",
        *_operations(m, name),
        _off(m, name),
    ]


def _operations(m: Measured, name: str) -> tuple[str, str]:
    flops, peak = m.flops(name), m.peaks.get(BASELINES[name].precision)
    if flops is None:
        return "–", "–"
    rate = flops / (m.rows[name]["stages_s"]["network"]) / 1e9
    is_cpu = BASELINES[name].device == "cpu"
    return f"{flops / 1e9:.1f}", f"{rate:.0f} ({rate / peak:.0%})" if peak and is_cpu else f"{rate:.0f}"


def _off(m: Measured, name: str) -> str:
    """The farthest of the slice's points from those of torch in float32, native pixels."""
    if BASELINES[name].network != "ours" or "torch" not in m.rows:
        return "–"
    apart = np.subtract(m.rows[name]["points"], m.rows["torch"]["points"])
    return f"{float(np.nanmax(np.linalg.norm(apart, axis=-1))):.3f}"


def stage_table(m: Measured) -> str:
    body = []
    for name, row in m.rows.items():
        times = [1e3 * row["stages_s"][stage] for stage in STAGES]
        if row["decode_share"] is not None:
            times[1], times[2] = times[1] * (1 - row["decode_share"]), times[1] * row["decode_share"] + times[2]
        body.append([BASELINES[name].title, *(f"{value:.1f}" for value in times)])
    return markdown(["pipeline", *STAGES], body)


def goal_table(m: Measured) -> str:
    return markdown(
        ["figure", "goal", "measured", "met"],
        [[name, goal, value, "yes" if is_met else "**no**"] for name, goal, value, is_met in _goals(m)],
    )


def _goals(m: Measured) -> list[tuple[str, str, str, bool]]:
    found = []
    if {"seed", "light"} <= set(m.rows):
        ratio = m.latency("seed") / m.latency("light")
        found.append(
            (
                "warm latency of one slice against the seed pipeline",
                f">= {MIN_FASTER:g}x faster",
                f"{ratio:.1f}x",
                ratio >= MIN_FASTER,
            )
        )
    return [*found, *_cold_goals(m), *_share_goals(m), *_size_goals(m)]


def _cold_goals(m: Measured) -> list[tuple[str, str, str, bool]]:
    light, torch = m.command["light"], m.command.get("torch")
    seconds, peak = float(np.median([run.seconds for run in light])), max(run.peak_mb for run in light)
    share = peak / max(run.peak_mb for run in torch) if torch else math.nan
    return [
        ("cold command, one NIfTI volume to files", f"<= {MAX_COLD_S} s", f"{seconds:.2f} s", seconds <= MAX_COLD_S),
        ("its peak memory", f"<= {MAX_COLD_MB:.0f} MB", f"{peak:.0f} MB", peak <= MAX_COLD_MB),
        ("that against the same command on torch", "<= 1/3", f"{share:.2f}", share <= MAX_COLD_SHARE),
    ]


def _share_goals(m: Measured) -> list[tuple[str, str, str, bool]]:
    row = m.rows["light"]
    stages, share = row["stages_s"], row["decode_share"]
    decode = stages["network"] * share + stages["finish"]
    slice_share = (decode + stages["prepare"]) / sum(stages.values())
    volume_share = 1 - row["volume"]["network_s"] * (1 - share) / row["volume"]["localize_s"]
    limit = f"<= {MAX_NOT_NETWORK:.0%}"
    return [
        (
            "what is not the network, of the warm time of one slice",
            limit,
            f"{slice_share:.1%}",
            slice_share <= MAX_NOT_NETWORK,
        ),
        ("the same of a volume's slice search", limit, f"{volume_share:.1%}", volume_share <= MAX_NOT_NETWORK),
        (
            "decode + fusion + chain for one slice",
            f"<= {1e3 * MAX_DECODE_S:.0f} ms",
            f"{1e3 * decode:.1f} ms",
            decode <= MAX_DECODE_S,
        ),
    ]


def _size_goals(m: Measured) -> list[tuple[str, str, str, bool]]:
    wanted = (
        ("what Slicer's module adds to Slicer: runtime, library, bundle", "in Slicer", MAX_BEYOND_MB),
        ("the command with every reader beyond what Slicer ships", "beyond Slicer", MAX_BEYOND_MB),
        ("installed on its own, without pip", "standalone", MAX_ALONE_MB),
    )
    return [
        (name, f"<= {most:.0f} MB", f"{m.sizes[key]:.0f} MB", m.sizes[key] <= most)
        for name, key, most in wanted
        if key in m.sizes
    ]
