"""A data-set folder as tensors: what is read, how it is scaled, what is masked, how often it is drawn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from SpineLandmarksLib.annotated_slices import load_annotations, load_image, points_of, spacing_of
from SpineLandmarksLib.errors import DatasetError, InputError
from SpineLandmarksLib.formats.landmarks_json import Annotation
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import make_phantom
from SpineLandmarksLib.splits import weights_of_shares
from SpineLandmarksLib.training.dataset import cache_preparation, cache_scale, load_cases
from SpineLandmarksLib.transforms import Preparation


def write_dataset(folder: Path, rows: list[dict]) -> Path:
    """A dark picture for each row, with a bright square at its L3: large enough not to be clipped as an outlier."""
    (folder / "images").mkdir(parents=True)
    for number, row in enumerate(rows):
        width, height = row.pop("wh")
        pixels = np.full((height, width), 20, dtype=np.uint8)
        x, y = row["landmarks_px"]["L3"]
        pixels[y - 10 : y + 11, x - 10 : x + 11] = 250
        row["image"] = f"images/{number}.png"
        Image.fromarray(pixels).save(folder / row["image"])
    (folder / "landmarks.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture
def two_sizes(tmp_path: Path) -> Path:
    """Patient b is 200 x 300 pixels of 1 x 0.5 mm and knows L3 and L5; a is 100 x 100 of unknown spacing, L1 to L5."""
    return write_dataset(
        tmp_path / "two",
        [
            {"patient": "b", "wh": (200, 300), "spacing_mm": [1.0, 0.5], "landmarks_px": {"L3": [60, 200], "L5": None}},
            {"patient": "a", "wh": (100, 100), "landmarks_px": {"L1": [50, 10], "L3": [50, 46], "L5": [50, 82]}},
        ],
    )


def test_rows_come_in_the_order_of_patients(two_sizes: Path) -> None:
    assert [row.group for row in load_annotations([two_sizes], LUMBAR11)] == ["a", "b"]
    assert [row.group for row in load_annotations([two_sizes / "landmarks.json"], LUMBAR11)] == ["a", "b"]


def test_a_folder_without_annotations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"Expected a data-set folder with landmarks\.json"):
        load_annotations([tmp_path], LUMBAR11)
    (tmp_path / "landmarks.json").write_text("[]")
    with pytest.raises(DatasetError, match="at least one annotated slice"):
        load_annotations([tmp_path], LUMBAR11)


def test_an_unknown_spacing_comes_from_the_length_of_the_spine(two_sizes: Path) -> None:
    a, b = load_annotations([two_sizes], LUMBAR11)
    assert spacing_of(a) == (2.0, 2.0)  # 72 pixels from L1 to L5 are 144 mm
    assert spacing_of(b) == (1.0, 0.5)


@pytest.mark.parametrize("known", [{}, {"L1": (1.0, 2.0)}, {"L1": (3.0, 4.0), "L5": (3.0, 4.0)}])
def test_without_two_ends_there_is_no_spacing(known: dict) -> None:
    assert spacing_of(Annotation(Path("x.png"), "a", known)) is None


def test_points_that_are_not_annotated_are_masked(two_sizes: Path) -> None:
    a, b = load_annotations([two_sizes], LUMBAR11)
    assert np.isnan(points_of(b, LUMBAR11)).all(1).sum() == 10
    cases = load_cases([a, b], LUMBAR11, Preparation())
    assert cases.valid.sum(1).tolist() == [3, 1]
    assert (torch.isnan(cases.points_px).any(-1) == ~cases.valid).all()


def test_slices_share_a_canvas_and_points_stay_on_their_pixels(two_sizes: Path) -> None:
    preparation = Preparation(spacing_mm=1.4)  # so that the cache has pixels of 1 mm
    cases = load_cases(load_annotations([two_sizes], LUMBAR11), LUMBAR11, preparation)
    # a: 200 x 200 mm; b: 200 x 150 mm.
    assert cases.sizes_wh.tolist() == [[200, 200], [200, 150]]
    assert tuple(cases.images.shape) == (2, 1, 200, 200)
    assert torch.equal(cases.images[1, 0, 150:], cases.images[1].min().expand(50, 200))
    # a's L3: (50 + 1/2) 2 - 1/2 = 100.5, (46 + 1/2) 2 - 1/2 = 92.5; b's: x as it is, (200 + 1/2) / 2 - 1/2 = 99.75.
    row = LUMBAR11.index("L3")
    assert cases.points_px[:, row].tolist() == [[100.5, 92.5], [60.0, 99.75]]
    for image, point in zip(cases.images[:, 0], cases.points_px[:, row], strict=True):
        weight = (image - image.min()).double()
        y, x = torch.meshgrid(*(torch.arange(side) for side in image.shape), indexing="ij")
        dot = [float((weight * axis).sum() / weight.sum()) for axis in (x, y)]
        assert dot == pytest.approx(point.tolist(), abs=0.05)


def test_a_plain_resize_caches_what_the_network_sees(two_sizes: Path) -> None:
    preparation = Preparation(resize="plain", size=(64, 48))
    cases = load_cases(load_annotations([two_sizes], LUMBAR11), LUMBAR11, preparation)
    assert tuple(cases.images.shape) == (2, 1, 48, 64)
    assert cache_scale(preparation) == 1.0


def test_the_cache_is_finer_than_the_networks_input() -> None:
    p = Preparation(spacing_mm=1.4)
    assert cache_preparation(p).spacing_mm == pytest.approx(1.0)
    assert cache_scale(p) == pytest.approx(1 / 1.4)


@pytest.mark.parametrize("mode", ["L", "I;16", "RGB", "P", "LA"])
def test_training_reads_a_picture_as_predict_does(tmp_path: Path, mode: str) -> None:
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 255, (40, 50)).astype(np.uint16 if mode == "I;16" else np.uint8)
    colour = rng.integers(0, 255, (40, 50, 3)).astype(np.uint8)
    picture = Image.fromarray(colour if mode == "RGB" else grey)
    picture = picture.convert(mode) if mode in ("P", "LA") else picture
    picture.save(tmp_path / "x.png")
    image = load_image(tmp_path / "x.png")
    assert image.shape == (40, 50)
    assert np.array_equal(image, read_study(tmp_path / "x.png").voxels[0])
    if mode != "RGB":
        assert np.array_equal(image, grey)


def test_a_damaged_picture_is_refused(two_sizes: Path) -> None:
    path = two_sizes / "images" / "0.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(InputError, match=r"0\.png"):
        load_image(path)


def test_shares_are_shares_of_what_is_drawn() -> None:
    weight = weights_of_shares([300, 100, 50], [None, 0.3, None])
    total = sum(weight)
    assert sum(weight[300:400]) / total == pytest.approx(0.3)
    assert sum(weight[:300]) / total == pytest.approx(0.7 * 300 / 350)
    assert len(weight) == 450
    assert weights_of_shares([2, 2], [None, None]) == [1.0] * 4
    assert weights_of_shares([2, 2], [None, 0.0]) == [1.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("shares", [[0.5, 0.5], [None, 1.0], [None, -0.1], [None, float("nan")], [0.2, 0.3]])
def test_shares_that_cannot_be_are_refused(shares: list) -> None:
    with pytest.raises(DatasetError, match="Expected shares"):
        weights_of_shares([10, 10], shares)
    with pytest.raises(DatasetError, match="Expected shares"):
        weights_of_shares([10, 10, 10], [None, 0.5, -0.2])


def test_a_longer_phantom_data_set_begins_with_the_shorter_one(a_phantom_dataset: Path, tmp_path: Path) -> None:
    from SpineLandmarksLib.phantom.files import write_phantom_dataset

    shorter = write_phantom_dataset(tmp_path / "one", 1, 0)
    (image,) = (shorter / "images").iterdir()
    assert image.read_bytes() == (a_phantom_dataset / "images" / image.name).read_bytes()
    first = json.loads((shorter / "landmarks.json").read_text())[0]
    assert first == json.loads((a_phantom_dataset / "landmarks.json").read_text())[0]


@pytest.mark.parametrize(
    ("bodies", "own"),
    [
        (5, {"L4": "L4", "L4-L5": "L4-L5", "L5": "L5", "L5-S1": "L5-S1"}),
        (6, {"L4": "L5", "L4-L5": "L5-L6", "L5": "L6", "L5-S1": "L6-S1"}),
        (4, {"L4": "L3", "L4-L5": "L3-L4", "L5": "L4", "L5-S1": "L4-S1"}),
    ],
)
def test_upper_names_are_counted_from_t12_and_lower_ones_from_the_sacrum(bodies: int, own: dict[str, str]) -> None:
    from SpineLandmarksLib.phantom.files import from_both_ends

    points = {
        mark.name: mark.pixel_xy for mark in make_phantom(3, slices=1, lumbar_bodies=bodies).landmarks if mark.pixel_xy
    }
    named = from_both_ends(points, bodies)
    upper = {name: name for name in LUMBAR11[: 7 if bodies == 5 else 4]}
    assert named == {name: points[there] for name, there in (upper | own).items()}
