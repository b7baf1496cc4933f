"""Retraining: what it learns from and is judged on, how it is stopped and killed, and which model is in use then."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import Bundle, load_bundle
from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import BackendError, BundleError, DatasetError, OutputError
from SpineLandmarksLib.evaluation import non_inferiority
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.files import write_phantom_dataset
from SpineLandmarksLib.retraining import process, retrain
from SpineLandmarksLib.retraining.judges import judges_of, set_judges
from SpineLandmarksLib.retraining.process import (
    Retraining,
    RetrainStatus,
    is_running,
    read_progress,
    the_only_one,
    write_progress,
)
from SpineLandmarksLib.retraining.registry import changes_of, current_bundle, models_of, name_in_use, promote, rollback
from SpineLandmarksLib.retraining.retrain import RetrainOptions, RetrainRound
from SpineLandmarksLib.splits import lock, locked_patients, only_locked
from SpineLandmarksLib.store import audit, folder
from SpineLandmarksLib.store.exclusions import exclude_study
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.worker.client import kill_tree

OPTIONS = RetrainOptions("Ann", steps=2)


@pytest.fixture(scope="module")
def a_template(a_phantom_dataset: Path, a_small_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four annotated, signed-off studies of four patients, two of them locked; a small network is in use."""
    data = shutil.copytree(a_phantom_dataset, tmp_path_factory.mktemp("retrain") / "data")
    assert main(["dataset", "init", str(data), "--author", "Ann"]) == 0
    assert main(["dataset", "split", str(data), "--holdout", "2"]) == 0
    promote(data, str(a_small_bundle.folder), "Ann", "small enough for a test")
    return data


@pytest.fixture
def a_dataset(a_template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(a_template, tmp_path / "data")


@pytest.fixture
def a_store(a_dataset: Path):
    store = open_dataset(a_dataset)
    yield store
    store.close()


@pytest.fixture(scope="module")
def a_retrained(a_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set after a round whose judges were enough, for they are two and two were asked for."""
    folder = shutil.copytree(a_template, tmp_path_factory.mktemp("retrained") / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(non_inferiority, "MIN_PATIENTS", 2)
        store = open_dataset(folder)
        ended = RetrainRound(store, OPTIONS).run()
        store.close()
    assert (ended.state, ended.promoted) == ("done", True)
    return folder


def steps_until(number: int) -> Callable[[], bool]:
    """Asks to stop when it is asked for the `number`-th time."""
    asked = iter(range(1, 1000))
    return lambda: next(asked) >= number


@pytest.fixture
def no_export(a_small_bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of exporting the graph anew, which takes seconds: a copy of the small bundle."""

    def copied(folder: Path, *_, **__) -> Path:
        return shutil.copytree(a_small_bundle.folder, folder)

    monkeypatch.setattr(retrain, "build_bundle", copied)


@pytest.fixture
def no_training(no_export: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrain, "finetune", lambda *_, **__: None)


# A round


def test_a_model_that_is_no_worse_is_used_and_knows_what_it_learned_from(a_retrained: Path, a_small_bundle) -> None:
    assert name_in_use(a_retrained) == "retrained-001"
    bundle = load_bundle(current_bundle(a_retrained))
    assert bundle.prior.to_dict() == a_small_bundle.prior.to_dict()
    assert bundle.calibration.fitted_on.endswith(f"taken over from {a_small_bundle.label}")
    assert bundle.weights_sha256 != a_small_bundle.weights_sha256
    (model,) = models_of(a_retrained)
    store = open_dataset(a_retrained)
    held = locked_patients(a_retrained)
    learned = {study.key: study.patient not in held for study in store.studies()}
    latest = {key: store.head(key).id for key in learned}
    store.close()
    assert model.card["revisions"] == {key: latest[key] for key in learned if learned[key]}
    assert model.card["judged_on"] == {key: latest[key] for key in learned if not learned[key]}
    assert len(model.card["revisions"]) == len(model.card["judged_on"]) == 2
    assert model.card["verdict"]["promoted"]
    assert changes_of(a_retrained)[-1]["why"].startswith("it is not worse")


def test_nothing_but_the_model_and_how_it_ended_is_left(a_retrained: Path) -> None:
    left = {path.name for path in (a_retrained / "models").iterdir()}
    assert left == {"retrained-001", "in-use.json", "retraining.json", "retraining.lock"}
    progress = read_progress(a_retrained)
    assert (progress.state, progress.done, progress.total, progress.share) == ("done", 2, 2, 1.0)
    assert progress.text.startswith("retrained-001 is in use: it is not worse")


def test_too_few_judges_leave_a_candidate_with_the_reason(
    a_dataset: Path, a_store: Store, a_small_bundle: Bundle, no_training
) -> None:
    ended = RetrainRound(a_store, OPTIONS).run()
    assert (ended.state, ended.promoted) == ("done", False)
    assert "kept as a candidate: the hold-out has 2 patients; fewer than 10 cannot tell" in ended.text
    assert name_in_use(a_dataset) == str(a_small_bundle.folder)
    (model,) = models_of(a_dataset)
    assert not model.in_use
    promote(a_dataset, model.name, "Ann", "I looked at it")
    assert rollback(a_dataset, "Ann") == str(a_small_bundle.folder)


def test_a_stopped_round_goes_on_with_the_same_plan(a_dataset: Path, a_store: Store, no_export, monkeypatch) -> None:
    monkeypatch.setattr(retrain, "time", _Hurry())
    stopped = RetrainRound(a_store, RetrainOptions("Ann", steps=3), steps_until(2)).run()
    assert (stopped.state, stopped.done, stopped.total) == ("stopped", 2, 3)
    assert read_progress(a_dataset).text == "Stopped at step 2 of 3. Start it again to go on from there"
    plan = json.loads((a_dataset / "models" / "unfinished" / "plan.json").read_text())
    with pytest.raises(DatasetError, match="Expected the 3 steps of the unfinished retrained-001; got 5"):
        RetrainRound(a_store, RetrainOptions("Bo", steps=5)).run()
    assert read_progress(a_dataset).state == "failed"
    seen: list[str] = []
    monkeypatch.setattr(RetrainRound, "_tell", _listening(RetrainRound._tell, seen))
    assert RetrainRound(a_store, RetrainOptions("Bo")).run().state == "done"
    assert [text.partition(",")[0] for text in seen if text.startswith("Training")] == [
        "Training retrained-001: step 3 of 3"
    ]
    (model,) = models_of(a_dataset)
    assert model.card["revisions"] == plan["revisions"]
    assert model.card["by"] == "Ann"


class _Hurry:
    """A clock by which every look is two seconds after the last, so that each step is told."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        self.now += 2.0
        return self.now


def _listening(tell, seen: list[str]):
    def listening(self: RetrainRound, progress):
        seen.append(progress.text)
        return tell(self, progress)

    return listening


def test_a_restart_drops_what_is_unfinished(a_dataset: Path, a_store: Store, monkeypatch) -> None:
    monkeypatch.setattr(retrain, "time", _Hurry())
    RetrainRound(a_store, RetrainOptions("Ann", steps=3), steps_until(2)).run()
    RetrainRound(a_store, RetrainOptions("Bo", steps=4, restart=True), steps_until(1)).run()
    plan = json.loads((a_dataset / "models" / "unfinished" / "plan.json").read_text())
    assert (plan["by"], plan["steps"], plan["model"]) == ("Bo", 4, "retrained-001")


def test_a_new_round_does_not_go_on_with_the_weights_of_one_that_died_at_its_end(
    a_dataset: Path, a_store: Store, no_training
) -> None:
    """Killed while its folder was taken away: the plan was gone, the checkpoint was not."""
    left = a_dataset / "models" / "unfinished"
    (left / "retrained-000").mkdir(parents=True)
    for name in ("checkpoint.pt", "retrained-000/model.onnx"):
        (left / name).write_bytes(b"of other studies")
    seen: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "finetune", lambda *_, **__: seen.extend(file.name for file in left.iterdir()))
        assert RetrainRound(a_store, OPTIONS).run().state == "done"
    assert seen == ["plan.json"]


def test_a_round_that_died_after_the_model_was_whole_only_decides(a_retrained: Path, tmp_path: Path) -> None:
    """Between the rename of the bundle and its promotion, say."""
    folder = shutil.copytree(a_retrained, tmp_path / "data")
    in_use = folder / "models" / "in-use.json"
    in_use.write_text(json.dumps(json.loads(in_use.read_text())[:-1]))
    card = json.loads((folder / "models" / "retrained-001" / "retrain.json").read_text())
    plan = {name: card[name] for name in ("model", "base", "by", "begun", "steps", "margin", "revisions", "left_out")}
    (folder / "models" / "unfinished").mkdir()
    (folder / "models" / "unfinished" / "plan.json").write_text(json.dumps(plan))
    store = open_dataset(folder)
    assert RetrainRound(store, RetrainOptions("Ann")).run().promoted
    store.close()
    assert name_in_use(folder) == "retrained-001"
    assert not (folder / "models" / "unfinished").exists()


def test_a_picture_that_changed_is_left_out_and_told(a_dataset: Path, a_store: Store, no_training) -> None:
    held = locked_patients(a_dataset)
    changed, *_ = (study for study in a_store.studies() if study.patient not in held)
    with (a_dataset / changed.image).open("ab") as file:
        file.write(b"\n")
    ended = RetrainRound(a_store, OPTIONS).run()
    assert f"Left out: {changed.key}: the image {changed.image} has changed since it was annotated" in ended.text
    assert changed.key not in models_of(a_dataset)[0].card["revisions"]


def test_without_locked_patients_there_is_no_judge_and_so_no_training(a_dataset: Path, a_store: Store) -> None:
    (a_dataset / "holdout.json").unlink()
    with pytest.raises(DatasetError, match=r"Expected signed-off studies of locked patients.*dataset split"):
        RetrainRound(a_store, OPTIONS).run()
    assert read_progress(a_dataset).state == "failed"
    assert not models_of(a_dataset)


def test_a_full_disk_ends_it_in_plain_words_and_it_goes_on_later(a_dataset: Path, a_store: Store, no_training) -> None:
    def full(*_, **__):
        raise OutputError("Could not write checkpoint.pt: No space left on device. Nothing was changed")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retrain, "finetune", full)
        with pytest.raises(OutputError, match="No space left"):
            RetrainRound(a_store, OPTIONS).run()
    assert read_progress(a_dataset).text.startswith("Could not write checkpoint.pt: No space left")
    assert RetrainRound(a_store, RetrainOptions("Ann")).run().state == "done"


# Other sources that judge


@pytest.fixture(scope="module")
def another_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two slices of two patients, one of them locked."""
    folder = write_phantom_dataset(tmp_path_factory.mktemp("sources") / "other", 2, 7)
    lock(folder, [load_annotations([folder], LUMBAR11)[0].group])
    return folder


def test_a_model_has_to_be_no_worse_on_each_source_by_itself(
    a_dataset: Path, a_store: Store, another_source: Path, no_training, monkeypatch
) -> None:
    monkeypatch.setattr(non_inferiority, "MIN_PATIENTS", 2)
    monkeypatch.chdir(another_source)
    assert main(["models", "judges", str(a_dataset), ".", "--by", "Lea"]) == 0
    ended = RetrainRound(a_store, OPTIONS).run()
    assert (ended.state, ended.promoted) == ("done", False)
    assert "kept as a candidate: on other, the hold-out has 1 patients" in ended.text
    card = models_of(a_dataset)[0].card
    assert {name: one["patients"] for name, one in card["by_source"].items()} == {"data": 2, "other": 1}
    assert (card["verdict"]["patients"], card["verdict"]["promoted"]) == (2, False)
    assert main(["models", "judges", str(a_dataset), "--by", "Lea"]) == 0
    assert RetrainRound(a_store, OPTIONS).run().promoted  # judged here alone again
    said = [(event["person"], event["detail"]) for event in audit.events_of(a_store) if event["action"] == "judges"]
    assert said == [("Lea", "other"), ("Lea", "own hold-out alone")]


@pytest.fixture
def a_learned_source(a_dataset: Path, a_store: Store, tmp_path: Path) -> Path:
    """A copy of the data set whose hold-out is a patient that is learned from."""
    copied = tmp_path / "copy"
    copied.mkdir()
    shutil.copytree(a_dataset / "images", copied / "images")
    shutil.copyfile(a_dataset / "landmarks.json", copied / "landmarks.json")
    held = locked_patients(a_dataset)
    lock(copied, [next(study.patient for study in a_store.studies() if study.patient not in held)])
    return copied


def test_nothing_is_learned_from_what_judges(
    a_dataset: Path, a_store: Store, a_learned_source: Path, no_training
) -> None:
    learned = only_locked(load_annotations([a_learned_source], a_store.schema), a_learned_source)
    set_judges(a_dataset, [a_learned_source], a_store.schema)
    with pytest.raises(DatasetError, match=rf"nothing is learned from.*{learned[0].image.name}"):
        RetrainRound(a_store, OPTIONS).run()


def test_nor_was_by_the_model_that_it_begins_from(
    a_dataset: Path, a_store: Store, a_learned_source: Path, no_training
) -> None:
    RetrainRound(a_store, OPTIONS).run()
    promote(a_dataset, "retrained-001", "Ann", "by hand")
    (seen,) = locked_patients(a_learned_source)
    exclude_study(a_store, next(study.key for study in a_store.studies() if study.patient == seen), "Ann", "it judges")
    set_judges(a_dataset, [a_learned_source], a_store.schema)
    with pytest.raises(DatasetError, match="by the model in use"):
        RetrainRound(a_store, OPTIONS).run()
    rollback(a_dataset, "Ann")
    assert RetrainRound(a_store, OPTIONS).run().state == "done"


def test_nor_where_the_judges_are_named_while_it_learns(
    a_dataset: Path, a_store: Store, a_learned_source: Path, no_export, monkeypatch
) -> None:
    def learn(*_, **__) -> None:
        set_judges(a_dataset, [a_learned_source], a_store.schema)

    monkeypatch.setattr(retrain, "finetune", learn)
    with pytest.raises(DatasetError, match=r"nothing is learned from.*--restart"):
        RetrainRound(a_store, OPTIONS).run()
    monkeypatch.setattr(retrain, "finetune", lambda *_, **__: pytest.fail("refused before it learns on"))
    with pytest.raises(DatasetError, match="nothing is learned from"):
        RetrainRound(a_store, RetrainOptions("Ann")).run()
    assert not models_of(a_dataset)
    set_judges(a_dataset, [], a_store.schema)
    monkeypatch.setattr(retrain, "finetune", lambda *_, **__: None)
    assert RetrainRound(a_store, RetrainOptions("Ann")).run().state == "done"


def test_what_cannot_judge_is_refused_before_anything_is_changed(a_dataset: Path, another_source: Path, capsys) -> None:
    command = ["models", "judges", str(a_dataset)]
    assert main([*command, str(another_source), str(another_source)]) == 2
    assert main([*command, str(another_source / "images")]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert "judges of other names than data" in said[0]
    assert judges_of(a_dataset) == []
    assert main([*command, str(another_source)]) == 0
    assert main(["models", "list", str(a_dataset)]) == 0
    assert "no worse on the hold-outs of other too" in capsys.readouterr().out
    (a_dataset / "models" / "judges.json").write_text("{}")
    assert main(["models", "list", str(a_dataset)]) == 2
    assert "models judges" in capsys.readouterr().err


# Models


def test_what_is_damaged_is_not_put_in_use(a_retrained: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(a_retrained, tmp_path / "data")
    before = rollback(folder, "Ann")
    with (folder / "models" / "retrained-001" / "models" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BundleError, match="The file was altered"):
        promote(folder, "retrained-001", "Ann", "why not")
    assert name_in_use(folder) == before


def test_each_rollback_goes_one_step_further(a_retrained: Path, tmp_path: Path, a_small_bundle: Bundle) -> None:
    folder = shutil.copytree(a_retrained, tmp_path / "data")
    assert rollback(folder, "Ann") == str(a_small_bundle.folder)
    assert rollback(folder, "Ann") == "lumbar11"
    with pytest.raises(DatasetError, match="Expected an earlier model to go back to; lumbar11"):
        rollback(folder, "Ann")
    promote(folder, "retrained-001", "Bo", "again")
    assert [change["by"] for change in changes_of(folder)] == ["Ann", "Ann", "Ann", "Ann", "Bo"]
    with pytest.raises(DatasetError, match="retrained-001 is in use"):
        promote(folder, "retrained-001", "Bo", "twice")
    with pytest.raises(BundleError, match="Expected a bundle folder"):
        promote(folder, "retrained-009", "Bo", "never made")


@pytest.mark.parametrize("verb", [["promote", "retrained-001", "--why", "again"], ["rollback"]])
def test_no_model_is_in_use_without_its_entry_in_the_log(
    a_retrained: Path, tmp_path: Path, verb: list[str], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    folder = shutil.copytree(a_retrained, tmp_path / "data")
    if verb[0] == "promote":
        rollback(folder, "Ann")
    before = name_in_use(folder)

    def fail(*_: Any, **__: Any) -> None:
        raise OutputError("The store is gone")

    with monkeypatch.context() as patch:
        patch.setattr(audit, "log_event", fail)
        assert main(["models", verb[0], str(folder), *verb[1:]]) == 2
    assert "The store is gone" in capsys.readouterr().err
    assert name_in_use(folder) == before
    assert main(["models", verb[0], str(folder), *verb[1:]]) == 0
    with open_dataset(folder) as store:
        assert [event["action"] for event in audit.events_of(store)].count("overruled") == 1
    assert name_in_use(folder) != before


def test_the_command_lists_promotes_and_rolls_back(a_retrained: Path, tmp_path: Path, capsys) -> None:
    folder = str(shutil.copytree(a_retrained, tmp_path / "data"))
    assert main(["models", "list", folder]) == 0
    said = capsys.readouterr().out
    assert "* retrained-001" in said
    assert ", 2 studies; it is not worse: SDR@4" in said
    assert "  lumbar11         not retrained here" in said
    assert main(["models", "rollback", folder, "--by", "Ann"]) == 0
    assert main(["models", "promote", folder, "retrained-001", "--by", "Bo", "--why", "better eyes"]) == 0
    assert capsys.readouterr().out.endswith("is in use again\nretrained-001 is in use\n")
    assert main(["models", "list", folder]) == 0
    assert "retrained-001 put in use by Bo: better eyes" in capsys.readouterr().out
    assert main(["retrain", folder, "--status"]) == 0
    assert capsys.readouterr().out.startswith("done: retrained-001 is in use")
    assert main(["retrain", str(tmp_path)]) == 2


# From outside

#: In place of `python -m SpineLandmarksLib`: counts steps until it is asked to stop.
CHILD = """
import sys, time
from pathlib import Path
from typing import Any
from SpineLandmarksLib.retraining.process import *
from SpineLandmarksLib.retraining.process import CANCEL, MODELS, UNFINISHED, the_only_one, write_progress
dataset = Path(sys.argv[2])
with the_only_one(dataset):
    cancel = dataset / MODELS / UNFINISHED / CANCEL
    cancel.unlink(missing_ok=True)
    for step in range(1, 2000):
        write_progress(dataset, RetrainStatus("running", f"step {step}", step, 2000))
        if cancel.exists():
            write_progress(dataset, RetrainStatus("stopped", "Stopped", step, 2000))
            sys.exit(130)
        time.sleep(0.02)
"""


#: As Slicer's Python is started: the process that is started is not the one that works, and gives its status on.
LAUNCHER = """#!/bin/sh
"$@" &
wait $!
"""


def launched(tmp_path: Path, *command: str) -> tuple[str, ...]:
    (tmp_path / "launcher").write_text(LAUNCHER)
    (tmp_path / "launcher").chmod(0o755)
    return (str(tmp_path / "launcher"), *command)


@pytest.fixture(params=["itself", "through a launcher"])
def a_retraining(tmp_path: Path, request: pytest.FixtureRequest):
    """One whose process only counts; it is ended after the test."""
    (tmp_path / "child.py").write_text(CHILD)
    (tmp_path / folder.DATASET_FILE).write_text("{}")
    command: tuple[str, ...] = (sys.executable, str(tmp_path / "child.py"))
    if request.param != "itself":
        if sys.platform == "win32":
            pytest.skip("a shell script")
        command = launched(tmp_path, *command)
    retraining = Retraining(tmp_path, command=command)
    yield retraining
    if retraining._process is not None:
        kill_tree(retraining._process)
        retraining._process.wait()


def wait_for(retraining: Retraining, state: str, done: int = 0) -> None:
    for _ in range(300):
        progress = retraining.progress()
        if progress.state == state and progress.done >= done:
            return
        time.sleep(0.05)
    raise AssertionError(retraining.progress())


def test_a_window_starts_it_sees_how_far_it_is_and_stops_it(a_retraining: Retraining) -> None:
    assert (a_retraining.progress().state, a_retraining.label) == ("none", "Retrain")
    a_retraining.start("Ann")
    assert a_retraining.progress().state == "running"
    with pytest.raises(DatasetError, match="one is running"):
        a_retraining.start("Bo")
    wait_for(a_retraining, "running", done=2)
    another = Retraining(a_retraining.dataset)  # of another window, or of this one opened again
    assert (another.progress().state, another.label) == ("running", "Stop")
    assert 0 < another.progress().share < 0.95
    with pytest.raises(DatasetError, match=r"one is running\. step "), the_only_one(a_retraining.dataset):
        pass
    another.stop()
    wait_for(a_retraining, "stopped")
    assert a_retraining.label == "Go on retraining"
    a_retraining.start("Ann")
    wait_for(a_retraining, "running", done=1)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_a_killed_one_is_seen_as_stopped_and_can_be_started_again(a_retraining: Retraining) -> None:
    a_retraining.start("Ann")
    wait_for(a_retraining, "running", done=3)
    assert is_running(a_retraining.dataset)
    os.kill(a_retraining.progress().pid, signal.SIGKILL)
    a_retraining._process.wait()
    assert a_retraining.progress().state == "stopped"
    assert "Start it again to go on from there" in a_retraining.progress().text
    a_retraining.start("Ann")
    wait_for(a_retraining, "running", done=1)


def test_one_that_cannot_begin_says_why(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Expected a data set with dataset\.json; there is none"):
        Retraining(tmp_path).start("Ann")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / folder.DATASET_FILE).write_text("{}")
    says = "import sys; sys.exit('spine-landmarks: this command needs torch')"
    retraining = Retraining(tmp_path, command=(sys.executable, "-c", says))
    retraining.start("Ann")
    wait_for(retraining, "failed")
    assert retraining.progress().text == "The retraining could not begin: this command needs torch"
    with pytest.raises(BackendError, match="Could not start /nowhere/python"):
        Retraining(tmp_path, command=("/nowhere/python",)).start("Ann")
    shutil.rmtree(tmp_path / "models")
    (tmp_path / "models").write_text("in the way")
    with pytest.raises(OutputError, match="Nothing was changed"):
        Retraining(tmp_path).start("Ann")


def test_one_that_was_stopped_before_it_began_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / folder.DATASET_FILE).write_text("{}")
    retraining = Retraining(tmp_path, command=(sys.executable, "-c", "import sys; print('stopped'); sys.exit(130)"))
    retraining.start("Ann")
    wait_for(retraining, "stopped")
    assert retraining.label == "Go on retraining"


def test_a_file_of_an_earlier_version_is_read(a_retraining: Retraining) -> None:
    (a_retraining.dataset / "models").mkdir()
    write_progress(a_retraining.dataset, RetrainStatus("done", "in use"))
    file = a_retraining.dataset / "models" / "retraining.json"
    file.write_text(json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "run"}))
    assert a_retraining.progress().text == "in use"


def test_the_file_that_tells_how_far_it_is_may_be_damaged(a_retraining: Retraining) -> None:
    (a_retraining.dataset / "models").mkdir()
    (a_retraining.dataset / "models" / "retraining.json").write_text("{}")
    assert a_retraining.progress().state == "failed"
    assert "Delete the file; no model depends on it" in a_retraining.progress().text
    a_retraining.start("Ann")
    wait_for(a_retraining, "running", done=1)


def test_what_was_asked_for_is_asked_for_in_the_background_too(a_dataset: Path, monkeypatch) -> None:
    seen: list[str] = []

    def spawn(command, **how):
        seen.extend(command)
        raise OSError(2, "not here")

    monkeypatch.setattr(process, "Retraining", partial(Retraining, spawn=spawn))
    asked = ["--steps", "7", "--recipe", "retrain-small", "--device", "cpu"]
    assert main(["retrain", str(a_dataset), "--by", "Ann", "--background", *asked]) == 2
    assert [seen[seen.index(name) + 1] for name in asked[::2]] == asked[1::2]


def test_a_password_is_in_no_list_of_processes(a_retraining: Retraining) -> None:
    seen: dict[str, object] = {}

    def spawn(command, **how):
        seen.update(command=command, password=how["env"].get("PGPASSWORD"))
        raise OSError(2, "not here")

    with_store = Retraining(a_retraining.dataset, "postgresql://ann:secret@host/spines", spawn=spawn)
    with pytest.raises(BackendError):
        with_store.start("Ann")
    assert seen["command"][-2:] == ["--store", "postgresql://ann@host/spines"]
    assert seen["password"] == "secret"
