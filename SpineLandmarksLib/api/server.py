"""The HTTP interface on FastAPI: upload or name a study, ask how its job is, take the result in any format.

No name of a file or study is logged: it may be a patient's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import swagger_ui_bundle
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi.staticfiles import StaticFiles
from starlette.requests import ClientDisconnect

from SpineLandmarksLib import __version__
from SpineLandmarksLib.api.job_folder import ApiJob
from SpineLandmarksLib.api.jobs import JobLine
from SpineLandmarksLib.arguments import DICOM_NAMES
from SpineLandmarksLib.errors import OutputError, SpineLandmarksError
from SpineLandmarksLib.formats.catalogue import CATALOGUE, losses
from SpineLandmarksLib.formats.image_grid import PointsOnImage

if TYPE_CHECKING:
    from SpineLandmarksLib.pacs.dicomweb import DicomWeb

#: Endings that an upload may have; what is in it decides how it is read.
ENDINGS = (".zip", ".nii.gz", ".nii", ".mha", ".nrrd", ".dcm", ".png", ".jpg", ".jpeg", ".tif", ".tiff")
WRITABLE = tuple(name for name, kind in CATALOGUE.items() if kind.write)
#: What stays free on the disk, whatever comes.
FREE_BYTES = 2**30
MAX_NAME, MAX_WAIT_S = 200, 60.0
NO_ROOM = "There is too little room on the server's disk; send it again later"
#: Why a job may be unknown.
GONE = "it was deleted, its time is over, or the server was started again without a folder for jobs (--jobs)"
_BEARER = HTTPBearer(auto_error=False)
_SPACING = Query(description="mm per pixel of a picture; X,Y if they differ", max_length=40)
_DICOM = Query(description="write report (sr) and capture (sc) too, which DICOM studies have alone")
_SLICE = Query(alias="slice", ge=0, description="slice to use; the best one when left out")
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'",
}


@dataclass(frozen=True)
class ApiSettings:
    """token: that every request but health and the description must bear. studies: folder whose studies may be named
    instead of sent; pacs: whose studies may be; each None for none. max_bytes: of an upload; upload_s: its time.
    """

    token: str = field(repr=False)
    studies: Path | None = None
    pacs: DicomWeb | None = None
    max_bytes: int = 2**30
    upload_s: float = 600.0


def make_app(line: JobLine, settings: ApiSettings) -> FastAPI:
    """The application. line: works while the application runs, and is closed with it."""
    app = FastAPI(
        title="SpineLandmarks",
        version=__version__,
        docs_url=None,
        redoc_url=None,
        lifespan=lambda app: _living(app, line),
    )
    app.openapi_version = "3.0.3"  # as the page of the description reads it
    app.add_exception_handler(SpineLandmarksError, _refused)
    app.add_exception_handler(OutputError, _no_room)
    app.middleware("http")(_with_headers)
    _add_description(app)
    _add_health(app, line)
    needs_token = [Depends(_token_check(settings.token))]
    _add_sending(app, line, settings, needs_token)
    _add_asking(app, line, needs_token)
    return app


@contextlib.asynccontextmanager
async def _living(app: FastAPI, line: JobLine) -> AsyncIterator[None]:
    """The work, while the application lives."""
    app.state.work = work = asyncio.create_task(line.work())
    try:
        yield
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        line.close()


async def _refused(request: Request, error: Exception) -> Response:
    return Response(json.dumps({"detail": str(error)}), 422, media_type="application/json")


async def _no_room(request: Request, error: Exception) -> Response:
    """The error's own words name a folder of the server."""
    return Response(json.dumps({"detail": NO_ROOM}), 507, media_type="application/json")


async def _with_headers(request: Request, call_next: Any) -> Any:
    response = await call_next(request)
    response.headers.update(HEADERS)
    return response


def _token_check(token: str) -> Any:
    def check(sent: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
        if sent is None or not secrets.compare_digest(sent.credentials.encode(), token.encode()):
            raise HTTPException(
                401, "Expected the token as 'Authorization: Bearer ...'", {"WWW-Authenticate": "Bearer"}
            )

    return check


def _add_description(app: FastAPI) -> None:
    """The page of the description, with nothing on it from elsewhere."""
    app.mount("/docs/static", StaticFiles(directory=swagger_ui_bundle.swagger_ui_path), name="static")

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="/openapi.json",
            title="SpineLandmarks",
            swagger_js_url="/docs/static/swagger-ui-bundle.js",
            swagger_css_url="/docs/static/swagger-ui.css",
            swagger_favicon_url="/docs/static/favicon-32x32.png",
        )


def _add_health(app: FastAPI, line: JobLine) -> None:
    @app.get("/health", summary="Whether jobs are worked on; needs no token")
    async def health() -> dict[str, Any]:
        if app.state.work.done():
            raise HTTPException(503, "The work has ended; start the server again")
        return {"status": "ok", "version": __version__, "jobs": len(line)}


def _add_sending(app: FastAPI, line: JobLine, settings: ApiSettings, needs_token: list[Any]) -> None:
    sent = {
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    }

    @app.post("/v1/jobs", status_code=202, dependencies=needs_token, openapi_extra=sent)
    async def send(
        request: Request,
        name: Annotated[str, Query(max_length=MAX_NAME, description=f"file name; ends in {', '.join(ENDINGS)}")],
        spacing_mm: Annotated[str | None, _SPACING] = None,
        slice_index: Annotated[int | None, _SLICE] = None,
        dicom: Annotated[bool, _DICOM] = False,
    ) -> dict[str, Any]:
        """Send a study as the body of the request: a zip of DICOM files, NIfTI, MHA, NRRD or a picture."""
        _require_room(line, settings.max_bytes)
        job = ApiJob("", name, True, _asked(spacing_mm, slice_index), dicom)
        job.path = str(line.folder.study(job.id, _ending(name)))
        await _receive(request, Path(job.path), settings)
        return _added(line, job)

    @app.post("/v1/jobs/named", status_code=202, dependencies=needs_token)
    async def name_study(
        study: Annotated[str, Query(max_length=1000, description="path below the folder given with --studies")],
        spacing_mm: Annotated[str | None, _SPACING] = None,
        slice_index: Annotated[int | None, _SLICE] = None,
        dicom: Annotated[bool, _DICOM] = False,
    ) -> dict[str, Any]:
        """Name a study that lies in the server's folder of studies."""
        path = _named(settings.studies, study)
        return _added(line, ApiJob(str(path), study, False, _asked(spacing_mm, slice_index), dicom))

    @app.post("/v1/jobs/dicomweb", status_code=202, dependencies=needs_token)
    async def fetch(
        study_uid: Annotated[str, Query(max_length=64, description="StudyInstanceUID")],
        slice_index: Annotated[int | None, _SLICE] = None,
        dicom: Annotated[bool, _DICOM] = False,
    ) -> dict[str, Any]:
        """Have a study fetched from the server's PACS; the answer comes when it is here."""
        if settings.pacs is None:
            raise HTTPException(404, "Expected a server with a PACS (--from); this one has none")
        _require_room(line, settings.max_bytes)
        job = ApiJob("", study_uid, True, _asked(None, slice_index), dicom)
        job.path = str(line.folder.study(job.id))
        await asyncio.to_thread(_fetch, settings.pacs, study_uid, Path(job.path))
        return _added(line, job)


def _add_asking(app: FastAPI, line: JobLine, needs_token: list[Any]) -> None:
    def known(job_id: str) -> ApiJob:
        job = line.find(job_id)
        if job is None:
            raise HTTPException(404, f"Expected the id of a job that is kept; there is none of this id: {GONE}")
        return job

    @app.get("/v1/jobs/{job_id}", dependencies=needs_token)
    async def ask(job_id: str, wait: Annotated[float, Query(ge=0, le=MAX_WAIT_S)] = 0.0) -> dict[str, Any]:
        """How a job is. wait: answer when it has ended, at the latest after so many seconds."""
        job = known(job_id)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(job.ended.wait(), wait)
        return _told(job)

    @app.get("/v1/jobs/{job_id}/result", dependencies=needs_token, response_class=Response)
    def result(
        job_id: str, format: Annotated[str, Query(json_schema_extra={"enum": [*WRITABLE, *DICOM_NAMES]})] = "json"
    ) -> Response:
        """The result as a file of any format that `convert` writes; what that cannot carry stands in X-Not-Carried."""
        job = known(job_id)
        if job.status != "done":
            raise HTTPException(409, f"Expected a job that is done; this one is {job.status}. {job.error}".strip())
        try:
            if format in DICOM_NAMES:
                return _dicom_file(line.folder.dicom_file(job, format), format)
            if format not in WRITABLE:
                raise HTTPException(422, f"Expected a format of {', '.join((*WRITABLE, *DICOM_NAMES))}; got another")
            return _file(line.folder.result(job), format)
        except OSError as error:  # it was dropped a moment ago
            raise HTTPException(404, f"Expected a result that is kept; this one is no longer: {GONE}") from error

    @app.delete("/v1/jobs/{job_id}", status_code=204, dependencies=needs_token)
    async def remove(job_id: str) -> None:
        """Stop a job that is not done, and forget its result."""
        line.remove(known(job_id))


def _asked(spacing_mm: str | None, slice_index: int | None) -> dict[str, Any]:
    from argparse import ArgumentTypeError

    from SpineLandmarksLib.arguments import spacing

    try:
        asked = {"spacing_mm": None if spacing_mm is None else spacing(spacing_mm), "slice_index": slice_index}
    except ArgumentTypeError as error:
        raise HTTPException(422, f"spacing_mm: {error}") from error
    return {name: value for name, value in asked.items() if value is not None}


def _require_room(line: JobLine, max_bytes: int) -> None:
    if line.is_full:
        raise HTTPException(429, f"{len(line)} jobs are waiting; send this one again later", {"Retry-After": "5"})
    if shutil.disk_usage(line.folder.path).free < max_bytes + FREE_BYTES:
        raise HTTPException(507, NO_ROOM)


def _ending(name: str) -> str:
    ending = next((ending for ending in ENDINGS if name.lower().endswith(ending)), None)
    if ending is None:
        raise HTTPException(415, f"Expected a name that ends in {', '.join(ENDINGS)}; got another")
    return ending


async def _receive(request: Request, path: Path, settings: ApiSettings) -> None:
    """The body as a file; nothing stays of one that is too large, slow, empty or cut off."""
    try:
        if await asyncio.wait_for(_write_body(request, path, settings.max_bytes), settings.upload_s) == 0:
            raise HTTPException(422, "Expected a study as the body; it is empty")
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, asyncio.TimeoutError):
            raise HTTPException(408, f"Expected the study within {settings.upload_s:.0f} s; it did not come") from error
        if isinstance(error, ClientDisconnect):
            raise HTTPException(400, "Expected a whole study; the connection ended in it") from error
        if isinstance(error, OSError):
            raise OutputError(NO_ROOM) from error
        raise


async def _write_body(request: Request, path: Path, max_bytes: int) -> int:
    """Returns how many bytes came."""
    count = 0
    with path.open("xb") as file:
        async for block in request.stream():
            count += len(block)
            if count > max_bytes:
                raise HTTPException(413, f"Expected at most {max_bytes / 2**20:.0f} MiB; this is more")
            file.write(block)
    return count


def _fetch(pacs: DicomWeb, study_uid: str, target: Path) -> None:
    with pacs.study(study_uid) as folder:
        try:
            shutil.move(folder, target)
        except OSError as error:
            shutil.rmtree(target, ignore_errors=True)
            raise OutputError(NO_ROOM) from error


def _named(studies: Path | None, study: str) -> Path:
    if studies is None:
        raise HTTPException(404, "Expected a server with a folder of studies (--studies); this one has none")
    root = studies.resolve()
    path = (root / study).resolve() if "\0" not in study else root
    if path == root or not path.is_relative_to(root) or not _exists(path):
        raise HTTPException(404, "Expected a study below the server's folder of studies; there is none of this name")
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no disk can have
        return False


def _added(line: JobLine, job: ApiJob) -> dict[str, Any]:
    """Put in line; full only where others came while this one was received."""
    if line.is_full:
        line.folder.drop_study(job)
        raise HTTPException(429, f"{len(line)} jobs are waiting; send this one again later", {"Retry-After": "5"})
    try:
        line.add(job)
    except OutputError:
        line.folder.drop_study(job)
        raise
    return _told(job)


def _told(job: ApiJob) -> dict[str, Any]:
    told: dict[str, Any] = {"id": job.id, "status": job.status}
    if job.status == "running":
        told |= {"share": job.share, "stage": job.stage}
    if job.status == "failed":
        told |= {"error": job.error, "kind": job.kind}
    if job.status == "done":
        said = {"needs_review": job.needs_review, "warnings": job.warnings}
        told |= {**said, "formats": [*WRITABLE, *job.formats]}
    return told


def _dicom_file(file: Path | None, name: str) -> Response:
    if file is None:
        raise HTTPException(422, "Expected a job that was sent with dicom=true, of a study that is DICOM; this is none")
    about = {"Content-Disposition": f'attachment; filename="result.{DICOM_NAMES[name]}"'}
    return Response(file.read_bytes(), media_type="application/dicom", headers=about)


def _file(found: PointsOnImage, name: str) -> Response:
    kind = CATALOGUE[name]
    assert kind.write is not None
    ending = kind.endings[-1] if kind.endings[-1].endswith(".gz") else kind.endings[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"result{ending}"
        kind.write([found], path)
        content = path.read_bytes()
    lost = "; ".join(losses(found.landmarks, kind))
    about = {"Content-Disposition": f'attachment; filename="{path.name}"'} | ({"X-Not-Carried": lost} if lost else {})
    return Response(content, media_type="application/octet-stream", headers=about)


class AnnouncingServer(uvicorn.Server):
    """Says where it listens, and `text`, once it does."""

    text = ""

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            scheme = "https" if self.config.ssl_certfile else "http"
            print(f"Listening: {scheme}://{address}, described at /docs{self.text}", flush=True)
