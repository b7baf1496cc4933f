"""Which study to correct next: the one that is expected to teach the model most.

    gain = rank of doubt + rank of disagreement + rank of novelty        each rank 0..1 over the studies that wait

doubt: expected number of landmarks on a wrong level, sum of 1 - calibrated confidence, plus the mean stated radius in
units of 10 mm. disagreement: between the heaviest peak of each landmark alone and the one that the chain chose, mean
distance in mm, at most 30 each; a direct network, where a bundle has one, has moved the peaks. novelty: distance of
the picture from the nearest one that was corrected or is chosen already (greedy k-centre, Sener and Savarese, 2018), so
that two alike are not both taken. Ranks, because the three have no common unit. A share of the places is drawn at
random: it finds what none of the three can see.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from SpineLandmarksLib.annotated_slices import load_image
from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.slice_reading import SliceReading
from SpineLandmarksLib.splits import locked_patients
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.blind import open_readings
from SpineLandmarksLib.store.doubt import StudyDoubts, most_doubtful_first
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, pixel_of
from SpineLandmarksLib.transforms import Image

Array = NDArray[np.float64]

RANDOM_SHARE = 0.2
MAX_DISAGREEMENT_MM = 30.0
RADIUS_UNIT_MM = 10.0
#: Rows and columns of the picture that novelty compares.
APPEARANCE_SHAPE = (24, 16)


@dataclass(frozen=True)
class Waiting:
    """One study that waits for correction. appearance: unit vector of its picture."""

    key: str
    doubt: float
    disagreement: float
    appearance: Array


@dataclass(frozen=True)
class Place:
    """A study's place in the queue, and why it has it."""

    key: str
    reason: str


def assess(key: str, image: Image, reading: SliceReading, localizer: Localizer) -> Waiting:
    """What the queue needs to know of a study. image: (H, W) native pixels of its slice, `reading`: of the same."""
    calibration = localizer.bundle.calibration
    confidence = calibration.confidence(reading.chain.probability, reading.confidence_features)
    radius = calibration.radius95_mm(reading.variance_mm2)
    absent = reading.chain.choice < 0
    doubt = float(np.where(absent, 0.5, 1 - confidence).sum() + np.nan_to_num(radius).mean() / RADIUS_UNIT_MM)
    heaviest = reading.candidates_mm[np.arange(len(absent)), reading.log_mass.argmax(axis=1)]
    apart = np.linalg.norm(heaviest - reading.places_mm, axis=-1)
    apart = np.where(absent, MAX_DISAGREEMENT_MM, np.minimum(apart, MAX_DISAGREEMENT_MM))
    return Waiting(key, doubt, float(apart.mean()), appearance_vector(image, reading.xy))


def appearance_vector(image: Image, points_xy: Array) -> Array:
    """(24 * 16,) unit vector: block means of the spine's surroundings, without mean and contrast.

    The window reaches from the highest to the lowest point found and half as far to both sides; the whole image where
    fewer than two were.
    """
    known = points_xy[np.isfinite(points_xy).all(axis=1)]
    height, width = image.shape
    top, bottom, left, right = 0.0, float(height), 0.0, float(width)
    if len(known) > 1 and np.ptp(known[:, 1]) > 1:
        top, bottom = float(known[:, 1].min()), float(known[:, 1].max())
        middle, half = float(known[:, 0].mean()), (bottom - top) / 2
        left, right = middle - half, middle + half
    n_rows, n_columns = APPEARANCE_SHAPE
    rows = np.clip(np.linspace(top, bottom, n_rows * 4).astype(int), 0, height - 1)
    columns = np.clip(np.linspace(left, right, n_columns * 4).astype(int), 0, width - 1)
    sampled = image[np.ix_(rows, columns)].astype(np.float64).reshape(n_rows, 4, n_columns, 4).mean(axis=(1, 3))
    vector: Array = (sampled - sampled.mean()).ravel()
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / length) if length > 0 else vector


def waiting_studies(store: Store, locked: bool = False, annotator: str | None = None) -> list[StudyRecord]:
    """Those that nobody has corrected, of the hold-out or of the rest, and that nobody but `annotator` was given; none
    that is left out or read blind.
    """
    held_out = locked_patients(store.folder)
    given = {key for key, name in store.assignments().items() if annotator is not None and name != annotator}
    with store.snapshot() as connection:
        given |= set(connection.scalars(select(t.exclusions.c.study))) | set(open_readings(connection))
    studies = [study for study in store.studies() if (study.patient in held_out) == locked and study.key not in given]
    heads = store.all_heads()
    return [study for study in studies if all(head.is_prediction for head in heads.get(study.key, ()))]


def by_doubt(store: Store, waiting: Sequence[StudyRecord]) -> list[Place]:
    """All that wait: first what the model doubts most by the predictions in the store, last what it has not seen."""
    doubts, keys = StudyDoubts().read(store), {study.key for study in waiting}
    known = [Place(key, f"doubt {doubts[key]:.2f}") for key in most_doubtful_first(doubts) if key in keys]
    return [*known, *(place for place in by_chance(store, waiting) if place.key not in doubts)]


def by_chance(store: Store, waiting: Sequence[StudyRecord], locked: bool = False) -> list[Place]:
    """All that wait, as both screens have them: drawn of all, so that none moves when another is signed off."""
    held_out, keys = locked_patients(store.folder), {study.key for study in waiting}
    drawn = at_random([study.key for study in store.studies() if (study.patient in held_out) == locked])
    return [place for place in drawn if place.key in keys]


def by_gain(store: Store, waiting: list[StudyRecord], localizer: Localizer, count: int) -> list[Place]:
    """The first `count` of the studies that wait, by what the model says of each picture."""
    found = []
    for study in waiting:
        image = load_image(store.folder / study.image)
        (reading,) = localizer.read_slices(image[None], study.spacing_mm)
        found.append(assess(study.key, image, reading, localizer))
    names = {study.key for study in waiting}
    heads = store.all_heads()
    ends = [(study, heads.get(study.key, [])[-1:]) for study in store.studies() if study.key not in names]
    done = [(study, head) for study, last in ends for head in last if not head.undecided]
    seen = [appearance_vector(load_image(store.folder / study.image), _points(study, head)) for study, head in done]
    return order(found, seen, count=count)


def _points(study: StudyRecord, head: Revision) -> Array:
    known = [pixel_of(mark, study) for mark in head.landmarks if not mark.is_absent]
    return np.array([xy for xy in known if xy is not None], dtype=np.float64).reshape(-1, 2)


def order(
    waiting: Sequence[Waiting],
    seen: Sequence[Array],
    seed: int = 0,
    random_share: float = RANDOM_SHARE,
    count: int | None = None,
) -> list[Place]:
    """The first `count` studies (all when left out) in the order of review. seen: appearances of what was corrected.

    The same input gives the same order, whatever order it comes in.
    """
    if not waiting:
        return []
    todo = sorted(waiting, key=lambda one: one.key)
    draw = np.random.default_rng(seed)
    doubt, disagreement = (_ranks([getattr(one, name) for one in todo]) for name in ("doubt", "disagreement"))
    appearances = np.array([one.appearance for one in todo]).reshape(len(todo), -1)
    nearest = _distance_to_nearest(appearances, seen)
    left = np.ones(len(todo), dtype=np.bool_)
    places: list[Place] = []
    while left.any() and len(places) < (len(todo) if count is None else count):
        novelty = _ranks(np.where(left, nearest, -1.0))
        gain = np.where(left, doubt + disagreement + novelty, -1.0)
        at_random = draw.random() < random_share
        row = int(draw.choice(np.flatnonzero(left))) if at_random else int(gain.argmax())
        parts = {"doubt": doubt[row], "disagreement": disagreement[row], "new kind of picture": novelty[row]}
        reason = "drawn at random" if at_random else max(parts, key=lambda name: parts[name])
        places.append(Place(todo[row].key, reason))
        left[row] = False
        nearest = np.minimum(nearest, np.linalg.norm(appearances - appearances[row], axis=1))
    return places


def at_random(keys: Sequence[str], seed: int = 0) -> list[Place]:
    """A random order that depends on the names and the seed alone."""
    names = sorted(keys)
    return [Place(names[row], "drawn at random") for row in np.random.default_rng(seed).permutation(len(names))]


def _ranks(values: Sequence[float] | Array) -> Array:
    """0 for the least, 1 for the greatest; equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    if len(array) < 2:
        return np.zeros(len(array))
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray(((ends - (counts + 1) / 2)[inverse]) / (len(array) - 1))


def _distance_to_nearest(appearances: Array, seen: Sequence[Array]) -> Array:
    """(N,); 2, the greatest distance of unit vectors, where nothing was seen."""
    if not len(seen) or not len(appearances):
        return np.full(len(appearances), 2.0)
    return np.asarray(np.linalg.norm(appearances[:, None] - np.array(seen)[None], axis=-1).min(axis=1))
