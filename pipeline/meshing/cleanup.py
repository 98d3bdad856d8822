"""Fewer and better faces: parts that matter, and as many faces as are wanted."""

import numpy as np
import torch
from jaxtyping import Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor

from gen3d.optional import require
from gen3d.renderers.mesh import Mesh


def largest_components(mesh: Mesh, share: float) -> Mesh:
    """The parts whose area is at least `share` of the largest one's; faces that share a vertex belong together.

    Args:
        mesh: without a texture; vertices are welded.
        share: in [0, 1]; 1 keeps only the largest part.
    """
    if not len(mesh.faces):
        return mesh
    corners = mesh.vertices[mesh.faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=-1).double().numpy()
    faces, count = mesh.faces.numpy(), len(mesh.vertices)
    edges = np.concatenate([faces[:, :2], faces[:, 1:]])
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    areas = np.bincount(part[faces[:, 0]], weights=area, minlength=part.max() + 1)
    return with_faces(mesh, mesh.faces[torch.from_numpy(areas[part[faces[:, 0]]] >= share * areas.max())])


def decimate(mesh: Mesh, faces: int) -> Mesh:
    """At most `faces` faces by quadric edge collapse (Garland and Heckbert 1997), with Open3D; vertex colours from the closest old vertex.

    A closed mesh stays closed and no edge gets more than two faces, so that a mesh with many handles may keep more faces than were
    asked for. Small parts may vanish.

    Args:
        mesh: without a texture; vertices are welded.
        faces: at least 4.

    Raises:
        ValueError: `faces` is below 4.
        MissingDependency: Open3D is not installed.
    """
    if faces < 4:
        raise ValueError(f"faces is {faces}; the smallest closed mesh has 4")
    if len(mesh.faces) <= faces:
        return mesh
    o3d = require("open3d", extra="mesh", purpose="simplifying meshes")
    whole = o3d.geometry.TriangleMesh(
        o3d.utility.Vector3dVector(mesh.vertices.double().numpy()), o3d.utility.Vector3iVector(mesh.faces.int().numpy())
    )
    small = whole.simplify_quadric_decimation(faces)
    vertices, kept = np.asarray(small.vertices), np.asarray(small.triangles)
    colors = None
    if mesh.colors is not None:
        _, closest = cKDTree(mesh.vertices.numpy()).query(vertices)
        colors = mesh.colors[torch.from_numpy(closest)]
    return Mesh(torch.from_numpy(vertices).to(mesh.vertices), torch.from_numpy(kept).long(), colors=colors)


def with_faces(mesh: Mesh, faces: Int[Tensor, "f 3"]) -> Mesh:
    """The mesh with some of its faces and only the vertices that they use."""
    used, index = faces.unique(return_inverse=True)
    return Mesh(mesh.vertices[used], index.view(-1, 3), colors=None if mesh.colors is None else mesh.colors[used])
