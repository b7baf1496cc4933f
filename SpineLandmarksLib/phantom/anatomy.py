"""A random lumbar spine as exact geometry, in millimetres, before anything is drawn.

Frame "plane": the sagittal plane in mm, x posterior (along the columns), y down (along the rows). Tilt t is the angle
of a vertebra's axis, positive where the spine runs posterior on its way down: axis = (sin t, cos t). A vertebra's own
frame is (u, v): u posterior, v down, in mm from its centre. Lateral positions (mm) run along the slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from SpineLandmarksLib.errors import LandmarkError

Array = NDArray[np.float64]

#: Name: rim height, depth, half width, tilt (degrees), gap to the next rim, depth of the canal; all mm but tilt.
THORACIC = {
    "T7": (21.5, 26.0, 15.0, 10.0, 4.0, 15.0),
    "T8": (22.5, 27.0, 16.0, 7.0, 4.0, 15.0),
    "T9": (23.5, 28.0, 17.0, 3.0, 4.2, 15.0),
    "T10": (24.0, 28.5, 18.0, -1.0, 4.4, 15.0),
    "T11": (24.8, 29.5, 19.0, -5.0, 4.8, 15.5),
    "T12": (25.8, 30.5, 20.5, -9.0, 5.4, 16.5),
}
LUMBAR = {
    "L1": (27.0, 31.5, 22.0, -12.0, 6.2, 17.0),
    "L2": (27.5, 32.5, 22.8, -12.0, 7.0, 16.5),
    "L3": (28.0, 33.5, 23.8, -8.5, 7.6, 16.0),
    "L4": (28.0, 34.5, 25.0, 0.0, 8.0, 16.0),
    "L5": (28.0, 35.0, 26.0, 13.0, 7.6, 15.5),
}
SACRAL = {
    "S1": (28.0, 27.0, 45.0, 37.0, 2.4, 13.0),
    "S2": (23.0, 19.5, 40.0, 46.0, 1.8, 9.5),
    "S3": (19.5, 14.5, 34.0, 44.0, 1.5, 6.5),
    "S4": (17.0, 11.0, 28.0, 30.0, 1.2, 4.0),
    "S5": (14.0, 9.0, 20.0, 12.0, 2.0, 2.0),
    "Co1": (10.0, 7.5, 8.0, -15.0, 1.5, 0.5),
    "Co2": (8.0, 6.0, 6.0, -40.0, 1.0, 0.2),
}


@dataclass(frozen=True)
class Vertebra:
    """One body: a bent box in its own (u, v) frame; lengths in mm, `tilt` in radians, slopes without unit."""

    name: str
    centre_xy: tuple[float, float]
    tilt: float
    half_height: float
    half_depth: float
    half_width: float
    gap_below: float
    canal: float
    lateral: float = 0.0
    slope_top: float = 0.0
    slope_bottom: float = 0.0
    concave_top: float = 0.0
    concave_bottom: float = 0.0
    waist: float = 0.0
    taper: float = 0.0
    osteophyte: float = 0.0

    @property
    def is_sacral(self) -> bool:
        return self.name[0] in "SC"

    def local(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Plane mm to (u, v)."""
        dx, dy = np.asarray(x) - self.centre_xy[0], np.asarray(y) - self.centre_xy[1]
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return dx * c - dy * s, dx * s + dy * c

    def plane(self, u: ArrayLike, v: ArrayLike) -> Array:
        """(u, v) to plane mm, (..., 2)."""
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        u, v = np.asarray(u), np.asarray(v)
        return np.stack([self.centre_xy[0] + u * c + v * s, self.centre_xy[1] - u * s + v * c], axis=-1)

    def top(self, u: ArrayLike) -> Array:
        """Height of the upper endplate above the centre at u."""
        return self._endplate(u, self.slope_top, self.concave_top)

    def bottom(self, u: ArrayLike) -> Array:
        """Depth of the lower endplate below the centre at u."""
        return self._endplate(u, self.slope_bottom, self.concave_bottom)

    def _endplate(self, u: ArrayLike, slope: float, concave: float) -> Array:
        t = np.clip(np.asarray(u) / self.half_depth, -1.1, 1.1)
        return self.half_height + slope * self.half_depth * t - concave * np.maximum(1 - t * t * t * t, 0)

    def wall(self, v: ArrayLike) -> Array:
        """Distance of the front and back walls from the axis at v: waisted, and tapered in the sacrum."""
        t = np.clip(np.asarray(v) / self.half_height, -1.1, 1.1)
        return self.half_depth - self.waist * np.maximum(1 - t**2, 0) - self.taper * t

    def corner_xy(self, end: str, side: str) -> tuple[float, float]:
        """Where endplate (sup, inf) and wall (ant, post) meet in the middle plane, spurs and roundings left out."""
        sign, v = (-1.0 if side == "ant" else 1.0), 0.0
        for _ in range(20):  # wall and endplate each depend a little on the other
            u = sign * float(self.wall(v))
            v = -float(self.top(u)) if end == "sup" else float(self.bottom(u))
        x, y = self.plane(u, v).tolist()
        return x, y

    @property
    def middle_xy(self) -> tuple[float, float]:
        """The truth of a body: half-way between its endplates at mid-depth, on the mid-sagittal slice."""
        x, y = self.plane(0.0, (self.bottom(0.0) - self.top(0.0)) / 2).tolist()
        return x, y


@dataclass(frozen=True)
class Disc:
    """The space between two bodies. `degeneration` 0 (bright, tall) to 1 (dark); bulges in mm beyond the walls."""

    name: str
    above: Vertebra
    below: Vertebra
    degeneration: float
    bulge_front: float
    bulge_back: float
    cleft: float

    @property
    def tilt(self) -> float:
        return (self.above.tilt + self.below.tilt) / 2

    @property
    def half_depth(self) -> float:
        return float(self.above.wall(self.above.half_height) + self.below.wall(-self.below.half_height)) / 2

    def local(self, x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
        """Plane mm to (u, v) about the middle between the rims, u along the disc."""
        upper = self.above.plane(0.0, self.above.half_height)
        x_middle, y_middle = (upper + self.below.plane(0.0, -self.below.half_height)) / 2
        dx, dy = np.asarray(x) - x_middle, np.asarray(y) - y_middle
        c, s = np.cos(self.tilt), np.sin(self.tilt)
        return dx * c - dy * s, dx * s + dy * c

    @property
    def lateral(self) -> float:
        return (self.above.lateral + self.below.lateral) / 2

    @property
    def middle_xy(self) -> tuple[float, float]:
        """The truth of a disc: half-way between the middles of its two endplates, on the mid-sagittal slice.

        Readers mark this point. The centroid of a wedged disc lies a few mm nearer to its tall front.
        """
        upper, lower = self.above.plane(0.0, self.above.bottom(0.0)), self.below.plane(0.0, -self.below.top(0.0))
        x, y = ((upper + lower) / 2).tolist()
        return x, y


@dataclass(frozen=True)
class Spine:
    """Vertebrae from the head down and the discs between them; the cord ends at `conus`, an index of a vertebra."""

    vertebrae: tuple[Vertebra, ...]
    discs: tuple[Disc, ...]
    conus: float

    def index(self, name: str) -> int:
        return [vertebra.name for vertebra in self.vertebrae].index(name)

    def truth(self) -> dict[str, tuple[float, float, float]]:
        """{name: (x, y, lateral)} mm of every lumbar body and disc from T12-L1 down to the sacrum."""
        bodies = {v.name: (*v.middle_xy, v.lateral) for v in self.vertebrae if v.name.startswith("L")}
        spaces = {d.name: (*d.middle_xy, d.lateral) for d in self.discs if "L" in d.name}
        return bodies | spaces

    def corners(self) -> dict[str, tuple[float, float, float]]:
        """{name: (x, y, lateral)} mm of the corners of every lumbar body, and of S1's upper endplate."""
        return {
            f"{v.name}.{end}.{side}": (*v.corner_xy(end, side), v.lateral)
            for v in self.vertebrae
            for end in (("sup", "inf") if v.name.startswith("L") else ("sup",) if v.name == "S1" else ())
            for side in ("ant", "post")
        }


def random_spine(rng: np.random.Generator, lumbar_bodies: int = 5, transition: float = 0.0) -> Spine:
    """A spine with the middle lumbar vertebra at (0, 0). Sizes and curves vary as adults do.

    transition: 0 to 1 makes the last lumbar body more and more sacral (tilted, wide, on a thin but whole disc); 0 to
    -1 leaves more and more of a disc between S1 and S2. Names stay: the lowest disc as deep as its bodies is L5-S1.
    Raises LandmarkError unless there are 4, 5 or 6 lumbar bodies and transition is in -1..1.
    """
    if not -1 <= transition <= 1:
        raise LandmarkError(f"Expected a transition in -1..1; got {transition}")
    if lumbar_bodies not in (4, 5, 6):
        raise LandmarkError(f"Expected 4, 5 or 6 lumbar bodies; got {lumbar_bodies}")
    table = THORACIC | _lumbar_table(lumbar_bodies) | SACRAL
    loose = [_random_vertebra(rng, name, row) for name, row in table.items()]
    loose = _with_transition(_vary_together(rng, loose), len(THORACIC) + lumbar_bodies - 1, transition)
    vertebrae = _assemble(rng, loose, anchor=len(THORACIC) + lumbar_bodies // 2)
    discs = tuple(_random_disc(rng, a, b) for a, b in pairwise(vertebrae))
    conus = len(THORACIC) + float(np.clip(rng.normal(0.0, 0.6), -1.2, 1.3))
    return Spine(vertebrae, discs, conus)


def _lumbar_table(count: int) -> dict[str, tuple[float, ...]]:
    """Five rows stretched over `count` bodies, so that four or six of them still run from T12 to the sacrum."""
    rows, at = np.array(list(LUMBAR.values())), np.linspace(0, len(LUMBAR) - 1, count)
    columns = [np.interp(at, range(len(LUMBAR)), column) for column in rows.T]
    return {f"L{n + 1}": tuple(float(column[n]) for column in columns) for n in range(count)}


def _random_vertebra(rng: np.random.Generator, name: str, row: tuple[float, ...]) -> Vertebra:
    height, depth, width, tilt, gap, canal = row
    sacral = name[0] in "SC"
    crushed = not sacral and rng.random() < 0.03
    wedge = rng.normal(0.012, 0.02) + (rng.uniform(0.1, 0.25) if crushed else 0.0)
    # Lower bodies are taller in front, and take that share of the lordosis from their discs.
    wedge -= {"L3": 0.03, "L4": 0.08, "L5": 0.18, "S1": 0.14}.get(name, 0.0)
    dent = 0.2 if sacral and name != "S1" else 1.0
    return Vertebra(
        name=name,
        centre_xy=(0.0, 0.0),
        tilt=float(np.radians(tilt + rng.normal(0, 1.2))),
        half_height=height / 2 * rng.normal(1, 0.025) * (rng.uniform(0.75, 0.95) if crushed else 1.0),
        half_depth=depth / 2 * rng.normal(1, 0.015),
        half_width=width,
        gap_below=gap * float(np.clip(rng.normal(1, 0.12), 0.6, 1.4)),
        canal=canal,
        slope_top=wedge * rng.uniform(0.4, 0.8),
        slope_bottom=0.0 if sacral else wedge * rng.uniform(0.3, 0.7),
        concave_top=dent * rng.uniform(0.5, 2.0) + (rng.uniform(0, 4) if crushed else 0),
        concave_bottom=dent * rng.uniform(0.8, 2.6),
        waist=0.3 if sacral else rng.uniform(0.8, 2.4),
        taper=depth * 0.12 if sacral else 0.0,
        osteophyte=max(0.0, rng.normal(0, 2.0)) if not sacral else 0.0,
    )


def _vary_together(rng: np.random.Generator, loose: list[Vertebra]) -> list[Vertebra]:
    """What a whole person has in common: size, lordosis, posture, sideways bend, how narrow the canal is."""
    size, depth = rng.normal(1.04, 0.055), rng.normal(1.0, 0.06)
    lordosis, posture = np.clip(rng.normal(1.0, 0.28), 0.4, 1.5), np.radians(rng.normal(0, 6.5))
    canal, gap = rng.normal(1.0, 0.1), np.clip(rng.normal(1.0, 0.1), 0.75, 1.25)
    middle = float(np.radians(-5.0))
    bend_mm, phase = abs(rng.normal(0, 2.0)), rng.uniform(0, 2 * np.pi)
    return [
        replace(
            v,
            tilt=float(middle + (v.tilt - middle) * lordosis + posture),
            half_height=float(v.half_height * size),
            half_depth=float(v.half_depth * size * depth),
            taper=float(v.taper * size * depth),
            half_width=float(v.half_width * size * depth),
            gap_below=float(v.gap_below * size * gap),
            canal=float(v.canal * canal),
            lateral=float(bend_mm * (np.sin(phase + n * 0.55) - np.sin(phase + 8 * 0.55))),
        )
        for n, v in enumerate(loose)
    ]


def _with_transition(loose: list[Vertebra], last: int, amount: float) -> list[Vertebra]:
    """The vertebrae with the last lumbar one (index `last`) and S1 below it changed as `random_spine` says."""
    lumbar, sacral = loose[last], loose[last + 1]
    to_sacrum, residual = max(amount, 0.0), max(-amount, 0.0)
    loose = list(loose)
    loose[last] = replace(
        lumbar,
        tilt=lumbar.tilt + 0.7 * to_sacrum * (sacral.tilt - lumbar.tilt),
        half_depth=lumbar.half_depth * (1 - 0.12 * to_sacrum),
        half_width=lumbar.half_width * (1 + 0.5 * to_sacrum),
        gap_below=lumbar.gap_below * (1 - 0.55 * to_sacrum),
        slope_top=lumbar.slope_top * (1 - 0.8 * to_sacrum),
        slope_bottom=lumbar.slope_bottom * (1 - 0.8 * to_sacrum),
    )
    loose[last + 1] = replace(sacral, gap_below=sacral.gap_below * (1 + 1.2 * residual))
    return loose


def _assemble(rng: np.random.Generator, loose: list[Vertebra], anchor: int) -> tuple[Vertebra, ...]:
    """Stack the bodies, each disc at the mean tilt of its neighbours with a little slip across it."""
    centres = [np.zeros(2)]
    for above, below in pairwise(loose):
        tilt = (above.tilt + below.tilt) / 2
        slip = 0.0 if below.is_sacral and above.is_sacral else rng.normal(0, 0.5)
        if below.name == "S1" and rng.random() < 0.05:
            slip += rng.uniform(3, 7)
        ends = above.half_height * _axis(above.tilt) + below.half_height * _axis(below.tilt)
        # Bodies must not meet at the back of a steeply wedged disc.
        wedge = below.tilt - above.tilt + above.slope_bottom + below.slope_top
        gap = max(above.gap_below, above.half_depth * abs(wedge) + 2.2)
        across = slip * np.array([np.cos(tilt), -np.sin(tilt)])
        centres.append(centres[-1] + ends + gap * _axis(tilt) + across)
    origin = centres[anchor]
    moved = [(float((c - origin)[0]), float((c - origin)[1])) for c in centres]
    return tuple(replace(v, centre_xy=c) for v, c in zip(loose, moved, strict=True))


def _axis(tilt: float) -> Array:
    return np.array([np.sin(tilt), np.cos(tilt)])


def _random_disc(rng: np.random.Generator, above: Vertebra, below: Vertebra) -> Disc:
    low = above.name in ("L4", "L5", "L6") and not above.is_sacral
    degeneration = float(np.clip(rng.beta(1.2, 1.0) + (0.15 if low else -0.1), 0, 1))
    if above.is_sacral:
        return Disc(f"{above.name}-{below.name}", above, below, 0.9, 0.0, 0.0, 0.0)
    front, back = rng.uniform(0.2, 1.5), 0.4 + degeneration * max(0.0, rng.normal(1.5, 1.5))
    return Disc(f"{above.name}-{below.name}", above, below, degeneration, front, back, cleft=rng.uniform(0, 0.6))
