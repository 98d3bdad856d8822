"""Texture coordinates for a mesh that has none."""

from typing import Any

import numpy as np
import torch

from gen3d.optional import require
from gen3d.renderers.mesh import Mesh

PADDING = 256  # of the texture: its share between charts, but one texel at least, so that filtering and small mipmaps do not mix them
SHRINK = 0.97  # charts are packed again this much smaller than would just fit, until they do
TRIES = 12


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
    atlas = xatlas.Atlas()
    atlas.add_mesh(mesh.vertices.float().numpy(), mesh.faces.numpy().astype(np.uint32))
    atlas.generate(xatlas.ChartOptions(), _packing(xatlas, size))
    source, faces, uvs = atlas.get_mesh(0)
    # xatlas only estimates how large charts may be: what it packs is larger than asked for and not square.
    extent, density = np.array([atlas.width, atlas.height], dtype=np.float32), 1.0
    charts = uvs * extent
    for _ in range(TRIES):
        if extent.max() <= size:
            break
        density *= SHRINK * size / float(extent.max())
        atlas = xatlas.Atlas()
        atlas.add_uv_mesh(charts, faces)
        atlas.generate(xatlas.ChartOptions(), _packing(xatlas, size, density))
        extent = np.array([atlas.width, atlas.height], dtype=np.float32)
    if density < 1:
        again, faces, uvs = atlas.get_mesh(0)
        source = source[again]
    return _mesh(mesh, source, faces, uvs * extent / max(size, float(extent.max())))


def _packing(xatlas: Any, size: int, density: float = 0.0) -> Any:
    """Options of a square atlas; a density of 0 lets xatlas choose one."""
    packing = xatlas.PackOptions()
    packing.resolution, packing.padding, packing.bilinear, packing.texels_per_unit = size, max(1, size // PADDING), True, density
    return packing


def _mesh(mesh: Mesh, source: np.ndarray, faces: np.ndarray, uvs: np.ndarray) -> Mesh:
    """The mesh with its vertices doubled as charts need them."""
    chosen = torch.from_numpy(source.astype(np.int64))
    return Mesh(
        mesh.vertices[chosen],
        torch.from_numpy(faces.astype(np.int64)),
        torch.from_numpy(uvs.astype(np.float32)),
        colors=None if mesh.colors is None else mesh.colors[chosen],
    )
