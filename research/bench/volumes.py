"""Distance in 3-D of the predicted bodies from the truth, on volumes as they are and bowed sideways.

    python -m research.bench.volumes ../shared/data/volumes [--bundle NAME_OR_DIR] [--bow 10 15 25]
    python -m research.bench.volumes phantoms:20 [--bow 10 15 25]
    python -m research.bench.volumes ../shared/data/volumes --bow 10 -10 15 -15 25 -25 --fit

Beside each NAME.nii.gz lies NAME.json with {"body_centres_ras_mm": {"L1": [R, A, S], ...}}. A bow of A mm shifts each
row of every slice across the stack by A sin(pi t), t from 0 at the uppermost centre to 1 at the lowest, and the truth.
`phantoms:N` are N generated stacks with exact truth of all landmarks.

`--fit` says what share of the radius in the plane (`Calibration.in_space`) leaves 95 % of the points within the radius
in space, and what that share, fitted on all volumes but one, holds of the one left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.bundle import DEFAULT
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.uncertainty import radius95_with_side

Array = NDArray[np.float64]
Truth = dict[str, Array]
#: Beyond this a point is on another level or nowhere, mm: no question of the side.
LEVEL_MM = 15.0


def main(arguments: list[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m research.bench.volumes", description=__doc__.partition("\n")[0])
    p.add_argument("data", metavar="FOLDER|phantoms:N")
    p.add_argument("--bundle", default=DEFAULT, metavar="NAME_OR_DIR")
    p.add_argument("--bow", type=float, nargs="*", default=[], metavar="MM")
    p.add_argument("--fit", action="store_true", help="the share of the radius in the plane that is left in a stack")
    p.add_argument("--every", type=int, default=1, metavar="N", help="keep one of N slices, as clinics do")
    options = p.parse_args(arguments)
    localizer = Localizer.open(options.bundle)
    if options.fit:
        print(fitted([needed(localizer, case, (0.0, *options.bow)) for case in cases(options.data, options.every)]))
        return 0
    for bow_mm in (0.0, *options.bow):
        some = [judged(localizer, *bowed(*case, bow_mm)) for case in cases(options.data, options.every)]
        said = f"{options.data}, one of {options.every} slices, bow {bow_mm:g} mm"
        print(f"{localizer.bundle.label}, {said}: {summary(np.concatenate(some))}", flush=True)
    return 0


def cases(data: str, every: int = 1) -> Iterator[tuple[SagittalStack, Truth]]:
    """Every stack with its truth, RAS mm; of its slices one of so many, from the middle of the first of them on."""
    for stack, truth in _whole(data):
        assert stack.ras_from_ijk is not None
        thin = stack.ras_from_ijk @ np.diag([1.0, 1, every, 1])
        thin[:3, 3] += stack.ras_from_ijk[:3, 2] * (every // 2)
        yield replace(stack, voxels=stack.voxels[every // 2 :: every], ras_from_ijk=thin), truth


def _whole(data: str) -> Iterator[tuple[SagittalStack, Truth]]:
    if data.startswith("phantoms:"):
        for seed in range(int(data.partition(":")[2])):
            phantom = make_phantom(1000 + seed, slices=17, matrix=(320, 320), pixel_mm=1.0, slice_mm=4.4)
            truth = {mark.name: np.array(mark.position_ras_mm) for mark in phantom.landmarks if mark.position_ras_mm}
            yield SagittalStack(phantom.voxels, phantom.ras_from_ijk, source=f"phantom {seed}"), truth
        return
    for volume in sorted(Path(data).glob("*.nii.gz")):
        said = json.loads(Path(str(volume).removesuffix(".nii.gz") + ".json").read_text())["body_centres_ras_mm"]
        yield read_study(volume), {name: np.array(place) for name, place in said.items()}


def bowed(stack: SagittalStack, truth: Truth, bow_mm: float) -> tuple[SagittalStack, Truth]:
    """The stack with every row shifted across the slices, the outermost slices repeated, and the truth with it."""
    if not bow_mm:
        return stack, truth
    assert stack.slice_spacing_mm is not None
    assert stack.ras_from_ijk is not None
    ijk = {name: stack.to_ijk(place) for name, place in truth.items()}
    top, bottom = (edge(place[1] for place in ijk.values()) for edge in (min, max))
    rows = np.arange(stack.voxels.shape[1])
    shift = bow_mm / stack.slice_spacing_mm * np.sin(np.pi * np.clip((rows - top) / (bottom - top), 0, 1))
    slices = np.arange(len(stack))
    voxels = np.empty_like(stack.voxels)
    for row in rows:
        at = np.clip(slices - shift[row], 0, len(stack) - 1)
        below = np.minimum(at.astype(int), len(stack) - 2)
        share = (at - below)[:, None].astype(np.float32)
        voxels[:, row] = stack.voxels[below, row] * (1 - share) + stack.voxels[below + 1, row] * share
    across = stack.ras_from_ijk[:3, 2]
    moved = {name: truth[name] + across * np.interp(ijk[name][1], rows, shift) for name in truth}
    return replace(stack, voxels=voxels), moved


def judged(localizer: Localizer, stack: SagittalStack, truth: Truth) -> Array:
    """(N, 5) of each point found: distance in 3-D, across the slices, in the plane, stated radius, whether flagged."""
    found = localizer.localize(stack)
    assert stack.ras_from_ijk is not None
    across = stack.ras_from_ijk[:3, 2] / np.linalg.norm(stack.ras_from_ijk[:3, 2])
    rows = []
    for name, place in truth.items():
        mark = found[name]
        if mark.position_ras_mm is None or mark.radius95_mm is None:
            rows.append((np.inf, np.inf, np.inf, 0.0, True))
            continue
        off = np.array(mark.position_ras_mm) - place
        side = float(off @ across)
        flagged = bool(mark.needs_review or found.needs_review)
        plane = float(np.linalg.norm(off - side * across))
        rows.append((float(np.linalg.norm(off)), abs(side), plane, mark.radius95_mm, flagged))
    return np.array(rows, dtype=float)


def summary(rows: Array) -> str:
    distance, side, plane, radius, flagged = rows.T
    level = plane < LEVEL_MM
    within = distance[level] <= radius[level]
    share = f"{int(within.sum())} of {len(within)} in 3-D ({100 * within.mean():.0f} %)"
    in_plane, unflagged = (plane[level] <= radius[level]).sum(), (~within & (flagged[level] == 0)).sum()
    return (
        f"{len(rows)} points, {(~level).sum()} on another level or nowhere; of the others 3-D mean "
        f"{distance[level].mean():.2f} mm, worst {distance[level].max():.2f}; across mean {side[level].mean():.2f} mm, "
        f"worst {side[level].max():.2f}; in radius95 {share}, {in_plane} in the plane; outside and not flagged "
        f"{unflagged}; radius mean {radius[level].mean():.2f} mm"
    )


def needed(localizer: Localizer, case: tuple[SagittalStack, Truth], bows_mm: Iterable[float]) -> Array:
    """The least share of its radius in the plane with which each point of a case, bowed in each way, is within."""
    found = []
    for bow_mm in bows_mm:
        whole, side = (judged(_with_share(localizer, share), *bowed(*case, bow_mm)) for share in (1.0, 0.0))
        level = whole[:, 2] < LEVEL_MM
        found.append(least_share(whole[level, 0], whole[level, 3], side[level, 3]))
    return np.concatenate(found)


def _with_share(localizer: Localizer, share: float) -> Localizer:
    calibration = replace(localizer.bundle.calibration, in_space=(share,) * len(localizer.bundle.landmarks))
    return Localizer(replace(localizer.bundle, calibration=calibration), localizer.backend)


def least_share(distance_mm: Array, whole_mm: Array, side_mm: Array) -> Array:
    """From distances (N,) and the radii with all and with nothing of the plane; infinite beyond twice the whole."""
    side_sd = side_mm / radius95_with_side(np.zeros(1), np.ones(1))
    shares, plane = np.linspace(0, 2, 201), np.linspace(0, 30, 3001)[:, None]
    tables = radius95_with_side(plane, side_sd).T
    whole_plane = np.array([np.interp(r, row, plane[:, 0]) for r, row in zip(whole_mm, tables, strict=True)])
    within = radius95_with_side(shares[:, None] * whole_plane, side_sd) >= distance_mm
    return np.where(within.any(0), shares[within.argmax(0)], np.inf)


def fitted(shares: Sequence[Array]) -> str:
    """shares: of the points of each case."""
    share = [_quantile95(np.concatenate([*shares[:row], *shares[row + 1 :]])) for row in range(len(shares))]
    held = np.concatenate([own <= limit for own, limit in zip(shares, share, strict=True)])
    every = np.concatenate(shares)
    return (
        f"{len(shares)} cases, {len(every)} points: share {_quantile95(every):.2f}; fitted without one case "
        f"{min(share):.2f} to {max(share):.2f}, which holds {held.sum()} of {len(held)} ({100 * held.mean():.1f} %)"
    )


def _quantile95(values: Array) -> float:
    """The conformal quantile, as the radius in the plane is fitted."""
    return float(np.sort(values)[min(len(values), int(np.ceil((len(values) + 1) * 0.95))) - 1])


if __name__ == "__main__":
    sys.exit(main())
