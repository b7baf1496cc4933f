"""Types of command-line arguments: text in, value out, or an error that says what was expected."""

from __future__ import annotations

import argparse
import ipaddress
from collections.abc import Callable
from pathlib import Path

#: Called with what is done and all there is to do.
ProgressCallback = Callable[[int, int], None]

FORMAT_NAMES = ("json", "csv", "mrk.json")
#: Objects that belong to a DICOM study, by what they are asked for as: report and secondary capture. Not made unasked.
DICOM_NAMES = {"sr": "sr.dcm", "sc": "sc.dcm"}

#: What is made of a result for people, by its ending; not made unasked.
REPORT_NAMES = ("measurements.csv", "measurements.json", "report.html", "report.pdf")

#: The first is what annotators get unless they ask for another.
ORDERS = ("doubt", "random", "gain")


def spacing(text: str) -> float | tuple[float, float]:
    """Parse "0.7" or "0.7,0.8" (between columns, between rows)."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise argparse.ArgumentTypeError(f"expected millimetres such as 0.7 or 0.7,0.8; got {text!r}")
    return values[0] if len(values) == 1 else (values[0], values[1])


def extra(text: str) -> tuple[Path, float | None]:
    """Parse "folder" or "folder=0.3"."""
    folder, equals, share = text.rpartition("=")
    if not equals:
        return Path(text), None
    try:
        return Path(folder), float(share)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a folder, or folder=0.3; got {text!r}") from error


def fold(text: str) -> tuple[int, int]:
    """Parse "1/5" to "5/5"."""
    number, slash, folds = text.partition("/")
    if slash and number.isdecimal() and folds.isdecimal() and 1 <= int(number) <= int(folds) >= 2:
        return int(number), int(folds)
    raise argparse.ArgumentTypeError(f"expected a fold such as 1/5; got {text!r}")


def slice_index(text: str) -> int | None:
    if text == "auto":
        return None
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected auto or a slice number; got {text!r}") from error


def positive(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more; got {text!r}")
    return int(text)


def formats(text: str) -> tuple[str, ...]:
    """Endings of files, from the names that people give."""
    given = (part.strip() for part in text.split(",") if part.strip())
    names = tuple(DICOM_NAMES.get(name, name) for name in given)
    known = (*FORMAT_NAMES, *REPORT_NAMES, *DICOM_NAMES.values())
    if not names or any(name not in known for name in names):
        raise argparse.ArgumentTypeError(
            f"expected formats of {', '.join((*FORMAT_NAMES, *REPORT_NAMES, *DICOM_NAMES))}; got {text!r}"
        )
    return names


def is_loopback(host: str) -> bool:
    """Whether a name or address is this computer's own, which no other reaches.

    >>> is_loopback("[::1]"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def add_model(p: argparse.ArgumentParser) -> None:
    """Which weights, on which runtime and device."""
    p.add_argument("--bundle", default="lumbar11", metavar="NAME_OR_DIR", help="model bundle (default lumbar11)")
    p.add_argument("--backend", choices=("auto", "light", "torch"), default="auto", help="runtime (default auto)")
    p.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="where to run (default auto)")


def model_arguments(options: argparse.Namespace) -> tuple[str, ...]:
    """What `add_model` has parsed, as arguments of another process."""
    return "--bundle", options.bundle, "--backend", options.backend, "--device", options.device


def add_holdout(p: argparse.ArgumentParser, text: str) -> None:
    """A split by patient: --holdout or --fold, and its seed."""
    group = p.add_mutually_exclusive_group()
    group.add_argument("--holdout", type=int, metavar="N", help=text)
    group.add_argument("--fold", type=fold, metavar="I/N", help="the same with the I-th of N folds by patient")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED", help="which split (default 0)")


def show_progress(done: int, total: int) -> None:
    """Overwrite one line of the terminal with how many are done."""
    print(f"\r{done}/{total}", end="" if done < total else "\n", flush=True)
