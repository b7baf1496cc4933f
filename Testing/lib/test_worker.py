"""The worker as a real process on phantoms: it answers, survives nonsense, and is noticed and replaced when it dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.batch import write_results
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.formats.json_result import as_json
from SpineLandmarksLib.phantom.files import write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.predict import Localizer, predict
from SpineLandmarksLib.worker import client as client_module
from SpineLandmarksLib.worker.client import WorkerClient, environment
from SpineLandmarksLib.worker.protocol import FINAL, MAX_LINE

PATIENCE_S = 180.0
needs_signals = pytest.mark.skipif(os.name == "nt", reason="Windows has neither SIGKILL nor SIGSTOP")

#: A worker whose network prints and takes its time: argv is [bundle folder, seconds per batch].
SLOW = """
import os, sys, time
from SpineLandmarksLib import backends
from SpineLandmarksLib.cli.main import main
detect = backends.LightBackend.detect
def slow(self, images):
    print("stray")
    os.write(1, b"stray too")
    os.system("echo and a child's")
    time.sleep(float(sys.argv[2]))
    return detect(self, images)
backends.LightBackend.detect = slow
sys.exit(main(["serve", "--bundle", sys.argv[1]]))
"""


@pytest.fixture(scope="module")
def serving(a_small_bundle: Bundle) -> list[str]:
    return [sys.executable, "-m", "SpineLandmarksLib", "serve", "--bundle", str(a_small_bundle.folder)]


@pytest.fixture(scope="module")
def serving_slowly(a_small_bundle: Bundle) -> list[str]:
    return [sys.executable, "-c", SLOW, str(a_small_bundle.folder), "0.4"]


@pytest.fixture(scope="module")
def a_thick_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """15 slices, which go through the network one after the other when all are asked for."""
    phantom = make_phantom(5, matrix=(96, 80), pixel_mm=3.1, slices=15, slice_mm=4.2)
    return write_nifti(phantom, tmp_path_factory.mktemp("thick") / "thick.nii.gz")


@pytest.fixture
def client() -> Iterator[Callable[[list[str]], WorkerClient]]:
    """Makes clients that are closed, and whose workers are waited for, at the end."""
    made: list[WorkerClient] = []

    def make(command: list[str]) -> WorkerClient:
        made.append(WorkerClient(command))
        return made[-1]

    yield make
    for one in made:
        one.close()
    for thread in threading.enumerate():
        if thread.name == "worker end":
            thread.join(PATIENCE_S)


def until(client: WorkerClient, job: str, *events: str) -> list[dict[str, Any]]:
    """All messages up to the first one of this job with one of the events; fails when it does not come."""
    seen: list[dict[str, Any]] = []
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        seen += client.poll()
        if any(message.get("id") == job and message["event"] in events for message in seen):
            return seen
        time.sleep(0.01)
    pytest.fail(f"no {events} for {job} in {PATIENCE_S} s; got {seen}")


def ends(messages: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(message["id"], message["event"]) for message in messages if message["event"] in FINAL]


def test_two_jobs_are_done_in_order_and_give_what_predict_gives(
    client, serving: list[str], a_small_bundle: Bundle, a_phantom_study: Path, a_thick_study: Path, tmp_path: Path
) -> None:
    worker = client(serving)
    first = worker.submit(a_phantom_study, output=tmp_path / "new", formats=["json", "csv"])
    second = worker.submit(a_thick_study, slice_index=4)
    assert worker.open_jobs == (first, second)
    seen = until(worker, second, *FINAL)
    assert ends(seen) == [(first, "done"), (second, "done")]
    assert worker.open_jobs == ()
    story = [m["event"] for m in seen if m.get("id") == first]
    assert [*dict.fromkeys(story)] == ["queued", "started", "progress", "done"]
    done = {m["id"]: m["result"] for m in seen if m["event"] == "done"}
    localizer = Localizer.open(a_small_bundle.folder)
    stack, alone = predict(a_phantom_study, localizer)
    for job, expected in ((first, alone), (second, predict(a_thick_study, localizer, None, 4)[1])):
        assert {**done[job], "runtime_s": 0} == {**as_json(expected), "runtime_s": 0}
    (tmp_path / "old").mkdir()
    write_results(stack, alone, tmp_path / "old", "phantom", ["json", "csv"])
    assert {p.name for p in (tmp_path / "new").iterdir()} == {p.name for p in (tmp_path / "old").iterdir()}
    assert (tmp_path / "new" / "phantom.csv").read_bytes() == (tmp_path / "old" / "phantom.csv").read_bytes()


def test_progress_names_its_stage_and_grows(client, serving: list[str], a_thick_study: Path) -> None:
    worker = client(serving)
    job = worker.submit(a_thick_study, slices=(0, 14))
    told = [m for m in until(worker, job, "done") if m["event"] == "progress"]
    assert [m["stage"] for m in told[:2]] == ["loading the model", "reading"]
    assert "slice 15 of 15" in told[-1]["stage"]
    assert [m["share"] for m in told] == sorted(m["share"] for m in told)


def test_given_points_and_a_range_of_slices_are_kept_to(client, serving: list[str], a_phantom_study: Path) -> None:
    worker = client(serving)
    job = worker.submit(a_phantom_study, slices=(5, 6), given={"L3": (1.0, 2.0, 3.0), "L5-S1": None})
    result = until(worker, job, *FINAL)[-1]["result"]
    marks = {mark["name"]: mark for mark in result["landmarks"]}
    assert result["slice_index"] in (5, 6), "the middle one is 3"
    assert (marks["L3"]["status"], marks["L3"]["position_ras_mm"]) == ("confirmed", [1.0, 2.0, 3.0])
    assert marks["L5-S1"]["status"] == "not_visible"


def test_a_failing_job_says_why_and_the_next_one_is_done(client, serving: list[str], a_phantom_study: Path) -> None:
    worker = client(serving)
    failing = [
        (worker.submit("/nowhere/at/all"), "input", "does not exist"),
        (worker.submit(a_phantom_study, slices=(3, 7)), "input", "Expected slices in 0..6; got 3 to 7"),
        (worker.submit(a_phantom_study, given={"L9": None}), "landmark", "L9"),
        (worker.submit(a_phantom_study, output=a_phantom_study), "fault", "FileExistsError"),
    ]
    seen = until(worker, worker.submit(a_phantom_study), "done")
    by_id = {m["id"]: m for m in seen if m["event"] == "failed"}
    for job, kind, words in failing:
        assert by_id[job]["kind"] == kind
        assert words in by_id[job]["error"]


def test_a_bundle_that_is_missing_fails_each_job_and_not_the_worker(client, a_phantom_study: Path) -> None:
    worker = client([sys.executable, "-m", "SpineLandmarksLib", "serve", "--bundle", "nonsense"])
    seen = until(worker, worker.warm(), *FINAL) + until(worker, worker.submit(a_phantom_study), *FINAL)
    assert [m["kind"] for m in seen if m["event"] == "failed"] == ["bundle", "bundle"]
    described = until(worker, worker.request("describe"), "described")[-1]
    assert (described["bundle"], described["loaded"]) == ("nonsense", None)
    assert "lumbar11" in described["bundles"]


def test_cancelling_takes_effect_between_batches_and_the_worker_goes_on(
    client, serving_slowly: list[str], a_thick_study: Path
) -> None:
    worker = client(serving_slowly)
    running, waiting, last = (worker.submit(a_thick_study, slices=(0, 14)) for _ in range(3))
    until(worker, running, "progress")
    pid = worker.pid
    worker.cancel(waiting)
    worker.cancel(running)
    worker.cancel("no such job")
    seen = until(worker, last, *FINAL)
    assert "slice 15 of 15" not in [m["stage"] for m in seen if m["event"] == "progress" and m["id"] == running]
    assert ends(seen) == [(waiting, "cancelled"), (running, "cancelled"), (last, "done")]
    assert worker.pid == pid
    assert not [m for m in seen if m["event"] == "error"], "what is printed must not reach the messages"


@needs_signals
def test_a_worker_that_is_killed_is_noticed_and_replaced(
    client, serving_slowly: list[str], a_thick_study: Path
) -> None:
    worker = client(serving_slowly)
    running, waiting = worker.submit(a_thick_study), worker.submit(a_thick_study)
    seen = until(worker, running, "progress")
    while "slice 2" not in seen[-1].get("stage", ""):  # the first slice has printed by then
        seen += until(worker, running, "progress")
    killed = worker.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    seen = until(worker, waiting, *FINAL)
    assert ends(seen) == [(running, "lost"), (waiting, "lost")]
    assert "SIGKILL" in seen[-1]["error"]
    assert any("stray" in line for line in seen[-1]["stderr"])
    assert ends(until(worker, worker.submit(a_thick_study, slice_index=7), *FINAL))[0][1] == "done"
    assert worker.pid not in (None, killed)


#: A worker that is killed in mid-job, as by a system without memory, told by what had started it.
KILLED = """
import json, os, signal, sys
print(json.dumps({"event": "ready", "protocol": 1, "version": "0", "pid": 0}), flush=True)
sys.stdin.readline()
os.kill(os.getpid(), signal.SIGKILL)
"""
LAUNCHERS = {  # a shell, and the launcher of Slicer's Python
    "shell": 'python "$@" & wait $!; exit $?',
    "CTK": 'python "$@" & wait $!; echo "[PythonSlicer] exit abnormally - Report the problem." >&2; exit 1',
}


@needs_signals
@pytest.mark.parametrize(("launcher", "says"), [("shell", "(SIGKILL)"), ("CTK", "(status 1, killed by the system")])
def test_a_worker_that_is_killed_behind_its_launcher_is_told_as_killed(
    client, tmp_path: Path, launcher: str, says: str
) -> None:
    script = tmp_path / "launcher"
    script.write_text(f'#!/bin/sh\npython() {{ {sys.executable} "$@"; }}\n{LAUNCHERS[launcher]}\n')
    script.chmod(0o755)
    worker = client([str(script), "-c", KILLED])
    seen = until(worker, worker.submit(tmp_path), *FINAL)
    assert says in seen[-1]["error"]


def test_on_windows_a_process_is_killed_with_its_children_and_no_window_and_only_while_it_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr(client_module.sys, "platform", "win32")
    monkeypatch.setattr(client_module.subprocess, "CREATE_NO_WINDOW", 0x08000000, raising=False)
    monkeypatch.setattr(client_module.subprocess, "run", lambda command, **how: asked.append((command, how)))
    living = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    client_module.kill_tree(living)
    ((command, how),) = asked
    assert command == ["taskkill", "/F", "/T", "/PID", str(living.pid)]
    assert how["creationflags"] == 0x08000000
    living.kill()
    living.wait()
    client_module.kill_tree(living)
    assert len(asked) == 1


@needs_signals
def test_a_job_for_a_worker_that_died_unnoticed_goes_to_a_new_one(client, serving: list[str]) -> None:
    worker = client(serving)
    until(worker, worker.request("ping"), "pong")
    lost, killed = worker.warm(), worker.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    while worker.pid:
        time.sleep(0.01)
    done = worker.warm()
    seen = until(worker, done, *FINAL)
    assert (done, "done") in ends(seen)
    assert [event for job, event in ends(seen) if job == lost] in (["lost"], ["done"])


def test_a_worker_that_crashes_leaves_its_last_words(client) -> None:
    code = "import sys; sys.stdin.readline(); sys.stderr.write('x\\n' * 99 + 'out of luck\\n'); sys.exit(3)"
    worker = client([sys.executable, "-c", code])
    lost = until(worker, worker.submit("x"), "lost")[-1]
    assert "status 3" in lost["error"]
    assert (len(lost["stderr"]), lost["stderr"][-1]) == (client_module.LAST_LINES, "out of luck")


def test_a_worker_of_another_protocol_is_refused(client) -> None:
    code = 'import sys; print(\'{"event":"ready","protocol":99}\', flush=True); sys.stdin.read()'
    worker = client([sys.executable, "-c", code])
    assert "Expected a worker of protocol 1; got 99" in until(worker, worker.submit("x"), "lost")[-1]["error"]


def test_a_command_that_is_not_there_is_an_error_that_names_it(client) -> None:
    worker = client(["/nowhere/python", "serve"])
    with pytest.raises(BackendError, match="/nowhere/python serve; got: No such file"):
        worker.submit("x")
    assert worker.open_jobs == ()


@needs_signals
def test_a_worker_that_hangs_holds_up_nobody_and_is_killed_with_its_children(
    client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "GRACE_S", 0.2)
    code = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"event":"ready","protocol":1,"child":%d}' % child.pid, flush=True)
time.sleep(600)
"""
    worker = client([sys.executable, "-c", code])
    started = time.monotonic()
    for _ in range(2000):  # some 200 kB, more than a pipe holds
        worker.submit("x" * 100)
    seen: list[dict[str, Any]] = []
    while not seen:
        seen += worker.poll()
    pids = (worker.pid, seen[0]["child"])
    worker.close()
    assert worker.poll() == []
    assert time.monotonic() - started < PATIENCE_S
    for pid in pids:
        wait_until_gone(pid)


def wait_until_gone(pid: int) -> None:
    """Return when no process has this id, or only one that is dead and not yet waited for."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
        if state.stdout.strip() in ("", "Z", "Zs"):
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


@pytest.fixture
def raw(serving: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker without a client, killed when a test takes too long."""
    with subprocess.Popen(
        serving, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    ) as worker:
        guard = threading.Timer(PATIENCE_S, worker.kill)
        guard.start()
        yield worker
        guard.cancel()
        worker.kill()


def test_lines_that_are_no_requests_are_answered_and_do_not_end_the_worker(raw: subprocess.Popen[bytes]) -> None:
    garbage = [b"\xff\xfe", b"{", b"null", b"x" * (MAX_LINE + 1), b'{"do":"fly"}']
    out, _ = raw.communicate(b"\n".join([*garbage, b"", b'{"id":"p","do":"ping"}\n']))
    events = [json.loads(line)["event"] for line in out.splitlines()]
    assert events == ["ready"] + ["error"] * len(garbage) + ["pong"]
    assert raw.returncode == 0, "the end of stdin is a normal end"


def test_a_reader_that_never_reads_blocks_nothing(raw: subprocess.Popen[bytes], a_phantom_study: Path) -> None:
    assert raw.stdin is not None
    assert raw.stdout is not None
    pings = b"".join(b'{"id":"%0150d","do":"ping"}\n' % number for number in range(1000))
    raw.stdin.write(pings)
    raw.stdin.write(json.dumps({"id": "job", "do": "localize", "path": str(a_phantom_study)}).encode() + b"\n")
    raw.stdin.write(pings)  # more than all pipes hold, of requests as of answers
    raw.stdin.flush()
    events = []
    while events.count("pong") < 2000 or "done" not in events:
        line = raw.stdout.readline()
        assert line, f"the worker ended after {len(events)} messages"
        events.append(json.loads(line)["event"])
    assert events.count("pong") == 2000


def test_memory_stays_bounded_over_many_jobs(client, serving: list[str], a_phantom_study: Path) -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("memory of another process is read from /proc, which this system does not have")

    def resident_kib() -> int:
        lines = Path(f"/proc/{worker.pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])

    def work(jobs: int) -> None:
        until(worker, [worker.submit(a_phantom_study) for _ in range(jobs)][-1], "done")

    worker = client(serving)
    work(10)
    before = resident_kib()
    work(40)
    assert resident_kib() - before < 10_000


@needs_signals
def test_a_worker_ends_when_its_parent_is_killed_though_somebody_holds_its_pipes(serving: list[str]) -> None:
    """The stderr of the worker is a pipe of ours: its end says that the worker has ended."""
    parent_code = f"""
import subprocess, sys, time
worker = subprocess.Popen({serving!r}, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
ready = worker.stdout.readline()
pipes = (worker.stdin.fileno(), worker.stdout.fileno())
holder = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=pipes,
                          stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
print(holder.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    with parent:
        assert parent.stdout is not None
        assert parent.stderr is not None
        holder = int(parent.stdout.readline())
        try:
            guard = threading.Timer(PATIENCE_S, os.kill, (holder, signal.SIGKILL))
            guard.start()
            parent.kill()
            started = time.monotonic()
            parent.stderr.read()  # to its end
            assert time.monotonic() - started < PATIENCE_S / 2
            os.kill(holder, 0)  # it is there, and holds the pipes
        finally:
            guard.cancel()
            os.kill(holder, signal.SIGKILL)
