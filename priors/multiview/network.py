"""One network for any partition of views into given and noised ones: generation, completion and reconstruction (DSplats, 2412.09648).

Every view enters with its rays, its noise level and a mask that says whether it is given; attention runs over all views of an object;
what comes out are splats at the cells of all views.
"""

import functools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from gen3d.priors.layers import silent
from gen3d.priors.multiview.attention import MultiviewProcessor
from gen3d.priors.multiview.decoder import SplatDecoder
from gen3d.priors.multiview.heads import NUMBERS, Cells, splat_head, to_gaussians
from gen3d.priors.multiview.rays import pixel_rays, ray_channels
from gen3d.priors.multiview.settings import MultiviewSettings
from gen3d.priors.samplers.paths import VPDiscrete
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians

INPUTS = 3 + 1 + 1 + 6  # colours, opacity of given views, mask of given views, rays
LATENTS = 4  # channels of Stable Diffusion's latents
TICKS = 1000.0  # what the time embedding counts a path's unit of time as
BETAS = (0.00085, 0.012)  # of Stable Diffusion, whose square roots rise evenly over 1000 steps


@dataclass(frozen=True, slots=True)
class Views:
    """Views of objects as the network takes them.

    Attributes:
        pictures: `[b, v, 3, h, w]`, colours over white in [-1, 1], noised in the views that are not given; with latents, anything there.
        alpha: `[b, v, h, w]` in [0, 1]; of given views, anything in others.
        given: `[b, v]`, views without noise.
        times: `[b, v]` of the path that the network is trained on, in [0, 1]; of views that are not given.
        cameras: `[b, v]`.
        latents: `[b, v, 4, h / 8, w / 8]`, noised in the views that are not given; for networks of latents.
    """

    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    given: Bool[Tensor, "b v"]
    times: Float[Tensor, "b v"]
    cameras: Cameras
    latents: Float[Tensor, "b v 4 hl wl"] | None = None


class MultiviewNetwork(nn.Module):
    """Views of objects to their splats.

    Args:
        settings: shapes; the same class serves every size.
        config: of the U-Net, where it is that of a pretrained one; None follows the settings.
    """

    ENDS = ("unet.conv_in.", "unet.conv_out.", "decoder.", "absent")  # parameters of the first layer, of the last, and the token

    def __init__(self, settings: MultiviewSettings, config: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.settings, self.config = settings, None if config is None else dict(config)
        unet: Any = UNet2DConditionModel(**(self.config or unet_config(settings)))
        unet.set_attn_processor(MultiviewProcessor())
        self.unet, self.decoder = unet, SplatDecoder(unet, settings, INPUTS) if settings.upsamplings else None
        if self.decoder is None:
            silent(unet.conv_out)
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
        pictures = torch.where(known > 0, views.pictures, 0.0) if settings.latents else views.pictures
        inputs = torch.cat([pictures, known * views.alpha[:, :, None], known, ray_channels(views.cameras)], 2)
        folded = functional.pixel_unshuffle(inputs.flatten(0, 1), settings.patch)
        if settings.latents:
            if views.latents is None:
                raise ValueError("the network takes latents and the views have none; encode their pictures")
            folded = torch.cat([views.latents.flatten(0, 1).to(folded), folded], 1)
        times = self.ticks(torch.where(views.given, 0.0, views.times)).flatten().to(inputs)
        # With a condition the token of none counts nothing, but it has a gradient: processes wait for those of all weights.
        tokens = self.absent.expand(b, -1, -1) if condition is None else condition + 0 * self.absent
        raw = self.unet(folded, times, tokens.repeat_interleave(v, 0), cross_attention_kwargs={"views": v}, return_dict=False)[0]
        if self.decoder is not None:
            raw = self.decoder(raw, inputs.flatten(0, 1))
        raw = raw.unflatten(0, (b, v)).movedim(2, -1).reshape(b, -1, settings.layers, NUMBERS)
        return to_gaussians(raw, cells_of(views, settings.cell), splat_head(settings.head))

    @property
    def facts(self) -> dict[str, Any]:
        """What tells networks of different shapes apart."""
        return {**asdict(self.settings), "unet": self.config}

    def ticks(self, times: Float[Tensor, "*b"]) -> Float[Tensor, "*b"]:
        """What the U-Net is told of times of the cosine path: Stable Diffusion's step with as much noise, or the time itself in 1000ths."""
        if not self.settings.latents:
            return times * TICKS
        table = stable_diffusion()
        noise = (times.double().cpu() * math.pi / 2).tan().clamp(max=table.most)
        return table.time_of(noise).clamp(min=0).to(times)


@functools.cache
def stable_diffusion() -> VPDiscrete:
    """The steps of Stable Diffusion, made once."""
    low, high = (beta**0.5 for beta in BETAS)
    return VPDiscrete((1 - torch.linspace(low, high, int(TICKS), dtype=torch.float64).square()).cumprod(0))


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
        "in_channels": INPUTS * settings.patch**2 + LATENTS * settings.latents,
        "out_channels": settings.channels[0] if settings.upsamplings else NUMBERS * settings.layers,
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
