"""Points of interest of TPTBox and SPINEPS (`*_ctd.json`): a point for each vertebra and subregion.

[{"direction": ["P", "I", "R"], "zoom": [mm, mm, mm], "origin": [r, a, s], "rotation": 3 x 3, "shape": [i, j, k],
  "format": "POI", "level_one_info": "Vertebra_Instance", "level_two_info": "Location"},
 {"L1": {"50": [i, j, k], "100": [i, j, k]}, ...}]

Subregion 50 is the vertebral body, 100 the disc below its vertebra. Points count in voxels of the grid that the header
states, whose rotation and origin are those of NIfTI (RAS). Without an image we write the "POI_GLOBAL" format: the same
dictionary in millimetres, with `coordinate_system` "nib" (RAS) or "itk" (LPS). Also read: lists of
{"label": subregion * 256 + vertebra, "X", "Y", "Z"}, as SPINEPS writes them, and discs under 100 + vertebra.

https://github.com/Hendrik-code/TPTBox (core/poi_fun/save_load.py, vert_constants.py)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from SpineLandmarksLib.errors import FormatError, GeometryError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.image_grid import ImageGrid, PointsOnImage, as_point, known_voxels, only_one
from SpineLandmarksLib.formats.shared import rounded, stated_set
from SpineLandmarksLib.formats.strict_json import Fields, as_number, is_number, load_json, short_repr
from SpineLandmarksLib.geometry import Matrix, apply, check_affine, ras_from_lps, spacing_mm
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, Point

TITLE = "TPTBox POI"
_BODY, _DISC, _PER_SUBREGION = 50, 100, 256
_VERTEBRAE = {"T12": 19, "L1": 20, "L2": 21, "L3": 22, "L4": 23, "L5": 24}
#: Their numbers for a sixth lumbar and a thirteenth thoracic vertebra.
_EXTRA = {25: "L6", 28: "T13"}
_NAMES = {number: name for name, number in _VERTEBRAE.items()} | _EXTRA
#: Each landmark as (vertebra, subregion).
_KEYS = {name: (_VERTEBRAE[name.partition("-")[0]], _DISC if "-" in name else _BODY) for name in LUMBAR11}
_LANDMARKS = {key: name for name, key in _KEYS.items()}
_LANDMARKS |= {(vertebra + 100, disc): _LANDMARKS[vertebra, _DISC] for vertebra in range(19, 25) for disc in (50, 100)}
_DIGITS = 6
EXTRA_LEVEL = (
    "The file has {}, so that its levels are counted from the head; the landmarks here are counted up from the sacrum: "
    "check each name"
)


def write_tptbox_poi(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write the points of one image: in its voxels, or in RAS mm when no image is given.

    Raises FormatError: several images, points without millimetres or outside the image; OutputError.
    """
    one = only_one(cases, TITLE)
    header: dict[str, Any] = {"coordinate_system": "nib", "format": "POI_GLOBAL"}
    points = {mark.name: mark.position_ras_mm for mark in one.landmarks if mark.position_ras_mm is not None}
    if one.image is not None and one.image.ras_from_ijk is not None:
        points, header = known_voxels(one, TITLE), _header(one.image.ras_from_ijk, one.image.shape)
    if len(points) < sum(not mark.is_absent for mark in one.landmarks) or not points:
        raise FormatError(
            f"{TITLE}: expected a position in mm of each landmark. Give the --image, and --spacing if need be"
        )
    header |= {"level_one_info": "Vertebra_Instance", "level_two_info": "Location"}
    regions: dict[str, dict[str, list[float]]] = {}
    for name, point in points.items():
        if name not in _KEYS:
            raise FormatError(f"{TITLE}: expected names of {', '.join(_KEYS)}; got {name!r}")
        vertebra, subregion = _KEYS[name]
        regions.setdefault(_NAMES[vertebra], {})[str(subregion)] = [rounded(value, _DIGITS) for value in point]
    write_json_atomically(path, [header, regions])


def _header(ras_from_ijk: Matrix, shape: Sequence[int] | None) -> dict[str, Any]:
    from nibabel.orientations import aff2axcodes

    zoom = np.array(spacing_mm(ras_from_ijk))
    return {
        "direction": list(aff2axcodes(ras_from_ijk)),
        "zoom": zoom.tolist(),
        "origin": ras_from_ijk[:3, 3].tolist(),
        "rotation": (ras_from_ijk[:3, :3] / zoom).tolist(),
        "shape": None if shape is None else list(map(int, shape)),
        "format": "POI",
    }


def read_tptbox_poi(
    path: str | os.PathLike[str], schema: Sequence[str] = LUMBAR11, image: ImageGrid | None = None
) -> list[PointsOnImage]:
    """Read the body and disc centres, in RAS mm; other points of interest are passed over.

    image: of a file that does not state its grid. Raises FormatError: no grid, none of our points, numbers that are
    none.
    """
    where = os.fspath(path)
    content = load_json(path)
    if not isinstance(content, list) or not content:
        raise FormatError(f"{where}: expected a list that begins with a header; got {short_repr(content)}")
    header = Fields.of(content[0], f"{where}, header")
    matrix = _ras_from_file(header, image)
    points = list(_points(content[1:], where))
    marks = [
        Landmark(_LANDMARKS[key], position_ras_mm=as_point(apply(matrix, point)))
        for key, point in points
        if key in _LANDMARKS
    ]
    if not marks:
        raise FormatError(f"{where}: expected centres of lumbar bodies (50) or discs (100); found none")
    extra = sorted({_EXTRA[vertebra] for (vertebra, _), _ in points if vertebra in _EXTRA})
    told = (EXTRA_LEVEL.format(" and ".join(extra)),) if extra else ()
    found = stated_set(marks, schema, path, input=where, warnings=told, needs_review=True if told else None)
    return [PointsOnImage(found, image)]


def _ras_from_file(header: Fields, image: ImageGrid | None) -> Matrix:
    if header.values.get("format") in ("POI_GLOBAL", "POINT_LIST"):
        system = header.text("coordinate_system") if header.has("coordinate_system") else "nib"
        if system not in ("nib", "itk"):
            raise FormatError(f"{header.where}: expected nib or itk in 'coordinate_system'; got {system!r}")
        return np.eye(4) if system == "nib" else ras_from_lps(np.eye(4))
    if all(header.has(key) for key in ("zoom", "origin", "rotation")):
        return _stated_grid(header)
    if image is None or image.ras_from_ijk is None:
        raise FormatError(f"{header.where}: expected zoom, origin and rotation; without them give the --image")
    return _image_grid(header, image.ras_from_ijk)


def _stated_grid(header: Fields) -> Matrix:
    matrix = np.eye(4)
    rows = Fields({str(row): value for row, value in enumerate(header.list("rotation"))}, f"{header.where}, rotation")
    matrix[:3, :3] = [rows.numbers(str(row), 3) for row in range(3)]
    matrix[:3, :3] *= header.numbers("zoom", 3)
    matrix[:3, 3] = header.numbers("origin", 3)
    return _checked(matrix, header)


def _image_grid(header: Fields, ras_from_ijk: Matrix) -> Matrix:
    from nibabel.orientations import aff2axcodes

    stated = header.values.get("direction")
    if list(aff2axcodes(ras_from_ijk)) != stated:
        raise FormatError(f"{header.where}: expected the image's own axes in 'direction'; got {short_repr(stated)}")
    if header.has("zoom") and not np.allclose(header.numbers("zoom", 3), spacing_mm(ras_from_ijk), rtol=1e-3):
        raise FormatError(f"{header.where}: expected the image's spacing in 'zoom'; got {header.values['zoom']}")
    return ras_from_ijk


def _checked(matrix: Matrix, header: Fields) -> Matrix:
    try:
        return check_affine(matrix)
    except GeometryError as error:
        raise FormatError(f"{header.where}: {error}") from error


def _points(content: Sequence[Any], where: str) -> Iterator[tuple[tuple[int, int], Point]]:
    for index, item in enumerate(content, start=1):
        fields = Fields.of(item, f"{where}, [{index}]")
        if fields.has("label"):
            if key := _key_of_label(fields.values["label"]):
                yield key, as_point([fields.number(axis) for axis in "XYZ"])
            continue
        for vertebra, regions in fields.values.items():
            for subregion, point in Fields.of(regions, f"{fields.where}, {vertebra}").values.items():
                key = _number(vertebra), _subregion(subregion)
                if key in _LANDMARKS or key[0] in _EXTRA:
                    yield key, _coordinates(point, f"{fields.where}, {vertebra}, {subregion}")


def _coordinates(value: object, where: str) -> Point:
    if isinstance(value, list) and len(value) == 3 and all(map(is_number, value)):
        return as_point(list(map(as_number, value)))
    raise FormatError(f"{where}: expected three finite numbers; got {short_repr(value)}")


def _key_of_label(label: object) -> tuple[int, int] | None:
    """(vertebra, subregion) of 12820; None for a label that is a name of something else."""
    if not str(label).isdecimal():
        return None
    subregion, vertebra = divmod(int(str(label)), _PER_SUBREGION)
    return vertebra, subregion or _BODY


def _number(vertebra: str) -> int:
    if vertebra.isdecimal():
        return int(vertebra)
    return next((number for number, name in _NAMES.items() if name == vertebra.upper()), -1)


def _subregion(text: str) -> int:
    return int(text) if text.isdecimal() else {"vertebra_corpus": _BODY, "vertebra_disc": _DISC}.get(text.lower(), -1)
