"""Pixels of DICOM frames, through pydicom's decoders, as the real-world values that the file states."""

from __future__ import annotations

import struct
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
    """The stored values, by the decoder that fails cleanly on damaged data where there are several.

    The fast RLE decoder of pylibjpeg panics past every `except Exception`, and GDCM aborts the whole process when a
    stream contradicts its data set; so GDCM gets only what no other decoder reads, and only after a look at the stream.
    """
    from pydicom import uid
    from pydicom.pixels.utils import pixel_array

    plugins = {uid.RLELossless: "pydicom", uid.JPEGBaseline8Bit: "pillow"}
    plugins |= dict.fromkeys(uid.JPEG2000TransferSyntaxes, "pylibjpeg")
    plugins |= dict.fromkeys(uid.JPEGLSTransferSyntaxes, "pyjpegls")
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1):
        _check_jpeg(dataset, frame)
    stored: NDArray[Any] = pixel_array(dataset, index=frame.index, decoding_plugin=plugins.get(syntax, ""))
    return stored


def _check_jpeg(dataset: Any, frame: Frame) -> None:
    """Raise InputError when the frame header (SOF) of a JPEG stream does not fit the data set."""
    from pydicom.encaps import get_frame

    stream = get_frame(dataset.PixelData, frame.index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    bits = int(dataset.BitsAllocated)
    found = _jpeg_frame_header(stream)
    fits_bits = found is not None and bits in (8, 16) and (found[0] > 8) == (bits == 16)
    is_whole = stream.rstrip(b"\0").endswith(b"\xff\xd9")
    if found is None or not fits_bits or found[1:] != (frame.rows, frame.columns, 1) or not is_whole:
        raise InputError(
            f"Expected a JPEG stream of {frame.rows} x {frame.columns} pixels of {bits} bits; "
            f"got {found or 'none'} in {frame.path.name}"
        )


def _jpeg_frame_header(stream: bytes) -> tuple[int, int, int, int] | None:
    """(bits, rows, columns, components) of a JPEG stream, or None."""
    place = 2
    while stream[:2] == b"\xff\xd8" and place + 10 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], int.from_bytes(stream[place + 2 : place + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # SOF, not DHT, JPG or DAC
            bits, rows, columns, components = struct.unpack(">BHHB", stream[place + 4 : place + 10])
            return bits, rows, columns, components
        place += 2 + length
    return None


def _pixels(dataset: Any, frame: Frame) -> NDArray[np.float32]:
    stored = _decoded(dataset, frame)
    if stored.shape != (frame.rows, frame.columns):
        raise InputError(f"Expected {frame.rows} x {frame.columns} pixels; got {stored.shape} in {frame.path.name}")
    values = stored.astype(np.float32)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # dark is high: turn the stored range round
        bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
        values = np.float32(-1 if is_signed else 2**bits - 1) - values
    return values * np.float32(frame.slope) + np.float32(frame.intercept)
