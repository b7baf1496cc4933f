"""Landmarks that come as a file through the browser: taken onto the open study, or refused in one line."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import MisreadError
from SpineLandmarksLib.annotation.session import Session
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.csv_table import as_csv
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.web.labels import MAX_TEXT, read_labels

POINTS = {name: (0.0, 20.0 + row, 90.0 - 17 * row) for row, name in enumerate(LUMBAR11)}


@pytest.fixture
def session() -> Session:
    """On a slice of 200 x 240 pixels of 1 mm round the origin, sagittal, feet down; a model has found all."""
    ras_from_ijk = np.array([[0, 0, 4.0, 0], [-1.0, 0, 0, 100], [0, -1.0, 0, 120], [0, 0, 0, 1]])
    marks = tuple(Landmark(name, "predicted", point) for name, point in POINTS.items())
    return Session("case", LandmarkSet(marks, bundle="model@1"), "Ann", ImageFrame(ras_from_ijk, (200, 240, 1)))


def said(**moved: float) -> str:
    """A table; moved: mm by which a landmark lies more to the front."""
    marks = [Landmark(name, "corrected", (r, a + moved.get(name, 0.0), s)) for name, (r, a, s) in POINTS.items()]
    return as_csv(LandmarkSet(tuple(marks)))


def test_a_table_is_taken_onto_the_open_study(session: Session) -> None:
    session.import_points(read_labels("Müller^Hans.CSV", said(L3=5.0), session))
    assert session["L3"].position_ras_mm == pytest.approx((0.0, POINTS["L3"][1] + 5, POINTS["L3"][2]))
    assert session["L3"].status == "corrected"
    session.undo()
    assert session["L3"].status == "predicted"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("labels.txt", said()),
        ("report.dcm", "DICM"),
        ("labels.csv", "nothing of a table"),
        ("labels.csv", ""),
        ("labels.json", "{"),
        ("labels.mrk.json", "[]"),
        ("labels.csv", "x" * (MAX_TEXT + 1)),
    ],
)
def test_what_is_no_landmark_file_is_refused_in_one_line(session: Session, name: str, text: str) -> None:
    with pytest.raises(FormatError) as caught:
        read_labels(name, text, session)
    assert "\n" not in str(caught.value)
    assert "/tmp" not in str(caught.value)
    assert not session.events


def test_positions_of_the_other_frame_are_told_with_the_reading_that_fits(session: Session) -> None:
    mirrored = LandmarkSet(tuple(Landmark(name, "corrected", (-r, -a, s)) for name, (r, a, s) in POINTS.items()))
    with pytest.raises(MisreadError) as caught:
        read_labels("labels.csv", as_csv(mirrored), session)
    assert caught.value.reading is not None
    taken = read_labels("labels.csv", as_csv(mirrored), session, caught.value.reading)
    assert taken["L3"].position_ras_mm == pytest.approx(POINTS["L3"])


def test_tables_of_several_studies_can_be_put_together() -> None:
    text = as_csv(LandmarkSet((Landmark("L3"),)), study="case-1", annotator="Ann", comment="=1+1\nsecond line")
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["study"], row["annotator"], row["comment"]) == ("case-1", "Ann", "'=1+1 second line")
