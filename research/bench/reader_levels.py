"""Are the levels those of an independent reader? One bundle on SPIDER's middle T2 slices, and on T1 slices.

    python -m research.bench.reader_levels BUNDLE ../shared/data/spider_mid [--patients holdout.json]
    python -m research.bench.reader_levels BUNDLE ../shared/data/lsd_t1 [--patients holdout.json]

The reader of `spider_mid` clicked the posterior edge of five discs, L1-L2 to L5-S1: no place to hold our centres to,
but the level. A study is right when the disc of the chain that is nearest to each click bears its name. Where landmarks
are annotated themselves (`lsd_t1`), it is right when each one found is nearer to its own place than to another. Some
stated spacings of `spider_mid` belong to another matrix, so slices are read with the stated spacing where it puts
L1-L2 to L5-S1 108 to 160 mm apart, and without one elsewhere.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LandmarkSet
from SpineLandmarksLib.predict import Localizer

#: Of the straight line from disc L1-L2 to disc L5-S1 at its posterior edge, in adults.
PLAUSIBLE_MM = (108.0, 160.0)
CLICKS = ("L1-L2", "L2-L3", "L3-L4", "L4-L5", "L5-S1")


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.bench.reader_levels", description=__doc__.partition("\n")[0])
    p.add_argument("bundle", metavar="NAME_OR_DIR")
    p.add_argument("folder", type=Path, metavar="FOLDER", help="../shared/data/spider_mid or ../shared/data/lsd_t1")
    p.add_argument("--patients", type=Path, metavar="holdout.json", help="judge these alone")
    p.add_argument("--output", type=Path, metavar="FILE.json", help="every study's outcome")
    options = p.parse_args(arguments)
    rows = [row for row in json.loads((options.folder / "landmarks.json").read_text()) if is_judged(row)]
    if options.patients:
        wanted = set(json.loads(options.patients.read_text())["patients"])
        rows = [row for row in rows if str(row["patient"]) in wanted]
    if not rows:
        raise DatasetError(f"Expected slices with a reader's levels in {options.folder}; got none")
    localizer = Localizer.open(options.bundle)
    outcomes = [compare_levels(localizer, options.folder, row) for row in rows]
    print(summary(localizer.bundle.label, options.folder.name, outcomes))
    if options.output:
        write_text_atomically(options.output, json.dumps(outcomes, indent=1) + "\n")
    return 0


def is_judged(row: dict[str, Any]) -> bool:
    """Whether a reader said levels: five clicks, or landmarks that no second reader names otherwise."""
    clicks = row.get("disc_posterior_edge_px", {})
    return len(clicks) == len(CLICKS) or ("landmarks_px" in row and row.get("second_reader_shift") in (0, None))


def compare_levels(localizer: Localizer, folder: Path, row: dict[str, Any]) -> dict[str, Any]:
    """One slice: whether its levels are right, and how sure the bundle was of them."""
    stack = read_study(folder / row["image"], stated_spacing_mm(row))
    found = localizer.localize(stack)
    height, width = stack.voxels.shape[1:]
    clicks = row.get("disc_posterior_edge_px") or {}
    wrong = wrong_by_clicks(found, clicks) if clicks else wrong_by_places(found, row["landmarks_px"])
    turned = bool(clicks) and clicks[CLICKS[-1]][1] < clicks[CLICKS[0]][1]
    return {
        "image": row["image"],
        "patient": str(row["patient"]),
        "size": [width, height],
        "wrong": wrong,
        "upside_down": turned,
        "needs_review": found.needs_review,
        "confidence": min(mark.confidence or 0.0 for mark in found),
        "warnings": list(found.warnings),
    }


def stated_spacing_mm(row: dict[str, Any]) -> tuple[float, float] | None:
    """(x, y) where the stated spacing gives a plausible spine, else None."""
    clicks, stated = row.get("disc_posterior_edge_px"), row.get("pixel_spacing_mm_as_in_header")
    if not clicks or stated is None:
        return None
    spacing = float(stated[1]), float(stated[0])  # rows come first in a DICOM header
    length = np.linalg.norm(np.subtract(clicks[CLICKS[0]], clicks[CLICKS[-1]]) * spacing)
    return spacing if PLAUSIBLE_MM[0] < length < PLAUSIBLE_MM[1] else None


def wrong_by_clicks(found: LandmarkSet, clicks: dict[str, list[float]]) -> list[str]:
    """Clicks whose nearest disc of the chain bears another name."""
    discs = [mark for mark in found if "-" in mark.name and mark.pixel_xy is not None]
    if not discs:
        return list(clicks)
    places = np.array([mark.pixel_xy for mark in discs])
    return [name for name, click in clicks.items() if discs[_nearest(places, click)].name != name]


def wrong_by_places(found: LandmarkSet, truth: dict[str, list[float]]) -> list[str]:
    """Landmarks that are out of view, or found nearer to another's place than to their own."""
    names, places = list(truth), np.array(list(truth.values()))
    marks = {mark.name: mark for mark in found}
    return [
        name for name in names if marks[name].pixel_xy is None or names[_nearest(places, marks[name].pixel_xy)] != name
    ]


def _nearest(places: NDArray[np.float64], xy: Any) -> int:
    return int(np.linalg.norm(places - np.asarray(xy), axis=1).argmin())


def summary(bundle: str, data: str, outcomes: list[dict[str, Any]]) -> str:
    right = [one for one in outcomes if not one["wrong"]]
    wrong = [one for one in outcomes if one["wrong"]]
    flagged = [sum(one["needs_review"] for one in part) for part in (right, wrong)]
    lines = [
        f"{bundle} on {data}: levels of {len(right)} of {len(outcomes)} slices right "
        f"({100 * len(right) / len(outcomes):.1f} %); flagged {flagged[0]} of the right, {flagged[1]} of the wrong"
    ]
    for one in wrong:
        said = "flagged" if one["needs_review"] else "NOT FLAGGED"
        turned = ", upside down" if one["upside_down"] else ""
        lines.append(f"  {one['image']}: {len(one['wrong'])} wrong, {said}, confidence {one['confidence']:.2f}{turned}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
