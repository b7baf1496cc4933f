"""Many inputs: one failure stops nothing, nothing is overwritten, nothing is half written."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pydicom
import pytest

from SpineLandmarksLib.batch import local, predict_all, result_text, stems
from SpineLandmarksLib.errors import OutputError
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom
from SpineLandmarksLib.predict import Localizer, predict

ALL = ("json", "csv", "mrk.json")
FILES = ("json", "csv", "mrk.json", "overlay.png")
RUN = {"summary.json", "summary.csv", "studies.jsonl"}


@pytest.fixture
def three_inputs(a_picture: Path, tmp_path: Path) -> list[Path]:
    """The second is no image."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / name for name in ("one.png", "two.png", "three.png")]
    for path in paths:
        shutil.copy(a_picture, path)
    paths[1].write_text("not an image")
    return paths


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_one_bad_of_three_does_not_stop_the_others(
    three_inputs: list[Path], a_localizer: Localizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert predict_all(three_inputs, a_localizer, out, ALL) == 1
    assert written(out) == {f"{stem}.{name}" for stem in ("one", "three") for name in FILES} | {"failed.json"} | RUN
    (entry,) = json.loads((out / "failed.json").read_text())
    assert entry["input"] == str(three_inputs[1])
    said = capsys.readouterr()
    assert said.err == f"spine-landmarks: {three_inputs[1]}: {entry['error']}\n"
    assert said.out.endswith(f"2 of 3 studies localized; failures in {out / 'failed.json'}\n")


def test_the_only_input_failing_is_status_2_and_one_line(
    three_inputs: list[Path], a_localizer: Localizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict_all(three_inputs[1:2], a_localizer, tmp_path / "out", ALL) == 2
    assert written(tmp_path / "out") == {"failed.json"}
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_failures_of_an_earlier_run_do_not_stay_behind(
    three_inputs: list[Path], a_localizer: Localizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    predict_all(three_inputs, a_localizer, out, ("json",))
    assert predict_all(three_inputs[:1], a_localizer, out, ("json",)) == 0
    assert not (out / "failed.json").exists()
    assert predict_all([three_inputs[0], three_inputs[2]], a_localizer, out, ("json",)) == 0
    assert capsys.readouterr().out.endswith("2 of 2 studies localized\n")


def test_a_fault_of_the_program_is_one_entry_with_its_details(
    three_inputs: list[Path],
    a_localizer: Localizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def faulty(path: Path, *rest: object) -> object:
        if path.stem == "one":
            raise ZeroDivisionError("division\nby zero")
        return read_study(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(local, "read_study", faulty)
    assert predict_all(three_inputs, a_localizer, tmp_path / "out", ("json",)) == 1
    entries = json.loads((tmp_path / "out" / "failed.json").read_text())
    assert [Path(entry["input"]).stem for entry in entries] == ["one", "two"]
    assert entries[0]["error"].startswith("Unexpected ZeroDivisionError: division by zero")
    assert "Traceback" in entries[0]["details"]
    assert "Traceback" not in capsys.readouterr().err
    assert (tmp_path / "out" / "three.json").exists()


def test_too_little_memory_is_said_in_words(
    three_inputs: list[Path],
    a_localizer: Localizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def starved(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(local, "read_study", starved)
    assert predict_all(three_inputs[:1], a_localizer, tmp_path / "out", ("json",)) == 2
    assert "enough memory" in capsys.readouterr().err


def test_an_interrupt_leaves_whole_files_and_the_failures_so_far(
    three_inputs: list[Path], a_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localize, stacks = a_localizer.localize, []

    def interrupted(stack: SagittalStack, slice_index: int | None) -> LandmarkSet:
        stacks.append(stack.source)
        if len(stacks) == 2:  # of the third, as the second is no image
            raise KeyboardInterrupt
        return localize(stack, slice_index)

    monkeypatch.setattr(a_localizer, "localize", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict_all(three_inputs, a_localizer, tmp_path / "out", ("json",))
    assert written(tmp_path / "out") == {"one.json", "one.overlay.png", "failed.json"} | RUN
    assert len(json.loads((tmp_path / "out" / "failed.json").read_text())) == 1


def test_a_full_disk_leaves_no_half_file(
    three_inputs: list[Path], a_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "one.json").write_text("as it was")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left"):  # not even the list of failures can be written
        predict_all(three_inputs[:1], a_localizer, out, ALL)
    assert written(out) == {"one.json.stale"}
    assert (out / "one.json.stale").read_text() == "as it was"


def test_a_folder_that_cannot_be_made_is_an_error(three_inputs: list[Path], a_localizer: Localizer) -> None:
    for output in (three_inputs[0], three_inputs[0] / "below"):
        with pytest.raises(OutputError, match="Expected a folder that can be made"):
            predict_all(three_inputs, a_localizer, output, ALL)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a/x.nii.gz"], ["x"]),
        (["a/x.nii.gz", "a/y.dcm"], ["x", "y"]),
        (["a/x.nii", "b/x.nii"], ["a_x", "b_x"]),
        (["p/a/x.nii", "q/a/x.nii"], ["p_a_x", "q_a_x"]),
        (["a/x.nii", "a/x.png"], ["{up}a_x", "{up}a_x-2"]),
        (["a/X.nii", "b/x.nii"], ["a_X", "b_x"]),
        (["a/x.nii", "a/x.nii"], ["x", "x"]),
        (["a/x.nii", "a/../a/x.nii"], ["x", "x"]),
        (["a/failed.png"], ["failed-2"]),
        (["a/Summary.png"], ["Summary-2"]),
        (["a/.png"], [".png"]),
        (["a/study.v2"], ["study.v2"]),
        (["a/SCAN.NII.GZ"], ["SCAN"]),
    ],
)
def test_results_are_named_after_inputs_and_never_alike(tmp_path: Path, inputs: list[str], expected: list[str]) -> None:
    up = "_".join(tmp_path.parts[1:]) + "_"
    assert stems([tmp_path / name for name in inputs]) == [name.format(up=up) for name in expected]


def test_a_folder_keeps_its_whole_name(tmp_path: Path) -> None:
    (tmp_path / "patient.dcm").mkdir()
    assert stems([tmp_path / "patient.dcm"]) == ["patient.dcm"]
    assert stems([Path("/")]) == ["study"]


def test_equal_names_in_two_folders_do_not_overwrite_each_other(
    a_picture: Path, a_localizer: Localizer, tmp_path: Path
) -> None:
    inputs = [tmp_path / folder / "x.png" for folder in ("a", "b")]
    for path in inputs:
        path.parent.mkdir()
        shutil.copy(a_picture, path)
    assert predict_all(inputs, a_localizer, tmp_path / "out", ("json",)) == 0
    found = {name: json.loads((tmp_path / "out" / f"{name}_x.json").read_text())["input"] for name in ("a", "b")}
    assert found == {"a": str(inputs[0]), "b": str(inputs[1])}


@pytest.mark.skipif(os.name == "nt" or os.sys.platform == "darwin", reason="these systems have no such names")
def test_a_name_that_is_not_utf_8_is_read_and_written(a_picture: Path, a_localizer: Localizer, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.png"))
    shutil.copy(a_picture, path)
    assert predict_all([path], a_localizer, tmp_path / "out", ALL) == 0
    assert written(tmp_path / "out") == {f"M\ufffdller.{name}" for name in FILES}


def test_the_line_for_people_bears_unknown_confidence(a_localizer: Localizer, a_picture: Path) -> None:
    stack, _ = predict(a_picture, a_localizer)
    unknown = LandmarkSet((Landmark("L1", "predicted"),), input="x.png", slice_index=0)
    assert (
        result_text(stack, unknown, Path("out/x")).splitlines()[0] == "x.png: 1 of 1 landmarks on slice 0, -> out/x.*"
    )


def test_a_prior_exam_in_the_folder_is_told_in_every_result(
    a_localizer: Localizer, a_phantom: Phantom, tmp_path: Path
) -> None:
    write_dicom_series(a_phantom, tmp_path / "disc" / "now")
    for file in write_dicom_series(a_phantom, tmp_path / "disc" / "prior").iterdir():
        prior = pydicom.dcmread(file)
        prior.StudyInstanceUID, prior.SeriesInstanceUID, prior.StudyDate = "1.2.9", "1.2.9.1", "19990101"
        prior.save_as(file)
    out = tmp_path / "out"
    assert predict_all([tmp_path / "disc", tmp_path / "disc" / "now"], a_localizer, out, ALL) == 0
    result, alone = (json.loads((out / f"{name}.json").read_text()) for name in ("disc", "now"))
    assert result["landmarks"] == alone["landmarks"]
    said = [warning for warning in result["warnings"] if "2 exams" in warning]
    assert said == [*set(result["warnings"]) - set(alone["warnings"])]
    assert any("Other series" in note for note in result["notes"])
    assert said[0] in json.loads((out / "summary.json").read_text())["rows"][0]["warnings"]
    assert said[0] in (out / "summary.csv").read_text()
    assert predict_all([tmp_path / "disc"], a_localizer, out, ("json",), study="1999-01-01") == 0
    assert json.loads((out / "disc.json").read_text())["series_uid"] == "1.2.9.1"
