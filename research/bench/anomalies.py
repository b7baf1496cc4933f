"""What a bundle says of spines with a body more or less: python -m research.bench.anomalies [BUNDLE] [COUNT].

Phantoms of one seed each, none of which any training has drawn. "warned": six or four bodies are suspected. "flagged":
`needs_review` of the study. "from the sacrum": the lowest name lies on the disc above the sacrum, however many bodies
are above it. "silent": one of the names, counted from the sacrum as readers do, is more than 8 mm off or out of view,
and nothing is flagged.
"""

from __future__ import annotations

import sys

import numpy as np

from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.landmarks import LUMBAR11, LandmarkSet
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.predict import Localizer

FIRST_SEED = 900_000
#: Farther off than this is another level.
LEVEL_MM = 8.0
KINDS = {"five bodies": (5, 0.0), "six bodies": (6, 0.0), "four bodies": (4, 0.0), "transitional": (5, 1.0)}


def study(seed: int, bodies: int, transitional: float) -> tuple[SagittalStack, dict[str, tuple[float, float]]]:
    image, points, pixel_mm = make_slice(
        np.random.default_rng(seed), contrast="T2", lumbar_bodies=bodies, transitional=transitional
    )
    frame = np.array([[0, 0, 1, 0], [-pixel_mm, 0, 0, 0], [0, -pixel_mm, 0, 0], [0, 0, 0, 1.0]])
    return SagittalStack(image[None], frame), points


def main(bundle: str = "lumbar11", count: str = "50") -> None:
    localizer = Localizer.open(bundle)
    for kind, (bodies, transitional) in KINDS.items():
        warned, flagged, lowest, silent = [], [], [], []
        for number in range(int(count)):
            stack, truth = study(FIRST_SEED + number, bodies, transitional)
            found = localizer.localize(stack)
            warned.append(any("bodies between T12" in text for text in found.warnings))
            flagged.append(bool(found.needs_review))
            off_mm = from_sacrum(found, stack, truth, bodies)
            lowest.append(off_mm[-1] < LEVEL_MM)
            silent.append(not flagged[-1] and max(off_mm) > LEVEL_MM)
        share = [f"{100 * np.mean(values):3.0f} %" for values in (warned, flagged, lowest)]
        print(
            f"{kind:13s} {count} spines: warned {share[0]}, flagged {share[1]}, from the sacrum {share[2]}; "
            f"silent {sum(silent)}",
            flush=True,
        )


def from_sacrum(
    found: LandmarkSet, stack: SagittalStack, truth: dict[str, tuple[float, float]], bodies: int
) -> list[float]:
    """Distances in mm, head to foot, of the names whose place counted from the sacrum the phantom knows."""
    pairs = list(zip(reversed(LUMBAR11), reversed(["T12-L1", *_names(bodies)]), strict=False))[::-1]
    spacing = stack.pixel_spacing_mm
    assert spacing is not None
    places = [(found[name].pixel_xy, truth.get(own)) for name, own in pairs]
    return [
        np.inf if here is None else float(np.linalg.norm(np.subtract(here, there) * spacing))
        for here, there in places
        if there is not None
    ]


def _names(bodies: int) -> list[str]:
    """Body and disc below it, from L1 down."""
    below = [f"L{number + 1}" for number in range(1, bodies)] + ["S1"]
    return [name for number, next_one in enumerate(below, 1) for name in (f"L{number}", f"L{number}-{next_one}")]


if __name__ == "__main__":
    main(*sys.argv[1:])
