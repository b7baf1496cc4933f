"""What `spine-landmarks retrain` and `spine-landmarks models` do."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.review import models as m
from SpineLandmarksLib.review.folder import open_dataset, read_folder
from SpineLandmarksLib.review.retrain_process import Retraining
from SpineLandmarksLib.review.retrain_state import read_progress


def retrain(options: argparse.Namespace) -> int:
    """0 = done, promoted or not; 130 = stopped, the same command goes on."""
    read_folder(options.dataset)  # it is a data set
    if options.status or options.stop or options.background:
        return _from_outside(options)
    from SpineLandmarksLib.review.retrain import Round
    from SpineLandmarksLib.review.retrain_plan import Wish
    from SpineLandmarksLib.training.commands import device_of

    if hasattr(os, "nice"):
        os.nice(10)  # annotators work on the same machine
    store = open_dataset(options.dataset, options.store)
    try:
        wish = Wish(options.by, options.steps, restart=options.restart, device=device_of(options.device))
        with stopping() as stop:
            ended = Round(store, wish, stop.is_set).run()
    finally:
        store.close()
    print(ended.text)
    return 0 if ended.state == "done" else 130


def _from_outside(options: argparse.Namespace) -> int:
    retraining = Retraining(options.dataset, options.store)
    if options.background:
        retraining.start(options.by, options.restart)
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
def stopping() -> Iterator[Event]:
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


def models(options: argparse.Namespace) -> int:
    read_folder(options.dataset)
    if options.verb == "promote":
        m.promote(options.dataset, options.model, options.by, options.why)
        print(f"{options.model} is in use")
    elif options.verb == "rollback":
        print(f"{m.rollback(options.dataset, options.by)} is in use again")
    else:
        print("\n".join(lines_of(options)))
    return 0


def lines_of(options: argparse.Namespace) -> list[str]:
    """One line a model, the one in use with a star, and what was decided about it."""
    used = m.name_in_use(options.dataset)
    retrained = m.models_of(options.dataset)
    others = sorted({DEFAULT, used} - {model.name for model in retrained})
    lines = [f"{'*' if name == used else ' '} {name:16} not retrained here" for name in others]
    for model in retrained:
        card = model.card
        learned = f"{card['finished']}  from {card['base']}, {len(card['revisions'])} studies"
        lines.append(f"{'*' if model.in_use else ' '} {model.name:16} {learned}; {card['verdict']['why']}")
    for change in m.changes_of(options.dataset):
        lines.append(f"  {change['time']}  {change['name']} put in use by {change['by']}: {change['why']}")
    return lines
