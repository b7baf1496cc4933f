"""What each part of a recipe buys: the whole, and the whole with one part changed, at the same minutes.

The reference is trained from random weights on the data set and every --extra; --start-from, which takes far longer to
make than a row here, is a row of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from research.experiments.decoding import Decoder
from research.experiments.experiment import Experiment, Part
from research.experiments.rows import ExperimentRow, Line, Predictor, judged, predictor_of
from SpineLandmarksLib.bundle import WEIGHTS, load_bundle
from SpineLandmarksLib.settings import from_dict, to_dict
from SpineLandmarksLib.splits import with_extra
from SpineLandmarksLib.training.augment import GeometrySettings, IntensitySettings
from SpineLandmarksLib.training.recipe import Recipe

Extra = tuple[Path, float | None]
REFERENCE = "reference"
#: The seeds' product as part of one training: a half Xception on 128 x 128, its own sigma for each landmark and axis.
FUSED = {
    "architecture": {
        "direct": {"network": "xception", "width": 0.5},
        "direct_size": 128,
        "fusion": {"sigma_px": 10.0, "learned": True, "use_spread": False},
    },
    "fusion_weight": 1.0,
}
PLAIN_GEOMETRY = {"aspect": 0.0, "elastic_px": 0.0, "centre_on_spine": 0.0, "field_of_view": 0.0}


@dataclass(frozen=True)
class Change:
    """One part changed. settings: of the recipe, nested as in its file. network: the one it is trained as, so that
    rows that differ in their decoder only share it. without: an --extra that is left out; "all" for every one."""

    key: str
    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    decoder: Decoder = "chain"
    network: str = ""
    without: str = ""
    start_from: Path | None = None


CHANGES = (
    Change(REFERENCE, "the recipe, from random weights"),
    Change("lone-peaks", "largest peaks instead of the best chain", decoder="peak", network=REFERENCE),
    Change(
        "binary-cross-entropy",
        "binary cross-entropy instead of spatial softmax",
        {"architecture": {"heatmap_loss": "binary_cross_entropy", "heatmap": {"output_bias": -7.0}}},
    ),
    Change("no-intensity", "no intensity augmentation", {"intensity": to_dict(IntensitySettings())}),
    Change("plain-geometry", "no elastic, aspect, crop and field-of-view augmentation", {"geometry": PLAIN_GEOMETRY}),
    Change(
        "no-geometry",
        "no geometric augmentation at all",
        {"geometry": to_dict(GeometrySettings((0.0, 0.0), 0.0, (1.0, 1.0)))},
    ),
    Change("fused-product", "multiplied with an Xception that names coordinates, sigma learned", FUSED),
    Change("no-average", "last weights instead of their moving average", {"ema": 0.0}),
)


def ablation_rows(recipe: str, extra: Sequence[Extra], start_from: Path | None) -> list[ExperimentRow]:
    """The reference, then one row for each part that can be changed with what is given."""
    left_out = [Change(f"without-{folder.name}", f"without {folder.name}", without=folder.name) for folder, _ in extra]
    if len(extra) > 1:
        left_out.append(Change("data-alone", "without any extra data", without="all"))
    if start_from is not None:
        title = f"starts from the weights of {load_bundle(start_from).label}"
        left_out.append(Change("pre-trained", title, start_from=start_from))
    return [
        ExperimentRow(each.key, each.title, each.decoder, entering(each, recipe, extra))
        for each in (*CHANGES, *left_out)
    ]


def entering(change: Change, recipe_name: str, extra: Sequence[Extra]) -> Callable[[Experiment, Part], Predictor]:
    def enter(experiment: Experiment, part: Part) -> Predictor:
        recipe = changed(experiment.recipe_of(recipe_name), change.settings)
        kept = [each for each in extra if change.without not in (each[0].name, "all")]
        learn, weight = with_extra(part.learn, kept, experiment.schema)
        widened = replace(part, learn=learn, weight=weight)
        detector, training = experiment.trained(
            change.network or change.key, widened, recipe, weights_of(change.start_from)
        )
        return predictor_of(detector, training, recipe, change.decoder, learn, experiment.schema)

    return enter


def changed(recipe: Recipe, settings: dict[str, Any]) -> Recipe:
    """`recipe` with some settings replaced, nested ones one by one."""
    result: Recipe = from_dict(Recipe, _merged(to_dict(recipe), settings), recipe.name)
    return result


def weights_of(bundle: Path | None) -> dict[str, Tensor] | None:
    return None if bundle is None else safetensors.torch.load_file(load_bundle(bundle).folder / WEIGHTS)


def run_ablation(experiment: Experiment, rows: Sequence[ExperimentRow], held_out: int) -> list[Line]:
    """Each row on the held-out patients."""
    part = experiment.holdout(held_out)
    return [judged(experiment, row, part) for row in rows]


def _merged(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    nested = {key: _merged(values[key] or {}, value) for key, value in changes.items() if isinstance(value, dict)}
    return {**values, **changes, **nested}
