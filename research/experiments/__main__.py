"""`python -m research.experiments KIND`: train and judge many networks side by side, and write their table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from research.arguments import minutes
from SpineLandmarksLib.arguments import add_holdout, add_model, extra, positive, show_progress
from SpineLandmarksLib.cli.main import run

KINDS = {
    "seeds": "the seed paper's rows, SCN and our default, out of fold",
    "curve": "default, SCN and U-Net on 10 to 120 patients",
    "ablation": "a recipe with one part changed at a time",
    "hands": "SCN and its U-Net on 10 to 78 hands",
    "papers": "the papers' networks at their own input sizes, and the course of each training",
    "sources": "a recipe with and without each source, on the hold-outs of all",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment; exit statuses are those of `spine-landmarks`."""
    p = argparse.ArgumentParser(prog="python -m research.experiments", description=__doc__)
    kinds = _add_experiments(p)
    p.set_defaults(run=run_experiment)
    _add_judged(kinds, "robustness", "one bundle on slices that are changed in known ways", run_robustness)
    strange = _add_judged(kinds, "strange", "one bundle on pictures it should not be trusted on", run_strange)
    strange.add_argument("--volumes", type=Path, metavar="DIR", help="also other planes of the NIfTI volumes in DIR")
    doubt = kinds.add_parser("doubt", help="the figures of `spine-landmarks calibrate` in a document")
    doubt.add_argument("output", type=Path, metavar="DIR", help="its --output")
    doubt.add_argument("--document", required=True, type=Path, metavar="FILE.md", help="where the section is")
    doubt.set_defaults(run=run_doubt)
    return run(p.parse_args(arguments))


def _add_experiments(p: argparse.ArgumentParser) -> argparse._SubParsersAction[argparse.ArgumentParser]:
    """The kinds of experiment and their options; returns the kinds, for others to be added."""
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
    for kind, default in (("curve", 30), ("ablation", 30), ("hands", 25), ("papers", 30)):
        parsers[kind].add_argument(
            "--holdout", type=positive, default=default, metavar="N", help=f"patients to judge on (default {default})"
        )
    for kind in ("hands", "papers"):
        parsers[kind].set_defaults(minutes=None)
        parsers[kind].add_argument("--finished", action="store_true", help="tables of what is there; train nothing")
    for kind in ("ablation", "sources"):
        parsers[kind].add_argument("--recipe", default="default", metavar="NAME_OR_FILE", help="(default default)")
        parsers[kind].add_argument(
            "--extra",
            action="append",
            default=[],
            type=extra,
            metavar="DATASET[=SHARE]",
            help="more data to learn from, each left out in a row of its own",
        )
    parsers["sources"].set_defaults(minutes=None)
    parsers["sources"].add_argument("--steps", type=positive, default=2000, metavar="N", help="(default 2000)")
    parsers["sources"].add_argument(
        "--without",
        action="append",
        type=lambda text: tuple(text.split(",")),
        metavar="A,B",
        help="data sets to leave out together, by name (default: each by itself)",
    )
    parsers["sources"].add_argument("--separate-patients", action="store_true", help="as in `spine-landmarks train`")
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


def _add_judged(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser],
    kind: str,
    text: str,
    run_kind: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    p = kinds.add_parser(kind, help=text)
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the table into its section")
    add_holdout(p, "judge only the N patients that `train --holdout N` leaves out")
    add_model(p)
    p.set_defaults(run=run_kind, progress=show_progress)
    return p


def run_experiment(options: argparse.Namespace) -> int:
    from research.experiments.commands import experiment_command

    return experiment_command(options)


def run_robustness(options: argparse.Namespace) -> int:
    from research.experiments.robustness import robustness_command

    return robustness_command(options)


def run_strange(options: argparse.Namespace) -> int:
    from research.experiments.strange import strange_command

    return strange_command(options)


def run_doubt(options: argparse.Namespace) -> int:
    from research.experiments.doubt import doubt_command

    return doubt_command(options)


if __name__ == "__main__":
    sys.exit(main())
