"""One study into a data set: its slice as a picture, and what is known or predicted of its landmarks as revisions."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import require_plausible
from SpineLandmarksLib.annotation.plausibility import Expected
from SpineLandmarksLib.annotation.revision import ImageReference, Revision, study_key_of, utc_now
from SpineLandmarksLib.annotation.revision_files import image_reference
from SpineLandmarksLib.errors import DatasetError, InputError, StoreError
from SpineLandmarksLib.formats.atomic import sha256_of, write_atomically
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.formats.shared import filled
from SpineLandmarksLib.geometry import Matrix, ijk_from_slice
from SpineLandmarksLib.imaging.dicom_study import read_dicom_file
from SpineLandmarksLib.imaging.discover import PICTURES, files_below
from SpineLandmarksLib.imaging.picture import read_picture
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet, Schema, require_known
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.store.annotations import Annotated
from SpineLandmarksLib.store.database import now
from SpineLandmarksLib.store.find import Source
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, complete, write_slice

Spacing = float | tuple[float, float]


class AlreadyThere(StoreError):
    """A study of this name is in the data set."""


@dataclass(frozen=True)
class Adding:
    """How studies are added. spacing_mm: of pictures. slice_index: instead of the automatic choice. localizer: predicts
    where there is no annotation; None for nothing. author: of annotations that do not name theirs. in_place: pictures
    lie in the data set already.
    """

    spacing_mm: Spacing | None = None
    slice_index: int | None = None
    localizer: Localizer | None = None
    author: str = "imported"
    in_place: bool = False


def add_source(store: Store, source: Source, annotated: Sequence[Annotated], how: Adding) -> list[Revision]:
    """Add a study with its annotations, or with a prediction; returns the revisions. Raises what is wrong with it.

    The picture is written first and the study recorded last: an interruption leaves a picture that the next try
    overwrites, and no study without one.
    """
    _require_new(store, source.key)
    instances = {one.instance_uid for one in annotated} - {None}
    if len(instances) == 1:  # the annotation names the slice: it alone is the study
        (instance,) = instances
        source = replace(source, path=source.files[str(instance)])
    row = source.annotation
    given = row.spacing_mm if row is not None and row.spacing_mm is not None else how.spacing_mm
    stack = read_study(source.path, given)
    annotated = [_upright(one, source, stack) for one in annotated]
    found = [_from_annotation(one, stack, store.schema) for one in annotated]
    if row is not None:
        found.append(_from_row(source, stack, store.schema))
    if not found and how.localizer is not None:
        found.append(how.localizer.localize(stack, how.slice_index))
    index = _slice(found, stack, how.slice_index)
    study = _study(store, source, stack, index, how)
    revisions = []
    for number, landmarks in enumerate(found):
        said = annotated[number] if annotated else None
        author = (said and said.author) or (how.author if said or row else landmarks.bundle) or how.author
        told = replace(landmarks, input=study.image, series_uid=stack.series_uid)
        comment = said.comment if said else ""
        revisions.append(Revision(study.key, author, utc_now(), told, study.reference, comment=comment))
    store.add_study(study, revisions)
    return revisions


def _require_new(store: Store, key: str) -> None:
    """On many disks names that differ in capitals alone are one file: one picture would replace the other."""
    known = {one.casefold(): one for one in store.study_keys()}.get(key.casefold())
    if known == key:
        raise AlreadyThere(f"{key} is in the data set already; it was left as it is")
    if known is not None:
        raise DatasetError(
            f"Expected a name that differs from {known} in more than capitals; got {key}. Rename the file"
        )


def adopt_landmarks(store: Store, author: str) -> int:
    """Take in the data set's own landmarks.json: pictures where they lie, landmarks as signed off. Returns studies.

    Called again, it goes on where it was cut short.
    """
    rows = read_landmarks_json(store.folder, store.schema)
    for row in rows:
        source = Source(row.image, study_key_of(row.image.stem), row.group, annotation=row)
        with suppress(AlreadyThere):
            add_source(store, source, [], Adding(author=author, in_place=True))
        store.sign_off(store.heads(source.key)[0].id, author)
    return len(rows)


def _upright(one: Annotated, source: Source, stack: SagittalStack) -> Annotated:
    """An annotation in upright pixels; what counts in the pixels of a file is turned with it before it is mended."""
    if one.tianchi is None:
        return one
    turn = _stack_from_file(source.files.get(one.instance_uid or "", source.path), stack)

    def place(xy: tuple[float, float]) -> tuple[float, float, float]:
        i, j, k = (turn @ ijk_from_slice(0) @ (*xy, 1.0))[:3]
        return float(i), float(j), float(k)

    turned = one.tianchi.turned(lambda xy: place(xy)[:2])
    on = replace(turned.landmarks, slice_index=round(place((0.0, 0.0))[2]))
    return replace(one, landmarks=on, comment="; ".join(turned.repairs))


def _from_annotation(one: Annotated, stack: SagittalStack, schema: Schema) -> LandmarkSet:
    """Landmarks in upright pixels and, where the image has them, in millimetres.

    Raises MisreadError for positions that the image cannot hold.
    """
    frame = ImageFrame.of(stack)
    if frame is not None:
        require_plausible(one.landmarks, Expected(frame.contains), one.path, one.reading, schema)
    placed = complete(one.landmarks, stack.ras_from_ijk, slices=len(stack), where=str(one.path))
    return filled(placed, schema)


def _from_row(source: Source, stack: SagittalStack, schema: Schema) -> LandmarkSet:
    """Of a row of landmarks.json; names that it lacks were not annotated, so nobody saw them."""
    assert source.annotation is not None
    known = source.annotation.points_xy
    require_known(list(known), schema)
    marks = [
        Landmark(name, "confirmed", pixel_xy=known[name]) if name in known else Landmark(name, "not_visible")
        for name in schema
    ]
    return complete(LandmarkSet(tuple(marks)), stack.ras_from_ijk, 0)


def _stack_from_file(path: Path, stack: SagittalStack) -> Matrix:
    """Upright pixels from the pixels of the file, which annotation tools show as they are stored."""
    if path.suffix.lower() in PICTURES or stack.ras_from_ijk is None:
        return np.eye(4)
    ras_from_file = read_dicom_file(path).ras_from_ijk
    assert ras_from_file is not None
    return np.linalg.inv(stack.ras_from_ijk) @ ras_from_file


def _slice(found: Sequence[LandmarkSet], stack: SagittalStack, asked: int | None) -> int:
    index = next((one.slice_index for one in found if one.slice_index is not None), asked)
    index = len(stack) // 2 if index is None else index
    if not 0 <= index < len(stack):
        name = Path(stack.source).name
        raise InputError(f"Expected landmarks on a slice in 0..{len(stack) - 1} of {name}; got {index}")
    return index


def _study(store: Store, source: Source, stack: SagittalStack, index: int, how: Adding) -> StudyRecord:
    is_picture = source.path.suffix.lower() in PICTURES
    if how.in_place:
        image = source.path.resolve().relative_to(store.folder.resolve()).as_posix()
    else:
        image = f"images/{source.key}.png"
        if is_picture:
            _write_picture(source.path, store.folder / image)
        else:
            write_slice(stack.voxels[index], store.folder / image)
    original = ImageReference("") if is_picture else _reference(source.path, store.folder)
    row = source.annotation
    matrix = None if stack.ras_from_ijk is None or not stack.has_patient_frame else stack.ras_from_ijk.tolist()
    return StudyRecord(
        key=source.key,
        patient=source.patient,
        image=image,
        image_sha256=sha256_of(store.folder / image),
        size_wh=(stack.voxels.shape[2], stack.voxels.shape[1]),
        source=original.path,
        source_sha256=original.sha256,
        series_uid=stack.series_uid,
        slice_index=index,
        slices=len(stack),
        spacing_mm=stack.pixel_spacing_mm,
        spacing_is_estimated=row is not None and row.spacing_is_estimated,
        ras_from_ijk=None if matrix is None else tuple(map(tuple, matrix)),
        added=now(),
    )


def _write_picture(source: Path, target: Path) -> None:
    """The pixels alone: texts and tags of a picture may name a patient."""
    from PIL import Image

    read_picture(source, None)  # says what is wrong with it
    with Image.open(source) as image, write_atomically(target) as file:
        image.load()
        bare = Image.frombytes(image.mode, image.size, image.tobytes())
        if image.mode == "P":
            bare = image.convert("RGB")
        bare.save(file, format="PNG")


def _reference(path: Path, folder: Path) -> ImageReference:
    reference = image_reference(files_below(path), folder)
    return reference if path.is_file() else replace(reference, path=_relative(path, folder))


def _relative(path: Path, folder: Path) -> str:
    absolute, root = path.resolve(), folder.resolve()
    return (absolute.relative_to(root) if absolute.is_relative_to(root) else absolute).as_posix()
