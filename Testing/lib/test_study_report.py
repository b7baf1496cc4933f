"""The page of a study: one page, everything on it, and nothing that a study says can break it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.measurements import COLUMNS, measure
from SpineLandmarksLib.arguments import REPORT_NAMES
from SpineLandmarksLib.batch.results import REPORTS, write_results
from SpineLandmarksLib.batch.study_report import NOTICE, key_figures, write_report_html, write_report_pdf
from SpineLandmarksLib.formats.overlay import ENDPLATE, draw_overlay
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom


@pytest.fixture
def a_found_set(a_phantom: Phantom) -> LandmarkSet:
    """The truth of the phantom as a model would say it, with an odd name and a warning."""
    corners = tuple(replace(mark, radius95_mm=2.0) for mark in a_phantom.landmarks.corners)
    return replace(
        a_phantom.landmarks,
        corners=corners,
        input="a/<case> & co.nii",
        bundle="lumbar11@1,lumbar-corners@1",
        warnings=("All names may be one level lower (17 %)",),
        numberings=((0, 0.83), (-1, 0.17)),
    )


def test_the_page_has_picture_measurements_doubts_numberings_and_model(
    a_phantom: Phantom, a_found_set: LandmarkSet, tmp_path: Path
) -> None:
    write_report_html(a_phantom.voxels[3], a_found_set, tmp_path / "a.html")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    lordosis = next(one for one in measure(a_found_set) if one.name == "Lumbar lordosis L1-S1")
    for said in (
        "&lt;case&gt; &amp; co.nii",
        "lumbar11@1,lumbar-corners@1",
        lordosis.words,
        "as named 83 %, one level lower 17 %",
        "Warning: All names may be one level lower",
        NOTICE,
    ):
        assert said in page
    assert len(re.findall(r"<img [^>]*src=.data:image/png;base64,", page)) == 1
    assert "<case>" not in page
    assert not re.findall(r"(?:href|src)=.http", page)


def test_the_pdf_is_one_page(a_phantom: Phantom, a_found_set: LandmarkSet, tmp_path: Path) -> None:
    warned = replace(a_found_set, warnings=a_found_set.warnings * 40, input="x" * 500)
    write_report_pdf(a_phantom.voxels[3], warned, tmp_path / "a.pdf")
    content = (tmp_path / "a.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page[^s]", content)) == 1


def test_results_are_written_in_every_form_that_can_be_asked_for(
    a_phantom: Phantom, a_found_set: LandmarkSet, tmp_path: Path
) -> None:
    assert tuple(REPORTS) == REPORT_NAMES
    stack = SagittalStack(a_phantom.voxels, a_phantom.ras_from_ijk)
    files = {file.name for file in write_results(stack, a_found_set, tmp_path, "case", REPORT_NAMES)}
    assert files == {f"case.{name}" for name in (*REPORT_NAMES, "overlay.png")}
    table = json.loads((tmp_path / "case.measurements.json").read_text())["measurements"]
    known = {one.name: one for one in measure(a_found_set)}
    assert [row["name"] for row in table] == list(known)
    assert table[0]["value"] == pytest.approx(known[table[0]["name"]].value, abs=1e-3)
    lines = (tmp_path / "case.measurements.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 1 + len(known)


def test_endplates_and_figures_are_drawn_on_the_overlay(
    a_phantom: Phantom, a_found_set: LandmarkSet, tmp_path: Path
) -> None:
    figures = key_figures(a_found_set)
    assert figures[0].startswith("Lumbar lordosis L1-S1: ")
    counts = []
    for number, landmarks in enumerate((a_found_set, replace(a_found_set, corners=()))):
        draw_overlay(a_phantom.voxels[3], landmarks, tmp_path / f"{number}.png", figures)
        with Image.open(tmp_path / f"{number}.png") as picture:
            height = round(1000 * 96 / 96)
            counts.append(int((np.asarray(picture.convert("RGB"))[:height] == ENDPLATE).all(-1).sum()))
    assert counts[0] > 500
    assert counts[1] == 0
    assert key_figures(replace(a_found_set, corners=())) == ()
