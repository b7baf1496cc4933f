"""A data set of single slices and volumes, walked by keyboard: each key acts once, whatever was shown before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.store.folder import open_dataset

SACRUM = "The sacrum is not in the picture, or hardly: levels are counted from it, so all names may be off"
#: The picture has the size of its place.
SETTLED = (
    "() => { const i = document.querySelector('.views img'); return Math.abs(i.naturalWidth - i.clientWidth) < 3 }"
)
SLICES, VOLUMES = ("slice1", "slice2", "slice3"), ("volume1", "volume2")


@pytest.fixture(scope="module")
def folder(make_dataset: Callable[..., Path]) -> Path:
    return make_dataset(SLICES, VOLUMES, warnings=(SACRUM, "Levels are doubtful: L5-S1"))


@pytest.fixture(scope="module")
def page(folder: Path, start_reviewer: Callable[..., Any], browser: Any) -> Iterator[Any]:
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.goto(start_reviewer(str(folder)).address)
    name = opened.locator(".name-field input")
    name.fill("A. Reader")
    name.press("Enter")
    expect(opened.locator(".person .who")).to_have_text("A. Reader")
    expect(opened.locator(".study.current")).to_have_count(1)
    expect(opened.locator("tr.predicted")).to_have_count(11)
    yield opened
    opened.close()


def show(page: Any, key: str) -> None:
    page.locator(".study", has_text=key).click()
    expect(page.locator(".bar .title")).to_have_text(key)
    expect(page.locator(".study.current")).to_contain_text(key)
    page.locator(".views img").first.wait_for()


def row(page: Any, name: str) -> Any:
    return page.locator("table.landmarks tbody tr").nth(LUMBAR11.index(name))


def selected(page: Any) -> Any:
    return page.locator("tr.selected .name")


@pytest.mark.parametrize("key", ["slice1", "volume1", "slice2", "volume2", "slice3"])
def test_each_key_acts_once_on_slices_and_volumes_in_turn(page: Any, key: str) -> None:
    show(page, key)
    row(page, "L2").click()
    expect(selected(page)).to_have_text("L2")
    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(selected(page)).to_have_text("L3")
    page.keyboard.press("c")
    expect(row(page, "L3")).to_contain_text("confirmed")
    page.keyboard.press("c")
    expect(row(page, "L3")).to_contain_text("predicted")
    before = float(row(page, "L3").locator("td").nth(5).inner_text())
    page.keyboard.press("ArrowUp")
    expect(row(page, "L3")).to_contain_text("corrected")
    assert float(row(page, "L3").locator("td").nth(5).inner_text()) - before == pytest.approx(0.5, abs=0.11)
    page.keyboard.press("?")
    expect(page.locator("table.keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("table.keys")).to_be_hidden()


def on_picture(page: Any, folder: Path, key: str, name: str) -> tuple[float, float]:
    """Where a landmark is while the whole image is shown, whose rows fill the view."""
    with open_dataset(folder, read_only=True) as store:
        head = store.heads(key)[-1]
        width, height = store.study(key).size_wh
    xy = head.landmarks[name].pixel_xy
    assert xy is not None
    page.wait_for_function(SETTLED)
    box = page.locator(".views img").first.bounding_box()
    scale = min(box["width"] / width, box["height"] / height)
    x = box["x"] + box["width"] / 2 + (xy[0] - (width - 1) / 2) * scale
    return x, box["y"] + box["height"] / 2 + (xy[1] - (height - 1) / 2) * scale


def test_keys_act_on_the_point_that_was_dragged_or_clicked(page: Any, folder: Path, shots: Path) -> None:
    show(page, "slice2")
    row(page, "L1").click()
    x, y = on_picture(page, folder, "slice2", "L4")
    page.mouse.move(x, y, steps=4)
    page.mouse.down()
    page.mouse.move(x + 15, y, steps=6)
    expect(selected(page)).to_have_text("L4")
    page.screenshot(path=shots / "30-dragging.png")
    page.mouse.up()
    expect(row(page, "L4")).to_contain_text("corrected")
    page.mouse.move(10, 10)
    page.screenshot(path=shots / "31-selected.png")
    page.keyboard.press("c")
    expect(row(page, "L4")).to_contain_text("confirmed")
    page.screenshot(path=shots / "32-confirmed.png")
    page.mouse.move(x + 15, y, steps=3)
    page.mouse.down()
    page.mouse.move(x + 45, y, steps=3)
    page.mouse.up()
    expect(page.locator(".notification", has_text="L4 is confirmed")).to_be_visible()
    x, y = on_picture(page, folder, "slice2", "L2")
    page.mouse.click(x, y)
    expect(selected(page)).to_have_text("L2")
    page.keyboard.press("x")
    expect(row(page, "L2")).to_contain_text("not visible")
    assert row(page, "L1").inner_text().split()[1] == "predicted"


def test_the_warnings_of_a_stored_prediction_are_shown_until_they_are_answered(page: Any) -> None:
    show(page, "slice3")
    expect(page.locator(".work .warning")).to_have_text([SACRUM, "Levels are doubtful: L5-S1"])
    row(page, "L5-S1").click()
    page.keyboard.press("c")
    expect(page.locator(".work .warning")).to_have_text([SACRUM])
    page.keyboard.press("c")
    expect(page.locator(".work .warning")).to_have_count(2)


@pytest.mark.parametrize(("width", "height"), [(1024, 768), (1280, 720), (1920, 1080)])
def test_everything_has_its_place_in_windows_of_all_sizes(page: Any, shots: Path, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    show(page, "volume1")
    page.screenshot(path=shots / f"33-{width}.png")
    picture = page.locator(".views").bounding_box()
    for place in (".do-sign_off", ".do-skip", ".localize", ".bar .title", ".study.current", ".warning >> nth=0"):
        box = page.locator(place).bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height
        assert not overlap(box, picture)
    boxes = [one.bounding_box() for one in page.locator(".middle > .bar > *").all() if one.is_visible()]
    assert not any(overlap(one, other) for number, one in enumerate(boxes) for other in boxes[:number])
    assert all(box["x"] + box["width"] <= picture["x"] + picture["width"] + 1 for box in boxes)
    title = page.locator(".bar .title")
    assert title.evaluate("one => one.scrollWidth <= one.clientWidth")
    assert picture["width"] > 0.45 * width
    page.set_viewport_size({"width": 1500, "height": 900})


def overlap(one: dict[str, float], other: dict[str, float]) -> bool:
    return all(
        one[start] + 1 < other[start] + other[size] and other[start] + 1 < one[start] + one[size]
        for start, size in (("x", "width"), ("y", "height"))
    )


def test_arrow_keys_on_the_slice_slider_move_slices_and_no_landmark(page: Any) -> None:
    show(page, "volume1")
    row(page, "L3").click()
    expect(selected(page)).to_have_text("L3")
    before = row(page, "L3").inner_text()
    knob = page.locator(".middle [role=slider]").first
    at = knob.get_attribute("aria-valuenow")
    knob.focus()
    page.keyboard.press("ArrowLeft")
    expect(knob).not_to_have_attribute("aria-valuenow", at)
    assert row(page, "L3").inner_text() == before


def test_tab_and_enter_reach_studies_and_landmarks(page: Any) -> None:
    page.locator(".study", has_text="slice2").focus()
    page.keyboard.press("Enter")
    expect(page.locator(".bar .title")).to_have_text("slice2")
    row(page, "L5").focus()
    page.keyboard.press("Enter")
    expect(selected(page)).to_have_text("L5")


def test_escape_closes_the_help_however_soon_it_comes(page: Any) -> None:
    for _ in range(8):
        page.keyboard.press("?")
        page.wait_for_function("() => document.querySelector('table.keys')?.checkVisibility()")
        page.keyboard.press("Escape")
        expect(page.locator("table.keys")).to_be_hidden()


def test_escape_leaves_the_comment_and_ctrl_shift_z_does_it_again(page: Any) -> None:
    show(page, "slice3")
    page.locator(".comment textarea").first.fill("Bright disc")
    page.keyboard.press("Escape")
    row(page, "L3").click()
    page.keyboard.press("c")
    expect(row(page, "L3")).to_contain_text("confirmed")
    page.keyboard.press("Control+z")
    expect(row(page, "L3")).to_contain_text("corrected")
    page.keyboard.press("Control+Shift+z")
    expect(row(page, "L3")).to_contain_text("confirmed")
    page.keyboard.press("Control+z")
    expect(row(page, "L3")).to_contain_text("corrected")


def test_a_finger_drags_a_point(page: Any, folder: Path) -> None:
    show(page, "slice1")
    x, y = on_picture(page, folder, "slice1", "L4")
    row(page, "L1").click()
    touch = page.context.new_cdp_session(page)
    steps = [("touchStart", x), *(("touchMove", x + by) for by in (4, 8, 14, 20)), ("touchEnd", None)]
    for kind, at in steps:
        points = [] if at is None else [{"x": at, "y": y}]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(100)
    expect(row(page, "L4")).to_contain_text("corrected")


def test_two_keys_review_a_correct_slice(page: Any, folder: Path) -> None:
    key = "slice3"
    show(page, key)
    page.keyboard.press("Shift+C")
    expect(page.locator("tr.confirmed")).to_have_count(11)
    page.keyboard.press("Shift+S")
    expect(page.locator(".bar .title")).not_to_have_text(key)
    with open_dataset(folder, read_only=True) as store:
        assert [one.study for one in store.signed_off()] == [key]


def test_four_keys_review_a_slice_whose_names_are_a_level_off(
    make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any], browser: Any
) -> None:
    """The names go up, the model finds the end that opens, all is confirmed and signed."""
    folder = make_dataset(("shifted",), shifted=("shifted",))
    with open_dataset(folder) as store:
        wrong = store.heads("shifted")[0].landmarks
        page = browser.new_page(viewport={"width": 1500, "height": 900})
        page.goto(start_reviewer(str(folder), "--annotator", "A. Reader").address)
        expect(page.locator(".bar .title")).to_have_text("shifted")
        page.keyboard.press("Shift+D")
        expect(row(page, "L5-S1")).to_contain_text("out of view")
        page.keyboard.press("Shift+L")
        expect(row(page, "L5-S1")).to_contain_text("predicted")
        page.keyboard.press("Shift+C")
        expect(page.locator("tr.confirmed")).to_have_count(11)
        page.keyboard.press("Shift+S")
        expect(page.locator(".study.current, .study", has_text="shifted")).to_contain_text("signed off by A. Reader")
        (right,) = (one.landmarks for one in store.signed_off())
    page.close()
    for above, name in pairwise(LUMBAR11[::2]):  # discs; what was called L1-L2 is T12-L1
        assert right[above].pixel_xy == pytest.approx(wrong[name].pixel_xy)


def answer(page: Any, key: str) -> None:
    page.keyboard.press(key)
    expect(page.locator(".v-overlay__scrim")).to_have_count(0)


def test_a_signed_off_study_asks_before_it_changes_and_keys_answer(page: Any, folder: Path, shots: Path) -> None:
    show(page, "slice3")
    row(page, "L3").click()
    expect(selected(page)).to_have_text("L3")
    page.keyboard.press("c")
    expect(page.locator(".question")).to_contain_text("signed off by A. Reader")
    page.screenshot(path=shots / "34-sealed.png")
    answer(page, "Escape")
    x, y = on_picture(page, folder, "slice3", "L3")
    page.mouse.move(x, y, steps=3)
    page.mouse.down()
    page.mouse.move(x + 20, y, steps=3)
    page.mouse.up()
    expect(page.locator(".question")).to_be_visible()
    answer(page, "Escape")
    with open_dataset(folder, read_only=True) as store:
        assert [one.study for one in store.signed_off()] == ["slice3"]
    page.keyboard.press("Control+z")
    expect(page.locator(".question")).to_be_visible()
    answer(page, "Enter")
    expect(page.locator("tr.confirmed")).to_have_count(0)
    expect(page.locator(".study.current")).not_to_have_class("done")
    with open_dataset(folder, read_only=True) as store:
        assert store.signed_off() == []


def test_points_that_make_no_sense_are_asked_about_at_the_sign_off(page: Any, folder: Path) -> None:
    show(page, "volume2")
    row(page, "L3").click()
    expect(selected(page)).to_have_text("L3")
    for _ in range(9):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Shift+C")
    expect(page.locator("tr.confirmed")).to_have_count(11)
    page.keyboard.press("Shift+S")
    expect(page.locator(".question")).to_contain_text("Sign off nevertheless?")
    answer(page, "Escape")
    expect(page.locator(".bar .title")).to_have_text("volume2")


def test_a_shift_by_key_moves_the_names_by_one_level_and_place_waits_for_a_click(page: Any) -> None:
    key = "slice1"
    show(page, key)
    l2 = row(page, "L2").locator("td").nth(5).inner_text()
    page.keyboard.press("Shift+D")
    expect(row(page, "L1").locator("td").nth(5)).to_have_text(l2)
    row(page, "L5-S1").click()
    expect(selected(page)).to_have_text("L5-S1")
    page.keyboard.press("p")
    expect(page.locator(".hint")).to_be_visible()
    expect(row(page, "L5-S1")).to_contain_text("out of view")
