"""Points whose file lies about their frame or unit: refused with the reading that fits, taken when it is asked for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import MisreadError, import_landmarks, import_or_ask
from SpineLandmarksLib.annotation.plausibility import Expected, better_reading, bow, doubt
from SpineLandmarksLib.annotation.revision import Revision, utc_now
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats import Reading
from SpineLandmarksLib.formats.csv_table import write_csv
from SpineLandmarksLib.formats.json_result import write_json
from SpineLandmarksLib.formats.slicer_markups import write_markups
from SpineLandmarksLib.imaging.study import read_study
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.predict import Localizer
from SpineLandmarksLib.store.checks import check_dataset
from SpineLandmarksLib.store.folder import open_dataset
from SpineLandmarksLib.store.store import Store

#: 1 mm voxels about the isocentre, R and A from -25 to 25 and -60 to 60: a mirrored spine lies inside as well.
CENTRED = ImageFrame(np.array([[0, 0, 1.0, -25], [0, -1.0, 0, 60], [-1.0, 0, 0, 20], [0, 0, 0, 1]]), (301, 121, 51))


def a_spine(front: float = -40.0, bow_mm: float = 12.0) -> LandmarkSet:
    """Eleven points 17 mm apart at R 8, A `front` at the ends and `bow_mm` before it in the middle."""
    forward = [bow_mm * float(np.sin(np.pi * row / 10)) for row in range(11)]
    points = [(8.0, front + forward[row], -17.0 * row) for row in range(11)]
    return LandmarkSet(tuple(Landmark(name, "corrected", at) for name, at in zip(LUMBAR11, points, strict=True)))


def scaled(landmarks: LandmarkSet, *factors: float) -> LandmarkSet:
    moved = [tuple(float(v) for v in np.multiply(mark.position_ras_mm, factors)) for mark in landmarks]
    marks = zip(landmarks, moved, strict=True)
    return replace(landmarks, landmarks=tuple(replace(mark, position_ras_mm=at) for mark, at in marks))


def write_fcsv(landmarks: LandmarkSet, path: Path) -> None:
    """In LPS."""
    lines = ["# CoordinateSystem = LPS", "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"]
    for number, mark in enumerate(scaled(landmarks, -1, -1, 1)):
        lines.append(f"{number},{','.join(map(str, mark.position_ras_mm))},0,0,0,1,1,1,0,{mark.name},,")
    path.write_text("\n".join(lines) + "\n")


WRITERS: dict[str, Callable[[LandmarkSet, Path], None]] = {
    "ras.csv": write_csv,
    "lps.csv": lambda marks, path: write_csv(marks, path, "LPS"),
    "mrk.json": write_markups,
    "json": write_json,
    "fcsv": write_fcsv,
}
#: What each of these files states, and so what it means when its numbers are of the other frame.
OTHER_FRAME = {"ras.csv": "LPS", "lps.csv": "RAS", "mrk.json": "RAS", "json": "LPS", "fcsv": "RAS"}


def positions(landmarks: LandmarkSet) -> np.ndarray:
    return np.array([mark.position_ras_mm for mark in landmarks])


@pytest.mark.parametrize("known", [None, a_spine()], ids=["unknown", "known"])
@pytest.mark.parametrize("kind", WRITERS)
def test_numbers_of_the_other_frame_are_refused_with_the_frame_that_fits(
    kind: str, known: LandmarkSet | None, tmp_path: Path
) -> None:
    path = tmp_path / f"case.{kind}"
    WRITERS[kind](scaled(a_spine(), -1, -1, 1), path)
    with pytest.raises(MisreadError, match=f"--frame {OTHER_FRAME[kind].lower()}$") as refused:
        import_landmarks(path, LUMBAR11, CENTRED, known=known)
    assert refused.value.reading == Reading(OTHER_FRAME[kind])
    taken = import_landmarks(path, LUMBAR11, CENTRED, refused.value.reading, known)
    assert positions(taken) == pytest.approx(positions(a_spine()), abs=1e-3)
    stated = {"RAS": "LPS", "LPS": "RAS"}[OTHER_FRAME[kind]]
    insisted = import_landmarks(path, LUMBAR11, CENTRED, Reading(stated), known)
    assert positions(insisted)[:, :2] == pytest.approx(-positions(a_spine())[:, :2], abs=1e-3)


@pytest.mark.parametrize(("unit", "mm"), [("cm", 10.0), ("m", 1000.0)])
@pytest.mark.parametrize("mirrored", [False, True])
def test_metres_called_millimetres_are_refused_with_the_unit_that_fits(
    unit: str, mm: float, mirrored: bool, tmp_path: Path
) -> None:
    sign = -1.0 if mirrored else 1.0
    write_markups(scaled(a_spine(), sign / mm, sign / mm, 1 / mm), tmp_path / "a.mrk.json")
    with pytest.raises(MisreadError, match=f"--unit {unit}$") as refused:
        import_landmarks(tmp_path / "a.mrk.json", LUMBAR11, CENTRED)
    assert refused.value.reading == Reading("RAS" if mirrored else "LPS", unit)  # type: ignore[arg-type]
    assert ("--frame ras" in str(refused.value)) == mirrored
    taken = import_landmarks(tmp_path / "a.mrk.json", LUMBAR11, CENTRED, refused.value.reading)
    assert positions(taken) == pytest.approx(positions(a_spine()), abs=0.01 * mm / 10)


def test_millimetres_that_somebody_calls_metres_are_refused_with_millimetres(tmp_path: Path) -> None:
    write_csv(a_spine(), tmp_path / "a.csv")
    with pytest.raises(MisreadError, match=r"--unit mm$"):
        import_landmarks(tmp_path / "a.csv", LUMBAR11, CENTRED, Reading(unit="m"))


@pytest.mark.parametrize(
    ("points", "rule"),
    [
        (scaled(a_spine(), 0, 0, 0), "T12-L1 and L1 lie on one"),
        (scaled(a_spine(), 1, 1, -1), "run from the foot up"),
        (scaled(a_spine(), 1, 1, 4), "neighbours 5 to 50 mm apart"),
    ],
)
def test_points_that_no_reading_makes_a_spine_are_refused(points: LandmarkSet, rule: str, tmp_path: Path) -> None:
    write_csv(points, tmp_path / "a.csv")
    wide = ImageFrame(np.array([[0, 0, 1.0, -25], [0, -1.0, 0, 60], [-1.0, 0, 0, 900], [0, 0, 0, 1]]), (1800, 121, 51))
    with pytest.raises(MisreadError, match=f"{rule}.*Is it the file of this study") as refused:
        import_landmarks(tmp_path / "a.csv", LUMBAR11, wide)
    assert refused.value.reading is None


def test_what_people_correct_is_taken_as_it_is(tmp_path: Path) -> None:
    """A level up, a bow the other way on a spine that is known to have it, and one point 12 mm from the model's."""
    model = a_spine()
    up = LandmarkSet(tuple(replace(a, name=b.name) for a, b in zip(model.landmarks[2:], model, strict=False)))
    kyphotic = a_spine(bow_mm=-12.0)
    one = LandmarkSet((Landmark("L3", "corrected", (12.0, -17.0, -85.0)),))
    for marks, known in ((up, model), (kyphotic, kyphotic), (one, model), (a_spine(bow_mm=0.0), None)):
        write_csv(marks, tmp_path / "a.csv")
        found = import_landmarks(tmp_path / "a.csv", LUMBAR11, CENTRED, known=known)
        assert all(found[mark.name].position_ras_mm == pytest.approx(mark.position_ras_mm, abs=1e-3) for mark in marks)


def test_a_screen_asks_with_the_same_text(tmp_path: Path) -> None:
    write_markups(scaled(a_spine(), -1, -1, 1), tmp_path / "a.mrk.json")
    asked: list[str] = []
    answers = [False, True]

    def ask(text: str) -> bool:
        asked.append(text)
        return answers.pop(0)

    assert import_or_ask(tmp_path / "a.mrk.json", LUMBAR11, CENTRED, None, None, ask) is None
    taken = import_or_ask(tmp_path / "a.mrk.json", LUMBAR11, CENTRED, None, None, ask)
    assert taken is not None
    assert positions(taken) == pytest.approx(positions(a_spine()), abs=1e-3)
    with pytest.raises(MisreadError) as refused:
        import_landmarks(tmp_path / "a.mrk.json", LUMBAR11, CENTRED)
    assert asked[0].startswith(str(refused.value))
    write_markups(scaled(a_spine(), 0, 0, 0), tmp_path / "a.mrk.json")
    with pytest.raises(FormatError):
        import_or_ask(tmp_path / "a.mrk.json", LUMBAR11, CENTRED, None, None, ask)


def test_real_spines_bow_forward_and_are_not_doubted(real_data: Path) -> None:
    backward = found = 0
    for name in ("tianchi150", "spider", "lsd_t1"):
        for row in json.loads((real_data / name / "landmarks.json").read_text()):
            mm = row.get("spacing_mm_estimated", 0.5)
            points = {one: (0.0, -mm * xy[0], -mm * xy[1]) for one, xy in row["landmarks_px"].items() if xy}
            assert doubt(points, Expected()) is None
            found += 1
            backward += better_reading(points, Expected()) is not None
    assert found > 700
    assert backward / found < 0.01
    for file in (real_data / "volumes").glob("*.json"):
        assert bow(json.loads(file.read_text())["body_centres_ras_mm"]) < -0.01


# In a data set


@pytest.fixture
def a_store(a_phantom_study: Path, run: Callable[..., str], tmp_path: Path) -> Store:
    """Of one study about the isocentre, without landmarks."""
    import nibabel

    image = nibabel.load(a_phantom_study)
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :3] @ (np.array(image.shape) - 1) / 2 + affine[:3, 3]
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "case.nii.gz")
    run("init", tmp_path / "data")
    run("add", tmp_path / "data", tmp_path / "case.nii.gz", "--bundle", "none")
    return open_dataset(tmp_path / "data")


def truth(a_phantom, store: Store) -> LandmarkSet:
    """The phantom's landmarks in that study, spelled in mm alone, as a person gives them."""
    matrix = store.study("case").matrix
    marks = []
    for mark in a_phantom.landmarks:
        at = matrix @ (*mark.pixel_xy, 3, 1)
        marks.append(Landmark(mark.name, "corrected", tuple(at[:3].tolist())))
    return LandmarkSet(tuple(marks))


def a_prediction(landmarks: LandmarkSet, store: Store) -> Revision:
    marks = tuple(replace(mark, status="predicted") for mark in landmarks)
    told = replace(landmarks, landmarks=marks, bundle="model@1", slice_index=3)
    return Revision("case", "model@1", utc_now(), told, store.study("case").reference)


@pytest.mark.parametrize("with_model", [False, True])
def test_dataset_import_refuses_what_it_cannot_mean_and_takes_it_with_the_frame(
    with_model: bool, a_phantom, a_store: Store, run: Callable[..., str], tmp_path: Path
) -> None:
    right = truth(a_phantom, a_store)
    if with_model:
        a_store.save(a_prediction(right, a_store))
    write_markups(scaled(right, -1, -1, 1), tmp_path / "case.mrk.json")
    said = run("import", a_store.folder, tmp_path / "case.mrk.json", status=1)
    assert said.count("\n") == 1
    assert "--frame ras" in said
    assert [one.author for one in a_store.history("case")] == ["model@1"] * with_model
    run("import", a_store.folder, tmp_path / "case.mrk.json", "--frame", "ras", "--author", "Ann")
    assert positions(a_store.head("case").landmarks) == pytest.approx(positions(right), abs=1e-3)


def test_points_that_fit_either_way_are_taken_with_a_word(
    a_phantom, a_store: Store, run: Callable[..., str], tmp_path: Path
) -> None:
    right = truth(a_phantom, a_store)
    beside = [mark for mark in right if np.hypot(*mark.position_ras_mm[:2]) > 10][:2]
    write_markups(LandmarkSet(tuple(beside)), tmp_path / "case.mrk.json")  # two points have no bow
    assert "nothing tells which is right" in run("import", a_store.folder, tmp_path / "case.mrk.json")
    write_markups(right, tmp_path / "case.mrk.json")
    assert "look at it" not in run("import", a_store.folder, tmp_path / "case.mrk.json")


def test_mirrored_points_that_a_store_holds_are_found_and_told(
    a_phantom, a_store: Store, run: Callable[..., str]
) -> None:
    right = truth(a_phantom, a_store)
    a_store.save(a_prediction(right, a_store))
    wrong = replace(scaled(right, -1, -1, 1), slice_index=3)
    a_store.save(Revision("case", "Ann", utc_now(), wrong, a_store.study("case").reference, comment="from a.csv"))
    texts = [finding.text for finding in check_dataset(a_store) if finding.is_error]
    assert any("case (Ann): the points do not lie where this spine does; with R and A reversed" in one for one in texts)
    folder = a_store.folder
    assert "with R and A reversed" in run("sign-off", folder, "--by", "Chief", status=1)
    assert a_store.signed_off() == []
    assert "with R and A reversed" in run("sign-off", folder, "case", "--by", "Chief", status=1)
    assert len(a_store.signed_off()) == 1
    assert "with R and A reversed" in run("export", folder)


def test_annotations_of_a_study_that_is_added_are_looked_at_too(
    a_phantom, a_store: Store, run: Callable[..., str], tmp_path: Path
) -> None:
    shutil.copy(tmp_path / "case.nii.gz", tmp_path / "other.nii.gz")
    right = truth(a_phantom, a_store)
    write_markups(scaled(right, -1, -1, 1), tmp_path / "other.mrk.json")
    run("init", tmp_path / "new")
    command = ("add", tmp_path / "new", tmp_path / "other.nii.gz", "--annotations", tmp_path / "other.mrk.json")
    assert "--frame ras" in run(*command, status=1)
    assert "11 landmarks by imported" in run(*command, "--frame", "ras")


def test_real_spines_are_taken_as_they_are_and_refused_when_mirrored(
    real_data: Path, the_shipped_localizer: Localizer, tmp_path: Path
) -> None:
    """Also about the isocentre, where one of them mirrored lies within 4 mm of its own course."""
    import nibabel

    for file in sorted((real_data / "volumes").glob("*.json"))[2:4]:
        image = nibabel.load(file.with_suffix(".nii.gz"))
        shift = -(image.affine @ (*np.array(image.shape) / 2, 1))[:3]
        affine = image.affine.copy()
        affine[:3, 3] += shift
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), tmp_path / "a.nii")
        stack = read_study(tmp_path / "a.nii")
        found = the_shipped_localizer.localize(stack)
        centres = json.loads(file.read_text())["body_centres_ras_mm"]
        marks = tuple(Landmark(name, "corrected", tuple(np.add(at, shift).tolist())) for name, at in centres.items())
        for known in (None, found):
            write_csv(LandmarkSet(marks), tmp_path / "a.csv")
            taken = import_landmarks(tmp_path / "a.csv", LUMBAR11, ImageFrame.of(stack), known=known)
            assert taken["L3"].position_ras_mm == pytest.approx(marks[2].position_ras_mm, abs=1e-3)
            write_csv(scaled(LandmarkSet(marks), -1, -1, 1), tmp_path / "a.csv")
            with pytest.raises(MisreadError, match=r"--frame lps$"):
                import_landmarks(tmp_path / "a.csv", LUMBAR11, ImageFrame.of(stack), known=known)
