"""What to know of landmarker 0.4.1 before comparing with it, each point measured here.

    python -m research.bench.landmarker_traps [docs/benchmarks.md]

With a document, its section landmarker-decoders is written too.

landmarker imports torchvision for the resizing of a data set, which nothing here uses. Where no torchvision fits the
torch at hand, `import landmarker_traps` puts an empty one in its place.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from research.markdown import markdown, write_section
from SpineLandmarksLib.heatmaps import find_candidates, log_probability

if importlib.util.find_spec("torchvision") is None:
    shim, transforms = ModuleType("torchvision"), ModuleType("torchvision.transforms")
    shim.transforms = transforms  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": shim, "torchvision.transforms": transforms}

from landmarker.data import LandmarkDataset
from landmarker.heatmap import GaussianHeatmapGenerator, heatmap_to_coord
from landmarker.losses import GaussianHeatmapL2Loss
from landmarker.metrics import sdr
from landmarker.transforms.landmarks import resize_landmarks
from monai.transforms import Compose, Rand2DElasticd, RandAffined

SIDE, SIGMA = 128, 3.0
#: Of a Gaussian target in landmarker's example, whose factor is 100.
HEIGHT = 100 / (2 * np.pi * SIGMA**2)
METHODS = ("argmax", "local_soft_argmax", "weighted_spatial_mean_relu")


def main(document: str | None = None) -> None:
    text = "\n\n".join([decoder_table(), "\n".join(f"- {line}" for line in traps())])
    print(text)
    if document:
        write_section(Path(document), "landmarker-decoders", text)


def decoder_table() -> str:
    """Mean distance from known centres, in heatmap pixels, of both projects' decoders on the same heatmaps."""
    points_yx = torch.rand((40, 11, 2), generator=torch.Generator().manual_seed(0)) * (SIDE - 40) + 20
    clean = GaussianHeatmapGenerator(11, SIGMA, 100.0, heatmap_size=(SIDE, SIDE))(points_yx)
    clean = clean / clean.amax((-2, -1), keepdim=True)
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1))
    rows = {
        "exact Gaussian": clean,
        "with noise of 2 % of its height": clean + 0.02 * noise,
        "with noise of 5 % of its height": clean + 0.05 * noise,
        "with a second peak, 0.6 times as high, 40 px away": torch.maximum(clean, 0.6 * clean.roll(40, -1)),
        "on a floor of a tenth of its height": clean + 0.1,
    }
    lines = []
    for name, heatmap in rows.items():
        ours = find_candidates(log_probability(heatmap, "mean_squared_error"), 1, 1, radius=8).xy[:, :, 0].flip(-1)
        theirs = [heatmap_to_coord(HEIGHT * heatmap, method=method) for method in METHODS]
        lines.append([name, *(f"{_mean_distance(each, points_yx):.2f}" for each in (*theirs, ours))])
    return markdown(["heatmap", *METHODS, "ours"], lines)


def traps() -> list[str]:
    """One sentence each, with its measured number. Distances are pixels of the network's input."""
    ours, theirs = decoder_errors()
    too_high = heatmap_to_coord(torch.full((1, 1, 9, 9), 9.0), method="local_soft_argmax")
    affine, elastic = transform_errors()
    return [
        f"Decoders on exact Gaussians (sigma {SIGMA:g}, centres anywhere between pixels), mean error: landmarker's "
        f"argmax {theirs['argmax']:.2f} px; its local soft-argmax {theirs['local_soft_argmax']:.2f} px at the height "
        f"that its example trains for, {theirs['flat']:.2f} px at height 1; ours {ours:.2f} px.",
        f"Its local soft-argmax of a heatmap with a value of 9 is {float(too_high.mean()):.0f}: exp(10 v) overflows "
        "from 8.9 on.",
        "Augmentation, mean distance from a rendered dot to the landmark that the data set gives with it: affine "
        f"{affine:.2f} px, elastic of 2 to 4 px {elastic:.2f} px. Elastic deformation moves the pixels alone.",
        "`resize_landmarks` scales from pixel centres, while images are scaled from their corner: halving an image "
        f"puts each landmark {resize_error():.2f} px beside its place along each axis.",
        "`sdr` counts a landmark without annotation as a failure, with `nanmean=True` too: half of them annotated, and "
        f"those exact, gives {sdr_of_half():.0f} %.",
        "One landmark without annotation makes its heatmap nan, unless `na_zero` is set, and with it "
        f"`GaussianHeatmapL2Loss` of the whole batch: {loss_of_one_missing()}.",
    ]


def decoder_errors() -> tuple[float, dict[str, float]]:
    """Mean distance from the true centre: ours, and theirs by method; "flat" is local soft-argmax at height 1."""
    points_yx = torch.rand((40, 11, 2), generator=torch.Generator().manual_seed(0)) * (SIDE - 40) + 20
    heatmaps = GaussianHeatmapGenerator(11, SIGMA, 100.0, heatmap_size=(SIDE, SIDE))(points_yx)
    found = {method: heatmap_to_coord(heatmaps, method=method) for method in ("argmax", "local_soft_argmax")}
    found["flat"] = heatmap_to_coord(heatmaps / heatmaps.amax((-2, -1), keepdim=True), method="local_soft_argmax")
    best = find_candidates(log_probability(heatmaps, "mean_squared_error"), 1, 1, radius=8).xy[:, :, 0].flip(-1)
    return _mean_distance(best, points_yx), {name: _mean_distance(each, points_yx) for name, each in found.items()}


def transform_errors(draws: int = 20) -> tuple[float, float]:
    """Mean distance from a dot to its landmark after random affine and random elastic transforms."""
    everywhere = {"prob": 1.0, "padding_mode": "zeros"}
    affine = RandAffined(("image",), rotate_range=0.26, translate_range=10.0, scale_range=0.1, **everywhere)
    elastic = Rand2DElasticd(("image",), spacing=(32, 32), magnitude_range=(2.0, 4.0), **everywhere)
    return _transform_error(affine, draws), _transform_error(elastic, draws)


def _transform_error(transform: object, draws: int) -> float:
    points_yx = torch.rand((draws, 1, 2), generator=torch.Generator().manual_seed(1)) * (SIDE - 60) + 30
    dots = GaussianHeatmapGenerator(1, 2.0, heatmap_size=(SIDE, SIDE))(points_yx)
    torch.manual_seed(0)
    dataset = LandmarkDataset(list(dots), points_yx, transform=Compose([transform]).set_random_state(0))
    items = [dataset[n] for n in range(draws)]
    where = torch.stack([_centroid(item["image"][0]) for item in items])
    return _mean_distance(where, torch.stack([item["landmark"][0] for item in items]))


def resize_error() -> float:
    """Offset along an axis of a landmark from its pixel's centre after halving an image of 100 pixels."""
    at_corner = (20.0 + 0.5) / 2 - 0.5
    return abs(float(resize_landmarks(torch.tensor([20.0, 20.0]), (100, 100), (50, 50))[0]) - at_corner)


def sdr_of_half() -> float:
    points = torch.tensor([[[10.0, 10.0], [float("nan"), float("nan")]]])
    return float(sdr(4.0, points, torch.tensor([[[10.0, 10.0], [20.0, 20.0]]]), nanmean=True))


def loss_of_one_missing() -> float:
    generator = GaussianHeatmapGenerator(2, SIGMA, 100.0, heatmap_size=(32, 32))
    target = generator(torch.tensor([[[10.0, 10.0], [float("nan"), float("nan")]]]))
    return float(GaussianHeatmapL2Loss(alpha=5)(torch.zeros_like(target), generator.sigmas, target))


def _centroid(light: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in light.shape), indexing="ij")
    return torch.stack([(rows * light).sum(), (columns * light).sum()]) / light.sum()


def _mean_distance(a: Tensor, b: Tensor) -> float:
    return float(np.mean(torch.linalg.norm(a.float() - b, dim=-1).numpy()))


if __name__ == "__main__":
    main(*sys.argv[1:2])
