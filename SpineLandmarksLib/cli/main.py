"""The command `spine-landmarks`. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from SpineLandmarksLib import __version__
from SpineLandmarksLib.arguments import (
    DICOM_NAMES,
    FORMAT_NAMES,
    REPORT_NAMES,
    add_model,
    formats,
    positive,
    slice_index,
    spacing,
)
from SpineLandmarksLib.cli.api import add_api
from SpineLandmarksLib.cli.bench import add_bench
from SpineLandmarksLib.cli.convert import add_convert
from SpineLandmarksLib.cli.dataset import add_dataset
from SpineLandmarksLib.cli.demo import add_demo
from SpineLandmarksLib.cli.node import add_node
from SpineLandmarksLib.cli.retrain import add_models, add_retrain
from SpineLandmarksLib.cli.review import add_review
from SpineLandmarksLib.cli.train import add_calibrate, add_evaluate, add_export, add_phantom, add_train
from SpineLandmarksLib.errors import TOO_LITTLE_MEMORY, BackendError, InputError, SpineLandmarksError, is_out_of_memory

if TYPE_CHECKING:
    from SpineLandmarksLib.batch.ray_engine import RayEngine
    from SpineLandmarksLib.pacs.dicomweb import DicomWeb
    from SpineLandmarksLib.predict import Localizer

LIBRARY = __name__.partition(".")[0]
#: Extra that a missing package is in; all others are in `train`.
EXTRAS = {
    "api": ("fastapi", "starlette", "uvicorn", "swagger_ui_bundle"),
    "review": ("trame", "trame_slicer", "vtkmodules", "wslink", "aiohttp", "slicer", "argon2"),
    "dicom": ("highdicom", "dicomweb_client", "requests", "pynetdicom"),
    "store": ("sqlalchemy", "psycopg", "dicomanonymizer"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 = done, 1 = some inputs failed, 2 = an error that one line explains, 130 = interrupted."""
    return run(parser().parse_args(arguments))


def run(options: argparse.Namespace) -> int:
    """Run what was asked for, with one line for whatever stops it; see `main`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is no reason to stop
            stream.reconfigure(errors="backslashreplace")
    try:
        with _ended_as_by_ctrl_c():
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
    except (MemoryError, ImportError) as error:
        if not is_out_of_memory(error):
            raise
        return fail(TOO_LITTLE_MEMORY)
    except KeyboardInterrupt:
        print("spine-landmarks: interrupted; every file written so far is whole", file=sys.stderr)
        return 130


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """SIGTERM unwinds as Ctrl-C does, so that temporary folders with patients' files go."""
    is_main = threading.current_thread() is threading.main_thread()
    if not is_main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
    inference = (_add_predict, _add_serve, add_api, add_demo, add_convert)
    training = (add_evaluate, add_train, add_calibrate, add_phantom, add_export, add_bench)
    for add in (*inference, *training, add_dataset, add_retrain, add_models, add_review, add_node):
        add(commands)
    return root


def _add_predict(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("predict", help="localize the landmarks of studies and write them to files")
    what = "DICOM folder, zip or file, NIfTI, NRRD, MHA/MHD, or a PNG/JPEG/TIFF slice"
    p.add_argument("inputs", nargs="*", metavar="INPUT", type=Path, help=what)
    p.add_argument("--output", required=True, type=Path, metavar="DIR", help="folder for the results")
    p.add_argument("--spacing", type=spacing, metavar="MM", help="mm per pixel of a picture; X,Y if they differ")
    p.add_argument("--slice", type=slice_index, default=None, metavar="auto|INDEX", help="slice to use (default auto)")
    p.add_argument(
        "--study", metavar="UID|DATE|N", help="exam to read where an input holds several; 1 is the newest (default)"
    )
    votes = "all: the other sagittal series of a DICOM study are read too and vote on the levels (default best)"
    p.add_argument("--series", choices=("best", "all"), default="best", help=votes)
    names = (
        f"{','.join(FORMAT_NAMES)} (default); {', '.join(REPORT_NAMES)}; sr, sc: DICOM report and secondary capture "
        "of a DICOM study"
    )
    p.add_argument("--format", type=formats, default=FORMAT_NAMES, metavar="NAMES", help=names)
    _add_many(p)
    _add_pacs(p)
    add_model(p)
    p.set_defaults(run=run_predict)


def _add_many(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("many studies")
    group.add_argument("--recursive", action="store_true", help="search each INPUT folder for studies")
    group.add_argument("--resume", action="store_true", help="keep what an earlier run finished, unless it changed")
    group.add_argument("--progress", action="store_true", help="tell rate and remaining time, not on a terminal alone")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or a Ray cluster")
    group.add_argument("--address", metavar="HOST:PORT|auto", help="of the cluster (default: one started here)")
    group.add_argument("--workers", type=positive, metavar="N", help="actors in the cluster (default: all that fit)")


def _add_pacs(p: argparse.ArgumentParser) -> None:
    group = p.add_argument_group("PACS", "DICOMweb; credentials come from the environment or a prompt (docs/pacs.md)")
    group.add_argument("--from", dest="source", metavar="URL", help="read the study --study UID from there, not INPUT")
    group.add_argument("--store", metavar="URL", help="send report and capture there; adds the formats sr and sc")
    group.add_argument("--user", default="", metavar="NAME", help="whose password is asked for")


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    p = commands.add_parser("serve", help="keep a model warm for a program that talks newline JSON on stdin and stdout")
    add_model(p)
    p.set_defaults(run=run_serve)


def run_predict(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.batch import predict_all

    if bool(options.inputs) == bool(options.source):
        raise InputError("Expected studies to read: either INPUT, or --from URL with --study UID")
    formats = options.format
    if options.store:
        formats = tuple(dict.fromkeys((*formats, *DICOM_NAMES.values())))
    if set(DICOM_NAMES.values()) & set(formats):
        from SpineLandmarksLib.formats.dicom_plane import require_highdicom

        require_highdicom()  # before a study is localized for nothing
    with ExitStack() as opened:
        deliver = _pacs(options.store, options.user).store if options.store else None
        engine = opened.enter_context(_engine(options))
        inputs = options.inputs
        if options.source:
            pacs = _pacs(options.source, options.user)
            inputs = [opened.enter_context(pacs.study(options.study or ""))]
        return predict_all(
            inputs,
            engine,
            options.output,
            formats,
            options.spacing,
            options.slice,
            study=None if options.source else options.study,
            deliver=deliver,
            known_as=f"{options.source.rstrip('/')}/studies/{options.study}" if options.source else "",
            every_series=options.series == "all",
            tree=options.recursive,
            resume=options.resume,
            progress=options.progress,
        )


def _pacs(url: str, user: str) -> DicomWeb:
    from SpineLandmarksLib.pacs.dicomweb import DicomWeb

    return DicomWeb(url, user)


def _engine(options: argparse.Namespace) -> AbstractContextManager[Localizer | RayEngine]:
    """What does the work of `predict`."""
    model = options.bundle, options.backend, options.device
    if options.engine == "ray":
        from SpineLandmarksLib.batch.ray_engine import RayEngine

        return RayEngine(*model, options.address, options.workers)
    if options.address or options.workers:
        raise BackendError("--address and --workers are for --engine ray; without it one process does the work")
    from SpineLandmarksLib.backends import cpu_warning
    from SpineLandmarksLib.predict import Localizer

    localizer = Localizer.open(*model)
    if localizer.backend.name == "light" and (warning := cpu_warning()):
        print(f"spine-landmarks: {warning}", file=sys.stderr)
    return nullcontext(localizer)


def run_serve(options: argparse.Namespace) -> int:
    from SpineLandmarksLib.worker.protocol import take_over

    requests, messages = take_over()  # before anything is imported that may print
    from SpineLandmarksLib.predict import Localizer
    from SpineLandmarksLib.worker.server import serve

    asked = {name: getattr(options, name) for name in ("bundle", "backend", "device")}
    return serve(requests, messages, lambda: Localizer.open(**asked), asked)
