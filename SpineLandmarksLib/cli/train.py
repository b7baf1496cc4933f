"""`spine-landmarks evaluate`, `train`, `calibrate`, `phantom` and `export`: arguments, and what they run.

Nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpineLandmarksLib.arguments import add_holdout, add_model, extra, positive, show_progress
from SpineLandmarksLib.errors import OutputError

if TYPE_CHECKING:
    from SpineLandmarksLib.bundle import Bundle
    from SpineLandmarksLib.formats.landmarks_json import Annotation
    from SpineLandmarksLib.model import Detector
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
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--name", default="bundle", help="name of the bundle, which is written to DIR/NAME")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    p.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt when it is there")
    p.add_argument("--start-from", type=Path, metavar="BUNDLE", help="fine-tune the weights of this bundle")
    p.add_argument("--calibration-of", type=Path, metavar="BUNDLE", help="copy the calibration of this bundle")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add_holdout(p, "leave N patients of --data out, judge the result on them and calibrate its doubt there")
    p.set_defaults(run=train_command)


def train_command(options: argparse.Namespace) -> int:
    """Train, build the bundle and, with a hold-out, calibrate and judge it there."""
    import safetensors.torch

    from SpineLandmarksLib.annotated_slices import schema_of
    from SpineLandmarksLib.backends import device_of
    from SpineLandmarksLib.bundle import WEIGHTS, load_bundle
    from SpineLandmarksLib.splits import split_dataset, with_extra
    from SpineLandmarksLib.training.build import fit_prior
    from SpineLandmarksLib.training.dataset import load_cases
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
        origin=_origin(options, split, start),
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
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument("--bundles", required=True, metavar="PATTERN", help="those of `train --fold I/N`, with {fold} for I")
    p.add_argument("--folds", type=positive, default=5, metavar="N")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")
    p.add_argument("--into", type=Path, metavar="BUNDLE", help="write the doubt fitted on all folds into this bundle")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.set_defaults(run=calibrate_command, progress=show_progress)


def calibrate_command(options: argparse.Namespace) -> int:
    """Judge every slice by the bundle of its fold, and write metrics, report and, where asked for, the doubt."""
    from SpineLandmarksLib.annotated_slices import load_image, schema_of
    from SpineLandmarksLib.bundle import load_bundle
    from SpineLandmarksLib.evaluation.metrics import summarize
    from SpineLandmarksLib.evaluation.report import write_report
    from SpineLandmarksLib.splits import split_dataset
    from SpineLandmarksLib.training.build import with_calibration
    from SpineLandmarksLib.training.crossfit import crossfit, operating_point, read_fold

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
    about = {"bundle": f"{options.folds} folds of {Path(options.bundles).name}", "notes": notes}
    summary = summarize(predictions) | about
    title = f"{len(rows)} slices, each judged out of its fold"
    images = [row.image for row in rows]
    write_report(predictions, summary, lambda row: load_image(images[row]), options.output, title, notes=notes)
    print(f"{metrics_line(summary)}\n{operating_point(summary)}")
    print(f"Written: {options.output / 'metrics.json'}, {options.output / 'report.html'}")
    if options.into:
        print(f"Doubt written into {with_calibration(load_bundle(options.into), calibration).folder}")
    return 0


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
    p = commands.add_parser("export", help="write the graph of a bundle anew from its weights, and hold it to torch")
    p.add_argument("bundle", metavar="BUNDLE", help="model bundle: a name or a folder")
    p.add_argument("--format", choices=("onnx",), default="onnx", help="of the graph (default onnx)")
    p.add_argument("--output", type=Path, metavar="DIR", help="write a copy of the bundle there (default in place)")
    p.set_defaults(run=export_command)


def export_command(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.bundle import GRAPH
    from SpineLandmarksLib.training.export import versions_of
    from SpineLandmarksLib.training.export_bundle import export_bundle

    bundle, parity = export_bundle(options.bundle, options.output)
    opset = versions_of(bundle.folder / GRAPH)["opset"]
    print(f"Written: {bundle.folder / GRAPH}, opset {opset}")
    print(f"On {parity.slices} slices at most {parity.points_px:.2g} px and {parity.confidence:.2g} from torch")
    return 0
