"""How a landmark is told to a person: the words, numbers and colours that both interfaces show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark

STATUS_WORDS = {
    "predicted": "predicted",
    "corrected": "corrected",
    "confirmed": "confirmed",
    "not_visible": "not visible",
    "out_of_view": "out of view",
}
#: Colour of the confidence from so much on: sure, doubtful, unlikely. The number is there for who sees no colours.
BANDS = ((0.9, "#9ed8a6"), (0.7, "#f6dd8c"), (0.0, "#f2a39a"))


def cells(landmark: Landmark, frame: ImageFrame | None) -> tuple[str, ...]:
    """Name, status, confidence, R, A, S and slice; empty where not known."""
    sure = "" if landmark.confidence is None else f"{landmark.confidence:.2f}"
    if landmark.position_ras_mm is None:
        return landmark.name, STATUS_WORDS[landmark.status], sure, "", "", "", ""
    position = (f"{value:.1f}" for value in landmark.position_ras_mm)
    on = "" if frame is None else str(frame.slice_index(landmark.position_ras_mm))
    return landmark.name, STATUS_WORDS[landmark.status], sure, *position, on


def colour(confidence: float | None, is_doubted: bool = False) -> str | None:
    """Of its band; None where no model has judged. is_doubted: the model wants it looked at all the same."""
    shades = [shade for least, shade in BANDS if confidence is not None and confidence >= least]
    return next((shade for shade in shades if not is_doubted or shade != BANDS[0][1]), None)


def still_true(warnings: Iterable[str], undecided: Sequence[str]) -> tuple[str, ...]:
    """The warnings of a model that a person has not answered yet: each until the landmarks that it names, or else all,
    are decided.

    >>> still_true(["Out of view: L5, L5-S1", "The sacrum is not in the picture"], ["L1"])
    ('The sacrum is not in the picture',)
    """
    named = {text: set(re.findall(r"[A-Z]\d+(?:-[A-Z]\d+)?", text)) & set(LUMBAR11) for text in warnings}
    return tuple(text for text, names in named.items() if undecided and (not names or names & set(undecided)))
