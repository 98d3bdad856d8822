"""Pictures of textured triangle meshes by ray casting (embree): training data, and the truth that splats are compared with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gen3d.optional import require
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.mesh import Mesh, sample_texture

GREY = 0.7  # the colour of a surface that has none
BAND = 2**20  # rays traced at once: bounds the memory, not the picture
LAYERS = 16  # cut-out surfaces that a ray may pass
STEP = 1e-5  # a ray that passes a cut-out starts again this far behind it, in units of the mesh's extent


@dataclass(frozen=True, slots=True)
class MeshRendering:
    """Pictures of a mesh, named and composited like `Rendering`, so that the two compare directly.

    Attributes:
        rgb: unlit surface colour over the background `[v, h, w, 3]`, display-referred sRGB in [0, 1].
        alpha: share of the pixel that is covered `[v, h, w]`.
        depth: along the optical axis, the mean over the covered part `[v, h, w]` in scene units; 0 where alpha is 0.
        normal: unit normals of the faces in the world `[v, h, w, 3]`, turned to the camera; 0 where alpha is 0.
    """

    rgb: Float[Tensor, "v h w 3"]
    alpha: Float[Tensor, "v h w"]
    depth: Float[Tensor, "v h w"]
    normal: Float[Tensor, "v h w 3"]


@dataclass(frozen=True, slots=True)
class Hits:
    """What rays meet first.

    Attributes:
        face: `[r]` index of the face, -1 where a ray meets nothing.
        barycentric: `[r, 3]` weights of the face's corners.
    """

    face: Int[Tensor, " r"]
    barycentric: Float[Tensor, "r 3"]


Caster = Callable[[Float[Tensor, "r 3"], Float[Tensor, "r 3"]], Hits]


def render_mesh(mesh: Mesh, cameras: Cameras, *, background: Float[Tensor, "... 3"] | None = None, supersample: int = 2) -> MeshRendering:
    """Draw an unlit, double-sided mesh. Everything is computed and returned on the CPU, pictures in float32.

    Colours and coverage are averaged over `supersample`² rays a pixel as they are displayed, not in linear light, which is what
    splats do too. Textures are looked up without mipmaps: raise `supersample` where texels are smaller than pixels.

    Args:
        mesh: may have no faces; faces without area are not seen.
        cameras: `[v]` views.
        background: colour behind the mesh, broadcast to `[v, 3]`; black when None.
        supersample: rays along each side of a pixel.

    Raises:
        MissingDependency: the package embreex is not installed.
        ValueError: the mesh is broken, or the cameras are not a flat list of views.
    """
    if len(cameras.shape) != 1:
        raise ValueError(f"the cameras have shape {tuple(cameras.shape)}; a mesh is drawn by a flat list of views [v]")
    if supersample < 1:
        raise ValueError(f"supersample is {supersample}; at least 1 ray along each side of a pixel is needed")
    mesh = _checked(mesh)
    cast = _embree_caster(mesh) if len(mesh.faces) else _nothing
    views = cameras.to("cpu", torch.float64)
    behind = torch.zeros(3) if background is None else background.to("cpu", torch.float32)
    behind = behind.expand(*cameras.shape, 3)
    rows = max(1, BAND // (cameras.width * supersample**2))
    pictures = []
    for view, colour in enumerate(behind):
        bands = [
            _draw(mesh, cast, views.select([view]), colour, supersample, range(top, min(top + rows, cameras.height)))
            for top in range(0, cameras.height, rows)
        ]
        pictures.append([torch.cat(parts) for parts in zip(*bands, strict=True)])
    return MeshRendering(*(torch.stack(parts) for parts in zip(*pictures, strict=True)))


def camera_rays(camera: Cameras, rows: range, supersample: int) -> tuple[Float[Tensor, "r 3"], Float[Tensor, "r 3"]]:
    """Origins and directions of one view's rays, row by row of subpixels; a direction's part along the optical axis is 1.

    Args:
        camera: `[1]` view.
        rows: the rows of pixels.
        supersample: rays along each side of a pixel, at the centres of its subpixels.
    """
    matrix, rotation = camera.intrinsics[0], camera.world_to_camera[0, :3, :3]
    x = (torch.arange(camera.width * supersample).to(matrix) + 0.5) / supersample
    y = (torch.arange(rows.start * supersample, rows.stop * supersample).to(matrix) + 0.5) / supersample
    x, y = (x - matrix[0, 2]) / matrix[0, 0], (y - matrix[1, 2]) / matrix[1, 1]
    grid = torch.stack([*torch.meshgrid(x, y, indexing="xy"), x.new_ones(len(y), len(x))], -1)
    directions = grid.reshape(-1, 3) @ rotation
    return camera.positions[0].expand_as(directions), directions


def _draw(
    mesh: Mesh, cast: Caster, camera: Cameras, background: Float[Tensor, " 3"], supersample: int, rows: range
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colour, alpha, depth and normal of some rows of one view."""
    origins, directions = camera_rays(camera, rows, supersample)
    hits = _first_visible(mesh, cast, origins, directions)
    covered = hits.face >= 0
    corners = mesh.faces[hits.face[covered]]
    weights = hits.barycentric[covered, :, None]
    triangles = mesh.vertices[corners]
    points = (triangles * weights).sum(1)
    areas = torch.linalg.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals = torch.nn.functional.normalize(areas, dim=-1, eps=1e-30)
    facing = (normals * directions[covered]).sum(-1, keepdim=True)
    colour = _pixels(background, covered, _colors(mesh, corners, weights), camera.width, supersample)
    nothing = torch.zeros(1)
    alpha = _pixels(nothing, covered, torch.ones(len(points), 1), camera.width, supersample)
    depth = _pixels(nothing, covered, ((points - camera.positions[0]) @ camera.forward[0])[:, None], camera.width, supersample)
    normal = _pixels(torch.zeros(3), covered, torch.where(facing > 0, -normals, normals), camera.width, supersample)
    depth = torch.where(alpha > 0, depth / alpha.clamp_min(1e-12), 0.0)
    return colour, alpha[..., 0], depth[..., 0], torch.nn.functional.normalize(normal, dim=-1)


def _pixels(
    empty: Float[Tensor, " c"], covered: Bool[Tensor, " r"], values: Float[Tensor, "k c"], width: int, supersample: int
) -> Float[Tensor, "h w c"]:
    """Pixel means of values at the covered rays and `empty` at the others."""
    rays = empty.repeat(len(covered), 1)
    rays[covered] = values.to(rays)
    return rays.reshape(-1, supersample, width, supersample, len(empty)).mean((1, 3))


def _colors(mesh: Mesh, corners: Int[Tensor, "k 3"], weights: Float[Tensor, "k 3 1"]) -> Float[Tensor, "k 3"]:
    """Surface colours at points inside faces."""
    color = torch.full((len(corners), 3), 1.0 if mesh.texture is not None or mesh.colors is not None else GREY)
    if mesh.colors is not None:
        color = color * (mesh.colors[corners] * weights.to(mesh.colors)).sum(1)
    if mesh.texture is not None and mesh.uvs is not None:
        color = color * sample_texture(mesh.texture[..., :3], (mesh.uvs[corners] * weights).sum(1))
    return color


def _first_visible(mesh: Mesh, cast: Caster, origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]) -> Hits:
    """First hits, where the holes of a cut-out texture let rays through."""
    hits = cast(origins, directions)
    if mesh.texture is None or mesh.uvs is None or mesh.texture.shape[-1] < 4:
        return hits
    face, barycentric = hits.face.clone(), hits.barycentric.clone()
    rays = (face >= 0).nonzero()[:, 0]
    step = STEP * _extent(mesh) * torch.nn.functional.normalize(directions, dim=-1)
    for _ in range(LAYERS):
        corners, weights = mesh.faces[face[rays]], barycentric[rays, :, None]
        hole = sample_texture(mesh.texture[..., 3:4], (mesh.uvs[corners] * weights).sum(1))[:, 0] < 0.5
        rays = rays[hole]
        if len(rays) == 0:
            return Hits(face, barycentric)
        points = (mesh.vertices[corners] * weights).sum(1)[hole]
        behind = cast(points + step[rays], directions[rays])
        face[rays], barycentric[rays] = behind.face, behind.barycentric
        rays = rays[behind.face >= 0]
    face[rays] = -1
    return Hits(face, barycentric)


def _checked(mesh: Mesh) -> Mesh:
    """The mesh on the CPU, geometry in float64 and colours in float32; embree would crash on what is refused here."""
    faces = mesh.faces.to("cpu", torch.int64)
    if faces.numel() and (int(faces.min()) < 0 or int(faces.max()) >= len(mesh.vertices)):
        raise ValueError(f"faces name vertices {int(faces.min())} to {int(faces.max())}; there are {len(mesh.vertices)}")
    if not bool(mesh.vertices.isfinite().all()):
        raise ValueError("some vertices are not finite; remove them first")
    return Mesh(
        vertices=mesh.vertices.detach().to("cpu", torch.float64),
        faces=faces,
        uvs=None if mesh.uvs is None else mesh.uvs.detach().to("cpu", torch.float64),
        texture=None if mesh.texture is None else mesh.texture.detach().to("cpu", torch.float32),
        colors=None if mesh.colors is None else mesh.colors.detach().to("cpu", torch.float32),
    )


def _extent(mesh: Mesh) -> float:
    """Longest side of the bounding box."""
    return float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())


def _nothing(origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]) -> Hits:
    """The caster of a mesh without faces."""
    return Hits(torch.full((len(origins),), -1), torch.zeros(len(origins), 3, dtype=torch.float64))


def _embree_caster(mesh: Mesh) -> Caster:
    """Rays against embree's tree of the faces."""
    purpose = "drawing meshes"
    scenes: Any = require("embreex.rtcore_scene", extra="mesh", purpose=purpose)
    shapes: Any = require("embreex.mesh_construction", extra="mesh", purpose=purpose)
    # Embree computes in float32, so the mesh is centred and brought to size 1 first.
    centre = (mesh.vertices.amax(0) + mesh.vertices.amin(0)) / 2
    scale = 1 / max(_extent(mesh), 1e-30)
    scene = scenes.EmbreeScene(robust=True)
    vertices = ((mesh.vertices - centre) * scale).numpy().astype(np.float32)
    shapes.TriangleMesh(scene=scene, vertices=vertices, indices=mesh.faces.numpy().astype(np.int32))

    def cast(origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]) -> Hits:
        starts = ((origins - centre) * scale).numpy().astype(np.float32)
        found = scene.run(starts, directions.numpy().astype(np.float32), query="INTERSECT", output=1)
        u, v = (torch.from_numpy(found[name]).double() for name in ("u", "v"))
        return Hits(torch.from_numpy(found["primID"]).long(), torch.stack([1 - u - v, u, v], -1))

    return cast
