"""The part of the panel that says what is localized, with what, and how far it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.bundle import DEFAULT, find_bundle, models_to_choose
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksModule import install
from SpineLandmarksModule.dialogs import explained
from SpineLandmarksModule.runner import WorkerOptions


class StudyPanel:
    """ui: the widgets by name."""

    def __init__(self, ui: Any) -> None:
        self.ui = ui
        try:
            ui.modelSelector.addItems(models_to_choose())
        except SpineLandmarksError as error:  # told again, with a dialog, when the button is pressed
            ui.messageLabel.text = str(error)
        ui.modelSelector.setCurrentText(DEFAULT)
        ui.modelSelector.connect("currentIndexChanged(int)", lambda index: self.show_card())
        ui.modelFolderButton.connect("clicked()", self.choose_folder)
        ui.modelCardButton.connect("toggled(bool)", lambda on: self.show_card())
        ui.loadDicomButton.connect("clicked()", lambda: slicer.util.selectModule("DICOM"))
        self.show_card()
        self.show_progress(None)

    def choose_folder(self) -> None:
        """A bundle that was trained elsewhere, such as DATASET/models/NAME, becomes an entry of its own."""
        models = self.ui.modelSelector
        chosen = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), tr("Folder of a trained model"), "")
        with explained():
            if chosen:
                models.addItem(str(find_bundle(chosen)))
                models.setCurrentIndex(models.count - 1)

    def model(self, on_gpu: bool) -> WorkerOptions:
        bundle = self.ui.modelSelector.currentText or DEFAULT
        return WorkerOptions(bundle, "torch", "cuda") if on_gpu else WorkerOptions(bundle, "light", "cpu")

    def show_card(self) -> None:
        """The model card, as it came with the model."""
        card = self.ui.modelCard
        card.setVisible(self.ui.modelCardButton.checked)
        try:
            chosen = self.ui.modelSelector.currentText
            named = chosen if Path(chosen).is_dir() else chosen.partition(",")[0]
            text = Path(find_bundle(named), "docs", "README.md").read_text("utf-8")
        except (OSError, SpineLandmarksError):
            text = tr("This model has no card.")
        card.setMarkdown(text)

    def show_processor(self, on_gpu: bool) -> None:
        """What is missing, and the button that installs it."""
        needed = install.missing("torch" if on_gpu else "light")
        self.ui.installButton.setVisible(bool(needed))
        if needed:
            self.ui.processorLabel.text = tr("Missing: {names}. Install fetches it from the internet once.").format(
                names=", ".join(needed)
            )
        else:
            self.ui.processorLabel.text = tr("Needs an NVIDIA card and its driver.") if on_gpu else ""
        self.ui.processorLabel.setVisible(bool(self.ui.processorLabel.text))

    def show_range(self, count: int) -> None:
        """Let the range of slices fit a volume of `count` slices."""
        for box, value in ((self.ui.firstSliceBox, 0), (self.ui.lastSliceBox, count - 1)):
            box.setRange(0, count - 1)
            box.value = value

    def show_slice_choice(self, is_range: bool) -> None:
        for name in ("fromLabel", "firstSliceBox", "toLabel", "lastSliceBox"):
            getattr(self.ui, name).setVisible(is_range)

    def show_progress(self, share: float | None, stage: str = "") -> None:
        """share: done, 0..1; None when nothing is under way."""
        ui, works = self.ui, share is not None
        for name in ("progressBar", "elapsedLabel", "cancelButton"):
            getattr(ui, name).setVisible(works)
        ui.localizeButton.enabled = not works
        if share is not None:
            ui.progressBar.value = round(100 * share)
            ui.progressBar.format = stage
