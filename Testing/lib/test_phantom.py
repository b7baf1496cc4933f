"""The phantom draws what its truth says, in every contrast, with anomalies and cut pictures."""

from __future__ import annotations

import numpy as np
import pytest

from SpineLandmarksLib.errors import DatasetError, LandmarkError
from SpineLandmarksLib.geometry import apply, spacing_mm
from SpineLandmarksLib.landmarks import LUMBAR11
from SpineLandmarksLib.phantom.phantom import Phantom, Tissue, make_phantom, make_slice

SMALL = {"matrix": (240, 200), "pixel_mm": 1.4, "slices": 5}
SEEDS = (1, 2, 3, 4)


@pytest.fixture(scope="module")
def phantoms() -> list[Phantom]:
    return [make_phantom(seed, **SMALL) for seed in SEEDS]


def the_level(phantom: Phantom, name: str) -> np.ndarray:
    """Mask (H, W) of one body or disc on the middle slice."""
    code = next(code for code, level in phantom.level_names.items() if level == name)
    return phantom.levels[phantom.landmarks.slice_index] == code


def the_middle(mask: np.ndarray, core_px: float) -> np.ndarray:
    """(x, y) of the centroid of the part of a disc that lies half-way between its front and back.

    The centroid of the whole would follow a wedge to its tall end; half-way is where readers mark a disc.
    """
    points = np.argwhere(mask)[:, ::-1].astype(float)
    middle = points.mean(axis=0)
    along = (points - middle) @ np.linalg.svd(points - middle, full_matrices=False)[2][0]
    core = np.abs(along - (along.min() + along.max()) / 2) < core_px
    return points[core].mean(axis=0)


def test_every_truth_point_lies_on_its_own_label(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        for mark in phantom.landmarks:
            column, row = np.rint(mark.pixel_xy).astype(int)
            assert the_level(phantom, mark.name)[row, column], f"seed {phantom.seed}, {mark.name}"
            tissue = Tissue(phantom.labels[phantom.landmarks.slice_index, row, column])
            expected = {Tissue.NUCLEUS, Tissue.ANNULUS} if "-" in mark.name else {Tissue.MARROW, Tissue.VEIN}
            assert tissue in expected


def test_the_middle_of_each_label_lies_beside_its_truth(phantoms: list[Phantom]) -> None:
    # A disc's label holds its bulge as well, up to 4 mm at the back, which moves its middle by half of that.
    offsets_mm: list[float] = []
    for phantom in phantoms:
        for mark in phantom.landmarks:
            mask = the_level(phantom, mark.name)
            body = np.argwhere(mask)[:, ::-1].mean(axis=0)
            middle = the_middle(mask, core_px=5 / 1.4) if "-" in mark.name else body
            limit_mm = 2.5 if "-" in mark.name else 1.5
            offsets_mm.append(np.hypot(*(middle - mark.pixel_xy)) * 1.4)
            assert offsets_mm[-1] < limit_mm, f"seed {phantom.seed}, {mark.name}"
    assert np.mean(offsets_mm) < 0.8


def test_millimetres_and_pixels_agree_and_scoliosis_moves_points_off_the_middle_slice(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        ijk_from_ras = np.linalg.inv(phantom.ras_from_ijk)
        ijk = np.array([apply(ijk_from_ras, mark.position_ras_mm) for mark in phantom.landmarks])
        xy = np.array([mark.pixel_xy for mark in phantom.landmarks])
        assert np.abs(ijk[:, :2] - xy).max() < 1e-9
        assert np.ptp(ijk[:, 2]) * 4.0 > 0.05
        assert np.abs(ijk[:, 2] - 2).max() * 4.0 < 15


def test_the_stack_is_oblique_with_the_head_up_and_the_belly_left(phantoms: list[Phantom]) -> None:
    for phantom in phantoms:
        axes = phantom.ras_from_ijk[:3, :3] / spacing_mm(phantom.ras_from_ijk)
        assert spacing_mm(phantom.ras_from_ijk) == pytest.approx((1.4, 1.4, 4.0))
        # Columns to the back, rows to the feet, slices to the left, each turned by 2 degrees at least.
        towards = -np.array([axes[1, 0], axes[2, 1], axes[0, 2]])
        assert (towards > np.cos(np.radians(12))).all()
        assert (towards < np.cos(np.radians(2))).all()
        heights = [mark.position_ras_mm[2] for mark in phantom.landmarks]
        assert heights == sorted(heights, reverse=True)


def test_lumbar_spines_have_adult_lengths() -> None:
    lengths = []
    for seed in range(12):
        marks = make_phantom(seed, matrix=(32, 32), pixel_mm=12.0, slices=1).landmarks
        lengths.append(np.linalg.norm(np.subtract(marks["L1"].position_ras_mm, marks["L5"].position_ras_mm)))
    # 141.7 +- 9.9 mm in real volumes, L1 to L5.
    assert 136 < np.mean(lengths) < 150
    assert 2 < np.std(lengths) < 14


def test_the_same_seed_gives_the_same_voxels_and_another_seed_does_not() -> None:
    one, again, other = (make_phantom(seed, **SMALL) for seed in (7, 7, 8))
    assert np.array_equal(one.voxels, again.voxels)
    assert one.landmarks == again.landmarks
    assert not np.array_equal(one.voxels, other.voxels)


def test_contrast_changes_brightness_but_neither_anatomy_nor_truth() -> None:
    t1, t2, stir = (make_phantom(5, contrast=contrast, **SMALL) for contrast in ("T1", "T2", "STIR"))
    assert np.array_equal(t1.labels, t2.labels)
    assert t1.landmarks == t2.landmarks == stir.landmarks

    def mean(phantom: Phantom, *tissues: Tissue) -> float:
        return float(np.median(phantom.voxels[2][np.isin(phantom.labels[2], tissues)]))

    assert mean(t2, Tissue.CSF) > 1.5 * mean(t2, Tissue.MARROW)
    assert mean(t1, Tissue.CSF) < 0.7 * mean(t1, Tissue.MARROW)
    assert mean(stir, Tissue.FAT) < 0.3 * mean(stir, Tissue.CSF)
    assert mean(t2, Tissue.FAT) > 0.5 * mean(t2, Tissue.CSF)


@pytest.mark.parametrize(
    ("bodies", "missing", "further"),
    [(4, ("L4-L5", "L5", "L5-S1"), ("L4-S1",)), (5, (), ()), (6, ("L5-S1",), ("L5-L6", "L6", "L6-S1"))],
)
def test_a_count_of_lumbar_bodies_decides_which_names_exist(
    bodies: int, missing: tuple[str, ...], further: tuple[str, ...]
) -> None:
    marks = make_phantom(3, lumbar_bodies=bodies, matrix=(340, 240), pixel_mm=1.2, slices=1).landmarks
    assert marks.names == (*LUMBAR11, *further)
    assert tuple(mark.name for mark in marks if mark.status == "not_visible") == missing
    assert all(mark.status == "confirmed" for mark in marks if mark.name not in missing)


@pytest.mark.parametrize(
    ("view", "cut", "kept"), [("without_top", "T12-L1", "L5-S1"), ("without_bottom", "L5-S1", "T12-L1")]
)
def test_a_cut_field_of_view_leaves_its_end_out_of_view(view: str, cut: str, kept: str) -> None:
    phantom = make_phantom(2, field_of_view=view, **SMALL)
    assert phantom.landmarks[cut].status == "out_of_view"
    assert phantom.landmarks[cut].position_ras_mm is None
    assert phantom.landmarks[kept].status == "confirmed"


def test_slices_beside_the_middle_lose_the_canal() -> None:
    phantom = make_phantom(4, matrix=(240, 200), pixel_mm=1.4, slices=3, slice_mm=24.0)
    csf = (phantom.labels == Tissue.CSF).sum(axis=(1, 2))
    assert csf[1] > 20 * max(csf[0], csf[2])


def test_a_training_slice_has_its_points_inside_on_every_contrast() -> None:
    for seed in range(6):
        image, points, pixel_mm = make_slice(np.random.default_rng(seed), matrix=(160, 128))
        assert image.shape == (160, 128)
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert 230 / 160 <= pixel_mm <= 420 / 160
        assert set(points) <= set(LUMBAR11)
        assert len(points) >= 9
        xy = np.array(list(points.values()))
        assert (xy >= -0.5).all()
        assert (xy < [127.5, 159.5]).all()


def test_a_low_training_slice_names_only_the_points_that_it_shows() -> None:
    # At most 420 mm wide, hence at most 105 mm high: less than the 144 mm from L1 to L5.
    _, points, _ = make_slice(np.random.default_rng(1), matrix=(40, 160))
    assert 1 <= len(points) <= 7
    assert all(-0.5 <= y < 39.5 for _, y in points.values())


def test_training_slices_repeat_with_their_generator() -> None:
    first, second = (make_slice(np.random.default_rng(9), matrix=(96, 96)) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert first[1:] == second[1:]


def test_discs_are_dark_or_bright_where_the_truth_says_in_a_clean_picture() -> None:
    """Bodies and discs can be told apart at their truth: the picture and the points belong together."""
    phantom = make_phantom(1, contrast="T1", roughness=0.0, **SMALL)
    at = {m.name: phantom.voxels[2][tuple(np.rint(m.pixel_xy[::-1]).astype(int))] for m in phantom.landmarks}
    for body in ("L1", "L2", "L3", "L4", "L5"):
        neighbours = [name for name in at if "-" in name and body in name.split("-")]
        assert all(at[body] > 1.1 * at[disc] for disc in neighbours), body


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ({"lumbar_bodies": 7}, LandmarkError, "4, 5 or 6 lumbar bodies; got 7"),
        ({"contrast": "CT"}, DatasetError, "contrast of T2, T1.*got 'CT'"),
        ({"field_of_view": "half"}, DatasetError, "field of view of whole.*got 'half'"),
        ({"pixel_mm": 0.0}, DatasetError, "positive spacing"),
    ],
)
def test_impossible_settings_are_refused_with_the_rule(
    setting: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_phantom(1, **setting)
