"""A smooth closed surface through oriented points: screened Poisson reconstruction (Kazhdan and Hoppe 2013), with Open3D."""

import numpy as np
import torch
from jaxtyping import Float
from scipy.spatial import cKDTree
from torch import Tensor

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.pipeline.meshing.cleanup import with_faces
from gen3d.pipeline.meshing.pictures import Pictures
from gen3d.renderers.mesh import Mesh

FEWEST = 100  # points
NEIGHBOURS = 30  # points that a normal is fitted to
SAMPLED = 2  # pixels between points: neighbouring pixels see nearly the same
THREADS = 1  # more of them give other bits each time


def poisson_mesh(pictures: Pictures, *, voxel: float, depth: int = 8, reach: float = 0.0) -> Mesh:
    """The surface through what the pictures see of the splats, closed where no view looked, with vertex colours.

    Points are the pixels' median depths, thinned to one for each voxel; their normals are fitted to the points around, and face
    the cameras. Splats' own axes would be no better: many a fit is a fog of needles that point anywhere.

    Args:
        pictures: median depths and colours.
        voxel: distance between points, scene units.
        depth: of the octree; its finest cells are 1.1 times the size / 2^depth.
        reach: faces farther than this from every point are cut away, scene units; 0 cuts nothing and leaves the surface closed.

    Raises:
        BadInput: there are too few points for a surface.
        MissingDependency: Open3D is not installed.
    """
    o3d = require("open3d", extra="mesh", purpose="Poisson reconstruction")
    points, towards, colors = _points(pictures)
    cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(points))
    cloud.normals, cloud.colors = o3d.utility.Vector3dVector(towards), o3d.utility.Vector3dVector(colors)
    cloud = cloud.voxel_down_sample(voxel)
    if len(cloud.points) < FEWEST:
        raise BadInput(f"the views see {len(cloud.points)} points and a smooth surface needs at least {FEWEST}; use a larger --resolution")
    towards = np.asarray(cloud.normals).copy()
    cloud.estimate_normals(o3d.geometry.KDTreeSearchParamKNN(NEIGHBOURS))
    normals = np.asarray(cloud.normals)
    normals[(normals * towards).sum(1) < 0] *= -1
    surface, _ = o3d.geometry.TriangleMesh.create_from_point_cloud_poisson(cloud, depth=depth, n_threads=THREADS)
    vertices, faces = np.asarray(surface.vertices), np.asarray(surface.triangles)
    if not len(faces):
        raise BadInput(f"no surface goes through the {len(cloud.points):,} points that the views see; use --method density")
    distance, closest = cKDTree(np.asarray(cloud.points)).query(vertices)
    shades = torch.from_numpy(np.asarray(cloud.colors)[closest]).float().clamp(0, 1)
    mesh = Mesh(torch.from_numpy(vertices).float(), torch.from_numpy(faces).long(), colors=shades)
    return with_faces(mesh, mesh.faces[torch.from_numpy((distance <= reach)[faces].all(1))]) if reach else mesh


def _points(pictures: Pictures) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"], Float[np.ndarray, "n 3"]]:
    """Every second pixel's place in the world, the direction to its camera, and its colour."""
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    cameras = pictures.cameras
    height, width = pictures.depth.shape[1:]
    rows, columns = torch.meshgrid(torch.arange(0, height, SAMPLED), torch.arange(0, width, SAMPLED), indexing="ij")
    pixels = torch.stack([columns + 0.5, rows + 0.5, torch.ones_like(rows)], -1)
    for view, (matrix, pose) in enumerate(zip(cameras.intrinsics, cameras.world_to_camera, strict=True)):
        depth = pictures.depth[view, ::SAMPLED, ::SAMPLED]
        seen = depth > 0
        local = (pixels @ torch.linalg.inv(matrix).mT * depth[..., None])[seen]
        places = (local - pose[:3, 3]) @ pose[:3, :3]
        towards = torch.nn.functional.normalize(cameras.positions[view] - places, dim=-1)
        parts.append((places, towards, pictures.rgb[view, ::SAMPLED, ::SAMPLED][seen]))
    points, directions, colors = (torch.cat(values).double().numpy() for values in zip(*parts, strict=True))
    return points, directions, colors
