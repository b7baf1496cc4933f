"""A second model's corners: on the levels of the centres, beside them in the result, and moved with their names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.errors import BundleError
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.quadrilaterals import disagreeing, own
from SpineLandmarksLib.transforms import Preparation, prepare_slice
from SpineLandmarksLib.uncertainty import Calibration


@pytest.fixture
def a_stack(a_phantom: Phantom) -> SagittalStack:
    return SagittalStack(a_phantom.voxels, a_phantom.ras_from_ijk)


@pytest.fixture
def corners_xy(a_phantom: Phantom) -> np.ndarray:
    return np.array([mark.pixel_xy for mark in a_phantom.landmarks.corners], dtype=np.float64)


def following(
    a_localizer: Localizer, oracle: type[Any], a_phantom: Phantom, answers: np.ndarray, truth: np.ndarray
) -> Localizer:
    """The localizer of centres with a second one that answers with these corners, native pixels."""
    _, pixel_from_slice = prepare_slice(a_phantom.voxels[0], (3.1, 3.1), Preparation(multiple=8))
    bundle = replace(
        a_localizer.bundle,
        name="corners",
        landmarks=CORNERS22,
        prior=ChainPrior.fit(truth[None] * 3.1),
        calibration=Calibration(1.0, (2.0,) * 22),
    )
    second = Localizer(bundle, oracle(apply(pixel_from_slice, answers)))
    return Localizer(a_localizer.bundle, a_localizer.backend, second)


def test_corners_lie_beside_the_centres_and_are_measured(
    a_localizer: Localizer, oracle: type[Any], a_phantom: Phantom, a_stack: SagittalStack, corners_xy: np.ndarray
) -> None:
    found = following(a_localizer, oracle, a_phantom, corners_xy, corners_xy).localize(a_stack)
    assert found.names == LUMBAR11
    assert tuple(mark.name for mark in found.corners) == CORNERS22
    assert found.bundle == "memory@1,corners@1"
    places = np.array([mark.pixel_xy for mark in found.corners])
    assert places == pytest.approx(corners_xy, abs=1e-3)
    values = {one.name: one for one in measure(found)}
    truth = {one.name: one for one in measure(a_phantom.landmarks)}
    for name in ("Lumbar lordosis L1-S1", "Sacral slope", "Disc height L4-L5 middle"):
        low, high = values[name].interval95 or (0.0, 0.0)
        assert low < values[name].value < high
        assert values[name].value == pytest.approx(truth[name].value, abs=0.2)


@pytest.mark.parametrize("levels", [1, -1])
def test_a_second_model_that_is_a_level_off_follows_the_first(
    a_localizer: Localizer,
    oracle: type[Any],
    a_phantom: Phantom,
    a_stack: SagittalStack,
    corners_xy: np.ndarray,
    levels: int,
) -> None:
    """What it calls another body's corners are the body's own; an end that it sees nothing of is not measured."""
    beyond = np.array([0.0, 16.0 * levels])
    ends = (corners_xy[:4] + beyond, corners_xy[-4:] + beyond)
    answers = np.concatenate([corners_xy[4:], ends[1]] if levels > 0 else [ends[0], corners_xy[:-4]])
    found = following(a_localizer, oracle, a_phantom, answers, corners_xy).localize(a_stack)
    places = {mark.name: mark.pixel_xy for mark in found.corners if not mark.is_absent}
    assert {name for name in CORNERS22 if name not in places} == set(CORNERS22[:4] if levels > 0 else CORNERS22[-4:])
    truth = dict(zip(CORNERS22, corners_xy, strict=True))
    for name, place in places.items():
        assert place == pytest.approx(truth[name], abs=1e-3), name
    by_corners = {one.name: one for one in measure(found) if one.points}
    assert by_corners["Lumbar lordosis L1-S1"].value is None
    assert by_corners["Lumbar lordosis L1-S1"].reason
    assert by_corners["Height L3 anterior"].value is not None


def test_corners_that_do_not_enclose_their_body_are_warned_of_and_not_measured(
    a_localizer: Localizer, oracle: type[Any], a_phantom: Phantom, a_stack: SagittalStack, corners_xy: np.ndarray
) -> None:
    beside, rows = corners_xy.copy(), [CORNERS22.index(name) for name in ("L3.sup.ant", "L3.sup.post")]
    beside[rows] -= [0.0, 4.0]  # above the centre of the disc
    found = following(a_localizer, oracle, a_phantom, beside, corners_xy).localize(a_stack)
    assert any("corners around L2-L3" in text for text in found.warnings)
    height = {one.name: one for one in measure(found)}
    assert height["Height L3 anterior"].value is None
    assert "doubtful" in height["Height L3 anterior"].reason
    assert height["Height L4 anterior"].value is not None


def test_corners_follow_names_that_a_person_moves(a_phantom: Phantom) -> None:
    session = Session("study", replace(a_phantom.landmarks, corners=a_phantom.landmarks.corners), "A. Reader")
    before = {mark.name: mark for mark in session.current.corners}
    session.shift_chain(+1, including_confirmed=True)
    after = {mark.name: mark for mark in session.current.corners}
    assert after["L3.sup.ant"].pixel_xy == before["L2.sup.ant"].pixel_xy
    assert "L1.sup.ant" not in after
    session.undo()
    assert session.current.corners == a_phantom.landmarks.corners


def test_the_browser_has_a_row_for_each_measurement_by_corners(a_phantom: Phantom) -> None:
    from SpineLandmarksLib.web.view_state import measurement_rows

    session = Session("study", a_phantom.landmarks, "A. Reader")
    rows = {row["name"]: row for row in measurement_rows(session)}
    lordosis = next(one for one in measure(session.current) if one.name == "Lumbar lordosis L1-S1")
    assert rows["Lumbar lordosis L1-S1"]["words"].replace("\N{NO-BREAK SPACE}", " ") == lordosis.words
    assert lordosis.definition in rows["Lumbar lordosis L1-S1"]["tip"]
    assert "Distance T12-L1 to L1" not in rows
    assert measurement_rows(None) == []


def test_a_candidate_belongs_to_the_disc_that_is_nearest() -> None:
    discs = ("T12-L1", "L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")
    centres = {disc: np.array([0.0, 36.0 * row]) for row, disc in enumerate(discs)}
    names = ("L2.sup.ant", "S1.sup.post")
    xy = np.array([[[-17.0, 40.0], [-17.0, 68.0]], [[10.0, 150.0], [10.0, 188.0]]])
    assert own(names, xy, centres).tolist() == [[True, False], [False, True]]
    assert not own(names, xy, {}).any()


def test_on_phantoms_corners_enclose_every_centre_and_lie_at_their_disc(a_phantom: Phantom) -> None:
    corners = {mark.name: np.array(mark.pixel_xy) for mark in a_phantom.landmarks.corners}
    centres = {mark.name: np.array(mark.pixel_xy) for mark in a_phantom.landmarks}
    assert disagreeing(corners, centres) == []
    assert own(tuple(corners), np.array(list(corners.values()))[:, None], centres).all()
    assert "L3-L4" in disagreeing(corners, centres | {"L3-L4": centres["L2-L3"]})


def test_a_bundle_after_the_comma_is_one_of_corners(a_small_bundle: Bundle) -> None:
    with pytest.raises(BundleError, match="corners of endplates after the comma"):
        Localizer.open(f"{a_small_bundle.folder},{a_small_bundle.folder}")


def test_a_data_set_of_phantom_corners_states_its_schema(tmp_path: Path) -> None:
    from SpineLandmarksLib.annotated_slices import load_annotations, schema_of

    folder = write_phantom_dataset(tmp_path / "corners", 1, 3, corners=True)
    assert schema_of(folder) == CORNERS22
    (row,) = load_annotations([folder], CORNERS22)
    assert set(row.points_xy) <= set(CORNERS22)
    assert len(row.points_xy) > 15
