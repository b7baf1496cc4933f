"""Print the section of CHANGELOG.md that a tag releases: python docs/release_notes.py v0.1.0

Ends with status 1 where there is none, so that no release goes out without its notes.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parents[1] / "CHANGELOG.md"


def notes_of(version: str, changelog: str) -> str:
    """What stands between the heading of a version and the next; SystemExit where there is no such heading.

    >>> notes_of("0.2.0", "## [Unreleased]\\n## [0.2.0] - 2027-01-02\\n\\n- new\\n\\n## [0.1.0] - 2026\\n- old\\n")
    '- new'
    """
    sections = re.split(r"(?m)^## \[([^]]+)\].*$", changelog)
    known = dict(zip(sections[1::2], sections[2::2], strict=True))
    if version not in known:
        raise SystemExit(f"Expected a section of {version} in CHANGELOG.md; got {', '.join(known)}")
    return known[version].strip()


if __name__ == "__main__":
    print(notes_of(sys.argv[1].removeprefix("v"), CHANGELOG.read_text(encoding="utf-8")))
