"""How far in front of the line between its two bodies each disc is annotated: what data sets mean by a disc's centre.

To run it:

    python -m research.bench.disc_positions ../shared/data/tianchi150 ../shared/data/spider
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from SpineLandmarksLib.annotated_slices import load_annotations, points_of, spacing_of
from SpineLandmarksLib.landmarks import LUMBAR11


def main(folders: list[Path]) -> None:
    for folder in folders:
        rows = load_annotations([folder], LUMBAR11)
        scaled = [(row, spacing) for row in rows if (spacing := spacing_of(row)) is not None]
        points_mm = np.array([points_of(row, LUMBAR11) * spacing for row, spacing in scaled])
        print(f"{folder.name}, {len(scaled)} slices, mm in front of the line between the bodies, mean (spread):")
        for column in range(2, len(LUMBAR11) - 1, 2):
            before, disc, after = (points_mm[:, column + step] for step in (-1, 0, 1))
            down = (after - before) / np.linalg.norm(after - before, axis=1, keepdims=True)
            front = np.stack([-down[:, 1], down[:, 0]], axis=1)  # the picture's left, where down is its bottom
            ahead = ((disc - (before + after) / 2) * front).sum(1)
            print(f"  {LUMBAR11[column]:6} {np.nanmean(ahead):5.2f} ({np.nanstd(ahead):.2f})")


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
