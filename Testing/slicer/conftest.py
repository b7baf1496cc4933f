"""The real MRML of slicer-core in a scene, the real module on stand-ins for Qt, and a phantom study in it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom

if TYPE_CHECKING:
    from standins.bench import Module

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
collect_ignore = ["standins"]
for folder in (HERE, ROOT / "SpineLandmarks"):  # the second is what Slicer puts there for an additional module path
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope="session")
def slicer_package() -> Any:
    """`slicer` with the stand-ins for its application. Skips where slicer-core or PySide6 cannot be loaded."""
    try:
        from standins import install
    except ImportError as error:
        pytest.skip(f"needs slicer-core and PySide6 with the system libraries they load: {error}")
    try:
        return install()
    except ImportError as error:
        pytest.skip(f"needs slicer-core and PySide6 with the system libraries they load: {error}")


@pytest.fixture
def slicer(slicer_package: Any) -> Iterator[Any]:
    """`slicer` with an empty scene."""
    from standins import application

    application.new_scene()
    yield slicer_package
    slicer_package.mrmlScene.Clear(True)


@pytest.fixture(autouse=True)
def no_hidden_errors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What a slot or a VTK observer raises only prints; here it fails the test."""
    raised: list[str] = []

    def note(kind: Any, error: Any, trace: Any) -> None:
        raised.append(f"{kind.__name__}: {error}")
        sys.__excepthook__(kind, error, trace)

    monkeypatch.setattr(sys, "excepthook", note)
    yield raised
    assert raised == []


@pytest.fixture
def add_phantom(slicer: Any) -> Callable[[Phantom], Any]:
    """Puts a phantom into the scene as a volume."""

    def add(phantom: Phantom, name: str = "phantom") -> Any:
        from standins.bench import add_volume

        return add_volume(slicer, phantom.voxels, phantom.ras_from_ijk, name)

    return add


@pytest.fixture
def a_volume(add_phantom: Callable[[Phantom], Any], a_phantom: Phantom) -> Any:
    """Oblique, 7 slices of 96 x 80 pixels of 3.1 mm, 4.4 mm apart."""
    return add_phantom(a_phantom)


@pytest.fixture
def a_prediction(a_phantom: Phantom) -> LandmarkSet:
    """The truth of the phantom as if a model had said it, rounded as the worker does: T12-L1 is out of view, L5 the
    least sure, L5-S1 doubtful.
    """
    sure = {"T12-L1": 0.6, "L5": 0.42, "L5-S1": 0.8}

    def said(mark: Landmark) -> Landmark:
        confidence = sure.get(mark.name, 0.99)
        if mark.name == "T12-L1":
            return Landmark(mark.name, "out_of_view", confidence=confidence)
        position, pixel = (tuple(round(v, 3) for v in xs) for xs in (mark.position_ras_mm or (), mark.pixel_xy or ()))
        return Landmark(mark.name, "predicted", position, pixel, confidence, 3.0)  # type: ignore[arg-type]

    marks = tuple(said(mark) for mark in a_phantom.landmarks)
    return LandmarkSet(marks, input="phantom", slice_index=3, spacing_mm=(3.1, 3.1), bundle="memory@1")


@pytest.fixture
def module(slicer: Any) -> Iterator[Module]:
    """The real module file and .ui, loaded and shown, with a worker that says what a test tells it to."""
    from standins.application import ScriptedModule
    from standins.bench import Module

    ours = {name: part for name, part in sys.modules.items() if name.startswith("SpineLandmarksLib")}
    loaded = Module(ScriptedModule(ROOT / "SpineLandmarks" / "SpineLandmarks.py"))
    loaded.module.widgetRepresentation()
    loaded.use_scripted_worker()
    loaded.enter()
    yield loaded
    if loaded.widget.panel is not None:
        loaded.widget.cleanup()
    slicer.app.window.takeCentralWidget()
    if sys.modules["SpineLandmarksLib"] is not ours["SpineLandmarksLib"]:
        # A reload has made all classes anew; the other tests hold the first ones.
        for name in [name for name in sys.modules if name.startswith(("SpineLandmarksLib", "SpineLandmarksModule"))]:
            del sys.modules[name]
        sys.modules.update(ours)


@pytest.fixture
def a_case(module: Module, a_volume: Any, a_prediction: LandmarkSet) -> Module:
    """The module with a phantom study that has been localized."""
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(a_prediction)
    return module
