"""Write the list of third-party software into docs/trust/third-party.md, from pyproject.toml and what is installed.

    .venv-dev/bin/python docs/third_party.py docs/trust/third-party.md

Versions are those of constraints.txt, which the tests pass with, or the one that pyproject.toml pins; licences are what
the packages themselves say; the reasons stand beside the requirements in pyproject.toml.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from research.markdown import markdown, write_section  # noqa: E402

#: Of packages that are in no environment of these tests.
SAID = {
    "playwright": "Apache-2.0",
    "trame-slicer": "Apache-2.0",
    "openvino": "Apache-2.0",
    "opencv-python-headless": "Apache-2.0",
    "axe-playwright-python": "MIT; axe-core within it MPL-2.0",
}


def requirements() -> Iterator[tuple[str, str, str]]:
    """(extra, distribution, reason) of each requirement; "always" for those without an extra."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    lists = {"always": project["dependencies"], **project["optional-dependencies"]}
    for extra, wanted in lists.items():
        key = "dependencies" if extra == "always" else extra
        written = text.partition(f"\n{key} = [")[2].partition("\n]")[0]
        reasons = dict(re.findall(r'^ +"([^"]+)",\s*#\s*(.*)$', written, re.MULTILINE))
        for each in wanted:
            name = re.match(r"[\w.-]+", each)
            assert name
            yield extra, name[0], reasons.get(each, "")


def versions() -> dict[str, str]:
    texts = [(ROOT / name).read_text(encoding="utf-8") for name in ("pyproject.toml", "constraints.txt")]
    pinned = re.findall(r'(?m)^(?: +")?([\w.-]+)==([\w.]+)', "\n".join(texts))
    return {_same(name): version for name, version in pinned}


def licence(name: str) -> str:
    """What the package says: its SPDX expression, else its classifiers, else the first line of its field."""
    if name in SAID:
        return SAID[name]
    try:
        said = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    classified = [each.split(" :: ")[-1] for each in said.get_all("Classifier", []) if each.startswith("License ::")]
    line = (said.get("License") or "").strip().splitlines()
    return said.get("License-Expression") or ", ".join(classified) or (line[0] if line else "not said")


def _same(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned_rows() -> list[tuple[str, str]]:
    """(distribution, version) of each line of the table."""
    known = versions()
    return [(name, known.get(_same(name), "")) for _, name, _ in requirements() if name != "spine-landmarks"]


def table() -> str:
    known = versions()
    rows = [
        [name, known.get(_same(name), ""), licence(name), extra, reason]
        for extra, name, reason in requirements()
        if name != "spine-landmarks"
    ]
    return markdown(["package", "version tested", "licence, as it says", "installed with", "what for"], rows)


if __name__ == "__main__":
    write_section(Path(sys.argv[1]), "third-party", table())
