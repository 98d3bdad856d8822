"""One network for any partition of views into given and noised ones: generation, completion and reconstruction (DSplats, 2412.09648).

Every view enters with its rays, its noise level and a mask that says whether it is given; attention runs over all views of an object;
what comes out are splats at the cells of all views.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.priors.multiview.attention import MultiviewProcessor
from gen3d.priors.multiview.heads import NUMBERS, Cells, splat_head, to_gaussians
from gen3d.priors.multiview.rays import pixel_rays, ray_channels
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

INPUTS = 3 + 1 + 1 + 6  # colours, opacity of given views, mask of given views, rays
TICKS = 1000.0  # what the time embedding counts a path's unit of time as


@dataclass(frozen=True, slots=True)
class Views:
    """Views of objects as the network takes them.

    Attributes:
        pictures: `[b, v, 3, h, w]`, colours over white in [-1, 1], noised in the views that are not given.
        alpha: `[b, v, h, w]` in [0, 1]; of given views, anything in others.
        given: `[b, v]`, views without noise.
        times: `[b, v]` of the path that the network is trained on, in [0, 1]; of views that are not given.
        cameras: `[b, v]`.
    """

    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    given: Bool[Tensor, "b v"]
    times: Float[Tensor, "b v"]
    cameras: Cameras


class MultiviewNetwork(nn.Module):
    """Views of objects to their splats.

    Args:
        settings: shapes; the same class serves every size.
    """

    def __init__(self, settings: MultiviewSettings) -> None:
        super().__init__()
        self.settings = settings
        unet: Any = UNet2DConditionModel(**unet_config(settings))
        unet.set_attn_processor(MultiviewProcessor())
        nn.init.zeros_(unet.conv_out.weight)
        nn.init.zeros_(unet.conv_out.bias)
        self.unet = unet
        self.absent = nn.Parameter(torch.zeros(1, 1, settings.text))  # the token that stands for no condition

    def forward(self, views: Views, condition: Float[Tensor, "b n d"] | None = None) -> Gaussians:
        """Splats `[b, v cells layers]` in float32.

        Args:
            views: of which any number is given.
            condition: tokens of a text or picture; None for none.
        """
        b, v = views.given.shape
        settings = self.settings
        known = views.given.to(views.pictures)[:, :, None, None, None].expand(-1, -1, 1, *views.pictures.shape[-2:])
        inputs = torch.cat([views.pictures, known * views.alpha[:, :, None], known, ray_channels(views.cameras)], 2)
        folded = functional.pixel_unshuffle(inputs.flatten(0, 1), settings.patch)
        times = torch.where(views.given, 0.0, views.times).flatten().to(inputs) * TICKS
        tokens = self.absent.expand(b, -1, -1) if condition is None else condition
        raw = self.unet(folded, times, tokens.repeat_interleave(v, 0), cross_attention_kwargs={"views": v}, return_dict=False)[0]
        raw = raw.unflatten(0, (b, v)).movedim(2, -1).reshape(b, -1, settings.layers, NUMBERS)
        return to_gaussians(raw, cells_of(views, settings.patch), splat_head(settings.head))


def cells_of(views: Views, patch: int) -> Cells:
    """The cells of all views, row by row, view after view."""
    origins, directions = pixel_rays(views.cameras, patch)
    distance = -(origins * directions).sum(-1)
    extent = patch * distance / views.cameras.intrinsics[..., None, None, 0, 0]
    pooled = functional.avg_pool2d(views.pictures.flatten(0, 1).float(), patch).unflatten(0, views.given.shape).movedim(2, -1)
    colors = torch.where(views.given[:, :, None, None, None], (pooled + 1) / 2, 0.5)
    return Cells(*(part.flatten(1, 3) for part in (origins, directions, extent, colors)))


def unet_config(settings: MultiviewSettings) -> dict[str, Any]:
    """The arguments of diffusers' U-Net; the coarsest levels have attention on the way down and in the middle."""
    levels = len(settings.channels)
    attended = [level >= levels - settings.attention for level in range(levels)]
    return {
        "sample_size": settings.size // settings.patch,
        "in_channels": INPUTS * settings.patch**2,
        "out_channels": NUMBERS * settings.layers,
        "block_out_channels": settings.channels,
        "layers_per_block": settings.depth,
        "down_block_types": tuple("CrossAttnDownBlock2D" if here else "DownBlock2D" for here in attended),
        "mid_block_type": "UNetMidBlock2DCrossAttn",
        "up_block_types": ("UpBlock2D",) * levels,
        "cross_attention_dim": settings.text,
        "attention_head_dim": settings.heads,
        "norm_num_groups": settings.groups,
        "use_linear_projection": True,
    }
