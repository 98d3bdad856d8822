"""Pictures of textured triangle meshes by ray casting (embree): training data, and the truth that splats are compared with."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
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
        distance: `[r]` in lengths of the ray's direction.
    """

    face: Int[Tensor, " r"]
    barycentric: Float[Tensor, "r 3"]
    distance: Float[Tensor, " r"]


Caster = Callable[[Float[Tensor, "r 3"], Float[Tensor, "r 3"]], Hits]


@dataclass(frozen=True, slots=True)
class Solid:
    """A mesh as rays meet it: p -> scale (p - centre) gives it size 1 around the origin, because embree computes in float32.

    Attributes:
        centre: float64.
        scale: of the step above.
        vertices: `[n, 3]` after it, float64.
        normals: `[f, 3]` units, outwards by the order of the corners.
        uvs: `[f, 3, 2]` texture coordinates of the corners, or None without a texture.
        texture: as in `Mesh`.
        colors: `[f, 3, 3]` colours of the corners, or None.
        cast: finds first hits.
    """

    centre: Float[Tensor, " 3"]
    scale: float
    vertices: Float[Tensor, "n 3"]
    normals: Float[Tensor, "f 3"]
    uvs: Float[Tensor, "f 3 2"] | None
    texture: Float[Tensor, "h w c"] | None
    colors: Float[Tensor, "f 3 3"] | None
    cast: Caster


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
    views = cameras.to("cpu", torch.float64)
    layers = torch.zeros(*cameras.shape, cameras.height, cameras.width, 8)
    if len(mesh.faces):
        solid = _solid(mesh)
        for view, layer in enumerate(layers):
            camera = views.select([view])
            rows, columns = _window(solid, camera)
            tall = max(1, BAND // max(1, len(columns) * supersample**2))
            for top in range(rows.start, rows.stop, tall):
                band = range(top, min(top + tall, rows.stop))
                layer[band.start : band.stop, columns.start : columns.stop] = _draw(solid, camera, band, columns, supersample)
    rgb, alpha, depth, normal = layers.split([3, 1, 1, 3], -1)
    behind = torch.zeros(3) if background is None else background.to("cpu", torch.float32)
    return MeshRendering(
        rgb=rgb + (1 - alpha) * behind.expand(*cameras.shape, 3)[:, None, None],
        alpha=alpha[..., 0],
        depth=torch.where(alpha > 0, depth / alpha.clamp_min(1e-12), 0.0)[..., 0],
        normal=torch.nn.functional.normalize(normal, dim=-1),
    )


def camera_rays(camera: Cameras, rows: range, columns: range, supersample: int) -> Float[Tensor, "r 3"]:
    """World directions of rays through subpixel centres, row by row; their part along the optical axis is 1.

    Args:
        camera: `[1]` view.
        rows: of pixels.
        columns: of pixels.
        supersample: rays along each side of a pixel.
    """
    matrix, rotation = camera.intrinsics[0], camera.world_to_camera[0, :3, :3]
    x, y = ((torch.arange(side.start * supersample, side.stop * supersample).to(matrix) + 0.5) / supersample for side in (columns, rows))
    across = (x - matrix[0, 2])[:, None] / matrix[0, 0] * rotation[0] + rotation[2]
    down = (y - matrix[1, 2])[:, None] / matrix[1, 1] * rotation[1]
    return (down[:, None] + across).reshape(-1, 3)


def _window(solid: Solid, camera: Cameras) -> tuple[range, range]:
    """Rows and columns that hold the mesh; all where it reaches behind the camera."""
    pose, matrix = camera.world_to_camera[0], camera.intrinsics[0]
    local = (solid.vertices / solid.scale + solid.centre) @ pose[:3, :3].mT + pose[:3, 3]
    if not bool((local[:, 2] > 1e-6 / solid.scale).all()):
        return range(camera.height), range(camera.width)
    sides = []
    for axis, size in ((1, camera.height), (0, camera.width)):
        at = local[:, axis] / local[:, 2] * matrix[axis, axis] + matrix[axis, 2]
        first, last = (min(max(float(end), -1.0), size + 1.0) for end in (at.min() - 0.01, at.max() + 0.01))
        sides.append(range(max(0, math.floor(first)), min(size, math.floor(last) + 1)))
    return sides[0], sides[1]


def _draw(solid: Solid, camera: Cameras, rows: range, columns: range, supersample: int) -> Float[Tensor, "h w 8"]:
    """Pixel means of colour, coverage, depth and normal, zero where rays meet nothing."""
    directions = camera_rays(camera, rows, columns, supersample).float()
    position = ((camera.positions[0] - solid.centre) * solid.scale).float()
    hits = _first_visible(solid, position.expand_as(directions), directions)
    covered = (hits.face >= 0).nonzero()[:, 0]
    face, barycentric = hits.face[covered], hits.barycentric[covered]
    normal = solid.normals[face]
    away = (normal * directions[covered]).sum(-1, keepdim=True) > 0
    values = torch.cat(
        [
            _colors(solid, face, barycentric),
            torch.ones(len(covered), 1),
            hits.distance[covered, None] / solid.scale,
            torch.where(away, -normal, normal),
        ],
        -1,
    )
    rays = torch.zeros(len(directions), values.shape[-1])
    rays[covered] = values
    return rays.reshape(len(rows), supersample, len(columns), supersample, -1).mean((1, 3))


def _between(corners: Float[Tensor, "f 3 c"], face: Int[Tensor, " k"], barycentric: Float[Tensor, "k 3"]) -> Float[Tensor, "k c"]:
    """Values of the corners, interpolated inside faces."""
    return torch.einsum("kic,ki->kc", corners[face], barycentric)


def _colors(solid: Solid, face: Int[Tensor, " k"], barycentric: Float[Tensor, "k 3"]) -> Float[Tensor, "k 3"]:
    """Surface colours at points inside faces."""
    if solid.texture is None and solid.colors is None:
        return torch.full((len(face), 3), GREY)
    color = torch.ones(len(face), 3) if solid.colors is None else _between(solid.colors, face, barycentric)
    if solid.texture is None or solid.uvs is None:
        return color
    return color * sample_texture(solid.texture[..., :3], _between(solid.uvs, face, barycentric))


def _first_visible(solid: Solid, origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]) -> Hits:
    """First hits, where the holes of a cut-out texture let rays through."""
    hits = solid.cast(origins, directions)
    if solid.texture is None or solid.uvs is None or solid.texture.shape[-1] < 4:
        return hits
    step = STEP / directions.norm(dim=-1)
    rays = (hits.face >= 0).nonzero()[:, 0]
    for _ in range(LAYERS):
        uvs = _between(solid.uvs, hits.face[rays], hits.barycentric[rays])
        rays = rays[sample_texture(solid.texture[..., 3:4], uvs)[:, 0] < 0.5]
        if len(rays) == 0:
            return hits
        passed = hits.distance[rays] + step[rays]
        behind = solid.cast(origins[rays] + passed[:, None] * directions[rays], directions[rays])
        hits.face[rays], hits.barycentric[rays], hits.distance[rays] = behind.face, behind.barycentric, passed + behind.distance
        rays = rays[behind.face >= 0]
    hits.face[rays] = -1
    return hits


def _solid(mesh: Mesh) -> Solid:
    """The mesh prepared for rays; embree would crash on what is refused here."""
    faces, vertices = mesh.faces.detach().to("cpu", torch.int64), mesh.vertices.detach().to("cpu", torch.float64)
    if int(faces.min()) < 0 or int(faces.max()) >= len(vertices):
        raise ValueError(f"faces name vertices {int(faces.min())} to {int(faces.max())}; there are {len(vertices)}")
    if not bool(vertices.isfinite().all()):
        raise ValueError("some vertices are not finite; remove them first")
    low, high = vertices.amin(0), vertices.amax(0)
    centre, scale = (low + high) / 2, 1 / max(float((high - low).max()), 1e-30)
    vertices = (vertices - centre) * scale
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    uvs, texture, colors = (
        None if part is None else part.detach().to("cpu", torch.float32) for part in (mesh.uvs, mesh.texture, mesh.colors)
    )
    return Solid(
        centre=centre,
        scale=scale,
        vertices=vertices,
        normals=torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1, eps=1e-30).float(),
        uvs=None if uvs is None or texture is None else uvs[faces],
        texture=None if uvs is None else texture,
        colors=None if colors is None else colors[faces],
        cast=_embree_caster(vertices, faces),
    )


def _embree_caster(vertices: Float[Tensor, "n 3"], faces: Int[Tensor, "f 3"]) -> Caster:
    """Rays against embree's tree of the faces."""
    purpose = "drawing meshes"
    scenes: Any = require("embreex.rtcore_scene", extra="mesh", purpose=purpose)
    shapes: Any = require("embreex.mesh_construction", extra="mesh", purpose=purpose)
    scene = scenes.EmbreeScene(robust=True)
    shapes.TriangleMesh(scene=scene, vertices=vertices.numpy().astype(np.float32), indices=faces.numpy().astype(np.int32))

    def cast(origins: Float[Tensor, "r 3"], directions: Float[Tensor, "r 3"]) -> Hits:
        found = scene.run(origins.contiguous().numpy(), directions.contiguous().numpy(), query="INTERSECT", output=1)
        u, v, distance = (torch.from_numpy(found[name]) for name in ("u", "v", "tfar"))
        return Hits(torch.from_numpy(found["primID"]).long(), torch.stack([1 - u - v, u, v], -1), distance)

    return cast
