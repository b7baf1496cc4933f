"""The overlay as a DICOM secondary capture in the study of its images, for viewers that show no reports.

What stands in the picture is burned in: its last line says that it is for research use only. No file name is drawn,
which may be a patient's.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.dicom_plane import (
    PROGRAM,
    VERSION,
    ImagePlane,
    derived_uid,
    require_highdicom,
    source_header,
)
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.formats.overlay import overlay_page
from SpineLandmarksLib.landmarks import LandmarkSet

SERIES_NUMBER = 9002


def write_capture(
    image: ArrayLike, landmarks: LandmarkSet, planes: Sequence[ImagePlane], path: str | os.PathLike[str]
) -> None:
    """Write the overlay of a slice.

    Args:
        image: (H, W) intensities of the chosen slice.
        landmarks: as for `draw_overlay`.
        planes: the images of the series, whose patient and study the capture belongs to.
        path: of the file, which is replaced whole.

    Raises:
        InputError: `image` is no slice.
        OutputError: highdicom is missing, no images, or the file cannot be written; nothing is changed.
    """
    require_highdicom()
    from highdicom.sc import SCImage

    header = source_header(planes)
    named = replace(landmarks, input=f"Series {header.get('SeriesNumber') or 'without number'}")
    page = np.asarray(overlay_page(image, named))
    said = {name: value for name, value in as_json(named).items() if name != "runtime_s"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what the source images break themselves
        capture = SCImage(
            pixel_array=page,
            photometric_interpretation="RGB",
            bits_allocated=8,
            coordinate_system="PATIENT",
            study_instance_uid=header.StudyInstanceUID,
            series_instance_uid=derived_uid(header.SeriesInstanceUID, "capture"),
            series_number=SERIES_NUMBER,
            sop_instance_uid=derived_uid(header.SeriesInstanceUID, "capture", said),
            instance_number=1,
            manufacturer=PROGRAM,
            patient_id=header.PatientID,
            patient_name=header.PatientName,
            patient_birth_date=header.PatientBirthDate,
            patient_sex=header.PatientSex,
            accession_number=header.AccessionNumber,
            study_id=header.StudyID,
            study_date=header.StudyDate,
            study_time=header.StudyTime,
            referring_physician_name=header.ReferringPhysicianName,
            patient_orientation=("P", "F"),
            manufacturer_model_name=PROGRAM,
            software_versions=VERSION,
            series_description="Lumbar landmarks, research use only",
            specific_character_set="ISO_IR 192",
        )
        capture.copy_patient_and_study_information(header)
    capture.ImageType = ["DERIVED", "SECONDARY"]
    capture.BurnedInAnnotation, capture.Laterality = "YES", ""
    with write_atomically(path) as file:
        capture.save_as(file, enforce_file_format=True)
