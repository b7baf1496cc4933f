"""SpineLandmarks in 3D Slicer: find eleven lumbar landmarks, look, correct, measure, export.

Slicer imports this file at its start, so that it holds no more than what Slicer must know then; the rest is imported
when the module is first shown, from SpineLandmarksModule/ (scene, widgets, worker) and SpineLandmarksLib/ (landmarks).
"""

import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr, translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

HERE = Path(__file__).resolve().parent
#: Installed, the library and the resources lie beside this file; in the source tree one folder up.
ROOT = HERE if (HERE / "SpineLandmarksLib").is_dir() else HERE.parent
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))
RESOURCES = ROOT / "Resources"
PAGE = "https://github.com/SpineLandmarks/SlicerSpineLandmarks/blob/main"
OURS = ("SpineLandmarksModule", "SpineLandmarksLib")


class SpineLandmarks(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = tr("Spine Landmarks")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Spine")]
        parent.dependencies = ["Markups"]
        parent.contributors = ["SpineLandmarks developers"]
        parent.helpText = tr(
            "Eleven named landmarks (discs and vertebral bodies from T12-L1 to L5-S1) on a sagittal lumbar MRI, with "
            "how sure each is. Select a volume, press Localize, correct what is wrong. Research only. "
            'See the <a href="{page}/docs/slicer.md">documentation</a> and '
            '<a href="{page}/docs/landmarks.md">what each landmark is</a>.'
        ).format(page=PAGE)
        parent.acknowledgementText = tr(
            'Apache-2.0; <a href="{page}">sources and how to cite</a>. What the models learned from and its terms: see '
            "their cards (About)."
        ).format(page=PAGE)
        parent.icon = qt.QIcon(str(RESOURCES / "Icons" / "SpineLandmarks.png"))
        slicer.app.connect("startupCompleted()", register_sample_data)


def register_sample_data():
    """A case for the first steps, which is generated: nothing is fetched."""
    import SampleData

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="Spine Landmarks",
        sampleName="SpineLandmarksPhantom",
        uris=f"{PAGE}/docs/training.md",  # what a phantom is; Slicer wants an address
        fileNames="SpineLandmarksPhantom.nrrd",
        nodeNames="SpineLandmarksPhantom",
        customDownloader=lambda source: load_phantom(),
        thumbnailFileName=str(RESOURCES / "Icons" / "SpineLandmarksPhantom.png"),
    )


def load_phantom():
    """Generate the sagittal lumbar MRI of a phantom and show it; the node."""
    from SpineLandmarksModule.sample import load

    return load("SpineLandmarksPhantom")


class SpineLandmarksWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel, as Slicer's calls reach it."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.panel = None

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from SpineLandmarksModule.panel import Panel

        self.ui_root = slicer.util.loadUI(str(RESOURCES / "UI" / "SpineLandmarks.ui"))
        self.layout.addWidget(self.ui_root)
        self.ui_root.setMRMLScene(slicer.mrmlScene)
        self.panel = Panel(slicer.util.childWidgetVariables(self.ui_root), self.makeLogic, self.is_entered)
        scene, panel = slicer.mrmlScene, self.panel
        self.addObserver(scene, scene.StartCloseEvent, panel.on_scene_starts_to_close)
        self.addObserver(scene, scene.EndCloseEvent, panel.on_scene_changed)
        self.addObserver(scene, scene.EndImportEvent, panel.on_scene_changed)
        self.addObserver(scene, scene.NodeRemovedEvent, panel.on_node_removed)
        if self.is_entered():  # reloaded while it is shown: Slicer does not say so again
            self.enter()

    def is_entered(self):
        return self.parent.isEntered

    def makeLogic(self, *callbacks):
        self.logic = SpineLandmarksLogic(*callbacks)
        return self.logic

    def enter(self):
        """The module is shown."""
        self.panel.enter()

    def exit(self):
        """Another module is shown."""
        self.panel.exit()

    def cleanup(self):
        """Reload, unloading and the end of the application: the worker ends."""
        self.removeObservers()
        if self.panel is not None:
            self.panel.close()
        self.panel = None

    def onReload(self):
        """Forget the parts too, so that they are read anew with this file."""
        for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)


class SpineLandmarksLogic(ScriptedLoadableModuleLogic):
    """The open studies and the worker, without a panel; scripts may use it.

    on_change: a session has changed. on_refused: a text for a dialog. on_progress, on_end: as in `Runner`.
    """

    def __init__(self, on_change=lambda: None, on_refused=print, on_progress=lambda *_: None, on_end=lambda *_: None):
        ScriptedLoadableModuleLogic.__init__(self)
        from SpineLandmarksModule.runner import Runner
        from SpineLandmarksModule.studies import Studies

        self.studies = Studies(on_change, on_refused)
        self.runner = Runner(on_progress, self._take)
        self._on_end = on_end

    def getParameterNode(self):
        from SpineLandmarksModule.parameters import SpineLandmarksParameterNode

        return SpineLandmarksParameterNode(super().getParameterNode())

    def localize(self, volume, model, is_again=False, **slices):
        """Begin; the landmarks come while `runner.poll` is called. Raises for a volume that cannot be used.

        is_again: only what no person has spoken of. slices: `slice_index` or `slices`, as for the worker.
        """
        from SpineLandmarksModule.volumes import Snapshot, geometry_of, require_usable

        require_usable(volume)
        study = self.studies.of(volume)
        given = {"given": study.session.given()} if is_again else {}
        self._geometry, self._since = geometry_of(volume), study and study.session.current
        self.runner.use(model)
        self.runner.start(volume.GetID(), Snapshot(volume), {**slices, **given}, is_again)

    def close(self):
        """End the worker; the nodes stay in the scene."""
        self.runner.close()
        self.studies.clear()

    def _take(self, job, end):
        from SpineLandmarksLib.worker.localization import JobResult
        from SpineLandmarksModule.volumes import geometry_of

        volume = slicer.mrmlScene.GetNodeByID(job.subject)
        if end.landmarks is not None and volume is not None:
            if geometry_of(volume) == self._geometry:
                self.studies.take(volume, end.landmarks, job.is_again, self._since)
            else:
                text = tr("{name} was moved while it was localized. Press Localize again")
                end = JobResult(job, error=text.format(name=volume.GetName()))
        self._on_end(job, end)


class SpineLandmarksTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer: developer mode, Reload and Test. docs/slicer-release-checklist.md says what it proves."""

    def runTest(self):
        from SpineLandmarksModule.selftest import run

        run(self)
