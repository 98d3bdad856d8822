"""Meshes as binary STL: bare triangles, for printing."""

import numpy as np
import torch

from gen3d.pipeline.formats.mesh_contents import Encoded, MeshContents

HEADER = 80  # bytes
TRIANGLE = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])


def encode(contents: MeshContents) -> Encoded:
    """The mesh as an STL file; faces without area have the normal 0, which readers take as unknown."""
    mesh = contents.mesh
    corners = mesh.vertices[mesh.faces]
    a, b, c = corners.double().unbind(1)
    triangles = np.zeros(len(corners), TRIANGLE)
    triangles["normal"] = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-30).numpy()
    triangles["corners"] = corners.numpy()
    header = ", ".join(contents.labels()).encode("ascii", "replace")[:HEADER].ljust(HEADER, b" ")
    count = len(triangles).to_bytes(4, "little")
    colored = mesh.colors is not None or mesh.texture is not None
    return Encoded(header + count + triangles.tobytes(), {}, ("STL has no colours, so they were left out",) if colored else ())
