"""`spine-landmarks retrain` and `spine-landmarks models`: their arguments, and what they do."""

from __future__ import annotations

import argparse
import getpass
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

from SpineLandmarksLib.arguments import positive

if TYPE_CHECKING:
    from SpineLandmarksLib.cli.dataset import Parsers


def add_retrain(commands: Parsers[argparse.ArgumentParser]) -> None:
    text = "fine-tune the model in use on what was signed off, and use the new one if it is no worse"
    p = commands.add_parser(
        "retrain", help=text, description=f"{text[0].upper()}{text[1:]}. Goes on with what is unfinished."
    )
    p.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder with a locked hold-out")
    p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.add_argument("--by", default=user_name(), metavar="NAME", help="who asks for it (default: the user's name)")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    p.add_argument("--recipe", metavar="NAME_OR_FILE", help="how it is trained (default retrain)")
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
        ("judges", "name other annotated data sets on whose hold-outs, too, each new model must be no worse"),
        ("promote", "put a model in use, whatever its judgement was"),
        ("rollback", "go back to the model that was in use before"),
    ):
        verb = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        verb.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder")
        if name == "promote":
            verb.add_argument("model", metavar="NAME", help="as `models list` shows it")
            verb.add_argument("--why", default="promoted by hand", metavar="TEXT")
        if name == "judges":
            where = "folder with landmarks.json and holdout.json; none: the data set's own hold-out alone"
            verb.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help=where)
        if name != "list":
            verb.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
            verb.add_argument(
                "--by", default=user_name(), metavar="NAME", help="who decides (default: the user's name)"
            )
        verb.set_defaults(run=_models, verb=name)


def user_name() -> str:
    """The user's name; "unknown" on a machine that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _retrain(options: argparse.Namespace) -> int:
    """0 = done, promoted or not; 130 = stopped, the same command goes on."""
    from SpineLandmarksLib.store.folder import open_dataset, read_folder

    read_folder(options.dataset)  # it is a data set
    if options.status or options.stop or options.background:
        return _from_outside(options)
    from SpineLandmarksLib.backends import device_of
    from SpineLandmarksLib.retraining.retrain import RetrainOptions, RetrainRound

    if hasattr(os, "nice"):
        os.nice(10)  # annotators work on the same machine
    with open_dataset(options.dataset, options.store) as store:
        device = device_of(options.device)
        asked = RetrainOptions(options.by, options.steps, restart=options.restart, device=device, recipe=options.recipe)
        with _stopping() as stop:
            ended = RetrainRound(store, asked, stop.is_set).run()
    print(ended.text)
    return 0 if ended.state == "done" else 130


def _from_outside(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.retraining.process import Retraining, read_progress

    retraining = Retraining(options.dataset, options.store)
    if options.background:
        given = {"--steps": options.steps, "--recipe": options.recipe, "--device": options.device}
        more = [str(text) for name, value in given.items() if value is not None for text in (name, value)]
        retraining.start(options.by, options.restart, more)
        print(f"Started. How far it is: spine-landmarks retrain {options.dataset} --status")
    elif options.stop:
        running = read_progress(options.dataset).state == "running"
        retraining.stop()
        print("It was asked to stop" if running else "None is running")
    else:
        found = read_progress(options.dataset)
        print(f"{found.state}: {found.text}")
    return 0


@contextmanager
def _stopping() -> Iterator[Event]:
    """Set by the first Ctrl-C or SIGTERM, so that a checkpoint is written; a second Ctrl-C ends at once."""
    asked = Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _models(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.folder import read_folder

    read_folder(options.dataset)
    if options.verb == "list":
        print("\n".join(_model_lines(options.dataset)))
    else:
        print(_set_judges(options) if options.verb == "judges" else _overrule(options))
    return 0


def _set_judges(options: argparse.Namespace) -> str:
    from SpineLandmarksLib.retraining.judges import set_judges
    from SpineLandmarksLib.store.audit import log_now
    from SpineLandmarksLib.store.folder import open_dataset

    with open_dataset(options.dataset, options.store) as store:

        def log(names: str) -> None:
            log_now(store, options.by, "judges", detail=names or "own hold-out alone")

        names = set_judges(options.dataset, options.folders, store.schema, log)
    return (
        f"Each new model is judged on the data set's own hold-out{f' and on those of {names}' if names else ' alone'}"
    )


def _overrule(options: argparse.Namespace) -> str:
    """What a person decides over the rule, which is logged before it is done."""
    from SpineLandmarksLib.retraining.registry import promote, rollback
    from SpineLandmarksLib.store.audit import log_now
    from SpineLandmarksLib.store.folder import open_dataset

    with open_dataset(options.dataset, options.store) as store:

        def log(said: str) -> None:
            log_now(store, options.by, "overruled", detail=said)

        if options.verb == "rollback":
            return f"{rollback(options.dataset, options.by, lambda model: log(f'back to {model}'))} is in use again"
        why = options.why
        promote(options.dataset, options.model, options.by, why, lambda model: log(f"{model} put in use: {why}"))
    return f"{options.model} is in use"


def _model_lines(dataset: Path) -> list[str]:
    """One line a model, the one in use with a star, and what was decided about it."""
    from SpineLandmarksLib.bundle import DEFAULT
    from SpineLandmarksLib.retraining.judges import judges_of
    from SpineLandmarksLib.retraining.registry import changes_of, models_of, name_in_use

    used = name_in_use(dataset)
    retrained = models_of(dataset)
    others = sorted({DEFAULT, used} - {model.name for model in retrained})
    lines = [f"{'*' if name == used else ' '} {name:16} not retrained here" for name in others]
    for model in retrained:
        card = model.card
        learned = f"{card['finished']}  from {card['base']}, {len(card['revisions'])} studies"
        lines.append(f"{'*' if model.in_use else ' '} {model.name:16} {learned}; {card['verdict']['why']}")
    judges = ", ".join(folder.name for folder in judges_of(dataset))
    lines += [f"  each new one must be no worse on the hold-outs of {judges} too"] if judges else []
    for change in changes_of(dataset):
        lines.append(f"  {change['time']}  {change['name']} put in use by {change['by']}: {change['why']}")
    return lines
