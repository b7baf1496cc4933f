"""Heatmaps: targets between pixels, losses under masks, peaks to a fraction of a pixel."""

import math

import pytest
import torch
from torch.nn import functional as F

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.heatmaps import LOSSES, centres_px, find_candidates, gaussian_target, log_probability
from SpineLandmarksLib.training.recipe import RECIPES, load_recipe


def log_of(target):
    """A rendered target as log of a distribution, as a network that has learned it would give it."""
    return F.log_softmax(torch.log(target.clamp(min=1e-30)).flatten(2), -1).reshape(target.shape)


@pytest.fixture
def points_px() -> torch.Tensor:
    """(3, 5, 2) anywhere between pixels, well inside 160 x 192."""
    return 40 + torch.rand((3, 5, 2), generator=torch.Generator().manual_seed(0)) * 80


@pytest.fixture
def some_logits() -> torch.Tensor:
    return torch.randn((3, 5, 40, 48), generator=torch.Generator().manual_seed(1)) * 2


def test_a_heatmap_pixel_of_stride_s_is_the_middle_of_its_s_input_pixels():
    assert centres_px(3, 1, torch.zeros(1)).tolist() == [0, 1, 2]
    assert centres_px(3, 2, torch.zeros(1)).tolist() == [0.5, 2.5, 4.5]  # of pixels 0 and 1, 2 and 3, 4 and 5
    assert centres_px(2, 4, torch.zeros(1)).tolist() == [1.5, 5.5]


def test_a_target_peaks_between_pixels():
    target = gaussian_target(torch.tensor([[[10.25, 7.5]]]), 2.0, (20, 30), 1)[0, 0]
    assert float(target[7, 10]) == pytest.approx(math.exp(-(0.25**2 + 0.5**2) / 8))
    assert float(target[7, 10]) == pytest.approx(float(target[8, 10]))  # y = 7.5 is as far from 7 as from 8
    assert target[7, 10] > target[7, 11]
    assert target.max() < 1


def test_a_target_is_the_same_whatever_else_is_in_the_batch(points_px):
    alone = torch.cat([gaussian_target(one[None], 2.0, (80, 96), 2) for one in points_px])
    assert torch.equal(gaussian_target(points_px, 2.0, (80, 96), 2), alone)


def test_each_landmark_may_have_its_own_sigma(points_px):
    sigma = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    together = gaussian_target(points_px, sigma, (80, 96), 2)
    for k in range(5):
        alone = gaussian_target(points_px[:, k : k + 1], float(sigma[k]), (80, 96), 2)
        assert torch.allclose(together[:, k : k + 1], alone)


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_peaks_are_found_to_a_twentieth_of_a_heatmap_pixel(stride):
    points = (10 + 40 * torch.rand((4, 11, 2), generator=torch.Generator().manual_seed(2))) * stride
    log_p = log_of(gaussian_target(points, 1.2 * stride, (60, 60), stride))
    found = find_candidates(log_p, 3, stride)
    assert (found.xy[:, :, 0] - points).abs().max() < 0.05 * stride
    # of +-3.5 pixels around a pixel's middle, half a pixel off at worst, a Gaussian of 1.2 has 99.3 % along each axis
    assert (found.log_mass[:, :, 0].exp() > 0.98).all()


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_every_recipe_measures_its_own_target_without_bias(name):
    recipe = load_recipe(name)
    a = recipe.architecture
    points = (20 + 24 * torch.rand((4, 11, 2), generator=torch.Generator().manual_seed(3))) * a.stride
    log_p = log_of(gaussian_target(points, recipe.sigma_px, (64, 64), a.stride))
    found = find_candidates(log_p, a.candidates, a.stride, a.peak_radius)
    assert (found.xy[:, :, 0] - points).abs().max() < 0.05 * a.stride


def test_the_covariance_of_a_peak_is_that_of_its_gaussian():
    # A window of 4 pixels holds 3.3 sigma of 1.2 pixels, beyond which less than 1 % of the variance lies:
    # sum u^2 g(u) / sum g(u) over u = -4..4 is 1.434, and 1.2^2 is 1.44. Both times stride^2 = 4.
    points = torch.tensor([[[40.5, 50.5], [60.5, 30.5]]])  # centres of heatmap pixels of stride 2
    found = find_candidates(log_of(gaussian_target(points, 2.4, (60, 60), 2)), 1, 2, radius=4)
    offsets = torch.arange(-4.0, 5.0)
    weight = torch.exp(-(offsets**2) / (2 * 1.2**2))
    truncated = float((offsets**2 * weight).sum() / weight.sum()) * 4
    assert truncated == pytest.approx(2.4**2, rel=0.01)
    assert torch.allclose(found.covariance[0, :, 0, :2], torch.full((2, 2), truncated), rtol=1e-4)
    assert found.covariance[0, :, 0, 2].abs().max() < 1e-4


def test_the_covariance_is_about_the_peak_and_not_about_its_pixel():
    # half a pixel off the middle would add 0.25 to 1
    log_p = log_of(gaussian_target(torch.tensor([[[20.5, 30.45], [33.4, 18.5]]]), 1.0, (50, 60), 1))
    assert torch.allclose(find_candidates(log_p, 1, 1, 5).covariance[0, :, 0, :2], torch.ones(2, 2), atol=0.01)


def test_the_covariance_tells_wide_from_tall_and_the_way_a_peak_leans():
    y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
    wide, leaning = -(x**2) / 4 - y**2 / 1, -(x**2 + y**2 - 1.2 * x * y) / 2
    log_p = log_probability(torch.stack([wide, leaning])[None], "softmax_cross_entropy")
    (xx, yy, xy), (_, _, lean) = find_candidates(log_p, 1, 1, 6).covariance[0, :, 0]
    assert (float(xx), float(yy)) == pytest.approx((2.0, 0.5), rel=0.02)
    assert float(xy) == pytest.approx(0, abs=1e-4)
    # the precision matrix is [[1, -0.6], [-0.6, 1]], whose inverse has 0.6 / 0.64 off its diagonal
    assert float(lean) == pytest.approx(0.6 / 0.64, rel=0.03)


def test_two_peaks_are_both_found_with_their_mass_and_the_stronger_first():
    places = torch.tensor([[[12.3, 30.6]], [[41.7, 14.2]]])
    parts = gaussian_target(places, 1.0, (50, 60), 1)[:, 0]
    shares = 0.3 * parts[0] / parts[0].sum() + 0.7 * parts[1] / parts[1].sum()
    found = find_candidates(torch.log(shares.clamp(min=1e-30))[None, None], 4, 1)
    assert torch.allclose(found.xy[0, 0, :2], places[[1, 0], 0], atol=0.02)
    # +-3.5 pixels hold all but 0.2 % of a sigma of 1
    assert found.log_mass[0, 0, :2].exp().tolist() == pytest.approx([0.7, 0.3], rel=0.01)
    assert (found.log_mass[0, 0, 2:] < -20).all()  # the rest only fills the list


def test_candidates_come_best_first(some_logits):
    found = find_candidates(log_probability(some_logits, "softmax_cross_entropy"), 6, 1)
    assert (found.log_mass.diff(dim=-1) <= 0).all()
    assert found.xy.shape == (3, 5, 6, 2)
    assert found.covariance.shape == (3, 5, 6, 3)
    assert (found.covariance[..., :2] >= 0).all()


def test_peaks_of_a_batch_are_those_of_its_images_one_by_one(some_logits):
    log_p = log_probability(some_logits, "softmax_cross_entropy")
    together = find_candidates(log_p, 3, 2)
    for row in range(3):
        for part, alone in zip(together, find_candidates(log_p[row : row + 1], 3, 2), strict=True):
            assert torch.allclose(part[row], alone[0], atol=1e-4)


@pytest.mark.parametrize("corner", [(0.0, 0.0), (59.0, 0.0), (0.0, 49.0), (59.0, 49.0)])
def test_a_peak_in_a_corner_is_found_there(corner):
    # Half of it is cut off along each axis, so its mean lies inside, by sigma sqrt(2 / pi) = 0.8 of a pixel at most.
    found = find_candidates(log_of(gaussian_target(torch.tensor([[corner]]), 1.0, (50, 60), 1)), 2, 1)
    assert (found.xy[0, 0, 0] - torch.tensor(corner)).abs().max() < 0.8
    assert all(torch.isfinite(part).all() for part in found)


def test_a_blank_heatmap_gives_finite_candidates():
    found = find_candidates(log_probability(torch.zeros((2, 3, 16, 16)), "softmax_cross_entropy"), 6, 1)
    assert all(torch.isfinite(part).all() for part in found)


@pytest.mark.parametrize("name", LOSSES)
def test_an_invalid_landmark_changes_neither_the_loss_nor_a_gradient(name, points_px, some_logits):
    valid = torch.ones((3, 5), dtype=torch.bool)
    valid[0, 1] = valid[2, 4] = False
    nowhere = points_px.clone()
    nowhere[~valid] = float("nan")
    values = []
    for points in (points_px, nowhere):
        logits = some_logits.clone().requires_grad_()
        loss = LOSSES[name](logits, gaussian_target(points, 2.0, (40, 48), 4), valid)
        loss.backward()
        values.append(loss.detach())
        assert (logits.grad[~valid] == 0).all()
        assert (logits.grad[valid].abs().flatten(1).sum(1) > 0).all()
    assert torch.equal(*values)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_any_valid_landmark_costs_nothing(name, some_logits):
    logits = some_logits.clone().requires_grad_()
    nowhere = torch.full((3, 5, 2), float("nan"))
    loss = LOSSES[name](logits, gaussian_target(nowhere, 2.0, (40, 48), 4), torch.zeros((3, 5), dtype=torch.bool))
    loss.backward()
    assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_of_a_batch_is_the_mean_of_its_landmarks_one_by_one(name, points_px, some_logits):
    target = gaussian_target(points_px, 2.0, (40, 48), 4)
    valid = torch.ones((3, 5), dtype=torch.bool)
    valid[1, 2] = False
    each = []
    for b, k in valid.nonzero().tolist():
        one = (slice(b, b + 1), slice(k, k + 1))
        each.append(float(LOSSES[name](some_logits[one], target[one], valid[one])))
    assert len(each) == 14
    assert float(LOSSES[name](some_logits, target, valid)) == pytest.approx(sum(each) / 14, rel=1e-4)


def test_the_least_softmax_cross_entropy_is_the_entropy_of_the_target(points_px):
    target = gaussian_target(points_px, 3.0, (80, 96), 2)
    valid = torch.ones((3, 5), dtype=torch.bool)
    share = target / target.flatten(2).sum(-1)[..., None, None]
    entropy = float(-(share * share.clamp(min=1e-30).log()).flatten(2).sum(-1).mean())
    # of a Gaussian: ln(2 pi e sigma^2), with a sigma of 1.5 heatmap pixels
    assert entropy == pytest.approx(math.log(2 * math.pi * math.e * 1.5**2), abs=0.01)
    assert float(LOSSES["softmax_cross_entropy"](log_of(target), target, valid)) == pytest.approx(entropy, rel=1e-4)
    beside = log_of(gaussian_target(points_px + 1.0, 3.0, (80, 96), 2))
    # the divergence of two Gaussians d apart is d^2 / 2 sigma^2 = 2 / 18
    worse = float(LOSSES["softmax_cross_entropy"](beside, target, valid))
    assert worse == pytest.approx(entropy + 2 / 18, abs=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_what_is_read_from_a_heatmap_is_a_distribution(name, some_logits):
    p = log_probability(some_logits, name).exp()
    assert torch.allclose(p.flatten(2).sum(-1), torch.ones(3, 5), atol=1e-5)


def test_an_unknown_loss_is_refused(some_logits):
    with pytest.raises(RecipeError, match="softmax_cross_entropy, binary"):
        log_probability(some_logits, "dice")
