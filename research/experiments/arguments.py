"""The arguments of `python -m research.experiments`. Nothing heavy is imported here."""

from __future__ import annotations

import argparse
from pathlib import Path

from SpineLandmarksLib.arguments import extra, minutes, positive

KINDS = {
    "seeds": "the seed paper's rows, SCN and our default, out of fold",
    "curve": "default, SCN and U-Net on 10 to 120 patients",
    "ablation": "a recipe with one part changed at a time",
}


def add_arguments(p: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """Give `experiment` its kinds and their options; returns the kinds, for others to be added."""
    kinds = p.add_subparsers(title="experiments", required=True, metavar="KIND", dest="kind")
    parsers = {kind: kinds.add_parser(kind, help=text) for kind, text in KINDS.items()}
    for each in parsers.values():
        _add_common(each)
    seeds = parsers["seeds"]
    seeds.add_argument("--folds", type=positive, default=5, metavar="N", help="folds by patient (default 5)")
    seeds.add_argument(
        "--default-bundles",
        metavar="DIRS",
        help="bundles of `train --fold` as our default, such as 'runs/fold{fold}/bundle'",
    )
    for kind in ("curve", "ablation"):
        parsers[kind].add_argument(
            "--holdout", type=positive, default=30, metavar="N", help="patients to judge on (default 30)"
        )
    parsers["ablation"].add_argument(
        "--recipe", default="default", metavar="NAME_OR_FILE", help="whose parts are changed (default default)"
    )
    parsers["ablation"].add_argument(
        "--extra",
        action="append",
        default=[],
        type=extra,
        metavar="DATASET[=SHARE]",
        help="more data to learn from, each left out in a row of its own",
    )
    parsers["ablation"].add_argument(
        "--start-from", type=Path, metavar="BUNDLE", help="adds a row that fine-tunes this bundle"
    )
    return kinds


def _add_common(p: argparse.ArgumentParser) -> None:
    p.add_argument("--data", required=True, type=Path, metavar="DATASET")
    p.add_argument(
        "--output",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder for networks, results and tables; what is there is not made again",
    )
    p.add_argument(
        "--minutes", type=minutes, default=2.0, metavar="M", help="of training for each network and split (default 2)"
    )
    p.add_argument("--rows", type=lambda text: tuple(text.split(",")), metavar="A,B,C", help="only these rows")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the tables into its section")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
