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

#: JPEG markers that may come before the pixels: frames, tables, restart interval, application data, comment.
_HUFFMAN, _SCAN = 0xC4, 0xDA
_SHORT = frozenset({0xDD, 0xFE, *range(0xE0, 0xF0)})
_SEGMENTS = frozenset({0xC0, 0xC1, 0xC3, _HUFFMAN, 0xDB, _SCAN}) | _SHORT


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
    """Raise InputError when the header of a JPEG stream is not sound or does not fit the data set."""
    from pydicom import uid
    from pydicom.encaps import get_frame

    stream = get_frame(dataset.PixelData, frame.index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    bits = int(dataset.BitsAllocated)
    lossy = dataset.file_meta.TransferSyntaxUID == uid.JPEGExtended12Bit
    segments = _jpeg_segments(stream)
    frames = [(marker, *struct.unpack(">BHHB", body[:6])) for marker, body in segments if marker in (0xC0, 0xC1, 0xC3)]
    is_sound = len(frames) == 1 and any(marker == _HUFFMAN for marker, _ in segments)
    is_whole = stream.rstrip(b"\0").endswith(b"\xff\xd9") and segments[-1:] and segments[-1][0] == _SCAN
    if is_sound and is_whole:
        marker, precision, *sides = frames[0]
        if (marker != 0xC3) == lossy and (bits == 8 or precision > 8) and sides == [frame.rows, frame.columns, 1]:
            return
    expected = f"{frame.rows} x {frame.columns} pixels of {bits} bits"
    raise InputError(f"Expected a sound JPEG stream of {expected}; got another in {frame.path.name}")


def _jpeg_segments(stream: bytes) -> list[tuple[int, bytes]]:
    """(marker, content) of the segments before the pixels; empty where one is out of place."""
    segments: list[tuple[int, bytes]] = []
    place = 2
    while stream[:2] == b"\xff\xd8" and place + 4 <= len(stream) and stream[place] == 0xFF:
        marker, length = stream[place + 1], int.from_bytes(stream[place + 2 : place + 4], "big")
        if marker not in _SEGMENTS or length < (2 if marker in _SHORT else 8):
            return []
        segments.append((marker, stream[place + 4 : place + 2 + length]))
        if marker == _SCAN:
            return segments
        place += 2 + length
    return []


def _pixels(dataset: Any, frame: Frame) -> NDArray[np.float32]:
    stored = _decoded(dataset, frame)
    if stored.shape != (frame.rows, frame.columns):
        raise InputError(f"Expected {frame.rows} x {frame.columns} pixels; got {stored.shape} in {frame.path.name}")
    values = stored.astype(np.float32)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # dark is high: turn the stored range round
        bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
        values = np.float32(-1 if is_signed else 2**bits - 1) - values
    return values * np.float32(frame.slope) + np.float32(frame.intercept)
