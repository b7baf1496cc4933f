"""Whatever the store does: a correction that a person has seen made is in the store or in a file, at every moment."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from SpineLandmarksLib.annotation.revision import ImageReference, Revision, utc_now
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.store.store import Saved, Store
from SpineLandmarksLib.store.study_record import StudyRecord
from SpineLandmarksLib.web.saver import SLOW_S, Saver

FOUND = LandmarkSet(
    tuple(Landmark(name, "predicted", (0.0, 0.0, -20.0 * row), (0.0, 20.0 * row)) for row, name in enumerate(LUMBAR11)),
    bundle="model@1",
    slice_index=0,
)
IMAGE = ImageReference("images/a.png", "00")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with init_dataset(tmp_path / "dataset") as made:
        made.add_study(StudyRecord("study", "p", "images/a.png", "00", (100, 300), spacing_mm=(1.0, 1.0)))
        yield made


class Moody:
    """A store that fails when the test wishes, before or after it has taken a revision."""

    def __init__(self, store: Store, fails: Callable[[], str]) -> None:
        self.store, self.fails = store, fails

    def save(self, revision: Revision) -> Saved:
        how = self.fails()
        if how == "before":
            raise StoreError("it does not answer")
        saved = self.store.save(revision)
        if how == "after":
            raise StoreError("it did not say that it is done")
        return saved


def recovered(folder: Path, copy: Path) -> LandmarkSet | None:
    """What another start finds in a copy of the folder, as after kill -9 at this moment."""
    shutil.copytree(folder, copy)
    with open_dataset(copy) as store:
        head = store.head("study")  # and none of it forks
        assert not list((copy / "unsaved").glob("*.json"))
        ids = [one.id for one in store.history("study")]
        assert all(one.parent in (None, *ids) for one in store.history("study"))
    shutil.rmtree(copy)
    return None if head is None else head.landmarks


@pytest.mark.parametrize("seed", range(6))
def test_what_was_done_is_never_only_in_memory(store: Store, tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    moody = Moody(store, lambda: dice.choice(["", "before", "after"]))
    session = Session("study", FOUND, "A. Reader")
    prediction = Revision("study", "model@1", utc_now(), FOUND, IMAGE)
    with ThreadPoolExecutor(1) as threads:
        saver = Saver(moody.save, threads, store.folder, clock=lambda: 0.0)
        saver.watch(session, IMAGE, prediction)
        for step in range(12):
            edit(session, dice, step)
            for _ in range(dice.randrange(4)):
                poll(saver)
            if step % 3 == 0:
                assert recovered(store.folder, tmp_path / "copy") == session.current
        saver.finish()
    assert recovered(store.folder, tmp_path / "copy") == session.current


def edit(session: Session, dice: random.Random, step: int) -> None:
    name = dice.choice(LUMBAR11)
    if dice.random() < 0.2 and session.can_undo():
        session.undo()
    elif not session[name].is_absent:
        session.move(name, (float(step), float(dice.randrange(9)), 0.0))


def poll(saver: Saver) -> None:
    """One poll, and the save that it begins, to its end."""
    for one in saver._all():
        one.retry_at = 0.0
    saver.poll()
    if saver._running is not None:
        saver._running[1].exception()


def test_all_follow_in_their_order_when_the_store_is_back(store: Store, tmp_path: Path) -> None:
    answers = ["before"] * 3
    moody = Moody(store, lambda: answers.pop() if answers else "")
    session = Session("study", FOUND, "A. Reader")
    with ThreadPoolExecutor(1) as threads:
        saver = Saver(moody.save, threads, store.folder, clock=lambda: 0.0)
        saver.watch(session, IMAGE)
        for name in ("L3", "L4"):
            session.move(name, (1.0, 0.0, -5.0))
            poll(saver)
        assert len(list((store.folder / "unsaved").glob("*.json"))) == 2
        poll(saver)
        assert saver.words == ("it does not answer", "failed")
        while not saver.is_idle:
            poll(saver)
    assert [one.landmarks["L4"].status for one in store.history("study")] == ["predicted", "corrected"]
    assert list((store.folder / "unsaved").glob("*.json")) == []
    assert session.is_saved
    assert saver.words[1] == "saved"


def test_a_save_that_takes_long_is_told_with_the_place_of_its_file(store: Store) -> None:
    now = [0.0]
    session = Session("study", FOUND, "A. Reader")
    with ThreadPoolExecutor(1) as threads:
        saver = Saver(store.save, threads, store.folder, clock=lambda: now[0])
        saver.watch(session, IMAGE)
        session.move("L3", (1.0, 0.0, -5.0))
        saver.poll()
        assert saver.words == ("Saving", "saving")
        now[0] = SLOW_S + 1
        assert str(store.folder / "unsaved") in saver.words[0]


def test_at_the_end_one_refusal_keeps_no_other_study_back(store: Store) -> None:
    another = StudyRecord("other", "p", "images/b.png", "01", (100, 300), spacing_mm=(1.0, 1.0))
    store.add_study(another)

    def save(revision: Revision) -> Saved:
        if revision.study == "study":
            raise RuntimeError("a fault of the program")
        return store.save(revision)

    with ThreadPoolExecutor(1) as threads:
        saver = Saver(save, threads, store.folder)
        for key in ("study", "other"):
            session = Session(key, FOUND, "A. Reader")
            saver.watch(session, IMAGE)
            session.move("L3", (1.0, 0.0, -5.0))
        saver.finish()
    assert [revision.study for revision, file in saver.left if file is not None] == ["study"]
    assert len(store.history("other")) == 1
