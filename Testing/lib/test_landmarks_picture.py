"""The drawn definition of the landmarks: every name at its point, and the pages that show it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

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
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", page)
    assert len(pictures) == 2
    assert all((DOCS / picture).is_file() for picture in pictures)
