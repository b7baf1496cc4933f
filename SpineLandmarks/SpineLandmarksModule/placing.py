"""Setting points with the mouse, one click each, until all are set or the reader ends it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer

from SpineLandmarksLib.annotation.scene_points import active_list
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksModule.points import StudyPoints


class Placing:
    """on_next: called with the name that the next click sets, and with None at the end.

    Slicer ends a placement at a click and at a right click; Esc is ours. What the toolbar places goes afterwards where
    it went before.
    """

    def __init__(self, on_next: Callable[[str | None], None]) -> None:
        self._on_next = on_next
        self._study: StudyPoints | None = None
        self._names: list[str] = []
        self._before: tuple[Any, Any] = (None, None)
        self._landmark: Landmark | None = None
        self._mode: Any = None
        self._tag: int | None = None

    def start(self, study: StudyPoints, names: Sequence[str]) -> None:
        """Let the next clicks set these, in turn."""
        self.stop()
        self._study, self._names = study, list(names)
        self._before = active_list(study.scene)
        self._mode = slicer.app.applicationLogic().GetInteractionNode()
        self._tag = self._mode.AddObserver(self._mode.InteractionModeChangedEvent, lambda *_: self.look())
        self._next()

    def stop(self) -> None:
        """Esc, another module, another study. Nothing happens when nothing is being placed."""
        if self._study is None:
            return
        study, self._study = self._study, None
        self._mode.RemoveObserver(self._tag)
        if self._mode.GetCurrentInteractionMode() == self._mode.Place:
            self._mode.SetCurrentInteractionMode(self._mode.ViewTransform)
        if study.node.GetScene() is not None:
            active_list(study.scene, *self._before)
            study.show_anew()  # a point that was about to be set is missing again
        self._on_next(None)

    def look(self) -> None:
        """Go on to the next name, or end, once the click that sets a point is over."""
        if self._study is not None:
            qt.QTimer.singleShot(0, self._go_on)

    def _go_on(self) -> None:
        if self._study is None:
            return
        if self._study.node.GetScene() is not None and self._study.session[self._names[0]] != self._landmark:
            self._names.pop(0)
            self._next() if self._names else self.stop()
        elif self._mode.GetCurrentInteractionMode() != self._mode.Place:
            self.stop()
        else:
            self._reset()  # another correction has made the point missing again, which no click sets

    def _next(self) -> None:
        assert self._study is not None
        name = self._names[0]
        shown = self._study.of(name)
        node = shown.node
        self._landmark = self._study.session[name]
        self._reset()
        node.SetControlPointPlacementStartIndex(shown.row(name))
        markups = slicer.modules.markups.logic()
        markups.SetActiveList(node)
        markups.StartPlaceMode(False)
        self._on_next(name)

    def _reset(self) -> None:
        assert self._study is not None
        shown = self._study.of(self._names[0])
        node, row = shown.node, shown.row(self._names[0])
        if node.GetNthControlPointPositionStatus(row) == node.PositionMissing:
            node.ResetNthControlPointPosition(row)
