"""One address for a team: who logs in gets a reviewer of their own, in a process of its own, behind this one.

    browser --(TLS here, or in a proxy before it)--> front --(loopback, key of that start)--> reviewer of this person

A log-in is a cookie with name and end, signed with a key that lies in the data set (`team.key`), so that it outlives a
restart; an account that is taken away, or gets another password, ends it at once. Instead of passwords, a proxy that
has seen who it is may say so in a header. Reviewers listen on loopback only, end when nobody has looked for a while,
and end with the front.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import ClientConnectionError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector, WSMsgType, web

from SpineLandmarksLib.arguments import is_loopback
from SpineLandmarksLib.errors import AccessError, BackendError
from SpineLandmarksLib.store.accounts import check_password, password_marks
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.web.access import HEADERS, Access
from SpineLandmarksLib.web.server import DARK
from SpineLandmarksLib.worker.client import environment

KEY_FILE, COOKIE = "team.key", "spine-landmarks-team"
#: A log-in lasts so long, and a reviewer that nobody looks at, s.
LOGIN_S, IDLE_S = 12 * 3600.0, 1800.0
#: So many wrong passwords for one name within so many seconds, and no further one is looked at.
MAX_FAILURES, FAILURES_S = 5, 60.0
START_S = 120.0
#: What concerns one connection only, or what the front says itself.
_OWN = {"host", "origin", "cookie", "set-cookie", "connection", "keep-alive", "transfer-encoding", "upgrade", "te"}
LOGIN = """<!doctype html><html lang="en"><head>{dark}<style>
form, p {{ max-width: 22em; margin: 16vh auto 1em; font: 14px/1.6 sans-serif; display: grid; gap: 0.6em; }}
p {{ margin-top: 1em; }} h1 {{ font-size: 18px; font-weight: 600; }}
input, button {{ font: inherit; padding: 0.5em; border: 1px solid #5f6368; border-radius: 4px; background: #1d2125;
color: #e3e5e8; }} button {{ background: #8ab4f8; color: #101214; }} .wrong {{ color: #f28b82; }}
</style></head><body><main><form method="post" action="/login"><h1>Spine landmarks</h1>
<label>Name <input name="name" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button><span class="wrong" role="alert">{wrong}</span></form></main></body></html>"""
STARTING = """<!doctype html><html lang="en"><head>{dark}
<script>setTimeout(() => location.reload(), 1000)</script></head>
<body><main class="lost"><p role="status">{words}</p></main></body></html>"""


class LoginKey:
    """Makes log-ins and knows them again. clock: seconds since 1970."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        file = folder / KEY_FILE
        with contextlib.suppress(FileExistsError):
            number = os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(number, "w", encoding="ascii") as new:
                new.write(secrets.token_hex(32))
        self._key = file.read_text(encoding="ascii").strip().encode()
        if len(self._key) < 32:
            raise AccessError(f"Expected a key in {file}; it is cut short. Delete it: everybody then logs in anew")

    def login(self, name: str, mark: str) -> str:
        """mark: of the password, see `password_marks`."""
        said = f"{name.encode().hex()}.{int(self._clock() + LOGIN_S)}.{mark}"
        return f"{said}.{self._sign(said)}"

    def name(self, cookie: str, marks: Mapping[str, str]) -> str | None:
        """Whose log-in it is; None for one that is not ours, over, of no account, or with another password than now."""
        said, _, signature = cookie.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(said).encode()):
            return None
        code, end, mark = said.split(".")
        name = bytes.fromhex(code).decode()
        return name if self._clock() < int(end) and marks.get(name) == mark else None

    def _sign(self, said: str) -> str:
        return hmac.new(self._key, said.encode(), hashlib.sha256).hexdigest()


@dataclass
class Throttle:
    """Tries of each name that were no log-in, those of the last FAILURES_S alone. clock: in seconds."""

    clock: Callable[[], float] = time.monotonic
    _tries: dict[str, list[float]] = field(default_factory=dict)

    def is_closed(self, name: str) -> bool:
        return len(self._recent(name)) >= MAX_FAILURES

    def note(self, name: str) -> None:
        """A try begins: it counts before it is looked at, so that many at once are no way around."""
        self._tries[name] = [*self._recent(name), self.clock()]
        for over in [other for other in self._tries if not self._recent(other)]:
            del self._tries[over]

    def forget(self, name: str) -> None:
        """The last try was a log-in."""
        self._tries[name].pop()

    def _recent(self, name: str) -> list[float]:
        return [at for at in self._tries.get(name, ()) if at >= self.clock() - FAILURES_S]


@dataclass
class Member:
    """The reviewer of one person. connections: of browsers. problem: why it did not start."""

    name: str
    process: Any = None
    port: int = 0
    key: str = ""
    problem: str = ""
    connections: int = 0
    seen: float = field(default_factory=time.monotonic)

    @property
    def is_ready(self) -> bool:
        return bool(self.port) and self.process.returncode is None

    @property
    def cookie(self) -> str:
        return f"spine-landmarks-{self.port}={self.key}"


class TeamFront:
    """store: of the data set. access: where it listens. command: starts a reviewer for the name that is added to it.

    header: in which a proxy on this computer says who it is; "" for passwords. Raises AccessError where others could.
    order: of the studies, which all reviewers get when it is known.
    """

    def __init__(
        self,
        store: Store,
        access: Access,
        command: Sequence[str],
        header: str = "",
        env: dict[str, str] | None = None,
        order: Future[list[str]] | None = None,
    ) -> None:
        if header and not is_loopback(access.host):
            raise AccessError(
                f"Expected a proxy on this computer for {header}, and to listen on 127.0.0.1; got {access.host}, where "
                "others could send that header themselves"
            )
        self.store, self.access, self.header = store, access, header
        self._command, self._env, self._order = tuple(command), env or {}, order
        self._login, self._throttle = LoginKey(store.folder), Throttle()
        self._members: dict[str, Member] = {}
        self._marks: tuple[float, dict[str, str]] = (0.0, {})
        self._client: Any = None
        self._checking = ThreadPoolExecutor(2)  # each check takes 64 MB, and nobody else waits for them

    async def serve(self, port: int, ssl_context: Any, on_ready: Callable[[int], None]) -> None:
        """Until it is cancelled. port: 0 for one that is free."""
        app = web.Application(client_max_size=2**16, middlewares=[self._guard()])
        app.router.add_get("/login", self._show_login)
        app.router.add_post("/login", self._log_in)
        app.router.add_get("/logout", self._log_out)
        app.router.add_post("/paraview/", self._session)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        connector = TCPConnector(limit=0)
        async with ClientSession(
            connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False, timeout=ClientTimeout(total=None)
        ) as self._client:
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            try:
                site = web.TCPSite(runner, self.access.host, port, ssl_context=ssl_context)
                await site.start()
                on_ready(runner.addresses[0][1])
                while True:
                    await asyncio.sleep(10)
                    self._end_idle()
            finally:
                await asyncio.gather(*map(_end, self._members.values()))
                await runner.cleanup()

    # Who it is

    def _guard(self) -> Any:
        @web.middleware  # type: ignore[untyped-decorator]
        async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
            reason = self.access.refuses(request.headers)
            if reason:
                return web.Response(status=403, text=reason)
            try:
                response = await handler(request)
            except web.HTTPException as other:
                response = other
            if not response.prepared:
                for name, value in HEADERS.items():
                    response.headers.setdefault(name, value)
            return response

        return guard

    def _is_https(self, request: web.Request) -> bool:
        """Whether the page is, by this server or by a proxy before it."""
        return self.access.is_tls or request.headers.get("Origin", "").startswith("https:")

    async def _who(self, request: web.Request) -> str | None:
        """The person who asks, if they have an account still."""
        marks = await self._known()
        if not self.header:
            with contextlib.suppress(ValueError):
                return self._login.name(request.cookies.get(COOKIE, ""), marks)
            return None
        names = request.headers.getall(self.header, [])
        return names[0] if len(names) == 1 and names[0] in marks else None  # of two, one came from outside

    async def _known(self) -> dict[str, str]:
        """Names of accounts, with the marks of their passwords, looked up every other second."""
        at, marks = self._marks
        if time.monotonic() > at + 2:
            marks = await asyncio.to_thread(password_marks, self.store)
            self._marks = time.monotonic(), marks
        return marks

    async def _show_login(self, request: web.Request) -> web.StreamResponse:
        if self.header:
            raise web.HTTPForbidden(text="Expected an account for the name that the proxy gives. Ask an administrator")
        return _html(LOGIN.format(dark=DARK, wrong=""))

    async def _log_in(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        name, password = " ".join(str(form.get("name", "")).split())[:100], str(form.get("password", ""))[:1000]
        if self.header or self._throttle.is_closed(name):
            return _html(LOGIN.format(dark=DARK, wrong="Too many wrong passwords. Wait a minute"), 429)
        self._throttle.note(name)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(self._checking, check_password, self.store, name, password):
            return _html(LOGIN.format(dark=DARK, wrong="This name and password do not belong together"), 403)
        self._throttle.forget(name)
        response = web.HTTPFound("/")
        self._marks = (0.0, {})
        login = self._login.login(name, (await self._known()).get(name, ""))
        secure = self._is_https(request)
        response.set_cookie(COOKIE, login, max_age=int(LOGIN_S), httponly=True, samesite="Strict", secure=secure)
        return response

    async def _log_out(self, request: web.Request) -> web.StreamResponse:
        response = web.HTTPFound("/login")
        response.del_cookie(COOKIE)
        return response

    # What they get

    async def _member(self, request: web.Request) -> Member:
        name = await self._who(request)
        if name is None:
            raise web.HTTPFound("/login") if request.method == "GET" else web.HTTPForbidden(text="Log in first")
        member = self._members.get(name)
        if member is None or (member.process is not None and member.process.returncode is not None):
            member = self._members[name] = Member(name)
            self._task = asyncio.get_running_loop().create_task(self._start(member))
        member.seen = time.monotonic()
        return member

    async def _start(self, member: Member) -> None:
        """Start a reviewer, and learn from what it says where it listens."""
        pipe = asyncio.subprocess.PIPE
        command = (*self._command, f"--annotator={member.name}")  # whatever it begins with
        member.process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, env=environment() | self._env
        )
        telling = asyncio.ensure_future(self._tell_order(member.process.stdin))
        try:
            member.key, member.port = await asyncio.wait_for(_told_address(member.process.stdout), START_S)
        except asyncio.TimeoutError:
            member.process.kill()
        if not member.port:
            member.problem = "Your reviewer could not be started; the terminal of the server says why. Trying again"
        async for _ in member.process.stdout:  # what it says is read, so that it never waits
            pass
        telling.cancel()

    async def _tell_order(self, stdin: Any) -> None:
        """A line of JSON, once it is computed: for all at once, and not by each."""
        if self._order is None:
            return
        try:
            keys = await asyncio.shield(asyncio.wrap_future(self._order))
        except BackendError as error:
            if self._order is not None:  # told once
                print(f"spine-landmarks: {error}", file=sys.stderr, flush=True)
            keys, self._order = [], None
        stdin.write(f"{json.dumps(keys)}\n".encode())

    async def _session(self, request: web.Request) -> web.StreamResponse:
        """What trame's page asks for before it opens its websocket."""
        member = await self._member(request)
        scheme = "wss" if self._is_https(request) else "ws"
        return web.json_response({"sessionURL": f"{scheme}://USE_HOST/ws", "secret": member.key})

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        member = await self._member(request)
        if not member.is_ready:
            words = member.problem or "Starting your reviewer"
            return _html(STARTING.format(dark=DARK, words=words), 200 if request.method == "GET" else 503)
        address = f"http://127.0.0.1:{member.port}{request.path_qs}"
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._websocket(request, member, address.replace("http", "ws", 1))
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN}
        data = request.content if request.body_exists else None
        try:
            answer = await self._client.request(
                request.method, address, headers={**headers, "Cookie": member.cookie}, data=data, allow_redirects=False
            )
        except ClientConnectionError:
            return _html(STARTING.format(dark=DARK, words="Starting your reviewer again"), 503)
        async with answer:
            kept = {name: value for name, value in answer.headers.items() if name.lower() not in _OWN}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for block in answer.content.iter_any():
                await response.write(block)
        return response

    async def _websocket(self, request: web.Request, member: Member, address: str) -> web.StreamResponse:
        """Both ways, until one side ends."""
        browser = web.WebSocketResponse(max_msg_size=0, heartbeat=20)
        await browser.prepare(request)
        member.connections += 1
        try:
            async with self._client.ws_connect(address, headers={"Cookie": member.cookie}, max_msg_size=0) as inside:
                ways = [asyncio.ensure_future(_carry(*pair)) for pair in ((browser, inside), (inside, browser))]
                watch = asyncio.ensure_future(self._while_known(member))
                await asyncio.wait([*ways, watch], return_when=asyncio.FIRST_COMPLETED)
                for way in (*ways, watch):
                    way.cancel()
                await asyncio.gather(*ways, watch, return_exceptions=True)
        except (ClientConnectionError, ConnectionError):
            pass  # the page comes back by itself
        finally:
            member.connections -= 1
            member.seen = time.monotonic()
            await browser.close()
        return browser

    async def _while_known(self, member: Member) -> None:
        """Returns when the account is gone."""
        while member.name in await self._known():
            await asyncio.sleep(5)

    def _end_idle(self) -> None:
        for member in list(self._members.values()):
            if not member.connections and member.seen < time.monotonic() - IDLE_S:
                del self._members[member.name]
                self._task = asyncio.get_running_loop().create_task(_end(member))


async def _told_address(lines: Any) -> tuple[str, int]:
    """Key and port of a reviewer, from what it says; nothing where it ends before."""
    async for line in lines:
        found = re.search(rb"Open http://\S+:(\d+)/\?secret=(\S+)", line)
        if found:
            return found[2].decode(), int(found[1])
    return "", 0


async def _carry(source: Any, target: Any) -> None:
    async for message in source:
        if message.type == WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type == WSMsgType.BINARY:
            await target.send_bytes(message.data)


async def _end(member: Member) -> None:
    """Let a reviewer save what is left, and end."""
    if member.process is None or member.process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        member.process.terminate()
    try:
        await asyncio.wait_for(member.process.wait(), 30)
    except asyncio.TimeoutError:
        member.process.kill()


def _html(text: str, status: int = 200) -> web.Response:
    return web.Response(text=text, status=status, content_type="text/html")


def run_team(
    front: TeamFront, port: int, certificate: tuple[Path, Path] | None, on_ready: Callable[[int], None]
) -> None:
    """Serve until Ctrl-C or SIGTERM."""
    import ssl

    context = None
    if certificate:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*certificate)

    async def serve() -> None:
        loop = asyncio.get_running_loop()
        task = loop.create_task(front.serve(port, context, on_ready))
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):
            with contextlib.suppress(NotImplementedError):  # Windows has Ctrl-C only
                loop.add_signal_handler(number, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


def end_with_parent(order: Future[list[str]] | None = None) -> None:
    """Have this process end as with Ctrl-C when the one that started it is gone, whatever became of it. order: told by
    that one, in a line.
    """
    import threading

    def watch() -> None:
        for line in sys.stdin.buffer:
            if order is not None and not order.done():
                order.set_result(json.loads(line))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
