"""Angles, heights and slips from the corners of the endplates, as the literature defines them.

All in the patient's sagittal plane, A and S in mm, R left out as on a lateral radiograph. An endplate is the line
from its back corner to its front corner; its slope is the angle to the axial plane, positive where the front is higher:

    slope(e)     = atan2(S_ant - S_post, A_ant - A_post)
    angle(e, f)  = slope(e) - slope(f)                       Cobb's; positive is lordotic where e lies above f
    sd(f)^2      = sum over points p, axes x of (df/dp_x)^2 sd_p^2,  sd_p = radius95 / sqrt(-2 ln 0.05)
    interval95   = f +- 1.96 sd(f)

The radius of a point is that of a round Gaussian (Rayleigh); errors of points are taken to be independent. Lordosis
is some degrees less lying, as in a scanner, than standing. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.landmarks import CORNERS22, UNREVIEWED, Landmark, LandmarkSet
from SpineLandmarksLib.measurement import Measurement, UsualRange
from SpineLandmarksLib.quadrilaterals import BODIES, SACRUM, disagreeing, touching

Vector = NDArray[np.float64]
Plane = Mapping[str, Vector]
Formula = Callable[[Plane], float]

#: Standard deviations of one axis in the radius that holds 95 % of a round Gaussian, and in a 95 % interval.
RADIUS_SDS, INTERVAL_SDS = math.sqrt(-2 * math.log(0.05)), 1.96
#: mm by which a point is moved to see what a measurement makes of it.
STEP_MM = 1e-3
#: A body whose lower side is less than this share of the other, or of its neighbours, is collapsed: Genant's 40 % lost.
COLLAPSED = 0.6
#: Upper limits in % of Meyerding's and Genant's grades, and what lies beyond the last.
MEYERDING = ((25.0, "I (to 25 %)"), (50.0, "II (25 to 50 %)"), (75.0, "III (50 to 75 %)"), (100.0, "IV (75 to 100 %)"))
GENANT = ((20.0, "0 (below 20 %)"), (25.0, "1 (20 to 25 %)"), (40.0, "2 (25 to 40 %)"))
#: A slip of points without a radius is graded from so many % on: 3 mm of an endplate of 35 mm.
MIN_SLIP = 8.6

COBB = "Cobb JR (1948), Outline for the study of scoliosis, Instr Course Lect 5:261-275"
LEGAYE = "Legaye J et al. (1998), Pelvic incidence, Eur Spine J 7:99-103"
DABBS = "Dabbs VM, Dabbs LG (1990), Correlation between disk height narrowing and low-back pain, Spine 15:1366-1369"
FARFAN = "Farfan HF (1973), Mechanical Disorders of the Low Back, Lea & Febiger"
MASUDA = "after Masuda K et al. (2005), A novel rabbit model of disc degeneration, Spine 30:5-14"
HURXTHAL = "Hurxthal LM (1968), Measurement of anterior vertebral compressions, AJR 103:635-644"
GENANT_1993 = "Genant HK et al. (1993), Vertebral fracture assessment, J Bone Miner Res 8:1137-1148"
MEYERDING_1932 = "Meyerding HW (1932), Spondylolisthesis, Surg Gynecol Obstet 54:371-377"
HERE = "this project"
#: What lying people without complaints have, mean and 2 standard deviations; heights of discs on MRI by level, mm.
LORDOSIS_LYING = UsualRange(10.4, 63.2, "T12-S1 of 627 volunteers on radiographs, lying (2019): PMC6680033")
SLOPE_LYING = UsualRange(
    24.7, 64.3, "274 people of 15 to 74 years on radiographs, lying: Okpala FO (2014), Ann Med Health Sci Res 4:757-762"
)
DISCS_LYING = {
    "L1-L2": (6.25, 10.99),
    "L2-L3": (6.97, 12.08),
    "L3-L4": (7.42, 13.3),
    "L4-L5": (7.76, 14.57),
    "L5-S1": (7.11, 13.12),
}
ZHANG = "169 Asian young adults without complaints on MRI: Zhang F et al. (2018), J Orthop Surg Res 13:34"


@dataclass(frozen=True)
class _Kind:
    """One measurement before it is taken. points: all that it needs. upright: bodies that must not be collapsed."""

    name: str
    unit: str
    points: tuple[str, ...]
    formula: Formula
    definition: str
    source: str
    usual: UsualRange | None = None
    grade: Callable[[float, tuple[float, float] | None], str] = lambda value, interval: ""
    upright: tuple[str, ...] = ()


def measure_endplates(landmarks: LandmarkSet, corners: Sequence[Landmark]) -> tuple[Measurement, ...]:
    """All measurements by the corners of a study, whole spine first, then each kind from the head down.

    landmarks: whose doubts hold for the corners too. What cannot be relied on has no value and a reason.
    """
    known = {mark.name: mark for mark in corners}
    doubt, beside = doubt_of(landmarks), _beside(landmarks, known)
    collapsed = _collapsed(known)
    return tuple(_taken(kind, known, collapsed, doubt, beside) for kind in _kinds())


def corners_of(landmarks: LandmarkSet) -> tuple[Landmark, ...]:
    """The corners of endplates among the landmarks of a data set's own schema, or else beside them."""
    return tuple(mark for mark in landmarks if mark.name in CORNERS22) or landmarks.corners


def plate(body: str, end: str) -> tuple[str, str]:
    """Names of the front and back corner. end: sup or inf."""
    return f"{body}.{end}.ant", f"{body}.{end}.post"


def _kinds() -> Iterator[_Kind]:
    yield from _whole_spine()
    for above, below in pairwise((*BODIES, SACRUM)):
        yield _segment(above, below)
    for above, below in pairwise((*BODIES, SACRUM)):
        yield from _disc(above, below)
    for body in BODIES:
        yield from _body(body)
    for above, below in pairwise((*BODIES, SACRUM)):
        yield from _slip(above, below)


def _whole_spine() -> Iterator[_Kind]:
    l1, s1 = plate("L1", "sup"), plate(SACRUM, "sup")
    yield _Kind(
        "Lumbar lordosis L1-S1",
        "deg",
        (*l1, *s1),
        lambda p: _slope(p, l1) - _slope(p, s1),
        "Cobb angle between the upper endplates of L1 and S1; positive is lordotic.",
        COBB,
        LORDOSIS_LYING,
        upright=("L1",),
    )
    yield _Kind(
        "Sacral slope",
        "deg",
        s1,
        lambda p: -_slope(p, s1),
        "Angle of the upper endplate of S1 to the axial plane of the patient, who lies; positive where its front is "
        "lower. On a picture without orientation: to its rows.",
        LEGAYE,
        SLOPE_LYING,
    )
    l5 = plate("L5", "inf")
    yield _Kind(
        "Lumbosacral angle",
        "deg",
        (*l5, *s1),
        lambda p: _slope(p, l5) - _slope(p, s1),
        "Angle between the lower endplate of L5 and the upper endplate of S1, the wedge of their disc; positive where "
        "it is open to the front.",
        COBB,
        upright=("L5",),
    )
    yield _Kind(
        "Lumbar length L1-S1",
        "mm",
        (*l1, *s1),
        lambda p: _apart(_middle(p, l1), _middle(p, s1)),
        "Straight distance from the middle of L1's upper endplate to that of S1's.",
        HERE,
        upright=("L1",),
    )


def _segment(above: str, below: str) -> _Kind:
    upper, end = plate(above, "sup"), "sup" if below == SACRUM else "inf"
    lower = plate(below, end)
    return _Kind(
        f"Segmental lordosis {above}-{below}",
        "deg",
        (*upper, *lower),
        lambda p: _slope(p, upper) - _slope(p, lower),
        f"Cobb angle between the upper endplate of {above} and the {'upper' if end == 'sup' else 'lower'} endplate of "
        f"{below}; positive is lordotic.",
        COBB,
        upright=tuple(name for name in (above, below) if name != SACRUM),
    )


def _disc(above: str, below: str) -> Iterator[_Kind]:
    upper, lower = plate(above, "inf"), plate(below, "sup")
    disc, points = f"{above}-{below}", (*plate(above, "inf"), *plate(below, "sup"))

    def height(at: int) -> Formula:
        return lambda p: _apart(p[upper[at]], p[lower[at]])

    def middle(p: Plane) -> float:
        return _apart(_middle(p, upper), _middle(p, lower))

    def mean(p: Plane) -> float:
        return (height(0)(p) + height(1)(p)) / 2

    def depth(p: Plane) -> float:
        return (_length(p, upper) + _length(p, lower)) / 2

    facing = f"of the facing endplates of {above} and {below}"
    for at, side in enumerate(("front", "back")):
        named = ("anterior", "posterior")[at]
        corners = (upper[at], lower[at])
        said = f"Distance between the {side} corners {facing}."
        yield _Kind(f"Disc height {disc} {named}", "mm", corners, height(at), said, DABBS)
    said = f"Distance between the middles {facing}, of the lines from rim to rim."
    usual = UsualRange(*DISCS_LYING[disc], ZHANG)
    yield _Kind(f"Disc height {disc} middle", "mm", points, middle, said, HURXTHAL, usual)
    yield _Kind(
        f"Disc height {disc} (Dabbs)", "mm", points, mean, f"Mean of the front and back height of {disc}.", DABBS
    )
    yield _Kind(
        f"Disc height {disc} (Farfan)",
        "1",
        points,
        lambda p: _share(2 * mean(p), depth(p)),
        f"Front height plus back height of {disc} over its depth, the mean length of the two endplates.",
        FARFAN,
    )
    beside = tuple(name for name in (above, below) if name != SACRUM)
    yield _Kind(
        f"Disc height index {disc}",
        "1",
        tuple(dict.fromkeys((*points, *(name for body in beside for name in _corners(body))))),
        lambda p: _share(
            (2 * mean(p) + middle(p)) / 3, float(np.mean([h for body in beside for h in _heights(p, body)]))
        ),
        f"Mean of the front, middle and back height of {disc} over that of {' and '.join(beside)}.",
        MASUDA,
        upright=beside,
    )


def _body(body: str) -> Iterator[_Kind]:
    upper, lower, corners = plate(body, "sup"), plate(body, "inf"), _corners(body)

    def height(at: int) -> Formula:
        return lambda p: _heights(p, body)[at]

    words = ("front corners", "middles of the lines from rim to rim", "back corners")
    named = zip(("anterior", "middle", "posterior"), words, (corners[::2], corners, corners[1::2]), strict=True)
    for at, (side, between, needed) in enumerate(named):
        said = f"Distance between the {between} of the upper and lower endplate of {body}."
        yield _Kind(f"Height {body} {side}", "mm", needed, height(at), said, HURXTHAL)
    yield _Kind(
        f"Wedge angle {body}",
        "deg",
        corners,
        lambda p: _slope(p, lower) - _slope(p, upper),
        f"Angle between the endplates of {body}; positive where it is lower in front.",
        COBB,
    )
    yield _Kind(
        f"Height loss {body}",
        "%",
        corners,
        lambda p: 100 * (1 - _share(min(_heights(p, body)[:2]), _heights(p, body)[2])),
        f"By how much the lower of the front and middle height of {body} is less than its back height. The dent of an "
        "endplate between its rims, and a body that is low in front and behind alike, are not seen by this.",
        f"limits of the grades: {GENANT_1993}",
        grade=lambda value, interval: f"Genant's limits: {_genant(value)}",
    )


def _slip(above: str, below: str) -> Iterator[_Kind]:
    lower, slipping = plate(below, "sup"), f"{above}.inf.post"
    points, disc = (slipping, *lower), f"{above}-{below}"
    upright = tuple(name for name in (above, below) if name != SACRUM)

    def slip(p: Plane) -> float:
        along = p[lower[0]] - p[lower[1]]
        return _share(float((p[slipping] - p[lower[1]]) @ along), float(np.hypot(*along)))

    said = (
        f"How far the lower back corner of {above} lies in front of the upper back corner of {below}, along the upper "
    )
    yield _Kind(
        f"Slip {disc}",
        "mm",
        points,
        slip,
        f"{said}endplate of {below}; positive is forward, anterolisthesis.",
        MEYERDING_1932,
        upright=upright,
    )
    yield _Kind(
        f"Slip {disc} of the endplate",
        "%",
        points,
        lambda p: _share(100 * slip(p), _length(p, lower)),
        f"{said}endplate of {below}, over the length of that endplate; positive is forward.",
        MEYERDING_1932,
        grade=_meyerding,
        upright=upright,
    )


def _meyerding(value: float, interval: tuple[float, float] | None) -> str:
    least = interval[0] if interval else value - MIN_SLIP
    if least <= 0:
        return "Meyerding: no forward slip beyond the error"
    return f"Meyerding {_graded(value, MEYERDING, 'V (above 100 %)')}"


def _graded(value: float, limits: Sequence[tuple[float, str]], beyond: str) -> str:
    return next((words for limit, words in limits if value <= limit), beyond)


def _genant(value: float) -> str:
    """A loss of 20 % is the first grade's already."""
    return GENANT[0][1] if round(value, 6) < GENANT[0][0] else _graded(value, GENANT[1:], "3 (above 40 %)")


# What is needed, and whether it can be relied on


def _taken(
    kind: _Kind, known: Mapping[str, Landmark], collapsed: Mapping[str, str], doubt: str, beside: Mapping[str, str]
) -> Measurement:
    reason = _unusable(kind, known, collapsed, doubt, beside)
    made = Measurement(
        kind.name, None, kind.unit, kind.definition, kind.source, usual=kind.usual, reason=reason, points=kind.points
    )
    if reason:
        return made
    at = _plane(known, kind.points)
    value, interval = kind.formula(at), _interval(kind, known, at)
    if not math.isfinite(value):
        return replace(made, reason="its points lie on one place")
    return replace(made, value=value, interval95=interval, grade=kind.grade(value, interval))


def _unusable(
    kind: _Kind, known: Mapping[str, Landmark], collapsed: Mapping[str, str], doubt: str, beside: Mapping[str, str]
) -> str:
    reasons = [_absent(name, known.get(name)) for name in kind.points]
    reasons += [collapsed.get(body, "") for body in kind.upright]
    reasons += [beside.get(name, "") for name in kind.points]
    is_decided = all(known[name].status not in UNREVIEWED for name in kind.points if name in known)
    return next(filter(None, reasons), "" if is_decided else doubt)


def _absent(name: str, mark: Landmark | None) -> str:
    if mark is None:
        return f"{name} was not looked for"
    if mark.is_absent:
        return f"{name} is {mark.status.replace('_', ' ')}"
    if mark.position_ras_mm is None:
        return "the image has no known millimetres"
    if mark.needs_review and mark.status in UNREVIEWED:
        sure = "" if mark.confidence is None else f" (confidence {mark.confidence:.2f})"
        return f"{name} is doubtful{sure}: confirm or correct it first"
    return ""


def doubt_of(landmarks: LandmarkSet) -> str:
    """Why the levels of the study cannot be relied on before somebody has looked; empty where they can."""
    return (
        "the levels of this study are doubtful: confirm or correct its points first" if landmarks.needs_review else ""
    )


def _beside(landmarks: LandmarkSet, known: Mapping[str, Landmark]) -> dict[str, str]:
    """Corners that nobody has decided on and that do not enclose the centre of their body or disc, with the reason.

    So it is where a person has moved the centres, or another model has, and the corners are still on other levels.
    """
    at, centres = (
        {mark.name: np.array(mark.position_ras_mm[1:]) for mark in marks if mark.position_ras_mm is not None}
        for marks in (known.values(), landmarks)
    )
    wrong = set(disagreeing(at, centres))
    around = {name: sorted(touching(name) & wrong) for name, mark in known.items() if mark.status in UNREVIEWED}
    said = "{}: the corners around {} do not enclose its centre: confirm or correct them first"
    return {name: said.format(name, found[0]) for name, found in around.items() if found}


def _collapsed(known: Mapping[str, Landmark]) -> dict[str, str]:
    """Bodies of too little height, with the reason."""
    whole = [body for body in BODIES if not any(_absent(name, known.get(name)) for name in _corners(body))]
    sides = {body: _heights(_plane(known, _corners(body)), body)[::2] for body in whole}
    found = {}
    for body, (front, back) in sides.items():
        beside = [max(sides[other]) for other in _neighbours(body) if other in sides]
        usual = max(front, back, float(np.mean(beside)) if beside else 0.0)
        share = min(front, back) / usual if usual else 0.0
        if share < COLLAPSED:
            found[body] = f"{body} is collapsed: its height is {100 * share:.0f} % of what it and its neighbours have"
    return found


def _neighbours(body: str) -> list[str]:
    row = BODIES.index(body)
    return [*BODIES[max(row - 1, 0) : row], *BODIES[row + 1 : row + 2]]


def _interval(kind: _Kind, known: Mapping[str, Landmark], at: Plane) -> tuple[float, float] | None:
    radii = [known[name].radius95_mm for name in kind.points]
    if any(radius is None for radius in radii):
        return None
    variance = 0.0
    for name, radius in zip(kind.points, radii, strict=True):
        for axis in np.eye(2) * STEP_MM:
            change = kind.formula({**at, name: at[name] + axis}) - kind.formula({**at, name: at[name] - axis})
            variance += (change / (2 * STEP_MM) * float(radius or 0.0) / RADIUS_SDS) ** 2
    value, half = kind.formula(at), INTERVAL_SDS * math.sqrt(variance)
    return value - half, value + half


# Geometry


def _plane(known: Mapping[str, Landmark], names: Sequence[str]) -> Plane:
    return {name: np.array((known[name].position_ras_mm or (math.nan,) * 3)[1:]) for name in names}


def _corners(body: str) -> tuple[str, ...]:
    """Upper front, upper back, lower front, lower back."""
    return (*plate(body, "sup"), *plate(body, "inf"))


def _slope(p: Plane, corners: tuple[str, str]) -> float:
    """Degrees by which the front of an endplate is higher than its back; nan where both lie on one place."""
    a, s = p[corners[0]] - p[corners[1]]
    return math.degrees(math.atan2(s, a)) if a or s else math.nan


def _share(part: float, whole: float) -> float:
    """nan of nothing."""
    return part / whole if whole else math.nan


def _middle(p: Plane, corners: tuple[str, str]) -> Vector:
    return np.asarray((p[corners[0]] + p[corners[1]]) / 2)


def _length(p: Plane, corners: tuple[str, str]) -> float:
    return _apart(p[corners[0]], p[corners[1]])


def _apart(one: Vector, other: Vector) -> float:
    return float(np.hypot(*(one - other)))


def _heights(p: Plane, body: str) -> tuple[float, float, float]:
    """Front, middle and back; nan where a corner is not among the points."""
    nowhere = np.full(2, math.nan)
    front, back, low_front, low_back = (p.get(name, nowhere) for name in _corners(body))
    middle = _apart((front + back) / 2, (low_front + low_back) / 2)
    return _apart(front, low_front), middle, _apart(back, low_back)
