"""A bundle from a trained detector: weights, graph, chain prior, calibration, card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from SpineLandmarksLib import __version__
from SpineLandmarksLib.annotated_slices import load_image, points_of, spacing_of
from SpineLandmarksLib.backends import open_backend
from SpineLandmarksLib.bundle import METADATA, Bundle, load_bundle, read_settings, write_checksums, write_settings
from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.metrics import chain_shifts, shifted
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.fusion import fit_sigma
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.landmarks import Schema
from SpineLandmarksLib.model import Detector
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.settings import to_dict
from SpineLandmarksLib.slice_reading import SliceReading
from SpineLandmarksLib.training.export import write_graph, write_weights
from SpineLandmarksLib.training.export_bundle import record_graph
from SpineLandmarksLib.training.fit_calibration import HeldOut, fit_calibration
from SpineLandmarksLib.training.monai_files import complete_for_monai
from SpineLandmarksLib.training.recipe import Recipe
from SpineLandmarksLib.training.unusable import as_annotated, unusable
from SpineLandmarksLib.transforms import prepare_slice
from SpineLandmarksLib.uncertainty import Calibration

#: A changed slice is on its levels when half of its landmarks are this near: less than half the way to a neighbour.
NEAR_MM = 8.0
#: What a bundle says of its doubt before it has been calibrated: a plain probability and a wide circle.
UNCALIBRATED = Calibration(1.0, (), "nothing: not calibrated")


def build_bundle(
    folder: Path,
    detector: Detector,
    recipe: Recipe,
    schema: Sequence[str],
    annotations: Sequence[Annotation],
    calibration: Calibration | None = None,
    version: str = __version__,
    prior: ChainPrior | None = None,
) -> Bundle:
    """Write the bundle `folder` (its name is the bundle's) and load it back.

    annotations: what it was trained on, from which the chain prior is fitted unless there is one.
    """
    calibration = calibration or replace(UNCALIBRATED, radius_factor=(4.0,) * len(schema))
    write_weights(detector, folder)
    write_graph(detector, folder)
    prior = prior if prior is not None else fit_prior(annotations, schema)
    write_settings(folder, tuple(schema), recipe.preparation, to_dict(recipe.architecture), prior, calibration)
    write_checksums(folder, metadata(folder.name, version, recipe, annotations))
    complete_for_monai(folder)
    record_graph(folder)
    return load_bundle(folder)


def fit_fusion(detector: Detector, recipe: Recipe, held_out: Sequence[Annotation], schema: Sequence[str]) -> None:
    """Set the sigma that the product is taken with to the direct network's own error on held-out slices."""
    assert detector.fusion is not None
    means, truths = [], []
    for row in held_out:
        image, pixel_from_slice = prepare_slice(load_image(row.image), spacing_of(row), recipe.preparation)
        with torch.inference_mode():
            means.append(detector.direct(torch.from_numpy(image)[None, None])[0][0])
        truths.append(torch.from_numpy(apply(pixel_from_slice, points_of(row, schema))).float())
    truth = torch.stack(truths)
    detector.fusion.set_sigma(fit_sigma(torch.stack(means), truth, ~torch.isnan(truth).any(-1)))


def fit_prior(annotations: Sequence[Annotation], schema: Sequence[str]) -> ChainPrior | None:
    """The chain prior of annotated spines whose spacing is known or estimated; None for landmarks without an order.

    Raises DatasetError where no spacing is known, and as `ChainPrior.fit`.
    """
    if not Schema.of(schema).has_order:
        return None
    known = [(points_of(row, schema), spacing_of(row)) for row in annotations]
    if all(spacing is None for _, spacing in known):
        raise DatasetError("Expected 'spacing_mm' of an image, to learn how far landmarks lie apart; no image has one")
    points_mm = np.array([points * spacing for points, spacing in known if spacing is not None])
    return ChainPrior.fit(points_mm.reshape(-1, len(schema), 2), schema)


def calibrate(bundle: Bundle, held_out: Sequence[Annotation], fitted_on: str) -> Bundle:
    """Fit the doubt on cases that the weights have never seen, and write it into the bundle."""
    localizer = Localizer(bundle, open_backend(bundle))
    readings = read_annotated(localizer, held_out)
    return with_calibration(bundle, fit_calibration(held_out_of(localizer, held_out, readings), fitted_on))


def held_out_of(localizer: Localizer, annotations: Sequence[Annotation], readings: Sequence[SliceReading]) -> HeldOut:
    """What the doubt is fitted on: readings of slices that the weights have never seen, and of the same changed."""
    compared = compare(localizer, annotations, readings)
    chain_right = chain_shifts(compared) == 0
    as_is = HeldOut(
        probability=np.stack([reading.chain.probability for reading in readings]),
        variance_mm2=np.stack([reading.variance_mm2 for reading in readings]),
        error_mm=compared.error_mm,
        # A shifted chain's end lies beyond the annotation: nearest to its own truth, and wrong all the same.
        level_right=~shifted(compared) & chain_right[:, None],
        chain_right=chain_right,
        features=np.stack([reading.confidence_features for reading in readings]),
        anomaly=np.array([reading.numbering.anomaly for reading in readings]),
        changed=np.zeros(len(readings), dtype=np.bool_),
    )
    return HeldOut.join([as_is, *_changed(localizer, annotations)])


def _changed(localizer: Localizer, annotations: Sequence[Annotation]) -> list[HeldOut]:
    """Each slice of known spacing as `unusable` changes it; only the features and whether the chain is right."""
    found = []
    for annotation in annotations:
        if spacing_of(annotation) is None:
            continue
        case_as_is = as_annotated(annotation, localizer.bundle.landmarks)
        for case in unusable(case_as_is, localizer.bundle.names_per_level or 2):
            (reading,) = localizer.read_slices(case.image[None], case.stated_spacing_mm)
            error = np.linalg.norm((reading.xy - case.points_xy) * case.spacing_mm, axis=-1)[case.inside]
            unknown = np.full((1, len(reading.xy)), np.nan)
            found.append(
                HeldOut(
                    probability=reading.chain.probability[None],
                    variance_mm2=unknown,
                    error_mm=unknown,
                    level_right=np.zeros(unknown.shape, dtype=np.bool_),
                    chain_right=np.array([len(error) > 0 and np.median(np.nan_to_num(error, nan=np.inf)) < NEAR_MM]),
                    features=reading.confidence_features[None],
                    anomaly=np.array([reading.numbering.anomaly]),
                    changed=np.array([True]),
                )
            )
    return found


def with_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    """The same bundle with another calibration, written and loaded back."""
    write_settings(bundle.folder, bundle.landmarks, bundle.preparation, bundle.architecture, bundle.prior, calibration)
    write_checksums(bundle.folder, read_settings(bundle.folder / METADATA))
    return load_bundle(bundle.folder)


def metadata(name: str, version: str, recipe: Recipe, annotations: Sequence[Annotation]) -> dict[str, Any]:
    """MONAI's bundle metadata, with what the weights were trained on."""
    import monai

    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "name": name,
        "version": version,
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__,
        "numpy_version": np.__version__,
        "task": "Lumbar spine landmark localization",
        "description": recipe.note or f"Trained with the recipe {recipe.name}",
        "intended_use": "Research. Not a medical device.",
        "data_type": "sagittal lumbar MRI slices",
        "trained_on": {"slices": len(annotations), "groups": len({row.group for row in annotations})},
        "recipe": to_dict(recipe),
    }
