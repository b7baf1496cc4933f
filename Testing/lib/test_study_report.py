"""The page of a study: one page, everything on it, and nothing that a study says can break it."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from SpineLandmarksLib.annotation.endplate_lines import endplate_lines
from SpineLandmarksLib.annotation.measurements import COLUMNS, measure
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.arguments import REPORT_NAMES
from SpineLandmarksLib.batch.results import REPORTS, write_results
from SpineLandmarksLib.batch.study_report import NOTICE, key_figures, write_report_html, write_report_pdf
from SpineLandmarksLib.formats.overlay import ENDPLATE, draw_overlay
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.web.view_state import measurement_rows


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


def out_of_view(found: LandmarkSet) -> LandmarkSet:
    """The picture ends in the sacrum: its front corner is not in it."""
    at = [Landmark(m.name, "out_of_view") if m.name == "S1.sup.ant" else m for m in found.corners]
    return replace(found, corners=tuple(at))


def collapsed(found: LandmarkSet) -> LandmarkSet:
    """L1 is half as high as it was: its lower corners lie half-way to the upper ones."""
    at = {mark.name: np.array(mark.position_ras_mm) for mark in found.corners}

    def put(mark: Landmark) -> Landmark:
        if not mark.name.startswith("L1.inf"):
            return mark
        r, a, s = (at[mark.name] + at[mark.name.replace("inf", "sup")]) / 2
        return replace(mark, position_ras_mm=(float(r), float(a), float(s)))

    centres = tuple(mark for mark in found if mark.name not in ("L1", "L1-L2"))  # they lie in what is left
    return replace(found, landmarks=centres, corners=tuple(map(put, found.corners)))


def transitional(found: LandmarkSet) -> LandmarkSet:
    """The model doubts the levels of all, and nobody has looked."""
    marks = tuple(replace(mark, status="predicted", needs_review=False) for mark in found)
    corners = tuple(replace(mark, status="predicted", needs_review=False) for mark in found.corners)
    return replace(found, landmarks=marks, corners=corners, needs_review=True)


@pytest.mark.parametrize(
    ("spoil", "absent", "reason", "others"),
    [
        (
            out_of_view,
            ("Sacral slope", "Lumbosacral angle", "Slip L5-S1", "Disc height L5-S1 (Farfan)"),
            "S1.sup.ant is out of view",
            True,
        ),
        (
            collapsed,
            ("Lumbar lordosis L1-S1", "Segmental lordosis L1-L2", "Disc height index L1-L2", "Slip L1-L2"),
            "L1 is collapsed",
            True,
        ),
        (
            transitional,
            ("Lumbar lordosis L1-S1", "Sacral slope", "Slip L4-L5", "Height L3 anterior"),
            "the levels of this study are doubtful",
            False,
        ),
    ],
)
def test_what_cannot_be_relied_on_is_absent_with_its_reason_in_every_file(
    a_phantom: Phantom, a_found_set: LandmarkSet, tmp_path: Path, spoil: Any, absent: Any, reason: str, others: bool
) -> None:
    series = write_dicom_series(a_phantom, tmp_path / "series")
    stack, found = read_study(series), spoil(a_found_set)
    formats = ("measurements.csv", "measurements.json", "report.html", "report.pdf", "sr.dcm")
    write_results(stack, replace(found, slice_index=3), tmp_path, "case", formats)
    rows = {row["name"]: row for row in csv.DictReader((tmp_path / "case.measurements.csv").read_text().splitlines())}
    told = json.loads((tmp_path / "case.measurements.json").read_text())["measurements"]
    as_json = {one["name"]: one for one in told}
    (measured,) = [one for one in groups(tmp_path / "case.sr.dcm") if "Absent" in texts(one)]
    content = [item for item in measured.ContentSequence if item.ValueType == "NUM"]
    numbers = {str(item.ConceptNameCodeSequence[0].CodeMeaning) for item in content}
    rows_shown = measurement_rows(Session("case", found))
    shown = {row["name"]: row["words"].replace("\N{NO-BREAK SPACE}", " ") for row in rows_shown}
    for name in absent:
        assert rows[name]["value"] == rows[name]["low95"] == ""
        assert reason in rows[name]["reason"]
        assert as_json[name]["value"] is as_json[name]["low95"] is None
        assert reason in as_json[name]["reason"]
        assert name not in numbers
        assert reason in shown[name]
    page = (tmp_path / "case.report.html").read_text(encoding="utf-8")
    assert reason in page
    assert reason in texts(measured)
    by_corners = [one for one in told if one["points"]]
    assert any(one["value"] is not None for one in by_corners) is others
    words = " ".join(line.words for line in endplate_lines(found))
    assert ("Lordosis" in words) is ("Lumbar lordosis L1-S1" in numbers)


def groups(path: Path) -> list[Any]:
    (content,) = [item for item in pydicom.dcmread(path).ContentSequence if item.ValueType == "CONTAINER"]
    return list(content.ContentSequence)


def texts(group: Any) -> str:
    return " ".join(str(item.TextValue) for item in group.ContentSequence if item.ValueType == "TEXT")


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
