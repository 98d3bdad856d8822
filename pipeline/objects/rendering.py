"""Views of meshes as if they were photos: scenes with exact cameras and alpha."""

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.scenes.scene import Scene, View
from gen3d.renderers.cameras import Cameras, orbit
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import MeshRendering, render_mesh
from gen3d.renderers.sphere import fibonacci_sphere


def sphere_cameras(count: int, *, radius: float, fov: float, size: int, turn: float = 0.0) -> Cameras:
    """Views of the origin spread evenly over the whole sphere on a Fibonacci spiral, from above to below.

    Args:
        count: number of views.
        radius: distance of the cameras in scene units.
        fov: field of view in degrees.
        size: width and height in pixels.
        turn: degrees by which the spiral is turned about +Y: sets with other counts or turns see other sides.
    """
    if count < 1:
        raise ValueError(f"{count} views were asked for; at least 1 is needed")
    x, y, z = fibonacci_sphere(count).unbind(-1)
    elevations, azimuths = torch.rad2deg(torch.asin(y)), turn + torch.rad2deg(torch.atan2(x, z))
    return orbit(azimuths, elevations, radius=radius, fov=fov, width=size, height=size).to(torch.float32)


def render_object(mesh: Mesh, cameras: Cameras, *, prefix: str = "view", supersample: int = 4) -> tuple[View, ...]:
    """One photo-like view for each camera, straight colour and alpha in 8 bits.

    Args:
        mesh: what is seen.
        cameras: `[v]`.
        prefix: views are named `<prefix>_000.png` and so on.
        supersample: rays along each side of a pixel; textures have no mipmaps, so fewer rays alias.

    Raises:
        MissingDependency: the package embreex is not installed.
    """
    views = []
    for index in range(cameras.shape[0]):
        camera = cameras.select([index])
        drawn = render_mesh(mesh, camera, supersample=supersample)
        views.append(
            View(
                name=f"{prefix}_{index:03d}.png",
                image=to_uint8(straight_color(drawn)[0]),
                alpha=to_uint8(drawn.alpha[0]),
                mask=None,
                camera=camera,
            )
        )
    return tuple(views)


def straight_color(drawn: MeshRendering) -> Float[Tensor, "v h w 3"]:
    """The colours of a mesh drawn over black without the black that edges are mixed with; 0 where nothing is."""
    return drawn.rgb / drawn.alpha[..., None].clamp_min(1e-6)


def object_scene(mesh: Mesh, train: Cameras, test: Cameras, *, supersample: int = 4) -> Scene:
    """A scene of rendered views; its points are unknown, as they would be of photos.

    Args:
        mesh: what is seen.
        train: `[v]` views to fit to.
        test: `[w]` views held out.
        supersample: rays along each side of a pixel.
    """
    return Scene(
        train=render_object(mesh, train, prefix="train", supersample=supersample),
        test=render_object(mesh, test, prefix="test", supersample=supersample),
        points=None,
        world_from_source=torch.eye(4, dtype=torch.float64),
    )
