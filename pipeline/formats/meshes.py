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

from gen3d.errors import BadInput
from gen3d.files import read_bytes
from gen3d.pipeline.formats.images import MAX_PIXELS, READ_FORMATS
from gen3d.renderers.mesh import Mesh, sample_texture

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl")
LIMIT = 1024**3


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


def read_mesh(path: str | Path) -> Mesh:
    """Read a mesh as it stands in its file: every part of the scene graph placed, base colours only, in one piece.

    One texture stays a texture. Where parts have different textures, or only some have one, the colours are taken at the vertices,
    and detail between the vertices is lost. Colour factors and vertex colours of glTF are linear and become display-referred here.
    Opacity is dropped, except that of a glTF texture whose material asks for it (`alphaMode` MASK or BLEND).

    Args:
        path: GLB, glTF, OBJ, PLY or STL; files that it names (buffers, materials, pictures) are looked for in its folder only.

    Raises:
        BadInput: the file is missing, of another format, broken, larger than 1 GiB, or has no faces or too large a picture.
    """
    source = Path(path)
    suffix = source.suffix.lower()
    if suffix not in SUFFIXES:
        raise BadInput(f"{source} ends in {suffix or 'no suffix'!r}; meshes are read from {', '.join(SUFFIXES)}")
    content = io.BytesIO(read_bytes(source, limit=LIMIT))
    import trimesh

    beside: Any = _Beside(source.parent)
    try:
        scene: Any = trimesh.load(content, file_type=suffix[1:], resolver=beside, force="scene", process=False)
        parts = [
            _part(scene.geometry[name], np.asarray(transform), linear=suffix in (".glb", ".gltf"))
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
        if not bool(part.vertices.isfinite().all()):
            raise BadInput(f"{source} has vertices that are not finite; repair it in a mesh editor and export it again")
        if int(part.faces.min()) < 0 or int(part.faces.max()) >= len(part.vertices):
            raise BadInput(f"{source} has faces that name vertices beyond its {len(part.vertices)}; export it again")
    return _joined(parts)


class _Beside:
    """Hands trimesh the files that a mesh names, out of the mesh's own folder and no other place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def get(self, name: str) -> bytes:
        """The content of a file; the folder part of a name is dropped where it leads nowhere, as exporters leave their own there.

        Raises:
            FileNotFoundError: it is not there, or outside the folder.
        """
        plain = name.strip().replace("\\", "/")
        for candidate in (plain, plain.rsplit("/", 1)[-1]):
            path = (self._folder / candidate).resolve()
            if path.is_relative_to(self._folder) and path.is_file():
                return read_bytes(path, limit=LIMIT)
        raise FileNotFoundError(f"{name} is not in the folder of the mesh")

    __getitem__ = get


def _part(geometry: Any, transform: np.ndarray, *, linear: bool) -> Part:
    """A trimesh geometry with its place in the scene; `linear` says how colour factors are meant."""
    vertices = np.asarray(geometry.vertices, np.float64) @ transform[:3, :3].T + transform[:3, 3]
    faces = np.asarray(geometry.faces, np.int64).reshape(-1, 3)
    if np.linalg.det(transform[:3, :3]) < 0:
        faces = faces[:, ::-1]
    visual, colors, texture, uvs, digest = geometry.visual, None, None, None, None
    if visual.kind == "face":
        colors = _display(visual.face_colors, linear=linear).repeat_interleave(3, 0)
        vertices, faces = vertices[faces].reshape(-1, 3), np.arange(faces.size).reshape(-1, 3)
    elif visual.kind == "vertex":
        colors = _display(visual.vertex_colors, linear=linear)
    elif visual.kind == "texture":
        image, factor = _material(visual.material)
        if image is not None and visual.uv is not None:
            pixels = np.array(image)
            texture, uvs = torch.from_numpy(pixels).float() / 255, torch.from_numpy(np.array(visual.uv, np.float64))
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
    color = torch.from_numpy(np.array(scaled, np.float32)).clamp(0, 1)
    return torch.where(color <= 0.0031308, 12.92 * color, 1.055 * color.clamp_min(1e-8) ** (1 / 2.4) - 0.055) if linear else color


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
