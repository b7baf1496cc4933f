"""What still needs a person's eye, worst first.

A landmark needs review until a person has corrected or confirmed it or has said that it is not visible. Order: those
that the model itself asks to look at or says nothing of, then the rest; among each no known confidence first (an end
that a shift has opened), then the least confidence to 0.01; equals from the head down, so that nobody's eye jumps.
"""

from __future__ import annotations

from collections.abc import Mapping

from SpineLandmarksLib.landmarks import UNREVIEWED, Landmark


def to_review(landmarks: Mapping[str, Landmark]) -> list[str]:
    """Names that need review, worst first."""
    ranks = {name: rank(landmark) for name, landmark in landmarks.items() if landmark.status in UNREVIEWED}
    return sorted(ranks, key=ranks.__getitem__)  # stable: head to foot among equals


def next_to_review(
    landmarks: Mapping[str, Landmark], original: Mapping[str, Landmark], after: str | None
) -> str | None:
    """The name that follows `after` in the order of review, whether or not that one still needs it; at the end, and
    without `after`, the worst; None when nothing needs review.
    """
    todo = to_review(landmarks)
    if after is None or not todo:
        return todo[0] if todo else None
    names = list(landmarks)
    known = landmarks if landmarks[after].status in UNREVIEWED else original
    here = (rank(known[after]), names.index(after))
    return next((name for name in todo if (rank(landmarks[name]), names.index(name)) > here), todo[0])


def rank(landmark: Landmark) -> tuple[bool, float]:
    """The smaller, the more doubtful."""
    return landmark.needs_review is False, -1.0 if landmark.confidence is None else round(landmark.confidence, 2)
