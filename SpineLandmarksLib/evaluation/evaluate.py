"""Run a bundle over annotated slices, exactly as `predict` would, and judge it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from SpineLandmarksLib.annotated_slices import load_image, millimetres_of, points_of, spacing_of
from SpineLandmarksLib.arguments import ProgressCallback
from SpineLandmarksLib.evaluation.metrics import summarize
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.evaluation.report import write_report
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.slice_reading import SliceReading, image_warnings


def read_annotated(
    localizer: Localizer, annotations: Sequence[Annotation], progress: ProgressCallback | None = None
) -> list[SliceReading]:
    """The reading of each annotated slice, one by one, in its own spacing."""
    readings = []
    for done, annotation in enumerate(annotations, start=1):
        readings += localizer.read_slices(load_image(annotation.image)[None], spacing_of(annotation))
        if progress:
            progress(done, len(annotations))
    return readings


def compare(localizer: Localizer, annotations: Sequence[Annotation], readings: Sequence[SliceReading]) -> Predictions:
    """The readings beside the annotations."""
    bundle = localizer.bundle
    truth = np.stack([points_of(annotation, bundle.landmarks) for annotation in annotations])
    predicted = np.stack([reading.xy for reading in readings])
    spacing = np.array([spacing_of(annotation) or (np.nan, np.nan) for annotation in annotations])
    calibration = bundle.calibration
    confidence = np.stack([calibration.confidence(r.chain.probability, r.confidence_features) for r in readings])
    is_unusual = np.array([bool(image_warnings(reading, calibration)) for reading in readings])
    needs_review = (confidence < calibration.review_below) | is_unusual[:, None]
    return Predictions(
        truth_px=truth,
        predicted_px=predicted,
        valid=np.asarray(np.isfinite(truth).all(-1)),
        found=np.asarray(np.isfinite(predicted).all(-1)),
        spacing_mm=spacing,
        confidence=confidence,
        radius95_mm=np.stack([bundle.calibration.radius95_mm(reading.variance_mm2) for reading in readings]),
        groups=np.array([annotation.group for annotation in annotations]),
        names=bundle.schema,
        image_names=tuple(annotation.image.name for annotation in annotations),
        millimetres=millimetres_of(annotations),
        needs_review=needs_review,
    )


def evaluate(
    localizer: Localizer,
    annotations: Sequence[Annotation],
    output: Path,
    notes: Sequence[str] = (),
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Write `output/metrics.json` and `output/report.html`; returns the content of the first."""
    predictions = compare(localizer, annotations, read_annotated(localizer, annotations, progress))
    summary = summarize(predictions) | {"bundle": localizer.bundle.label, "notes": list(notes)}
    output.mkdir(parents=True, exist_ok=True)
    title = f"{localizer.bundle.label} on {len(annotations)} slices"
    write_report(predictions, summary, lambda row: load_image(annotations[row].image), output, title, notes=notes)
    return summary
