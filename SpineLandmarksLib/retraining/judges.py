"""Which other sources judge a new model: it must not lose on one what it gains on another.

A model that learns from one source may forget the next, and a mean over both would hide that. So the rule of
`non_inferiority` has to hold on the locked patients of each source by itself.

    DATASET/models/judges.json    ["/data/tianchi150"]: annotated folders with a hold-out, beside the data set's own
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.evaluation.non_inferiority import PromotionDecision
from SpineLandmarksLib.formats.atomic import sha256_of, write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.retraining.process import MODELS
from SpineLandmarksLib.retraining.registry import Log
from SpineLandmarksLib.splits import only_locked

JUDGES_FILE = "judges.json"


def judges_of(dataset: Path) -> list[Path]:
    """The folders that judge beside the data set itself. Raises FormatError for a damaged file."""
    file = dataset / MODELS / JUDGES_FILE
    if not file.is_file():
        return []
    folders = load_json(file)
    if not isinstance(folders, list) or not all(isinstance(folder, str) for folder in folders):
        raise FormatError(f"Expected a list of folders in {file}. Set them anew with: spine-landmarks models judges")
    return [Path(folder) for folder in folders]


def set_judges(dataset: Path, folders: Sequence[Path], schema: Sequence[str], log: Log = lambda names: None) -> str:
    """Have the locked patients of these folders judge from now on; of none, the data set's own alone. Returns their
    names. log: told them first, so that none judges without an entry.

    Raises DatasetError where one has no annotated locked patients, or the name of another.
    """
    whole = [folder.resolve() for folder in folders]
    if len({folder.name for folder in [dataset.resolve(), *whole]}) <= len(whole):
        raise DatasetError(f"Expected judges of other names than {dataset.name}; got {', '.join(map(str, folders))}")
    judge_rows(whole, schema)
    names = ", ".join(folder.name for folder in whole)
    log(names)
    (dataset / MODELS).mkdir(exist_ok=True)
    text = json.dumps([str(folder) for folder in whole], indent=1, ensure_ascii=False)
    write_text_atomically(dataset / MODELS / JUDGES_FILE, text + "\n")
    return names


def judge_rows(folders: Sequence[Path], schema: Sequence[str]) -> dict[str, list[Annotation]]:
    """The annotated slices of each folder's locked patients, by its name. Raises DatasetError where there are none."""
    return {folder.name: only_locked(load_annotations([folder], schema), folder) for folder in folders}


def refuse_learned(judges: Mapping[str, Sequence[Annotation]], learned: Collection[str]) -> None:
    """Raise DatasetError where a picture that judges is learned from. learned: SHA-256 of the pictures."""
    for name, rows in judges.items():
        found = [row.image.name for row in rows if sha256_of(row.image) in learned]
        if found:
            raise DatasetError(
                f"Expected judges that nothing is learned from; {len(found)} pictures of the hold-out of {name} are "
                f"learned from here, or were by the model in use: {', '.join(found[:3])}. Name other judges (models "
                "judges), or leave these out (dataset exclude), promote a model that never saw them, and --restart"
            )


def on_every_source(judged: Mapping[str, PromotionDecision]) -> PromotionDecision:
    """Promoted where each source by itself allows it; those that refuse are told first. judged: the own one first,
    whose figures stand in the decision.
    """
    own, *_ = judged.values()
    if len(judged) == 1:
        return own
    said = sorted(judged.items(), key=lambda one: one[1].promoted)
    words = "; ".join(f"on {name}, {one.why}" for name, one in said)
    return replace(own, promoted=all(one.promoted for one in judged.values()), why=words)
