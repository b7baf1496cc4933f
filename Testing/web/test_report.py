"""The report of a corrected DICOM study, as the page gives it away; of a study that is no DICOM there is none."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
from playwright.sync_api import expect

from SpineLandmarksLib.formats.dicom_sr import read_sr
from SpineLandmarksLib.phantom.phantom import make_phantom


@pytest.fixture(scope="module")
def page(make_dataset: Callable[..., Path], start_reviewer: Callable[..., Any], browser: Any) -> Iterator[Any]:
    folder = make_dataset(volumes=["nifti"], series=["dicom"])
    opened = browser.new_page(viewport={"width": 1500, "height": 900})
    opened.goto(start_reviewer(str(folder), "--annotator", "A. Reader", "--by-hand").address)
    expect(opened.locator(".study.current")).to_have_count(1)
    yield opened
    opened.close()


def test_the_report_is_downloaded_in_the_name_of_the_person(page: Any, tmp_path: Path) -> None:
    page.locator(".study", has_text="dicom").click()
    expect(page.locator(".bar .title")).to_have_text("dicom")
    page.locator(".do-confirm_all").click()
    expect(page.locator("tr.confirmed")).to_have_count(11)
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
