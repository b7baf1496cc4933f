"""Finished rows as two Markdown tables: the figures with their intervals, and how each row was trained and read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from research.experiments.results import Result
from research.markdown import estimate, markdown, mm, percent
from SpineLandmarksLib.evaluation.metrics import THRESHOLDS_MM

Overall = Mapping[str, Any]
SDR = tuple(f"{t:g}" for t in THRESHOLDS_MM)
DECODERS = {"peak": "largest peak", "chain": "chain", "none": "none"}


def figures_table(lines: Sequence[tuple[str, Overall, Sequence[Result]]], first: str = "row") -> str:
    """(title, "overall" of metrics.json, results) -> one line each."""
    head = [
        first,
        "MRE, mm",
        "median, mm",
        *(f"SDR@{t}, %" for t in SDR),
        "level shift, %",
        "images wholly right, %",
        "parameters, M",
        "minutes",
    ]
    body = []
    for title, overall, results in lines:
        shares = [*(overall["sdr"][t] for t in SDR), overall["level_shift_rate"], overall["images_within_8_mm"]]
        cells = [estimate(overall[key], mm) for key in ("mre_mm", "median_mm")] + [estimate(s, percent) for s in shares]
        body.append([title, *cells, millions(results), minutes(results)])
    return markdown(head, body)


def training_table(lines: Sequence[tuple[str, str, Sequence[Result], str]], first: str = "row") -> str:
    """(title, decoder, results, remark) -> one line each."""
    head = [first, "input", "rate", "batch", "steps", "decoder", "remarks"]
    body = []
    for title, decoder, results, remark in lines:
        networks = results[0].trainings
        steps = [_range([result.trainings[k].steps for result in results]) for k in range(len(networks))]
        said = [*_remarks(results), *([remark] if remark else [])]
        common = [_joined(each) for each in zip(*((t.shown, t.optimizer, str(t.batch)) for t in networks), strict=True)]
        body.append([title, *(common or [""] * 3), " + ".join(steps), DECODERS[decoder], "; ".join(said)])
    return markdown(head, body)


def minutes(results: Sequence[Result]) -> str:
    """Minutes of training of all networks of a row, the mean over its splits."""
    known = [[t.minutes for t in result.trainings] for result in results]
    if not known[0]:
        return "0"
    if any(value is None for row in known for value in row):
        return "unknown"
    return f"{mean(sum(value or 0.0 for value in row) for row in known):.1f}"


def millions(results: Sequence[Result]) -> str:
    return f"{sum(t.parameters for t in results[0].trainings) / 1e6:.1f}"


def _remarks(results: Sequence[Result]) -> list[str]:
    """What the results themselves have to say: divergence, fitted sigma, provenance."""
    diverged = sum(any(t.diverged for t in result.trainings) for result in results)
    said = [f"diverged in {diverged} of {len(results)}"] if diverged else []
    sigma = [value for result in results for value in result.sigma_px]
    said += [f"sigma {_range(sigma, '.1f')} px"] if sigma else []
    return said + list(dict.fromkeys(result.remark for result in results if result.remark))


def _range(values: Sequence[float], form: str = "d") -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low}–{high}"


def _joined(parts: Sequence[str]) -> str:
    """Of several networks: what they share once, else all with a plus."""
    return " + ".join(parts if len(set(parts)) > 1 else parts[:1])
