"""Texture coordinates for a mesh that has none."""

import numpy as np
import torch

from gen3d.optional import require
from gen3d.renderers.mesh import Mesh

PADDING = 4  # texels between charts, so that filtering and small mipmaps do not mix them


def unwrap(mesh: Mesh, *, size: int) -> Mesh:
    """Cut the mesh into flat charts and pack them into one square atlas (xatlas); vertices at seams are doubled.

    Takes about five seconds for 20,000 faces, and much longer for many more.

    Args:
        mesh: any; its texture is dropped.
        size: rows and columns of the texture that is meant.

    Raises:
        MissingDependency: xatlas is not installed.
    """
    xatlas = require("xatlas", extra="mesh", purpose="unwrapping meshes")
    atlas, packing = xatlas.Atlas(), xatlas.PackOptions()
    atlas.add_mesh(mesh.vertices.float().numpy(), mesh.faces.numpy().astype(np.uint32))
    packing.resolution, packing.padding, packing.bilinear = size, PADDING, True
    atlas.generate(xatlas.ChartOptions(), packing)
    source, faces, uvs = atlas.get_mesh(0)
    source = torch.from_numpy(source.astype(np.int64))
    return Mesh(
        mesh.vertices[source],
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(uvs.astype(np.float32)),
        colors=None if mesh.colors is None else mesh.colors[source],
    )
