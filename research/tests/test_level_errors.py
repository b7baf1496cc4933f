"""The order of review that puts most level errors right a minute: what a study costs, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from research.simulation.level_errors import Pool, main, put_right, rows_of, seconds_of
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.evaluation.predictions import Predictions
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.files import write_phantom_dataset

PITCH = 17.0


@pytest.fixture
def right() -> Predictions:
    """Four chains of points 17 mm apart, all in their places."""
    count, points = 4, np.stack([np.full(11, 100.0), 40 + PITCH * np.arange(11)], axis=1)
    all_points, yes = np.stack([points] * count), np.ones((count, 11), dtype=np.bool_)
    return Predictions(
        truth_px=all_points,
        predicted_px=all_points,
        valid=yes,
        found=yes,
        spacing_mm=np.ones((count, 2)),
        confidence=np.full((count, 11), 0.9),
        radius95_mm=np.ones((count, 11)),
        groups=np.array(list("abcd")),
        names=LUMBAR11,
        image_names=tuple("abcd"),
    )


def test_a_study_costs_what_a_person_does_about_it(right: Predictions) -> None:
    told = right.predicted_px.copy()
    told[1, 5] += (0, 12)  # one slip
    told[2, :, 1] += 2 * PITCH  # a level too low: the last two names stand where nothing is known of the truth
    shifted = replace(right, predicted_px=told)
    assert seconds_of(right).tolist() == [10.0] * 4
    assert seconds_of(shifted).tolist() == [10.0, 16.0, 10 + 3 + 2 * 6.0, 10.0]


def test_the_share_of_the_study_that_is_being_done_counts() -> None:
    order, seconds, errors = np.array([2, 0, 1]), np.array([10.0, 10.0, 20.0]), np.array([1.0, 0.0, 4.0])
    assert put_right(order, seconds, errors, np.array([0.0, 10.0, 20.0, 25.0, 40.0])).tolist() == [0, 2, 4, 4.5, 5]


def test_a_doubt_that_knows_the_errors_beats_chance_and_one_that_knows_nothing_does_not() -> None:
    draw = np.random.default_rng(0)
    errors = np.where(draw.random(120) < 0.1, 11.0, 0.0)
    patients, blind = np.array([f"p{n}" for n in range(120)]), draw.random(120)
    for doubt, is_shown in ((errors, True), (blind, False)):
        pool = Pool("made", patients, doubt, np.full(120, 10.0), errors, draw.permutation(120))
        row = next(row for row in rows_of(pool) if row[1:3] == ["5 (25 %)", "doubt"])
        low = float(row[-1].partition("(")[2].partition(" ")[0])
        assert (low > 0) == is_shown


def test_the_command_reads_what_is_not_locked_and_writes_a_table(a_small_bundle: Bundle, tmp_path: Path) -> None:
    data = write_phantom_dataset(tmp_path / "spines", 4, 3)
    output, document = tmp_path / "out", tmp_path / "loop.md"
    command = [str(data), "--bundle", str(a_small_bundle.folder), "--output", str(output), "--document", str(document)]
    assert main(command) == 0
    assert (output / "spines.csv").read_text().count("\n") == 5
    assert "`spines` (4 studies" in document.read_text()
