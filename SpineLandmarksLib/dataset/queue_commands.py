"""`dataset queue` and `dataset simulate`."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import numpy as np

from SpineLandmarksLib.dataset.parser import NUMBERS
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.atomic import write_atomically, write_text_atomically
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.review.doubt import UNREVIEWED
from SpineLandmarksLib.review.folder import open_dataset
from SpineLandmarksLib.review.models import current_bundle
from SpineLandmarksLib.review.queue import Place, assess, at_random, look_of, order
from SpineLandmarksLib.review.revision import Revision
from SpineLandmarksLib.review.slices import pixel_of
from SpineLandmarksLib.review.store import Store
from SpineLandmarksLib.review.study import Study
from SpineLandmarksLib.training.dataset import load_annotations, load_image
from SpineLandmarksLib.training.locked import locked_patients


def queue(options: argparse.Namespace) -> int:
    store = open_dataset(options.dataset, options.store, read_only=True)
    try:
        waiting = waiting_studies(store, options.locked, options.annotator)
        if options.order == "random" or options.locked:  # a hold-out is no sample if its order follows a model
            places = at_random([study.key for study in waiting])
        else:
            localizer = Localizer.open(current_bundle(store.folder, options.bundle))
            places = by_gain(store, waiting, localizer, options.count)
        for number, place in enumerate(places[: options.count], start=1):
            print(f"{number:3}  {place.key:24} {place.reason}")
        print(f"{len(waiting)} studies wait")
    finally:
        store.close()
    return 0


def waiting_studies(store: Store, locked: bool = False, annotator: str | None = None) -> list[Study]:
    """Those that nobody has corrected, of the hold-out or of the rest, and that nobody but `annotator` was given."""
    held_out = locked_patients(store.folder)
    given = {key for key, name in store.assignments().items() if annotator is not None and name != annotator}
    studies = [study for study in store.studies() if (study.patient in held_out) == locked and study.key not in given]
    return [study for study in studies if _is_untouched(store, study)]


def _is_untouched(store: Store, study: Study) -> bool:
    return all(head.author == head.source_model for head in store.heads(study.key))


def by_gain(store: Store, waiting: list[Study], localizer: Localizer, count: int) -> list[Place]:
    """The queue of `review.queue`, from what the model says of each picture."""
    found = []
    for study in waiting:
        image = load_image(store.folder / study.image)
        (reading,) = localizer.read_slices(image[None], study.spacing_mm)
        found.append(assess(study.key, image, reading, localizer))
    names = {study.key for study in waiting}
    done = [
        (study, heads[-1])
        for study in store.studies()
        if study.key not in names
        for heads in [store.heads(study.key)]
        if heads and _is_decided(heads[-1])
    ]
    seen = [look_of(load_image(store.folder / study.image), _points(study, head)) for study, head in done]
    return order(found, seen, count=count)


def _is_decided(head: Revision) -> bool:
    return not any(mark.status in UNREVIEWED for mark in head.landmarks)


def _points(study: Study, head: Revision) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    known = [pixel_of(mark, study) for mark in head.landmarks if not mark.is_absent]
    return np.array([xy for xy in known if xy is not None], dtype=np.float64).reshape(-1, 2)


def simulate(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.review import simulation_report as report
    from SpineLandmarksLib.review.simulation import Settings, Simulation, rounds_of
    from SpineLandmarksLib.training.commands import device_of
    from SpineLandmarksLib.training.experiments.document import write_section
    from SpineLandmarksLib.training.experiments.study import hold_to
    from SpineLandmarksLib.training.locked import without_locked

    bundle = load_bundle(options.bundle)
    numbers = {name: getattr(options, name) for name in NUMBERS}
    settings = Settings(options.dataset.name, bundle.label, recipe=options.recipe, **numbers)
    rows, _ = without_locked(load_annotations([options.dataset], bundle.landmarks), options.dataset)
    if len({row.group for row in rows}) != len(rows):
        raise DatasetError(f"Expected one slice a patient to play with; {options.dataset} has several of some")
    simulation = Simulation(settings, options.output, rows, bundle, device_of(options.device))
    hold_to(asdict(settings), options.output)
    done = simulation.run(options.minutes)
    rounds = rounds_of(options.output)
    text = f"{report.table(rounds, settings)}\n{report.gains(rounds, settings)}\n{report.verdict(rounds)}\n"
    write_text_atomically(options.output / "table.md", text)
    drawn = report.plot(rounds)
    _write(options.output / "curves.svg", drawn)
    if options.document:
        plot = "images/simulation.svg"
        write_section(options.document, "simulation", f"{text}\n![MRE and SDR@4 by corrected studies]({plot})\n")
        _write(options.document.parent / plot, drawn)
    print(f"{text}Written: {options.output / 'table.md'}, {options.output / 'curves.svg'}")
    if not done:
        print("The minutes are used up; the same command goes on")
    return 0


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(path) as file:
        file.write(content)
