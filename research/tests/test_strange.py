"""The table of strange pictures: what counts as right, as warned of and as silent, and that each is what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from research.experiments import strange as module
from research.experiments.__main__ import main
from research.experiments.strange import figures, made_up, of_nothing, of_slices, phantom
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.training.unusable import PerturbedSlice

NAMES = ("T12-L1", "L1", "L1-L2", "L2")


@pytest.fixture
def a_slice() -> PerturbedSlice:
    """Pixels of 2 mm; the last of four landmarks lies below the picture."""
    points = np.array([[50.0, 20.0], [50.0, 40.0], [50.0, 60.0], [50.0, 120.0]])
    return PerturbedSlice(np.arange(10000, dtype=np.float32).reshape(100, 100), points, (2.0, 2.0), (2.0, 2.0))


def found(*xy: tuple[float, float] | None, warnings: tuple[str, ...] = (), review: bool = False) -> LandmarkSet:
    marks = [
        Landmark(n, "out_of_view") if p is None else Landmark(n, pixel_xy=p) for n, p in zip(NAMES, xy, strict=True)
    ]
    return LandmarkSet(tuple(marks), warnings=warnings, needs_review=review)


def test_right_is_near_in_the_picture_and_absent_beyond_it(a_slice: PerturbedSlice) -> None:
    right = ((51, 23), (50, 40), (50, 60), None)  # 2 (1, 3) pixels: 6.3 mm
    assert figures([a_slice], [found(*right)]) == {
        "n": 1,
        "right": 1.0,
        "warned": 0.0,
        "silent": 0.0,
        "invented": 0.0,
        "dropped": 0.0,
    }
    both = figures([a_slice, a_slice], [found(*right[:3], (50, 90)), found(None, None, *right[2:])])
    assert (both["invented"], both["dropped"]) == (1 / 2, 2 / 6)
    for wrong in (((50, 25), *right[1:]), (*right[:3], (50, 90)), (None, *right[1:])):
        assert figures([a_slice], [found(*wrong)])["silent"] == 1.0
        assert figures([a_slice], [found(*wrong, review=True)])["silent"] == 0.0
        assert figures([a_slice], [found(*wrong, warnings=("levels",))])["warned"] == 1.0


def test_of_a_picture_of_something_else_only_nothing_is_right(a_slice: PerturbedSlice) -> None:
    nothing = of_nothing(a_slice.image, (2.0, 2.0))
    nothing = PerturbedSlice(nothing.image, nothing.points_xy[:4], nothing.spacing_mm, nothing.stated_spacing_mm)
    shares = figures([nothing, nothing], [found(None, None, None, None), found((1, 1), None, None, None)])
    assert shares == {"n": 2, "right": 0.5, "warned": 0.0, "silent": 0.5, "invented": 1 / 8, "dropped": None}


def test_a_landmark_without_a_truth_is_not_judged(a_slice: PerturbedSlice) -> None:
    a_slice.points_xy[0] = np.nan
    shares = figures(
        [a_slice, a_slice], [found((5, 5), (50, 40), (50, 60), None), found(None, (50, 40), (50, 60), None)]
    )
    assert (shares["right"], shares["invented"], shares["dropped"]) == (1.0, 0.0, 0.0)


def test_slices_are_cut_between_the_landmarks_that_the_name_says(a_slice: PerturbedSlice) -> None:
    a_slice = PerturbedSlice(
        a_slice.image, np.stack([np.full(11, 50.0), np.arange(11) * 9.0 + 4], -1), (2.0, 2.0), (2.0, 2.0)
    )
    kinds = of_slices([a_slice])
    inside = {name: cases[0].inside.tolist() for name, cases in kinds.items() if cases}
    assert inside["as it is"] == [True] * 11
    assert inside["T12-L1 to L1-L2 cut off"] == [False] * 3 + [True] * 8
    assert inside["L4 to L5-S1 cut off"] == [True] * 7 + [False] * 4
    assert inside["upside down"] == inside["front for back"] == [True] * 11
    assert kinds["upside down"][0].image[0].tolist() == a_slice.image[-1].tolist()


def test_phantoms_are_named_from_the_sacrum() -> None:
    six, four = phantom(900_000, 6, 0.0), phantom(900_000, 4, 0.0)
    assert np.isfinite(six.points_xy).all()
    assert (np.diff(six.points_xy[:, 1]) > 0).all()
    assert np.isfinite(four.points_xy[2:]).all()


def test_the_command_writes_its_files_and_its_section(
    a_small_bundle: Bundle, a_phantom_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MADE_UP", 1)
    monkeypatch.setattr(module, "made_up", lambda: {"uniform noise": made_up()["uniform noise"]})
    document = tmp_path / "figures.md"
    assert (
        main(
            [
                "strange",
                str(a_phantom_dataset),
                "--bundle",
                str(a_small_bundle.folder),
                "--output",
                str(tmp_path / "out"),
                "--document",
                str(document),
            ]
        )
        == 0
    )
    rows = {row["picture"]: row for row in json.loads((tmp_path / "out" / "strange.json").read_text())["rows"]}
    assert rows["as it is"]["n"] == 4
    assert rows["uniform noise"]["n"] == 1
    assert "| uniform noise | 1 |" in document.read_text()
