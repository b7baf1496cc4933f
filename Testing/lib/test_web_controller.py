"""The reviewer's logic without a browser: queue, saving, sign-off, and what goes wrong in the middle of it."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import REVISIONS, save_to_training_set
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.wording import BANDS
from SpineLandmarksLib.errors import AccessError, BackendError, LandmarkError, SpineLandmarksError, StoreError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.retraining.process import RetrainStatus
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.database import assignments
from SpineLandmarksLib.store.exclusions import exclude_study
from SpineLandmarksLib.store.find import Source
from SpineLandmarksLib.store.folder import init_dataset, open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import complete
from SpineLandmarksLib.web import ordering
from SpineLandmarksLib.web.actions import Actions
from SpineLandmarksLib.web.controller import Notification, ReviewController
from SpineLandmarksLib.web.learning import Learning
from SpineLandmarksLib.web.ordering import ask_for_order
from SpineLandmarksLib.web.uploads import Incoming, ingest_upload
from SpineLandmarksLib.web.view_state import view_state
from SpineLandmarksLib.worker.localization import LocalizationService


class FakeWorker:
    """Takes jobs; the test says what becomes of them."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        self.cancelled: list[str] = []

    def warm(self) -> None: ...
    def close(self) -> None: ...

    def submit(self, path: Path, **asked: Any) -> str:
        self.asked.append({"path": path, **asked})
        return str(len(self.asked))

    def cancel(self, job_id: str) -> None:
        self.cancelled.append(job_id)

    def poll(self) -> list[dict[str, Any]]:
        messages, self.messages = self.messages, []
        return messages

    def answer(self, **message: Any) -> None:
        self.messages.append({"id": str(len(self.asked)), **message})


class FakeScene:
    """Views that nobody looks at."""

    mode, slice_index = "view", 3
    shows_endplates = True

    def show_endplates(self, visible: bool) -> None:
        self.shows_endplates = visible

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class At:
    """An annotator at work, and what they were notified of."""

    def __init__(self, store: Store, name: str, localizes: bool = False) -> None:
        self.worker, self.notified = FakeWorker(), list[Notification]()
        self.settled: list[str] = []
        self.controller = ReviewController(
            store, LocalizationService(lambda: self.worker), on_notify=self._notify, localizes=localizes
        )  # type: ignore[arg-type, return-value]
        self.questions: list[tuple[str, Callable[[], None]]] = []
        self.actions = Actions(self.controller, FakeScene(), lambda text, then: self.questions.append((text, then)))
        self.controller.begin(name)
        self.settle()

    def _notify(self, notification: Notification) -> None:
        if notification.text:
            self.notified.append(notification)
        else:
            self.settled.append(notification.about)

    def settle(self, seconds: float = 120.0) -> None:
        limit = time.monotonic() + seconds
        self.controller.poll()
        while self.controller.is_busy:
            assert time.monotonic() < limit, (self.controller.saver.words, self.notified)
            time.sleep(0.01)
            self.controller.poll()

    def poll_until(self, is_so: Callable[[], object]) -> None:
        limit = time.monotonic() + 120
        while not is_so():
            assert time.monotonic() < limit, (self.controller.saver.words, self.notified)
            time.sleep(0.01)
            self.controller.poll()

    @property
    def key(self) -> str:
        assert self.controller.opened is not None, self.notified
        return self.controller.opened.study.key

    def localize(self, found: LandmarkSet) -> None:
        self.actions.do("localize")
        self.worker.answer(event="done", result=as_json(found))
        self.settle()

    def move(self, name: str) -> None:
        session = self.controller.session
        assert session is not None
        r, a, s = session[name].position_ras_mm or (0, 0, 0)
        session.move(name, (r, a, s + 1))


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(seed, matrix=(96, 80), pixel_mm=3.1, slices=3, slice_mm=4.4) for seed in (11, 12, 13)]


@pytest.fixture(scope="module")
def a_filled_folder(phantoms: list[Phantom], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("filled") / "dataset"
    store = init_dataset(folder)
    for number, phantom in enumerate(phantoms, start=1):
        path = write_nifti(phantom, folder / f"volume{number}.nii")
        add_source(store, Source(path, f"study{number}", f"p{number}"), [], Adding())
    store.close()
    return folder


@pytest.fixture
def store(a_filled_folder: Path, tmp_path: Path) -> Iterator[Store]:
    folder = tmp_path / "dataset"
    shutil.copytree(a_filled_folder, folder)
    opened = open_dataset(folder)
    yield opened
    opened.close()


@pytest.fixture
def sit_down(store: Store) -> Iterator[Callable[..., At]]:
    made: list[At] = []

    def sit(name: str = "A. Reader", at: Store | None = None) -> At:
        made.append(At(at or store, name))
        return made[-1]

    yield sit
    for one in made:
        one.controller.close()


@pytest.fixture
def found(phantoms: list[Phantom]) -> Callable[[At], LandmarkSet]:
    """What a model would say of the study that is open."""

    def find(at: At) -> LandmarkSet:
        truth = phantoms[int(at.key.removeprefix("study")) - 1].landmarks
        marks = [replace(truth[name], status="predicted", confidence=0.9, needs_review=False) for name in LUMBAR11]
        return LandmarkSet(tuple(marks), slice_index=1, bundle="model@1", spacing_mm=(3.1, 3.1))

    return find


def test_a_study_is_taken_localized_corrected_and_signed_off(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    first = at.key
    at.localize(found(at))
    at.move("L3")
    at.settle()
    model, mine = store.history(first)
    assert (model.author, mine.author, mine.parent) == ("model@1", "A. Reader", model.id)
    assert mine.landmarks["L3"].status == "corrected"
    with pytest.raises(LandmarkError, match=r"still to decide: T12-L1"):
        at.actions.do("sign_off")
    at.actions.do("confirm_all")
    at.actions.do("sign_off")
    at.poll_until(lambda: at.key != first)
    at.settle()
    assert [one.study for one in store.signed_off()] == [first]
    assert (store.folder / "landmarks.json").is_file()
    assert first not in store.assignments()
    assert view_state(at.controller, at.actions)["done_count"] == 1


def test_no_two_annotators_get_the_same_study(sit_down: Callable[..., At]) -> None:
    one, two, three = sit_down("One"), sit_down("Two"), sit_down("Three")
    assert len({one.key, two.key, three.key}) == 3
    two.controller.open(one.key)
    two.settle()
    assert any(f"{one.key} is with One" in each.text for each in two.notified)
    assert two.key != one.key
    four = sit_down("Four")
    assert four.controller.opened is None
    assert "with others" in four.notified[-1].text


def test_a_study_that_was_only_looked_at_is_free_for_others(sit_down: Callable[..., At], store: Store) -> None:
    at = sit_down("One")
    first = at.key
    at.actions.do("skip")
    at.settle()
    assert at.key != first
    assert set(store.assignments()) == {at.key}


def test_what_another_program_saves_of_the_open_study_is_gone_on_from(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    at.localize(found(at))

    def save_in_slicer(name: str) -> Revision:
        (head,) = store.heads(at.key)
        mark = Landmark(name, "not_visible", needs_review=False)
        marks = tuple(mark if one.name == name else one for one in head.landmarks)
        said = replace(head.landmarks, landmarks=marks)
        saved = replace(head, author="A. Reader", time=utc_now(), landmarks=said, parent=head.id)
        store.save(saved)
        return saved

    for name in ("L1", "L2"):
        if name == "L2":
            at.move("L3")
            at.settle()
        theirs = save_in_slicer(name)
        at.controller.refresh()
        at.poll_until(lambda saved=theirs: at.controller.session.parent == saved.id)  # type: ignore[union-attr]
        at.settle()
        assert at.controller.session[name].status == "not_visible"  # type: ignore[index]
    assert at.controller.session["L3"].status == "corrected"  # type: ignore[index]
    assert len(store.heads(at.key)) == 1


def test_two_versions_are_shown_together_and_one_is_signed(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    key = at.key
    at.localize(found(at))
    (first,) = store.heads(key)
    marks = [replace(one, status="confirmed", needs_review=False) for one in first.landmarks]
    r, a, s = marks[5].position_ras_mm or (0, 0, 0)
    marks[5] = Landmark("L3", "corrected", (r, a - 12, s), needs_review=False)
    said = complete(replace(first.landmarks, landmarks=tuple(marks)), store.study(key).matrix)
    theirs = replace(first, author="B. Reader", time=utc_now(), landmarks=said, parent=first.id)
    at.move("L5")
    at.settle()
    store.save(theirs)
    at.controller.refresh()
    at.poll_until(lambda: at.controller.opened is not None and at.controller.opened.others)
    at.settle()
    opened = at.controller.opened
    assert opened is not None
    assert (opened.others, opened.disputed) == ((theirs.id,), ("L3",))
    assert [one.person for one in opened.opinions] == ["A. Reader", "B. Reader"]
    at.actions.do("confirm_all")
    at.actions.select("L3")
    at.actions.key("B")
    at.settle()
    assert at.controller.session["L3"].position_ras_mm == pytest.approx((r, a - 12, s))  # type: ignore[index]
    at.actions.do("sign_off")
    assert "the others stay in its history" in at.questions[-1][0]
    at.questions[-1][1]()
    at.poll_until(lambda: at.key != key)
    (head,) = store.heads(key)
    assert (head.author, store.signed_by(head.id)) == ("A. Reader", "A. Reader")
    assert theirs.id in [one.id for one in store.history(key)]


def test_a_version_that_nobody_has_seen_is_not_set_aside(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    at.localize(found(at))
    (first,) = store.heads(at.key)
    at.move("L3")
    at.settle()
    (mine,) = store.heads(at.key)
    for number in (1, 2):
        store.save(replace(first, author=f"B. Reader {number}", time=utc_now(), parent=first.id, comment=str(number)))
    seen = [one.id for one in store.heads(at.key)][:2]
    with pytest.raises(StoreError, match="meanwhile"):
        store.choose(at.key, mine.id, "A. Reader", seen)
    assert len(store.heads(at.key)) == 3


def test_the_next_study_is_one_that_nobody_has_done_since_the_list_was_made(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    at.localize(found(at))
    done, out = at.controller.listing.to_do(after=at.key)
    study = store.study(done)
    marks = [replace(one, status="confirmed", position_ras_mm=None) for one in found(at)]
    said = complete(replace(found(at), landmarks=tuple(marks)), study.matrix)
    one = Revision(done, "B. Reader", utc_now(), said, study.reference)
    store.save(one)
    store.sign_off(one.id, "B. Reader")
    exclude_study(store, out, "B. Reader", "bad image")
    assert at.controller.listing.to_do(after=at.key) == [done, out], "which it does not know of"
    at.controller.take_next()
    at.poll_until(lambda: any("No other study waits" in each.text for each in at.notified))
    assert set(store.assignments()) <= {at.key}
    assert [row.state for row in at.controller.listing.rows if row.key in (done, out)] == ["done", "out"]


def test_an_order_that_comes_later_counts_from_then_on(store: Store) -> None:
    order: Future[list[str]] = Future()
    controller = ReviewController(store, LocalizationService(lambda: FakeWorker()), order=order)  # type: ignore[arg-type, return-value]
    for keys in (["study3", "study1", "study2"], ["study2", "study3", "study1"]):
        controller._take_order(keys)
        while controller.is_busy and len(controller._waiting) > 1:
            controller.poll()
        assert [row.key for row in controller.listing.rows] == keys
    order.set_exception(BackendError("no model"))
    controller.poll()
    assert not controller.is_busy
    controller.close()


def test_what_the_model_doubts_most_opens_first(store: Store) -> None:
    for key, sure in (("study1", 0.9), ("study2", 0.6), ("study3", 0.99)):
        marks = tuple(Landmark(name, "predicted", pixel_xy=(9.0, 9.0), confidence=sure) for name in LUMBAR11)
        found = LandmarkSet(marks, slice_index=1, bundle="model@1")
        store.save(Revision(key, "model@1", utc_now(), found, store.study(key).reference))
    controller = ReviewController(store, LocalizationService(lambda: FakeWorker()), by_doubt=True)  # type: ignore[arg-type, return-value]
    controller.begin("Ann")
    limit = time.monotonic() + 120
    while controller.opened is None or controller.is_busy:
        assert time.monotonic() < limit
        controller.poll()
        time.sleep(0.01)
    assert controller.opened.study.key == "study2"
    assert [row.key for row in controller.listing.rows] == ["study2", "study1", "study3"]
    controller.close()


def test_the_order_of_gain_is_that_of_the_queue(store: Store) -> None:
    with pytest.raises(BackendError, match=r"the random one stays.*nowhere"):
        ask_for_order(store.folder, None, "nowhere").result(60)
    assert sorted(ask_for_order(store.folder, None, "current").result(60)) == ["study1", "study2", "study3"]


def test_no_list_of_processes_shows_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(ordering, "_run", lambda command, secret: seen.append((command, secret)))
    ask_for_order(Path("d"), "postgresql://ann:s3cret@host/spines", "current").result(10)
    ((command, secret),) = seen
    assert "s3cret" not in " ".join(command)
    assert "postgresql://ann@host/spines" in " ".join(command)
    assert secret == {"PGPASSWORD": "s3cret"}


def test_a_fault_of_the_program_does_not_keep_the_next_study_away(
    sit_down: Callable[..., At], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = sit_down()
    before = at.key
    monkeypatch.setattr(store, "take", lambda *_: 1 / 0)
    at.actions.do("skip")
    at.settle()
    assert "ZeroDivisionError" in at.notified[-1].text
    monkeypatch.undo()
    at.actions.do("skip")
    at.settle()
    assert at.key != before


def test_a_study_that_was_given_to_somebody_else_says_so(sit_down: Callable[..., At], store: Store) -> None:
    at = sit_down("Eve")
    store.assign(at.key, "Fay")
    at.controller.refresh()
    at.settle()
    assert at.controller.warnings[0].startswith("This study is with Fay now")


def test_retraining_is_offered_where_it_can_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for found in (True, None):
        monkeypatch.setattr("SpineLandmarksLib.web.learning.find_spec", lambda name, found=found: found)
        learning = Learning(FakeRetraining(), LocalizationService(lambda: None))  # type: ignore[arg-type, return-value]
        assert learning.view_state()["can_retrain"] is bool(found)


def test_skipping_goes_through_all_studies_before_the_first_comes_again(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at, seen = sit_down(), list[str]()
    for number in range(6):
        seen.append(at.key)
        if number == 1:  # one with corrections stays assigned, which changes no order
            at.localize(found(at))
            at.move("L3")
        at.actions.do("skip")
        at.poll_until(lambda: at.key != seen[-1])
        at.settle()
    assert len(set(seen[:3])) == 3
    assert seen[3:] == seen[:3]


def test_work_goes_on_where_it_ended_after_a_restart(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    before = sit_down()
    before.localize(found(before))
    before.move("L3")
    before.actions.comment("Bright disc")
    key, position = before.key, before.controller.session["L3"].position_ras_mm  # type: ignore[index]
    before.controller.close()  # at once: what is not saved yet is saved now
    after = sit_down()
    assert after.key == key
    assert after.controller.session is not None
    assert after.controller.session["L3"].status == "corrected"
    assert after.controller.session["L3"].position_ras_mm == pytest.approx(position, abs=1e-3)
    assert after.controller.session.comment == "Bright disc"
    after.actions.do("undo")
    assert after.controller.session["L3"].status == "predicted"


def test_a_worker_that_dies_says_so_and_the_next_try_works(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    at.actions.do("localize")
    assert view_state(at.controller, at.actions)["job_stage"]
    at.worker.answer(event="lost", error="The worker process ended (SIGKILL) before the job was done. Try again")
    at.settle()
    assert at.notified[-1] == Notification(
        "The worker process ended (SIGKILL) before the job was done. Try again", "error"
    )
    at.localize(found(at))
    assert at.controller.session is not None
    assert at.controller.session["L3"].status == "predicted"


def test_relocalizing_goes_around_what_a_person_said(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    at.localize(found(at))
    at.move("L3")
    at.actions.select("L4")
    at.actions.do("not_visible")
    mine = at.controller.session["L3"].position_ras_mm  # type: ignore[index]
    at.actions.do("relocalize")
    assert at.worker.asked[-1]["given"] == {"L3": mine, "L4": None}
    at.worker.answer(event="done", result=as_json(found(at)))
    at.settle()
    assert at.controller.session is not None
    assert at.controller.session["L3"].position_ras_mm == mine
    assert at.controller.session["L4"].status == "not_visible"


def test_localizing_anew_asks_before_it_replaces_corrections(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    at.localize(found(at))
    at.move("L3")
    at.actions.do("localize")
    (question, then), asked = at.questions[0], len(at.worker.asked)
    assert "corrections" in question
    then()
    assert len(at.worker.asked) == asked + 1


def test_what_is_corrected_while_the_model_runs_stays(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    at.localize(found(at))
    at.actions.do("localize")
    at.move("L3")
    mine = at.controller.session["L3"]  # type: ignore[index]
    other = [replace(mark, position_ras_mm=(1.0, 2.0, 3.0)) for mark in found(at)]
    at.worker.answer(event="done", result=as_json(replace(found(at), landmarks=tuple(other))))
    at.settle()
    assert at.controller.session is not None
    assert at.controller.session["L3"] == mine
    assert at.controller.session["L4"].position_ras_mm == (1.0, 2.0, 3.0)


def test_a_new_study_is_localized_when_it_opens_and_no_other(store: Store, found: Callable[[At], LandmarkSet]) -> None:
    at = At(store, "Ann", localizes=True)
    first = at.key
    assert len(at.worker.asked) == 1
    at.actions.do("skip")  # nobody waits for it
    at.poll_until(lambda: at.key != first and at.worker.cancelled)
    at.worker.answer(event="cancelled")
    at.poll_until(lambda: len(at.worker.asked) == 2)
    at.worker.answer(event="done", result=as_json(found(at)))
    at.poll_until(lambda: view_state(at.controller, at.actions)["looked_at"])
    at.settle()
    key = at.key
    at.controller.open(first)
    at.poll_until(lambda: len(at.worker.asked) == 3)
    at.worker.answer(event="done", result=as_json(found(at)))
    at.settle()
    at.controller.open(key)
    at.poll_until(lambda: at.key == key)
    at.settle()
    assert len(at.worker.asked) == 3
    at.controller.close()


def test_what_was_placed_before_the_model_was_free_is_not_localized_over(
    store: Store, found: Callable[[At], LandmarkSet]
) -> None:
    at = At(store, "Ann", localizes=True)
    first = at.key
    at.actions.do("skip")
    at.poll_until(lambda: at.key != first and at.worker.cancelled)
    assert at.controller.session is not None
    at.controller.session.place("L3", found(at)["L3"].position_ras_mm or ())
    at.worker.answer(event="cancelled")
    at.poll_until(lambda: at.controller.localization.job is None)
    at.settle()
    assert (len(at.worker.asked), at.controller.session["L3"].status) == (1, "corrected")
    at.controller.close()


def test_a_result_for_a_study_that_is_no_longer_open_changes_nothing(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    first, landmarks = at.key, found(at)
    at.actions.do("localize")
    at.actions.do("skip")
    at.poll_until(lambda: at.key != first)
    at.worker.answer(event="done", result=as_json(landmarks))
    at.settle()
    assert at.controller.session is not None
    assert at.controller.session["L3"].is_absent
    assert store.history(first) == []


def test_a_store_that_vanishes_is_told_and_what_was_done_is_kept(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    at.localize(found(at))
    copies = {file: file.read_bytes() for file in store.folder.glob("store.sqlite*")}
    for file in copies:
        file.unlink()
    at.move("L3")
    at.poll_until(lambda: at.controller.saver.words[1] == "failed")
    assert "Nothing is lost" in at.controller.saver.words[0]
    at.move("L4")  # work goes on
    for file, content in copies.items():
        file.write_bytes(content)
    assert at.controller.saver.current is not None
    at.controller.saver.current.retry_at = 0
    at.poll_until(lambda: at.controller.saver.words[1] == "saved")
    head = store.head(at.key)
    assert head is not None
    assert [head.landmarks[name].status for name in ("L3", "L4", "L5")] == ["corrected", "corrected", "predicted"]


@pytest.mark.skipif(os.geteuid() == 0 if hasattr(os, "geteuid") else True, reason="root may write everywhere")
def test_a_folder_that_may_only_be_read_is_told(store: Store, sit_down: Callable[..., At]) -> None:
    at = sit_down()
    for path in (store.folder, *store.folder.glob("store.sqlite*")):
        path.chmod(0o500 if path.is_dir() else 0o400)
    at.actions.comment("Bright disc")
    at.poll_until(lambda: at.controller.saver.words[1] == "failed")
    store.folder.chmod(0o700)


def test_a_study_whose_volume_has_changed_is_shown_as_the_slice_that_was_kept(
    sit_down: Callable[..., At], store: Store, phantoms: list[Phantom]
) -> None:
    for number in (1, 2, 3):
        write_nifti(phantoms[number % 3], store.folder / f"volume{number}.nii")
    at = sit_down()
    assert at.controller.opened is not None
    assert len(at.controller.opened.stack) == 1
    assert any("has changed since it was annotated" in text for text in at.controller.warnings)
    truth = phantoms[int(at.key.removeprefix("study")) - 1]
    position = truth.landmarks["L3"].position_ras_mm
    assert position is not None
    assert at.controller.opened.frame.pixel_xy(position) == pytest.approx(truth.landmarks["L3"].pixel_xy, abs=1e-3)
    assert not at.actions.can()["localize"]
    with pytest.raises(LandmarkError, match="changed or is not there"):
        at.controller.localize()


def test_a_study_without_its_image_is_passed_over(sit_down: Callable[..., At], store: Store) -> None:
    for study in store.studies():
        (store.folder / study.image).unlink()
        shutil.move(store.folder / study.source, store.folder / "gone")
    at = sit_down()
    at.poll_until(lambda: len(at.notified) >= 1)
    assert "is not there. Put it back; its landmarks are kept" in at.notified[0].text


def test_two_versions_of_a_study_are_told(sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]) -> None:
    at = sit_down()
    at.localize(found(at))
    elsewhere = at.controller.session
    assert elsewhere is not None
    other = replace(elsewhere.revision(at.controller.opened.study.reference), author="B. Reader")  # type: ignore[union-attr]
    at.controller.store.save(other)
    at.move("L3")
    at.settle()
    assert any("Both versions are kept" in each.text for each in at.notified)


def test_the_words_of_a_model_are_told_until_they_are_answered(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    sacrum, doubtful = "The sacrum is not in the picture", "Levels are doubtful: L3, L4"
    at.localize(replace(found(at), warnings=(sacrum, doubtful)))
    for one in (at, sit_down("A. Reader")):  # of this run, and as they come from the store
        one.settle()
        assert view_state(one.controller, one.actions)["warnings"] == [sacrum, doubtful]
        for name in ("L3", "L4"):
            one.controller.session.confirm(name)  # type: ignore[union-attr]
        assert view_state(one.controller, one.actions)["warnings"] == [sacrum]
        for _ in range(2):
            one.controller.session.undo()  # type: ignore[union-attr]
    at.actions.do("confirm_all")
    assert at.controller.warnings == ()


def test_a_number_that_the_model_itself_doubts_is_not_shown_as_sure(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    marks = [replace(mark, needs_review=mark.name == "L3") for mark in found(at)]
    at.localize(replace(found(at), landmarks=tuple(marks)))
    rows = {row["name"]: row["colour"] for row in view_state(at.controller, at.actions)["rows"]}
    assert (rows["L2"], rows["L3"]) == (BANDS[0][1], BANDS[1][1])


def test_what_went_wrong_is_no_longer_told_when_it_goes_well(sit_down: Callable[..., At], store: Store) -> None:
    at = sit_down()
    away = store.folder.with_name("away")
    store.folder.rename(away)
    at.controller.refresh()
    at.settle()
    about = at.notified[-1].about
    assert about
    away.rename(store.folder)
    at.settled.clear()
    at.controller.refresh()
    at.settle()
    assert about in at.settled


def signed(at: At, found: LandmarkSet) -> str:
    """Sign the open study off."""
    key = at.key
    at.localize(found)
    at.actions.do("confirm_all")
    at.actions.do("sign_off")
    at.poll_until(lambda: at.key != key)
    at.settle()
    return key


def test_a_sign_off_is_not_taken_away_unasked(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    ann, bob = sit_down("Ann"), sit_down("Bob")
    key = signed(ann, found(ann))
    bob.controller.open(key)
    bob.poll_until(lambda: bob.key == key)
    bob.settle()
    assert key not in store.assignments()  # to look is not to take
    bob.actions.select("L3")
    changes = [lambda name=name: bob.actions.do(name) for name in ("undo", "confirm", "shift_up", "localize")]
    for change in (*changes, lambda: bob.actions.key("Ctrl+Z"), lambda: bob.actions.comment("Bright disc")):
        bob.questions.clear()
        change()
        assert "signed off by Ann" in bob.questions[0][0]
        bob.settle()
        assert [one.study for one in store.signed_off()] == [key]
    bob.actions.key("C")
    bob.questions[-1][1]()
    bob.settle()
    assert store.signed_off() == []
    assert store.assignments()[key] == "Bob"
    ann.controller.refresh()
    ann.settle()
    words = next(row.words for row in ann.controller.listing.rows if row.key == key)
    assert words == "with Bob; Ann had signed it off"


def refuse(what_takes: Any, name: str, keys: set[str], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]) -> None:
    """Let the store's `sign_off`, or the saver's `save`, refuse what is of these studies while they are in `keys`."""
    take = getattr(what_takes, name)

    def refuse_or_take(what: Any, *rest: Any) -> Any:
        study = (what if isinstance(what, Revision) else what_takes.revision(what)).study
        if study in keys:
            raise kind(f"{study}: not now")
        return take(what, *rest)

    monkeypatch.setattr(what_takes, name, refuse_or_take)


def seal(at: At, key: str, found: Callable[[At], LandmarkSet]) -> Session:
    """Open a study of the list and sign it off, and wait for no save."""
    at.controller.open(key)
    at.poll_until(lambda: at.key == key and not at.controller.is_opening)
    at.actions.do("localize")
    at.worker.answer(event="done", result=as_json(found(at)))
    at.poll_until(lambda: at.controller.localization.job is None)
    session = at.controller.session
    assert session is not None
    session.confirm_all()
    at.controller.sign_off()
    return session


def test_each_of_several_sign_offs_reaches_a_slow_store(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, keys = sit_down(), {"study1", "study2"}
    refuse(at.controller.saver, "save", keys, monkeypatch, StoreError)
    for key in sorted(keys):
        seal(at, key, found)
    keys.remove("study2")  # one that is refused for good keeps no other back
    at.poll_until(lambda: [one.study for one in store.signed_off()] == ["study2"])
    keys.clear()
    for one in at.controller.saver._all():
        one.retry_at = 0.0
    at.settle()
    assert [one.study for one in store.signed_off()] == ["study1", "study2"]


def test_a_sign_off_that_is_refused_opens_its_own_study_again(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = sit_down()
    saves, signs = {"study1"}, {"study1"}
    refuse(at.controller.saver, "save", saves, monkeypatch, StoreError)
    refuse(store, "sign_off", signs, monkeypatch, StoreError)
    first = seal(at, "study1", found)
    at.controller.open("study2")
    at.poll_until(lambda: at.key == "study2")
    now = at.controller.session
    assert now is not None
    now.seal = "B. Reader"
    saves.clear()
    for one in at.controller.saver._all():
        one.retry_at = 0.0
    at.settle()
    (told,) = (each for each in at.notified if "study1: not now" in each.text)
    assert (first.seal, now.seal) == ("", "B. Reader")
    seal(at, "study3", found)
    at.settle()
    assert told.about not in at.settled  # what goes well is another one


def test_sign_offs_are_written_at_the_end_and_what_is_refused_is_named(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    at, saves, signs = sit_down(), {"study1", "study2", "study3"}, {"study2"}
    refuse(at.controller.saver, "save", saves, monkeypatch, KeyError)
    refuse(store, "sign_off", signs, monkeypatch, KeyError)
    for key in sorted(saves):
        seal(at, key, found)
    saves -= {"study2", "study3"}
    words = at.controller.close()
    assert [one.study for one in store.signed_off()] == ["study3"]
    assert "study3" in (store.folder / "landmarks.json").read_text()
    assert "Not signed off, as the store did not take it: study1, study2. " in words
    assert str(store.folder / "unsaved") in words


def test_what_slicer_saves_meanwhile_is_seen_and_what_is_damaged_is_told_once(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    session, study = at.controller.session, at.controller.opened.study  # type: ignore[union-attr]
    assert session is not None
    other = Revision(at.key, "B. Reader", utc_now(), complete(found(at), study.matrix), study.reference)
    file = save_to_training_set(other, store.folder).path
    at.controller.refresh()
    at.settle()
    assert [one.id for one in store.history(at.key)] == [other.id]
    damaged = file.with_name("0002-0123.json")
    damaged.write_text("{")
    for _ in range(2):
        at.controller.refresh()
        at.settle()
    assert sum(str(damaged) in each.text for each in at.notified) == 1
    damaged.unlink()
    at.controller.refresh()
    at.settle()
    assert REVISIONS in at.settled


def test_a_sign_off_of_points_that_make_no_sense_is_asked_first(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    key = at.key
    at.localize(found(at))
    session = at.controller.session
    assert session is not None
    r, a, s = session["L3"].position_ras_mm or (0, 0, 0)
    session.move("L3", (r, a, s - 30))
    at.actions.key("Shift+C")
    at.actions.key("Shift+S")
    assert "L3" in at.questions[0][0]
    at.settle()
    assert store.signed_off() == []
    at.questions[0][1]()
    at.poll_until(lambda: at.key != key)
    assert [one.study for one in store.signed_off()] == [key]


def test_looking_at_studies_keeps_none_of_them(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    at = sit_down()
    for key in ("study1", "study2", "study3", "study2"):
        at.controller.open(key)
        at.settle()
    assert set(store.assignments()) == {"study2"}
    at.localize(found(at))
    at.move("L3")
    at.settle()
    at.controller.open("study1")
    at.settle()
    assert set(store.assignments()) == {"study1", "study2"}


def test_a_restart_opens_what_was_worked_on_last(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet], store: Store
) -> None:
    for last in ("study1", "study2", "study3"):
        at = sit_down()
        at.controller.open(last)
        at.settle()
        at.localize(found(at))
        at.move("L3")
        at.settle()
        with store.transaction() as connection:  # a clock of seconds is too coarse for a test
            connection.execute(update(assignments).where(assignments.c.study == last).values(time=f"2999-{last}"))
        assert sit_down().key == last


def test_keys_do_what_their_buttons_may(sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]) -> None:
    at = sit_down()
    at.localize(found(at))
    session = at.controller.session
    assert session is not None
    at.actions.key("Ctrl+Z")  # nothing to undo
    at.actions.select("L3")
    before = session["L3"].pixel_xy
    at.actions.key("Shift+ArrowRight")
    assert before is not None
    assert session["L3"].pixel_xy == pytest.approx((before[0] + 3.0 / 3.1, before[1]), abs=1e-3)
    at.actions.key("C")
    assert session["L3"].status == "confirmed"
    with pytest.raises(LandmarkError, match="not confirmed"):
        at.actions.key("ArrowLeft")
    at.actions.key("J")
    assert at.actions.selected == "L3-L4"
    at.actions.key("Shift+U")
    assert "nevertheless" in at.questions[0][0]
    at.questions[0][1]()
    assert session["L3-L4"].position_ras_mm != found(at)["L3-L4"].position_ras_mm


def test_the_next_click_sets_no_corner_that_was_hidden_meanwhile(
    sit_down: Callable[..., At], found: Callable[[At], LandmarkSet]
) -> None:
    at = sit_down()
    corner = Landmark("L3.sup.ant", "not_visible", needs_review=False)
    at.localize(replace(found(at), corners=(corner, replace(found(at)["L3"], name="L3.sup.post"))))
    scene = at.actions.scene
    scene.start_placing = lambda name: setattr(scene, "mode", "place")
    scene.reset_mouse_mode = lambda: setattr(scene, "mode", "view")
    at.actions.select(corner.name)
    at.actions.key("P")
    assert scene.mode == "place"
    at.actions.key("E")
    assert (scene.mode, at.actions.selected) == ("view", None)
    at.actions.do("endplates")
    at.controller.session.mark_not_visible("L3")  # type: ignore[union-attr]
    at.actions.select("L3")
    at.actions.key("P")
    at.actions.key("E")  # of a centre the placing goes on
    assert (scene.mode, at.actions.selected) == ("place", "L3")


def test_an_upload_is_counted_and_named_by_us(tmp_path: Path) -> None:
    incoming = Incoming(tmp_path, "Doe^John.nii.gz", 10)
    incoming.write(b"\x1f\x8b12345678")
    path = incoming.finish()
    assert path.read_bytes() == b"\x1f\x8b12345678"
    assert "Doe" not in str(path)
    larger = Incoming(tmp_path, "a.nii.gz", 10)
    with pytest.raises(AccessError, match="larger"):
        larger.write(b"\x1f\x8b123456789")
    larger.close()
    with pytest.raises(AccessError, match="another kind"):
        Incoming(tmp_path, "run.py", 10)
    wrong = Incoming(tmp_path, "a.zip", 10)
    with pytest.raises(AccessError, match="something else"):
        wrong.write(b"\x7fELF")
    wrong.close()
    assert list((tmp_path / "uploads").iterdir()) == [path]


def test_an_uploaded_study_is_added_and_one_that_is_none_is_taken_away(
    store: Store, sit_down: Callable[..., At], tmp_path: Path
) -> None:
    at = sit_down()
    path = store.folder / "uploads" / "upload-1.nii"
    path.parent.mkdir()
    write_nifti(make_phantom(14, matrix=(96, 80), pixel_mm=3.1, slices=3, slice_mm=4.4), path)
    at.controller.add(path, ingest_upload)
    at.poll_until(lambda: at.key == "upload-1")
    broken = path.with_name("upload-2.nii")
    broken.write_bytes(b"\x5c\x01\0\0" + bytes(400))
    with pytest.raises(SpineLandmarksError):
        ingest_upload(store, broken)
    assert not broken.exists()


def test_marks_that_nobody_placed_say_so(sit_down: Callable[..., At]) -> None:
    at = sit_down()
    rows = view_state(at.controller, at.actions)["rows"]
    assert [row["words"] for row in rows] == ["not placed"] * 11
    assert at.controller.session is not None
    assert isinstance(at.controller.session["L3"], Landmark)


class FakeRetraining:
    """A training that the test leads. State "done" means that its model was promoted."""

    label = "Retrain"

    def __init__(self) -> None:
        self.state, self.begun, self.stopped = "none", list[str](), 0

    def progress(self) -> RetrainStatus:
        return RetrainStatus(self.state, f"It is {self.state}", 5, 10, promoted=True if self.state == "done" else None)

    def start(self, by: str) -> None:
        self.begun.append(by)
        self.state = "running"

    def stop(self) -> None:
        self.stopped += 1


def test_retraining_is_asked_shown_stopped_and_its_model_put_to_work() -> None:
    retraining, worker, asked = FakeRetraining(), FakeWorker(), list[Callable[[], object]]()
    localization = LocalizationService(lambda: worker)  # type: ignore[arg-type, return-value]
    localization.warm()
    learning = Learning(retraining, localization, clock=lambda: 0.0)  # type: ignore[arg-type]
    learning.poll()
    assert learning.view_state()["retrain_text"] == ""
    learning.press("A. Reader", 15, lambda text, then: asked.append(then) if "15 studies" in text else None)
    assert retraining.begun == []
    asked[0]()
    assert retraining.begun == ["A. Reader"]
    learning._next_look = 0.0
    assert learning.poll()
    assert (learning.view_state()["retrain_runs"], learning.view_state()["retrain_share"]) == (True, 48)
    learning.press("A. Reader", 15, lambda text, then: None)
    assert retraining.stopped == 1
    retraining.state = "done"
    learning._next_look = 0.0
    learning.poll()
    assert localization.client is None  # the next job starts one of the new model
