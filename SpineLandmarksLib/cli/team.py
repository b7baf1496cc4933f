"""`spine-landmarks dataset assign`, `gold`, `reopen`, `quality`, `exclude`, `log`, `account`: what a lead does.

Whoever can open the folder or the database can run these; `--by` says as whom, and that person's role counts where the
data set has accounts.
"""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.errors import DatasetError

if TYPE_CHECKING:
    from SpineLandmarksLib.store.store import Store

Parsers = argparse._SubParsersAction
Command = Callable[[argparse.Namespace], int]


def add_team(
    verbs: Parsers[argparse.ArgumentParser], verb: Callable[[str, Command, str], argparse.ArgumentParser]
) -> None:
    """verb: makes a command of a data set."""
    p = verb("assign", _assign, "give studies to several readers who do not see each other's points")
    p.add_argument("studies", nargs="*", metavar="STUDY")
    p.add_argument("--count", type=positive, metavar="N", help="so many at random of those that nobody has touched")
    p.add_argument("--readers", required=True, metavar="NAME,NAME", help="two or more; or OLD=NEW: NEW instead of OLD")
    p.add_argument("--arbiter", default="", metavar="NAME", help="who decides where they differ (default: any lead)")
    p.add_argument("--limit", type=float, default=4.0, metavar="MM", help="who is closer agrees (default 4)")
    _by(p)
    p = verb("gold", _gold, "have every reader get studies once whose truth is known, as if they were new")
    p.add_argument("studies", nargs="+", metavar="STUDY")
    p.add_argument("--end", action="store_true", help="give them to no further reader")
    _by(p)
    p = verb("reopen", _reopen, "take a sign-off back")
    p.add_argument("study", metavar="STUDY")
    p.add_argument("--reader", default="", metavar="NAME", help="that of one of several readers")
    _why(p)
    p = verb("exclude", _exclude, "leave a study out of queue, training and exports")
    p.add_argument("study", metavar="STUDY")
    _why(p)
    p = verb("include", _include, "take in again what was left out")
    p.add_argument("study", metavar="STUDY")
    _by(p)
    p = verb("readings", _readings, "say how double readings stand, and in what the readers differ")
    p.add_argument("--output", type=Path, metavar="FILE", help="also as CSV, one row a landmark of each reading")
    p = verb("quality", _quality, "say how well readers read gold cases, over time")
    p.add_argument("--output", type=Path, metavar="DIR", help="also as CSV and a plot")
    p = verb("log", _log, "say who did what when")
    p.add_argument("study", nargs="?", default="", metavar="STUDY")
    p.add_argument("--output", type=Path, metavar="FILE", help="as CSV")
    p = verb("account", _account, "list accounts, make one, give it a role or password, or remove it")
    p.add_argument("name", nargs="?", metavar="NAME")
    p.add_argument("--role", choices=("reader", "lead", "administrator"))
    p.add_argument("--no-password", action="store_true", help="a proxy says who it is")
    p.add_argument("--remove", action="store_true")
    p.add_argument("--by", default="", metavar="NAME", help="an administrator (default: the name itself)")


def _by(p: argparse.ArgumentParser) -> None:
    p.add_argument("--by", required=True, metavar="NAME", help="who decides it")


def _why(p: argparse.ArgumentParser) -> None:
    p.add_argument("--why", required=True, metavar="TEXT", help="the reason, which is kept")
    _by(p)


def _opened(options: argparse.Namespace, read_only: bool = False) -> Store:
    from SpineLandmarksLib.store.folder import open_dataset

    return open_dataset(options.dataset, options.store, read_only)


def _assign(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.readings import assign_readers, replace_reader

    old, is_replaced, new = options.readers.partition("=")
    people = [name.strip() for name in options.readers.split(",")]
    with _opened(options) as store:
        studies = options.studies or _at_random(store, options.count)
        for study in studies:
            if is_replaced:
                replace_reader(store, study, old.strip(), new.strip(), options.by)
            else:
                assign_readers(store, study, people, options.by, options.arbiter, options.limit)
    print(f"{len(studies)} studies given to {new if is_replaced else ' and '.join(people)}")
    return 0


def _at_random(store: Store, count: int | None) -> list[str]:
    from SpineLandmarksLib.retraining.queue import at_random, waiting_studies

    if count is None:
        raise DatasetError("Expected studies, or --count N for some at random; got neither")
    return [place.key for place in at_random([one.key for one in waiting_studies(store, annotator="")])][:count]


def _gold(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.readings import end_gold, mark_gold

    with _opened(options) as store:
        for study in options.studies:
            (end_gold if options.end else mark_gold)(store, study, options.by)
    print(f"{len(options.studies)} gold cases {'ended' if options.end else 'chosen'}")
    return 0


def _reopen(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.export import refresh_training_file
    from SpineLandmarksLib.store.readings import reopen_study

    with _opened(options) as store:
        reopen_study(store, options.study, options.by, options.why, options.reader)
        refresh_training_file(store)
    print(f"{options.study} is open again")
    return 0


def _exclude(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.exclusions import exclude_study
    from SpineLandmarksLib.store.export import refresh_training_file

    with _opened(options) as store:
        exclude_study(store, options.study, options.by, options.why)
        refresh_training_file(store)
    print(f"{options.study} is left out; take it in again with: spine-landmarks dataset include")
    return 0


def _include(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.exclusions import include_study

    with _opened(options) as store:
        include_study(store, options.study, options.by)
    print(f"{options.study} is taken in again")
    return 0


def _readings(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.formats.atomic import write_text_atomically
    from SpineLandmarksLib.store.readings import reading_lines, readings_csv

    with _opened(options, read_only=True) as store:
        print("\n".join(reading_lines(store)) or "No study was given to several readers yet")
        if options.output:
            write_text_atomically(options.output, readings_csv(store))
            print(f"Written: {options.output}")
    return 0


def _quality(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.quality import gold_readings, quality_text, reader_quality, write_quality

    with _opened(options, read_only=True) as store:
        cases, problems = gold_readings(store)
    for problem in problems:
        print(f"spine-landmarks: {problem}", file=sys.stderr)
    print(quality_text(reader_quality(cases)))
    if options.output:
        print(f"Written: {', '.join(map(str, write_quality(cases, options.output)))}")
    return int(bool(problems))


def _log(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.formats.atomic import write_text_atomically
    from SpineLandmarksLib.store.audit import log_rows, log_text

    with _opened(options, read_only=True) as store:
        if options.output:
            write_text_atomically(options.output, log_text(store, options.study))
            print(f"Written: {options.output}")
            return 0
        rows = log_rows(store, options.study)
    for row in rows:
        said = " ".join(str(row[name]) for name in ("person", "action", "study", "revision", "detail") if row[name])
        print(f"{row['time'][:19]}  {said}")
    return 0


def _account(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.store.accounts import accounts, find_account, remove_account, set_account

    with _opened(options) as store:
        if options.name and options.remove:
            remove_account(store, options.name, options.by or options.name)
        elif options.name:
            known = find_account(store, options.name)
            role = options.role or known.role or "administrator"
            password = None if options.no_password else _ask_password(options.name)
            set_account(store, options.name, role, password, options.by or options.name)
        for one in accounts(store):
            print(f"{one.name:24} {one.role}")
    return 0


def _ask_password(name: str) -> str:
    """Typed twice on a terminal; the first line of what is piped in."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    first, second = (getpass.getpass(f"{what} of {name}: ") for what in ("Password", "The same again, password"))
    if first != second:
        raise DatasetError("Expected the same password twice; got two different ones. Nothing was changed")
    return first
