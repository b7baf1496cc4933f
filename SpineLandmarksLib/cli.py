"""The command `spine-landmarks`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib import __version__
from SpineLandmarksLib.arguments import FORMAT_NAMES, extra, fold, formats, names, positive, slice_index, spacing
from SpineLandmarksLib.dataset.parser import add_dataset
from SpineLandmarksLib.dataset.retrain_parser import add_models, add_retrain
from SpineLandmarksLib.errors import BackendError, SpineLandmarksError
from SpineLandmarksLib.web.parser import add_review

if TYPE_CHECKING:
    from SpineLandmarksLib.cluster.engine import RayEngine
    from SpineLandmarksLib.predict import Localizer

LIBRARY = __name__.partition(".")[0]
#: Extra that a missing package is in; all others are in `train`.
EXTRAS = {
    "review": ("trame", "trame_slicer", "vtkmodules", "wslink", "aiohttp", "slicer"),
    "store": ("sqlalchemy", "psycopg", "dicomanonymizer"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 = done, 1 = some inputs failed, 2 = an error that one line explains, 130 = interrupted."""
    options = parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        status: int = options.run(options)
        return status
    except SpineLandmarksError as error:
        return fail(str(error))
    except OSError as error:  # the disk or the network, not the program
        return fail(f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == LIBRARY:
            raise
        package = error.name.partition(".")[0]
        wanted = next((name for name, packages in EXTRAS.items() if package in packages), "train")
        return fail(f"this command needs {package}: pip install 'spine-landmarks[{wanted}]'")
    except KeyboardInterrupt:
        print("spine-landmarks: interrupted; every file written so far is whole", file=sys.stderr)
        return 130


def fail(text: str) -> int:
    """One line, whatever the message holds."""
    print(f"spine-landmarks: {' '.join(text.split())}", file=sys.stderr)
    return 2


def parser() -> argparse.ArgumentParser:
    root = argparse.ArgumentParser(
        prog="spine-landmarks",
        description="Eleven named landmarks (T12-L1 ... L5-S1) on lumbar spine MRI. Research use only.",
    )
    root.add_argument("--version", action="version", version=f"spine-landmarks {__version__}")
    commands = root.add_subparsers(title="commands", required=True, metavar="COMMAND")
    _add_predict(commands)
    _add_serve(commands)
    _add_demo(commands)
    _add_evaluate(commands)
    _add_train(commands)
    _add_calibrate(commands)
    _add_phantom(commands)
    _add_export(commands)
    _add_bench(commands)
    add_dataset(commands)
    add_retrain(commands)
    add_models(commands)
    add_review(commands)
    _add_experiment(commands)
    return root


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("predict", help="localize the landmarks of studies and write them to files")
    p.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        type=Path,
        help="DICOM folder, zip or file, NIfTI, NRRD, MHA/MHD, or a PNG/JPEG/TIFF slice",
    )
    p.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    p.add_argument("--spacing", type=spacing, metavar="MM", help="mm per pixel of a picture; X,Y if they differ")
    p.add_argument("--slice", type=slice_index, default=None, metavar="auto|INDEX", help="slice to use (default auto)")
    p.add_argument("--format", type=formats, default=FORMAT_NAMES, metavar="NAMES", help=",".join(FORMAT_NAMES))
    _add_many(p)
    _add_model(p)
    p.set_defaults(run=run_predict)


def _add_many(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("many studies")
    group.add_argument("--recursive", action="store_true", help="search each INPUT folder for studies")
    group.add_argument("--resume", action="store_true", help="keep what an earlier run finished, unless it changed")
    group.add_argument("--progress", action="store_true", help="tell rate and remaining time, not on a terminal alone")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or a Ray cluster")
    group.add_argument("--address", metavar="HOST:PORT|auto", help="of the cluster (default: one started here)")
    group.add_argument("--workers", type=positive, metavar="N", help="actors in the cluster (default: all that fit)")


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("serve", help="keep a model warm for a program that talks newline JSON on stdin and stdout")
    _add_model(p)
    p.set_defaults(run=run_serve)


def _add_model(p: argparse.ArgumentParser) -> None:
    p.add_argument("--bundle", default="lumbar11", metavar="NAME_OR_DIR", help="model bundle (default lumbar11)")
    p.add_argument("--backend", choices=("auto", "light", "torch"), default="auto", help="runtime (default auto)")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run (default auto)")


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("demo", help="localize landmarks on a generated MRI and show the result")
    p.add_argument("--output", type=Path, default=Path("demo-output"), metavar="DIR")
    p.add_argument("--seed", type=int, default=8, help="which generated spine")
    p.add_argument("--contrast", choices=("T1", "T2", "STIR"), default="T2")
    _add_model(p)
    p.set_defaults(run=run_demo)


def _add_evaluate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("evaluate", help="judge a bundle on an annotated data set")
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    _add_holdout(p, "judge only the N patients that `train --holdout N` leaves out")
    p.add_argument("--locked", action="store_true", help="judge the locked hold-out, which is left out otherwise")
    _add_model(p)
    p.set_defaults(run=run_evaluate, progress=show_progress)


def _add_train(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("train", help="train a recipe on a data set and build a bundle")
    p.add_argument("--recipe", default="default", metavar="NAME_OR_FILE")
    p.add_argument("--data", required=True, type=Path, metavar="DATASET")
    p.add_argument(
        "--extra",
        action="append",
        default=[],
        type=extra,
        metavar="DATASET[=SHARE]",
        help="more data to learn from, never held out, and its share of all draws",
    )
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--name", default="bundle", help="name of the bundle, which is written to DIR/NAME")
    p.add_argument("--steps", type=positive, metavar="N", help="instead of the recipe's")
    p.add_argument("--resume", action="store_true", help="go on from DIR/checkpoint.pt when it is there")
    p.add_argument("--start-from", type=Path, metavar="BUNDLE", help="fine-tune the weights of this bundle")
    p.add_argument("--calibration-of", type=Path, metavar="BUNDLE", help="copy the calibration of this bundle")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    _add_holdout(p, "leave N patients of --data out, judge the result on them and calibrate its doubt there")
    p.set_defaults(run=run_train)


def _add_holdout(p: argparse.ArgumentParser, text: str) -> None:
    group = p.add_mutually_exclusive_group()
    group.add_argument("--holdout", type=int, metavar="N", help=text)
    group.add_argument("--fold", type=fold, metavar="I/N", help="the same with the I-th of N folds by patient")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")


def _add_calibrate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("calibrate", help="judge all folds together, and fit the doubt of a bundle on them")
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument(
        "--bundles",
        required=True,
        metavar="PATTERN",
        help="the bundles of `train --fold I/N`, with {fold} for I: runs/fold{fold}/fold{fold}",
    )
    p.add_argument("--folds", type=positive, default=5, metavar="N")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")
    p.add_argument("--into", type=Path, metavar="BUNDLE", help="write the doubt fitted on all folds into this bundle")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the tables into its section")
    p.set_defaults(run=run_calibrate, progress=show_progress)


def _add_phantom(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("phantom", help="generate slices with exact truth as a data set to train on")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--count", type=positive, default=600, metavar="N")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument(
        "--transitional",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of spines with a transitional lumbosacral junction",
    )
    p.add_argument(
        "--anomalous",
        type=float,
        default=0.0,
        metavar="SHARE",
        help="share of spines with six or four lumbar bodies, named from both ends",
    )
    p.set_defaults(run=run_phantom)


def _add_export(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("export", help="write the graph of a bundle anew from its weights, and hold it to torch")
    p.add_argument("bundle", metavar="BUNDLE", help="model bundle: a name or a folder")
    p.add_argument("--format", choices=("onnx",), default="onnx", help="of the graph (default onnx)")
    p.add_argument("--output", type=Path, metavar="DIR", help="write a copy of the bundle there (default in place)")
    p.set_defaults(run=run_export)


def _add_bench(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("bench", help="time, memory and size on this machine, beside other pipelines and runtimes")
    p.add_argument("--runs", type=positive, default=30, metavar="N", help="at the most, of one slice (default 30)")
    p.add_argument("--seconds", type=positive, default=6, metavar="S", help="for each measurement (default 6)")
    p.add_argument("--limit", type=positive, default=40, metavar="S", help="for one batch, else left out (default 40)")
    p.add_argument("--only", type=names, metavar="ROWS", help="of the table, such as light,torch (default all)")
    p.add_argument("--environment", type=Path, metavar="DIR", help="one with the core dependencies, to run light in")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the table into its section")
    p.add_argument("--bundle", default="lumbar11", metavar="NAME_OR_DIR", help="model bundle (default lumbar11)")
    p.set_defaults(run=run_bench)


def _add_experiment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    from SpineLandmarksLib.training.experiments.arguments import add_arguments

    p = commands.add_parser("experiment", help="train and judge many networks side by side, and write their table")
    kinds = add_arguments(p)
    _add_judged(kinds, "robustness", "one bundle on slices that are changed in known ways", run_robustness)
    strange = _add_judged(kinds, "strange", "one bundle on pictures it should not be trusted on", run_strange)
    strange.add_argument("--volumes", type=Path, metavar="DIR", help="also other planes of the NIfTI volumes in DIR")
    p.set_defaults(run=run_experiment)


def _add_judged(
    kinds: argparse._SubParsersAction[argparse.ArgumentParser],
    kind: str,
    text: str,
    run: Callable[[argparse.Namespace], int],
) -> argparse.ArgumentParser:
    p = kinds.add_parser(kind, help=text)
    p.add_argument("dataset", type=Path, metavar="DATASET", help="folder with landmarks.json and images/")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--document", type=Path, metavar="FILE.md", help="also write the table into its section")
    _add_holdout(p, "judge only the N patients that `train --holdout N` leaves out")
    _add_model(p)
    p.set_defaults(run=run, progress=show_progress)
    return p


def run_predict(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.batch import predict_all

    with _engine(options) as engine:
        return predict_all(
            options.inputs,
            engine,
            options.output,
            options.format,
            options.spacing,
            options.slice,
            tree=options.recursive,
            resume=options.resume,
            progress=options.progress,
        )


def _engine(options: argparse.Namespace) -> AbstractContextManager[Localizer | RayEngine]:
    """What does the work of `predict`."""
    model = options.bundle, options.backend, options.device
    if options.engine == "ray":
        from SpineLandmarksLib.cluster.engine import RayEngine

        return RayEngine(*model, options.address, options.workers)
    if options.address or options.workers:
        raise BackendError("--address and --workers are for --engine ray; without it one process does the work")
    from SpineLandmarksLib.backends import processor_note
    from SpineLandmarksLib.predict import Localizer

    localizer = Localizer.open(*model)
    if localizer.backend.name == "light" and (note := processor_note()):
        print(f"spine-landmarks: {note}", file=sys.stderr)
    return nullcontext(localizer)


def run_serve(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.worker.stdio import take_over

    requests, messages = take_over()  # before anything is imported that may print
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.worker.server import serve

    asked = {name: getattr(options, name) for name in ("bundle", "backend", "device")}
    return serve(requests, messages, lambda: Localizer.open(**asked), asked)


def run_demo(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.training.demo import demo

    return demo(
        options.output, Localizer.open(options.bundle, options.backend, options.device), options.seed, options.contrast
    )


def run_evaluate(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.commands import evaluate_command

    return evaluate_command(options)


def run_train(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.commands import train_command

    return train_command(options)


def run_calibrate(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.commands import calibrate_command

    return calibrate_command(options)


def run_phantom(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.phantom.dataset import write_phantom_dataset

    folder = write_phantom_dataset(
        options.output, options.count, options.seed, options.transitional, options.anomalous, show_progress
    )
    print(f"Written: {folder}")
    return 0


def run_export(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.export_bundle import export_command

    return export_command(options)


def run_bench(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.bench.command import bench_command

    return bench_command(options)


def run_experiment(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.experiments.commands import experiment_command

    return experiment_command(options)


def run_robustness(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.experiments.robustness import robustness_command

    return robustness_command(options)


def run_strange(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.training.experiments.strange import strange_command

    return strange_command(options)


def show_progress(done: int, total: int) -> None:
    print(f"\r{done}/{total}", end="" if done < total else "\n", flush=True)
