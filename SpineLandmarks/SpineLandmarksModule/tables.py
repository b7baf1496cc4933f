"""The two tables of the panel: landmarks with their doubt, and measurements with their definition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import qt
from slicer.i18n import tr

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.measurements import measure
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.annotation.wording import cells, colour
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksLib.measurement import Measurement


def prepare(table: Any, stretched: int) -> None:
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)


def fill_landmarks(table: Any, landmarks: Sequence[Landmark], frame: ImageFrame | None) -> None:
    """One row a landmark. The selection stays."""
    if table.rowCount != len(landmarks):
        table.setRowCount(len(landmarks))
    for row, landmark in enumerate(landmarks):
        for column, text in enumerate(cells(landmark, frame)):
            _set(table, row, column, text)
        _colour(table.item(row, 2), landmark)
        _stress(table.item(row, 0), bool(landmark.needs_review))


def _colour(item: Any, landmark: Landmark) -> None:
    if landmark.confidence is None:
        item.setBackground(qt.QBrush())
        item.setToolTip(tr("No model has judged this"))
        return
    item.setBackground(qt.QBrush(qt.QColor(colour(landmark.confidence))))
    item.setForeground(qt.QBrush(qt.QColor("black")))
    item.setToolTip(tr("Probability that the level is right: {confidence:.2f}").format(confidence=landmark.confidence))


def _stress(item: Any, needs_review: bool) -> None:
    font = item.font()
    font.setBold(needs_review)
    item.setFont(font)
    item.setToolTip(tr("Needs a person's eye") if needs_review else "")


def fill_measurements(table: Any, session: Session | None) -> None:
    """One row a measurement that is known, or that there is a reason why it is not; what it means is in its tip."""
    known = [each for each in measure(session.current) if each.value is not None or each.reason] if session else []
    if table.rowCount != len(known):
        table.setRowCount(len(known))
    for row, each in enumerate(known):
        value = each.reason if each.value is None else each.words.removesuffix(f" {each.unit}")
        for column, text in enumerate((each.name, value, each.unit)):
            _set(table, row, column, text)
            table.item(row, column).setToolTip(_told(each))


def _told(each: Measurement) -> str:
    """Definition and source, what is usual, and the grade."""
    told = tr("{definition}\nSource: {source}").format(definition=each.definition, source=each.source)
    if each.usual:
        usual = tr("\nUsual: {low:g} to {high:g} ({source})")
        told += usual.format(low=each.usual.low, high=each.usual.high, source=each.usual.source)
    return f"{told}\n{each.grade}" if each.grade else told


def _set(table: Any, row: int, column: int, text: str) -> None:
    item = table.item(row, column)
    if item is None:
        item = qt.QTableWidgetItem()
        table.setItem(row, column, item)
    if item.text() != text:
        item.setText(text)
