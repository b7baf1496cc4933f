"""The qMRML widgets that the panel uses: a widget with a scene, and a selector of nodes."""

from __future__ import annotations

from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from standins.qt_module import UiLoader, wrapped


class Widget(wrapped(QtWidgets.QWidget)):  # type: ignore[misc]
    """qMRMLWidget."""

    mrmlSceneChanged = QtCore.Signal("PyObject")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._scene: Any = None

    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)

    def mrmlScene(self) -> Any:
        return self._scene


class NodeComboBox(wrapped(QtWidgets.QComboBox)):  # type: ignore[misc]
    """qMRMLNodeComboBox: the nodes of one class in the scene; without `noneEnabled` the first is chosen by itself."""

    currentNodeChanged = QtCore.Signal("PyObject")

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._settings: dict[str, Any] = {"nodeTypes": [], "noneEnabled": False, "showChildNodeTypes": True}
        self._scene: Any = None
        self._ids: list[str | None] = []
        self._current: str | None = None
        self.connect("activated(int)", lambda row: self._choose(self._ids[row]))

    def _setting(name: str, kind: Any) -> Any:  # type: ignore[misc]
        return QtCore.Property(
            kind, lambda self: self._settings[name], lambda self, value: self._settings.update({name: value})
        )

    nodeTypes = _setting("nodeTypes", "QStringList")
    noneEnabled = _setting("noneEnabled", bool)
    showChildNodeTypes = _setting("showChildNodeTypes", bool)
    addEnabled = _setting("addEnabled", bool)
    removeEnabled = _setting("removeEnabled", bool)

    @QtCore.Slot("PyObject")
    def setMRMLScene(self, scene: Any) -> None:
        self._scene = scene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndCloseEvent, scene.EndImportEvent):
            scene.AddObserver(event, lambda *_: self._refresh())
        self._refresh()

    def currentNode(self) -> Any:
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    @property
    def currentNodeID(self) -> str:
        return self._current or ""

    def setCurrentNode(self, node: Any) -> None:
        self._choose(node.GetID() if node else None)

    def _nodes(self) -> list[Any]:
        found = [node for kind in self.nodeTypes for node in slicer.util.getNodesByClass(kind)]
        return [node for node in found if self.showChildNodeTypes or node.GetClassName() in self.nodeTypes]

    def _refresh(self) -> None:
        nodes = self._nodes()
        self._ids = [None] * bool(self.noneEnabled or not nodes) + [node.GetID() for node in nodes]
        self.blockSignals(True)
        self.clear()
        self.addItems(["None"] * bool(self.noneEnabled or not nodes) + [node.GetName() for node in nodes])
        self.blockSignals(False)
        self._choose(self._current if self._current in self._ids else self._ids[0])

    def _choose(self, node_id: str | None) -> None:
        if node_id in self._ids:
            self.currentIndex = self._ids.index(node_id)
        if node_id != self._current:
            self._current = node_id
            self.currentNodeChanged.emit(self.currentNode())


UiLoader.known.update(qMRMLWidget=Widget, qMRMLNodeComboBox=NodeComboBox)
