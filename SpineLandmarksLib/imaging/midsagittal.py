"""Which slice shows the spine's middle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Slices are tried this far to both sides of the stack's middle, at most STEP_MM apart where they are thinner. A body
#: is four times as wide. Then the one in the middle of what they show is added. Trying slices 4 mm apart takes
#: twice as long and finds no better one (docs/performance.md).
REACH_MM, STEP_MM = 32.0, 9.0
#: As many are tried of a stack that has them: a spine that crosses the slices is followed by them.
MIN_TRIED = 7
#: Distance of two slices whose distance is unknown.
UNKNOWN_MM = 4.0
#: The spine is expected in the stack's middle, give or take this much: half a nat is lost at this distance.
MIDDLE_SD_MM = 20.0


@dataclass(frozen=True)
class SliceChoice:
    """index: the chosen slice. score: its evidence in nats, with the distance from the middle taken off."""

    index: int
    score: float
    reason: str
    warnings: tuple[str, ...] = ()


def slices_to_try(count: int, slice_spacing_mm: float | None) -> list[int]:
    """Indices to run the network on, ascending: a comb about the stack's middle."""
    if count == 1:
        return [0]
    spacing = slice_spacing_mm or UNKNOWN_MM
    step = max(1, min(int(STEP_MM / spacing + 1e-6), (count - 1) // (MIN_TRIED - 1)))
    reach = max(1, int(REACH_MM / spacing / step))
    middle = count // 2
    tried = (middle + step * offset for offset in range(-reach, reach + 1))
    return [index for index in tried if 0 <= index < count]


def most_evidence(tried: Sequence[int], scores: Array, count: int, slice_spacing_mm: float | None) -> int:
    """Row of the tried slice whose chain has the most evidence, near the stack's middle in doubt. scores: (N,) nats."""
    distance_mm = (np.asarray(tried) - (count - 1) / 2) * (slice_spacing_mm or UNKNOWN_MM)
    return int(np.argmax(np.asarray(scores) - 0.5 * (distance_mm / MIDDLE_SD_MM) ** 2))


def centre_of(tried: Sequence[int], evidence: Array) -> float:
    """Slice coordinate in the middle of the evidence, (N, L) as in `choose_slice`, some of it not nan."""
    weight = np.nan_to_num(np.exp(evidence)).sum(1)  # a landmark out of view is nan on all slices, and adds to none
    return float(np.average(tried, weights=weight))


def choose_slice(tried: Sequence[int], scores: Array, evidence: Array, agrees: NDArray[np.bool_]) -> SliceChoice:
    """The slice in the middle of the evidence, of those that agree with the best one on the levels.

    A vertebral body looks much alike over most of its width, so the single best slice may lie well beside the middle;
    the centre of all slices on which the same landmarks are seen does not.

    scores: (N,) chain score of each tried slice, nats. evidence: (N, L) log of the probability that each slice puts at
    the best slice's points; nan where out of view. agrees: (N,) the slice's own chain has the same levels (one does).
    """
    centre = centre_of(tried, evidence)
    agreeing = [row for row in range(len(tried)) if agrees[row]]
    row = min(agreeing, key=lambda row: abs(tried[row] - centre))
    reason = (
        f"middle of the slices that show the same landmarks: {int(agrees.sum())} of {len(tried)} tried agree, "
        f"evidence {scores[row]:.1f} nats, at best {np.max(scores):.1f}"
    )
    edge = len(tried) > 2 and row in (0, len(tried) - 1)
    warnings = ("The best slice is the outermost that was tried: the spine may lie beside it",) if edge else ()
    return SliceChoice(int(tried[row]), float(scores[row]), reason, warnings)
