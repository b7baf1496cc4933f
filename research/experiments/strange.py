"""What a bundle says of pictures that it should not be trusted on, as a table: warned of, or silently wrong.

    python -m research.experiments strange DATASET --bundle NAME --holdout 30 --volumes DIR --output DIR

Slices of a data set cut off, turned, mirrored and mis-scaled; other planes and places of volumes; noise; generated
spines with a body more or less. `Localizer.localize` gets the bare picture: what a file's own orientation would have
refused (`docs/studies.md`) is not counted here.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from research.experiments import degrade
from research.experiments.perturb import crop, rotate
from research.experiments.robustness import stack_of
from research.markdown import markdown, write_section
from SpineLandmarksLib.formats.atomic import write_text_atomically
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.splits import split_dataset
from SpineLandmarksLib.training.unusable import PerturbedSlice, as_annotated, flip, quarter_turns, without_foot

#: A point this near to the truth, in mm, is right.
RIGHT_MM = 8.0
#: Pictures of each made-up kind.
MADE_UP = 30
#: Of phantoms that no training has drawn.
FIRST_SEED = 900_000

DEFINITIONS = {
    "right": "every landmark in the picture within 8 mm, and every other one called out of view; of a picture of "
    "something else: every landmark called out of view",
    "warned": "a warning about levels or view, or the flag `needs_review`",
    "silent": "neither right nor warned of",
    "invented": "share of the landmarks that are not in the picture and were placed all the same",
    "dropped": "share of the landmarks in the picture that were called out of view",
}


def strange_command(options: argparse.Namespace) -> int:
    """Measure, write DIR/strange.json and .md and, where asked for, the section of a document."""
    localizer = Localizer.open(options.bundle, options.backend, options.device)
    _, judged, split = split_dataset(options, options.dataset, localizer.bundle.landmarks)
    slices = [as_annotated(annotation, localizer.bundle.landmarks) for annotation in judged]
    kinds = {**of_slices(slices), **made_up(), **(of_volumes(options.volumes) if options.volumes else {})}
    rows = []
    for done, (name, cases) in enumerate(kinds.items(), start=1):
        rows.append({"picture": name, **figures(cases, [localizer.localize(stack_of(case)) for case in cases])})
        if options.progress:
            options.progress(done, len(kinds))
    legend = "; ".join(f"{name}: {meaning}" for name, meaning in DEFINITIONS.items())
    about = f"Bundle {localizer.bundle.label}; slices of {options.dataset.name}, {split}. {legend}. Shares in per cent."
    text = about + "\n\n" + as_markdown(rows)
    options.output.mkdir(parents=True, exist_ok=True)
    write_text_atomically(options.output / "strange.json", json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
    write_text_atomically(options.output / "strange.md", text)
    if options.document:
        write_section(options.document, "strange", text)
    print(text)
    return 0


def figures(cases: Sequence[PerturbedSlice], found: Sequence[LandmarkSet]) -> dict[str, float | None]:
    """The number of pictures and the shares of `DEFINITIONS`; None for a share of no landmarks."""
    right = np.array([is_right(case, marks) for case, marks in zip(cases, found, strict=True)])
    warned = np.array([bool(marks.warnings) or bool(marks.needs_review) for marks in found])
    inside = np.stack([case.inside for case in cases])
    outside = np.isfinite(np.stack([case.points_xy for case in cases])).all(-1) & ~inside
    placed = np.array([[not mark.is_absent for mark in marks] for marks in found])
    return {
        "n": len(found),
        "right": float(right.mean()),
        "warned": float(warned.mean()),
        "silent": float((~right & ~warned).mean()),
        "invented": float(placed[outside].mean()) if outside.any() else None,
        "dropped": float((~placed[inside]).mean()) if inside.any() else None,
    }


def is_right(case: PerturbedSlice, found: LandmarkSet) -> bool:
    """Each landmark near its truth where that is inside the picture, and absent where outside; one unknown is right."""
    xy = np.array([mark.pixel_xy or (np.nan, np.nan) for mark in found], dtype=np.float64)
    error = np.linalg.norm((xy - case.points_xy) * case.spacing_mm, axis=-1)
    unknown = np.isnan(case.points_xy).any(-1)
    right = np.where(case.inside, np.nan_to_num(error, nan=np.inf) <= RIGHT_MM, np.isnan(xy).any(-1))
    return bool((right | unknown).all())


def of_slices(slices: Sequence[PerturbedSlice]) -> dict[str, list[PerturbedSlice]]:
    """Annotated slices as they are and in ways that make them strange."""
    changes: dict[str, Callable[[PerturbedSlice, np.random.Generator], PerturbedSlice | None]] = {
        "as it is": lambda case, _: case,
        "T12-L1 cut off": lambda case, _: without_head(case, 1),
        "T12-L1 to L1-L2 cut off": lambda case, _: without_head(case, 3),
        "T12-L1 to L2-L3 cut off": lambda case, _: without_head(case, 5),
        "L5-S1 cut off": lambda case, _: without_foot(case, 1),
        "L5 and L5-S1 cut off": lambda case, _: without_foot(case, 2),
        "L4 to L5-S1 cut off": lambda case, _: without_foot(case, 4),
        "thoracolumbar: L1-L2 and all below cut off": lambda case, _: without_foot(case, 9),
        "tilted by 45 degrees": lambda case, rng: rotate(case, 45.0, rng),
        "turned by 90 degrees": lambda case, rng: quarter_turns(case, 90.0, rng),
        "turned by 180 degrees": lambda case, rng: quarter_turns(case, 180.0, rng),
        "front for back": lambda case, rng: flip(case, 1.0, rng),
        "upside down": lambda case, rng: quarter_turns(flip(case, 1.0, rng), 180.0, rng),
        "inverted contrast": lambda case, _: case.degraded(degrade.invert(case.image)),
        "told half its size, as of a cervical spine": lambda case, _: scaled(case, 0.5),
        "told twice its size": lambda case, _: scaled(case, 2.0),
        "noise as strong as the picture": lambda case, rng: case.degraded(degrade.gaussian_noise(case.image, 1.0, rng)),
    }
    seeds = [zlib.crc32(case.points_xy.tobytes()) for case in slices]
    made = {
        name: [change(case, np.random.default_rng(seed)) for case, seed in zip(slices, seeds, strict=True)]
        for name, change in changes.items()
    }
    return {name: [case for case in cases if case is not None] for name, cases in made.items()}


def without_head(case: PerturbedSlice, landmarks: int) -> PerturbedSlice:
    """Cut off half-way below the highest so many of the known landmarks."""
    y = np.sort(case.points_xy[np.isfinite(case.points_xy).all(-1), 1])
    return crop(case, top=round(float(y[landmarks - 1] + y[landmarks]) / 2) / case.image.shape[0])


def scaled(case: PerturbedSlice, factor: float) -> PerturbedSlice:
    """A picture of something larger or smaller, whose spacing is true."""
    x, y = case.spacing_mm
    return replace(case, spacing_mm=(x * factor, y * factor), stated_spacing_mm=(x * factor, y * factor))


def made_up() -> dict[str, list[PerturbedSlice]]:
    """Noise of several kinds, and generated T2 spines by how many bodies are above the sacrum."""
    rng = np.random.default_rng(0)
    kinds = {
        "uniform noise": [of_nothing(rng.random((384, 384)), (0.9, 0.9)) for _ in range(MADE_UP)],
        "clouds": [of_nothing(clouds(rng, 384, 1.0), (0.9, 0.9)) for _ in range(MADE_UP)],
        "soft clouds": [of_nothing(clouds(rng, 384, 1.6), (0.9, 0.9)) for _ in range(MADE_UP)],
    }
    for name, bodies, transitional in (("five", 5, 0.0), ("six", 6, 0.0), ("four", 4, 0.0), ("transitional", 5, 1.0)):
        title = "phantoms, transitional" if name == "transitional" else f"phantoms of {name} bodies"
        kinds[title] = [phantom(FIRST_SEED + number, bodies, transitional) for number in range(MADE_UP)]
    return kinds


def clouds(rng: np.random.Generator, side: int, steepness: float) -> NDArray[np.float64]:
    """Noise whose amplitude falls as 1 / frequency ** steepness, as that of photographs does."""
    along = np.fft.fftfreq(side)
    frequency = np.hypot(along[:, None], along[None])
    frequency[0, 0] = 1.0
    return np.asarray(np.fft.ifft2(np.fft.fft2(rng.standard_normal((side, side))) / frequency**steepness).real)


def phantom(seed: int, bodies: int, transitional: float) -> PerturbedSlice:
    """A generated slice, named from the sacrum; of four bodies the truth of L1 and above is unknown."""
    image, points, pixel_mm = make_slice(
        np.random.default_rng(seed), contrast="T2", lumbar_bodies=bodies, transitional=transitional
    )
    lowest_first = sorted(points.values(), key=lambda xy: -xy[1])[: len(LUMBAR11)]
    xy = np.full((len(LUMBAR11), 2), np.nan)
    xy[len(LUMBAR11) - len(lowest_first) :] = lowest_first[::-1]
    return PerturbedSlice(image, xy, (pixel_mm, pixel_mm), (pixel_mm, pixel_mm))


def of_volumes(folder: Path) -> dict[str, list[PerturbedSlice]]:
    """Other planes and other places of volumes, as pictures that do not tell what they are."""
    kinds: dict[str, list[PerturbedSlice]] = {"axial": [], "coronal": [], "sagittal, beside the spine": []}
    for path in sorted(folder.glob("*.nii.gz")):
        for name, case in _of_stack(read_study(path)):
            kinds[name].append(case)
    return kinds


def _of_stack(stack: SagittalStack) -> Iterator[tuple[str, PerturbedSlice]]:
    x, y = stack.pixel_spacing_mm or (1.0, 1.0)
    z, voxels = stack.slice_spacing_mm or 1.0, stack.voxels
    count, height, width = voxels.shape
    for share in (0.3, 0.5, 0.7):
        yield "axial", of_nothing(voxels[:, int(share * height)].T, (z, x))
        yield "coronal", of_nothing(voxels[:, :, int(share * width)].T, (z, y))
    for share in (0.03, 0.97):
        yield "sagittal, beside the spine", of_nothing(voxels[int(share * count)], (x, y))


def of_nothing(image: NDArray[Any], spacing_mm: tuple[float, float]) -> PerturbedSlice:
    """A picture with none of the landmarks: all are far outside."""
    nowhere = np.full((len(LUMBAR11), 2), -1e6)
    return PerturbedSlice(np.ascontiguousarray(image, dtype=np.float32), nowhere, spacing_mm, spacing_mm)


def as_markdown(rows: Sequence[dict[str, Any]]) -> str:
    shares = [["–" if row[name] is None else f"{100 * row[name]:.0f}" for name in DEFINITIONS] for row in rows]
    lines = [[row["picture"], str(row["n"]), *cells] for row, cells in zip(rows, shares, strict=True)]
    return markdown(["picture", "n", *DEFINITIONS], lines) + "\n"
