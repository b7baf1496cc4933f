"""However the reviewer ends while its store fails at random: what the page showed as made is there afterwards."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.store.folder import open_dataset

#: Every other save is refused, half of those after it was done.
MOODY = """
import random
from SpineLandmarksLib.errors import StoreError
from SpineLandmarksLib.store import store
dice, add = random.Random(SEED), store.add_revision

def add_or_not(*arguments):
    if dice.random() < 0.5:
        raise StoreError("it does not answer")
    return add(*arguments)

store.add_revision = add_or_not
save = store.Store.save

def save_and_fail(self, revision):
    saved = save(self, revision)
    if dice.random() < 0.3:
        raise StoreError("it did not say that it is done")
    return saved

store.Store.save = save_and_fail
"""


@pytest.fixture(scope="module")
def folder(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(("slice1",))


@pytest.mark.parametrize("end", ["SIGINT", "SIGTERM", "SIGHUP", "SIGKILL"])
def test_nothing_that_was_shown_is_lost(
    folder: Path, start_reviewer: Callable[..., Any], browser: Any, end: str
) -> None:
    moody = MOODY.replace("SEED", str(len(end)))
    reviewer = start_reviewer(str(folder), "--annotator", "A. Reader", before=moody)
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(reviewer.address)
    rows = page.locator("table.landmarks tbody tr")
    expect(page.locator(".bar .title")).to_have_text("slice1")
    for name in ("L2", "L3", "L4", "L5"):
        row = rows.filter(has=page.get_by_role("cell", name=name, exact=True))
        row.click()
        expect(row).to_have_class("predicted selected" if end == "SIGINT" else "corrected selected")
        for _ in range(5):
            before = row.inner_text()
            page.keyboard.press("Shift+ArrowUp" if name in ("L2", "L4") else "ArrowRight")
            expect(row).not_to_have_text(before, use_inner_text=True)
    shown = [row.locator("td").all_inner_texts() for row in rows.all()]
    reviewer.process.send_signal(getattr(signal, end))
    reviewer.process.wait(180)
    page.close()
    with open_dataset(folder) as store:
        head = store.head("slice1")
    assert head is not None
    assert head.author == "A. Reader"
    for mark, (name, status, _, *position, _) in zip(head.landmarks, shown, strict=True):
        assert (mark.name, mark.status) == (name.strip(), status.strip())
        assert [f"{value:.1f}" for value in mark.position_ras_mm or ()] == [text.strip() for text in position]
    assert not list((folder / "unsaved").glob("*.json"))
