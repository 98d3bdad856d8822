"""Outlines: where pictures show the thing against nothing. They say how large it is more exactly than depths do."""

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gen3d.pipeline.meshing.cleanup import with_faces
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.projecting import project_points
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.mesh_renderer import render_mesh

COMPARED = 12  # views whose outlines decide
FARTHEST = 8.0  # voxels that depths are brought forward at most
COARSE, FINE = 2.0, 1.0  # voxels between trials
OUTSIDE = 2  # views that must see past a vertex before it goes: one may look through a hole between splats


def outline_error(mesh: Mesh, pictures: Pictures) -> float:
    """The share of pixels that the mesh covers and the thing does not, or the other way round."""
    drawn = render_mesh(Mesh(mesh.vertices, mesh.faces), pictures.cameras, supersample=1)
    return float(((drawn.alpha > 0) != (pictures.depth > 0)).float().mean())


def best_forward(extract: Callable[[Pictures], Mesh], pictures: Pictures, voxel: float) -> tuple[Mesh, float]:
    """The surface from depths that are brought towards the cameras by as much as makes it fill the outlines best.

    Splats are soft: half of a pixel's light is absorbed up to four voxels behind the surface that their outline shows, so that
    fused median depths give too thin a thing. How much too thin depends on the fit, but hardly on the place.

    Args:
        extract: pictures to surface.
        pictures: with real outlines, not those of a crop.
        voxel: scene units.

    Returns:
        the mesh, and the distance in scene units.
    """
    few = pictures.spread(COMPARED)
    tried: dict[float, tuple[float, Mesh]] = {}

    def error(forward: float) -> float:
        if not 0 <= forward <= FARTHEST:
            return float("inf")
        if forward not in tried:
            mesh = extract(forwarded(pictures, forward * voxel))
            tried[forward] = outline_error(mesh, few), mesh
        return tried[forward][0]

    best = 0.0
    for step in (COARSE, FINE):
        while True:
            lower, upper = error(best - step), error(best + step)
            if min(lower, upper) >= error(best):
                break
            best += step if upper < lower else -step
    return tried[best][1], best * voxel


def forwarded(pictures: Pictures, distance: float) -> Pictures:
    """Pictures whose depths are nearer by a distance in scene units."""
    return replace(pictures, depth=torch.where(pictures.depth > 0, (pictures.depth - distance).clamp_min(1e-6), 0.0))


def within_outlines(mesh: Mesh, pictures: Pictures, *, reach: float) -> Mesh:
    """The mesh without faces that at least two views see past: they would be floating beside the thing.

    Args:
        mesh: without a texture.
        pictures: with real outlines, not those of a crop.
        reach: scene units that a vertex may lie outside.
    """
    outside = torch.zeros(len(mesh.vertices))
    for view in range(len(pictures.depth)):
        one = pictures.select([view])
        pixels, depth = project_points(mesh.vertices, one.cameras)
        around = reach * float(one.cameras.intrinsics[0, 0, 0]) / float(depth[0].clamp_min(1e-6).median())
        width = 2 * round(around) + 1
        solid = functional.max_pool2d((one.depth > 0).float()[:, None], width, 1, width // 2)
        covered = functional.grid_sample(solid, pixels[:, None], mode="nearest", align_corners=False)[0, 0, 0]
        seen = (pixels[0].abs() < 1).all(-1) & (depth[0] > 0)
        outside += seen & (covered == 0)
    return with_faces(mesh, mesh.faces[(outside[mesh.faces] < OUTSIDE).all(1)])


def traced(pictures: Pictures, mesh: Mesh) -> Pictures:
    """The pictures with the depths of the mesh where they see the thing: they tell which part of the mesh a pixel shows."""
    drawn: Float[Tensor, "v h w"] = render_mesh(Mesh(mesh.vertices, mesh.faces), pictures.cameras, supersample=1).depth
    return replace(pictures, depth=torch.where(pictures.depth > 0, drawn, 0.0))
