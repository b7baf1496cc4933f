"""A believable lumbar MRI made from nothing, with exact truth: demo input, test input and training data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import DatasetError
from SpineLandmarksLib.geometry import Matrix, ras_from_slice
from SpineLandmarksLib.landmarks import LUMBAR11, Landmark, LandmarkSet
from SpineLandmarksLib.phantom.anatomy import Spine, random_spine
from SpineLandmarksLib.phantom.body import BodyPainter
from SpineLandmarksLib.phantom.canvas import Canvas, Grid, SmoothNoise, Tissue
from SpineLandmarksLib.phantom.contrast import CONTRASTS, Scan, coil_gain, random_scan, record, tissue_values
from SpineLandmarksLib.phantom.course import Course
from SpineLandmarksLib.phantom.spine import FIRST_DISC, SpinePainter

Contrast = Literal["T1", "T2", "STIR"]
FieldOfView = Literal["whole", "without_top", "without_bottom"]


@dataclass(frozen=True)
class Phantom:
    """One made-up study. Anatomy depends on the seed and the anomalies only, not on contrast, matrix or pixel size.

    voxels: (K, H, W) float32 >= 0; rows head to feet, columns front to back, slices from the patient's right to left.
    ras_from_ijk: (4, 4), oblique by a few degrees. landmarks: exact truth with status "confirmed"; of the names in
    LUMBAR11 those outside the picture are "out_of_view", those that this anatomy lacks "not_visible", and names that
    only it has (L4-S1; L5-L6, L6, L6-S1) follow; their `corners` are exact too. pixel_xy is the in-plane position,
    slice_index the middle slice.
    labels: (K, H, W) uint8 of `Tissue`. levels: (K, H, W) uint8, keys of `level_names`, 0 for none.
    """

    voxels: NDArray[np.float32]
    ras_from_ijk: Matrix
    landmarks: LandmarkSet
    labels: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    level_names: dict[int, str] = field(repr=False)
    contrast: str = "T2"
    seed: int = 0


class _Scene:
    """A spine in its body on a grid: draws any slice of itself."""

    def __init__(self, spine: Spine, grid: Grid, rng: np.random.Generator):
        self.spine, self.grid = spine, grid
        self.course = Course.of(spine, grid)
        self.body = BodyPainter(rng, spine, grid, self.course)
        self.painter = SpinePainter(rng, spine, grid, self.course, self.body.fascia)
        self.shading = SmoothNoise(rng, grid, 120.0)

    def draw(self, lateral_mm: float, values: dict[Tissue, float]) -> Canvas:
        canvas = Canvas(self.grid, values)
        self.body.paint(canvas, lateral_mm)
        self.painter.paint(canvas, lateral_mm)
        return canvas

    def record(self, canvas: Canvas, scan: Scan, rng: np.random.Generator) -> NDArray[np.float32]:
        gain = coil_gain(scan, self.grid, self.body.back, self.shading, self.course.front)
        return record(canvas.image, gain, scan, self.grid.pixel_mm, rng)


def make_phantom(
    seed: int,
    *,
    contrast: Contrast = "T2",
    slices: int = 15,
    pixel_mm: float = 0.7,
    slice_mm: float = 4.0,
    matrix: tuple[int, int] = (448, 448),
    lumbar_bodies: int = 5,
    field_of_view: FieldOfView = "whole",
    roughness: float = 0.5,
) -> Phantom:
    """A sagittal stack with exact truth; the same arguments always give the same voxels.

    matrix: (rows, columns). slice_mm: distance between slice centres. roughness: 0 clean .. 1 as clinics send it.
    field_of_view: "without_top" cuts T12-L1 (and above) off, "without_bottom" the lumbosacral disc (and below).
    Raises DatasetError on an impossible setting and LandmarkError on an impossible count of lumbar bodies.
    """
    _check(contrast, slices, pixel_mm, slice_mm, matrix, field_of_view)
    spine = random_spine(np.random.default_rng([seed, 0]), lumbar_bodies)
    placing = np.random.default_rng([seed, 1])
    grid = _grid(spine, matrix, pixel_mm, field_of_view, placing)
    ras_from_ijk = _oblique(placing, grid, slices, slice_mm)
    scene = _Scene(spine, grid, np.random.default_rng([seed, 2]))
    recording = np.random.default_rng([seed, 3, CONTRASTS.index(contrast)])
    values, scan = tissue_values(contrast, recording, 0.06), random_scan(recording, roughness)
    laterals = (np.arange(slices) - (slices - 1) / 2) * slice_mm
    canvases = [scene.draw(float(lateral), values) for lateral in laterals]
    voxels = np.stack([scene.record(canvas, scan, recording) for canvas in canvases]) * np.float32(1000)
    return Phantom(
        voxels,
        ras_from_ijk,
        _truth(spine, grid, ras_from_ijk, slices, slice_mm),
        np.stack([canvas.labels for canvas in canvases]),
        np.stack([canvas.levels for canvas in canvases]),
        level_names(spine),
        contrast,
        seed,
    )


def make_slice(
    rng: np.random.Generator,
    *,
    matrix: tuple[int, int] = (320, 320),
    contrast: str | None = None,
    lumbar_bodies: int = 5,
    transitional: float = 0.0,
    corners: bool = False,
) -> tuple[NDArray[np.float32], dict[str, tuple[float, float]], float]:
    """One mid-sagittal training slice of a new spine: (image (H, W), {name: (x, y) pixels}, pixel size in mm).

    contrast: one of CONTRASTS; None draws one, every other time wholly random tissues. Only points inside the image are
    given. transitional: share of spines between lumbar and sacral at their junction. corners: those of the endplates
    instead of the centres. The slice may pass a few mm beside
    the spine, as real ones do. Raises as `make_phantom`.
    """
    if contrast is None:
        contrast = str(rng.choice(CONTRASTS, p=[0.2, 0.1, 0.1, 0.05, 0.05, 0.5]))
    transition = float(rng.uniform(-1, 1)) if rng.random() < transitional else 0.0
    spine = random_spine(rng, lumbar_bodies, transition)
    field_mm = float(np.clip(rng.normal(340, 40), 230, 420))
    pixel_mm = field_mm / max(matrix)
    grid = _grid(spine, matrix, pixel_mm, "whole", rng, wander=2.0)
    scene = _Scene(spine, grid, rng)
    canvas = scene.draw(float(rng.normal(0, 2.0)), tissue_values(contrast, rng, 0.25))
    image = scene.record(canvas, random_scan(rng), rng)
    truth = spine.corners() if corners else spine.truth()
    points = {name: grid_xy(grid, x, y) for name, (x, y, _) in truth.items()}
    return image, {name: xy for name, xy in points.items() if _inside(xy, matrix)}, pixel_mm


def level_names(spine: Spine) -> dict[int, str]:
    """What the numbers in a level map mean: 1 + index of a vertebra, FIRST_DISC + index of a disc."""
    bodies = {1 + n: vertebra.name for n, vertebra in enumerate(spine.vertebrae)}
    return bodies | {FIRST_DISC + n: disc.name for n, disc in enumerate(spine.discs)}


def grid_xy(grid: Grid, x_mm: float, y_mm: float) -> tuple[float, float]:
    """Plane mm to pixels (column, row) of a slice."""
    return float((x_mm - grid.x_mm[0]) / grid.pixel_mm), float((y_mm - grid.y_mm[0]) / grid.pixel_mm)


def _check(
    contrast: str, slices: int, pixel_mm: float, slice_mm: float, matrix: tuple[int, int], field_of_view: str
) -> None:
    if contrast not in CONTRASTS:
        raise DatasetError(f"Expected a contrast of {', '.join(CONTRASTS)}; got {contrast!r}")
    if field_of_view not in ("whole", "without_top", "without_bottom"):
        raise DatasetError(f"Expected a field of view of whole, without_top, without_bottom; got {field_of_view!r}")
    if slices < 1 or min(matrix) < 32 or not (pixel_mm > 0 and slice_mm > 0):
        raise DatasetError(
            "Expected at least one slice of 32 x 32 pixels and positive spacing; "
            f"got {slices} of {matrix}, {pixel_mm} mm, {slice_mm} mm apart"
        )


def _grid(
    spine: Spine, matrix: tuple[int, int], pixel_mm: float, view: str, rng: np.random.Generator, wander: float = 1.0
) -> Grid:
    """Where the spine lies in the picture: its middle near the centre, unless an end is to be cut off."""
    height, width = matrix[0] * pixel_mm, matrix[1] * pixel_mm
    truth = spine.truth()
    heights = [y for _, y, _ in truth.values()]
    left = -0.5 * width + rng.normal(0, 8) * wander
    top = (min(heights) + max(heights)) / 2 - 0.5 * height + rng.normal(0, 7) * wander
    if view == "without_top":
        top = truth["T12-L1"][1] + 8.0
    elif view == "without_bottom":
        top = max(heights) - 8.0 - height
    rows_mm, columns_mm = np.arange(matrix[0], dtype=np.float64), np.arange(matrix[1], dtype=np.float64)
    return Grid(left + columns_mm * pixel_mm, top + rows_mm * pixel_mm, pixel_mm)


def _oblique(rng: np.random.Generator, grid: Grid, slices: int, slice_mm: float) -> Matrix:
    """Voxel-to-patient matrix of a stack that is turned a few degrees about each axis."""
    a, b, c = np.radians(rng.uniform(2, 6, 3) * rng.choice([-1, 1], 3))
    turn = (
        np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        @ np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        @ np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    )
    # Columns run backwards (-A), rows down (-S), slices from right to left (-R); RAS+.
    axes = turn @ np.array([[0, 0, -1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = axes * [grid.pixel_mm, grid.pixel_mm, slice_mm]
    middle = [(len(grid.x_mm) - 1) / 2, (len(grid.y_mm) - 1) / 2, (slices - 1) / 2]
    matrix[:3, 3] = rng.uniform(-20, 20, 3) - matrix[:3, :3] @ middle
    return matrix


def _truth(spine: Spine, grid: Grid, ras_from_ijk: Matrix, slices: int, slice_mm: float) -> LandmarkSet:
    truth, corners = spine.truth(), spine.corners()
    names = (*LUMBAR11, *sorted((n for n in truth if n not in LUMBAR11), key=lambda n: truth[n][1]))

    def mark(name: str, place: tuple[float, float, float] | None) -> Landmark:
        if place is None:
            return Landmark(name, "not_visible")
        x, y, lateral = place
        xy = grid_xy(grid, x, y)
        if not _inside(xy, grid.shape):
            return Landmark(name, "out_of_view")
        r, a, s = ras_from_slice(ras_from_ijk, (slices - 1) / 2 + lateral / slice_mm, xy).tolist()
        return Landmark(name, "confirmed", position_ras_mm=(r, a, s), pixel_xy=xy)

    return LandmarkSet(
        tuple(mark(name, truth.get(name)) for name in names),
        input="phantom",
        slice_index=slices // 2,
        spacing_mm=(grid.pixel_mm, grid.pixel_mm),
        corners=tuple(mark(name, place) for name, place in corners.items()),
    )


def _inside(xy: tuple[float, float], shape: tuple[int, int]) -> bool:
    return -0.5 <= xy[0] < shape[1] - 0.5 and -0.5 <= xy[1] < shape[0] - 0.5
