"""Every command and block of Python that a page quotes: tutorials are done as they stand, the rest must be accepted.

Blocks marked `sh` and `python` on a tutorial's page are run, in their order, in one empty folder; unmarked ones hold
commands that need what a test has not (a browser, a database, studies of your own), whose words must still be right.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.arguments import DICOM_NAMES, FORMAT_NAMES, REPORT_NAMES
from SpineLandmarksLib.cli.main import main, parser
from SpineLandmarksLib.formats.json_result import as_json, landmark_as_json
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
#: The changelog tells of commands that are no more.
PAGES = sorted(
    [
        *DOCS.rglob("*.md"),
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *ROOT.glob("Resources/Models/*/docs/*.md"),
    ]
)
TUTORIALS = [page for page in sorted((DOCS / "tutorials").glob("*.md")) if "```sh" in page.read_text("utf-8")]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: What stands for a number or a number list, which the parser wants as one.
NUMBERS = {"N": "1", "MM": "0.7", "I/5": "1/5"}


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def commands(page: Path) -> Iterator[str]:
    """Lines of blocks that have no language, continued ones joined, and what stands in backticks in the text."""
    text = page.read_text(encoding="utf-8")
    quoted = [body.replace("\\\n", " ") for kind, body in blocks(page) if kind in ("", "sh", "console")]
    yield from (line.split("  #")[0] for body in quoted for line in body.splitlines())
    yield from re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def named(program: str, page: Path) -> list[list[str]]:
    """Arguments of each quoted call of a program, optional parts taken and `...` left out."""
    found = []
    for line in commands(page):
        if match := re.match(rf"^(?:\S+/)?{program}(.*)$", line.strip()):
            said = re.sub(r"[\[\]]|\s\|.*|[>;&].*|\.\.\.", "", match[1])
            words = shlex.split(re.sub(r"(\w)\|\S+", r"\1", said))  # of alternatives the first
            found.append([NUMBERS.get(word, word) for word in words])
    return found


def accepted(arguments: list[str]) -> bool:
    """Whether the parser takes them; a call that names a command and options alone has its arguments put in."""
    fill = ([], ["--output", "DIR"], ["X"], ["X", "--output", "DIR"], ["X", "Y"], ["X", "--holdout", "1"])
    known = parser()
    for more in (
        *fill,
        ["--data", "X", "--output", "DIR"],
        ["X", "--output", "DIR", "--bundles", "Y"],
        ["X", "--by", "Y"],
    ):
        try:
            known.parse_args([*arguments, *more])
        except argparse.ArgumentError:
            continue
        except SystemExit as end:
            if end.code == 0:  # --help, --version
                return True
            continue
        return True
    return False


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_quoted_command_is_one_that_the_program_takes(page: Path) -> None:
    wrong = [" ".join(words) for words in named("spine-landmarks ", page) if not accepted(words)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_module_target_and_path_that_is_quoted_is_there(page: Path) -> None:
    modules = [
        words[0]
        for words in named("python -m ", page)
        if words and words[0].startswith(("research.", "Spine")) and words[0].isascii()
    ]
    assert [module for module in modules if not find_spec(module)] == []
    targets = [word for words in named("make ", page) for word in words[:1] if "=" not in word]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert [target for target in targets if not re.search(rf"(?m)^{re.escape(target)}:", makefile)] == []
    scripts = [word for words in named("python ", page) for word in words[:1] if word.endswith(".py")]
    assert [script for script in scripts if not (ROOT / script).is_file()] == []


def test_the_reader_of_commands_finds_a_wrong_one(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```\nspine-landmarks predict STUDY --outptu DIR\n```\nand `spine-landmarks dataset delete X`\n")
    assert [accepted(words) for words in named("spine-landmarks ", page)] == [False, False]


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_a_tutorial_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, body in blocks(page):
        if kind == "python":
            exec(compile(body, str(page), "exec"), names)
        for line in body.splitlines() if kind == "sh" else ():
            program, *arguments = shlex.split(line)
            assert program == "spine-landmarks"
            assert main(arguments) == 0, line
    assert any(tmp_path.iterdir())


def test_the_third_party_list_is_what_its_command_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import third_party

    page = (DOCS / "trust" / "third-party.md").read_text(encoding="utf-8")
    wanted, known = dict(third_party.pinned_rows()), set(re.findall(r"(?m)^\| ([\w.-]+) \| ([\w.]*) \|", page))
    assert known - {("package", "version")} == set(wanted.items()), (
        "python docs/third_party.py docs/trust/third-party.md"
    )


@pytest.mark.skipif(sys.version_info < (3, 11), reason="one Python is enough")
def test_every_page_is_reached_from_the_first() -> None:
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    listed = {
        line.strip() for block in re.findall(r"```{toctree}(.*?)```", index, re.DOTALL) for line in block.splitlines()
    }
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")} - {"index"}
    assert pages - listed == set()


def test_every_field_of_a_result_is_explained() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    told = {name for row in re.findall(r"(?m)^\| (`[^|]+) \|", page) for name in re.findall(r"`(\w+)`", row)}
    mark = Landmark("L3", "not_visible")
    assert {*as_json(LandmarkSet((mark,))), *landmark_as_json(mark)} - told == set()


def test_every_kind_of_result_file_is_in_the_table_of_files() -> None:
    page = (DOCS / "reference" / "files.md").read_text(encoding="utf-8")
    endings = {*FORMAT_NAMES, *REPORT_NAMES, *DICOM_NAMES.values()}
    assert {ending for ending in endings if f"`.{ending}`" not in page} == set()


#: Read by Python for every program, or ours, from one process to another.
NOT_FOR_USERS = {"PYTHONPATH", "SPINE_LANDMARKS_RUN", "SPINE_LANDMARKS_DICOMWEB_"}


def test_every_environment_variable_that_is_read_is_in_the_table_of_configuration() -> None:
    sources = [*(ROOT / "SpineLandmarksLib").rglob("*.py"), *(ROOT / "SpineLandmarks").rglob("*.py")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in sources)
    read = {
        *re.findall(r'environ\.get\("(\w+)"', text),
        *re.findall(r'"(\w+)"', "".join(re.findall(r"map\(os\.environ\.get, (.*)\)", text))),
        *re.findall(r'"(SPINE_LANDMARKS_\w+)', text),
    }
    assert "SPINE_LANDMARKS_API_TOKEN" in read
    page = (DOCS / "reference" / "configuration.md").read_text(encoding="utf-8")
    assert {name for name in read - NOT_FOR_USERS if f"`{name}`" not in page} == set()
