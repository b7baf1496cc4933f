"""The papers' own networks at their own input sizes, as far as the stated steps go, and the course of each training.

Each is a recipe changed to what is published, or to what differs from it for the stated reason; no choice was made on
the patients that judge. Direct regression has remedies: rows that tell why it falls short of the seed paper's figure.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from research.experiments.ablation import changed
from research.experiments.decoding import Decoder
from research.experiments.experiment import Experiment, Part
from research.experiments.product import product_row
from research.experiments.results import Training
from research.experiments.rows import ExperimentRow, Line, Predictor, judged, network_row, predictor_of
from research.experiments.seeds import MEAN_PLACE, enter_mean_place
from research.markdown import markdown, percent
from SpineLandmarksLib.evaluation import plots
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.training.recipe import Recipe, load_recipe

#: Equal parts of each training after which the network is judged.
STAGES = 6


@dataclass(frozen=True)
class Network:
    """key: of the row and of the recipe that it is trained by. base: the shipped recipe that `settings` change."""

    key: str
    title: str
    base: str
    settings: dict[str, Any]
    decoder: Decoder = "peak"
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """A network on its way. share: of its training that is done. loss: mean since the stage before, None where none is
    recorded. overall: that of metrics.json, on the held-out slices."""

    title: str
    share: float
    loss: float | None
    overall: Mapping[str, Any]


UNET, DIRECT = "unet", "direct"
SQUEEZED_299 = {"preparation": {"size": [299, 299]}, "crop": [299, 299], "geometry": {"shift_xy": [20, 5]}}
SQUEEZED_512 = {"preparation": {"size": [512, 512]}, "crop": [512, 512], "geometry": {"shift_xy": [35, 8]}}
#: What tells the network how unsure it is, and the mean of its weights.
LIKELIHOOD = {"direct_loss": "nll", "ema": 0.995}
SHORT = {"precision": "float32", "steps": 2500}
#: The augmentation of recipe default, on squeezed pictures.
AUGMENTED = {
    "geometry": {
        "shift_xy": [8.75, 8.75],
        "rotation": 25,
        "scale": [0.7, 1.35],
        "aspect": 0.1,
        "elastic_px": 2.5,
        "field_of_view": 0.35,
        "centre_on_spine": 0.3,
    },
    "intensity": {
        "curve": 0.35,
        "invert": 0.12,
        "gamma": 0.5,
        "bias": 0.7,
        "noise": 0.4,
        "blur": 0.3,
        "anisotropy": 0.2,
        "cutout": 0.25,
    },
}
#: Where each pixel lies; sigma of the product as in recipe seed, in pixels of 512.
COORDINATES = {"architecture": {"direct": {"coordinates": True}, "fusion": {"sigma_px": 12.0}}}
QUARTER = "paper: 299 x 299, four times the channels, rate 0.0001"
NETWORKS = (
    Network(
        "direct-299",
        "direct alone, as published, 299 x 299",
        "seed-direct-small",
        {
            **SQUEEZED_299,
            "architecture": {"direct": {"width": 1.0, "dropout": 0.5}, "direct_size": 299},
            "learning_rate": 4e-4,
            "precision": "float32",
            "steps": 250,
        },
        note="paper: rate 0.0001, far more steps",
    ),
    Network("direct-small", "direct alone, smaller, 128 x 128", "seed-direct-small", SHORT, note=QUARTER),
    Network("direct-nll", "+ likelihood, mean of the weights", "seed-direct-small", {**LIKELIHOOD, **SHORT}),
    Network("direct-augmented", "+ our augmentation", "seed-direct-small", {**LIKELIHOOD, **AUGMENTED, **SHORT}),
    Network(
        "direct-cells",
        "… and a head that sees 4 x 4 cells",
        "seed-direct-small",
        {
            **LIKELIHOOD,
            **AUGMENTED,
            "architecture": {"direct": {"grid": 4, "dropout": 0.2}},
            "learning_rate": 4e-4,
            **SHORT,
        },
    ),
    Network(
        "direct-coordinates",
        "+ coordinates of the pixels, without cells",
        "seed-direct-small",
        {**LIKELIHOOD, **AUGMENTED, **COORDINATES, **SHORT},
    ),
    Network(
        DIRECT,
        "+ eight times the steps: our direct network",
        "seed-direct-small",
        {**LIKELIHOOD, **AUGMENTED, **COORDINATES, "ema": 0.999, "precision": "float32", "steps": 20_000},
    ),
    Network(
        UNET,
        "U-Net alone (binary cross-entropy), 512 x 512",
        "seed-unet-small",
        {
            **SQUEEZED_512,
            "architecture": {"heatmap": {"filters": [32, 64, 128, 256]}},
            "learning_rate": 1e-3,
            "batch": 1,
            "ema": 0.99,
            "precision": "float32",
            "steps": 1500,
        },
        note="paper: twice the filters, rate 0.0001",
    ),
    Network(
        "scn-original",
        "SCN, original",
        "scn-original-small",
        {
            "preparation": {"spacing_mm": 1.25},
            "crop": [256, 256],
            "geometry": {"shift_xy": [30, 30], "elastic_px": 4.0},
            "precision": "float32",
            "steps": 1000,
        },
        note="paper: 512 x 512, twice the filters, 30,000 steps",
    ),
    Network(
        "scn-later",
        "SCN, later recipe",
        "scn",
        {
            "architecture": {"heatmap": {"filters": 32, "stride": 2, "dropout": 0.0}, "stride": 2, "peak_radius": 4},
            "learning_rate": 1e-3,
            "schedule": "cosine",
            "warmup": 100,
            "batch": 1,
            "ema": 0.995,
            "precision": "float32",
            "steps": 4000,
        },
        "chain",
        "as recipe hands; its author: three times the filters, batch 4, rate 0.0001, 20,000 steps",
    ),
    Network("default", "our default", "default", {"precision": "float32", "steps": 2000}, "chain"),
)


def papers_recipe(name: str) -> Recipe:
    """The recipe of a network of this table, or a shipped one."""
    known = {each.key: each for each in NETWORKS}
    return changed(load_recipe(known[name].base), known[name].settings) if name in known else load_recipe(name)


def papers_rows() -> list[ExperimentRow]:
    """Every network on its own, and the products of U-Net and direct network."""
    alone = [network_row(each.key, each.title, each.key, each.decoder, each.note) for each in NETWORKS]
    products = [
        product_row("product-fixed", "product, fixed sigma", UNET, DIRECT, learned=False),
        product_row("product-learned", "product, learned sigma", UNET, DIRECT, learned=True),
    ]
    chain = network_row("unet-chain", "U-Net alone, read by our chain", UNET, "chain")
    return [ExperimentRow(MEAN_PLACE, "mean place, no network", "none", enter_mean_place), *alone, chain, *products]


def run_papers(experiment: Experiment, rows: Sequence[ExperimentRow], held_out: int) -> list[Line]:
    """Each row on the held-out patients."""
    part = experiment.holdout(held_out)
    return [judged(experiment, row, part) for row in rows]


def run_course(experiment: Experiment, rows: Sequence[ExperimentRow], held_out: int) -> list[Stage]:
    """The networks among `rows` after each stage of their training."""
    part = experiment.holdout(held_out)
    networks = [each for each in NETWORKS if each.key in [row.key for row in rows]]
    return [stage for network in networks for stage in _stages(experiment, network, part)]


def _stages(experiment: Experiment, network: Network, part: Part) -> list[Stage]:
    _, facts = experiment.trained(network.key, part)
    losses = losses_of(experiment.folder / "networks" / network.key / part.name)
    found, begin = [], 0
    for steps, detector in experiment.course(network.key, part):
        enter = partial(_predictor, detector, facts, network)
        row = ExperimentRow(network.key, network.title, network.decoder, enter)
        line = judged(experiment, row, replace(part, name=f"{part.name}-{steps}"))
        loss = [value for step, value in losses if begin < step <= steps]
        mean = sum(loss) / len(loss) if loss else None
        found.append(Stage(network.title, steps / facts.steps, mean, summarize(line.predictions)["overall"]))
        begin = steps
    return found


def _predictor(detector: Detector, facts: Training, network: Network, experiment: Experiment, part: Part) -> Predictor:
    recipe = experiment.recipe_of(network.key)
    return predictor_of(detector, facts, recipe, network.decoder, part.learn, experiment.schema)


def losses_of(run: Path) -> list[tuple[int, float]]:
    """(step, sum of the parts of the loss) of each recorded step of a training."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    found: dict[int, float] = defaultdict(float)
    for file in sorted(run.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file), {"scalars": 0})
        events.Reload()
        recorded = [event for tag in events.Tags()["scalars"] for event in events.Scalars(tag)]
        again = {event.step for event in recorded}  # a killed training takes some steps twice
        for step in again:
            found[step] = sum(event.value for event in recorded if event.step == step)
    return sorted(found.items())


def course_table(stages: Sequence[Stage]) -> str:
    """A line for each network: share of points within 8 mm, and the mean loss on the way there, after each stage."""
    shares = sorted({round(each.share, 2) for each in stages})
    body = []
    for title in dict.fromkeys(each.title for each in stages):
        known = {round(each.share, 2): each for each in stages if each.title == title}
        cells = [_cell(known[share]) if share in known else "" for share in shares]
        body.append([title, *cells])
    return markdown(["SDR@8, % (mean loss since the cell before)", *(f"{100 * share:.0f} %" for share in shares)], body)


def _cell(stage: Stage) -> str:
    loss = "" if stage.loss is None else f" ({stage.loss:.3g})"
    return f"{percent(stage.overall['sdr']['8']['value'])}{loss}"


def course_plot(stages: Sequence[Stage]) -> bytes:
    """SVG: the loss from its first mean to its last, and two figures of the held-out slices, over each training."""
    import matplotlib
    from matplotlib.figure import Figure

    colours = (plots.BLUE, plots.GREEN, plots.VERMILION, plots.ORANGE, plots.SKY, plots.GREY)
    with matplotlib.rc_context(plots.STYLE):
        figure = Figure(figsize=(8.4, 3.4), layout="constrained")
        axes = figure.subplots(1, 3)
        for k, title in enumerate(dict.fromkeys(each.title for each in stages)):
            own = [each for each in stages if each.title == title]
            done = [100 * each.share for each in own]
            lines = (
                _scaled([each.loss for each in own]),
                [_number(each.overall["sdr"]["8"]["value"], 100) for each in own],
                [_number(each.overall["median_mm"]["value"]) for each in own],
            )
            style = {"color": colours[k % len(colours)], "ls": ("-", "--")[k // len(colours) % 2]}
            for panel, values in zip(axes, lines, strict=True):
                panel.plot(done, values, label=title, marker="o", ms=3.5, lw=1.4, **style)
        labels = ("loss, first mean = 1, last = 0", "SDR@8, %", "median error, mm")
        for panel, label in zip(axes, labels, strict=True):
            panel.set(xlabel="% of the training", ylabel=label, xlim=(0, 103))
            panel.grid(color="#dddddd", lw=0.6)
        axes[1].set_ylim(0, 102)
        axes[2].set_ylim(bottom=0)
        handles, titles = axes[0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="outside upper center", ncols=3, frameon=False, fontsize=7)
        return plots._svg(figure)


def _scaled(losses: Sequence[float | None]) -> list[float]:
    """From 1 at the first to 0 at the last, as losses of several kinds have no scale in common."""
    values = [_number(loss) for loss in losses]
    fallen = values[0] - values[-1]
    return [(value - values[-1]) / fallen if fallen else math.nan for value in values]


def _number(value: float | None, factor: float = 1.0) -> float:
    return math.nan if value is None else factor * value
