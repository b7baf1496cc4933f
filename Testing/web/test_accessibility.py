"""For people with a keyboard or a screen reader alone: axe-core in a real Chromium finds nothing serious in reviewer,
dialogs or site, Tab reaches whatever the mouse does and leaves it again, and no status is told by colour alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe

from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.web.front import LOGIN, STARTING
from SpineLandmarksLib.web.server import DARK

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


#: What Tab should come to: whatever is seen, can be used, and is a control or shows the hand of the mouse. It has been
#: come to where it, something within it or something around it had the focus.
MISSED = """() => {
  const controls = 'a[href], button, input, textarea, select, summary, [tabindex="0"]';
  const dialog = document.querySelector('.v-overlay--active .v-card');
  const hand = (one) => one && getComputedStyle(one).cursor === 'pointer';
  const isThere = (one) => one.getClientRects().length && getComputedStyle(one).visibility === 'visible'
    && !one.closest(':disabled, [tabindex="-1"]');
  return [...(dialog || document).querySelectorAll('*')]
    .filter((one) => isThere(one) && (one.matches(controls) || (hand(one) && !hand(one.parentElement))))
    .filter((one) => !window.visited.some((other) => one.contains(other) || other.contains(one)))
    .map((one) => one.outerHTML.slice(0, 160));
}"""
WATCH = """() => {
  window.visited = [document.activeElement];
  document.addEventListener('focusin', (event) => window.visited.push(event.target));
}"""


class Keyboard:
    """Somebody without a mouse. page: of playwright."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def focus_is(self, selector: str) -> bool:
        return bool(self.page.evaluate("(selector) => document.activeElement.matches(selector)", selector))

    def go_to(self, selector: str) -> None:
        """By Tab alone."""
        for _ in range(200):
            if self.focus_is(selector):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not come to {selector}")

    def missed(self) -> list[str]:
        """What Tab does not come to on its way once round the page, or the dialog that is open."""
        self.page.evaluate(WATCH)
        first = None
        for _ in range(200):
            self.press("Tab")
            if first is None:
                first = self.page.evaluate_handle("document.activeElement")
            elif self.page.evaluate("(first) => document.activeElement === first", first):
                return list(self.page.evaluate(MISSED))
        raise AssertionError("Tab does not come back to where it began")


@pytest.fixture(scope="module")
def the_reviewer(make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any]) -> Any:
    """More studies than need no search, one of them a volume; nobody has said yet who annotates."""
    folder = make_dataset([f"slice-{number}" for number in range(1, 9)], ["volume"], corners=True)
    return start_reviewer(str(folder))


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    yield opened
    opened.close()


@pytest.fixture
def keyboard(page: Any, the_reviewer: Any) -> Keyboard:
    """Before the open volume."""
    page.goto(the_reviewer.address)
    hands = Keyboard(page)
    page.wait_for_selector(".study, .name-field")
    if page.locator(".name-field").count():
        begin(hands)
    hands.go_to(".find")
    page.keyboard.type("volume")
    page.wait_for_function("document.querySelectorAll('.study').length === 1")
    hands.go_to(".study")
    hands.press("Enter")
    page.locator(".title", has_text="volume").wait_for()
    page.wait_for_selector("table.landmarks tbody tr")
    return hands


def begin(hands: Keyboard) -> None:
    settle(hands.page, "Who annotates?")
    assert not (found := serious(hands.page)), "\n".join(found)
    hands.go_to(".name-field input")
    hands.page.keyboard.type("Ann")
    assert hands.missed() == []
    hands.go_to(".begin")
    hands.press("Enter")
    hands.page.wait_for_selector(".study.current")


def settle(page: Any, dialog: str) -> None:
    """Wait until a dialog has come, and nothing moves."""
    page.get_by_role("dialog", name=dialog).wait_for()
    page.wait_for_function("document.getAnimations().every((one) => one.playState !== 'running')")


def test_the_reviewer_has_no_serious_finding(keyboard: Keyboard) -> None:
    assert not (found := serious(keyboard.page)), "\n".join(found)


def test_tab_comes_to_whatever_the_mouse_does(keyboard: Keyboard) -> None:
    assert keyboard.missed() == []


@pytest.mark.parametrize(
    ("dialog", "button"),
    [
        ("Keys", "button:has(.mdi-keyboard-outline)"),
        ("One question", ".do-exclude"),
        ("Who reads this study?", ".assign"),
        ("Work", "button[title='How much is done, by whom']"),
    ],
)
def test_a_dialog_is_opened_used_and_left_by_keyboard(dialog: str, button: str, keyboard: Keyboard) -> None:
    keyboard.go_to(button)
    keyboard.press("Enter")
    settle(keyboard.page, dialog)
    assert not (found := serious(keyboard.page)), "\n".join(found)
    assert keyboard.missed() == []
    keyboard.press("Escape")
    keyboard.page.get_by_role("dialog", name=dialog).wait_for(state="hidden")
    keyboard.page.wait_for_function("(button) => document.activeElement.matches(button)", arg=button)


def test_a_study_is_corrected_and_signed_off_by_keyboard(keyboard: Keyboard) -> None:
    page = keyboard.page
    rows = page.locator("table.landmarks tbody tr")
    keyboard.go_to("table.landmarks tbody tr:nth-child(6)")
    keyboard.press(" ")
    page.locator("table.landmarks tbody tr:nth-child(6)[aria-current=true]").wait_for()
    keyboard.press("ArrowUp")
    page.locator("tr.corrected", has_text="L3").wait_for()
    keyboard.press("c")
    page.locator("tr.confirmed", has_text="L3").wait_for()
    keyboard.press("ArrowUp")
    told = page.locator(".notifications .notification", has_text="L3")
    told.wait_for()
    keyboard.go_to("[aria-label='Take this message away']")
    keyboard.press("Enter")
    told.wait_for(state="detached")
    keyboard.press("Shift+C")
    page.wait_for_function("document.querySelectorAll('tr.confirmed').length === 11")
    assert [rows.nth(row).locator("td").nth(1).inner_text().strip() for row in range(11)] == ["confirmed"] * 11
    keyboard.press("Shift+S")
    page.locator(".study.done", has_text="signed off").wait_for()


def test_a_status_is_a_word_and_not_a_colour_alone(keyboard: Keyboard) -> None:
    rows = keyboard.page.locator("table.landmarks tbody tr")
    words = [rows.nth(row).locator("td").nth(1).inner_text().strip() for row in range(len(LUMBAR11))]
    assert all(words)
    for study in keyboard.page.locator(".study").all():
        assert study.locator(".words").inner_text().strip()


@pytest.mark.parametrize("html", [LOGIN.format(dark=DARK, wrong="No"), STARTING.format(dark=DARK, words="Starting")])
def test_the_pages_before_the_reviewer_have_no_serious_finding(html: str, page: Any) -> None:
    page.set_content(html)
    assert not (found := serious(page)), "\n".join(found)


@pytest.mark.parametrize("name", PAGES)
def test_the_site_has_no_serious_finding(name: str, page: Any) -> None:
    file = SITE / f"{name}.html"
    if not file.is_file():
        pytest.skip("the site is not built: make docs")
    page.goto(file.as_uri())
    assert not (found := serious(page)), "\n".join(found)
