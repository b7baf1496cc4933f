"""JSON, CSV and markups: what is written is read back, and a file that breaks the rules is refused with the reason."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.errors import FormatError, LandmarkError, OutputError
from SpineLandmarksLib.formats import FORMATS
from SpineLandmarksLib.formats.csv_table import COLUMNS, as_csv, read_csv, write_csv
from SpineLandmarksLib.formats.json_result import read_json, write_json
from SpineLandmarksLib.formats.slicer_markups import read_markups, write_markups
from SpineLandmarksLib.geometry import ras_from_slice
from SpineLandmarksLib.landmarks import ABSENT, LUMBAR11, STATUSES, Landmark, LandmarkSet

READERS = {"json": read_json, "csv": read_csv, "mrk.json": read_markups}
#: An oblique stack: columns 0.5 mm apart along (0.6, -0.8, 0), rows 0.8 mm along (0, 0, -1), slices 4 mm along
#: (0.8, 0.6, 0), first voxel at (10, 20, 30) RAS.
OBLIQUE = np.array([[0.3, 0, 3.2, 10], [-0.4, 0, 2.4, 20], [0, -0.8, 0, 30], [0, 0, 0, 1]])

FEWER = settings(max_examples=40, deadline=None)  # each example writes and reads a file


@pytest.fixture(scope="module", autouse=True)
def a_disk_that_is_not_waited_for() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def a_result() -> LandmarkSet:
    """Pixel (20 + n, 40) of slice 3: R = 10 + 0.3 (20 + n) + 3.2 * 3, and so on; T12-L1 is out of view."""
    seen = [
        Landmark(
            name,
            "confirmed" if name == "L5" else "predicted",
            position_ras_mm=tuple(ras_from_slice(OBLIQUE, 3, [20.0 + n, 40.0]).tolist()),
            pixel_xy=(20.0 + n, 40.0),
            confidence=0.97,
            radius95_mm=3.1,
        )
        for n, name in enumerate(LUMBAR11[1:])
    ]
    return LandmarkSet(
        (Landmark("T12-L1", "out_of_view"), *seen),
        input="study/é.nii.gz",
        series_uid="1.2.3",
        slice_index=3,
        spacing_mm=(0.5, 0.8),
        bundle="lumbar11@1.0",
        runtime_s=0.412345,
        warnings=("A warning, with a comma",),
        notes=("Chosen series: T2",),
        numberings=((0, 0.8), (-1, 0.17), (1, 0.03)),
    )


def finite(low: float, high: float, digits: int) -> st.SearchStrategy[float]:
    return st.floats(low, high).map(lambda value: round(value, digits) + 0.0)


def points(dimensions: int) -> st.SearchStrategy[tuple[float, ...]]:
    return st.tuples(*[finite(-2000, 2000, 3)] * dimensions)


@st.composite
def landmark(draw: st.DrawFn, name: str) -> Landmark:
    status = draw(st.sampled_from(STATUSES))
    known = status not in ABSENT
    return Landmark(
        name,
        status,  # type: ignore[arg-type]
        position_ras_mm=draw(points(3)) if known else None,
        pixel_xy=draw(points(2)) if known else None,
        confidence=draw(st.none() | finite(0, 1, 4)),
        radius95_mm=draw(st.none() | finite(0, 100, 3)),
    )


TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=20)
RESULTS = st.builds(
    LandmarkSet,
    landmarks=st.tuples(*[landmark(name) for name in LUMBAR11]),
    input=TEXTS,
    series_uid=st.none() | TEXTS,
    slice_index=st.none() | st.integers(0, 500),
    spacing_mm=st.none() | st.tuples(*[finite(0.01, 5, 6)] * 2),
    bundle=st.none() | TEXTS,
    runtime_s=st.none() | finite(0, 100, 3),
    warnings=st.lists(TEXTS, max_size=3).map(tuple),
)


def there_and_back(kind: str, result: LandmarkSet) -> LandmarkSet:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"result.{kind}"
        FORMATS[kind](result, path)
        return READERS[kind](path)


@FEWER
@given(RESULTS)
def test_json_gives_back_everything(result: LandmarkSet) -> None:
    assert there_and_back("json", result) == result


def test_a_table_holds_no_nul_which_python_3_10_cannot_write() -> None:
    table = as_csv(LandmarkSet((Landmark("L3"),), warnings=("\0=torn",)), study="\0a")
    assert "\0" not in table
    assert "'=torn" in table


@FEWER
@given(RESULTS)
def test_csv_gives_back_points_slice_and_spacing(result: LandmarkSet) -> None:
    back = there_and_back("csv", result)
    assert back.landmarks == result.landmarks
    assert (back.slice_index, back.spacing_mm) == (result.slice_index, result.spacing_mm)


@FEWER
@given(RESULTS)
def test_markups_give_back_patient_positions_and_doubt(result: LandmarkSet) -> None:
    back = there_and_back("mrk.json", result)
    assert back.landmarks == tuple(replace(item, pixel_xy=None) for item in result)


def test_the_json_contract_is_kept_to_the_letter(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_json(a_result, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert list(content) == [
        "input",
        "series_uid",
        "slice_index",
        "spacing_mm",
        "bundle",
        "runtime_s",
        "warnings",
        "landmarks",
        "needs_review",
        "notes",
        "numberings",
        "corners",
    ]
    assert content["landmarks"][0] == {
        "name": "T12-L1",
        "status": "out_of_view",
        "position_ras_mm": None,
        "pixel_xy": None,
        "confidence": None,
        "radius95_mm": None,
        "needs_review": None,
    }
    # Pixel (20, 40) of slice 3: R = 10 + 0.3*20 + 3.2*3, A = 20 - 0.4*20 + 2.4*3, S = 30 - 0.8*40.
    assert content["landmarks"][1] == {
        "name": "L1",
        "status": "predicted",
        "position_ras_mm": [25.6, 19.2, -2.0],
        "pixel_xy": [20.0, 40.0],
        "confidence": 0.97,
        "radius95_mm": 3.1,
        "needs_review": None,
    }
    assert content["runtime_s"] == 0.412
    assert "é" in content["input"]


def test_a_result_of_a_version_without_notes_is_read(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_json(a_result, tmp_path / "a.json")
    content = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert content.pop("notes") == ["Chosen series: T2"]
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8")
    assert read_json(tmp_path / "a.json") == replace(read_json(tmp_path / "a.json"), notes=())
    assert read_json(tmp_path / "a.json").warnings == a_result.warnings


def test_the_csv_says_its_frame_in_its_columns(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_result, tmp_path / "a.csv")
    text = (tmp_path / "a.csv").read_bytes().decode("utf-8")
    assert text.splitlines()[0] == (
        "label,r_mm,a_mm,s_mm,pixel_x,pixel_y,slice,spacing_x_mm,spacing_y_mm,confidence,radius95_mm,status,"
        "needs_review,warnings"
    )
    warning = '"A warning, with a comma"'
    assert text.splitlines()[1] == f"T12-L1,,,,,,3,0.500000,0.800000,,,out_of_view,,{warning}"
    assert text.splitlines()[2] == (
        f"L1,25.600,19.200,-2.000,20.000,40.000,3,0.500000,0.800000,0.9700,3.100,predicted,,{warning}"
    )
    assert "\r" not in text


def test_every_output_says_that_a_result_may_be_wrong(a_result: LandmarkSet, tmp_path: Path) -> None:
    """One landmark of itself, or all that nobody has decided on, where the study as a whole is doubtful."""
    one = tuple(replace(mark, needs_review=mark.name in ("L2", "L5")) for mark in a_result)
    undecided = {name for name in LUMBAR11 if name != "L5"}
    for whole, flagged in ((False, {"L2", "L5"}), (True, {*undecided, "L5"})):
        result = replace(a_result, landmarks=one, needs_review=whole, warnings=("=odd", "six bodies"))
        write_csv(result, tmp_path / "a.csv")
        rows = list(csv.DictReader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
        assert {row["label"] for row in rows if row["needs_review"] == "true"} == flagged
        assert {row["warnings"] for row in rows} == {"'=odd; six bodies"}
        write_markups(result, tmp_path / "a.mrk.json")
        markup = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))["markups"][0]
        points = markup["controlPoints"]
        assert {point["label"] for point in points if point["description"].endswith("; needs review")} == flagged
        assert markup["description"] == "=odd; six bodies"
        assert read_csv(tmp_path / "a.csv")["L2"].confidence == read_markups(tmp_path / "a.mrk.json")["L2"].confidence


def test_a_table_of_a_version_without_flags_is_read(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_result, tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    (tmp_path / "b.csv").write_text("\n".join(",".join(row[:12]) for row in rows), encoding="utf-8")
    assert read_csv(tmp_path / "b.csv").landmarks == read_csv(tmp_path / "a.csv").landmarks


def test_markups_are_written_in_lps(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_markups(a_result, tmp_path / "a.mrk.json")
    markup = json.loads((tmp_path / "a.mrk.json").read_text(encoding="utf-8"))["markups"][0]
    assert markup["coordinateSystem"] == "LPS"
    assert markup["fixedNumberOfControlPoints"] is True
    assert [point["label"] for point in markup["controlPoints"]] == list(LUMBAR11)
    assert markup["controlPoints"][1]["position"] == [-25.6, -19.2, -2.0]
    assert markup["controlPoints"][0]["positionStatus"] == "undefined"
    assert "position" not in markup["controlPoints"][0]
    assert [point["locked"] for point in markup["controlPoints"]] == [name == "L5" for name in LUMBAR11]


@pytest.mark.parametrize(("system", "expected"), [("LPS", (25.6, 19.2, -2.0)), ("RAS", (-25.6, -19.2, -2.0))])
def test_markups_are_read_in_the_frame_that_they_name(
    a_result: LandmarkSet, tmp_path: Path, system: str, expected: tuple[float, ...]
) -> None:
    path = tmp_path / "a.mrk.json"
    write_markups(a_result, path)
    path.write_text(path.read_text(encoding="utf-8").replace('"LPS"', f'"{system}"'), encoding="utf-8")
    assert read_markups(path)["L1"].position_ras_mm == expected


def test_markups_of_an_image_without_spacing_make_no_position_up(tmp_path: Path) -> None:
    result = LandmarkSet((Landmark("L1", pixel_xy=(251.4, 300.1), confidence=0.9),), input="slice.png")
    write_markups(result, tmp_path / "a.mrk.json")
    (point,) = json.loads((tmp_path / "a.mrk.json").read_text())["markups"][0]["controlPoints"]
    assert point["positionStatus"] == "undefined"
    assert "position" not in point
    assert "pixel (251.4, 300.1)" in point["description"]


@pytest.mark.parametrize("kind", list(FORMATS))
def test_missing_names_are_masked_and_the_order_is_the_schema_s(kind: str, tmp_path: Path) -> None:
    low, high = Landmark("L5", position_ras_mm=(1.0, 2.0, 3.0)), Landmark("L1", position_ras_mm=(4.0, 5.0, 6.0))
    result = LandmarkSet((low, high))
    FORMATS[kind](result, tmp_path / "a")
    back = READERS[kind](tmp_path / "a")
    assert back.names == LUMBAR11
    assert back["L5"].position_ras_mm == (1.0, 2.0, 3.0)
    assert all(item.is_absent == (item.name not in ("L1", "L5")) for item in back)


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("name", ["L6", "l7", "", "=1+1", "-L1"])
def test_unknown_names_are_refused_with_the_known_ones(kind: str, name: str, tmp_path: Path) -> None:
    FORMATS[kind](LandmarkSet((Landmark(name, position_ras_mm=(1.0, 2.0, 3.0)),)), tmp_path / "a")
    with pytest.raises(FormatError, match=r"Expected names of T12-L1, .*; got '") as caught:
        READERS[kind](tmp_path / "a")
    assert repr(name) in str(caught.value)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_other_schemas_are_read_when_named(kind: str, tmp_path: Path) -> None:
    FORMATS[kind](LandmarkSet((Landmark("-C2", position_ras_mm=(1.0, 2.0, 3.0)),)), tmp_path / "a")
    assert READERS[kind](tmp_path / "a", ["C1", "-C2"])["-C2"].position_ras_mm == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_never_written(kind: str, bad: float, tmp_path: Path) -> None:
    with pytest.raises(LandmarkError, match="Expected finite numbers"):
        FORMATS[kind](LandmarkSet((Landmark("L1", position_ras_mm=(1.0, bad, 3.0)),)), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_missing_folder_is_an_output_error(kind: str, a_result: LandmarkSet, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        FORMATS[kind](a_result, tmp_path / "none" / "a")


@pytest.mark.parametrize("kind", list(FORMATS))
@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff\xfe\x00\x01", b"{", b"[]", b"null", b'"', b"[" * 100_000, b"1" * 5000]
)
def test_what_is_no_landmark_file_gives_one_line(kind: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(FormatError) as caught:
        READERS[kind](tmp_path / "a")
    assert str(tmp_path / "a") in str(caught.value)
    assert len(str(caught.value)) < 600
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", list(FORMATS))
def test_a_file_that_is_not_there_gives_one_line(kind: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="No such file or directory"):
        READERS[kind](tmp_path / "none")


# What a hand or a script may do to the JSON of a result, and what the reader says.
Change = Callable[[dict[str, Any]], object]
JSON_DEFECTS: list[tuple[Change, str]] = [
    (lambda c: c.pop("landmarks"), r"expected a field 'landmarks'; found 'input'"),
    (lambda c: c.update(landmarks={}), r"expected a list in 'landmarks'; got \{\}"),
    (lambda c: c["landmarks"].append(c["landmarks"][1]), r"L1 more than once"),
    (lambda c: c["landmarks"][1].update(position_ras_mm=[1, 2]), r"landmarks\[1\]: expected 3 finite numbers"),
    (lambda c: c["landmarks"][1].update(position_ras_mm=[1, 2, True]), r"got \[1, 2, true\]"),
    (lambda c: c["landmarks"][1].update(position_ras_mm=[1, 2, 1e300]), r"places within 1e\+06 mm; got 1e\+300"),
    (lambda c: c["landmarks"][1].update(pixel_xy="1,2"), r"expected 2 finite numbers in 'pixel_xy'; got \"1,2\""),
    (lambda c: c["landmarks"][1].update(confidence=1.5), r"landmarks\[1\]: .*confidence in 0..1; got 1.5"),
    (lambda c: c["landmarks"][1].update(status="sure"), r"got 'sure'"),
    (lambda c: c["landmarks"][0].update(pixel_xy=[1, 2]), r"T12-L1 is out_of_view; expected no position"),
    (lambda c: c.update(landmarks=["L1"]), r"landmarks\[0\]: expected an object with named fields; got \"L1\""),
    (lambda c: c.update(spacing_mm=[0.5, 0]), r"expected a positive spacing"),
    (lambda c: c.update(spacing_mm=0.5), r"expected 2 finite numbers in 'spacing_mm'; got 0.5"),
    (lambda c: c.update(slice_index=1.5), r"expected a whole number in 'slice_index'; got 1.5"),
    (lambda c: c.update(warnings=[1]), r"expected texts in 'warnings'; got 1"),
    (lambda c: c.update(input=None), r"expected a text in 'input'; got null"),
]


@pytest.mark.parametrize(("change", "message"), JSON_DEFECTS)
def test_a_changed_json_is_refused_with_the_reason(
    a_result: LandmarkSet, tmp_path: Path, change: Change, message: str
) -> None:
    path = tmp_path / "a.json"
    write_json(a_result, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"input": "a", "input": "b", "landmarks": []}', "'input' twice"),
        ('{"input": "a", "landmarks": [], "runtime_s": NaN}', "expected finite numbers; got NaN"),
        ('{"input": "a", "landmarks": [], "runtime_s": 1e999}', "expected a finite number in 'runtime_s'"),
        ('{"input": "a", "landmarks": [', "line 1 column"),
    ],
)
def test_json_that_python_would_let_pass_is_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(FormatError, match=message):
        read_json(tmp_path / "a.json")


CSV_DEFECTS = [
    ("L1,25.600", "L1,twenty", r"row 3: expected a number or nothing in 'r_mm'; got 'twenty'"),
    ("L1,25.600", "L1,nan", r"row 3: expected a number .* got 'nan'"),
    ("L1,25.600", "L1,", r"row 3: expected all or none of r_mm, a_mm, s_mm"),
    ("L1,25.600", "L1,1,25.600", r"row 3: expected 14 cells as in the first row; got 15"),
    ("L1,25.600", "L2,25.600", r"L2 more than once"),
    ("L1,25.600", "L7,25.600", r"got 'L7'"),
    ("predicted", "sure", r"row 3: .*got 'sure'"),
    ("label", "name", r"expected the columns label, r_mm"),
    ("r_mm", "x_mm", r"row 2|got label, x_mm"),
    ("0.9700", "9.7", r"row 3: .*confidence in 0..1; got 9.7"),
    (",3,0.500000", ",3.5,0.500000", r"row 2: expected a whole number in 'slice'; got '3.5'"),
    ("40.000,3,", "40.000,4,", r"row 3: expected the same slice in all rows; got 4 after 3"),
    (",0.500000,", ",-0.5,", r"row 2: expected a positive spacing"),
    ("T12-L1,", '"T12-L1,', r"expected a comma-separated table"),
]


@pytest.mark.parametrize(("old", "new", "message"), CSV_DEFECTS)
def test_a_changed_csv_is_refused_with_the_row(
    a_result: LandmarkSet, tmp_path: Path, old: str, new: str, message: str
) -> None:
    path = tmp_path / "a.csv"
    write_csv(a_result, path)
    text = path.read_text(encoding="utf-8")
    if old == "r_mm":  # then the pixels must go as well, for one kind of point is enough
        text = text.replace("pixel_x", "column")
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_csv(path)


def test_a_table_saved_by_a_spreadsheet_with_semicolons_is_read(a_result: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_result, tmp_path / "a.csv")
    rows = list(csv.reader((tmp_path / "a.csv").read_text(encoding="utf-8").splitlines()))
    lines = [";".join(cell if "-" in cell[1:] else cell.replace(".", ",") for cell in row) for row in rows]
    (tmp_path / "b.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n" + ";" * 11).encode())
    assert read_csv(tmp_path / "b.csv").landmarks == read_csv(tmp_path / "a.csv").landmarks


def test_a_table_of_labels_and_positions_alone_is_read_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("note,S_mm,A_mm,R_mm,label\nmine,3,2,1,L5\n\n,6,5,4,L1\n")
    back = read_csv(tmp_path / "a.csv")
    assert back["L5"] == Landmark("L5", "predicted", position_ras_mm=(1.0, 2.0, 3.0))
    assert back["L2"].is_absent


def test_no_cell_of_a_table_starts_like_a_formula(tmp_path: Path) -> None:
    for start in "=+-@":
        write_csv(LandmarkSet((Landmark(f"{start}cmd", position_ras_mm=(1.0, 2.0, 3.0)),)), tmp_path / "a.csv")
        row = (tmp_path / "a.csv").read_text().splitlines()[1].split(",")
        assert row[COLUMNS.index("label")] == f"'{start}cmd"


MARKUP_DEFECTS: list[tuple[Change, str]] = [
    (lambda m: m.update(coordinateSystem="IJK"), "expected LPS or RAS in 'coordinateSystem'; got \"IJK\""),
    (lambda m: m.update(coordinateUnits="um"), "expected mm in 'coordinateUnits'; got \"um\""),
    (lambda m: m.update(type="Line"), "expected one markup of type Fiducial; got 0"),
    (lambda m: m["controlPoints"][1].update(position=""), r"controlPoints\[1\]: expected 3 finite numbers"),
    (lambda m: m["controlPoints"][1].update(label="F-1"), "got 'F-1'"),
    (lambda m: m["controlPoints"].append(m["controlPoints"][1]), "L1 more than once"),
]


@pytest.mark.parametrize(("change", "message"), MARKUP_DEFECTS)
def test_changed_markups_are_refused_with_the_reason(
    a_result: LandmarkSet, tmp_path: Path, change: Change, message: str
) -> None:
    path = tmp_path / "a.mrk.json"
    write_markups(a_result, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content["markups"][0])
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(FormatError, match=message):
        read_markups(path)


def test_a_point_that_a_person_set_or_unset_in_slicer_is_believed(a_result: LandmarkSet, tmp_path: Path) -> None:
    path = tmp_path / "a.mrk.json"
    write_markups(a_result, path)
    content = json.loads(path.read_text(encoding="utf-8"))
    set_one, unset_one, edited = content["markups"][0]["controlPoints"][:3]
    set_one.update(positionStatus="defined", position=[1, 2, 3])  # was out of view
    unset_one.update(positionStatus="missing", position="")  # was predicted
    edited["description"] = "looks odd; confidence high"
    path.write_text(json.dumps(content), encoding="utf-8")
    back = read_markups(path)
    assert (back["T12-L1"].status, back["T12-L1"].position_ras_mm) == ("corrected", (-1.0, -2.0, 3.0))
    assert (back["L1"].status, back["L1"].position_ras_mm) == ("not_visible", None)
    assert (back["L1-L2"].status, back["L1-L2"].confidence) == ("corrected", None)
