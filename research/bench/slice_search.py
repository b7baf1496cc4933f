"""How many slices have to be tried: error of the lumbar bodies in 3-D, on volumes and on parts of them.

    python -m research.bench.slice_search ../shared/data/volumes [--bundle NAME] [--document docs/performance.md]

Beside each NAME.nii.gz lies NAME.json, as volumes.py has it. Each volume is also cut by 14 and by 22 mm from a side,
so that its middle is not the spine's.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from research.markdown import markdown, write_section
from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.imaging.midsagittal import REACH_MM
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.predict import Localizer

CUTS_MM = ((0, 0), (14, 0), (0, 14), (22, 0), (0, 22))
Bodies = dict[str, list[float]]


def main(options: argparse.Namespace) -> None:
    localizer = Localizer.open(options.bundle)
    searches: dict[str, Callable[[SagittalStack], list[int] | None]] = {
        "4 mm apart": lambda stack: comb(stack, 4.0),
        "9 mm apart": lambda stack: comb(stack, 9.0),
        "9 mm apart and the middle of what they show": lambda _: None,
    }
    errors: dict[str, list[float]] = {name: [] for name in searches}
    tried: dict[str, list[int]] = {name: [] for name in searches}
    for stack, truth in stacks(options.folder):
        for name, choose in searches.items():
            count, found = counted(localizer, stack, choose(stack))
            tried[name].append(count)
            errors[name] += [float(np.linalg.norm(np.subtract(found[body], truth[body]))) for body in truth]
        print(stack.source, len(stack), {name: f"{np.mean(errors[name][-5:]):.1f} mm" for name in searches}, flush=True)
    body = [
        [
            name,
            f"{np.mean(tried[name]):.1f}",
            *(f"{value:.2f}" for value in (np.mean(errors[name]), np.quantile(errors[name], 0.95), max(errors[name]))),
        ]
        for name in searches
    ]
    text = (
        f"{localizer.bundle.label} on {len(tried['4 mm apart'])} stacks: {len(CUTS_MM)} lateral cuts of each of the "
        f"volumes, {len(errors['4 mm apart'])} bodies in all; slices within {REACH_MM:g} mm of the middle.\n\n"
    ) + markdown(["tried", "slices", "mean, mm", "95 %, mm", "most, mm"], body)
    print(text)
    if options.document:
        write_section(options.document, "slices", text)


def stacks(folder: Path) -> Iterator[tuple[SagittalStack, Bodies]]:
    for volume in sorted(folder.glob("*.nii.gz")):
        truth = json.loads(Path(str(volume).removesuffix(".nii.gz") + ".json").read_text())["body_centres_ras_mm"]
        whole = read_study(volume)
        for first_mm, last_mm in CUTS_MM:
            first, last = (round(cut / (whole.slice_spacing_mm or 1.0)) for cut in (first_mm, last_mm))
            yield cut(whole, first, len(whole) - last), truth


def cut(stack: SagittalStack, first: int, end: int) -> SagittalStack:
    """Slices first..end - 1, where they were in the patient."""
    assert stack.ras_from_ijk is not None
    whole_from_cut = np.eye(4)
    whole_from_cut[2, 3] = first
    return replace(stack, voxels=stack.voxels[first:end], ras_from_ijk=stack.ras_from_ijk @ whole_from_cut)


def comb(stack: SagittalStack, apart_mm: float) -> list[int]:
    """As the search has it, at another distance."""
    spacing, middle = stack.slice_spacing_mm or 1.0, len(stack) // 2
    step = max(1, int(apart_mm / spacing))
    reach = int(REACH_MM / spacing / step)
    return [k for k in range(middle - step * reach, middle + step * reach + 1, step) if 0 <= k < len(stack)]


def counted(localizer: Localizer, stack: SagittalStack, slices: list[int] | None) -> tuple[int, Bodies]:
    """How many slices went through the network, and where the landmarks are."""
    detect, seen = localizer.backend.detect, [0]

    def counting(images: np.ndarray) -> object:
        seen[0] += len(images)
        return detect(images)

    localizer.backend.detect = counting  # type: ignore[method-assign, assignment]
    try:
        found = localizer.localize(stack, slices=slices)
    finally:
        localizer.backend.detect = detect  # type: ignore[method-assign]
    return seen[0], {mark.name: list(mark.position_ras_mm or (np.nan,) * 3) for mark in found}


if __name__ == "__main__":
    p = argparse.ArgumentParser(description="how many slices have to be tried")
    p.add_argument("folder", type=Path)
    p.add_argument("--bundle", default=DEFAULT)
    p.add_argument("--document", type=Path, help="also write the section slices of this Markdown file")
    main(p.parse_args())
