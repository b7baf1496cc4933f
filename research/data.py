"""Prepare the shared sources as data sets to train on, each with a locked hold-out of patients.

    python -m research.data ../shared/data --output DIR [--bundle lumbar11] [--share 0.2] [--misregistered]

Writes DIR/SOURCE with landmarks.json, images and holdout.json for each source, and DIR/levels.json: what became of
each slice of `spider_mid`, to look at before it is used. `train --data DIR/tianchi150 --extra DIR/lsd_t1` then learns
from no locked patient, `evaluate --locked DIR/lsd_t1` judges them.

- `tianchi150`: as published. The hold-out is the one of `train --holdout 30 --split-seed 0`.
- `spider`: as published. Patients held out of `spider_mid` are held out here too.
- `lsd_t1`: patients whose second reader names another level are left out: which level is right is unknown. So are
  slices whose outlines lie beside their bodies by the picture's own edges, what their publisher's altering has done to
  a sixth of them; `--misregistered` keeps them. Either way the same patients are locked.
- `spider_mid`: a reader's five discs tell the level, the bundle the places. A chain whose discs are nearest to the
  reader's in the reader's order is taken as it is, one that is shifted by a level as a whole is moved by that level,
  any other is left out. T1 slices have no reader; one is taken where its chain lies on that of the same patient's T2.
- `lsd_t1_corners`: the same pictures and hold-out with the corners of the bodies instead, and their schema.json.
- `hands`: as published, its points without an order, nobody locked.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from research.bench.reader_levels import CLICKS, stated_spacing_mm
from research.registration import best_shift
from SpineLandmarksLib.annotated_slices import UNORDERED, schema_of, spacing_of
from SpineLandmarksLib.errors import SpineLandmarksError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json, write_landmarks_json
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import CORNERS22, LUMBAR11, PixelXY
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import holdout, lock

Points = dict[str, PixelXY]
#: A T1 chain lies on that of its patient's T2 when they are this near in the mean, as a part of the length L1 to L5:
#: about 6 mm, a fifth of a level.
SAME_CHAIN = 0.04
#: Outlines that would lie better by this many pixels of the 512 lie beside their bodies: 2 mm.
BESIDE_PX = 4.0
#: Of each body, as `corners_px` has them.
OF_A_BODY = ("sup.ant", "sup.post", "inf.ant", "inf.post")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.data", description=__doc__.partition("\n")[0])
    p.add_argument("shared", type=Path, metavar="SHARED", help="folder with all sources")
    p.add_argument("--output", required=True, type=Path, metavar="DIR")
    p.add_argument("--bundle", default="lumbar11", metavar="NAME_OR_DIR", help="places points on spider_mid")
    p.add_argument("--share", type=float, default=0.2, metavar="S", help="of patients held out (default 0.2)")
    p.add_argument("--split-seed", type=int, default=0, metavar="SEED")
    p.add_argument("--misregistered", action="store_true", help="keep slices whose outlines lie beside the bodies")
    options = p.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    source: Callable[[str], Path] = options.shared.joinpath
    seed, share = options.split_seed, options.share
    seen = {row.group for row in read_landmarks_json(source("spider"))}
    localizer = Localizer.open(options.bundle)
    mid, levels = with_checked_levels(localizer, source("spider_mid"))
    write_text_atomically(options.output / "levels.json", json.dumps(levels, indent=1) + "\n")
    # The bundle that places the points has seen `spider`: its patients can judge nothing that starts from it.
    # Drawn from all patients, whatever the bundle made of them: a hold-out of those it read well would flatter.
    everybody = {str(row["patient"]) for row in json.loads((source("spider_mid") / "landmarks.json").read_text())}
    kept = held_out(everybody - seen, round(share * len(everybody)), seed)
    tianchi, t1 = read_landmarks_json(source("tianchi150")), undisputed(source("lsd_t1"))
    parts = {
        name: held_out({row.group for row in rows}, round(share * len(rows)), seed)
        for name, rows in (("tianchi150", tianchi), ("lsd_t1", t1))
    }
    t1 = t1 if options.misregistered else registered(source("lsd_t1"), t1)
    for name, rows, locked in (
        ("tianchi150", tianchi, parts["tianchi150"]),
        ("spider", read_landmarks_json(source("spider")), kept),
        ("spider_mid", mid, kept),
        ("lsd_t1", t1, parts["lsd_t1"]),
        ("lsd_t1_corners", with_corners(source("lsd_t1"), t1), parts["lsd_t1"]),
    ):
        groups = {row.group for row in rows}
        write_source(rows, options.output / name, locked, seed)
        own = len(groups & set(locked))
        if name.endswith("_corners"):
            write_text_atomically(options.output / name / "schema.json", json.dumps(CORNERS22) + "\n")
        print(f"Written: {options.output / name}, {len(rows)} slices of {len(groups)} patients, {own} locked")
    rows = write_hands(source("hands"), options.output / "hands")
    print(f"Written: {options.output / 'hands'}, {len(rows)} radiographs, none locked")
    return 0


def write_hands(source: Path, folder: Path) -> list[Annotation]:
    """The radiographs as a data set whose landmarks are no chain."""
    schema = schema_of(source)
    rows = copy_pictures(read_landmarks_json(source, schema), folder)
    write_landmarks_json(rows, folder)
    said = {"landmarks": schema, "order": UNORDERED}
    write_text_atomically(folder / "schema.json", json.dumps(said) + "\n")
    return rows


def held_out(patients: Iterable[str], count: int, seed: int) -> list[str]:
    """The patients that `train --holdout COUNT --split-seed SEED` would leave out."""
    names = sorted(patients)
    return [names[row] for row in holdout(names, count, seed)[1]]


def write_source(rows: list[Annotation], folder: Path, locked: list[str], seed: int) -> None:
    """Copy the pictures of a source and write its landmarks and its hold-out."""
    write_landmarks_json(copy_pictures(rows, folder), folder)
    lock(folder, locked, seed=seed, by="research.data")


def copy_pictures(rows: list[Annotation], folder: Path) -> list[Annotation]:
    """Copy the pictures of a source; returns its rows with the copies."""
    (folder / "images").mkdir(parents=True)
    copied = []
    for row in rows:
        image = Path(shutil.copyfile(row.image, folder / "images" / row.image.name))
        copied.append(
            Annotation(image, row.group, row.points_xy, row.spacing_mm, row.spacing_is_estimated, row.size_wh)
        )
    return copied


def undisputed(folder: Path) -> list[Annotation]:
    """The slices on which no second reader named another level."""
    stated = json.loads((folder / "landmarks.json").read_text())
    disputed = {str(row["patient"]) for row in stated if row["second_reader_shift"] not in (0, None)}
    return [row for row in read_landmarks_json(folder) if row.group not in disputed]


def registered(folder: Path, rows: list[Annotation]) -> list[Annotation]:
    """The slices whose outlines meet the edges of their picture where they lie."""
    outlines = _outlines(folder)
    return [row for row in rows if _is_registered(row.image, outlines[row.group].values())]


def _is_registered(image: Path, outlines: Iterable[Any]) -> bool:
    pixels = np.asarray(Image.open(image).convert("L"), dtype=np.float64)
    return float(np.hypot(*best_shift(pixels, [np.array(each, dtype=np.float64) for each in outlines]))) < BESIDE_PX


def _outlines(folder: Path) -> dict[str, dict[str, list[PixelXY]]]:
    """Corners of each body of each patient."""
    return {str(row["patient"]): row["corners_px"] for row in json.loads((folder / "landmarks.json").read_text())}


def with_corners(folder: Path, rows: list[Annotation]) -> list[Annotation]:
    """The slices with the corners of their bodies instead of the eleven; S1 has its two upper ones."""
    corners = {
        patient: {f"{body}.{name}": xy for body in bodies for name, xy in zip(OF_A_BODY, bodies[body], strict=False)}
        for patient, bodies in _outlines(folder).items()
    }
    # Corners alone do not tell the length from L1 to L5 that stands for the spacing.
    sizes = [spacing_of(row) for row in rows]
    return [
        replace(row, points_xy=corners[row.group], spacing_mm=size, spacing_is_estimated=True)
        for row, size in zip(rows, sizes, strict=True)
    ]


def with_checked_levels(localizer: Localizer, folder: Path) -> tuple[list[Annotation], list[dict[str, Any]]]:
    """The slices of `spider_mid` whose chain stands at the reader's level, and what became of each slice."""
    rows = json.loads((folder / "landmarks.json").read_text())
    found, levels = [], []
    chains: dict[str, tuple[Points, float]] = {}  # of each patient's T2, and its picture's width
    for row in sorted(rows, key=lambda row: len(row.get("disc_posterior_edge_px", {})), reverse=True):
        patient, clicks = str(row["patient"]), row.get("disc_posterior_edge_px", {})
        spacing = stated_spacing_mm(row)
        try:
            marks = localizer.localize(read_study(folder / row["image"], spacing))
        except SpineLandmarksError as error:
            levels.append({"image": row["image"], "left out": str(error)})
            continue
        points: Points = {mark.name: mark.pixel_xy for mark in marks if mark.pixel_xy is not None}
        width = float(row["size"][0])
        if len(clicks) == len(CLICKS):
            shift = shift_to(points, clicks)
            if shift is not None:
                points = moved(points, shift)
                chains[patient] = points, width
        else:
            shift = 0 if patient in chains and lies_on(points, width, *chains[patient]) else None
        levels.append({"image": row["image"], "patient": patient, "shift": shift})
        if shift is not None:
            size = (int(row["size"][0]), int(row["size"][1]))
            found.append(Annotation((folder / row["image"]).resolve(), patient, points, spacing, False, size))
    return found, levels


def shift_to(points: Mapping[str, PixelXY], clicks: Mapping[str, PixelXY]) -> int | None:
    """By how many levels the names must move toward the feet to stand at the reader's; None where no shift fits."""
    discs = [name for name in LUMBAR11 if "-" in name and name in points]
    if len(discs) < len(CLICKS):
        return None
    places = np.array([points[name] for name in discs])
    order = [name for name in LUMBAR11 if "-" in name]
    nearest = [discs[int(np.linalg.norm(places - np.asarray(click), axis=1).argmin())] for click in clicks.values()]
    shifts = {order.index(name) - order.index(at) for name, at in zip(clicks, nearest, strict=True)}
    # The disc beyond the end of a shifted chain was not found: its click then falls to the neighbour's.
    if shifts == {1, 0} or shifts == {-1, 0}:
        shifts -= {0} if nearest[0] == nearest[1] or nearest[-1] == nearest[-2] else set()
    return shifts.pop() if len(shifts) == 1 and shifts <= {-1, 0, 1} else None


def moved(points: Points, levels: int) -> Points:
    """The points with their names moved toward the feet; what would leave the eleven is dropped."""
    place = {name: LUMBAR11.index(name) + 2 * levels for name in points}
    return {LUMBAR11[place[name]]: xy for name, xy in points.items() if 0 <= place[name] < len(LUMBAR11)}


def lies_on(points: Points, width: float, other: Points, other_width: float) -> bool:
    """Whether two chains on pictures of one field of view, maybe of another matrix, are the same."""
    names = [name for name in LUMBAR11 if name in points and name in other]
    if not {"L1", "L5"} <= set(names):
        return False
    a = np.array([points[name] for name in names]) / width
    b = np.array([other[name] for name in names]) / other_width
    length = np.linalg.norm(b[names.index("L1")] - b[names.index("L5")])
    return bool(np.linalg.norm(a - b, axis=1).mean() < SAME_CHAIN * length)


if __name__ == "__main__":
    sys.exit(main())
