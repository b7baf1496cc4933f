"""Augmentation: points move with pixels, what leaves the picture is told, intensities stay in bounds."""

from dataclasses import replace

import pytest
import torch

from SpineLandmarksLib.training.augment import (
    Batch,
    GeometrySettings,
    IntensitySettings,
    RandomGeometry,
    RandomIntensity,
    _sample,
    _undo_displacement,
)

STILL = GeometrySettings(shift_xy=(0, 0), rotation=0, scale=(1, 1))
AFFINE = GeometrySettings(shift_xy=(9.3, 7.1), rotation=25, scale=(0.75, 1.35), aspect=0.08, centre_on_spine=0.5)
EVERYTHING = IntensitySettings(*([1.0] * 8))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def dots(points, size_hw, sigma=1.5):
    """(B, L, 2) -> (B, 1, H, W), a Gaussian of height 1 at each point."""
    y, x = torch.arange(size_hw[0]).float(), torch.arange(size_hw[1]).float()
    gx = torch.exp(-((x - points[..., 0, None]) ** 2) / (2 * sigma**2))
    gy = torch.exp(-((y - points[..., 1, None]) ** 2) / (2 * sigma**2))
    return torch.einsum("blh,blw->bhw", torch.nan_to_num(gy), torch.nan_to_num(gx))[:, None]


def centroids(image, points, reach=9):
    """(B, L, 2) centre of the light within `reach` pixels of each point."""
    height, width = image.shape[-2:]
    near_x = (torch.arange(width) - points[..., 0, None]).abs() < reach  # (B, L, W)
    near_y = (torch.arange(height) - points[..., 1, None]).abs() < reach
    light = image * (near_y[:, :, :, None] & near_x[:, :, None, :])
    x = (light.sum(2) * torch.arange(width)).sum(-1)
    y = (light.sum(3) * torch.arange(height)).sum(-1)
    return torch.stack([x, y], -1) / light.sum((2, 3))[..., None]


@pytest.fixture
def a_batch() -> Batch:
    """6 images of 168 x 140 with 4 dots at sub-pixel places, 45 pixels and more apart."""
    corners = torch.tensor([[40.0, 45.0], [95.0, 40.0], [45.0, 110.0], [100.0, 115.0]])
    points = corners + torch.rand((6, 4, 2), generator=generator()) * 8
    return Batch(dots(points, (168, 140)), points, torch.ones((6, 4), dtype=torch.bool))


@pytest.fixture
def sizes_wh() -> torch.Tensor:
    return torch.tensor([[140.0, 168.0]]).repeat(6, 1)


def well_inside(points, size_hw, margin=12):
    high = torch.tensor([size_hw[1], size_hw[0]]) - 1 - margin
    return ((points > margin) & (points < high)).all(-1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale_of_output", [1.0, 1 / 1.4])
@pytest.mark.parametrize(
    ("settings", "tolerance"),
    [
        (AFFINE, 0.05),
        # A bent field also moves a dot's centroid off its point, by about half its second derivative times sigma^2:
        # 4 pixels of noise at knots 64 apart bend by sqrt(6) x 4 / 64^2 = 0.0024; sigma^2 is up to 4, stretched
        # by the field itself: 0.01 pixel usually, some times that in the tail. The points are exact (below).
        (replace(AFFINE, elastic_px=4.0), 0.10),
    ],
)
def test_dots_stay_under_their_points(a_batch, sizes_wh, settings, tolerance, scale_of_output, seed):
    size_hw = (256, 240)
    out = RandomGeometry(settings, size_hw, scale_of_output)(a_batch, sizes_wh, generator(seed))
    checked = well_inside(out.points_px, size_hw)
    assert checked.sum() > 10
    assert out.valid[checked].all()
    assert (centroids(out.image, out.points_px) - out.points_px)[checked].abs().max() < tolerance


def test_a_point_is_moved_exactly_where_the_field_takes_its_pixel_from():
    # The warp fills pixel o from o + d(o); so the point p lands on the o for which o + d(o) = p.
    g = generator(5)
    geometry = RandomGeometry(replace(STILL, elastic_px=4.0), (256, 256), 1.0)
    displacement = geometry.draw_displacement(6, g)
    points = 20 + torch.rand((6, 50, 2), generator=g) * 216
    moved = _undo_displacement(points, displacement)
    back = moved + _sample(displacement, moved[:, :, None]).squeeze(-1).transpose(1, 2)
    assert (back - points).abs().max() < 0.02
    assert (moved - points).abs().max() > 4


def test_no_change_leaves_the_middle_of_the_picture(a_batch, sizes_wh):
    out = RandomGeometry(STILL, (100, 80), 1.0)(a_batch, sizes_wh, generator())
    assert torch.allclose(out.image, a_batch.image[:, :, 34:134, 30:110], atol=1e-4)
    assert torch.allclose(out.points_px, a_batch.points_px - torch.tensor([30.0, 34.0]), atol=1e-3)


def test_exactly_the_points_outside_the_crop_are_invalid(a_batch, sizes_wh):
    for seed in range(5):
        out = RandomGeometry(replace(AFFINE, shift_xy=(40, 40)), (90, 70), 1.0)(a_batch, sizes_wh, generator(seed))
        x, y = out.points_px.unbind(-1)
        inside = (x >= -0.5) & (x <= 69.5) & (y >= -0.5) & (y <= 89.5)
        assert 0 < inside.sum() < inside.numel()
        assert torch.equal(out.valid, inside)


def test_exactly_the_points_outside_the_field_of_view_are_invalid():
    geometry = RandomGeometry(replace(STILL, field_of_view=1.0), (60, 50), 1.0)
    image = torch.ones((5, 1, 60, 50))
    image[:, :, 30, 25] = 0.0  # the floor, which is what is left outside the field of view
    y, x = torch.meshgrid(torch.arange(60.0), torch.arange(50.0), indexing="ij")
    points = torch.stack([x, y], -1).reshape(1, -1, 2).repeat(5, 1, 1)
    kept, inside = geometry.restrict_field_of_view(image, points, generator())
    inside[:, 30 * 50 + 25] = False
    assert torch.equal(kept.flatten(1) > 0, inside)
    share = inside.float().mean(1)
    assert (share < 1).any()
    assert (share > 0.4**2 - 0.05).all()  # at most 0.3 is cut off at each side
    assert len(share.unique()) > 1


def test_a_field_of_view_is_restricted_as_often_as_asked():
    image, points = torch.rand((400, 1, 8, 8), generator=generator()), torch.zeros((400, 1, 2))
    geometry = RandomGeometry(replace(STILL, field_of_view=0.35), (8, 8), 1.0)
    kept, _ = geometry.restrict_field_of_view(image, points, generator(1))
    changed = (kept != image).flatten(1).any(1).float().mean()
    assert float(changed) == pytest.approx(0.35, abs=0.08)


def test_points_that_are_not_annotated_stay_so_and_spoil_nothing(a_batch, sizes_wh):
    nowhere = a_batch.points_px.clone()
    nowhere[0, 1] = nowhere[3, 2] = nowhere[5] = float("nan")
    valid = ~torch.isnan(nowhere).any(-1)
    settings = replace(AFFINE, elastic_px=4.0, field_of_view=0.5, centre_on_spine=0.0)
    geometry = RandomGeometry(settings, (320, 320), 1.0)  # wide enough to hold whatever nan might be mapped to
    whole = geometry(a_batch, sizes_wh, generator(3))
    part = geometry(Batch(a_batch.image, nowhere, valid), sizes_wh, generator(3))
    assert torch.isfinite(part.points_px).all()
    assert not part.valid[~valid].any()
    assert torch.equal(part.image, whole.image)
    assert torch.equal(part.points_px[valid], whole.points_px[valid])
    assert torch.equal(part.valid[valid], whole.valid[valid])


def test_the_crop_is_centred_on_the_annotated_points_alone(a_batch, sizes_wh):
    nowhere = a_batch.points_px.clone()
    nowhere[:, 3] = float("nan")
    batch = Batch(a_batch.image, nowhere, ~torch.isnan(nowhere).any(-1))
    matrix = RandomGeometry(replace(STILL, centre_on_spine=1.0), (100, 80), 1.0).draw(batch, sizes_wh, generator())
    centre = a_batch.points_px[:, :3].mean(1)
    assert torch.allclose(centre + matrix[:, :2, 2], torch.tensor([39.5, 49.5]), atol=1e-3)


def test_a_picture_without_any_point_is_centred_on_itself(a_batch, sizes_wh):
    batch = Batch(a_batch.image, torch.full((6, 4, 2), float("nan")), torch.zeros((6, 4), dtype=torch.bool))
    matrix = RandomGeometry(replace(STILL, centre_on_spine=1.0), (100, 80), 1.0).draw(batch, sizes_wh, generator())
    assert torch.allclose(torch.tensor([69.5, 83.5]) + matrix[:, :2, 2], torch.tensor([39.5, 49.5]), atol=1e-3)


def test_the_same_seed_gives_the_same_batch_and_another_one_another(a_batch, sizes_wh):
    geometry = RandomGeometry(replace(AFFINE, elastic_px=4.0, field_of_view=0.5), (64, 64), 1.0)
    intensity = RandomIntensity(EVERYTHING)
    images = []
    for seed in (7, 7, 8):
        g = generator(seed)
        images.append(intensity(geometry(a_batch, sizes_wh, g).image, g))
    assert torch.equal(images[0], images[1])
    assert not torch.equal(images[0], images[2])


@pytest.mark.parametrize("settings", [EVERYTHING, IntensitySettings(*([0.5] * 8)), IntensitySettings(*([1e-9] * 8))])
@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (1e-5, 0.0), (1e5, 1e6), (0.0, 0.0), (0.0, 3.0)])
def test_intensities_come_out_finite_and_standardized(settings, scale, offset):
    image = torch.randn((5, 1, 48, 40), generator=generator()) * scale + offset
    for seed in range(4):
        out = RandomIntensity(settings)(image, generator(seed))
        assert out.shape == image.shape
        assert torch.isfinite(out).all()
        assert out.flatten(1).mean(1).abs().max() < 1e-2
        spread = out.flatten(1).std(1)
        assert (spread < 1.01).all()  # a flat picture stays flat
        if scale > 0:
            assert (spread > 0.99).all()


def test_without_any_share_intensities_stay_as_they_are():
    image = torch.randn((3, 1, 48, 40), generator=generator()) * 4 + 2
    assert torch.equal(RandomIntensity(IntensitySettings())(image, generator()), image)


@pytest.mark.parametrize(
    ("setting", "tolerance"), [("blur", 0.02), ("gamma", 0.05), ("bias", 0.15), ("anisotropy", 0.05)]
)
def test_intensity_changes_leave_dots_where_they_are(a_batch, setting, tolerance):
    # A bias field slopes across a dot, which pulls its centroid by slope x sigma^2 = 0.7 x 2.3 x 2 / 45 = 0.07 pixel.
    for seed in range(4):
        out = RandomIntensity(IntensitySettings(**{setting: 1.0}))(a_batch.image, generator(seed))
        light = out - out.flatten(1).amin(1)[:, None, None, None]
        assert (centroids(light, a_batch.points_px, 8) - a_batch.points_px).abs().max() < tolerance
