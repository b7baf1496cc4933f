"""Who gets in: real requests and real websocket handshakes to a reviewer that runs."""

from __future__ import annotations

import asyncio
import io
import socket
import time
import zipfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import msgpack
import pytest
from wslink.chunking import UnChunker, generate_chunks

from SpineLandmarksLib.store.folder import open_dataset

HELLO = {"wslink": "1.0", "id": "system:c0:1", "method": "wslink.hello", "kwargs": {}}
STATE = {"wslink": "1.0", "id": "c0:2", "method": "trame.state.get", "args": [], "kwargs": {}}


class Caller:
    """A program that is no browser and says whatever it likes."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.origin, self.key = f"{parts.scheme}://{parts.netloc}", parts.query.partition("=")[2]
        self.host = parts.netloc
        self.cookie = {"Cookie": f"spine-landmarks-{parts.port}={self.key}"}

    def run(self, talk: Callable[[aiohttp.ClientSession], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with aiohttp.ClientSession() as session:
                return await talk(session)

        return asyncio.run(main())

    def status(self, path: str = "/index.html", **headers: str) -> int:
        async def get(session: aiohttp.ClientSession) -> int:
            async with session.get(f"{self.origin}{path}", headers=headers, allow_redirects=False) as answer:
                return answer.status

        return self.run(get)

    def handshake(self, secret: str | None, **headers: str) -> tuple[int, list[dict[str, Any]]]:
        """Status of the upgrade, and what is answered to hello and to a question for the state."""

        async def talk(session: aiohttp.ClientSession) -> tuple[int, list[dict[str, Any]]]:
            try:
                async with session.ws_connect(f"{self.origin}/ws", headers=headers) as socket:
                    answers = []
                    for message in ({**HELLO, "args": [{"secret": secret}]}, STATE):
                        for part in generate_chunks(msgpack.packb(message), 0):
                            await socket.send_bytes(part)
                        answers.append(await whole(socket))
                    return 101, answers
            except aiohttp.WSServerHandshakeError as error:
                return error.status, []

        return self.run(talk)

    def upload(self, name: str, content: bytes, **headers: str) -> int:
        async def post(session: aiohttp.ClientSession) -> int:
            form = aiohttp.FormData()
            form.add_field("study", content, filename=name)
            try:
                async with session.post(f"{self.origin}/upload", data=form, headers=headers) as answer:
                    return answer.status
            except aiohttp.ClientConnectionError:  # it is not read to the end
                return 0

        return self.run(post)


async def whole(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    """The next message, however many parts it comes in."""
    parts = UnChunker()
    parts.set_max_message_size(2**24)
    while (message := parts.process_chunk((await socket.receive(10)).data)) is None:
        pass
    return message


@pytest.fixture(scope="module")
def caller(the_demo: Any) -> Caller:
    return Caller(the_demo.address)


def test_nothing_is_given_without_the_key(caller: Caller) -> None:
    assert caller.status() == 403
    assert caller.status("/index.html?secret=wslink-secret") == 403
    assert caller.status("/ws") == 403
    assert caller.handshake("wslink-secret", Origin=caller.origin)[0] == 403


def test_the_key_opens_once_and_a_cookie_keeps_it(caller: Caller) -> None:
    async def get(session: aiohttp.ClientSession) -> Any:
        address = f"{caller.origin}/?secret={caller.key}"
        async with session.get(address, allow_redirects=False) as answer:
            return answer.status, answer.headers["Set-Cookie"], answer.headers["Content-Security-Policy"]

    status, cookie, policy = caller.run(get)
    assert status == 302
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert "default-src 'self'" in policy
    assert "ws:" not in policy
    assert caller.status(**caller.cookie) == 200


def test_the_page_gets_the_key_of_its_websocket_and_nobody_else_does(caller: Caller) -> None:
    async def post(session: aiohttp.ClientSession) -> Any:
        answers = []
        for headers in (
            {},
            {**caller.cookie, "Origin": "http://evil.example"},
            {**caller.cookie, "Origin": caller.origin},
        ):
            async with session.post(f"{caller.origin}/paraview/", headers=headers) as answer:
                answers.append((answer.status, await answer.text()))
        return answers

    nobody, foreign, own = caller.run(post)
    assert (nobody[0], foreign[0], own[0]) == (403, 403, 200)
    assert caller.key in own[1]
    assert caller.key not in nobody[1] + foreign[1]


def test_the_right_key_opens_the_websocket(caller: Caller) -> None:
    status, (hello, state) = caller.handshake(caller.key, Origin=caller.origin, **caller.cookie)
    assert status == 101
    assert "clientID" in hello["result"]
    assert "result" in state


def test_the_known_secret_of_trame_opens_no_websocket_even_with_the_cookie(caller: Caller) -> None:
    _, (hello, state) = caller.handshake("wslink-secret", Origin=caller.origin, **caller.cookie)
    assert "error" in hello
    assert "error" in state


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1", "http://localhost:1"])
def test_a_foreign_page_gets_no_websocket_whatever_it_knows(caller: Caller, origin: str) -> None:
    assert caller.handshake(caller.key, Origin=origin, **caller.cookie)[0] == 403


def test_a_name_that_was_bent_to_this_computer_gets_nothing(caller: Caller) -> None:
    assert caller.status(Host="evil.example", **caller.cookie) == 403
    assert caller.handshake(caller.key, Host="evil.example", Origin="http://evil.example", **caller.cookie)[0] == 403


def test_junk_ends_its_connection_and_fills_no_log(caller: Caller, the_demo: Any) -> None:
    async def talk(session: aiohttp.ClientSession) -> list[Any]:
        ends = []
        junk = (b"", b"x", b"\xff" * 40, msgpack.packb({"id": 7}), *generate_chunks(msgpack.packb({"id": 7}), 0))
        for message in (*junk, *generate_chunks(msgpack.packb(5), 0), *generate_chunks(b"\xc1", 0), "MUELLER"):
            async with session.ws_connect(f"{caller.origin}/ws", headers=caller.cookie) as opened:
                send = opened.send_str if isinstance(message, str) else opened.send_bytes
                await send(message)
                ends.append((await opened.receive(180)).type)
        return ends

    before = len(the_demo.text)
    assert set(caller.run(talk)) == {aiohttp.WSMsgType.CLOSE}
    place = urlsplit(caller.origin)
    with socket.create_connection((place.hostname, place.port), 60) as bare:
        bare.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert b" 403 " in bare.recv(4096)
    assert caller.handshake(caller.key, **caller.cookie)[0] == 101  # others are still served
    assert the_demo.text[before:] == ""


def test_uploads_need_key_and_own_page(caller: Caller, the_demo: Any) -> None:
    assert caller.upload("a.nii", b"x") == 403
    assert caller.upload("a.nii", b"x", Origin="http://evil.example", **caller.cookie) == 403
    assert not list(the_demo.folder.glob("uploads/*"))


def test_an_upload_that_is_no_study_leaves_nothing(caller: Caller, the_demo: Any) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../outside.dcm", b"x")
    files = (("run.sh", b"#!/bin/sh"), ("a.zip", b"#!/bin/sh"), ("b.zip", content.getvalue()), ("c.nii", b""))
    for name, data in files:
        assert caller.upload(name, data, Origin=caller.origin, **caller.cookie) in (204, 0)
    wait_until_gone(the_demo.folder / "uploads")
    assert not (the_demo.temporary / "outside.dcm").exists()
    store = open_dataset(the_demo.folder, read_only=True)
    assert not [study for study in store.studies() if study.key.startswith("upload")]
    store.close()


def wait_until_gone(folder: Path) -> None:
    limit = time.monotonic() + 120
    while folder.is_dir() and list(folder.iterdir()):
        assert time.monotonic() < limit, list(folder.iterdir())
        time.sleep(0.2)


def test_an_interrupt_ends_everything_and_the_demo_is_removed(the_demo: Any) -> None:
    folder = the_demo.folder
    assert the_demo.interrupt() == 0
    assert not folder.exists()
    assert "Traceback" not in the_demo.text
