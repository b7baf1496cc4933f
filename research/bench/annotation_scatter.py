"""How much annotators scatter, from the annotations alone: python -m research.bench.annotation_scatter DATASET...

Each inner landmark is predicted from its two neighbours on either side by a linear rule that is learned on the other
patients. What is left is anatomy that the rule cannot know, plus the scatter of the click, plus that of the four
neighbours' clicks as the rule passes it on:

    residual variance = anatomy + scatter^2 (1 + sum of the rule's squared weights)

Centres of published masks (SPIDER) hardly scatter, so their residual is mostly anatomy; what another data set has
beyond it is scatter. Lengths are mm where L1-L5 is 144 mm. No network is involved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from SpineLandmarksLib.annotated_slices import LUMBAR_LENGTH_MM, load_annotations, points_of, schema_of
from SpineLandmarksLib.splits import split_by_group

RIDGE = 1.0


def spines(folder: Path) -> tuple[np.ndarray, list[str]]:
    """(N, 11, 2) mm with the axis from L1 to L5 upright (y), and the patient of each."""
    schema = schema_of(folder)
    rows = load_annotations([folder], schema)
    points = np.stack([points_of(row, schema) for row in rows])
    keep = np.asarray(np.isfinite(points).all((1, 2)))
    axis = points[:, schema.index("L5")] - points[:, schema.index("L1")]
    length = np.linalg.norm(axis, axis=-1)
    y = axis / length[:, None]
    frame = np.stack([np.stack([y[:, 1], -y[:, 0]], -1), y], 1)  # rows: across, along
    upright = np.einsum("nij,nlj->nli", frame, points) * (LUMBAR_LENGTH_MM / length)[:, None, None]
    return upright[keep], [row.group for row, kept in zip(rows, keep, strict=True) if kept]


def residuals(points: np.ndarray, groups: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(N, inner, 2) what prediction from four neighbours leaves, out of five folds, and (inner, 2) 1 + sum of w^2."""
    inner = range(2, points.shape[1] - 2)
    left = np.zeros((len(points), len(inner), 2))
    gain = np.zeros((len(inner), 2))
    for learn, judge in split_by_group(groups, 5, 0):
        for column, k in enumerate(inner):
            middle = (points[:, k - 1] + points[:, k + 1])[:, None] / 2
            around = points[:, [k - 2, k - 1, k + 1, k + 2]] - middle
            target = points[:, k] - middle[:, 0]
            for axis in (0, 1):
                x = np.c_[around[..., axis], np.ones(len(points))]
                weight = np.linalg.solve(x[learn].T @ x[learn] + RIDGE * np.eye(5), x[learn].T @ target[learn, axis])
                left[judge, column, axis] = target[judge, axis] - x[judge] @ weight
                total = weight[:4] + np.array([0, 0.5, 0.5, 0]) * (1 - weight[:4].sum())
                gain[column, axis] += (1 + (total**2).sum()) / 5
    return left, gain


def main(folders: list[Path]) -> None:
    for folder in folders:
        left, gain = residuals(*spines(folder))
        spread = np.sqrt((left**2).mean((0, 1)))
        most = np.sqrt((left**2).mean(0) / gain).mean(0)
        print(
            f"{folder.name:12s} {len(left)} slices: residual across the spine {spread[0]:.2f} mm, along it "
            f"{spread[1]:.2f} mm; scatter of one click at most {most[0]:.2f} and {most[1]:.2f} mm"
        )


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
