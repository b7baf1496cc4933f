"""The measurements and the report of a corrected DICOM study; of a study that is no DICOM there is no report."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.formats.dicom_sr_reading import read_sr
from SpineLandmarksLib.phantom.phantom import make_phantom

#: The picture has the size of its place.
SETTLED = (
    "() => { const i = document.querySelector('.views img'); return Math.abs(i.naturalWidth - i.clientWidth) < 3 }"
)


@pytest.fixture(scope="module")
def page(make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any], browser: Any) -> Iterator[Any]:
    folder = make_dataset(volumes=["nifti"], series=["dicom"], corners=True)
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.goto(start_reviewer(str(folder), "--annotator", "A. Reader", "--by-hand").address)
    expect(opened.locator(".study.current")).to_have_count(1)
    yield opened
    opened.close()


@pytest.mark.parametrize(("width", "height"), [(1500, 900), (1024, 768)])
def test_measurements_are_unfolded_and_every_row_is_whole(page: Any, shots: Path, width: int, height: int) -> None:
    page.set_viewport_size({"width": width, "height": height})
    page.locator(".study", has_text="dicom").click()
    expect(page.locator(".bar .title")).to_have_text("dicom")
    expect(page.locator(".measurements")).to_be_hidden()
    page.locator(".measured summary").click()
    row = page.locator(".measurements tr", has_text="Lumbar lordosis L1-S1")
    row.scroll_into_view_if_needed()
    expect(row.locator("td").nth(1)).to_contain_text("°")
    page.wait_for_function(SETTLED)
    page.screenshot(path=shots / f"60-measurements-{width}.png")
    table, room = page.locator(".measurements").bounding_box(), page.locator(".work").bounding_box()
    assert table["x"] + table["width"] <= room["x"] + room["width"]
    assert page.locator(".work").evaluate("one => one.scrollWidth <= one.clientWidth")
    page.locator(".measured summary").click()
    page.set_viewport_size({"width": 1500, "height": 900})


def slope(page: Any) -> str:
    return page.locator(".measurements tr", has_text="Sacral slope").locator("td").nth(1).inner_text()


def test_a_corner_is_nudged_with_the_keys_and_measurement_file_and_undo_follow(page: Any, shots: Path) -> None:
    page.locator(".study", has_text="dicom").click()
    expect(page.locator(".bar .title")).to_have_text("dicom")
    page.locator(".measured summary").click()
    before = slope(page)
    corner = page.locator("table.landmarks tr", has_text="S1.sup.ant")
    corner.click()
    expect(corner).to_have_class(re.compile("selected"))
    page.keyboard.press("Shift+ArrowDown")  # 3 mm
    expect(corner).to_have_class(re.compile("corrected"))
    measured = page.locator(".measurements tr", has_text="Sacral slope").locator("td").nth(1)
    expect(measured).not_to_have_text(before)
    page.wait_for_function(SETTLED)
    page.screenshot(path=shots / "61-endplates.png")
    with page.expect_download() as download:
        page.locator(".csv").click()
    rows = {row["label"]: row for row in csv.DictReader(Path(download.value.path()).read_text().splitlines())}
    assert rows["S1.sup.ant"]["status"] == "corrected"
    assert len(rows) == 33
    page.keyboard.press("Control+z")
    expect(measured).to_have_text(before)
    page.locator(".measured summary").click()


def test_the_key_hides_and_shows_the_endplates_and_their_rows(page: Any, shots: Path) -> None:
    rows = page.locator("table.landmarks tbody tr")
    expect(rows).to_have_count(33)
    page.locator("body").press("e")
    expect(rows).to_have_count(11)
    page.wait_for_function(SETTLED)
    page.screenshot(path=shots / "62-no-endplates.png")
    page.locator(".do-endplates").click()
    expect(rows).to_have_count(33)


def test_the_report_is_downloaded_in_the_name_of_the_person(page: Any, tmp_path: Path) -> None:
    page.locator(".study", has_text="dicom").click()
    expect(page.locator(".bar .title")).to_have_text("dicom")
    page.locator(".do-confirm_all").click()
    expect(page.locator("tr.confirmed")).to_have_count(11)
    page.locator("table.landmarks tr", has_text="L3.sup.ant").click()
    page.locator(".do-confirm_all").click()  # now of all corners
    expect(page.locator("tr.confirmed")).to_have_count(33)
    with page.expect_download() as download:
        page.locator(".report").click()
    assert download.value.suggested_filename == "dicom.sr.dcm"
    download.value.save_as(tmp_path / "case.sr.dcm")
    assert pydicom.dcmread(tmp_path / "case.sr.dcm").VerifyingObserverSequence[0].VerifyingObserverName == "Reader^A."
    truth = make_phantom(12, matrix=(200, 160), pixel_mm=1.5, slices=5).landmarks
    for mark, true in zip(read_sr(tmp_path / "case.sr.dcm"), truth, strict=True):
        assert mark.status == "confirmed"
        assert math.dist(mark.position_ras_mm or (), true.position_ras_mm or ()) < 5  # on the slice that is nearest


def test_of_what_is_no_dicom_the_page_says_so(page: Any) -> None:
    page.locator(".study", has_text="nifti").click()
    expect(page.locator(".bar .title")).to_have_text("nifti")
    page.locator(".report").click()
    expect(page.locator(".notification.error").last).to_contain_text("A report needs DICOM images")


@pytest.mark.parametrize("key", ["Enter", " "])
@pytest.mark.parametrize("place", [".import input", ".upload input"])
def test_files_are_chosen_by_keyboard(page: Any, place: str, key: str) -> None:
    with page.expect_file_chooser():
        page.locator(place).press(key)
