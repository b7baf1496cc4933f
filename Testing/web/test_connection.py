"""A connection that is lost comes back by itself, and nothing is bright meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect


class Line:
    """A line between browser and reviewer that can be cut."""

    def __init__(self, to: int) -> None:
        self._to, self._writers = to, list[asyncio.StreamWriter]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._join, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        self._is_cut = False

    def cut(self, is_cut: bool = True) -> None:
        self._is_cut = is_cut
        self._loop.call_soon_threadsafe(lambda: [writer.transport.abort() for writer in self._writers])

    def close(self) -> None:
        self.cut()
        self._loop.call_soon_threadsafe(self._server.close)
        self._do(asyncio.sleep(0.2))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(180)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        if self._is_cut:
            writer.transport.abort()
            return
        back, there = await asyncio.open_connection("127.0.0.1", self._to)
        self._writers.append(there)
        await asyncio.gather(self._pump(reader, there), self._pump(back, writer))

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()


@pytest.fixture(scope="module")
def folder(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(("slice1",))


@pytest.fixture(scope="module")
def reviewer(folder: Path, start_reviewer: Callable[..., Any]) -> Any:
    return start_reviewer(str(folder), "--annotator", "A. Reader")


@pytest.fixture(scope="module")
def line(reviewer: Any) -> Iterator[Line]:
    made = Line(urlsplit(reviewer.address).port or 0)
    yield made
    made.close()


@pytest.fixture(scope="module")
def page(reviewer: Any, line: Line, browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    port = urlsplit(reviewer.address).port
    opened.goto(reviewer.address.replace(str(port), str(line.port)))
    expect(opened.locator(".bar .title")).to_have_text("slice1")
    yield opened
    opened.close()


def brightness(page: Any) -> float:
    """Mean grey of what is seen."""
    return float(np.array(Image.open(io.BytesIO(page.screenshot())).convert("L")).mean())


def test_the_key_is_in_no_address_that_the_page_has(page: Any) -> None:
    assert "secret" not in page.url
    assert page.evaluate("() => performance.getEntries().map(one => one.name).join()").count("secret") <= 1
    assert page.title() == "Spine landmarks"


def test_the_first_thing_that_is_seen_is_dark(page: Any, browser: Any, reviewer: Any) -> None:
    other = browser.new_page(viewport={"width": 800, "height": 600})
    other.route("**/assets/*.js", lambda route: route.abort())  # the page never comes further than its first frame
    other.goto(reviewer.address)
    expect(other.locator(".lost")).to_be_visible()
    assert brightness(other) < 40
    other.close()


def test_the_page_comes_back_when_the_network_does(page: Any, line: Line, shots: Path) -> None:
    page.locator("table.landmarks tbody tr").nth(5).click()
    page.keyboard.press("c")
    expect(page.locator("tr.confirmed")).to_have_count(1)
    line.cut()
    expect(page.locator(".lost")).to_contain_text("comes back by itself")
    page.screenshot(path=shots / "40-lost.png")
    assert brightness(page) < 40
    line.cut(False)
    expect(page.locator(".bar .title")).to_have_text("slice1")
    expect(page.locator("tr.confirmed")).to_have_count(1)
    page.keyboard.press("c")
    expect(page.locator("tr.confirmed")).to_have_count(0)
