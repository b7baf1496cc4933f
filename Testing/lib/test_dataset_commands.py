"""`spine-landmarks dataset`: what is added, what is found wrong, what is locked, compared, anonymized and handed on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, PngImagePlugin
from pydicom.dataset import Dataset

from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.annotation.revision_files import save_to_training_set
from SpineLandmarksLib.errors import DatasetError, InputError
from SpineLandmarksLib.formats.csv_table import write_csv
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.formats.slicer_markups import write_markups
from SpineLandmarksLib.imaging.anonymize import anonymize, sequence_words
from SpineLandmarksLib.imaging.discover import find_studies
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.store.add import Adding, add_source
from SpineLandmarksLib.store.agreement import agreement, compare_annotators, rows
from SpineLandmarksLib.store.checks import check_landmarks, names_in_headers
from SpineLandmarksLib.store.find import find_sources
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store

Run = Callable[..., str]


@pytest.fixture
def a_dataset(run: Run, tmp_path: Path) -> Path:
    run("init", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def opened(a_dataset: Path):
    """Opens the store of `a_dataset` as often as it is called."""
    stores: list[Store] = []

    def open_it() -> Store:
        stores.append(open_dataset(a_dataset))
        return stores[-1]

    yield open_it
    for store in stores:
        store.close()


@pytest.fixture
def an_adopted_dataset(run: Run, a_phantom_dataset: Path, tmp_path: Path) -> Path:
    """Four slices of four patients, annotated and signed off."""
    folder = shutil.copytree(a_phantom_dataset, tmp_path / "adopted")
    run("init", folder, "--author", "Ann")
    return folder


def a_spine(**moved: tuple[float, float]) -> LandmarkSet:
    """Eleven points in a column, 20 pixels apart from (100, 20) down; some moved; None is not visible."""
    places = {name: (100.0, 20.0 + 20 * row) for row, name in enumerate(LUMBAR11)} | {
        name.replace("_", "-"): xy for name, xy in moved.items()
    }
    return LandmarkSet(
        tuple(
            Landmark(name, "confirmed", pixel_xy=xy) if xy else Landmark(name, "not_visible")
            for name, xy in places.items()
        )
    )


def a_slice(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(0, 255, (260, 200), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


# Adding


def test_a_folder_that_is_trained_on_already_becomes_a_data_set_with_all_it_holds(
    an_adopted_dataset: Path, a_phantom_dataset: Path, run: Run
) -> None:
    assert "signed off   4" in run("status", an_adopted_dataset)
    assert "4 studies: 0 errors, 0 notes" in run("check", an_adopted_dataset)
    run("export", an_adopted_dataset)
    before, after = read_landmarks_json(a_phantom_dataset), read_landmarks_json(an_adopted_dataset)
    assert [row.group for row in after] == [row.group for row in before]
    assert [row.points_xy for row in after] == [row.points_xy for row in before]
    assert [row.spacing_mm for row in after] == [row.spacing_mm for row in before]


def test_a_second_init_is_refused(a_dataset: Path, run: Run) -> None:
    assert "Expected a folder that is no data set yet" in run("init", a_dataset, status=2)


def test_a_folder_that_nobody_made_a_data_set_of_is_refused_with_the_next_step(tmp_path: Path, run: Run) -> None:
    assert f"Make one: spine-landmarks dataset init {tmp_path}" in run("status", tmp_path, status=2)


def test_pictures_are_added_with_the_csv_and_markups_named_like_them(
    a_dataset: Path, run: Run, tmp_path: Path, opened: Callable[[], Store]
) -> None:
    for number, name in enumerate(("one", "two")):
        a_slice(tmp_path / "in" / f"{name}.png", number)
    (tmp_path / "notes").mkdir()
    write_csv(a_spine(L3=None), tmp_path / "notes" / "one.csv")
    # A picture's own frame: A = -x, S = -y, in mm of 0.5 per pixel.
    marks = tuple(Landmark(m.name, "corrected", (0.0, -m.pixel_xy[0] / 2, -m.pixel_xy[1] / 2)) for m in a_spine())
    write_markups(LandmarkSet(marks), tmp_path / "notes" / "two.mrk.json")
    said = run(
        "add", a_dataset, tmp_path / "in", "--annotations", tmp_path / "notes", "--spacing", 0.5, "--author", "Bo"
    )
    assert "one: 10 landmarks by Bo" in said
    store = opened()
    one, two = store.head("one"), store.head("two")
    assert one.landmarks["L3"].status == "not_visible"
    assert one.landmarks["L1"].position_ras_mm == pytest.approx((0, -50, -20))
    assert two.landmarks["L1"].pixel_xy == pytest.approx((100, 40))
    assert "in the data set already; it was left as it is" in run("add", a_dataset, tmp_path / "in", "--bundle", "none")


def test_a_name_that_differs_in_capitals_alone_is_refused_and_its_picture_kept(
    a_dataset: Path, a_picture: Path, run: Run, tmp_path: Path
) -> None:
    """On Windows and macOS the picture of one would replace that of the other."""
    for name in ("Case", "case"):
        (tmp_path / name).mkdir()
        Image.open(a_picture).point(lambda grey, name=name: grey // 2 if name == "case" else grey).save(
            tmp_path / name / f"{name}.png"
        )
    run("add", a_dataset, tmp_path / "Case", "--spacing", 3.1, "--bundle", "none")
    before = (a_dataset / "images" / "Case.png").read_bytes()
    said = run("add", a_dataset, tmp_path / "case", "--spacing", 3.1, "--bundle", "none", status=1)
    assert "differs from Case in more than capitals" in said
    assert [file.read_bytes() for file in (a_dataset / "images").iterdir()] == [before]


def test_a_picture_keeps_its_pixels_and_loses_its_texts(a_dataset: Path, run: Run, tmp_path: Path) -> None:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Patient", "MILLER^JOHN")
    pixels = np.random.default_rng(0).integers(0, 65535, (64, 64), dtype=np.uint16)
    Image.fromarray(pixels).save(tmp_path / "one.png", pnginfo=texts)
    run("add", a_dataset, tmp_path / "one.png", "--bundle", "none")
    assert b"MILLER" not in (a_dataset / "images" / "one.png").read_bytes()
    with Image.open(a_dataset / "images" / "one.png") as kept:
        assert np.array_equal(np.asarray(kept), pixels)


def test_another_image_of_the_same_name_does_not_replace_the_first(a_dataset: Path, run: Run, tmp_path: Path) -> None:
    run("add", a_dataset, a_slice(tmp_path / "a" / "one.png", 1), "--bundle", "none")
    first = (a_dataset / "images" / "one.png").read_bytes()
    run("add", a_dataset, a_slice(tmp_path / "b" / "one.png", 2), "--bundle", "none")
    assert (a_dataset / "images" / "one.png").read_bytes() == first


def test_one_damaged_study_does_not_stop_the_others(a_dataset: Path, run: Run, tmp_path: Path) -> None:
    a_slice(tmp_path / "in" / "good.png")
    (tmp_path / "in" / "bad.png").write_text("no picture")
    said = run("add", a_dataset, tmp_path / "in", "--bundle", "none", status=1)
    assert "1 studies added, 0 were there, 1 problems" in said
    assert "bad: Expected" in said


def test_the_patient_is_found_in_the_path(tmp_path: Path) -> None:
    for name in ("7_t2_58.png", "7_t2_59.png", "12_t2_40.png"):
        a_slice(tmp_path / name)
    found = find_sources([tmp_path], "secret", r"/(\d+)_t2")
    patients = {source.key: source.patient for source in found}
    assert patients == {"12_t2_40": "12", "7_t2_58": "7", "7_t2_59": "7"}
    with pytest.raises(DatasetError, match="with a group"):
        find_sources([tmp_path], "secret", r"x(\d+)")


def test_dicom_studies_get_names_that_say_nothing_of_the_patient(
    a_phantom: Phantom, a_dataset: Path, run: Run, tmp_path: Path, opened: Callable[[], Store]
) -> None:
    tree = tmp_path / "MILLER_JOHN"
    write_dicom_series(a_phantom, tree / "t2", patient_name="MILLER^JOHN")
    said = run("add", a_dataset, tree, "--bundle", "none")
    assert "MILLER" not in said
    (study,) = opened().studies()
    stack = read_study(tree)
    assert (study.size_wh, study.slice_index) == ((80, 96), 3)  # of 7 slices the middle one
    assert study.matrix == pytest.approx(stack.ras_from_ijk)
    assert study.spacing_mm == pytest.approx((3.1, 3.1))
    kept = read_study(a_dataset / study.image).voxels[0]  # the same grey values, but for scale and offset
    assert np.corrcoef(kept.ravel(), stack.voxels[3].ravel())[0, 1] > 0.99999
    again = find_sources([tree], "another data set")[0]
    assert again.key != study.key


def test_a_tree_has_the_same_studies_for_a_data_set_as_for_a_prediction(a_phantom: Phantom, tmp_path: Path) -> None:
    series = write_dicom_series(a_phantom, tmp_path / "patient" / "t2")
    for file in (series / "preview.png", tmp_path / "other" / "one.png", tmp_path / "other" / "one.overlay.png"):
        a_slice(file)
    found = {source.path for source in find_sources([tmp_path], "secret")}
    assert found == set(find_studies(tmp_path, with_pictures=True)) == {series, tmp_path / "other" / "one.png"}


def test_two_dicom_studies_in_one_folder_are_refused(a_phantom: Phantom, tmp_path: Path) -> None:
    for number in (1, 2):
        folder = write_dicom_series(a_phantom, tmp_path / "both" / str(number)).resolve()
        for file in sorted(folder.glob("*")):
            dataset = pydicom.dcmread(file)
            dataset.StudyInstanceUID = f"1.2.{number}"
            dataset.save_as(tmp_path / "both" / f"{number}-{file.name}")
        shutil.rmtree(folder)
    with pytest.raises(DatasetError, match=r"one folder for each DICOM study; .*both holds the files of 2"):
        find_sources([tmp_path / "both"], "secret")


def test_a_prediction_is_saved_where_nobody_annotated(
    a_phantom_study: Path, a_localizer: Localizer, opened: Callable[[], Store]
) -> None:
    store = opened()
    (source,) = find_sources([a_phantom_study], "secret")
    (revision,) = add_source(store, source, [], Adding(localizer=a_localizer))
    assert (revision.author, revision.source_model) == ("memory@1", "memory@1")
    assert store.head("phantom").id == revision.id
    assert store.study("phantom").slice_index == revision.landmarks.slice_index


# Tianchi


def store_otherwise(file: Path, target: Path, mirrored: bool, feet_up: bool, transposed: bool) -> Dataset:
    """The DICOM file with its pixels stored in another order, and a header that says so."""
    dataset = pydicom.dcmread(file)
    along = [np.array(dataset.ImageOrientationPatient[part], dtype=float) for part in (slice(3), slice(3, None))]
    first = np.array(dataset.ImagePositionPatient, dtype=float)
    pixels = dataset.pixel_array
    for axis, (is_turned, count) in enumerate(((mirrored, dataset.Columns), (feet_up, dataset.Rows))):
        if is_turned:
            first += along[axis] * (count - 1) * float(dataset.PixelSpacing[1 - axis])
            along[axis] = -along[axis]
            pixels = np.flip(pixels, 1 - axis)
    if transposed:
        along, pixels = along[::-1], pixels.T
    dataset.ImagePositionPatient = [float(f"{value:.9g}") for value in first]
    dataset.ImageOrientationPatient = [float(f"{value:.9g}") for value in np.concatenate(along)]
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()
    dataset.save_as(target)
    return dataset


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("feet_up", [False, True])
@pytest.mark.parametrize("mirrored", [False, True])
def test_published_annotations_find_their_dicom_slice_and_turn_with_it(
    mirrored: bool,
    feet_up: bool,
    transposed: bool,
    a_phantom: Phantom,
    truth_xy: np.ndarray,
    a_dataset: Path,
    run: Run,
    tmp_path: Path,
    opened: Callable[[], Store],
) -> None:
    series = write_dicom_series(a_phantom, tmp_path / "series")
    (tmp_path / "tree").mkdir()
    file, target = sorted(series.glob("*"))[2], tmp_path / "tree" / "image7.dcm"
    stored = store_otherwise(file, target, mirrored, feet_up, transposed)
    rows, columns = a_phantom.voxels.shape[1:]
    in_file = np.where([mirrored, feet_up], (columns - 1, rows - 1) - truth_xy, truth_xy)
    in_file = in_file[:, ::-1] if transposed else in_file
    names = list(LUMBAR11)
    names[7:9] = "L4-L5", "L4"  # two neighbours swapped, which their rows tell
    shutil.copy(sorted(series.glob("*"))[3], tmp_path / "tree" / "image8.dcm")  # of the same study, not annotated
    points = [
        {
            "coord": [float(x), float(y)],
            "zIndex": 7,
            "tag": {"identification": name, "disc" if "-" in name else "vertebra": "v1"},
        }
        for name, (x, y) in zip(names, in_file, strict=True)
    ]
    annotation = [{"annotator": 54, "data": {"point": points}}]
    image = {"seriesUid": "1", "instanceUid": stored.SOPInstanceUID, "annotation": annotation}
    (tmp_path / "train.json").write_text(json.dumps([{"studyUid": "9", "data": [image]}]))
    said = run("add", a_dataset, tmp_path / "tree", "--annotations", tmp_path / "train.json")
    assert "11 landmarks by tianchi-54" in said
    (study,) = opened().studies()
    head = opened().head(study.key)
    found = np.array([head.landmarks[name].pixel_xy for name in LUMBAR11])
    assert found == pytest.approx(truth_xy, abs=1e-2)
    assert head.comment.count("became") == 2
    dark = read_study(tmp_path / "tree" / "image7.dcm").voxels[0]
    assert np.corrcoef(read_study(a_dataset / study.image).voxels[0].ravel(), dark.ravel())[0, 1] > 0.99999


@pytest.fixture
def real_rows(real_data: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The six studies with known defects: images and the raw rows as they were published."""
    wanted = (82, 109, 123, 143, 161, 187)
    raw = json.loads((real_data / "tianchi150" / "annotation_rows_raw.json").read_text())
    rows_of = [row for row in raw if any(f"study{n}/" in row["dcmPath"] for n in wanted)]
    (tmp_path / "rows.json").write_text(json.dumps(rows_of))
    (tmp_path / "images").mkdir()
    for number in wanted:
        shutil.copy(real_data / "tianchi150" / "images" / f"study{number:03d}.png", tmp_path / "images")
    return tmp_path / "images", tmp_path / "rows.json"


def test_the_real_defective_rows_are_mended_and_told(
    real_rows: tuple[Path, Path], real_data: Path, a_dataset: Path, run: Run, opened: Callable[[], Store]
) -> None:
    images, raw = real_rows
    run("add", a_dataset, images, "--annotations", raw, "--bundle", "none")
    said = run("check", a_dataset)
    assert "study109 (tianchi-54): mended on reading: T12" in said
    assert all(f"study{n} (tianchi-54): mended" in said for n in (123, 143, 161, 187))
    mended = {row.image.stem: row.points_xy for row in read_landmarks_json(real_data / "tianchi150")}
    for study in opened().studies():
        head = opened().head(study.key)
        if head is None:  # the raw rows lack it
            continue
        known = {mark.name: mark.pixel_xy for mark in head.landmarks if not mark.is_absent}
        assert known == {name: mended[study.key][name] for name in known}


# Checking


ODD = {
    "outside": (a_spine(L3=(250, 120)), "L3 outside the image of 200 x 260"),
    "swapped": (a_spine(L2=(100, 100), L2_L3=(100, 80)), "L2-L3 lies above L2: their names may be swapped"),
    "double": (a_spine(L2=(100, 80.5), L1_L2=(100, 80)), "L1-L2 and L2 lie on one place"),
    # Steps of 20 but for one of 50 and one of 10: the median is 20, and 50 is 2.5 times as much.
    "apart": (a_spine(L4_L5=(100, 210), L5=(100, 220), L5_S1=(100, 240)), "L4 and L4-L5 are 2.50 times as far apart"),
}


@pytest.fixture
def a_study(a_dataset: Path, run: Run, tmp_path: Path, opened: Callable[[], Store]):
    run("add", a_dataset, a_slice(tmp_path / "one.png"), "--bundle", "none")
    return opened().study("one")


def a_revision(study, landmarks: LandmarkSet, author: str = "Ann", comment: str = "") -> Revision:
    return Revision(study.key, author, utc_now(), landmarks, study.reference, comment=comment)


@pytest.mark.parametrize("kind", ODD)
def test_odd_landmarks_are_found(kind: str, a_study) -> None:
    landmarks, text = ODD[kind]
    found = check_landmarks(a_study, a_revision(a_study, landmarks))
    assert any(text in finding.text and finding.is_error for finding in found), found


def test_a_plain_spine_has_nothing_odd_and_a_masked_point_is_told_as_a_note(a_study) -> None:
    assert check_landmarks(a_study, a_revision(a_study, a_spine())) == []
    (note,) = check_landmarks(a_study, a_revision(a_study, a_spine(T12_L1=None)))
    assert (note.is_error, note.text) == (False, "one (Ann): without a point: T12-L1")


def test_a_check_with_errors_has_status_1(a_dataset: Path, a_study, run: Run, opened: Callable[[], Store]) -> None:
    opened().save(a_revision(a_study, ODD["outside"][0]))
    assert "error one (Ann): L3 outside" in run("check", a_dataset, status=1)


def test_names_left_in_headers_are_found_without_being_repeated(a_phantom: Phantom, tmp_path: Path) -> None:
    series = write_dicom_series(a_phantom, tmp_path / "series", patient_name="MILLER^JOHN")
    (problem,) = names_in_headers(series)
    assert "PatientName" in problem
    assert "MILLER" not in problem
    anonymize([series], tmp_path / "clean", b"0" * 32)
    assert names_in_headers(tmp_path / "clean") == []


# Signing off, splitting, files


def test_only_what_is_decided_is_signed_off_and_reaches_landmarks_json(
    a_dataset: Path, a_study, run: Run, opened: Callable[[], Store]
) -> None:
    predicted = tuple(Landmark(mark.name, "predicted", pixel_xy=mark.pixel_xy) for mark in a_spine())
    opened().save(a_revision(a_study, LandmarkSet(predicted)))
    assert "0 studies signed off by Chief" in run("sign-off", a_dataset, "--by", "Chief")
    assert "still as predicted: T12-L1" in run("sign-off", a_dataset, "one", "--by", "Chief", status=1)
    assert not (a_dataset / "landmarks.json").exists()
    first = opened().head("one")
    opened().save(Revision("one", "Ann", utc_now(), a_spine(L5_S1=(100, 300)), a_study.reference, first.id))
    assert "1 studies signed off by Chief" in run("sign-off", a_dataset, "--by", "Chief")
    (row,) = read_landmarks_json(a_dataset)
    assert set(row.points_xy) == set(LUMBAR11) - {"L5-S1"}  # what lies beside the image would spoil the file


def test_a_hold_out_is_locked_by_patient_and_told(an_adopted_dataset: Path, run: Run) -> None:
    assert "Locked 1 patients with 1 studies, 1 of them signed off" in run("split", an_adopted_dataset, "--holdout", 1)
    assert "locked       1 studies of 1 patients, 1 of them signed off" in run("status", an_adopted_dataset)
    assert "locks 1 patients already" in run("split", an_adopted_dataset, "--holdout", 1, status=2)


def test_landmark_files_become_revisions_on_top_of_what_is_there(
    a_dataset: Path, a_study, run: Run, tmp_path: Path, opened: Callable[[], Store]
) -> None:
    first = a_revision(a_study, a_spine())
    opened().save(first)
    write_csv(a_spine(L3=(105, 121)), tmp_path / "one.csv")
    run("import", a_dataset, tmp_path / "one.csv", "--author", "Bo")
    head = opened().head("one")
    assert (head.parent, head.author, head.landmarks["L3"].pixel_xy) == (first.id, "Bo", (105, 121))
    (tmp_path / "none.csv").write_bytes((tmp_path / "one.csv").read_bytes())
    assert "got 'none'. Add it first" in run("import", a_dataset, tmp_path / "none.csv", status=1)


def test_an_export_is_imported_into_another_data_set(an_adopted_dataset: Path, run: Run, tmp_path: Path) -> None:
    run("export", an_adopted_dataset, "--output", tmp_path / "out")
    assert len(list((tmp_path / "out" / "markups").iterdir())) == 4
    run("init", tmp_path / "other")
    run("import", tmp_path / "other", tmp_path / "out")
    assert "signed off   4" in run("status", tmp_path / "other")
    assert read_landmarks_json(tmp_path / "other")[0].points_xy == read_landmarks_json(tmp_path / "out")[0].points_xy


def test_what_slicer_saved_beside_the_store_is_read_in(
    a_dataset: Path, a_study, a_phantom_study: Path, run: Run, opened: Callable[[], Store]
) -> None:
    mine = a_revision(a_study, a_spine())
    save_to_training_set(mine, a_dataset)
    assert opened().history("one") == [mine]  # by opening
    marks = tuple(Landmark(mark.name, "not_visible") for mark in a_spine())
    new = Revision(
        "knee-7", "Ann", utc_now(), LandmarkSet(marks, slice_index=4), type(a_study.reference)(str(a_phantom_study))
    )
    save_to_training_set(new, a_dataset)
    assert opened().forks() == {}
    assert "knee-7: 1 revisions taken in" in run("import", a_dataset, a_dataset / "revisions")
    assert opened().study("knee-7").slice_index == 4
    assert opened().head("knee-7") == new


# Two annotators


def test_bias_and_limits_of_agreement_are_those_of_the_differences() -> None:
    # Differences 1, 2, 3: mean 2, standard deviation 1, so the limits are 2 - 1.96 and 2 + 1.96.
    found = agreement(np.array([1.0, 4.0, 9.0, 5.0]), np.array([0.0, 2.0, 6.0, np.nan]))
    assert (found.n, found.bias, found.sd, found.low, found.high) == pytest.approx((3, 2, 1, 0.04, 3.96))
    assert found.limit_half_width == pytest.approx(1.96 * (3 / 3) ** 0.5)
    assert agreement(np.array([1.0]), np.array([0.0])) is None


def test_two_annotators_are_compared_on_the_studies_that_both_annotated(
    a_dataset: Path, run: Run, tmp_path: Path, opened: Callable[[], Store]
) -> None:
    for number in range(3):
        run("add", a_dataset, a_slice(tmp_path / f"s{number}.png", number), "--bundle", "none", "--spacing", 0.5)
    store = opened()
    for number in range(2):  # both on the first two; Bo sees L3 3 px behind and 4 px lower, and not L5-S1
        study = store.study(f"s{number}")
        store.save(a_revision(study, a_spine()))
        store.save(a_revision(study, a_spine(L3=(103, 124), L5_S1=None), "Bo"))
    store.save(a_revision(store.study("s2"), a_spine()))
    compared = compare_annotators(store, "Ann", "Bo")
    assert (compared.studies, compared.unit, compared.only_one) == (("s0", "s1"), "mm", 2)
    table = {row["landmark"]: row for row in rows(compared)}
    assert table["L3"]["median"] == pytest.approx(2.5)  # 5 pixels of 0.5 mm
    assert table["L3"]["anterior-posterior bias"] == pytest.approx(-1.5)
    assert table["L3"]["head-foot bias"] == pytest.approx(-2.0)
    assert (table["L1"]["mean"], table["L5-S1"]["n"], table["all"]["n"]) == (0.0, 0, 20)
    said = run("diff", a_dataset, "Ann", "Bo", "--output", tmp_path / "diff")
    assert "seen by one only: 2" in said
    assert (tmp_path / "diff" / "bland-altman.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "diff" / "differences.csv").read_text().startswith("landmark,n,median")
    said = run("diff", a_dataset, "Ann", "Cy", "--output", tmp_path / "diff", status=2)
    assert "Those who annotated: Ann, Bo" in said


def test_a_changed_copy_is_no_second_opinion(
    a_dataset: Path, run: Run, tmp_path: Path, opened: Callable[[], Store]
) -> None:
    for number in range(2):
        run("add", a_dataset, a_slice(tmp_path / f"s{number}.png", number), "--bundle", "none", "--spacing", 0.5)
    store = opened()
    first = a_revision(store.study("s0"), a_spine())
    nudged = replace(a_revision(store.study("s0"), a_spine(L3=(101, 120)), "Bo"), parent=first.id)
    again = replace(a_revision(store.study("s0"), a_spine(L3=(102, 120)), "Bo"), parent=nudged.id)
    for one in (first, nudged, again):
        store.save(one)
    with pytest.raises(DatasetError, match="1 in which one went on from the other"):
        compare_annotators(store, "Ann", "Bo")
    for one in (a_revision(store.study("s1"), a_spine()), a_revision(store.study("s1"), a_spine(), "Bo")):
        store.save(one)
    compared = compare_annotators(store, "Bo", "Ann")
    assert (compared.studies, compared.dependent) == (("s1",), ("s0",))
    assert "left out, one made from the other: 1" in run("diff", a_dataset, "Ann", "Bo", "--output", tmp_path / "diff")


def test_a_new_data_set_is_closed_to_all_but_its_owner(a_dataset: Path) -> None:
    assert a_dataset.stat().st_mode & 0o077 == 0


# Anonymizing


@pytest.fixture
def a_named_series(a_phantom: Phantom, tmp_path: Path) -> Path:
    """A series with a name in plain, nested, private, free-text and overlay attributes."""
    series = write_dicom_series(a_phantom, tmp_path / "named" / "MILLER", description="T2 sag Miller")
    for file in series.glob("*"):
        dataset = pydicom.dcmread(file)
        dataset.PatientName = dataset.OperatorsName = "MILLER^JOHN"
        dataset.PatientID = "MILLER-7"
        dataset.ImageComments = "Miller, knee pain"
        request = Dataset()
        request.RequestedProcedureDescription = request.ScheduledProcedureStepDescription = "for Miller"
        request.ReferencedStudySequence = [Dataset()]
        request.ReferencedStudySequence[0].ReferencedSOPInstanceUID = dataset.StudyInstanceUID
        dataset.RequestAttributesSequence = [request]
        unknown = Dataset()
        unknown.PersonName = "MILLER^JOHN"
        dataset.VerifyingObserverSequence = [unknown]
        dataset.private_block(0x0029, "VENDOR", create=True).add_new(0x10, "LO", "Miller")
        dataset.add_new(0x60000022, "LO", "Miller")
        dataset.save_as(file)
    return series


def test_no_trace_of_the_patient_is_left_and_the_image_is_as_it_was(a_named_series: Path, tmp_path: Path) -> None:
    done = anonymize([a_named_series.parent], tmp_path / "clean", b"1" * 32)
    assert len(done.written) == 7
    for file in done.written:
        assert b"miller" not in file.read_bytes().lower()
        assert "miller" not in str(file.relative_to(tmp_path)).lower()
    one = pydicom.dcmread(done.written[0])
    assert (one.PatientIdentityRemoved, one.SeriesDescription) == ("YES", "T2 sag")
    assert one.DeidentificationMethodCodeSequence[0].CodeValue == "113100"
    assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
    before, after = read_study(a_named_series), read_study(tmp_path / "clean")
    assert np.array_equal(before.voxels, after.voxels)
    assert after.ras_from_ijk == pytest.approx(before.ras_from_ijk)


def test_the_same_key_gives_the_same_names_and_another_key_others(a_named_series: Path, tmp_path: Path) -> None:
    names = []
    for key, folder in ((b"1" * 32, "a"), (b"1" * 32, "b"), (b"2" * 32, "c")):
        written = anonymize([a_named_series], tmp_path / folder, key).written
        names.append([file.relative_to(tmp_path / folder) for file in written])
    assert names[0] == names[1]
    assert not set(names[0]) & set(names[2])
    assert len({name.parent for name in names[0]}) == 1  # one series stays one


def test_what_is_no_image_is_left_out(a_named_series: Path, tmp_path: Path, run: Run) -> None:
    report = pydicom.dcmread(next(a_named_series.glob("*")))
    del report.PixelData
    report.save_as(a_named_series / "report.dcm")
    said = run("anonymize", a_named_series, "--output", tmp_path / "clean", "--key", tmp_path / "key", status=1)
    assert "7 images written" in said
    assert "it holds none, and may name the patient anywhere" in said
    assert "report.dcm" not in said
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0
    (tmp_path / "key").write_text("no key\n")
    with pytest.raises(InputError, match="Expected DICOM images to anonymize"):
        anonymize([tmp_path / "key"], tmp_path / "none", b"1" * 32)
    said = run("anonymize", a_named_series, "--output", tmp_path / "none", "--key", tmp_path / "key", status=2)
    assert "Expected a key of 32 or more hexadecimal digits" in said


def test_only_words_of_sequences_stay_of_a_description() -> None:
    assert sequence_words("t2_tse_sag p2 Müller 17.3.") == "t2 tse sag"


def test_the_real_study_is_the_same_image_after_it_was_anonymized(real_data: Path, tmp_path: Path) -> None:
    (study,) = (real_data / "dicom").iterdir()
    done = anonymize([study], tmp_path, b"1" * 32)
    assert (len(done.written), done.left_out) == (96, ())
    before, after = read_study(study), read_study(tmp_path)
    assert np.array_equal(before.voxels, after.voxels)
    assert after.ras_from_ijk == pytest.approx(before.ras_from_ijk)
