"""How often a picture that lies upside down, mirrored or on its side is recognized, and an upright one left as it is.

    python -m research.bench.turned BUNDLE ../shared/data/tianchi150 [--every 4]

Every N-th picture is read as it lies and turned in one of the seven other ways, each in its turn. It is recognized when
the points, taken back to the upright picture, are those found there (median distance under 5 pixels).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from research.bench.parity import points
from SpineLandmarksLib.geometry import apply
from SpineLandmarksLib.imaging.stack import TURNS, SagittalStack, Turn
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer

SAME_PX = 5.0


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.bench.turned", description=__doc__.partition("\n")[0])
    p.add_argument("bundle", metavar="NAME_OR_DIR")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="data set of pictures that lie upright")
    p.add_argument("--every", type=int, default=1, metavar="N")
    options = p.parse_args(arguments)
    localizer = Localizer.open(options.bundle)
    rows = json.loads((options.folder / "landmarks.json").read_text())[:: options.every]
    told = [
        outcome(localizer, read_study(options.folder / row["image"]), TURNS[number % len(TURNS)])
        for number, row in enumerate(rows)
    ]
    print(
        f"{localizer.bundle.label} on {options.folder.name}: of {len(told)} turned pictures {told.count('recognized')} "
        f"recognized, {told.count('turned wrongly')} turned wrongly, {told.count('flagged')} not recognized but "
        f"flagged, {told.count('missed')} neither; {told.count('upright turned')} turned as they lie, and left out"
    )
    return 0


def outcome(localizer: Localizer, stack: SagittalStack, turn: Turn) -> str:
    """What becomes of one picture that is turned."""
    upright = localizer.localize(stack)
    if is_turned(upright):
        return "upright turned"
    lying, stack_from_lying = stack.turned_in_plane(turn)
    found = localizer.localize(lying)
    if not is_turned(found):
        return "flagged" if found.needs_review else "missed"
    here, there = points([upright, found])
    places = apply(stack_from_lying, np.c_[there, np.zeros(len(there))])[:, :2]
    apart = np.linalg.norm(places - here, axis=1)
    return "recognized" if np.nanmedian(apart) < SAME_PX else "turned wrongly"


def is_turned(found: LandmarkSet) -> bool:
    return any(text.startswith("The picture lies") for text in found.warnings)


if __name__ == "__main__":
    sys.exit(main())
