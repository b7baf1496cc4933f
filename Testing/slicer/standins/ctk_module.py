"""`ctk`: the few widgets the module uses, and dialogs that note what they say instead of waiting for a person."""

from __future__ import annotations

import types
from typing import Any

from PySide6 import QtCore, QtWidgets

from standins.qt_module import MODULE, UiLoader, wrapped


class Dialogs:
    """What was shown, and what the person answers. `files` and `answers` are taken from the front; a box that finds no
    answer waiting is closed with its default.
    """

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.answers: list[Any] = []
        self.files: list[str] = []

    def clear(self) -> None:
        self.__init__()  # type: ignore[misc]

    def show(self, text: str, buttons: Any) -> Any:
        self.shown.append(text)
        if self.answers:
            return self.answers.pop(0)
        box = QtWidgets.QMessageBox
        return next(button for button in (box.Ok, box.Yes, box.Close, box.Cancel) if buttons & button)

    def file(self, *_: Any) -> str:
        return self.files.pop(0) if self.files else ""


DIALOGS = Dialogs()


class MessageBox(wrapped(QtWidgets.QMessageBox)):  # type: ignore[misc]
    def exec_(self) -> Any:
        return DIALOGS.show(self.text, self.standardButtons)


class FileDialog(wrapped(QtWidgets.QFileDialog)):  # type: ignore[misc]
    """PythonQt's statics give the path alone."""

    getOpenFileName = getSaveFileName = getExistingDirectory = staticmethod(DIALOGS.file)


class CollapsibleButton(wrapped(QtWidgets.QGroupBox)):  # type: ignore[misc]
    """ctkCollapsibleButton: a titled part of the panel that opens and closes."""

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._collapsed = False
        self._hidden: list[Any] = []

    def _collapse(self, value: bool) -> None:
        self._collapsed = value
        for child in self._hidden if not value else self.children():
            self._hide(child) if value else child.show()
        if not value:
            self._hidden.clear()

    def childEvent(self, event: Any) -> None:
        super().childEvent(event)
        if self._collapsed and event.type() == QtCore.QEvent.ChildPolished:
            self._hide(event.child())

    def _hide(self, child: Any) -> None:
        if isinstance(child, QtWidgets.QWidget) and not child.isHidden():
            self._hidden.append(child)
            child.hide()

    text = QtCore.Property(str, lambda self: self.title, lambda self, value: self.setTitle(value))
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _collapse)


MODULE.QFileDialog = FileDialog  # type: ignore[attr-defined]
UiLoader.known["ctkCollapsibleButton"] = CollapsibleButton
CTK = types.ModuleType("ctk")
CTK.ctkMessageBox = MessageBox  # type: ignore[attr-defined]
CTK.ctkCollapsibleButton = CollapsibleButton  # type: ignore[attr-defined]
