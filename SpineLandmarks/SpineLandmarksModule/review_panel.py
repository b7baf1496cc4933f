"""The part of the panel in which a person looks and corrects: the table, its buttons and their keys."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.annotation.wording import definition
from SpineLandmarksLib.landmarks import ABSENT
from SpineLandmarksModule import tables, views
from SpineLandmarksModule.dialogs import ask, explained
from SpineLandmarksModule.placing import Placing
from SpineLandmarksModule.points import StudyPoints

HERE = Path(__file__).resolve()
#: A close-up of each landmark. Installed, the resources lie beside the module; in the source tree one folder up.
PICTURES = next(folder / "Resources" / "Landmarks" for folder in HERE.parents if (folder / "Resources").is_dir())
#: Keys, the button that each presses, and what it does.
SHORTCUTS = (
    ("N", "nextButton", tr("next doubtful")),
    ("C", "confirmButton", tr("confirm or take back")),
    ("Shift+C", "confirmAllButton", tr("confirm all")),
    ("P", "placeButton", tr("place")),
    ("Shift+P", "placeRestButton", tr("place the rest")),
    ("X", "notVisibleButton", tr("not visible")),
    ("Shift+L", "relocalizeButton", tr("relocalize the rest")),
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
        self._keys: list[Any] = []
        self.placing = Placing(self._ask_for)
        tables.prepare(ui.landmarkTable, stretched=6)
        tables.prepare(ui.measurementTable, stretched=0)
        listed = [*((key, what) for key, _, what in SHORTCUTS), ("Esc", tr("end placing"))]
        ui.shortcutsLabel.text = tr("Keys: {keys}").format(
            keys=", ".join(f"<b>{key}</b> {what}" for key, what in listed)
        )
        for button, handler in {
            "nextButton": self.next_doubtful,
            "confirmButton": self.confirm,
            "confirmAllButton": lambda: self._do(lambda session: session.confirm_all()),
            "placeButton": self.place,
            "placeRestButton": self.place_rest,
            "notVisibleButton": lambda: self._do_selected(lambda session, name: session.mark_not_visible(name)),
            "relocalizeButton": relocalize,
            "levelUpButton": lambda: self.shift(+1),
            "levelDownButton": lambda: self.shift(-1),
            "undoButton": lambda: self._do(lambda session: session.undo()),
            "redoButton": lambda: self._do(lambda session: session.redo()),
        }.items():
            getattr(ui, button).connect("clicked()", handler)
        ui.landmarkTable.connect("cellClicked(int,int)", lambda row, column: self.jump(row))
        ui.landmarkTable.connect("itemSelectionChanged()", self.refresh_buttons)
        ui.landmarkTable.connect("itemSelectionChanged()", self._show_landmark)
        ui.measurementTable.connect("itemSelectionChanged()", self._define)
        self.open(None)

    def open(self, study: StudyPoints | None) -> None:
        self.placing.stop()
        self.study = study
        self.refresh()

    @property
    def selected(self) -> str | None:
        """Name of the landmark that is selected in the table."""
        row = self.ui.landmarkTable.currentRow()
        return self.study.session.names[row] if self.study and 0 <= row < len(self.study.session.names) else None

    def refresh(self) -> None:
        session = self.study.session if self.study else None
        tables.fill_landmarks(self.ui.landmarkTable, session, session.frame if session else None)
        tables.fill_measurements(self.ui.measurementTable, session)
        self.refresh_buttons()
        self.placing.look()

    def refresh_buttons(self) -> None:
        """Only what can be done is offered."""
        ui, session = self.ui, self.study.session if self.study else None
        marks = list(session.current) if session else []
        chosen = session[self.selected] if session and self.selected else None
        has_point = chosen is not None and chosen.status not in ABSENT
        ui.confirmButton.text = tr("Take back") if chosen and chosen.status == "confirmed" else tr("Confirm")
        for button, can in {
            ui.nextButton: bool(session and session.to_review()),
            ui.confirmButton: has_point,
            ui.confirmAllButton: any(mark.status in ("predicted", "corrected") for mark in marks),
            ui.placeButton: chosen is not None and not has_point,
            ui.placeRestButton: bool(self._unplaced()),
            ui.notVisibleButton: chosen is not None and chosen.status not in ("not_visible", "confirmed"),
            ui.relocalizeButton: bool(session and session.given() and session.to_review()),
            ui.levelUpButton: any(mark.status not in ABSENT for mark in marks),
            ui.levelDownButton: any(mark.status not in ABSENT for mark in marks),
            ui.undoButton: bool(session and session.can_undo()),
            ui.redoButton: bool(session and session.can_redo()),
        }.items():
            button.enabled = can

    def jump(self, row: int) -> None:
        if self.study and not self.study.session[self.study.session.names[row]].is_absent:
            views.jump_to(self.study.node, row)

    def select(self, name: str) -> None:
        """Select a landmark and go there."""
        if self.study:
            row = self.study.row(name)
            self.ui.landmarkTable.setCurrentCell(row, 0)
            self.jump(row)

    def next_doubtful(self) -> None:
        if self.study:
            name = self.study.session.next_doubtful(after=self.selected)
            if name:
                self.select(name)

    def confirm(self) -> None:
        self._do_selected(
            lambda session, name: (
                session.unconfirm(name) if session[name].status == "confirmed" else session.confirm(name)
            )
        )

    def place(self) -> None:
        if self.study and self.selected and self.study.session[self.selected].is_absent:
            self.placing.start(self.study, [self.selected])

    def place_rest(self) -> None:
        """From head to foot, whatever has no point and was not called not visible."""
        if self.study and self._unplaced():
            self.placing.start(self.study, self._unplaced())

    def _unplaced(self) -> list[str]:
        return [mark.name for mark in self.study.session.current if mark.status == "out_of_view"] if self.study else []

    def _ask_for(self, name: str | None) -> None:
        """Say what the next click in a view sets."""
        said = (
            tr("Click in a slice view where {name} is; Esc or a right click ends placing.").format(name=name)
            if name
            else ""
        )
        self.ui.messageLabel.text = said
        if name and self.study:
            self.ui.landmarkTable.setCurrentCell(self.study.row(name), 0)

    def shift(self, levels: int) -> None:
        marks = self.study.session.current if self.study else ()
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

    def _do_selected(self, operation: Callable[[Any, str], object]) -> None:
        with explained():
            if self.study and self.selected:
                operation(self.study.session, self.selected)

    def _show_landmark(self) -> None:
        """What the selected landmark is, in words and as a picture."""
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
