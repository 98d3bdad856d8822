"""What is worth knowing of a mesh before it is given to other programs."""

from dataclasses import dataclass

import numpy as np
import trimesh

from gen3d.renderers.mesh import Mesh

DEGENERATE = 1e-12  # of the squared size: faces with less area than this have none


@dataclass(frozen=True, slots=True)
class MeshReport:
    """The figures of a surface, its vertices welded where they lie at the same place: atlas seams are no holes.

    Attributes:
        vertices: of the mesh as it is, seams counted twice.
        faces: of the mesh as it is.
        components: parts that share no vertex.
        watertight: every edge has two faces.
        euler: vertices - edges + faces; 2 for each closed part without a handle.
        area: scene units squared.
        volume: scene units cubed; None unless watertight and consistently wound.
        degenerate: faces without area.
    """

    vertices: int
    faces: int
    components: int
    watertight: bool
    euler: int
    area: float
    volume: float | None
    degenerate: int


def report(mesh: Mesh) -> MeshReport:
    """Measure a mesh; one without faces has zeros and is not watertight."""
    solid = welded(mesh)
    size = float(np.ptp(solid.vertices, axis=0).max()) if len(solid.vertices) else 0.0
    closed = bool(len(solid.faces)) and bool(solid.is_watertight)
    return MeshReport(
        vertices=len(mesh.vertices),
        faces=len(mesh.faces),
        components=int(solid.body_count) if len(solid.faces) else 0,
        watertight=closed,
        euler=int(solid.euler_number) if len(solid.faces) else 0,
        area=float(solid.area),
        volume=float(solid.volume) if closed and solid.is_winding_consistent else None,
        degenerate=int((solid.area_faces <= DEGENERATE * size**2).sum()),
    )


def welded(mesh: Mesh) -> trimesh.Trimesh:
    """The bare surface with one vertex at each place; no vertex without a face."""
    places, index = np.unique(mesh.vertices.double().numpy(), axis=0, return_inverse=True)
    faces = index.reshape(-1)[mesh.faces.numpy()]
    solid = trimesh.Trimesh(places, faces, process=False, validate=False)
    solid.remove_unreferenced_vertices()
    return solid
