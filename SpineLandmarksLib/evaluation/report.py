"""metrics.json and report.html: one page that a reader can open, sort and print without any other file."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.evaluation import plots
from SpineLandmarksLib.evaluation.metrics import WHOLLY_RIGHT_MM, Bin, describe_shift
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically

Images = Callable[[int], NDArray[Any]]
#: Key in "overall" and what a reader calls it.
MILLIMETRES = (
    ("mre_mm", "Mean radial error (MRE), mm"),
    ("median_mm", "Median, mm"),
    ("p95_mm", "95th percentile, mm"),
)
SHARES = (
    ("missed_rate", "Points called out of view"),
    ("level_shift_rate", "Points on another level"),
    ("level_shift_same_kind_rate", "Points on another level, same kind"),
    ("images_within_8_mm", "Images with every point within 8 mm"),
    ("images_without_level_shift", "Images with every point on its level"),
)


def write_report(
    predictions: Predictions,
    summary: Mapping[str, Any],
    images: Images,
    folder: Path,
    title: str,
    *,
    worst: int = 12,
    notes: Sequence[str] = (),
) -> Path:
    """Write DIR/metrics.json and DIR/report.html, each whole; return the path of the page.

    summary: from `metrics.summarize`, with any further keys the caller adds. images: row -> native pixels (H, W) or
    (H, W, 3); asked only for the `worst` cases. notes: lines under the title (model, data set, what is held out).
    Raises OutputError when the folder cannot be written.
    """
    page = _render(predictions, summary, images, title, worst, notes)
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Expected a folder to write the report to; {folder}: {error.strerror}") from error
    write_text_atomically(folder / "metrics.json", json.dumps(summary, indent=1, allow_nan=False) + "\n")
    # File names on disk need not be valid Unicode.
    with write_atomically(folder / "report.html") as file:
        file.write(page.encode("utf-8", "replace"))
    return folder / "report.html"


def _render(
    predictions: Predictions, summary: Mapping[str, Any], images: Images, title: str, worst: int, notes: Sequence[str]
) -> str:
    """The page as text; everything it shows is inside it."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"mm": _mm, "percent": _percent}
    template = environment.from_string(files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    order = worst_first(summary["images"])
    page: str = template.render(
        title=title,
        notes=list(notes),
        summary=summary,
        names=predictions.names,
        headline=_headline(summary),
        chains=[f"{shift} in {count}" for shift, count in summary["chain_shifts"]["by_shift"].items()],
        plots=_plots(predictions, summary),
        cases=[_case(summary["images"][row], predictions) for row in order],
        pictures=[_data_uri("jpeg", plots.case_picture(images(row), predictions, row)) for row in order[:worst]],
        limit=WHOLLY_RIGHT_MM,
    )
    return page


def worst_first(cases: Sequence[Mapping[str, Any]]) -> list[int]:
    """Rows by most failed points (missed, or beyond 8 mm), then by largest error."""
    keys = [(case["n_failed"], case["max_mm"] or 0.0) for case in cases]
    return sorted(range(len(cases)), key=lambda row: keys[row], reverse=True)


def _headline(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of the first table: label, value, interval."""
    overall, calibration = summary["overall"], summary["calibration"]
    rows = [_row(label, overall[key], _mm) for key, label in MILLIMETRES]
    rows.append({"label": "Largest error, mm", "value": _mm(overall["max_mm"]), "interval": ""})
    rows += [_row(f"Within {t} mm (SDR@{t})", estimate, _percent) for t, estimate in overall["sdr"].items()]
    rows += [_row(label, overall[key], _percent) for key, label in SHARES]
    chains = f"{summary['chain_shifts']['n_images']} of {summary['n_images']}"
    rows.append({"label": "Images with the whole chain shifted", "value": chains, "interval": ""})
    rows.append(_row("Truth inside the stated 95 % radius", calibration["radius95_coverage"], _percent))
    error = calibration["expected_calibration_error"]
    value = "" if error is None else f"{error:.3f}"
    rows.append({"label": "Expected calibration error of confidence", "value": value, "interval": ""})
    return rows


def _row(label: str, estimate: Mapping[str, float | None], show: Callable[[float | None], str]) -> dict[str, str]:
    known = estimate["low"] is not None
    interval = f"{show(estimate['low'])} to {show(estimate['high'])}" if known else ""
    return {"label": label, "value": show(estimate["value"]), "interval": interval}


def _plots(predictions: Predictions, summary: Mapping[str, Any]) -> dict[str, str]:
    """Data URIs by name; a plot without data is left out."""
    calibration = summary["calibration"]
    bins = [Bin(**each) for each in calibration["confidence_bins"]]
    curve = [(point["nominal"], point["observed"]) for point in calibration["coverage_curve"]]
    drawn = {"cumulative": plots.cumulative_plot(predictions), "landmarks": plots.landmark_plot(predictions)}
    if bins:
        drawn["reliability"] = plots.reliability_plot(bins)
    if curve:
        drawn["coverage"] = plots.coverage_plot(curve)
    return {name: _data_uri("svg+xml", content) for name, content in drawn.items()}


def _case(case: Mapping[str, Any], predictions: Predictions) -> dict[str, Any]:
    """A case with what the page says about it in words."""
    shift = describe_shift(case["chain_shift"], predictions.names) if case["chain_shift"] else ""
    annotated = len([value for value in case["error_mm"].values() if value is not None]) + len(case["missed"])
    return {**case, "shift": shift, "annotated": annotated}


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{b64encode(content).decode('ascii')}"


def _mm(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.2f}"


def _percent(share: float | None) -> str:
    """One decimal; never "100.0 %" for less than all, nor "0.0 %" for more than none."""
    if share is None:
        return ""
    percent = 100 * share
    if share not in (0.0, 1.0):
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %"
