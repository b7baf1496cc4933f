"""Corners of endplates: how far from annotated ones, what that makes of measurements, and whether they enclose centres.

    python -m research.bench.corners accuracy DATASET --bundle lumbar-corners [--locked | --holdout N | --fold I/N]
    python -m research.bench.corners accuracy DATASET --bundle lumbar11,lumbar-corners --locked
    python -m research.bench.corners enclosed ../shared/data/tianchi150 ../shared/data/spider_mid \\
        --bundle lumbar11,lumbar-corners

`accuracy` compares with annotated corners, and measurements by the found ones with those by the annotated ones, of all
slices on which both can be taken; doubts are left aside. `enclosed` has no corners to compare with: those of a body
must enclose its centre, and those that face each other across a disc the disc's centre, annotated where there are
landmarks, else as the first bundle found them. A body or disc whose corners are not all found counts as not enclosed.
No body can be enclosed on a slice that the first bundle reads on another level than annotated: the rest is said beside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.annotated_slices import spacing_of
from SpineLandmarksLib.annotation.endplates import measure_endplates
from SpineLandmarksLib.arguments import add_holdout, add_model
from SpineLandmarksLib.cli.main import run
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, Landmark, LandmarkSet, PixelXY
from SpineLandmarksLib.measurement import Measurement
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.quadrilaterals import AROUND, BODIES, disagreeing
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.votes import shift_between

Points = Mapping[str, PixelXY]
#: Measurements whose error is told, by words that their names begin with.
KINDS = (
    "Lumbar lordosis",
    "Sacral slope",
    "Lumbosacral angle",
    "Segmental lordosis",
    "Disc height L",
    "Height L",
    "Slip",
)


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.bench.corners", description=__doc__.partition("\n")[0])
    commands = p.add_subparsers(required=True, metavar="COMMAND")
    accuracy = commands.add_parser("accuracy", help="beside annotated corners")
    accuracy.add_argument("dataset", type=Path, metavar="DATASET")
    add_holdout(accuracy, "judge only the N patients that `train --holdout N` leaves out")
    accuracy.add_argument("--locked", action="store_true", help="judge the locked hold-out")
    accuracy.set_defaults(run=accuracy_command)
    enclosed = commands.add_parser("enclosed", help="around centres")
    enclosed.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    enclosed.set_defaults(run=enclosed_command)
    for command in (accuracy, enclosed):
        add_model(command)
    return run(p.parse_args(arguments))


def accuracy_command(options: argparse.Namespace) -> int:
    localizer = Localizer.open(options.bundle, options.backend, options.device)
    _, rows, split = split_dataset(options, options.dataset, CORNERS22)
    print(f"{options.bundle} on {len(rows)} slices of {options.dataset.name}, {split}")
    found = [corners_of(localizer, row.image, spacing_of(row)) for row in rows]
    print(errors_text(rows, found))
    return 0


def corners_of(localizer: Localizer, image: Path, spacing: PixelXY | None) -> Points:
    """Native pixels of the corners that are found on a picture."""
    said = localizer.localize(read_study(image, spacing))
    return {mark.name: mark.pixel_xy for mark in said.corners or said if mark.pixel_xy is not None}


def errors_text(rows: list[Annotation], found: list[Points]) -> str:
    """The errors of points and of measurements."""
    errors, missed, apart = [], 0, dict[str, list[float]]()
    for row, points in zip(rows, found, strict=True):
        mm = np.array(spacing_of(row) or (np.nan, np.nan))
        for name, truth in row.points_xy.items():
            missed += name not in points
            if name in points:
                errors.append(float(np.linalg.norm((np.array(points[name]) - truth) * mm)))
        for name, difference in _differences(row.points_xy, points, mm).items():
            apart.setdefault(next((kind for kind in KINDS if name.startswith(kind)), ""), []).append(difference)
    if not errors:
        raise DatasetError("Expected corners that are annotated and found; there are none")
    middle, far, worst = np.quantile(errors, (0.5, 0.95, 1.0))
    lines = [
        f"corners: {len(errors)} found, {missed} missed; median {middle:.2f}, 95 % {far:.2f}, worst {worst:.1f} mm"
    ]
    for kind in KINDS:
        values = apart.get(kind, [])
        if values:
            middle, far = np.quantile(values, (0.5, 0.95))
            lines.append(f"{kind}: off by {middle:.2f} (median), {far:.2f} (95 %) of {len(values)}")
    return "\n".join(lines)


def _differences(truth: Points, found: Points, mm: NDArray[np.float64]) -> dict[str, float]:
    """Of each measurement in mm or degrees that both allow."""
    one, other = (_measured(points, mm) for points in (truth, found))
    both = [name for name, each in one.items() if each.value is not None and other[name].value is not None]
    return {
        name: abs((one[name].value or 0.0) - (other[name].value or 0.0))
        for name in both
        if one[name].unit in ("mm", "deg")
    }


def _measured(points: Points, mm: NDArray[np.float64]) -> dict[str, Measurement]:
    def mark(name: str) -> Landmark:
        x, y = points[name]
        return Landmark(name, "confirmed", (0.0, -x * float(mm[0]), -y * float(mm[1])), (x, y))

    corners = [mark(name) if name in points else Landmark(name, "not_visible") for name in CORNERS22]
    return {one.name: one for one in measure_endplates(LandmarkSet(()), corners)}


def enclosed_command(options: argparse.Namespace) -> int:
    localizer = Localizer.open(options.bundle, options.backend, options.device)
    if localizer.follower is None:
        raise DatasetError(f"Expected two bundles, such as lumbar11,lumbar-corners; got {options.bundle}")
    for folder in options.folders:
        counts = [enclosed_on(localizer, *picture) for picture in pictures(folder)]
        on_level = [count for count in counts if not count["other level"]]
        for some, words in ((counts, ""), *([(on_level, ", those on the annotated level")] if on_level else [])):
            for kind in ("bodies", "discs"):
                good, all_ = (sum(count[kind][part] for count in some) for part in (0, 1))
                print(f"{folder.name}, {len(some)} slices{words}: {kind} enclosed {good} of {all_} ({good / all_:.1%})")
    return 0


def pictures(folder: Path) -> Iterator[tuple[Path, PixelXY | None, Points]]:
    """Path, spacing and annotated centres of each picture; no centres where none are annotated."""
    content = json.loads((folder / "landmarks.json").read_text(encoding="utf-8"))
    if any("landmarks_px" in row for row in content):
        yield from ((row.image, spacing_of(row), row.points_xy) for row in read_landmarks_json(folder, LUMBAR11))
        return
    for row in content:
        x, y = row["pixel_spacing_mm_as_in_header"]
        yield folder / row["image"], (x, y), {}


def enclosed_on(localizer: Localizer, image: Path, spacing: PixelXY | None, centres: Points) -> dict[str, Any]:
    """How many bodies and discs of how many are enclosed on one picture, and whether its levels are others."""
    said = localizer.localize(read_study(image, spacing))
    known = centres or {mark.name: mark.pixel_xy for mark in said if mark.pixel_xy is not None}
    at = {name: np.array(xy) for name, xy in known.items() if name in AROUND}
    found = {mark.name: np.array(mark.pixel_xy) for mark in said.corners if mark.pixel_xy is not None}
    wrong = {*disagreeing(found, at), *(name for name in at if not found.keys() >= {*AROUND[name]})}
    groups = {"bodies": [name for name in at if name in BODIES], "discs": [name for name in at if "-" in name]}
    here, there = (_places(points, spacing) for points in ({mark.name: mark.pixel_xy for mark in said}, known))
    enclosed = {kind: (sum(name not in wrong for name in names), len(names)) for kind, names in groups.items()}
    return {**enclosed, "other level": shift_between(here, there) != 0}


def _places(points: Mapping[str, PixelXY | None], spacing: PixelXY | None) -> NDArray[np.float64]:
    """(11, 2) mm, nan where there is none."""
    return np.array([points.get(name) or (np.nan, np.nan) for name in LUMBAR11]) * (spacing or (1.0, 1.0))


if __name__ == "__main__":
    sys.exit(main())
