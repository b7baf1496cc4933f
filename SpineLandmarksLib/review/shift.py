"""The whole chain one level up or down: names move, positions stay.

The commonest fault of a prediction is a chain that is right everywhere and one level off. One level is the distance
between two landmarks of a kind, body to body: two in the schema of eleven, one in a schema of bodies alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from SpineLandmarksLib.errors import LandmarkError
from SpineLandmarksLib.landmarks import Landmark


def names_per_level(names: Sequence[str]) -> int:
    """How many landmarks it is from one to the next of its kind; a dash in a name is a disc.

    >>> names_per_level(["T12-L1", "L1", "L1-L2", "L2"]), names_per_level(["L1", "L2", "L3"])
    (2, 1)
    """
    discs = ["-" in name for name in names]
    return next(step for step in range(1, len(names) + 1) if discs[step:] == discs[: len(names) - step])


def shifted(landmarks: Sequence[Landmark], levels: int) -> tuple[Landmark, ...]:
    """Landmarks, head to foot, with every name moved `levels` towards the head (+) or the foot (-).

    +1: the body that was called L2 is now called L3. Points whose name would be beyond the end are dropped; a name that
    no point is left for is out of view without a confidence: nobody has said that it cannot be seen.
    A moved point counts as corrected; its confidence spoke of the level, and goes.
    Raises LandmarkError when no point would be left.
    """
    step = levels * names_per_level([landmark.name for landmark in landmarks])
    result = tuple(_renamed(landmarks, row - step, landmark.name) for row, landmark in enumerate(landmarks))
    if all(landmark.is_absent for landmark in result):
        raise LandmarkError("Expected points to shift; none would be left. Localize or place some first")
    return result


def _renamed(landmarks: Sequence[Landmark], row: int, name: str) -> Landmark:
    if not 0 <= row < len(landmarks):
        return Landmark(name, "out_of_view")
    moved = replace(landmarks[row], name=name, confidence=None)
    return moved if moved.is_absent else replace(moved, status="corrected", needs_review=False)
