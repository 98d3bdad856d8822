"""Meshes as PLY, binary little endian: positions, smooth normals, 8-bit display-referred colours, triangles."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from gen3d.pipeline.formats.images import to_uint8
from gen3d.pipeline.formats.mesh_contents import Encoded, MeshContents
from gen3d.renderers.mesh import Mesh, sample_texture

POSITION, NORMAL, COLOR = ("x", "y", "z"), ("nx", "ny", "nz"), ("red", "green", "blue")


def encode(contents: MeshContents) -> Encoded:
    """The mesh as a PLY file; colours of a texture are kept where the vertices are."""
    mesh, colors = contents.mesh, _colors(contents.mesh)
    rows = np.dtype([*((name, "<f4") for name in (*POSITION, *NORMAL)), *((name, "u1") for name in COLOR if colors is not None)])
    vertices = np.empty(len(mesh.vertices), rows)
    tables = [(POSITION, mesh.vertices), (NORMAL, contents.normals), *([] if colors is None else [(COLOR, to_uint8(colors))])]
    for names, table in tables:
        for name, column in zip(names, table.unbind(-1), strict=True):
            vertices[name] = column.numpy()
    faces = np.empty(len(mesh.faces), [("count", "u1"), ("corners", "<i4", 3)])
    faces["count"], faces["corners"] = 3, mesh.faces.numpy()
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {label}" for label in contents.labels())]
    header += [f"element vertex {len(vertices)}"]
    header += [f"property {'uchar' if rows[name] == np.uint8 else 'float'} {name}" for name in rows.names or ()]
    header += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", ""]
    return Encoded("\n".join(header).encode() + vertices.tobytes() + faces.tobytes(), {}, _lost(mesh))


def _colors(mesh: Mesh) -> Float[Tensor, "n 3"] | None:
    """The surface's colours at the vertices."""
    if mesh.texture is None or mesh.uvs is None:
        return mesh.colors
    own = sample_texture(mesh.texture[..., :3], mesh.uvs)
    return own if mesh.colors is None else own * mesh.colors


def _lost(mesh: Mesh) -> tuple[str, ...]:
    if mesh.texture is None:
        return ()
    cut = ("PLY has no cut-outs, so what the texture hides is seen",) if mesh.texture.shape[-1] == 4 else ()
    return ("PLY has no texture, so its colours were taken at the vertices and detail between them is lost", *cut)
