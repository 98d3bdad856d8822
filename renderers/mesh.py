"""Surfaces and points, as frozen data."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True, slots=True)
class PointCloud:
    """Coloured points.

    Attributes:
        points: `[n, 3]` scene units.
        colors: `[n, 3]` display-referred sRGB in [0, 1].
    """

    points: Float[Tensor, "n 3"]
    colors: Float[Tensor, "n 3"]


@dataclass(frozen=True, slots=True)
class Mesh:
    """A triangle mesh with one base-colour texture or vertex colours.

    Attributes:
        vertices: `[n, 3]` scene units.
        faces: `[f, 3]` vertex indices, counter-clockwise seen from outside; int64.
        uvs: `[n, 2]` texture coordinates, v upwards (OpenGL, trimesh), or None.
        texture: `[h, w, 3]` or `[h, w, 4]` display-referred sRGB in [0, 1], first row on top, or None.
        colors: `[n, 3]` vertex colours, display-referred sRGB in [0, 1], or None.
    """

    vertices: Float[Tensor, "n 3"]
    faces: Int[Tensor, "f 3"]
    uvs: Float[Tensor, "n 2"] | None = None
    texture: Float[Tensor, "h w c"] | None = None
    colors: Float[Tensor, "n 3"] | None = None
