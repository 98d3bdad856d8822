"""Views as networks are given them, and splats as views: what needs no network."""

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.renderers.cameras import Cameras, orbit
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.rendering import Rendering, rasterize


@dataclass(frozen=True, slots=True)
class GivenViews:
    """What is known of objects, in the frame that the first view looks at from the front.

    Attributes:
        pictures: colours over white in [-1, 1], `[b, v, 3, h, w]`.
        alpha: `[b, v, h, w]` in [0, 1].
        cameras: `[b, v]`.
    """

    pictures: Float[Tensor, "b v 3 h w"]
    alpha: Float[Tensor, "b v h w"]
    cameras: Cameras

    def to(self, device: str) -> "GivenViews":
        """The same on another device."""
        return GivenViews(self.pictures.to(device), self.alpha.to(device), self.cameras.to(device))


def around(given: Cameras, count: int, *, elevation: float, distance: float, fov: float) -> Cameras:
    """Cameras evenly around the object beside the one in front, `[b, count]`.

    Args:
        given: of the views that are known `[b, v]`, of which the first looks from the front.
        count: of further views.
        elevation: degrees.
        distance: from the origin.
        fov: degrees.
    """
    azimuths = torch.arange(1, count + 1) * 360.0 / (count + 1)
    ring = orbit(azimuths, torch.full((count,), elevation), radius=distance, fov=fov, width=given.width, height=given.height)
    return ring.to(given.world_to_camera).expand(given.shape[0])


def beside(first: Cameras, second: Cameras) -> Cameras:
    """The views of both, of the same size."""
    poses, matrices = (torch.cat([getattr(first, name), getattr(second, name)], -3) for name in ("world_to_camera", "intrinsics"))
    return replace(first, world_to_camera=poses, intrinsics=matrices)


def draw(splats: Gaussians, cameras: Cameras, channels: Collection[str] = ("rgb",), backend: str = "auto") -> Rendering:
    """Splats over white."""
    return rasterize(splats, cameras, background=torch.ones(3), channels=channels, backend=backend)


def to_pictures(rendering: Rendering) -> Float[Tensor, "b v 3 h w"]:
    """Colours as networks see them: channels first, in [-1, 1] where they are not brighter than white."""
    return rendering.rgb.movedim(-1, -3) * 2 - 1
