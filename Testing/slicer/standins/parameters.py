"""`slicer.parameterNodeWrapper`: typed parameters of a module that live in its MRML node and follow widgets.

A widget is bound by its dynamic property SlicerParameterName, as in Slicer. Enum, str, int, float, bool and nodes.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import Any

import slicer
from PySide6 import QtCore, QtWidgets

from standins.qmrml import NodeComboBox


def parameterNodeWrapper(declared: type) -> type:
    """A class whose annotated attributes are read from and written to a vtkMRMLScriptedModuleNode."""
    kinds = typing.get_type_hints(declared)
    body: dict[str, Any] = {name: _parameter(name, kind, getattr(declared, name, None)) for name, kind in kinds.items()}
    return type(declared.__name__, (_Wrapper,), {**body, "kinds": kinds})


def _parameter(name: str, kind: Any, default: Any) -> property:
    if _is_node(kind):
        return property(
            lambda self: self.parameterNode.GetNodeReference(name),
            lambda self, node: self.parameterNode.SetNodeReferenceID(name, node.GetID() if node else None),
        )

    def get(self: _Wrapper) -> Any:
        text = self.parameterNode.GetParameter(name)
        if text == "":
            return default
        return kind[text] if issubclass(kind, enum.Enum) else text == "True" if kind is bool else kind(text)

    def put(self: _Wrapper, value: Any) -> None:
        self.parameterNode.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

    return property(get, put)


#: The property of a widget that shows a parameter of this type.
ATTRIBUTES = {int: "value", float: "value", bool: "checked", str: "text"}


def _is_node(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, slicer.vtkMRMLNode)


class _Wrapper:
    kinds: dict[str, Any]

    def __init__(self, node: Any) -> None:
        self.parameterNode = node
        self._bindings: dict[int, list[_Binding]] = {}

    def AddObserver(self, event: int, callback: Any, priority: float = 0.0) -> int:
        return int(self.parameterNode.AddObserver(event, callback, priority))

    def RemoveObserver(self, tag: int) -> None:
        self.parameterNode.RemoveObserver(tag)

    def connectGui(self, ui: Any) -> None:
        """Gives no tag back, as in Slicer 5.6 to 5.10: what it has connected stays connected."""
        widgets = [(widget.property("SlicerParameterName"), widget) for widget in vars(ui).values()]
        self.connectParametersToGui({name: widget for name, widget in widgets if name})

    def connectParametersToGui(self, widgets: dict[str, Any]) -> int:
        unknown = set(widgets) - set(self.kinds)
        if unknown:
            raise ValueError(f"no parameter {', '.join(unknown)}")
        tag = len(self._bindings)
        self._bindings[tag] = [_Binding(self, name, widget) for name, widget in widgets.items()]
        return tag

    def disconnectGui(self, tag: int | None) -> None:
        for binding in self._bindings.pop(tag, []):
            binding.end()


class _Binding:
    """One widget and one parameter that follow each other."""

    def __init__(self, wrapper: _Wrapper, name: str, widget: Any) -> None:
        self.wrapper, self.name, self.widget, self.kind = wrapper, name, widget, wrapper.kinds[name]
        if isinstance(widget, QtWidgets.QComboBox) and not isinstance(widget, NodeComboBox):
            widget.clear()
            widget.addItems([_label(choice) for choice in self.kind])
        self.show()
        self.signal = self._signal()
        self.signal.connect(self.read)
        self.tag = wrapper.AddObserver(33, self.show)  # vtkCommand.ModifiedEvent

    def end(self) -> None:
        self.signal.disconnect(self.read)
        self.wrapper.RemoveObserver(self.tag)

    def _signal(self) -> Any:
        widget: Any = self.widget
        if isinstance(widget, NodeComboBox):
            return widget.currentNodeChanged
        if isinstance(widget, QtWidgets.QComboBox):
            return widget.currentIndexChanged
        if isinstance(widget, (QtWidgets.QSpinBox, QtWidgets.QDoubleSpinBox)):
            return widget.valueChanged
        if isinstance(widget, QtWidgets.QCheckBox):
            return widget.stateChanged
        return widget.textChanged

    def read(self, *_: Any) -> None:
        widget = self.widget
        if isinstance(widget, NodeComboBox):
            value: Any = widget.currentNode()
        elif isinstance(widget, QtWidgets.QComboBox):
            value = list(self.kind)[widget.currentIndex]
        else:
            value = widget.property(ATTRIBUTES[self.kind])
        if value != getattr(self.wrapper, self.name):
            setattr(self.wrapper, self.name, value)

    def show(self, *_: Any) -> None:
        value, widget = getattr(self.wrapper, self.name), self.widget
        if isinstance(widget, NodeComboBox):
            widget.setCurrentNode(value)
        elif isinstance(widget, QtWidgets.QComboBox):
            widget.currentIndex = list(self.kind).index(value)
        else:
            QtCore.QObject.setProperty(widget, ATTRIBUTES[self.kind], value)


def _label(choice: Any) -> str:
    return str(choice.label()) if hasattr(choice, "label") else str(choice.name)


MODULE = types.ModuleType("slicer.parameterNodeWrapper")
MODULE.parameterNodeWrapper = parameterNodeWrapper  # type: ignore[attr-defined]
