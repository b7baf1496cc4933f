"""axe-core in a real Chromium finds nothing serious in reviewer or site, and no status is told by colour alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from SpineLandmarksLib.landmarks import LUMBAR11

SITE = Path(__file__).resolve().parents[2] / "build" / "docs"
#: One of each kind: prose and a wide table, the generated references, formulas, a notebook.
PAGES = ("index", "reference/command", "reference/api", "explanation/method", "tutorials/python-api", "trust/hazards")


def serious(page: Any) -> list[str]:
    """What axe-core calls serious or critical: rule, what it says, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:140] for node in each['nodes'][:4]]}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]


@pytest.fixture(scope="module")
def a_demo(start_reviewer: Callable[..., Any]) -> Any:
    """Its own: what is opened here has been localized, and others begin with a study that has not."""
    return start_reviewer("--demo")


@pytest.fixture
def page(browser: Any) -> Any:
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    yield opened
    opened.close()


def test_the_reviewer_has_no_serious_finding(page: Any, a_demo: Any) -> None:
    page.goto(a_demo.address)
    page.wait_for_selector(".study.current")
    page.wait_for_selector("table.landmarks tbody tr")
    assert not (found := serious(page)), "\n".join(found)
    page.keyboard.press("?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.wait_for_function(
        "!document.getAnimations().length || document.getAnimations().every(a => a.playState != 'running')"
    )
    assert not (found := serious(page)), "\n".join(found)


def test_a_status_is_a_word_and_not_a_colour_alone(page: Any, a_demo: Any) -> None:
    page.goto(a_demo.address)
    page.wait_for_selector("table.landmarks tbody tr")
    rows = page.locator("table.landmarks tbody tr")
    words = [rows.nth(row).locator("td").nth(1).inner_text().strip() for row in range(len(LUMBAR11))]
    assert all(words)
    for study in page.locator(".study").all():
        assert study.locator(".words").inner_text().strip()


@pytest.mark.parametrize("name", PAGES)
def test_the_site_has_no_serious_finding(name: str, page: Any) -> None:
    file = SITE / f"{name}.html"
    if not file.is_file():
        pytest.skip("the site is not built: make docs")
    page.goto(file.as_uri())
    assert not (found := serious(page)), "\n".join(found)
