"""A store whose file goes away while it is open: nothing is acknowledged that is not there, and nothing is lost."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path

import pytest

from SpineLandmarksLib.annotation.revision import ImageReference, Revision
from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import StudyRecord


@pytest.fixture
def a_store(tmp_path: Path) -> Store:
    """With one study and one revision of it."""
    store = init_dataset(tmp_path / "dataset")
    store.add_study(StudyRecord("one", "p1", "images/one.png", "00", (10, 10)))
    store.save(a_revision(1.0))
    return store


def a_revision(height: float) -> Revision:
    marks = LandmarkSet((Landmark("L1", "corrected", (1.0, 2.0, height), (1.0, 2.0)),))
    return Revision("one", "A. Reader", datetime.now(timezone.utc), marks, ImageReference("images/one.png"))


def delete(store: Store) -> None:
    for file in store.folder.glob("store.sqlite*"):
        file.unlink()


def test_a_save_into_a_deleted_store_is_refused_and_set_aside(a_store: Store) -> None:
    delete(a_store)
    with pytest.raises(StoreError, match=r"moved, deleted|cannot be opened.*Nothing is lost") as told:
        a_store.save(a_revision(2.0))
    (aside,) = (a_store.folder / "unsaved").glob("*.json")
    assert str(aside) in str(told.value)
    assert not (a_store.folder / "store.sqlite").exists()  # and no empty one in its place


def test_a_store_that_is_put_back_takes_saves_again(a_store: Store) -> None:
    elsewhere = a_store.folder.with_name("elsewhere")
    a_store.folder.rename(elsewhere)
    with pytest.raises(StoreError, match="Nothing is lost"):
        a_store.save(a_revision(2.0))
    for made in sorted(a_store.folder.rglob("*"), reverse=True):  # the correction was set aside where the folder was
        made.replace(elsewhere / made.name) if made.is_file() else made.rmdir()
    a_store.folder.rmdir()
    elsewhere.rename(a_store.folder)
    a_store.save(a_revision(3.0))
    assert [one.landmarks["L1"].position_ras_mm[2] for one in a_store.history("one")] == [1.0, 3.0]


def test_what_was_set_aside_is_read_in_when_the_store_is_back(a_store: Store) -> None:
    copies = {file: file.read_bytes() for file in a_store.folder.glob("store.sqlite*")}
    delete(a_store)
    with pytest.raises(StoreError):
        a_store.save(a_revision(2.0))
    a_store.close()
    for file, content in copies.items():
        file.write_bytes(content)
    again = open_dataset(a_store.folder)
    assert len(again.history("one")) == 2
    again.close()
