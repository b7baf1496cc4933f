"""The Tianchi spine competition's annotations: read with their defects repaired and each repair told, and written.

Published:  [{"studyUid", "data": [{"seriesUid", "instanceUid", "annotation": ANNOTATION}]}]
Raw rows:   [{"dcmPath", "annotation": ANNOTATION}]
ANNOTATION: [{"annotator", "data": {"point": [{"coord": [x, y], "zIndex", "tag": {"identification", "disc": "v1"}}]}}]
with "vertebra" instead of "disc" for a vertebra; coordinates are native pixels of the slice.

From the head down the landmarks have one order, so the row coordinate decides over a wrong name. A point whose name is
empty, double or out of order (two neighbours swapped) loses it and takes the name left over at its place, if the
points there are as many as the names. What this cannot decide is masked, never guessed. A slice may be stored feet up
or on its side: what is repaired is said anew of the points where they come to lie when it is turned upright (`turned`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from SpineLandmarksLib.errors import FormatError
from SpineLandmarksLib.formats.atomic import write_json_atomically
from SpineLandmarksLib.formats.image_grid import PointsOnImage, known_pixels
from SpineLandmarksLib.formats.strict_json import Fields, load_objects, short_repr
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, PixelXY


@dataclass(frozen=True)
class TianchiSlice:
    """One annotated slice.

    landmarks: native pixels, `confirmed`; what is missing is `not_visible`. `slice_index` is the annotators' zIndex.
    grades: degeneration grades by name, such as ("v3", "v5"). repairs: what was changed and why, one sentence each.
    """

    study: str
    landmarks: LandmarkSet
    instance_uid: str | None = None
    annotator: str | None = None
    grades: dict[str, tuple[str, ...]] = field(default_factory=dict)
    repairs: tuple[str, ...] = ()
    points: tuple[_Point, ...] = field(default=(), repr=False, compare=False)

    def turned(self, turn: Callable[[PixelXY], PixelXY]) -> TianchiSlice:
        """The same on the slice shown upright. turn: pixels shown upright from pixels as they are stored."""
        points = [replace(point, xy=turn(point.xy)) for point in self.points]
        return _repaired(replace(self, points=tuple(points)))


@dataclass(eq=False)  # two points of the same name and place are still two
class _Point:
    xy: PixelXY
    name: str | None
    tag: dict[str, str]
    z_index: int | None


def read_tianchi(path: str | os.PathLike[str]) -> list[TianchiSlice]:
    """Read the published JSON or the raw rows; one entry for each slice and annotator.

    Raises FormatError when the file has another layout or a point has no coordinates.
    """
    return [annotated for item in load_objects(path) for annotated in _read_item(item)]


def write_tianchi(cases: Sequence[PointsOnImage], path: str | os.PathLike[str]) -> None:
    """Write the layout that was published, for any number of images: whole pixels of the file as it is stored.

    UIDs and grades that are not known are empty texts; a series without a study's UID goes by the image's name.
    Raises FormatError for landmarks without pixels or of other names; OutputError.
    """
    content = [_as_published(one) for one in cases]
    write_json_atomically(path, content)


def _as_published(one: PointsOnImage) -> dict[str, Any]:
    index, known = one.landmarks.slice_index or 0, known_pixels(one, "Tianchi")
    unknown = [name for name in known if name not in LUMBAR11]
    if unknown:
        raise FormatError(f"Tianchi: expected names of {', '.join(LUMBAR11)}; got {', '.join(unknown)}")
    points = []
    for name, shown_xy in known.items():
        xy = one.image.stored(shown_xy, index) if one.image else shown_xy
        tag = {"identification": name, "disc" if "-" in name else "vertebra": ""}
        points.append({"tag": tag, "coord": [round(value) for value in xy], "zIndex": index})
    series = {
        "seriesUid": one.landmarks.series_uid or "",
        "instanceUid": "",
        "annotation": [{"annotator": "", "data": {"point": points}}],
    }
    study = one.image.study_uid or one.image.stem if one.image else one.name
    return {"studyUid": study, "data": [series]}


def _read_item(item: Fields) -> list[TianchiSlice]:
    if "dcmPath" in item.values:
        file = item.text("dcmPath")
        found = re.search(r"study(\d+)", file)
        return _read_annotations(item, found[1] if found else file, file)
    study = item.text("studyUid")
    return [annotated for image in item.objects("data") for annotated in _read_annotations(image, study, study)]


def _read_annotations(image: Fields, study: str, source: str) -> list[TianchiSlice]:
    result = []
    for annotation in image.objects("annotation"):
        data = Fields.of(annotation.values.get("data"), f"{annotation.where}, data")
        stored = TianchiSlice(
            study=study,
            landmarks=LandmarkSet((), input=source, series_uid=_text(image, "seriesUid")),
            instance_uid=_text(image, "instanceUid"),
            annotator=_text(annotation, "annotator"),
            points=tuple(_read_point(item) for item in data.objects("point")),
        )
        result.append(_repaired(stored))
    return result


def _repaired(stored: TianchiSlice) -> TianchiSlice:
    """With the landmarks, grades and repairs that its points stand for."""
    repairs: list[str] = []
    points = [replace(point) for point in stored.points]
    grades = _repair(points, repairs)
    return replace(stored, landmarks=_landmark_set(points, stored.landmarks), grades=grades, repairs=tuple(repairs))


def _text(fields: Fields, key: str) -> str | None:
    return (str(fields.values[key]) or None) if fields.has(key) else None


def _read_point(item: Fields) -> _Point:
    x, y = item.numbers("coord", 2)
    tag = Fields.of(item.values.get("tag", {}), f"{item.where}, tag")
    for key, value in tag.values.items():
        if value is not None and not isinstance(value, str):
            raise FormatError(f"{tag.where}: expected a text in '{key}'; got {short_repr(value)}")
    texts = {key: value.strip() for key, value in tag.values.items() if value is not None}
    z_index = item.whole_number("zIndex") if item.has("zIndex") else None
    return _Point((x, y), texts.get("identification") or None, texts, z_index)


def _landmark_set(points: Sequence[_Point], source: LandmarkSet) -> LandmarkSet:
    known = {point.name: point.xy for point in points if point.name is not None}
    landmarks = tuple(
        Landmark(name, "confirmed", pixel_xy=known[name]) if name in known else Landmark(name, "not_visible")
        for name in LUMBAR11
    )
    slices = [point.z_index for point in points if point.z_index is not None]
    most_named = max(set(slices), key=slices.count) if slices else None
    return replace(source, landmarks=landmarks, slice_index=most_named)


def _repair(points: list[_Point], repairs: list[str]) -> dict[str, tuple[str, ...]]:
    """Name the points in place, in the order of their rows, and return the grades by name."""
    points.sort(key=lambda point: point.xy[1])
    _leave_out_repeats(points, repairs)
    _name_disc_of_vertebra(points, repairs)
    _unname_unusable(points, repairs)
    _unname_disordered(points, repairs)
    _name_by_place(points, repairs)
    named = {point.name: point for point in points if point.name is not None}
    repairs.extend(f"{name} is missing and was masked" for name in LUMBAR11 if name not in named)
    return {name: _grades(name, point.tag, repairs) for name, point in named.items()}


def _leave_out_repeats(points: list[_Point], repairs: list[str]) -> None:
    seen: list[tuple[str | None, PixelXY]] = []
    for point in list(points):
        if (point.name, point.xy) in seen:
            points.remove(point)
            repairs.append(f"{point.name} came twice at {point.xy}; one was left out")
        seen.append((point.name, point.xy))


def _name_disc_of_vertebra(points: Sequence[_Point], repairs: list[str]) -> None:
    """T12 is no landmark: with the grade of a disc it means T12-L1, else its place decides."""
    taken = [point.name for point in points]
    for point in points:
        below = next((name for name in LUMBAR11 if name.startswith(f"{point.name}-")), None)
        if point.name in LUMBAR11 or below is None or below in taken:
            continue
        reason = "has a disc's grade and became" if point.tag.get("disc") else "may be"
        repairs.append(f"{point.name} at {point.xy} {reason} {below}")
        point.name = below if point.tag.get("disc") else None


def _unname_unusable(points: list[_Point], repairs: list[str]) -> None:
    """Leave out the points of other levels (S1, T11-T12); take the name from those that share one."""
    for point in [point for point in points if point.name is not None and point.name not in LUMBAR11]:
        points.remove(point)
        repairs.append(f"{point.name!r} at {point.xy} is the name of no landmark; the point was left out")
    names = [point.name for point in points]
    for point in points:
        if point.name is not None and names.count(point.name) > 1:
            repairs.append(f"{point.name} at {point.xy} is one of several points of this name; it was not used")
            point.name = None


def _unname_disordered(points: Sequence[_Point], repairs: list[str]) -> None:
    """Keep the names that every longest ordered run agrees on: one stray point must not cost the others theirs."""
    named = [point for point in points if point.name is not None]
    indices = [LUMBAR11.index(str(point.name)) for point in named]
    ending = _longest_runs(indices)  # the longest ordered run that ends at each point, counted in points
    starting = _longest_runs([-index for index in reversed(indices)])[::-1]
    levels = [end if end + start - 1 == max(ending) else 0 for end, start in zip(ending, starting, strict=True)]
    for point, level in zip(named, levels, strict=True):
        if level == 0 or levels.count(level) > 1:
            repairs.append(f"{point.name} at {point.xy} is out of order from the head down; its name was not used")
            point.name = None


def _longest_runs(values: Sequence[int]) -> list[int]:
    """Length of the longest rising run (gaps allowed) that ends at each value.

    >>> _longest_runs([0, 2, 1, 3])
    [1, 2, 2, 3]
    """
    lengths: list[int] = []
    for place, value in enumerate(values):
        before = [length for length, other in zip(lengths, values[:place], strict=True) if other < value]
        lengths.append(1 + max(before, default=0))
    return lengths


def _name_by_place(points: Sequence[_Point], repairs: list[str]) -> None:
    """Give the points without a name those names that are left over between their named neighbours, if as many.

    The tag with its grade goes with the name, not with the point: it is the name that was put in the wrong place.
    """
    gap: list[_Point] = []
    previous = -1
    for point in [*points, None]:
        if point is not None and point.name is None:
            gap.append(point)
            continue
        following = len(LUMBAR11) if point is None else LUMBAR11.index(str(point.name))
        free = LUMBAR11[previous + 1 : following]
        tags = {nameless.tag.get("identification"): nameless.tag for nameless in gap}
        for nameless, name in zip(gap, free, strict=True) if len(gap) == len(free) else ():
            nameless.name, nameless.tag = name, tags.get(name, nameless.tag)
            repairs.append(f"The point at {nameless.xy} became {name}, the name left over at its place")
        gap, previous = [], following


def _grades(name: str, tag: dict[str, str], repairs: list[str]) -> tuple[str, ...]:
    """("v3", "v5") from 'v3,v5'. A dash in the name says that the disc's grade counts, else the vertebra's."""
    right, wrong = ("disc", "vertebra") if "-" in name else ("vertebra", "disc")
    if wrong in tag:
        repairs.append(f"{name} has a {wrong}'s grade ({tag[wrong]!r}), which is not of its kind; it was left out")
    grades = tuple(grade.strip() for grade in tag.get(right, "").split(",") if grade.strip())
    if len(grades) > 1:
        repairs.append(f"{name} has the grades {tag[right]!r}; they were kept as {len(grades)}")
    return grades
