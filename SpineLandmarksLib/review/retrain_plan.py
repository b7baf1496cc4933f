"""What a round of retraining learns from, decided once and kept, so that a round that was killed goes on with the same.

Only the signed-off revisions of studies whose picture is still the annotated one are used; those of locked patients
judge, the others teach.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.review.finetune import finetuning_recipe
from SpineLandmarksLib.review.history import now
from SpineLandmarksLib.review.judge import FEWEST_PATIENTS
from SpineLandmarksLib.review.models import current_bundle, name_in_use, next_name
from SpineLandmarksLib.review.plain_files import annotation_of
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.study import picture_problem
from SpineLandmarksLib.training.locked import locked_patients

FILE = "plan.json"


@dataclass(frozen=True)
class Wish:
    """steps: None for the recipe's. margin: what counts as no worse, see `judge`. restart: drop what is unfinished."""

    by: str
    steps: int | None = None
    margin: float = 0.01
    restart: bool = False
    device: str = "cpu"


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


def plan_of(store: Store, wish: Wish, folder: Path) -> Plan:
    """The plan that lies in `folder`, or a new one, which is kept there.

    Raises DatasetError: nothing to learn from or to judge on, or a wish that is not the plan's; FormatError: damage.
    """
    file = folder / FILE
    if not file.is_file():
        plan = _new_plan(store, wish)
        write_text_atomically(file, json.dumps(asdict(plan), indent=1, ensure_ascii=False) + "\n")
        return plan
    values = load_json(file)
    try:
        plan = Plan(**{one.name: values[one.name] for one in fields(Plan)})
    except (KeyError, TypeError) as error:
        raise FormatError(f"Expected a whole plan in {file}. Begin anew with --restart") from error
    if wish.steps not in (None, plan.steps):
        raise DatasetError(
            f"Expected the {plan.steps} steps of the unfinished {plan.model}; got {wish.steps}. "
            "Go on without --steps, or begin anew with --restart"
        )
    return plan


def _new_plan(store: Store, wish: Wish) -> Plan:
    base = name_in_use(store.folder)
    recipe = finetuning_recipe(load_bundle(current_bundle(store.folder, base)), wish.steps)
    _, lost = judges(store)
    learned, problems = _usable(store, locked=False)
    if not learned:
        raise DatasetError(
            f"Expected signed-off studies of patients that are not locked; {store.folder} has none. "
            f"Correct some, then: spine-landmarks dataset sign-off {store.folder}"
        )
    name = next_name(store.folder)
    return Plan(name, base, wish.by, now(), recipe.steps, wish.margin, learned, (*problems, *lost))


def judges(store: Store) -> tuple[dict[str, str], list[str]]:
    """Signed-off revisions of the locked patients by study, and which cannot be used, and why. DatasetError: none."""
    found, problems = _usable(store, locked=True)
    if not found:
        raise DatasetError(
            f"Expected signed-off studies of locked patients to judge the new model on; {store.folder} "
            f"has none. Lock some with: spine-landmarks dataset split {store.folder} --holdout "
            f"{FEWEST_PATIENTS} (or more), and sign off their landmarks"
        )
    return found, problems


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
