"""The competition's annotations: what is wrong in them is mended or masked, and told."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.tianchi import TianchiSlice, read_tianchi
from SpineLandmarksLib.landmarks import LUMBAR11

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("SPINE_LANDMARKS_DATA", ROOT / ".." / "shared" / "data")) / "tianchi150"
#: The point of name n lies at (200 + n, 50 + 20 n).
TRUTH = {name: (200.0 + n, 50.0 + 20.0 * n) for n, name in enumerate(LUMBAR11)}


@pytest.fixture
def real_rows() -> list[TianchiSlice]:
    path = DATA / "annotation_rows_raw.json"
    if not path.exists():
        pytest.skip(f"needs the real annotations in {path}")
    return read_tianchi(path)


def point(name: str, tag: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    grade = {"disc": "v1"} if "-" in name else {"vertebra": "v2"}
    tag = {"identification": name, **grade} if tag is None else tag
    return {"coord": list(TRUTH[name]), "tag": tag, "zIndex": 6, **fields}


def all_points(**changed: dict[str, Any]) -> list[dict[str, Any]]:
    return [changed.get(name.replace("-", "_"), point(name)) for name in LUMBAR11]


def published(points: list[dict[str, Any]]) -> list[dict[str, Any]]:
    annotation = [{"annotator": 54, "data": {"point": points}}]
    return [{"studyUid": "1.2", "data": [{"seriesUid": "1.2.3", "instanceUid": "1.2.3.4", "annotation": annotation}]}]


def read(tmp_path: Path, content: object) -> list[TianchiSlice]:
    (tmp_path / "a.json").write_text(json.dumps(content))
    return read_tianchi(tmp_path / "a.json")


def read_one(tmp_path: Path, points: list[dict[str, Any]]) -> TianchiSlice:
    (only,) = read(tmp_path, published(points))
    return only


def positions(annotated: TianchiSlice) -> dict[str, tuple[float, float]]:
    return {item.name: item.pixel_xy for item in annotated.landmarks if item.pixel_xy is not None}


def test_the_published_layout_is_read_with_its_identifiers(tmp_path: Path) -> None:
    annotated = read_one(tmp_path, all_points())
    assert positions(annotated) == TRUTH
    assert annotated.repairs == ()
    assert (annotated.study, annotated.landmarks.series_uid, annotated.instance_uid) == ("1.2", "1.2.3", "1.2.3.4")
    assert (annotated.annotator, annotated.landmarks.slice_index) == ("54", 6)
    assert {item.status for item in annotated.landmarks} == {"confirmed"}
    assert annotated.landmarks.names == LUMBAR11


def test_raw_rows_take_the_study_from_the_file_s_path(tmp_path: Path) -> None:
    annotation = published(all_points())[0]["data"][0]["annotation"]
    (annotated,) = read(tmp_path, [{"dcmPath": "../round2/study109/image7.dcm", "annotation": annotation}])
    assert (annotated.study, annotated.landmarks.input) == ("109", "../round2/study109/image7.dcm")
    assert positions(annotated) == TRUTH


@pytest.mark.parametrize("first", range(10))
def test_two_swapped_neighbours_are_swapped_back_and_their_grades_stay_with_the_names(
    tmp_path: Path, first: int
) -> None:
    upper, lower = LUMBAR11[first : first + 2]
    points = all_points()
    points[first]["coord"], points[first + 1]["coord"] = points[first + 1]["coord"], points[first]["coord"]
    annotated = read_one(tmp_path, points)
    assert positions(annotated) == TRUTH
    assert annotated.grades == {name: ("v1",) if "-" in name else ("v2",) for name in LUMBAR11}
    assert any(f"became {upper}" in mend for mend in annotated.repairs)
    assert any(f"became {lower}" in mend for mend in annotated.repairs)


@given(order=st.permutations(LUMBAR11))
@settings(max_examples=30, deadline=None)
def test_eleven_points_get_their_names_by_place_or_none_but_never_out_of_order(
    tmp_path_factory: pytest.TempPathFactory, order: list[str]
) -> None:
    points = [point(name) | {"coord": list(TRUTH[place])} for name, place in zip(order, LUMBAR11, strict=True)]
    found = positions(read_one(tmp_path_factory.mktemp("order"), points))
    rows = [found[name][1] for name in LUMBAR11 if name in found]
    assert rows == sorted(rows)


def test_one_stray_point_costs_the_others_nothing(tmp_path: Path) -> None:
    annotated = read_one(tmp_path, all_points(L5_S1=point("L5-S1", coord=[300, 10])))
    assert positions(annotated) == {name: TRUTH[name] for name in LUMBAR11[:-1]}
    assert annotated.landmarks["L5-S1"].status == "not_visible"
    assert "L5-S1 at (300.0, 10.0) is out of order" in annotated.repairs[0]


@pytest.mark.parametrize(
    "tag", [{"identification": "T12", "disc": "v1"}, {"identification": "T12"}, {"identification": ""}, {}]
)
def test_a_top_point_without_its_right_name_becomes_t12_l1(tmp_path: Path, tag: dict[str, str]) -> None:
    annotated = read_one(tmp_path, all_points(T12_L1=point("T12-L1", tag)))
    assert positions(annotated) == TRUTH
    assert any("became T12-L1" in mend for mend in annotated.repairs)


def test_a_missing_point_stays_missing_and_t12_itself_is_not_taken_for_it(tmp_path: Path) -> None:
    annotated = read_one(tmp_path, all_points()[1:])
    assert annotated.landmarks["T12-L1"].status == "not_visible"
    assert annotated.repairs == ("T12-L1 is missing and was masked",)
    without_l3 = read_one(tmp_path, [item for item in all_points() if item["tag"]["identification"] != "L3"])
    assert positions(without_l3) == {name: xy for name, xy in TRUTH.items() if name != "L3"}


@pytest.mark.parametrize("name", ["T11-T12", "S1", "L6", "nonsense"])
def test_points_of_other_levels_are_left_out_even_where_a_name_is_missing(tmp_path: Path, name: str) -> None:
    stranger = point("T12-L1", {"identification": name, "disc": "v1"})
    annotated = read_one(tmp_path, all_points(T12_L1=stranger))
    assert positions(annotated) == {name: TRUTH[name] for name in LUMBAR11[1:]}
    assert f"'{name}' at (200.0, 50.0) is the name of no landmark" in annotated.repairs[0]


def test_a_point_written_twice_is_one_point(tmp_path: Path) -> None:
    annotated = read_one(tmp_path, [*all_points(), point("L3")])
    assert positions(annotated) == TRUTH
    assert annotated.repairs == ("L3 came twice at (205.0, 150.0); one was left out",)


def test_two_points_of_one_name_get_their_names_by_place(tmp_path: Path) -> None:
    mistaken = point("L4", {"identification": "L3", "vertebra": "v2"})
    annotated = read_one(tmp_path, all_points(L4=mistaken))
    assert positions(annotated) == TRUTH  # above and below L3-L4, which kept its name, one name is left over each
    assert len(annotated.repairs) == 4


def test_both_tags_empty_texts_and_two_grades_are_told(tmp_path: Path) -> None:
    points = all_points(
        L2=point("L2", {"identification": "L2", "disc": "", "vertebra": "v2"}),
        L2_L3=point("L2-L3", {"identification": "L2-L3", "disc": "v3,v5", "vertebra": ""}),
        L3=point("L3", {"identification": " L3 ", "vertebra": ""}),
    )
    annotated = read_one(tmp_path, points)
    assert positions(annotated) == TRUTH
    assert (annotated.grades["L2"], annotated.grades["L2-L3"], annotated.grades["L3"]) == (("v2",), ("v3", "v5"), ())
    assert annotated.repairs == (
        "L2 has a disc's grade (''), which is not of its kind; it was left out",
        "L2-L3 has a vertebra's grade (''), which is not of its kind; it was left out",
        "L2-L3 has the grades 'v3,v5'; they were kept as 2",
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, r"expected a list of objects; got "),
        ([{"study": 1}], r"expected a field 'studyUid'"),
        ([{"studyUid": "1", "data": [{"annotation": [{}]}]}], r"annotation\[0\], data: expected an object"),
        (published([{"coord": [1], "tag": {}}]), r"point\[0\]: expected 2 finite numbers in 'coord'; got \[1\]"),
        (published([{"coord": [1, 2], "tag": {"disc": 1}}]), r"expected a text in 'disc'; got 1"),
        (published([{"coord": [1, 2], "tag": {}, "zIndex": "6"}]), r"expected a whole number in 'zIndex'"),
    ],
)
def test_another_layout_is_refused_with_the_place(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read(tmp_path, content)


def test_the_mended_real_rows_agree_with_the_curated_landmarks(real_rows: list[TianchiSlice]) -> None:
    curated = {str(row["study"]): row for row in json.loads((DATA / "landmarks.json").read_text())}
    both = [annotated for annotated in real_rows if annotated.study in curated]
    assert len(both) >= 149
    for annotated in both:
        expected = {name: tuple(xy) for name, xy in curated[annotated.study]["landmarks_px"].items()}
        assert positions(annotated) == expected, annotated.study


def test_the_known_defects_of_the_real_rows_are_mended_and_no_other_name_is(real_rows: list[TianchiSlice]) -> None:
    renamed = {annotated.study for annotated in real_rows if any("became" in mend for mend in annotated.repairs)}
    assert renamed == {"109", "123", "143", "161", "187"}
