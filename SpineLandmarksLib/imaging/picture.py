"""One sagittal slice as a picture: PNG, JPEG, TIFF, BMP through Pillow.

A picture has no patient: it is taken as upright with anterior on the left, and gets a frame of our own, with i to the
back (-A), j to the feet (-S), k to the right (+R), and its origin at pixel (0, 0).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.geometry import Matrix
from SpineLandmarksLib.imaging.volume import Volume, check_size, native_stderr, one_line, reading

_EXIF_ORIENTATION = 0x0112
#: A TIFF's PhotometricInterpretation.
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0
TAKEN_AS_UPRIGHT = "A picture has no patient orientation: it was taken as upright with anterior on the left"
_UNKNOWN = "The pixel spacing of a picture is unknown, so no position is in millimetres; give it with --spacing"
_MADE_UP = "A picture has no patient origin: positions in mm count from its first pixel"


def read_picture(path: Path, spacing_xy_mm: tuple[float, float] | None) -> Volume:
    """Read a grey or colour picture; `spacing_xy_mm` is (between columns, between rows). Raises InputError."""
    from PIL import Image

    said: list[str] = []
    with reading(path, "a picture of one slice"), native_stderr(said):
        try:
            image = Image.open(path)
        except Image.DecompressionBombError as error:
            raise InputError(f"Expected slices of at most 8192 pixels a side; {path.name}: {error}") from error
        with image:
            check_size(image.size, path.name)
            pages = getattr(image, "n_frames", 1)
            if pages != 1:
                raise InputError(f"Expected a picture of one slice; got {pages} pages in {path.name}")
            pixels, warnings = _grey(image)
            if image.getexif().get(_EXIF_ORIENTATION, 1) != 1:
                warnings += ("The picture asks its viewer to turn it (EXIF orientation); it was read as stored",)
    damage = [line for line in said if line and "warning" not in line.lower()]  # of tags that it does not know
    if damage:
        warnings += (f"Parts of the picture may be damaged: {one_line(damage[0])}",)
    warnings += (TAKEN_AS_UPRIGHT, _MADE_UP if spacing_xy_mm else _UNKNOWN)
    return Volume(
        pixels.T[:, :, np.newaxis],
        frame_of_picture(spacing_xy_mm),
        has_patient_frame=False,
        warnings=warnings,
        needs_review=bool(damage),
    )


def frame_of_picture(spacing_xy_mm: tuple[float, float] | None) -> Matrix | None:
    """ras_from_ijk of a picture, or None without spacing. k is 1 mm, of no meaning for one slice."""
    if spacing_xy_mm is None:
        return None
    x, y = spacing_xy_mm
    return np.array([[0, 0, 1.0, 0], [-x, 0, 0, 0], [0, -y, 0, 0], [0, 0, 0, 1.0]])


def _black_is_zero(image: Any, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Pixels of a deep TIFF whose zero is white turned round; Pillow does so with those of up to 8 bits."""
    if image.mode == "L" or getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) != _WHITE_IS_ZERO:
        return pixels
    return np.float32(2**16 - 1 if image.mode.startswith("I;16") else pixels.max()) - pixels


def _grey(image: Any) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Pixels (H, W) of 8, 16 or 32 bit grey as they are; of colour its channel when all agree, else the luminance."""
    bands = image.getbands()
    if len(bands) == 1 and image.mode not in ("P", "1"):
        return _black_is_zero(image, np.asarray(image, dtype=np.float32)), ()
    if image.mode in ("LA", "La", "1"):
        return np.asarray(image.convert("L"), dtype=np.float32), ()
    colour = np.asarray(image.convert("RGB"), dtype=np.float32)
    if (colour == colour[..., :1]).all():
        return colour[..., 0], ()
    luminance = colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"
    return luminance, ("The picture is in colour; its luminance was used",)
