"""Phantoms as files: NIfTI, a folder of single-frame DICOM images, and slices as a data-set folder to train on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation, write_landmarks_json
from SpineLandmarksLib.geometry import lps_from_ras, spacing_mm
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11
from SpineLandmarksLib.phantom.phantom import Phantom, make_slice

if TYPE_CHECKING:
    from pydicom.dataset import FileDataset

XY = tuple[float, float]


def write_phantom_dataset(
    folder: Path,
    count: int,
    seed: int,
    transitional: float = 0.0,
    anomalous: float = 0.0,
    progress: ProgressCallback | None = None,
    corners: bool = False,
) -> Path:
    """Write `count` slices, a spine each, as 8-bit PNG with `landmarks.json`; returns the folder.

    transitional: share of spines with a transitional lumbosacral junction. anomalous: share with six or four lumbar
    bodies, named as `from_both_ends`. corners: the corners of endplates (`CORNERS22`) instead of the centres, with the
    `schema.json` that says so; then no spine is anomalous. Slice n depends on `seed` and n alone, so that a longer data
    set begins with the shorter one.
    """
    from PIL import Image

    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        bodies = int(rng.choice([4, 6])) if rng.random() < anomalous and not corners else 5
        image, points_xy, pixel_mm = make_slice(rng, lumbar_bodies=bodies, transitional=transitional, corners=corners)
        low, high = np.percentile(image, [0.2, 99.8])
        grey = np.clip((image - low) / max(high - low, 1e-6) * 255, 0, 255).astype(np.uint8)
        path = images / f"phantom{seed}_{number:05d}.png"
        with write_atomically(path) as file:
            Image.fromarray(grey).save(file, format="PNG")
        group = f"phantom{seed}_{number}"
        known = dict(points_xy) if corners else from_both_ends(points_xy, bodies)
        rows.append(Annotation(path, group, known, (pixel_mm, pixel_mm), False, grey.shape[::-1]))
        if progress:
            progress(number + 1, count)
    write_landmarks_json(rows, folder)
    if corners:
        write_text_atomically(folder / "schema.json", json.dumps(CORNERS22) + "\n")
    return folder


def from_both_ends(points_xy: Mapping[str, XY], bodies: int) -> dict[str, XY]:
    """The eleven names counted from T12 for the upper four landmarks and from the sacrum for the lower four.

    With five lumbar bodies the two counts agree and the middle is named too. With six or four they do not: a network
    that learns both tears its answer apart there, which `numbering` then notices; the middle is left without names.
    """
    if bodies == 5:
        return {name: points_xy[name] for name in LUMBAR11 if name in points_xy}
    last = bodies - 5  # L6 is what L5 is to the sacrum, or L4
    own = {f"L{n}": f"L{n + last}" for n in (4, 5)}
    own |= {"L4-L5": f"L{4 + last}-L{5 + last}", "L5-S1": f"L{5 + last}-S1"}
    names = {name: name for name in LUMBAR11[:4]} | own
    return {name: points_xy[there] for name, there in names.items() if there in points_xy}


#: Echo, repetition and inversion times (ms) that a header of each contrast would state.
_TIMES = {"T1": (10.0, 550.0, None), "T2": (100.0, 3500.0, None), "STIR": (60.0, 4000.0, 160.0)}


def write_nifti(phantom: Phantom, path: str | Path) -> Path:
    """Write the voxels as NIfTI-1 (.nii or .nii.gz), axes (i, j, k), sform and qform set. Raises OutputError."""
    import nibabel

    image = nibabel.Nifti1Image(phantom.voxels.transpose(2, 1, 0), phantom.ras_from_ijk)
    image.header.set_xyzt_units("mm", "sec")
    image.set_sform(phantom.ras_from_ijk, code="scanner")
    image.set_qform(phantom.ras_from_ijk, code="scanner")
    content = image.to_bytes()
    if str(path).endswith(".gz"):
        import gzip

        content = gzip.compress(content, compresslevel=4, mtime=0)
    with write_atomically(Path(path)) as file:
        file.write(content)
    return Path(path)


def write_dicom_series(
    phantom: Phantom,
    folder: str | Path,
    *,
    description: str | None = None,
    series_number: int = 1,
    patient_name: str = "PHANTOM^SPINE",
) -> Path:
    """Write one MR Image Storage file per slice; UIDs come from the seed: the same phantom gives the same files.

    InstanceNumber is shuffled against position and names are in neither order: a reader must sort by position. Series
    of one seed share their study and frame of reference. Raises OutputError.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"Could not make the folder {folder}: {error.strerror}") from error
    description = description if description is not None else f"{phantom.contrast} sag"
    count = len(phantom.voxels)
    shuffle = np.random.default_rng([phantom.seed, series_number, count])
    numbers, names = shuffle.permutation(count) + 1, shuffle.permutation(count)
    for index in range(count):
        dataset = _header(phantom, description, series_number, patient_name)
        _place(dataset, phantom, index, int(numbers[index]))
        with write_atomically(folder / f"IM{names[index]:04d}.dcm") as file:
            dataset.save_as(file, enforce_file_format=True)
    return folder


def _uid(*parts: object) -> str:
    """A UID under the 2.25 root from a hash of the parts (DICOM PS3.5 B.2 gives the root to UUID-like numbers)."""
    digest = hashlib.sha256("/".join(map(str, ("SpineLandmarks phantom", *parts))).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16], 'big')}"


def _header(phantom: Phantom, description: str, series_number: int, patient_name: str) -> FileDataset:
    """What all slices of the series share."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = MRImageStorage
    dataset.Modality, dataset.Manufacturer, dataset.BodyPartExamined = "MR", "SpineLandmarks phantom", "LSPINE"
    dataset.PatientName, dataset.PatientID = patient_name, f"PHANTOM-{phantom.seed}"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.PatientPosition = "", "O", "HFS"
    dataset.StudyInstanceUID, dataset.FrameOfReferenceUID = _uid(phantom.seed, "study"), _uid(phantom.seed, "frame")
    dataset.SeriesInstanceUID = _uid(phantom.seed, "series", series_number, phantom.contrast, phantom.voxels.shape)
    day = (date(2001, 1, 1) + timedelta(days=phantom.seed % 3650)).strftime("%Y%m%d")
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = day
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "120000"
    dataset.StudyID, dataset.AccessionNumber, dataset.ReferringPhysicianName = "1", "", ""
    dataset.StudyDescription, dataset.SeriesDescription = "Phantom lumbar spine", description
    dataset.SeriesNumber, dataset.PositionReferenceIndicator, dataset.Laterality = series_number, "", ""
    dataset.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    dataset.ScanningSequence = ["SE", "IR"] if phantom.contrast == "STIR" else "SE"
    dataset.SequenceVariant, dataset.ScanOptions, dataset.MRAcquisitionType = "SK", "", "2D"
    echo, repetition, inversion = _TIMES.get(phantom.contrast, _TIMES["T2"])
    dataset.EchoTime, dataset.RepetitionTime, dataset.EchoTrainLength = echo, repetition, 1
    if inversion is not None:
        dataset.InversionTime = inversion
    return dataset


def _place(dataset: FileDataset, phantom: Phantom, index: int, instance_number: int) -> None:
    """What is a slice's own: identity, position, pixels."""
    dataset.SOPInstanceUID = _uid(dataset.SeriesInstanceUID, index)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.InstanceNumber, dataset.AcquisitionNumber = instance_number, 1
    lps_from_ijk = lps_from_ras(phantom.ras_from_ijk)
    columns, rows, slices = spacing_mm(phantom.ras_from_ijk)
    along_columns, along_rows = lps_from_ijk[:3, 0] / columns, lps_from_ijk[:3, 1] / rows
    dataset.ImageOrientationPatient = [_decimal(value) for value in (*along_columns, *along_rows)]
    dataset.ImagePositionPatient = [_decimal(v) for v in lps_from_ijk[:3] @ np.array([0.0, 0.0, index, 1.0])]
    # PixelSpacing is (between rows, between columns): DICOM PS3.3 10.7.1.3.
    dataset.PixelSpacing = [_decimal(rows), _decimal(columns)]
    dataset.SliceThickness = dataset.SpacingBetweenSlices = _decimal(slices)
    pixels = np.clip(np.rint(phantom.voxels[index]), 0, 4095).astype("<u2")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
    dataset.WindowCenter, dataset.WindowWidth = 500, 1000
    dataset.PixelData = pixels.tobytes()


def _decimal(value: float) -> str:
    """A Decimal String: at most 16 characters, which keeps directions to 1e-12 and positions to 1e-9."""
    from pydicom.valuerep import format_number_as_ds

    return format_number_as_ds(float(value))
