"""Landmarks without a model: eleven clicks; and what a model does by itself when a study opens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.store.folder import open_dataset

#: More than the list shows without a field to find them.
KEYS = tuple(f"slice{number}" for number in range(1, 11))


@pytest.fixture(scope="module")
def folder(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(KEYS, new=KEYS[:2])


def test_a_new_study_is_localized_when_it_opens(folder: Path, start_reviewer: Callable[..., Any], browser: Any) -> None:
    reviewer = start_reviewer(str(folder), "--annotator", "Ann")
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(reviewer.address)
    expect(page.locator(".bar .title")).to_contain_text("slice")
    page.locator(".study", has_text="slice2").click()
    expect(page.locator(".bar .title")).to_have_text("slice2")
    expect(page.locator(".looked-at")).to_contain_text("to look at")  # nobody has asked for it
    expect(page.locator("tr.predicted")).not_to_have_count(0)
    page.close()
    reviewer.close()


@pytest.fixture(scope="module")
def page(folder: Path, start_reviewer: Callable[..., Any], browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.goto(start_reviewer(str(folder), "--annotator", "Bob", "--by-hand", "--order", "random").address)
    expect(opened.locator(".study.current")).to_have_count(1)
    yield opened
    opened.close()


def place_of(page: Any, name: str) -> tuple[float, float]:
    """Where a landmark of slice1 is while the whole image, whose rows fill the view, is shown."""
    phantom = make_phantom(11, matrix=(200, 160), pixel_mm=1.5, slices=5)
    x, y = phantom.landmarks[name].pixel_xy or (0, 0)
    box = page.locator(".views img").first.bounding_box()
    scale = min(box["width"] / 160, box["height"] / 200)
    return box["x"] + box["width"] / 2 + (x - 79.5) * scale, box["y"] + box["height"] / 2 + (y - 99.5) * scale


def test_studies_are_found_by_name_and_state(page: Any) -> None:
    page.locator(".find").fill("SLICE1")
    expect(page.locator(".study .key")).to_have_text(["slice1", "slice10"], use_inner_text=True)
    page.locator(".find").fill("new")
    expect(page.locator(".study .key")).to_have_text("slice1")
    page.locator(".study", has_text="slice1").click()
    page.locator(".find").fill("")
    expect(page.locator(".study")).to_have_count(10)
    expect(page.locator(".bar .title")).to_have_text("slice1")
    expect(page.locator("tr.none")).to_have_count(11)


def test_the_most_doubtful_study_can_be_first(page: Any, folder: Path) -> None:
    others = page.locator(".study:not(.current) .key")  # the open one moves up when its first save is known
    before = others.all_inner_texts()
    with open_dataset(folder) as store:
        head = store.heads("slice7")[-1]
        doubted = tuple(replace(one, confidence=0.5) for one in head.landmarks)
        store.save(replace(head, landmarks=replace(head.landmarks, landmarks=doubted)))
    page.locator(".by-doubt input").check()
    expect(page.locator(".study .key").first).to_have_text("slice7")
    page.locator(".by-doubt input").uncheck()
    expect(others).to_have_text(before)


def test_eleven_clicks_place_eleven_landmarks(page: Any, shots: Path) -> None:
    page.locator(".brand").click()
    page.keyboard.press("p")
    for name in LUMBAR11:
        expect(page.locator(".hint")).to_contain_text(f"Click where {name} is")
        x, y = place_of(page, name)
        page.mouse.move(x - 8, y - 4)
        if name in ("L1", "L4"):
            page.screenshot(path=shots / f"50-placing-{name}.png")
        page.mouse.click(x, y)
        if name == "L2":  # taken back, and placed again
            expect(page.locator(".hint")).to_contain_text("Click where L2-L3 is")
            page.keyboard.press("Control+z")
            expect(page.locator(".hint")).to_contain_text("Click where L2 is")
            page.mouse.move(x - 8, y - 4)
            page.mouse.click(x, y)
    expect(page.locator("tr.corrected")).to_have_count(11)
    expect(page.locator(".hint")).to_have_count(0)
    page.screenshot(path=shots / "51-placed.png")


def test_what_cannot_be_seen_is_passed_over_and_escape_ends_placing(page: Any, folder: Path) -> None:
    for _ in LUMBAR11:
        page.keyboard.press("Control+z")
    expect(page.locator("tr.none")).to_have_count(11)
    page.keyboard.press("p")
    first = page.locator("tr.selected .name").inner_text()
    page.keyboard.press("x")
    expect(page.locator("tr.selected .name")).not_to_have_text(first)
    expect(page.locator(".hint")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".hint")).to_have_count(0)
    page.keyboard.press("Shift+X")
    expect(page.locator("tr.not_visible")).to_have_count(11)
    page.keyboard.press("Shift+S")
    expect(page.locator(".bar .title")).not_to_have_text("slice1")
    with open_dataset(folder, read_only=True) as store:
        assert [one.study for one in store.signed_off()] == ["slice1"]


def test_landmarks_come_from_a_file(page: Any, folder: Path, shots: Path) -> None:
    page.keyboard.press("Escape")
    page.locator(".study", has_text="slice3").click()
    expect(page.locator(".bar .title")).to_have_text("slice3")
    with open_dataset(folder, read_only=True) as store:
        head = store.head("slice3")
    assert head is not None
    r, a, s = head.landmarks["L3"].position_ras_mm or (0, 0, 0)
    text = f"label,r_mm,a_mm,s_mm\nL3,{r},{a + 4},{s}\n"
    page.locator(".import input").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": text.encode()})
    expect(page.locator("tr.corrected .name")).to_have_text("L3")
    page.locator(".import input").set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"nothing"})
    expect(page.locator(".notification.error")).to_contain_text("expected the columns")
    page.keyboard.press("Shift+?")
    expect(page.locator(".legend .dot")).to_have_count(5)
    page.screenshot(path=shots / "52-help.png")
