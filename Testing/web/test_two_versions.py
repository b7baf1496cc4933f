"""A study that is saved elsewhere while it is open: both versions in one picture, and one decision on each point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.study_record import complete


def lower(mark: Landmark, mm: float, pixel_mm: float = 1.5) -> Landmark:
    x, y = mark.pixel_xy or (0, 0)
    return Landmark(mark.name, "corrected", None, (x, y + mm / pixel_mm), needs_review=False)


def by_another(first: Revision, matrix: Any) -> Revision:
    """A centre and a corner 12 mm lower."""
    told = first.landmarks
    marks, corners = (
        tuple(lower(mark, 12) if mark.name in ("L2", "L4.sup.ant") else mark for mark in some)
        for some in (told.landmarks, told.corners)
    )
    said = complete(replace(told, landmarks=marks, corners=corners), matrix)
    return replace(first, author="Bob", time=utc_now(), landmarks=said, parent=first.id)


def test_what_another_program_saved_is_drawn_and_decided_on(
    make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any], browser: Any, shots: Path
) -> None:
    folder = make_dataset(slices=("case",), corners=True)
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(start_reviewer(str(folder), "--annotator", "Ann").address)
    expect(page.locator(".bar .title")).to_have_text("case")

    def row(name: str) -> Any:
        return page.locator("table.landmarks tbody tr").filter(has=page.get_by_text(name, exact=True))

    row("L5").click()
    page.keyboard.press("ArrowDown")
    expect(page.locator(".save.saved")).to_contain_text("Saved")
    with open_dataset(folder) as store:
        first = store.history("case")[0]
        theirs = by_another(first, store.study("case").matrix)
        store.save(theirs)
        expect(page.locator(".opinion", has_text="Bob")).to_be_visible()
        expect(page.locator(".notification.warning", has_text="more than one version")).to_be_visible()
        page.keyboard.press("Shift+C")
        expect(page.locator("tr.confirmed")).to_have_count(11)
        expect(page.locator(".do-sign_off")).to_be_disabled()
        expect(page.locator(".looked-at")).to_have_text("to decide: L4.sup.ant")  # of which somebody has spoken
        page.screenshot(path=shots / "70-two-versions.png")
        for name in ("L2", "L4.sup.ant"):
            row(name).click()
            page.keyboard.press("B")
        expect(page.locator("tr.confirmed")).to_have_count(12)
        page.keyboard.press("Shift+S")
        expect(page.locator(".question")).to_contain_text("the others stay in its history")
        page.keyboard.press("Enter")
        expect(page.locator(".study", has_text="case")).to_contain_text("signed off by Ann")
        (made,) = store.signed_off()
        assert theirs.id in [one.id for one in store.history("case")]
    page.close()
    for name in ("L2", "L4.sup.ant"):
        assert made.landmarks[name].pixel_xy == pytest.approx(theirs.landmarks[name].pixel_xy)
    assert made.landmarks["L5"].pixel_xy != first.landmarks["L5"].pixel_xy
