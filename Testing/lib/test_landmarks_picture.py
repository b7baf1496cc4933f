"""The drawn definition of the landmarks: every name at its point, and the pages that show it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from SpineLandmarksLib.annotation.wording import DEFINITIONS
from SpineLandmarksLib.landmarks import LUMBAR11

DOCS = Path(__file__).resolve().parents[2] / "docs"
SVG = "{http://www.w3.org/2000/svg}"


def test_the_drawing_names_the_eleven_points_from_the_head_down_each_beside_its_dot() -> None:
    drawing = ET.parse(DOCS / "images" / "landmarks.svg").getroot()
    names = [each for each in drawing.iter(f"{SVG}text") if each.get("class") == "name"]
    assert [each.text for each in names] == list(LUMBAR11)
    rows = [float(each.get("y", "nan")) for each in names]
    assert rows == sorted(rows)
    dots = {float(each.get("cy", "nan")) for each in drawing.iter(f"{SVG}circle") if each.get("r") == "1.9"}
    assert set(rows) <= dots


def test_the_page_defines_every_name_and_shows_pictures_that_exist() -> None:
    page = (DOCS / "landmarks.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE) == list(LUMBAR11)
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", page, re.MULTILINE))
    assert rows == DEFINITIONS
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert len(pictures) == 2
    assert all((DOCS / picture).is_file() for picture in pictures)


def test_every_landmark_has_a_close_up_with_its_own_point_ringed() -> None:
    folder = DOCS.parent / "Resources" / "Landmarks"
    assert {file.stem for file in folder.glob("*.png")} == set(LUMBAR11)
    for name in LUMBAR11:
        with Image.open(folder / f"{name}.png") as picture:
            assert picture.size == (240, 192)
            around = picture.convert("RGB").getpixel((96, 96))
        assert around == pytest.approx((0x1F, 0x6F, 0xA8) if "-" in name else (0xC0, 0x39, 0x2B), abs=25)
