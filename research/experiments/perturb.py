"""Known changes of a slice, each at fixed strengths: what the robustness of a bundle is measured under.

Points move with pixels, and the spacing with both. Nothing here is used in training.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from research.experiments import degrade
from SpineLandmarksLib.geometry import Matrix, apply, translate
from SpineLandmarksLib.training.unusable import Generator, PerturbedSlice, flip, quarter_turns
from SpineLandmarksLib.transforms import Image, resize


@dataclass(frozen=True)
class Perturbation:
    """change(case, strength, rng) at each of `strengths`, the weakest first; unit: how a strength reads in a table."""

    name: str
    change: Callable[[PerturbedSlice, float, Generator], PerturbedSlice]
    strengths: tuple[float, ...] = (1.0,)
    unit: str = ""

    def at(self, strength: float, case: PerturbedSlice, seed: int) -> PerturbedSlice:
        """The same seed draws the same numbers at every strength, and others for every perturbation."""
        return self.change(case, strength, np.random.default_rng([seed, zlib.crc32(self.name.encode())]))

    def label(self, strength: float) -> str:
        return self.unit.format(strength)


def rotate(case: PerturbedSlice, degrees: float, rng: Generator) -> PerturbedSlice:
    """Turn about the picture's middle, to either side, in millimetres; the picture keeps its size."""
    angle = np.deg2rad(degrees) * rng.choice([-1.0, 1.0])
    c, s = np.cos(angle), np.sin(angle)
    mm = np.array(case.spacing_mm)
    turn = np.eye(3)
    turn[:2, :2] = np.array([[c, -s], [s, c]]) * mm / mm[:, None]
    middle = (np.array(case.image.shape[::-1]) - 1) / 2
    return _moved(case, translate(middle) @ turn @ translate(-middle))


def crop(case: PerturbedSlice, top: float = 0.0, bottom: float = 0.0, sides: float = 0.0) -> PerturbedSlice:
    """Cut shares of the height and, at each side, of the width off."""
    height, width = case.image.shape
    first_row, last_row, beside = round(top * height), height - round(bottom * height), round(sides * width)
    image = case.image[first_row:last_row, beside : width - beside]
    return replace(case, image=image, points_xy=case.points_xy - [beside, first_row])


def coarsen(case: PerturbedSlice, columns: float = 1.0, rows: float = 1.0) -> PerturbedSlice:
    """Larger pixels with the mean of what they cover, and a spacing that says so."""
    height, width = case.image.shape
    size = (max(1, round(width / columns)), max(1, round(height / rows)))
    image, coarse_from_slice = resize(case.image, size)
    scale = (width / size[0], height / size[1])
    stated = case.stated_spacing_mm
    stated = None if stated is None else (stated[0] * scale[0], stated[1] * scale[1])
    true = (case.spacing_mm[0] * scale[0], case.spacing_mm[1] * scale[1])
    return PerturbedSlice(image, apply(coarse_from_slice, case.points_xy), true, stated)


def misstate(case: PerturbedSlice, share: float, rng: Generator) -> PerturbedSlice:
    """The spacing is told too large or too small, one as likely as the other."""
    x, y = case.stated_spacing_mm or case.spacing_mm
    factor = (1 + share) ** float(rng.choice([-1.0, 1.0]))
    return replace(case, stated_spacing_mm=(x * factor, y * factor))


def implant(case: PerturbedSlice, radius_mm: float, rng: Generator) -> PerturbedSlice:
    """Metal at one of the known points."""
    known = case.points_xy[np.isfinite(case.points_xy).all(-1)]
    return case.degraded(degrade.metal(case.image, rng.choice(known), radius_mm / np.array(case.spacing_mm)))


def collapse(case: PerturbedSlice, share: float, _: Generator) -> PerturbedSlice:
    """Take a share of its height from the second landmark's body (L1), down to its lower end: what is above sinks.

    The body is taken to be three quarters of what lies between the discs beside it.
    """
    above, body, below = case.points_xy[:3, 1]
    half = 0.375 * (below - above)
    if not np.isfinite(half):
        return case
    bottom, top = body + half, body - half
    sunk = top + share * (bottom - top)
    rows = np.arange(len(case.image), dtype=np.float64)
    at = np.where(rows < sunk, rows - (sunk - top), np.interp(rows, (sunk, bottom), (top, bottom)))
    at = np.where(rows > bottom, rows, at)
    columns = np.arange(case.image.shape[1])
    image = ndimage.map_coordinates(case.image, np.meshgrid(at, columns, indexing="ij"), order=1, mode="nearest")
    y = case.points_xy[:, 1]
    moved = np.where(y < top, y + sunk - top, np.where(y < bottom, np.interp(y, (top, bottom), (sunk, bottom)), y))
    return replace(case, image=image, points_xy=np.stack([case.points_xy[:, 0], moved], -1))


def _blur(case: PerturbedSlice, sigma_mm: float, _: Generator) -> PerturbedSlice:
    x, y = case.spacing_mm
    return case.degraded(degrade.blur(case.image, (sigma_mm / x, sigma_mm / y)))


def _values(
    change: Callable[[Image, float, Generator], Image],
) -> Callable[[PerturbedSlice, float, Generator], PerturbedSlice]:
    return lambda case, strength, rng: case.degraded(change(case.image, strength, rng))


def _moved(case: PerturbedSlice, moved_from_slice: Matrix) -> PerturbedSlice:
    """Resample linearly onto the same grid; what comes from outside is as dark as the darkest pixel."""
    slice_from_moved = np.linalg.inv(moved_from_slice)
    image = ndimage.affine_transform(
        case.image, slice_from_moved[1::-1, 1::-1], slice_from_moved[1::-1, 2], order=1, cval=float(case.image.min())
    )
    return replace(case, image=image, points_xy=apply(moved_from_slice, case.points_xy))


PERTURBATIONS = (
    Perturbation("rotation", rotate, (5.0, 15.0, 30.0), "{:.0f} degrees"),
    Perturbation("quarter turn", quarter_turns, (90.0, 180.0), "{:.0f} degrees"),
    Perturbation("front for back", flip),
    Perturbation("crop at the top", lambda v, s, _: crop(v, top=s), (0.1, 0.2, 0.3), "{:.0%} of the height"),
    Perturbation("crop at the bottom", lambda v, s, _: crop(v, bottom=s), (0.1, 0.2, 0.3), "{:.0%} of the height"),
    Perturbation("crop at both sides", lambda v, s, _: crop(v, sides=s), (0.1, 0.2, 0.3), "{:.0%} of the width each"),
    Perturbation("inverted contrast", lambda v, _, __: v.degraded(degrade.invert(v.image))),
    Perturbation("gamma", _values(degrade.gamma), (1.5, 2.0, 3.0), "{0:g} or 1/{0:g}"),
    Perturbation("random contrast curve", _values(degrade.curve), (0.4, 0.6, 0.8), "{:.0%} mixed in"),
    Perturbation("larger pixels", lambda v, s, _: coarsen(v, s, s), (2.0, 3.0, 4.0), "{:g} x"),
    Perturbation("thick rows", lambda v, s, _: coarsen(v, rows=s), (2.0, 4.0, 6.0), "{:g} x"),
    Perturbation("Gaussian noise", _values(degrade.gaussian_noise), (0.05, 0.1, 0.2), "{:.0%} of white"),
    Perturbation("Rician noise", _values(degrade.rician_noise), (0.05, 0.1, 0.2), "{:.0%} of white"),
    Perturbation("bias field", _values(degrade.bias_field), (1.5, 2.0, 4.0), "up to {0:g} x or 1/{0:g}"),
    Perturbation("blur", _blur, (1.0, 2.0, 3.0), "sigma {:g} mm"),
    Perturbation("ghosts", _values(degrade.ghosts), (0.15, 0.3, 0.45), "{:.0%} of the signal"),
    Perturbation("metal", implant, (8.0, 14.0, 20.0), "radius {:g} mm"),
    Perturbation("collapsed L1", collapse, (0.3, 0.5, 0.7), "{:.0%} of its height lost"),
    Perturbation("wrong spacing", misstate, (0.1, 0.25, 0.5), "off by {:.0%}"),
    Perturbation("unknown spacing", lambda v, _, __: replace(v, stated_spacing_mm=None)),
)
