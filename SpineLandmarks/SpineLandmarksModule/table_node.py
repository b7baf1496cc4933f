"""The landmarks or the measurements of a study as a table node: saved with the scene, plotted and copied in Slicer."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from typing import Any

import vtk

from SpineLandmarksModule.points import StudyPoints


def write_table(study: StudyPoints, kind: str, text: str) -> Any:
    """The node of this kind of table, made or written anew. text: lines of cells with tabs between, names first."""
    role = "SpineLandmarksTable" + re.sub(r"\W", "", kind)
    node = study.node.GetNodeReference(role)
    if node is None:
        node = study.scene.AddNewNodeByClass("vtkMRMLTableNode", f"{study.session.study} {kind}")
        study.node.SetNodeReferenceID(role, node.GetID())
    modifying = node.StartModify()
    node.RemoveAllColumns()
    for name, *cells in zip(*csv.reader(text.splitlines(), delimiter="\t"), strict=True):
        node.AddColumn(_column(name, cells))
    node.EndModify(modifying)
    return node


def _column(name: str, cells: Sequence[str]) -> Any:
    """Numbers where all that is said is numbers; nothing said is then not a number."""
    try:
        numbers = [float(cell) if cell else float("nan") for cell in cells]
    except ValueError:
        numbers = []
    is_number = any(cells) and bool(numbers)
    column = vtk.vtkDoubleArray() if is_number else vtk.vtkStringArray()
    column.SetName(name)
    for value in numbers if is_number else cells:
        column.InsertNextValue(value)
    return column
