"""The detector: either network, both, and how their answers become pixels."""

import pytest
import torch

from SpineLandmarksLib.errors import RecipeError
from SpineLandmarksLib.model import Architecture, Detector
from SpineLandmarksLib.networks.xception import DirectOutput

UNET = {"network": "unet", "filters": [8, 16, 16], "stride": 2}
XCEPTION = {"network": "xception", "width": 0.02}
ARCHITECTURES = {
    "heatmap": Architecture(heatmap=UNET, stride=2),
    "direct": Architecture(heatmap=None, direct=XCEPTION, stride=2, direct_size=64),
    "both": Architecture(heatmap=UNET, direct=XCEPTION, stride=2, direct_size=64),
}


def make(name, landmarks=4):
    torch.manual_seed(0)
    return Detector(ARCHITECTURES[name], landmarks).eval()


@pytest.fixture
def images() -> torch.Tensor:
    """(3, 1, 64, 96)"""
    return torch.randn((3, 1, 64, 96), generator=torch.Generator().manual_seed(1))


class Says(torch.nn.Module):
    """A direct network that gives one answer whatever the image."""

    def __init__(self, mean, sigma):
        super().__init__()
        self.answer = DirectOutput(torch.tensor(mean), torch.log(torch.tensor(sigma)))
        self.seen = None

    def forward(self, image):
        self.seen = image
        return DirectOutput(*(part.expand(len(image), -1, -1) for part in self.answer))


@pytest.mark.parametrize("name", ARCHITECTURES)
@pytest.mark.parametrize("landmarks", [4, 11])
def test_every_kind_of_detector_gives_a_distribution_and_candidates(name, landmarks, images):
    detector = make(name, landmarks)
    with torch.no_grad():
        out, found = detector(images), detector.detect(images)
    assert out.log_p.shape == (3, landmarks, 32, 48)
    assert torch.allclose(out.log_p.exp().flatten(2).sum(-1), torch.ones(3, landmarks), atol=1e-4)
    assert (out.heatmap is None) == (name == "direct")
    assert (out.mean_px is None) == (out.spread_px is None) == (name == "heatmap")
    assert found.xy.shape == (3, landmarks, 6, 2)
    assert all(torch.isfinite(part).all() for part in found)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_batch_is_answered_as_its_images_one_by_one(name, images):
    detector = make(name)
    with torch.no_grad():
        together = detector(images).log_p
        alone = torch.cat([detector(image[None]).log_p for image in images])
    assert torch.allclose(together, alone, atol=1e-4)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_no_weight_is_stored_twice(name):
    state = make(name).state_dict()
    places = [value.data_ptr() for value in state.values() if value.numel()]
    assert len(places) == len(set(places))


def test_every_weight_learns():
    detector = make("both").train()
    image = torch.randn((2, 1, 64, 96), generator=torch.Generator().manual_seed(2))
    out = detector(image)
    (out.log_p.square().mean() + out.spread_px.mean()).backward()
    still = [name for name, value in detector.named_parameters() if value.requires_grad and value.grad is None]
    assert still == []


def test_the_direct_answer_is_a_share_of_the_picture_from_its_outer_corner(images):
    detector = make("direct", 2)
    detector.direct_net = Says([[0.25, 0.5], [0.6, 0.3]], [[0.1, 0.1], [0.05, 0.2]])
    out = detector(images)
    # x = u W - 1/2 with W = 96, H = 64; spreads are shares too
    assert torch.allclose(out.mean_px[1], torch.tensor([[23.5, 31.5], [57.1, 18.7]]), atol=1e-4)
    assert torch.allclose(out.spread_px[2], torch.tensor([[9.6, 6.4], [4.8, 12.8]]), atol=1e-4)
    assert detector.direct_net.seen.shape == (3, 1, 64, 64)


def test_direct_points_alone_are_decoded_to_themselves(images):
    architecture = Architecture(
        heatmap=None, direct=XCEPTION, stride=2, direct_size=64, fusion={"sigma_px": 2.4}, peak_radius=4
    )
    detector = Detector(architecture, 2)
    detector.direct_net = Says([[0.25, 0.5], [0.63, 0.31]], [[0.1, 0.1], [0.1, 0.1]])
    found = detector.detect(images)
    assert torch.allclose(found.xy[:, :, 0], detector(images).mean_px, atol=0.05)


def test_a_known_direct_point_pulls_the_heatmap(images):
    detector = make("both")
    detector.direct_net = Says([[0.5, 0.5]] * 4, [[0.1, 0.1]] * 4)
    detector.fusion.raw_sigma.data.fill_(1.0)  # softplus(1) = 1.3 pixels
    found = detector.detect(images)
    assert (found.xy[:, :, 0] - torch.tensor([47.5, 31.5])).abs().max() < 4


def test_neither_network_is_refused():
    with pytest.raises(RecipeError, match="got neither"):
        Architecture(heatmap=None)


@pytest.mark.parametrize("settings", [{"network": "unet", "depth": 3}, {"network": "scn_later", "filters": [3]}])
def test_an_argument_that_a_network_does_not_have_is_told(settings):
    with pytest.raises(RecipeError, match="argument it does not have"):
        Detector(Architecture(heatmap=settings), 4)
