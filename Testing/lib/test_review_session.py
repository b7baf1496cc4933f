"""The review session: each operation, what it refuses, its record, undo and redo, and the work taken up again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import (
    SessionText,
    load_session,
    save_session,
    session_as_json,
    session_from_json,
)
from SpineLandmarksLib.errors import FormatError, GeometryError, LandmarkError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

ROOT = Path(__file__).resolve().parents[2]
START = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
#: Oblique and not cubic: columns 0.5 mm along (0.6, -0.8, 0), rows 0.8 mm down, slices 4 mm along (0.8, 0.6, 0).
OBLIQUE = np.array([[0.3, 0, 3.2, 10], [-0.4, 0, 2.4, 20], [0, -0.8, 0, 30], [0, 0, 0, 1.0]])


class Clock:
    """Ten seconds pass between two looks at it, unless told otherwise."""

    def __init__(self) -> None:
        self.now, self.step = START, timedelta(seconds=10)

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


def predicted(*absent: str, confidence: float = 0.9) -> LandmarkSet:
    """Landmark n at ijk (100, 10 + 20 n, 3) of OBLIQUE, 16 mm apart; sure alike."""
    landmarks = []
    for n, name in enumerate(LUMBAR11):
        position = (OBLIQUE @ [100, 10 + 20 * n, 3, 1])[:3].round(6).tolist()
        if name in absent:
            landmarks.append(Landmark(name, "out_of_view", confidence=confidence))
        else:
            landmarks.append(Landmark(name, "predicted", tuple(position), (100.0, 10.0 + 20 * n), confidence, 2.0))
    return LandmarkSet(tuple(landmarks), input="7.nii.gz", series_uid="1.2.3", slice_index=3, bundle="lumbar11@1")


@pytest.fixture
def a_frame() -> ImageFrame:
    return ImageFrame(OBLIQUE, (200, 240, 7))


@pytest.fixture
def a_session(a_frame: ImageFrame) -> Session:
    return Session("study-7", predicted(), "A. Reader", a_frame, Clock())


def at(i: float, j: float, k: float = 3) -> tuple[float, ...]:
    """RAS of a voxel of OBLIQUE."""
    return tuple((OBLIQUE @ [i, j, k, 1])[:3].tolist())


# one operation each


def test_a_moved_point_is_corrected_and_falls_on_the_pixel_it_was_put_on(a_session: Session) -> None:
    a_session.move("L3", at(90, 115))
    moved = a_session["L3"]
    assert (moved.status, moved.confidence, moved.needs_review) == ("corrected", None, False)
    assert moved.position_ras_mm == pytest.approx(at(90, 115))
    assert moved.pixel_xy == pytest.approx((90, 115))
    assert a_session.original["L3"].position_ras_mm == pytest.approx(at(100, 110))


def test_a_point_is_moved_without_a_known_image_too_but_has_no_pixel_then() -> None:
    session = Session("s", predicted())
    session.move("L3", (1e4, 0, 0))
    assert session["L3"] == Landmark("L3", "corrected", (1e4, 0.0, 0.0), needs_review=False)


def test_a_missing_point_is_placed(a_frame: ImageFrame) -> None:
    session = Session("s", predicted("L5-S1"), frame=a_frame)
    session.place("L5-S1", at(100, 215))
    assert session["L5-S1"].status == "corrected"


def test_a_point_that_cannot_be_seen_is_taken_away(a_session: Session) -> None:
    a_session.mark_not_visible("T12-L1")
    assert a_session["T12-L1"] == Landmark("T12-L1", "not_visible", needs_review=False)


def test_confirming_keeps_the_point_and_unconfirming_gives_the_status_back(a_session: Session) -> None:
    a_session.move("L3", at(90, 115))
    for name, before in (("L2", a_session["L2"]), ("L3", a_session["L3"])):
        a_session.confirm(name)
        assert a_session[name] == replace(before, status="confirmed", needs_review=False)
        a_session.unconfirm(name)
        assert a_session[name] == before


def test_confirming_all_is_one_step_and_leaves_those_without_a_point_to_a_person(a_frame: ImageFrame) -> None:
    session = Session("s", predicted("L5-S1"), frame=a_frame)
    session.confirm_all()
    assert [landmark.status for landmark in session.current] == ["confirmed"] * 10 + ["out_of_view"]
    assert session.to_review() == ["L5-S1"]
    session.undo()
    assert session.current == session.original


@pytest.mark.parametrize(("levels", "first", "last"), [(1, "T12-L1", "L4-L5"), (-1, "L1-L2", "L5-S1")])
def test_a_shift_moves_names_body_to_body_while_positions_stay(
    a_session: Session, levels: int, first: str, last: str
) -> None:
    a_session.shift_chain(levels)
    before = [landmark.position_ras_mm for landmark in a_session.original]
    after = [landmark.position_ras_mm for landmark in a_session.current]
    assert after == ([None, None, *before[:9]] if levels > 0 else [*before[2:], None, None])
    assert a_session["L3"].position_ras_mm == a_session.original["L2" if levels > 0 else "L4"].position_ras_mm
    assert [landmark.status for landmark in a_session.current].count("corrected") == 9
    assert {landmark.confidence for landmark in a_session.current} == {None}  # it spoke of the level


def test_the_end_that_a_shift_opens_is_unset_and_next_to_be_looked_at(a_session: Session) -> None:
    a_session.shift_chain(-1)
    assert a_session["L5-S1"] == Landmark("L5-S1", "out_of_view")
    assert a_session.to_review() == ["L5", "L5-S1"]
    assert "L5" not in a_session.given()


def test_a_schema_of_bodies_alone_shifts_by_one_name() -> None:
    bodies = LandmarkSet(tuple(Landmark(f"L{n}", position_ras_mm=(0, 0, -30.0 * n)) for n in (1, 2, 3)))
    session = Session("s", bodies)
    session.shift_chain(+1)
    assert [landmark.position_ras_mm for landmark in session.current] == [None, (0, 0, -30), (0, 0, -60)]


def test_confirmed_points_stop_a_shift_unless_it_is_said_that_they_move_too(a_session: Session) -> None:
    a_session.confirm("L2")
    with pytest.raises(LandmarkError, match="L2 is"):
        a_session.shift_chain(+1)
    a_session.shift_chain(+1, including_confirmed=True)
    assert a_session["L3"].status == "corrected"
    assert a_session["L3"].position_ras_mm == a_session.original["L2"].position_ras_mm


def test_a_relocalization_replaces_only_what_no_person_has_spoken_of(a_session: Session) -> None:
    a_session.move("L3", at(90, 115))
    a_session.confirm("L4")
    a_session.mark_not_visible("T12-L1")
    assert a_session.given() == {
        "T12-L1": None,
        "L3": a_session["L3"].position_ras_mm,
        "L4": a_session.original["L4"].position_ras_mm,
    }
    kept = {name: a_session[name] for name in ("T12-L1", "L3", "L4")}
    new = replace(predicted("L5-S1", confidence=0.5), bundle="lumbar11@2")
    a_session.merge_relocalized(new)
    assert {name: a_session[name] for name in kept} == kept
    assert all(a_session[name] == new[name] for name in LUMBAR11 if name not in kept)
    assert a_session.current.bundle == "lumbar11@2"
    a_session.undo()
    assert a_session.current.bundle == "lumbar11@1"


def test_beginning_afresh_takes_the_whole_prediction_as_one_step_of_that_model(a_session: Session) -> None:
    a_session.confirm("L4")
    before = a_session.current
    new = replace(predicted("L5-S1", confidence=0.5), bundle="lumbar11@2")
    a_session.merge_relocalized(new, including_reviewed=True)
    assert (a_session.current.landmarks, a_session.current.bundle) == (new.landmarks, "lumbar11@2")
    a_session.undo()
    assert a_session.current == before


def test_what_was_changed_since_the_model_was_asked_stays_also_where_all_begins_afresh(a_session: Session) -> None:
    a_session.confirm("L4")
    since = a_session.current
    a_session.confirm("L3")
    kept, new = a_session["L3"], replace(predicted("L5-S1", confidence=0.5), bundle="lumbar11@2")
    a_session.merge_relocalized(new, including_reviewed=True, since=since)
    assert (a_session["L3"], a_session["L4"]) == (kept, new["L4"])


def test_a_confirmed_point_without_millimetres_is_not_given_as_one_that_cannot_be_seen() -> None:
    session = Session("s", LandmarkSet((Landmark("L1", pixel_xy=(3.0, 4.0)), Landmark("L2", pixel_xy=(3.0, 9.0)))))
    session.confirm("L1")
    assert session.given() == {}


def test_points_of_a_file_replace_the_prediction_and_get_pixels_of_this_image(a_session: Session) -> None:
    file = LandmarkSet(
        tuple(Landmark(name, "corrected", at(50, 10 + 20 * n)) for n, name in enumerate(LUMBAR11)), input="/a/b/c.csv"
    )
    correction = a_session.import_points(file)
    assert correction is not None
    assert correction.note == "c.csv"
    assert a_session["L1"].pixel_xy == pytest.approx((50, 30))
    a_session.confirm("L3")
    with pytest.raises(LandmarkError, match="L3 is"):
        a_session.import_points(predicted())


def test_what_changes_nothing_is_no_step(a_session: Session) -> None:
    a_session.confirm("L3")
    assert a_session.confirm("L3") is None
    assert a_session.merge_relocalized(a_session.original) is None
    a_session.confirm_all()
    assert a_session.confirm_all() is None
    assert [event.what for event in a_session.events] == ["confirm", "confirm"]


# refusals

REFUSED: dict[str, Callable[[Session], Any]] = {
    r"one of T12-L1, .*; got 'L6'": lambda s: s.move("L6", at(0, 0)),
    "L5-S1 has none. Place it": lambda s: s.move("L5-S1", at(0, 0)),
    "L3 has one. Move it": lambda s: s.place("L3", at(0, 0)),
    "three finite numbers .* for L3; got .*nan": lambda s: s.move("L3", (0, 0, float("nan"))),
    "three finite numbers .* for L3; got .*'x'": lambda s: s.move("L3", ("x", 0, 0)),
    r"three finite numbers .* for L3; got \(1, 2\)": lambda s: s.move("L3", (1, 2)),
    "L3 inside the volume; got R .* or mark it not visible": lambda s: s.move("L3", at(-0.6, 10)),
    "L2 is. Take the confirmation back first": lambda s: s.move("L2", at(0, 0)),
    "not confirmed; L2 is": lambda s: s.mark_not_visible("L2"),
    "L5-S1 has none. Place it or mark it not visible": lambda s: s.confirm("L5-S1"),
    "L3 is predicted. Nothing to take back": lambda s: s.unconfirm("L3"),
    "by 1 or more levels": lambda s: s.shift_chain(0),
    "none would be left": lambda s: s.shift_chain(6, including_confirmed=True),
    "expected the landmarks T12-L1": lambda s: s.merge_relocalized(LandmarkSet((Landmark("L1"),))),
    "Expected the landmarks T12-L1": lambda s: s.import_points(LandmarkSet((Landmark("L1"),))),
    "one of T12-L1": lambda s: s.next_doubtful("L6"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_refused_says_what_to_do_and_changes_nothing(a_frame: ImageFrame, message: str) -> None:
    session = Session("s", predicted("L5-S1"), frame=a_frame, clock=Clock())
    session.confirm("L2")
    before, told = session_as_json(session), []
    session.listen(told.append)
    with pytest.raises(LandmarkError, match=f"(?i){message}"):
        REFUSED[message](session)
    assert session_as_json(session) == before
    assert told == []
    assert session.can_undo()


def test_an_image_whose_frame_or_size_is_impossible_is_refused() -> None:
    with pytest.raises(GeometryError, match="each 1 or more"):
        ImageFrame(OBLIQUE, (200, 0, 7))


def test_the_frame_of_a_stack_has_columns_before_rows_and_none_without_millimetres() -> None:
    frame = ImageFrame.of(SagittalStack(np.zeros((7, 240, 200), np.float32), OBLIQUE))
    assert frame is not None
    assert frame.size_ijk == (200, 240, 7)
    assert frame.slice_index(at(100, 10, 3.4)) == 3  # type: ignore[arg-type]
    assert ImageFrame.of(SagittalStack(np.zeros((7, 240, 200), np.float32), None)) is None


def test_the_volume_reaches_half_a_voxel_beyond_the_outer_voxel_centres(a_frame: ImageFrame) -> None:
    inside = [at(-0.49, 0), at(199.49, 239.49, 6.49), at(0, -0.49, -0.49)]
    outside = [at(-0.51, 0), at(199.51, 0), at(0, 239.51), at(0, 0, 6.51), at(0, 0, -0.51)]
    assert [a_frame.contains(point) for point in inside + outside] == [True] * 3 + [False] * 5  # type: ignore[arg-type]


# the order of review


def doubt(**changed: Landmark) -> Session:
    landmarks = {name: Landmark(name, "predicted", (0, 0, 0), None, 0.9, 2.0) for name in LUMBAR11}
    return Session("s", LandmarkSet(tuple({**landmarks, **changed}.values())))


def test_the_worst_comes_first_by_flag_then_confidence_and_equals_from_the_head_down() -> None:
    session = doubt(
        L1=Landmark("L1", "predicted", (0, 0, 0), None, 0.9, 8.0),
        L2=Landmark("L2", "out_of_view", confidence=0.4),
        L3=Landmark("L3", "predicted", (0, 0, 0), None, 0.3, 2.0),
        L4=Landmark("L4", "predicted", (0, 0, 0), None, 0.2, 9.0, needs_review=False),
        L5=Landmark("L5", "predicted", (0, 0, 0)),
    )
    equal = ["T12-L1", "L1", "L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1"]  # L1 has the largest radius
    assert session.to_review() == ["L5", "L3", "L2", *equal, "L4"]


def test_walking_goes_on_from_where_it_is_also_after_that_one_is_done_and_begins_again_at_the_end() -> None:
    session = doubt(
        L3=Landmark("L3", "predicted", (0, 0, 0), None, 0.3, 2.0),
        L4=Landmark("L4", "predicted", (0, 0, 0), None, 0.5, 2.0),
    )
    assert session.next_doubtful() == "L3"
    assert session.next_doubtful("L3") == "L4"
    session.move("L4", (1, 1, 1))
    assert session.next_doubtful("L4") == "T12-L1"
    assert session.next_doubtful("L5-S1") == "L3"
    session.confirm_all()
    assert session.next_doubtful("L3") is None
    assert session.to_review() == []


def test_a_set_needs_no_review_once_a_person_has_looked_at_all_of_it() -> None:
    session = Session("s", replace(predicted(), needs_review=True))
    session.confirm("L3")
    assert session.current.needs_review is True
    session.confirm_all()
    assert session.current.needs_review is False


# records


def test_a_record_says_who_when_what_how_long_and_from_where_to_where(a_session: Session) -> None:
    correction = a_session.move("L3", at(90, 115))
    assert correction is not None
    assert (correction.who, correction.what, correction.seconds) == ("A. Reader", "move", 10.0)
    assert correction.when == START + timedelta(seconds=20)  # the clock was looked at when the session began
    (change,) = correction.changes
    assert (change.before, change.after, change.original) == (
        a_session.original["L3"],
        a_session["L3"],
        a_session.original["L3"],
    )
    a_session.author = "B. Reader"
    again = a_session.move("L3", at(91, 116))
    assert again is not None
    assert again.who == "B. Reader"
    assert again.changes[0].before == change.after
    assert again.changes[0].original == a_session.original["L3"]


def test_a_long_pause_is_not_counted_as_work_nor_is_a_clock_that_is_set_back() -> None:
    clock = Clock()
    session = Session("s", predicted(), clock=clock)
    clock.step = timedelta(hours=3)
    session.confirm("L1")
    clock.step = timedelta(hours=-1)
    session.confirm("L2")
    assert [event.seconds for event in session.events] == [0.0, 0.0]


def test_a_clock_that_does_not_say_its_zone_is_refused_before_anything_is_recorded() -> None:
    session = Session("s", predicted(), clock=lambda: datetime(2026, 1, 1))
    with pytest.raises(LandmarkError, match="a time in UTC"):
        session.confirm("L1")
    assert session.events == ()
    assert session.current == session.original


def test_listeners_hear_of_each_step_after_it_was_made_until_they_stop(a_session: Session) -> None:
    heard: list[tuple[str, str]] = []
    stop = a_session.listen(lambda correction: heard.append((correction.what, a_session["L3"].status)))
    a_session.confirm("L3")
    a_session.undo()
    stop()
    a_session.redo()
    assert heard == [("confirm", "confirmed"), ("undo", "predicted")]


def test_a_listener_that_fails_keeps_neither_the_step_nor_the_other_listeners_back(a_session: Session) -> None:
    heard: list[str] = []
    a_session.listen(lambda correction: 1 / 0)
    a_session.listen(lambda correction: heard.append(correction.what))
    with pytest.raises(ZeroDivisionError):
        a_session.confirm("L3")
    assert heard == ["confirm"]
    assert a_session["L3"].status == "confirmed"


def test_undo_and_redo_are_records_too_and_a_new_step_ends_redo(a_session: Session) -> None:
    a_session.confirm("L3")
    a_session.shift_chain(+1, including_confirmed=True)
    a_session.undo()
    a_session.undo()
    assert not a_session.can_undo()
    assert a_session.undo() is None
    a_session.redo()
    assert a_session["L3"].status == "confirmed"
    a_session.mark_not_visible("L1")
    assert not a_session.can_redo()
    assert a_session.redo() is None
    assert [(event.what, event.note) for event in a_session.events] == [
        ("confirm", ""),
        ("shift_chain", "1 towards the head"),
        ("undo", "shift_chain"),
        ("undo", "confirm"),
        ("redo", "confirm"),
        ("mark_not_visible", ""),
    ]


def test_a_comment_is_recorded_and_undo_passes_it_by(a_session: Session) -> None:
    a_session.confirm("L3")
    a_session.set_comment("unsure")
    a_session.set_comment("L6?")
    assert a_session.set_comment("L6?") is None
    a_session.undo()
    assert a_session["L3"].status == "predicted"
    assert a_session.comment == "L6?"


# any sequence of operations

NAMES = st.sampled_from(LUMBAR11)
POSITIONS = st.tuples(st.integers(-20, 220), st.integers(-20, 260), st.integers(-1, 7)).map(lambda ijk: at(*ijk))


class AnySequence(RuleBasedStateMachine):
    """Every state that a step made is remembered; undo and redo walk over them."""

    @initialize(absent=st.sets(NAMES, max_size=5))
    def begin(self, absent: set[str]) -> None:
        self.session = Session("s", predicted(*absent), "A. Reader", ImageFrame(OBLIQUE, (200, 240, 7)), Clock())
        self.states, self.here = [self.session.current], 0
        self.text = SessionText(self.session)

    def step(self, operation: Callable[[], Any]) -> None:
        before = session_as_json(self.session)
        try:
            correction = operation()
        except LandmarkError:
            correction = None
        if correction is None:
            assert session_as_json(self.session) == before
            return
        self.states[self.here + 1 :] = [self.session.current]
        self.here += 1

    @rule(name=NAMES, position=POSITIONS)
    def move_or_place(self, name: str, position: tuple[float, ...]) -> None:
        act = self.session.place if self.session[name].is_absent else self.session.move
        self.step(lambda: act(name, position))

    @rule(name=NAMES, what=st.sampled_from(["mark_not_visible", "confirm", "unconfirm"]))
    def state(self, name: str, what: str) -> None:
        self.step(lambda: getattr(self.session, what)(name))

    @rule()
    def confirm_all(self) -> None:
        self.step(self.session.confirm_all)

    @rule(levels=st.sampled_from([-2, -1, 1, 2]), including_confirmed=st.booleans())
    def shift(self, levels: int, including_confirmed: bool) -> None:
        self.step(lambda: self.session.shift_chain(levels, including_confirmed))

    @rule(absent=st.sets(NAMES, max_size=5), confidence=st.sampled_from([0.2, 0.9]), held=st.booleans())
    def take(self, absent: set[str], confidence: float, held: bool) -> None:
        new = predicted(*absent, confidence=confidence)
        self.step(lambda: self.session.merge_relocalized(new) if held else self.session.import_points(new))

    @rule()
    def undo(self) -> None:
        assert (self.session.undo() is None) == (self.here == 0)
        self.here = max(self.here - 1, 0)

    @rule()
    def redo(self) -> None:
        last = len(self.states) - 1
        assert (self.session.redo() is None) == (self.here == last)
        self.here = min(self.here + 1, last)

    @invariant()
    def the_state_is_the_remembered_one(self) -> None:
        assert self.session.current == self.states[self.here]

    @invariant()
    def a_copy_from_its_file_is_the_same(self) -> None:
        content = json.loads(json.dumps(session_as_json(self.session)))
        assert json.loads(str(self.text)) == content
        copy = session_from_json(content)
        assert session_as_json(copy) == content
        assert as_json(copy.current) == as_json(self.session.current)
        assert (copy.can_undo(), copy.can_redo()) == (self.here > 0, self.here < len(self.states) - 1)

    def teardown(self) -> None:
        if not hasattr(self, "session"):
            return
        while self.session.redo():
            pass
        assert self.session.current == self.states[-1]
        end = self.session.current
        while self.session.undo():
            pass
        assert self.session.current == self.session.original
        while self.session.redo():
            pass
        assert self.session.current == end


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)


# taken up again


def test_a_session_is_taken_up_where_it_ended_by_another_reader_too(a_session: Session, tmp_path: Path) -> None:
    a_session.move("L3", at(90, 115))
    a_session.set_comment("schräg")
    a_session.undo()
    save_session(a_session, tmp_path / "7.json")
    again = load_session(tmp_path / "7.json", a_session.frame, "B. Reader", Clock())
    assert again.events == a_session.events
    again.redo()
    assert again["L3"].position_ras_mm == pytest.approx(at(90, 115))
    assert (again.comment, again.events[-1].who, again.study) == ("schräg", "B. Reader", "study-7")


def test_a_session_with_a_record_that_does_not_follow_is_refused(a_session: Session) -> None:
    a_session.confirm("L3")
    a_session.unconfirm("L3")
    content = session_as_json(a_session)
    content["events"] = content["events"][1:]
    with pytest.raises(FormatError, match=r"record 0 \(unconfirm L3\) does not.*earlier copy"):
        session_from_json(content)
    content["events"] = [{**content["events"][0], "what": "undo", "changes": []}]
    with pytest.raises(FormatError, match="does not"):
        session_from_json(content)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("version", 2, "version 1; got 2. Update"),
        ("study", "../x", "a study key"),
        ("events", [{"who": "A", "when": "2026-01-31T09:30:00+00:00", "what": "hop"}], "one of move, .*; got 'hop'"),
        ("events", [{"who": "A", "when": "yesterday", "what": "move"}], "a time such as"),
        ("prediction", None, "expected an object"),
    ],
)
def test_a_session_file_that_breaks_its_format_says_where(
    a_session: Session, field: str, value: Any, message: str
) -> None:
    with pytest.raises(FormatError, match=message):
        session_from_json(session_as_json(a_session) | {field: value})


def test_a_record_whose_parts_are_of_different_landmarks_is_refused(a_session: Session) -> None:
    a_session.confirm("L3")
    content = json.loads(json.dumps(session_as_json(a_session)))
    content["events"][0]["changes"][0]["after"]["name"] = "L4"
    with pytest.raises(FormatError, match="expected one landmark; got L3, L4, L3"):
        session_from_json(content)


def test_the_session_needs_neither_torch_nor_any_reader_nor_a_database() -> None:
    review = ["session", "session_file", "revision_files", "measurements", "import_file", "revision", "frame"]
    heavy = [
        "torch",
        "monai",
        "matplotlib",
        "SimpleITK",
        "nibabel",
        "pydicom",
        "PIL",
        "onnxruntime",
        "sqlalchemy",
        "scipy",
        "vtk",
        "slicer",
        "qt",
    ]
    modules = ", ".join(f"SpineLandmarksLib.annotation.{name}" for name in review)
    code = f"import sys, {modules}; print(*[name for name in {heavy} if name in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_the_doubt_about_a_new_picture_as_a_whole_is_kept_on_its_points(a_session: Session) -> None:
    a_session.move(LUMBAR11[0], (10.0, 20.0, 30.0))
    a_session.merge_relocalized(replace(predicted(), needs_review=True, warnings=("This image is unlike",)))
    marks = a_session.current
    assert marks.asks_for_review(marks["L1"])
    assert not marks.asks_for_review(marks[LUMBAR11[0]])
