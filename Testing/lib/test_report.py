"""The page: whole, self-contained, and safe with any name."""

import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.evaluation import plots
from SpineLandmarksLib.evaluation.metrics import Predictions, summarize
from SpineLandmarksLib.evaluation.report import write_report
from SpineLandmarksLib.landmarks import LUMBAR11


class Page(HTMLParser):
    """What a reader gets: the text, the rows of the last table, and the addresses of pictures."""

    def __init__(self, html):
        super().__init__()
        self.text, self.pictures, self.links, self.tags = [], [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "action", "srcset"):
                (self.pictures if tag == "img" else self.links).append(value)

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def six_spines():
    """Image 4 has the whole chain one level down, image 2 misses two points, image 1 lacks an annotation."""
    rng = np.random.default_rng(0)
    truth = np.zeros((6, 11, 2))
    truth[..., 0], truth[..., 1] = 60.0, 20 + 14.0 * np.arange(11)
    predicted = truth + rng.normal(size=truth.shape)
    predicted[4, :, 1] += 28
    found, valid = np.ones((6, 11), dtype=bool), np.ones((6, 11), dtype=bool)
    found[2, :2] = False
    valid[1, 0] = False
    return Predictions(
        truth_px=truth,
        predicted_px=predicted,
        valid=valid,
        found=found,
        spacing_mm=np.tile([0.9, 1.2], (6, 1)),
        confidence=rng.uniform(0.3, 1.0, (6, 11)),
        radius95_mm=np.full((6, 11), 3.0),
        groups=np.array([f"patient{row}" for row in range(6)]),
        names=LUMBAR11,
        image_names=tuple(f"slice{row}.png" for row in range(6)),
        millimetres="estimated",
    )


@pytest.fixture
def grey_images():
    """Slices of 200 x 120 pixels, and a record of which were asked for."""

    class Images:
        asked: list

        def __init__(self):
            self.asked = []

        def __call__(self, row):
            self.asked.append(row)
            return np.random.default_rng(row).integers(0, 255, (200, 120)).astype(np.uint8)

    return Images()


def write(predictions, images, folder, **options):
    options = {"worst": 1, **options}
    path = write_report(predictions, summarize(predictions, bootstrap=50), images, folder, "A title", **options)
    return path.read_text("utf-8")


def test_the_worst_cases_come_first_each_with_its_picture(six_spines, grey_images, tmp_path):
    html = write(six_spines, grey_images, tmp_path, worst=3)
    assert grey_images.asked[:2] == [4, 2]  # eleven failed points, then two missed ones
    assert len(grey_images.asked) == 3
    captions = re.findall(r"<strong>(\d+)\. (slice\d\.png)</strong>", html)
    assert captions == [(str(k + 1), f"slice{row}.png") for k, row in enumerate(grey_images.asked)]
    assert html.count("data:image/jpeg;base64,") == 3
    assert "missed T12-L1, L1" in html
    assert "whole chain 1 level towards the feet" in html


def test_every_case_stands_in_the_table(six_spines, grey_images, tmp_path):
    html = write(six_spines, grey_images, tmp_path, worst=1)
    table = html[html.index('<table id="cases">') :]
    assert table[: table.index("</table>")].count("<tr>") == 1 + 6
    assert all(f"<td>slice{row}.png</td>" in table for row in range(6))


def test_the_page_needs_no_other_file_and_no_network(six_spines, grey_images, tmp_path):
    html = write(six_spines, grey_images, tmp_path, worst=2)
    page = Page(html)
    assert page.links == []
    assert len(page.pictures) == 4 + 2
    assert all(address.startswith("data:image/") for address in page.pictures)
    assert not re.search(
        r"https?:|//[a-z]|url\(|@import", re.sub(r"base64,[A-Za-z0-9+/=]+", "", html).replace("// Sort", "")
    )
    assert "link" not in page.tags


def test_pictures_on_the_page_can_be_opened(six_spines, grey_images, tmp_path):
    page = Page(write(six_spines, grey_images, tmp_path, worst=2))
    for address in page.pictures:
        content = b64decode(address.partition("base64,")[2])
        if address.startswith("data:image/jpeg"):
            width, height = Image.open(BytesIO(content)).size
            assert height == pytest.approx(width * 4 / 3, abs=2)
        else:
            assert b"<svg" in content[:1000]


def test_names_from_outside_cannot_become_markup(six_spines, grey_images, tmp_path):
    nasty = '<script>alert("1")</script>&"\'.png'
    renamed = replace(
        six_spines,
        image_names=(nasty,) * 6,
        groups=np.array(["<b>bold</b>"] * 6),
        names=("<i>T12</i>", "$x_{1}$", *LUMBAR11[2:]),
    )
    html = write(renamed, grey_images, tmp_path, notes=["<u>note</u>"])
    page = Page(html)
    assert page.tags.count("script") == 1
    assert not {"i", "b", "u"} & set(page.tags)
    assert nasty in "".join(page.text)


def test_a_file_name_that_is_not_unicode_is_shown_as_far_as_it_goes(six_spines, grey_images, tmp_path):
    html = write(replace(six_spines, image_names=("caf\udce9.png",) * 6), grey_images, tmp_path)
    assert "caf?.png" in html
    assert json.loads((tmp_path / "metrics.json").read_text())["images"][0]["image"] == "caf\udce9.png"


def test_the_figures_on_disk_are_the_summary(six_spines, grey_images, tmp_path):
    write(six_spines, grey_images, tmp_path)
    assert json.loads((tmp_path / "metrics.json").read_text()) == summarize(six_spines, bootstrap=50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "report.html"]


def test_the_page_says_that_millimetres_are_estimated(six_spines, grey_images, tmp_path):
    assert "every millimetre on this page" in write(six_spines, grey_images, tmp_path / "a")
    measured = replace(six_spines, millimetres="measured")
    assert "every millimetre on this page" not in write(measured, grey_images, tmp_path / "b")
    unknown = replace(six_spines, spacing_mm=np.full((6, 2), np.nan))
    assert "scaled so that L1-L5 = 144 mm" in write(unknown, grey_images, tmp_path / "c")


def test_nothing_reads_nan_or_none_when_doubt_is_not_stated_and_a_landmark_is_never_annotated(
    six_spines, grey_images, tmp_path
):
    nothing, valid = np.full((6, 11), np.nan), six_spines.valid.copy()
    valid[:, 5] = False
    html = write(replace(six_spines, confidence=nothing, radius95_mm=nothing, valid=valid), grey_images, tmp_path)
    words = "".join(Page(html).text.copy())
    assert not re.search(r"\bnan\b|\bNone\b|\binf\b", words.partition("Definitions")[0])
    assert "neither confidence nor radius" in words


def test_a_case_without_any_prediction_has_a_picture_too(six_spines, grey_images, tmp_path):
    found = six_spines.found.copy()
    found[:] = False
    html = write(replace(six_spines, found=found), grey_images, tmp_path)
    assert "11 of 11 points failed; missed T12-L1" in html


def test_a_rate_just_short_of_all_is_not_rounded_to_all(six_spines, grey_images, tmp_path):
    summary = summarize(six_spines, bootstrap=0)
    summary["overall"]["sdr"]["8"]["value"] = 0.9999
    html = write_report(six_spines, summary, grey_images, tmp_path, "A title").read_text("utf-8")
    assert "99.9 %" in html
    assert "100.0 %" not in html.partition("Per landmark")[0].partition("(SDR@8)")[2][:40]


def test_a_folder_that_cannot_be_made_is_one_clear_error(six_spines, grey_images, tmp_path):
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="taken"):
        write(six_spines, grey_images, tmp_path / "taken")


def test_a_page_that_fails_leaves_nothing_behind(six_spines, tmp_path):
    def broken(row):
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        write(six_spines, broken, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_ring_and_cross_lie_on_their_points_in_true_proportions(six_spines):
    # One truth and one prediction, on black: the sky-blue ring and the orange cross are found in the picture at the
    # distance that the spacing gives: 20 px * 0.9 = 18 mm across, 15 px * 1.2 = 18 mm down, so at 45 degrees.
    one = np.zeros((6, 11), dtype=bool)
    one[0, 3] = True
    predicted = six_spines.truth_px + np.array([20.0, 15.0])
    case = replace(six_spines, valid=one, found=one, predicted_px=predicted)
    picture = plots.case_picture(np.zeros((200, 120), np.uint8), case, 0)
    rgb = np.asarray(Image.open(BytesIO(picture)).convert("RGB")).astype(int)
    blue = np.argwhere(rgb[..., 2] - rgb[..., 0] > 80)
    orange = np.argwhere(rgb[..., 0] - rgb[..., 2] > 120)
    ring_row, ring_column = (blue.min(axis=0) + blue.max(axis=0)) / 2
    height, width = rgb.shape[:2]
    # The picture spans the points (18 mm by 18 mm) with 22 mm on each side; its 3 : 4 proportions widen the height:
    # 62 mm across, and truth lies 9 mm left of and above the centre.
    px_per_mm = width / 62
    assert ring_column == pytest.approx(width / 2 - 9 * px_per_mm, abs=2)
    assert ring_row == pytest.approx(height / 2 - 9 * px_per_mm, abs=2)
    cross = orange[(orange[:, 0] > height / 2) & (orange[:, 1] > width / 2 + 4 * px_per_mm)]
    bottom, right = cross.max(axis=0)
    reach = 6.5 / 2 / 72 * 150 + 2  # half of the 6.5 pt marker at 150 dpi, and its line
    assert right == pytest.approx(width / 2 + 9 * px_per_mm + reach, abs=4)
    assert bottom == pytest.approx(height / 2 + 9 * px_per_mm + reach, abs=4)


def test_plots_are_the_same_bytes_for_the_same_figures(six_spines):
    assert plots.cumulative_plot(six_spines) == plots.cumulative_plot(six_spines)
    assert plots.landmark_plot(six_spines) == plots.landmark_plot(six_spines)
