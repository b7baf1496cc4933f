"""What scanners, coils and patients do to the values of a slice; no pixel moves. numpy and scipy.

Each takes the image (H, W) as it is, a strength and a generator, and draws the same numbers whatever the strength, so
that a stronger change is the same change carried further. 0 is the darkest value, 1 the 99.5th percentile.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from SpineLandmarksLib.transforms import Image

Array = NDArray[np.float64]


def invert(image: Image) -> Image:
    """Bright is dark and dark is bright, within the same range."""
    inverted: Image = image.max() + image.min() - image
    return inverted


def gamma(image: Image, factor: float, rng: np.random.Generator) -> Image:
    """v ** factor or v ** (1 / factor), one as likely as the other."""
    unit, low, span = _unit(image)
    exponent = factor ** float(rng.choice([-1.0, 1.0]))
    return _back(unit**exponent, low, span)


def curve(image: Image, share: float, rng: np.random.Generator, knots: int = 8) -> Image:
    """A random curve of straight pieces between random heights, mixed into the image; rises and falls.

    A contrast no scanner has made; the same idea as the training's own random contrast, drawn here independently.
    """
    unit, low, span = _unit(image)
    mapped = np.interp(unit, np.linspace(0, 1, knots), rng.uniform(0, 1, knots))
    return _back((1 - share) * unit + share * mapped, low, span)


def gaussian_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """v + n, as filtered or phase-corrected reconstructions have it."""
    unit, low, span = _unit(image)
    return _back(unit + sigma * rng.standard_normal(unit.shape), low, span)


def rician_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """|v + n1 + i n2|, the noise of magnitude images (Gudbjartsson and Patz 1995): what is dark turns grey."""
    unit, low, span = _unit(image)
    real, imaginary = sigma * rng.standard_normal((2, *unit.shape))
    return _back(np.hypot(unit + real, imaginary), low, span)


def bias_field(image: Image, factor: float, rng: np.random.Generator, knots: int = 4) -> Image:
    """v * factor ** f with a smooth random field f in -1..1, as an uneven coil makes it."""
    unit, low, span = _unit(image)
    coarse = rng.standard_normal((knots, knots))
    rows, columns = (np.linspace(0, knots - 1, side) for side in unit.shape)
    field = ndimage.map_coordinates(coarse, np.meshgrid(rows, columns, indexing="ij"), order=3, mode="nearest")
    return _back(unit * factor ** (field / np.abs(field).max()), low, span)


def blur(image: Image, sigma_px: tuple[float, float]) -> Image:
    """Gaussian blur; sigma_px: (x, y)."""
    return np.asarray(ndimage.gaussian_filter(image, sigma_px[::-1], mode="nearest"), dtype=np.float32)


def ghosts(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Two copies moved along rows or columns by a sixth to a third of the picture, the main one paler by their share.

    A periodic motion with a phase-encoding step in n makes v (1 - share) + share / 2 (v moved by N / n + by -N / n).
    """
    unit, low, span = _unit(image)
    axis = int(rng.integers(2))
    distance = int(rng.uniform(1 / 6, 1 / 3) * unit.shape[axis])
    copies = np.roll(unit, distance, axis) + np.roll(unit, -distance, axis)
    return _back((1 - share) * unit + share / 2 * copies, low, span)


def metal(image: Image, centre_xy: Array, radius_px: Array, rim: float = 0.2) -> Image:
    """A hole without signal and a bright rim, as an implant leaves them. radius_px: (x, y); rim: share of it."""
    unit, low, span = _unit(image)
    y, x = np.indices(unit.shape)
    away = np.hypot((x - centre_xy[0]) / radius_px[0], (y - centre_xy[1]) / radius_px[1])
    return _back(np.where(away < 1, 0.0, np.where(away < 1 + rim, 1.2, unit)), low, span)


def _unit(image: Image) -> tuple[Array, float, float]:
    """The image with its darkest value at 0 and its 99.5th percentile at 1; that value and that distance."""
    low, high = float(image.min()), float(np.percentile(image, 99.5))
    span = high - low if high > low else 1.0
    return (image.astype(np.float64) - low) / span, low, span


def _back(unit: Array, low: float, span: float) -> Image:
    return (unit * span + low).astype(np.float32)
