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
from SpineLandmarksLib.training.unusable import Generator, View, flip, quarter_turns
from SpineLandmarksLib.transforms import Image, resize


@dataclass(frozen=True)
class Perturbation:
    """change(view, strength, rng) at each of `strengths`, the weakest first; unit: how a strength reads in a table."""

    name: str
    change: Callable[[View, float, Generator], View]
    strengths: tuple[float, ...] = (1.0,)
    unit: str = ""

    def at(self, strength: float, view: View, seed: int) -> View:
        """The same seed draws the same numbers at every strength, and others for every perturbation."""
        return self.change(view, strength, np.random.default_rng([seed, zlib.crc32(self.name.encode())]))

    def label(self, strength: float) -> str:
        return self.unit.format(strength)


def rotate(view: View, degrees: float, rng: Generator) -> View:
    """Turn about the picture's middle, to either side, in millimetres; the picture keeps its size."""
    angle = np.deg2rad(degrees) * rng.choice([-1.0, 1.0])
    c, s = np.cos(angle), np.sin(angle)
    mm = np.array(view.spacing_mm)
    turn = np.eye(3)
    turn[:2, :2] = np.array([[c, -s], [s, c]]) * mm / mm[:, None]
    middle = (np.array(view.image.shape[::-1]) - 1) / 2
    return _moved(view, translate(middle) @ turn @ translate(-middle))


def crop(view: View, top: float = 0.0, bottom: float = 0.0, sides: float = 0.0) -> View:
    """Cut shares of the height and, at each side, of the width off."""
    height, width = view.image.shape
    first_row, last_row, beside = round(top * height), height - round(bottom * height), round(sides * width)
    image = view.image[first_row:last_row, beside : width - beside]
    return replace(view, image=image, points_xy=view.points_xy - [beside, first_row])


def coarsen(view: View, columns: float = 1.0, rows: float = 1.0) -> View:
    """Larger pixels with the mean of what they cover, and a spacing that says so."""
    height, width = view.image.shape
    size = (max(1, round(width / columns)), max(1, round(height / rows)))
    image, coarse_from_slice = resize(view.image, size)
    scale = (width / size[0], height / size[1])
    told = None if view.told_mm is None else (view.told_mm[0] * scale[0], view.told_mm[1] * scale[1])
    true = (view.spacing_mm[0] * scale[0], view.spacing_mm[1] * scale[1])
    return View(image, apply(coarse_from_slice, view.points_xy), true, told)


def misstate(view: View, share: float, rng: Generator) -> View:
    """The spacing is told too large or too small, one as likely as the other."""
    x, y = view.told_mm or view.spacing_mm
    factor = (1 + share) ** float(rng.choice([-1.0, 1.0]))
    return replace(view, told_mm=(x * factor, y * factor))


def implant(view: View, radius_mm: float, rng: Generator) -> View:
    """Metal at one of the known points."""
    known = view.points_xy[np.isfinite(view.points_xy).all(-1)]
    return view.degraded(degrade.metal(view.image, rng.choice(known), radius_mm / np.array(view.spacing_mm)))


def _blur(view: View, sigma_mm: float, _: Generator) -> View:
    x, y = view.spacing_mm
    return view.degraded(degrade.blur(view.image, (sigma_mm / x, sigma_mm / y)))


def _values(change: Callable[[Image, float, Generator], Image]) -> Callable[[View, float, Generator], View]:
    return lambda view, strength, rng: view.degraded(change(view.image, strength, rng))


def _moved(view: View, moved_from_slice: Matrix) -> View:
    """Resample linearly onto the same grid; what comes from outside is as dark as the darkest pixel."""
    slice_from_moved = np.linalg.inv(moved_from_slice)
    image = ndimage.affine_transform(
        view.image, slice_from_moved[1::-1, 1::-1], slice_from_moved[1::-1, 2], order=1, cval=float(view.image.min())
    )
    return replace(view, image=image, points_xy=apply(moved_from_slice, view.points_xy))


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
    Perturbation("wrong spacing", misstate, (0.1, 0.25, 0.5), "off by {:.0%}"),
    Perturbation("unknown spacing", lambda v, _, __: replace(v, told_mm=None)),
)
