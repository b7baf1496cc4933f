"""Draw the picture of docs/explanation/method.md: a generated slice, the network's heatmaps on it, and the chain.

python docs/images/draw_method.py docs/images    writes method.png
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from SpineLandmarksLib.backends import TorchBackend
from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.transforms import prepare_slice


def draw(folder: Path, seed: int = 3) -> Path:
    """The three panels, on one phantom."""
    bundle = load_bundle("lumbar11")
    image, _, pixel_mm = make_slice(np.random.default_rng(seed), matrix=(384, 320))
    backend = TorchBackend(bundle, "cpu")
    found = Localizer(bundle, backend).localize(SagittalStack(image[None], np.diag([pixel_mm, pixel_mm, 1.0, 1.0])))
    prepared, pixel_from_slice = prepare_slice(image, (pixel_mm, pixel_mm), bundle.preparation)
    with torch.inference_mode():
        probability = backend.detector(torch.from_numpy(prepared)[None, None]).log_p[0].exp()
    shown = (probability / probability.amax((1, 2), keepdim=True)).amax(0).numpy()
    points = [mark for mark in found if mark.pixel_xy is not None]
    xy = apply(pixel_from_slice, np.array([mark.pixel_xy for mark in points]))
    figure, axes = plt.subplots(1, 3, figsize=(10, 4.2), layout="constrained")
    for axis, title in zip(axes, ("the prepared slice", "probability of each pixel", "the chain"), strict=True):
        axis.imshow(prepared, cmap="gray")
        axis.set(title=title, xticks=[], yticks=[])
    height, width = prepared.shape
    axes[1].imshow(np.ma.masked_less(shown, 0.02), cmap="autumn", extent=(-0.5, width - 0.5, height - 0.5, -0.5))
    axes[2].plot(*xy.T, "o-", color="#ffd84d", markersize=4, linewidth=1)
    for mark, (x, y) in zip(points, xy, strict=True):
        axes[2].text(x + 8, y, mark.name, color="white", fontsize=7, va="center")
    path = folder / "method.png"
    figure.savefig(path, dpi=90, metadata={"Software": None})
    return path


if __name__ == "__main__":
    print(draw(Path(sys.argv[1])))
