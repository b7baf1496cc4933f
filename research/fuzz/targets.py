"""What is fuzzed: for each reader whole files, how they are changed, and how they are read. None is a patient's."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from research.fuzz.mutate import Rng, mutated, mutated_dicom, mutated_json, mutated_table
from SpineLandmarksLib.annotated_slices import schema_of
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import import_landmarks
from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import load_session, save_session
from SpineLandmarksLib.bundle import DETECTOR, METADATA, find_bundle, load_bundle
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.catalogue import CATALOGUE, read_cases
from SpineLandmarksLib.formats.csv_table import as_csv, write_csv
from SpineLandmarksLib.formats.dicom_sr import write_sr
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.formats.tianchi import read_tianchi
from SpineLandmarksLib.imaging.dicom_source import planes_of
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.find import find_sources
from SpineLandmarksLib.store.folder import init_dataset
from SpineLandmarksLib.store.import_files import import_files
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.training.recipe import RECIPES, load_recipe
from SpineLandmarksLib.worker.protocol import encode
from SpineLandmarksLib.worker.server import Worker

#: Of everything that states a time: an input is the same on each day.
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
Change = Callable[[bytes, Rng], bytes]


@dataclass(frozen=True)
class Target:
    """files: name and content of whole inputs. changes: ways to change them. read: what must give a result or raise a
    SpineLandmarksError of one line. beside: further files that lie beside an input.
    """

    files: Callable[[], dict[str, bytes]]
    changes: tuple[Change, ...]
    read: Callable[[Path], object]
    beside: Callable[[], dict[str, bytes]] = field(default=dict)

    def input(self, name: str, seed: int, number: int) -> tuple[str, bytes]:
        """File name and content of an input; number 0 and those after it until all files are whole are unchanged."""
        files = sorted(self.files().items())
        rng = random.Random(f"{name} {seed} {number}")
        if number < len(files):
            return files[number]
        file, content = rng.choice(files)
        return file, rng.choice(self.changes)(content, rng)


@cache
def phantom() -> Phantom:
    return make_phantom(11, matrix=(48, 40), pixel_mm=6.2, slices=5, slice_mm=4.4)


def _written(*writers: tuple[str, Callable[[Path], object]]) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        for name, write in writers:
            write(Path(folder) / name)
        return {name: (Path(folder) / name).read_bytes() for name, _ in writers}


# Landmark files


def _landmarks() -> Any:
    marks = tuple(replace(mark, status="predicted", confidence=0.9, radius95_mm=3.0) for mark in phantom().landmarks)
    return replace(LandmarkSet(marks, "phantom", bundle="model@1"), slice_index=2, spacing_mm=(6.2, 6.2))


@cache
def landmark_files() -> dict[str, bytes]:
    """Each format as we write it, and as others do."""
    marks = _landmarks()
    files = _written(
        *((f"phantom.{kind}", lambda path, kind=kind: FORMATS[kind](marks, path)) for kind in FORMATS),
        ("phantom.CSV", lambda path: write_csv(marks, path, "LPS")),
    )
    points = [(mark.name, *mark.position_ras_mm) for mark in marks if mark.position_ras_mm]
    fcsv = "".join(f"{n},{x},{y},{z},0,0,0,1,1,1,0,{name},,,2,0\n" for n, (name, x, y, z) in enumerate(points))
    table = "".join(f'"{name}",{-x},{-y},{z},1,1,1,0,""\n' for name, x, y, z in points)
    columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
    files["phantom.fcsv"] = f"# CoordinateSystem = RAS\n{columns}{fcsv}".encode()
    files["phantom.Csv"] = f"label,l,p,s,defined,selected,visible,locked,description\n{table}".encode()
    return files


@cache
def report_files() -> dict[str, bytes]:
    """DICOM reports, of a model and of a person."""
    marks = _landmarks()
    with tempfile.TemporaryDirectory() as folder:
        series = sorted(write_dicom_series(phantom(), Path(folder) / "series").iterdir())
        uid = str(pydicom.dcmread(series[0], specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
        planes = planes_of(series, uid)
    confirmed = replace(marks, landmarks=tuple(replace(mark, status="confirmed") for mark in marks))
    return _written(
        ("phantom.sr.dcm", lambda path: write_sr(marks, planes, path)),
        ("phantom.dcm", lambda path: write_sr(confirmed, planes, path, author="A. Reader")),
    )


def _json_or_table(data: bytes, rng: Rng) -> bytes:
    return mutated_json(data, rng) if data.lstrip().startswith((b"{", b"[")) else mutated_table(data, rng)


def _text_or_bytes(data: bytes, rng: Rng) -> bytes:
    return _json_or_table(data, rng) if data.isascii() else mutated(data, rng)


def _import(path: Path) -> object:
    frame = ImageFrame(phantom().ras_from_ijk, (40, 48, 5))
    found = import_landmarks(path, LUMBAR11, frame, known=_landmarks(), before=_landmarks())
    return json.dumps(as_json(found)), as_csv(found)


def tianchi_files() -> dict[str, bytes]:
    marks = [(mark.name, list(mark.pixel_xy)) for mark in phantom().landmarks if mark.pixel_xy]
    tags = [{"identification": name, "disc" if "-" in name else "vertebra": "v1,v2"} for name, _ in marks]
    points = [{"coord": xy, "tag": tag, "zIndex": 2} for (_, xy), tag in zip(marks, tags, strict=True)]
    annotation = [{"annotator": 54, "data": {"point": points}}]
    published = [{"studyUid": "1.2", "data": [{"seriesUid": "1", "instanceUid": "2", "annotation": annotation}]}]
    rows = [{"dcmPath": "study10/image6.dcm", "annotation": annotation}]
    return {"a.json": json.dumps(published).encode(), "rows.json": json.dumps(rows).encode()}


def _grid() -> ImageGrid:
    return ImageGrid("phantom.nii.gz", (40, 48), (40, 48, 5), phantom().ras_from_ijk)


@cache
def exchange_files() -> dict[str, bytes]:
    """Each format of other tools, named by it, as we write it."""
    one, kinds = PointsOnImage(_landmarks(), _grid()), {name: kind for name, kind in CATALOGUE.items() if kind.write}
    rsna = "study_id,series_id,instance_number,condition,level,x,y\n1,2,3,Spinal Canal Stenosis,L1/L2,4.5,6\n"
    files = _written(
        *((f"{name}{kind.endings[0]}", lambda path, kind=kind: kind.write([one], path)) for name, kind in kinds.items())
    )
    return files | {"rsna.csv": rsna.encode()}


def _exchange(path: Path) -> object:
    return [json.dumps(as_json(one.landmarks)) for one in read_cases(path, image=_grid())[1]]


def _tianchi(path: Path) -> object:
    return [one.turned(lambda xy: (xy[1], 40 - xy[0])) for one in read_tianchi(path)]


def _picture(kind: str = "PNG", dtype: Any = np.uint8, **how: Any) -> bytes:
    from PIL import Image

    image = phantom().voxels[2]
    scaled = (image / image.max() * np.iinfo(dtype).max).astype(dtype)
    written = BytesIO()
    Image.fromarray(scaled).save(written, kind, **how)
    return written.getvalue()


def data_set_files() -> dict[str, bytes]:
    points = {mark.name: list(mark.pixel_xy) for mark in phantom().landmarks if mark.pixel_xy}
    row = {"patient": 1, "image": "a.png", "size": [40, 48], "spacing_mm": [6.2, 6.2], "landmarks_px": points}
    return {"landmarks.json": json.dumps([row, {**row, "study": "x"}]).encode()}


def session_files() -> dict[str, bytes]:
    session = Session("phantom", _landmarks(), "Ann", clock=lambda: NOON)
    session.move("L3", (0.0, 1.0, 2.0))
    session.confirm("L4")
    session.undo()
    return _written(("session.json", lambda path: save_session(session, path)))


# A whole store


class _Stores:
    """A data set of one study, made anew now and then so that its history stays short."""

    def __init__(self) -> None:
        self.home: Path | None = None
        self.uses, self.folder = 0, Path()
        self.store: Store | None = None

    def get(self) -> Store:
        if self.store is None or self.uses % 40 == 0:
            self.close()
            self.folder = Path(tempfile.mkdtemp(dir=self.home))
            self.store = a_store(self.folder)
        self.uses += 1
        return self.store

    def close(self) -> None:
        if self.store is not None:
            self.store.close()
            shutil.rmtree(self.folder)
            self.store = None


STORES = _Stores()


def a_store(folder: Path) -> Store:
    """Of one study that a model has predicted."""
    source = write_nifti(phantom(), folder / "phantom.nii")
    store = init_dataset(folder / "data")
    add_source(store, find_sources([source], "secret")[0], [], Adding())
    study = store.study("phantom")
    store.save(Revision("phantom", "model@1", NOON, _landmarks(), study.reference))
    return store


@cache
def store_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder, a_store(Path(folder)) as store:
        study = store.study("phantom")
    revision = Revision("phantom", "Ann", NOON, _landmarks(), study.reference)
    signed = {"revision": revision.id, "author": "Ann", "time": NOON.isoformat()}
    record = {"study": replace(study, added="", source="").as_json(), "revisions": [revision.as_json()]}
    record |= {"sign_offs": [signed], "choices": []}
    files = {"record.json": json.dumps(record).encode(), "revision.json": json.dumps(revision.as_json()).encode()}
    return {**landmark_files(), **files, **{f"phantom{n}.json": one for n, one in enumerate(tianchi_files().values())}}


def _store(path: Path) -> object:
    return list(import_files(STORES.get(), path, "fuzz"))


# Settings


def recipe_files() -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(RECIPES.glob("*.yaml"))}


def _yaml(data: bytes, rng: Rng) -> bytes:
    lines = data.decode().splitlines()
    at = rng.randrange(len(lines))
    key = lines[at].partition(":")[0]
    lines[at] = f"{key}: " + rng.choice(
        ("[1, 2]", "{x: 1}", "null", "true", "[[]]", "9e999", "-1", "x", "1", "*a", "[1")
    )
    return "\n".join(lines).encode()


def bundle_files() -> dict[str, bytes]:
    folder = find_bundle("lumbar11")
    return {file.name: (folder / file).read_bytes() for file in (DETECTOR, METADATA)}


def _bundle(path: Path) -> object:
    """One of the two settings files changed, the other as it is; weights are not looked at."""
    folder = path.parent / "bundle"
    (folder / "configs").mkdir(parents=True)
    try:
        for name, content in bundle_files().items():
            (folder / "configs" / name).write_bytes(content)
        shutil.copy(path, folder / "configs")
        return load_bundle(folder, files=())
    finally:
        shutil.rmtree(folder)


# The worker


def request_files() -> dict[str, bytes]:
    localize = {"id": "7", "do": "localize", "path": "a b", "spacing_mm": [0.5, 0.6], "slice_index": 3}
    localize |= {"slices": [2, 5], "given": {"L1": [1, 2.5, -3], "L5": None}, "output": "out", "formats": ["csv"]}
    others = [{"id": "1", "do": do} for do in ("warm", "cancel", "ping", "describe", "quit")]
    return {f"{n}.line": json.dumps(one).encode() for n, one in enumerate([localize, *others])}


def _request(path: Path) -> object:
    said: list[dict[str, Any]] = []
    worker = Worker(lambda: None, {})  # type: ignore[arg-type,return-value]
    worker.say = said.append
    for line in path.read_bytes().split(b"\n"):
        worker.receive(line)
    faults = [message for message in said if message.get("kind") == "fault"]
    assert not faults, faults
    return [encode(message) for message in said]


class _Server:
    """The worker as the process that it is; it must still answer after any lines, or end as it was asked to."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.pings = 0

    def answer(self, path: Path) -> list[Any]:
        if self.process is None or self.process.poll() is not None:
            self.close()
            command = [sys.executable, "-m", "SpineLandmarksLib", "serve"]
            here = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
            self.process = subprocess.Popen(command, stdin=-1, stdout=-1, cwd=path.parent / "..", env=here)
        process, said = self.process, []
        assert process.stdin is not None
        assert process.stdout is not None
        self.pings += 1
        ping = {"do": "ping", "id": f"ping {self.pings}"}
        process.stdin.write(path.read_bytes() + b"\n" + encode(ping))
        process.stdin.flush()
        for line in process.stdout:
            said.append(json.loads(line))
            if said[-1].get("event") == "pong" and said[-1]["id"] == ping["id"]:
                break
        else:
            assert process.wait() == 0, f"the worker ended with {process.returncode}: {said[-3:]}"
        faults = [message for message in said if message.get("kind") == "fault"]
        assert not faults, faults
        return said

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


SERVER = _Server()


# Images


@cache
def dicom_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(write_dicom_series(phantom(), folder).glob("*"))
        whole = {f"{n}.dcm": file.read_bytes() for n, file in enumerate(files[:2])}
        packed = {f"{kind}.dcm": _packed(files[2], kind) for kind in _SYNTAXES}
        return {**whole, **packed, "enhanced.dcm": _enhanced(files)}


_SYNTAXES = {"rle": "RLELossless", "j2k": "JPEG2000Lossless", "jls": "JPEGLSLossless", "jpg": "JPEGBaseline8Bit"}


def _packed(file: Path, kind: str) -> bytes:
    """The file in another transfer syntax."""
    import pydicom

    dataset, syntax = pydicom.dcmread(file), getattr(pydicom.uid, _SYNTAXES[kind])
    if kind == "jpg":  # pydicom has no encoder for it
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.Rows, dataset.Columns = 7, *phantom().voxels.shape[1:]
        dataset.PixelData = pydicom.encaps.encapsulate([_picture("JPEG")])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    return _saved(dataset)


def _saved(dataset: Any) -> bytes:
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def _enhanced(files: Sequence[Path]) -> bytes:
    """All slices as the frames of one Enhanced MR Image."""
    import pydicom
    from pydicom.dataset import Dataset

    slices = [pydicom.dcmread(file) for file in files]
    whole, groups = slices[0], []
    for one in slices:
        group, position, plane, measures = Dataset(), Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = one.ImagePositionPatient
        plane.ImageOrientationPatient = one.ImageOrientationPatient
        measures.PixelSpacing, measures.SliceThickness = one.PixelSpacing, one.SliceThickness
        group.PlanePositionSequence, group.PlaneOrientationSequence = [position], [plane]
        group.PixelMeasuresSequence = [measures]
        groups.append(group)
    whole.PerFrameFunctionalGroupsSequence, whole.NumberOfFrames = groups, len(slices)
    whole.SOPClassUID = whole.file_meta.MediaStorageSOPClassUID = pydicom.uid.EnhancedMRImageStorage
    whole.PixelData = b"".join(one.PixelData for one in slices)
    return _saved(whole)


@cache
def zip_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        written = BytesIO()
        with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(write_dicom_series(phantom(), folder).glob("*")):
                archive.write(file, f"study/{file.name}")
        return {"study.zip": written.getvalue()}


_NAMES = ("../../outside", "/outside", "C:\\outside", "a/" * 200 + "b", "x" * 300, "DICOMDIR")


def _in_zip(data: bytes, rng: Rng) -> bytes:
    """A zip with one of its members changed, or with another name."""
    written = BytesIO()
    with zipfile.ZipFile(BytesIO(data)) as old, zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as new:
        chosen = rng.choice(old.namelist())
        for name in old.namelist():
            content = old.read(name)
            if name == chosen and rng.random() < 0.6:
                content = rng.choice((mutated, mutated_dicom))(content, rng)
            elif name == chosen:
                name = rng.choice(_NAMES)
            new.writestr(name, content)
    return written.getvalue()


@cache
def volume_files() -> dict[str, bytes]:
    import nibabel
    import SimpleITK as sitk

    image = nibabel.Nifti1Image(phantom().voxels.transpose(2, 1, 0).astype(np.int16), phantom().ras_from_ijk)
    nifti = image.to_bytes()
    mgh = nibabel.MGHImage(phantom().voxels.transpose(2, 1, 0), phantom().ras_from_ijk).to_bytes()
    files = {"a.nii": nifti, "a.nii.gz": gzip.compress(nifti, mtime=0), "a.mgh": mgh}
    second = nibabel.Nifti2Image(phantom().voxels.transpose(2, 1, 0), phantom().ras_from_ijk).to_bytes()
    itk = sitk.GetImageFromArray(phantom().voxels.astype(np.int16))
    lps = np.diag([-1, -1, 1, 1.0]) @ phantom().ras_from_ijk
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    itk.SetSpacing(spacing.tolist())
    itk.SetDirection((lps[:3, :3] / spacing).ravel().tolist())
    itk.SetOrigin(lps[:3, 3].tolist())
    named = [("a.mha", False), ("b.mha", True), ("a.nrrd", False), ("b.nrrd", True)]
    written = _written(*((name, lambda path, c=c: sitk.WriteImage(itk, str(path), c)) for name, c in named))
    return {**files, **written, "b.nii": second}


def _in_gzip(data: bytes, rng: Rng) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return mutated(data, rng)
    return gzip.compress(mutated(gzip.decompress(data), rng), 1, mtime=0)


def picture_files() -> dict[str, bytes]:
    kinds = {"a.png": ("PNG", np.uint8), "b.png": ("PNG", np.uint16), "a.jpg": ("JPEG", np.uint8)}
    kinds |= {"a.tif": ("TIFF", np.uint8), "b.tif": ("TIFF", np.uint16), "a.bmp": ("BMP", np.uint8)}
    packed = ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
    tiffs = {f"{name}.tif": _picture("TIFF", compression=name) for name in packed}
    return {**{name: _picture(*how) for name, how in kinds.items()}, **tiffs}


def _read_picture(path: Path) -> object:
    return read_study(path, 0.7)


TARGETS: dict[str, Target] = {
    "reports": Target(report_files, (mutated, mutated, mutated_dicom), _import),
    "landmarks": Target(landmark_files, (mutated, _json_or_table, _json_or_table), _import),
    "store": Target(store_files, (_json_or_table, _json_or_table, mutated), _store),
    "exchange": Target(exchange_files, (mutated, _text_or_bytes, _text_or_bytes), _exchange),
    "tianchi": Target(tianchi_files, (mutated, mutated_json, mutated_json), _tianchi),
    "dataset": Target(
        data_set_files, (mutated, mutated_json), read_landmarks_json, lambda: {"a.png": _picture()}
    ),
    "session": Target(session_files, (mutated, mutated_json, mutated_json), load_session),
    "schema": Target(
        lambda: {"schema.json": json.dumps(LUMBAR11).encode()},
        (mutated, mutated_json),
        lambda path: schema_of(path.parent),
    ),
    "recipe": Target(recipe_files, (mutated, _yaml, _yaml), lambda path: load_recipe(str(path))),
    "bundle": Target(bundle_files, (mutated, mutated_json, mutated_json), _bundle),
    "request": Target(request_files, (mutated, mutated_json), _request),
    "worker": Target(request_files, (mutated, mutated_json), SERVER.answer),
    "dicom": Target(dicom_files, (mutated, mutated_dicom, mutated_dicom), read_study),
    "zip": Target(zip_files, (mutated, _in_zip), read_study),
    "volume": Target(volume_files, (mutated, mutated, _in_gzip), read_study),
    "picture": Target(picture_files, (mutated,), _read_picture),
}  # fmt: skip


@contextmanager
def nothing_left_open() -> Iterator[None]:
    try:
        yield
    finally:
        STORES.close()
        SERVER.close()
