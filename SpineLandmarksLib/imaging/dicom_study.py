"""A DICOM folder, zip content or single file in; the chosen series out, as a volume with its matrix.

Pixels of DICOM frames, through pydicom's decoders, as the real-world values that the file states.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import InputError, SpineLandmarksError
from SpineLandmarksLib.imaging.dicom_choice import (
    NEWEST,
    Choice,
    Exam,
    Wanted,
    asked_for,
    choices,
    companions,
    count_patients,
    describe_study,
    exams_of,
    is_doubtful,
    reason,
    regions,
    remark,
    series_label,
)
from SpineLandmarksLib.imaging.dicom_header import Frame, is_directory_file, read_frames
from SpineLandmarksLib.imaging.dicom_series import Series, SliceOrder, order_slices, split_series, with_shared_uids
from SpineLandmarksLib.imaging.volume import Volume, metadata_text, one_line, reading

#: Seconds of reading before a count is shown.
_SILENT_S = 2.0
#: What is kept of the header. No name, identifier or date of the patient.
_TAGS = tuple(
    """
    StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID SeriesDescription Modality Manufacturer
    ManufacturerModelName MagneticFieldStrength EchoTime RepetitionTime InversionTime PatientPosition
    """.split()
)


def read_dicom_folder(folder: Path, wanted: Wanted = NEWEST) -> Volume:
    """Read the best series of all DICOM files in a folder and its sub-folders. Raises InputError or GeometryError.

    wanted: the exam to read, the newest when left out, and whether the series beside the best one are read too.
    """
    files = sorted(Path(root) / name for root, _, names in os.walk(folder, onerror=_denied) for name in names)
    if not files:
        links = [entry.name for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.is_symlink()]
        only = f"holds links to folders alone, which are not followed ({', '.join(links[:3])}). Name their folders"
        raise InputError(f"Expected a folder with DICOM files; {folder.name} {only if links else 'is empty'}")
    frames: list[Frame] = []
    others: list[str] = []
    damaged: list[str] = []
    for path in _counted(files):
        try:
            found = _frames(path)
        except InputError as error:
            damaged.append(str(error))
        else:
            frames += found or []
            others += [path.name] if found is None else []
    if not frames:
        what = damaged[0] if damaged else f"none of its {len(files)} files is a DICOM image ({', '.join(others[:3])})"
        what += ". Unpack them first" if any(name.lower().endswith(".gz") for name in others) else ""
        raise InputError(f"Expected a folder with DICOM files; got {folder.name}: {what}")
    volume = _read_best(frames, wanted)
    warnings = (f"{len(damaged)} files could not be read: {damaged[0]}",) if damaged else ()
    return replace(volume, warnings=volume.warnings + warnings)


def _counted(files: list[Path]) -> Iterable[Path]:
    """The files, counted on a terminal when they take long."""
    if not sys.stderr.isatty():
        return files
    from tqdm import tqdm

    return tqdm(files, "reading", unit=" files", delay=_SILENT_S, leave=False)


def _denied(error: OSError) -> None:
    """A folder that cannot be listed is no empty folder."""
    raise error


def read_dicom_file(path: Path, wanted: Wanted = NEWEST) -> Volume:
    """Read one DICOM file alone: one slice, or all frames of a multi-frame file. A DICOMDIR stands for its folder."""
    with reading(path, "a DICOM file"):
        is_directory = is_directory_file(path)
    if is_directory:
        return read_dicom_folder(path.parent, wanted)
    frames = _frames(path)
    if not frames:
        raise InputError(f"Expected an MRI; {path.name} is a DICOM file without an image")
    return _read_best(frames, wanted)


def _frames(path: Path) -> list[Frame] | None:
    """The frames of a file; None when it is not a regular DICOM file."""
    if not path.is_file():
        return None
    with reading(path, "a DICOM file"):
        return read_frames(path)


#: Said where the other series were asked for their vote and lie too far apart for one.
NO_VOTE = "The series of this study show several regions, so that none has a vote on the levels of another"


def _read_best(frames: list[Frame], wanted: Wanted) -> Volume:
    count = count_patients([frame.patient for frame in frames])
    if count > 1:
        raise InputError(f"Expected one patient; got {count} in one input. Give one folder for each")
    shared = with_shared_uids(frames)
    study = split_series(shared or frames)
    exams = exams_of(study)
    good = choices(exams if wanted.study is None else asked_for(exams, wanted.study))
    candidates = regions(good)
    others = [volume for choice in candidates[1:] for volume in _usable(choice, study, exams, wanted)]
    if wanted.every_series and not others:
        beside = [volume for choice in companions(good) for volume in _usable(choice, study, exams, wanted)]
    else:  # of several regions it is open which one the others should lie beside
        beside = []
    best = _with_remarks(candidates[0], study, exams, wanted)
    if wanted.every_series and others:
        best = replace(best, notes=(*best.notes, NO_VOTE))
    if shared:
        best, *others = (_guessed(volume) for volume in (best, *others))
    return replace(best, alternatives=tuple(others), companions=tuple(beside))


def _guessed(volume: Volume) -> Volume:
    said = "Every slice has a series or study UID of its own; those of one plane, description and day were taken as one"
    return replace(volume, warnings=(*volume.warnings, said), needs_review=True)


def _usable(choice: Choice, study: list[Series], exams: list[Exam], wanted: Wanted) -> list[Volume]:
    """The series, or nothing where it cannot be decoded: it is read beside another one."""
    with suppress(SpineLandmarksError):
        return [_with_remarks(choice, study, exams, wanted)]
    return []


def _with_remarks(choice: Choice, study: list[Series], exams: list[Exam], wanted: Wanted) -> Volume:
    """The series, with what people should know of the others and of other exams."""
    volume = _read(choice.series, choice.order)
    volume = replace(volume, notes=(*volume.notes, *_notes(study, choice.series, choice.order)))
    if len(exams) == 1:
        return volume
    said = remark(exams, choice.exam)
    if wanted.study is not None or sum(exam.has_mr for exam in exams) == 1:
        return replace(volume, notes=(*volume.notes, said))
    needs_review = volume.needs_review or is_doubtful(exams, choice.exam)
    return replace(volume, warnings=(*volume.warnings, said), needs_review=needs_review)


def _notes(study: list[Series], series: Series, order: SliceOrder) -> tuple[str, ...]:
    notes = [f"Chosen series: {reason(series, order)}"]
    others = [other for other in study if other is not series]
    if others:
        notes.append(f"Other series: {describe_study(others)}")
    if not series.first.modality:
        notes.append("The files do not state their modality; they were taken as MR")
    return tuple(notes)


def _read(series: Series, order: SliceOrder) -> Volume:
    """Decode the slices; those that cannot be decoded are left out, with a warning."""
    slices = read_slices(order.frames)
    errors = [one for one in slices if isinstance(one, InputError)]
    warnings: tuple[str, ...] = ()
    if len(errors) == len(slices):
        raise errors[0]
    if errors:
        whole = tuple(f for f, one in zip(order.frames, slices, strict=True) if not isinstance(one, InputError))
        warnings = (f"{len(errors)} of {len(slices)} slices of {series_label(series)} were left out: {errors[0]}",)
        order = order_slices(Series(whole))
    voxels = np.stack([one for one in slices if not isinstance(one, InputError)]).transpose(2, 1, 0)
    return Volume(
        voxels,
        order.ras_from_ijk,
        order.origins_ras_mm,
        series_uid=series.first.series_uid or None,
        notes=order.notes,
        warnings=warnings + order.warnings,
        needs_review=order.needs_review,
        tags=metadata_text({keyword: series.first.root.get(keyword) for keyword in _TAGS}),
    )


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
    try:
        _require_size(dataset, frame)
        stored: NDArray[Any] = pixel_array(dataset, index=frame.index, decoding_plugin=plugin)
    except Exception as error:  # whatever the decoders raise
        if not syntax.is_encapsulated:
            raise
        raise InputError(
            f"Expected pixels that can be unpacked; those of {frame.path.name} ({syntax.name}) cannot: "
            f"{_remedy(syntax, error)} unpack them with dcmdjpeg (DCMTK) or gdcmconv --raw (GDCM)"
        ) from error
    return stored


def _remedy(syntax: Any, error: Exception) -> str:
    """What a decoder says, or which one to install: that of lossless and 12-bit JPEG is GPL-3.0, so an extra."""
    from pydicom import uid

    wants_libjpeg = syntax in (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
    if wants_libjpeg and not find_spec("libjpeg"):
        return "their decoder, GPL-3.0, is not installed. pip install 'spine-landmarks[gpl-jpeg]', or"
    return f"{one_line(error, 120)}. If they are whole,"


def _require_size(dataset: Any, frame: Frame) -> None:
    """Raise ValueError where a JPEG or JPEG-LS stream states another size: a decoder may work on that for long."""
    from pydicom.encaps import get_frame

    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    stream = get_frame(dataset.PixelData, frame.index, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
    at = 2
    while stream[:2] == b"\xff\xd8" and at + 9 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (int.from_bytes(stream[at + place : at + place + 2], "big") for place in (5, 7))
            if (rows, columns) != (frame.rows, frame.columns):
                raise ValueError(f"the stream states {rows} x {columns} pixels")
            return
        at += 2 + max(length, 2)


def _pixels(dataset: Any, frame: Frame) -> NDArray[np.float32]:
    stored = _decoded(dataset, frame)
    if stored.shape != (frame.rows, frame.columns):
        raise InputError(f"Expected {frame.rows} x {frame.columns} pixels; got {stored.shape} in {frame.path.name}")
    values = stored.astype(np.float32)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":  # dark is high: turn the stored range round
        bits, is_signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
        values = np.float32(-1 if is_signed else 2**bits - 1) - values
    values = values * np.float32(frame.slope) + np.float32(frame.intercept)
    is_padding = _is_padding(dataset, stored)
    if is_padding.any() and not is_padding.all():
        values[is_padding] = values[~is_padding].min()
    return values


def _is_padding(dataset: Any, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Which stored values say that nothing was measured there (PS3.3 C.7.5.1.1.2)."""
    ends = []
    for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
        with suppress(Exception):  # whatever pydicom raises on a broken element: it is not there
            ends.append(_same_sign(int(dataset[keyword].value), dataset))
    if not ends:
        return np.zeros(stored.shape, dtype=np.bool_)
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _same_sign(value: int, dataset: Any) -> int:
    """The value as one of the pixels' own type: some write it unsigned where the pixels are signed, or the reverse."""
    bits = int(dataset.BitsAllocated)
    value %= 2**bits
    return value - 2**bits if int(dataset.PixelRepresentation) == 1 and value >= 2 ** (bits - 1) else value
