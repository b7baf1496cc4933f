"""What else a column of places could be called: a level off, a body too many, a body too few."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray

from SpineLandmarksLib.chain import ChainPrior
from SpineLandmarksLib.numbering import LOG_NOTHING, extended, number

Array = NDArray[np.float64]
EXTENT = np.array([[-100.0, -100.0], [100.0, 400.0]])


@pytest.fixture
def a_column() -> Array:
    """(11, 2) mm: straight down, 20 mm apart."""
    return np.stack([np.zeros(11), 20.0 * np.arange(11)], -1)


@pytest.fixture
def a_prior(a_column: Array) -> ChainPrior:
    fitted = ChainPrior.fit(a_column + np.random.default_rng(0).normal(0, 1e-3, (20, 11, 2)))
    return dataclasses.replace(fitted, growth=1.0)


def peaks(column: Array, shift_of: Array, mass: float, other: float) -> tuple[Array, Array]:
    """Two peaks a landmark: `mass` at its place and `other` at the place of landmark l + shift_of[l]."""
    elsewhere = column + np.stack([np.zeros(11), 20.0 * shift_of], -1)
    return np.stack([column, elsewhere], 1), np.log(np.full((11, 2), [mass, other]))


def test_the_margin_is_the_evidence_for_these_names_less_that_for_names_one_level_off(
    a_column: Array, a_prior: ChainPrior
) -> None:
    xy, log_mass = peaks(a_column, np.full(11, -2.0), 0.9, 0.1)
    found = number(a_column, xy, log_mass, a_prior, EXTENT)
    assert found.margin == pytest.approx(11 * np.log(0.9 / 0.1))
    assert (found.six, found.four) == (0.0, 0.0)


def test_a_numbering_that_no_peak_speaks_for_is_as_unlikely_as_can_be(a_column: Array, a_prior: ChainPrior) -> None:
    xy, log_mass = peaks(a_column, np.zeros(11), 0.5, 0.5)
    assert number(a_column, xy, log_mass, a_prior, EXTENT).margin == pytest.approx(-11 * LOG_NOTHING)


@pytest.mark.parametrize(("shift", "name"), [(-2.0, "six"), (2.0, "four")])
def test_upper_names_a_level_away_mean_a_body_more_or_less(
    a_column: Array, a_prior: ChainPrior, shift: float, name: str
) -> None:
    """The upper five landmarks prefer the neighbouring level by 0.8 to 0.1; the lower six are sure of theirs."""
    xy, log_mass = peaks(a_column, np.r_[np.full(5, shift), np.zeros(6)], 0.1, 0.8)
    log_mass[5:] = np.log([0.45, 0.45])
    found = number(a_column, xy, log_mass, a_prior, EXTENT)
    assert getattr(found, name) == pytest.approx(5 * np.log(8.0))
    assert {found.six, found.four} == {0.0, getattr(found, name)}


def test_a_whole_chain_off_by_a_level_is_no_anomaly_but_a_margin_below_zero(
    a_column: Array, a_prior: ChainPrior
) -> None:
    xy, log_mass = peaks(a_column, np.full(11, 2.0), 0.1, 0.8)
    found = number(a_column, xy, log_mass, a_prior, EXTENT)
    assert found.margin == pytest.approx(-11 * np.log(8.0))


@pytest.mark.parametrize(("shift", "likeliest"), [(-2.0, +1), (2.0, -1)])
def test_what_is_not_on_these_names_goes_to_the_numbering_that_has_the_evidence(
    a_column: Array, a_prior: ChainPrior, shift: float, likeliest: int
) -> None:
    """Peaks two landmarks nearer to the head (-2) say that all names lie one level higher (+1)."""
    xy, log_mass = peaks(a_column, np.full(11, shift), 0.7, 0.3)
    first, second, third = number(a_column, xy, log_mass, a_prior, EXTENT).alternatives(0.8)
    assert first == (0, 0.8)
    assert second[0] == likeliest
    # 0.3 against the least that counts, each to the same power of 1 of 11 landmarks
    odds = np.exp(np.log(0.3) - LOG_NOTHING)
    assert second[1] == pytest.approx(0.2 * odds / (1 + odds))
    assert third[1] == pytest.approx(0.2 / (1 + odds))
    assert number(a_column, xy, log_mass, a_prior, EXTENT).alternatives(0.1)[0][0] == likeliest


def test_places_are_continued_by_usual_steps_body_to_disc_and_disc_to_body(a_column: Array) -> None:
    step = np.array([[0.0, 10.0 if k % 2 else 30.0] for k in range(10)])  # disc to body 30, body to disc 10
    seen = a_column.copy()
    seen[:3] = np.nan  # the first that is seen is a body, at 60 mm
    y = extended(seen, step)[:, 1]
    assert y[:6].tolist() == [-50, -20, -10, 20, 30, 60]
    assert y[-3:].tolist() == [200, 230, 240]


def test_a_picture_without_a_landmark_has_no_numbering(a_column: Array, a_prior: ChainPrior) -> None:
    xy, log_mass = peaks(a_column, np.zeros(11), 0.5, 0.5)
    found = number(np.full((11, 2), np.nan), xy, log_mass, a_prior, EXTENT)
    assert (found.margin, found.six, found.four) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("below_mm", "mass", "expected_nats"),
    [(30.0, 0.05, np.log(20)), (10.0, 0.05, -LOG_NOTHING), (30.0, 0.0, -LOG_NOTHING)],
)
def test_what_the_lowest_landmark_sees_below_its_place_is_told(
    a_column: Array, a_prior: ChainPrior, below_mm: float, mass: float, expected_nats: float
) -> None:
    """Ten millimetres are inside the same disc; thirty are the next one."""
    xy, log_mass = peaks(a_column, np.full(11, -2.0), 0.95, 0.01)
    xy[-1, 1], log_mass[-1, 1] = a_column[-1] + [0, below_mm], np.log(max(mass, 1e-12))
    assert number(a_column, xy, log_mass, a_prior, EXTENT).caudal_evidence_nats == pytest.approx(expected_nats)


def test_a_lowest_landmark_out_of_view_excludes_nothing(a_column: Array, a_prior: ChainPrior) -> None:
    xy, log_mass = peaks(a_column, np.full(11, -2.0), 0.95, 0.01)
    seen = a_column.copy()
    seen[-1] = np.nan
    assert number(seen, xy, log_mass, a_prior, EXTENT).caudal_evidence_nats == 0.0
