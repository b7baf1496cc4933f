"""A second model's corners: on the levels of the centres, beside them in the result, and moved with their names."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.consensus import chosen, compare_readings, consensus_of
from SpineLandmarksLib.annotation.endplate_lines import AXIAL, endplate_lines
from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import import_landmarks
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import load_session, save_session
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BundleError, DatasetError, FormatError
from SpineLandmarksLib.formats.json_result import write_json
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.placement import placed
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.measurement import Measurement
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


# A person corrects them


@pytest.fixture
def a_session(a_phantom: Phantom, a_stack: SagittalStack) -> Session:
    """All that a model has found, of which it is sure."""
    said = {"status": "predicted", "confidence": 0.95, "radius95_mm": 1.5, "needs_review": False}
    marks, corners = (
        tuple(replace(mark, **said) for mark in some)
        for some in (a_phantom.landmarks.landmarks, a_phantom.landmarks.corners)
    )
    found = LandmarkSet(marks, input="phantom", bundle="centres@1,corners@1", corners=corners, needs_review=False)
    return Session("study", found, "A. Reader", ImageFrame.of(a_stack))


def lordosis_of(session: Session) -> Measurement:
    return next(one for one in measure(session.current) if one.name == "Lumbar lordosis L1-S1")


def moved(session: Session, name: str, *by: float) -> None:
    session.move(name, np.add(session[name].position_ras_mm or (), by).tolist())


def test_a_corner_is_corrected_as_any_point_and_what_is_measured_by_it_follows(a_session: Session) -> None:
    before = lordosis_of(a_session)
    moved(a_session, "S1.sup.ant", 0, 0, -3)
    assert a_session["S1.sup.ant"].status == "corrected"
    assert a_session.current.corners[CORNERS22.index("S1.sup.ant")] == a_session["S1.sup.ant"]
    after = lordosis_of(a_session)
    assert after.value is not None
    assert after.value > (before.value or 0) + 3  # the front of the sacrum is lower: its slope and lordosis are more
    assert after.interval95 is None  # a point that a person has set has no radius
    a_session.undo()
    assert lordosis_of(a_session) == before
    a_session.redo()
    assert lordosis_of(a_session) == after


def test_a_corner_that_cannot_be_seen_takes_away_what_is_measured_by_it(a_session: Session) -> None:
    a_session.mark_not_visible("S1.sup.ant")
    assert (lordosis_of(a_session).value, lordosis_of(a_session).reason) == (None, "S1.sup.ant is not visible")
    a_session.place("S1.sup.ant", a_session.original["S1.sup.ant"].position_ras_mm or ())
    assert lordosis_of(a_session).value is not None


def test_corrected_corners_are_in_what_is_saved_and_in_the_steps_that_are_taken_up_again(
    a_session: Session, tmp_path: Path
) -> None:
    moved(a_session, "L4.inf.post", 0, 1, 0)
    a_session.confirm("L4.inf.post")
    saved = a_session.revision(ImageReference("p.png"))
    assert Revision.from_json(saved.as_json()).landmarks["L4.inf.post"].status == "confirmed"
    save_session(a_session, tmp_path / "session.json")
    again = load_session(tmp_path / "session.json", a_session.frame)
    assert again.current.corners[CORNERS22.index("L4.inf.post")].status == "confirmed"
    again.undo()
    again.undo()
    assert again.current == again.original


def test_confirm_all_takes_the_kind_that_is_selected_and_no_sign_off_waits_for_corners(a_session: Session) -> None:
    a_session.confirm_all("L3")
    assert a_session.to_review() == []
    assert {mark.status for mark in a_session.corners} == {"predicted"}
    a_session.confirm_all("L3.sup.ant")
    assert {mark.status for mark in a_session.points} == {"confirmed"}


def test_doubtful_corners_are_gone_through_once_the_centres_are_decided(a_session: Session) -> None:
    doubtful = ("L2.sup.post", "L5.inf.ant")
    corners = tuple(replace(mark, needs_review=mark.name in doubtful) for mark in a_session.corners)
    session = Session("study", replace(a_session.original, corners=corners))
    assert session.next_doubtful() in LUMBAR11
    session.confirm_all()
    assert session.next_doubtful() == "L2.sup.post"
    assert session.next_doubtful("L2.sup.post") == "L5.inf.ant"
    session.confirm_all("L5.inf.ant")
    assert session.next_doubtful() is None


def test_corners_follow_names_that_a_person_moves(a_session: Session) -> None:
    before = {mark.name: mark for mark in a_session.corners}
    a_session.shift_chain(+1, including_confirmed=True)
    after = {mark.name: mark for mark in a_session.corners}
    assert after["L3.sup.ant"].pixel_xy == before["L2.sup.ant"].pixel_xy
    assert after["L3.sup.ant"].status == "predicted"  # nobody has looked where it lies
    assert after["L1.sup.ant"] == Landmark("L1.sup.ant", "out_of_view")
    a_session.undo()
    assert a_session.corners == a_session.original.corners


def test_corners_on_other_levels_than_the_centres_are_not_measured_by(a_session: Session) -> None:
    """Each centre was moved by hand to the body below; the corners, which nobody has touched, are where they were."""
    places = [mark.position_ras_mm for mark in a_session.current]
    for name, place in zip(LUMBAR11, places[2:], strict=False):
        a_session.move(name, place or ())
    found = {one.name: one for one in measure(a_session.current)}
    assert found["Height L3 anterior"].value is None
    assert "the corners around L2-L3 do not enclose its centre" in found["Height L3 anterior"].reason
    for mark in a_session.corners:
        if mark.name.startswith("L3."):
            a_session.confirm(mark.name)
    assert next(one for one in measure(a_session.current) if one.name == "Height L3 anterior").value is not None


def test_readers_whose_corners_differ_leave_none_of_them_to_be_measured_by(a_session: Session) -> None:
    """One has moved all names by a level and confirmed the corners; who decides takes the names of the other."""
    other = Session("study", a_session.original, "B. Reader", a_session.frame)
    a_session.shift_chain(+1)
    a_session.confirm_all("L3.sup.ant")
    other.confirm_all()
    readings = [a_session.current, other.current]
    places, corners = (
        [{mark.name: mark.pixel_xy for mark in marks if mark.pixel_xy is not None} for marks in some]
        for some in (readings, [one.corners for one in readings])
    )
    comparing = compare_readings(places, LUMBAR11, corners=corners, decided=CORNERS22)
    assert comparing.is_level_dispute
    begun = consensus_of(readings, comparing)
    assert {mark.status for mark in begun.corners} == {"out_of_view"}
    assert [one.name for one in measure(begun) if one.points and one.value is not None] == []
    decided = chosen(begun, readings[1:], [*LUMBAR11, *comparing.disputed], "B. Reader")
    assert [mark.pixel_xy for mark in decided.corners] == [mark.pixel_xy for mark in other.corners]
    assert {mark.status for mark in decided.corners} == {"confirmed"}


def test_corners_in_one_place_to_all_readers_are_those_who_decided_on_them_say(a_session: Session) -> None:
    readings = [Session("study", a_session.original, name, a_session.frame) for name in ("A. Reader", "B. Reader")]
    for session, mm in zip(readings, (1.0, 3.0), strict=True):
        session.confirm_all()
        moved(session, "L2.inf.ant", 0, mm, 0)
    moved(readings[1], "L4.sup.post", 0, -1, 0)
    moved(readings[1], "L5.sup.post", 0, -6, 0)
    now = [one.current for one in readings]
    places = [{mark.name: mark.pixel_xy for mark in one if mark.pixel_xy is not None} for one in now]
    agreed = consensus_of(now, compare_readings(places, LUMBAR11))
    was = a_session.original["L2.inf.ant"].position_ras_mm or ()
    assert agreed["L2.inf.ant"].position_ras_mm == pytest.approx((was[0], was[1] + 2, was[2]))
    assert agreed["L4.sup.post"] == readings[1]["L4.sup.post"]
    assert agreed["L3.sup.ant"] == a_session.original["L3.sup.ant"]
    assert [mark.name for mark in agreed.corners if mark.needs_review] == ["L5.sup.post"]


def test_a_model_that_looks_for_corners_later_brings_them_and_undo_takes_them_away(a_session: Session) -> None:
    with_corners = a_session.original
    session = Session("study", replace(with_corners, corners=()), frame=a_session.frame)
    session.confirm("L3")
    session.merge_relocalized(with_corners)
    assert session.current.corners == with_corners.corners
    moved(session, "L3.sup.ant", 0, 1, 0)
    session.merge_relocalized(with_corners)  # what a person has set stays
    assert session["L3.sup.ant"].status == "corrected"
    session.undo()
    session.undo()
    assert session.current.corners == ()


def test_corners_in_a_file_come_with_its_landmarks(a_session: Session, tmp_path: Path) -> None:
    before = a_session.current
    moved(a_session, "L2.inf.ant", 0, 2, 0)
    write_json(a_session.current, tmp_path / "corrected.json")
    taken = import_landmarks(tmp_path / "corrected.json", LUMBAR11, a_session.frame, known=before, before=before)
    assert taken["L2.inf.ant"].status == "corrected"
    other = Session("study", before, frame=a_session.frame)
    other.import_points(taken)
    assert other["L2.inf.ant"].position_ras_mm == pytest.approx(a_session["L2.inf.ant"].position_ras_mm, abs=1e-3)
    content = json.loads((tmp_path / "corrected.json").read_text())
    content["corners"].append(content["corners"][0])
    (tmp_path / "twice.json").write_text(json.dumps(content))
    with pytest.raises(FormatError, match="each landmark once"):
        import_landmarks(tmp_path / "twice.json")


def test_a_schema_of_centres_and_corners_has_both_among_its_landmarks(a_session: Session, tmp_path: Path) -> None:
    schema = (*LUMBAR11, *CORNERS22)
    own_names = replace(a_session.current, landmarks=a_session.points, corners=())
    write_json(own_names, tmp_path / "all.json")
    found = import_landmarks(tmp_path / "all.json", schema, a_session.frame)
    assert (found.names, found.corners) == (schema, ())
    saved = Session("study", own_names, "A. Reader").revision(ImageReference("p.png"))
    again = Revision.from_json(saved.as_json()).landmarks
    assert (again.names, again.corners) == (schema, ())


def test_corners_of_a_file_in_pixels_are_placed_on_the_image_as_its_centres_are(
    a_session: Session, a_stack: SagittalStack
) -> None:
    wanted = a_session.current
    in_pixels = [replace(mark, position_ras_mm=None, pixel_xy=(mark.pixel_xy or ())[::-1]) for mark in wanted.points]
    said = replace(wanted, landmarks=tuple(in_pixels[:11]), corners=tuple(in_pixels[11:]))
    found = placed(said, a_stack, 3, lambda xy, index: (xy[1], xy[0]))
    for mark in wanted.points:
        assert found[mark.name].pixel_xy == pytest.approx(mark.pixel_xy), mark.name
        assert a_stack.to_ijk(np.array(found[mark.name].position_ras_mm))[:2] == pytest.approx(mark.pixel_xy), mark.name
    far = replace(said.corners[0], pixel_xy=(1e4, 1.0))
    with pytest.raises(FormatError, match=r"L1\.sup\.ant lie outside"):
        placed(replace(said, corners=(far, *said.corners[1:])), a_stack, 3)


def test_lines_lie_on_the_slice_that_is_shown(a_session: Session) -> None:
    frame = a_session.frame
    assert frame is not None
    for index in (1, 4):
        lines = endplate_lines(a_session.current, frame, index)
        drawn = [frame.ijk(end) for line in lines if line.name != AXIAL for end in (line.start, line.end)]
        assert [k for _, _, k in drawn] == pytest.approx([index] * len(drawn))
    i, j, _ = frame.ijk(a_session["L3.inf.ant"].position_ras_mm or ())
    at = next(line for line in endplate_lines(a_session.current, frame, 4) if line.name == "L3.inf")
    assert frame.ijk(at.start) == pytest.approx((i, j, 4))


def test_what_is_drawn_follows_the_corners_and_says_what_is_measured(a_session: Session) -> None:
    lines = {line.name: line for line in endplate_lines(a_session.current)}
    assert len(lines) == 12  # of five bodies and the sacrum, and the axial plane
    front, back = (np.array(a_session[f"L3.inf.{side}"].position_ras_mm) for side in ("ant", "post"))
    assert lines["L3.inf"].start == pytest.approx(tuple(front))
    assert lines["L3.inf"].end == pytest.approx(tuple(back))
    assert lines["L1.sup"].words == f"Lordosis {lordosis_of(a_session).value:.1f}°"
    axial = np.subtract(lines[AXIAL].end, lines[AXIAL].start)
    assert axial[[0, 2]] == pytest.approx([0, 0])
    a_session.mark_not_visible("S1.sup.ant")
    lines = {line.name: line for line in endplate_lines(a_session.current)}
    assert AXIAL not in lines
    assert "S1.sup" not in lines
    assert lines["L1.sup"].words == ""


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
    with pytest.raises(BundleError, match="lumbar centres before the comma"):
        Localizer.open("lumbar-corners,lumbar-corners")


def test_the_browser_takes_a_bundle_of_corners_after_the_one_in_use(tmp_path: Path) -> None:
    from SpineLandmarksLib.cli.review import require_same_landmarks
    from SpineLandmarksLib.retraining.registry import current_bundle

    named = current_bundle(tmp_path, "current,lumbar-corners")
    assert named == "lumbar11,lumbar-corners"
    require_same_landmarks(named, LUMBAR11)
    with pytest.raises(DatasetError, match="Expected a model of thumb, wrist"):
        require_same_landmarks(named, ("thumb", "wrist"))


def test_pictures_of_another_anatomy_are_not_added_with_the_points_of_a_spine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model in use finds other landmarks than the data set has: nothing is added, and it is said what to do."""
    folder = tmp_path / "hands"
    (folder / "images").mkdir(parents=True)
    (folder / "schema.json").write_text('{"landmarks": ["thumb", "wrist"], "order": "none"}')
    assert main(["dataset", "init", str(folder), "--author", "Ann"]) == 0
    Image.fromarray(np.arange(64 * 64, dtype=np.uint8).reshape(64, 64)).save(tmp_path / "new.png")
    add = ["dataset", "add", str(folder), str(tmp_path / "new.png"), "--spacing", "1"]
    assert main(add) == 2
    assert "--bundle none" in capsys.readouterr().err
    assert main([*add, "--bundle", "none"]) == 0
    assert "1 studies added" in capsys.readouterr().out


def test_a_data_set_of_phantom_corners_states_its_schema(tmp_path: Path) -> None:
    from SpineLandmarksLib.annotated_slices import load_annotations, schema_of

    folder = write_phantom_dataset(tmp_path / "corners", 1, 3, corners=True)
    assert schema_of(folder) == CORNERS22
    (row,) = load_annotations([folder], CORNERS22)
    assert set(row.points_xy) <= set(CORNERS22)
    assert len(row.points_xy) > 15
