"""What the panel looks like on the stand-ins: in every state nothing is cut off or covered, and colours are drawn.

`python docs/images/draw_slicer.py FOLDER` writes pictures of it to look at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

QtCore, QtWidgets = (pytest.importorskip(f"PySide6.{name}", exc_type=ImportError) for name in ("QtCore", "QtWidgets"))

from SpineLandmarksLib.landmarks import LandmarkSet  # noqa: E402
from standins.bench import Module  # noqa: E402

#: What a module panel has beside the views on a small screen.
WIDEST = {9: 400, 12: 410}
LONG = "Done in 1.3 s. " + "Two landmarks are doubtful. " * 8


@pytest.fixture(params=[9, 12], ids=["font 9", "font 12"])
def font_points(slicer: Any, request: pytest.FixtureRequest) -> Iterator[int]:
    """Size of the font of the application, of which macOS and large screens have another one."""
    before = slicer.app.qt.font()
    font = slicer.app.qt.font()
    font.setPointSize(request.param)
    slicer.app.qt.setFont(font)
    yield request.param
    slicer.app.qt.setFont(before)


@pytest.fixture(params=["study", "work", "files"])
def an_open_panel(font_points: int, a_case: Module, request: pytest.FixtureRequest) -> Module:
    """As narrow as it can be, with everything shown that its parts can show."""
    ui = a_case.ui
    ui.messageLabel.text = LONG
    if request.param == "study":
        ui.sliceSelector.currentIndex = 2  # a range
        ui.processorSelector.currentIndex = 1  # the graphics card
        ui.installButton.setVisible(True)
        a_case.select("L3")
        ui.confirmButton.click()
    elif request.param == "work":
        a_case.panel.on_progress(0.53, "slice 9 of 15")
        ui.elapsedLabel.text = "12.3 s"
        ui.modelCardButton.click()
    else:
        ui.measurementsButton.collapsed = ui.filesButton.collapsed = False
        ui.measurementTable.setCurrentCell(0, 0)
    a_case.picture(1, 1600)  # Slicer scrolls what is too high, not what is too wide
    return a_case


def shown(module: Module) -> list[Any]:
    """The widgets that a person reads or presses: those that the file names, without what only holds others."""
    widgets = [each for each in vars(module.ui).values() if isinstance(each, QtWidgets.QWidget) and each.isVisible()]
    return [widget for widget in widgets if widget.layout() is None]


def test_no_text_is_cut_off_where_the_panel_is_narrowest(an_open_panel: Module, font_points: int) -> None:
    assert an_open_panel.module.panel.width <= WIDEST[font_points]
    for widget in shown(an_open_panel):
        kind, wraps = widget.className(), widget.className() == "QLabel" and widget.wordWrap
        if wraps:
            assert widget.height >= widget.heightForWidth(widget.width), widget.objectName
        elif kind in ("QPushButton", "QCheckBox", "QLabel"):
            assert widget.width >= widget.sizeHint().width(), widget.objectName
            assert widget.height >= widget.sizeHint().height(), widget.objectName


def test_no_widget_covers_another(an_open_panel: Module) -> None:
    panel, widgets = an_open_panel.module.panel, shown(an_open_panel)
    assert len(widgets) > 20
    boxes = [(each.objectName, QtCore.QRect(each.mapTo(panel, QtCore.QPoint()), each.size)) for each in widgets]
    for (one, its_box), (other, box) in itertools.combinations(boxes, 2):
        assert not its_box.intersects(box), (one, other)


def test_the_colours_of_confidence_are_drawn(module: Module, a_volume: Any, a_prediction: LandmarkSet) -> None:
    sure = {"L1": 0.95, "L2": 0.8, "L3": 0.3}
    marks = [replace(mark, confidence=sure.get(mark.name, mark.confidence)) for mark in a_prediction]
    module.ui.volumeSelector.setCurrentNode(a_volume)
    module.localize(replace(a_prediction, landmarks=tuple(marks)))
    picture, table = module.picture(400, 900), module.ui.landmarkTable

    def drawn(name: str) -> Any:
        cell = table.visualItemRect(table.item(module.study.row(name), 2))
        corner = table.viewport().mapTo(module.module.panel, cell.topRight())
        return picture.getpixel((corner.x() - 4, corner.y() + 4))

    assert [drawn(name) for name in ("L1", "L2", "L3")] == [(158, 216, 166), (246, 221, 140), (242, 163, 154)]
