"""The DICOM node: nothing is lost and nothing sent twice, whatever dies; real dcmtk tools send to it and receive."""

from __future__ import annotations

import gc
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID, MRImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import Comprehensive3DSRStorage, SecondaryCaptureImageStorage

from research.node_kills import campaign, free_port, stamped, storescp, write_phantom
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import InputError, OutputError
from SpineLandmarksLib.formats import read_landmarks
from SpineLandmarksLib.formats.dicom_capture import write_capture
from SpineLandmarksLib.formats.dicom_sr import write_sr
from SpineLandmarksLib.imaging.dicom_source import planes_of
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.pacs import node as node_module
from SpineLandmarksLib.pacs import sender as sender_module
from SpineLandmarksLib.pacs.node import MAX_ASSOCIATIONS, Node, NodeSettings
from SpineLandmarksLib.pacs.queue import STUDY, QueueFullError, QueueLimits, StudyQueue, StudyResult
from SpineLandmarksLib.pacs.sender import Peer

#: How long an event is waited for, s.
PATIENCE_S = 180.0

# The queue


class Killed(BaseException):
    """The process ends here."""


#: What changes the disk.
STEPS = ((os, "rename"), (os, "replace"), (shutil, "rmtree"), (Path, "unlink"), (Path, "rename"))


def work_through(folder: Path, delivered: list[str], *later: str) -> None:
    """Start on what is there, take in a study of two images, which is sent twice over, and do all there is to do.

    later: images that come after that.
    """
    with closing(StudyQueue(folder)) as queue:
        for instances in (("1", "2"), ("1", "2"), later):
            for instance in instances:
                queue.add("1.2", instance, b"image")
            do_all(queue, folder, delivered)


def do_all(queue: StudyQueue, folder: Path, delivered: list[str]) -> None:
    for study in queue.studies("work"):
        finish(queue, study, folder)
    for study in queue.studies("incoming"):
        if queue.take(study):
            finish(queue, study, folder)
    for name in queue.studies("send"):
        if not queue.settle(name):
            for file in queue.files_to_send(name):
                delivered.append(f"{len(images_of(name, queue))} images: {file.name}")
                queue.mark_sent(file)


def images_of(name: str, queue: StudyQueue) -> list[str]:
    return list(json.loads((queue.folder / "send" / name / STUDY).read_text())["instances"])


def finish(queue: StudyQueue, study: str, folder: Path) -> None:
    queue.gather(study)
    if queue.has_changed(study):
        return
    for name in ("report.dcm", "capture.dcm"):
        (folder / name).write_bytes(b"result")
    before = queue.last_result(study)
    files = [folder / "report.dcm", folder / "capture.dcm"]
    queue.finish(study, files, StudyResult(before.number + 1 if before else 1))


def test_a_study_that_comes_twice_has_one_result(tmp_path: Path) -> None:
    delivered: list[str] = []
    work_through(tmp_path, delivered)
    work_through(tmp_path, delivered)
    assert sorted(delivered) == ["2 images: capture.dcm", "2 images: report.dcm"]


def test_a_kill_at_any_step_loses_nothing_and_sends_nothing_for_a_second_time(tmp_path: Path) -> None:
    """Killed before and after each change of the disk; only between the PACS's word and ours is a file sent again."""
    for step in count():
        for after in (False, True):
            folder, delivered = tmp_path / f"{step}-{after}", list[str]()
            folder.mkdir()
            with pytest.MonkeyPatch.context() as patch:
                steps = count()
                for place, name in STEPS:
                    patch.setattr(place, name, killing(getattr(place, name), steps, step, after))
                try:
                    work_through(folder, delivered, "3")
                    was_killed = False
                except Killed:
                    was_killed = True
            work_through(folder, delivered, "3")
            wanted = {f"{count} images: {name}.dcm" for count in (2, 3) for name in ("capture", "report")}
            assert set(delivered) == wanted, (step, after)
            assert len(delivered) <= 5, (step, after)
            assert len(list((folder / "sent").iterdir())) == 2, (step, after)
            assert sorted(os.listdir(folder / "kept" / "1.2")) == ["1.dcm", "2.dcm", "3.dcm"], (step, after)
            left = [stage for stage in ("incoming", "work", "send", "failed") if os.listdir(folder / stage)]
            assert left == [], (step, after)
        if not was_killed:
            return


def killing(real: Callable[..., Any], steps: Iterator[int], last: int, after: bool) -> Callable[..., Any]:
    def changed(*args: Any, **options: Any) -> Any:
        is_last = next(steps) == last
        if is_last and not after:
            raise Killed
        answer = real(*args, **options)
        if is_last:
            raise Killed
        return answer

    return changed


def test_more_of_a_study_while_it_is_read_makes_it_wait_again(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path)) as queue:
        queue.add("1.2", "1", b"image")
        queue.take("1.2")
        queue.add("1.2", "1", b"image")
        assert not queue.has_changed("1.2")  # the same once more
        queue.add("1.2", "2", b"image")
        assert queue.has_changed("1.2")
        assert sorted(file.name for file in (tmp_path / "incoming" / "1.2").iterdir()) == ["1.dcm", "2.dcm"]
        assert queue.studies("work") == []


def done(queue: StudyQueue, study: str, instance: str, number: int) -> None:
    """A study of one more image that has a result, `number` s after 1970."""
    queue.add(study, instance, b"image")
    assert queue.take(study)
    queue.gather(study)
    queue.finish(study, (), StudyResult(number))
    os.utime(queue.folder / "kept" / study, (number, number))


def test_what_comes_later_lies_beside_what_a_result_or_a_failure_was_made_of(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path)) as queue:
        done(queue, "1.2", "1", 1)
        queue.add("1.2", "2", b"image")
        queue.take("1.2")
        queue.gather("1.2")
        assert queue.came_since("1.2") == (1, 0)
        queue.fail("1.2", "no sagittal series")
        queue.add("1.2", "3", b"image")
        queue.take("1.2")
        queue.gather("1.2")
        assert sorted(file.name for file in (tmp_path / "work" / "1.2").iterdir()) == ["1.dcm", "2.dcm", "3.dcm"]
        assert (queue.studies("failed"), queue.studies("kept")) == ([], [])


def test_an_image_that_is_sent_anew_after_a_failure_is_as_it_came_last(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path)) as queue:
        for content in (b"damaged", b"mended"):
            queue.add("1.2", "1", content)
            assert queue.take("1.2")
            queue.gather("1.2")
            if content == b"damaged":
                queue.fail("1.2", "no image can be read")
        assert (tmp_path / "work" / "1.2" / "1.dcm").read_bytes() == b"mended"
        assert queue.studies("failed") == []


def test_what_is_kept_has_an_age_and_a_number(tmp_path: Path) -> None:
    limits = QueueLimits(kept=2, kept_s=1000.0, sent=3)
    with closing(StudyQueue(tmp_path, limits)) as queue:
        now = int(time.time())
        for number, age in enumerate((2000, 30, 20, 10), start=1):
            done(queue, f"1.{number}", "1", now - age)
            queue.settle(queue.studies("send")[0])
            os.utime(next((tmp_path / "sent").glob(f"1.{number}-*")), (now - age, now - age))
        for number in range(5, 9):
            queue.add(f"1.{number}", "1", b"image")
            queue.take(f"1.{number}")
            queue.fail(f"1.{number}", "no sagittal series")
            os.utime(next((tmp_path / "failed").glob(f"1.{number}-*")), (now + number, now + number))
        assert sorted(queue.prune()) == ["1.5", "1.6"]
        assert queue.studies("kept") == ["1.3", "1.4"]
        assert [name.partition("-")[0] for name in queue.studies("failed")] == ["1.7", "1.8"]
        assert [name.partition("-")[0] for name in queue.studies("sent")] == ["1.2", "1.3", "1.4"]
        assert (queue.last_result("1.1"), queue.last_result("1.4")) == (None, StudyResult(now - 10))
        assert queue.prune() == []


def test_the_results_of_a_study_are_forgotten_together_and_not_before_the_last_is_sent(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path, QueueLimits(sent=1))) as queue:
        for number, study in enumerate(("1.1", "1.2", "1.1"), start=1):
            done(queue, study, str(number), number)
            (name,) = queue.studies("send")
            queue.settle(name)
            os.utime(tmp_path / "sent" / f"{name}.json", (number, number))
        done(queue, "1.2", "4", 4)
        queue.prune()
        assert [name.rpartition("-")[0] for name in queue.studies("sent")] == ["1.1-001", "1.1-003", "1.2-002"]
        assert queue.last_result("1.1") == StudyResult(3)
        assert queue.last_result("1.2") == StudyResult(4)
        queue.settle(queue.studies("send")[0])
        queue.prune()
        assert [name.rpartition("-")[0] for name in queue.studies("sent")] == ["1.2-002", "1.2-004"]
        assert (queue.last_result("1.1"), queue.last_result("1.2")) == (None, StudyResult(4))


def test_a_queue_of_an_older_version_is_gone_on_with(tmp_path: Path) -> None:
    """Its sent studies say nothing of their report."""
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "1.2-0123456789ab.json").write_text('{"study": "1.2", "instances": ["1"]}')
    with closing(StudyQueue(tmp_path)) as queue:
        assert queue.last_result("1.2") == StudyResult(1)
        queue.add("1.2", "1", b"image")
        assert queue.take("1.2") is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"study": "1.2", "instances": ["1"], "result": {"other": 1}}'])
def test_what_is_damaged_among_the_sent_keeps_no_node_from_starting(content: str, tmp_path: Path) -> None:
    (tmp_path / "sent").mkdir()
    (tmp_path / "sent" / "1.2-001-0123456789ab.json").write_text(content)
    with closing(StudyQueue(tmp_path)) as queue:
        queue.add("1.3", "1", b"image")
        assert queue.take("1.3")


def test_the_limits_of_a_queue_hold(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path, QueueLimits(instance_bytes=10, instances=2, studies=1))) as queue:
        with pytest.raises(QueueFullError, match="10 bytes; got 11"):
            queue.add("1.2", "1", b"x" * 11)
        for instance in ("1", "2"):
            queue.add("1.2", instance, b"x")
        with pytest.raises(QueueFullError, match="2 instances"):
            queue.add("1.2", "3", b"x")
        with pytest.raises(QueueFullError, match="1 studies"):
            queue.add("1.3", "1", b"x")


def test_two_nodes_do_not_share_a_queue(tmp_path: Path) -> None:
    with closing(StudyQueue(tmp_path)), pytest.raises(OutputError, match="no other node uses"):
        StudyQueue(tmp_path)
    assert (tmp_path.stat().st_mode & 0o077) == 0


# The node, with a worker that says what a test wants


class Worker:
    """What the node sees of a worker: `work(path, output)` does a job, and returns or raises its last word."""

    def __init__(self, work: Callable[[Path, Path], dict[str, Any]]) -> None:
        self.work, self.asked = work, list[tuple[str, Path, Path]]()
        self.ids = count()

    def submit(self, path: Path, output: Path, formats: list[str]) -> str:
        assert formats == ["sr.dcm", "sc.dcm"]
        self.asked.append((str(next(self.ids)), path, output))
        return self.asked[-1][0]

    def poll(self) -> list[dict[str, Any]]:
        job, path, output = self.asked[-1]
        return [{"id": job, **self.work(path, output)}]

    def close(self) -> None:
        pass


def report(path: Path, output: Path) -> dict[str, Any]:
    """A real report and capture of one landmark in the middle of the first image."""
    uid = str(pydicom.dcmread(next(path.glob("*.dcm"))).SeriesInstanceUID)
    planes = planes_of(sorted(path.glob("*.dcm")), uid)
    r, a, s = (float(v) for v in (planes[0].ras_from_pixel @ [40, 48, 0, 1])[:3])
    found = LandmarkSet((Landmark("L3", pixel_xy=(40.0, 48.0), position_ras_mm=(r, a, s)),), series_uid=uid)
    output.mkdir()
    write_sr(found, planes, output / f"{path.name}.sr.dcm")
    write_capture([[0.0, 1.0], [1.0, 0.0]], found, planes, output / f"{path.name}.sc.dcm")
    return {"event": "done"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> list[pydicom.Dataset]:
    folder = write_phantom(tmp_path_factory.mktemp("phantom") / "study")
    return [pydicom.dcmread(file) for file in sorted(folder.iterdir())]


class Bench:
    """A node that runs in a thread. said: its log."""

    def __init__(self, folder: Path, peer: Peer, work: Callable[..., Any], limits: QueueLimits, **asked: Any) -> None:
        self.queue, self.worker, self.said = StudyQueue(folder, limits), Worker(work), list[str]()
        self.news = threading.Condition()
        worker: Any = self.worker
        settings = NodeSettings("NODE", 0, peer, **{"quiet_s": 0.2, **asked})
        self.node = Node(settings, self.queue, worker, self._say)
        self.thread = threading.Thread(target=self.node.run)
        self.thread.start()

    def _say(self, text: str) -> None:
        with self.news:
            self.said.append(text)
            self.news.notify_all()

    def await_word(self, word: str, times: int = 1) -> None:
        with self.news:
            assert self.news.wait_for(lambda: sum(word in one for one in self.said) >= times, PATIENCE_S), self.said

    def close(self) -> None:
        self.node.end()
        self.thread.join()
        self.node.close()
        self.queue.close()


class Pacs:
    """A node that answers what it is sent with `status`, and counts it."""

    def __init__(self) -> None:
        self.status: Callable[[], int] = lambda: 0
        self.kept: list[str] = []
        self.objects: list[pydicom.Dataset] = []
        self.news = threading.Condition()
        self.port = free_port()
        self.ae = AE(ae_title="PACS")
        for kind in (Comprehensive3DSRStorage, SecondaryCaptureImageStorage):
            self.ae.add_supported_context(kind)

    def start(self) -> None:
        self.ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._on_store)])

    def _on_store(self, event: Any) -> int:
        status = self.status()
        with self.news:
            if status == 0:
                self.kept.append(str(event.dataset.Modality))
                event.dataset.file_meta = event.file_meta
                self.objects.append(event.dataset)
            self.news.notify_all()
        return status

    def await_kept(self, number: int) -> list[str]:
        with self.news:
            assert self.news.wait_for(lambda: len(self.kept) >= number, 30), self.kept
        return sorted(self.kept)


@pytest.fixture
def a_pacs(monkeypatch: pytest.MonkeyPatch) -> Iterator[Pacs]:
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_S", 0.1)
    monkeypatch.setattr(node_module, "FIRST_PAUSE_S", 0.1)
    pacs = Pacs()
    yield pacs
    pacs.ae.shutdown()


@pytest.fixture
def start(a_pacs: Pacs, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    started = []

    def start(work: Callable[..., Any] = report, limits: QueueLimits | None = None, **settings: Any) -> Bench:
        peer = Peer("PACS", "127.0.0.1", a_pacs.port)
        started.append(Bench(tmp_path / "queue", peer, work, limits or QueueLimits(), **settings))
        return started[-1]

    yield start
    for bench in started:
        bench.close()


@contextmanager
def associated(bench: Bench, aet: str = "SCANNER") -> Iterator[Any]:
    ae = AE(ae_title=aet)
    ae.add_requested_context(MRImageStorage)
    association = ae.associate("127.0.0.1", bench.node.port, ae_title="NODE")
    yield association
    if association.is_established:
        association.release()


def send(bench: Bench, images: list[pydicom.Dataset], aet: str = "SCANNER") -> list[int | None]:
    with associated(bench, aet) as association:
        if not association.is_established:
            return []
        return [association.send_c_store(image).get("Status") for image in images]


def test_a_study_that_is_quiet_is_localized_and_its_result_sent_once(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    a_pacs.start()
    bench = start()
    assert send(bench, stamped(images, 1)) == [0, 0]
    assert a_pacs.await_kept(2) == ["OT", "SR"]
    assert send(bench, stamped(images, 1)) == [0, 0]
    bench.await_word("came again")
    assert len(bench.worker.asked) == 1
    assert len(a_pacs.kept) == 2
    assert not list((bench.queue.folder / "work").iterdir())
    assert "Secret" not in str(bench.said)
    assert "1.2.826" not in str(bench.said)


def of_kind(pacs: Pacs, modality: str) -> list[pydicom.Dataset]:
    return [one for one in pacs.objects if one.Modality == modality]


def test_a_result_after_another_of_its_study_is_of_all_images_and_says_what_it_replaces(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset], tmp_path: Path
) -> None:
    """The reported point lies on the first image, which comes last; a third image changes nothing."""
    a_pacs.start()
    bench = start()
    first, second = stamped(images, 1)
    send(bench, [second])
    a_pacs.await_kept(2)
    send(bench, [first])
    a_pacs.await_kept(4)
    former, later = of_kind(a_pacs, "SR")
    (evidence,) = later.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(evidence.ReferencedSOPSequence) == 2
    (study,) = later.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (instance,) = series.ReferencedSOPSequence
    assert (study.StudyInstanceUID, series.SeriesInstanceUID) == (former.StudyInstanceUID, former.SeriesInstanceUID)
    assert instance.ReferencedSOPInstanceUID == former.SOPInstanceUID != later.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == former.SOPClassUID
    later.save_as(tmp_path / "later.dcm", enforce_file_format=True)
    found = read_landmarks(tmp_path / "later.dcm")
    assert [text for text in found.warnings if "replaces result 1; images that have come since: 1" in text]
    assert "PredecessorDocumentsSequence" not in former
    captures = of_kind(a_pacs, "OT")
    assert len({one.SOPInstanceUID for one in captures}) == 2
    assert [one.InstanceNumber for one in captures] == [1, 2]
    if shutil.which("dciodvfy"):
        captures[1].save_as(tmp_path / "capture.dcm", enforce_file_format=True)
        assert_valid(tmp_path / "later.dcm", tmp_path / "capture.dcm")
    (third,) = stamped([second], 1)
    third.SOPInstanceUID = third.file_meta.MediaStorageSOPInstanceUID = UID("1.2.826.0.1.1.1.3")
    send(bench, [third])
    bench.await_word("change nothing")
    assert len(a_pacs.kept) == 4


def assert_valid(*files: Path) -> None:
    for file in files:
        said = subprocess.run(["dciodvfy", file], capture_output=True, text=True, check=False)
        assert "Error" not in said.stderr, said.stderr


def test_a_result_of_later_images_alone_says_so_and_replaces_nothing(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    a_pacs.start()
    bench = start(limits=QueueLimits(kept_s=0.0))
    first, second = stamped(images, 1)
    send(bench, [second])
    a_pacs.await_kept(2)
    bench.node._prune_at = 0.0
    send(bench, [first])
    a_pacs.await_kept(4)
    later = of_kind(a_pacs, "SR")[1]
    assert "PredecessorDocumentsSequence" not in later
    assert "of later images alone; earlier ones that have gone: 1" in later.to_json()
    bench.await_word("localized again")


def test_a_pacs_that_is_away_or_refuses_gets_the_result_later(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    bench = start()
    send(bench, stamped(images, 1))
    bench.await_word("lets nobody in", 2)
    answers = iter([0xA700, 0xC000])
    a_pacs.status = lambda: next(answers, 0)
    a_pacs.start()
    assert a_pacs.await_kept(2) == ["OT", "SR"]
    assert any("refuses a" in one for one in bench.said)
    assert any(f"next try in {pause} s" in one for one in bench.said for pause in (0, 1))


def test_a_result_that_is_damaged_on_the_disk_holds_up_no_other(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset], tmp_path: Path
) -> None:
    damaged = tmp_path / "queue" / "send" / "0-damaged"
    damaged.mkdir(parents=True)
    (damaged / "report.dcm").write_bytes(b"no DICOM")
    (damaged / STUDY).write_text('{"study": "9", "instances": []}')
    a_pacs.start()
    bench = start()
    bench.await_word("a report could not be read")
    send(bench, stamped(images, 1))
    assert len(a_pacs.await_kept(2)) == 2
    bench.node._sender.close()
    assert bench.queue.studies("send") == ["0-damaged"]


def test_a_disk_that_fails_ends_no_sending(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    a_pacs.start()
    bench = start()

    def fail(name: str) -> bool:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(bench.queue, "settle", fail)
        send(bench, stamped(images, 1))
        bench.await_word("Input/output error")
    assert len(a_pacs.await_kept(2)) == 2


def test_nothing_is_kept_of_connections_that_have_ended(
    start: Callable[..., Bench], images: list[pydicom.Dataset]
) -> None:
    counted: list[Any] = []

    class Counted(node_module._Sizes):
        def __init__(self, limit: int) -> None:
            super().__init__(limit)
            counted.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(node_module, "_Sizes", Counted)
        bench = start(quiet_s=60.0)
    for number in range(1, 4):
        assert send(bench, stamped(images, number)) == [0, 0]
    until = time.monotonic() + PATIENCE_S
    while bench.node._ae.active_associations or len(counted[0]._bytes):
        assert time.monotonic() < until, dict(counted[0]._bytes)
        gc.collect()
        time.sleep(0.05)


def test_more_of_a_study_while_the_worker_reads_it_makes_one_result_of_all(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    a_pacs.start()
    both = stamped(images, 1)

    def work(path: Path, output: Path) -> dict[str, Any]:
        if len(list(path.glob("*.dcm"))) == 1:
            send(bench, both[1:])
        return report(path, output)

    bench = start(work)
    send(bench, both[:1])
    assert a_pacs.await_kept(2) == ["OT", "SR"]
    bench.await_word("changed while it was read")
    assert len(bench.worker.asked) == 2


def test_a_study_that_workers_die_of_is_put_aside_and_others_go_on(
    start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    a_pacs.start()
    bench = start(lambda path, output: {"event": "lost"} if path.name.endswith(".1") else report(path, output))
    send(bench, stamped(images, 1))
    send(bench, stamped(images, 2))
    assert a_pacs.await_kept(2) == ["OT", "SR"]
    (failed,) = (bench.queue.folder / "failed").iterdir()
    assert "3 workers died" in (failed / "reason.txt").read_text()
    assert len(list(failed.glob("*.dcm"))) == 2


@pytest.mark.parametrize("kind", ["output", "bundle"])
def test_a_fault_of_the_machine_is_no_fault_of_the_study(
    kind: str, start: Callable[..., Bench], a_pacs: Pacs, images: list[pydicom.Dataset]
) -> None:
    a_pacs.start()
    answers = iter([{"event": "failed", "kind": kind, "error": "No space left on device"}])
    bench = start(lambda path, output: next(answers, None) or report(path, output))
    send(bench, stamped(images, 1))
    assert a_pacs.await_kept(2) == ["OT", "SR"]
    bench.await_word(f"the {kind} is at fault")


def test_what_cannot_be_localized_is_put_aside_with_the_reason(
    start: Callable[..., Bench], images: list[pydicom.Dataset]
) -> None:
    bench = start(lambda path, output: {"event": "failed", "error": "Expected a sagittal series of Secret^Name1"})
    send(bench, stamped(images, 1))
    bench.await_word("has no result")
    (failed,) = (bench.queue.folder / "failed").iterdir()
    assert "sagittal" in (failed / "reason.txt").read_text()
    assert "Secret" not in str(bench.said)


def test_only_titles_of_the_list_may_send(start: Callable[..., Bench], images: list[pydicom.Dataset]) -> None:
    bench = start(allowed=("SCANNER",), quiet_s=60.0)
    assert send(bench, stamped(images, 1), "STRANGER") == []
    assert send(bench, stamped(images, 1)) == [0, 0]
    bench.await_word("turned away")


def test_what_is_too_large_or_no_study_is_refused(start: Callable[..., Bench], images: list[pydicom.Dataset]) -> None:
    bench = start(limits=QueueLimits(instance_bytes=20_000, instances=1), quiet_s=60.0)
    first, second = stamped(images, 1)
    assert send(bench, [first, second]) == [0, node_module.NO_ROOM]
    nameless = stamped(images, 2)[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nameless.StudyInstanceUID = "../../x"
    assert send(bench, [nameless]) == [node_module.NOT_UNDERSTOOD]
    large = stamped(images, 3)[0]
    large.add_new(0x00091010, "OB", bytes(30_000))
    assert send(bench, [large]) == [node_module.NO_ROOM]
    flood = stamped(images, 4)[0]
    flood.add_new(0x00091010, "OB", bytes(3 * 2**20))
    with suppress(Exception):  # it is broken off while it is sent
        assert send(bench, [flood]) != [0]
    assert bench.queue.studies("incoming") == ["1.2.826.0.1.1"]


def test_what_is_turned_away_in_a_flood_is_gone_at_once(start: Callable[..., Bench]) -> None:
    bench = start(quiet_s=60.0)
    bench.node._ae.acse_timeout = 10 * PATIENCE_S  # which those that are let in wait for
    sockets = [socket.create_connection(("127.0.0.1", bench.node.port), 5) for _ in range(2 * MAX_ASSOCIATIONS + 20)]
    until = time.monotonic() + PATIENCE_S
    while len(bench.node._ae.active_associations) != 2 * MAX_ASSOCIATIONS + 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(bench.node._ae.active_associations) == 2 * MAX_ASSOCIATIONS + 1
    for one in sockets:
        one.close()


def test_a_flood_of_connections_is_bounded_and_ends(start: Callable[..., Bench], images: list[pydicom.Dataset]) -> None:
    bench = start(quiet_s=60.0)
    sockets = [socket.create_connection(("127.0.0.1", bench.node.port), 5) for _ in range(40)]
    until = time.monotonic() + PATIENCE_S
    while len(bench.node._ae.active_associations) > 2 * MAX_ASSOCIATIONS + 1 and time.monotonic() < until:
        time.sleep(0.05)
    assert len(bench.node._ae.active_associations) <= 2 * MAX_ASSOCIATIONS + 1
    for one in sockets:
        one.close()
    until = time.monotonic() + PATIENCE_S
    while send(bench, stamped(images, 1)) != [0, 0]:
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"aet": "A" * 17}, "AE title"),
        ({"aet": ""}, "AE title"),
        ({"allowed": ("a\\b",)}, "AE title"),
        ({"host": "0.0.0.0"}, "--allow"),
        ({"port": 70_000}, "0..65535"),
        ({"quiet_s": float("nan")}, "0 s or more"),
        ({"quiet_s": -1.0}, "0 s or more"),
    ],
)
def test_a_node_that_cannot_be_is_refused(settings: dict[str, Any], rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        NodeSettings(**{"aet": "NODE", "port": 1, "peer": Peer("PACS", "localhost", 104), **settings})


@pytest.mark.parametrize(
    "text", ["PACS", "PACS@host", "@host:104", "PACS@host:0", "PACS@host:70000", "P" * 17 + "@h:1"]
)
def test_a_peer_that_is_none_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["node", "--aet", "NODE", "--port", "0", "--send", text, "--queue", str(tmp_path)]
    assert main(words) == 2
    assert "Expected a node to send to" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(start: Callable[..., Bench], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, closing(StudyQueue(tmp_path / "q")) as queue:
        settings = NodeSettings("NODE", taken.getsockname()[1], Peer("PACS", "localhost", 104))
        worker: Any = Worker(report)
        with pytest.raises(InputError, match="free address"):
            Node(settings, queue, worker, print)


# dcmtk, and the real worker

needs_dcmtk = pytest.mark.skipif(not shutil.which("storescp"), reason="dcmtk is not installed (Debian: dcmtk)")


@needs_dcmtk
def test_dcmtk_sends_to_the_node_and_receives_from_it(images: list[pydicom.Dataset], tmp_path: Path) -> None:
    pacs = tmp_path / "pacs"
    pacs.mkdir()
    for number, image in enumerate(stamped(images, 1)):
        image.save_as(tmp_path / f"{number}.dcm")
    with storescp(pacs) as port:
        bench = Bench(tmp_path / "queue", Peer("PACS", "127.0.0.1", port), report, QueueLimits())
        words = ["-aet", "SCANNER", "-aec", "NODE", "127.0.0.1", str(bench.node.port)]
        subprocess.run(["echoscu", *words], check=True)
        subprocess.run(["storescu", *words, tmp_path / "0.dcm", tmp_path / "1.dcm"], check=True)
        bench.await_word("is localized")
        until = time.monotonic() + PATIENCE_S
        while bench.queue.studies("send") and time.monotonic() < until:
            time.sleep(0.05)
        bench.close()
    assert sorted(pydicom.dcmread(file).Modality for file in pacs.iterdir()) == ["OT", "SR"]


@needs_dcmtk
def test_a_node_that_is_killed_loses_no_study_and_doubles_none(tmp_path: Path) -> None:
    """A share of `python -m research.node_kills`, with the real worker in processes of its own."""
    found = campaign(tmp_path, 2, 1, Random(1))
    assert (found.problems, found.kills) == ([], 1)
