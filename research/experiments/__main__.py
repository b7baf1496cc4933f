"""`python -m research.experiments KIND`: train and judge many networks side by side, and write their table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from research.experiments.arguments import add_arguments
from SpineLandmarksLib.arguments import add_holdout, add_model, show_progress
from SpineLandmarksLib.cli.main import run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one experiment; exit statuses are those of `spine-landmarks`."""
    p = argparse.ArgumentParser(prog="python -m research.experiments", description=__doc__)
    kinds = add_arguments(p)
    p.set_defaults(run=run_experiment)
    _add_judged(kinds, "robustness", "one bundle on slices that are changed in known ways", run_robustness)
    strange = _add_judged(kinds, "strange", "one bundle on pictures it should not be trusted on", run_strange)
    strange.add_argument("--volumes", type=Path, metavar="DIR", help="also other planes of the NIfTI volumes in DIR")
    return run(p.parse_args(arguments))


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


if __name__ == "__main__":
    sys.exit(main())
