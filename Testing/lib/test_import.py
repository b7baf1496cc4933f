"""Landmark files of every kind we read, brought onto a volume, and the tables in RAS and LPS."""

from __future__ import annotations

import csv
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import MisreadError, import_landmarks
from SpineLandmarksLib.arguments import FORMAT_NAMES
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import FORMATS, READERS, ending_of, read_landmarks
from SpineLandmarksLib.formats.csv_table import as_text, read_csv, write_csv
from SpineLandmarksLib.formats.fcsv import read_fcsv
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

#: 1 mm voxels; R 10..60, A 100..200, S -300..0 in the middle of the voxels.
FRAME = ImageFrame(np.array([[0, 0, 1.0, 10], [0, -1.0, 0, 200], [-1.0, 0, 0, 0], [0, 0, 0, 1]]), (301, 101, 51))
COLUMNS = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"


@pytest.fixture
def a_set() -> LandmarkSet:
    """In FRAME; L5-S1 cannot be seen."""
    points = [Landmark(name, "predicted", (30.5, 150.25, -20.0 * n), None, 0.9, 2.0) for n, name in enumerate(LUMBAR11)]
    return LandmarkSet((*points[:-1], Landmark("L5-S1", "not_visible")))


def an_fcsv(path: Path, *lines: str, system: str | None = "LPS") -> Path:
    header = "# Markups fiducial file version = 4.13\n"
    header += f"# CoordinateSystem = {system}\n" if system is not None else ""
    path.write_text(header + COLUMNS + "".join(f"{line}\n" for line in lines))
    return path


# tables in RAS and LPS


def test_the_table_says_in_its_header_that_it_is_in_lps_and_reads_back_in_ras(
    a_set: LandmarkSet, tmp_path: Path
) -> None:
    write_csv(a_set, tmp_path / "lps.csv", "LPS")
    lines = (tmp_path / "lps.csv").read_text().splitlines()
    assert lines[0].startswith("label,l_mm,p_mm,s_mm,pixel_x")
    assert lines[2].startswith("L1,-30.500,-150.250,-20.000,")
    assert read_csv(tmp_path / "lps.csv").landmarks == a_set.landmarks


def test_the_table_is_in_ras_when_nothing_is_said(a_set: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_set, tmp_path / "ras.csv")
    lines = (tmp_path / "ras.csv").read_text().splitlines()
    assert lines[0].startswith("label,r_mm,a_mm,s_mm,pixel_x")
    assert lines[2].startswith("L1,30.500,150.250,-20.000,")


def test_a_table_in_both_frames_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,r_mm,a_mm,s_mm,l_mm,p_mm\nL1,1,2,3,-1,-2\n")
    with pytest.raises(FormatError, match="in RAS or in LPS; got columns of both: label, r_mm"):
        read_csv(tmp_path / "t.csv")


def test_a_table_with_half_a_position_in_lps_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,l_mm,p_mm,s_mm\nL1,1,,3\n")
    with pytest.raises(FormatError, match="row 2: expected all or none of l_mm, p_mm, s_mm"):
        read_csv(tmp_path / "t.csv")


def test_the_clipboard_gets_the_table_with_tabs(a_set: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_set, tmp_path / "lps.csv", "LPS")
    rows = list(csv.reader(io.StringIO(as_text(a_set, "LPS")), delimiter="\t"))
    assert rows == list(csv.reader((tmp_path / "lps.csv").read_text().splitlines()))
    assert rows[1][:4] == ["T12-L1", "-30.500", "-150.250", "0.000"]


# onto a volume


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_we_write_comes_back_onto_the_volume(a_set: LandmarkSet, tmp_path: Path, name: str) -> None:
    path = tmp_path / f"Case.{name.upper()}"
    FORMATS[name](a_set, path)
    assert import_landmarks(path, LUMBAR11, FRAME).landmarks == a_set.landmarks


def test_an_unknown_ending_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"points\.txt: .* ends in \.mrk\.json, \.json, \.csv, .*; got another"):
        import_landmarks(tmp_path / "points.txt")


def test_names_of_another_schema_are_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,r_mm,a_mm,s_mm\nC7,30,150,-20\n")
    with pytest.raises(FormatError, match=r"Expected names of T12-L1, .*; got 'C7'"):
        import_landmarks(tmp_path / "t.csv", LUMBAR11, FRAME)


@pytest.mark.parametrize(
    ("content", "got"),
    [("label,pixel_x,pixel_y\nL1,3,4\n", "pixels only"), ("label,r_mm,a_mm,s_mm\n", "no point at all")],
)
def test_a_file_without_patient_positions_is_refused(tmp_path: Path, content: str, got: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(FormatError, match=f"patient millimetres; got {got}"):
        import_landmarks(tmp_path / "t.csv", LUMBAR11, FRAME)


def test_points_of_another_study_are_refused(a_set: LandmarkSet, tmp_path: Path) -> None:
    far = LandmarkSet(tuple(Landmark(n, position_ras_mm=(500.0, 500.0, 500.0)) for n in LUMBAR11))
    write_csv(far, tmp_path / "t.csv")
    with pytest.raises(FormatError, match=r"inside the volume; 11 of 11 lie outside\. Is it the file of this study"):
        import_landmarks(tmp_path / "t.csv", LUMBAR11, FRAME)
    assert import_landmarks(tmp_path / "t.csv", LUMBAR11)["L1"].position_ras_mm == (500.0, 500.0, 500.0)


def test_points_that_fit_when_flipped_are_refused_as_a_mix_up_of_frames(a_set: LandmarkSet, tmp_path: Path) -> None:
    write_csv(a_set, tmp_path / "t.csv", "LPS")
    text = (tmp_path / "t.csv").read_text().replace("l_mm,p_mm", "r_mm,a_mm")
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(MisreadError, match=r"10 of 10 lie outside\. Read as LPS .* --frame lps") as refused:
        import_landmarks(tmp_path / "t.csv", LUMBAR11, FRAME)
    assert import_landmarks(tmp_path / "t.csv", LUMBAR11, FRAME, refused.value.reading).landmarks == a_set.landmarks


def test_the_few_points_beyond_the_volume_are_out_of_view(a_set: LandmarkSet, tmp_path: Path) -> None:
    low = ImageFrame(FRAME.ras_from_ijk @ np.array([[1, 0, 0, 31], *np.eye(4)[1:]]), (270, 101, 51))  # from S -31 down
    write_csv(a_set, tmp_path / "t.csv")
    found = import_landmarks(tmp_path / "t.csv", LUMBAR11, low)
    assert [landmark.status for landmark in found] == ["out_of_view"] * 2 + ["predicted"] * 8 + ["not_visible"]
    assert found["L1"] == Landmark("L1", "out_of_view")
    assert found["L2"] == a_set["L2"]


# Slicer's former format


@pytest.mark.parametrize(
    ("system", "expected"), [("RAS", (1, 2, 3)), ("0", (1, 2, 3)), ("LPS", (-1, -2, 3)), ("1", (-1, -2, 3))]
)
def test_each_way_to_name_the_frame_of_an_fcsv_is_understood(
    tmp_path: Path, system: str, expected: tuple[float, ...]
) -> None:
    path = an_fcsv(tmp_path / "a.fcsv", "1,1,2,3,0,0,0,1,1,1,0,L1,,", system=system)
    found = read_fcsv(path)
    assert found["L1"] == Landmark("L1", "corrected", expected)  # type: ignore[arg-type]
    assert found["L2"].status == "not_visible"


def test_our_description_in_an_fcsv_says_status_and_doubt(tmp_path: Path) -> None:
    described = '1,1,2,3,0,0,0,1,1,1,0,L1,"predicted; confidence 0.93; radius95 2.5 mm",,2,0'
    path = an_fcsv(tmp_path / "a.fcsv", described, "", "2,4,5,6,0,0,0,1,1,1,0,L2,confirmed,,0,0", system="RAS")
    found = read_fcsv(path)
    assert found["L1"] == Landmark("L1", "predicted", (1.0, 2.0, 3.0), None, 0.93, 2.5)
    assert found["L2"] == Landmark("L2", "not_visible")


LINE = "1,1,2,3,0,0,0,1,1,1,0,L1,,"


@pytest.mark.parametrize(
    ("system", "line", "message"),
    [
        (None, LINE, "RAS, LPS, 0 or 1; got 'none'. Load it in Slicer"),
        ("2", LINE, "RAS, LPS, 0 or 1; got '2'"),
        ("RAS", "1,1,nan,3,0,0,0,1,1,1,0,L1,,", r"line 4: expected finite numbers in x, y, z; got '1', 'nan', '3'"),
        ("RAS", "1,1,two,3,0,0,0,1,1,1,0,L1,,", "line 4: expected finite numbers"),
        ("RAS", "1,1,2,3", "line 4: expected 14 values; got 4"),
        ("RAS", '1,1,2,3,0,0,0,1,1,1,0,"L1,,', "line 4: expected comma-separated values"),
        ("RAS", "1,1,2,3,0,0,0,1,1,1,0,F-1,,", "Expected names of T12-L1, .*; got 'F-1'"),
        ("RAS", f"{LINE}\n{LINE}", "L1 more than once"),
    ],
)
def test_an_fcsv_that_breaks_its_format_says_where(tmp_path: Path, system: str | None, line: str, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_fcsv(an_fcsv(tmp_path / "a.fcsv", line, system=system))


def test_an_fcsv_without_columns_not_there_or_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.fcsv").write_text("# CoordinateSystem = LPS\n")
    with pytest.raises(FormatError, match="with x, y, z and label"):
        read_fcsv(tmp_path / "a.fcsv")
    with pytest.raises(FormatError, match=r"Could not read .*none\.fcsv"):
        read_fcsv(tmp_path / "none.fcsv")
    (tmp_path / "b.fcsv").write_bytes(b"\xff\xff")
    with pytest.raises(FormatError, match="in UTF-8"):
        read_fcsv(tmp_path / "b.fcsv")


@pytest.fixture(scope="module")
def mrml() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Slicer's own import says is not ours to mend
        slicer = pytest.importorskip("slicer", reason="needs PyPI slicer-core, the real MRML of 3D Slicer")
    if not hasattr(slicer, "vtkMRMLMarkupsFiducialStorageNode"):
        pytest.skip("the installed package 'slicer' is not slicer-core")
    return slicer


def four_points_in(scene: Any) -> Any:
    """A list of Slicer: L1 as the model says it, L1-L2 without a position, L2 missing, L3 as a person puts it."""
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    for number, name in enumerate(("L1", "L1-L2", "L2", "L3"), start=1):
        node.AddControlPoint([10.0 * number, 2.5, -3.0], name)
    node.SetNthControlPointDescription(0, "predicted; confidence 0.93; radius95 2.5 mm, or so")
    node.UnsetNthControlPointPosition(1)
    node.SetNthControlPointPositionMissing(2)
    return node


@pytest.mark.parametrize("system", ["RAS", "LPS"])
def test_an_fcsv_that_slicer_itself_wrote_reads_back(mrml: Any, tmp_path: Path, system: str) -> None:
    scene = mrml.vtkMRMLScene()
    application, logic = mrml.vtkSlicerApplicationLogic(), mrml.vtkSlicerMarkupsLogic()
    application.SetMRMLScene(scene)
    logic.SetMRMLApplicationLogic(application)
    logic.SetMRMLScene(scene)
    node = four_points_in(scene)
    storage = mrml.vtkMRMLMarkupsFiducialStorageNode()
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "a.fcsv"))
    storage.SetCoordinateSystem(storage.GetCoordinateSystemFromString(system))
    assert storage.WriteData(node)
    found = import_landmarks(tmp_path / "a.fcsv")
    assert found["L1"] == Landmark("L1", "predicted", (10.0, 2.5, -3.0), None, 0.93, 2.5)
    assert found["L3"] == Landmark("L3", "corrected", (40.0, 2.5, -3.0))
    assert [found[name].status for name in ("L1-L2", "L2", "L4")] == ["not_visible"] * 3
    scene.Clear(True)


@pytest.mark.parametrize("is_lps", [True, False])
def test_the_table_that_slicer_itself_exports_is_read(mrml: Any, tmp_path: Path, is_lps: bool) -> None:
    scene = mrml.vtkMRMLScene()
    node = four_points_in(scene)
    node.SetNthControlPointDescription(2, "predicted; confidence 0.5")
    assert mrml.vtkSlicerMarkupsLogic.ExportControlPointsToCSV(node, str(tmp_path / "a.csv"), is_lps)
    found = read_landmarks(tmp_path / "a.csv")
    assert found["L1"] == Landmark("L1", "predicted", (10.0, 2.5, -3.0), None, 0.93, 2.5)
    assert found["L3"] == Landmark("L3", "corrected", (40.0, 2.5, -3.0))
    assert found["L2"].status == "not_visible"  # a person has taken it away
    assert found.names == ("L1", "L2", "L3")  # L1-L2 was never placed
    scene.Clear(True)


# What people and spreadsheets make of a table


@pytest.mark.parametrize("codec", ["utf-8", "utf-16", "utf-16-be"])
def test_what_a_spreadsheet_saves_as_unicode_text_is_read(codec: str, tmp_path: Path) -> None:
    text = "label\tr_mm\ta_mm\ts_mm\r\nL3\t1,5\t2\t3\r\n"
    (tmp_path / "t.csv").write_bytes((("\ufeff" if codec.endswith("be") else "") + text).encode(codec))
    assert read_landmarks(tmp_path / "t.csv")["L3"].position_ras_mm == (1.5, 2.0, 3.0)


@pytest.mark.parametrize("label", ["T12-L1", "Th12/L1", "TH12-L1", "D12 - L1", "t12\u2013l1"])
def test_the_thoracic_level_is_read_as_other_languages_write_it(label: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"label,r_mm,a_mm,s_mm\n{label},1,2,3\n", encoding="utf-8")
    assert read_landmarks(tmp_path / "t.csv")["T12-L1"].position_ras_mm == (1.0, 2.0, 3.0)


@pytest.mark.parametrize("label", ["L4-5", "L3-1", "LV3", "L3 L4", "Th-L1"])
def test_a_label_that_may_mean_something_else_is_refused(label: str, tmp_path: Path) -> None:
    """Slicer calls the fifth point of a list "L4" by itself L4-5."""
    (tmp_path / "t.csv").write_text(f"label,r_mm,a_mm,s_mm\n{label},1,2,3\n")
    with pytest.raises(FormatError, match="Expected names of"):
        read_landmarks(tmp_path / "t.csv")


@pytest.mark.parametrize(
    "text",
    [
        "label,l,p,s\nL1,-1.5,-2,3\nL1-L2,-4,-5,6\n",
        "label,R,A,S\nl1,1.5,2,3\nL1/L2,4,5,6\n",
        "sep=;\nlabel;r_mm;a_mm;s_mm\nL1;1,5;2;3\nL1\u2013L2;4;5;6\n",
        "sep=,\r\nlabel,r_mm,a_mm,s_mm\r\nL1,1.5,2,3\r\nL1 - L2,4,5,6\r\n",
        "\ufeffSEP=\t\nLabel\tr_mm\ta_mm\ts_mm\nL1\t1,5\t2\t3\nl1-l2\t4\t5\t6\n",
        "label;r_mm;a_mm;s_mm;status\n L1 ;1,5;2;3;predicted\nL1\u2212L2;4;5,0;6;predicted\n",
    ],
)
@pytest.mark.parametrize("ending", [".csv", ".CSV", ".Csv"])
def test_what_is_clear_is_read(text: str, ending: str, tmp_path: Path) -> None:
    (tmp_path / f"t{ending}").write_text(text, encoding="utf-8", newline="")
    found = read_landmarks(tmp_path / f"t{ending}")
    assert {mark.name: mark.position_ras_mm for mark in found} == {"L1": (1.5, 2.0, 3.0), "L1-L2": (4.0, 5.0, 6.0)}


def test_rows_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("sep=;\nlabel;r_mm;a_mm;s_mm\nL1;1;2;\n")
    with pytest.raises(FormatError, match=r"t\.csv, row 3:"):
        read_csv(tmp_path / "t.csv")


def test_one_landmark_spelled_in_two_ways_is_there_twice(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("label,r_mm,a_mm,s_mm\nL1/L2,1,2,3\nl1-l2,1,2,3\n")
    with pytest.raises(FormatError, match="L1-L2 more than once"):
        read_csv(tmp_path / "t.csv")


def test_all_lists_of_endings_are_those_of_the_readers() -> None:
    assert {f".{name}" for name in FORMATS} <= set(READERS)
    assert set(FORMATS) == set(FORMAT_NAMES)
    assert all(ending_of(f"x{ending.upper()}") == ending.upper() for ending in READERS)
