"""Studies from a PACS and results into it: a real Orthanc, and a small server that fails in every way."""

from __future__ import annotations

import base64
import json
import math
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pydicom
import pytest
import trustme

from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import InputError, OutputError
from SpineLandmarksLib.formats import read_landmarks
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.pacs import dicomweb
from SpineLandmarksLib.pacs.dicomweb import DicomWeb
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = next(Path("/").glob("usr/*/orthanc/**/libOrthancDicomWeb.so*"), None)


@pytest.fixture(scope="module")
def a_series(a_phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dicom_series(a_phantom, tmp_path_factory.mktemp("dicom") / "study")


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (dicomweb.TOKEN, dicomweb.USER, dicomweb.PASSWORD, "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def study_of(series: Path) -> str:
    return str(pydicom.dcmread(next(series.iterdir())).StudyInstanceUID)


# A real one


class Orthanc:
    def __init__(self, folder: Path) -> None:
        with socket.socket() as free, socket.socket() as other:
            free.bind(("127.0.0.1", 0))
            other.bind(("127.0.0.1", 0))
            self.port, dicom = free.getsockname()[1], other.getsockname()[1]
        settings = {
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "HttpPort": self.port,
            "DicomPort": dicom,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {"reader": "secret"},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.process = subprocess.Popen(
            ["Orthanc", folder / "orthanc.json"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:  # it says when it is ready
            lines.append(line)
            if "Orthanc has started" in line:
                break
        else:
            raise AssertionError("".join(lines[-20:]))
        self.drain = threading.Thread(target=self.process.stderr.read, daemon=True)
        self.drain.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def ask(self, path: str, data: bytes | None = None) -> bytes:
        key = base64.b64encode(b"reader:secret").decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/{path}", data, {"Authorization": f"Basic {key}"}
        )
        with urllib.request.urlopen(request, timeout=180) as answer:
            return bytes(answer.read())

    def instances(self) -> int:
        return len(json.loads(self.ask("instances")))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(180)
        self.drain.join(180)
        assert self.process.stderr is not None
        self.process.stderr.close()


@pytest.fixture(scope="module")
def an_orthanc(a_series: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not (shutil.which("Orthanc") and PLUGIN):
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    orthanc = Orthanc(tmp_path_factory.mktemp("orthanc"))
    for file in a_series.iterdir():
        orthanc.ask("instances", file.read_bytes())
    yield orthanc
    orthanc.close()


@pytest.fixture
def a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(dicomweb.USER, "reader")
    monkeypatch.setenv(dicomweb.PASSWORD, "secret")


@pytest.mark.usefixtures("a_reader")
def test_from_a_pacs_into_it_and_back_the_points_are_the_same(
    an_orthanc: Orthanc, a_series: Path, a_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Localizer, "open", lambda *_: a_localizer)
    uid, before = study_of(a_series), an_orthanc.instances()
    command = ["predict", "--from", an_orthanc.url, "--study", uid, "--store", an_orthanc.url]
    assert main([*command, "--output", str(tmp_path)]) == 0
    assert an_orthanc.instances() == before + 2
    assert main([*command, "--output", str(tmp_path), "--resume"]) == 0  # again: both are there already
    assert an_orthanc.instances() == before + 2

    reports = json.loads(an_orthanc.ask("tools/find", b'{"Level":"Instance","Query":{"Modality":"SR"}}'))
    (tmp_path / "back.dcm").write_bytes(an_orthanc.ask(f"instances/{reports[0]}/file"))
    local, back = read_landmarks(tmp_path / f"{uid}.json"), read_landmarks(tmp_path / "back.dcm")
    assert local.input == f"{an_orthanc.url}/studies/{uid}", "its folder here has gone"
    assert back.names == local.names
    assert back.series_uid == read_study(a_series).series_uid
    for one, other in zip(local, back, strict=True):
        assert math.dist(one.position_ras_mm or (0,), other.position_ras_mm or (0,)) < 0.01
    image = pydicom.dcmread(next(a_series.iterdir()))
    assert image.FrameOfReferenceUID in str(pydicom.dcmread(tmp_path / "back.dcm"))


@pytest.mark.usefixtures("a_reader")
def test_one_pacs_serves_several_threads(an_orthanc: Orthanc, a_series: Path) -> None:
    pacs = DicomWeb(an_orthanc.url)

    def images(_: int) -> int:
        with pacs.study(study_of(a_series)) as folder:
            return len(list(folder.iterdir()))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(images, range(4))) == [7] * 4


@pytest.mark.usefixtures("a_reader")
def test_the_http_interface_takes_a_study_from_a_pacs(an_orthanc: Orthanc, a_series: Path) -> None:
    """As `POST /v1/jobs/dicomweb` does: fetched, localized, and nothing of it stays."""
    environment = {**os.environ, "SPINE_LANDMARKS_API_TOKEN": "0123456789abcdef", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "SpineLandmarksLib", "api", "--port", "0", "--from", an_orthanc.url]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        address = process.stdout.readline().split()[1].rstrip(",")

        def ask(method: str, path: str) -> Any:
            key = {"Authorization": "Bearer 0123456789abcdef"}
            with urllib.request.urlopen(
                urllib.request.Request(address + path, method=method, headers=key), timeout=120
            ) as answer:
                return json.loads(answer.read())

        job = ask("POST", f"/v1/jobs/dicomweb?study_uid={study_of(a_series)}")
        assert ask("GET", f"/v1/jobs/{job['id']}?wait=60")["status"] == "done"
        result = ask("GET", f"/v1/jobs/{job['id']}/result")
        assert (result["input"], result["series_uid"]) == (study_of(a_series), read_study(a_series).series_uid)
        with pytest.raises(urllib.error.HTTPError, match="422"):
            ask("POST", "/v1/jobs/dicomweb?study_uid=1.2.3")
    finally:
        process.terminate()
        process.communicate()


@pytest.mark.usefixtures("a_reader")
def test_archive_and_media_of_a_pacs_read_like_the_folder(
    an_orthanc: Orthanc, a_series: Path, a_localizer: Localizer, tmp_path: Path
) -> None:
    (study,) = json.loads(an_orthanc.ask("studies"))
    expected = a_localizer.localize(read_study(a_series))
    for kind in ("archive", "media"):
        (tmp_path / f"{kind}.zip").write_bytes(an_orthanc.ask(f"studies/{study}/{kind}"))
        assert zipfile.is_zipfile(tmp_path / f"{kind}.zip")
        stack = read_study(tmp_path / f"{kind}.zip")
        assert (stack.series_uid, len(stack)) == (expected.series_uid, 7)


def test_without_credentials_a_pacs_is_told_to_want_them(an_orthanc: Orthanc, a_series: Path) -> None:
    with pytest.raises(InputError, match=r"401.*SPINE_LANDMARKS_DICOMWEB_TOKEN"), DicomWeb(an_orthanc.url).study("1.2"):
        pass


@pytest.mark.usefixtures("a_reader")
def test_a_study_that_a_pacs_does_not_have_is_told(an_orthanc: Orthanc) -> None:
    with pytest.raises(InputError, match=r"404|series of: none"), DicomWeb(an_orthanc.url).study("1.2.3"):
        pass


# One that fails

Answer = Callable[[BaseHTTPRequestHandler], None]


class Failing(ThreadingHTTPServer):
    """Answers as `answer` says, and counts what was posted."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = status(500)
        self.posted: list[bytes] = []
        self.over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/dicom-web"


class _Handler(BaseHTTPRequestHandler):
    server: Failing

    def do_GET(self) -> None:
        if "/instances" in self.path and self.server.answer.__name__ == "of_posts":
            return json_answer([])(self)
        self.server.answer(self)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.posted.append(body)
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        pass


def status(code: int, body: bytes = b"", kind: str = "application/dicom+json") -> Answer:
    def of_posts(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return of_posts


def json_answer(content: object) -> Answer:
    return status(200, json.dumps(content).encode())


def hanging(handler: BaseHTTPRequestHandler) -> None:
    handler.server.over.wait(20)  # type: ignore[attr-defined]


def dropping(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", "application/dicom+json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b"[{")
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def a_failing_server() -> Iterator[Failing]:
    server = Failing()
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.over.set()
    server.shutdown()
    server.server_close()


FAILURES = [
    (status(401), "let us in"),
    (status(403), "not allow"),
    (status(404), "no such study"),
    (status(500), "failed .500"),
    (status(503), "failed .503"),
    (hanging, "within .* none came"),
    (dropping, "broke off"),
    (status(200, b"<html>", "text/html"), "answer of DICOMweb"),
    (json_answer([{"0020000E": {"Value": ["1.2"]}, "00080060": {"Value": ["CT"]}}]), "series of: CT"),
]


@pytest.mark.parametrize(("answer", "rule"), FAILURES)
def test_a_pacs_that_fails_to_give_a_study_is_one_line(answer: Answer, rule: str, a_failing_server: Failing) -> None:
    a_failing_server.answer = answer
    pacs = DicomWeb(a_failing_server.url, timeout_s=(1.0, 0.5))
    with pytest.raises(InputError, match=rule) as caught, pacs.study("1.2.3"):
        pass
    assert "\n" not in str(caught.value)


def after_the_upload(answer: Answer) -> Answer:
    """The upload is taken in whole; then comes no answer, or half of one."""

    def of_posts(handler: BaseHTTPRequestHandler) -> None:
        answer(handler)

    return of_posts


REFUSED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [272]}}]}}


@pytest.fixture
def two_files(a_series: Path, tmp_path: Path) -> list[Path]:
    return [Path(shutil.copy(file, tmp_path)) for file in sorted(a_series.iterdir())[:2]]


@pytest.mark.parametrize(
    ("answer", "rule"),
    [
        (status(401), "let us in"),
        (status(409, json.dumps(REFUSED).encode()), "refuses to keep it .409.*0x0110"),
        (status(413), "too large"),
        (status(500), "failed .500"),
        (status(202, json.dumps(REFUSED).encode()), "keep 2 objects; it kept 0 .*0x0110"),
        (status(200, b"{}"), "keep 2 objects; it kept 0"),
        (after_the_upload(hanging), "within .* none came"),
        (after_the_upload(dropping), "broke off"),
    ],
)
def test_a_pacs_that_does_not_keep_results_is_one_line_and_nothing_is_sent_twice(
    answer: Answer, rule: str, a_failing_server: Failing, two_files: list[Path]
) -> None:
    a_failing_server.answer = answer
    with pytest.raises(OutputError, match=rule) as caught:
        DicomWeb(a_failing_server.url, timeout_s=(1.0, 2.0)).store(two_files)
    assert "\n" not in str(caught.value)
    assert len(a_failing_server.posted) == 1
    assert all(file.is_file() for file in two_files)


def test_an_upload_that_breaks_off_is_one_line(two_files: list[Path]) -> None:
    """The server answers the first question, takes a part of the upload, and is gone."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            asked, _ = listener.accept()
            asked.recv(65536)
            asked.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            asked.close()
            upload, _ = listener.accept()
            upload.recv(1000)
            upload.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            upload.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(OutputError, match="failed or broke off"):
            DicomWeb(f"http://127.0.0.1:{listener.getsockname()[1]}").store(two_files)
        thread.join(180)


def test_what_is_there_already_is_not_sent(a_failing_server: Failing, two_files: list[Path]) -> None:
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in two_files]
    a_failing_server.answer = json_answer([{"00080018": {"vr": "UI", "Value": [uid]}} for uid in uids])
    a_failing_server.answer.__name__ = "of_gets"
    assert DicomWeb(a_failing_server.url).store(two_files) == 0
    assert a_failing_server.posted == []


def test_the_series_of_a_study_are_limited_together(
    a_failing_server: Failing, a_series: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = next(a_series.iterdir())
    uid = str(pydicom.dcmread(file).SOPInstanceUID)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--b--"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "/instances" in handler.path:
            json_answer([{"00080018": {"Value": [uid]}}])(handler)
        elif handler.path.endswith("/series") or "?" in handler.path:
            json_answer([{"0020000E": {"Value": [one]}, "00080060": {"Value": ["MR"]}} for one in ("1.4", "1.5")])(
                handler
            )
        else:
            status(200, body, 'multipart/related; type="application/dicom"; boundary=b')(handler)

    a_failing_server.answer = answer
    with DicomWeb(a_failing_server.url).study("1.2.3") as folder:
        assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(dicomweb, "MAX_INFLATED_BYTES", int(1.5 * file.stat().st_size))
    with pytest.raises(InputError, match="Expected a study of"), DicomWeb(a_failing_server.url).study("1.2.3"):
        pass


def test_a_study_that_changes_while_it_is_read_is_told(a_failing_server: Failing, a_series: Path) -> None:
    """The series has 2 images when it is asked for; 1 is sent."""
    file = next(a_series.iterdir())
    uid = str(pydicom.dcmread(file).SOPInstanceUID)
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + file.read_bytes() + b"\r\n--b--"

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if "/instances" in handler.path:
            json_answer([{"00080018": {"Value": [one]}} for one in (uid, "1.2.9")])(handler)
        elif handler.path.endswith("/series") or "?" in handler.path:
            json_answer([{"0020000E": {"Value": ["1.2.4"]}, "00080060": {"Value": ["MR"]}}])(handler)
        else:
            status(200, body, 'multipart/related; type="application/dicom"; boundary=b')(handler)

    a_failing_server.answer = answer
    with (
        pytest.raises(InputError, match=r"Expected 2 images .* sent 1.*changed"),
        DicomWeb(a_failing_server.url).study("1.2.3"),
    ):
        pass


@pytest.mark.parametrize("trusted", [False, True])
def test_a_certificate_must_fit_and_be_trusted(
    trusted: bool, a_failing_server: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pacs.example" if trusted else "127.0.0.1").configure_cert(context)
    a_failing_server.socket = context.wrap_socket(a_failing_server.socket, server_side=True)
    if trusted:  # but of another name
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "ca.pem"))
    monkeypatch.setenv(dicomweb.TOKEN, "key")
    url = a_failing_server.url.replace("http", "https", 1)
    with pytest.raises(InputError, match="certificate that fits"), DicomWeb(url).study("1.2.3"):
        pass


def test_a_token_goes_in_a_header_and_over_tls_alone_and_nothing_else_does(
    a_failing_server: Failing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(dicomweb.TOKEN, "key")
    seen = []
    a_failing_server.answer = lambda handler: (seen.append(handler.headers["Authorization"]), status(404)(handler))[1]
    with pytest.raises(InputError, match="404"), DicomWeb(a_failing_server.url).study("1.2.3"):
        pass
    assert seen == ["Bearer key"]
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login other password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for token in ("key", ""):
        monkeypatch.setenv(dicomweb.TOKEN, token)
        with pytest.raises(InputError, match="404"), DicomWeb(a_failing_server.url).study("1.2.3"):
            pass
    assert seen == ["Bearer key", "Bearer key", None]
    monkeypatch.setenv(dicomweb.TOKEN, "key")
    with pytest.raises(InputError, match="Expected https"):
        DicomWeb("http://pacs.example/dicom-web")


@pytest.mark.parametrize("url", ["pacs", "ftp://pacs/x", "https://reader:secret@pacs/x", "https://pacs/x?key=secret"])
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(InputError, match="Expected an address"):
        DicomWeb(url)


@pytest.mark.parametrize("words", [["x", "--from", "https://p"], []])
def test_studies_come_from_one_place(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", *words, "--output", str(tmp_path)]) == 2
    assert "either INPUT, or --from" in capsys.readouterr().err


def test_a_study_uid_is_digits_and_dots(a_failing_server: Failing) -> None:
    with pytest.raises(InputError, match="StudyInstanceUID"), DicomWeb(a_failing_server.url).study("../x"):
        pass
    assert a_failing_server.posted == []


def test_results_stay_where_a_pacs_fails(
    a_failing_server: Failing,
    a_series: Path,
    a_localizer: Localizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Localizer, "open", lambda *_: a_localizer)
    words: list[Any] = ["predict", a_series, "--output", tmp_path, "--store", a_failing_server.url]
    assert main([str(word) for word in words]) == 2
    assert "failed (500" in capsys.readouterr().err
    assert {"study.json", "study.sr.dcm", "study.sc.dcm"} <= {file.name for file in tmp_path.iterdir()}
