"""The web server around the page: who may come in, what is sent along, and the way for uploads."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import WSCloseCode, web
from trame_client.module.vue3 import www

from SpineLandmarksLib.errors import AccessError
from SpineLandmarksLib.web.access import HEADERS, Access
from SpineLandmarksLib.web.uploads import Incoming

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
BLOCK = 2**18
PAGES = ("/", "/index.html")
#: What stands there until trame's page does, and while there is no connection: dark, as in a reading room.
DARK = """
<title>Spine landmarks</title>
<style>
html, body { background: #101214; color: #bdc1c6; }
.lost { position: fixed; inset: 0; display: grid; place-content: center; background: #101214;
  font: 14px/1.6 sans-serif; }
.lost p { max-width: 34em; margin: 0.5em; }
</style>
"""
WAITING = '<div id="app"><div class="lost"><p>Loading the page</p></div></div></body></html>'
#: Instead of the page while there is no connection; the script of the page brings it back.
LOST = """<div class="lost"><p>The connection to the reviewer is lost. Everything that was shown as made is kept.</p>
<p>The page comes back by itself as soon as it can. If the program was ended, start it again and open the address that
the terminal shows then.</p></div>"""


def _page() -> str:
    """Trame's page without its name, its white ground and its spinning wheel."""
    html = (Path(www) / "index.html").read_text(encoding="utf-8")
    head = html.replace("<title>trame is built by Kitware</title>", DARK).partition('<div id="app">')[0]
    return head + WAITING


PAGE = _page()


def guard(app: Any, access: Access) -> None:
    """Let nothing into an aiohttp application but what `access` allows, websockets included."""

    @web.middleware  # type: ignore[untyped-decorator]
    async def doorkeeper(request: web.Request, handler: Handler) -> web.StreamResponse:
        decision = access.decide(request.headers, request.query, request.cookies)
        if decision.reason:
            return web.Response(status=403, text=decision.reason)
        try:
            response = await handler(request)
        except web.HTTPException as other:
            response = other
        if request.path in PAGES:  # from now on the cookie is the key: it stays in no address
            response = web.HTTPFound("/") if decision.is_new else web.Response(text=PAGE, content_type="text/html")
        if decision.is_new and not response.prepared:
            name = access.cookie(request.url.port or 0)
            response.set_cookie(name, access.key, httponly=True, samesite="Strict", secure=access.is_tls)
        return response

    async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    async def session(request: web.Request) -> web.Response:
        """What trame's page asks for before it opens its websocket; only who has the cookie comes here."""
        scheme = "wss" if request.headers.get("Origin", "").startswith("https:") or access.is_tls else "ws"
        return web.json_response({"sessionURL": f"{scheme}://USE_HOST/ws", "secret": access.key})

    app.middlewares.append(doorkeeper)
    app.router.add_post("/paraview/", session)
    app.on_response_prepare.append(add_headers)


def end_on_junk(handler: Any) -> None:
    """Have a message that is none end its connection, in silence: no program of ours sends one, and a log that anybody
    can fill, with their own words too, is none. handler: of wslink, whose own errors are answers.
    """
    take = handler.onMessage

    async def take_or_end(is_binary: bool, message: Any, client_id: str) -> None:
        try:
            if not is_binary:
                raise ValueError
            await take(is_binary, message, client_id)
        except Exception:  # whatever the message made of it
            await handler.connections[client_id].close(code=WSCloseCode.UNSUPPORTED_DATA)

    handler.onMessage = take_or_end


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
