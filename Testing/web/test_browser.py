"""A walk through the reviewer in a real browser: each test goes on where the one before it has ended."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.revision import Revision
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.web.demo import MATRIX

DRAG = (14, -9)


class Walk:
    """page: of playwright. store: the demo's, read only."""

    def __init__(self, page: Any, store: Store, shots: Path) -> None:
        self.page, self.store, self.shots = page, store, shots
        self.count = 0

    def shoot(self, name: str) -> None:
        self.count += 1
        self.page.screenshot(path=self.shots / f"{self.count:02d}-{name}.png")

    def press(self, action: str) -> None:
        self.page.locator(f".do-{action}").click()

    def row(self, name: str) -> Any:
        return self.page.locator("table.landmarks tbody tr").nth(LUMBAR11.index(name))

    def cells(self, name: str) -> list[str]:
        return [text.strip() for text in self.row(name).locator("td").all_inner_texts()]

    def status(self, name: str) -> str:
        return self.cells(name)[1]

    def wait_for(self, is_so: Callable[[], object], what: str, seconds: float = 180.0) -> None:
        limit = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > limit:
                self.shoot("failed")
                raise AssertionError(f"waited in vain for {what}")
            time.sleep(0.1)

    def head(self, study: str) -> Revision:
        found = self.store.head(study)
        assert found is not None
        return found

    def stored(self, study: str, name: str) -> Landmark:
        return self.head(study).landmarks[name]

    def is_held_at(self, x: float, y: float) -> bool:
        """Whether the picture has a point in the colour of what is grabbed there."""
        clip = {"x": x - 4, "y": y - 4, "width": 8, "height": 8}
        shot = np.array(Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB"), dtype=int)
        return bool(((shot[..., 0] > 180) & (shot[..., 1] < 130) & (shot[..., 2] > 180)).sum() > 8)

    def on_page(self, study: str, name: str) -> tuple[float, float]:
        """Where a landmark is on the page while the whole image is shown."""
        xy = self.stored(study, name).pixel_xy
        assert xy is not None
        box = self.page.locator(".views img").first.bounding_box()
        scale = min(box["width"] / MATRIX[1], box["height"] / MATRIX[0])
        middle = np.array([box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
        x, y = middle + (np.array(xy) - (np.array(MATRIX) - 1) / 2) * scale
        return float(x), float(y)


@pytest.fixture(scope="module")
def walk(the_demo: Any, browser: Any, shots: Path) -> Iterator[Walk]:
    page = browser.new_page(viewport={"width": 1500, "height": 900})
    page.goto(the_demo.address)
    store = open_dataset(the_demo.folder, read_only=True)
    yield Walk(page, store, shots)
    store.close()
    page.close()


def test_the_demo_opens_on_its_first_study(walk: Walk) -> None:
    walk.page.wait_for_selector(".study.current")
    walk.page.wait_for_selector(".views img")
    assert walk.page.locator(".study.current .key").inner_text() == "demo-1"
    assert walk.page.title() == "Spine landmarks"
    assert "demo" not in walk.page.title().lower()
    walk.shoot("opened")


def test_localize_fills_table_and_store(walk: Walk) -> None:
    walk.page.locator(".localize").click()
    walk.wait_for(lambda: walk.status("L3") == "predicted", "the model")
    walk.wait_for(lambda: walk.store.heads("demo-1"), "the revision of the model")
    assert walk.head("demo-1").author == walk.head("demo-1").source_model
    assert float(walk.cells("L3")[2]) > 0.5
    walk.shoot("localized")


def test_a_dragged_point_changes_table_and_store(walk: Walk) -> None:
    before, mouse = walk.stored("demo-1", "L3"), walk.page.mouse
    x, y = walk.on_page("demo-1", "L3")
    mouse.move(x - 30, y)
    mouse.move(x, y, steps=4)
    mouse.down()
    mouse.move(x + DRAG[0], y + DRAG[1], steps=6)
    mouse.up()
    walk.wait_for(lambda: walk.status("L3") == "corrected", "the correction in the table")
    walk.wait_for(lambda: walk.stored("demo-1", "L3").status == "corrected", "the correction in the store")
    after = walk.stored("demo-1", "L3")
    assert walk.head("demo-1").author == "Demo"
    moved = np.subtract(after.pixel_xy or (), before.pixel_xy or ())
    box = walk.page.locator(".views img").first.bounding_box()
    scale = min(box["width"] / MATRIX[1], box["height"] / MATRIX[0])
    assert np.abs(moved * scale - DRAG).max() < 3  # pixels of the screen
    walk.wait_for(lambda: walk.page.locator(".save").first.inner_text().startswith("Saved"), "the word Saved")
    walk.shoot("dragged")


def test_undo_takes_it_back_in_both_and_redo_does_it_again(walk: Walk) -> None:
    walk.page.keyboard.press("Control+z")
    walk.wait_for(lambda: walk.status("L3") == "predicted", "undo in the table")
    walk.wait_for(lambda: walk.stored("demo-1", "L3").status == "predicted", "undo in the store")
    walk.shoot("undone")
    walk.press("redo")
    walk.wait_for(lambda: walk.status("L3") == "corrected", "redo")


def test_a_landmark_is_marked_as_not_visible_and_placed_again(walk: Walk) -> None:
    walk.row("T12-L1").click()
    walk.press("not_visible")
    walk.wait_for(lambda: walk.status("T12-L1") == "not visible", "the status")
    walk.shoot("not-visible")
    x, y = walk.on_page("demo-1", "L1")
    walk.press("place")
    walk.page.wait_for_selector(".hint")
    walk.page.mouse.move(x, y - 70)
    walk.page.mouse.move(x + 4, y - 60, steps=3)
    walk.shoot("placing")
    walk.page.mouse.click(x + 4, y - 60)
    walk.wait_for(lambda: walk.status("T12-L1") == "corrected", "the placed point")


def test_the_chain_is_shifted_and_back(walk: Walk) -> None:
    l2 = walk.cells("L2")[3:6]
    walk.press("shift_up")
    walk.wait_for(lambda: walk.cells("L3")[3:6] == l2, "the body called L2 as L3")
    walk.shoot("shifted")
    walk.press("shift_down")
    walk.wait_for(lambda: walk.cells("L2")[3:6] == l2, "the names back")
    walk.page.keyboard.press("Control+z")
    walk.page.keyboard.press("Control+z")
    walk.wait_for(lambda: walk.status("T12-L1") == "corrected", "undo of both")


def test_a_comment_and_keys_alone_do(walk: Walk) -> None:
    walk.page.locator(".comment textarea").first.fill("Bright disc")
    walk.page.locator(".brand").click()
    walk.wait_for(lambda: walk.head("demo-1").comment == "Bright disc", "the comment")
    walk.row("L4").click()
    before = float(walk.cells("L4")[5])
    walk.page.keyboard.press("Shift+ArrowUp")
    walk.wait_for(lambda: walk.status("L4") == "corrected", "the key")
    assert 2.5 < float(walk.cells("L4")[5]) - before < 3.1
    walk.page.keyboard.press("Shift+?")
    walk.page.wait_for_selector("table.keys")
    walk.shoot("keys")
    walk.page.keyboard.press("Escape")
    walk.page.wait_for_selector("table.keys", state="hidden")


def test_confirming_all_and_the_table_as_csv(walk: Walk, tmp_path: Path) -> None:
    walk.press("confirm_all")
    walk.wait_for(lambda: all(walk.status(name) == "confirmed" for name in LUMBAR11), "all confirmed")
    walk.shoot("confirmed")
    with walk.page.expect_download() as download:
        walk.page.locator(".csv").click()
    download.value.save_as(tmp_path / "table.csv")
    assert download.value.suggested_filename == "demo-1.csv"
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()))
    assert [row["label"] for row in rows] == list(LUMBAR11)
    assert float(rows[5]["r_mm"]) == pytest.approx((walk.stored("demo-1", "L3").position_ras_mm or (0,))[0], abs=0.01)


def test_a_shift_of_confirmed_names_is_asked_first(walk: Walk) -> None:
    walk.press("shift_up")
    walk.page.locator(".no").wait_for()
    walk.shoot("question")
    walk.page.locator(".no").click()
    walk.page.locator(".no").wait_for(state="hidden")
    assert walk.status("L3") == "confirmed"


def test_a_reloaded_page_has_everything(walk: Walk) -> None:
    before = [walk.cells(name) for name in LUMBAR11]
    walk.page.reload()
    walk.page.wait_for_selector(".views img")
    walk.wait_for(lambda: walk.status("L3") == "confirmed", "the page")
    walk.wait_for(lambda: [walk.cells(name) for name in LUMBAR11] == before, "the table")
    assert walk.page.locator(".comment textarea").first.input_value() == "Bright disc"
    walk.shoot("reloaded")


def test_signing_off_goes_on_to_the_next_study(walk: Walk) -> None:
    walk.wait_for(lambda: walk.page.locator(".study").count() == 3, "the three studies")
    walk.press("sign_off")
    walk.wait_for(lambda: walk.page.locator(".study.current .key").inner_text() != "demo-1", "the next study")
    assert [revision.study for revision in walk.store.signed_off()] == ["demo-1"]
    walk.wait_for(lambda: "1 of 3" in walk.page.locator(".progress").inner_text(), "the progress")
    walk.wait_for(lambda: walk.page.locator(".study.done").count() == 1, "the mark of the done one")
    walk.shoot("next")


def test_a_tab_that_is_closed_in_the_middle_of_a_drag_loses_nothing(walk: Walk, the_demo: Any, browser: Any) -> None:
    key = walk.page.locator(".study.current .key").inner_text()
    walk.page.locator(".localize").click()
    walk.wait_for(lambda: walk.status("L3") == "predicted", "the model")
    walk.wait_for(lambda: walk.store.heads(key), "the revision of the model")
    x, y = walk.on_page(key, "L3")
    walk.page.mouse.move(x, y, steps=4)
    walk.wait_for(lambda: walk.is_held_at(x, y), "the point under the mouse")
    walk.page.mouse.down()
    walk.page.mouse.move(x + 20, y, steps=4)
    walk.wait_for(lambda: walk.is_held_at(x + 20, y), "the point that follows the mouse")
    walk.shoot("held")
    walk.page.close()
    walk.wait_for(lambda: walk.stored(key, "L3").status == "corrected", "the point that was held")
    walk.page = browser.new_page(viewport={"width": 1500, "height": 900})
    walk.page.goto(the_demo.address)
    walk.page.wait_for_selector(".views img")
    walk.wait_for(lambda: walk.status("L3") == "corrected", "the point in the new tab")
    walk.shoot("new-tab")


def test_the_log_says_the_address_and_nothing_of_studies(the_demo: Any) -> None:
    assert the_demo.text.count("secret=") == 1
    assert "demo-" not in the_demo.text.replace("spine-landmarks-demo-", "")
    assert "Traceback" not in the_demo.text
