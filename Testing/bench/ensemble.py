"""What the mean of several networks' points is worth, out of fold.

    python Testing/bench/ensemble.py DATASET DIR/seeds default small unet-chain

DIR is the --output of `spine-landmarks experiment seeds`. Each further row moves a point of the first towards its own
where the two are within 8 mm of each other, so that the first alone decides on levels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.training.dataset import points_of, spacing_of
from SpineLandmarksLib.training.experiments.results import read_result
from SpineLandmarksLib.training.experiments.study import Study

NEAR_MM = 8.0


def main(options: argparse.Namespace) -> None:
    study = Study(options.dataset, options.folder, 0.0)
    names = list(study.annotated)
    rows = list(study.annotated.values())
    truth = np.stack([points_of(row, study.schema) for row in rows])
    spacing = np.array([spacing_of(row) for row in rows])[:, None]
    found = {key: points_of_row(options.folder / "results" / key, names) for key in options.rows}
    for count in range(1, len(options.rows) + 1):
        keys = options.rows[:count]
        error = np.linalg.norm((mean_of([found[key] for key in keys], spacing) - truth) * spacing, axis=-1)
        error = np.nan_to_num(error, nan=np.inf)
        shares = "  ".join(f"SDR@{t} {100 * (error <= t).mean():.1f} %" for t in (2, 4, 8))
        print(f"{' + '.join(keys)}: median {np.median(error):.2f} mm  {shares}")


def points_of_row(folder: Path, names: list[str]) -> NDArray[np.float64]:
    """(N, L, 2) native pixels of all splits of one row."""
    points: dict[str, NDArray[np.float64]] = {}
    for file in sorted(folder.glob("*.points.json")):
        result = read_result(folder, file.name.removesuffix(".points.json"))
        points |= result.points if result else {}
    return np.stack([np.asarray(points[name], dtype=np.float64) for name in names])


def mean_of(found: list[NDArray[np.float64]], spacing: NDArray[np.float64]) -> NDArray[np.float64]:
    first = found[0]
    near = [np.linalg.norm((each - first) * spacing, axis=-1) < NEAR_MM for each in found]
    return np.mean([np.where(is_near[..., None], each, first) for each, is_near in zip(found, near, strict=True)], 0)


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="The mean of several networks' points, out of fold")
    p.add_argument("dataset", type=Path)
    p.add_argument("folder", type=Path)
    p.add_argument("rows", nargs="+")
    main(p.parse_args())
