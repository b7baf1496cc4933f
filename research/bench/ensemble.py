"""What the mean of several networks' points is worth, out of fold.

    python -m research.bench.ensemble DATASET DIR/seeds default small unet-chain

DIR is the --output of `python -m research.experiments seeds`. Each further row moves a point of the first towards
its own where the two are within 8 mm of each other, so that the first alone decides on levels.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from research.experiments.experiment import Experiment
from research.experiments.results import pooled, read_result
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.evaluation.predictions import Predictions

NEAR_MM = 8.0


def main(options: argparse.Namespace) -> None:
    experiment = Experiment(options.dataset, options.folder, 0.0)
    found = [out_of_fold(experiment, key) for key in options.rows]
    for count in range(1, len(found) + 1):
        overall = summarize(mean_of(found[:count]), bootstrap=0)["overall"]
        shares = "  ".join(f"SDR@{t} {100 * overall['sdr'][t]['value']:.1f} %" for t in ("2", "4", "8"))
        print(f"{' + '.join(options.rows[:count])}: median {overall['median_mm']['value']:.2f} mm  {shares}")


def out_of_fold(experiment: Experiment, key: str) -> Predictions:
    folder = experiment.folder / "results" / key
    parts = [file.name.removesuffix(".points.json") for file in sorted(folder.glob("*.points.json"))]
    results = [result for result in (read_result(folder, part) for part in parts) if result is not None]
    return pooled(results, experiment.annotated, experiment.schema)


def mean_of(found: Sequence[Predictions]) -> Predictions:
    first, spacing = found[0].predicted_px, found[0].spacing_mm[:, None]
    moved = []
    for each in found:
        near = np.linalg.norm((each.predicted_px - first) * spacing, axis=-1) < NEAR_MM
        moved.append(np.where(near[..., None], each.predicted_px, first))
    return replace(found[0], predicted_px=np.mean(moved, 0))


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="The mean of several networks' points, out of fold")
    p.add_argument("dataset", type=Path)
    p.add_argument("folder", type=Path)
    p.add_argument("rows", nargs="+")
    main(p.parse_args())
