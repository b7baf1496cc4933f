"""Revisions: one saved state each, with an id of its content; and the files that a training set keeps them in."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.annotation.revision import ImageReference, Revision, study_key_of
from SpineLandmarksLib.annotation.revision_files import image_reference, read_training_set, save_to_training_set
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.session_file import session_as_json, session_from_json
from SpineLandmarksLib.errors import FormatError, InputError, LandmarkError, OutputError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

START = datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)
IMAGE = ImageReference("images/7.nii.gz", "ab" * 32, "1.2.3")
PREDICTED = LandmarkSet(
    tuple(Landmark(name, "predicted", (1.5, -20.25, -16.0 * n), None, 0.9, 2.0) for n, name in enumerate(LUMBAR11)),
    bundle="lumbar11@1",
)


@pytest.fixture
def a_session() -> Session:
    """Ten seconds pass between two looks at its clock."""
    times = (START + timedelta(seconds=10 * n) for n in range(1000))
    return Session("study-7", PREDICTED, "A. Reader", clock=lambda: next(times))


def test_a_revision_holds_the_points_the_time_spent_and_the_comment(a_session: Session) -> None:
    a_session.confirm_all()
    a_session.set_comment("fine")
    revision = a_session.revision(IMAGE)
    assert revision.landmarks == a_session.current
    assert (revision.study, revision.author, revision.comment) == ("study-7", "A. Reader", "fine")
    assert (revision.parent, revision.seconds_spent, revision.source_model) == (None, 20.0, "lumbar11@1")
    assert Revision.from_json(json.loads(json.dumps(revision.as_json()))).as_json() == revision.as_json()


def test_the_next_revision_follows_from_the_saved_one_and_counts_the_time_since(a_session: Session) -> None:
    a_session.confirm("L1")
    first = a_session.revision(IMAGE)
    a_session.confirm("L2")  # while the store is still writing
    assert not a_session.is_saved
    a_session.mark_saved(first)
    assert not a_session.is_saved
    second = a_session.revision(IMAGE)
    assert second.parent == first.id
    assert second.seconds_spent == a_session.events[1].seconds
    a_session.mark_saved(second)
    assert a_session.is_saved
    again = session_from_json(session_as_json(a_session))
    assert (again.is_saved, again.parent) == (True, second.id)


def test_a_revision_of_another_session_is_not_taken_for_ours(a_session: Session) -> None:
    other = Session("other", PREDICTED, "B. Reader").revision(IMAGE)
    with pytest.raises(LandmarkError, match=f"this session; got {other.id} of other"):
        a_session.mark_saved(other)


def test_nobody_saves_without_a_name(a_session: Session) -> None:
    a_session.author = " "
    a_session.confirm("L1")
    with pytest.raises(LandmarkError, match="Enter a name first"):
        a_session.revision(IMAGE)
    assert len(a_session.events) == 1


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"study": "a/b"}, "study key"),
        ({"time": datetime(2026, 1, 1)}, "in UTC"),
        ({"time": START.astimezone(timezone(timedelta(hours=2)))}, "in UTC"),
        ({"seconds_spent": -1.0}, "0 or more"),
        ({"seconds_spent": float("nan")}, "0 or more"),
    ],
)
def test_an_impossible_revision_is_refused(a_session: Session, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LandmarkError, match=message):
        replace(a_session.revision(IMAGE), **changed)


def test_a_revision_that_was_altered_or_is_from_a_later_version_is_refused(a_session: Session) -> None:
    content = a_session.revision(IMAGE).as_json()
    with pytest.raises(FormatError, match="content of revision"):
        Revision.from_json(content | {"comment": "x"})
    with pytest.raises(FormatError, match="version 1; got 2"):
        Revision.from_json(content | {"version": 2})
    with pytest.raises(FormatError, match="study key"):
        Revision.from_json(content | {"study": ""})


def test_a_field_that_the_result_gains_later_changes_no_id_while_it_is_unknown(
    a_session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = a_session.revision(IMAGE).as_json()
    monkeypatch.setattr(
        "SpineLandmarksLib.annotation.revision.as_json", lambda landmarks: {**as_json(landmarks), "gained": None}
    )
    assert Revision.from_json(content).id == content["id"]


def test_any_text_makes_a_study_key_and_different_texts_make_different_ones() -> None:
    keys = [study_key_of(text) for text in ("1.2.3", "a b", "a/b", "..", "", "Wirbelsäule", "x" * 300)]
    assert keys[0] == "1.2.3"
    assert len(set(keys)) == len(keys)
    for key in keys:
        Session(key, PREDICTED)


# the training set


def test_revisions_lie_beside_each_other_as_files_that_read_back(a_session: Session, tmp_path: Path) -> None:
    saved = []
    for name in ("L1", "L2"):
        a_session.confirm(name)
        saved.append(a_session.revision(IMAGE))
        place = save_to_training_set(saved[-1], tmp_path)
        assert place.beside == ()
        a_session.mark_saved(saved[-1])
    files = sorted(path.name for path in (tmp_path / "revisions" / "study-7").iterdir())
    assert files == [f"0001-{saved[0].id}.json", f"0002-{saved[1].id}.json"]
    assert [one.as_json() for _, one in read_training_set(tmp_path, "study-7")] == [one.as_json() for one in saved]


def test_saving_twice_adds_nothing_and_two_from_the_same_one_are_both_kept(a_session: Session, tmp_path: Path) -> None:
    mine = a_session.revision(IMAGE)
    first = save_to_training_set(mine, tmp_path)
    assert save_to_training_set(mine, tmp_path) == first
    theirs = replace(mine, author="B. Reader")
    assert save_to_training_set(theirs, tmp_path).beside == (mine.id,)
    assert [one.author for _, one in read_training_set(tmp_path, "study-7")] == ["A. Reader", "B. Reader"]


def test_damage_in_an_earlier_file_does_not_keep_a_correction_from_being_saved(
    a_session: Session, tmp_path: Path
) -> None:
    mine = a_session.revision(IMAGE)
    save_to_training_set(mine, tmp_path).path.write_text("{")
    later = save_to_training_set(replace(mine, comment="later"), tmp_path)
    assert later.path.name.startswith("0002-")
    with pytest.raises(FormatError, match="0001-"):
        read_training_set(tmp_path, "study-7")


def test_a_folder_that_is_not_there_is_not_made_up(a_session: Session, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a data-set folder at .*nowhere"):
        save_to_training_set(a_session.revision(IMAGE), tmp_path / "nowhere")
    (tmp_path / "revisions").write_text("in the way")
    with pytest.raises(OutputError, match=r"Could not make the folder .*Nothing was changed"):
        save_to_training_set(a_session.revision(IMAGE), tmp_path)


def test_an_image_is_named_from_the_data_set_and_hashed_whatever_its_files_are_called(tmp_path: Path) -> None:
    series = tmp_path / "dicom"
    series.mkdir()
    for name, content in (("a", b"1"), ("b", b"2")):
        (series / name).write_bytes(content)
    one = image_reference([series / "a"], tmp_path, "1.2")
    assert one == ImageReference("dicom/a", "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b", "1.2")
    both = image_reference([series / "b", series / "a"], tmp_path)
    assert both.path == "dicom"
    (series / "a").rename(series / "z")
    assert image_reference([series / "z", series / "b"], tmp_path).sha256 == both.sha256
    outside = image_reference([series / "b"], tmp_path / "elsewhere")
    assert outside.path == (series / "b").resolve().as_posix()
    assert image_reference([], tmp_path, "1.2") == ImageReference("", None, "1.2")
    with pytest.raises(InputError, match="Is it still there"):
        image_reference([series / "a"], tmp_path)
