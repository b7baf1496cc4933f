"""Thousands of studies: what an annotator waits for asks the database as often as with ten."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import event, insert, select

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import REVISIONS
from SpineLandmarksLib.formats.atomic import sha256_of
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.retraining.queue import waiting_studies
from SpineLandmarksLib.store import database as t
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.checks import status_lines
from SpineLandmarksLib.store.find import Source
from SpineLandmarksLib.store.folder import init_dataset, read_beside
from SpineLandmarksLib.store.store import PART, Store
from SpineLandmarksLib.store.study_record import StudyRecord
from SpineLandmarksLib.web.controller import ReviewController
from SpineLandmarksLib.web.studies import listing
from SpineLandmarksLib.worker.localization import LocalizationService

FEW, MANY = 10, PART + 40
MARKS = tuple(
    Landmark(name, "predicted", (0.0, -50.0, -20.0 * row), (50.0, 20.0 * row), 0.9) for row, name in enumerate(LUMBAR11)
)
FOUND = LandmarkSet(MARKS, bundle="model@1", slice_index=0)
DONE = replace(FOUND, landmarks=tuple(replace(mark, status="confirmed") for mark in MARKS))


def fill(folder: Path, count: int, url: str | None = None) -> Store:
    """Studies with a prediction each; every other one is corrected in two steps and signed off."""
    store = init_dataset(folder, url)
    picture = folder / "images" / "a.png"
    Image.fromarray(np.arange(300 * 100, dtype=np.uint8).reshape(300, 100)).save(picture)
    studies, revisions, signed = [], [], []
    for number in range(count):
        study = StudyRecord(
            f"s{number:04}", f"p{number}", "images/a.png", sha256_of(picture), (100, 300), spacing_mm=(1.0, 1.0)
        )
        studies.append(study)
        history = [Revision(study.key, "model@1", utc_now(), FOUND, study.reference)]
        if number % 2:
            for comment in ("one", "two"):
                done = Revision(study.key, "Ann", utc_now(), DONE, study.reference, history[-1].id, 5.0, comment)
                history.append(done)
            signed.append({"revision": history[-1].id, "author": "Ann", "time": t.now()})
        revisions += history
    columns = ("id", "study", "parent", "author", "source_model", "seconds_spent")
    with store.transaction() as connection:
        connection.execute(insert(t.studies), [row_of(study) for study in studies])
        connection.execute(
            insert(t.revisions),
            [
                {
                    **{name: getattr(one, name) for name in columns},
                    "time": one.time.isoformat(),
                    "content": json.dumps(one.as_json()),
                }
                for one in revisions
            ],
        )
        connection.execute(insert(t.sign_offs), signed)
    return store


def row_of(study: StudyRecord) -> dict[str, Any]:
    names = ("key", "patient", "image_sha256")
    return {**{name: getattr(study, name) for name in names}, "content": json.dumps(study.as_json())}


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Store]]:
    made = {count: fill(tmp_path_factory.mktemp("many") / "dataset", count) for count in (FEW, MANY)}
    yield made
    for store in made.values():
        store.close()


@contextmanager
def counted(store: Store, besides: Collection[int] = ()) -> Iterator[list[str]]:
    """The statements that are sent meanwhile. besides: threads whose statements are not counted."""
    said: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if threading.get_ident() not in besides:
            said.append(statement)

    event.listen(store.engine, "before_cursor_execute", note)
    yield said
    event.remove(store.engine, "before_cursor_execute", note)


@pytest.mark.parametrize(
    "look", [lambda store: listing(store, "Ann"), Store.signed_off, Store.forks, status_lines, waiting_studies]
)
def test_the_number_of_questions_does_not_grow_with_the_studies(
    stores: dict[int, Store], look: Callable[[Store], object]
) -> None:
    counts = []
    for store in stores.values():
        with counted(store) as said:
            look(store)
        counts.append(len(said))
    assert counts[1] <= counts[0] + 6  # a further part of those whose content is read
    assert counts[0] < 40


def test_a_look_at_what_was_saved_beside_the_store_stays_cheap(stores: dict[int, Store]) -> None:
    for store in stores.values():
        with store.snapshot() as connection:
            known = connection.execute(select(t.revisions.c.study, t.revisions.c.id)).all()
        for study, revision in known:
            place = store.folder / REVISIONS / study
            place.mkdir(parents=True, exist_ok=True)
            (place / f"0001-{revision}.json").touch()  # not read again
        with counted(store) as said:
            assert read_beside(store) == []
        assert len(said) < 6
        shutil.rmtree(store.folder / REVISIONS)


def test_from_a_sign_off_to_the_next_study(stores: dict[int, Store], monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the looks at what others do, which come by the clock and so more often on a slow machine."""
    looking: set[int] = set()
    look = ReviewController._look

    def watched_look(*given: Any) -> Any:
        looking.add(threading.get_ident())
        try:
            return look(*given)
        finally:
            looking.discard(threading.get_ident())

    monkeypatch.setattr(ReviewController, "_look", watched_look)
    counts = []
    for count, store in stores.items():
        controller = ReviewController(store, LocalizationService(lambda: None))  # type: ignore[arg-type, return-value]
        controller.begin("Ann")
        settle(controller, None)
        before = controller.opened
        assert controller.session is not None
        controller.session.confirm_all()
        settle(controller)
        with counted(store, looking) as said:
            controller.sign_off()
            settle(controller, before)
            counts.append(len(said))
        controller.close()
        assert len(store.signed_off()) == count // 2 + 1
        assert len(json.loads((store.folder / "landmarks.json").read_text())) == count // 2 + 1
    assert counts[1] <= counts[0] + 6
    assert counts[0] < 120, counts


def test_to_add_a_study_reads_none_of_the_others(stores: dict[int, Store], tmp_path: Path) -> None:
    for store in stores.values():
        path = tmp_path / f"new-{len(store.study_keys())}.png"
        Image.fromarray((np.arange(60 * 40) % len(store.study_keys()) % 251).reshape(60, 40).astype(np.uint8)).save(
            path
        )
        with counted(store) as said:
            add_source(store, Source(path, path.stem, path.stem), [], Adding(1.0))
        assert not [one for one in said if one.startswith("SELECT") and "studies.content" in one]
        assert path.stem in store.study_keys()


def settle(controller: ReviewController, before: object = ...) -> None:
    """Until nothing is under way, and another study is open than before."""
    limit = time.monotonic() + 120
    controller.poll()
    while controller.is_busy or controller.opened is before:
        assert time.monotonic() < limit
        time.sleep(0.01)
        controller.poll()
