"""One round of learning from corrections: plan, fine-tune, build, judge, and use the new model only if it is no worse.

    plan      the signed-off revisions of patients that are not locked, and the model in use
    fine-tune from the weights of the model in use (recipes/retrain.yaml)
    judge     the new model and the one in use on the signed-off revisions of the locked patients, and on the hold-outs
              of other sources (judges.py), on each by itself (non_inferiority.py)
    decide    put it in use, or keep it as a candidate with the reason; models/NAME/retrain.json tells all of it

Chain prior and calibration stay those of the model it began from: a few studies cannot fit them anew, and calibrating
on the locked patients would use up what judges the next model. What a round learns from is decided once and kept, so
that a round that was killed goes on with the same; a study whose picture is no longer the annotated one is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from SpineLandmarksLib.bundle import METADATA, Bundle, load_bundle, read_settings, write_checksums
from SpineLandmarksLib.errors import DatasetError, FormatError, OutputError, SpineLandmarksError
from SpineLandmarksLib.evaluation.evaluate import compare, read_annotated
from SpineLandmarksLib.evaluation.non_inferiority import MIN_PATIENTS, PromotionDecision, non_inferiority_test
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.retraining.judges import judge_rows, judges_of, on_every_source, refuse_learned
from SpineLandmarksLib.retraining.process import CANCEL, MODELS, UNFINISHED, RetrainStatus, the_only_one, write_progress
from SpineLandmarksLib.retraining.registry import (
    CARD,
    card_of,
    current_bundle,
    learned_by,
    name_in_use,
    next_name,
    promote,
)
from SpineLandmarksLib.splits import locked_patients
from SpineLandmarksLib.store.audit import log_now
from SpineLandmarksLib.store.database import now
from SpineLandmarksLib.store.export import annotation_of
from SpineLandmarksLib.store.store import Store
from SpineLandmarksLib.store.study_record import picture_problem
from SpineLandmarksLib.training.build import build_bundle
from SpineLandmarksLib.training.finetune import RECIPE, finetune, finetuning_recipe
from SpineLandmarksLib.training.recipe import Recipe

PLAN_FILE = "plan.json"


class Stopped(SpineLandmarksError):
    """Somebody asked a retraining to end; what is done so far is kept."""


@dataclass(frozen=True)
class RetrainOptions:
    """by: who asks for it. steps: None for the recipe's. margin: what counts as no worse, see `non_inferiority`.
    restart: drop what is unfinished. recipe: None for RECIPE; a name, or a file.
    """

    by: str
    steps: int | None = None
    margin: float = 0.01
    restart: bool = False
    device: str = "cpu"
    recipe: str | None = None


@dataclass(frozen=True)
class Plan:
    """What a round trains. model: to be made. base: in use when it began. revisions: their ids by study.

    left_out: signed-off studies that could not be used, and why.
    """

    model: str
    base: str
    by: str
    begun: str
    steps: int
    margin: float
    revisions: Mapping[str, str]
    left_out: tuple[str, ...] = ()
    recipe: str = RECIPE


def plan_of(store: Store, options: RetrainOptions, folder: Path) -> Plan:
    """The plan that lies in `folder`, or a new one, which is kept there.

    Raises DatasetError: nothing to learn from or to judge on, or options other than the plan's; FormatError: damage.
    """
    file = folder / PLAN_FILE
    if not file.is_file():
        plan = _new_plan(store, options)
        _empty(folder)
        write_text_atomically(file, json.dumps(asdict(plan), indent=1, ensure_ascii=False) + "\n")
        return plan
    values = load_json(file)
    try:
        known = {"recipe": RECIPE, **values}  # the first plans had none
        plan = Plan(**{one.name: known[one.name] for one in fields(Plan)})
    except (KeyError, TypeError) as error:
        raise FormatError(f"Expected a whole plan in {file}. Begin anew with --restart") from error
    if options.steps not in (None, plan.steps):
        raise DatasetError(
            f"Expected the {plan.steps} steps of the unfinished {plan.model}; got {options.steps}. "
            "Go on without --steps, or begin anew with --restart"
        )
    if options.recipe not in (None, plan.recipe):
        raise DatasetError(
            f"Expected the recipe {plan.recipe} of the unfinished {plan.model}; got {options.recipe}. "
            "Go on without --recipe, or begin anew with --restart"
        )
    return plan


def _empty(folder: Path) -> None:
    """Take away what a round left whose folder was not taken away to its end: weights that learned from other studies.

    Raises OutputError.
    """
    try:
        for left in folder.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    except OSError as error:
        raise OutputError(f"Could not empty {folder}: {error.strerror}") from error


def _new_plan(store: Store, options: RetrainOptions) -> Plan:
    base = name_in_use(store.folder)
    chosen = options.recipe or RECIPE
    recipe = finetuning_recipe(load_bundle(current_bundle(store.folder, base)), options.steps, chosen)
    _, lost = holdout_revisions(store)
    learned, problems = _usable(store, locked=False)
    if not learned:
        raise DatasetError(
            f"Expected signed-off studies of patients that are not locked; {store.folder} has none. "
            f"Correct some, then: spine-landmarks dataset sign-off {store.folder}"
        )
    other_judges(store, learned, base)
    name = next_name(store.folder)
    left_out = (*problems, *lost)
    return Plan(name, base, options.by, now(), recipe.steps, options.margin, learned, left_out, chosen)


def holdout_revisions(store: Store) -> tuple[dict[str, str], list[str]]:
    """Signed-off revisions of the locked patients by study, and which cannot be used, and why. DatasetError: none."""
    found, problems = _usable(store, locked=True)
    if not found:
        raise DatasetError(
            f"Expected signed-off studies of locked patients to judge the new model on; {store.folder} "
            f"has none. Lock some with: spine-landmarks dataset split {store.folder} --holdout "
            f"{MIN_PATIENTS} (or more), and sign off their landmarks"
        )
    return found, problems


def other_judges(store: Store, learned: Collection[str], base: str) -> dict[str, list[Annotation]]:
    """Annotated slices of the other sources that judge, by name. DatasetError where one is of a study in `learned`, or
    was learned from on the way to the model `base`.
    """
    found = judge_rows(judges_of(store.folder), store.schema)
    keys = {*learned, *learned_by(store.folder, base)}
    refuse_learned(found, {study.image_sha256 for study in store.studies() if study.key in keys})
    return found


def rows_of(store: Store, revisions: Mapping[str, str]) -> list[Annotation]:
    """What revisions say, for training."""
    studies = {study.key: study for study in store.studies()}
    return [annotation_of(studies[key], store.revision(one), store.folder) for key, one in revisions.items()]


def _usable(store: Store, locked: bool) -> tuple[dict[str, str], list[str]]:
    studies = {study.key: study for study in store.studies()}
    held = locked_patients(store.folder)
    found, problems = {}, []
    for revision in store.signed_off():
        study = studies[revision.study]
        if (study.patient in held) == locked and any(not mark.is_absent for mark in revision.landmarks):
            problem = picture_problem(study, store.folder)
            if problem is None:
                found[study.key] = revision.id
            else:
                problems.append(problem)
    return found, problems


class RetrainRound:
    """stop: asked now and then whether to end. Everything that happens is told in the state file of `process`."""

    def __init__(self, store: Store, options: RetrainOptions, stop: Callable[[], bool] = lambda: False) -> None:
        self.store, self.options, self._stop = store, options, stop
        self.dataset, self.folder = store.folder, store.folder / MODELS / UNFINISHED
        self.progress = RetrainStatus("running", "Starting")
        self._told = self._began = 0.0
        self._first = 0

    def run(self) -> RetrainStatus:
        """Begin a round or go on with the unfinished one, to its end. Returns how it ended: "done" or "stopped".

        Raises DatasetError where another one runs, nothing is signed off or no patient is locked, and what training
        raises; what was done stays, and another run goes on from there.
        """
        with the_only_one(self.dataset):
            if self.options.restart:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / CANCEL).unlink(missing_ok=True)
            try:
                self._tell(self.progress)
                plan = plan_of(self.store, self.options, self.folder)
                if not (self.dataset / MODELS / plan.model / CARD).is_file():
                    self._make(plan)
                return self._decide(plan)
            except Stopped:
                step = f"step {self.progress.done} of {self.progress.total}"
                text = f"Stopped at {step}. Start it again to go on from there"
                return self._tell(replace(self.progress, state="stopped", text=text))
            except BaseException as error:
                with suppress(OutputError):  # of a full disk, say; the first error counts
                    self._tell(replace(self.progress, state="failed", text=str(error) or type(error).__name__))
                raise

    def _make(self, plan: Plan) -> None:
        """The bundle with its judgement, in its own folder; all of it or nothing."""
        started = time.monotonic()
        other_judges(
            self.store, plan.revisions, plan.base
        )  # they may be others since the round was begun, and at its end
        base = load_bundle(current_bundle(self.dataset, plan.base))
        recipe = finetuning_recipe(base, plan.steps, plan.recipe)
        rows = rows_of(self.store, plan.revisions)
        self.progress = replace(self.progress, model=plan.model, total=plan.steps)
        detector = finetune(
            base, rows, recipe, self.folder, device=self.options.device, resume=True, progress=self._step
        )
        self._say(f"Building {plan.model}", plan.steps)
        draft = self.folder / plan.model
        shutil.rmtree(draft, ignore_errors=True)
        doubt = replace(base.calibration, fitted_on=f"{base.calibration.fitted_on}; taken over from {base.label}")
        build_bundle(draft, detector, recipe, base.schema, rows, doubt, prior=base.prior)
        write_checksums(draft, read_settings(draft / METADATA) | {"fine_tuned_from": base.label})
        held, _ = holdout_revisions(self.store)
        judged = self._compare(draft, held, plan)
        write_text_atomically(draft / CARD, _card(plan, base, recipe, held, judged, time.monotonic() - started))
        os.rename(draft, self.dataset / MODELS / plan.model)

    def _compare(self, draft: Path, held: Mapping[str, str], plan: Plan) -> dict[str, PromotionDecision]:
        """The new model beside the one in use by now, both as they would predict: here first, then on each other
        source.
        """
        others = other_judges(self.store, plan.revisions, plan.base)
        sources = {self.dataset.resolve().name: rows_of(self.store, held), **others}
        old, new = (
            self._read(which, bundle, sources, plan.steps)
            for which, bundle in (("old", current_bundle(self.dataset)), ("new", draft))
        )
        return {name: non_inferiority_test(old[name], new[name], plan.margin) for name in sources}

    def _read(
        self, which: str, bundle: str | Path, sources: Mapping[str, list[Annotation]], steps: int
    ) -> dict[str, Predictions]:
        localizer, found = Localizer.open(bundle), {}
        for name, rows in sources.items():

            def tell(done: int, total: int, name: str = name) -> None:
                self._say(f"Judging the {which} model on {name}: study {done} of {total}", steps)

            found[name] = compare(localizer, rows, read_annotated(localizer, rows, tell))
        return found

    def _decide(self, plan: Plan) -> RetrainStatus:
        judged = card_of(self.dataset, plan.model)["verdict"]
        promoted, why = bool(judged["promoted"]), str(judged["why"])
        said = f"{plan.model} is in use" if promoted else f"{plan.model} is kept as a candidate"

        def log(model: str) -> None:
            log_now(self.store, plan.by, "retrained", detail=f"{said}: {why}")

        if promoted and name_in_use(self.dataset) != plan.model:
            promote(self.dataset, plan.model, plan.by, why, log)
        else:
            log(plan.model)
        shutil.rmtree(self.folder, ignore_errors=True)
        words = "".join(f". Left out: {problem}" for problem in plan.left_out)
        return self._tell(RetrainStatus("done", f"{said}: {why}{words}", plan.steps, plan.steps, plan.model, promoted))

    def _step(self, done: int, total: int) -> None:
        if not self._began:
            self._began, self._first = time.monotonic(), done
        rate = (time.monotonic() - self._began) / max(1, done - self._first)
        left = f", about {rate * (total - done) / 60:.0f} min left" if done > self._first else ""
        self._say(f"Training {self.progress.model}: step {done} of {total}{left}", done)

    def _say(self, text: str, done: int) -> None:
        """Keep the progress, in the file at most once a second; Stopped when somebody asked for the end."""
        self.progress = replace(self.progress, text=text, done=done)
        if time.monotonic() - self._told > 1:
            self._told = time.monotonic()
            self._tell(self.progress)
            if self._stop() or (self.folder / CANCEL).exists():
                raise Stopped(text)

    def _tell(self, progress: RetrainStatus) -> RetrainStatus:
        self.progress = progress
        write_progress(self.dataset, progress)
        return progress


def _card(
    plan: Plan,
    base: Bundle,
    recipe: Recipe,
    held: Mapping[str, str],
    judged: Mapping[str, PromotionDecision],
    seconds: float,
) -> str:
    """What a version knows of itself. seconds: since the round was begun or last gone on with."""
    card = asdict(plan) | {"base_label": base.label, "finished": now(), "recipe": plan.recipe, "seed": recipe.seed}
    card |= {"seconds": round(seconds, 1), "judged_on": dict(held), "verdict": on_every_source(judged).as_json()}
    card |= {"by_source": {name: one.as_json() for name, one in judged.items()}}
    return json.dumps(card, indent=1, ensure_ascii=False) + "\n"
