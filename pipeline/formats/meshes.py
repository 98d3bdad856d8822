"""Reading textured meshes of the common formats through trimesh."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from gen3d.errors import BadInput, UsageError
from gen3d.files import read_bytes
from gen3d.pipeline.formats.beside import Beside
from gen3d.pipeline.formats.colors import linear_to_display
from gen3d.pipeline.formats.gltf_sizes import check_gltf
from gen3d.pipeline.formats.images import MAX_PIXELS, READ_FORMATS
from gen3d.pipeline.formats.mesh_contents import named_axes
from gen3d.renderers.frames import WORLD_TO_MESH_AXES, turn_mesh, world_to_axes
from gen3d.renderers.mesh import Mesh, sample_texture

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
GLTF = SUFFIXES[:2]
LIMIT = 1024**3
PLY_HEADER = 65_536  # bytes that are looked through for the elements


@dataclass(frozen=True, slots=True)
class Part:
    """One geometry of a file, placed in the scene.

    Attributes:
        vertices: float64 `[n, 3]`.
        faces: int64 `[f, 3]`.
        uvs: float64 `[n, 2]` or None; without a texture they are of no use.
        texture: float32 `[h, w, 3 or 4]` or None.
        digest: what tells one texture from another; None without.
        colors: float32 `[n, 3]` vertex colours or factors of the texture, or None for white.
    """

    vertices: Tensor
    faces: Tensor
    uvs: Tensor | None
    texture: Tensor | None
    digest: str | None
    colors: Tensor | None


def is_mesh(path: str | Path) -> bool:
    """Whether a file holds a surface rather than splats, by its suffix and, as PLY may be either, by its header.

    Raises:
        BadInput: the file cannot be read.
    """
    source = Path(path)
    if source.suffix.lower() != ".ply":
        return source.suffix.lower() in SUFFIXES
    try:
        with source.open("rb") as stream:
            header = stream.read(PLY_HEADER)
    except OSError as error:
        raise BadInput(f"{source} cannot be read: {error.strerror or error}; check the path") from error
    return b"\nelement face" in header.split(b"end_header")[0]


def read_mesh(path: str | Path, axes: str | None = None) -> Mesh:
    """Read a mesh: every part of the scene graph placed, base colours only, in one piece, and turned into the world where it says how.

    One texture stays a texture. Where parts have different textures, or only some have one, the colours are taken at the vertices,
    and detail between the vertices is lost. Colour factors and vertex colours of glTF are linear and become display-referred here.
    Opacity is dropped, except that of a glTF texture whose material asks for it (`alphaMode` MASK or BLEND).

    Args:
        path: GLB, glTF, OBJ, PLY or STL; files that it names (buffers, materials, pictures) are looked for in its folder only.
        axes: those of the file, a key of `WORLD_TO_MESH_AXES`; None believes the headers that `write_mesh` writes and leaves the
            files of others as they stand.

    Raises:
        BadInput: the file is missing, of another format, broken, larger than 1 GiB, or has no faces or too large a picture.
        UsageError: `axes` is not known.
    """
    if axes is not None and axes not in WORLD_TO_MESH_AXES:
        raise UsageError(f"the axes {axes!r} are not known; choose one of {', '.join(WORLD_TO_MESH_AXES)}")
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"{source} ends in {suffix or 'no suffix'!r}; meshes are read from {', '.join(SUFFIXES)}")
    data = read_bytes(source, limit=LIMIT)
    axes = axes or (None if suffix in GLTF else named_axes(data)) or "gltf"
    if axes not in WORLD_TO_MESH_AXES:
        raise BadInput(f"{source} says that its axes are {axes!r}; name them yourself, one of {', '.join(WORLD_TO_MESH_AXES)}")
    import trimesh

    beside: Any = Beside(source.parent, LIMIT)
    try:
        if suffix in GLTF:
            check_gltf(data, str(source))
        scene: Any = trimesh.load(io.BytesIO(data), file_type=suffix[1:], resolver=beside, force="scene", process=False)
        parts = [
            _part(scene.geometry[name], np.asarray(transform), linear=suffix in GLTF)
            for transform, name in (scene.graph[node] for node in scene.graph.nodes_geometry)
            if isinstance(scene.geometry[name], trimesh.Trimesh)
        ]
    except BadInput:
        raise
    except Exception as error:  # readers of files from strangers raise anything
        raise BadInput(f"{source} is not a readable {suffix[1:]} file: {error or type(error).__name__}; export it again") from error
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise BadInput(f"{source} has no faces; give a triangle mesh, not points or lines")
    for part in parts:
        if not bool(part.vertices.float().isfinite().all()):
            raise BadInput(f"{source} has vertices that are not finite in 32 bits; repair it in a mesh editor and export it again")
        if int(part.faces.min()) < 0 or int(part.faces.max()) >= len(part.vertices):
            raise BadInput(f"{source} has faces that name vertices beyond its {len(part.vertices)}; export it again")
    return turn_mesh(_joined(parts), world_to_axes(axes).mT)


def _part(geometry: Any, transform: np.ndarray, *, linear: bool) -> Part:
    """A trimesh geometry with its place in the scene; `linear` says how colour factors are meant."""
    with np.errstate(all="ignore"):  # the reader looks at the result
        vertices = np.asarray(geometry.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
        mirrored = np.linalg.det(transform[:3, :3]) < 0
    faces = np.asarray(geometry.faces, np.int64).reshape(-1, 3)
    if mirrored:
        faces = faces[:, ::-1]
    visual, colors, texture, uvs, digest = geometry.visual, None, None, None, None
    if visual.kind == "face":
        colors = _display(visual.face_colors, linear=linear).repeat_interleave(3, 0)
        vertices, faces = vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)
    elif visual.kind == "vertex":
        colors = _display(visual.vertex_colors, linear=linear)
    elif visual.kind == "texture":
        image, factor = _material(visual.material)
        if image is not None and np.shape(visual.uv) == (len(vertices), 2):
            pixels = np.array(image)
            texture, uvs = torch.from_numpy(pixels).float() / 255, torch.from_numpy(np.array(visual.uv, np.float64))
            uvs = torch.where(uvs.float().isfinite(), uvs, 0.0)
            digest = hashlib.sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        if factor is not None:
            colors = _display(factor, linear=linear).expand(len(vertices), 3)
        if (attribute := visual.vertex_attributes.get("color")) is not None:
            own = _display(attribute, linear=linear)
            colors = own if colors is None else own * colors
    return Part(torch.from_numpy(vertices), torch.from_numpy(faces.copy()), uvs, texture, digest, colors)


def _material(material: Any) -> tuple[Any, Any]:
    """The base-colour picture of a trimesh material and its colour factor; None for what is missing."""
    if hasattr(material, "baseColorTexture"):
        picture, factor = material.baseColorTexture, material.baseColorFactor
        mode = "RGBA" if material.alphaMode in ("MASK", "BLEND") else "RGB"
        return picture and _decoded(picture, mode), factor
    picture = getattr(material, "image", None)
    # A diffuse colour beside a picture is left by many exporters and shown by few programs.
    return (_decoded(picture, "RGB"), None) if picture is not None else (None, getattr(material, "diffuse", None))


def _decoded(picture: Any, mode: str) -> Any:
    """The pixels of a picture that trimesh has opened and, unless it has made the picture itself, not yet decoded."""
    if picture.width * picture.height > MAX_PIXELS:
        raise ValueError(f"it has a picture of {picture.width}x{picture.height} pixels and at most {MAX_PIXELS:,} are read")
    if picture.format not in (None, *READ_FORMATS):
        raise ValueError(f"it has a picture of the kind {picture.format}; {', '.join(READ_FORMATS)} are read")
    return picture.convert(mode)


def _display(values: Any, *, linear: bool) -> Float[Tensor, "*b 3"]:
    """Colours of any integer or float type as display-referred sRGB in [0, 1]."""
    raw = np.asarray(values)[..., :3]
    scaled = raw / np.iinfo(raw.dtype).max if raw.dtype.kind in "ui" else raw
    color = torch.from_numpy(np.array(scaled, np.float32)).nan_to_num(0.0).clamp(0, 1)
    return linear_to_display(color) if linear else color


def _joined(parts: list[Part]) -> Mesh:
    """All parts as one mesh."""
    offsets = np.cumsum([0, *(len(part.vertices) for part in parts[:-1])])
    vertices = torch.cat([part.vertices for part in parts]).float()
    faces = torch.cat([part.faces + int(offset) for part, offset in zip(parts, offsets, strict=True)])
    uvs, texture = None, None
    if parts[0].digest is not None and len({part.digest for part in parts}) == 1:
        texture, uvs = parts[0].texture, torch.cat([part.uvs for part in parts if part.uvs is not None]).float()
    else:
        parts = [_baked(part) for part in parts]
    colors = None
    if any(part.colors is not None for part in parts):
        colors = torch.cat([torch.ones(len(part.vertices), 3) if part.colors is None else part.colors for part in parts])
    return Mesh(vertices, faces, uvs, texture, colors)


def _baked(part: Part) -> Part:
    """The part with its texture's colours at the vertices."""
    if part.texture is None or part.uvs is None:
        return part
    own = sample_texture(part.texture[..., :3], part.uvs)
    return Part(part.vertices, part.faces, None, None, None, own if part.colors is None else own * part.colors)
