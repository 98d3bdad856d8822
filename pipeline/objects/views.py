"""Views of an object for training: how it is placed, where the cameras stand, and what they see.

The placement is that of the evaluation protocol objects-v1: the bounding sphere of every object has diameter 1 and its centre at the
origin; cameras look at it from distance 1.25 with a field of view of 49.1 degrees, so that it fills 95.5 % of every picture's side at
most. (At distance 1.2034 the sphere would touch the border; 1.5 with a sphere of radius 0.6 gives the same pictures.)
"""

import hashlib
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.renderers.cameras import Cameras, orbit
from gen3d.renderers.mesh import Mesh

FOV = 49.1  # degrees
DISTANCE = 1.25
RADIUS = 0.5  # of the bounding sphere
LONGEST_SIDE = 1.25 / 1.75  # of the bounding box, where that decides: as large as with side 1 seen from distance 1.75
REACH = {"sphere": RADIUS, "box": LONGEST_SIDE * 3**0.5 / 2}  # from the origin, of anything on an object
RING = 8  # views around the object that a model is given or generates
RING_ELEVATION = 20.0  # degrees
LOWEST = -10.0  # degrees; random views are spread over the sphere above


@dataclass(frozen=True, slots=True)
class ObjectViews:
    """Pictures of one object, all views of one size.

    Attributes:
        cameras: `[v]`.
        rgb: `[v, h, w, 3]` straight unlit colour, display-referred sRGB in [0, 1]; 0 where alpha is 0.
        alpha: `[v, h, w]` share of the pixel that is covered.
        depth: `[v, h, w]` along the optical axis, the mean over the covered part; 0 where alpha is 0. None where it was not kept.
        normal: `[v, h, w, 3]` unit vectors in the world, turned to the camera; 0 where alpha is 0. None where they were not kept.
    """

    cameras: Cameras
    rgb: Float[Tensor, "v h w 3"]
    alpha: Float[Tensor, "v h w"]
    depth: Float[Tensor, "v h w"] | None = None
    normal: Float[Tensor, "v h w 3"] | None = None

    def over(self, background: Float[Tensor, "... 3"]) -> Float[Tensor, "v h w 3"]:
        """The colours over a background that broadcasts to them."""
        return background + self.alpha[..., None] * (self.rgb - background)


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the object of a file stands in its views: p -> scale (p - centre).

    Attributes:
        centre: of the bounding box in the file, after its turn to +Y up.
        scale: makes the sphere around the box's centre that holds every face have radius 0.5, or the longest side of the box 0.714.
    """

    centre: tuple[float, float, float]
    scale: float

    def place(self, mesh: Mesh) -> Mesh:
        """The mesh as the cameras see it, float64."""
        centre = torch.tensor(self.centre, dtype=torch.float64)
        return replace(mesh, vertices=(mesh.vertices.double() - centre) * self.scale)


def placement_of(mesh: Mesh, fit: str = "sphere") -> Placement:
    """How a mesh is centred and scaled; vertices that no face uses do not count.

    Args:
        mesh: as it is in its file.
        fit: whether its bounding `sphere` or the longest side of its `box` decides.

    Raises:
        BadInput: all of it is at one place.
    """
    used = mesh.vertices[mesh.faces.unique()].double()
    low, high = used.amin(0), used.amax(0)
    centre = (low + high) / 2
    radius = float((used - centre).norm(dim=-1).amax())
    if not radius > 0:
        raise BadInput("the mesh has no extent: all of its faces are at one place; export it again")
    x, y, z = centre.tolist()
    return Placement((x, y, z), LONGEST_SIDE / float((high - low).amax()) if fit == "box" else RADIUS / radius)


def training_views(
    name: str, count: int, seed: int, ring: tuple[float, float] = (RING_ELEVATION, RING_ELEVATION)
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Azimuths and elevations of an object's views in degrees, the same for the same id, count and seed on every machine.

    The first 8 stand around the object, multiples of 45 degrees from 0 on, at one elevation. The others are spread over the sphere
    above elevation -10, uniformly by area: one in each of as many sectors and one in each of as many bands, paired at random.

    Args:
        name: the id of the object.
        count: at least 8.
        seed: any integer.
        ring: lowest and highest elevation of the first 8.
    """
    generator = numbers_of("views", seed, name)
    extra, low = count - RING, math.sin(math.radians(LOWEST))
    keys = [generator.random() for _ in range(extra)]
    sectors = sorted(range(extra), key=keys.__getitem__)
    azimuths = [index * 360 / RING for index in range(RING)]
    azimuths += [360 * (sector + generator.random()) / extra for sector in sectors]
    heights = [low + (1 - low) * (band + generator.random()) / extra for band in range(extra)]
    around = ring[0] + (ring[1] - ring[0]) * numbers_of("ring", seed, name).random()
    elevations = [around] * RING + [math.degrees(math.asin(height)) for height in heights]
    return tuple(round(angle, 3) for angle in azimuths), tuple(round(angle, 3) for angle in elevations)


def numbers_of(*facts: object) -> random.Random:
    """Random numbers that follow from these facts alone, the same on every machine."""
    return random.Random(hashlib.sha256(" ".join(map(str, facts)).encode(errors="surrogateescape")).digest())


def object_cameras(
    azimuths: Sequence[float], elevations: Sequence[float], size: int, *, distance: float = DISTANCE, fov: float = FOV
) -> Cameras:
    """Cameras that look at the origin, float32.

    Args:
        azimuths: degrees; 0 sees the front (+Z), growing towards +X.
        elevations: degrees above the horizon.
        size: width and height in pixels.
        distance: from the origin.
        fov: degrees.
    """
    around, above = (torch.tensor(angles, dtype=torch.float64) for angles in (azimuths, elevations))
    return orbit(around, above, radius=distance, fov=fov, width=size, height=size).to(torch.float32)


def ring_cameras(size: int, *, elevation: float = RING_ELEVATION, distance: float = DISTANCE, fov: float = FOV) -> Cameras:
    """The eight around the object, the first of which sees its front; see `object_cameras`."""
    return object_cameras([number * 360 / RING for number in range(RING)], [elevation] * RING, size, distance=distance, fov=fov)
