"""landmarker 0.4.1 and this project on the same slices: both networks in both recipes, read by both decoders.

    python -m venv venv
    venv/bin/pip install -e '.[train]' opencv-python-headless
    venv/bin/pip install --no-deps landmarker==0.4.1
    venv/bin/python -m research.bench.landmarker_side_by_side ../shared/data/tianchi150 --output DIR --minutes 3 \\
        --document docs/benchmarks.md

Run with torch 2.13, MONAI 1.6.1, opencv-python-headless 5.0. landmarker asks for an older scipy and much that is not
used here, hence --no-deps; of torchvision an empty one is enough (landmarker_traps.py). None of it is a dependency of
the project.

The same for all: the slices, the patients held out, the prepared input (2.5 mm pixels, 128 x 128), the minutes of each
training, and the metric, which is this project's, in native pixels. Whose is what:

    network   theirs: OriginalSpatialConfigurationNet. Ours: the U-Net of recipe "wide", heatmaps of input size
    recipe    see landmarker_training.py
    decoder   theirs: local soft-argmax. Ours: the largest peak, or the chain solver over all peaks

A finished training is read from its folder; one that was cut short goes on from its checkpoint, a minute old at most.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import research.bench.landmarker_traps  # noqa: F401  first, as it may put an empty torchvision in place

# isort: split
import numpy as np
import torch
from landmarker.heatmap import heatmap_to_coord

from research.bench.landmarker_training import ENTRIES, PREPARATION, SIDE, SPACING_MM, trained
from research.bench.landmarker_traps import traps
from research.experiments.decoding import decode_with, localizer_of
from research.experiments.results import Points
from research.markdown import estimate, markdown, mm, percent, write_section
from SpineLandmarksLib.annotated_slices import load_image, millimetres_of, points_of, spacing_of
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.transforms import prepare_slice

DECODERS = ("theirs", "ours, largest peak", "ours, chain")


def main(options: argparse.Namespace) -> None:
    learn, judge, split = split_dataset(options, options.dataset, LUMBAR11)
    lines, facts = [], []
    for entry in ENTRIES:
        fitted = trained(entry, learn, options.output, options.minutes, options.channels)
        parameters = sum(p.numel() for p in fitted.detector.parameters())
        facts.append(
            [
                entry.network,
                entry.recipe,
                f"{parameters / 1e6:.1f}",
                str(fitted.batch),
                str(fitted.steps),
                f"{fitted.seconds / 60:.1f}",
            ]
        )
        for decoder in DECODERS:
            overall = summarize(compare(judge, points(decoder, fitted.detector, learn, judge)))["overall"]
            lines.append([entry.network, entry.recipe, decoder, *figures(overall)])
            print(*lines[-1], sep="  ")
    text = report(lines, facts, f"{len(judge)} slices of {options.dataset.name} ({split})", options)
    write_text_atomically(options.output / "landmarker.md", text)
    if options.document:
        write_section(options.document, "landmarker", text)


def points(decoder: str, detector: Detector, learn: Sequence[Annotation], judge: Sequence[Annotation]) -> list[Points]:
    """(L, 2) native pixels of each slice."""
    if decoder.startswith("ours"):
        localizer = localizer_of(detector, PREPARATION, learn, LUMBAR11)
        return decode_with("chain" if "chain" in decoder else "peak", localizer)(judge)
    found = []
    for row in judge:
        image, pixel_from_slice = prepare_slice(load_image(row.image), spacing_of(row), PREPARATION)
        with torch.inference_mode():
            heatmap = detector.heatmap(torch.from_numpy(image)[None, None])
        yx = heatmap_to_coord(heatmap, method="local_soft_argmax")[0].numpy()
        found.append(apply(np.linalg.inv(pixel_from_slice), yx[:, ::-1]))
    return found


def compare(judge: Sequence[Annotation], found: Sequence[Points]) -> Predictions:
    truth, predicted = np.stack([points_of(row, LUMBAR11) for row in judge]), np.stack(found)
    unstated = np.full(truth.shape[:2], np.nan)
    return Predictions(
        truth,
        predicted,
        np.asarray(np.isfinite(truth).all(-1)),
        np.asarray(np.isfinite(predicted).all(-1)),
        np.array([spacing_of(row) or (np.nan, np.nan) for row in judge]),
        unstated,
        unstated,
        np.array([row.group for row in judge]),
        LUMBAR11,
        tuple(row.image.name for row in judge),
        millimetres_of(judge),
    )


def figures(overall: dict[str, Any]) -> list[str]:
    shares = [overall["sdr"]["2"], overall["sdr"]["4"], overall["sdr"]["8"], overall["level_shift_rate"]]
    return [*(estimate(overall[key], mm) for key in ("mre_mm", "median_mm")), *(estimate(s, percent) for s in shares)]


def report(lines: list[list[str]], facts: list[list[str]], data: str, options: argparse.Namespace) -> str:
    narrow = "" if options.channels == 128 else f", with {options.channels} filters where it is published with 128"
    return (
        "\n\n".join(
            [
                f"landmarker 0.4.1 beside this project on {data}. Every network sees {SIDE} x {SIDE} pixels of "
                f"{SPACING_MM} mm "
                f"(landmarker's example: 512 x 512); its network{narrow or ' is as published'}. "
                f"{options.minutes:g} minutes of "
                f"training each on {torch.get_num_threads()} CPU threads, where its example trains for up to "
                "1000 rounds: this "
                "compares what the same minutes buy, not what either ends at. Distances in estimated mm; in "
                "brackets 95 % "
                "intervals that resample patients; – where every point was called out of view.",
                markdown(
                    [
                        "network",
                        "recipe",
                        "decoder",
                        "MRE, mm",
                        "median, mm",
                        "SDR@2, %",
                        "SDR@4, %",
                        "SDR@8, %",
                        "level shift, %",
                    ],
                    lines,
                ),
                markdown(["network", "recipe", "parameters, M", "batch", "steps", "minutes"], facts),
                "What to know of landmarker, measured (`research/bench/landmarker_traps.py`):",
                "\n".join(f"- {line}" for line in traps()),
            ]
        )
        + "\n"
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="landmarker 0.4.1 and this project on the same slices")
    p.add_argument("dataset", type=Path)
    p.add_argument("--output", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=3.0, help="of each of the four trainings (default 3)")
    p.add_argument("--channels", type=int, default=128, help="filters of their network (default 128, as published)")
    p.add_argument("--holdout", type=int, default=30, help="patients to judge on (default 30)")
    p.add_argument("--split-seed", type=int, default=0)
    p.add_argument("--document", type=Path, help="also write the section landmarker of this Markdown file")
    p.set_defaults(fold=None)
    main(p.parse_args())
