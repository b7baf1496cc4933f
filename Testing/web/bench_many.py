"""How long thousands of studies make an annotator wait: for the page, and from a sign-off to the next study.

    .venv-web/bin/python Testing/web/bench_many.py [--studies 2000] [--store postgresql://...] [--next 20]

Makes a data set of so many studies, half of them corrected and signed off, starts `review` and a headless Chromium,
confirms and signs one study after another by keyboard, and prints one line for each figure. The data base is empty
before, and used up.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def main(count: int, url: str | None, following: int) -> None:
    # Here, as pytest looks for examples in every module of the tests, in both environments.
    from bench_reviewer import say
    from playwright.sync_api import sync_playwright

    from conftest import CHROMIUM, FLAGS, ROOT, Reviewer

    sys.path.insert(0, str(ROOT))
    from Testing.lib.test_many_studies import fill

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        dataset = Path(folder) / "dataset"
        fill(dataset, count, url).close()
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        began = time.monotonic()
        reviewer = Reviewer(Path(folder), str(dataset), "--annotator", "Ann", *(("--store", url) if url else ()))
        try:
            say("command to address", time.monotonic() - began)
            page = browser.new_page(viewport={"width": 1500, "height": 900})
            opened = time.monotonic()
            page.goto(reviewer.address)
            page.wait_for_selector(".study.current")
            page.wait_for_selector(".views img")
            say(f"address to page and first study of {count}", time.monotonic() - opened)
            used = processor_s(reviewer.process.pid)
            waits = [sign_and_wait(page) for _ in range(following)]
            used = processor_s(reviewer.process.pid) - used
            say(f"sign-off to next study, median of {following}", statistics.median(waits))
            say("                        slowest of them", max(waits))
            say("processor time of the server, a study", used / following)
        finally:
            reviewer.close()
            browser.close()


def processor_s(process: int) -> float:
    """That a process has used; does not depend on what else the machine does."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sign_and_wait(page: Any) -> float:
    """Seconds from the key to the name of another study."""
    before = page.locator(".title").first.inner_text()
    page.keyboard.press("Shift+C")
    page.wait_for_function("() => document.querySelectorAll('tr.confirmed').length == 11")
    began = time.monotonic()
    page.keyboard.press("Shift+S")
    page.wait_for_function("name => document.querySelector('.title').innerText != name", arg=before)
    return time.monotonic() - began


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--studies", type=int, default=2000)
    p.add_argument("--store")
    p.add_argument("--next", type=int, default=20)
    given = p.parse_args()
    main(given.studies, given.store, given.next)
