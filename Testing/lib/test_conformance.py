"""Each row of the tables of what is held names a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parent
TABLE = FOLDER.parents[1] / "docs" / "conformance.md"
ROW = re.compile(r"^\| .+ \| .+ \| `(test_\w+\.py)::(test_\w+)` \|$")


def test_every_row_names_a_test_that_is_there() -> None:
    rows = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    rows = [line for line in rows if not line.startswith("| what |")]
    named = [ROW.match(line) for line in rows]
    assert [line for line, found in zip(rows, named, strict=True) if found is None] == []
    tests = [found.groups() for found in named if found]
    gone = [name for file, name in tests if f"def {name}(" not in (FOLDER / file).read_text(encoding="utf-8")]
    assert gone == []
    assert len(tests) == len(set(tests)) > 50


def test_every_row_of_what_slicer_s_tests_hold_names_one_that_is_there() -> None:
    page = (TABLE.parent / "slicer-release-checklist.md").read_text(encoding="utf-8")
    rows = page.partition("## 7. ")[2].partition("## 8. ")[0].splitlines()
    named = [re.search(r"\| `(test_\w+\.py)::(test_\w+)` \|$", line) for line in rows if line.startswith("| ")][1:]
    assert len(named) > 40
    assert all(named)
    files = {
        file.name: file.read_text(encoding="utf-8")
        for folder in ("slicer", "lib")
        for file in (FOLDER.parent / folder).glob("test_*.py")
    }
    assert [found[2] for found in named if found and f"def {found[2]}(" not in files[found[1]]] == []
