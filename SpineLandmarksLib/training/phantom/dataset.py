"""Phantom slices as a data-set folder, to train on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation, write_landmarks_json
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.training.phantom.phantom import make_slice


def write_phantom_dataset(
    folder: Path, count: int, seed: int, transitional: float = 0.0, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write `count` slices, a spine each, as 8-bit PNG with `landmarks.json`; returns the folder.

    transitional: share of spines with a transitional lumbosacral junction. Slice n depends on `seed` and n alone, so
    that a longer data set begins with the shorter one.
    """
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        image, points_xy, pixel_mm = make_slice(np.random.default_rng([seed, number]), transitional=transitional)
        low, high = np.percentile(image, [0.2, 99.8])
        grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
        path = images / f"phantom{seed}_{number:05d}.png"
        with write_atomically(path) as file:
            Image.fromarray(grey).save(file, format="PNG")
        known = {name: points_xy[name] for name in LUMBAR11 if name in points_xy}
        size = (grey.shape[1], grey.shape[0])
        rows.append(Annotation(path, f"phantom{seed}_{number}", known, (pixel_mm, pixel_mm), False, size))
        if progress:
            progress(number + 1, count)
    write_landmarks_json(rows, folder)
    return folder
