"""The learning curve: the same networks, minutes and held-out patients, and more and more patients to learn from.

The smaller sets are parts of the larger ones, by patient.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from research.experiments.experiment import Experiment, Part
from research.experiments.results import by_image, pooled
from research.experiments.rows import ExperimentRow, Line, network_row, result_of
from research.experiments.seeds import LATER_NOTE, SMALL_NOTE, UNET_NOTE
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation import plots
from SpineLandmarksLib.splits import holdout

SIZES = (10, 25, 50, 100, 120)
CURVE_ROWS = (
    network_row("default", "our default", "default", "chain"),
    network_row("small", "our recipe small", "small", "chain", SMALL_NOTE),
    network_row("scn-later", "SCN, later recipe", "scn-small", "chain", LATER_NOTE),
    network_row("unet", "U-Net alone (binary cross-entropy)", "seed-unet-small", "peak", UNET_NOTE),
)
COLOURS = (plots.BLUE, plots.GREEN, plots.VERMILION, plots.ORANGE)
#: What a panel shows: figure, its threshold, its name, and what it is multiplied by.
Panel = tuple[str, str | None, str, int]
PANELS: tuple[Panel, ...] = (
    ("sdr", "8", "SDR@8, %", 100),
    ("sdr", "4", "SDR@4, %", 100),
    ("median_mm", None, "median error, mm", 1),
)


def nested(part: Part, patients: int, seed: int) -> Part:
    """The same split with only `patients` patients to learn from; those of a smaller number are among them."""
    groups = [row.group for row in part.learn]
    surplus = len(set(groups)) - patients
    kept = holdout(groups, surplus, seed)[0] if surplus else range(len(groups))
    return replace(part, name=f"n{patients}", learn=[part.learn[i] for i in kept])


def run_curve(
    experiment: Experiment, rows: Sequence[ExperimentRow], held_out: int, sizes: Sequence[int] | None = None
) -> list[tuple[int, Line]]:
    """Each row at each size that there are patients for, as (patients, line)."""
    part = experiment.holdout(held_out)
    most = len({row.group for row in part.learn})
    sizes = sizes or SIZES
    fit = [size for size in sizes if size <= most]
    if not fit:
        raise DatasetError(f"Expected {min(sizes)} patients or more to learn from; got {most}")
    annotated = by_image(part.judge, experiment.data)
    points = []
    for row in rows:
        for size in fit:
            result = result_of(experiment, row, nested(part, size, experiment.split_seed))
            points.append((size, Line(row, pooled([result], annotated, experiment.schema), (result,))))
    return points


def curve_plot(points: Sequence[tuple[int, str, Mapping[str, Any]]], panels: Sequence[Panel] = PANELS) -> bytes:
    """SVG of (patients, title, "overall" of metrics.json): one panel a figure, one curve a title, with intervals."""
    import matplotlib
    from matplotlib.figure import Figure

    titles = list(dict.fromkeys(title for _, title, _ in points))
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(8.4, 2.9), layout="constrained")
        for axes, (key, threshold, label, factor) in zip(figure.subplots(1, len(panels)), panels, strict=True):
            for title, colour in zip(titles, COLOURS, strict=False):
                estimates = [
                    (size, overall[key][threshold] if threshold else overall[key])
                    for size, name, overall in points
                    if name == title
                ]
                _draw(axes, estimates, factor, colour, title)
            sizes = sorted({size for size, _, _ in points})
            axes.set_xscale("log")
            shown = [str(size) if after / size > 1.3 else "" for size, after in pairwise([*sizes, math.inf])]
            axes.set_xticks(sizes, shown, fontsize=7)
            axes.set_xticks([], minor=True)
            axes.set(xlabel="patients to learn from", ylabel=label, ylim=(0, 102 if key == "sdr" else None))
            axes.grid(color="#dddddd", lw=0.6)
        handles, labels = axes.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        return plots._svg(figure)


def _draw(axes: Any, estimates: Sequence[tuple[int, Mapping[str, Any]]], factor: int, colour: str, title: str) -> None:
    known = [(size, each) for size, each in estimates if each["value"] is not None]
    x = [size for size, _ in known]
    axes.plot(x, [factor * each["value"] for _, each in known], "o-", color=colour, ms=3.5, lw=1.4, label=title)
    if all(each["low"] is not None for _, each in known):
        low, high = ([factor * each[end] for _, each in known] for end in ("low", "high"))
        axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)
