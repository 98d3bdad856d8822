"""What surfaces and textures are made from: pictures of splats from all around."""

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.pipeline.objects.rendering import sphere_cameras
from gen3d.pipeline.paths import robust_box
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import RasterSettings, Rendering, rasterize

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

    def select(self, views: list[int]) -> "Pictures":
        """Some of the views."""
        return Pictures(self.cameras.select(views), self.rgb[views], self.depth[views])

    def spread(self, count: int) -> "Pictures":
        """At most `count` of the views, evenly chosen."""
        return self.select(spread_indices(len(self.depth), count))


def spread_indices(total: int, count: int) -> list[int]:
    """At most `count` of the numbers below `total`, at about equal distances."""
    return sorted({index * total // count for index in range(count)})


def views_around(gaussians: Gaussians, count: int, *, size: int, turn: float = 0.0) -> Cameras:
    """Views spread over the whole sphere, as near as the sphere around the splats' robust box stays in every picture.

    Args:
        gaussians: unbatched splats of an object.
        count: number of views.
        size: width and height in pixels.
        turn: degrees about +Y; other turns and counts see other sides.

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
    return sphere_cameras(count, radius=distance, fov=FOV, size=size, turn=turn).moved(shift)


@torch.no_grad()
def take_pictures(
    gaussians: Gaussians, cameras: Cameras, *, footprint: float = 0.0, raster: RasterSettings | None = None, backend: str = "auto"
) -> Pictures:
    """Colour and median depth of the splats, both only where they cover more than half of a pixel; see `drawings`."""
    colors, depths = [], []
    for drawn in drawings(gaussians, cameras, footprint=footprint, raster=raster, channels=("rgb", "median_depth"), backend=backend):
        assert drawn.median_depth is not None  # for the type checker
        solid = drawn.alpha > SOLID
        straight = drawn.rgb / drawn.alpha[..., None].clamp_min(SOLID)  # without the black behind soft edges
        colors.append((straight * solid[..., None]).clamp(0, 1).cpu())
        depths.append((drawn.median_depth * solid).cpu())
    return Pictures(cameras.to("cpu"), torch.cat(colors), torch.cat(depths))


def drawings(
    gaussians: Gaussians,
    cameras: Cameras,
    *,
    footprint: float = 0.0,
    raster: RasterSettings | None = None,
    background: Float[Tensor, " 3"] | None = None,
    channels: Collection[str] = ("rgb",),
    backend: str = "auto",
) -> Iterator[Rendering]:
    """The splats as each view shows them.

    A rasterizer widens every splat by about half a pixel. Splats were fitted with that, so that they come out too thin in finer
    pictures; where the pixels of the fit are known, the splats are widened as much as they were then.

    Args:
        gaussians: unbatched splats.
        cameras: views `[v]`.
        footprint: what a pixel of the photos of the fit measures on the thing, scene units; 0 where nobody knows.
        raster: conventions of the fit; None for the defaults.
        background: of `rasterize`.
        channels: of `rasterize`.
        backend: of `rasterize`.
    """
    raster, cameras = raster or RasterSettings(), cameras.to(gaussians.means.device)
    lower, upper = robust_box(gaussians)
    distances = ((lower + upper) / 2 - cameras.positions).norm(dim=-1)
    for view, pixel in enumerate((distances / cameras.intrinsics[:, 0, 0]).tolist()):
        widened = replace(raster, eps2d=raster.eps2d * max(1.0, footprint / max(pixel, 1e-12)) ** 2)
        yield rasterize(gaussians, cameras.select([view]), background=background, channels=channels, settings=widened, backend=backend)
