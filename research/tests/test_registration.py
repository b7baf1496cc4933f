"""Outlines beside what they outline are found by the edges of the picture."""

from __future__ import annotations

import numpy as np
import pytest

from research.registration import best_shift

#: A bright body on dark ground, turned a little: upper front, upper back, lower front, lower back, x and y.
BODY = np.array([(30.0, 32.0), (62.0, 28.0), (33.0, 58.0), (65.0, 54.0)])
UPPER_SIDE = np.array([(34.0, 76.0), (68.0, 70.0)])


def picture() -> np.ndarray:
    y, x = np.mgrid[:110, :100].astype(float)

    def left_of(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return (end[0] - start[0]) * (y - start[1]) - (end[1] - start[1]) * (x - start[0]) > 0

    a, b, c, d = BODY
    inside = left_of(a, b) & left_of(b, d) & left_of(d, c) & left_of(c, a)
    noise = np.random.default_rng(0).normal(0, 8, x.shape)
    return 40 + 120 * (inside | left_of(*UPPER_SIDE) & (y < 100)) + noise


@pytest.mark.parametrize("moved", [(0, 0), (6, -4), (-9, 2), (3, 8)])
def test_outlines_are_moved_back_to_the_edges(moved: tuple[int, int]) -> None:
    shift = best_shift(picture(), [BODY + moved, UPPER_SIDE + moved])
    assert shift == pytest.approx((-moved[0], -moved[1]), abs=1)
