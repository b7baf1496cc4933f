"""The corners of bodies on the levels of the centres of bodies and discs: numpy only, any frame of the slice.

    own(corner)   no centre of another disc lies much nearer to it than that of the disc which its endplate bounds
                  (nearest bodies fail in most at the back of S1)
    encloses      the four corners of a body, in turn, have its centre on one side of each of their four edges; so have
                  the four corners that face each other across a disc the disc's centre

A second model that finds corners must call L3 what the first one calls L3, whatever level it sees there itself: the
candidates of the bodies beside it are candidates too, all are kept to their own disc before the chain is solved, and
what it then says is held against the centres.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.landmarks import name_at_level

Array = NDArray[np.float64]
Centres = Mapping[str, Array]

BODIES = ("L1", "L2", "L3", "L4", "L5")
SACRUM = "S1"
#: The endplates between which lordosis is measured, and by which share of their length they are drawn beyond each end.
COBB_ARMS, ARM = ("L1.sup", "S1.sup"), 0.8
_EDGES = {body: (f"{body}.sup", f"{body}.inf") for body in BODIES} | {
    f"{above}-{below}": (f"{above}.inf", f"{below}.sup") for above, below in pairwise((*BODIES, SACRUM))
}
#: The four corners, in turn, of each body, and those that face each other across each disc.
AROUND = {
    name: (f"{upper}.ant", f"{upper}.post", f"{lower}.post", f"{lower}.ant") for name, (upper, lower) in _EDGES.items()
}


#: A corner may be this much farther from its own disc's centre than from another's: where the spine bends, the back of
#: an endplate comes near the next disc. What lies a level off is twice as far.
NEARER = 1.5


def own(names: Sequence[str], xy: Array, centres: Centres) -> NDArray[np.bool_]:
    """(L, K): which candidates (L, K, 2) of corners lie at the disc that their endplate bounds; none where its centre
    is not known.
    """
    discs = [
        disc for disc in (f"{above}-{below}" for above, below in pairwise(("T12", *BODIES, SACRUM))) if disc in centres
    ]
    if not discs:
        return np.zeros(xy.shape[:2], dtype=np.bool_)
    apart = np.linalg.norm(xy[:, :, None] - np.array([centres[disc] for disc in discs]), axis=-1)
    apart = np.nan_to_num(apart, nan=np.inf)
    steps = [float(np.linalg.norm(centres[two] - centres[one])) for one, two in pairwise(discs)]
    apart_own = np.where(np.array([disc_of(name) for name in names])[:, None, None] == discs, apart, np.inf).min(-1)
    is_near = apart_own < max(steps, default=np.inf)  # beyond the last disc there is no other to be nearer to
    return np.asarray(is_near & (apart_own < NEARER * apart.min(-1)))


def disc_of(corner: str) -> str:
    """The disc that the endplate of a corner bounds.

    >>> disc_of("L1.sup.ant"), disc_of("L5.inf.post"), disc_of("S1.sup.ant")
    ('T12-L1', 'L5-S1', 'L5-S1')
    """
    body, end, _ = corner.split(".")
    return f"{name_at_level(body, -1)}-{body}" if end == "sup" else f"{body}-{name_at_level(body, 1)}"


def disagreeing(corners: Mapping[str, Array], centres: Centres) -> list[str]:
    """Bodies and discs whose corners are all known and do not enclose their centre, from the head down."""
    known = [name for name, four in AROUND.items() if name in centres and all(one in corners for one in four)]
    return [name for name in known if not encloses(np.array([corners[one] for one in AROUND[name]]), centres[name])]


def encloses(corners: Array, point: Array) -> bool:
    """Whether corners (4, 2), in turn round a quadrilateral, have a point (2,) on one side of all its edges.

    >>> encloses(np.array([[0, 0], [4, 0], [4, 3], [0, 3.0]]), np.array([1.0, 2.0]))
    True
    """
    edge, to_point = np.roll(corners, -1, 0) - corners, point - corners
    turn = edge[:, 0] * to_point[:, 1] - edge[:, 1] * to_point[:, 0]
    return bool((turn > 0).all() or (turn < 0).all())


def touching(corner: str) -> set[str]:
    """The body and the disc that a corner is of.

    >>> sorted(touching("L5.inf.ant")), sorted(touching("S1.sup.post"))
    (['L5', 'L5-S1'], ['L5-S1', 'S1'])
    """
    return {corner.partition(".")[0], disc_of(corner)}


def plates(corners: Mapping[str, Array], arms: Sequence[str] = ()) -> dict[str, tuple[Array, Array]]:
    """The line of each endplate whose two corners are known, front end first. arms: drawn longer by `ARM` at each end,
    as the arms of Cobb's angle are.

    >>> plates({"L1.sup.ant": np.array([10.0, 0.0]), "L1.sup.post": np.array([0.0, 0.0])}, ["L1.sup"])
    {'L1.sup': (array([18.,  0.]), array([-8.,  0.]))}
    """
    drawn = {}
    for name in corners:
        plate, _, side = name.rpartition(".")
        if side == "ant" and f"{plate}.post" in corners:
            front, back = corners[name], corners[f"{plate}.post"]
            more = (front - back) * (ARM if plate in arms else 0.0)
            drawn[plate] = (front + more, back - more)
    return drawn
