"""Random geometry and random intensity of whole batches, in torch, on any device.

MONAI's random transforms work one image at a time; on two cores they would take longer than the training step. These
work on the batch at once, draw everything from one generator, and move the points exactly as they move the pixels.
Left-right flips are absent on purpose: in a sagittal slice they would swap front and back.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from monai.transforms import Transform
from torch import Tensor
from torch.nn import functional as F


class Batch(NamedTuple):
    """image (B, 1, H, W); points_px (B, L, 2) x, y; valid (B, L): annotated and inside the image."""

    image: Tensor
    points_px: Tensor
    valid: Tensor


@dataclass(frozen=True)
class GeometrySettings:
    """Ranges of the random geometry. Lengths are output pixels, angles degrees.

    The seed paper: shift_xy (35, 8), rotation 25, scale (0.7, 1.3), no elastic deformation.
    centre_on_spine: share of images whose crop is centred on the landmarks instead of on the image.
    field_of_view: share of images of which only a random rectangle is kept, as a smaller field of view would.
    """

    shift_xy: tuple[float, float] = (35.0, 8.0)
    rotation: float = 25.0
    scale: tuple[float, float] = (0.7, 1.3)
    aspect: float = 0.0
    elastic_px: float = 0.0
    centre_on_spine: float = 0.0
    field_of_view: float = 0.0


@dataclass(frozen=True)
class IntensitySettings:
    """Shares of images that each intensity change is applied to, and its strength."""

    curve: float = 0.0
    invert: float = 0.0
    gamma: float = 0.0
    bias: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    anisotropy: float = 0.0
    cutout: float = 0.0


class RandomGeometry(Transform):  # type: ignore[misc]
    """Shift, rotate, scale, deform and crop a batch of cached images to `size_hw`, points included.

    scale_of_output: output pixels per cached pixel without augmentation.
    """

    def __init__(self, settings: GeometrySettings, size_hw: tuple[int, int], scale_of_output: float) -> None:
        self.settings = settings
        self.size_hw = size_hw
        self.scale_of_output = scale_of_output

    def __call__(self, batch: Batch, sizes_wh: Tensor, g: torch.Generator) -> Batch:
        """sizes_wh: (B, 2) extent of each image on its canvas, from the canvas' first pixel."""
        output_from_cache = self.draw(batch, sizes_wh, g)
        cache_from_output = torch.linalg.inv(output_from_cache)
        displacement = self.draw_displacement(len(batch.image), g)
        image = _warp(batch.image, cache_from_output, displacement)
        points = _transform(output_from_cache, torch.nan_to_num(batch.points_px))
        moved = _undo_displacement(points, displacement)
        image, inside = self.restrict_field_of_view(image, moved, g)
        return Batch(image, moved, batch.valid & inside)

    def draw(self, batch: Batch, sizes_wh: Tensor, g: torch.Generator) -> Tensor:
        """(B, 3, 3) `output_from_cache`: to the centre, scale and rotate, to the middle of the output, shift."""
        s, count = self.settings, len(batch.image)
        log_low, log_high = math.log(s.scale[0]), math.log(s.scale[1])
        scale = torch.exp(_uniform(g, (count, 1), log_low, log_high)) * self.scale_of_output
        aspect = torch.exp(_uniform(g, (count, 1), -s.aspect, s.aspect))
        angle = torch.deg2rad(_uniform(g, (count,), -s.rotation, s.rotation))
        shift = _uniform(g, (count, 2), -1.0, 1.0) * torch.tensor(s.shift_xy)
        weight = batch.valid[..., None].float()
        spine = (torch.nan_to_num(batch.points_px) * weight).sum(1) / weight.sum(1).clamp(min=1)
        on_spine = (_uniform(g, (count, 1), 0, 1) < s.centre_on_spine) & (weight.sum(1) > 0)
        centre = torch.where(on_spine, spine, (sizes_wh - 1) / 2)
        cos, sin = torch.cos(angle), torch.sin(angle)
        rotation = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
        linear = rotation * torch.cat([scale * aspect, scale / aspect], -1)[:, None, :]
        middle = (torch.tensor(self.size_hw[::-1]) - 1) / 2
        matrix = torch.eye(3).repeat(count, 1, 1)
        matrix[:, :2, :2] = linear
        matrix[:, :2, 2] = middle + shift - (linear @ centre[..., None])[..., 0]
        return matrix

    def draw_displacement(self, count: int, g: torch.Generator) -> Tensor:
        """(B, 2, H, W) smooth displacement in output pixels."""
        coarse = torch.randn((count, 2, 5, 5), generator=g) * self.settings.elastic_px
        return F.interpolate(coarse, self.size_hw, mode="bicubic", align_corners=True)

    def restrict_field_of_view(self, image: Tensor, points: Tensor, g: torch.Generator) -> tuple[Tensor, Tensor]:
        """Keep a random rectangle of some images; tell which points lie inside."""
        height, width = self.size_hw
        count = len(image)
        extent = torch.tensor([width, height], dtype=torch.float32)
        margin = _uniform(g, (count, 4), 0.0, 0.3) * (_uniform(g, (count, 1), 0, 1) < self.settings.field_of_view)
        low = margin[:, :2] * extent - 0.5
        high = (1 - margin[:, 2:]) * extent - 0.5
        x, y = torch.arange(width), torch.arange(height)
        keep_x = (x >= low[:, :1]) & (x <= high[:, :1])
        keep_y = (y >= low[:, 1:]) & (y <= high[:, 1:])
        keep = (keep_y[:, :, None] & keep_x[:, None, :])[:, None]
        floor = image.flatten(1).amin(1)[:, None, None, None]
        inside = ((points >= low[:, None]) & (points <= high[:, None])).all(-1)
        return torch.where(keep, image, floor), inside


class RandomIntensity(Transform):  # type: ignore[misc]
    """Contrast, bias field, noise, blur and resolution at random. (B, 1, H, W), standardized -> the same.

    Without any share the images stay as they are: the rims that geometry adds would change their mean otherwise, and
    so the values of the anatomy, which no change of intensity would make up for.
    """

    def __init__(self, settings: IntensitySettings) -> None:
        self.settings = settings

    def __call__(self, image: Tensor, g: torch.Generator) -> Tensor:
        s = self.settings
        if s == IntensitySettings():
            return image
        low = image.flatten(1).amin(1)[:, None, None, None]
        high = image.flatten(1).amax(1)[:, None, None, None]
        unit = (image - low) / (high - low).clamp(min=1e-6)
        unit = _where(g, s.blur, _blur(unit, g), unit)
        unit = _where(g, s.anisotropy, _coarsen(unit, g), unit)
        unit = _where(g, s.gamma, unit.clamp(min=1e-6) ** torch.exp(_uniform(g, (len(unit), 1, 1, 1), -0.7, 0.7)), unit)
        unit = _where(g, s.curve, _random_curve(unit, g), unit)
        unit = _where(g, s.invert, 1 - unit, unit)
        unit = _where(g, s.bias, unit * _bias_field(unit, g), unit)
        strength = _uniform(g, (len(unit), 1, 1, 1), 0.0, 0.12)
        unit = _where(g, s.noise, (unit + strength * torch.randn(unit.shape, generator=g)).abs(), unit)
        unit = _where(g, s.cutout, _cutout(unit, g), unit)
        mean = unit.flatten(1).mean(1)[:, None, None, None]
        spread = unit.flatten(1).std(1)[:, None, None, None]
        return (unit - mean) / spread.clamp(min=1e-3)


def _uniform(g: torch.Generator, shape: tuple[int, ...], low: float, high: float) -> Tensor:
    return torch.rand(shape, generator=g) * (high - low) + low


def _where(g: torch.Generator, share: float, changed: Tensor, image: Tensor) -> Tensor:
    return torch.where(torch.rand((len(image), 1, 1, 1), generator=g) < share, changed, image)


def _transform(matrix: Tensor, points: Tensor) -> Tensor:
    return points @ matrix[:, :2, :2].transpose(1, 2) + matrix[:, None, :2, 2]


def _sample(image: Tensor, xy: Tensor, outside: str = "border") -> Tensor:
    """Bilinear value of image (B, C, H, W) at pixel coordinates (B, h, w, 2)."""
    height, width = image.shape[-2:]
    unit = (xy + 0.5) / torch.tensor([width, height], dtype=torch.float32) * 2 - 1
    return F.grid_sample(image, unit, mode="bilinear", padding_mode=outside, align_corners=False)


def _warp(image: Tensor, cache_from_output: Tensor, displacement: Tensor) -> Tensor:
    height, width = displacement.shape[-2:]
    y, x = torch.meshgrid(torch.arange(height).float(), torch.arange(width).float(), indexing="ij")
    grid = torch.stack([x, y], -1)[None] + displacement.permute(0, 2, 3, 1)
    source = _transform(cache_from_output, grid.flatten(1, 2)).reshape(grid.shape)
    floor = image.flatten(1).amin(1)[:, None, None, None]
    return _sample(image - floor, source, outside="zeros") + floor


def _undo_displacement(points: Tensor, displacement: Tensor, steps: int = 8) -> Tensor:
    """Where a point lands: the output pixel o with o + d(o) = point, by fixed-point iteration (d is a contraction)."""
    moved = points
    for _ in range(steps):
        moved = points - _sample(displacement, moved[:, :, None]).squeeze(-1).transpose(1, 2)
    return moved


def _blur(image: Tensor, g: torch.Generator, radius: int = 3) -> Tensor:
    """Gaussian blur of 0.3 to 1.5 pixels, its own for each image."""
    count = len(image)
    sigma = _uniform(g, (count, 1), 0.3, 1.5)
    kernel = torch.exp(-(torch.arange(-radius, radius + 1).float()[None] ** 2) / (2 * sigma**2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    flat = F.pad(image.transpose(0, 1), [radius] * 4, mode="replicate")
    flat = F.conv2d(flat, kernel[:, None, None, :], groups=count)
    return F.conv2d(flat, kernel[:, None, :, None], groups=count).transpose(0, 1)


def _coarsen(image: Tensor, g: torch.Generator) -> Tensor:
    """Thick rows or thick columns: one direction is averaged down by 1.5 to 3 and interpolated back."""
    factor = float(_uniform(g, (1,), 1.5, 3.0))
    height, width = image.shape[-2:]
    rows = bool(torch.rand(1, generator=g) < 0.5)
    size = (round(height / factor), width) if rows else (height, round(width / factor))
    # "area" would take whole rows only and so move content by up to half a row
    coarse = F.interpolate(image, size, mode="bilinear", align_corners=False, antialias=True)
    return F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)


def _random_curve(unit: Tensor, g: torch.Generator, knots: int = 8) -> Tensor:
    """A random piecewise linear map of 0..1 to 0..1: a contrast no scanner has made yet; often not monotone."""
    heights = torch.rand((len(unit), knots), generator=g)
    identity = torch.linspace(0, 1, knots)[None]
    mix = _uniform(g, (len(unit), 1), 0.1, 0.75)
    heights = identity * (1 - mix) + heights * mix
    position = unit.clamp(0, 1).flatten(1) * (knots - 1)
    index = position.long().clamp(max=knots - 2)
    left, right = heights.gather(1, index), heights.gather(1, index + 1)
    return (left + (right - left) * (position - index)).reshape(unit.shape)


def _bias_field(unit: Tensor, g: torch.Generator) -> Tensor:
    """exp of a smooth random field, as an uneven coil makes it."""
    coarse = torch.randn((len(unit), 1, 4, 4), generator=g) * _uniform(g, (len(unit), 1, 1, 1), 0.1, 0.7)
    return torch.exp(F.interpolate(coarse, unit.shape[-2:], mode="bicubic", align_corners=True))


def _cutout(unit: Tensor, g: torch.Generator) -> Tensor:
    """A dark or grey rectangle, as a saturation band, a fat pad or metal leaves it."""
    height, width = unit.shape[-2:]
    centre = torch.rand((len(unit), 2), generator=g) * torch.tensor([width, height])
    half = _uniform(g, (len(unit), 2), 0.04, 0.15) * torch.tensor([width, height])
    in_x = (torch.arange(width)[None] - centre[:, :1]).abs() < half[:, :1]
    in_y = (torch.arange(height)[None] - centre[:, 1:]).abs() < half[:, 1:]
    value = torch.rand((len(unit), 1, 1, 1), generator=g) * 0.5
    return torch.where((in_y[:, :, None] & in_x[:, None, :])[:, None], value, unit)
