"""The arguments of `spine-landmarks dataset`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from SpineLandmarksLib.arguments import minutes, positive, slice_index, spacing

Parsers = argparse._SubParsersAction
#: The first is what annotators get unless they ask for another.
ORDERS = ("random", "gain")
#: Of a simulation: default and meaning.
NUMBERS = {
    "start": (15, "studies of the first round"),
    "step": (15, "studies of each further round"),
    "until": (75, "studies of the last round"),
    "seeds": (5, "repetitions"),
    "steps": (100, "of each retraining"),
    "holdout": (30, "patients that judge"),
}


def add_dataset(commands: Parsers[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("dataset", help="grow a data set: add, check, split, compare, anonymize, export, import")
    verbs = p.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_making(verbs)
    _add_looking(verbs)
    _add_deciding(verbs)
    _add_files(verbs)
    _add_queue(verbs)


def _verb(
    verbs: Parsers[argparse.ArgumentParser], name: str, text: str, dataset: bool = True
) -> argparse.ArgumentParser:
    p = verbs.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
    if dataset:
        p.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder")
        p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.set_defaults(run=_runner(name))
    return p


def _runner(name: str) -> Callable[[argparse.Namespace], int]:
    def run(options: argparse.Namespace) -> int:
        from SpineLandmarksLib.dataset.commands import COMMANDS

        return COMMANDS[name](options)

    return run


def _add_making(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "init", "make a data set, of the folder's landmarks.json where it has one")
    p.add_argument("--author", default="imported", metavar="NAME", help="who annotated and signed what is there")
    p = _verb(verbs, "add", "add studies: DICOM, NIfTI and picture trees, or another data set")
    p.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="file or folder")
    p.add_argument(
        "--annotations",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="Tianchi JSON; CSV, markups or results named as their study; a folder of these",
    )
    p.add_argument("--author", default="imported", metavar="NAME", help="of annotations that do not name theirs")
    p.add_argument("--patient", metavar="REGEX", help="whose first group finds the patient in the path of an image")
    p.add_argument("--spacing", type=spacing, metavar="MM", help="mm per pixel of pictures; X,Y if they differ")
    p.add_argument("--slice", type=slice_index, default=None, metavar="auto|INDEX")
    p.add_argument(
        "--bundle",
        default="current",
        metavar="NAME_OR_DIR",
        help="predicts what is not annotated: current, a bundle, or none (default current)",
    )


def _add_looking(verbs: Parsers[argparse.ArgumentParser]) -> None:
    _verb(verbs, "check", "look for mistakes; status 1 when there are any")
    _verb(verbs, "status", "say how far the work is")
    p = _verb(verbs, "diff", "compare two annotators: distances and Bland-Altman limits")
    p.add_argument("annotators", nargs=2, metavar="NAME")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")


def _add_deciding(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "split", "lock a hold-out of patients that no training may see")
    p.add_argument("--holdout", required=True, type=positive, metavar="N", help="patients")
    p.add_argument("--seed", type=int, default=0)
    p = _verb(verbs, "sign-off", "say that the latest landmarks of studies are right")
    p.add_argument("studies", nargs="*", metavar="STUDY", help="default: all that are decided and not signed off")
    p.add_argument("--by", required=True, metavar="NAME")
    p = _verb(verbs, "choose", "go on from one of several versions of a study")
    p.add_argument("study", metavar="STUDY")
    p.add_argument("revision", metavar="REVISION")
    p.add_argument("--by", required=True, metavar="NAME")


def _add_files(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "export", "write landmarks.json, or everything to a folder of its own")
    p.add_argument("--output", type=Path, metavar="DIR", help="write the whole store there, as plain files")
    p.add_argument("--unsigned", action="store_true", help="also what is decided, but not signed off")
    p = _verb(verbs, "import", "take in an export, revisions, or landmark files named as their study")
    p.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    p.add_argument("--author", default="imported", metavar="NAME", help="of landmark files")
    p = _verb(verbs, "anonymize", "copy DICOM without the patient, geometry and pixels kept", dataset=False)
    p.add_argument("inputs", nargs="+", type=Path, metavar="INPUT")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="secret for the new names, to give the same ones again; made when missing",
    )


def _add_queue(verbs: Parsers[argparse.ArgumentParser]) -> None:
    p = _verb(verbs, "queue", "list the studies that are most worth correcting next")
    p.add_argument("--count", type=positive, default=10, metavar="N")
    p.add_argument("--bundle", default="current", metavar="NAME_OR_DIR", help="model in doubt (default current)")
    p.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=f"default {ORDERS[0]}")
    p.add_argument("--locked", action="store_true", help="those of the hold-out, which the queue leaves out")
    p.add_argument("--for", dest="annotator", metavar="NAME", help="leave out what others have been given")
    p = _verb(verbs, "simulate", "play correcting and retraining on annotated studies, by queue and at random")
    p.add_argument("--output", required=True, type=Path, metavar="DIR", help="a simulation there goes on")
    p.add_argument("--bundle", required=True, metavar="NAME_OR_DIR", help="one that has seen none of these studies")
    p.add_argument("--minutes", required=True, type=minutes, metavar="M", help="stop between rounds before that")
    for name, (default, text) in NUMBERS.items():
        p.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"{text} (default {default})")
    p.add_argument("--recipe", default="retrain", metavar="NAME_OR_FILE", help="of each retraining (default retrain)")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write table and plot into its section")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
