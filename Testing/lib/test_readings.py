"""Blind double reading, gold cases, roles and the log, on SQLite and on PostgreSQL."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, select

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.session import shift_names
from SpineLandmarksLib.errors import AccessError, StoreError
from SpineLandmarksLib.formats.atomic import sha256_of
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Status
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.accounts import accounts, check_password, find_account, remove_account, set_account
from SpineLandmarksLib.store.audit import audit_problems, events_of, log_rows
from SpineLandmarksLib.store.checks import check_store
from SpineLandmarksLib.store.exclusions import exclude_study, exclusions, include_study
from SpineLandmarksLib.store.export import import_record, record_of
from SpineLandmarksLib.store.folder import open_store
from SpineLandmarksLib.store.import_files import import_files
from SpineLandmarksLib.store.quality import GoldReading, gold_readings, quality_figure, quality_text, reader_quality
from SpineLandmarksLib.store.readings import (
    assign_readers,
    end_gold,
    mark_gold,
    reading_rows,
    reopen_study,
    replace_reader,
    sign_study,
    standing,
)
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord, complete
from SpineLandmarksLib.store.work import team_work, work_lines

Opener = Callable[[], Store]
PASSWORD = "a long enough one"


@pytest.fixture
def store(opener: Opener) -> Store:
    return opener()


def add_study(store: Store, key: str = "case", grey: int = 7) -> StudyRecord:
    """One slice of 200 x 300 pixels of 1 mm, with what a model says of it."""
    path = store.folder / "images" / f"{key}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((300, 200), grey, dtype=np.uint8)).save(path)
    study = StudyRecord(key, f"p-{key}", f"images/{key}.png", sha256_of(path), (200, 300), spacing_mm=(1.0, 1.0))
    store.add_study(study)
    store.save(Revision(key, "model@1", utc_now(), points(study, bundle="model@1"), study.reference))
    return study


def points(study: StudyRecord, bundle: str | None = None, **moved: float) -> LandmarkSet:
    """A straight spine; moved: mm by which a landmark lies lower, its name with _ for -."""
    marks = tuple(
        Landmark(
            name,
            "predicted" if bundle else "confirmed",
            pixel_xy=(100.0, 40.0 + 17 * row + moved.get(name.replace("-", "_"), 0.0)),
        )
        for row, name in enumerate(LUMBAR11)
    )
    return complete(LandmarkSet(marks, slice_index=0, bundle=bundle), study.matrix)


def read(
    store: Store, study: StudyRecord, person: str, said: LandmarkSet | None = None, seconds: float = 20
) -> Revision:
    """Go on from what this person sees, save and sign."""
    before = standing(store, study.key, person).revision
    parent = before.id if before else None
    one = Revision(study.key, person, utc_now(), said or points(study), study.reference, parent, seconds)
    store.save(one)
    sign_study(store, one.id, person)
    return one


def in_turn(store: Store, count: int) -> list[StudyRecord]:
    return [add_study(store, f"case-{n}", n + 1) for n in range(count)]


def two_readers(store: Store, **said: LandmarkSet) -> StudyRecord:
    study = add_study(store)
    assign_readers(store, study.key, list(said), "Lea")
    for person, landmarks in said.items():
        read(store, study, person, landmarks)
    return study


# Double reading


def test_two_who_agree_make_a_consensus_with_both_as_its_parents(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    ann = read(store, study, "Ann", points(study))
    assert store.signed_off() == []
    bob = read(store, study, "Bob", points(study, L3=2.0))
    (made,) = store.signed_off()
    assert (made.parent, made.merged, made.author) == (ann.id, (bob.id,), "Ann and Bob")
    assert made.landmarks["L3"].pixel_xy == (100.0, 40.0 + 17 * LUMBAR11.index("L3") + 1.0)
    assert store.heads(study.key) == [made]
    assert store.forks() == {}
    assert check_store(store) == []


def test_no_reader_sees_what_another_has_saved_before_all_have_signed(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    ann = read(store, study, "Ann", points(study, L3=2.0))
    seen = standing(store, study.key, "Bob")
    assert seen.revision is not None
    assert seen.revision.is_prediction
    assert seen.opinions == ()
    assert standing(store, study.key, "Ann").revision == ann
    for other in ("Cy", "Lea"):
        with pytest.raises(StoreError, match="being read by others"):
            standing(store, study.key, other)
        assert store.take([study.key], other) is None
    assert [head.is_prediction for head in store.heads(study.key)] == [True], "no version of the study yet"
    assert store.take([study.key], "Ann") == store.take([study.key], "Bob") == study.key


def test_an_annotation_from_before_is_not_shown_to_readers_and_makes_way(store: Store) -> None:
    study = add_study(store)
    old = Revision(study.key, "Old", utc_now(), points(study, L1=1.0), study.reference)
    store.save(old)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    assert standing(store, study.key, "Ann").revision.is_prediction  # type: ignore[union-attr]
    read(store, study, "Ann")
    read(store, study, "Bob")
    assert store.heads(study.key) == store.signed_off()
    assert old in store.history(study.key)


PLANTED: dict[str, Callable[[StudyRecord], tuple[LandmarkSet, Sequence[str], str]]] = {
    "level": lambda study: (
        replace(points(study), landmarks=shift_names(tuple(points(study)), 1)),
        LUMBAR11,
        "Bob names the levels 1 towards the head",
    ),
    "swap": lambda study: (points(study, L4=17.0, L4_L5=-17.0), ["L4", "L4-L5"], "L4 and L4-L5 are exchanged"),
    "slip": lambda study: (points(study, L2=12.0), ["L2"], "L2: 12.0 mm apart"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_error_is_found_and_a_third_decides(store: Store, planted: str) -> None:
    study = add_study(store)
    wrong, disputed, words = PLANTED[planted](study)
    marks = [m if not m.is_absent else Landmark(m.name, "not_visible") for m in wrong]
    wrong = complete(replace(wrong, landmarks=tuple(marks)), study.matrix)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea", arbiter="Cy")
    read(store, study, "Ann")
    read(store, study, "Bob", wrong)
    assert store.signed_off() == []
    seen = standing(store, study.key, "Cy")
    assert (seen.view, [one.person for one in seen.opinions]) == ("decide", ["Ann", "Bob"])
    assert seen.words[0].startswith(words)
    assert seen.landmarks is not None
    assert [mark.name for mark in seen.landmarks if mark.status == "out_of_view"] == list(disputed)
    last = read(store, study, "Cy", points(study))
    (made,) = store.signed_off()
    ids = {one.author: one.id for one in store.history(study.key)}
    assert (made.author, made.parent, set(made.merged)) == ("Cy", last.id, {ids["Ann"], ids["Bob"]})
    assert store.forks() == {}
    level = planted == "level"
    assert dict(made.landmarks.numberings) == ({0: 0.6667, 1: 0.3333} if level else {})
    assert bool(made.landmarks.notes) == level
    assert check_store(store) == []


def with_corners(said: LandmarkSet, study: StudyRecord, mm: float = 0.0, status: Status = "confirmed") -> LandmarkSet:
    """The upper end of two bodies; mm: by which the front one of L3 lies lower."""
    places = {"L2.sup.ant": (115.0, 80.0), "L3.sup.ant": (115.0, 114.0 + mm), "L3.sup.post": (85.0, 114.0)}
    marks = tuple(Landmark(name, status, pixel_xy=xy) for name, xy in places.items())
    return complete(replace(said, corners=marks), study.matrix)


def test_a_corner_in_which_readers_differ_waits_for_who_decides(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea", arbiter="Cy")
    read(store, study, "Ann", with_corners(points(study), study, status="predicted"))
    read(store, study, "Bob", with_corners(points(study), study, 12.0))
    assert store.signed_off() == []
    seen = standing(store, study.key, "Cy")
    assert (seen.words, seen.disputed) == (("L3.sup.ant: 12.0 mm apart",), ("L3.sup.ant",))
    assert seen.landmarks is not None
    with pytest.raises(StoreError, match=r"still to decide: L3\.sup\.ant"):
        read(store, study, "Cy", seen.landmarks)
    read(store, study, "Cy", with_corners(points(study), study, 1.0))
    (made,) = store.signed_off()
    assert made.landmarks["L3.sup.ant"].pixel_xy == (115.0, 115.0)
    (row,) = [one for one in reading_rows(store) if one["landmark"] == "L3.sup.ant"]
    assert (row["apart_mm"], row["seen_by"], row["disputed"]) == ("12.000", 2, 1)


def test_corners_within_the_limit_of_the_reading_are_their_mean(store: Store) -> None:
    study = add_study(store)
    said = {"Ann": with_corners(points(study), study), "Bob": with_corners(points(study), study, 3.0)}
    assign_readers(store, study.key, list(said), "Lea", limit_mm=2.0)
    for person, one in said.items():
        read(store, study, person, one)
    assert standing(store, study.key, "Lea").disputed == ("L3.sup.ant",)
    other = add_study(store, "other", 9)
    assign_readers(store, other.key, list(said), "Lea", limit_mm=5.0)
    for person, one in said.items():
        read(store, other, person, one)
    (made,) = store.signed_off()
    assert made.landmarks["L3.sup.ant"].pixel_xy == (115.0, 115.5)


def test_a_reader_who_signs_twice_changes_nothing(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    ann = read(store, study, "Ann")
    sign_study(store, ann.id, "Ann")
    assert [row["action"] for row in events_of(store)].count("signed") == 1
    read(store, study, "Bob")
    (made,) = store.signed_off()
    with pytest.raises(StoreError, match="expected the latest revision"):
        sign_study(store, ann.id, "Ann")
    assert store.signed_off() == [made]


def test_an_undecided_landmark_is_not_signed(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    with pytest.raises(StoreError, match="still to decide: T12-L1"):
        read(store, study, "Ann", replace(points(study, bundle="model@1"), bundle=None))


def test_a_reader_who_leaves_in_the_middle_is_replaced_and_what_they_saved_is_kept(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    began = Revision(study.key, "Bob", utc_now(), points(study, L3=30.0), study.reference)
    store.save(began)
    read(store, study, "Ann")
    replace_reader(store, study.key, "Bob", "Cy", "Lea")
    with pytest.raises(StoreError, match="being read by others"):
        sign_study(store, began.id, "Bob")
    assert standing(store, study.key, "Cy").revision.is_prediction  # type: ignore[union-attr]
    read(store, study, "Cy")
    (made,) = store.signed_off()
    assert made.author == "Ann and Cy"
    assert began in store.history(study.key)
    assert store.forks() == {}


def test_two_leads_who_decide_at_once_are_told_apart_and_lose_nothing(store: Store, opener: Opener) -> None:
    study = two_readers(store, Ann=points(add_study(store, "other", 9)), Bob=points(store.study("other"), L2=12.0))
    made = [Revision(study.key, name, utc_now(), points(study), study.reference) for name in ("Lea", "Leo")]
    stores, told = [opener(), opener()], list[str]()
    for one in made:
        store.save(one)
    barrier = threading.Barrier(2)

    def decide(store: Store, one: Revision) -> None:
        barrier.wait()
        try:
            told.append(sign_study(store, one.id, one.author))
        except StoreError as error:
            told.append(str(error))

    threads = [threading.Thread(target=decide, args=pair) for pair in zip(stores, made, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("is decided and signed off" in text for text in told) == [False, True]
    assert any("meanwhile" in text or "expected the latest" in text for text in told)
    assert set(made) <= set(store.history(study.key))
    assert len(store.signed_off()) == 1


@pytest.mark.parametrize("moment", ["before_cursor_execute", "commit"])
def test_a_database_that_goes_away_during_a_decision_leaves_it_to_be_decided(
    a_server: Any, tmp_path: Path, moment: str
) -> None:
    store = open_store(tmp_path, a_server.new_database(), "dataset-1")
    study = two_readers(store, Ann=points(add_study(store, "other", 9)), Bob=points(store.study("other"), L2=12.0))
    mine = Revision(study.key, "Lea", utc_now(), points(study), study.reference)
    store.save(mine)
    said: list[str] = []

    def go_away(*sent: Any) -> None:
        said.append(str(sent[2]) if len(sent) > 2 else "COMMIT")
        if moment == "commit" or "INSERT INTO sign_offs" in said[-1]:  # what came before it is in the transaction
            a_server.stop()

    event.listen(store.engine, moment, go_away)
    with pytest.raises(StoreError, match="the database cannot be reached"):
        sign_study(store, mine.id, "Lea")
    event.remove(store.engine, moment, go_away)
    assert said
    a_server.start()
    assert standing(store, study.key, "Lea").view == "decide"
    assert store.signed_off() == []
    assert mine in store.history(study.key)
    assert "is decided and signed off" in sign_study(store, mine.id, "Lea")
    assert [finding.text for finding in check_store(store) if finding.is_error] == []
    store.close()


def test_who_opens_a_dispute_has_it_and_no_other_lead_does(store: Store) -> None:
    study = two_readers(store, Ann=points(add_study(store, "other", 9)), Bob=points(store.study("other"), L2=12.0))
    assert store.take([study.key], "Lea") == study.key
    assert store.take([study.key], "Leo") is None
    assert store.take([study.key], "Ann") == study.key
    assert standing(store, study.key, "Ann").opinions == (), "a reader does not see the others' points, nor decide"


def test_a_reading_that_is_reopened_while_somebody_decides_is_told(store: Store) -> None:
    study = two_readers(store, Ann=points(add_study(store, "other", 9)), Bob=points(store.study("other"), L2=12.0))
    mine = Revision(study.key, "Lea", utc_now(), points(study), study.reference)
    store.save(mine)
    reopen_study(store, study.key, "Leo", "wrong level", reader="Bob")
    with pytest.raises(StoreError, match="being read by others"):
        sign_study(store, mine.id, "Lea")
    assert mine in store.history(study.key)
    read(store, study, "Bob")
    assert store.signed_off()[0].author == "Ann and Bob"


@pytest.mark.parametrize(
    ("people", "arbiter"), [(["Ann"], ""), (["Ann", "Ann"], ""), (["Ann", "Bob"], "Bob"), (["Ann", " "], "")]
)
def test_readers_who_make_no_double_reading_are_refused(store: Store, people: list[str], arbiter: str) -> None:
    study = add_study(store)
    with pytest.raises(StoreError, match="Expected two readers or more"):
        assign_readers(store, study.key, people, "Lea", arbiter)


def test_a_study_is_given_once(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    with pytest.raises(StoreError, match="is being read"):
        assign_readers(store, study.key, ["Cy", "Di"], "Lea")


# Gold cases


def gold_case(store: Store, key: str = "gold", grey: int = 99) -> StudyRecord:
    study = add_study(store, key, grey)
    truth = Revision(study.key, "Lea", utc_now(), points(study), study.reference)
    store.save(truth)
    store.sign_off(truth.id, "Lea")
    mark_gold(store, study.key, "Lea")
    return study


def test_a_gold_case_is_read_as_if_it_were_new_and_its_truth_stands(store: Store) -> None:
    study = gold_case(store)
    (truth,) = store.signed_off()
    assert store.take([study.key], "Ann") == study.key
    seen = standing(store, study.key, "Ann")
    assert seen.revision is not None
    assert seen.revision.is_prediction
    assert seen.signed_by == ""
    read(store, study, "Ann", points(study, L3=3.0, L4=5.0))
    assert standing(store, study.key, "Ann").signed_by == "Ann"
    assert store.signed_off() == [truth]
    assert store.heads(study.key) == [truth]
    assert standing(store, study.key, "Lea").view == "main", "who made the truth is not asked"
    assert standing(store, study.key, "Bob").revision.is_prediction  # type: ignore[union-attr]


def test_quality_has_distances_level_errors_seconds_and_anchoring(store: Store) -> None:
    study = gold_case(store)
    model = replace(points(study, bundle="model@2", L2=10.0, L5=10.0), bundle="model@2")
    store.save(Revision(study.key, "model@2", utc_now(), model, study.reference))
    store.take([study.key], "Ann")
    read(store, study, "Ann", points(study, L2=10.0, L3=3.0), seconds=31)
    ((case,), problems) = gold_readings(store)
    assert problems == []
    assert (case.median_mm, case.level_errors, case.common, case.missed, case.shift) == (0.0, 1, 11, 0, 0)
    assert (case.seconds, case.misled, case.leaned) == (31, 2, 1), "L2 was left where the model erred, L5 was not"
    assert case.changed == pytest.approx(2 / 11)  # L3 and L5
    (quality,) = reader_quality([case])
    assert quality.anchoring.value == 0.5
    assert "Ann" in quality_text([quality])


def test_the_plot_has_the_points_of_every_reader(store: Store) -> None:
    cases = [
        GoldReading(name, f"case-{row}", "2026-01-01T00:00:00+00:00", mm, 0, 11, 0, 0, 9.0, 0.5, 0, 0)
        for name, mm in (("Ann", 0.5), ("Bob", 9.0))
        for row in range(3)
    ]
    drawn = quality_figure(cases)
    assert {panel.get_ylim()[0] for panel in drawn.axes} == {0.0}
    assert all(panel.get_ylim()[1] > 9.0 for panel in drawn.axes)


def test_intervals_hold_the_rate_and_are_narrower_with_more_cases(store: Store) -> None:
    for n in range(6):
        study = gold_case(store, f"gold-{n}", 100 + n)
        store.take([study.key], "Ann")
        read(store, study, "Ann", points(study, L3=float(n)))
    cases, _ = gold_readings(store)
    few, many = reader_quality(cases[:3])[0], reader_quality(cases)[0]
    assert many.cases == 6
    for one in (few, many):
        assert one.level_errors.value == 0.0
        assert one.level_errors.high is not None
    assert many.level_errors.high < few.level_errors.high  # type: ignore[operator]


def test_a_gold_case_whose_picture_changed_does_not_count_and_is_told(store: Store) -> None:
    study = gold_case(store)
    store.take([study.key], "Ann")
    read(store, study, "Ann")
    Image.fromarray(np.zeros((300, 200), dtype=np.uint8)).save(store.folder / study.image)
    cases, problems = gold_readings(store)
    assert cases == []
    assert "do not count" in problems[0]


def test_an_ended_gold_case_stays_hidden_history(store: Store) -> None:
    study = gold_case(store)
    store.take([study.key], "Ann")
    read(store, study, "Ann", points(study, L3=20.0))
    end_gold(store, study.key, "Lea")
    assert store.forks() == {}
    assert len(gold_readings(store)[0]) == 1
    with pytest.raises(StoreError, match="signed off"):
        mark_gold(store, add_study(store, "unsigned", 3).key, "Lea")


# Roles


def with_accounts(store: Store) -> None:
    for name, role in (("Ada", "administrator"), ("Lea", "lead"), ("Ann", "reader"), ("Bob", "reader")):
        set_account(store, name, role, None, "Ada")


def test_without_accounts_everybody_may_do_everything(store: Store) -> None:
    assert accounts(store) == []
    assert find_account(store, "anybody").may("administrator")


def test_passwords_are_hashed_and_checked(store: Store) -> None:
    with_accounts(store)
    assert not check_password(store, "Ann", ""), "who has none is let in by a proxy alone"
    for name in ("Ann", "Bob"):
        set_account(store, name, "reader", PASSWORD, "Ada")
    assert check_password(store, "Ann", PASSWORD)
    assert not check_password(store, "Ann", PASSWORD + "x")
    assert not check_password(store, "Nobody", PASSWORD)
    with store.snapshot() as connection:
        kept = [one for one in connection.scalars(select(t.accounts.c.password)) if one is not None]
    assert all(str(one).startswith("$argon2id$") and PASSWORD not in str(one) for one in kept)
    assert len(set(kept)) == 2, "salted"
    remove_account(store, "Ann", "Ada")
    assert not check_password(store, "Ann", PASSWORD)


def test_what_a_role_may_not_is_refused(store: Store) -> None:
    study = add_study(store)
    with_accounts(store)
    read(store, study, "Ann")
    refused: list[Callable[[], object]] = [
        lambda: assign_readers(store, study.key, ["Ann", "Bob"], "Ann"),
        lambda: reopen_study(store, study.key, "Ann", "I was wrong"),
        lambda: mark_gold(store, study.key, "Bob"),
        lambda: reopen_study(store, study.key, "Stranger", "just so"),
        lambda: set_account(store, "Eve", "lead", None, "Lea"),
        lambda: remove_account(store, "Bob", "Lea"),
    ]
    for attempt in refused:
        with pytest.raises(AccessError, match=r"Expected an? (lead|administrator) to"):
            attempt()
    assert [revision.study for revision in store.signed_off()] == [study.key]


def test_a_lead_reopens_with_a_reason_which_is_kept(store: Store) -> None:
    study = add_study(store)
    with_accounts(store)
    one = read(store, study, "Ann")
    with pytest.raises(StoreError, match="Expected a reason"):
        reopen_study(store, study.key, "Lea", "  ")
    reopen_study(store, study.key, "Lea", "L5 is S1")
    assert store.signed_off() == []
    last = events_of(store)[-1]
    assert (last["person"], last["action"], last["revision"], last["detail"]) == ("Lea", "reopened", one.id, "L5 is S1")
    with pytest.raises(StoreError, match="Expected what is signed off"):
        reopen_study(store, study.key, "Lea", "again")
    sign_study(store, one.id, "Ann")
    assert store.signed_off() == [one]
    assert check_store(store) == []


def test_no_save_takes_a_sign_off_away_where_there_are_leads(store: Store) -> None:
    study = add_study(store)
    with_accounts(store)
    one = read(store, study, "Ann")
    late = Revision(study.key, "Bob", utc_now(), points(study, L3=3.0), study.reference, one.id)
    later = replace(late, parent=late.id, landmarks=points(study, L3=5.0))
    for each in (late, later, replace(late, parent=None), replace(late, author="Lea")):
        (note,) = store.save(each).notes
        assert "signed off by Ann, and stays so" in note
        assert (store.signed_off(), store.heads(study.key)) == ([one], [one])
        assert each in store.history(study.key)
    file = store.folder / f"{study.key}.csv"
    file.write_text("label,pixel_x,pixel_y\nL3,101,121\n")
    (line,) = import_files(store, file, "Bob")
    assert "stays so" in line
    with pytest.raises(StoreError, match="Expected a study that is open"):
        store.save(replace(late, merged=(one.id,)))
    assert store.signed_off() == [one]
    assert not any(finding.is_error for finding in check_store(store))
    reopen_study(store, study.key, "Lea", "L3 is too high")
    after = replace(late, landmarks=points(study, L3=4.0))
    assert store.save(after).notes == ()
    assert store.head(study.key) == after


def test_the_last_administrator_stays(store: Store) -> None:
    with pytest.raises(AccessError, match="make one before"):
        set_account(store, "Ann", "reader", None, "Ann")
    with_accounts(store)
    with pytest.raises(AccessError, match="the only one"):
        remove_account(store, "Ada", "Ada")
    with pytest.raises(AccessError, match="Expected an administrator among"):
        set_account(store, "Ada", "lead", None, "Ada")
    with pytest.raises(AccessError, match="10 characters"):
        set_account(store, "Eve", "reader", "short", "Ada")


# The log


def test_the_log_says_who_did_what_and_is_sound(store: Store) -> None:
    study = two_readers(store, Ann=points(add_study(store, "other", 9)), Bob=points(store.study("other"), L2=12.0))
    store.take([study.key], "Lea")
    read(store, study, "Lea")
    reopen_study(store, study.key, "Lea", "second look")
    said = [(row["person"], row["action"]) for row in log_rows(store, study.key)]
    for one in (("Lea", "assigned"), ("Ann", "signed"), ("Ann and Bob", "disputed"), ("Lea", "opened")):
        assert one in said
    for one in (("Lea", "decided"), ("Lea", "reopened"), ("model@1", "predicted"), ("Ann", "saved")):
        assert one in said
    order = [one for one in said if one in (("Ann", "saved"), ("Ann", "signed"), ("Bob", "saved"), ("Bob", "signed"))]
    assert [action for _, action in order] == ["saved", "signed"] * 2, "within one second, too"
    with store.snapshot() as connection:
        assert list(audit_problems(connection)) == []


@pytest.mark.parametrize("statement", ["UPDATE events SET person = 'Eve'", "DELETE FROM events"])
def test_the_database_itself_keeps_events(store: Store, statement: str) -> None:
    assign_readers(store, add_study(store).key, ["Ann", "Bob"], "Lea")
    with pytest.raises(StoreError, match="only ever added"), store.transaction() as connection:
        connection.exec_driver_sql(statement)
    assert len(events_of(store)) == 1


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET person = 'Eve' WHERE action = 'assigned'",
        "DELETE FROM events WHERE action = 'assigned'",
        "DELETE FROM events WHERE number = (SELECT max(number) FROM events)",
    ],
)
def test_a_log_that_was_changed_behind_the_database_shows(store: Store, statement: str) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    for person in ("Ann", "Bob"):
        read(store, study, person)
    is_sqlite = store.engine.dialect.name == "sqlite"
    names = ("events_no_UPDATE", "events_no_DELETE") if is_sqlite else ("events_kept ON events",)
    with store.transaction() as connection:
        for name in names:
            connection.exec_driver_sql(f"DROP TRIGGER {name}")
        connection.exec_driver_sql(statement)
    assert any("The log was changed" in finding.text for finding in check_store(store))


# Left out, and work


def test_a_study_that_is_left_out_is_neither_given_nor_learned_from(store: Store) -> None:
    study = add_study(store)
    one = Revision(study.key, "Ann", utc_now(), points(study), study.reference)
    store.save(one)
    store.sign_off(one.id, "Ann")
    with pytest.raises(StoreError, match="Expected a reason"):
        exclude_study(store, study.key, "Ann", "")
    exclude_study(store, study.key, "Ann", "wrong region")
    assert store.signed_off() == []
    assert exclusions(store)[study.key].reason == "wrong region"
    with pytest.raises(StoreError, match="Ann has left case out"):
        exclude_study(store, study.key, "Bob", "bad image")
    include_study(store, study.key, "Lea")
    assert store.signed_off() == [one]


def test_work_counts_what_each_has_signed_and_what_is_left(store: Store) -> None:
    first, second, third = in_turn(store, 3)
    assign_readers(store, first.key, ["Ann", "Bob"], "Lea")
    assign_readers(store, second.key, ["Ann", "Bob"], "Lea")
    read(store, first, "Ann", seconds=30)
    read(store, first, "Bob", seconds=10)
    read(store, second, "Ann", seconds=50)
    exclude_study(store, third.key, "Lea", "bad image")
    work = team_work(store, {one.study for one in store.signed_off()})
    by_name = {one.person: one for one in work.people}
    assert (by_name["Ann"].signed, by_name["Ann"].seconds, by_name["Ann"].left) == (2, 40.0, 0)
    assert (by_name["Bob"].signed, by_name["Bob"].left, by_name["Bob"].a_day) == (1, 1, 1.0)
    assert (work.every.signed, work.remaining) == (1, 1)
    assert sorted(by_name) == ["Ann", "Bob"], "their consensus is nobody's work"
    assert work_lines(work)[-1] == "not signed off yet: 1; days at this pace: 1.0"


def test_an_export_brings_readings_and_their_consensus_along(
    store: Store, tmp_path_factory: pytest.TempPathFactory
) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    read(store, study, "Ann")
    read(store, study, "Bob", points(study, L3=1.0))
    file = tmp_path_factory.mktemp("export") / "records" / "case.json"
    file.parent.mkdir()
    (file.parent.parent / "images").mkdir()
    (file.parent.parent / "images" / "case.png").write_bytes((store.folder / study.image).read_bytes())
    file.write_text(json.dumps(record_of(store, study)))
    with open_store(tmp_path_factory.mktemp("again"), dataset="other") as other:
        import_record(other, file)
        import_record(other, file)
        assert other.signed_off() == store.signed_off()
        assert other.forks() == {}
        assert check_store(other) == []


def test_an_old_clock_changes_no_order(store: Store) -> None:
    study = add_study(store)
    assign_readers(store, study.key, ["Ann", "Bob"], "Lea")
    early = Revision(study.key, "Ann", utc_now() - timedelta(days=400), points(study), study.reference)
    late = Revision(study.key, "Ann", utc_now() - timedelta(days=500), points(study, L3=1.0), study.reference, early.id)
    store.save(early)
    store.save(late)
    assert standing(store, study.key, "Ann").revision == late
    sign_study(store, late.id, "Ann")
    read(store, study, "Bob")
    assert len(store.signed_off()) == 1
