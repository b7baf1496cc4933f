"""The arguments of `spine-landmarks retrain` and `spine-landmarks models`."""

from __future__ import annotations

import argparse
import getpass
from pathlib import Path

from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.dataset.parser import Parsers


def add_retrain(commands: Parsers[argparse.ArgumentParser]) -> None:
    text = "fine-tune the model in use on what was signed off, and use the new one if it is no worse"
    p = commands.add_parser(
        "retrain", help=text, description=f"{text[0].upper()}{text[1:]}. Goes on with what is unfinished."
    )
    p.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder with a locked hold-out")
    p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.add_argument("--by", default=who(), metavar="NAME", help="who asks for it (default: the user's name)")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    p.add_argument("--restart", action="store_true", help="drop what is unfinished and begin anew")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    how = p.add_mutually_exclusive_group()
    how.add_argument("--background", action="store_true", help="return at once; --status tells how far it is")
    how.add_argument("--status", action="store_true", help="say how far it is, and do nothing")
    how.add_argument("--stop", action="store_true", help="have the running one save where it is and end")
    p.set_defaults(run=_retrain)


def add_models(commands: Parsers[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("models", help="list, promote or roll back the models of a data set")
    verbs = p.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, text in (
        ("list", "say which models there are, what each learned from, and which is in use"),
        ("promote", "put a model in use, whatever its judgement was"),
        ("rollback", "go back to the model that was in use before"),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        verb.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder")
        if name == "promote":
            verb.add_argument("model", metavar="NAME", help="as `models list` shows it")
            verb.add_argument("--why", default="promoted by hand", metavar="TEXT")
        if name != "list":
            verb.add_argument("--by", default=who(), metavar="NAME", help="who decides (default: the user's name)")
        verb.set_defaults(run=_models, verb=name)


def who() -> str:
    """The user's name; "unknown" on a machine that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _retrain(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.retrain_commands import retrain

    return retrain(options)


def _models(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.dataset.retrain_commands import models

    return models(options)
