"""Splats to a textured mesh: pictures, surface, clean-up, texture."""

from dataclasses import asdict, dataclass
from typing import Any

from gen3d.errors import BadInput
from gen3d.optional import available, how_to_install
from gen3d.pipeline.meshing.bake import bake, paint
from gen3d.pipeline.meshing.cleanup import decimate, largest_components
from gen3d.pipeline.meshing.density import drawable
from gen3d.pipeline.meshing.job import Job, Origin, photographed
from gen3d.pipeline.meshing.methods import extract
from gen3d.pipeline.meshing.outlines import traced, within_outlines
from gen3d.pipeline.meshing.repair import fill_holes, repaired
from gen3d.pipeline.meshing.report import report
from gen3d.pipeline.meshing.settings import MANY_FACES, MeshSettings
from gen3d.pipeline.meshing.steps import Steps
from gen3d.pipeline.meshing.texels import find_texels
from gen3d.pipeline.meshing.unwrap import unwrap
from gen3d.pipeline.meshing.watertight import watertight
from gen3d.pipeline.progress import Progress, Silent
from gen3d.renderers.cameras import Cameras
from gen3d.renderers.gaussians import Gaussians
from gen3d.renderers.mesh import Mesh

SMALLEST, SMALLEST_OF_SCENE = 0.02, 0.1  # of the largest part's area: smaller parts are dropped, in scenes they are shreds
HOLE = 0.15  # of the diagonal: boundaries up to this length are closed
CLOSING = 5 / 8  # of the resolution: a finer lattice has ten times the faces of the result and comes no closer to the surface
CROWDED = 0.1  # of the faces: so many may be smaller than a texel without a word
BAKED = 40  # pictures that colours are taken from


@dataclass(frozen=True, slots=True)
class MeshResult:
    """A mesh, and what is known of it.

    Attributes:
        mesh: in the frame of the splats.
        facts: for manifests: how it was made, its report, seconds and memory by step, notes.
        held: views that neither surface nor texture was made from; with fewer than five photos, those of the photos.
        footprint: see `drawings`.
    """

    mesh: Mesh
    facts: dict[str, Any]
    held: Cameras
    footprint: float


def mesh_splats(
    gaussians: Gaussians,
    settings: MeshSettings | None = None,
    origin: Origin | None = None,
    *,
    backend: str = "auto",
    progress: Progress | None = None,
) -> MeshResult:
    """The textured mesh of splats, in their frame.

    Args:
        gaussians: unbatched splats `[n]`.
        settings: None for the defaults.
        origin: the fit, where it is known; without it the splats are taken for an object that stands free.
        backend: of `rasterize`.
        progress: told of each step with its time and memory.

    Raises:
        BadInput: fewer than four splats can be seen, some are not finite, they have no extent, or no surface comes out of them.
        MissingDependency: the method needs a package that is not installed.
    """
    settings, steps = settings or MeshSettings(), Steps(progress or Silent())
    drawable(gaussians)  # only to refuse: pictures show the sum of faint splats too, so none is dropped
    with steps("pictures"):
        job = photographed(gaussians, settings, origin, backend=backend)
    with steps("surface"):
        mesh = extract(settings.method, job)
    with steps("clean"):
        mesh = _cleaned(mesh, job, settings)
    with steps("texture"):
        mesh = _coloured(mesh, job, settings)
    facts = {"report": asdict(report(mesh)), "seconds": steps.seconds, "memory_mib": steps.memory_mib, "notes": job.notes}
    return MeshResult(mesh, job.facts | facts, job.held, job.footprint)


def _cleaned(mesh: Mesh, job: Job, settings: MeshSettings) -> Mesh:
    """What belongs to the thing, without small holes, with the faces that were asked for."""
    if job.outlined:
        mesh = within_outlines(mesh, job.pictures, reach=2 * job.voxel)
    mesh = repaired(largest_components(mesh, SMALLEST if job.outlined else SMALLEST_OF_SCENE))
    mesh = fill_holes(mesh, longest=HOLE * job.diagonal)
    if settings.watertight:
        mesh = watertight(mesh, resolution=round(CLOSING * settings.resolution))
    if not len(mesh.faces):
        raise BadInput("no face is left after cleaning; use another --method or a larger --resolution")
    if not settings.faces or len(mesh.faces) <= settings.faces:
        return mesh
    if not available("open3d"):
        job.notes.append(f"without Open3D all {len(mesh.faces):,} faces were kept; {how_to_install('mesh')}")
        return mesh
    return decimate(mesh, settings.faces)


def _coloured(mesh: Mesh, job: Job, settings: MeshSettings) -> Mesh:
    """The mesh with a texture, or with vertex colours where that is asked for or all that can be."""
    if not available("embreex"):
        job.notes.append(f"without embreex there is no texture, only the colours of the surface's own method; {how_to_install('mesh')}")
        return mesh
    seen = traced(job.pictures.spread(BAKED), mesh)
    if settings.texture and not available("xatlas"):
        job.notes.append(f"without xatlas the mesh has vertex colours and no texture; {how_to_install('mesh')}")
    elif settings.texture:
        if len(mesh.faces) > MANY_FACES:
            job.notes.append(f"unwrapping {len(mesh.faces):,} faces takes minutes; --faces {MANY_FACES} or fewer is quicker")
        flat = unwrap(mesh, size=settings.texture)
        texels = find_texels(flat, settings.texture)
        job.facts["without_texel"] = bare = len(flat.faces) - len(texels.face.unique())
        if bare > CROWDED * len(flat.faces):
            job.notes.append(
                f"{bare:,} of {len(flat.faces):,} faces have no texel of their own; a larger --texture or fewer --faces shows more"
            )
        mesh, job.facts["seen"] = bake(flat, seen, texels)
        return mesh
    mesh, job.facts["seen"] = paint(mesh, seen)
    return mesh
