"""The web server around the page: who may come in, what is sent along, and the way for uploads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web

from SpineLandmarksLib.errors import AccessError
from SpineLandmarksLib.web.access import HEADERS, PARAMETER, Access
from SpineLandmarksLib.web.uploads import Incoming

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BLOCK = 2**18
PAGES = ("/", "/index.html")


def guard(app: Any, access: Access) -> None:
    """Let nothing into an aiohttp application but what `access` allows, websockets included."""

    @web.middleware  # type: ignore[untyped-decorator]
    async def doorkeeper(request: web.Request, handler: Handler) -> web.StreamResponse:
        decision = access.decide(request.headers, request.query, request.cookies)
        if decision.reason:
            return web.Response(status=403, text=decision.reason)
        if request.path in PAGES and PARAMETER not in request.query:  # a page that is loaded again: trame's script has
            raise web.HTTPFound(f"/index.html?{PARAMETER}={access.key}")  # taken the key out of the address
        try:
            response = await handler(request)
        except web.HTTPException as other:
            response = other
        if decision.is_new and not response.prepared:
            name = access.cookie(request.url.port or 0)
            response.set_cookie(name, access.key, httponly=True, samesite="Strict", secure=access.is_tls)
        return response

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    app.middlewares.append(doorkeeper)
    app.on_response_prepare.append(add_headers)


def add_upload(
    app: Any,
    folder: Path,
    max_bytes: int,
    on_done: Callable[[Path], None],
    on_refused: Callable[[str], None],
    on_progress: Callable[[int], None],
) -> None:
    """POST /upload, a form with one file. The answer is empty: the page is told by the callbacks."""

    async def upload(request: web.Request) -> web.StreamResponse:
        try:
            path = await _receive(request, folder, max_bytes, on_progress)
        except AccessError as error:
            on_refused(str(error))
        except OSError as error:
            on_refused(f"The upload could not be written: {error.strerror or error}")
        else:
            on_done(path)
        return web.Response(status=204)

    app.router.add_post("/upload", upload)


async def _receive(request: web.Request, folder: Path, max_bytes: int, on_progress: Callable[[int], None]) -> Path:
    if request.content_length is not None and request.content_length > max_bytes + 4096:
        raise AccessError(
            f"Expected a file of at most {max_bytes / 2**20:.0f} MiB; this one has "
            f"{request.content_length / 2**20:.0f} MiB"
        )
    part: Any = None
    if request.content_type == "multipart/form-data":
        part = await (await request.multipart()).next()
    if part is None or not getattr(part, "filename", None):
        raise AccessError("Expected a form with a file; got none. Choose a file first")
    incoming = Incoming(folder, part.filename, max_bytes)
    try:
        while block := await part.read_chunk(BLOCK):
            incoming.write(block)
            on_progress(incoming.received)
        return incoming.finish()
    finally:
        incoming.close()
