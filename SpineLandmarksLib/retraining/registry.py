"""The models of a data set: which bundles were retrained on it, which one is in use, and the way back.

They lie in:

    DATASET/models/NAME/              a bundle; NAME/retrain.json says what it was trained on and how it was judged
    DATASET/models/in-use.json        [{"name", "time", "by", "why"}]: every change, the last one counts
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SpineLandmarksLib.bundle import DEFAULT, METADATA, bundles_named, load_bundle
from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.strict_json import Fields, load_json, load_objects
from SpineLandmarksLib.retraining.process import MODELS
from SpineLandmarksLib.store.database import now

#: Takes the name of a model that is about to be put in use.
Log = Callable[[str], None]
IN_USE, CARD = "in-use.json", "retrain.json"


@dataclass(frozen=True)
class RetrainedModel:
    """name: of its folder. card: the content of retrain.json. in_use: the one that predicts for this data set."""

    name: str
    card: dict[str, Any]
    in_use: bool


def models_of(dataset: Path) -> list[RetrainedModel]:
    """Every retrained bundle that is whole, in the order of their names."""
    used = name_in_use(dataset)
    folders = sorted(file.parent.parent for file in (dataset / MODELS).glob("*/configs/metadata.json"))
    whole = [folder for folder in folders if (folder / CARD).is_file()]
    return [RetrainedModel(folder.name, _card(folder), folder.name == used) for folder in whole]


def name_in_use(dataset: Path) -> str:
    """The retrained bundle in use, or the shipped one that a data set begins with."""
    changes = changes_of(dataset)
    return str(changes[-1]["name"]) if changes else DEFAULT


def current_bundle(dataset: Path, name: str = "current") -> str | Path:
    """What `Localizer.open` takes: `current`, a retrained bundle by name, or any other bundle's name or folder; after a
    comma the bundle of corners.
    """
    first, *others = bundles_named(name)
    first = name_in_use(dataset) if first == "current" else first
    folder = dataset / MODELS / first
    found = folder if (folder / METADATA).is_file() else first
    return ",".join([str(found), *others]) if others else found


def learned_by(dataset: Path, name: str) -> set[str]:
    """Studies of the data set that a model, and those that it began from, learned from."""
    found: set[str] = set()
    while (dataset / MODELS / name / CARD).is_file():
        card = card_of(dataset, name)
        found |= set(card["revisions"])
        name = card["base"]
    return found


def promote(dataset: Path, name: str, by: str, why: str, log: Log = lambda model: None) -> None:
    """Put a bundle in use. log: told its name first, so that no model is in use without an entry.

    Raises BundleError where it is damaged, DatasetError where it is in use already.
    """
    if name_in_use(dataset) == name:
        raise DatasetError(f"Expected another model than the one in use; {name} is in use")
    load_bundle(current_bundle(dataset, name))  # its hashes are right
    log(name)
    _write(dataset, [*changes_of(dataset), {"name": name, "time": now(), "by": by, "why": why}])


def rollback(dataset: Path, by: str, log: Log = lambda model: None) -> str:
    """Go back to what was in use before; returns its name. log: as of `promote`.

    Raises DatasetError where there was nothing before.
    """
    changes = changes_of(dataset)
    if not changes:
        raise DatasetError(f"Expected a model to go back from; {DEFAULT} is in use, which the data set began with")
    # Each rollback goes one step further back: what was rolled back from does not count as a step.
    steps: list[str] = [DEFAULT]
    for change in changes:
        steps = steps[:-1] if change.get("rollback") else [*steps, str(change["name"])]
    if len(steps) < 2:
        raise DatasetError(f"Expected an earlier model to go back to; {steps[0]} is what the data set began with")
    entry = {"name": steps[-2], "time": now(), "by": by, "why": f"rolled back from {steps[-1]}", "rollback": True}
    load_bundle(current_bundle(dataset, steps[-2]))
    log(steps[-2])
    _write(dataset, [*changes, entry])
    return steps[-2]


def next_name(dataset: Path) -> str:
    """Name: "retrained-001", or the number after the highest that was ever begun."""
    numbers = [
        int(folder.name.rpartition("-")[2])
        for folder in (dataset / MODELS).glob("retrained-*")
        if folder.name.rpartition("-")[2].isdecimal()
    ]
    return f"retrained-{max(numbers, default=0) + 1:03d}"


def changes_of(dataset: Path) -> list[dict[str, Any]]:
    file = dataset / MODELS / IN_USE
    if not file.is_file():
        return []
    changes = [fields.values for fields in load_objects(file) if fields.text("name")]
    if not changes:
        raise FormatError(f"{file}: expected at least one change; got none. Restore it, or delete it to begin again")
    return changes


def card_of(dataset: Path, name: str) -> dict[str, Any]:
    """What a retrained bundle says of itself. Raises FormatError for a damaged file."""
    return _card(dataset / MODELS / name)


def _card(folder: Path) -> dict[str, Any]:
    return Fields.of(load_json(folder / CARD), str(folder / CARD)).values


def _write(dataset: Path, changes: list[dict[str, Any]]) -> None:
    (dataset / MODELS).mkdir(exist_ok=True)
    write_text_atomically(dataset / MODELS / IN_USE, json.dumps(changes, indent=1, ensure_ascii=False) + "\n")
