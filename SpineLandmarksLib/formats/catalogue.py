"""Every format in one table: how it is told, read and written, and what it can carry; docs and command show it."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.coco import read_coco, write_coco
from SpineLandmarksLib.formats.csv_table import parse_csv, write_csv
from SpineLandmarksLib.formats.cvat_xml import read_cvat_xml, write_cvat_xml
from SpineLandmarksLib.formats.dicom_sr_reading import parse_sr
from SpineLandmarksLib.formats.disc_labels import SCT, read_sct, read_totalspineseg, write_sct, write_totalspineseg
from SpineLandmarksLib.formats.fcsv import parse_fcsv
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, only_one
from SpineLandmarksLib.formats.json_result import parse_json_result, write_json
from SpineLandmarksLib.formats.label_studio import read_label_studio, write_label_studio
from SpineLandmarksLib.formats.landmarks_json import read_landmarks_json
from SpineLandmarksLib.formats.nnlandmark import read_nnlandmark, write_nnlandmark
from SpineLandmarksLib.formats.rsna_csv import COLUMNS, read_rsna_csv
from SpineLandmarksLib.formats.slicer_markups import parse_markups, write_markups
from SpineLandmarksLib.formats.strict_json import load_json
from SpineLandmarksLib.formats.tianchi import read_tianchi, write_tianchi
from SpineLandmarksLib.formats.tptbox_poi import read_tptbox_poi, write_tptbox_poi
from SpineLandmarksLib.formats.ultralytics_pose import read_ultralytics_pose, write_ultralytics_pose
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet

CasesReader: TypeAlias = Callable[[str | os.PathLike[str], Sequence[str], ImageGrid | None], list[PointsOnImage]]
CasesWriter: TypeAlias = Callable[[Sequence[PointsOnImage], str | os.PathLike[str]], None]

#: What landmarks can say, in the words of the table, and whether a set says it.
FACTS: dict[str, Callable[[LandmarkSet], bool]] = {
    "mm": lambda said: any(mark.position_ras_mm is not None for mark in said),
    "pixels": lambda said: any(mark.pixel_xy is not None for mark in said),
    "slice": lambda said: said.slice_index is not None,
    "spacing": lambda said: said.spacing_mm is not None,
    "absent": lambda said: any(mark.is_absent for mark in said),
    "status": lambda said: any(mark.status != "predicted" and not mark.is_absent for mark in said),
    "confidence": lambda said: any(mark.confidence is not None for mark in said),
    "radius": lambda said: any(mark.radius95_mm is not None for mark in said),
    "doubt": lambda said: bool(said.needs_review or said.warnings or any(mark.needs_review for mark in said)),
    "numbering": lambda said: bool(said.numberings),
    "series": lambda said: said.series_uid is not None,
    "model": lambda said: said.bundle is not None,
    "corners": lambda said: bool(said.corners),
}
#: What each fact is called when it is lost.
IN_WORDS = {
    "mm": "positions in millimetres",
    "pixels": "pixels",
    "slice": "the slice",
    "spacing": "the pixel spacing",
    "absent": "which landmarks are not visible or out of view",
    "status": "which points a person has corrected or confirmed",
    "confidence": "confidences",
    "radius": "95 % radii",
    "doubt": "warnings and the marks of what needs review",
    "numbering": "the other numberings and their probabilities",
    "series": "the DICOM series",
    "model": "which model placed the points",
    "corners": "the corners of endplates",
}
_LABEL_IMAGE = (".nii", ".nii.gz")


@dataclass(frozen=True)
class FileFormat:
    """One format.

    Attributes:
        title: for people.
        endings: by which it is told and named, the first for new files.
        counts_in: the frame and unit of its numbers.
        carries: the `FACTS` that a file gives back.
        remark: what else is lost, or to know.
        read, write: None where that is not done.
        is_it: whether the content of a JSON file is this one.
        several: whether a file holds the landmarks of any number of images.
        names: those that it can hold, where it cannot hold all.
    """

    title: str
    endings: tuple[str, ...]
    counts_in: str
    carries: frozenset[str]
    remark: str = ""
    read: CasesReader | None = None
    write: CasesWriter | None = None
    is_it: Callable[[Any], bool] | None = None
    several: bool = False
    names: tuple[str, ...] | None = None

    def holds(self, mark: Landmark) -> bool:
        """Whether a file has this point."""
        return not mark.is_absent and (self.names is None or mark.name in self.names)


def _single(parse: Callable[..., LandmarkSet]) -> CasesReader:
    return lambda path, schema, image: [PointsOnImage(parse(path, schema))]


def _one(write: Callable[[LandmarkSet, str | os.PathLike[str]], None], title: str) -> CasesWriter:
    return lambda cases, path: write(only_one(cases, title).landmarks, path)


def _read_tianchi(
    path: str | os.PathLike[str], schema: Sequence[str], image: ImageGrid | None = None
) -> list[PointsOnImage]:
    return [PointsOnImage(one.landmarks, ImageGrid(one.study)) for one in read_tianchi(path)]


def _read_dataset(
    path: str | os.PathLike[str], schema: Sequence[str], image: ImageGrid | None = None
) -> list[PointsOnImage]:
    rows = read_landmarks_json(path, schema)
    return [
        PointsOnImage(
            LandmarkSet(
                tuple(Landmark(name, "corrected", pixel_xy=xy) for name, xy in row.points_xy.items()),
                input=row.image.name,
                slice_index=0,
                spacing_mm=row.spacing_mm,
            ),
            ImageGrid(row.image.name, row.size_wh),
        )
        for row in rows
    ]


def _first(content: Any) -> Any:
    return content[0] if isinstance(content, list) and content else None


def _has(content: Any, *keys: str) -> bool:
    return isinstance(content, dict) and all(key in content for key in keys)


def _is_nnlandmark(content: Any) -> bool:
    """Objects of triples, or of objects with coordinates, and nothing else."""
    values = list(content.values()) if isinstance(content, dict) else []
    return bool(values) and all(isinstance(value, dict) and "landmarks" not in value for value in values)


#: By the name that `--to` and `--from` take. Of two that fit a file, the first.
CATALOGUE: dict[str, FileFormat] = {
    "json": FileFormat(
        "result of `predict`",
        (".json",),
        "RAS mm, and pixels",
        frozenset(FACTS),
        "",
        _single(parse_json_result),
        _one(write_json, "json"),
        lambda content: _has(content, "landmarks", "input"),
    ),
    "csv": FileFormat(
        "table",
        (".csv",),
        "RAS mm, and pixels",
        frozenset(FACTS) - {"doubt", "numbering", "series", "model"},
        "`needs_review` and `warnings` are written for people and not read",
        _single(parse_csv),
        _one(write_csv, "csv"),
    ),
    "mrk.json": FileFormat(
        "3D Slicer markups",
        (".mrk.json",),
        "LPS mm",
        frozenset({"mm", "absent", "status", "confidence", "radius", "corners"}),
        "doubt stands in descriptions for people",
        _single(parse_markups),
        _one(write_markups, "mrk.json"),
        lambda content: _has(content, "markups"),
    ),
    "fcsv": FileFormat(
        "former 3D Slicer point list",
        (".fcsv",),
        "RAS or LPS mm",
        frozenset({"mm", "absent", "status", "confidence", "radius", "corners"}),
        "read only",
        _single(parse_fcsv),
    ),
    "sr": FileFormat(
        "DICOM report (TID 1500)",
        (".sr.dcm", ".dcm"),
        "LPS mm",
        frozenset(FACTS) - {"pixels", "slice", "spacing", "corners"},
        "read only; `predict --format sr` writes it beside its images",
        _single(parse_sr),
    ),
    "poi": FileFormat(
        "TPTBox and SPINEPS points of interest",
        ("_ctd.json", "_poi.json"),
        "voxels of a grid that it states; RAS mm without an image",
        frozenset({"mm"}),
        "other points of interest are passed over",
        read_tptbox_poi,
        write_tptbox_poi,
        lambda content: _has(_first(content), "direction") or _has(_first(content), "level_one_info"),
    ),
    "totalspineseg": FileFormat(
        "TotalSpineSeg labels",
        _LABEL_IMAGE,
        "voxels of the image",
        frozenset({"mm"}),
        "rounded to the nearest voxel; of a segmentation the discs alone are read",
        read_totalspineseg,
        write_totalspineseg,
    ),
    "sct": FileFormat(
        "Spinal Cord Toolbox disc labels",
        _LABEL_IMAGE,
        "voxels of the image",
        frozenset({"mm"}),
        "discs alone, rounded to the nearest voxel; SCT's own lie at the posterior tip, ours at the centre",
        read_sct,
        write_sct,
        names=tuple(SCT),
    ),
    "nnlandmark": FileFormat(
        "nnLandmark",
        (".json",),
        "voxels of the image",
        frozenset({"mm"}),
        "names no frame: the image is needed to read it too",
        read_nnlandmark,
        write_nnlandmark,
        _is_nnlandmark,
        several=True,
    ),
    "coco": FileFormat(
        "COCO key points",
        (".json",),
        "pixels",
        frozenset({"pixels", "slice", "spacing"}),
        "slice and spacing are fields of our own",
        read_coco,
        write_coco,
        lambda content: _has(content, "images", "annotations", "categories"),
        several=True,
    ),
    "cvat": FileFormat(
        "CVAT for images 1.1",
        (".xml",),
        "pixels from the corner",
        frozenset({"pixels", "status", "confidence"}),
        "status and confidence are attributes",
        read_cvat_xml,
        write_cvat_xml,
        several=True,
    ),
    "yolo": FileFormat(
        "Ultralytics pose",
        (".txt",),
        "shares of width and height",
        frozenset({"pixels"}),
        "names by their order alone; the image is needed to read it too",
        read_ultralytics_pose,
        write_ultralytics_pose,
    ),
    "labelstudio": FileFormat(
        "Label Studio",
        (".json",),
        "percent of width and height",
        frozenset({"pixels", "slice", "spacing", "status", "confidence", "model"}),
        "slice and spacing are fields of our own; the model stands beside predictions only",
        read_label_studio,
        write_label_studio,
        lambda content: _has(_first(content), "data") and not _has(_first(content), "studyUid"),
        several=True,
    ),
    "rsna": FileFormat(
        "RSNA 2024 coordinates",
        (".csv",),
        "pixels of a DICOM file",
        frozenset({"pixels"}),
        "read only; points of the canal at each disc, with a warning",
        read_rsna_csv,
        several=True,
    ),
    "tianchi": FileFormat(
        "Tianchi spine challenge",
        (".json",),
        "pixels of a DICOM file",
        frozenset({"pixels", "slice", "series"}),
        "whole pixels; grades are empty; what is read is `confirmed`",
        _read_tianchi,
        write_tianchi,
        lambda content: _has(_first(content), "studyUid") or _has(_first(content), "dcmPath"),
        several=True,
    ),
    "dataset": FileFormat(
        "data-set folder (`landmarks.json`)",
        ("landmarks.json",),
        "pixels",
        frozenset({"pixels", "slice", "spacing"}),
        "read only; `dataset export` writes it with its pictures; what is read is `corrected`",
        _read_dataset,
        None,
        lambda content: _has(_first(content), "landmarks_px"),
        several=True,
    ),
}


def format_to_write(name: str | None, path: Path) -> FileFormat:
    """The format asked for, or the one that the file's name means. Raises FormatError: unknown, or read only."""
    writable = {key: kind for key, kind in CATALOGUE.items() if kind.write}
    if name is None:
        ends = {key: end for key, kind in writable.items() for end in kind.endings if path.name.lower().endswith(end)}
        longest = [key for key, end in ends.items() if len(end) == max(map(len, ends.values()))]
        name = longest[0] if longest and longest[0] != "totalspineseg" else None
    if name not in writable:
        raise FormatError(f"{path.name}: expected one of {', '.join(writable)} with --to; got {name or 'none'}")
    return writable[name]


def format_of(path: Path, name: str | None = None) -> tuple[str, FileFormat]:
    """The format of a file, as asked for or by its content. Raises FormatError: unknown, or of no known layout."""
    if name is not None:
        if name not in CATALOGUE:
            raise FormatError(f"Expected --from to be one of {', '.join(CATALOGUE)}; got {name!r}")
        return name, CATALOGUE[name]
    lower = path.name.lower()
    found: str | None
    if lower.endswith(_LABEL_IMAGE):
        found = _label_kind(path)
    elif lower.endswith(".json"):
        content = load_json(path)
        found = next((key for key, kind in CATALOGUE.items() if kind.is_it and kind.is_it(content)), None)
    elif lower.endswith(".csv"):
        found = "rsna" if set(COLUMNS) <= set(_header(path)) else "csv"
    else:
        found = next((key for key, kind in CATALOGUE.items() if lower.endswith(kind.endings)), None)
    if found is None:
        raise FormatError(f"{path}: expected a file of {', '.join(CATALOGUE)}; got another. Say which with --from")
    return found, CATALOGUE[found]


def _header(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except (OSError, ValueError, csv.Error):  # its reader says what is wrong
        return []


def _label_kind(path: Path) -> str:
    """SCT where its disc labels are there and those of TotalSpineSeg's lumbar levels are not."""
    from SpineLandmarksLib.formats.disc_labels import TOTALSPINESEG, labels_in

    found = labels_in(path)
    return "sct" if found & set(SCT.values()) and not found & set(TOTALSPINESEG.values()) else "totalspineseg"


def losses(said: LandmarkSet, kind: FileFormat) -> list[str]:
    """What these landmarks say and a file of this format does not, in words."""
    lost = [IN_WORDS[fact] for fact, is_said in FACTS.items() if is_said(said) and fact not in kind.carries]
    names = [mark.name for mark in said if not mark.is_absent and not kind.holds(mark)]
    return [*lost, *([", ".join(names)] if names else [])]


def as_table() -> str:
    """The catalogue as a table of Markdown."""
    heads = ["format", "`--to`", "file", "in", "out", "counts in", *FACTS, "and"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for name, kind in CATALOGUE.items():
        marks = ["x" if fact in kind.carries else "" for fact in FACTS]
        ways = ["x" if way else "" for way in (kind.read, kind.write)]
        files = ", ".join(f"`{ending}`" for ending in kind.endings)
        lines.append(f"| {' | '.join([kind.title, f'`{name}`', files, *ways, kind.counts_in, *marks, kind.remark])} |")
    return "\n".join(lines)


def read_cases(
    path: Path, name: str | None = None, schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> tuple[FileFormat, list[PointsOnImage]]:
    """The format of a file and the landmarks in it. Raises FormatError as `format_of` and its reader."""
    _, kind = format_of(path, name)
    assert kind.read is not None  # there is no format that is written only
    return kind, kind.read(path, schema, image)
