"""`spine-landmarks evaluate`, `train`, `calibrate`, `phantom` and `export`: arguments, and what they run.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineLandmarksLib.arguments import add_holdout, add_model, extra, positive, show_progress
from SpineLandmarksLib.errors import DatasetError, OutputError

if TYPE_CHECKING:
    from SpineLandmarksLib.bundle import Bundle
    from SpineLandmarksLib.evaluation.predictions import Predictions
    from SpineLandmarksLib.formats.landmarks_json import Annotation
    from SpineLandmarksLib.model import Detector
    from SpineLandmarksLib.training.crossfit import Fold
    from SpineLandmarksLib.training.recipe import Recipe


def add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("evaluate", help="judge a bundle on an annotated data set")
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    add_holdout(p, "judge only the N patients that `train --holdout N` leaves out")
    p.add_argument("--locked", action="store_true", help="judge the locked hold-out, which is left out otherwise")
    add_model(p)
    p.set_defaults(run=evaluate_command, progress=show_progress)


def evaluate_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.evaluation.evaluate import evaluate
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.splits import split_dataset

    localizer = Localizer.open(options.bundle, options.backend, options.device)
    _, judged, split = split_dataset(options, options.dataset, localizer.bundle.landmarks)
    notes = [f"Data: {options.dataset.name}, {split}"]
    print(metrics_line(evaluate(localizer, judged, options.output, notes, options.progress)))
    print(f"Written: {options.output / 'metrics.json'}, {options.output / 'report.html'}")
    return 0


def metrics_line(summary: dict[str, Any]) -> str:
    """The figures that people ask for first; no distance where every point was called out of view."""
    overall = summary["overall"]
    mm = {name: overall[key]["value"] for name, key in (("median", "median_mm"), ("MRE", "mre_mm"))}
    distance = [f"{name} unknown" if value is None else f"{name} {value:.2f} mm" for name, value in mm.items()]
    sdr = [f"SDR@{t} {100 * v['value']:.1f} %" for t, v in overall["sdr"].items()]
    return f"{summary['bundle']}: {'  '.join((*distance, *sdr))}"


def add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("train", help="train a recipe on a data set and build a bundle")
    p.add_argument("--recipe", default="default", metavar="NAME_OR_FILE")
    p.add_argument("--data", required=True, type=Path, metavar="DATASET")
    more = "more data to learn from, never held out, and its share of all draws"
    p.add_argument("--extra", action="append", default=[], type=extra, metavar="DATASET[=SHARE]", help=more)
    separate = "each data set numbers its own patients: equal numbers in two of them are two people"
    p.add_argument("--separate-patients", action="store_true", help=separate)
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--name", default="bundle", help="name of the bundle, which is written to DIR/NAME")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    p.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt when it is there")
    p.add_argument("--start-from", type=Path, metavar="BUNDLE", help="fine-tune these weights")
    p.add_argument("--calibration-of", type=Path, metavar="BUNDLE", help="copy the calibration of this bundle")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_holdout(p, "leave N patients of --data out, judge the result on them and calibrate its doubt there")
    p.set_defaults(run=train_command)


def train_command(options: argparse.Namespace) -> int:
    """Train, build the bundle and, with a hold-out, calibrate and judge it there."""
    from safetensors.torch import load_file

    from SpineLandmarksLib.annotated_slices import schema_of
    from SpineLandmarksLib.backends import device_of
    from SpineLandmarksLib.bundle import WEIGHTS, load_bundle
    from SpineLandmarksLib.splits import load_extra, refuse_repeated, refuse_shared, split_dataset, with_extra
    from SpineLandmarksLib.training.build import fit_prior
    from SpineLandmarksLib.training.dataset import load_cases
    from SpineLandmarksLib.training.recipe import load_recipe
    from SpineLandmarksLib.training.train import rank_and_world, train, with_landmarks

    recipe = load_recipe(options.recipe)
    recipe = replace(recipe, steps=options.steps) if options.steps else recipe
    if (options.output / "checkpoint.pt").is_file() and not options.resume:
        raise OutputError(f"Expected --resume, or an --output without a training; {options.output} holds one")
    refuse_repeated([options.data, *(folder for folder, _ in options.extra)])
    schema = schema_of(options.data)
    data, judged, split = split_dataset(options, options.data, schema)
    start = load_bundle(options.start_from) if options.start_from else None
    origin = _origin(options, split, start)
    if options.resume:
        _require_same_origin(origin, options.output / "run.json")
    more = load_extra(options.extra, schema)
    if not options.separate_patients:
        held_out = set() if judged is data else {row.group for row in judged}
        refuse_shared({options.data: data, **more}, {options.data: held_out})
    learned, weight = with_extra(data, options.extra, schema, more)
    fit_prior(learned, schema)  # what the bundle will need from the data is asked for now, not after hours
    device = device_of(options.device)
    detector = train(
        recipe,
        load_cases(learned, schema, recipe.preparation, weight),
        len(schema),
        options.output,
        device=device,
        resume=options.resume,
        start_from=None
        if start is None
        else with_landmarks(load_file(start.folder / WEIGHTS), start.landmarks, schema),
        origin=origin,
    )
    if rank_and_world()[0] == 0:
        _finish(options, detector, recipe, schema, learned, judged, split)
    return 0


def _origin(options: argparse.Namespace, split: str, start: Bundle | None) -> dict[str, Any]:
    """What `run.json` is to tell of the data."""
    return {
        "data": str(options.data),
        "split": split,
        "extra": {str(folder): share for folder, share in options.extra},
        "started_from": None if start is None else start.label,
    }


def _require_same_origin(origin: dict[str, Any], run: Path) -> None:
    """OutputError when the training to go on with has seen other data, which may be what is to judge it now."""
    from SpineLandmarksLib.formats.strict_json import load_json

    if not run.is_file():
        return
    known = load_json(run)
    for key, now in origin.items():
        before = known.get(key) if isinstance(known, dict) else None
        if _by_name(before) != _by_name(now):
            raise OutputError(
                f"Expected the {key.replace('_', ' ')} of the training in {run.parent}, {before}; got {now}. "
                "Choose another --output for another training"
            )


def _by_name(told: Any) -> Any:
    """Data sets may be moved between the starts of a training: their folders' names tell."""
    if isinstance(told, dict):
        return {Path(folder).name: share for folder, share in told.items()}
    return Path(told).name if isinstance(told, str) else told


def _finish(
    options: argparse.Namespace,
    detector: Detector,
    recipe: Recipe,
    schema: tuple[str, ...],
    learned: list[Annotation],
    judged: list[Annotation],
    split: str,
) -> None:
    """Build the bundle; with a hold-out, fit on it what is fitted on no training data, and judge."""
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.evaluation.evaluate import evaluate
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.training.build import build_bundle, calibrate, fit_fusion

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
        print(metrics_line(summary))


def add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("calibrate", help="judge all folds together, and fit the doubt of a bundle on them")
    where = "folder with landmarks.json and images/; several with --locked"
    p.add_argument("datasets", type=Path, nargs="+", metavar="DATASET", help=where)
    which = "those of `train --fold I/N`, with {fold} for I; with --locked the one that is judged"
    p.add_argument("--bundles", required=True, metavar="PATTERN", help=which)
    p.add_argument("--locked", action="store_true", help="on the locked hold-outs of all DATASETs, which it never saw")
    levels = "of the DATASETs one whose points tell levels but not places, as those that a model has placed"
    p.add_argument("--levels-alone", type=Path, action="append", default=[], metavar="DATASET", help=levels)
    p.add_argument("--folds", type=positive, default=5, metavar="N")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")
    p.add_argument("--into", type=Path, metavar="BUNDLE", help="write the doubt fitted on all folds into this bundle")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.set_defaults(run=calibrate_command, progress=show_progress)


def calibrate_command(options: argparse.Namespace) -> int:
    """Judge every slice with a doubt fitted on others, and write metrics, report and, where asked for, the doubt."""
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.training.build import with_calibration
    from SpineLandmarksLib.training.crossfit import crossfit

    if len(options.datasets) > 1 and not options.locked:
        raise DatasetError("Expected one data set, or --locked for the hold-outs of several")
    folds, words = _locked_folds(options) if options.locked else _trained_folds(options)
    label = Path(options.bundles).name
    bundle = label if options.locked else f"{options.folds} folds of {label}"
    predictions, calibration = crossfit(folds, words)
    notes = [f"Data: {words}; each fold's doubt was fitted on the others"]
    rows = [row for fold in folds for row in fold.annotations]
    for folder in options.datasets:
        part = [number for number, row in enumerate(rows) if row.image.is_relative_to(folder.resolve())]
        output = options.output / folder.name if options.locked else options.output
        _report(predictions.take(part), [rows[number] for number in part], output, bundle, notes)
    if options.into:
        print(f"Doubt written into {with_calibration(load_bundle(options.into), calibration).folder}")
    return 0


def _trained_folds(options: argparse.Namespace) -> tuple[list[Fold], str]:
    """Every slice of one data set, read by the bundle of its fold."""
    from SpineLandmarksLib.annotated_slices import schema_of
    from SpineLandmarksLib.splits import split_dataset
    from SpineLandmarksLib.training.crossfit import read_fold

    (dataset,) = options.datasets
    schema = schema_of(dataset)
    folds = []
    for number in range(1, options.folds + 1):
        options.fold, options.holdout = (number, options.folds), None
        _, judged, split = split_dataset(options, dataset, schema)
        bundle = Path(options.bundles.format(fold=number))
        folds.append(read_fold(bundle, dataset, judged, split, options.progress))
    count = sum(len(fold.annotations) for fold in folds)
    return folds, f"{count} slices of {dataset.name}, {options.folds} folds, split seed {options.split_seed}"


def _locked_folds(options: argparse.Namespace) -> tuple[list[Fold], str]:
    """The locked slices of all data sets, read by one bundle and dealt to folds by patient."""
    from SpineLandmarksLib.annotated_slices import load_annotations
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.splits import only_locked
    from SpineLandmarksLib.training.crossfit import deal

    localizer = Localizer.open(options.bundles)
    if strange := set(options.levels_alone) - set(options.datasets):
        raise DatasetError(f"Expected --levels-alone to name one of the data sets; got {', '.join(map(str, strange))}")
    rows, is_placed, told = [], [], []
    for folder in options.datasets:
        part = only_locked(load_annotations([folder], localizer.bundle.landmarks), folder)
        rows += part
        is_placed += [folder not in options.levels_alone] * len(part)
        told.append(f"{len(part)} of {folder.name}")
    folds = deal(localizer, rows, options.folds, options.split_seed, is_placed, options.progress)
    return folds, f"locked hold-outs ({', '.join(told)} slices), {options.folds} folds, split seed {options.split_seed}"


def _report(predictions: Predictions, rows: list[Annotation], output: Path, bundle: str, notes: list[str]) -> None:
    """Metrics and pages of one data set."""
    from SpineLandmarksLib.annotated_slices import load_image, millimetres_of
    from SpineLandmarksLib.evaluation.metrics import summarize
    from SpineLandmarksLib.evaluation.report import write_report
    from SpineLandmarksLib.training.crossfit import operating_point

    predictions = replace(predictions, millimetres=millimetres_of(rows))
    summary = summarize(predictions) | {"bundle": bundle, "notes": notes}
    title = f"{len(rows)} slices, each judged out of its fold"
    write_report(predictions, summary, lambda row: load_image(rows[row].image), output, title, notes=notes)
    print(f"{metrics_line(summary)}\n{operating_point(summary)}")
    print(f"Written: {output / 'metrics.json'}, {output / 'report.html'}")


def add_phantom(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("phantom", help="generate slices with exact truth as a data set to train on")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--count", type=positive, default=600, metavar="N")
    p.add_argument("--seed", type=int, default=0)
    for kind, what in (
        ("--transitional", "a transitional lumbosacral junction"),
        ("--anomalous", "six or four lumbar bodies, named from both ends"),
    ):
        p.add_argument(kind, type=float, default=0.0, metavar="SHARE", help=f"share of spines with {what}")
    p.add_argument("--corners", action="store_true", help="corners of the endplates instead of centres")
    p.set_defaults(run=phantom_command)


def phantom_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.phantom.files import write_phantom_dataset

    folder = write_phantom_dataset(
        options.output,
        options.count,
        options.seed,
        options.transitional,
        options.anomalous,
        show_progress,
        options.corners,
    )
    print(f"Written: {folder}")
    return 0


def add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("export", help="write a bundle's graph anew, held to torch, or a copy for MONAI's tools")
    p.add_argument("bundle", metavar="BUNDLE", help="model bundle: a name or a folder")
    p.add_argument(
        "--format",
        choices=("onnx", "monai"),
        default="onnx",
        help="onnx (default): the graph; monai: a copy with model.pt",
    )
    p.add_argument("--output", type=Path, metavar="DIR", help="write a copy of the bundle there (default in place)")
    p.set_defaults(run=export_command)


def export_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.bundle import GRAPH
    from SpineLandmarksLib.training.export import versions_of
    from SpineLandmarksLib.training.export_bundle import export_bundle, export_for_monai

    if options.format == "monai":
        if options.output is None:
            raise OutputError("Expected a new folder with --output for a bundle in MONAI's layout; got none")
        print(f"Written: {export_for_monai(options.bundle, options.output).folder}, which MONAI's tools run")
        return 0
    bundle, parity = export_bundle(options.bundle, options.output)
    opset = versions_of(bundle.folder / GRAPH)["opset"]
    print(f"Written: {bundle.folder / GRAPH}, opset {opset}")
    print(f"On {parity.slices} slices at most {parity.points_px:.2g} px and {parity.confidence:.2g} from torch")
    return 0
