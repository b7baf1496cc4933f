"""The window stays live: with the real worker and the real weights on a large volume, the event loop never waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.training.phantom.phantom import Phantom, make_phantom
from SpineLandmarksLib.worker.client import WorkerClient
from standins.bench import Module, add_volume

#: The longest that the event loop may be away, s.
LONGEST_S = 0.1


@pytest.fixture(scope="module")
def a_large_phantom() -> Phantom:
    """512 x 512 x 20 voxels."""
    return make_phantom(8, slices=20, matrix=(512, 512), pixel_mm=0.6, slice_mm=3.5)


@pytest.fixture
def a_real_module(module: Module, slicer: Any, a_large_phantom: Phantom) -> Module:
    """The module with its own worker process, and the large phantom selected."""
    module.panel.logic.runner.restart()
    module.panel.logic.runner.make_client = lambda model: WorkerClient(model.command())
    voxels = np.round(a_large_phantom.voxels).astype(np.int16)
    module.ui.volumeSelector.setCurrentNode(add_volume(slicer, voxels, a_large_phantom.ras_from_ijk, "large"))
    return module


class Pulse:
    """A slider that a timer moves, as a hand would; `longest_s` is the longest that it stood still."""

    def __init__(self) -> None:
        from standins.qt_module import MODULE as qt

        self.slider = qt.QSlider()
        self.slider.setRange(0, 10**6)
        self.longest_s, self._last = 0.0, time.perf_counter()
        self._timer = qt.QTimer()
        self._timer.setInterval(0)
        self._timer.connect("timeout()", self._move)
        self._timer.start()

    def _move(self) -> None:
        now = time.perf_counter()
        self.longest_s, self._last = max(self.longest_s, now - self._last), now
        self.slider.value += 1


def watched(module: Module, press: Callable[[], None]) -> tuple[Pulse, float]:
    """Press a button and move a slider until the work has ended; the slider and the seconds that it took."""
    pulse, start = Pulse(), time.perf_counter()
    press()
    module.wait_until(lambda: module.panel.logic.runner.job is None, 60.0)
    return pulse, time.perf_counter() - start


def test_a_slider_moves_on_while_a_large_volume_is_localized_and_relocalized(
    a_real_module: Module, a_large_phantom: Phantom
) -> None:
    first, first_s = watched(a_real_module, a_real_module.ui.localizeButton.click)
    second, second_s = watched(a_real_module, a_real_module.ui.localizeButton.click)
    print(f"first {first_s:.2f} s, warm {second_s:.2f} s; still {first.longest_s:.3f} and {second.longest_s:.3f} s")
    assert a_real_module.dialogs.shown == []
    for pulse in (first, second):
        assert pulse.slider.value > 50
        assert pulse.longest_s < LONGEST_S
    for mark in a_large_phantom.landmarks:
        found = a_real_module.session[mark.name].position_ras_mm
        assert np.linalg.norm(np.subtract(found or (), mark.position_ras_mm or ())) < 8.0


def test_every_correction_of_a_long_session_is_quick(a_real_module: Module) -> None:
    watched(a_real_module, a_real_module.ui.localizeButton.click)
    longest = 0.0
    for _ in range(60):
        for button in ("levelUpButton", "undoButton", "confirmAllButton", "undoButton"):
            start = time.perf_counter()
            getattr(a_real_module.ui, button).click()
            longest = max(longest, time.perf_counter() - start)
    print(f"longest {longest:.3f} s after {len(a_real_module.session.events)} records")
    assert len(a_real_module.session.events) == 240
    assert longest < LONGEST_S
