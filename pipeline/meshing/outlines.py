"""Outlines: where pictures show the thing against nothing. They say how large it is more exactly than depths do."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from gen3d.pipeline.meshing.cleanup import with_faces
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.projecting import project_points
from gen3d.renderers.mesh import Mesh, vertex_normals
from gen3d.renderers.mesh_renderer import render_mesh

COMPARED = 8  # views whose outlines decide
FARTHEST = 8.0  # voxels that depths or surfaces are moved at most
FORWARD_STEPS, OUTWARD_STEPS = (2.0, 1.0, 0.5), (0.5, 0.25)  # voxels between trials, coarse to fine
SEARCHED = 40  # views that depths are fused of while searching
OUTWARD, MOVED = 1.0, 0.5  # voxels that the search of `best_outward` starts from, and that vertices are moved at most
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
    few, some = pictures.spread(COMPARED), pictures.spread(SEARCHED)

    def error(forward: float) -> float:
        return outline_error(extract(forwarded(some, forward * voxel)), few)

    forward = _lowest(error, 0.0, FORWARD_STEPS) * voxel
    return extract(forwarded(pictures, forward)), forward


def best_outward(extract: Callable[[float], Mesh], pictures: Pictures, voxel: float) -> tuple[Mesh, float]:
    """The surface through points that are moved along their normals by as much as makes it fill the outlines best.

    Splats are drawn wider than they are, so that their centres lie behind the outline that they draw. What a surface through moved
    points looks like is foretold by moving the vertices of another one, which takes a tenth of the time and, up to half a voxel, is as
    good.

    Args:
        extract: distance in scene units to surface.
        pictures: with real outlines, not those of a crop.
        voxel: scene units.

    Returns:
        the mesh, and the distance in scene units.
    """
    few = pictures.spread(COMPARED)
    first = extract(OUTWARD * voxel)
    normals = vertex_normals(first)

    def moved(outward: float) -> Mesh:
        return replace(first, vertices=first.vertices + (outward - OUTWARD) * voxel * normals)

    outward = _lowest(lambda outward: outline_error(moved(outward), few), OUTWARD, OUTWARD_STEPS)
    return moved(outward) if abs(outward - OUTWARD) <= MOVED else extract(outward * voxel), outward * voxel


def _lowest(error: Callable[[float], float], start: float, steps: Sequence[float]) -> float:
    """Where an error is lowest in [0, `FARTHEST`], downhill from a start; each place is tried once."""
    tried: dict[float, float] = {}

    def at(place: float) -> float:
        if not 0 <= place <= FARTHEST:
            return math.inf
        if place not in tried:
            tried[place] = error(place)
        return tried[place]

    best = start
    for step in steps:
        while at(lower := min(best - step, best + step, key=at)) < at(best):
            best = lower
    return best


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
        solid = _widened((one.depth > 0).float()[:, None], min(round(around), one.depth.shape[-1]))
        covered = functional.grid_sample(solid, pixels[:, None], mode="nearest", align_corners=False)[0, 0, 0]
        seen = (pixels[0].abs() < 1).all(-1) & (depth[0] > 0)
        outside += seen & (covered == 0)
    return with_faces(mesh, mesh.faces[(outside[mesh.faces] < OUTSIDE).all(1)])


def _widened(solid: Float[Tensor, "v 1 h w"], pixels: int) -> Float[Tensor, "v 1 h w"]:
    """What is solid, and so many pixels more on each side; first across, then down, which is much quicker than both at once."""
    wide = functional.max_pool2d(solid, (1, 2 * pixels + 1), 1, (0, pixels))
    return functional.max_pool2d(wide, (2 * pixels + 1, 1), 1, (pixels, 0))


def traced(pictures: Pictures, mesh: Mesh) -> Pictures:
    """The pictures with the depths of the mesh where they see the thing: they tell which part of the mesh a pixel shows."""
    drawn: Float[Tensor, "v h w"] = render_mesh(Mesh(mesh.vertices, mesh.faces), pictures.cameras, supersample=1).depth
    return replace(pictures, depth=torch.where(pictures.depth > 0, drawn, 0.0))
