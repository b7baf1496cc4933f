"""`slicer.app` and `slicer.modules`, on the real scene and logic of slicer-core, and a window for module panels."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from standins.qt_module import MODULE as qt
from standins.qt_module import wrapped

VIEWS = {"Red": "Axial", "Yellow": "Sagittal", "Green": "Coronal"}


class ModuleManager(wrapped(QtCore.QObject)):  # type: ignore[misc]
    moduleAboutToBeUnloaded = QtCore.Signal(str)


class SliceWidget:
    def __init__(self, logic: Any) -> None:
        self._logic = logic

    def mrmlSliceNode(self) -> Any:
        return self._logic.GetSliceNode()

    def sliceLogic(self) -> Any:
        return self._logic


class LayoutManager:
    """Three slice views without windows; their nodes and logic are the real ones."""

    def __init__(self) -> None:
        self.logics = vtk.vtkCollection()
        self.widgets: dict[str, SliceWidget] = {}

    def fill(self, logic: Any) -> None:
        """Make the slice nodes anew, which closing a scene may have taken away."""
        self.logics.RemoveAllItems()
        for name, orientation in VIEWS.items():
            slice_logic = slicer.vtkMRMLSliceLogic()
            slice_logic.SetMRMLApplicationLogic(logic)
            slice_logic.SetMRMLScene(slicer.mrmlScene)
            node = slice_logic.AddSliceNode(name)
            node.SetOrientation(orientation)
            node.SetDimensions(512, 512, 1)
            self.logics.AddItem(slice_logic)
            self.widgets[name] = SliceWidget(slice_logic)
        logic.SetSliceLogics(self.logics)

    def sliceViewNames(self) -> list[str]:
        return list(self.widgets)

    def sliceWidget(self, name: str) -> SliceWidget:
        return self.widgets[name]

    def mrmlSliceLogics(self) -> Any:
        return self.logics


class Application(wrapped(QtCore.QObject)):  # type: ignore[misc]
    """slicer.app. The Qt application outlives every scene."""

    startupCompleted = QtCore.Signal()

    applicationName = "Slicer"

    @property
    def temporaryPath(self) -> str:
        return str(Path(self.settings.name) / "temporary")

    def __init__(self) -> None:
        super().__init__()
        self.qt = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["test"])
        self.settings = tempfile.TemporaryDirectory(prefix="SpineLandmarks-settings-")  # nobody's own are touched
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self.settings.name)
        self.qt.setOrganizationName("SpineLandmarks tests")
        self.logic = slicer.vtkSlicerApplicationLogic()
        self.manager, self.layout = ModuleManager(), LayoutManager()
        self.window = type("qSlicerMainWindow", (wrapped(QtWidgets.QMainWindow),), {"className": _main_window})()
        self.window.setObjectName("qSlicerMainWindow")
        self.selected_module = ""

    def applicationLogic(self) -> Any:
        return self.logic

    def moduleManager(self) -> ModuleManager:
        return self.manager

    def layoutManager(self) -> LayoutManager:
        return self.layout

    def testingEnabled(self) -> bool:
        return False

    def topLevelWidgets(self) -> list[Any]:
        return [self.window]

    def processEvents(self) -> None:
        self.qt.processEvents()

    def clipboard(self) -> Any:
        return self.qt.clipboard()

    def setOverrideCursor(self, cursor: Any) -> None:
        pass

    def restoreOverrideCursor(self) -> None:
        pass


def _main_window(_self: Any) -> str:
    return "qSlicerMainWindow"


class ScriptedModule:
    """qSlicerScriptedLoadableModule: loads the file, and holds the panel once it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = str(path), path.stem
        self.title, self.icon = "", None
        self.categories: list[str] = []
        self.dependencies: list[str] = []
        self.contributors: list[str] = []
        self.helpText = self.acknowledgementText = ""
        self.panel: Any = None
        self.python = self.load()
        self.instance = getattr(self.python, self.name)(self)
        setattr(slicer.modules, self.name.lower(), self)

    def load(self) -> types.ModuleType:
        folder = str(Path(self.path).parent)
        if folder not in sys.path:  # what Slicer does with an additional module path
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[self.name] = module
        spec.loader.exec_module(module)
        return module

    def widgetRepresentation(self) -> Any:
        if self.panel is None:
            self.panel = ModulePanel(self)
        return self.panel

    @property
    def widget(self) -> Any:
        return getattr(slicer.modules, f"{self.name}Widget")


class ModulePanel(wrapped(QtWidgets.QWidget)):  # type: ignore[misc]
    """qSlicerScriptedLoadableModuleWidget."""

    def __init__(self, module: ScriptedModule) -> None:
        super().__init__()
        self.module, self.isEntered = module, False
        self.setLayout(qt.QVBoxLayout())
        scrolled = QtWidgets.QScrollArea()  # as in qSlicerModulePanel: what is too high is scrolled
        scrolled.setFrameShape(QtWidgets.QFrame.NoFrame)
        scrolled.setWidgetResizable(True)
        scrolled.setWidget(self)
        slicer.app.window.setCentralWidget(scrolled)
        self.reload()

    def reload(self) -> None:
        name = f"{self.module.name}Widget"
        widget = getattr(sys.modules[self.module.name], name)(self)
        setattr(slicer.modules, name, widget)
        widget.setup()

    def enter(self) -> None:
        """The module is shown. After a reload Slicer does not call it again."""
        self.isEntered = True
        self.module.widget.enter()

    def exit(self) -> None:
        self.isEntered = False
        self.module.widget.exit()


def start(slicer_package: Any) -> None:
    """Give `slicer` its application, an empty scene with three slice views, and the markups module."""
    slicer_package.app = Application()
    slicer_package.modules = types.SimpleNamespace()
    slicer_package.util.selectModule = _select
    slicer_package.qSlicerScriptedLoadableModuleWidget = ModulePanel
    new_scene()


def _select(name: str) -> None:
    slicer.app.selected_module = name


def new_scene() -> Any:
    """A scene as the application starts with it."""
    scene = slicer.mrmlScene = slicer.vtkMRMLScene()
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    cache, files = slicer.vtkCacheManager(), slicer.vtkDataIOManager()  # a bundled scene is unpacked there
    cache.SetRemoteCacheDirectory(slicer.app.settings.name)
    files.SetCacheManager(cache)
    scene.SetCacheManager(cache)
    scene.SetDataIOManager(files)
    slicer.app.logic.SetMRMLScene(scene)
    markups = slicer.vtkSlicerMarkupsLogic()
    slicer.modules.markups = types.SimpleNamespace(logic=lambda: markups)
    markups.SetMRMLApplicationLogic(slicer.app.logic)
    markups.SetMRMLScene(scene)
    slicer.app.logic.SetModuleLogic("Markups", markups)
    grey = slicer.vtkMRMLColorTableNode()  # what volumes are shown in, the only one of Slicer's many colour tables
    grey.SetTypeToGrey()
    grey.SetSingletonTag("Grey")
    grey.SetSaveWithScene(False)
    scene.AddNode(grey)
    slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    slicer.app.layout.fill(slicer.app.logic)
    return scene
