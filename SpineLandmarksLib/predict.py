"""The main job: a study in, named points in patient millimetres out.

The steps:

    stack  = read_study(path)                    imaging/study.py
    found  = localizer.read_slices(...)          prepare -> network -> chain, each slice on its own: a comb of slices,
                                                 and then the one in the middle of what they show
    index  = choose_slice(...)                   imaging/midsagittal.py
    points = lateral position, RAS, doubt        imaging/symmetry.py, geometry.py, uncertainty.py -> LandmarkSet
"""

from __future__ import annotations

import os
import time
from bisect import bisect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotation.wording import TURNED
from SpineLandmarksLib.backends import Backend, Peaks, open_backend
from SpineLandmarksLib.bundle import DEFAULT, Bundle, bundles_named, load_bundle
from SpineLandmarksLib.chain import FREE_SCALES, LOG_NO_EVIDENCE, fix_given, solve_chain, take_peaks
from SpineLandmarksLib.errors import BundleError, InputError
from SpineLandmarksLib.geometry import Matrix, apply
from SpineLandmarksLib.imaging.midsagittal import SliceChoice, centre_of, choose_slice, most_evidence, slices_to_try
from SpineLandmarksLib.imaging.picture import TAKEN_AS_UPRIGHT
from SpineLandmarksLib.imaging.stack import TURNS, SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.imaging.symmetry import LateralCurve, lateral_curve
from SpineLandmarksLib.landmarks import (
    CORNERS22,
    LUMBAR11,
    Landmark,
    LandmarkSet,
    Point,
    name_at_level,
    names_per_level,
    require_known,
)
from SpineLandmarksLib.numbering import number
from SpineLandmarksLib.quadrilaterals import disagreeing, own, touching
from SpineLandmarksLib.slice_reading import SliceReading, evidence_at, image_warnings
from SpineLandmarksLib.transforms import prepare_slice, valid_extent, working_spacing
from SpineLandmarksLib.uncertainty import MAX_CONFIDENCE
from SpineLandmarksLib.votes import by_majority, shift_between, with_votes

Array = NDArray[np.float64]
#: Called with the share that is done and what is being done.
StageCallback = Callable[[float, str], None]


#: A series goes before those that rank after it unless their confidence is higher by more than this.
ABOUT_AS_SURE = 0.9
#: A picture without a patient frame whose chain scores below this is tried turned, and read so where that gains as
#: much and makes it like the MRI that the model knows (nats; research/bench/turned.py).
TURNED_NATS, TURNED_GAIN = -4.0, 2.0
#: Another numbering is told of a doubtful picture from this probability on.
OTHER_NUMBERING = 0.1
#: The middle of what is its own mirror image and the middle of the body are taken to be this far apart, mm.
SIDE_FLOOR_MM = 1.0
#: A spine that leaves the chosen slice by more than `BESIDE_MM` and comes this near to the outermost slice may lie
#: beyond it: nothing there tells its middle.
BESIDE_MM, RIM_MM = 8.0, 16.0


class Localizer:
    """A bundle with its runtime, ready for many studies.

    Args:
        bundle: as `load_bundle` gives it.
        backend: that runs its network; `Localizer.open` finds one.
        follower: finds the corners of endplates on the levels that this one finds; None for no corners.

    >>> from SpineLandmarksLib.phantom.phantom import make_phantom
    >>> phantom = make_phantom(8, slices=1, matrix=(224, 224), pixel_mm=1.4)
    >>> found = Localizer.open("lumbar11").localize(SagittalStack(phantom.voxels, phantom.ras_from_ijk))
    >>> found["L3"].status, found.bundle.split("@")[0]
    ('predicted', 'lumbar11')
    """

    def __init__(self, bundle: Bundle, backend: Backend, follower: Localizer | None = None) -> None:
        self.bundle = bundle
        self.backend = backend
        self.follower = follower

    @staticmethod
    def open(bundle: str | Path = DEFAULT, backend: str = "auto", device: str = "auto") -> Localizer:
        """Load a bundle and its runtime.

        Args:
            bundle: a shipped bundle's name, or a folder; two with a comma between for centres and, on their levels, the
                corners of endplates: "lumbar11,lumbar-corners".
            backend: "light", "torch", or "auto": the light one unless CUDA is asked for.
            device: "cpu", "cuda" or "auto".

        Raises:
            BundleError: which file is missing or altered.
            BackendError: what to install.
        """
        first, *others = bundles_named(bundle)
        loaded = load_bundle(first)
        follower = Localizer.open(",".join(others), backend, device) if others else None
        if follower is not None and (set(follower.bundle.landmarks) != set(CORNERS22) or follower.follower):
            raise BundleError(
                f"Expected a bundle of the corners of endplates after the comma; got {','.join(others)!r}"
            )
        if follower is not None and not set(loaded.landmarks) & set(LUMBAR11):
            raise BundleError(f"Expected a bundle of lumbar centres before the comma; got {first!r}")
        return Localizer(loaded, open_backend(loaded, backend, device), follower)

    def localize(
        self,
        stack: SagittalStack,
        slice_index: int | None = None,
        *,
        slices: Sequence[int] | None = None,
        given: Mapping[str, Point | None] | None = None,
        progress: StageCallback | None = None,
    ) -> LandmarkSet:
        """The landmarks of a stack.

        Args:
            stack: as `read_study` gives it.
            slice_index: overrides the automatic choice of the slice.
            slices: limits that choice; the points lie between the first and the last of them.
            given: positions (RAS, mm) that somebody has confirmed, None for a landmark that cannot be seen; the others
                are found around them.
            progress: called with the share done and what is being done; what it raises ends the work.

        Returns:
            Positions in RAS mm and native pixels, with confidence, radius and warnings.

        Raises:
            InputError: a slice that the stack does not have.
            LandmarkError: a given name that the bundle does not know.
        """
        tried = _slices_of(stack, slice_index, slices)
        is_free = slice_index is None and slices is None
        if not stack.runs_to_the_right:
            return self._localize(stack, tried, is_free, given or {}, progress)
        last = len(stack) - 1  # what is chosen must not depend on the order in which slices are stored
        turned = tried if is_free else [last - index for index in reversed(tried)]
        found = self._localize(stack.turned_round(), turned, is_free, given or {}, progress)
        return replace(found, slice_index=last - (found.slice_index or 0))

    def localize_study(self, stack: SagittalStack, slice_index: int | None = None) -> LandmarkSet:
        """The landmarks of a stack, with the votes of its companions in the same frame of reference on the levels."""
        found = self.localize(stack, slice_index)
        frame = stack.tags.get("FrameOfReferenceUID")
        alike = [other for other in stack.companions if frame and other.tags.get("FrameOfReferenceUID") == frame]
        voters, notes = _without_copies(stack, alike), []
        if len(alike) < len(stack.companions):
            lie = "lie in another frame of reference" if frame else "have no frame of reference in common with this one"
            count = len(stack.companions) - len(alike)
            notes.append(f"{count} other series {lie}, so that they have no vote on the levels")
        if len(voters) < len(alike):
            notes.append(f"{len(alike) - len(voters)} other series are copies, and have no vote of their own")
        found = replace(found, notes=(*found.notes, *notes))
        voted = with_votes(found, [self.localize(other) for other in voters], self.bundle.calibration.review_below)
        if voted.numberings == found.numberings:
            return voted
        before = _level_warnings(found.landmarks, found.numberings, bool(found.needs_review))
        kept = [text for text in voted.warnings if text not in before]
        now = _level_warnings(voted.landmarks, voted.numberings, bool(voted.needs_review))
        return replace(voted, warnings=(*kept, *now))

    def _localize(
        self,
        stack: SagittalStack,
        tried: list[int],
        is_free: bool,
        given: Mapping[str, Point | None],
        progress: StageCallback | None,
        is_upright: bool = False,
    ) -> LandmarkSet:
        """The landmarks by the slices `tried`, and by the one in the middle of what they show if the choice is free."""
        started = time.perf_counter()
        given_xy = self._given_xy(stack, given)
        readings = self.read_slices(stack.voxels[tried], stack.pixel_spacing_mm, given_xy, progress)
        scores, best, evidence = _compared(stack, tried, readings, self.bundle.names_per_level)
        turned = None if is_upright else self._read_turned(stack, float(scores.max()), given)
        if turned is not None:
            return turned
        middle = round(centre_of(tried, evidence)) if not np.isnan(evidence).all() else tried[0]
        if is_free and middle not in tried:
            place = bisect(tried, middle)
            readings[place:place] = self.read_slices(stack.voxels[[middle]], stack.pixel_spacing_mm, given_xy)
            tried.insert(place, middle)
            scores, best, evidence = _compared(stack, tried, readings, self.bundle.names_per_level)
        agrees = np.array(
            [shift_between(best.places_mm, other.places_mm, self.bundle.names_per_level) == 0 for other in readings]
        )
        choice = choose_slice(tried, scores, evidence, agrees) if agrees.any() else _no_spine(tried, scores)
        reading = readings[tried.index(choice.index)]
        lateral = lateral_curve(stack, reading.xy) if len(tried) > 1 else None  # an asked-for slice is kept to
        if lateral is not None and not is_free:
            lateral = replace(lateral, at=np.clip(lateral.at, tried[0], tried[-1]))
        found = self._described(stack, reading, choice, lateral, given, given_xy)
        return replace(found, runtime_s=time.perf_counter() - started)

    def _described(
        self,
        stack: SagittalStack,
        reading: SliceReading,
        choice: SliceChoice,
        lateral: LateralCurve | None,
        given: Mapping[str, Point | None],
        given_xy: Array,
    ) -> LandmarkSet:
        """What is said of the chosen slice. lateral: None for all on that slice."""
        found = [self._landmark(stack, reading, row, choice.index, lateral) for row in range(len(reading.xy))]
        landmarks = tuple(_as_given(mark, given_xy[row], given) for row, mark in enumerate(found))
        leaves = () if lateral is None else _leaves_the_stack(stack, found, lateral, choice.index)
        unusual = (*image_warnings(reading, self.bundle.calibration), *leaves)
        doubtful = stack.needs_review or bool(unusual) or any(mark.needs_review for mark in landmarks)
        sure = float(self.bundle.calibration.chain_confidence(reading.confidence_features))
        nothing = all(mark.is_absent for mark in landmarks)
        numberings = () if given or nothing else reading.numbering.alternatives(min(sure, MAX_CONFIDENCE))
        said = (*unusual, *_level_warnings(landmarks, numberings, doubtful))
        made = LandmarkSet(
            landmarks=landmarks,
            input=stack.source,
            series_uid=stack.series_uid,
            slice_index=choice.index,
            spacing_mm=stack.pixel_spacing_mm,
            bundle=self.bundle.label,
            warnings=(*stack.warnings, *said, *choice.warnings),
            needs_review=doubtful,
            notes=stack.notes,
            numberings=numberings,
        )
        return self._with_corners(stack, made, lateral)

    def _with_corners(self, stack: SagittalStack, found: LandmarkSet, lateral: LateralCurve | None) -> LandmarkSet:
        """The corners of endplates beside what was found, on its levels. lateral: None for all on the chosen slice."""
        if self.follower is None or found.slice_index is None:
            return found
        xy = {mark.name: np.array(mark.pixel_xy) for mark in found if mark.pixel_xy is not None}
        places = np.full(len(found), float(found.slice_index)) if lateral is None else lateral.at
        across = dict(zip(found.names, places, strict=True))
        corners = self.follower.corners_on(stack, found.slice_index, xy)
        at = {name: across[_level_of(name)] for name in corners}
        mm = np.array(stack.pixel_spacing_mm or (1.0, 1.0))
        wrong = disagreeing(
            {name: np.array(mark.pixel_xy) * mm for name, mark in corners.items() if mark.pixel_xy is not None},
            {name: place * mm for name, place in xy.items()},
        )
        marks = tuple(
            _on_level(mark, found, bool(set(wrong) & touching(name)), stack, at[name]) for name, mark in corners.items()
        )
        said = f"The corners around {', '.join(wrong)} do not enclose the centre: check them before use"
        return replace(
            found,
            corners=marks,
            bundle=f"{found.bundle},{self.follower.bundle.label}",
            warnings=(*found.warnings, *((said,) if wrong else ())),
        )

    def corners_on(self, stack: SagittalStack, index: int, centres_xy: Mapping[str, Array]) -> dict[str, Landmark]:
        """The corners on one slice, each at the body that has its name. centres_xy: native pixels by name."""

        def allowed(xy: Array) -> NDArray[np.bool_]:
            return own(self.bundle.landmarks, xy, centres_xy)

        (reading,) = self.read_slices(stack.voxels[[index]], stack.pixel_spacing_mm, allowed=allowed)
        is_own = allowed(reading.xy[:, None])[:, 0]
        found = {}
        for row, name in enumerate(self.bundle.landmarks):
            mark = self._landmark(stack, reading, row, index, None)
            found[name] = mark if is_own[row] else Landmark(name, "out_of_view")
        return found

    def _read_turned(self, stack: SagittalStack, score: float, given: Mapping[str, Point | None]) -> LandmarkSet | None:
        """The landmarks of a picture that fits only when it is turned, on the picture as it lies; None for others."""
        has_frame = stack.ras_from_ijk is not None and stack.has_patient_frame
        if has_frame or len(stack) > 1 or self.bundle.prior is None:
            return None
        if given:  # they make any chain fit badly: how the picture lies is told by what it shows
            score = self.read_slices(stack.voxels, stack.pixel_spacing_mm)[0].chain.score
        if score > TURNED_NATS:
            return None
        ways = [(turn.words, *stack.turned_in_plane(turn)) for turn in TURNS]
        scores = [self.read_slices(view.voxels, view.pixel_spacing_mm)[0].chain.score for _, view, _ in ways]
        unlike_below = self.bundle.calibration.unlike_below
        if max(scores) < max(-np.inf if unlike_below is None else unlike_below, score + TURNED_GAIN):
            return None
        words, view, stack_from_view = ways[int(np.argmax(scores))]
        found = self._localize(view, [0], False, given, None, is_upright=True)
        said = f"{TURNED}{words}: it was turned to be read. The points are on the picture as it lies"
        return replace(
            found,
            landmarks=tuple(_on_picture(mark, stack_from_view) for mark in found),
            corners=tuple(_on_picture(mark, stack_from_view) for mark in found.corners),
            spacing_mm=stack.pixel_spacing_mm,
            warnings=(said, *(text for text in found.warnings if text != TAKEN_AS_UPRIGHT)),
            needs_review=True,
        )

    def most_lumbar(self, stack: SagittalStack) -> SagittalStack:
        """The stack, or the one of its alternatives that needs no review, or whose landmarks are clearly surer."""
        if not stack.alternatives:
            return stack
        every = [replace(stack, alternatives=()), *stack.alternatives]
        found = [self.localize(one) for one in every]
        sums = [sum(mark.confidence or 0.0 for mark in one if not mark.is_absent) for one in found]
        rows = [row for row, one in enumerate(found) if not one.needs_review] or list(range(len(every)))
        first = next(row for row in rows if sums[row] >= ABOUT_AS_SURE * max(sums[row] for row in rows))
        told = ", ".join(f"{total:.1f}" for total in sums)
        note = f"Series of {len(every)} regions were compared; the names found add up to a confidence of {told}"
        return replace(every[first], notes=(*every[first].notes, note))

    def read_slices(
        self,
        slices: NDArray[np.float32],
        spacing_mm: tuple[float, float] | None,
        given_xy: Array | None = None,
        progress: StageCallback | None = None,
        allowed: Callable[[Array], NDArray[np.bool_]] | None = None,
    ) -> list[SliceReading]:
        """Each native slice of (N, H, W), N at least 1, which share their pixel spacing (x, y), on its own.

        given_xy: (L, 2) native pixels that hold on every slice, nan where nothing is given. allowed: which peaks
        (L, K, 2), native pixels, may be taken at all.
        """
        peaks = []
        for start in range(0, len(slices), self.backend.batch):
            if progress:
                progress(start / len(slices), f"slice {start + 1} of {len(slices)}")
            some = slices[start : start + self.backend.batch]
            prepared = [prepare_slice(image, spacing_mm, self.bundle.preparation) for image in some]
            peaks.append(self.backend.detect(np.stack([image for image, _ in prepared])[:, None]))
        pixel_from_slice = prepared[0][1]  # the same for all
        joined = Peaks(*(np.concatenate(part) for part in zip(*peaks, strict=True)))
        joined = joined if allowed is None else _with_neighbours(self.bundle.landmarks, joined)
        shape = (int(slices.shape[1]), int(slices.shape[2]))
        given = np.full((len(self.bundle.landmarks), 2), np.nan) if given_xy is None else given_xy
        return [
            self.read_peaks(joined, row, pixel_from_slice, shape, valid_extent(image), spacing_mm, given, allowed)
            for row, image in enumerate(slices)
        ]

    def read_peaks(
        self,
        peaks: Peaks,
        row: int,
        pixel_from_slice: Matrix,
        shape: tuple[int, int],
        extent_xy: Array,
        spacing_mm: tuple[float, float] | None,
        given_xy: Array,
        allowed: Callable[[Array], NDArray[np.bool_]] | None = None,
    ) -> SliceReading:
        """Row `row` of what the network found; `shape` (H, W) and the `valid_extent` are of its native slice."""
        mm = working_spacing(shape, spacing_mm, self.bundle.preparation)
        slice_from_pixel = np.linalg.inv(pixel_from_slice)
        peaks_mm = apply(slice_from_pixel, peaks.xy[row]) * mm  # (L, K, 2)
        mm_per_pixel = mm * np.diag(slice_from_pixel)[:2]  # a preparation scales and shifts, so this is all of it
        variance = (peaks.covariance[row][..., :2] * mm_per_pixel**2).mean(-1)  # (L, K)
        log_mass = peaks.log_mass[row].astype(np.float64)
        extent = extent_xy * mm
        if allowed is not None:
            log_mass = np.where(allowed(peaks_mm / mm), log_mass, LOG_NO_EVIDENCE)
        scales = (1.0,) if spacing_mm is not None else FREE_SCALES
        xy_mm, fixed_mass = fix_given(peaks_mm, log_mass, given_xy * mm)
        prior = self.bundle.prior
        if prior is not None and np.isfinite(given_xy).any():
            prior = replace(prior, growth=1.0)  # levels are counted from what a reader has said, not from the sacrum
        chain = (
            take_peaks(xy_mm, fixed_mass, extent)
            if prior is None
            else solve_chain(xy_mm, fixed_mass, prior, extent, scales)
        )
        taken = np.arange(len(xy_mm)), np.maximum(chain.choice, 0)
        absent = chain.choice < 0
        places = np.where(absent[:, None], np.nan, xy_mm[taken])
        caudal_margin_mm = 0.0 if absent[-1] else float(extent[1, 1] - places[-1, 1]) / chain.scale
        return SliceReading(
            chain=chain,
            xy=places / mm,
            places_mm=places,
            variance_mm2=np.where(absent, np.nan, variance[taken]),
            candidates_mm=peaks_mm,
            log_mass=log_mass,
            numbering=number(
                places, peaks_mm, log_mass, self.bundle.prior, extent, chain.scale, self.bundle.names_per_level
            ),
            caudal_margin_mm=max(caudal_margin_mm, 0.0) if self.bundle.counts_from_sacrum else np.inf,
        )

    def _given_xy(self, stack: SagittalStack, given: Mapping[str, Point | None]) -> Array:
        """(L, 2) column and row of the given positions; nan where there is none."""
        require_known(list(given), self.bundle.landmarks)
        known = {name: position for name, position in given.items() if position is not None}
        ijk = {name: stack.to_ijk(np.array(position)) for name, position in known.items()}
        return np.array([ijk[name][:2] if name in ijk else (np.nan, np.nan) for name in self.bundle.landmarks])

    def _landmark(
        self, stack: SagittalStack, reading: SliceReading, row: int, index: int, lateral: LateralCurve | None
    ) -> Landmark:
        name, calibration = self.bundle.landmarks[row], self.bundle.calibration
        confidence = float(calibration.confidence(reading.chain.probability, reading.confidence_features)[row])
        needs_review = confidence < calibration.review_below
        if reading.chain.choice[row] < 0:
            return Landmark(name, "out_of_view", confidence=confidence, needs_review=needs_review)
        x, y = (float(v) for v in reading.xy[row])
        if stack.ras_from_ijk is None:
            return Landmark(name, "predicted", None, (x, y), confidence, needs_review=needs_review)
        radius = (
            calibration.radius95_mm(reading.variance_mm2)
            if lateral is None
            else calibration.radius95_in_space_mm(reading.variance_mm2, np.hypot(lateral.sd_mm, SIDE_FLOOR_MM))
        )[row]
        r, a, s = (float(v) for v in stack.to_ras(index if lateral is None else lateral.at[row], np.array([x, y])))
        return Landmark(name, "predicted", (r, a, s), (x, y), confidence, float(radius), needs_review)


def predict(
    path: str | Path,
    localizer: Localizer,
    spacing_mm: float | tuple[float, float] | None = None,
    slice_index: int | None = None,
    study: str | None = None,
    every_series: bool = False,
) -> tuple[SagittalStack, LandmarkSet]:
    """Read one study and localize its landmarks.

    Args:
        path: anything that `read_study` reads.
        localizer: from `Localizer.open`.
        spacing_mm: pixel spacing of a picture, (between columns, between rows) or one number for both.
        slice_index: overrides the automatic choice of the slice.
        study: which exam, as `read_study` takes it.
        every_series: the other sagittal series of a DICOM study have a vote on the levels.

    Returns:
        The stack and its landmarks, RAS mm.

    Raises:
        SpineLandmarksError: what is wrong with the study.

    >>> from tempfile import TemporaryDirectory
    >>> from SpineLandmarksLib.phantom.files import write_nifti
    >>> from SpineLandmarksLib.phantom.phantom import make_phantom
    >>> with TemporaryDirectory() as folder:
    ...     study = write_nifti(make_phantom(8, slices=1, matrix=(224, 224), pixel_mm=1.4), f"{folder}/study.nii.gz")
    ...     stack, landmarks = predict(study, Localizer.open("lumbar11"))
    >>> len(stack), len(landmarks)
    (1, 11)
    """
    stack = localizer.most_lumbar(read_study(path, spacing_mm, study, every_series))
    return stack, replace(localizer.localize_study(stack, slice_index), input=printable(path))


#: The name that the package exports: its `predict` is this module.
predict_study = predict


def printable(path: str | Path) -> str:
    """A path as text that any file can hold: bytes of a name that are not UTF-8 become question marks."""
    return os.fsencode(path).decode("utf-8", "replace")


def _slices_of(stack: SagittalStack, slice_index: int | None, slices: Sequence[int] | None) -> list[int]:
    """The slices to run the network on, ascending; InputError for one that the stack does not have."""
    asked = [slice_index] if slice_index is not None else sorted(set(slices)) if slices is not None else None
    if asked is None:
        return slices_to_try(len(stack), stack.slice_spacing_mm)
    if not asked or asked[0] < 0 or asked[-1] >= len(stack):
        raise InputError(f"Expected a slice in 0..{len(stack) - 1} of {stack.source}; got {', '.join(map(str, asked))}")
    return asked


def _on_picture(mark: Landmark, stack_from_view: Matrix) -> Landmark:
    if mark.pixel_xy is None:
        return mark
    x, y, _ = (float(v) for v in apply(stack_from_view, np.array([*mark.pixel_xy, 0.0])))
    return replace(mark, pixel_xy=(x, y))


def _with_neighbours(names: Sequence[str], peaks: Peaks) -> Peaks:
    """The candidates of each landmark, and those of the same landmark of the levels above and below it.

    For names that another model gives: the network may take one level for the next.
    """
    row = {name: number for number, name in enumerate(names)}
    xy, log_mass, covariance = [peaks.xy], [peaks.log_mass], [peaks.covariance]
    for step in (-1, 1):
        rows = [row.get(name_at_level(name, step) or "", -1) for name in names]
        xy.append(peaks.xy[:, rows])
        log_mass.append(np.where(np.array(rows)[:, None] < 0, np.float32(LOG_NO_EVIDENCE), peaks.log_mass[:, rows]))
        covariance.append(peaks.covariance[:, rows])
    return Peaks(*(np.concatenate(part, 2) for part in (xy, log_mass, covariance)))


def _level_of(corner: str) -> str:
    """The centre whose level a corner follows: that of its body, of S1 the disc above."""
    return "L5-S1" if corner.startswith("S1") else corner.partition(".")[0]


def _on_level(mark: Landmark, found: LandmarkSet, is_wrong: bool, stack: SagittalStack, lateral: float) -> Landmark:
    """A corner as sure as the level it follows, on the slice coordinate of its body."""
    level = found[_level_of(mark.name)]
    if mark.pixel_xy is None:
        return mark
    position = None
    if stack.ras_from_ijk is not None:
        r, a, s = (float(v) for v in stack.to_ras(lateral, np.array(mark.pixel_xy)))
        position = (r, a, s)
    sure = min((c for c in (mark.confidence, level.confidence) if c is not None), default=None)
    return replace(
        mark,
        position_ras_mm=position,
        confidence=sure,
        needs_review=is_wrong or bool(mark.needs_review) or bool(level.needs_review),
    )


def _as_given(mark: Landmark, xy: Array, given: Mapping[str, Point | None]) -> Landmark:
    """What somebody has said of a landmark stands as it was said."""
    if mark.name not in given:
        return mark
    position = given[mark.name]
    if position is None:
        return Landmark(mark.name, "not_visible")
    return Landmark(mark.name, "confirmed", position, (float(xy[0]), float(xy[1])))


def _compared(
    stack: SagittalStack, tried: Sequence[int], readings: Sequence[SliceReading], per_level: int
) -> tuple[Array, SliceReading, Array]:
    """Scores (N,), the reading with the most evidence, and the evidence (N, L) of all at its points."""
    scores = np.array([reading.chain.score for reading in readings])
    row = most_evidence(tried, scores, len(stack), stack.slice_spacing_mm)
    margins = [reading.numbering.margin for reading in readings]
    best = readings[by_majority(row, [reading.places_mm for reading in readings], margins, scores, per_level)]
    return scores, best, evidence_at(best, readings)


def _no_spine(tried: Sequence[int], scores: Array) -> SliceChoice:
    """The middle slice, when the best one has every landmark out of view."""
    middle = len(tried) // 2
    warning = "No landmark was found: this may not be a sagittal lumbar spine"
    return SliceChoice(tried[middle], float(scores[middle]), "no slice shows a landmark", (warning,))


def _leaves_the_stack(
    stack: SagittalStack, landmarks: Sequence[Landmark], lateral: LateralCurve, index: int
) -> tuple[str, ...]:
    """A warning that names the landmarks whose middle may lie beyond the outermost slices."""
    slice_mm = stack.slice_spacing_mm or 0.0
    beside_mm = np.abs(lateral.at - index) * slice_mm
    to_rim_mm = np.minimum(lateral.at, len(stack) - 1 - lateral.at) * slice_mm - lateral.sd_mm
    beyond = (beside_mm > BESIDE_MM) & (to_rim_mm < RIM_MM)
    names = [mark.name for mark, out in zip(landmarks, beyond, strict=True) if out and not mark.is_absent]
    if not names:
        return ()
    return (f"The spine curves toward the outermost slices: the middle of {', '.join(names)} may lie beyond them",)


def _without_copies(stack: SagittalStack, others: Sequence[SagittalStack]) -> list[SagittalStack]:
    """Those of `others` that are no second copy of the stack or of one another: one picture is no second witness."""
    kept: list[SagittalStack] = []
    for other in others:
        if not any(np.array_equal(other.voxels, one.voxels) for one in (stack, *kept)):
            kept.append(other)
    return kept


def _level_warnings(
    landmarks: Sequence[Landmark], numberings: Sequence[tuple[int, float]], is_doubtful: bool
) -> tuple[str, ...]:
    """What is doubtful or out of view; of a doubtful study also the likeliest other numbering, if worth a look."""
    said = _review_warnings(landmarks)
    shift, probability = max(((s, p) for s, p in numberings if s), key=lambda one: one[1], default=(0, 0.0))
    if not is_doubtful or probability < OTHER_NUMBERING:
        return said
    way = "higher" if shift > 0 else "lower"
    return (*said, f"All names may be one level {way} ({100 * probability:.0f} %): transitional junction?")


def _review_warnings(landmarks: Sequence[Landmark]) -> tuple[str, ...]:
    doubtful = [mark.name for mark in landmarks if mark.needs_review]
    absent = [mark.name for mark in landmarks if mark.is_absent]
    what = "Levels" if names_per_level([mark.name for mark in landmarks]) else "Landmarks"
    said = [f"{what} are doubtful: {', '.join(doubtful)}. Check them before use"] if doubtful else []
    return (*said, f"Out of view: {', '.join(absent)}") if absent else tuple(said)
