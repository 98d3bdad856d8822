"""What a network is told of a camera: the ray of every pixel."""

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.cameras import Cameras


def pixel_rays(cameras: Cameras, stride: int = 1) -> tuple[Float[Tensor, "*b v h w 3"], Float[Tensor, "*b v h w 3"]]:
    """Origins and unit directions in the world of the rays through pixel centres, or through the centres of squares of pixels.

    Args:
        cameras: `[*b, v]`.
        stride: pixels along a square; divides both sides.
    """
    with torch.autocast(cameras.world_to_camera.device.type, enabled=False):  # half precision would turn rays by pixels
        return _rays(cameras, stride)


def _rays(cameras: Cameras, stride: int) -> tuple[Tensor, Tensor]:
    columns, rows = ((torch.arange(0, side, stride) + stride / 2).to(cameras.intrinsics) for side in (cameras.width, cameras.height))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], -1)
    rotation = cameras.world_to_camera[..., :3, :3].mT
    directions = torch.einsum("...ij,hwj->...hwi", rotation @ torch.linalg.inv(cameras.intrinsics), pixels)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    return cameras.positions[..., None, None, :].expand_as(directions), directions


def ray_channels(cameras: Cameras) -> Float[Tensor, "*b v 6 h w"]:
    """Direction d and the point of the ray that is closest to the origin, o - (o.d) d, for every pixel (the form of DiffusionGS).

    It fixes a ray as Plücker's coordinates do and tells a place in the object beside it.
    """
    origins, directions = pixel_rays(cameras)
    closest = origins - (origins * directions).sum(-1, keepdim=True) * directions
    return torch.cat([directions, closest], -1).movedim(-1, -3)
