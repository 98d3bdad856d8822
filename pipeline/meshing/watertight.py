"""Any surface made closed, as printers and physics engines need it."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from scipy import fft, ndimage
from torch import Tensor
from torch.nn import functional

from gen3d.errors import BadInput
from gen3d.optional import require
from gen3d.pipeline.meshing.isosurface import isosurface
from gen3d.pipeline.meshing.repair import fill_holes, joined, repaired
from gen3d.pipeline.meshing.winding import surface_samples, winding_numbers
from gen3d.renderers.mesh import Mesh

COARSEST = 8
HOLE = 0.1  # of the size: boundaries up to this length are closed face by face, longer ones by the winding number
ROOM = 16  # of the resolution: its share around the surface on each side, because the lattice repeats itself
INSIDE = 0.5  # winding number above which a sample is solid
BACKED = 0.54  # winding number that is reached near a surface with something solid behind it; behind flat sheets it is up to 0.525
UNSURE = 0.3  # around INSIDE, smoothing decides; there the side of the closest face is better
LEANING = 0.9  # cosine between a face's normal and the way to it, above which its side is clear
OPPOSED = -0.5  # cosine between the normals of the two faces of a wall
TWICE = 1.5  # winding number of what is enclosed by two surfaces
THINNEST = 1.75  # samples; a lattice of tetrahedra loses what is thinner than the diagonal of a cell, 1.73
SPECK = 27  # samples: smaller parts are dropped
LIFT = 1e-3  # samples between a face and a ray that starts from it
# Neighbours along the edges of the tetrahedra that `isosurface` cuts cells into.
JOINED = np.zeros((3, 3, 3), dtype=bool)
JOINED[:2, :2, :2] = JOINED[1:, 1:, 1:] = True


@dataclass(frozen=True, slots=True)
class _Lattice:
    origin: Float[Tensor, " 3"]
    spacing: float
    shape: tuple[int, int, int]


def watertight(mesh: Mesh, *, resolution: int = 256) -> Mesh:
    """A closed surface that winds once around everything solid: each edge has two faces, wound alike, and the volume is positive.

    A mesh that is closed but for small faults and holes is repaired and keeps its faces. Any other is sampled on a lattice and
    extracted again: the winding number says what is solid and caps holes, and the distance to the surface puts the new one where
    the old one was, about a tenth of a sample away on noisy surfaces and less on smooth ones; sharp edges are bevelled by up to one
    sample. Walls and sheets get a thickness of about 1.75 samples at least, cavities are filled, overlapping parts become one.

    Args:
        mesh: without a texture; faces should look outwards, but single ones or whole parts may not.
        resolution: samples along the longest side, at least 8; memory grows with its third power, at 256 up to 1.3 GB, and the number
            of faces with its square: `decimate` afterwards.

    Returns:
        Vertex colours are interpolated at the closest point of the given surface.

    Raises:
        ValueError: the resolution is less than 8.
        BadInput: there is no face with an area, or a vertex is not finite.
        MissingDependency: the mesh needs to be sampled and Open3D is not installed.
    """
    if resolution < COARSEST:
        raise ValueError(f"the resolution is {resolution}; a mesh needs at least {COARSEST} samples along its longest side")
    if not bool(mesh.vertices.isfinite().all()):
        raise BadInput("the mesh has vertices that are not finite, so it cannot be closed; remove them first")
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    size = float(np.linalg.norm(np.ptp(solid.vertices[solid.faces].reshape(-1, 3), axis=0))) if len(mesh.faces) else 0.0
    if not (size > 0 and solid.area > 0):
        raise BadInput(f"the mesh has {len(mesh.faces):,} faces, the size {size:g} and no area, so there is nothing to close")
    welded = joined(mesh)
    whole = fill_holes(_wound(repaired(welded)), longest=HOLE * size)
    return whole if _closed(whole, resolution) else _sampled(_wound(welded), resolution)


def _wound(mesh: Mesh) -> Mesh:
    """Neighbouring faces look to the same side, where that is possible, and most of the mesh outwards."""
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    if not solid.is_winding_consistent:
        trimesh.repair.fix_winding(solid)
    faces = torch.from_numpy(np.array(solid.faces, dtype=np.int64))
    return replace(mesh, faces=faces.flip(1) if solid.volume < 0 else faces)


def _closed(mesh: Mesh, resolution: int) -> bool:
    """Whether the mesh has no border and nothing inside that is wound about twice or backwards."""
    solid = trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)
    if not (len(mesh.faces) and solid.is_watertight and solid.is_winding_consistent and solid.volume > 0):
        return False
    winding, _, _ = _winding(mesh, resolution)
    return float(winding.min()) > 1 - TWICE and float(winding.max()) < TWICE


def _winding(mesh: Mesh, resolution: int) -> tuple[Float[Tensor, "x y z"], Float[Tensor, "s 3"], _Lattice]:
    """Winding numbers on a lattice around the mesh, and samples of its surface in units of the lattice."""
    vertices = mesh.vertices.double()
    low, high = (getattr(vertices[mesh.faces.unique()], name)(0) for name in ("amin", "amax"))
    spacing = float((high - low).amax()) / (resolution - 1)
    room = 2 * max(4, resolution // ROOM)
    counts = ((high - low) / spacing).ceil().long() + 1 + room
    x, y, z = (fft.next_fast_len(count, real=True) for count in counts.tolist())
    lattice = _Lattice((low + high) / 2 - spacing * (torch.tensor([x, y, z]) - 1) / 2, spacing, (x, y, z))
    points, areas = surface_samples(((vertices - lattice.origin) / spacing).float(), mesh.faces)
    return winding_numbers(points, areas, lattice.shape), points, lattice


def _sampled(mesh: Mesh, resolution: int) -> Mesh:
    winding, points, lattice = _winding(mesh, resolution)
    scene = _scene((mesh.vertices.double() - lattice.origin) / lattice.spacing, mesh)
    near = torch.zeros(lattice.shape, dtype=torch.bool)
    near[points.round().long().unbind(-1)] = True
    for axis in range(3):
        near = near | near.roll(1, axis) | near.roll(-1, axis)
    field = 2 * (winding.abs() - INSIDE)
    field[near] = _distances(winding, near.nonzero(), scene)
    vertices, faces = isosurface(_single_solids(field), 0.0, torch.zeros(3), 1.0)
    placed = (lattice.origin + lattice.spacing * vertices.double()).to(mesh.vertices)
    if mesh.colors is None:
        return Mesh(placed, faces)
    found = scene.compute_closest_points(vertices.numpy())
    u, v = torch.from_numpy(found["primitive_uvs"].numpy()).unbind(-1)
    weights = torch.stack([1 - u - v, u, v], -1)
    colors = mesh.colors[mesh.faces[torch.from_numpy(found["primitive_ids"].numpy().astype(np.int64))]]
    return Mesh(placed, faces, colors=(weights[..., None] * colors).sum(1).clamp(0, 1))


def _scene(vertices: Float[Tensor, "n 3"], mesh: Mesh) -> Any:
    o3d = require("open3d", extra="mesh", purpose="closing meshes")
    scene = o3d.t.geometry.RaycastingScene()
    scene.add_triangles(o3d.core.Tensor(vertices.float().numpy()), o3d.core.Tensor(mesh.faces.numpy().astype(np.uint32)))
    return scene


def _distances(winding: Float[Tensor, "x y z"], samples: Float[Tensor, "n 3"], scene: Any) -> Float[Tensor, " n"]:
    """Distance to the surface, positive inside, with thin walls made thicker."""
    found = scene.compute_closest_points(samples.float().numpy())
    closest, normals = (torch.from_numpy(found[name].numpy()) for name in ("points", "primitive_normals"))
    steps = torch.cartesian_prod(*[torch.arange(-1, 2)] * 3)
    around = torch.stack([winding[(closest.round().long() + step).unbind(-1)] for step in steps])
    backwards = -around.amin(0) > around.amax(0)  # parts that look inwards
    normals = torch.where(backwards[:, None], -normals, normals)
    number = winding[samples.unbind(-1)] * torch.where(backwards, -1, 1)
    offset = samples - closest
    distance, side = offset.norm(dim=-1), (offset * normals).sum(-1)
    rays = scene.cast_rays(torch.cat([closest - LIFT * normals, -normals], 1).numpy())
    depth, behind = torch.from_numpy(rays["t_hit"].numpy()) + LIFT, torch.from_numpy(rays["primitive_normals"].numpy())
    thin = (depth < THINNEST) & ((behind * normals * torch.where(backwards, -1, 1)[:, None]).sum(-1) < OPPOSED)
    thin &= _between(winding, closest - normals * (depth.clamp_max(THINNEST)[:, None] + 1)).abs() < INSIDE
    sheet = ~thin & (around.abs().amax(0) < BACKED)
    unsure = ~sheet & ((number - INSIDE).abs() < UNSURE) & (side.abs() > LEANING * distance)
    inside = torch.where(unsure, side < 0, number > INSIDE) & ~sheet
    missing = THINNEST - torch.where(thin, depth, torch.where(sheet, 0.0, THINNEST))
    return torch.where(inside, distance, -distance) + missing / 2


def _between(values: Float[Tensor, "x y z"], points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Trilinear look-up in units of the lattice."""
    grid = ((2 * points + 1) / points.new_tensor(values.shape) - 1).flip(-1)
    return functional.grid_sample(values[None, None], grid[None, None, None], align_corners=False, padding_mode="border")[0, 0, 0, 0]


def _single_solids(field: Float[Tensor, "x y z"]) -> Float[Tensor, "x y z"]:
    """The field without cavities and without specks."""
    solid = (field > 0).numpy()
    empty, _ = ndimage.label(~solid, JOINED)
    cavities: Bool[np.ndarray, "x y z"] = ~solid & (empty != empty[0, 0, 0])
    parts, _ = ndimage.label(solid | cavities, JOINED)
    counts = np.bincount(parts.ravel())
    counts[0] = 0
    specks = counts[parts] < min(SPECK, counts.max())
    return field.where(~torch.from_numpy(cavities), 1.0).where(~torch.from_numpy(specks & (parts > 0)), -1.0)
