"""Several readings of one spine, none of which knew of the others: where they agree, and what follows.

A landmark is agreed on where all readers see it within a limit of each other, or none sees it; the consensus is then
the mean. All other landmarks are disputed, and somebody decides. The two commonest causes are told by name: a chain
that one reader has named a level off, and two names that one reader has exchanged. Places are in mm on the slice.

    shift of b against a    the s for which b[l] lies where a has what is s levels above l: names that were moved s
                            levels towards the head (+) or the foot (-), as in `session.shift_names`

Corners of endplates are compared one by one in the same way, as soon as a reader has spoken of one; by the model's
alone nobody is asked, and level and swap are told by the landmarks of the schema.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from SpineLandmarksLib.landmarks import CORNERS22, UNREVIEWED, Landmark, LandmarkSet, PixelXY, name_at_level

#: Readers who are closer agree, mm: the distance within which a landmark counts as found (SDR@4).
LIMIT_MM = 4.0
MAX_SHIFT = 2
MIN_COMMON = 3

Places = Mapping[str, PixelXY]


@dataclass(frozen=True)
class ReaderDifference:
    """One landmark. apart_mm: the largest distance between two who see it, None for fewer than two. seen: by how many.

    is_disputed: whether somebody has to decide.
    """

    name: str
    apart_mm: float | None
    seen: int
    is_disputed: bool


@dataclass(frozen=True)
class ReadingComparison:
    """differences: head to foot. shifts: of each reader against the first, in levels. swaps: exchanged names.

    corners: of endplates, as the differences.
    """

    differences: tuple[ReaderDifference, ...]
    shifts: tuple[int, ...]
    swaps: tuple[tuple[str, str], ...] = ()
    corners: tuple[ReaderDifference, ...] = ()

    @property
    def disputed(self) -> list[str]:
        return [one.name for one in (*self.differences, *self.corners) if one.is_disputed]

    @property
    def is_level_dispute(self) -> bool:
        return any(shift != self.shifts[0] for shift in self.shifts)


def compare_readings(
    readings: Sequence[Places],
    names: Sequence[str],
    limit_mm: float = LIMIT_MM,
    corners: Sequence[Places] = (),
    decided: Collection[str] = (),
) -> ReadingComparison:
    """readings: where each reader has put what they see. names: of the schema, head to foot.

    corners: as the readings; decided: those of which a reader has spoken, the others cannot be disputed.
    """
    differences = tuple(_difference(readings, name, limit_mm) for name in names)
    shifts = tuple(level_shift(readings[0], one, limit_mm) for one in readings)
    swaps = {pair for a, b in combinations(readings, 2) for pair in swapped(a, b, names, limit_mm)}
    known = [name for name in CORNERS22 if name in decided or any(name in one for one in corners)]
    by_corner = [_difference(corners, name, limit_mm) for name in known]
    told = tuple(replace(one, is_disputed=one.is_disputed and one.name in decided) for one in by_corner)
    return ReadingComparison(differences, shifts, tuple(sorted(swaps)) if not any(shifts) else (), told)


def _difference(readings: Sequence[Places], name: str, limit_mm: float) -> ReaderDifference:
    seen = [one[name] for one in readings if name in one]
    apart = max((_distance(a, b) for a, b in combinations(seen, 2)), default=None)
    is_disputed = len(seen) not in (0, len(readings)) or (apart is not None and apart > limit_mm)
    return ReaderDifference(name, apart, len(seen), is_disputed)


def _distance(a: PixelXY, b: PixelXY) -> float:
    return float(np.hypot(*np.subtract(a, b)))


def level_shift(a: Places, b: Places, limit_mm: float = LIMIT_MM) -> int:
    """By how many levels b names the places of a otherwise; 0 where they agree, and where nothing tells."""
    apart = {shift: _median_apart(a, b, shift) for shift in range(-MAX_SHIFT, MAX_SHIFT + 1)}
    best = min(apart, key=lambda shift: (apart[shift], abs(shift)))
    return best if apart[0] > limit_mm and apart[best] < apart[0] / 2 else 0


def _median_apart(a: Places, b: Places, shift: int) -> float:
    """Between each place of b and that of a which it names so otherwise; infinite where too few are common."""
    pairs = [(a.get(name_at_level(name, -shift) or ""), place) for name, place in b.items()]
    apart = [_distance(one, other) for one, other in pairs if one is not None]
    return float(np.median(apart)) if len(apart) >= min(MIN_COMMON, len(a), len(b)) > 0 else np.inf


def swapped(a: Places, b: Places, names: Sequence[str], limit_mm: float = LIMIT_MM) -> list[tuple[str, str]]:
    """Pairs of names that a and b have given to each other's places."""
    common = [name for name in names if name in a and name in b and _distance(a[name], b[name]) > limit_mm]
    return [
        (one, other)
        for one, other in combinations(common, 2)
        if max(_distance(a[one], b[other]), _distance(a[other], b[one])) <= limit_mm
    ]


def consensus_of(readings: Sequence[LandmarkSet], comparing: ReadingComparison) -> LandmarkSet:
    """The mean of what is agreed on, confirmed; what is disputed has no point and waits for somebody.

    A corner that no reader has spoken of is the model's; it is doubtful where that is not in one place to all.
    """
    marks = [_agreed(readings, one) for one in comparing.differences]
    told = [{mark.name: mark for mark in one.corners} for one in readings]
    names = [name for name in CORNERS22 if any(name in one for one in told)]
    corners = [
        _open(name)
        if name in comparing.disputed
        else _agreed_corner([one.get(name, Landmark(name, "out_of_view")) for one in told])
        for name in names
    ]
    return replace(
        readings[0],
        landmarks=tuple(marks),
        corners=tuple(corners),
        needs_review=bool(comparing.disputed),
        numberings=(),
    )


def _agreed(readings: Sequence[LandmarkSet], difference: ReaderDifference) -> Landmark:
    if difference.is_disputed:
        return _open(difference.name)
    return _mean_of([one[difference.name] for one in readings])


def _open(name: str) -> Landmark:
    """Waits for somebody to decide."""
    return Landmark(name, "out_of_view", needs_review=True)


def _agreed_corner(marks: Sequence[Landmark]) -> Landmark:
    """What those say who have decided on it, or else the model. Another reader's names may lie on other levels."""
    decided = [mark for mark in marks if mark.status not in UNREVIEWED]
    said = _mean_of(decided) if len(decided) > 1 else (*decided, *marks)[0]
    places = [mark.position_ras_mm for mark in marks if mark.position_ras_mm is not None]
    apart = max((math.dist(a, b) for a, b in combinations(places, 2)), default=0.0)
    if len(places) in (0, len(marks)) and apart <= LIMIT_MM:
        return said
    return replace(said, status="out_of_view" if said.is_absent else "predicted", confidence=None, needs_review=True)


def _mean(points: Sequence[tuple[float, ...] | None]) -> tuple[float, ...]:
    return tuple(float(value) for value in np.mean([point for point in points if point is not None], axis=0))


def chosen(now: LandmarkSet, readings: Sequence[LandmarkSet], names: Collection[str], whose: str) -> LandmarkSet:
    """The landmarks as they are, but those of these names as the readings have them, the mean of several; confirmed.

    Corners that nobody decides on come along with a whole chain: they lie by its names.
    """
    told = [{mark.name: mark for mark in one.points} for one in readings]
    rest = told[0] if len(told) == 1 and set(now.names) <= set(names) else {}

    def taken(mark: Landmark) -> Landmark:
        said = [one[mark.name] for one in told if mark.name in one]
        return _mean_of(said) if said and mark.name in names else rest.get(mark.name, mark)

    return replace(now, landmarks=tuple(map(taken, now)), corners=tuple(map(taken, now.corners)), input=whose)


def _mean_of(marks: Sequence[Landmark]) -> Landmark:
    """Of those that have a point; not visible where none has."""
    seen = [mark for mark in marks if not mark.is_absent]
    if not seen:
        return Landmark(marks[0].name, "not_visible", needs_review=False)
    r, a, s = _mean([mark.position_ras_mm for mark in seen])
    x, y = _mean([mark.pixel_xy for mark in seen])
    return Landmark(marks[0].name, "confirmed", (r, a, s), (x, y), needs_review=False)


def with_numberings(decided: LandmarkSet, shifts: Mapping[str, int]) -> LandmarkSet:
    """A decision that keeps what the levels were also called. shifts: of each reader's names against the decided ones.

    Each numbering has the share of those who gave it, the one who decided included; nothing is added where all agree.
    """
    votes = [0, *shifts.values()]
    if not any(votes):
        return decided
    shares = {shift: votes.count(shift) / len(votes) for shift in votes}
    said = "; ".join(f"{person}: {shift:+d}" for person, shift in shifts.items() if shift)
    note = f"transitional or doubtful level: readers named it otherwise, in levels towards the head: {said}"
    numberings = tuple(sorted(shares.items(), key=lambda one: (-one[1], one[0])))
    return replace(decided, numberings=numberings, notes=(*decided.notes, note))


def comparison_words(people: Sequence[str], comparing: ReadingComparison) -> list[str]:
    """What the readers differ in, each in a sentence."""
    first = people[0]
    said = [
        f"{person} names the levels {abs(shift)} towards the {'head' if shift > 0 else 'foot'} of what {first} says"
        for person, shift in zip(people, comparing.shifts, strict=True)
        if shift
    ]
    said += [f"{one} and {other} are exchanged" for one, other in comparing.swaps]
    singly = (*(comparing.differences if not said else ()), *(comparing.corners if not any(comparing.shifts) else ()))
    return said + [_difference_words(one, len(people)) for one in singly if one.is_disputed]


def _difference_words(one: ReaderDifference, people: int) -> str:
    if one.seen < people:
        return f"{one.name} is seen by {one.seen} of {people}"
    return f"{one.name}: {one.apart_mm:.1f} mm apart"
