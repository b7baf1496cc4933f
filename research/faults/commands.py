"""The commands that write, each with a folder that it is run in; generated, with a model that knows the answer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.measurements import measure, write_measurements
from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.annotation.revision_files import save_to_training_set
from SpineLandmarksLib.backends import Peaks
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation, write_landmarks_json
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.store.study_record import write_slice
from SpineLandmarksLib.transforms import Preparation, prepare_slice
from SpineLandmarksLib.uncertainty import Calibration

#: Of everything that states a time: what is written is the same each time.
NOON = datetime(2026, 1, 31, 12, tzinfo=timezone.utc)
#: A folder is made by `make`; `run` returns the status of the command in it.
Step = Callable[[Path], object]


@dataclass(frozen=True)
class Command:
    """make: what lies in the folder before. run: the command; its status. adds: it says the same again where it is run
    again after a failure that was told, as another revision.
    """

    make: Step
    run: Callable[[Path], int]
    adds: bool = False


class Knows:
    """A backend that answers with given points, whatever the image."""

    name, batch = "knows", 8

    def __init__(self, points_px: NDArray[np.float64]) -> None:
        self._points_px = points_px

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        shape = (len(images), len(self._points_px), 6)
        xy = np.zeros((*shape, 2), np.float32)
        xy[:, :, 0] = self._points_px
        mass = np.full(shape, -25.0, np.float32)
        mass[:, :, 0] = 0.0
        return Peaks(xy, mass, np.tile(np.array([1, 1, 0], np.float32), (*shape, 1)))


@cache
def phantom() -> Phantom:
    return make_phantom(11, matrix=(96, 80), pixel_mm=3.1, slices=5, slice_mm=4.4)


@cache
def localizer() -> Localizer:
    xy = np.array([phantom().landmarks[name].pixel_xy for name in LUMBAR11], np.float64)
    preparation = Preparation(multiple=8)
    _, pixel_from_slice = prepare_slice(phantom().voxels[0], (3.1, 3.1), preparation)
    prior, calibration = ChainPrior.fit(xy[None] * 3.1), Calibration(1.0, (2.0,) * 11)
    bundle = Bundle(Path("nowhere"), "memory", "1", LUMBAR11, preparation, {}, prior=prior, calibration=calibration)
    return Localizer(bundle, Knows(apply(pixel_from_slice, xy)))


def landmarks() -> LandmarkSet:
    return replace(phantom().landmarks, slice_index=2, spacing_mm=(3.1, 3.1))


def word(line: str) -> Callable[[Path], int]:
    """A command line of `spine-landmarks`; {} is the folder."""
    return lambda folder: main([part.replace("{}", str(folder)) for part in line.split()])


def steps(*some: Step) -> Step:
    """One after the other, each well."""

    def go(folder: Path) -> None:
        for one in some:
            status = one(folder)
            assert not status, status

    return go


def volumes(folder: Path) -> None:
    for name, power in (("one", 1.0), ("two", 1.1)):
        (folder / "in" / name).mkdir(parents=True)
        write_nifti(replace(phantom(), voxels=phantom().voxels ** power), folder / "in" / name / "t2.nii")


def dicom(folder: Path) -> None:
    write_dicom_series(phantom(), folder / "in")


def pictures(folder: Path) -> None:
    """Two slices of two patients, with landmarks.json."""
    rows, points = [], {mark.name: mark.pixel_xy for mark in phantom().landmarks if mark.pixel_xy}
    for number in (1, 2):
        image = folder / "data" / "images" / f"{number}.png"
        write_slice(phantom().voxels[number], image)
        rows.append(Annotation(image, f"p{number}", points, (3.1, 3.1), False, (80, 96)))
    write_landmarks_json(rows, folder / "data")


def marked(folder: Path) -> None:
    (folder / "marks").mkdir()
    FORMATS["mrk.json"](landmarks(), folder / "marks" / "one_t2.mrk.json")


def revision() -> Revision:
    return Revision("one_t2", "Ann", NOON, landmarks(), ImageReference("images/one_t2.png"))


def exports(folder: Path) -> int:
    """What the Slicer module and the browser write besides revisions."""
    for name, write in FORMATS.items():
        write(landmarks(), folder / f"phantom.{name}")
    write_measurements(measure(landmarks()), folder / "measurements.csv")
    return 0


def saved_beside(folder: Path) -> int:
    """*Save to training set* of the Slicer module."""
    save_to_training_set(revision(), folder / "data")
    return 0


def two_models(folder: Path) -> None:
    """A data set with a retrained model beside the shipped one."""
    from SpineLandmarksLib.bundle import DEFAULT, find_bundle

    model = folder / "data" / "models" / "retrained-001"
    shutil.copytree(find_bundle(DEFAULT), model, ignore=shutil.ignore_patterns("docs"))
    card = {"base": DEFAULT, "revisions": {}, "finished": "", "verdict": {"promoted": False, "why": "equal"}}
    (model / "retrain.json").write_text(json.dumps(card))


def a_round(folder: Path) -> int:
    """`retrain` to its end, unless it has come there: all that it writes but what training and the export of the graph
    do, in whose place weights that are there are taken.
    """
    from SpineLandmarksLib.bundle import DEFAULT, find_bundle
    from SpineLandmarksLib.evaluation import non_inferiority
    from SpineLandmarksLib.evaluation.non_inferiority import non_inferiority_test
    from SpineLandmarksLib.retraining import registry, retrain
    from SpineLandmarksLib.retraining.process import UNFINISHED

    def trained(*given: object, **_: object) -> None:
        with write_atomically(Path(str(given[3])) / "checkpoint.pt") as file:
            file.write(bytes(100))

    def built(draft: Path, *_: object, **__: object) -> None:
        shutil.copytree(find_bundle(DEFAULT), draft, ignore=shutil.ignore_patterns("docs"))

    models = folder / "data" / "models"
    if (models / "retrained-001" / registry.CARD).is_file() and not (models / UNFINISHED / retrain.PLAN_FILE).is_file():
        return 0
    with (
        patch.object(retrain, "finetune", trained),
        patch.object(retrain, "build_bundle", built),
        patch.object(non_inferiority, "MIN_PATIENTS", 1),
        patch.object(retrain, "non_inferiority_test", lambda old, new, _: non_inferiority_test(old, new, 2.0)),
    ):
        return word("retrain {}/data --by Ann --steps 1")(folder)


INIT, ADD = word("dataset init {}/data --author Ann"), word("dataset add {}/data {}/in")
A_STORE = steps(volumes, INIT, ADD)
ADOPTED = steps(pictures, INIT)
COMMANDS = {
    "predict": Command(dicom, word("predict {}/in --output {}/out")),
    "predict again": Command(
        steps(dicom, word("predict {}/in --output {}/out")), word("predict {}/in --output {}/out")
    ),
    "predict tree": Command(volumes, word("predict {}/in --output {}/out --recursive --resume")),
    "dataset init": Command(volumes, INIT),
    "dataset init of landmarks": Command(pictures, INIT),
    "dataset add": Command(steps(volumes, INIT), ADD),
    "dataset import": Command(steps(A_STORE, marked), word("dataset import {}/data {}/marks --author Bob"), adds=True),
    "dataset sign-off": Command(
        steps(A_STORE, marked, word("dataset import {}/data {}/marks")),
        word("dataset sign-off {}/data one_t2 --by Ann"),
    ),
    "dataset split": Command(ADOPTED, word("dataset split {}/data --holdout 1")),
    "dataset export": Command(ADOPTED, word("dataset export {}/data")),
    "dataset export all": Command(ADOPTED, word("dataset export {}/data --output {}/out")),
    "dataset import of all": Command(
        steps(ADOPTED, word("dataset export {}/data --output {}/from"), word("dataset init {}/other")),
        word("dataset import {}/other {}/from"),
    ),
    "dataset anonymize": Command(dicom, word("dataset anonymize {}/in --output {}/out --key {}/out.key")),
    "models promote": Command(
        steps(word("dataset init {}/data"), two_models), word("models promote {}/data retrained-001 --by Ann")
    ),
    "models rollback": Command(
        steps(word("dataset init {}/data"), two_models, word("models promote {}/data retrained-001 --by Ann")),
        word("models rollback {}/data --by Ann"),
    ),
    "retrain": Command(steps(ADOPTED, word("dataset split {}/data --holdout 1")), a_round),
    "slicer exports": Command(lambda folder: None, exports),
    "slicer saves": Command(steps(A_STORE), saved_beside),
}


@contextmanager
def a_model_that_knows() -> Iterator[None]:
    with patch.object(Localizer, "open", lambda *_: localizer()):
        yield
