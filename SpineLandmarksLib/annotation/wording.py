"""How a landmark is told to a person: the words, numbers and colours that both interfaces show."""

from __future__ import annotations

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.landmarks import Landmark

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


def colour(confidence: float | None) -> str | None:
    """Of its band; None where no model has judged."""
    return None if confidence is None else next(shade for least, shade in BANDS if confidence >= least)
