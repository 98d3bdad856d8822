"""A smooth surface through oriented splats: screened Poisson reconstruction (Kazhdan and Hoppe 2013), with Open3D.

Every splat that pictures see gives five points, its centre and the ends of its longer axes, with its shortest axis as normal.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.pipeline.formats.contents import visible
from gen3d.pipeline.meshing.cleanup import with_faces
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.pipeline.meshing.projecting import project_points
from gen3d.pipeline.paths import robust_box
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.harmonics import sh0_to_rgb
from gen3d.renderers.mesh import Mesh
from gen3d.renderers.quaternions import quaternion_to_matrix

AROUND = 16  # splats that tell the normal of a round one, and the fewest that make a surface
# Of the robust box's diagonal. Half of a pixel's light is absorbed behind most of what is seen, so splats lie in front of median
# depths; four fits were tried with 0.01 to 0.03 in front and -0.003 to 0.01 behind.
FRONT, BEHIND = 0.03, 0.003
PAST = 0.05  # of the same: how far in front of a median depth nothing can be
CONTRADICTED = 2  # views that must see past a vertex
MIXED = 4  # splats whose colours a vertex mixes
REPEATABLE = 1  # threads; with several, sums have another order each time


def poisson_mesh(gaussians: Gaussians, pictures: Pictures, *, depth: int = 8, outward: float = 0.0, trim: float = 0.1) -> Mesh:
    """The surface whose normals are those of the splats that pictures see, with vertex colours of degree 0.

    Faint splats count like opaque ones: many fits have hardly any that are opaque.

    Args:
        gaussians: unbatched splats `[n]` of an object.
        pictures: what they look like; median depths.
        depth: of the octree; details below 2^-depth of the surface's size are lost.
        outward: scene units that points are moved along their normals. Splats are drawn wider than they are, so that their centres
            lie behind the outline that they draw, in three of four fits to 256 pixels by about 0.0025 of the size.
        trim: share of the vertices, those with the fewest points around, that are cut away where at least two views see past them.
            0 leaves the surface closed but for the border of the octree, and bridges everything that no splat covers.

    Raises:
        ValueError: depth is not in [1, 12] or trim not in [0, 1].
        BadInput: the pictures see fewer than 16 of the splats.
        MissingDependency: Open3D is not installed.
    """
    if not 1 <= depth <= 12:
        raise ValueError(f"depth is {depth}; an octree that fits into memory has 1 to 12 levels")
    if not 0 <= trim <= 1:
        raise ValueError(f"trim is {trim}; it is a share of the vertices, from 0 to 1")
    o3d = require("open3d", extra="mesh", purpose="Poisson reconstruction")
    gaussians = gaussians.select(visible(gaussians)).detach().to("cpu")
    lower, upper = robust_box(gaussians) if gaussians.count else (torch.zeros(3), torch.zeros(3))
    size = float((upper - lower).norm())
    points, splat, towards = _seen_points(gaussians, pictures, size)
    owners = splat.unique()
    if len(owners) < AROUND:
        raise BadInput(
            f"the pictures see {len(owners)} splats and a Poisson surface needs at least {AROUND}; "
            "do the cameras look at the splats? A level set of the density needs fewer"
        )
    normals = _normals(gaussians, owners, towards)[splat]
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector((points + outward * normals).double().numpy()))
    cloud.normals = o3d.utility.Vector3dVector(normals.double().numpy())
    surface, support = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=REPEATABLE)
    vertices = torch.from_numpy(np.asarray(surface.vertices)).to(gaussians.means)
    mesh = Mesh(vertices, torch.from_numpy(np.asarray(surface.triangles)).long(), colors=_colors(vertices, gaussians.select(owners)))
    few = np.asarray(support)
    lonely = torch.from_numpy(few <= np.quantile(few, trim)) if trim else torch.zeros(len(vertices), dtype=torch.bool)
    lonely[lonely.clone()] = _seen_past(vertices[lonely], pictures, PAST * size)
    return with_faces(mesh, mesh.faces[~lonely[mesh.faces].any(1)])


def _seen_points(
    gaussians: Gaussians, pictures: Pictures, size: float
) -> tuple[Float[Tensor, "p 3"], Int[Tensor, " p"], Float[Tensor, "n 3"]]:
    """Points of splats near what pictures see, the splats' numbers, and for all splats the mean direction to the views that see them."""
    axes = quaternion_to_matrix(gaussians.quats) * gaussians.scales[:, None]
    longer = gaussians.scales.argsort(-1)[:, 1:]
    ends = axes.gather(2, longer[:, None].expand(-1, 3, -1)).mT
    points = gaussians.means[:, None] + torch.cat([torch.zeros_like(ends[:, :1]), ends, -ends], 1)
    seen = torch.zeros(points.shape[:2], dtype=torch.bool)
    towards = torch.zeros_like(gaussians.means)
    for view in range(len(pictures.depth)):
        behind, inside = _behind(points.flatten(0, 1), pictures.select([view]))
        near = (inside & (behind > -FRONT * size) & (behind < BEHIND * size)).view_as(seen)
        seen |= near
        direction = functional.normalize(pictures.cameras.positions[view] - gaussians.means, dim=-1)
        towards += direction * near.any(1)[:, None]
    return points[seen], seen.nonzero()[:, 0], towards


def _behind(points: Float[Tensor, "n 3"], picture: Pictures) -> tuple[Float[Tensor, " n"], Bool[Tensor, " n"]]:
    """How far points lie behind what a view sees, and whether it sees anything there. Where it does not, they lie in front."""
    pixels, depth = project_points(points, picture.cameras)
    met = functional.grid_sample(picture.depth[:, None], pixels[:, None], mode="nearest", align_corners=False)[0, 0, 0]
    inside = (pixels[0].abs() < 1).all(-1) & (depth[0] > 0)
    return torch.where(met > 0, depth[0] - met, -torch.inf), inside


def _seen_past(points: Float[Tensor, "n 3"], pictures: Pictures, reach: float) -> Bool[Tensor, " n"]:
    """Whether at least two views see something farther away than points, or nothing at all."""
    # The nearest of the pixels around decides: at an outline, nothing and what lies far behind are just beside the thing.
    filled = torch.where(pictures.depth > 0, pictures.depth, torch.inf)
    nearest = -functional.max_pool2d(-filled[:, None], 3, 1, 1)[:, 0]
    wide = torch.where(nearest.isfinite(), nearest, 0.0)
    views = torch.zeros(len(points))
    for view in range(len(wide)):
        behind, inside = _behind(points, Pictures(pictures.cameras.select([view]), pictures.rgb[view, None], wide[view, None]))
        views += inside & (behind < -reach)
    return views >= CONTRADICTED


def _normals(gaussians: Gaussians, owners: Int[Tensor, " m"], towards: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Unit normals of the owners, 0 elsewhere: the shortest axis as far as the splat is flat, the plane of its neighbours otherwise."""
    chosen = gaussians.select(owners)
    shortest = chosen.scales.argmin(-1)[:, None, None].expand(-1, 3, 1)
    axis = quaternion_to_matrix(chosen.quats).gather(2, shortest)[..., 0]
    ordered = chosen.scales.sort(-1).values
    flat = 1 - ordered[:, :1] / ordered[:, 1:2].clamp_min(1e-30)
    _, around = cKDTree(chosen.means.numpy()).query(chosen.means.numpy(), k=AROUND)
    offsets = chosen.means[torch.from_numpy(around)] - chosen.means[:, None]
    offsets = (offsets - offsets.mean(1, keepdim=True)).double()
    plane = torch.linalg.eigh(offsets.mT @ offsets).eigenvectors[..., 0].to(axis)
    axis, plane = (torch.where((each * towards[owners]).sum(-1, keepdim=True) < 0, -each, each) for each in (axis, plane))
    normals = torch.zeros_like(gaussians.means)
    normals[owners] = functional.normalize(flat * axis + (1 - flat) * plane, dim=-1)
    return normals


def _colors(vertices: Float[Tensor, "n 3"], gaussians: Gaussians) -> Float[Tensor, "n 3"]:
    """Colours of the closest splats, weighted by opacity and nearness."""
    distance, closest = (torch.from_numpy(each) for each in cKDTree(gaussians.means.numpy()).query(vertices.numpy(), k=MIXED))
    weight = gaussians.opacities[closest] / distance.clamp_min(1e-12).to(vertices)
    colors = sh0_to_rgb(gaussians.sh[:, 0]).clamp(0, 1)[closest]
    return (colors * weight[..., None]).sum(1) / weight.sum(1, keepdim=True)
