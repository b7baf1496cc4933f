"""Landmark names and the value objects that carry points together with their frame."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from SpineLandmarksLib.errors import LandmarkError

#: The eleven landmarks, from the head down: a dash is a disc centre, no dash a vertebral body centre.
LUMBAR11 = ("T12-L1", "L1", "L1-L2", "L2", "L2-L3", "L3", "L3-L4", "L4", "L4-L5", "L5", "L5-S1")

#: The corners of the lumbar bodies and of S1's upper endplate in a sagittal picture, from the head down: upper and
#: lower endplate (sup, inf), front and back end of it (ant, post).
CORNERS22 = (
    *(f"L{n}.{end}.{side}" for n in range(1, 6) for end in ("sup", "inf") for side in ("ant", "post")),
    *("S1.sup.ant", "S1.sup.post"),
)
#: Vertebrae from the head down, by which names are moved from one level to the next.
VERTEBRAE = tuple(
    f"{part}{number}" for part, count in zip("CTLS", (7, 12, 5, 5), strict=True) for number in range(1, count + 1)
)
_VERTEBRA = re.compile(rf"(?<![A-Za-z0-9])(?:{'|'.join(reversed(VERTEBRAE))})(?![A-Za-z0-9])")

Status = Literal["predicted", "corrected", "confirmed", "not_visible", "out_of_view"]
STATUSES: tuple[str, ...] = get_args(Status)
#: No scanner is as wide, in mm or pixels; what lies farther is no place.
FARTHEST = 1e6
#: Statuses that say "there is no point here".
ABSENT: tuple[str, ...] = ("not_visible", "out_of_view")

#: Statuses that a model gives; every other one is a person's word.
UNREVIEWED: tuple[Status, ...] = ("predicted", "out_of_view")

Point = tuple[float, float, float]
PixelXY = tuple[float, float]


@dataclass(frozen=True)
class Landmark:
    """One named point, or the statement that it is absent.

    Attributes:
        name: of `LUMBAR11`, or of a data set's own schema.
        status: one of `STATUSES`.
        position_ras_mm: patient position, RAS, mm; None when absent or when the image has no known spacing.
        pixel_xy: (column, row) in native pixels of the chosen slice; an integer is a pixel centre. None when absent.
        confidence: probability in 0..1 that the level is right.
        radius95_mm: radius around the position that should hold the truth in 95 % of the cases whose level is right.
        needs_review: whether somebody should look at it before it is used; None where nothing has judged it.

    Raises:
        LandmarkError: an unknown status, a confidence beyond 0..1, a place beyond `FARTHEST` or of an absent landmark.

    >>> Landmark("L3", "corrected", position_ras_mm=(1.5, -20.0, 310.0)).is_absent
    False
    >>> Landmark("T12-L1", "out_of_view").is_absent
    True
    """

    name: str
    status: Status = "predicted"
    position_ras_mm: Point | None = None
    pixel_xy: PixelXY | None = None
    confidence: float | None = None
    radius95_mm: float | None = None
    needs_review: bool | None = None

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise LandmarkError(f"Landmark {self.name}: expected one of {', '.join(STATUSES)}; got {self.status!r}")
        if self.confidence is not None and not 0.0 <= self.confidence <= 1.0:
            raise LandmarkError(f"Landmark {self.name}: expected a confidence in 0..1; got {self.confidence}")
        places = (*(self.position_ras_mm or ()), *(self.pixel_xy or ()))
        if any(FARTHEST < abs(value) < math.inf for value in places):
            raise LandmarkError(f"Landmark {self.name}: expected places within {FARTHEST:g} mm; got {max(places):g}")
        if self.is_absent and (self.position_ras_mm is not None or self.pixel_xy is not None):
            raise LandmarkError(f"Landmark {self.name} is {self.status}; expected no position, got one")

    @property
    def is_absent(self) -> bool:
        return self.status in ABSENT


@dataclass(frozen=True)
class LandmarkSet:
    """The landmarks of one study with where they came from; the content of one result file.

    Attributes:
        landmarks: from the head down, each name once. Positions are RAS mm.
        input: what was read. series_uid: DICOM series, if any.
        slice_index: the chosen slice, along the file's own slice axis.
        spacing_mm: (between columns, between rows) of that slice, None when unknown.
        bundle: name and version of the model. runtime_s: seconds from the study in memory to the points.
        warnings: what somebody should look at.
        needs_review: a landmark does, or the study as a whole: six or four bodies, an image unlike those known.
        notes: which series was read and which were passed over.
        numberings: (shift in levels, probability) of all names as they are (0), one level toward the head (+1) and one
            toward the feet (-1), the likeliest first; empty where nothing has judged.
        corners: of the endplates on the same levels, by a second model; empty where none was asked. `points` has them
            after the landmarks.

    Raises:
        LandmarkError: a name comes twice; from `[name]`, there is no such landmark or corner.

    >>> found = LandmarkSet((Landmark("L3", position_ras_mm=(1.5, -20.0, 310.0)), Landmark("L4", "out_of_view")))
    >>> found.names, found["L3"].position_ras_mm, [mark.name for mark in found if mark.is_absent]
    (('L3', 'L4'), (1.5, -20.0, 310.0), ['L4'])
    """

    landmarks: tuple[Landmark, ...]
    input: str = ""
    series_uid: str | None = None
    slice_index: int | None = None
    spacing_mm: tuple[float, float] | None = None
    bundle: str | None = None
    runtime_s: float | None = None
    warnings: tuple[str, ...] = ()
    needs_review: bool | None = None
    notes: tuple[str, ...] = ()
    numberings: tuple[tuple[int, float], ...] = ()
    corners: tuple[Landmark, ...] = ()

    def __post_init__(self) -> None:
        require_unique([landmark.name for landmark in self.points])

    def asks_for_review(self, landmark: Landmark) -> bool | None:
        """Whether somebody should look at one of them: itself is doubtful, or the study, and nobody has decided on it.

        None where nothing has judged.
        """
        if landmark.status in UNREVIEWED and self.needs_review:
            return True
        return landmark.needs_review

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(landmark.name for landmark in self.landmarks)

    @property
    def points(self) -> tuple[Landmark, ...]:
        return (*self.landmarks, *self.corners)

    def __iter__(self) -> Iterator[Landmark]:
        return iter(self.landmarks)

    def __len__(self) -> int:
        return len(self.landmarks)

    def __getitem__(self, name: str) -> Landmark:
        for landmark in self.points:
            if landmark.name == name:
                return landmark
        raise LandmarkError(f"Expected one of {', '.join(self.names)}; got {name!r}")


class Schema(tuple[str, ...]):
    """The names of a data set's or a bundle's landmarks, in their order.

    has_order: whether that order is a chain, from the head down; else the landmarks lie as they like, and no place of
    one says where another is.

    >>> Schema(("thumb", "wrist"), has_order=False).has_order, Schema.of(("L1", "L1-L2")).has_order
    (False, True)
    """

    has_order: bool

    def __new__(cls, names: Iterable[str], has_order: bool = True) -> Schema:
        made = super().__new__(cls, names)
        made.has_order = has_order
        return made

    @staticmethod
    def of(names: Sequence[str]) -> Schema:
        """Names as a schema: one that is one already stays, others are a chain."""
        return names if isinstance(names, Schema) else Schema(names)


def name_at_level(name: str, levels: int) -> str | None:
    """What the same place is called that many levels nearer to the feet; None where there is no such name.

    >>> name_at_level("L1.sup.ant", 1), name_at_level("T12-L1", 1), name_at_level("L5", -4), name_at_level("p01", 1)
    ('L2.sup.ant', 'L1-L2', 'L1', None)
    """
    rows = [VERTEBRAE.index(found) + levels for found in _VERTEBRA.findall(name)]
    if not rows or not all(0 <= row < len(VERTEBRAE) for row in rows):
        return None
    moved = iter(rows)
    return _VERTEBRA.sub(lambda _: VERTEBRAE[next(moved)], name)


def kind_of(name: str) -> str:
    """What a name says beside its level: all bodies are of a kind, and all discs.

    >>> kind_of("L1-L2") == kind_of("L5-S1") != kind_of("L1")
    True
    """
    return _VERTEBRA.sub("", name) if _VERTEBRA.search(name) else ""


def names_per_level(names: Sequence[str]) -> int:
    """How many landmarks it is from one to the same of the next level; 0 where names tell of no levels.

    >>> names_per_level(LUMBAR11), names_per_level(["L1", "L2", "L3"]), names_per_level(["p01", "p02"])
    (2, 1, 0)
    """
    place = {name: row for row, name in enumerate(names)}
    lower = [(row, name_at_level(name, 1)) for name, row in place.items()]
    steps = [place[name] - row for row, name in lower if name in place]
    return max(max(set(steps), key=steps.count, default=0), 0)


def require_unique(names: Sequence[str]) -> None:
    """Raise LandmarkError when a name comes twice."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LandmarkError(f"Expected each landmark once; got {', '.join(twice)} more than once")


def require_known(names: Sequence[str], schema: Sequence[str] = LUMBAR11) -> None:
    """Raise LandmarkError when a name is not of the schema or comes twice. Missing names are allowed."""
    require_unique(names)
    unknown = [name for name in names if name not in schema]
    if unknown:
        raise LandmarkError(f"Expected names of {', '.join(schema)}; got {', '.join(map(repr, unknown))}")
