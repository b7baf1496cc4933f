"""The arguments of `spine-landmarks review`. Nothing heavy is imported before it runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.dataset.parser import ORDERS

Parsers = argparse._SubParsersAction


def add_review(commands: Parsers[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("review", help="look at studies and correct their landmarks in the browser")
    p.add_argument("dataset", nargs="?", type=Path, metavar="DATASET", help="data-set folder (see dataset init)")
    p.add_argument("--demo", action="store_true", help="generated studies in a temporary folder, to try it")
    p.add_argument("--annotator", default="", metavar="NAME", help="who corrects; the page asks when not given")
    p.add_argument("--locked", action="store_true", help="review the locked hold-out, which is left out otherwise")
    p.add_argument("--order", choices=ORDERS, default=ORDERS[0], help=f"of the studies (default {ORDERS[0]})")
    p.add_argument("--store", metavar="postgresql://...", help="a database instead of a file in the folder")
    p.add_argument("--bundle", default="current", metavar="NAME_OR_DIR", help="model that localizes (default current)")
    p.add_argument("--no-browser", action="store_true", help="only say the address")
    p.add_argument("--max-upload", type=positive, default=1024, metavar="MIB", help="of a study (default 1024)")
    group = p.add_argument_group("network")
    group.add_argument("--host", default="127.0.0.1", metavar="NAME", help="listen there (default: this computer only)")
    group.add_argument("--port", type=int, default=0, metavar="N", help="default: one that is free")
    group.add_argument("--tls-cert", type=Path, metavar="FILE", help="certificate chain, PEM")
    group.add_argument("--tls-key", type=Path, metavar="FILE", help="its key, PEM")
    group.add_argument("--without-tls", action="store_true", help="let other computers in without it, behind a proxy")
    p.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.web.command import review

    return review(options)
