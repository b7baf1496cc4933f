"""What a landmark file does not say stays as it is; what it moves is corrected; what contradicts itself is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SpineLandmarksLib.annotation.import_file import import_landmarks, merged
from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.csv_table import write_csv
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store

Run = Callable[..., str]


@pytest.fixture
def a_store(a_phantom_study: Path, a_phantom: Phantom, run: Run, tmp_path: Path) -> Iterator[Store]:
    """One study of 7 slices, predicted by a model: each landmark where it is, confidence 0.9."""
    run("init", tmp_path / "data")
    run("add", tmp_path / "data", a_phantom_study, "--bundle", "none")
    with open_dataset(tmp_path / "data") as store:
        study = store.study("phantom")
        said = [replace(mark, status="predicted", confidence=0.9, radius95_mm=3.0) for mark in a_phantom.landmarks]
        told = LandmarkSet(tuple(said), "phantom", slice_index=3, spacing_mm=(3.1, 3.1), bundle="model@1")
        store.save(Revision("phantom", "model@1", utc_now(), told, study.reference))
        yield store


def head(store: Store) -> LandmarkSet:
    found = store.head("phantom")
    assert found is not None
    return found.landmarks


def sign_all(store: Store) -> LandmarkSet:
    """Ann confirms and signs all eleven."""
    before = store.head("phantom")
    marks = tuple(replace(mark, status="confirmed") for mark in before.landmarks)
    told = replace(before.landmarks, landmarks=marks)
    signed = Revision("phantom", "Ann", utc_now(), told, before.image, before.id)
    store.save(signed)
    store.sign_off(signed.id, "Ann")
    return told


def moved(mark: Landmark, *by_mm: float) -> Landmark:
    r, a, s = np.add(mark.position_ras_mm, by_mm)
    return Landmark(mark.name, mark.status, (float(r), float(a), float(s)), None, mark.confidence, mark.radius95_mm)


# What is not said


def test_a_file_with_one_landmark_leaves_the_others_as_they_are(a_store: Store, run: Run, tmp_path: Path) -> None:
    before = sign_all(a_store)
    r, a, s = before["L3"].position_ras_mm
    (tmp_path / "phantom.CSV").write_text(f"label,r_mm,a_mm,s_mm,status\nL3,{r},{a},{s - 4},corrected\nL4,,,,\n")
    run("import", a_store.folder, tmp_path / "phantom.CSV", "--author", "Bo")
    after = head(a_store)
    assert after["L3"].position_ras_mm == pytest.approx((r, a, s - 4))
    assert [mark for mark in after if mark.name != "L3"] == [mark for mark in before if mark.name != "L3"]
    assert (after.slice_index, after.bundle) == (3, "model@1")


@pytest.mark.parametrize("name", ["phantom.csv", "phantom.fcsv", "phantom.mrk.json", "phantom.json"])
def test_a_file_that_says_nothing_is_refused_and_changes_nothing(
    name: str, a_store: Store, run: Run, tmp_path: Path
) -> None:
    nothing = {
        "phantom.csv": "label,r_mm,a_mm,s_mm\nL3,,,\n",
        "phantom.fcsv": "# CoordinateSystem = LPS\n# columns = id,x,y,z,label,desc\n1,0,0,0,L3,,0\n",
        "phantom.mrk.json": json.dumps(
            {"markups": [{"type": "Fiducial", "controlPoints": [{"label": "L3", "positionStatus": "undefined"}]}]}
        ),
        "phantom.json": json.dumps({"input": "phantom", "landmarks": []}),
    }
    (tmp_path / name).write_text(nothing[name])
    before = sign_all(a_store)
    said = run("import", a_store.folder, tmp_path / name, status=1)
    assert said.count("\n") == 1
    assert "says nothing of any" in said
    assert (head(a_store), len(a_store.signed_off())) == (before, 1)


def test_one_bad_file_of_a_folder_keeps_all_of_it_out(a_store: Store, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(head(a_store), folder / "phantom.csv")
    (folder / "q.csv").write_text("label,r_mm,a_mm,s_mm\nL3,1,2,\n")
    assert "q.csv, row 2" in run("import", a_store.folder, folder, status=1)
    assert len(a_store.history("phantom")) == 1


def test_a_screen_keeps_what_a_file_does_not_say(a_phantom: Phantom, tmp_path: Path) -> None:
    before = LandmarkSet(tuple(replace(mark, status="confirmed") for mark in a_phantom.landmarks), bundle="model@1")
    write_csv(LandmarkSet((moved(before["L3"], 0, 3, 0),)), tmp_path / "a.csv")
    after = import_landmarks(tmp_path / "a.csv", LUMBAR11, before=before)
    assert [mark for mark in after if mark.name != "L3"] == [mark for mark in before if mark.name != "L3"]
    assert after["L3"].position_ras_mm == pytest.approx(np.add(before["L3"].position_ras_mm, (0, 3, 0)), abs=1e-3)


# What contradicts itself


@pytest.mark.parametrize(("column", "change"), [("s_mm", -10.0), ("a_mm", 2.0), ("pixel_x", 3.0), ("pixel_y", -1.0)])
def test_millimetres_and_pixels_of_two_places_are_refused_with_the_row(
    column: str, change: float, a_store: Store, run: Run, tmp_path: Path
) -> None:
    write_csv(head(a_store), tmp_path / "phantom.csv")
    lines = [line.split(",") for line in (tmp_path / "phantom.csv").read_text().splitlines()]
    place = lines[0].index(column)
    lines[6][place] = str(float(lines[6][place]) + change)
    (tmp_path / "phantom.csv").write_text("\n".join(map(",".join, lines)) + "\n")
    assert "row of L3: expected pixels and millimetres of one place" in run(
        "import", a_store.folder, tmp_path / "phantom.csv", status=1
    )
    assert len(a_store.history("phantom")) == 1


@pytest.mark.parametrize(
    ("column", "rule"), [("", "expected the slice that the pixels count on"), (",slice", "expected a slice in 0..6")]
)
def test_pixels_without_a_slice_are_refused(column: str, rule: str, a_store: Store, run: Run, tmp_path: Path) -> None:
    slice_cell = column and ",7"
    (tmp_path / "phantom.csv").write_text(f"label,pixel_x,pixel_y{column}\nL3,40,50{slice_cell}\n")
    assert rule in run("import", a_store.folder, tmp_path / "phantom.csv", status=1)
    (tmp_path / "phantom.csv").write_text("label,pixel_x,pixel_y,slice\nL3,40,50,4\n")
    run("import", a_store.folder, tmp_path / "phantom.csv")
    ras_from_ijk = a_store.study("phantom").matrix
    assert head(a_store)["L3"].position_ras_mm == pytest.approx((ras_from_ijk @ (40, 50, 4, 1))[:3], abs=1e-3)
    assert head(a_store).slice_index == 4


def test_pixels_of_a_study_that_is_added_need_their_slice_too(
    a_phantom_study: Path, run: Run, tmp_path: Path, a_picture: Path
) -> None:
    (tmp_path / "phantom.csv").write_text("label,pixel_x,pixel_y\nL3,40,50\n")
    (tmp_path / "slice.csv").write_text("label,pixel_x,pixel_y\nL3,40,50\n")
    run("init", tmp_path / "new")
    command = ("add", tmp_path / "new", a_phantom_study, "--annotations", tmp_path / "phantom.csv")
    assert "expected the slice that the pixels count on" in run(*command, status=1)
    run("add", tmp_path / "new", a_picture, "--annotations", tmp_path / "slice.csv")  # one slice alone


# What was moved


@pytest.mark.parametrize("kind", ["csv", "mrk.json"])
def test_a_point_moved_in_our_own_file_is_corrected_and_the_others_stay_predicted(
    kind: str, a_store: Store, run: Run, tmp_path: Path
) -> None:
    before = head(a_store)
    marks = [moved(mark, 0, 0, -5) if mark.name == "L3" else replace(mark, pixel_xy=None) for mark in before]
    path = tmp_path / f"phantom.{kind}"
    FORMATS[kind](replace(before, landmarks=tuple(marks), slice_index=None), path)
    run("import", a_store.folder, path, "--author", "Ann")
    after = head(a_store)
    assert after["L3"].status == "corrected"
    assert (after["L3"].confidence, after["L3"].radius95_mm, after["L3"].needs_review) == (None, None, False)
    assert after["L3"].position_ras_mm == pytest.approx(np.add(before["L3"].position_ras_mm, (0, 0, -5)), abs=1e-3)
    assert [mark for mark in after if mark.name != "L3"] == [mark for mark in before if mark.name != "L3"]
    said = run("sign-off", a_store.folder, "--by", "Chief")
    assert "phantom: waits for a word on T12-L1, L1, L1-L2, L2, L2-L3, L3-L4" in said


def test_a_table_without_status_says_where_points_are_and_takes_no_word_back(
    a_store: Store, run: Run, tmp_path: Path
) -> None:
    before = sign_all(a_store)
    rows = [(mark.name, *np.add(mark.position_ras_mm, (0, 0, -5.0 * (mark.name == "L3")))) for mark in before]
    table = "\n".join(f"{name},{r:.1f},{a:.1f},{s:.1f}" for name, r, a, s in rows)  # as a spreadsheet rounds
    (tmp_path / "phantom.csv").write_text(f"label,r_mm,a_mm,s_mm\n{table}\n")
    run("import", a_store.folder, tmp_path / "phantom.csv", "--author", "Bo")
    assert {mark.name: mark.status for mark in head(a_store)} == {
        name: "corrected" if name == "L3" else "confirmed" for name in LUMBAR11
    }
    assert "1 studies signed off" in run("sign-off", a_store.folder, "--by", "Chief")


def test_another_model_speaks_of_what_nobody_has_decided_and_of_nothing_else() -> None:
    at = {name: (0.0, 0.0, -20.0 * row) for row, name in enumerate(LUMBAR11)}
    before = LandmarkSet(tuple(Landmark(name, "predicted", at[name], None, 0.5) for name in LUMBAR11), bundle="old@1")
    before = replace(before, landmarks=(Landmark("T12-L1", "confirmed", at["T12-L1"]), *before.landmarks[1:]))
    new = LandmarkSet(tuple(Landmark(name, "predicted", (0.0, 9.0, at[name][2]), None, 0.9) for name in LUMBAR11))
    after = merged(replace(new, bundle="new@2"), before)
    assert (after["T12-L1"], after["L3"]) == (before["T12-L1"], new["L3"])
    assert after.bundle == "new@2"
    assert {mark.status for mark in merged(new, before)} == {"corrected"}  # a file that names no model is a person's


def test_the_doubt_of_another_model_about_the_study_is_taken_with_its_points() -> None:
    before = LandmarkSet(
        tuple(Landmark(name, pixel_xy=(1.0, 2.0)) for name in LUMBAR11), bundle="a@1", needs_review=False
    )
    said = replace(before, bundle="b@1", needs_review=True, warnings=("This image is unlike",))
    found = merged(said, before)
    assert (found.needs_review, found.warnings) == (True, said.warnings)
    assert merged(replace(said, bundle="a@1"), before).needs_review is False
