"""Other people's formats: what the catalogue says a file carries is what comes back, on oblique geometry."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from SpineLandmarksLib.cli.main import main
from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.catalogue import CATALOGUE, FACTS, as_table, format_of, losses, read_cases
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage
from SpineLandmarksLib.formats.json_result import write_json
from SpineLandmarksLib.imaging.placement import placed
from SpineLandmarksLib.imaging.stack import SagittalStack
from SpineLandmarksLib.imaging.study import read_grid
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.files import write_dicom_series
from SpineLandmarksLib.phantom.phantom import Phantom

ROOT = Path(__file__).resolve().parents[2]
#: Voxels of 0.7 x 4.4 x 0.9 mm, whose axes run S, R, A: none of them is what the slice shown upright has.
SPACING, SHAPE = (0.7, 4.4, 0.9), (90, 7, 64)
SLICE = 3
WRITABLE = [name for name, kind in CATALOGUE.items() if kind.write]
#: How far a point may be off after a round trip, by format: voxel labels and whole pixels are rounded by half of each.
ROUNDED_MM = {"totalspineseg": math.dist((0, 0, 0), SPACING) / 2, "sct": math.dist((0, 0, 0), SPACING) / 2}
ROUNDED_MM |= {"tianchi": math.hypot(0.7, 0.9) / 2}


def oblique() -> np.ndarray:
    """ras_from_ijk: i to the feet (-S), j to the right, k to the back, turned by 9, 14 and -7 degrees."""
    axes = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
    for (one, two), degrees in (((1, 2), 9), ((2, 0), 14), ((0, 1), -7)):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        turn = np.eye(3)
        turn[[one, one, two, two], [one, two, one, two]] = c, -s, s, c
        axes = turn @ axes
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes * SPACING, (-20.0, 31.0, 412.0)
    return matrix


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "case.nii.gz"
    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, oblique()), path)
    return path


@pytest.fixture(scope="module")
def on_image(image: Path) -> tuple[SagittalStack, ImageGrid]:
    return read_grid(image)


@pytest.fixture(scope="module")
def everything(on_image: tuple[SagittalStack, ImageGrid]) -> PointsOnImage:
    """Landmarks that say all that can be said: pixel (20 + n, 5 + 7 n) of slice 3, none of them whole."""
    stack, grid = on_image
    marks = tuple(
        Landmark(
            name,
            "confirmed" if name == "L5" else "corrected" if name == "L4" else "predicted",
            pixel_xy=(20.3 + n, 5.2 + 7 * n),
            confidence=0.9,
            radius95_mm=3.1,
            needs_review=name == "L3",
        )
        for n, name in enumerate(LUMBAR11)
    )
    said = LandmarkSet(
        (Landmark("T12-L1", "out_of_view"), *marks[1:]),
        input="case.nii.gz",
        series_uid="1.2.3",
        slice_index=SLICE,
        bundle="lumbar11@1.0",
        warnings=("Look at it",),
        needs_review=True,
        numberings=((0, 0.8), (1, 0.2)),
        corners=(replace(marks[1], name="L1.sup.ant"),),
    )
    return PointsOnImage(placed(said, stack), grid)


def there_and_back(name: str, one: PointsOnImage, folder: Path) -> LandmarkSet:
    kind = CATALOGUE[name]
    path = folder / f"case{kind.endings[-1]}"
    assert kind.write is not None
    kind.write([one], path)
    found, (case,) = read_cases(path, image=one.image)
    assert found is kind, "its content tells the format"
    return case.landmarks


@pytest.mark.parametrize("name", WRITABLE)
def test_a_round_trip_keeps_the_points_on_oblique_geometry(
    name: str, everything: PointsOnImage, on_image: tuple[SagittalStack, ImageGrid], tmp_path: Path
) -> None:
    stack, grid = on_image
    back = there_and_back(name, everything, tmp_path)
    shown = grid.shown if name == "tianchi" else None
    if "pixels" in CATALOGUE[name].carries and "mm" not in CATALOGUE[name].carries:
        back = replace(back, landmarks=tuple(mark for mark in back if not mark.is_absent))
        back = placed(back, stack, SLICE, shown)
    wanted = [mark for mark in everything.landmarks if not mark.is_absent and (name != "sct" or "-" in mark.name)]
    assert [mark.name for mark in back if not mark.is_absent] == [mark.name for mark in wanted]
    for mark in wanted:
        off_mm = math.dist(back[mark.name].position_ras_mm, mark.position_ras_mm)
        assert off_mm <= ROUNDED_MM.get(name, 0.002) + 1e-6, mark.name


@pytest.mark.parametrize("name", WRITABLE)
def test_what_the_catalogue_says_is_carried_comes_back_and_nothing_else(
    name: str, everything: PointsOnImage, tmp_path: Path
) -> None:
    back = there_and_back(name, everything, tmp_path)
    said = {fact for fact, is_said in FACTS.items() if is_said(back)}
    # Warnings that a reader gives of itself, and statuses that a format implies, are no carrying.
    implied = {"sct": {"doubt"}, "tianchi": {"status", "absent"}}.get(name, set())
    model_stays_beside_predictions = {"model"} if name == "labelstudio" else set()
    assert said - implied == CATALOGUE[name].carries - model_stays_beside_predictions
    same = everything.landmarks
    for fact in said - implied - {"doubt", "absent"}:
        assert (fact, _value(fact, back)) == (fact, _value(fact, same)) or fact in ("mm", "pixels", "spacing")


def _value(fact: str, said: LandmarkSet) -> Any:
    each = {"status": "status", "confidence": "confidence", "radius": "radius95_mm"}
    if fact in each:
        return [getattr(mark, each[fact]) for mark in said if not mark.is_absent]
    if fact == "corners":
        return [(mark.name, mark.status, mark.confidence) for mark in said.corners]
    whole = {"slice": "slice_index", "numbering": "numberings", "series": "series_uid", "model": "bundle"}
    return getattr(said, whole.get(fact, "input"))


def test_label_studio_keeps_the_model_beside_predictions(everything: PointsOnImage, tmp_path: Path) -> None:
    marks = tuple(mark if mark.is_absent else replace(mark, status="predicted") for mark in everything.landmarks)
    one = replace(everything, landmarks=replace(everything.landmarks, landmarks=marks))
    assert there_and_back("labelstudio", one, tmp_path).bundle == "lumbar11@1.0"
    assert "annotations" not in json.loads((tmp_path / "case.json").read_text())[0]


def test_every_fact_is_carried_by_the_result_and_lost_by_some_format() -> None:
    assert CATALOGUE["json"].carries == set(FACTS)
    assert all(kind.carries <= set(FACTS) and kind.carries & {"mm", "pixels"} for kind in CATALOGUE.values())


def test_the_docs_have_the_table_of_the_catalogue() -> None:
    assert as_table() in (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")


# The real tools, and where there are none the published layout


def test_tptbox_reads_our_points_where_they_are(everything: PointsOnImage, tmp_path: Path) -> None:
    """With an image in its voxels, without in millimetres: the same places, bodies under 50 and discs under 100."""
    pytest.importorskip("TPTBox")
    CATALOGUE["poi"].write([everything], tmp_path / "a_ctd.json")
    CATALOGUE["poi"].write([replace(everything, image=None)], tmp_path / "b_ctd.json")
    code = """if True:
        import json, sys
        from TPTBox import POI, POI_Global
        from TPTBox.core.poi_fun.save_load import load_poi
        for path in sys.argv[1:]:
            poi = load_poi(path)
            place = poi if isinstance(poi, POI_Global) else poi.to_global()
            print("POINTS", json.dumps([[*key, *map(float, point)] for *key, point in place.items()]))
            poi.save(path + ".again.json", verbose=False)
    """
    command = [sys.executable, "-c", code, str(tmp_path / "a_ctd.json"), str(tmp_path / "b_ctd.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    vertebrae = {"T12": 19, "L1": 20, "L2": 21, "L3": 22, "L4": 23, "L5": 24}
    for line in [line for line in done.stdout.splitlines() if line.startswith("POINTS")]:
        read = {(int(v), int(s)): point for v, s, *point in json.loads(line.removeprefix("POINTS"))}
        assert len(read) == 10
        for mark in everything.landmarks:
            if not mark.is_absent:
                key = vertebrae[mark.name.partition("-")[0]], 100 if "-" in mark.name else 50
                assert math.dist(read[key], mark.position_ras_mm) < 0.001
    for again in ("a_ctd.json.again.json", "b_ctd.json.again.json"):  # as TPTBox itself writes them
        back = read_cases(tmp_path / again, "poi")[1][0].landmarks
        assert math.dist(back["L3"].position_ras_mm, everything.landmarks["L3"].position_ras_mm) < 0.01


def test_pycocotools_reads_our_key_points(everything: PointsOnImage, tmp_path: Path) -> None:
    coco_api = pytest.importorskip("pycocotools.coco")
    CATALOGUE["coco"].write([everything, everything], tmp_path / "a.json")
    coco = coco_api.COCO(str(tmp_path / "a.json"))
    (category,) = coco.loadCats(coco.getCatIds(catNms=["lumbar_spine"]))
    assert category["keypoints"] == list(LUMBAR11)
    assert coco.getImgIds() == [1, 2]
    (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[2], iscrowd=False))
    assert annotation["num_keypoints"] == 10
    points = np.array(annotation["keypoints"]).reshape(-1, 3)
    assert points[0].tolist() == [0, 0, 0]
    assert points[3].tolist() == [*everything.landmarks["L2"].pixel_xy, 2]
    left, top, wide, high = annotation["bbox"]
    assert (left, top, left + wide, top + high) == pytest.approx((21.3, 12.2, 31.3, 76.2))


def test_a_label_image_lies_on_the_image_and_has_the_published_numbers(
    everything: PointsOnImage, image: Path, tmp_path: Path
) -> None:
    for name, wanted in (("totalspineseg", [*range(41, 46), *range(92, 96), 100]), ("sct", [21, 22, 23, 24, 25])):
        CATALOGUE[name].write([everything], tmp_path / "a.nii.gz")
        labels, source = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(image)
        assert labels.shape == source.shape
        assert np.allclose(labels.affine, source.affine, atol=1e-5)
        values, counts = np.unique(np.asarray(labels.dataobj), return_counts=True)
        assert values.tolist() == [0, *wanted]
        assert set(counts[1:]) == {1}


def test_a_point_on_the_rim_of_the_image_is_in_its_last_voxel(tmp_path: Path) -> None:
    grid = ImageGrid("a.nii", (4, 4), (4, 4, 4), np.eye(4))
    said = LandmarkSet((Landmark("L1-L2", position_ras_mm=(3.5, -0.5, 3.5)),), input="a.nii")
    CATALOGUE["sct"].write([PointsOnImage(said, grid)], tmp_path / "labels.nii")
    assert np.argwhere(np.asarray(nibabel.load(tmp_path / "labels.nii").dataobj)).tolist() == [[3, 0, 3]]


def test_cvat_counts_from_the_corner_and_ultralytics_and_label_studio_in_shares_of_it(
    everything: PointsOnImage, tmp_path: Path
) -> None:
    x, y = everything.landmarks["L5"].pixel_xy
    CATALOGUE["cvat"].write([everything], tmp_path / "a.xml")
    assert (
        f'label="L5" source="manual" occluded="0" points="{x + 0.5:.3f},{y + 0.5:.3f}"'
        in (tmp_path / "a.xml").read_text()
    )
    CATALOGUE["yolo"].write([everything], tmp_path / "a.txt")
    cells = [float(cell) for cell in (tmp_path / "a.txt").read_text().split()]
    assert len(cells) == 5 + 3 * 11
    width, height = SHAPE[2], SHAPE[0]
    assert cells[5 + 27 : 5 + 30] == pytest.approx([(x + 0.5) / width, (y + 0.5) / height, 2])
    assert cells[1] + cells[3] / 2 == pytest.approx(31.3 / width)
    CATALOGUE["labelstudio"].write([everything], tmp_path / "a.json")
    (task,) = json.loads((tmp_path / "a.json").read_text())
    region = next(item for item in task["annotations"][0]["result"] if item["id"] == "L5")
    assert (region["original_width"], region["original_height"]) == (width, height)
    assert region["value"]["x"] == pytest.approx(100 * (x + 0.5) / width)
    assert region["meta"] == {"text": ["confirmed"]}


def test_tianchi_is_written_as_published(everything: PointsOnImage, tmp_path: Path) -> None:
    CATALOGUE["tianchi"].write([everything], tmp_path / "a.json")
    (study,) = json.loads((tmp_path / "a.json").read_text())
    assert (set(study), set(study["data"][0])) == ({"studyUid", "data"}, {"instanceUid", "seriesUid", "annotation"})
    points = {point["tag"]["identification"]: point for point in study["data"][0]["annotation"][0]["data"]["point"]}
    assert set(points["L1"]) == {"tag", "coord", "zIndex"}
    assert set(points["L1"]["tag"]) == {"identification", "vertebra"}
    assert set(points["L1-L2"]["tag"]) == {"identification", "disc"}
    assert (points["L1"]["coord"], points["L1"]["zIndex"]) == ([21, 12], SLICE)
    assert all(isinstance(value, int) for point in points.values() for value in (*point["coord"], point["zIndex"]))


def test_files_as_other_tools_write_them_are_read(tmp_path: Path, on_image: tuple[SagittalStack, ImageGrid]) -> None:
    """What SPINEPS, nnLandmark, CVAT (skeletons) and Ultralytics (two numbers a point) write, and we do not."""
    _, grid = on_image
    header = {"direction": ["I", "R", "P"], "zoom": list(SPACING)}
    old = [
        header,
        {"label": 50 * 256 + 20, "X": 10, "Y": 3, "Z": 20},
        {"label": 100 * 256 + 120, "X": 30, "Y": 3, "Z": 21},
    ]
    (tmp_path / "a_ctd.json").write_text(json.dumps([*old, {"label": 42 * 256 + 20, "X": 1, "Y": 1, "Z": 1}]))
    kind, (case,) = read_cases(tmp_path / "a_ctd.json", image=grid)
    assert (kind.title, case.landmarks.names) == (CATALOGUE["poi"].title, ("L1", "L1-L2"))
    assert case.landmarks["L1"].position_ras_mm == pytest.approx(tuple(oblique()[:3] @ (10, 3, 20, 1)))

    (tmp_path / "case.json").write_text(
        json.dumps(
            {"2": {"coordinates": [10, 3, 20], "likelihood": 0.8}, "3": {"coordinates": [None] * 3, "likelihood": 0}}
        )
    )
    kind, (case,) = read_cases(tmp_path / "case.json", image=grid)
    assert case.landmarks.names == ("L1",)
    assert case.landmarks["L1"].confidence is None
    assert case.landmarks.needs_review, "nothing says which number is which name"
    assert "Check each name" in case.landmarks.warnings[0]
    (tmp_path / "name_to_label.json").write_text(json.dumps({"L4": 2, "L5": 3}))
    (case,) = read_cases(tmp_path / "case.json", image=grid)[1]
    assert (case.landmarks.names, case.landmarks.warnings) == (("L4",), ())

    skeleton = '<skeleton label="spine"><points label="l1/L2" source="auto" outside="0" points="3.5,4.5"/></skeleton>'
    shapes = (
        f'<image id="0" name="f/a.png" width="64" height="90">{skeleton}<points label="x" points="1,2;3,4"/></image>'
    )
    (tmp_path / "a.xml").write_text(f"<annotations>{shapes}</annotations>")
    (case,) = read_cases(tmp_path / "a.xml")[1]
    assert (case.name, case.landmarks["L1-L2"].pixel_xy) == ("a.png", (3.0, 4.0))
    assert case.landmarks["L1-L2"].status == "predicted"

    (tmp_path / "a.txt").write_text(" ".join(["0 0.5 0.5 0.9 0.9", *["0 0"] * 10, "0.25 0.5"]))
    (case,) = read_cases(tmp_path / "a.txt", image=grid)[1]
    assert case.landmarks.names == ("L5-S1",)
    assert case.landmarks["L5-S1"].pixel_xy == (15.5, 44.5)


RSNA = """study_id,series_id,instance_number,condition,level,x,y
4003253,702807833,8,Spinal Canal Stenosis,L1/L2,22.83,27.96
4003253,702807833,9,Spinal Canal Stenosis,L5/S1,20.10,60.50
4003253,702807833,9,Left Neural Foraminal Narrowing,L5/S1,1,1
8785691,12,3,Spinal Canal Stenosis,L1/L2,5,6
"""


def test_rsna_coordinates_are_levels_with_a_warning_that_they_lie_in_the_canal(tmp_path: Path) -> None:
    (tmp_path / "train_label_coordinates.csv").write_text(RSNA)
    kind, (one, two) = read_cases(tmp_path / "train_label_coordinates.csv")
    assert kind is CATALOGUE["rsna"]
    assert (one.landmarks.names, two.landmarks.names) == (("L1-L2", "L5-S1"), ("L1-L2",))
    assert one.landmarks["L1-L2"].pixel_xy == (22.83, 27.96)
    assert one.landmarks.needs_review
    assert "canal" in one.landmarks.warnings[0]
    assert one.landmarks.notes == ("The levels were marked on the DICOM files with the numbers 8, 9",)


def test_a_segmentation_gives_discs_and_no_vertebrae(tmp_path: Path) -> None:
    data = np.zeros((20, 20, 20), np.uint8)
    data[2:8, 2:8, 2:8] = 92
    data[10:16, 2:8, 2:8] = 42
    nibabel.save(nibabel.Nifti1Image(data, np.diag([1.0, 2, 3, 1])), tmp_path / "a.nii.gz")
    _, (case,) = read_cases(tmp_path / "a.nii.gz")
    assert case.landmarks.names == ("L1-L2",)
    assert case.landmarks["L1-L2"].position_ras_mm == (4.5, 9.0, 13.5)
    assert "L2" in case.landmarks.warnings[0]
    assert case.landmarks.needs_review


def test_a_sixth_lumbar_vertebra_is_told_and_not_renamed(tmp_path: Path) -> None:
    header = {"coordinate_system": "itk", "format": "POI_GLOBAL", "level_one_info": "Vertebra_Instance"}
    points = [header, {"L5": {"50": [-1, 2, 3]}, "L6": {"50": [1, 1, 1]}}]
    (tmp_path / "a_ctd.json").write_text(json.dumps(points))
    (case,) = read_cases(tmp_path / "a_ctd.json")[1]
    assert case.landmarks["L5"].position_ras_mm == (1.0, -2.0, 3.0)
    assert case.landmarks.needs_review
    assert "L6" in case.landmarks.warnings[0]


BROKEN = {
    "poi-no-grid.json": (
        json.dumps([{"direction": ["R", "A", "S"]}, {"label": 12820, "X": 1, "Y": 2, "Z": 3}]),
        "--image",
    ),
    "poi-skew.json": (
        json.dumps(
            [
                {
                    "direction": ["R"],
                    "zoom": [1, 1, 1],
                    "origin": [0, 0, 0],
                    "rotation": [[1, 1, 0], [0, 1, 0], [0, 0, 1]],
                }
            ]
        ),
        "orthogonal",
    ),
    "poi-nothing.json": (
        json.dumps([{"coordinate_system": "nib", "format": "POI_GLOBAL", "direction": 0}]),
        "found none",
    ),
    "nnlandmark.json": (json.dumps({"a": {"L1": [1, 2, 3]}}), "--image"),
    "coco-twice.json": (
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a", "width": 9, "height": 9}],
                "categories": [{"id": 1, "keypoints": ["L1"]}],
                "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}] * 2,
            }
        ),
        "one annotation for each image",
    ),
    "coco-other.json": (json.dumps({"images": [], "categories": [], "annotations": []}), "found none"),
    "coco-spacing.json": (
        json.dumps(
            {
                "images": [{"id": 1, "file_name": "a", "width": 9, "height": 9, "spacing_mm": [0.5, 0]}],
                "categories": [{"id": 1, "keypoints": ["L1"]}],
                "annotations": [{"image_id": 1, "category_id": 1, "keypoints": [1, 2, 2]}],
            }
        ),
        "positive spacing",
    ),
    "cvat-entities.xml": ('<!DOCTYPE a [<!ENTITY b "c">]><annotations/>', "document type"),
    "cvat-not.xml": ("<a>", "expected XML"),
    "cvat-video.xml": ("<annotations><track/></annotations>", "video"),
    "cvat-path.xml": (
        '<annotations><image name="a" width="9" height="9"><points label="L1" points="1,2;3,4"/></image></annotations>',
        "one point",
    ),
    "yolo.txt": ("0 0.5 0.5 1 1 0.1 0.2", "--image"),
    "labelstudio.json": (json.dumps([{"data": {"image": "a"}, "annotations": [{"result": []}]}]), "found none"),
    "rsna.csv": (RSNA.replace("Spinal Canal", "Other"), "found none"),
    "rsna-number.csv": (RSNA.replace("22.83", "nan"), "finite number"),
    "odd.json": ("[1, 2]", "--from"),
    "odd.xyz": ("", "--from"),
    "not.nii.gz": ("not gzip", "label image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gets_one_line_with_the_rule(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content, rule = BROKEN[name]
    (tmp_path / name).write_text(content)
    assert main(["convert", str(tmp_path / name), str(tmp_path / "out.mrk.json")]) == 2
    said = capsys.readouterr()
    assert rule in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out.mrk.json").exists()


def test_numbers_of_totalspineseg_before_2024_are_refused(tmp_path: Path) -> None:
    data = np.zeros((8, 8, 8), np.uint8)
    data[1, 1, 1], data[2, 2, 2] = 203, 92
    nibabel.save(nibabel.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii.gz")
    with pytest.raises(FormatError, match="203"):
        read_cases(tmp_path / "a.nii.gz")


def test_points_of_another_image_are_refused(everything: PointsOnImage, tmp_path: Path) -> None:
    assert everything.image is not None
    shifted = oblique()
    shifted[2, 3] += 300
    elsewhere = replace(everything, image=replace(everything.image, ras_from_ijk=shifted))
    for name in ("poi", "nnlandmark", "totalspineseg", "sct"):
        with pytest.raises(FormatError, match="lie outside"):
            CATALOGUE[name].write([elsewhere], tmp_path / "a.nii.gz")


# The command


def test_convert_goes_through_every_format_and_says_what_is_lost(
    everything: PointsOnImage, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(everything.landmarks, tmp_path / "case.json")
    for name in WRITABLE:
        kind = CATALOGUE[name]
        there, back = tmp_path / f"{name}{kind.endings[-1]}", tmp_path / f"{name}.back.json"
        arguments = ["--image", str(image)]
        assert main(["convert", str(tmp_path / "case.json"), str(there), "--to", name, *arguments]) == 0
        said = capsys.readouterr().out
        assert all(text in said for text in losses(everything.landmarks, kind))
        assert f"{5 if name == 'sct' else 10} points" in said
        assert main(["convert", str(there), str(back), *arguments, "--slice", str(SLICE)]) == 0, capsys.readouterr().err
        found = read_cases(back)[1][0].landmarks
        limit = ROUNDED_MM.get(name, 0.01) + 0.001
        for mark in found:
            if not mark.is_absent:
                assert math.dist(mark.position_ras_mm, everything.landmarks[mark.name].position_ras_mm) <= limit, name


def test_convert_needs_the_image_where_pixels_become_millimetres(
    everything: PointsOnImage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CATALOGUE["coco"].write([everything], tmp_path / "a.json")
    assert main(["convert", str(tmp_path / "a.json"), str(tmp_path / "a.mrk.json")]) == 2
    assert "--image" in capsys.readouterr().err
    assert not (tmp_path / "a.mrk.json").exists()
    assert main(["convert", str(tmp_path / "a.json"), str(tmp_path / "a.xml")]) == 0


def test_convert_asks_for_the_slice_that_a_file_does_not_say(
    everything: PointsOnImage, image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    CATALOGUE["cvat"].write([everything], tmp_path / "a.xml")
    command = ["convert", str(tmp_path / "a.xml"), str(tmp_path / "a.mrk.json"), "--image", str(image)]
    assert main(command) == 2
    assert "--slice" in capsys.readouterr().err
    assert main([*command, "--slice", "99"]) == 2
    assert main([*command, "--slice", "3"]) == 0


def test_convert_writes_the_images_of_one_file_into_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.csv").write_text(RSNA)
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "out"), "--to", "csv"]) == 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["4003253_702807833.csv", "8785691_12.csv"]
    assert "canal" in capsys.readouterr().out
    assert main(["convert", str(tmp_path / "a.csv"), str(tmp_path / "one.csv")]) == 2


def test_pixels_of_a_dicom_file_stored_feet_up_are_turned(a_phantom: Phantom, tmp_path: Path) -> None:
    """RSNA and Tianchi count in the file as it is stored: row 0 is at the feet here."""
    turn = np.diag([1.0, -1, 1, 1])
    turn[1, 3] = a_phantom.voxels.shape[1] - 1
    flipped = replace(a_phantom, voxels=a_phantom.voxels[:, ::-1], ras_from_ijk=a_phantom.ras_from_ijk @ turn)
    write_dicom_series(flipped, tmp_path / "dicom")
    truth = a_phantom.landmarks
    x, y = truth["L3-L4"].pixel_xy
    row = f"1,2,3,Spinal Canal Stenosis,L3/L4,{x},{a_phantom.voxels.shape[1] - 1 - y}\n"
    (tmp_path / "a.csv").write_text(RSNA.splitlines()[0] + "\n" + row)
    command = ["convert", str(tmp_path / "a.csv"), str(tmp_path / "a.json"), "--image", str(tmp_path / "dicom")]
    assert main([*command, "--slice", "3"]) == 0
    assert read_cases(tmp_path / "a.json")[1][0].landmarks["L3-L4"].pixel_xy == pytest.approx((x, y), abs=0.002)


def test_a_picture_goes_to_coco_and_back(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(1).integers(0, 255, (90, 64), dtype=np.uint8)).save(tmp_path / "a.png")
    write_json(LandmarkSet((Landmark("L1", pixel_xy=(3.0, 4.0)),), input="a.png", slice_index=0), tmp_path / "a.json")
    image = ["--image", str(tmp_path / "a.png")]
    assert main(["convert", str(tmp_path / "a.json"), str(tmp_path / "c.json"), "--to", "coco", *image]) == 0
    assert format_of(tmp_path / "c.json")[0] == "coco"
    spaced = [*image, "--spacing", "0.5,0.7"]
    assert main(["convert", str(tmp_path / "c.json"), str(tmp_path / "b.csv"), *spaced]) == 0
    back = read_cases(tmp_path / "b.csv")[1][0].landmarks
    assert (back["L1"].pixel_xy, back["L1"].position_ras_mm) == ((3.0, 4.0), (0.0, -1.5, -2.8))


def test_the_command_shows_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", "--formats"]) == 0
    assert capsys.readouterr().out.strip() == as_table()
