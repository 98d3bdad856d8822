"""From the features of a U-Net to splats on a finer grid (DSplats' decoder; LGM's half of a U-Net)."""

import math
from typing import Any

from diffusers.models.resnet import ResnetBlock2D
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.priors.layers import silent
from gen3d.priors.multiview.heads import NUMBERS
from gen3d.priors.multiview.settings import MultiviewSettings


class SplatDecoder(nn.Module):
    """Residual blocks, each of which doubles the grid; what the views look like there enters beside them.

    Latents hold an eighth of the pixels' resolution: the visible side would be blurred without the pictures themselves. Their layers
    begin at zero, so that at first the features alone count.

    Args:
        unet: whose last layer gives the features.
        settings: of the network.
        inputs: channels of a view.
    """

    def __init__(self, unet: Any, settings: MultiviewSettings, inputs: int) -> None:
        super().__init__()
        groups, width = int(unet.config.norm_num_groups), int(unet.config.out_channels)
        self.blocks, self.stems = nn.ModuleList(), nn.ModuleList()
        for level in range(1, settings.upsamplings + 1):
            narrower = math.ceil(width / 2 / groups) * groups
            shape: dict[str, Any] = {"in_channels": width, "out_channels": narrower, "temb_channels": None}
            self.blocks.append(ResnetBlock2D(**shape, groups=groups, up=True))
            self.stems.append(silent(nn.Conv2d(inputs * (settings.patch // 2**level) ** 2, narrower, 1)))
            width = narrower
        self.norm = nn.GroupNorm(groups, width)
        self.last = silent(nn.Conv2d(width, NUMBERS * settings.layers, 3, padding=1))

    def forward(self, features: Float[Tensor, "n c g g"], inputs: Float[Tensor, "n i s s"]) -> Float[Tensor, "n k f f"]:
        """The numbers of splats on the finest grid.

        Args:
            features: of the U-Net.
            inputs: views in pixels as the network takes them.
        """
        for block, stem in zip(self.blocks, self.stems, strict=True):
            features = block(features, None)
            finer = functional.pixel_unshuffle(inputs, inputs.shape[-1] // features.shape[-1])
            features = features + stem(finer)
        numbers: Tensor = self.last(functional.silu(self.norm(features)))
        return numbers
