"""Lines in and out of the worker: what is a request, what is refused and how, and that nobody waits for a reader."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest

from SpineLandmarksLib.arguments import FORMAT_NAMES
from SpineLandmarksLib.worker import protocol, server
from SpineLandmarksLib.worker.protocol import Request, RequestError, decode, encode, parse_request, read_lines
from SpineLandmarksLib.worker.server import Cancelled, JobList, Outbox, Worker, WorkerJob


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def test_a_request_is_read_with_all_its_fields() -> None:
    whole = line(
        id="7",
        do="localize",
        path="a b",
        spacing_mm=[0.5, 0.6],
        slice_index=3,
        slices=[2, 5],
        given={"L1": [1, 2.5, -3], "L5": None},
        output="out",
        formats=["csv"],
    )
    assert parse_request(whole) == Request(
        "localize", "7", "a b", (0.5, 0.6), 3, (2, 5), {"L1": (1.0, 2.5, -3.0), "L5": None}, "out", ("csv",)
    )
    assert parse_request(line(id="8", do="localize", path="x", spacing_mm=0.5, slices=None)) == Request(
        "localize", "8", "x", 0.5, formats=FORMAT_NAMES
    )
    assert parse_request(line(do="ping")) == Request("ping", None)


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"\xff", "expected UTF-8"),
        (b"{", "expected valid JSON"),
        (b"[" * 10**5, "too deep"),
        (b"[1]", "an object with named fields"),
        (b'{"do":"ping","do":"quit"}', "each name once"),
        (line(id="1"), "a field 'do'"),
        (line(do="dance"), "'do' of localize, warm, cancel, ping, describe, quit"),
        (line(do="ping", path="x"), 'fields of id, do in ping; got "path"'),
        (line(do="cancel"), "a field 'id' in cancel"),
        (line(do="warm", id=3), "a text in 'id'"),
        (line(do="warm", id=""), "an 'id' of 1 to 200 characters; got 0"),
        (line(do="warm", id="x" * 201), "got 201"),
        (line(id="1", do="localize"), "a field 'path'"),
        (line(id="1", do="localize", path=""), "the path of a study"),
        (line(id="1", do="localize", path="a\0b"), "the path of a study"),
        (line(id="1", do="localize", path="x", spacing_mm="1"), "a finite number in 'spacing_mm'"),
        (line(id="1", do="localize", path="x", spacing_mm=[1]), "2 finite numbers in 'spacing_mm'"),
        (line(id="1", do="localize", path="x", slice_index=1.5), "a whole number in 'slice_index'"),
        (line(id="1", do="localize", path="x", slices=[3, 2]), "the first and last slice"),
        (line(id="1", do="localize", path="x", slices=[-1, 2]), "the first and last slice"),
        (line(id="1", do="localize", path="x", given=[1]), "an object with named fields"),
        (line(id="1", do="localize", path="x", given={"L1": [1, 2]}), 'three finite numbers or null in "L1"'),
        (b'{"id":"1","do":"localize","path":"x","given":{"L1":[1,2,NaN]}}', "expected finite numbers; got NaN"),
        (line(id="1", do="localize", path="x", formats=["xml"]), 'got "xml"'),
        (line(id="1", do="localize", path="x", formats=[]), "'formats' of json, csv, mrk.json"),
    ],
)
def test_what_is_no_request_is_refused_with_the_rule(data: bytes, rule: str) -> None:
    with pytest.raises(RequestError, match=r"^request") as refused:
        parse_request(data)
    assert rule in str(refused.value)


def test_a_job_that_is_refused_ends_with_failed_and_anything_else_with_error() -> None:
    said: list[dict[str, Any]] = []
    worker = Worker(lambda: pytest.fail("no model is needed"), {})
    worker.say = said.append
    for data in (line(id="1", do="localize"), line(id="2", do="cancel"), b"{", None, b" "):
        assert worker.receive(data)
    assert [(m["id"], m["event"], m["kind"]) for m in said] == [
        ("1", "failed", "request"),
        ("2", "error", "request"),
        (None, "error", "request"),
        (None, "error", "request"),
    ]
    assert not worker.receive(line(do="quit"))


def test_a_fault_while_answering_does_not_end_the_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[dict[str, Any]] = []
    worker = Worker(lambda: pytest.fail("no model is needed"), {})
    worker.say = said.append
    monkeypatch.setattr("SpineLandmarksLib.worker.server.shipped_bundles", lambda: 1 // 0)
    assert worker.receive(line(do="describe"))
    assert (said[0]["event"], said[0]["kind"]) == ("error", "fault")


@pytest.mark.parametrize("block", [1, 4, 2**16])
def test_a_line_is_read_whole_and_one_that_is_too_long_is_dropped(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_BLOCK", block)
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb", buffering=0) as stream:
        for part in (b"on", b"e\ntwo\n\n", b"123456\n12345", b"67890123\nend"):
            stream.write(part)
    assert list(read_lines(reading, 5)) == [b"one", b"two", b"", None, None, b"end"]
    os.close(reading)


def test_a_message_is_one_line_of_ascii_and_a_line_that_is_none_is_an_error() -> None:
    message = {"event": "done", "path": "Müller\udcff\n"}
    assert encode(message).isascii()
    assert encode(message).count(b"\n") == 1
    assert decode(encode(message)) == message
    for data in (b"Hello", b"[1]", b'{"event":1}', b"\xff"):
        assert decode(data)["event"] == "error"


class Pipe:
    """Takes one message and then no more until it is opened."""

    def __init__(self) -> None:
        self.taken: list[dict[str, Any]] = []
        self.is_open = threading.Event()

    def write(self, data: bytes) -> None:
        self.taken.append(decode(data))
        self.is_open.wait(180)


def test_progress_is_dropped_when_nobody_reads_and_results_never_are() -> None:
    pipe = Pipe()
    box = Outbox(pipe.write)
    for number in range(1000):
        box.put({"event": "progress", "share": number / 1000})
    for number in range(500):
        box.put({"event": "done", "id": str(number)})
    pipe.is_open.set()
    box.close(180)
    events = [message["event"] for message in pipe.taken]
    assert events.count("progress") - server.MAX_PROGRESS in (0, 1), "one may be half written"
    assert [message["id"] for message in pipe.taken if message["event"] == "done"] == [str(n) for n in range(500)]


def test_who_has_more_to_say_waits_while_too_much_is_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UNREAD", 3)
    pipe = Pipe()
    box = Outbox(pipe.write)

    def talk() -> None:
        for _ in range(5):  # one is half written, three wait
            box.put({"event": "pong"})

    talking = threading.Thread(target=talk)
    talking.start()
    talking.join(0.2)
    assert talking.is_alive()
    pipe.is_open.set()
    talking.join(180)
    assert not talking.is_alive()
    box.close(180)
    assert len(pipe.taken) == 5


def test_a_reader_that_has_gone_is_told_and_frees_whoever_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_UNREAD", 1)
    broken, lock = threading.Event(), threading.Lock()

    def gone(_: bytes) -> None:
        raise BrokenPipeError

    def on_broken() -> None:
        with lock:
            broken.set()

    box = Outbox(gone, on_broken)
    with lock:  # as who queues a job holds the line
        for _ in range(10):
            box.put({"event": "pong"})
    assert broken.wait(180)
    box.close(180)
    assert not box._thread.is_alive()


def test_jobs_come_in_order_and_each_id_once(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs, before = JobList(), []
    one, two, three = (WorkerJob(Request("warm", name)) for name in ("1", "2", "3"))
    assert [jobs.add(job, before.append) for job in (one, two)] == [None, None]
    assert jobs.take() is one
    assert "'1'" in str(jobs.add(WorkerJob(Request("warm", "1")), before.append))
    assert "'2'" in str(jobs.add(WorkerJob(Request("warm", "2")), before.append))
    assert jobs.add(three, before.append) is None
    assert before == [0, 1, 2]
    monkeypatch.setattr(server, "MAX_WAITING", 2)
    assert "at most 2 jobs" in str(jobs.add(WorkerJob(Request("warm", "4")), before.append))
    assert jobs.withdraw("2")
    assert not jobs.withdraw("1")  # it runs
    assert not jobs.stop("3")  # it waits
    one.check()
    assert jobs.stop("1")
    with pytest.raises(Cancelled):
        one.check()
    jobs.close()
    assert jobs.take() is three
    assert three.is_cancelled
    assert jobs.take() is None


def test_the_id_of_a_job_that_is_done_is_free_while_the_next_one_is_waited_for() -> None:
    jobs, before, taken = JobList(), [], []
    jobs.add(WorkerJob(Request("warm", "1")), before.append)
    jobs.take()
    waiting = threading.Thread(target=lambda: taken.append(jobs.take()))
    waiting.start()
    waiting.join(0.2)
    assert jobs.add(again := WorkerJob(Request("warm", "1")), before.append) is None
    waiting.join(180)
    assert (taken, before) == ([again], [0, 0])
