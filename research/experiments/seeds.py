"""The seed paper's table and two of its successors, beside our default, out of fold on every slice."""

from __future__ import annotations

from collections.abc import Sequence

from research.experiments.bundles import bundle_row
from research.experiments.decoding import mean_shape_baseline
from research.experiments.experiment import Experiment, Part
from research.experiments.product import product_row
from research.experiments.results import pooled
from research.experiments.rows import ExperimentRow, Line, Predictor, network_row, result_of

#: The row that no network has to be trained for: below it, a network has learned nothing.
MEAN_PLACE = "mean-place"
#: What two cores had to leave out.
DIRECT_NOTE = "paper: 299 x 299, four times the channels, rate 0.0001"
UNET_NOTE = "paper: 512 x 512, four times the filters, rate 0.0001"
SCN_NOTE = "paper: 512 x 512, twice the filters, 30,000 steps"
LATER_NOTE = "recipe scn: 1.25 mm, three times the filters, batch 4, rate 0.0001, 20,000 steps"
SMALL_NOTE = "recipe default: 1.25 mm, more levels and filters, 20,000 steps at 0.0015"


def seed_rows(default_bundles: str | None = None) -> list[ExperimentRow]:
    """default_bundles: where the default's own bundles are, "{fold}" for the fold; trained like the rest without."""
    title = "our default"
    default = bundle_row("default", title, default_bundles) if default_bundles else None
    return [
        ExperimentRow(MEAN_PLACE, "mean place, no network", "none", enter_mean_place),
        network_row("direct", "direct alone (Xception + FC)", "seed-direct-small", "peak", DIRECT_NOTE),
        network_row("unet", "U-Net alone (binary cross-entropy)", "seed-unet-small", "peak", UNET_NOTE),
        network_row("unet-chain", "U-Net alone, read by our chain", "seed-unet-small", "chain", UNET_NOTE),
        product_row("product-fixed", "product, fixed sigma", "seed-unet-small", "seed-direct-small", False),
        product_row("product-learned", "product, learned sigma", "seed-unet-small", "seed-direct-small", True),
        network_row("scn-original", "SCN, original", "scn-original-small", "peak", SCN_NOTE),
        network_row("scn-later", "SCN, later recipe", "scn-small", "chain", LATER_NOTE),
        network_row("small", "our recipe small", "small", "chain", SMALL_NOTE),
        default or network_row("default", title, "default", "chain"),
    ]


def enter_mean_place(experiment: Experiment, part: Part) -> Predictor:
    return Predictor(mean_shape_baseline(part.learn, experiment.schema))


def run_folds(experiment: Experiment, rows: Sequence[ExperimentRow], folds: int) -> list[Line]:
    """Each row on every fold; the points of all folds together are the row's."""
    lines = []
    for row in rows:
        results = tuple(result_of(experiment, row, part) for part in experiment.folds(folds))
        lines.append(Line(row, pooled(results, experiment.annotated, experiment.schema), results))
    return lines
