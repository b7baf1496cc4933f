"""What a bundle says of spines with a body more or less: python -m research.bench.anomalies [BUNDLE] [COUNT].

Phantoms of one seed each, none of which any training has drawn. "warned": six or four bodies are suspected. "flagged":
`needs_review` of the study. "from the sacrum": the lowest name lies on the disc above the sacrum, however many bodies
are above it.
"""

from __future__ import annotations

import sys

import numpy as np

from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.phantom.phantom import make_slice
from SpineLandmarksLib.predict import Localizer

FIRST_SEED = 900_000
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
        warned, flagged, lowest = [], [], []
        for number in range(int(count)):
            stack, truth = study(FIRST_SEED + number, bodies, transitional)
            found = localizer.localize(stack)
            warned.append(any("bodies between T12" in text for text in found.warnings))
            flagged.append(bool(found.needs_review))
            last, disc = found["L5-S1"].pixel_xy, truth.get(f"L{bodies}-S1")
            if last is not None and disc is not None:
                spacing = stack.pixel_spacing_mm
                assert spacing is not None
                lowest.append(float(np.linalg.norm(np.subtract(last, disc) * spacing)) < 8.0)
        share = [f"{100 * np.mean(values):3.0f} %" for values in (warned, flagged, lowest)]
        print(f"{kind:13s} {count} spines: warned {share[0]}, flagged {share[1]}, from the sacrum {share[2]}")


if __name__ == "__main__":
    main(*sys.argv[1:])
