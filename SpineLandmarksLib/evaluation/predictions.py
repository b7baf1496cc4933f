"""Predicted points beside the annotated ones: the one input of every figure and page of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotated_slices import LUMBAR_LENGTH_MM, Millimetres
from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Schema, require_unique

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Strings = NDArray[np.str_]
#: Fields of `Predictions` with a row for each image.
ARRAYS = tuple("truth_px predicted_px valid found spacing_mm confidence radius95_mm groups needs_review".split())


@dataclass(frozen=True, eq=False)
class Predictions:
    """N images with L landmarks each. Pixels are native (x = column, y = row; an integer is a pixel centre).

    truth_px, predicted_px: (N, L, 2); read only where `valid` and `found`.
    valid: (N, L), the point is annotated. found: (N, L), the point is predicted; else it was called out of view.
    spacing_mm: (N, 2), mm (between columns, between rows), so (x, y) like the pixels. DICOM's PixelSpacing is
        (between rows, between columns): swap it. A row of nan means unknown: the image is scaled by its own
        annotation so that L1-L5 = 144 mm.
    confidence: (N, L), probability that the level is right. radius95_mm: (N, L). Both nan where not stated.
    groups: (N,), the patient or study that an image belongs to. image_names: (N,). names: (L,), head to foot,
    or a `Schema` that has no order.
    millimetres: where the known spacings come from. needs_review: (N, L), flagged for a reader; all False if not said.
    Raises LandmarkError when a shape, a range or a name breaks these rules.
    """

    truth_px: Floats
    predicted_px: Floats
    valid: Bools
    found: Bools
    spacing_mm: Floats
    confidence: Floats
    radius95_mm: Floats
    groups: Strings
    names: tuple[str, ...]
    image_names: tuple[str, ...]
    millimetres: Millimetres = "measured"
    needs_review: Bools | None = None

    def __post_init__(self) -> None:
        self._normalize()
        self._check_shapes()
        self._check_values()
        # Whatever stands in an absent point (0, -1, inf) must not reach a figure or a picture.
        self._set("truth_px", np.where(self.valid[..., None], self.truth_px, np.nan))
        self._set("predicted_px", np.where(self.found[..., None], self.predicted_px, np.nan))
        _ = self.mm_per_px  # an image that cannot be scaled is refused here, not in the middle of a report

    def _set(self, field: str, value: Any) -> None:
        object.__setattr__(self, field, value)

    def _normalize(self) -> None:
        for field in ("truth_px", "predicted_px", "spacing_mm", "confidence", "radius95_mm"):
            self._set(field, np.asarray(getattr(self, field), dtype=np.float64))
        if self.needs_review is None:
            self._set("needs_review", np.zeros(np.shape(self.valid), dtype=np.bool_))
        for field in ("valid", "found", "needs_review"):
            self._set(field, np.asarray(getattr(self, field), dtype=np.bool_))
        self._set("groups", np.asarray([str(group) for group in self.groups], dtype=np.str_))
        self._set("names", Schema(map(str, self.names), Schema.of(self.names).has_order))
        self._set("image_names", tuple(str(name) for name in self.image_names))

    def _check_shapes(self) -> None:
        n, count = len(self.image_names), len(self.names)
        others = {"truth_px": (n, count, 2), "predicted_px": (n, count, 2), "spacing_mm": (n, 2), "groups": (n,)}
        for field in ARRAYS:
            came, shape = getattr(self, field).shape, others.get(field, (n, count))
            if came != shape:
                raise LandmarkError(f"Expected {field} of shape {shape} ({n} images, {count} names); got {came}")

    def _check_values(self) -> None:
        require_unique(self.names)
        if self.millimetres not in get_args(Millimetres):
            raise LandmarkError(f"Expected one of {', '.join(get_args(Millimetres))}; got {self.millimetres!r}")
        self._require("truth_px", np.isfinite(self.truth_px).all(axis=-1) | ~self.valid, "finite where valid")
        self._require("predicted_px", np.isfinite(self.predicted_px).all(axis=-1) | ~self.found, "finite where found")
        self._require("spacing_mm", ~(self.spacing_mm <= 0) & ~np.isinf(self.spacing_mm), "positive, or nan")
        confidence, radius = self.confidence, self.radius95_mm
        self._require("confidence", np.isnan(confidence) | ((confidence >= 0) & (confidence <= 1)), "in 0..1, or nan")
        self._require("radius95_mm", np.isnan(radius) | ((radius >= 0) & np.isfinite(radius)), "at least 0, or nan")

    def _require(self, field: str, good: Bools, rule: str) -> None:
        if not good.all():
            row = int(np.argwhere(~good)[0][0])
            raise LandmarkError(f"Expected {field} {rule}; image {self.image_names[row]!r} has otherwise")

    def __len__(self) -> int:
        return len(self.image_names)

    @cached_property
    def scaled(self) -> Bools:
        """(N,): the image has no spacing and is scaled by its own annotation."""
        if self.millimetres == "pixels":
            return np.ones(len(self), dtype=np.bool_)
        return np.asarray(np.isnan(self.spacing_mm).any(axis=1))

    @cached_property
    def mm_per_px(self) -> Floats:
        """(N, 2): `spacing_mm`, with the unknown ones from the length of the annotated spine."""
        by_length = [_mm_per_px_by_length(self, row) if scaled else 1.0 for row, scaled in enumerate(self.scaled)]
        return np.where(self.scaled[:, None], np.array(by_length).reshape(-1, 1), self.spacing_mm)

    @cached_property
    def counted(self) -> Bools:
        """(N, L): annotated and predicted, so that there is a distance."""
        return self.valid & self.found

    @cached_property
    def missed(self) -> Bools:
        """(N, L): annotated, but called out of view; a failure at every threshold."""
        return self.valid & ~self.found

    @cached_property
    def error_mm(self) -> Floats:
        """(N, L): radial error in mm; nan where there is no annotation or no prediction."""
        offset_mm = (self.predicted_px - self.truth_px) * self.mm_per_px[:, None, :]
        return np.where(self.counted, np.hypot(offset_mm[..., 0], offset_mm[..., 1]), np.nan)

    @cached_property
    def distance_mm(self) -> Floats:
        """(N, L, L): from predicted point [n, l] to the truth of landmark m; nan where either is absent."""
        offset_mm = (self.predicted_px[:, :, None] - self.truth_px[:, None, :]) * self.mm_per_px[:, None, None, :]
        present = self.found[:, :, None] & self.valid[:, None, :]
        return np.where(present, np.hypot(offset_mm[..., 0], offset_mm[..., 1]), np.nan)

    @property
    def millimetre_source(self) -> Millimetres:
        """`millimetres`, or "pixels" when no image has a spacing."""
        return "pixels" if len(self) and self.scaled.all() else self.millimetres

    @property
    def unit(self) -> str:
        """What a millimetre means here, to stand beside every figure."""
        known, count = "estimated mm" if self.millimetres == "estimated" else "mm", int(self.scaled.sum())
        if count == 0:
            return known
        whom = "scaled" if count == len(self) else f"{count} of {len(self)} images scaled"
        return f"{known if count < len(self) else 'mm'}, {whom} so that L1-L5 = {LUMBAR_LENGTH_MM:.0f} mm"

    def take(self, rows: Sequence[int] | NDArray[np.intp]) -> Predictions:
        """The same landmarks on the chosen images, in that order."""
        index = np.asarray(rows, dtype=np.intp)
        images = tuple(self.image_names[row] for row in index)
        return replace(self, image_names=images, **{field: getattr(self, field)[index] for field in ARRAYS})

    @staticmethod
    def join(parts: Sequence[Predictions]) -> Predictions:
        """All images of several sets of the same landmarks. LandmarkError when their names or millimetres differ."""
        kinds = {(part.names, part.millimetres) for part in parts}
        if len(kinds) != 1:
            raise LandmarkError(f"Expected sets of the same landmarks in the same unit; got {len(kinds)} kinds")
        ((names, millimetres),) = kinds
        joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ARRAYS}
        images = tuple(image for part in parts for image in part.image_names)
        return Predictions(**joined, names=names, image_names=images, millimetres=millimetres)


def _mm_per_px_by_length(predictions: Predictions, row: int) -> float:
    """Square mm per pixel of one image, from the annotated distance L1-L5.

    Where one of the two is not annotated, the two annotated landmarks furthest apart stand in, at equal steps.
    """
    names, valid, truth = predictions.names, predictions.valid[row], predictions.truth_px[row]
    if "L1" not in names or "L5" not in names:
        raise LandmarkError(f"Expected a spacing for each image, or L1 and L5 to scale by; got {', '.join(names)}")
    first, last = names.index("L1"), names.index("L5")
    annotated = np.flatnonzero(valid)
    if len(annotated) == 0:
        return 1.0  # nothing in this image is measured
    a, b = (first, last) if valid[first] and valid[last] else (int(annotated[0]), int(annotated[-1]))
    length_px = float(np.linalg.norm(truth[b] - truth[a]))
    if a == b or length_px == 0:
        raise LandmarkError(
            f"Expected a spacing, or two annotated landmarks to scale by; image {predictions.image_names[row]!r} "
            f"has no spacing and {len(annotated)} landmarks"
        )
    return LUMBAR_LENGTH_MM * (b - a) / (last - first) / length_px
