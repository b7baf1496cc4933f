"""The real Ray: two nodes, one of which is killed in mid-run, and a run that is interrupted; the rest on a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from SpineLandmarksLib.batch import predict_all
from SpineLandmarksLib.batch import ray_engine as engine
from SpineLandmarksLib.batch.ray_engine import Actor, RayEngine
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BackendError
from SpineLandmarksLib.predict import Localizer

PATIENCE_S = 180.0
STUDIES = 10


@pytest.fixture(autouse=True)
def no_cluster_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def a_tree(a_picture: Path, tmp_path: Path) -> Path:
    """Pictures 0/s to 9/s; the last is no image."""
    for number in range(STUDIES):
        folder = tmp_path / "tree" / str(number)
        folder.mkdir(parents=True)
        shutil.copy(a_picture, folder / "s.png")
    (folder / "s.png").write_text("no image")
    return tmp_path / "tree"


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A cluster of two nodes with a processor each, the second one to be killed; both end with the test."""
    cluster_utils = pytest.importorskip("ray.cluster_utils", reason="needs Ray, the extra `cluster`")
    if sys.platform != "linux":
        pytest.skip("Ray runs clusters of several nodes on Linux only")
    folder = tempfile.mkdtemp(prefix="sl")  # short: sockets lie in it
    Path(folder, "ray").mkdir()  # where Ray notes its address, which it does not make itself
    monkeypatch.setenv("RAY_TMPDIR", folder)
    common = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args={**common, "temp_dir": folder})
    try:
        second = cluster.add_node(**common)
        kill = partial(cluster.remove_node, second, allow_graceful=False)
        yield SimpleNamespace(address=cluster.address, second=second.node_id, kill=kill)
    finally:
        cluster.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


def actor_that_waits_for_its_death(log: Path, doomed: str) -> type[Actor]:
    """Notes when it begins and ends a study. On the doomed node it does not get on with its first one, and on the other
    nobody gets on before that has begun, however busy the machine is. A local class, which Ray sends by its code."""
    amid = log.with_name("amid")

    class WaitingActor(Actor):
        def localize(self, study: Any, path: Path, settings: Any) -> Any:
            import ray

            here = ray.get_runtime_context().get_node_id()
            note(study, "begins", here)
            if here == doomed:
                amid.touch()
                time.sleep(PATIENCE_S)  # it is killed meanwhile
            wait_until(amid.exists)
            try:
                return super().localize(study, path, settings)
            finally:
                note(study, "ends", here)

    def wait_until(is_so: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so() and time.monotonic() < deadline:
            time.sleep(0.02)

    def note(study: Any, what: str, here: str) -> None:
        with log.open("a") as stream:
            stream.write(f"{study.stem} {what} {here}\n")

    return WaitingActor


def begun(log: Path) -> list[str]:
    """The studies that were begun, by actor after actor."""
    return [line.split()[0] for line in log.read_text().splitlines() if "begins" in line]


def ledger(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "studies.jsonl").read_bytes().splitlines()]


def test_a_node_that_is_killed_in_mid_run_costs_no_study_and_none_is_recorded_twice(
    two_nodes: Any,
    a_tree: Path,
    a_small_bundle: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, log, bundle = tmp_path / "out", tmp_path / "log", str(a_small_bundle.folder)
    monkeypatch.setattr(engine, "Actor", actor_that_waits_for_its_death(log, two_nodes.second))

    def go() -> int:
        return predict_all([a_tree], ray_engine, out, ("json", "csv"), 3.1, tree=True, resume=True)

    with RayEngine(bundle, "auto", "auto", two_nodes.address) as ray_engine:
        outcomes = ray_engine.outcomes

        def with_a_death(*arguments: Any) -> Iterator[Any]:
            for outcome in outcomes(*arguments):
                yield outcome
                if not killed:  # it came from the other node, so the doomed one is amid a study
                    killed.append(outcome.study.stem)
                    two_nodes.kill()

        killed: list[str] = []
        monkeypatch.setattr(ray_engine, "outcomes", with_a_death)
        assert go() == 1, "one study is no image"
        times = Counter(begun(log))
        rows = ledger(out)
        assert killed
        assert sum(times.values()) == STUDIES + 1, "what the dead actor had begun is done by the other one"
        assert sorted(row["study"] for row in rows) == sorted(times) == [f"{number}_s" for number in range(STUDIES)]
        assert [row["study"] for row in rows if row["status"] == "failed"] == ["9_s"]
        log.unlink()
        assert go() == 1
        assert begun(log) == ["9_s"], "the others are finished"
    said = capsys.readouterr()
    assert "9 of 10 studies localized; 9 of them by an earlier run" in said.out
    assert said.err.count("\n") == 2, "nothing but the failure, twice"
    local = tmp_path / "local"
    predict_all([a_tree], Localizer.open(bundle), local, ("json", "csv"), 3.1, tree=True)
    for file in local.glob("*_s.csv"):
        assert file.read_bytes() == (out / file.name).read_bytes()
    assert {file.name for file in local.iterdir()} == {file.name for file in out.iterdir()}


def test_ctrl_c_ends_the_cluster_that_was_started_and_the_run_can_be_gone_on_with_in_one_process(
    a_tree: Path, a_small_bundle: Bundle, tmp_path: Path
) -> None:
    pytest.importorskip("ray", reason="needs Ray, the extra `cluster`")
    if os.name == "nt":
        pytest.skip("Windows has no process groups to interrupt")
    out = tmp_path / "out"
    arguments = [
        "predict",
        str(a_tree),
        "--recursive",
        "--output",
        str(out),
        "--spacing",
        "3.1",
        "--resume",
        "--bundle",
        str(a_small_bundle.folder),
    ]
    code = f"""
import sys, time
from pathlib import Path
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.batch import ray_engine as engine
from SpineLandmarksLib.batch.ray_engine import Actor
class ActorThatWaits(Actor):
    def localize(self, *arguments):
        ledger = Path({str(out / "studies.jsonl")!r})
        while ledger.exists() and ledger.read_bytes():  # it is ended meanwhile
            time.sleep(0.05)
        return super().localize(*arguments)
engine.Actor = ActorThatWaits
sys.exit(main({[*arguments, "--engine", "ray", "--workers", "1"]!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, start_new_session=True) as command:
        deadline = time.monotonic() + PATIENCE_S
        while not (out / "studies.jsonl").exists() or not ledger(out):
            assert command.poll() is None, command.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        started = processes_of(command.pid)
        os.killpg(command.pid, signal.SIGINT)  # as a terminal does it: everybody gets it
        _, said = command.communicate(timeout=PATIENCE_S)
    assert said.decode() == "spine-landmarks: interrupted; every file written so far is whole\n"
    assert command.returncode == 130
    assert 1 <= len(ledger(out)) < STUDIES
    assert len(started) > 3, "the command, and Ray's own"
    while processes_of(command.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert main(arguments) == 1
    assert sorted(row["study"] for row in ledger(out)) == [f"{number}_s" for number in range(STUDIES)]


def processes_of(session: int) -> list[str]:
    """Ids of the processes of a session that are not dead."""
    said = subprocess.run(["ps", "-eo", "sid=,pid=,stat="], capture_output=True, text=True, check=True).stdout
    return [pid for sid, pid, state in map(str.split, said.splitlines()) if sid == str(session) and state[0] != "Z"]


def test_without_ray_one_line_names_the_extra(
    a_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["predict", str(a_tree), "--recursive", "--output", str(tmp_path / "out"), "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert "pip install 'spine-landmarks[cluster]'" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_options_of_a_cluster_need_the_engine_that_has_one(
    a_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in (["--workers", "2"], ["--address", "auto"]):
        assert main(["predict", str(a_tree), "--recursive", "--output", str(tmp_path / "out"), *option]) == 2
        assert "--engine ray" in capsys.readouterr().err


class Recorded:
    """A stand-in for the module `ray` that notes what is asked of it. resources: of its cluster."""

    def __init__(self, resources: dict[str, float]) -> None:
        self.resources, self.asked, self.is_up = resources, [], False
        self.remote = lambda **needs: lambda _: SimpleNamespace(remote=lambda *model: self.asked.append((needs, model)))

    def init(self, **options: Any) -> None:
        self.is_up = True
        if options["address"] == "10.0.0.1:1":
            raise RuntimeError("Version mismatch:\nRay 1 and 2")

    def shutdown(self) -> None:
        self.is_up = False

    def cluster_resources(self) -> dict[str, float]:
        return self.resources


class ReadyPool:
    """Its actors are ready."""

    def __init__(self, ray: Any, actors: list[Any]) -> None:
        self.start = lambda: "torch"


def engine_on(ray: Recorded, monkeypatch: pytest.MonkeyPatch, *arguments: Any) -> RayEngine:
    monkeypatch.setattr(engine, "_ray", lambda: ray)
    monkeypatch.setattr(engine, "ActorPool", ReadyPool)
    monkeypatch.setattr(engine.socket, "create_connection", lambda *_: SimpleNamespace(close=lambda: None))
    return RayEngine(*arguments)


@pytest.mark.parametrize(
    ("device", "workers", "hired", "gpus"), [("auto", None, 3, 0), ("cpu", 5, 5, 0), ("cuda", None, 2, 1)]
)
def test_each_actor_has_a_processor_and_for_cuda_a_gpu(
    device: str, workers: int | None, hired: int, gpus: int, a_small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = Recorded({"CPU": 3.0, "GPU": 2.0})
    monkeypatch.chdir(a_small_bundle.folder.parent)
    with engine_on(ray, monkeypatch, "small", "auto", device, None, workers) as ready:
        assert ready.backend == "torch"
        assert ray.is_up
    assert not ray.is_up
    assert [(needs["num_cpus"], needs["num_gpus"]) for needs, _ in ray.asked] == [(1, gpus)] * hired
    assert ray.asked[0][1][:3] == (str(a_small_bundle.folder.resolve()), "auto", device), (
        "an actor is in another folder"
    )


def test_a_cluster_that_cannot_be_used_is_an_error_in_words(
    a_small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray, bundle = Recorded({"CPU": 3.0}), str(a_small_bundle.folder)
    with pytest.raises(BackendError, match="a cluster with a GPU; it has"):
        engine_on(ray, monkeypatch, bundle, "auto", "cuda").__enter__()
    with pytest.raises(BackendError, match=r"at 10\.0\.0\.1:1; got RuntimeError: Version mismatch"):
        engine_on(ray, monkeypatch, bundle, "auto", "auto", "10.0.0.1:1").__enter__()
    with pytest.raises(BackendError, match="as HOST:PORT or auto; got 'ray://x:1'"):
        engine_on(ray, monkeypatch, bundle, "auto", "auto", "ray://x:1").__enter__()
    assert not ray.is_up
    monkeypatch.undo()
    with pytest.raises(BackendError, match="nobody answers there"):
        RayEngine(bundle, "auto", "auto", "127.0.0.1:1").__enter__()
