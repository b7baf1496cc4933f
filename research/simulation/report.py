"""What a simulation found: a table in Markdown and a plot, both with the spread over the seeds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from research.simulation.simulation import STRATEGIES, SimulationRound, SimulationSettings
from SpineLandmarksLib.evaluation.plots import BLUE, ORANGE
from SpineLandmarksLib.evaluation.predictions import Floats

_COLOURS = {"queue": BLUE, "random": ORANGE}


def series(rounds: Sequence[SimulationRound], strategy: str) -> dict[int, list[SimulationRound]]:
    """The rounds of a strategy by corrected studies; the base and the common first round belong to both."""
    found: dict[int, list[SimulationRound]] = {}
    for one in rounds:
        if one.strategy in ("base", "start", strategy):
            found.setdefault(len(one.corrected), []).append(one)
    return dict(sorted(found.items()))


def table(rounds: Sequence[SimulationRound], settings: SimulationSettings) -> str:
    """Mean and range over the seeds of the model in use, for each number of corrected studies and strategy."""
    lines = [
        "| corrected | order | seeds | minutes | MRE, mm | SDR@2, % | SDR@4, % | level shifts, % | promoted |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for count in (0, *range(settings.start, settings.until + 1, settings.step)):
        for strategy in STRATEGIES if count > settings.start else ("start",):
            those = series(rounds, strategy).get(count, [])
            if those:
                lines.append(_row(count, strategy, those))
    return "\n".join(lines) + "\n"


def paired(rounds: Sequence[SimulationRound]) -> list[tuple[int, int, float, float, float]]:
    """(corrected, seeds, mean, low, high) of queue minus random in MRE over the seeds that played both.

    low, high: 95 % interval of the mean by Student's t over the seeds; nan for one seed.
    """
    from scipy.stats import t

    found = []
    queue, by_chance = (series([one for one in rounds if one.strategy in STRATEGIES], name) for name in STRATEGIES)
    for count in sorted(set(queue) & set(by_chance)):
        one, other = (
            {each.seed: each.mre_mm for each in those[count] if each.mre_mm is not None} for those in (queue, by_chance)
        )
        change = np.array([one[seed] - other[seed] for seed in sorted(set(one) & set(other))])
        if len(change):
            wide = float("nan")
            if len(change) > 1:
                wide = float(t.ppf(0.975, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5)
            found.append((count, len(change), float(change.mean()), change.mean() - wide, change.mean() + wide))
    return found


def verdict(rounds: Sequence[SimulationRound]) -> str:
    """One sentence: does the queue beat a random order?"""
    last = paired(rounds)[-1:]
    if not last:
        return "No round was played by both orders yet."
    count, seeds, mean, low, high = last[0]
    said = f"At {count} corrected studies, queue minus random is {mean:+.2f} mm of MRE over {seeds} seeds"
    if seeds < 2:
        return f"{said}: one seed cannot tell."
    said += f" (95 % interval {low:+.2f} to {high:+.2f})"
    return f"{said}: the queue is better." if high < 0 else f"{said}: the queue is not shown to beat a random order."


def gains(rounds: Sequence[SimulationRound], settings: SimulationSettings) -> str:
    """One sentence: how the MRE of the model in use changes from the first round of each order to its last."""
    first, last = settings.start + settings.step, settings.until
    said = []
    for strategy in STRATEGIES:
        counts = series([one for one in rounds if one.strategy == strategy], strategy)
        before, after = ({one.seed: one.mre_mm for one in counts.get(count, [])} for count in (first, last))
        known = [(before[seed], after[seed]) for seed in sorted(set(before) & set(after))]
        pairs = np.array([pair for pair in known if None not in pair], dtype=np.float64)
        if len(pairs):
            fell = int((pairs[:, 1] < pairs[:, 0]).sum())
            said.append(
                f"by {strategy} {pairs[:, 0].mean():.2f} -> {pairs[:, 1].mean():.2f} mm (falls in {fell} of "
                f"{len(pairs)} seeds)"
            )
    if not said:
        return f"No order was played from {first} to {last} corrected studies yet."
    return f"From {first} to {last} corrected studies the MRE of the model in use goes, {' and '.join(said)}."


def plot(rounds: Sequence[SimulationRound]) -> bytes:
    """SVG: MRE and SDR@4 of the model in use against corrected studies and against the annotators' assumed minutes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels = figure.subplots(2, 2, sharey="row")
    for strategy in STRATEGIES:
        counts = series(rounds, strategy)
        minutes = [np.mean([one.seconds for one in those]) / 60 for those in counts.values()]
        for row, (name, factor) in enumerate((("mre_mm", 1.0), ("sdr4", 100.0))):
            values = [factor * _values(those, name) for those in counts.values()]
            _draw(panels[row, 0], list(counts), values, strategy)
            _draw(panels[row, 1], minutes, values, strategy)
    panels[0, 0].set_ylabel("MRE, mm")
    panels[1, 0].set_ylabel("SDR@4, %")
    panels[1, 0].set_xlabel("corrected studies")
    panels[1, 1].set_xlabel("annotators' minutes, by assumption")
    panels[0, 0].legend(frameon=False)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue()


def _draw(axes: Any, x: Sequence[Any], values: Sequence[Floats], strategy: str) -> None:
    """Mean and range of the values at each x."""
    colour, low, high = _COLOURS[strategy], [v.min() for v in values], [v.max() for v in values]
    axes.plot(x, [each.mean() for each in values], "o-", color=colour, label=strategy, markersize=4)
    axes.fill_between(x, low, high, color=colour, alpha=0.15, linewidth=0)


def _row(count: int, strategy: str, those: Sequence[SimulationRound]) -> str:
    def shown(name: str, factor: float, digits: int) -> str:
        values = factor * _values(those, name)
        spread = f" ({values.min():.{digits}f} to {values.max():.{digits}f})" if len(values) > 1 else ""
        return f"{values.mean():.{digits}f}{spread}"

    promoted = f"{sum(one.promoted for one in those)} of {len(those)}" if count else "-"
    name = "-" if not count else "random" if strategy == "start" else strategy
    cells = (
        count,
        name,
        len(those),
        shown("seconds", 1 / 60, 0),
        shown("mre_mm", 1, 2),
        shown("sdr2", 100, 1),
        shown("sdr4", 100, 1),
        shown("level_shift", 100, 1),
        promoted,
    )
    return f"| {' | '.join(map(str, cells))} |"


def _values(those: Sequence[SimulationRound], name: str) -> Floats:
    """One figure of each round; nan where there is none."""
    return np.array([getattr(one, name) for one in those], dtype=np.float64)
