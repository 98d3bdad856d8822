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


def weld(vertices: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
    """The number of each vertex's place: vertices with the same coordinates, as along the seams of an atlas, have the same one."""
    order = torch.arange(len(vertices), device=vertices.device)
    for axis in range(3):  # a stable sort by each coordinate in turn sorts by all three
        order = order[vertices[order, axis].sort(stable=True).indices]
    ordered = vertices[order]
    begins = (ordered[1:] != ordered[:-1]).any(-1)
    places = torch.empty_like(order)
    places[order] = torch.cat([begins.new_zeros(min(1, len(order))), begins]).cumsum(0)
    return places


def vertex_normals(mesh: Mesh) -> Float[Tensor, "n 3"]:
    """Smooth unit normals: the mean over the faces at a vertex's place, weighted by their areas; seams have no edge.

    A vertex that no face with an area touches has the normal +Y, as files and shaders want unit vectors everywhere.
    """
    vertices, places = mesh.vertices.double(), weld(mesh.vertices)
    a, b, c = (vertices[mesh.faces[:, corner]] for corner in range(3))
    twice_area = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for corner in range(3):
        total.index_add_(0, places[mesh.faces[:, corner]], twice_area)
    total = total[places]
    length = total.norm(dim=-1, keepdim=True)
    # What is left where faces cancel each other is rounding and points nowhere.
    valid = length > 1e-12 * twice_area.norm(dim=-1).max() if len(twice_area) else length > 0
    up = total.new_tensor([0.0, 1.0, 0.0])
    return torch.where(valid, total / length.clamp_min(torch.finfo(total.dtype).tiny), up).to(mesh.vertices)


def open_edges(mesh: Mesh) -> tuple[int, int]:
    """How many edges have no partner, and how many there are, after welding: where the surface ends or its sides swap.

    A surface without open edges encloses a volume. Faces that have two corners at one place count for nothing.
    """
    faces = weld(mesh.vertices)[mesh.faces]
    faces = faces[(faces != faces.roll(1, -1)).all(-1)]
    start, end = faces.flatten(), faces.roll(-1, -1).flatten()
    along = torch.where(start < end, 1, -1)
    pairs = torch.minimum(start, end) * len(mesh.vertices) + torch.maximum(start, end)
    edges, edge = pairs.unique(return_inverse=True)
    balance = torch.zeros_like(edges).index_add_(0, edge, along)  # as many faces run along an edge one way as the other
    return int((balance != 0).sum()), len(edges)
