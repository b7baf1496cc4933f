"""What a scanner makes of the tissues: their brightness in each sequence, and the faults of the recording."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.phantom.canvas import Grid, SmoothNoise, Tissue, blur, smoothstep

Array = NDArray[np.float64]

_COLUMNS = tuple(Tissue)
#: Relative signal per sequence, in the order of `Tissue`, which the first line calls to mind.
_TABLE = """
             air  skin fat  musc marr cort nucl annu csf  cord nerv epid liga vess bowe gas  live blad orga vein mese
    T2       0.00 0.40 0.80 0.14 0.41 0.05 0.80 0.11 1.00 0.42 0.40 0.70 0.06 0.05 0.34 0.03 0.22 0.95 0.40 0.75 0.58
    T1       0.00 0.45 1.00 0.30 0.48 0.06 0.33 0.28 0.14 0.36 0.34 0.85 0.09 0.07 0.32 0.03 0.45 0.14 0.34 0.40 0.80
    STIR     0.00 0.20 0.04 0.22 0.13 0.03 0.62 0.12 1.00 0.42 0.40 0.05 0.05 0.05 0.38 0.02 0.22 0.95 0.48 0.80 0.06
    FATSAT   0.00 0.25 0.13 0.20 0.20 0.03 0.75 0.13 1.00 0.45 0.40 0.12 0.06 0.06 0.38 0.02 0.24 0.95 0.45 0.75 0.14
    SPACE    0.00 0.35 0.60 0.18 0.26 0.05 0.70 0.16 1.00 0.36 0.42 0.50 0.07 0.04 0.36 0.02 0.20 0.92 0.36 0.60 0.42
    """
_PRESETS = {name: [float(value) for value in values] for name, *values in map(str.split, _TABLE.splitlines()[2:-1])}
CONTRASTS = (*_PRESETS, "SYNTH")


def tissue_values(contrast: str, rng: np.random.Generator, spread: float = 0.12) -> dict[Tissue, float]:
    """Relative brightness 0..1 of every tissue; `spread` is the log-normal variation between people and scanners.

    "SYNTH" draws every tissue uniformly and independently, after SynthSeg (Billot et al. 2023), air kept dark.
    Raises DatasetError on an unknown contrast.
    """
    if contrast not in CONTRASTS:
        raise DatasetError(f"Expected a contrast of {', '.join(CONTRASTS)}; got {contrast!r}")
    if contrast == "SYNTH":
        values = rng.uniform(0.0, 1.0, len(_COLUMNS))
        values[Tissue.AIR], values[Tissue.GAS] = rng.uniform(0, 0.05), rng.uniform(0, 0.2)
    else:
        values = np.array(_PRESETS[contrast]) * np.exp(rng.normal(0, spread, len(_COLUMNS)))
    return {tissue: float(value) for tissue, value in zip(_COLUMNS, values, strict=True)}


@dataclass(frozen=True)
class Scan:
    """One way of recording a slice; lengths in mm, amounts relative to the brightest tissue.

    coil_reach_mm: how fast the signal of the spine coil falls off towards the belly. coil_floor: what other coils add.
    band_mm: how far in front of the bodies a saturation band begins, None without. kept_xy: part of k-space recorded.
    """

    coil_reach_mm: float
    coil_floor: float
    coil_centre_mm: float
    coil_length_mm: float
    band_mm: float | None
    band_slope: float
    kept_xy: tuple[float, float]
    blur_mm: float
    ghost: float
    ghost_shift: float
    noise: float
    gamma: float


def random_scan(rng: np.random.Generator, roughness: float = 1.0) -> Scan:
    """Draw a recording; `roughness` 0 gives a clean one, 1 what clinics send."""
    return Scan(
        coil_reach_mm=rng.uniform(45, 120) / max(roughness, 0.4),
        coil_floor=rng.uniform(0.2, 0.9),
        coil_centre_mm=rng.normal(10, 35),
        coil_length_mm=rng.uniform(170, 330),
        band_mm=rng.uniform(12, 40) if rng.random() < 0.3 * roughness else None,
        band_slope=rng.normal(0, 0.12),
        kept_xy=(rng.uniform(0.6, 0.95), rng.uniform(0.5, 0.9)),
        blur_mm=rng.uniform(0.25, 0.6),
        ghost=max(0.0, rng.normal(0.0, 0.02)) * roughness,
        ghost_shift=rng.uniform(0.2, 0.5),
        noise=rng.uniform(0.004, 0.035) * roughness,
        gamma=float(np.exp(rng.normal(0, 0.12 * roughness))),
    )


def coil_gain(scan: Scan, grid: Grid, back_mm: Array, shading: SmoothNoise, front_mm: Array) -> Array:
    """Sensitivity (H, W): bright under the skin of the back, falling off forwards and beyond the coil's ends."""
    forward = np.maximum(back_mm[:, None] - grid.x_mm[None, :], 0)
    along = np.exp(-(((grid.y_mm[:, None] - scan.coil_centre_mm) / scan.coil_length_mm) ** 4))
    gain = scan.coil_floor + 1.2 * np.exp(-forward / scan.coil_reach_mm)
    gain = gain * (0.25 + 0.75 * along) * np.exp(0.06 * shading.plane())
    if scan.band_mm is not None:
        edge = scan.band_mm + scan.band_slope * grid.y_mm[:, None]
        gain = gain * (1 - 0.85 * smoothstep(-4.0, 8.0, front_mm - edge))
    return np.asarray(gain / np.percentile(gain, 95))


def record(image: Array, gain: Array, scan: Scan, pixel_mm: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Signal (H, W) to a picture: sensitivity, blur, k-space cut (Gibbs ringing), ghosts and Rician noise."""
    signal = np.sign(image) * np.abs(image) ** scan.gamma * gain
    if scan.blur_mm > 0:
        signal = blur(signal, scan.blur_mm / pixel_mm)
    signal = _cut_k_space(signal, scan.kept_xy)
    if scan.ghost > 0.003:
        height = signal.shape[0]
        smeared = np.roll(signal, int(height * scan.ghost_shift), axis=0) + np.roll(
            signal, -int(height * scan.ghost_shift), axis=0
        )
        signal = signal + scan.ghost * smeared
    real, imaginary = rng.standard_normal((2, *signal.shape)) * scan.noise
    return np.asarray(np.hypot(signal + real, imaginary).astype(np.float32))


def _cut_k_space(signal: Array, kept_xy: tuple[float, float]) -> Array:
    """Zero the outer k-space with a short taper: lower resolution with the ringing of real scans."""
    height, width = signal.shape
    spectrum = np.fft.rfft2(signal)
    fx, fy = np.fft.rfftfreq(width) * 2, np.abs(np.fft.fftfreq(height)) * 2
    keep_x = 1 - smoothstep(kept_xy[0] * 0.9, kept_xy[0] * 1.05, fx)
    keep_y = 1 - smoothstep(kept_xy[1] * 0.9, kept_xy[1] * 1.05, fy)
    return np.asarray(np.fft.irfft2(spectrum * keep_y[:, None] * keep_x[None, :], s=signal.shape))
