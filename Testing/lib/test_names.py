"""A name means one thing: no two public classes or functions share theirs, and none comes from the old dialect."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("SpineLandmarksLib", "SpineLandmarks/SpineLandmarksModule", "research")
#: Names that modules of the library and of Slicer may share, and why.
SAME_IDEA = {
    "JobResult": "what came of a localization, in Slicer and in the browser",
    "LocalizationJob": "a localization that was asked for, in Slicer and in the browser",
    "run": "what a command or a test does that is started by its name",
    "SliceChoice": "which slice, as the panel asks for it and as the library answers",
}
#: Words of our own for what has a name in the field.
DIALECT = set(
    """
    Contestant Crew Desk End Look Model Opened Progress Reader Round Row Said Trainee Verdict View Watched Wish by
    doubts foot give_back_memory hold hold_to judge judges localized locate look_of make_trainee mean_place
    multiplied nowhere odd opinions processor_note seal set_aside shown shown_input signs take_in telling_of_memory
    unsaved
    """.split()
)


def defined(*rooms: str) -> dict[str, list[str]]:
    """The modules of each public class and function, tests and what is run as a program left out."""
    where = defaultdict(list)
    for room in rooms:
        for file in sorted((ROOT / room).rglob("*.py")):
            if "tests" not in file.parts:
                for node in ast.parse(file.read_text(encoding="utf-8")).body:
                    if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
                        where[node.name].append(file.relative_to(ROOT).as_posix())
    return where


def test_no_two_modules_of_the_library_share_a_public_name() -> None:
    assert {name: modules for name, modules in defined(ROOMS[0]).items() if len(modules) > 1} == {}


def test_the_slicer_module_shares_only_the_names_of_what_is_the_same() -> None:
    library, module = set(defined(ROOMS[0])), set(defined(ROOMS[1]))
    assert sorted(library & module) == sorted(SAME_IDEA)


@pytest.mark.parametrize("room", ROOMS)
def test_nothing_is_named_in_the_dialect_of_old(room: str) -> None:
    assert sorted(DIALECT & set(defined(room))) == []
