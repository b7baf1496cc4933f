"""Pixels of DICOM frames, through pydicom's decoders, as the real-world values that the file states."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.imaging.dicom_header import Frame
from SpineLandmarksLib.imaging.volume import reading


def read_slices(frames: tuple[Frame, ...]) -> list[NDArray[np.float32] | InputError]:
    """Each frame's pixels (rows, columns) float32, or the error that kept them from being read."""
    slices: list[NDArray[np.float32] | InputError] = []
    path, dataset = None, None
    for frame in frames:
        try:
            with reading(frame.path, "a DICOM file"):
                if frame.path != path:
                    path, dataset = frame.path, _dataset(frame.path)
                slices.append(_pixels(dataset, frame))
        except InputError as error:
            path = None
            slices.append(error)
    return slices


def _dataset(path: Path) -> Any:
    import pydicom

    dataset = pydicom.dcmread(path, force=True)
    if "PixelData" not in dataset:
        raise InputError(f"Expected pixels in {path.name}; it breaks off before their end or has none")
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        syntax = pydicom.uid.ExplicitVRLittleEndian if is_little else pydicom.uid.ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian if is_implicit else syntax
    return dataset


def _decoded(dataset: Any, frame: Frame) -> NDArray[Any]:
    """The stored values, by the one decoder of each syntax that answers damaged data with an ordinary error.

    pydicom would try whatever is installed, GDCM first; but GDCM aborts the whole process on some damaged streams, and
    the RLE decoder of pylibjpeg panics past every `except Exception`.
    """
    from pydicom import uid
    from pydicom.pixels.utils import pixel_array

    plugins = {uid.RLELossless: "pydicom", uid.JPEGBaseline8Bit: "pillow"}
    plugins |= dict.fromkeys(uid.JPEGLSTransferSyntaxes, "pyjpegls")
    syntax = dataset.file_meta.TransferSyntaxUID
    plugin = plugins.get(syntax, "pylibjpeg" if syntax.is_encapsulated else "")
    stored: NDArray[Any] = pixel_array(dataset, index=frame.index, decoding_plugin=plugin)
    return stored


def _pixels(dataset: Any, frame: Frame) -> NDArray[np.float32]:
    stored = _decoded(dataset, frame)
    if stored.shape != (frame.rows, frame.columns):
        raise InputError(f"Expected {frame.rows} x {frame.columns} pixels; got {stored.shape} in {frame.path.name}")
    values = stored.astype(np.float32)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # dark is high: turn the stored range round
        bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
        values = np.float32(-1 if is_signed else 2**bits - 1) - values
    return values * np.float32(frame.slope) + np.float32(frame.intercept)
