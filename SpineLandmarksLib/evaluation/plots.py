"""The pictures of the report: four plots as SVG, and one annotated crop of an image as JPEG.

Okabe-Ito colours, which people with colour blindness can tell apart. Nothing here opens a window or keeps a state.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.evaluation.metrics import THRESHOLDS_MM, WHOLLY_RIGHT_MM, Bin
from SpineLandmarksLib.evaluation.predictions import Predictions

BLUE, SKY, GREEN, ORANGE, VERMILION, GREY = "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#666666"
#: Names are drawn as they are, "$" included; letters become paths, so that the SVG needs no font.
STYLE = {
    "text.parse_math": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "report",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
#: Width and height of a case's picture in inches; the crop has the same proportions.
PICTURE_INCHES = (3.3, 4.4)
MARGIN_MM = 22.0


def cumulative_plot(predictions: Predictions) -> bytes:
    """SVG: share of annotated points within t mm; points that were missed never join, so the curve may end below 1."""
    with _style():
        figure, axes = _figure(5.2, 3.4)
        error = np.sort(predictions.error_mm[predictions.counted])
        total = int(predictions.valid.sum())
        limit = float(np.clip(np.quantile(error, 0.99) * 1.3, 10.0, 40.0)) if len(error) else 10.0
        share = np.arange(1, len(error) + 1) / max(total, 1)
        x, y = [0.0, *error, max(limit, error.max(initial=0.0))], [0.0, *share, share.max(initial=0.0)]
        axes.step(x, y, where="post", color=BLUE, lw=1.8)
        for threshold in THRESHOLDS_MM:
            reached = float((error <= threshold).sum() / max(total, 1))
            axes.plot([threshold, threshold], [0, reached], color=GREY, lw=0.7, ls=":")
            axes.plot([threshold], [reached], "o", color=BLUE, ms=3.5)
        axes.set(xlim=(0, limit), ylim=(0, 1.02), xlabel=f"radial error t ({_short(predictions)})")
        axes.set_ylabel("share of points within t")
        axes.grid(axis="y", color="#dddddd", lw=0.6)
        return _svg(figure)


def landmark_plot(predictions: Predictions) -> bytes:
    """SVG: a box and every point's error for each landmark, head at the top, on a logarithmic axis."""
    with _style():
        figure, axes = _figure(7.6, 0.9 + 0.27 * len(predictions.names))
        jitter = np.random.default_rng(0)
        top = 100.0
        for place, name in enumerate(predictions.names):
            error = np.maximum(predictions.error_mm[:, place][predictions.counted[:, place]], 0.1)
            top = max(top, error.max(initial=0.0))
            spread = place + jitter.uniform(-0.28, 0.28, len(error))
            axes.scatter(error, spread, s=4, color=BLUE, alpha=0.35, linewidths=0, rasterized=True)
            axes.boxplot(error, positions=[place], orientation="horizontal", widths=0.6, whis=(5, 95), **_BOX)
            missed = int(predictions.missed[:, place].sum())
            label = f"{name}\n{missed} missed" if missed else name
            axes.text(-0.015, place, label, ha="right", va="center", transform=axes.get_yaxis_transform())
        axes.axvline(WHOLLY_RIGHT_MM, color=VERMILION, lw=0.9, ls="--")
        ticks = [0.1, 0.5, 1, 2, 4, 8, 16, 32, 64]
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.set_xticks([], minor=True)
        axes.set(xlim=(0.09, top * 1.1), ylim=(len(predictions.names) - 0.4, -0.6), yticks=[])
        axes.set_xlabel(f"radial error ({_short(predictions)}); box: quartiles, whiskers: 5 to 95 %")
        return _svg(figure)


def reliability_plot(bins: Sequence[Bin]) -> bytes:
    """SVG: fraction of points on the right level against the stated confidence; the diagonal is honest."""
    with _style():
        figure, axes = _square("stated confidence", "fraction on the right level")
        sizes = [12 + 130 * each.n / max(other.n for other in bins) for each in bins]
        x, y = [each.mean_confidence for each in bins], [each.fraction_right for each in bins]
        axes.plot(x, y, color=BLUE, lw=1.2)
        axes.scatter(x, y, s=sizes, color=BLUE, alpha=0.8, clip_on=False, zorder=3)
        for each in bins:
            at, below = (each.mean_confidence, each.fraction_right), each.fraction_right > 0.5
            offset = (0, -16 if below else 9)
            axes.annotate(f"{each.n}", at, offset, textcoords="offset points", ha="center", fontsize=7, color=GREY)
        return _svg(figure)


def coverage_plot(curve: Sequence[tuple[float, float]]) -> bytes:
    """SVG: share of truths inside the radius scaled to a nominal level, against that level."""
    with _style():
        figure, axes = _square("nominal share inside the radius", "observed share inside")
        nominal, observed = [point[0] for point in curve], [point[1] for point in curve]
        axes.plot(nominal, observed, "o-", color=BLUE, lw=1.2, ms=3.5, clip_on=False)
        for level, share in [point for point in curve if point[0] == 0.95]:
            axes.plot([level], [share], "D", color=VERMILION, ms=6, zorder=4)
            text = f"stated 95 %, observed {100 * share:.1f} %"
            axes.text(0.97, 0.04, text, ha="right", color=VERMILION, transform=axes.transAxes)
        return _svg(figure)


def case_picture(image: NDArray[Any], predictions: Predictions, row: int) -> bytes:
    """JPEG: the image (H, W) or (H, W, 3) around its points, in true proportions.

    Ring: truth. Cross: prediction. Line: from one to the other. Label: name and error in mm, or "missed".
    """
    with _style():
        figure, axes = _figure(*PICTURE_INCHES)
        axes.set_position((0, 0, 1, 1))
        mm_x, mm_y = predictions.mm_per_px[row]
        axes.imshow(image, cmap="gray", aspect=mm_y / mm_x, interpolation="bilinear", **_window(image))
        truth, predicted = predictions.truth_px[row], predictions.predicted_px[row]
        both = predictions.counted[row]
        axes.plot(*np.stack([truth[both], predicted[both]]).transpose(2, 0, 1), color=ORANGE, lw=1.1)
        axes.plot(*truth.T, "o", mfc="none", mec=SKY, mew=1.5, ms=9)
        axes.plot(*predicted.T, "x", color=ORANGE, mew=1.6, ms=6.5)
        left, right, upper, lower = _crop(image, predictions, row)
        axes.set(xlim=(left, right), ylim=(lower, upper), facecolor="black")
        axes.set_axis_off()
        figure.set_facecolor("black")
        _label_points(axes, predictions, row)
        return _encoded(figure, "jpeg", dpi=150, pil_kwargs={"quality": 88})


_LINE = {"color": "black", "linewidth": 0.9}
_BOX: dict[str, Any] = {
    "showfliers": False,
    "boxprops": _LINE,
    "whiskerprops": _LINE,
    "capprops": _LINE,
    "medianprops": {"color": VERMILION, "linewidth": 1.6},
    "manage_ticks": False,
}


def _label_points(axes: Any, predictions: Predictions, row: int) -> None:
    """Names and errors in one column behind the spine, so that they hide neither ring nor cross."""
    from matplotlib.patheffects import withStroke

    valid = np.flatnonzero(predictions.valid[row])
    if not len(valid):
        return
    truth = predictions.truth_px[row]
    x = truth[valid, 0].max() + 8.0 / predictions.mm_per_px[row, 0]
    for column in valid:
        error, missed = predictions.error_mm[row, column], bool(predictions.missed[row, column])
        bad = missed or error > WHOLLY_RIGHT_MM
        text = f"{predictions.names[column]}  {'missed' if missed else f'{error:.1f}'}"
        look = {"color": ORANGE, "fontweight": "bold"} if bad else {"color": "white"}
        outline = [withStroke(linewidth=1.8, foreground="black")]
        axes.text(x, truth[column, 1], text, fontsize=9, va="center", clip_on=True, path_effects=outline, **look)


def _crop(image: NDArray[Any], predictions: Predictions, row: int) -> tuple[float, float, float, float]:
    """left, right, upper, lower in pixels: all points with a margin, in the proportions of the picture."""
    points = np.concatenate([predictions.truth_px[row], predictions.predicted_px[row]])
    points = points[np.isfinite(points).all(axis=1)]
    height, width = image.shape[:2]
    # A prediction far outside the image would shrink everything else to a dot.
    points = np.clip(points, 0, (width - 1, height - 1)) if len(points) else np.array([[0, 0], [width - 1, height - 1]])
    mm_per_px = predictions.mm_per_px[row]
    centre_mm = (points.min(axis=0) + points.max(axis=0)) / 2 * mm_per_px
    span_mm = np.ptp(points, axis=0) * mm_per_px + 2 * MARGIN_MM
    unit = (span_mm / PICTURE_INCHES).max()
    low, high = ((centre_mm + sign * unit * np.array(PICTURE_INCHES) / 2) / mm_per_px for sign in (-1, 1))
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _window(image: NDArray[Any]) -> dict[str, float]:
    """Grey window that a few very bright pixels cannot darken."""
    low, high = np.nanpercentile(image, [0.5, 99.5])
    return {"vmin": float(low), "vmax": float(max(high, low + 1e-6))}


def _short(predictions: Predictions) -> str:
    return predictions.unit.split(",")[0] + (" *" if predictions.scaled.any() else "")


def _style() -> Any:
    import matplotlib

    return matplotlib.rc_context(STYLE)


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of its own, outside pyplot: no window, no list of open figures."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def _square(xlabel: str, ylabel: str) -> tuple[Any, Any]:
    figure, axes = _figure(3.5, 3.4)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls="--")
    axes.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel=xlabel, ylabel=ylabel)
    axes.grid(color="#dddddd", lw=0.6)
    return figure, axes


def _svg(figure: Any) -> bytes:
    return _encoded(figure, "svg", dpi=200, metadata={"Date": None})


def _encoded(figure: Any, kind: str, **options: Any) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
