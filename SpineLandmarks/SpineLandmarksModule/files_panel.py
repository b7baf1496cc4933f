"""The part of the panel that writes and reads files, the clipboard and the training set."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import qt
import slicer
from slicer.i18n import tr

from SpineLandmarksLib.annotation.measurements import COLUMNS, measure, write_measurements
from SpineLandmarksLib.annotation.report import report_of
from SpineLandmarksLib.annotation.revision import ImageReference
from SpineLandmarksLib.annotation.revision_files import image_reference, save_to_training_set
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats import READERS
from SpineLandmarksLib.formats.atomic import write_atomically
from SpineLandmarksLib.formats.csv_table import as_text, write_csv
from SpineLandmarksLib.formats.dicom_plane import require_highdicom
from SpineLandmarksLib.formats.slicer_markups import write_markups
from SpineLandmarksLib.imaging.dicom_source import planes_of
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.retraining.process import Retraining, RetrainStatus
from SpineLandmarksModule.cases import origin_of
from SpineLandmarksModule.dialogs import ask, explained
from SpineLandmarksModule.points import StudyPoints
from SpineLandmarksModule.runner import python
from SpineLandmarksModule.table_node import write_table
from SpineLandmarksModule.volumes import files_of, series_uid_of

SETTING = "SpineLandmarks/"
#: What the button says of a retraining that is not done.
UNFINISHED = {"stopped": tr("Go on retraining"), "failed": tr("Go on retraining")}
#: At each tick the thread of ours is waited for this long: it stands still while Slicer's event loop is idle.
YIELD_S = 0.02


def _measurements_as_text(landmarks: LandmarkSet) -> str:
    return "\n".join("\t".join(row) for row in (COLUMNS, *(each.row() for each in measure(landmarks)))) + "\n"


def _write_report(study: StudyPoints, path: Path) -> None:
    try:
        require_highdicom()
    except OutputError as error:
        raise OutputError(
            tr(
                "A DICOM report needs the package highdicom. Type slicer.util.pip_install('highdicom') into Slicer's "
                "Python console, and export again"
            )
        ) from error
    planes = planes_of(files_of(study.volume), series_uid_of(study.volume))
    content = report_of(study.session, planes)
    with write_atomically(path) as file:
        file.write(content)


#: What can be exported: ending, how it is written, and how it is copied.
FORMATS: dict[str, tuple[str, Callable[[StudyPoints, Path], None], Callable[[LandmarkSet], str]]] = {
    tr("Landmarks, CSV in RAS"): (".csv", lambda study, path: write_csv(study.session.current, path, "RAS"), as_text),
    tr("Landmarks, CSV in LPS"): (
        ".csv",
        lambda study, path: write_csv(study.session.current, path, "LPS"),
        lambda marks: as_text(marks, "LPS"),
    ),
    tr("Landmarks, Slicer markups"): (
        ".mrk.json",
        lambda study, path: write_markups(study.session.current, path),
        as_text,
    ),
    tr("Measurements, CSV"): (
        ".csv",
        lambda study, path: write_measurements(measure(study.session.current), path),
        _measurements_as_text,
    ),
    tr("Landmarks, DICOM report"): (".sr.dcm", _write_report, as_text),
}


class FilesPanel:
    """ui: the widgets by name. import_onto: called with a file that was chosen; whether its landmarks were taken."""

    def __init__(self, ui: Any, import_onto: Callable[[Path], bool]) -> None:
        self.ui, self._import_onto = ui, import_onto
        self.study: StudyPoints | None = None
        self._thread = ThreadPoolExecutor(1, "SpineLandmarks files")
        self._hash: tuple[StudyPoints, str, Future[ImageReference]] | None = None
        self._timer = qt.QTimer()
        self._timer.setInterval(20)
        self._timer.connect("timeout()", self._save_when_hashed)
        ui.formatSelector.addItems(list(FORMATS))
        ui.readerEdit.text = qt.QSettings().value(SETTING + "reader") or ""
        ui.readerEdit.connect("textChanged(QString)", self._remember_reader)
        ui.commentEdit.connect("editingFinished()", self._set_comment)
        ui.exportButton.connect("clicked()", self.export)
        ui.copyButton.connect("clicked()", self.copy)
        ui.tableButton.connect("clicked()", self.to_table)
        ui.importButton.connect("clicked()", self.import_file)
        ui.saveButton.connect("clicked()", self.save)
        self._retrain = RetrainButton(ui, self._folder("dataset"))
        self.open(None)

    def open(self, study: StudyPoints | None) -> None:
        self.study = study
        self.ui.commentEdit.text = study.session.comment if study else ""
        for widget in ("exportButton", "copyButton", "tableButton", "saveButton", "commentEdit"):
            getattr(self.ui, widget).enabled = study is not None

    def close(self) -> None:
        self._timer.stop()
        self._retrain.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def export(self) -> None:
        if not self.study:
            return
        name = self.ui.formatSelector.currentText
        ending, write, _ = FORMATS[name]
        start = str(Path(self._folder("export")) / f"{self.study.session.study}{ending}")
        title, kinds = tr("Export: {name}").format(name=name), f"{name} (*{ending})"
        chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, start, kinds)
        if not chosen:
            return
        path = Path(chosen if chosen.lower().endswith(ending) else chosen + ending)
        question = tr("{name} is there already. Replace it?").format(name=path.name)
        if str(path) != chosen and path.exists() and not ask(question):
            return
        with explained():
            write(self.study, path)
            self._remember("export", path.parent)
            self._say(tr("Written: {path}").format(path=path))

    def copy(self) -> None:
        if self.study:
            name = self.ui.formatSelector.currentText
            slicer.app.clipboard().setText(FORMATS[name][2](self.study.session.current))
            self._say(tr("Copied; paste it into a spreadsheet."))

    def to_table(self) -> None:
        if self.study:
            name = self.ui.formatSelector.currentText
            node = write_table(self.study, name, FORMATS[name][2](self.study.session.current))
            self._say(tr("The table {name} is in the scene.").format(name=node.GetName()))

    def import_file(self) -> None:
        endings = " ".join(f"*{ending} *{ending.upper()}" for ending in READERS)
        title, start = tr("Import landmarks"), self._folder("export")
        chosen = qt.QFileDialog.getOpenFileName(
            slicer.util.mainWindow(), title, start, tr("Landmarks ({endings})").format(endings=endings)
        )
        if chosen:
            with explained():
                if self._import_onto(Path(chosen)):
                    self._say(tr("Taken from {name}.").format(name=Path(chosen).name))

    def save(self) -> None:
        """First read the image's files for their hash, in a thread; then write. A case says where it is from."""
        study = self.study
        if not study or self._hash:
            return
        self._set_comment()
        origin = origin_of(study.volume)
        if origin:
            self._write(study, origin.dataset, origin.reference)
            return
        folder = self.choose_dataset()
        if folder:
            files, series = files_of(study.volume), series_uid_of(study.volume)
            self._hash = (study, folder, self._thread.submit(image_reference, files, folder, series))
            self.ui.saveButton.enabled = False
            self._timer.start()

    def _save_when_hashed(self) -> None:
        if not self._hash or not wait([self._hash[2]], YIELD_S).done:
            return
        (study, folder, hashed), self._hash = self._hash, None
        self._timer.stop()
        self.ui.saveButton.enabled = self.study is not None
        with explained():
            self._write(study, folder, hashed.result())

    def choose_dataset(self) -> str:
        """A folder; empty when none is chosen."""
        title, start = tr("Data-set folder"), self._folder("dataset")
        return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title, start) or "")

    def _write(self, study: StudyPoints, folder: str, image: ImageReference) -> None:
        with explained():
            revision = study.session.revision(image)
            saved = save_to_training_set(revision, folder)
            study.session.mark_saved(revision)
            study.keep()
            self._remember("dataset", Path(folder))
            said = tr("Saved: {path}.").format(path=saved.path)
            beside = tr("Beside it are {count} by others, from the same start.").format(count=len(saved.beside))
            self._say(f"{said} {beside}" if saved.beside else said)

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = text

    def _remember_reader(self, text: str) -> None:
        qt.QSettings().setValue(SETTING + "reader", text)

    def _set_comment(self) -> None:
        if self.study:
            self.study.session.set_comment(self.ui.commentEdit.text.strip())

    def _folder(self, what: str) -> str:
        return str(qt.QSettings().value(f"{SETTING}{what}") or Path.home())

    def _remember(self, what: str, folder: Path) -> None:
        qt.QSettings().setValue(f"{SETTING}{what}", str(folder))


class RetrainButton:
    """Starts the retraining of a data set, shows how far it is, and stops it. It goes on when Slicer is closed.

    folder: the data set that was used last, whose retraining may still run. It may lie on a drive that does not answer,
    so it is looked at in a thread.
    """

    def __init__(self, ui: Any, folder: str) -> None:
        self.ui = ui
        self.retraining = self._of(folder)
        self._thread = ThreadPoolExecutor(1, "SpineLandmarks retraining")
        self._looked: Future[RetrainStatus] | None = None
        self._found = RetrainStatus("none", "")
        self._timer = qt.QTimer()
        self._timer.setInterval(250)
        self._timer.connect("timeout()", self.look)
        self._timer.start()
        ui.retrainButton.connect("clicked()", self.press)

    def close(self) -> None:
        self._timer.stop()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def press(self) -> None:
        with explained():
            if self._found.state == "running":
                self.retraining.stop()
                return
            start = str(self.retraining.dataset)
            folder = qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), tr("Data set to retrain on"), start)
            if folder:
                self.retraining = self._of(folder)
                self.retraining.start(self.ui.readerEdit.text.strip() or "3D Slicer")
                qt.QSettings().setValue(f"{SETTING}dataset", folder)
                self._show(RetrainStatus("running", "Starting"))
                self._looked = None
                self._timer.start()

    def look(self) -> None:
        """Ask how far it is, or show the answer."""
        if self._looked is None:
            self._looked = self._thread.submit(self.retraining.progress)
        wait([self._looked], YIELD_S)
        if self._looked.done():
            found, self._looked = self._looked.result(), None
            self._show(found)

    def _show(self, found: RetrainStatus) -> None:
        """What the button and, at the end, the message say."""
        before, self._found = self._found, found
        running = found.state == "running"
        percent = f"{100 * found.share:.0f}"
        stop = tr("Stop retraining ({percent} %)").format(percent=percent)
        self.ui.retrainButton.text = stop if running else UNFINISHED.get(found.state, tr("Retrain"))
        self.ui.retrainButton.toolTip = found.text
        if not running:
            self._timer.stop()
            if before.state == "running":
                self.ui.messageLabel.text = found.text

    @staticmethod
    def _of(folder: str) -> Retraining:
        return Retraining(Path(folder), command=(python(), "-m", "SpineLandmarksLib"))
