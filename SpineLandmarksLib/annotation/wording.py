"""How a landmark is told to a person: the words, numbers and colours that both interfaces show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.landmarks import LUMBAR11, VERTEBRAE, Landmark

STATUS_WORDS = {
    "predicted": "predicted",
    "corrected": "corrected",
    "confirmed": "confirmed",
    "not_visible": "not visible",
    "out_of_view": "out of view",
}
#: What each landmark is; docs/landmarks.md says more.
DEFINITIONS = {
    "T12-L1": "centre of the disc above L1",
    "L1": "centre of the first lumbar body, the fifth above the sacrum",
    "L1-L2": "centre of the disc between L1 and L2",
    "L2": "centre of the second lumbar body",
    "L2-L3": "centre of the disc between L2 and L3",
    "L3": "centre of the third lumbar body",
    "L3-L4": "centre of the disc between L3 and L4",
    "L4": "centre of the fourth lumbar body",
    "L4-L5": "centre of the disc between L4 and L5",
    "L5": "centre of the fifth lumbar body, the first above the sacrum",
    "L5-S1": "centre of the lumbosacral disc, the lowest one that is as deep as the bodies it lies between",
}
#: What a warning begins with where a picture had to be turned or mirrored to be read.
TURNED = "The picture lies "
BODY = "Where the diagonals of its four corners cross; spurs do not count"
CORNERS = {
    f"{end}.{side}": f"{where} corner of the {plate} endplate"
    for end, plate in (("sup", "upper"), ("inf", "lower"))
    for side, where in (("ant", "front"), ("post", "back"))
}
CORNER = "Where the endplate meets the wall of the body, spurs left out: on the endplate's own line, not on the lip"
DISC = "Half-way between the middles of its two endplates, not the middle of what is bright"
#: Colour of the confidence from so much on: sure, doubtful, unlikely. The number is there for who sees no colours.
BANDS = ((0.9, "#9ed8a6"), (0.7, "#f6dd8c"), (0.0, "#f2a39a"))


@dataclass(frozen=True)
class OpinionStyle:
    """How the points of one of several readers are drawn, apart in colour and in shape. glyph: of Slicer's markups."""

    css: str
    shape: str
    glyph: str

    @property
    def rgb(self) -> tuple[float, ...]:
        """0 to 1."""
        return tuple(int(self.css[place : place + 2], 16) / 255 for place in (1, 3, 5))


LETTERS = "ABCD"
OPINION_STYLES = (
    OpinionStyle("#e69f00", "▲", "Triangle2D"),
    OpinionStyle("#56b4e9", "■", "Square2D"),
    OpinionStyle("#cc79a7", "◆", "Diamond2D"),
    OpinionStyle("#f0e442", "●", "Circle2D"),
)


def definition(name: str) -> tuple[str, str]:
    """What a landmark is, and where exactly its point lies; empty for a name of a data set's own schema."""
    if name in DEFINITIONS:
        return DEFINITIONS[name], DISC if "-" in name else BODY
    body, _, corner = name.partition(".")
    return (f"{CORNERS[corner]} of {body}", CORNER) if corner in CORNERS and body in VERTEBRAE else ("", "")


def cells(landmark: Landmark, frame: ImageFrame | None) -> tuple[str, ...]:
    """Name, status, confidence, R, A, S and slice; empty where not known."""
    sure = "" if landmark.confidence is None else f"{landmark.confidence:.2f}"
    if landmark.position_ras_mm is None:
        return landmark.name, STATUS_WORDS[landmark.status], sure, "", "", "", ""
    position = (f"{value:.1f}" for value in landmark.position_ras_mm)
    on = "" if frame is None else str(frame.slice_index(landmark.position_ras_mm))
    return landmark.name, STATUS_WORDS[landmark.status], sure, *position, on


def lies_turned(warnings: Iterable[str]) -> bool:
    """Whether the model had to turn or mirror the picture to read it."""
    return any(text.startswith(TURNED) for text in warnings)


def colour(confidence: float | None, is_doubted: bool = False) -> str | None:
    """Of its band; None where no model has judged. is_doubted: the model wants it looked at all the same."""
    shades = [shade for least, shade in BANDS if confidence is not None and confidence >= least]
    return next((shade for shade in shades if not is_doubted or shade != BANDS[0][1]), None)


def still_true(warnings: Iterable[str], undecided: Sequence[str], names: Sequence[str] = LUMBAR11) -> tuple[str, ...]:
    """The warnings of a model that a person has not answered yet: each until the landmarks that it names, or else all,
    are decided. names: of all landmarks.

    >>> still_true(["Out of view: L5, L5-S1", "The sacrum is not in the picture"], ["L1"])
    ('The sacrum is not in the picture',)
    """
    spoken_of = {text: {word.strip(".:;") for word in re.split(r"[ ,]+", text)} & set(names) for text in warnings}
    return tuple(text for text, named in spoken_of.items() if undecided and (not named or named & set(undecided)))
