"""Xception and SpatialConfiguration-Net: sizes, known counts of parameters, initialization, and one image at a time."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch", reason="the networks need the 'train' extra")
pytest.importorskip("monai", reason="the networks need the 'train' extra")

from torch import nn  # noqa: E402

from SpineLandmarksLib.networks.scn import (  # noqa: E402
    LearnedSigma,
    SpatialConfigurationNet,
    localization_unet,
    scn_later,
    scn_original,
)
from SpineLandmarksLib.networks.xception import ResidualBlock, SeparableConv2d, Xception  # noqa: E402

LANDMARKS = 5
BOTH_SCNS = pytest.mark.parametrize("make", [scn_original, scn_later])


@pytest.fixture(autouse=True)
def a_fixed_seed() -> None:
    torch.manual_seed(7)


@pytest.fixture
def a_slim_xception() -> Xception:
    return Xception(LANDMARKS, width=0.02)


@pytest.fixture
def two_images() -> torch.Tensor:
    return torch.randn(2, 1, 64, 128)


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def make_it_loud(net: SpatialConfigurationNet) -> SpatialConfigurationNet:
    """Near-zero output layers hide every difference; give them ordinary weights."""
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and name.endswith((".1", ".2", ".4")) and layer.out_channels == LANDMARKS:
            nn.init.normal_(layer.weight, std=0.3)
    return net.eval()


def test_xception_has_the_parameters_of_the_published_backbone() -> None:
    # Convolutions have no bias: a separable one from i to o has 9 i + i o weights and 2 o of batch norm.
    def separable(i: int, o: int) -> int:
        return 9 * i + i * o + 2 * o

    def shortcut(i: int, o: int) -> int:
        return i * o + 2 * o

    stem = (3 * 32 * 9 + 2 * 32) + (32 * 64 * 9 + 2 * 64)
    entry = sum(separable(i, o) + separable(o, o) + shortcut(i, o) for i, o in [(64, 128), (128, 256), (256, 728)])
    middle = 8 * 3 * separable(728, 728)
    last = separable(728, 728) + separable(728, 1024) + shortcut(728, 1024)
    tail = separable(1024, 1536) + separable(1536, 2048)
    # timm's `xception` has 22,855,952 of which 1000 * 2048 + 1000 are the ImageNet classifier: 20,806,952 remain.
    assert stem + entry + middle + last + tail == 22_855_952 - 2_049_000 == 20_806_952

    net = Xception(11, in_channels=3)
    head = 2 * (2048 * 22 + 22)
    assert parameters(net) == 20_806_952 + head


def test_xception_has_the_paper_s_36_convolutions_and_12_residual_blocks(a_slim_xception: Xception) -> None:
    separable = [m for m in a_slim_xception.modules() if isinstance(m, SeparableConv2d)]
    assert len(separable) + 2 == 36  # two plain ones in the stem
    assert sum(isinstance(m, ResidualBlock) for m in a_slim_xception.modules()) == 12


def test_xception_sees_10_by_10_features_of_the_seed_paper_s_input(a_slim_xception: Xception) -> None:
    # Without padding 299 -> 149 -> 147, then four times halved and rounded up: 74, 37, 19, 10, as in the paper.
    net = a_slim_xception.eval()
    features = net.exit(net.middle(net.entry(torch.randn(1, 1, 299, 299))))
    assert features.shape == (1, round(0.02 * 2048), 10, 10)


def test_xception_gives_a_mean_and_a_spread_for_each_landmark_and_axis(
    a_slim_xception: Xception, two_images: torch.Tensor
) -> None:
    output = a_slim_xception(two_images)
    assert output.mean.shape == output.log_sigma.shape == (2, LANDMARKS, 2)


def test_an_untrained_xception_points_to_the_middle_with_a_tenth_of_doubt(a_slim_xception: Xception) -> None:
    output = a_slim_xception.eval()(torch.zeros(3, 1, 96, 96))
    assert torch.allclose(output.mean, torch.tensor(0.5), atol=0.2)
    assert torch.allclose(output.log_sigma, torch.tensor(math.log(0.1)), atol=0.2)


def test_an_xception_with_cells_knows_where_its_features_were(two_images: torch.Tensor) -> None:
    """Mirrored features have the same mean, and other cells."""
    torch.manual_seed(0)
    for grid, is_same in ((1, True), (2, False)):
        net = Xception(LANDMARKS, width=0.02, grid=grid, dropout=0.0).eval()
        net.exit = torch.nn.Identity()
        net.middle = torch.nn.Identity()
        net.entry = torch.nn.Conv2d(1, net.mean[0].in_features // grid**2, 1)
        plain, mirrored = net(two_images).mean, net(two_images.flip(-1)).mean
        assert torch.allclose(plain, mirrored, atol=1e-5) == is_same


def test_an_xception_with_coordinates_sees_where_each_pixel_lies() -> None:
    """A blank picture and one channel: the first convolution sees -1 to 1 along x, then along y."""
    net = Xception(LANDMARKS, width=0.02, coordinates=True)
    seen: list[torch.Tensor] = []
    net.entry.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    net.eval()(torch.zeros(2, 1, 64, 96))
    (given,) = seen
    assert given.shape == (2, 3, 64, 96)
    assert (given[:, 0] == 0).all()
    assert torch.equal(given[1, 1], torch.linspace(-1, 1, 96).expand(64, 96))
    assert torch.equal(given[0, 2], torch.linspace(-1, 1, 64)[:, None].expand(64, 96))


def test_a_gradient_reaches_every_parameter_of_xception(a_slim_xception: Xception, two_images: torch.Tensor) -> None:
    output = a_slim_xception(two_images)
    (output.mean.square().sum() + output.log_sigma.square().sum()).backward()
    without = [name for name, p in a_slim_xception.named_parameters() if p.grad is None or not p.grad.any()]
    assert without == []


def test_the_heads_of_xception_stay_in_float32_under_autocast(
    a_slim_xception: Xception, two_images: torch.Tensor
) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = a_slim_xception.eval()(two_images)
    assert output.mean.dtype == output.log_sigma.dtype == torch.float32


def test_xception_evaluates_a_batch_as_its_images_one_by_one(
    a_slim_xception: Xception, two_images: torch.Tensor
) -> None:
    for _ in range(20):  # lets batch norm learn statistics, else a random backbone fades to nothing in evaluation
        a_slim_xception(two_images)
    net = a_slim_xception.eval()
    together = net(two_images).mean
    alone = torch.cat([net(image[None]).mean for image in two_images])
    assert torch.equal(together, net(two_images).mean)  # no dropout left
    assert torch.allclose(together, alone, atol=1e-6)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


def test_the_original_scn_has_the_parameters_of_the_paper_s_layers() -> None:
    f, n = 128, 11
    first, conv3 = 1 * 9 * f + f, f * 9 * f + f
    local = first + (4 * 2 + 4) * conv3 + (f * 9 * n + n)  # two a level and one a skip
    spatial = (n * 121 * f + f) + 2 * (f * 121 * f + f) + (f * 121 * n + n)
    assert local + spatial == 6_091_030
    assert parameters(scn_original(n)) == 6_091_030


def test_the_later_scn_has_the_parameters_of_its_layers() -> None:
    f, n = 96, 11
    conv3, joined = f * 9 * f + f, 2 * f * 9 * f + f
    local = (1 * 9 * f + f) + 7 * conv3 + (2 * conv3 + 3 * (joined + conv3)) + (f * n + n)
    spatial = (n * 9 * f + f) + 3 * conv3 + (conv3 + 3 * joined) + (f * n + n)
    assert local + spatial == 2_337_238
    assert parameters(scn_later(n)) == 2_337_238


def test_the_localization_unet_is_the_local_branch_with_two_levels_more() -> None:
    f, n = 96, 11
    conv3, joined = f * 9 * f + f, 2 * f * 9 * f + f
    two_levels = 2 * (2 * conv3 + joined + conv3)
    assert parameters(localization_unet(n)) == parameters(scn_later(n).local) + two_levels


@pytest.mark.parametrize("make", [scn_later, localization_unet])
def test_a_stride_makes_heatmaps_smaller_and_no_parameter_more(make: Callable[..., nn.Module]) -> None:
    full, halved = make(LANDMARKS, filters=4), make(LANDMARKS, filters=4, stride=2)
    assert parameters(full) == parameters(halved)
    image = torch.randn(2, 1, 64, 128)
    output = halved.eval()(image)
    heatmaps = output if isinstance(output, torch.Tensor) else output.heatmaps
    assert heatmaps.shape == (2, LANDMARKS, 32, 64)


@BOTH_SCNS
def test_the_heatmaps_are_the_product_of_both_branches(
    make: Callable[..., SpatialConfigurationNet], two_images: torch.Tensor
) -> None:
    output = make_it_loud(make(LANDMARKS, filters=4))(two_images)
    assert output.heatmaps.shape == (2, LANDMARKS, 64, 128)
    assert torch.equal(output.heatmaps, output.local * output.spatial)
    assert output.heatmaps.abs().max() > 1e-3


@BOTH_SCNS
def test_the_spatial_branch_sees_the_local_heatmaps_and_not_the_image(
    make: Callable[..., SpatialConfigurationNet], two_images: torch.Tensor
) -> None:
    net = make_it_loud(make(LANDMARKS, filters=4))
    output = net(two_images)
    assert torch.equal(net.spatial(output.local), output.spatial)


@BOTH_SCNS
def test_an_scn_evaluates_a_batch_as_its_images_one_by_one(
    make: Callable[..., SpatialConfigurationNet], two_images: torch.Tensor
) -> None:
    net = make_it_loud(make(LANDMARKS, filters=4))
    together = net(two_images).heatmaps
    alone = torch.cat([net(image[None]).heatmaps for image in two_images])
    assert torch.allclose(together, alone, atol=1e-5)
    assert not torch.allclose(alone[0], alone[1], atol=1e-3)


@BOTH_SCNS
def test_a_gradient_reaches_every_parameter_of_an_scn(
    make: Callable[..., SpatialConfigurationNet], two_images: torch.Tensor
) -> None:
    net = make_it_loud(make(LANDMARKS, filters=4))
    net(two_images).heatmaps.square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


@pytest.mark.parametrize(("make", "pool", "smallest"), [(scn_original, 16, 16), (scn_later, 4, 32)])
def test_an_scn_pools_by_its_recipe_and_takes_its_smallest_image(
    make: Callable[..., SpatialConfigurationNet], pool: int, smallest: int
) -> None:
    net = make(LANDMARKS, filters=4)
    assert net.spatial[0].kernel_size == pool
    assert net(torch.randn(2, 1, smallest, 3 * smallest)).heatmaps.shape == (2, LANDMARKS, smallest, 3 * smallest)


def test_tanh_bounds_both_branches_of_the_later_scn_and_only_the_spatial_one_of_the_original() -> None:
    image, local = 1000 * torch.randn(2, 1, 64, 64), 1000 * torch.randn(2, LANDMARKS, 64, 64)
    later = make_it_loud(scn_later(LANDMARKS, filters=4))
    assert 0.99 < later.local(image).abs().max() <= 1
    assert 0.99 < later.spatial(local).abs().max() <= 1

    original = make_it_loud(scn_original(LANDMARKS, filters=4))
    assert original.local(image).abs().max() > 2
    assert 0.99 < original.spatial(local).abs().max() < 2  # bicubic interpolation of values within +-1 overshoots


@pytest.mark.parametrize(("make", "std"), [(scn_original, 1e-4), (scn_later, 1e-3)])
def test_output_layers_start_near_zero_and_the_others_with_he_initialization(
    make: Callable[..., SpatialConfigurationNet], std: float
) -> None:
    # A normal cut at +-2 standard deviations keeps 0.8796 of its standard deviation; He's is sqrt(2 / fan_in).
    layers = [m for m in make(LANDMARKS, filters=64).modules() if isinstance(m, nn.Conv2d)]
    outputs = [layer for layer in layers if layer.out_channels == LANDMARKS]
    assert len(outputs) == 2
    for layer in layers:
        fan_in = layer.weight[0].numel()
        expected = 0.8796 * std if layer in outputs else math.sqrt(2 / fan_in)
        assert layer.weight.std().item() == pytest.approx(expected, rel=0.1)
        assert not layer.bias.any()


@pytest.mark.parametrize(("make", "dropout", "how_many"), [(scn_original, 0.5, 4), (scn_later, 0.25, 16 + 8)])
def test_each_recipe_has_its_dropout(
    make: Callable[..., SpatialConfigurationNet], dropout: float, how_many: int
) -> None:
    found = [m.p for m in make(LANDMARKS, filters=4).modules() if isinstance(m, nn.Dropout)]
    assert found == [dropout] * how_many


def test_a_learned_sigma_scales_the_target_as_the_paper_does() -> None:
    sigma = LearnedSigma(2, initial=2.0)
    squared_distance = torch.tensor([0.0, 8.0]).repeat(3, 2, 1, 1)  # (3, 2, 1, 2)
    target = sigma(squared_distance)
    peak = 100 / (2 * math.pi * 4)  # 3.979
    assert torch.allclose(target, torch.tensor([peak, peak / math.e]).expand(3, 2, 1, 2))
    assert sigma.penalty().item() == pytest.approx(0.5 * (4 + 4))


def test_each_landmark_learns_its_own_sigma() -> None:
    sigma = LearnedSigma(2)
    prediction = torch.zeros(1, 2, 1, 1)
    (sigma(torch.zeros(1, 2, 1, 1)) - prediction)[:, 0].sum().backward()
    assert sigma.sigma_px.grad is not None
    assert sigma.sigma_px.grad[0] < 0  # a wider target has a lower peak
    assert sigma.sigma_px.grad[1] == 0
