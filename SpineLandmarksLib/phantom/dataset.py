"""Phantom slices as a data-set folder, to train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation, write_landmarks_json
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import make_slice

XY = tuple[float, float]


def write_phantom_dataset(
    folder: Path,
    count: int,
    seed: int,
    transitional: float = 0.0,
    anomalous: float = 0.0,
    progress: ProgressCallback | None = None,
) -> Path:
    """Write `count` slices, a spine each, as 8-bit PNG with `landmarks.json`; returns the folder.

    transitional: share of spines with a transitional lumbosacral junction. anomalous: share with six or four lumbar
    bodies, named as `from_both_ends`. Slice n depends on `seed` and n alone, so that a longer data set begins with the
    shorter one.
    """
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        bodies = int(rng.choice([4, 6])) if rng.random() < anomalous else 5
        image, points_xy, pixel_mm = make_slice(rng, lumbar_bodies=bodies, transitional=transitional)
        low, high = np.percentile(image, [0.2, 99.8])
        grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
        path = images / f"phantom{seed}_{number:05d}.png"
        with write_atomically(path) as file:
            Image.fromarray(grey).save(file, format="PNG")
        known = from_both_ends(points_xy, bodies)
        size = (grey.shape[1], grey.shape[0])
        rows.append(Annotation(path, f"phantom{seed}_{number}", known, (pixel_mm, pixel_mm), False, size))
        if progress:
            progress(number + 1, count)
    write_landmarks_json(rows, folder)
    return folder


def from_both_ends(points_xy: Mapping[str, XY], bodies: int) -> dict[str, XY]:
    """The eleven names counted from T12 for the upper four landmarks and from the sacrum for the lower four.

    With five lumbar bodies the two counts agree and the middle is named too. With six or four they do not: a network
    that learns both tears its answer apart there, which `numbering` then notices; the middle is left without names.
    """
    if bodies == 5:
        return {name: points_xy[name] for name in LUMBAR11 if name in points_xy}
    last = bodies - 5  # L6 is what L5 is to the sacrum, or L4
    own = {f"L{n}": f"L{n + last}" for n in (4, 5)}
    own |= {"L4-L5": f"L{4 + last}-L{5 + last}", "L5-S1": f"L{5 + last}-S1"}
    names = {name: name for name in LUMBAR11[:4]} | own
    return {name: points_xy[there] for name, there in names.items() if there in points_xy}
