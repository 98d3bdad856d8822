"""What surfaces and textures are made from: pictures of splats from all around."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.pipeline.paths import robust_box
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import rasterize

FOV = 40.0  # degrees
MARGIN = 1.05  # room around the object
SOLID = 0.5  # alpha below which a pixel shows more background than object


@dataclass(frozen=True, slots=True)
class Pictures:
    """Colours and depths of a thing from several sides.

    Attributes:
        cameras: views `[v]`.
        rgb: `[v, h, w, 3]` display-referred sRGB in [0, 1].
        depth: along the optical axis `[v, h, w]`, scene units; 0 where nothing is seen.
    """

    cameras: Cameras
    rgb: Float[Tensor, "v h w 3"]
    depth: Float[Tensor, "v h w"]


def views_around(gaussians: Gaussians, count: int, *, size: int) -> Cameras:
    """Views spread over the whole sphere, as near as the sphere around the splats' robust box stays in every picture.

    Args:
        gaussians: unbatched splats of an object.
        count: number of views.
        size: width and height in pixels.

    Raises:
        BadInput: there are no splats, or they are all at one place.
    """
    if not gaussians.count:
        raise BadInput("there are no splats, so there is nothing to make a mesh of")
    lower, upper = (corner.detach().cpu() for corner in robust_box(gaussians))
    radius = float((upper - lower).norm()) / 2
    if not (math.isfinite(radius) and radius > 0):
        raise BadInput(f"the opaque splats lie within a sphere of radius {radius:g}, so they have no surface")
    distance = MARGIN * radius / math.sin(math.radians(FOV) / 2)
    shift = torch.eye(4)
    shift[:3, 3] = (lower + upper) / 2
    return sphere_cameras(count, radius=distance, fov=FOV, size=size).moved(shift)


@torch.no_grad()
def take_pictures(gaussians: Gaussians, cameras: Cameras, *, backend: str = "auto") -> Pictures:
    """Colour and median depth of the splats, both only where they cover more than half of a pixel.

    Args:
        gaussians: unbatched splats.
        cameras: views `[v]`.
        backend: of `rasterize`.
    """
    colors, depths = [], []
    for view in range(cameras.shape[0]):
        drawn = rasterize(gaussians, cameras.select([view]), channels=("median_depth",), backend=backend)
        assert drawn.median_depth is not None  # for the type checker
        solid = drawn.alpha > SOLID
        straight = drawn.rgb / drawn.alpha[..., None].clamp_min(SOLID)  # without the black behind soft edges
        colors.append((straight * solid[..., None]).clamp(0, 1).cpu())
        depths.append((drawn.median_depth * solid).cpu())
    return Pictures(cameras.to("cpu"), torch.cat(colors), torch.cat(depths))
