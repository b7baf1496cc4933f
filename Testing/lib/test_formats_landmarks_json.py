"""The data-set layout: landmarks.json beside its images."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from SpineLandmarksLib.errors import DatasetError, FormatError
from SpineLandmarksLib.formats.landmarks_json import Annotation, read_landmarks_json, write_landmarks_json
from SpineLandmarksLib.landmarks import LUMBAR11

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", ROOT / ".." / "shared" / "data"))
WIDTH, HEIGHT = 30, 40


@pytest.fixture
def a_dataset(tmp_path: Path) -> Path:
    """Two images of 30 x 40 without landmarks.json, and one image outside the folder."""
    folder = tmp_path / "set"
    (folder / "images").mkdir(parents=True)
    for name in ("a.png", "b.png"):
        Image.new("L", (WIDTH, HEIGHT)).save(folder / "images" / name)
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "outside.png")
    return folder


def row(**changed: Any) -> dict[str, Any]:
    return {"study": 7, "image": "images/a.png", "landmarks_px": {"L5": [3, 4.5], "L1": [1, 2], "L2": None}} | changed


def read(folder: Path, *rows: Any) -> list[Annotation]:
    (folder / "landmarks.json").write_text(json.dumps(rows))
    return read_landmarks_json(folder)


def test_known_points_are_read_in_the_order_of_the_schema_and_the_others_are_masked(a_dataset: Path) -> None:
    (annotation,) = read(a_dataset, row())
    assert annotation == Annotation(
        image=(a_dataset / "images" / "a.png").resolve(),
        group="7",
        points_xy={"L1": (1.0, 2.0), "L5": (3.0, 4.5)},
        size_wh=(WIDTH, HEIGHT),
    )
    assert list(annotation.points_xy) == ["L1", "L5"]


@pytest.mark.parametrize(
    ("fields", "spacing", "is_estimated"),
    [
        ({}, None, False),
        ({"spacing_mm": None}, None, False),
        ({"spacing_mm": [0.5, 0.75]}, (0.5, 0.75), False),
        ({"spacing_mm_estimated": 0.7}, (0.7, 0.7), True),
        ({"spacing_mm_estimated": 0.7, "spacing_mm": 0.5}, (0.5, 0.5), False),
    ],
)
def test_spacing_is_known_estimated_or_unknown(
    a_dataset: Path, fields: dict[str, Any], spacing: tuple[float, float] | None, is_estimated: bool
) -> None:
    (annotation,) = read(a_dataset, row(**fields))
    assert (annotation.spacing_mm, annotation.spacing_is_estimated) == (spacing, is_estimated)


def test_any_schema_can_be_read(a_dataset: Path) -> None:
    (a_dataset / "landmarks.json").write_text(json.dumps([row(landmarks_px={"S1": [1, 1]})]))
    (annotation,) = read_landmarks_json(a_dataset / "landmarks.json", ["L5-S1", "S1"])
    assert annotation.points_xy == {"S1": (1.0, 1.0)}


@pytest.mark.parametrize("xy", [[-0.5, -0.5], [WIDTH - 0.5, HEIGHT - 0.5]])
def test_a_point_on_the_border_of_the_image_is_in_it(a_dataset: Path, xy: list[float]) -> None:
    assert read(a_dataset, row(landmarks_px={"L1": xy}))[0].points_xy == {"L1": tuple(xy)}


DEFECTS = [
    (row(landmarks_px={"L6": [1, 2]}), r"\[0\], landmarks_px: Expected names of T12-L1, .*; got 'L6'"),
    (row(landmarks_px={"L1": [30, 2]}), r"expected L1 inside the image of 30 x 40; got \(30.0, 2.0\)"),
    (row(landmarks_px={"L1": [1, -1]}), r"expected L1 inside the image"),
    (row(landmarks_px={"L1": [1]}), r"expected 2 finite numbers in 'L1'; got \[1\]"),
    (row(landmarks_px={"L1": ["1", "2"]}), r"expected 2 finite numbers"),
    (row(landmarks_px=[1]), r"landmarks_px: expected an object"),
    ({"study": 7, "image": "images/a.png"}, r"landmarks_px: expected an object with named fields; got null"),
    (row(image="a" * 4000), r"expected the name of an image"),
    (row(image="a\0.png"), r"expected the name of an image"),
    (row(image="../outside.png"), r"expected an image inside .*; got '../outside.png'"),
    (row(image="images\\a.png"), r"with forward slashes"),
    (row(image="/etc/passwd"), r"expected an image inside"),
    (row(image=5), r"expected a text in 'image'; got 5"),
    (row(size=[HEIGHT, WIDTH]), r"expected the size of a.png, \(30, 40\); got \[40.0, 30.0\]"),
    (row(spacing_mm=0), r"expected a positive spacing in 'spacing_mm'; got 0"),
    (row(spacing_mm=[0.5]), r"expected 2 finite numbers in 'spacing_mm'"),
    (row(study=None), r"'patient' or 'study'"),
    ("row", r"\[0\]: expected an object"),
]


@pytest.mark.parametrize(("content", "message"), DEFECTS)
def test_a_row_that_breaks_a_rule_is_refused_with_its_place(a_dataset: Path, content: Any, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(a_dataset, content)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"study": 1, "image": "images/a.png", "landmarks_px": {"L1": [1, 2], "L1": [3, 4]}}]', "'L1' twice"),
        ('[{"study": 1, "image": "images/a.png", "landmarks_px": {"L1": [1, NaN]}}]', "got NaN"),
        ('{"study": 1}', "expected a list of objects"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(a_dataset: Path, text: str, message: str) -> None:
    (a_dataset / "landmarks.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_landmarks_json(a_dataset)


def test_an_image_that_is_missing_or_no_image_is_a_defect_of_the_dataset(a_dataset: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected the image 'images/c.png' in .*; there is none"):
        read(a_dataset, row(image="images/c.png"))
    (a_dataset / "images" / "c.png").write_text("no image")
    with pytest.raises(DatasetError, match=r"Expected an image in .*c.png"):
        read(a_dataset, row(image="images/c.png"))


def test_a_folder_without_landmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"Could not read .*landmarks.json: No such file"):
        read_landmarks_json(tmp_path)


def test_what_is_written_is_read_back(a_dataset: Path) -> None:
    annotations = [
        Annotation((a_dataset / "images/a.png").resolve(), "7", {"L1": (1.25, 2.0)}, (0.5, 0.75), False, (30, 40)),
        Annotation((a_dataset / "images/b.png").resolve(), "x y", {}, (0.7, 0.7), True, (30, 40)),
    ]
    assert write_landmarks_json(annotations, a_dataset) == a_dataset.resolve() / "landmarks.json"
    assert read_landmarks_json(a_dataset) == annotations


def test_an_image_outside_the_folder_is_not_written(a_dataset: Path) -> None:
    with pytest.raises(FormatError, match="Expected images inside"):
        write_landmarks_json([Annotation(a_dataset.parent / "outside.png", "1")], a_dataset)
    assert not (a_dataset / "landmarks.json").exists()


@pytest.mark.parametrize(("name", "count"), [("tianchi150", 150), ("spider", 144)])
def test_the_real_data_sets_are_read_whole(name: str, count: int) -> None:
    if not (DATA / name).is_dir():
        pytest.skip(f"needs the real data in {DATA / name}")
    annotations = read_landmarks_json(DATA / name)
    assert len(annotations) == count
    assert all(tuple(annotation.points_xy) == LUMBAR11 for annotation in annotations)
    assert len({annotation.group for annotation in annotations}) == (150 if name == "tianchi150" else 30)
