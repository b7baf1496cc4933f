"""U-Net for heatmaps (Ronneberger et al. 2015), from the convolution blocks of MONAI's DynUNet."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from monai.networks.blocks.dynunet_block import UnetBasicBlock, UnetOutBlock, UnetUpBlock
from torch import Tensor, nn


class UNet(nn.Module):
    """image (B, C, H, W) -> heatmap logits (B, L, H / stride, W / stride).

    filters: channels of each level, finest first. stride: 1 gives heatmaps at input resolution as the paper does; 2
    halves them in the first convolution, which is where most of a U-Net's time goes, and leaves the sub-pixel
    decoder to make up for it. H and W divide by stride * 2 ** (levels - 1). output_bias: what every logit starts near;
    for binary cross-entropy the logit of a rare pixel, or most of a short training goes by until landmarks are rare
    (Lin et al. 2017, section 3.3).

    The blocks are DynUNet's, wired here: its own wiring registers every block twice, which safetensors refuses.
    """

    def __init__(
        self,
        landmarks: int,
        in_channels: int = 1,
        filters: Sequence[int] = (32, 64, 128, 192, 256, 320),
        stride: int = 1,
        output_bias: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_block = UnetBasicBlock(2, in_channels, filters[0], 3, stride, "batch")
        down = [UnetBasicBlock(2, i, o, 3, 2, "batch") for i, o in pairwise(filters)]
        self.downsamples = nn.ModuleList(down[:-1])
        self.bottleneck = down[-1]
        self.upsamples = nn.ModuleList(UnetUpBlock(2, i, o, 3, 2, 2, "batch") for i, o in pairwise(filters[::-1]))
        self.output_block = UnetOutBlock(2, filters[0], landmarks)
        nn.init.constant_(self.output_block.conv.conv.bias, output_bias)

    def forward(self, image: Tensor) -> Tensor:
        x = self.input_block(image)
        skips = [x]
        for block in self.downsamples:
            x = block(x)
            skips.append(x)
        x = self.bottleneck(x)
        for block in self.upsamples:  # written so that TorchScript compiles it, as MONAI's ckpt_export asks
            x = block(x, skips.pop())
        return self.output_block(x)  # type: ignore[no-any-return]
