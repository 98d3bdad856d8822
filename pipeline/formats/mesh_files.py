"""Every mesh file format that is written, by its suffix, and writing meshes of the world frame."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from gen3d.errors import Gen3DError, UsageError
from gen3d.files import atomic_path
from gen3d.pipeline.formats import glb, mesh_ply, obj, stl
from gen3d.pipeline.formats.mesh_contents import Encoded, MeshContents
from gen3d.renderers.frames import WORLD_TO_MESH_AXES, turn_mesh, world_to_axes
from gen3d.renderers.mesh import Mesh, open_edges, vertex_normals


@dataclass(frozen=True, slots=True)
class MeshFormat:
    """How one kind of file is written.

    Attributes:
        name: short name.
        description: one line for people.
        axes: those that programs expect.
        encode: makes the files of a mesh.
        fixed: the standard has these axes only.
        solid: for closed surfaces; open ones are written when forced.
        textured: keeps a texture.
        beside: names of the files that are written beside one with a given stem.
    """

    name: str
    description: str
    axes: str
    encode: Callable[[MeshContents], Encoded]
    fixed: bool = False
    solid: bool = False
    textured: bool = False
    beside: Callable[[str], tuple[str, ...]] = lambda stem: ()


# Importers turn glTF and OBJ from +Y up to their own axes by themselves. STL is for printers, which build along +Z. Nobody turns
# PLY: most viewers look at it with +Y up (MeshLab, Open3D, three.js), Blender does not and wants zup.
MESH_FORMATS: dict[str, MeshFormat] = {
    ".glb": MeshFormat(
        "glb", "binary glTF 2.0: texture, vertex colours, normals in one file", "gltf", glb.encode, fixed=True, textured=True
    ),
    ".obj": MeshFormat(
        "obj", "Wavefront OBJ: texture in a PNG and a material file beside it", "gltf", obj.encode, textured=True, beside=obj.beside
    ),
    ".ply": MeshFormat("ply", "PLY of triangles: vertex colours and normals", "gltf", mesh_ply.encode),
    ".stl": MeshFormat("stl", "binary STL for printing: closed surfaces without colour", "zup", stl.encode, solid=True),
}


@dataclass(frozen=True, slots=True)
class MeshFileFacts:
    """What was written.

    Attributes:
        format: name of the format.
        vertices: of the mesh; STL repeats them for every face.
        faces: triangles.
        axes: of the file.
        bytes: size of the file and of those beside it.
        comments: what the format could not keep.
    """

    format: str
    vertices: int
    faces: int
    axes: str
    bytes: int
    comments: tuple[str, ...] = ()


def write_mesh(path: str | Path, mesh: Mesh, *, axes: str | None = None, unit: str = "unitless", force: bool = False) -> MeshFileFacts:
    """Write a mesh of the world frame in the format of the suffix, with smooth normals; the file appears whole or not at all.

    The picture and the material file of an OBJ take its name and are written before it.

    Args:
        path: the file; its suffix is a key of `MESH_FORMATS`.
        mesh: in the world (right-handed, +Y up, front +Z), on any device; uvs without a texture are left out.
        axes: those of the file, a key of `WORLD_TO_MESH_AXES`; None takes what programs expect of the format.
        unit: what one scene unit is; it goes into the header.
        force: write a surface with open edges even as STL.

    Raises:
        UsageError: the suffix or the axes are not known or do not go together, or the format is for closed surfaces and this is open.
        Gen3DError: the mesh has no faces or is broken, or the file cannot be written.
    """
    target = Path(path)
    kind, axes = check_target(target, axes)
    turned = turn_mesh(_checked(mesh, target), world_to_axes(axes))
    gaps, edges = open_edges(turned)
    if gaps and kind.solid and not force:
        raise UsageError(
            f"{target} was not written: {gaps:,} of the surface's {edges:,} edges are open, and only what has an inside can be printed; "
            "--watertight closes it, --force writes it as it is"
        )
    contents = MeshContents(turned, vertex_normals(turned), not gaps, axes, " ".join(unit.split()), target.stem)
    encoded = kind.encode(contents)
    with ExitStack() as stack:  # renames in reverse order: the file that names the others comes last
        for name, content in {target.name: encoded.content, **encoded.beside}.items():
            stack.enter_context(atomic_path(target.with_name(name))).write_bytes(content)
    size = sum(map(len, (encoded.content, *encoded.beside.values())))
    return MeshFileFacts(kind.name, len(mesh.vertices), len(mesh.faces), axes, size, encoded.comments)


def check_target(path: Path, axes: str | None) -> tuple[MeshFormat, str]:
    """The format of a file and its axes, before any work is done for it.

    Raises:
        UsageError: the suffix or the axes are not known or do not go together.
    """
    kind = MESH_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path} does not end in {' or '.join(MESH_FORMATS)}, the mesh files that are written; rename it")
    axes = axes or kind.axes
    if axes not in WORLD_TO_MESH_AXES:
        raise UsageError(f"the axes {axes!r} are not known; choose one of {', '.join(WORLD_TO_MESH_AXES)}")
    if kind.fixed and axes != kind.axes:
        raise UsageError(f"{path} cannot have the axes {axes}: glTF is +Y up by its standard and every program turns it; leave them out")
    return kind, axes


def _checked(mesh: Mesh, path: Path) -> Mesh:
    """The mesh on the CPU in the types of files, with uvs and texture or neither."""
    if not len(mesh.faces):
        raise Gen3DError(f"the mesh has no faces, so {path} was not written; extract it again with other settings")
    textured = mesh.uvs is not None and mesh.texture is not None
    parts = {"vertices": mesh.vertices, "colors": mesh.colors, **({"uvs": mesh.uvs, "texture": mesh.texture} if textured else {})}
    given = {name: part.detach().to("cpu", torch.float32) for name, part in parts.items() if part is not None}
    for name, part in given.items():
        if broken := int((~part.isfinite()).sum()):
            raise Gen3DError(f"{broken:,} numbers of the mesh's {name} are not finite, so {path} was not written; clean the mesh first")
    faces, count = mesh.faces.detach().to("cpu", torch.int64), len(mesh.vertices)
    low, high = int(faces.min()), int(faces.max())
    if low < 0 or high >= count:
        wrong = low if low < 0 else high
        raise Gen3DError(f"a face names vertex {wrong} and there are {count:,}, so {path} was not written; mend the mesh first")
    return Mesh(faces=faces, **given)
