"""From a study to points: positions, choices and doubts, with a backend that knows the answer; then the real thing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray

from research.bench.volumes import bowed
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.backends import Peaks
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import GeometryError, InputError, LandmarkError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.picture import TAKEN_AS_UPRIGHT
from SpineLandmarksLib.imaging.stack import TURNS, SagittalStack, Turn
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.predict import Localizer, predict

Points = NDArray[np.float64]


def positions(found: LandmarkSet, names: tuple[str, ...] = LUMBAR11) -> np.ndarray:
    return np.array([found[name].position_ras_mm for name in names], dtype=float)


def pixels(found: LandmarkSet) -> np.ndarray:
    return np.array([mark.pixel_xy for mark in found], dtype=float)


def test_points_of_an_oblique_study_are_where_the_truth_is(
    a_localizer: Localizer, a_phantom: Phantom, truth_xy: Points, a_phantom_study: Path
) -> None:
    stack, found = predict(a_phantom_study, a_localizer)
    assert found.names == LUMBAR11
    assert np.abs(pixels(found) - truth_xy).max() < 1e-3
    # The oracle saw no slice better than another, so the middle one is chosen; the points lie where the spine's is.
    assert found.slice_index == 3
    column_row_slice = apply(np.linalg.inv(a_phantom.ras_from_ijk), positions(found))
    assert np.abs(column_row_slice[:, :2] - truth_xy).max() < 1e-2
    assert np.abs(column_row_slice[:, 2] - 3).max() * stack.slice_spacing_mm < 4.0
    assert np.abs(a_phantom.ras_from_ijk[:3, :3]).min() > 0.01  # oblique about every axis
    assert found.spacing_mm == pytest.approx((3.1, 3.1), abs=1e-4)
    assert (found.input, found.bundle) == (str(a_phantom_study), "memory@1")
    assert stack.voxels.shape == (7, 96, 80)


def test_the_radius_is_the_calibrated_width_of_the_peak(a_localizer: Localizer, a_phantom_study: Path) -> None:
    _, found = predict(a_phantom_study, a_localizer, slice_index=3)
    # Variance 1 px^2 of 1.25 mm input pixels (298 mm / 238 pixels), floor 1 mm, factor 2.
    expected = 2 * np.sqrt((298 / 238) ** 2 + 1)
    assert [mark.radius95_mm for mark in found] == pytest.approx([expected] * 11, rel=0.01)
    assert all(0.9 < mark.confidence <= 0.995 for mark in found)


@pytest.mark.parametrize("bow_mm", [15.0, -15.0])
def test_a_bowed_spine_is_followed_with_a_wider_radius_where_it_leaves_the_slice(
    the_shipped_localizer: Localizer, bow_mm: float
) -> None:
    phantom = make_phantom(3, slices=17, matrix=(320, 320), pixel_mm=1.0, slice_mm=4.4)
    stack = SagittalStack(phantom.voxels, phantom.ras_from_ijk)
    truth = {name: np.array(phantom.landmarks[name].position_ras_mm) for name in LUMBAR11}
    moved, truth = bowed(stack, truth, bow_mm)
    straight = the_shipped_localizer.localize(stack)
    found = the_shipped_localizer.localize(moved)
    off_mm = np.abs(stack.to_ijk(positions(found)) - stack.to_ijk(np.array(list(truth.values()))))[:, 2] * 4.4
    assert off_mm.max() < 5.0
    straight_mm, bowed_mm = (sum(mark.radius95_mm for mark in one) for one in (straight, found))
    assert bowed_mm > straight_mm


def test_the_asked_for_slice_is_used_alone(a_localizer: Localizer, an_oracle: Any, a_phantom_study: Path) -> None:
    stack, found = predict(a_phantom_study, a_localizer, slice_index=1)
    assert (found.slice_index, an_oracle.seen) == (1, 1)
    assert apply(np.linalg.inv(stack.ras_from_ijk), positions(found))[:, 2] == pytest.approx([1.0] * 11, abs=1e-6)


@pytest.mark.parametrize("count", [4, 13, 14])
def test_the_points_do_not_depend_on_the_side_from_which_slices_are_stored(
    the_shipped_localizer: Localizer, count: int
) -> None:
    phantom = make_phantom(11, matrix=(96, 80), pixel_mm=3.1, slices=count, slice_mm=4.4)
    stack = SagittalStack(phantom.voxels, phantom.ras_from_ijk)
    one, other = (the_shipped_localizer.localize(each) for each in (stack, stack.turned_round()))
    assert one.slice_index == count - 1 - (other.slice_index or 0)
    np.testing.assert_allclose(positions(one), positions(other), atol=1e-6)
    assert pixels(one).tolist() == pixels(other).tolist()
    middle, last = count // 2, count - 1
    asked = the_shipped_localizer.localize(stack, middle)
    mirrored = the_shipped_localizer.localize(stack.turned_round(), last - middle)
    assert (asked.slice_index, mirrored.slice_index) == (middle, last - middle)
    np.testing.assert_allclose(positions(asked), positions(mirrored), atol=1e-6)


@pytest.mark.parametrize("index", [-1, 7, 1000])
def test_a_slice_that_is_not_there_is_refused(a_localizer: Localizer, a_phantom_study: Path, index: int) -> None:
    with pytest.raises(InputError, match=rf"Expected a slice in 0\.\.6 of .*phantom\.nii\.gz; got {index}"):
        predict(a_phantom_study, a_localizer, slice_index=index)


def test_a_picture_without_spacing_gives_pixels_and_no_millimetres(a_localizer: Localizer, a_picture: Path) -> None:
    stack, found = predict(a_picture, a_localizer)
    assert stack.ras_from_ijk is None
    assert found.spacing_mm is None
    assert {(mark.position_ras_mm, mark.radius95_mm) for mark in found} == {(None, None)}
    assert all(mark.pixel_xy is not None and mark.confidence is not None for mark in found)
    assert any("--spacing" in warning for warning in found.warnings)


def test_a_picture_with_spacing_gives_millimetres(a_localizer: Localizer, truth_xy: Points, a_picture: Path) -> None:
    _, found = predict(a_picture, a_localizer, spacing_mm=3.1)
    assert np.abs(pixels(found) - truth_xy).max() < 1e-3
    # A picture's frame: R = 0, A = -3.1 x, S = -3.1 y.
    expected = truth_xy * -3.1
    assert np.abs(positions(found) - np.c_[np.zeros(11), expected]).max() < 0.01
    assert found.spacing_mm == (3.1, 3.1)


def test_a_spacing_that_cannot_be_is_refused(a_localizer: Localizer, a_picture: Path) -> None:
    for spacing in (0.0, -1.0, float("nan"), (0.5, float("inf"))):
        with pytest.raises(GeometryError, match="positive pixel spacing"):
            predict(a_picture, a_localizer, spacing_mm=spacing)


@pytest.fixture
def a_localizer_of_a_cut_spine(a_bundle_in_memory: Bundle, an_oracle: Any, oracle: Any) -> Localizer:
    """T12-L1 and L1 have no evidence worth the name, and their places are far above the image."""
    points = an_oracle.points_px - [0, an_oracle.points_px[2, 1] - 2]  # L1-L2 on the third row
    mass = np.zeros((7, 11))
    mass[:, :2] = -25
    return Localizer(a_bundle_in_memory, oracle(points, mass))


def test_what_is_out_of_view_is_said_to_be_so(a_localizer_of_a_cut_spine: Localizer, a_phantom_study: Path) -> None:
    _, found = predict(a_phantom_study, a_localizer_of_a_cut_spine)
    assert [mark.name for mark in found if mark.status == "out_of_view"] == ["T12-L1", "L1"]
    for mark in list(found)[:2]:
        assert (mark.position_ras_mm, mark.pixel_xy, mark.radius95_mm) == (None, None, None)
    assert "Out of view: T12-L1, L1" in found.warnings


def test_an_image_without_a_spine_has_every_landmark_out_of_view(
    a_bundle_in_memory: Bundle, an_oracle: Any, a_phantom_study: Path
) -> None:
    an_oracle.log_mass = np.full((7, 11), -25.0)
    _, found = predict(a_phantom_study, Localizer(a_bundle_in_memory, an_oracle))
    assert {mark.status for mark in found} == {"out_of_view"}
    assert found.slice_index == 3
    assert any("may not be a sagittal lumbar spine" in warning for warning in found.warnings)


def test_the_json_has_the_fields_of_the_contract(
    a_localizer_of_a_cut_spine: Localizer, a_phantom_study: Path, tmp_path: Path
) -> None:
    _, found = predict(a_phantom_study, a_localizer_of_a_cut_spine)
    FORMATS["json"](found, tmp_path / "found.json")
    written = json.loads((tmp_path / "found.json").read_text())
    assert list(written) == [
        "input",
        "series_uid",
        "slice_index",
        "spacing_mm",
        "bundle",
        "runtime_s",
        "warnings",
        "landmarks",
        "needs_review",
        "notes",
        "numberings",
        "corners",
    ]
    for mark in written["landmarks"]:
        assert list(mark) == [
            "name",
            "status",
            "position_ras_mm",
            "pixel_xy",
            "confidence",
            "radius95_mm",
            "needs_review",
        ]
    assert [mark["name"] for mark in written["landmarks"]] == list(LUMBAR11)
    first, last = written["landmarks"][0], written["landmarks"][-1]
    assert (first["status"], first["position_ras_mm"], first["pixel_xy"]) == ("out_of_view", None, None)
    assert first["radius95_mm"] is None
    assert (last["status"], len(last["position_ras_mm"]), len(last["pixel_xy"])) == ("predicted", 3, 2)
    assert 0 <= last["confidence"] <= 1


def test_a_doubtful_level_is_named_in_the_warnings(
    a_bundle_in_memory: Bundle, a_localizer: Localizer, a_phantom_study: Path
) -> None:
    # At temperature 1000 every probability is about one half.
    unsure = replace(a_bundle_in_memory, calibration=replace(a_bundle_in_memory.calibration, temperature=1000.0))
    _, found = predict(a_phantom_study, Localizer(unsure, a_localizer.backend))
    assert any(warning.startswith("Levels are doubtful: T12-L1, L1,") for warning in found.warnings)


def test_what_the_calibration_calls_unlike_is_warned_of_and_needs_review(
    a_bundle_in_memory: Bundle, an_oracle: Any, a_phantom_study: Path
) -> None:
    _, usual = predict(a_phantom_study, Localizer(a_bundle_in_memory, an_oracle))
    assert (usual.needs_review, usual["L3"].needs_review) == (False, False)
    strict = replace(a_bundle_in_memory, calibration=replace(a_bundle_in_memory.calibration, unlike_below=1e9))
    _, found = predict(a_phantom_study, Localizer(strict, an_oracle))
    assert any(warning.startswith("This image is unlike") for warning in found.warnings)
    assert (found.needs_review, found["L3"].needs_review) == (True, False)


def test_a_body_more_or_less_is_warned_of(a_bundle_in_memory: Bundle, an_oracle: Any, a_phantom_study: Path) -> None:
    limit = replace(a_bundle_in_memory, calibration=replace(a_bundle_in_memory.calibration, anomaly_above=-1.0))
    _, found = predict(a_phantom_study, Localizer(limit, an_oracle))
    assert any(warning.startswith("There may be six bodies") for warning in found.warnings)


def darkened(stack: SagittalStack, rows: slice) -> SagittalStack:
    """The same with nothing in some rows, as padding or saturation leaves them."""
    voxels = stack.voxels.copy()
    voxels[:, rows] = voxels.min()
    return replace(stack, voxels=voxels)


def test_without_a_sacrum_in_the_picture_every_name_is_in_doubt(
    a_localizer: Localizer, truth_xy: Points, a_phantom_study: Path
) -> None:
    stack, whole = predict(a_phantom_study, a_localizer)
    assert not any("sacrum" in warning for warning in whole.warnings)
    last = int(truth_xy[-1, 1])
    for below_mm, warned in ((35, False), (20, True), (-5, True)):
        found = a_localizer.localize(darkened(stack, slice(last + round(below_mm / 3.1), None)))
        assert any(warning.startswith("The sacrum is not in the picture") for warning in found.warnings) == warned
        assert found.needs_review == warned  # however sure: what would speak for another level ends with the picture


def test_a_place_in_the_dark_rim_of_a_picture_is_out_of_view(
    a_localizer: Localizer, truth_xy: Points, a_phantom_study: Path
) -> None:
    stack, _ = predict(a_phantom_study, a_localizer)
    found = a_localizer.localize(darkened(stack, slice(0, int(truth_xy[1, 1]) + 2)))  # L1 is the lowest in the dark
    assert [mark.name for mark in found if mark.status == "out_of_view"] == ["T12-L1", "L1"]


def test_slices_are_read_one_as_well_as_many(a_localizer: Localizer, a_phantom: Phantom) -> None:
    alone = a_localizer.read_slices(a_phantom.voxels[:1], (3.1, 3.1))
    together = a_localizer.read_slices(a_phantom.voxels, (3.1, 3.1))
    assert (len(alone), len(together)) == (1, 7)
    assert np.abs(alone[0].xy - together[6].xy).max() < 1e-6


def test_only_the_asked_for_slices_are_read(a_localizer: Localizer, an_oracle: Any, a_phantom_study: Path) -> None:
    stack, _ = predict(a_phantom_study, a_localizer)
    assert a_localizer.localize(stack, slices=range(4, 7)).slice_index == 5
    assert an_oracle.seen == 7 + 3


def test_the_middle_of_what_a_comb_of_slices_shows_is_read_too(
    a_bundle_in_memory: Bundle, an_oracle: Any, a_phantom: Phantom, oracle: Any
) -> None:
    """15 slices 4.4 mm apart: every other one is tried, 1 to 13. What they show lies about slice 8, between 7 and 9."""
    voxels = np.resize(a_phantom.voxels, (15, *a_phantom.voxels.shape[1:]))
    stack = SagittalStack(voxels, np.diag([3.1, 3.1, 4.4, 1.0]))
    tried = np.array([1, 3, 5, 7, 9, 11, 13, 8])
    log_mass = np.repeat(-((tried - 8.0) ** 2)[:, None] / 8, 11, axis=1)
    backend = oracle(an_oracle.points_px, log_mass)
    assert Localizer(a_bundle_in_memory, backend).localize(stack).slice_index == 8
    assert backend.seen == 8
    asked = oracle(an_oracle.points_px, log_mass)
    assert Localizer(a_bundle_in_memory, asked).localize(stack, slices=[1, 3, 5, 7, 9, 11, 13]).slice_index in (7, 9)
    assert asked.seen == 7


def test_given_points_stand_and_pull_the_levels_of_the_others_with_them(
    a_bundle_in_memory: Bundle, an_oracle: Any, a_phantom_study: Path
) -> None:
    """L3 is said to lie where the oracle sees L2: the chain must follow the reader, who has seen the whole study.

    Each landmark's second peak is twenty times weaker and lies one level higher.
    """

    class Doubting:
        name, batch = "doubting", 4

        def detect(self, images: NDArray[np.float32]) -> Peaks:
            found = an_oracle.detect(images)
            found.xy[:, 2:, 1], found.log_mass[:, 2:, 1] = an_oracle.points_px[:-2], np.log(0.05)
            return found  # type: ignore[no-any-return]

    localizer = Localizer(a_bundle_in_memory, Doubting())
    stack, before = predict(a_phantom_study, localizer)
    moved = before["L2"].position_ras_mm
    after = localizer.localize(stack, given={"L3": moved, "L5-S1": None})
    assert (after["L3"].status, after["L3"].position_ras_mm) == ("confirmed", moved)
    assert after["L3"].pixel_xy == pytest.approx(before["L2"].pixel_xy, abs=1e-6)
    assert (after["L5-S1"].status, after["L5-S1"].position_ras_mm) == ("not_visible", None)
    assert after["L2"].pixel_xy == pytest.approx(before["L1"].pixel_xy, abs=1e-6)
    assert after["L5"].pixel_xy == pytest.approx(before["L4"].pixel_xy, abs=1e-6)


def test_a_name_that_the_bundle_does_not_know_is_refused(a_localizer: Localizer, a_phantom_study: Path) -> None:
    stack, _ = predict(a_phantom_study, a_localizer)
    with pytest.raises(LandmarkError, match=r"Expected names of T12-L1.*; got 'L6'"):
        a_localizer.localize(stack, given={"L6": (0.0, 0.0, 0.0)})


def test_progress_is_told_and_can_end_the_work(a_localizer: Localizer, an_oracle: Any, a_phantom_study: Path) -> None:
    stack, _ = predict(a_phantom_study, a_localizer)
    told: list[tuple[float, str]] = []
    a_localizer.localize(stack, progress=lambda share, what: told.append((share, what)))
    assert told == [(0.0, "slice 1 of 7"), (4 / 7, "slice 5 of 7")]

    def stop(share: float, what: str) -> None:
        raise InterruptedError(what)

    seen = an_oracle.seen
    with pytest.raises(InterruptedError, match="slice 1 of 7"):
        a_localizer.localize(stack, progress=stop)
    assert an_oracle.seen == seen


# What follows is judged on the shipped bundle.


@pytest.mark.parametrize("is_first", [True, False])
def test_where_names_do_not_tell_the_picture_decides_which_series_is_lumbar(
    the_shipped_localizer: Localizer, tmp_path: Path, is_first: bool
) -> None:
    lumbar = make_phantom(5, matrix=(160, 128), pixel_mm=1.9, slices=7 if is_first else 6, slice_mm=4.4)
    upside_down = np.ascontiguousarray(np.resize(lumbar.voxels, (7, 160, 128))[:, ::-1])
    lifted = lumbar.ras_from_ijk.copy()
    lifted[2, 3] += 300.0
    write_dicom_series(lumbar, tmp_path / "a", description="T2 sag", series_number=1 if is_first else 2)
    other = replace(lumbar, voxels=upside_down, ras_from_ijk=lifted)
    write_dicom_series(other, tmp_path / "b", description="T2 sag", series_number=2 if is_first else 1)
    for file in tmp_path.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        del dataset.BodyPartExamined
        dataset.save_as(file)
    stack, found = predict(tmp_path, the_shipped_localizer)
    alone, expected = predict(tmp_path / "a", the_shipped_localizer)
    assert stack.series_uid == alone.series_uid
    assert found.landmarks == expected.landmarks
    assert "2 regions were compared" in found.notes[-1]
    assert stack.alternatives == ()


@pytest.mark.parametrize("seed", [1, 7, 23])
def test_the_demo_spine_is_found_through_dicom(the_shipped_localizer: Localizer, tmp_path: Path, seed: int) -> None:
    phantom = make_phantom(seed, contrast="T2")
    study = write_dicom_series(phantom, tmp_path / "dicom", description="SAG T2")
    _, found = predict(study, the_shipped_localizer)
    off = np.linalg.norm(positions(found) - positions(phantom.landmarks), axis=1)
    assert off.max() <= 8.0, dict(zip(LUMBAR11, off.round(1).tolist(), strict=True))


VOLUMES = ("VB2_05", "VB2_06", "VB2_07", "VB3_01", "VB3_02", "VB3_03")


@pytest.mark.parametrize("name", VOLUMES)
def test_all_bodies_of_a_real_volume_are_within_8_mm(
    the_shipped_localizer: Localizer, real_data: Path, name: str
) -> None:
    _, found = predict(real_data / "volumes" / f"{name}.nii.gz", the_shipped_localizer)
    centres = json.loads((real_data / "volumes" / f"{name}.json").read_text())["body_centres_ras_mm"]
    bodies = ("L1", "L2", "L3", "L4", "L5")
    off = np.linalg.norm(positions(found, bodies) - [centres[body] for body in bodies], axis=1)
    assert off.max() <= 8.0, dict(zip(bodies, off.round(1).tolist(), strict=True))


def sagittal_t2_of(study: Path) -> str:
    """UID of the one series that is called T2 and whose rows run along the patient's front-back axis."""
    import pydicom

    found = []
    for series in study.iterdir():
        header = pydicom.dcmread(next(p for p in series.rglob("*") if p.is_file()), stop_before_pixels=True, force=True)
        if "T2" in header.SeriesDescription and abs(header.ImageOrientationPatient[1]) > 0.9:
            found.append(str(header.SeriesInstanceUID))
    (uid,) = found
    return uid


def test_of_a_real_study_the_sagittal_t2_series_is_read(the_shipped_localizer: Localizer, real_data: Path) -> None:
    (study,) = (real_data / "dicom").iterdir()
    _, found = predict(study, the_shipped_localizer)
    assert found.series_uid == sagittal_t2_of(study)
    assert all(mark.status == "predicted" and mark.position_ras_mm is not None for mark in found)
    heights = positions(found)[:, 2]
    assert (np.diff(heights) < -8).all(), "each landmark lies below the one before it"


@pytest.mark.parametrize("turn", TURNS, ids=lambda turn: turn.words.replace(" ", "-"))
@pytest.mark.parametrize("has_spacing", [True, False])
def test_a_picture_that_lies_otherwise_is_read_turned_with_points_on_it_as_it_lies(
    the_shipped_localizer: Localizer, turn: Turn, has_spacing: bool
) -> None:
    phantom = make_phantom(9, slices=1, matrix=(288, 256), pixel_mm=1.1)
    matrix = np.array([[0.0, 0, 4, 0], [-1.1, 0, 0, 0], [0, -1.1, 0, 0], [0, 0, 0, 1]])
    picture = SagittalStack(phantom.voxels, matrix if has_spacing else None, has_patient_frame=False)
    upright = the_shipped_localizer.localize(picture)
    assert not any("lies" in text for text in upright.warnings)
    lying, stack_from_lying = picture.turned_in_plane(turn)
    found = the_shipped_localizer.localize(lying)
    assert f"The picture lies {turn.words}" in found.warnings[0]
    assert found.needs_review
    on_upright = apply(stack_from_lying, np.c_[pixels(found), np.zeros(11)])[:, :2]
    np.testing.assert_allclose(on_upright, pixels(upright), atol=1e-6)
    if has_spacing:
        np.testing.assert_allclose(positions(found), positions(upright), atol=1e-6)
        assert found.spacing_mm == lying.pixel_spacing_mm


def test_where_nothing_was_found_no_other_numbering_is_offered(the_shipped_localizer: Localizer) -> None:
    phantom = make_phantom(9, slices=1, matrix=(288, 256), pixel_mm=1.1)
    far_too_coarse = np.array([[0.0, 0, 4, 0], [-50.0, 0, 0, 0], [0, -50.0, 0, 0], [0, 0, 0, 1]])
    found = the_shipped_localizer.localize(SagittalStack(phantom.voxels, far_too_coarse))
    assert all(mark.is_absent for mark in found)
    assert found.needs_review
    assert found.numberings == ()
    assert not any("one level" in warning for warning in found.warnings)


@pytest.mark.parametrize("turn", TURNS[:3], ids=lambda turn: turn.words)
def test_of_a_picture_that_lies_otherwise_no_angle_is_measured(the_shipped_localizer: Localizer, turn: Turn) -> None:
    """Which way is up and which is front is not that of the picture's own frame; lengths are the same."""
    phantom = make_phantom(9, slices=1, matrix=(288, 256), pixel_mm=1.1)
    matrix = np.array([[0.0, 0, 4, 0], [-1.1, 0, 0, 0], [0, -1.1, 0, 0], [0, 0, 0, 1]])
    picture = SagittalStack(phantom.voxels, matrix, has_patient_frame=False, warnings=(TAKEN_AS_UPRIGHT,))
    lying, _ = picture.turned_in_plane(turn)
    upright, found = (the_shipped_localizer.localize(one) for one in (picture, lying))
    assert TAKEN_AS_UPRIGHT in upright.warnings
    assert TAKEN_AS_UPRIGHT not in found.warnings
    signed = replace(found, landmarks=tuple(replace(mark, status="confirmed") for mark in found))
    for expected, measured in zip(measure(upright), measure(signed), strict=True):
        if expected.unit == "deg" or expected.name.startswith("Centre offset"):
            assert (measured.value, "turned or mirrored" in measured.reason) == (None, True)
        else:
            assert measured.value == pytest.approx(expected.value, abs=3.0)


def test_a_picture_that_fits_as_well_turned_is_left_as_it_lies_and_flagged(the_shipped_localizer: Localizer) -> None:
    phantom = make_phantom(8, slices=1, matrix=(288, 256), pixel_mm=1.1)
    matrix = np.array([[0.0, 0, 4, 0], [-1.1, 0, 0, 0], [0, -1.1, 0, 0], [0, 0, 0, 1]])
    upside_down, _ = SagittalStack(phantom.voxels, matrix, has_patient_frame=False).turned_in_plane(TURNS[0])
    found = the_shipped_localizer.localize(upside_down)
    assert found.needs_review
    assert not any("lies" in text for text in found.warnings)


def test_a_turned_picture_is_read_turned_around_what_a_person_said_too(the_shipped_localizer: Localizer) -> None:
    phantom = make_phantom(9, slices=1, matrix=(288, 256), pixel_mm=1.1)
    matrix = np.array([[0.0, 0, 4, 0], [-1.1, 0, 0, 0], [0, -1.1, 0, 0], [0, 0, 0, 1]])
    picture = SagittalStack(phantom.voxels, matrix, has_patient_frame=False)
    for turn in (TURNS[0], TURNS[3]):
        lying, _ = picture.turned_in_plane(turn)
        first = the_shipped_localizer.localize(lying)
        again = the_shipped_localizer.localize(lying, given={"L3": first["L3"].position_ras_mm})
        assert again["L3"].status == "confirmed"
        assert f"The picture lies {turn.words}" in again.warnings[0]
        np.testing.assert_allclose(positions(again), positions(first), atol=1.0)
        np.testing.assert_allclose(pixels(again), pixels(first), atol=1.0)


def test_the_points_lie_between_the_slices_that_were_asked_for(the_shipped_localizer: Localizer) -> None:
    phantom = make_phantom(3, slices=17, matrix=(160, 160), pixel_mm=2.0, slice_mm=4.4)
    stack = SagittalStack(phantom.voxels, phantom.ras_from_ijk)
    found = the_shipped_localizer.localize(stack, slices=[3, 4, 5])
    lateral = stack.to_ijk(positions(found, tuple(mark.name for mark in found if not mark.is_absent)))[:, 2]
    assert lateral.min() > 3 - 1e-6
    assert lateral.max() < 5 + 1e-6


def test_an_image_with_a_patient_frame_is_never_turned(the_shipped_localizer: Localizer) -> None:
    phantom = make_phantom(9, slices=1, matrix=(288, 256), pixel_mm=1.1)
    lying, _ = SagittalStack(phantom.voxels, phantom.ras_from_ijk).turned_in_plane(TURNS[0])
    found = the_shipped_localizer.localize(lying)
    assert not any("lies" in text for text in found.warnings)
    assert found.needs_review
