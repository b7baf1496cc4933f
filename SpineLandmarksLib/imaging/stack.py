"""The stack of upright sagittal slices that the whole library works on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from SpineLandmarksLib.errors import GeometryError, InputError
from SpineLandmarksLib.geometry import Matrix, apply, check_affine, ras_from_slice, spacing_mm


@dataclass(frozen=True)
class Turn:
    """How a picture lies: x and y change places, then each may be flipped. words: what that is called."""

    words: str
    transposed: bool
    flips_x: bool
    flips_y: bool


#: Every way a picture can lie but upright.
TURNS = (
    Turn("upside down", False, True, True),
    Turn("mirrored", False, True, False),
    Turn("mirrored and upside down", False, False, True),
    Turn("on its side", True, True, False),
    Turn("on its side", True, False, True),
    Turn("mirrored on its side", True, False, False),
    Turn("mirrored on its side", True, True, True),
)


@dataclass(frozen=True)
class SagittalStack:
    """Sagittal slices in native resolution, shown upright: head up, anterior left.

    Attributes:
        voxels: (K, H, W) float32; slice, row, column. Only axis swaps and flips were done to get here, no resampling.
        ras_from_ijk: (4, 4) RAS mm from (i = column, j = row, k = slice); None when the image has no known spacing.
        origins_ras_mm: (K, 3) where pixel (0, 0) of each slice lies, when the slices are not evenly spaced;
            `ras_from_ijk` is then the line fitted to them.
        has_patient_frame: False for a plain image with `--spacing`, whose millimetres are right but whose origin is
            ours.
        source: what was read, for people.
        series_uid: DICOM series, if any.
        notes: why this series, and what was mended.
        needs_review: something in it was guessed, which a warning tells, so that somebody should look at the result.
        alternatives: other series of the exam that may show the lumbar spine as well, each in another place.
        companions: other series of the exam in the same place, where they were asked for.

    Raises:
        InputError: `voxels` are no stack of slices.
        GeometryError: the matrix is not finite, flat or not orthogonal.

    >>> sagittal = np.array([[0.0, 0, 4, 0], [-0.7, 0, 0, 0], [0, -0.7, 0, 0], [0, 0, 0, 1]])
    >>> stack = SagittalStack(np.zeros((5, 320, 320), np.float32), sagittal)
    >>> stack.slice_spacing_mm, stack.to_ras(2, np.array([[10.0, 20.0]])).tolist()
    (4.0, [[8.0, -7.0, -14.0]])
    """

    voxels: NDArray[np.float32]
    ras_from_ijk: Matrix | None
    origins_ras_mm: NDArray[np.float64] | None = field(default=None, kw_only=True)
    source: str = ""
    series_uid: str | None = None
    has_patient_frame: bool = True
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    needs_review: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    alternatives: tuple[SagittalStack, ...] = ()
    companions: tuple[SagittalStack, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or min(self.voxels.shape) < 1:
            raise InputError(f"Expected a stack of slices (K, H, W); got an array of shape {self.voxels.shape}")
        if self.ras_from_ijk is not None:
            object.__setattr__(self, "ras_from_ijk", check_affine(self.ras_from_ijk))

    def __len__(self) -> int:
        return int(self.voxels.shape[0])

    @property
    def pixel_spacing_mm(self) -> tuple[float, float] | None:
        """(between columns, between rows) in mm, x first; None when unknown."""
        if self.ras_from_ijk is None:
            return None
        return spacing_mm(self.ras_from_ijk)[:2]

    @property
    def slice_spacing_mm(self) -> float | None:
        return None if self.ras_from_ijk is None else spacing_mm(self.ras_from_ijk)[2]

    def to_ras(self, index: float, points_xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Native pixels (N, 2) of slice `index` (may lie between slices) to RAS mm (N, 3)."""
        if self.ras_from_ijk is None:
            raise GeometryError("Expected a known pixel spacing to give millimetres; got an image without one")
        points_ras_mm = ras_from_slice(self.ras_from_ijk, index, points_xy)
        if self.origins_ras_mm is None:
            return points_ras_mm
        return points_ras_mm + self._origin(index) - ras_from_slice(self.ras_from_ijk, index, (0.0, 0.0))

    def to_ijk(self, points_ras_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """RAS mm (..., 3) to column, row, slice (..., 3), which need not be whole."""
        if self.ras_from_ijk is None:
            raise GeometryError("Expected a known pixel spacing to place millimetres; got an image without one")
        ijk_from_ras = np.linalg.inv(self.ras_from_ijk)
        ijk = apply(ijk_from_ras, points_ras_mm)
        if self.origins_ras_mm is None:
            return ijk
        origins = apply(ijk_from_ras, self.origins_ras_mm)
        index = np.interp(ijk[..., 2], origins[:, 2], np.arange(len(self)))
        column, row = (np.interp(index, np.arange(len(self)), origins[:, axis]) for axis in (0, 1))
        return np.stack([ijk[..., 0] - column, ijk[..., 1] - row, index], axis=-1)

    def _origin(self, index: float) -> NDArray[np.float64]:
        """Where pixel (0, 0) lies at a place between slices, (3,) RAS mm."""
        assert self.origins_ras_mm is not None
        return np.array([np.interp(index, np.arange(len(self)), axis) for axis in self.origins_ras_mm.T])

    @property
    def runs_to_the_right(self) -> bool:
        """Whether the first slice is the patient's leftmost."""
        return self.ras_from_ijk is not None and bool(self.ras_from_ijk[0, 2] > 0)

    def turned_round(self) -> SagittalStack:
        """The same slices, the last one first."""
        turn = np.diag([1.0, 1.0, -1.0, 1.0])
        turn[2, 3] = len(self) - 1
        return replace(
            self,
            voxels=self.voxels[::-1],
            ras_from_ijk=None if self.ras_from_ijk is None else self.ras_from_ijk @ turn,
            origins_ras_mm=None if self.origins_ras_mm is None else self.origins_ras_mm[::-1],
        )

    def turned_in_plane(self, turn: Turn) -> tuple[SagittalStack, Matrix]:
        """The stack, evenly spaced, with its slices turned, and stack_from_turned: (4, 4) from that ijk to this one."""
        voxels = self.voxels.transpose(0, 2, 1) if turn.transposed else self.voxels
        height, width = voxels.shape[1:]
        stack_from_turned = np.eye(4)
        for axis, (is_flipped, count) in enumerate(((turn.flips_x, width), (turn.flips_y, height))):
            if is_flipped:
                voxels = np.flip(voxels, 2 - axis)
                stack_from_turned[axis, axis], stack_from_turned[axis, 3] = -1.0, count - 1.0
        if turn.transposed:
            stack_from_turned = stack_from_turned[[1, 0, 2, 3]]
        matrix = None if self.ras_from_ijk is None else self.ras_from_ijk @ stack_from_turned
        return replace(self, voxels=np.ascontiguousarray(voxels), ras_from_ijk=matrix), stack_from_turned
