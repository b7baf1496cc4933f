"""Stand-ins for what desktop Slicer has and slicer-core has not: PythonQt, ctk, qMRML widgets, the application.

The real module file, its real `.ui`, the real MRML and the real `slicer.util` run on them. What that proves: logic,
wiring, names. What it does not: PythonQt's own behaviour, the real ctk and qMRML widgets, Qt 5.15, the look.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any


def install() -> Any:
    """Put the stand-ins where `import qt`, `import ctk` and `import slicer...` find them; the `slicer` package.

    Raises ImportError where slicer-core, PySide6 or a library of the system is missing.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Slicer's own import says is not ours to mend
        import slicer
        import slicer.util
    from standins import application, ctk_module, i18n, parameters, qt_module, sample_data, scripted_module

    if sys.modules.get("qt") is not qt_module.MODULE:
        sys.modules["qt"] = qt_module.MODULE
        sys.modules["ctk"] = ctk_module.CTK
        sys.modules["slicer.i18n"] = i18n.MODULE
        sys.modules["SampleData"] = sample_data.MODULE
        sys.modules["slicer.ScriptedLoadableModule"] = scripted_module.MODULE
        sys.modules["slicer.parameterNodeWrapper"] = parameters.MODULE
        application.start(slicer)
    return slicer
