"""Sections of a Markdown file that a command writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from research.markdown import write_section
from SpineLandmarksLib.errors import OutputError

PAGE = "# Figures\n\n<!-- seeds:begin -->\nold\n<!-- seeds:end -->\n\nWords by hand.\n"


@pytest.fixture
def a_page(tmp_path: Path) -> Path:
    page = tmp_path / "benchmarks.md"
    page.write_text(PAGE, "utf-8")
    return page


def test_a_section_is_replaced_in_place_and_all_other_words_stay(a_page: Path) -> None:
    write_section(a_page, "seeds", "| new |\n")
    assert a_page.read_text("utf-8") == PAGE.replace("old", "| new |")


def test_a_section_is_not_taken_for_another_whose_name_begins_alike(a_page: Path) -> None:
    write_section(a_page, "seed", "other")
    assert a_page.read_text("utf-8") == PAGE + "\n<!-- seed:begin -->\nother\n<!-- seed:end -->\n"


def test_file_and_folder_are_made_when_absent(tmp_path: Path) -> None:
    page = tmp_path / "docs" / "new.md"
    write_section(page, "curve", "a table")
    assert page.read_text("utf-8") == "<!-- curve:begin -->\na table\n<!-- curve:end -->\n"


def test_line_endings_and_foreign_letters_around_a_section_stay(a_page: Path) -> None:
    a_page.write_bytes(b"\xc3\x9c\r\n" + PAGE.encode())
    write_section(a_page, "seeds", "new")
    assert a_page.read_bytes() == b"\xc3\x9c\r\n" + PAGE.replace("old", "new").encode()


@pytest.mark.parametrize(
    "damaged", [PAGE.replace("<!-- seeds:end -->", ""), PAGE + PAGE, "<!-- seeds:end -->\n<!-- seeds:begin -->\n"]
)
def test_damaged_markers_are_refused_and_the_file_stays(a_page: Path, damaged: str) -> None:
    a_page.write_text(damaged, "utf-8")
    with pytest.raises(OutputError, match="Expected <!-- seeds:begin --> once"):
        write_section(a_page, "seeds", "new")
    assert a_page.read_text("utf-8") == damaged
