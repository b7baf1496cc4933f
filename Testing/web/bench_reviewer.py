"""How long the browser reviewer makes people wait: from the command to the page, and from a mouse move to its picture.

    .venv-web/bin/python Testing/web/bench_reviewer.py [MOVES]

Starts `review --demo` and a headless Chromium, drags a point, and prints one line for each figure. The time of a move
is taken in the page: from the event to the first picture that came in after it and was decoded.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Times each move until the picture of the view has changed.
WATCH = """
() => {
  const image = document.querySelector('.views img');
  window.waits = [];
  let moved = null;
  window.addEventListener('pointermove', () => { moved = moved === null ? performance.now() : moved; }, true);
  image.addEventListener('load', () => {
    if (moved !== null) { window.waits.push(performance.now() - moved); moved = null; }
  });
}
"""


def main(moves: int) -> None:
    # Here, as pytest looks for examples in every module of the tests, in both environments.
    from playwright.sync_api import sync_playwright
    from test_browser import Walk

    from conftest import CHROMIUM, FLAGS, Reviewer
    from SpineLandmarksLib.store.folder import open_dataset

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        began = time.monotonic()
        reviewer = Reviewer(Path(folder), "--demo")
        try:
            say("command to address", time.monotonic() - began)
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            opened = time.monotonic()
            page.goto(reviewer.address)
            page.wait_for_selector("table.landmarks tbody tr")
            page.wait_for_selector(".views img")
            say("address to page and views", time.monotonic() - opened)
            say("command to page and views", time.monotonic() - began)
            page.wait_for_selector(".study.current", timeout=120_000)
            page.locator(".localize").click()
            page.wait_for_selector("tr.predicted", timeout=120_000)
            page.wait_for_selector(".study >> nth=2", timeout=120_000)  # all are made, the processors are free
            walk = Walk(page, open_dataset(reviewer.folder, read_only=True), Path(folder))
            walk.wait_for(lambda: walk.store.heads("demo-1"), "the landmarks in the store")
            waits = drag(page, walk.on_page("demo-1", "L3"), moves)
            say(f"mouse move to picture, median of {len(waits)}", statistics.median(waits) / 1000)
            say("                       slowest of them", max(waits) / 1000)
        finally:
            reviewer.close()
            browser.close()


def drag(page: Any, point: tuple[float, float], moves: int) -> list[float]:
    """Drag a point to and fro; returns milliseconds."""
    x, y = point
    page.mouse.move(x, y)
    time.sleep(1)
    page.mouse.down()
    time.sleep(1)
    page.evaluate(WATCH)
    for number in range(moves):
        page.mouse.move(x + 5 + 20 * (number % 2), y)
        time.sleep(0.5)  # one picture a move, and the sharper one that follows when the mouse rests
    page.mouse.up()
    return list(page.evaluate("() => window.waits"))


def say(what: str, seconds: float) -> None:
    print(f"{what:40} {seconds:7.3f} s", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
