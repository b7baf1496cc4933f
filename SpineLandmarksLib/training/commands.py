"""What `train` and `evaluate` do, as sequences of the library's own steps."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from SpineLandmarksLib.bundle import load_bundle
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.dataset import load_annotations, schema_of, weights_of_shares
from SpineLandmarksLib.training.folds import holdout, split_by_group
from SpineLandmarksLib.training.locked import only_locked, without_locked


def evaluate_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.evaluate import evaluate

    localizer = Localizer.open(options.bundle, options.backend, options.device)
    _, judged, split = split_dataset(options, options.dataset, localizer.bundle.landmarks)
    notes = [f"Data: {options.dataset.name}, {split}"]
    print(headline(evaluate(localizer, judged, options.output, notes, options.progress)))
    print(f"Written: {options.output / 'metrics.json'}, {options.output / 'report.html'}")
    return 0


def train_command(options: argparse.Namespace) -> int:
    import safetensors.torch

    from SpineLandmarksLib.bundle import WEIGHTS
    from SpineLandmarksLib.training.build import build_bundle, calibrate, fit_fusion, fit_prior
    from SpineLandmarksLib.training.dataset import load_cases
    from SpineLandmarksLib.training.evaluate import evaluate
    from SpineLandmarksLib.training.recipe import load_recipe
    from SpineLandmarksLib.training.train import rank_and_world, train

    recipe = load_recipe(options.recipe)
    recipe = replace(recipe, steps=options.steps) if options.steps else recipe
    if (options.output / "checkpoint.pt").is_file() and not options.resume:
        raise OutputError(f"Expected --resume, or an --output without a training; {options.output} holds one")
    schema = schema_of(options.data)
    data, judged, split = split_dataset(options, options.data, schema)
    learned, weight = with_extra(data, options.extra, schema)
    fit_prior(learned, schema)  # what the bundle will need from the data is asked for now, not after hours
    device = device_of(options.device)
    start = load_bundle(options.start_from) if options.start_from else None
    detector = train(
        recipe,
        load_cases(learned, schema, recipe.preparation, weight),
        len(schema),
        options.output,
        device=device,
        resume=options.resume,
        start_from=None if start is None else safetensors.torch.load_file(start.folder / WEIGHTS),
        origin={
            "data": str(options.data),
            "split": split,
            "extra": {str(folder): share for folder, share in options.extra},
            "started_from": None if start is None else start.label,
        },
    )
    if rank_and_world()[0] != 0:
        return 0
    held_out = options.holdout is not None or options.fold is not None
    if held_out and recipe.fit_fusion:
        fit_fusion(detector, recipe, judged, schema)
    known = load_bundle(options.calibration_of).calibration if options.calibration_of else None
    bundle = build_bundle(options.output / options.name, detector, recipe, schema, learned, known)
    print(f"Written: {bundle.folder}")
    if held_out:
        bundle = calibrate(bundle, judged, f"{len(judged)} slices of {options.data.name}, {split}")
        notes = [f"Data: {options.data.name}, {split}; the doubt was calibrated on the same slices"]
        summary = evaluate(Localizer.open(bundle.folder), judged, bundle.folder / "docs", notes)
        print(headline(summary))
    return 0


def calibrate_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.build import with_calibration
    from SpineLandmarksLib.training.crossfit import as_markdown, crossfit, operating_point, read_fold
    from SpineLandmarksLib.training.dataset import load_image
    from SpineLandmarksLib.training.experiments.document import write_section
    from SpineLandmarksLib.training.metrics import summarize
    from SpineLandmarksLib.training.report import write_report

    schema = schema_of(options.dataset)
    folds, rows = [], []
    for number in range(1, options.folds + 1):
        options.fold, options.holdout = (number, options.folds), None
        _, judged, split = split_dataset(options, options.dataset, schema)
        bundle = Path(options.bundles.format(fold=number))
        folds.append(read_fold(bundle, options.dataset, judged, split, options.progress))
        rows += judged
    words = f"{len(rows)} slices of {options.dataset.name}, {options.folds} folds, split seed {options.split_seed}"
    predictions, calibration = crossfit(folds, words)
    notes = [f"Data: {words}; each fold's doubt was fitted on the others"]
    summary = summarize(predictions) | {
        "bundle": f"{options.folds} folds of {Path(options.bundles).name}",
        "notes": notes,
    }
    write_report(
        predictions,
        summary,
        lambda row: load_image(rows[row].image),
        options.output,
        f"{len(rows)} slices, each judged out of its fold",
        notes=notes,
    )
    if options.document:
        write_section(options.document, "doubt", as_markdown(summary, words))
    print(f"{headline(summary)}\n{operating_point(summary)}")
    print(f"Written: {options.output / 'metrics.json'}, {options.output / 'report.html'}")
    if options.into:
        print(f"Doubt written into {with_calibration(load_bundle(options.into), calibration).folder}")
    return 0


def split_dataset(
    options: argparse.Namespace, dataset: Path, schema: tuple[str, ...]
) -> tuple[list[Annotation], list[Annotation], str]:
    """(rows to learn from, rows to judge, the split in words); both are all rows when nothing is held out.

    The patients of a locked hold-out are in neither, unless `options.locked` asks to judge them alone.
    """
    rows = load_annotations([dataset], schema)
    if getattr(options, "locked", False):
        judge_alone = only_locked(rows, dataset)
        return [], judge_alone, f"the locked hold-out of {len({row.group for row in judge_alone})} patients"
    rows, locked_out = without_locked(rows, dataset)
    groups = [row.group for row in rows]
    seed = f"split seed {options.split_seed}{locked_out}"
    if options.fold is not None:
        number, folds = options.fold
        learn, judge = split_by_group(groups, folds, options.split_seed)[number - 1]
        words = f"fold {number} of {folds} of {len(set(groups))} patients, {seed}"
    elif options.holdout is not None:
        learn, judge = holdout(groups, options.holdout, options.split_seed)
        words = f"{options.holdout} held-out patients of {len(set(groups))}, {seed}"
    else:
        return rows, rows, f"all slices{locked_out}"
    return [rows[i] for i in learn], [rows[i] for i in judge], words


def with_extra(
    data: list[Annotation], extra: Sequence[tuple[Path, float | None]], schema: tuple[str, ...]
) -> tuple[list[Annotation], list[float]]:
    """`data` followed by the slices of every extra data set, and how often each slice is drawn."""
    parts = [data, *(without_locked(load_annotations([folder], schema), folder)[0] for folder, _ in extra)]
    weight = weights_of_shares([len(part) for part in parts], [None, *(share for _, share in extra)])
    return [row for part in parts for row in part], weight


def device_of(name: str) -> str:
    import torch

    return name if name != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def headline(summary: dict[str, Any]) -> str:
    """The figures that people ask for first; no distance where every point was called out of view."""
    overall = summary["overall"]
    mm = {name: overall[key]["value"] for name, key in (("median", "median_mm"), ("MRE", "mre_mm"))}
    distance = [f"{name} unknown" if value is None else f"{name} {value:.2f} mm" for name, value in mm.items()]
    sdr = [f"SDR@{t} {100 * v['value']:.1f} %" for t, v in overall["sdr"].items()]
    return f"{summary['bundle']}: {'  '.join((*distance, *sdr))}"
