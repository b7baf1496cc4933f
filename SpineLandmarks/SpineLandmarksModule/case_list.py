"""The list of a data set's cases: found by name, state or person, and opened by a double click."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr

from SpineLandmarksModule.tables import prepare

#: What the state of a study is called; what waits for this reader is bold.
STATES = {
    "mine": tr("begun"),
    "waiting": tr("waits"),
    "given": tr("with another"),
    "forked": tr("to choose"),
    "done": tr("done"),
    "out": tr("left out"),
}


class CaseList:
    """table: three columns, shown when there is a list. search: the field above it. open_case: called with a key."""

    def __init__(self, table: Any, search: Any, open_case: Callable[[str], None]) -> None:
        self._table, self._search, self._open_case = table, search, open_case
        self._rows: list[list[str]] = []
        prepare(table, 2)
        table.connect("cellDoubleClicked(int,int)", lambda row, column: self._open(row))
        search.connect("textChanged(QString)", lambda text: self._draw())
        self.show([])

    def show(self, rows: list[list[str]]) -> None:
        """rows: key, state and words of each study, those to do first."""
        self._rows = rows
        self._table.setVisible(bool(rows))
        self._search.setVisible(bool(rows))
        self._draw()

    def _draw(self) -> None:
        """The rows in which each word of the search is found."""
        words = self._search.text.casefold().split()
        cells = [(key, STATES.get(state, state), said) for key, state, said in self._rows]
        shown = [row for row in cells if all(word in " ".join(row).casefold() for word in words)]
        self._table.setRowCount(len(shown))
        for at, row in enumerate(shown):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(text)
                self._table.setItem(at, column, item)

    def _open(self, row: int) -> None:
        self._open_case(self._table.item(row, 0).text())
