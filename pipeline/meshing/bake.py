"""Colours of pictures onto a mesh: its texture, or its vertices."""

from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.projecting import project_points
from gen3d.pipeline.meshing.texels import Texels
from gen3d.renderers.mesh import Mesh, vertex_normals

BEST = 4  # views that a texel is the mean of
SHARPNESS = 4  # exponent of the cosine between normal and viewing direction
TOLERANCE = 0.01  # of the mesh's size: how far a texel may lie from the depth that a view sees
TURN = 0.1  # of the mesh's size: what a normal that is turned by 60 degrees counts like, when an unseen texel looks for colour
AT_ONCE = 100_000  # texels that are looked up together


def bake(mesh: Mesh, pictures: Pictures, texels: Texels) -> tuple[Mesh, float]:
    """The mesh with a texture in the place of vertex colours, and the share of its texels that some picture sees.

    A texel is the mean of the four views that see it most from the front, weighted by the cosine to the fourth power. Those that
    no view sees take the colour of the closest point in space that is seen and faces the same way; texels outside all faces that
    of the closest texel inside, so that filtering at seams finds no foreign colour.

    Args:
        mesh: with uvs.
        pictures: what it looks like.
        texels: of the mesh, from `find_texels`; their size is that of the texture.

    Raises:
        BadInput: no texel belongs to any face, or no picture sees any of it.
    """
    if not len(texels.place):
        raise BadInput(f"a texture of {texels.size}² has no texel for any of the {len(mesh.faces):,} faces; use a larger --texture, or 0")
    corners = mesh.vertices[mesh.faces]
    normals = functional.normalize(torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), dim=-1)[texels.face]
    colors, seen = _colors(texels.between(corners), normals, pictures, _extent(mesh))
    return replace(mesh, texture=_spread(texels, colors), colors=None), seen


def paint(mesh: Mesh, pictures: Pictures) -> tuple[Mesh, float]:
    """The mesh with vertex colours from pictures, as `bake` finds them for texels, and the share of the vertices that some picture sees.

    Args:
        mesh: its texture is dropped.
        pictures: what it looks like.

    Raises:
        BadInput: no picture sees any of it.
    """
    colors, seen = _colors(mesh.vertices, vertex_normals(mesh), pictures, _extent(mesh))
    return Mesh(mesh.vertices, mesh.faces, colors=colors), seen


def _extent(mesh: Mesh) -> float:
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).norm())


def _colors(
    points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], pictures: Pictures, extent: float
) -> tuple[Float[Tensor, "n 3"], float]:
    """What points on a surface look like, and the share of them that some picture sees."""
    depths = _depths_around(pictures.depth)
    chunks = zip(points.split(AT_ONCE), normals.split(AT_ONCE), strict=True)
    parts = [_look_up(some, facing, pictures, depths, TOLERANCE * extent) for some, facing in chunks]
    colors, weights = (torch.cat(values) for values in zip(*parts, strict=True))
    seen = (weights > 0).numpy()
    if not seen.any():
        raise BadInput("no picture shows any of the surface, so it gets no colours; use another --method or more --views")
    if not seen.all():
        places = torch.cat([points, TURN * extent * normals], 1).numpy()
        _, closest = cKDTree(places[seen]).query(places[~seen])
        colors[~seen] = colors[seen][torch.from_numpy(closest)]
    return colors, float(seen.mean())


def _depths_around(depth: Float[Tensor, "v h w"]) -> Float[Tensor, "v 2 h w"]:
    """The nearest and the farthest depth around each pixel: at a silhouette they differ, and the colour there is a mixture."""
    depth = depth[:, None]
    return torch.cat([-functional.max_pool2d(-depth, 3, 1, 1), functional.max_pool2d(depth, 3, 1, 1)], 1)


def _look_up(
    points: Float[Tensor, "n 3"], normals: Float[Tensor, "n 3"], pictures: Pictures, depths: Float[Tensor, "v 2 h w"], reach: float
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, " n"]]:
    """Weighted mean colour of the best views, and the sum of their weights, 0 where there is none."""
    cameras = pictures.cameras
    grid, depth = project_points(points, cameras)
    around = functional.grid_sample(depths, grid[:, None], mode="nearest", align_corners=False)[:, :, 0]
    met = (around[:, 0] > depth - reach) & (around[:, 1] < depth + reach) & (around[:, 0] > 0)
    towards = functional.normalize(cameras.positions[:, None] - points, dim=-1)
    cosine = (towards * normals).sum(-1).clamp_min(0)
    visible = met & (depth > 0) & (grid.abs() < 1).all(-1)
    weight, best = (cosine**SHARPNESS * visible).topk(min(BEST, len(depth)), 0)
    colors = functional.grid_sample(pictures.rgb.movedim(-1, 1), grid[:, None], align_corners=False, padding_mode="border")[:, :, 0]
    chosen = colors.gather(0, best[:, None].expand(-1, 3, -1))
    total = weight.sum(0)
    return (chosen * weight[:, None]).sum(0).mT / total[:, None].clamp_min(1e-12), total


def _spread(texels: Texels, colors: Float[Tensor, "t 3"]) -> Float[Tensor, "size size 3"]:
    """The texture with every texel filled from the closest one that lies in a face."""
    size = texels.size
    flat = colors.new_zeros(size * size, 3)
    flat[texels.place] = colors
    empty = np.ones(size * size, dtype=bool)
    empty[texels.place.numpy()] = False
    rows, columns = distance_transform_edt(empty.reshape(size, size), return_distances=False, return_indices=True)
    return flat.view(size, size, 3)[torch.from_numpy(rows).long(), torch.from_numpy(columns).long()]
