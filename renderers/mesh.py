"""Surfaces and points, as frozen data."""

from dataclasses import dataclass

import torch
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
    """A triangle mesh with one base-colour texture, vertex colours, or both: then the surface shows their product.

    Attributes:
        vertices: `[n, 3]` scene units.
        faces: `[f, 3]` vertex indices, counter-clockwise seen from outside; int64.
        uvs: `[n, 2]` texture coordinates, v upwards (OpenGL, trimesh), or None.
        texture: `[h, w, 3]` or `[h, w, 4]` display-referred sRGB in [0, 1], first row on top, or None; a fourth channel is
            a cut-out: nothing is there where it is below 1/2.
        colors: `[n, 3]` vertex colours, display-referred sRGB in [0, 1], or None.
    """

    vertices: Float[Tensor, "n 3"]
    faces: Int[Tensor, "f 3"]
    uvs: Float[Tensor, "n 2"] | None = None
    texture: Float[Tensor, "h w c"] | None = None
    colors: Float[Tensor, "n 3"] | None = None


def sample_texture(texture: Float[Tensor, "h w c"], uvs: Float[Tensor, "*b 2"]) -> Float[Tensor, "*b c"]:
    """Bilinear look-up with texel centres at +0.5, v upwards and the texture repeated outside [0, 1] (glTF's default).

    Args:
        texture: first row on top.
        uvs: (0, 0) is the lower left corner of the picture, (1, 1) the upper right one.
    """
    height, width = texture.shape[:2]
    x = uvs[..., 0] * width - 0.5
    y = (1 - uvs[..., 1]) * height - 0.5
    left, top = x.floor(), y.floor()
    along, down = (x - left)[..., None].to(texture), (y - top)[..., None].to(texture)
    columns = [(left.long() + step) % width for step in (0, 1)]
    rows = [(top.long() + step) % height for step in (0, 1)]
    upper, lower = (torch.lerp(texture[row, columns[0]], texture[row, columns[1]], along) for row in rows)
    return torch.lerp(upper, lower, down)
