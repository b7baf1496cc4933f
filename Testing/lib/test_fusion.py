"""Fusion: the product of a heatmap and a Gaussian, however it is computed."""

import pytest
import torch
from torch.nn import functional as F

from SpineLandmarksLib.fusion import Fusion, fit_sigma, fuse
from SpineLandmarksLib.heatmaps import find_candidates, softmax_cross_entropy

SIGMA = torch.tensor([[3.0, 5.0], [8.0, 2.0], [4.0, 4.0]])


@pytest.fixture
def log_p() -> torch.Tensor:
    """(2, 3, 24, 32): a random distribution over pixels."""
    noise = torch.randn((2, 3, 24, 32), generator=torch.Generator().manual_seed(0))
    return F.log_softmax(noise.flatten(2), -1).reshape(noise.shape)


@pytest.fixture
def mean_px() -> torch.Tensor:
    return torch.tensor([[[20.3, 11.0], [40.0, 30.7], [9.9, 25.0]], [[33.3, 33.3], [1.0, 2.0], [50.2, 40.1]]])


def test_fusing_is_multiplying_the_rendered_gaussian_and_normalizing(log_p, mean_px):
    x, y = (torch.arange(32) + 0.5) * 2 - 0.5, (torch.arange(24) + 0.5) * 2 - 0.5
    product = torch.empty_like(log_p)
    for b in range(2):
        for k in range(3):
            gx = torch.exp(-((x - mean_px[b, k, 0]) ** 2) / (2 * SIGMA[k, 0] ** 2))
            gy = torch.exp(-((y - mean_px[b, k, 1]) ** 2) / (2 * SIGMA[k, 1] ** 2))
            product[b, k] = log_p[b, k].exp() * gy[:, None] * gx[None, :]
            product[b, k] /= product[b, k].sum()
    assert torch.allclose(fuse(log_p, mean_px, SIGMA, 2).exp(), product, atol=1e-6)


def test_each_image_may_have_its_own_sigma(log_p, mean_px):
    fused = fuse(log_p, mean_px, torch.stack([SIGMA, 2 * SIGMA]), 2)
    assert torch.allclose(fused[:1], fuse(log_p[:1], mean_px[:1], SIGMA, 2))
    assert torch.allclose(fused[1:], fuse(log_p[1:], mean_px[1:], 2 * SIGMA, 2))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_heatmap_that_knows_nothing_leaves_the_direct_mean(stride):
    g = torch.Generator().manual_seed(1)
    mean = (15 + 30 * torch.rand((2, 3, 2), generator=g)) * stride
    fused = fuse(torch.zeros((2, 3, 60, 60)), mean, torch.full((3, 2), 1.2 * stride), stride)
    assert (find_candidates(fused, 1, stride, 4).xy[:, :, 0] - mean).abs().max() < 0.02 * stride


@pytest.mark.parametrize("far", [-1e4, 1e6, 1e12])
def test_a_direct_mean_far_outside_gives_numbers(log_p, far):
    fused = fuse(log_p, torch.full((2, 3, 2), far), torch.full((3, 2), 0.5), 2)
    assert torch.isfinite(fused).all()
    assert torch.allclose(fused.exp().flatten(2).sum(-1), torch.ones(2, 3), atol=1e-4)


@pytest.mark.parametrize("sigma", [0.5, 12.0, 200.0])
def test_sigma_starts_where_it_is_told(sigma):
    assert torch.allclose(Fusion(4, sigma).sigma_px, torch.full((4, 2), sigma), rtol=1e-4)


@pytest.mark.parametrize("learned", [True, False])
def test_a_learned_sigma_gets_a_gradient_and_a_fixed_one_none(log_p, mean_px, learned):
    target = torch.rand((2, 3, 24, 32), generator=torch.Generator().manual_seed(2))
    fusion = Fusion(3, 6.0, learned=learned)
    moving = mean_px.clone().requires_grad_()
    loss = softmax_cross_entropy(fusion(log_p, moving, torch.ones(2, 3, 2), 2), target, torch.ones(2, 3) > 0)
    loss.backward()
    assert (moving.grad.abs() > 0).all()
    assert (fusion.raw_sigma.grad is not None) == learned
    assert not learned or (fusion.raw_sigma.grad.abs() > 0).all()


def test_the_direct_spread_widens_sigma_by_adding_variances(log_p, mean_px):
    fused = Fusion(3, 3.0, use_spread=True)(log_p, mean_px, torch.full((2, 3, 2), 4.0), 2)
    assert torch.allclose(fused, fuse(log_p, mean_px, torch.full((3, 2), 5.0), 2), atol=1e-4)  # 3, 4, 5


def test_sigma_is_fitted_per_landmark_and_axis_from_the_valid_ones_alone():
    g = torch.Generator().manual_seed(3)
    truth = 100 * torch.rand((4000, 3, 2), generator=g)
    mean = truth + SIGMA * torch.randn((4000, 3, 2), generator=g)
    valid = torch.rand((4000, 3), generator=g) < 0.7
    truth[~valid] = float("nan")
    # the standard error of a standard deviation from 2800 values is 1 / sqrt(5600) = 1.3 %
    assert torch.allclose(fit_sigma(mean, truth, valid), SIGMA, rtol=0.05)


def test_sigma_of_a_landmark_never_seen_is_the_floor():
    zero = torch.zeros((5, 2, 2))
    assert fit_sigma(zero, zero, torch.zeros((5, 2), dtype=torch.bool)).tolist() == [[0.5, 0.5], [0.5, 0.5]]
