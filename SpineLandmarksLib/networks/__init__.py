"""The networks, by name. Each takes (landmarks, in_channels, **arguments).

Looked up lazily so that naming them does not import torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from SpineLandmarksLib.errors import RecipeError

if TYPE_CHECKING:
    from torch import nn

NETWORKS = ("unet", "scn_original", "scn_later", "localization_unet", "xception")


def build_network(name: str, landmarks: int, **arguments: Any) -> nn.Module:
    """The network called `name` for `landmarks` points; RecipeError for an unknown name or argument."""
    from SpineLandmarksLib.networks.scn import localization_unet, scn_later, scn_original
    from SpineLandmarksLib.networks.unet import UNet
    from SpineLandmarksLib.networks.xception import Xception

    makers = (UNet, scn_original, scn_later, localization_unet, Xception)
    builders: dict[str, Any] = dict(zip(NETWORKS, makers, strict=True))
    if name not in builders:
        raise RecipeError(f"Expected a network of {', '.join(NETWORKS)}; got {name!r}")
    try:
        network: nn.Module = builders[name](landmarks, **arguments)
    except TypeError as error:
        raise RecipeError(f"Network {name} was given an argument it does not have: {error}") from error
    return network
