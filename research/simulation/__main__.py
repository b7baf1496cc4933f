"""`python -m research.simulation`: play correcting and retraining on annotated studies, by queue and at random."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from research.arguments import minutes
from SpineLandmarksLib.arguments import positive
from SpineLandmarksLib.cli.main import run

if TYPE_CHECKING:
    from research.simulation.simulation import SimulationSettings

#: Of a simulation: default and meaning.
NUMBERS = {
    "start": (15, "studies of the first round"),
    "step": (15, "studies of each further round"),
    "until": (75, "studies of the last round"),
    "seeds": (5, "repetitions"),
    "steps": (100, "of each retraining"),
    "holdout": (30, "patients that judge"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a simulation, or go on with one; exit statuses are those of `spine-landmarks`."""
    p = argparse.ArgumentParser(prog="python -m research.simulation", description=__doc__)
    p.add_argument("dataset", type=Path, metavar="DATASET", help="data-set folder")
    p.add_argument("--output", required=True, type=Path, metavar="DIR", help="a simulation there goes on")
    p.add_argument("--bundle", required=True, metavar="NAME_OR_DIR", help="one that has seen none of these studies")
    p.add_argument("--minutes", required=True, type=minutes, metavar="M", help="stop between rounds before that")
    for name, (default, text) in NUMBERS.items():
        p.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=f"{text} (default {default})")
    p.add_argument("--recipe", default="retrain", metavar="NAME_OR_FILE", help="of each retraining (default retrain)")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write table and plot into its section")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    p.set_defaults(run=simulate_command)
    return run(p.parse_args(arguments))


def simulate_command(options: argparse.Namespace) -> int:
    """Play until all is done or the minutes are used up, then write what is known by then."""
    from research.experiments.experiment import require_same_settings
    from research.simulation.simulation import Simulation, SimulationSettings
    from SpineLandmarksLib.annotated_slices import load_annotations
    from SpineLandmarksLib.backends import device_of
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.errors import DatasetError
    from SpineLandmarksLib.splits import without_locked

    bundle = load_bundle(options.bundle)
    numbers = {name: getattr(options, name) for name in NUMBERS}
    settings = SimulationSettings(options.dataset.name, bundle.label, recipe=options.recipe, **numbers)
    rows, _ = without_locked(load_annotations([options.dataset], bundle.landmarks), options.dataset)
    if len({row.group for row in rows}) != len(rows):
        raise DatasetError(f"Expected one slice a patient to play with; {options.dataset} has several of some")
    simulation = Simulation(settings, options.output, rows, bundle, device_of(options.device))
    require_same_settings(asdict(settings), options.output)
    done = simulation.run(options.minutes)
    publish(settings, options.output, options.document)
    if not done:
        print("The minutes are used up; the same command goes on")
    return 0


def publish(settings: SimulationSettings, folder: Path, document: Path | None) -> None:
    """Write table and plot of every round in `folder`, there and into the section of a document."""
    from research.markdown import write_section
    from research.simulation import report
    from research.simulation.simulation import rounds_of
    from SpineLandmarksLib.formats.atomic import write_text_atomically

    rounds = rounds_of(folder)
    text = f"{report.table(rounds, settings)}\n{report.gains(rounds, settings)}\n{report.verdict(rounds)}\n"
    drawn, plot = report.plot(rounds), "images/simulation.svg"
    write_text_atomically(folder / "table.md", text)
    _write(folder / "curves.svg", drawn)
    if document:
        write_section(document, "simulation", f"{text}\n![MRE and SDR@4 by corrected studies]({plot})\n")
        _write(document.parent / plot, drawn)
    print(f"{text}Written: {folder / 'table.md'}, {folder / 'curves.svg'}")


def _write(path: Path, content: bytes) -> None:
    from SpineLandmarksLib.formats.atomic import write_atomically

    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(content)


if __name__ == "__main__":
    sys.exit(main())
