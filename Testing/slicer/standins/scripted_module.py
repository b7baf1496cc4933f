"""`slicer.ScriptedLoadableModule`: the base classes of a scripted module, as far as the application calls them."""

from __future__ import annotations

import types
import unittest
from pathlib import Path
from typing import Any

import slicer

from standins.qt_module import MODULE as qt


class ScriptedLoadableModule:
    def __init__(self, parent: Any) -> None:
        self.parent = parent
        self.moduleName = type(self).__name__
        for extension in ("svg", "png"):
            icon = Path(parent.path).parent / "Resources" / "Icons" / f"{self.moduleName}.{extension}"
            if icon.is_file():
                parent.icon = qt.QIcon(str(icon))
                break


class ScriptedLoadableModuleWidget:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.parent = parent
        self.layout = parent.layout()

    def setup(self) -> None:
        pass

    def cleanup(self) -> None:
        pass

    def resourcePath(self, name: str) -> str:
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / name)

    def onReload(self) -> None:
        slicer.util.reloadScriptedModule(self.moduleName)


class ScriptedLoadableModuleLogic:
    def __init__(self, parent: Any = None) -> None:
        self.moduleName = type(self).__name__.removesuffix("Logic")

    def getParameterNode(self) -> Any:
        found = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        if found:
            return found
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(self.moduleName)
        return slicer.mrmlScene.AddNode(node)


class ScriptedLoadableModuleTest(unittest.TestCase):
    def delayDisplay(self, message: str, msec: int = 0) -> None:
        slicer.app.processEvents()


MODULE = types.ModuleType("slicer.ScriptedLoadableModule")
for _class in (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
):
    setattr(MODULE, _class.__name__, _class)
MODULE.__all__ = [name for name in vars(MODULE) if name.startswith("Scripted")]  # type: ignore[attr-defined]
