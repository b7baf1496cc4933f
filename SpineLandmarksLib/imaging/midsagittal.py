"""Which slice shows the spine's middle, and how far beside it each landmark lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Slices are tried this far to both sides of the stack's middle, and no closer together than STEP_MM.
REACH_MM, STEP_MM = 32.0, 4.0
#: The spine is expected in the stack's middle, give or take this much: half a nat is lost at this distance.
MIDDLE_SD_MM = 20.0
#: A landmark leaves the chosen slice only for evidence that is better by this factor.
CLEARLY_BETTER = 2.0


@dataclass(frozen=True)
class SliceChoice:
    """index: the chosen slice. score: its evidence in nats, with the distance from the middle taken off."""

    index: int
    score: float
    reason: str
    warnings: tuple[str, ...] = ()


def slices_to_try(count: int, slice_spacing_mm: float | None, slice_index: int | None = None) -> list[int]:
    """Indices to run the network on, ascending: the asked-for one alone, or a comb about the stack's middle."""
    if slice_index is not None:
        return [slice_index]
    if count == 1:
        return [0]
    spacing = slice_spacing_mm or STEP_MM
    step = max(1, round(STEP_MM / spacing))
    reach = max(1, int(REACH_MM / spacing / step))
    middle = count // 2
    tried = (middle + step * offset for offset in range(-reach, reach + 1))
    return [index for index in tried if 0 <= index < count]


def choose_slice(
    tried: Sequence[int], scores: Array, count: int, slice_spacing_mm: float | None, slice_index: int | None = None
) -> SliceChoice:
    """The slice whose chain of landmarks has the most evidence, near the middle in doubt.

    scores: (N,) chain score of each tried slice, nats.
    """
    if slice_index is not None:
        return SliceChoice(slice_index, float(scores[0]), "asked for")
    distance_mm = (np.asarray(tried) - (count - 1) / 2) * (slice_spacing_mm or STEP_MM)
    total = np.asarray(scores) - 0.5 * (distance_mm / MIDDLE_SD_MM) ** 2
    best = int(np.argmax(total))
    off = abs(distance_mm[best])
    reason = f"most evidence ({scores[best]:.1f} nats) of {len(tried)} slices, {off:.0f} mm off the middle"
    edge = len(tried) > 2 and best in (0, len(tried) - 1)
    warnings = ("The best slice is the outermost that was tried: the spine may lie beside it",) if edge else ()
    return SliceChoice(int(tried[best]), float(total[best]), reason, warnings)


def lateral_positions(
    index: int, tried: Sequence[int], evidence: Array, slice_spacing_mm: float | None, fixed: bool = False
) -> Array:
    """(L,) slice coordinate of each landmark, which may lie between slices.

    evidence: (N, L) log of the probability that each tried slice puts at the landmark's place; nan where out of view.
    A landmark stays on the chosen slice `index` unless another one has clearly better evidence; then it goes to the
    centre of the evidence, because a body looks alike over most of its width and its own centre is the middle of that.
    """
    landmarks = evidence.shape[1]
    if fixed or len(tried) < 3 or slice_spacing_mm is None:
        return np.full(landmarks, float(index))
    position = np.asarray(tried, dtype=np.float64)
    here = list(tried).index(index)
    out = np.full(landmarks, float(index))
    for row in range(landmarks):
        column = evidence[:, row]
        if np.isnan(column).any() or column.max() - column[here] < np.log(CLEARLY_BETTER):
            continue
        weight = np.exp(column - column.max())
        out[row] = float((weight * position).sum() / weight.sum())
    return out
