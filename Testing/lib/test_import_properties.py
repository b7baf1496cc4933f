"""Over any geometry, order of rows and way of writing: what a file says is what is read, and a lie about it shows."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from SpineLandmarksLib.annotation.frame import ImageFrame
from SpineLandmarksLib.annotation.import_file import MisreadError, import_landmarks
from SpineLandmarksLib.formats import UNITS, Reading, read_landmarks
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet, Point

FEW = settings(max_examples=60, deadline=None)  # each example writes and reads a file

Row = tuple[str, Point]
SPELLINGS = (
    (lambda name: name),
    str.lower,
    (lambda name: name.replace("-", "/")),
    (lambda name: f" {name.replace('-', ' – ')} "),
)
#: Ways of writing: ending, and the frame that the file states.
KINDS = [(kind, frame) for kind in ("csv", "slicer.csv", "mrk.json", "fcsv", "json") for frame in ("RAS", "LPS")]
KINDS.remove(("json", "LPS"))


def in_frame(rows: Sequence[Row], frame: str) -> list[Row]:
    sign = -1.0 if frame == "LPS" else 1.0
    return [(name, (sign * r, sign * a, s)) for name, (r, a, s) in rows]


def text_of(kind: str, frame: str, rows: Sequence[Row], delimiter: str = ",") -> str:
    """A file as another program writes it: numbers as they are, stated to be in `frame`."""
    if kind in ("csv", "slicer.csv"):
        axes = {"RAS": "ras", "LPS": "lps"}[frame]
        point = "." if delimiter == "," else ","
        head = ["label", *(axes if kind == "slicer.csv" else (f"{axis}_mm" for axis in axes))]
        more = (["defined", "description"], ["1", ""]) if kind == "slicer.csv" else (["status"], ["corrected"])
        lines = [[name, *(repr(v).replace(".", point) for v in xyz), *more[1]] for name, xyz in rows]
        return "\n".join(delimiter.join(line) for line in ([*head, *more[0]], *lines)) + "\n"
    if kind == "fcsv":
        lines = [f"1,{x!r},{y!r},{z!r},0,0,0,1,1,1,0,{name},," for name, (x, y, z) in rows]
        columns = "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
        return "\n".join([f"# CoordinateSystem = {frame}", columns, *lines]) + "\n"
    if kind == "json":
        marks = [{"name": name, "status": "corrected", "position_ras_mm": xyz} for name, xyz in rows]
        return json.dumps({"input": "", "landmarks": marks})
    points = [{"label": name, "position": xyz} for name, xyz in rows]
    return json.dumps({"markups": [{"type": "Fiducial", "coordinateSystem": frame, "controlPoints": points}]})


def written(folder: str, kind: str, text: str) -> Path:
    path = Path(folder) / f"case.{kind.removeprefix('slicer.')}"
    path.write_text(text, encoding="utf-8")
    return path


coordinates = st.floats(-900, 900).map(lambda value: round(value, 3) + 0.0)
positions = st.tuples(coordinates, coordinates, coordinates)


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    names = draw(st.lists(st.sampled_from(LUMBAR11), min_size=1, max_size=11, unique=True))
    return [(name, draw(positions)) for name in names]


@FEW
@given(some_rows(), st.sampled_from(KINDS), st.sampled_from(SPELLINGS), st.sampled_from(",;\t"))
def test_what_a_file_says_is_what_is_read(rows, kind, spelling, delimiter) -> None:
    spelled = [(spelling(name), xyz) for name, xyz in in_frame(rows, kind[1])]
    with tempfile.TemporaryDirectory() as folder:
        found = read_landmarks(written(folder, kind[0], text_of(*kind, spelled, delimiter)))
    assert found.names == tuple(name for name in LUMBAR11 if name in dict(rows))
    for name, position in rows:
        assert (found[name].status, found[name].pixel_xy) == ("corrected", None)
        assert found[name].position_ras_mm == pytest.approx(position, abs=1e-9)


@st.composite
def spines(draw: st.DrawFn) -> dict[str, Point]:
    """Eleven points head to foot: 12 to 22 mm a step, mostly beside the axis, bowed and tilted any way."""
    step, bow, tilt = draw(st.floats(12, 22)), draw(st.floats(-6, 30)), draw(st.floats(-0.2, 0.2))
    r, a, s = draw(st.floats(-60, 60)), draw(st.floats(-150, 150)), draw(st.floats(-500, 500))
    if abs(a) < 20:  # on the axis both readings are the same
        a = 20.0 if a > 0 else -20.0
    places = [(r + tilt * n * 5, a + bow * float(np.sin(np.pi * n / 10)), s - step * n) for n in range(11)]
    return dict(zip(LUMBAR11, places, strict=True))


def around(points: dict[str, Point], angle: float) -> ImageFrame:
    """An oblique sagittal volume of 2 mm voxels about the isocentre that holds a spine and its mirror image."""
    centre = np.mean(list(points.values()), 0) * (0, 0, 1)
    c, n = np.cos(angle), np.sin(angle)
    axes = np.array([[n, 0, c], [-c, 0, n], [0, -1.0, 0]]) * 2.0
    size = np.array([400, 300, 400])
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, centre - axes @ (size - 1) / 2
    return ImageFrame(matrix, tuple(size.tolist()))  # type: ignore[arg-type]


def known_set(points: dict[str, Point], shift: int, seed: int) -> LandmarkSet:
    """What a model has said: 1.5 mm off, and its names `shift` places off."""
    noise = np.random.default_rng(seed).normal(0, 1.0, (11, 3))
    moved = [tuple(map(float, np.add(point, one))) for point, one in zip(points.values(), noise, strict=True)]
    return LandmarkSet(tuple(Landmark(LUMBAR11[(n + shift) % 11], "predicted", at) for n, at in enumerate(moved)))


UNIT = st.sampled_from(sorted(UNITS))


@FEW
@given(
    spines(), st.sampled_from(KINDS), st.booleans(), UNIT, st.integers(-1, 1), st.floats(-0.3, 0.3), st.integers(0, 99)
)
def test_a_lie_about_frame_or_unit_shows_and_the_truth_passes(spine, kind, lies, unit, shift, angle, seed) -> None:
    """Known points tell, however the spine bows; levels that people correct do not matter."""
    other = {"RAS": "LPS", "LPS": "RAS"}[kind[1]]
    real = other if lies else kind[1]
    rows = in_frame([(name, tuple(v / UNITS[unit] for v in xyz)) for name, xyz in spine.items()], real)
    frame, known = around(spine, angle), known_set(spine, shift, seed)
    with tempfile.TemporaryDirectory() as folder:
        path = written(folder, kind[0], text_of(*kind, rows))
        if lies or unit != "mm":
            with pytest.raises(MisreadError) as refused:
                import_landmarks(path, LUMBAR11, frame, known=known)
            reading = refused.value.reading
            assert reading == Reading(real, unit)
            assert (f"--frame {real.lower()}" in str(refused.value), f"--unit {unit}" in str(refused.value)) == (
                lies,
                unit != "mm",
            )
        else:
            reading = Reading()
        found = import_landmarks(path, LUMBAR11, frame, reading, known)
    for name, position in spine.items():
        assert found[name].position_ras_mm == pytest.approx(position, abs=1e-6)


@FEW
@given(st.sets(st.sampled_from(LUMBAR11), min_size=1), st.floats(0.2, 30), st.integers(0, 2**16))
def test_only_what_a_file_moves_changes(moved, by_mm, seed) -> None:
    rng = np.random.default_rng(seed)
    statuses = rng.choice(["predicted", "corrected", "confirmed"], 11)
    at = {name: (5.0, 60.0, -17.0 * n) for n, name in enumerate(LUMBAR11)}
    marks = [Landmark(name, str(s), at[name], None, 0.5) for name, s in zip(LUMBAR11, statuses, strict=True)]  # type: ignore[arg-type]
    before = LandmarkSet(tuple(marks), bundle="model@1")
    rows = [(name, (r, a + by_mm * (name in moved), s)) for name, (r, a, s) in at.items()]
    table = "label,r_mm,a_mm,s_mm\n" + "".join(f"{name},{r},{a},{s}\n" for name, (r, a, s) in rows)
    with tempfile.TemporaryDirectory() as folder:
        after = import_landmarks(written(folder, "csv", table), before=before)
    for name, position in rows:
        stayed = replace(before[name])
        placed = Landmark(name, "corrected", position, needs_review=False)
        assert after[name] == (placed if name in moved else stayed)
