"""The part of the panel in which a person looks and corrects: the table, its buttons and their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.annotation.actions import OPERATIONS, SHIFTS, enabled
from SpineLandmarksLib.annotation.wording import definition
from SpineLandmarksLib.landmarks import Landmark
from SpineLandmarksModule import tables, views
from SpineLandmarksModule.dialogs import ask, explained
from SpineLandmarksModule.placing import Placing
from SpineLandmarksModule.points import StudyPoints

HERE = Path(__file__).resolve()
#: A close-up of each landmark. Installed, the resources lie beside the module; in the source tree one folder up.
PICTURES = next(folder / "Resources" / "Landmarks" for folder in HERE.parents if (folder / "Resources").is_dir())
#: The button of each action that both screens have; what placing means here, the panel says itself.
BUTTONS = {
    "next": "nextButton",
    "confirm": "confirmButton",
    "confirm_all": "confirmAllButton",
    "not_visible": "notVisibleButton",
    "relocalize": "relocalizeButton",
    "shift_up": "levelUpButton",
    "shift_down": "levelDownButton",
    "undo": "undoButton",
    "redo": "redoButton",
}
#: Keys, the button that each presses, and what it does.
SHORTCUTS = (
    ("N", "nextButton", tr("next doubtful")),
    ("C", "confirmButton", tr("confirm or take back")),
    ("Shift+C", "confirmAllButton", tr("confirm all")),
    ("P", "placeButton", tr("place")),
    ("Shift+P", "placeRestButton", tr("place the rest")),
    ("X", "notVisibleButton", tr("not visible")),
    ("Shift+L", "relocalizeButton", tr("relocalize the rest")),
    ("E", "endplatesBox", tr("endplates")),
    ("Shift+U", "levelUpButton", tr("level up")),
    ("Shift+D", "levelDownButton", tr("level down")),
    ("Ctrl+Z", "undoButton", tr("undo")),
    ("Ctrl+Y", "redoButton", tr("redo")),
)


class ReviewPanel:
    """ui: the widgets by name. relocalize: called for the button of that name."""

    def __init__(self, ui: Any, relocalize: Callable[[], None]) -> None:
        self.ui = ui
        self.study: StudyPoints | None = None
        self._shows_corners = True
        self._keys: list[Any] = []
        self.placing = Placing(self._ask_for)
        tables.prepare(ui.landmarkTable, stretched=6)
        tables.prepare(ui.measurementTable, stretched=0)
        listed = [*((key, what) for key, _, what in SHORTCUTS), ("Esc", tr("end placing"))]
        ui.shortcutsLabel.text = tr("Keys: {keys}").format(
            keys=", ".join(f"<b>{key}</b> {what}" for key, what in listed)
        )
        handlers = {
            **{BUTTONS[action]: partial(self._operate, action) for action in OPERATIONS if action in BUTTONS},
            **{BUTTONS[action]: partial(self.shift, levels) for action, levels in SHIFTS.items()},
            "nextButton": self.next_doubtful,
            "placeButton": self.place,
            "placeRestButton": self.place_rest,
            "relocalizeButton": relocalize,
        }
        for button, handler in handlers.items():
            getattr(ui, button).connect("clicked()", handler)
        ui.landmarkTable.connect("cellClicked(int,int)", lambda row, column: self.jump(row))
        ui.landmarkTable.connect("itemSelectionChanged()", self.refresh_buttons)
        ui.landmarkTable.connect("itemSelectionChanged()", self._show_landmark)
        ui.measurementTable.connect("itemSelectionChanged()", self._define)
        self.open(None)

    def open(self, study: StudyPoints | None) -> None:
        self.placing.stop()
        self.study = study
        if study:
            study.on_grab = self.mark
        self.refresh()
        self._show_landmark()

    @property
    def selected(self) -> str | None:
        """Name of the landmark or corner that is selected in the table."""
        row, marks = self.ui.landmarkTable.currentRow(), self.marks
        return marks[row].name if 0 <= row < len(marks) else None

    @property
    def marks(self) -> tuple[Landmark, ...]:
        """What the table lists: the landmarks, then the corners where those are shown."""
        if self.study is None:
            return ()
        session = self.study.session
        return session.points if self._shows_corners else session.current.landmarks

    def show_corners(self, visible: bool) -> None:
        """What is hidden is not worked on."""
        if visible != self._shows_corners:
            if self.study and self.selected not in self.study.session.names:
                self.placing.stop()
            self._shows_corners = visible
            self.refresh()
            self._show_landmark()

    def refresh(self) -> None:
        session = self.study.session if self.study else None
        tables.fill_landmarks(self.ui.landmarkTable, self.marks, session.frame if session else None)
        self.ui.endplatesBox.enabled = enabled(session, None)["endplates"]
        tables.fill_measurements(self.ui.measurementTable, session)
        self.refresh_buttons()
        self.placing.look()

    def refresh_buttons(self) -> None:
        """Only what can be done is offered."""
        ui, session = self.ui, self.study.session if self.study else None
        chosen = session[self.selected] if session and self.selected else None
        ui.confirmButton.text = tr("Take back") if chosen and chosen.status == "confirmed" else tr("Confirm")
        can = enabled(session, self.selected)
        for action, button in BUTTONS.items():
            getattr(ui, button).enabled = can[action]
        ui.placeButton.enabled = chosen is not None and chosen.is_absent
        ui.placeRestButton.enabled = bool(self._unplaced())
        self._show_numberings(session.current.numberings if session else ())

    def _show_numberings(self, numberings: Sequence[tuple[int, float]]) -> None:
        """How likely the names are as they are, and as the two buttons above would move them."""
        chance = {shift: f"{100 * probability:.0f} %" for shift, probability in numberings}
        known = {0, +1, -1} <= set(chance)
        text = tr("Probability of the names as they are: {same}; one level up: {up}; one level down: {down}")
        said = text.format(same=chance[0], up=chance[1], down=chance[-1]) if known else ""
        self.ui.numberingLabel.text = said
        self.ui.numberingLabel.setVisible(known)

    def jump(self, row: int) -> None:
        marks = self.marks
        if self.study and row < len(marks) and not marks[row].is_absent:
            shown, frame = self.study.of(marks[row].name), self.study.session.frame
            views.jump_to(shown.node, shown.row(marks[row].name))
            if frame is not None and marks[row].position_ras_mm is not None:
                self.study.draw_lines_on(frame.slice_index(marks[row].position_ras_mm))

    def mark(self, name: str) -> None:
        """Select a landmark whose point is seen already."""
        if self.study:
            self.ui.landmarkTable.setCurrentCell(self._row(name), 0)

    def _row(self, name: str) -> int:
        """Of the table. A corner that is to be worked on is shown."""
        if all(mark.name != name for mark in self.marks):
            self.ui.endplatesBox.checked = True
        return [mark.name for mark in self.marks].index(name)

    def select(self, name: str) -> None:
        """Select a landmark and go there."""
        if self.study:
            self.mark(name)
            self.jump(self._row(name))

    def next_doubtful(self) -> None:
        if self.study:
            name = self.study.session.next_doubtful(after=self.selected)
            if name:
                self.select(name)

    def place(self) -> None:
        if self.study and self.selected and self.study.session[self.selected].is_absent:
            self.placing.start(self.study, [self.selected])

    def place_rest(self) -> None:
        """From head to foot, whatever has no point and was not called not visible."""
        if self.study and self._unplaced():
            self.placing.start(self.study, self._unplaced())

    def _unplaced(self) -> list[str]:
        """Of the landmarks, or of the corners where one is selected."""
        marks = self.study.session.alike(self.selected) if self.study else ()
        return [mark.name for mark in marks if mark.status == "out_of_view"]

    def _ask_for(self, name: str | None) -> None:
        """Say what the next click in a view sets."""
        said = (
            tr("Click in a slice view where {name} is; Esc or a right click ends placing.").format(name=name)
            if name
            else ""
        )
        self.ui.messageLabel.text = said
        if name:
            self.mark(name)

    def shift(self, levels: int) -> None:
        marks = self.study.session.points if self.study else ()
        confirmed = [mark.name for mark in marks if mark.status == "confirmed"]
        question = (
            tr("Confirmed: {names}. Move all names one level up nevertheless? Undo takes it back")
            if levels > 0
            else tr("Confirmed: {names}. Move all names one level down nevertheless? Undo takes it back")
        )
        if confirmed and not ask(question.format(names=", ".join(confirmed))):
            return
        self._do(lambda session: session.shift_chain(levels, including_confirmed=bool(confirmed)))

    def install_keys(self) -> None:
        """While the module is shown, keys do what the buttons do, if those are enabled."""
        self.remove_keys()
        for key, press in [
            *((key, getattr(self.ui, name).click) for key, name, _ in SHORTCUTS),
            ("Esc", self.placing.stop),
        ]:
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow())
            for signal in ("activated()", "activatedAmbiguously()"):
                shortcut.connect(signal, press)
            self._keys.append(shortcut)

    def remove_keys(self) -> None:
        self.placing.stop()
        for shortcut in self._keys:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._keys.clear()

    def _do(self, operation: Callable[[Any], object]) -> None:
        with explained():
            if self.study:
                operation(self.study.session)

    def _operate(self, action: str) -> None:
        self._do(lambda session: OPERATIONS[action](session, self.selected or ""))

    def _show_landmark(self) -> None:
        """What the selected landmark is, in words and as a picture, and its mark in the views."""
        if self.study:
            self.study.select(self.selected)
        what, where = definition(self.selected or "")
        if what:
            self.ui.landmarkLabel.text = f"<b>{self.selected}</b>: {what}.<br><small>{where}.</small>"
            picture = qt.QPixmap(str(PICTURES / f"{self.selected}.png"))
            picture.setDevicePixelRatio(2.0)
            self.ui.landmarkPicture.setPixmap(picture)

    def _define(self) -> None:
        item = self.ui.measurementTable.item(self.ui.measurementTable.currentRow(), 0)
        if item is not None:
            self.ui.definitionLabel.text = item.toolTip()
