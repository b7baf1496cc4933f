"""From a trained detector to native points, in one of two ways that are the same for every network:

The ways:

    peak    the largest peak of each landmark on its own, to a fraction of a pixel
    chain   the best chain through all peaks (chain.py), as `predict` has it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from research.experiments.results import Points
from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.backends import Peaks
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.evaluation.evaluate import read_annotated
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.settings import to_dict
from SpineLandmarksLib.training.build import fit_prior
from SpineLandmarksLib.transforms import Preparation, working_spacing
from SpineLandmarksLib.uncertainty import Calibration

Decoder = Literal["peak", "chain"]
#: (L, 2) native pixels for each slice, nan where out of view.
PredictPoints = Callable[[Sequence[Annotation]], list[Points]]


class InMemory:
    """A backend around a detector that has no bundle."""

    name, batch = "memory", 4

    def __init__(self, detector: Detector, device: str = "cpu") -> None:
        self.detector, self.device = detector.to(device).eval(), device

    def detect(self, images: NDArray[np.float32]) -> Peaks:
        with torch.inference_mode():
            found = self.detector.detect(torch.from_numpy(images).to(self.device))
        return Peaks(*(part.float().cpu().numpy() for part in found))


def localizer_of(
    detector: Detector, preparation: Preparation, learned: Sequence[Annotation], schema: Sequence[str]
) -> Localizer:
    """The detector as a bundle that is nowhere on disk, with the chain prior of what it `learned` from."""
    calibration = Calibration(1.0, (1.0,) * len(schema))
    bundle = Bundle(
        Path(),
        "memory",
        "0",
        tuple(schema),
        preparation,
        to_dict(detector.architecture),
        fit_prior(learned, schema),
        calibration,
    )
    return Localizer(bundle, InMemory(detector))


def decode_with(decoder: Decoder, localizer: Localizer) -> PredictPoints:
    """How `localizer` names points when its peaks are read by `decoder`."""

    def predict_points(rows: Sequence[Annotation]) -> list[Points]:
        readings = read_annotated(localizer, rows)
        if decoder == "chain":
            return [reading.xy for reading in readings]
        spacing = [_working_mm(row, localizer.bundle.preparation) for row in rows]
        return [reading.candidates_mm[:, 0] / mm for reading, mm in zip(readings, spacing, strict=True)]

    return predict_points


def all_missing(landmarks: int) -> PredictPoints:
    """What a network says that has diverged."""
    return lambda rows: [np.full((landmarks, 2), np.nan) for _ in rows]


def mean_shape_baseline(learned: Sequence[Annotation], schema: Sequence[str]) -> PredictPoints:
    """The mean place of each landmark in `learned`, relative to the image: what can be said without looking."""
    places = [(points_of(row, schema) + 0.5) / _size_wh(row) for row in learned]
    mean = np.nanmean(places, axis=0)
    return lambda rows: [mean * _size_wh(row) - 0.5 for row in rows]


def _working_mm(row: Annotation, preparation: Preparation) -> Points:
    spacing = spacing_of(row)
    return working_spacing(load_image(row.image).shape if spacing is None else (1, 1), spacing, preparation)


def _size_wh(row: Annotation) -> Points:
    return np.array(row.size_wh or load_image(row.image).shape[::-1], dtype=np.float64)
