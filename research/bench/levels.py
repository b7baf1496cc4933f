"""Which chains are shifted at which growth of the votes, and what tells them.

    python -m research.bench.levels DATASET BUNDLE [--holdout 30 --learned] [--growth 1 1.35 1.5 1.7]

For weights that have not seen the data set, or with --fold I/N or --holdout N those patients alone; --learned judges
the patients that the split leaves for learning. Each slice goes through the network once for each growth.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from SpineLandmarksLib.arguments import fold
from SpineLandmarksLib.chain import VOTE_GROWTH
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.metrics import chain_shifts, failures
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.uncertainty import FEATURES


def area(values: np.ndarray, is_wrong: np.ndarray) -> float:
    """Share of pairs of a wrong and a right chain in which the wrong one has the smaller value; half of equals."""
    wrong, right = values[is_wrong][:, None], values[~is_wrong]
    return float(((wrong < right) + (wrong == right) / 2).mean())


def main(options: argparse.Namespace) -> None:
    localizer = Localizer.open(options.bundle)
    learn, judge, split = split_dataset(options, options.dataset, localizer.bundle.landmarks)
    rows = learn if options.learned else judge
    others = ", the others" if options.learned else ""
    print(f"{localizer.bundle.label} on {len(rows)} slices, {split}{others}")
    prior = localizer.bundle.prior
    assert prior is not None
    for growth in options.growth:
        localizer.bundle = replace(localizer.bundle, prior=replace(prior, growth=growth))
        readings = read_annotated(localizer, rows)
        found = compare(localizer, rows, readings)
        is_wrong = chain_shifts(found) != 0
        sdr = 1 - failures(found, 8.0).sum() / found.valid.sum()
        print(f"growth {growth:g}: {is_wrong.sum()} chains shifted, SDR@8 {100 * sdr:.1f} %")
        if not is_wrong.any():
            continue
        features = np.stack([reading.confidence_features for reading in readings], 1)
        for name, values in zip(FEATURES, features, strict=True):
            places = sorted(int((values < value).sum()) + 1 for value in values[is_wrong])
            print(f"  {name:15s} area {area(values, is_wrong):.3f}, places from the lowest {places}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="Shifted chains, and what tells them")
    p.add_argument("dataset", type=Path)
    p.add_argument("bundle")
    group = p.add_mutually_exclusive_group()
    group.add_argument("--holdout", type=int)
    group.add_argument("--fold", type=fold)
    p.add_argument("--learned", action="store_true")
    p.add_argument("--split-seed", type=int, default=0)
    p.add_argument("--growth", type=float, nargs="+", default=[1.0, VOTE_GROWTH])
    main(p.parse_args())
