"""`qt` as PythonQt gives it: Qt properties are Python properties, signals are connected by their C++ signature."""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from typing import Any

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

#: Properties whose name is also a virtual method, which Qt would call, or a static one.
NOT_PROPERTIES = {"sizeHint", "minimumSizeHint", "singleShot"}
VIRTUAL = {"QProgressBar": {"text"}, "QSpinBox": {"text"}, "QDoubleSpinBox": {"text"}}
#: Types that Qt's own parser does not know stand in signatures as Python objects.
FOREIGN = {"vtkMRMLNode*": "PyObject", "vtkMRMLScene*": "PyObject"}


def signature(text: str) -> str:
    """The normalized C++ signature of a signal, with types that only Slicer has replaced."""
    for foreign, ours in FOREIGN.items():
        text = text.replace(foreign, ours)
    return bytes(QtCore.QMetaObject.normalizedSignature(text).data()).decode()


def _connect(widget: QtCore.QObject, signal: str, slot: Callable[..., object]) -> bool:
    name = signature(signal)
    if widget.metaObject().indexOfSignal(name) < 0:
        raise ValueError(f"QObject::connect: no such signal {type(widget).__name__}::{signal}")
    return bool(QtCore.QObject.connect(widget, QtCore.SIGNAL(name), slot))


def _disconnect(widget: QtCore.QObject, signal: str, slot: Callable[..., object]) -> bool:
    return bool(QtCore.QObject.disconnect(widget, QtCore.SIGNAL(signature(signal)), slot))


def _property(name: str) -> property:
    def get(widget: QtCore.QObject) -> Any:
        return QtCore.QObject.property(widget, name)

    def put(widget: QtCore.QObject, value: object) -> None:
        if not QtCore.QObject.setProperty(widget, name, value):
            raise TypeError(f"property {name} of {type(widget).__name__} does not take {value!r}")

    return property(get, put)


@functools.cache
def wrapped(base: type) -> type:
    """The subclass of a Qt class that looks like PythonQt's."""
    meta = base.staticMetaObject
    left_out = NOT_PROPERTIES.union(*(VIRTUAL.get(parent.__name__, set()) for parent in base.__mro__))
    names = {meta.property(index).name() for index in range(meta.propertyCount())} - left_out
    body: dict[str, Any] = {name: _property(name) for name in names}
    body["name"] = _property("objectName")
    body["className"] = lambda self: base.__name__

    def getattribute(self: Any, attribute: str) -> Any:
        if attribute == "connect":
            return functools.partial(_connect, self)
        if attribute == "disconnect":
            return functools.partial(_disconnect, self)
        return base.__getattribute__(self, attribute)

    body["__getattribute__"] = getattribute
    return type(base)(base.__name__, (base,), body)


class UiLoader(QtUiTools.QUiLoader):
    """Makes the widgets of a `.ui` file out of our classes, and knows Slicer's by name."""

    #: Filled by the stand-ins of ctk and qMRML.
    known: dict[str, type] = {}  # noqa: RUF012

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._made: list[Any] = []  # what Python no longer knows while Qt still builds is deleted under its hands

    def createWidget(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        kind = self.known.get(class_name) or wrapped(getattr(QtWidgets, class_name))
        widget = kind(parent)
        widget.setObjectName(name)
        self._made.append(widget)
        return widget

    def createLayout(self, class_name: str, parent: Any = None, name: str = "") -> Any:
        layout = wrapped(getattr(QtWidgets, class_name))(parent if isinstance(parent, QtWidgets.QWidget) else None)
        layout.setObjectName(name)
        self._made.append(layout)
        return layout

    def load(self, file: Any, parent: Any = None) -> Any:
        text = bytes(file.readAll().data()).decode()
        for foreign, ours in FOREIGN.items():
            text = text.replace(f"({foreign})", f"({ours})")
        buffer = QtCore.QBuffer()
        buffer.setData(text.encode())
        buffer.open(QtCore.QIODevice.ReadOnly)
        return super().load(buffer, parent)


class _Qt(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        for library in (QtWidgets, QtGui, QtCore):
            if hasattr(library, name):
                found = getattr(library, name)
                is_object = isinstance(found, type) and issubclass(found, QtCore.QObject)
                return wrapped(found) if is_object else found
        raise AttributeError(f"qt has no {name}")


MODULE = _Qt("qt")
MODULE.QUiLoader = UiLoader  # type: ignore[attr-defined]
