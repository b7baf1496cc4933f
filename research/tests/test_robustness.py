"""The robustness table: what counts as right, what as warned, and where it is written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from research.experiments import robustness as module
from research.experiments.__main__ import main
from research.experiments.perturb import PERTURBATIONS
from research.experiments.robustness import as_markdown, figures, robustness, stack_of
from SpineLandmarksLib.annotated_slices import load_annotations
from SpineLandmarksLib.bundle import Bundle
from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.training.unusable import PerturbedSlice, as_annotated

NAMES = ("L1", "L1-L2", "L2", "L2-L3")
FIGURES = ("sdr_4", "sdr_8", "level_shift", "outside", "out_of_view", "warned", "review", "silent")
TWO_WAYS = tuple(p for p in PERTURBATIONS if p.name in ("front for back", "wrong spacing"))


def annotation(name):
    return Annotation(Path(f"{name}.png"), name)


def found(*xy, warnings=(), review=False):
    marks = [
        Landmark(n, "out_of_view") if p is None else Landmark(n, "predicted", None, p)
        for n, p in zip(NAMES, xy, strict=True)
    ]
    return LandmarkSet(tuple(marks), warnings=warnings, needs_review=review)


@pytest.fixture
def a_slice() -> PerturbedSlice:
    """100 x 100 pixels of 1 mm with points in column 50; the last lies 10 mm below the picture."""
    points = np.array([[50.0, 20.0], [50.0, 50.0], [50.0, 80.0], [50.0, 109.5]])
    return PerturbedSlice(np.zeros((100, 100), np.float32), points, (1.0, 1.0), (1.0, 1.0))


def values(*sets, cases):
    rows = figures([annotation(f"image{n}") for n in range(len(sets))], cases, sets)
    return {name: rows[name]["value"] for name in FIGURES}


def test_a_point_outside_the_picture_is_right_when_called_out_of_view(a_slice: PerturbedSlice) -> None:
    right = values(found((50, 20), (50, 50), (50, 80), None), cases=[a_slice])
    assert right == {
        "sdr_4": 1.0,
        "sdr_8": 1.0,
        "level_shift": 0.0,
        "outside": 0.25,
        "out_of_view": 0.25,
        "warned": 0.0,
        "review": 0.0,
        "silent": 0.0,
    }


def test_a_point_outside_the_picture_that_is_put_inside_is_wrong(a_slice: PerturbedSlice) -> None:
    """The last point is put 15 mm from its truth and 14.5 from that of the one above: a level shift."""
    assert values(found((50, 20), (50, 50), (50, 80), (50, 94.5)), cases=[a_slice]) == {
        "sdr_4": 0.75,
        "sdr_8": 0.75,
        "level_shift": 0.25,
        "outside": 0.25,
        "out_of_view": 0.0,
        "warned": 0.0,
        "review": 0.0,
        "silent": 1.0,
    }


def test_a_point_inside_the_picture_that_is_called_out_of_view_is_wrong(a_slice: PerturbedSlice) -> None:
    got = values(found(None, (50, 50), (50, 80), None), cases=[a_slice])
    assert (got["sdr_8"], got["out_of_view"], got["outside"]) == (0.75, 0.5, 0.25)


def test_distances_are_in_true_millimetres_whatever_was_told(a_slice: PerturbedSlice) -> None:
    """Pixels of 2 mm: 3 pixels off are 6 mm, which 8 forgives and 4 does not."""
    coarse = replace(a_slice, spacing_mm=(2.0, 2.0), stated_spacing_mm=(1.0, 1.0))
    got = values(found((53, 20), (50, 50), (50, 80), None), cases=[coarse])
    assert (got["sdr_4"], got["sdr_8"]) == (0.75, 1.0)


def test_an_image_is_silent_when_it_is_wrong_and_not_flagged(a_slice: PerturbedSlice) -> None:
    """Of eight: wrong; wrong with a warning only (two are silent); wrong, warned of and flagged; the rest is right."""
    right, wrong = ((50, 20), (50, 50), (50, 80), None), ((50, 20), (50, 80), (50, 80), None)
    told = ("Out of view: L2-L3",)
    sets = [
        found(*wrong),
        found(*wrong, warnings=told),
        found(*wrong, warnings=told, review=True),
        found(*right, warnings=told),
        *(found(*right) for _ in range(4)),
    ]
    got = values(*sets, cases=[a_slice] * 8)
    assert (got["warned"], got["review"], got["silent"]) == (3 / 8, 1 / 8, 2 / 8)


def test_a_slice_is_told_its_spacing_and_read_without_warnings(a_phantom_dataset: Path) -> None:
    row = load_annotations(
        [a_phantom_dataset], ("T12-L1", "L1", "L1-L2", "L2", "L2-L3", "L3", "L3-L4", "L4", "L4-L5", "L5", "L5-S1")
    )[0]
    case = as_annotated(row, ("L3", "L1"))
    assert case.stated_spacing_mm == case.spacing_mm == row.spacing_mm
    assert case.points_xy.tolist() == [list(row.points_xy["L3"]), list(row.points_xy["L1"])]
    stack = stack_of(case)
    assert (stack.warnings, stack.pixel_spacing_mm) == ((), pytest.approx(row.spacing_mm))
    assert stack_of(replace(case, stated_spacing_mm=None)).pixel_spacing_mm is None


def test_a_slice_that_cannot_be_scaled_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.png has neither"):
        as_annotated(Annotation(tmp_path / "a.png", "a", {"L2": (1.0, 2.0)}), NAMES)


def test_every_condition_has_its_row_after_the_slices_as_they_are(
    a_localizer: Localizer, a_phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PERTURBATIONS", TWO_WAYS)
    rows = load_annotations([a_phantom_dataset], a_localizer.bundle.landmarks)[:2]
    seen = []
    table = robustness(a_localizer, rows, lambda done, total: seen.append((done, total)))
    assert [(row["perturbation"], row["strength"]) for row in table] == [
        ("none", ""),
        ("front for back", ""),
        ("wrong spacing", "off by 10%"),
        ("wrong spacing", "off by 25%"),
        ("wrong spacing", "off by 50%"),
    ]
    assert seen == [(n, 5) for n in range(1, 6)]
    assert table == robustness(a_localizer, rows)


def test_an_untold_spacing_hides_no_point_and_a_flip_fools_one_that_knows_the_answer(
    oracle, a_bundle_in_memory: Bundle, a_phantom_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend repeats one slice's true places; only where the slice is as it was are they the truth."""
    from SpineLandmarksLib.transforms import prepare_slice

    monkeypatch.setattr(module, "PERTURBATIONS", TWO_WAYS[:1])
    row = load_annotations([a_phantom_dataset], a_bundle_in_memory.landmarks)[0]
    case = as_annotated(row, a_bundle_in_memory.landmarks)
    _, pixel_from_slice = prepare_slice(case.image, case.spacing_mm, a_bundle_in_memory.preparation)
    places = np.nan_to_num(case.points_xy)
    answers = oracle(places * np.diag(pixel_from_slice)[:2] + pixel_from_slice[:2, 2])
    as_it_is, flipped = robustness(Localizer(a_bundle_in_memory, answers), [row])
    assert as_it_is["sdr_4"]["value"] == 1.0
    assert flipped["sdr_4"]["value"] < 0.5


def test_the_table_has_a_line_a_condition_and_says_what_it_stands_on() -> None:
    known, unknown = {"value": 0.9667, "low": 0.9, "high": 1.0}, {"value": None, "low": None, "high": None}
    rows = [
        {"perturbation": "blur", "strength": "sigma 1 mm", **{figure: known for figure in FIGURES}},
        {"perturbation": "x", "strength": "", **{figure: unknown for figure in FIGURES}},
    ]
    about = {
        "bundle": "b@1",
        "data": "d",
        "images": 30,
        "split": "all slices",
        "millimetres": "estimated",
        "definitions": {"warned": "somebody is told"},
    }
    text = as_markdown(rows, about)
    assert "| blur | sigma 1 mm | 96.7 | 96.7 | 96.7 | 96.7 | 96.7 | 96.7 | 96.7 | 96.7 |" in text
    assert "| x |  | - | - | - | - | - | - | - | - |" in text
    assert "b@1 on d: 30 images, all slices. Millimetres are estimated." in text
    assert "90.0-100.0" in text
    assert "- warned: somebody is told" in text


def test_the_command_writes_its_files_and_its_section(
    a_small_bundle: Bundle,
    a_phantom_dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(module, "PERTURBATIONS", TWO_WAYS[:1])
    document = tmp_path / "benchmarks.md"
    document.write_text("# Benchmarks\n")
    out = tmp_path / "out"
    arguments = ["robustness", str(a_phantom_dataset), "--bundle", str(a_small_bundle.folder)]
    assert main([*arguments, "--holdout", "2", "--output", str(out), "--document", str(document)]) == 0
    written = json.loads((out / "robustness.json").read_text())
    assert (written["images"], [row["perturbation"] for row in written["rows"]]) == (2, ["none", "front for back"])
    table = (out / "robustness.md").read_text()
    assert "2 held-out patients of 4, split seed 0" in table
    text = document.read_text()
    assert text.startswith("# Benchmarks\n\n<!-- robustness:begin -->\n")
    assert table.strip() in text
    assert f"Written: {out / 'robustness.json'}" in capsys.readouterr().out
