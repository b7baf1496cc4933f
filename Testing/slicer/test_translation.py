"""Every text of the panel can be translated: it goes through Slicer's `tr`, as a literal, which lupdate finds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.landmarks import LandmarkSet
from standins.bench import Module

MODULE = Path(__file__).resolve().parents[2] / "SpineLandmarks"
#: Names of threads and of a program.
NOT_SHOWN = {
    "SpineLandmarks files",
    "SpineLandmarks retraining",
    "SpineLandmarks voxels",
    "the worker's answer",
    "3D Slicer",
}
#: What only developers are told.
DEVELOPERS = {"selftest.py"}
WORDS = re.compile(r"[A-Za-z]{2,} |[A-Za-z] [A-Za-z]{2,}")


def texts(file: Path) -> Iterator[str]:
    """What reads like words to a person and is not an argument of `tr`."""
    tree = ast.parse(file.read_text())
    known = {id(part) for node in ast.walk(tree) for part in set_aside(node)}
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) and id(node) not in known else None
        if isinstance(text, str) and WORDS.search(text) and text not in NOT_SHOWN:
            yield f"{file.name}: {text}"


def set_aside(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("tr", "translate"):
        assert all(isinstance(each, ast.Constant) for each in node.args), "lupdate finds literals only"
        yield from node.args
    elif isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and isinstance(node.body[0], ast.Expr):
        yield node.body[0].value  # a docstring


def test_no_text_is_left_out() -> None:
    files = [MODULE / "SpineLandmarks.py", *(MODULE / "SpineLandmarksModule").glob("*.py")]
    assert [text for file in files if file.name not in DEVELOPERS for text in texts(file)] == [
        "SpineLandmarks.py: SpineLandmarks developers",
        "SpineLandmarks.py: Spine Landmarks",  # the category of the sample data
    ]


@pytest.fixture
def marked(module: Module, monkeypatch: pytest.MonkeyPatch) -> Module:
    """The panel in a language in which every text begins with a sign."""
    from standins.i18n import TRANSLATOR

    monkeypatch.setattr(TRANSLATOR, "mark", "\u00bb")
    module.widget.onReload()
    module.use_scripted_worker()
    module.panel.logic.runner.restart()
    return module


def test_what_is_said_on_the_way_through_a_case_is_translated(
    marked: Module, a_volume: Any, a_prediction: LandmarkSet
) -> None:
    said: list[str] = []
    marked.ui.volumeSelector.setCurrentNode(None)
    marked.ui.localizeButton.click()
    marked.ui.volumeSelector.setCurrentNode(a_volume)
    marked.localize(a_prediction)
    said.append(marked.ui.messageLabel.text)
    marked.select("T12-L1")
    marked.ui.placeButton.click()
    said.append(marked.ui.messageLabel.text)
    marked.ui.copyButton.click()
    said += [marked.ui.messageLabel.text, marked.ui.shortcutsLabel.text, marked.ui.confirmButton.text]
    said += [marked.ui.sliceSelector.itemText(row) for row in range(3)]
    said += marked.dialogs.shown
    assert len(said) >= 9
    assert [text for text in said if not text.startswith("\u00bb")] == []
