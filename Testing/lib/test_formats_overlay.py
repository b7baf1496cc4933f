"""The picture to check points by: the points lie where they are, and nothing is hidden."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from SpineLandmarksLib.errors import InputError, OutputError
from SpineLandmarksLib.formats import overlay
from SpineLandmarksLib.formats.overlay import draw_overlay
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

LOW = (255, 112, 67)  # the colour of a confidence below 0.5, found nowhere in a grey image


@pytest.fixture
def dark_slice() -> NDArray[np.float64]:
    """50 rows, 100 columns, nearly black."""
    slice_ = np.zeros((50, 100))
    slice_[0, 0] = 1.0
    return slice_


def a_set(*landmarks: Landmark, spacing_mm: tuple[float, float] | None = None, **fields: object) -> LandmarkSet:
    return LandmarkSet(landmarks, input="a/case.nii.gz", spacing_mm=spacing_mm, **fields)  # type: ignore[arg-type]


def drawn(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def ring_centre(picture: NDArray[np.uint8], near_x: float, near_y: float) -> tuple[float, float]:
    """Mean of the coloured pixels within 9 px: the ring and its cross are symmetric about the point."""
    rows, columns = np.nonzero((picture == LOW).all(axis=2))
    close = (abs(columns - near_x) < 10) & (abs(rows - near_y) < 10)
    return float(columns[close].mean()), float(rows[close].mean())


@pytest.mark.parametrize(
    ("spacing_mm", "size", "centre"),
    [
        # 100 columns become 1000 pixels, scale 10: pixel centre 20 lies at 10 * 20 + 4.5.
        (None, (1000, 500), (204.5, 104.5)),
        ((0.8, 0.8), (1000, 500), (204.5, 104.5)),
        # 100 x 0.5 mm by 50 x 2 mm: 50 mm by 100 mm; x 5 pixels per column, y 20 per row.
        ((0.5, 2.0), (500, 1000), (5 * 20 + 2.0, 20 * 10 + 9.5)),
    ],
)
def test_a_point_is_drawn_on_its_pixel_and_millimetres_are_square(
    dark_slice: NDArray[np.float64],
    tmp_path: Path,
    spacing_mm: tuple[float, float] | None,
    size: tuple[int, int],
    centre: tuple[float, float],
) -> None:
    landmark = Landmark("L1", pixel_xy=(20.0, 10.0), confidence=0.1)
    draw_overlay(dark_slice, a_set(landmark, spacing_mm=spacing_mm), tmp_path / "a.png")
    picture = drawn(tmp_path / "a.png")
    assert picture.shape[0] > size[1]  # the strip is below
    offset = (picture.shape[1] - size[0]) / 2  # a narrow picture is centred above its strip
    expected = (centre[0] + offset, centre[1])
    assert ring_centre(picture, *expected) == pytest.approx(expected, abs=0.6)


def test_a_bright_pixel_lies_under_the_point_that_marks_it(dark_slice: NDArray[np.float64]) -> None:
    dark_slice[10, 20] = 1000.0
    scale_xy = overlay._scale(dark_slice.shape, (0.5, 2.0))
    picture = np.asarray(overlay._upscaled(overlay._windowed(dark_slice), scale_xy).convert("L"), dtype=float)
    (mark,) = overlay._marks(a_set(Landmark("L1", pixel_xy=(20.0, 10.0))), scale_xy)
    rows, columns = np.nonzero(picture > 0.5 * picture.max())
    assert (mark.x, mark.y) == pytest.approx((columns.mean(), rows.mean()), abs=0.05)


@pytest.mark.parametrize("xy", [(20.0, 25.0), (95.0, 25.0), (50.0, 25.0), (0.0, 0.0), (99.0, 49.0)])
@pytest.mark.parametrize("width", [100, 10])
def test_no_label_covers_a_point_nor_leaves_the_picture(xy: tuple[float, float], width: int) -> None:
    x = min(xy[0], width - 1.0)
    landmarks = a_set(*[Landmark(name, pixel_xy=(x, xy[1]), confidence=0.5) for name in LUMBAR11])
    scale_xy = overlay._scale((50, width), None)
    marks = overlay._marks(landmarks, scale_xy)
    picture = overlay._with_room_for_labels(Image.new("RGB", (round(width * scale_xy[0]), 1000)), marks)
    left, right = overlay._label_columns(marks, overlay._widest_label(marks))
    assert left >= 0 or right + overlay._widest_label(marks) <= picture.width
    assert left + overlay._widest_label(marks) + 50 < marks[0].x < right - 50


def test_a_narrow_slice_is_given_room_for_its_labels(tmp_path: Path) -> None:
    slice_ = np.eye(50, 10)  # 10 columns become 200 pixels, too few on either side of the point
    draw_overlay(slice_, a_set(Landmark("T12-L1", pixel_xy=(5.0, 25.0), confidence=0.1)), tmp_path / "a.png")
    columns = np.nonzero((drawn(tmp_path / "a.png")[:1000] == LOW).all(axis=2))[1]
    ring, label = columns < columns.min() + 20, columns > columns.min() + 100
    assert (ring | label).all()  # the point stands alone
    assert min(label.sum(), ring.sum()) > 60
    assert columns.max() < 560 - overlay.MARGIN_PX


def test_labels_of_close_points_do_not_lie_on_each_other() -> None:
    rows = overlay._spread([50.0, 10.0, 12.0, 13.0], 20, 1000)
    assert rows == [70.0, 10.0, 30.0, 50.0]


@pytest.mark.parametrize(("confidence", "colour"), [(1.0, 0), (0.9, 0), (0.89, 1), (0.5, 1), (0.49, 2), (0.0, 2)])
def test_the_colour_says_the_confidence(confidence: float, colour: int) -> None:
    landmark = Landmark("L1", pixel_xy=(1.0, 1.0), confidence=confidence)
    assert overlay._colour(landmark) == overlay.SCALE[colour][1]
    assert overlay._colour(Landmark("L1")) == overlay.UNKNOWN


def test_the_caption_says_what_was_not_drawn_and_what_it_is_for() -> None:
    landmarks = a_set(
        Landmark("L1", "out_of_view"),
        Landmark("L2", "not_visible"),
        Landmark("L3", pixel_xy=(1.0, 1.0), confidence=0.7),
        slice_index=7,
        bundle="lumbar11@1.0",
        warnings=("first", "second"),
    )
    lines = [" ".join(text for text, _ in line) for line in overlay._caption(landmarks, 1000)]
    assert lines == [
        "case.nii.gz, slice 7, lumbar11@1.0",
        "Confidence 0.9 or more 0.5 to 0.9 below 0.5",
        "Not drawn: L1 (out of view), L2 (not visible)",
        "2 warnings: first",
        "RESEARCH USE ONLY",
    ]


def test_a_long_warning_is_wrapped_within_the_picture() -> None:
    from PIL import ImageFont

    font = ImageFont.load_default(size=overlay.FONT_PX)
    lines = overlay._warnings(a_set(warnings=("Wide words MMMM WWWW " * 20,)), 560)
    assert 3 < len(lines) < 20
    assert all(font.getlength(line[0][0]) <= 560 - 2 * overlay.MARGIN_PX for line in lines)


@pytest.mark.parametrize(
    "image",
    [np.zeros((5, 5)), np.full((5, 5), np.nan), np.ones((1, 1)), np.eye(3, 400), np.eye(400, 3) * 1e30, np.eye(4) < 1],
)
def test_odd_slices_are_drawn_all_the_same(image: NDArray[np.float64], tmp_path: Path) -> None:
    draw_overlay(image, a_set(Landmark("L1", pixel_xy=(1.0, 1.0)), spacing_mm=(1.0, 1.0)), tmp_path / "a.png")
    assert max(drawn(tmp_path / "a.png").shape) >= 1000


def test_intensities_are_windowed_between_their_percentiles() -> None:
    ramp = np.arange(10_001.0).reshape(1, -1)  # percentile p is 100 p
    grey = overlay._windowed(ramp)[0]
    assert (grey[50], grey[9950]) == (0, 255)
    assert grey[5000] == 128  # (5000 - 50) / 9900 * 255 = 127.5


def test_no_slice_and_no_folder_are_refused(dark_slice: NDArray[np.float64], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Expected a slice \(H, W\) to draw; got an array of shape \(2, 3, 4\)"):
        draw_overlay(np.zeros((2, 3, 4)), a_set(), tmp_path / "a.png")
    with pytest.raises(OutputError, match="No such file or directory"):
        draw_overlay(dark_slice, a_set(), tmp_path / "none" / "a.png")
    assert list(tmp_path.iterdir()) == []
