"""Meshes as Wavefront OBJ; a texture stands in a PNG beside it and is named by a material file.

Programs cut names at blanks or take signs in them for commands, so the names of the files beside have letters, digits, _ . - only.
"""

import re

from torch import Tensor

from gen3d.pipeline.formats.images import encode_png
from gen3d.pipeline.formats.mesh_contents import Encoded, MeshContents
from gen3d.renderers.mesh import Mesh


def encode(contents: MeshContents) -> Encoded:
    """The mesh as an OBJ file and, with a texture, NAME.mtl and NAME.png; v runs upwards as in `Mesh`."""
    mesh = contents.mesh
    name = _name(contents.stem)
    lines = [f"# {label}" for label in contents.labels()]
    textured = mesh.texture is not None and mesh.uvs is not None
    if textured:
        lines += [f"mtllib {name}.mtl"]
    lines += [f"o {name}", _rows("v", mesh.vertices, mesh.colors), _rows("vn", contents.normals)]
    corner = "%d//%d"
    if mesh.uvs is not None and textured:
        lines += [_rows("vt", mesh.uvs), f"usemtl {name}"]
        corner = "%d/%d/%d"
    numbers = (mesh.faces + 1).flatten().repeat_interleave(corner.count("d")).tolist()
    lines += [("f" + f" {corner}" * 3 + "\n") * len(mesh.faces) % tuple(numbers)]
    content = "\n".join(lines).encode()
    if mesh.texture is None or not textured:
        return Encoded(content, {})
    material = f"newmtl {name}\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {name}.png\n"
    picture = encode_png(mesh.texture)
    return Encoded(content, dict(zip(beside(contents.stem), (material.encode(), picture), strict=True)), _lost(mesh))


def beside(stem: str) -> tuple[str, str]:
    """Names of the material file and the picture of an OBJ with a texture."""
    return f"{_name(stem)}.mtl", f"{_name(stem)}.png"


def _name(stem: str) -> str:
    return re.sub(r"^-|[^\w.-]", "_", stem)


def _lost(mesh: Mesh) -> tuple[str, ...]:
    colors = ("OBJ does not say how a texture and vertex colours go together: most programs show the texture alone",)
    cut = ("OBJ has no cut-outs: they stay in the picture, and most programs show what they hide",)
    return (*(colors if mesh.colors is not None else ()), *(cut if mesh.texture is not None and mesh.texture.shape[-1] == 4 else ()))


def _rows(word: str, *tables: Tensor | None) -> str:
    """One line for each row of the tables, side by side; nine digits give a float32 back exactly."""
    columns = [column for table in tables if table is not None for column in table.unbind(-1)]
    numbers = [value for row in zip(*(column.tolist() for column in columns), strict=True) for value in row]
    return "\n".join([word + " %.9g" * len(columns)] * len(columns[0])) % tuple(numbers)
