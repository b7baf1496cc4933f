"""The real MRML of slicer-core in a scene, the real module on stand-ins for Qt, and a phantom study in it."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.training.phantom.phantom import Phantom

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
        return add_volume(slicer, phantom.voxels, phantom.ras_from_ijk, name)

    return add


@pytest.fixture
def a_volume(add_phantom: Callable[[Phantom], Any], a_phantom: Phantom) -> Any:
    """Oblique, 7 slices of 96 x 80 pixels of 3.1 mm, 4.4 mm apart."""
    return add_phantom(a_phantom)


@pytest.fixture
def a_prediction(a_phantom: Phantom) -> LandmarkSet:
    """The truth of the phantom as if a model had said it: T12-L1 is out of view, L5 the least sure."""
    marks = []
    for n, mark in enumerate(a_phantom.landmarks):
        if n == 0:
            marks.append(Landmark(mark.name, "out_of_view", confidence=0.6))
        else:
            sure = 0.42 if mark.name == "L5" else 0.99 - n / 1000
            marks.append(Landmark(mark.name, "predicted", mark.position_ras_mm, mark.pixel_xy, sure, 3.0))
    return LandmarkSet(tuple(marks), input="phantom", slice_index=3, spacing_mm=(3.1, 3.1), bundle="memory@1")


def add_volume(slicer: Any, voxels_kji: Any, ras_from_ijk: Any, name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = slicer.util.addVolumeFromArray(np.asarray(voxels_kji), name=name)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(np.asarray(ras_from_ijk, dtype=float)))
    return volume


logging.getLogger("matplotlib").setLevel(logging.WARNING)
