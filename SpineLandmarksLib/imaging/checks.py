"""Is this an image that landmarks can be placed on? Refuse what is not, warn of what is doubtful."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.geometry import Matrix, spacing_mm
from SpineLandmarksLib.imaging.orient import axes_of, cosines
from SpineLandmarksLib.imaging.volume import MAX_SIDE, MIN_SIDE

#: Air in Hounsfield units, and how much of it tells a CT without header.
_AIR_HU, _AIR_SHARE = (-1100, -900), 0.01
_THICK_MM, _COARSE_MM, _FINE_MM, _OBLIQUE_COSINE = 10.0, 2.0, 0.1, 0.87  # 0.87: 30 degrees


def check_intensities(
    voxels: NDArray[np.float32], name: str, may_be_ct: bool
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Voxels (K, H, W) with unusable values replaced by the minimum, and warnings.

    Raises InputError for slices too small, no finite value, one value only, or (may_be_ct) Hounsfield units.
    """
    height, width = voxels.shape[1:]
    if min(height, width) < MIN_SIDE:
        raise InputError(f"Expected slices of {MIN_SIDE} to {MAX_SIDE} pixels a side; got {width} x {height} in {name}")
    finite = np.isfinite(voxels)
    warnings: tuple[str, ...] = ()
    if not finite.all():
        if not finite.any():
            raise InputError(f"Expected grey values; {name} has not one finite value")
        warnings = (f"{(~finite).sum()} voxels without a finite value were set to the minimum",)
        voxels = np.where(finite, voxels, voxels[finite].min())
    low, high = voxels.min(), voxels.max()
    if low == high:
        raise InputError(f"Expected an image with contrast; {name} has the value {low:g} everywhere")
    if may_be_ct and looks_like_ct(voxels):
        raise InputError(f"Expected MR; got what looks like CT in {name} (a peak of values at air, -1000 HU)")
    return voxels, warnings


def looks_like_ct(voxels: NDArray[np.float32]) -> bool:
    """Whether the values have the peak of air at -1000 HU and a valley above it, as no MRI has."""
    sample = voxels[:, ::2, ::2]
    if sample.min() > _AIR_HU[1] or sample.max() > 2**15:
        return False
    air = np.mean((sample >= _AIR_HU[0]) & (sample <= _AIR_HU[1]))
    valley = np.mean((sample > -800) & (sample < -300))  # phase images are flat here
    return bool(air >= _AIR_SHARE and valley < air)


def geometry_warnings(ras_from_ijk: Matrix | None) -> tuple[str, ...]:
    """Warnings about geometry that is usable but unlike a lumbar series."""
    if ras_from_ijk is None:
        return ()
    x, y, step = spacing_mm(ras_from_ijk)
    tilt = abs(float(cosines(ras_from_ijk)[0, axes_of(ras_from_ijk)[0]]))
    found = []
    if step > _THICK_MM:
        found.append(f"The slices are {step:.1f} mm apart; the midline may lie between two of them")
    if max(x, y) > _COARSE_MM or min(x, y) < _FINE_MM:
        found.append(f"Pixels of {x:.2f} x {y:.2f} mm are unusual for a lumbar MRI (0.3 to 1.5 mm)")
    if max(x, y) > 1.5 * min(x, y):
        found.append(f"The pixels are far from square: {x:.2f} x {y:.2f} mm")
    if tilt < _OBLIQUE_COSINE:
        found.append(f"The slices are turned by {np.degrees(np.arccos(tilt)):.0f} degrees from the sagittal plane")
    return tuple(found)
