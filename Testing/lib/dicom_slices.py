"""DICOM slices whose place and pixels are known, as several test modules write and read them."""

import copy
import io
import os

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    MRImageStorage,
    RLELossless,
    generate_uid,
)

COUNT, ROWS, COLUMNS = 6, 40, 48
BETWEEN_ROWS, BETWEEN_COLUMNS, STEP = 0.7, 0.6, 4.4
STUDY_UID = generate_uid(entropy_srcs=["study"])


def turned(degrees_z, degrees_x, axes):
    """Direction cosines (row, column) after a turn about x and then about z."""
    (cz, sz), (cx, sx) = ((np.cos(a), np.sin(a)) for a in np.radians([degrees_z, degrees_x]))
    turn = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return np.array(axes, dtype=float) @ turn.T


SAGITTAL = turned(12, -8, [[0, 1, 0], [0, 0, -1]])  # LPS: along a row to P, along a column to -S
AXIAL = turned(3, 5, [[1, 0, 0], [0, 1, 0]])
CORONAL = turned(0, 0, [[1, 0, 0], [0, 0, -1]])


def pixels_of(k, rows=ROWS, columns=COLUMNS):
    """All values of a stack differ: 2000 k + 48 j + i."""
    return (2000 * k + np.arange(rows * columns).reshape(rows, columns)).astype(np.uint16)


def a_slice(k=0, axes=SAGITTAL, step=STEP, pixels=None, series="T2", **tags):
    """One classic MR image; slice k lies k steps along row x column. Tags given as None are removed."""
    pixels = pixels_of(k) if pixels is None else pixels
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[series, str(k), str(axes)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = STUDY_UID, generate_uid(entropy_srcs=[series])
    ds.PatientID, ds.Modality, ds.SeriesDescription, ds.InstanceNumber = "phantom", "MR", series, k + 1
    ds.ImageType = ["ORIGINAL", "PRIMARY", "M", "SE"]
    ds.ImageOrientationPatient = [f"{value:.12f}" for value in np.ravel(axes)]
    position = np.array([-10.0, -30.0, 60.0]) + k * step * np.cross(*axes)
    ds.ImagePositionPatient = [f"{value:.10f}" for value in position]
    ds.PixelSpacing, ds.SliceThickness, ds.SpacingBetweenSlices = [BETWEEN_ROWS, BETWEEN_COLUMNS], 4.0, step
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8 * pixels.dtype.itemsize
    ds.HighBit, ds.PixelRepresentation = ds.BitsStored - 1, int(pixels.dtype.kind == "i")
    ds.PixelData = pixels.tobytes()
    for key, value in tags.items():
        if value is None:
            del ds[key]
        else:
            setattr(ds, key, value)
    return ds


def a_series(**options):
    return [a_slice(k, **options) for k in range(COUNT)]


def encoded(ds, syntax):
    """The same slice in another transfer syntax; what pydicom cannot write, GDCM can."""
    ds = copy.deepcopy(ds)
    if syntax in (RLELossless, JPEG2000Lossless):
        ds.compress(syntax, generate_instance_uid=False)
        return ds
    if syntax in (ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian):
        ds.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<u2").astype(">u2").tobytes()
            ds["PixelData"].VR = "OW"
            ds.set_original_encoding(False, False)
        return ds
    if syntax == JPEGBaseline8Bit:
        eight_bit = (np.frombuffer(ds.PixelData, np.uint16).reshape(ROWS, COLUMNS) % 2000 // 8).astype(np.uint8)
        with io.BytesIO() as stream:
            Image.fromarray(eight_bit).save(stream, "JPEG", quality=100)
            ds.PixelData = encapsulate([stream.getvalue()])
        ds["PixelData"].VR, ds["PixelData"].is_undefined_length = "OB", True
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit, ds.file_meta.TransferSyntaxUID = 7, syntax
        return ds
    return encoded_by_gdcm(ds, syntax)


def encoded_by_gdcm(ds, syntax):
    gdcm = pytest.importorskip("gdcm", reason="GDCM writes the JPEG syntaxes that pydicom cannot")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(os.environ["GDCM_FOLDER"])
        ds.save_as("plain.dcm", enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName("plain.dcm")
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(str(syntax))))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer = gdcm.ImageWriter()
        writer.SetFile(reader.GetFile())
        writer.SetFileName("packed.dcm")
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        return pydicom.dcmread("packed.dcm", force=True)


def an_enhanced_file(order=(3, 0, 5, 1, 4, 2), **tags):
    """One multi-frame MR file: orientation and spacing shared, positions and slopes by frame, in the given order."""
    ds = a_slice(0, series="enhanced T2", **tags)
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = EnhancedMRImageStorage
    shared, plane, measures = Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient, measures.PixelSpacing = ds.ImageOrientationPatient, ds.PixelSpacing
    measures.SliceThickness, measures.SpacingBetweenSlices = 4.0, STEP
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    ds.SharedFunctionalGroupsSequence, ds.PerFrameFunctionalGroupsSequence = [shared], []
    for k in order:
        group, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = a_slice(k).ImagePositionPatient
        values.RescaleSlope, values.RescaleIntercept, values.RescaleType = 0.5, k, "US"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [values]
        ds.PerFrameFunctionalGroupsSequence.append(group)
    for keyword in ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "SliceThickness"):
        del ds[keyword]
    ds.NumberOfFrames, ds.PixelData = len(order), b"".join(pixels_of(k).tobytes() for k in order)
    return ds
