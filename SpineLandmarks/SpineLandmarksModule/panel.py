"""The panel as a whole: its three parts, the logic behind them, and what happens in the scene meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr

from SpineLandmarksLib.errors import InputError
from SpineLandmarksLib.worker.localization import JobResult
from SpineLandmarksModule import install, views, volumes
from SpineLandmarksModule.case_list import CaseList
from SpineLandmarksModule.cases import Case, NextCase, origin_of
from SpineLandmarksModule.dialogs import ask, explained, notify
from SpineLandmarksModule.files_panel import FilesPanel
from SpineLandmarksModule.parameters import Processor, SliceChoice
from SpineLandmarksModule.points import StudyPoints
from SpineLandmarksModule.review_panel import ReviewPanel
from SpineLandmarksModule.runner import VolumeJob, WorkerOptions
from SpineLandmarksModule.study_panel import StudyPanel

#: How often news of the worker is asked for while it works.
POLL_MS = 20
#: Slicer's event loop keeps Python's lock even while it is idle: our threads run while we sleep, and only then, s.
YIELD_S = 0.002


class Panel:
    """ui: the widgets by name. make_logic: SpineLandmarksLogic. is_entered: whether the module is shown."""

    def __init__(self, ui: Any, make_logic: Callable[..., Any], is_entered: Callable[[], bool]) -> None:
        self.ui, self.is_entered = ui, is_entered
        self.parameters: Any = None
        self._binding: tuple[int, int] | None = None
        self._volume_id: str | None = None
        self._listed = ""  # the data set whose cases are listed
        self._before: StudyPoints | None = None  # the study that was looked at before this one
        self.logic = make_logic(self.refresh, notify, self.on_progress, self.on_end)
        self.study_panel = StudyPanel(ui)
        self.review_panel = ReviewPanel(ui, self.relocalize)
        self.files_panel = FilesPanel(ui, self.import_onto)
        ui.localizeButton.connect("clicked()", self.localize)
        ui.cancelButton.connect("clicked()", self.cancel)
        ui.installButton.connect("clicked()", self.install)
        ui.readerEdit.connect("textChanged(QString)", self.set_reader)
        ui.takeOverButton.connect("clicked()", self.take_over)
        ui.nextCaseButton.connect("clicked()", lambda: self.next_case())
        ui.casesButton.connect("clicked()", self.list_cases)
        self.case_list = CaseList(ui.casesTable, ui.caseSearchEdit, self.next_case)
        buttons = (ui.nextCaseButton, ui.casesButton, ui.casesTable)
        self.cases = NextCase(buttons, self.take_case, self._say, self.case_list.show)
        ui.pointsBox.connect("toggled(bool)", lambda on: self.show_points())
        self.set_reader(ui.readerEdit.text)
        self.timer = qt.QTimer()
        self.timer.setInterval(POLL_MS)
        self.timer.connect("timeout()", self.poll)
        self.bind(self.logic.getParameterNode())

    def enter(self) -> None:
        """The module is shown: its keys work, and the model is loaded before it is needed."""
        self.bind(self.logic.getParameterNode())
        if self.parameters.volume is None:
            self.parameters.volume = volumes.likely(slicer.mrmlScene)
        self.review_panel.install_keys()
        if not install.missing(self.model().backend):
            self.logic.runner.use(self.model())
            self.logic.runner.warm()
            self.timer.start()

    def exit(self) -> None:
        self.review_panel.remove_keys()

    def close(self) -> None:
        """The panel is not used again; the worker ends."""
        self.timer.stop()
        self.exit()
        self.bind(None)
        self.files_panel.close()
        self.cases.close()
        self.logic.close()

    # Scene and parameters

    def bind(self, parameters: Any) -> None:
        """Let the widgets follow this parameter node."""
        if parameters and self.parameters and parameters.parameterNode is self.parameters.parameterNode:
            return
        if self._binding is not None:
            gui, observer = self._binding
            self.parameters.disconnectGui(gui)
            self.parameters.RemoveObserver(observer)
        self.parameters, self._binding = parameters, None
        if parameters is not None:
            gui = parameters.connectParametersToGui(self._bound_widgets())  # connectGui gives no tag to disconnect by
            self._binding = gui, parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, self.on_parameters)
            self._volume_id = None
            self.on_parameters()

    def _bound_widgets(self) -> dict[str, Any]:
        """The widgets that show a parameter, by its name."""
        named = ((widget.property("SlicerParameterName"), widget) for widget in vars(self.ui).values())
        return {name: widget for name, widget in named if name}

    def on_parameters(self, caller: Any = None, event: Any = None) -> None:
        if slicer.mrmlScene.IsBatchProcessing():
            return
        volume = self.parameters.volume
        self.study_panel.show_processor(self.parameters.processor is Processor.CUDA)
        self.study_panel.show_slice_choice(self.parameters.sliceChoice is SliceChoice.RANGE)
        if (volume and volume.GetID()) != self._volume_id:
            self._volume_id = volume and volume.GetID()
            self.show_volume(volume, turn=caller is not None)
        self.show_looks()

    def show_volume(self, volume: Any, turn: bool) -> None:
        """Another volume: show it, and the work that was done on it. turn: also views that show it already."""
        self.study_panel.show_range(volumes.lateral_count(volume))
        if volume and volume.GetImageData():
            self.ui.messageLabel.text = ""
            views.show_volume(volume, turn)
        with explained():
            self.open(self.logic.studies.of(volume))

    def open(self, study: StudyPoints | None) -> None:
        self._before = self.review_panel.study or self._before
        self.review_panel.open(study)
        self.files_panel.open(study)
        if study:
            study.on_display = lambda seen: self.note_visibility(study, seen)
        self.show_points()
        self.show_looks()

    def show_points(self) -> None:
        """Of all studies only the points of the selected one, if any are wanted."""
        if self._volume_id:
            self.logic.studies.show_only(self.review_panel.study if self.ui.pointsBox.checked else None)

    def note_visibility(self, study: StudyPoints, seen: bool) -> None:
        """The eye in Data or Markups was clicked."""
        if study is self.review_panel.study:
            self.ui.pointsBox.checked = seen

    def show_looks(self) -> None:
        study = self.review_panel.study
        if study and self.parameters:
            study.look(self.parameters.pointSize, self.parameters.textSize)
            study.decorations.show_curve(self.parameters.showCurve, study.session.current.landmarks)
            study.show_endplates(self.parameters.showEndplates)
            self.review_panel.show_corners(self.parameters.showEndplates)

    def refresh(self) -> None:
        """A session has changed. After a scene was loaded behind another module, `enter` shows what it is then."""
        if self.parameters is None:
            return
        study = self.logic.studies.of(self.parameters.volume)
        if study is not self.review_panel.study:
            self.open(study)
        self.review_panel.refresh()

    def on_scene_starts_to_close(self, caller: Any, event: Any) -> None:
        self.logic.runner.cancel()
        self.logic.studies.clear()
        self.bind(None)
        self.open(None)

    def on_scene_changed(self, caller: Any, event: Any) -> None:
        """A scene was closed, or one was loaded: widgets that waited for its nodes are bound anew.

        While another module is shown nothing is made or changed; `enter` does it then.
        """
        self.bind(None)
        if self.is_entered():
            self.bind(self.logic.getParameterNode())

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def on_node_removed(self, caller: Any, event: Any, node: Any) -> None:
        """What a study loses is looked at once all that goes with it is gone, as a patient with all his studies."""
        if slicer.mrmlScene.IsClosing():
            return
        if self.logic.runner.job and self.logic.runner.job.subject == node.GetID():
            self.logic.runner.cancel()
        for study in self.logic.studies:
            if node in (study.volume, study.node):
                study.close()
                qt.QTimer.singleShot(0, lambda study=study: self.on_part_removed(study))

    def on_part_removed(self, study: StudyPoints) -> None:
        """Points that were deleted by hand can be put back. Without its volume, a list is one like any other."""
        if study not in self.logic.studies:
            return
        name, worked = study.volume.GetName(), bool(study.session.events)
        has_volume, has_points = (node.GetScene() is not None for node in (study.volume, study.node))
        self.logic.studies.drop(study)
        if has_volume:
            with_work = tr("The landmarks of {name} were deleted. Put them back with all corrections?")
            question = with_work if worked else tr("The landmarks of {name} were deleted. Put them back?")
            if has_points or ask(question.format(name=name)):  # they are back already, by Slicer's undo
                self.logic.studies.put_back(study)
        elif has_points:
            self.ui.messageLabel.text = tr("{name} was deleted. Its landmarks are still in the scene.").format(
                name=name
            )
        elif worked and ask(
            tr("{name} was deleted with the landmarks that you worked on. Keep those in the scene?").format(name=name)
        ):
            study.keep_without_volume()
        self.refresh()

    # Work

    def model(self) -> WorkerOptions:
        return self.study_panel.model(self.parameters.processor is Processor.CUDA)

    def slices(self) -> dict[str, Any]:
        """What may be used, as arguments of the worker."""
        if self.parameters.sliceChoice is SliceChoice.CURRENT:
            return {"slice_index": views.slice_in_view(self.parameters.volume)}
        if self.parameters.sliceChoice is SliceChoice.RANGE:
            return {"slices": tuple(sorted((self.ui.firstSliceBox.value, self.ui.lastSliceBox.value)))}
        return {}

    def localize(self) -> None:
        study = self.review_panel.study
        if not (study and study.session.is_reviewed) or ask(
            tr(
                "This study has corrections. Localize all landmarks anew? Undo takes it back. To keep what "
                "is corrected or confirmed and find only the others, use Relocalize"
            )
        ):
            self.start(is_again=False)

    def relocalize(self) -> None:
        self.start(is_again=True)

    def start(self, is_again: bool) -> None:
        with explained():
            volumes.require_usable(self.parameters.volume)
            if self.has_runtime():
                self.logic.localize(self.parameters.volume, self.model(), is_again, **self.slices())
                self.timer.start()

    def has_runtime(self) -> bool:
        """Whether all that the model needs is there, after an offer to install it. Raises BackendError."""
        return not install.missing(self.model().backend) or self.install_runtime(ask)

    def install(self) -> None:
        with explained():
            self.install_runtime(lambda question: True)

    def install_runtime(self, may_install: Callable[[str], bool]) -> bool:
        """Whether all is there then; False when a question was answered with no."""
        try:
            return install.install(self.model().backend, may_install)
        finally:
            self.logic.runner.restart()
            self.timer.start()
            self.on_parameters()

    def cancel(self) -> None:
        self.ui.progressBar.format = tr("ending")
        self.logic.runner.cancel()

    def import_onto(self, path: Path) -> bool:
        return bool(self.logic.studies.import_file(self.parameters.volume, path, ask))

    def take_over(self) -> None:
        """The points of another series of the patient: those looked at last, if there are several."""
        with explained():
            volume = self.parameters.volume
            volumes.require_usable(volume)
            found = self.logic.studies.in_frame_of(volume)
            if not found:
                raise InputError(
                    tr("No other series of this patient has landmarks in the scene. Localize on one first")
                )
            source = self._before if self._before in found else found[0]
            question = tr("Nothing says that {name} lies in the same frame of reference. Take its points over?")
            is_known = volumes.frame_of_reference_of(volume) and volumes.frame_of_reference_of(source.volume)
            if is_known or ask(question.format(name=source.volume.GetName())):
                self.logic.studies.take_over(volume, source, ask)

    def next_case(self, wanted: str = "") -> None:
        """Of the data set of this case or its list, or of one that is chosen; what is saved of this one is put away.

        wanted: its key; what waits next where it is empty.
        """
        with explained():
            origin = origin_of(self.parameters.volume)
            dataset = self._dataset_of_cases(self._listed if wanted or not origin else origin.dataset)
            if dataset:
                study = self.review_panel.study
                is_touched = study and (study.session.events or study.session.is_reviewed)
                after = origin.key if origin and origin.dataset == dataset else None
                self.cases.ask(dataset, self.ui.readerEdit.text.strip(), after, not is_touched, wanted)

    def list_cases(self) -> None:
        """Of the data set of this case, or of one that is chosen."""
        with explained():
            origin = origin_of(self.parameters.volume)
            self._listed = self._dataset_of_cases(origin.dataset if origin else "") or self._listed
            if self._listed:
                self.cases.list(self._listed, self.ui.readerEdit.text.strip())

    def _dataset_of_cases(self, known: str) -> str:
        """The folder that is known, or one that is chosen; empty where none is, or what reads it is not installed.

        Raises InputError without a reader.
        """
        if not self.ui.readerEdit.text.strip():
            raise InputError(tr("Enter your name as the reader first: cases are given to people"))
        dataset = known or self.files_panel.choose_dataset()
        return dataset if dataset and (not install.missing("cases") or install.install("cases", ask)) else ""

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = text

    def take_case(self, case: Case) -> None:
        """Show it in place of the one before, which stays in the scene while something of it is not saved."""
        study, volume = self.review_panel.study, self.parameters.volume
        if case.landmarks:
            self.logic.studies.begin(case.volume, case.landmarks, case.parent)
        self.parameters.volume = case.volume
        if origin_of(volume) and (study is None or study.session.is_saved):
            if study:
                self.logic.studies.drop(study)
                slicer.mrmlScene.RemoveNode(study.node)
            slicer.mrmlScene.RemoveNode(volume)
        self.ui.messageLabel.text = case.words

    def set_reader(self, name: str) -> None:
        self.logic.studies.set_author(name.strip())

    def poll(self) -> None:
        time.sleep(YIELD_S)
        with explained():
            self.logic.runner.poll()
        job = self.logic.runner.job
        if job:
            self.ui.elapsedLabel.text = f"{job.elapsed_s:.1f} s"
        time.sleep(YIELD_S)  # what was just asked for is on its way
        if not self.logic.runner.is_busy:
            self.timer.stop()

    def on_progress(self, share: float, stage: str) -> None:
        self.study_panel.show_progress(share, stage)

    def on_end(self, job: VolumeJob, end: JobResult) -> None:
        self.study_panel.show_progress(None)
        if end.landmarks is not None:
            doubts = " ".join(f"{warning}." for warning in end.landmarks.warnings)
            self.ui.messageLabel.text = tr("Done in {seconds:.1f} s. {doubts}").format(
                seconds=job.elapsed_s, doubts=doubts
            )
        elif end.error:
            self.ui.messageLabel.text = end.error
            notify(end.error)
        else:
            self.ui.messageLabel.text = tr("Cancelled; nothing was changed.")
